/* A session as text and as JSON, whole, filtered, collapsed and in small chunks. */
#include "core/tree_text.h"
#include "test.h"

enum { MS = 1000000 };

static const cirron_tree_filter everything = {.depth = -1};

static void add_span(cirron_table *table, const char *id, const char *parent, const char *name,
                     int64_t start_ms, int64_t end_ms) {
    cirron_table_span span = {
        .id = text_of(id),
        .parent_id = text_of(parent),
        .name = text_of(name),
        .start_ns = start_ms * MS,
        .end_ns = end_ms * MS,
        .overhead_ns = 700,
        .present = CIRRON_HAS_OVERHEAD | (end_ms < 0 ? 0u : CIRRON_HAS_END),
    };
    if (parent != NULL && strcmp(name, "step") == 0) {
        span.attrs = text_of("{\"lr\":0.5,\"error\":\"E\"}");
        span.index = 3;
        span.present |= CIRRON_HAS_INDEX;
    }
    assert_int_equal(cirron_table_add_span(table, &span, 0), CIRRON_OK);
}

/* A root with a step of two overlapping phases, and an open span. */
static cirron_table *training(void) {
    cirron_table *table = cirron_table_new();
    assert_non_null(table);
    add_span(table, "r", NULL, "cirron.session", 0, 100);
    add_span(table, "s", "r", "step", 10, 30);
    add_span(table, "a", "s", "forward", 11, 20);
    add_span(table, "b", "s", "backward", 15, 28);
    add_span(table, "o", "r", "open", 40, -1);
    cirron_table_mark mark = {
        .id = text_of("m"),
        .span_id = text_of("s"),
        .name = text_of("loss"),
        .as_float = 0.25,
        .ts_ns = 5,
        .value_type = CIRRON_VALUE_FLOAT,
        .kind = CIRRON_MARK_SUMMARY,
    };
    assert_int_equal(cirron_table_add_mark(table, &mark, 0), CIRRON_OK);
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    return table;
}

/* All of the first session, in chunks of `bytes`. */
static char *render(const cirron_table *table, const cirron_tree_filter *filter,
                    const cirron_tree_style *style, size_t bytes) {
    cirron_output out = {0};
    size_t before;
    cirron_tree_text *text = cirron_tree_text_new(table, 0, filter, style);
    assert_non_null(text);
    do {
        before = out.text.len;
        assert_int_equal(cirron_tree_text_next(text, bytes, &out), CIRRON_OK);
    } while (out.text.len != before);
    cirron_output_put(&out, "", 1);
    cirron_tree_text_free(text);
    return out.text.data;
}

static void check(const cirron_tree_filter *filter, const cirron_tree_style *style,
                  const char *expected) {
    static const size_t chunks[] = {1, 40, 1 << 20};
    cirron_table *table = training();
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        char *text = render(table, filter, style, chunks[i]);
        assert_string_equal(text, expected);
        cirron_free(text);
    }
    cirron_table_free(table);
}

static void a_tree_reads_as_documented(void **state) {
    (void)state;
    check(&everything, &(cirron_tree_style){0},
          "cirron.session \xe2\x80\x94 100.0ms\n"
          "  step[3] \xe2\x80\x94 20.0ms lr=0.5000 error=E\n"
          "    forward \xe2\x80\x94 9.0ms\n"
          "    backward \xe2\x80\x94 13.0ms\n"
          "    ci.mark loss=0.2500 (summary)\n"
          "  open \xe2\x80\x94 (open)\n");
}

static void what_lies_deeper_is_collapsed_with_its_overlaps_once(void **state) {
    (void)state;
    check(&(cirron_tree_filter){.depth = 1}, &(cirron_tree_style){.ascii = true},
          "cirron.session - 100.0ms\n"
          "  step[3] - 20.0ms lr=0.5000 error=E\n"
          "    ... 17.0ms (2 spans, collapsed)\n"
          "  open - (open)\n");
    check(&(cirron_tree_filter){.depth = 0, .name = text_of("back")},
          &(cirron_tree_style){.ascii = true},
          "cirron.session - 100.0ms\n"
          "  ... 20.0ms (2 spans, collapsed)\n");
}

static void filters_keep_ancestors_and_the_root(void **state) {
    (void)state;
    check(&(cirron_tree_filter){.depth = -1, .name = text_of("ward"), .min_wall_ns = 10.0 * MS},
          &(cirron_tree_style){.ascii = true},
          "cirron.session - 100.0ms\n"
          "  step[3] - 20.0ms lr=0.5000 error=E\n"
          "    backward - 13.0ms\n"
          "    ci.mark loss=0.2500 (summary)\n");
    check(&(cirron_tree_filter){.depth = -1, .min_wall_ns = 1e12},
          &(cirron_tree_style){.ascii = true},
          "cirron.session - 100.0ms\n"
          "  open - (open)\n");
}

static void a_name_that_nothing_has_is_told(void **state) {
    static const char *const names[] = {"nothing", "open", ""};
    (void)state;
    cirron_table *table = training();
    for (size_t i = 0; i < 3; i++) {
        cirron_tree_text *text = cirron_tree_text_new(
            table, 0, &(cirron_tree_filter){.name = text_of(names[i])}, &(cirron_tree_style){0});
        assert_int_equal(cirron_tree_text_is_named(text), i > 0);
        cirron_tree_text_free(text);
    }
    cirron_table_free(table);
}

static void colour_and_overhead_come_on_request(void **state) {
    (void)state;
    check(&(cirron_tree_filter){.depth = -1, .name = text_of("step")},
          &(cirron_tree_style){.ascii = true, .color = true, .overhead = true},
          "\x1b[1mcirron.session\x1b[0m - \x1b[36m100.0ms\x1b[0m\n"
          "  \x1b[1mstep[3]\x1b[0m - \x1b[36m20.0ms\x1b[0m \x1b[2mlr=0.5000\x1b[0m "
          "\x1b[31merror=E\x1b[0m\n"
          "    \x1b[32mci.mark loss=0.2500 (summary)\x1b[0m\n"
          "    \x1b[32mci.mark cirron.overhead_ns=700 (summary)\x1b[0m\n"
          "  \x1b[32mci.mark cirron.overhead_ns=700 (summary)\x1b[0m\n");
}

static void json_nests_children_and_closes_what_it_opens(void **state) {
    (void)state;
    check(&(cirron_tree_filter){.depth = 1, .name = text_of("forward")},
          &(cirron_tree_style){.json = true},
          "{\"id\": \"r\", \"parent_id\": null, \"name\": \"cirron.session\", \"index\": null, "
          "\"start_ns\": \"0\", \"end_ns\": \"100000000\", \"duration_ns\": \"100000000\", "
          "\"cpu_ns\": null, \"gpu_ns\": null, \"memory_peak_bytes\": null, \"thread_id\": null, "
          "\"pid\": null, \"rank\": null, \"attrs\": {}, \"marks\": [], \"children\": [\n"
          "{\"id\": \"s\", \"parent_id\": \"r\", \"name\": \"step\", \"index\": 3, "
          "\"start_ns\": \"10000000\", \"end_ns\": \"30000000\", \"duration_ns\": \"20000000\", "
          "\"cpu_ns\": null, \"gpu_ns\": null, \"memory_peak_bytes\": null, \"thread_id\": null, "
          "\"pid\": null, \"rank\": null, \"attrs\": {\"lr\": 0.5, \"error\": \"E\"}, "
          "\"marks\": [{\"name\": \"loss\", \"value\": 0.25, \"kind\": \"summary\", "
          "\"ts_ns\": \"5\", \"attrs\": {}}], "
          "\"collapsed\": {\"spans\": 1, \"duration_ns\": \"9000000\"}, \"children\": [\n"
          "]}\n"
          "]}\n");
}

static void spans_of_no_session_hang_from_a_heading(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    add_span(table, "x", "gone", "first", 1, 2);
    add_span(table, "y", "x", "second", 1, 2);
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    char *text = render(table, &everything, &(cirron_tree_style){.ascii = true}, 1);
    assert_string_equal(text, "(orphan spans) - 1.0ms\n  first - 1.0ms\n    second - 1.0ms\n");
    cirron_free(text);
    cirron_table_free(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_reads_as_documented),
        cmocka_unit_test(what_lies_deeper_is_collapsed_with_its_overlaps_once),
        cmocka_unit_test(filters_keep_ancestors_and_the_root),
        cmocka_unit_test(a_name_that_nothing_has_is_told),
        cmocka_unit_test(colour_and_overhead_come_on_request),
        cmocka_unit_test(json_nests_children_and_closes_what_it_opens),
        cmocka_unit_test(spans_of_no_session_hang_from_a_heading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
