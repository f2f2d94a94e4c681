/* One batch: the document to the letter, the mark ids of its spans, and a short memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/batch.h"
#include "fallible_memory.h"
#include "test.h"

#define HEAD                                                                                       \
    "{\"schema_version\":1,\"sdk_version\":\"" CIRRON_VERSION                                      \
    "\",\"batch_id\":\"bb000000000000000000000000000000\",\"created_ns\":42,\"spans\":["
#define SNAPSHOTS "],\"snapshots\":[]}\n"

static cirron_intern *names;
static cirron_batch *batch;

static int set_up(void **state) {
    (void)state;
    names = cirron_intern_new();
    batch = cirron_batch_new(names);
    cirron_batch_set_process(batch, 4321, 3);
    return names == NULL || batch == NULL;
}

static int tear_down(void **state) {
    (void)state;
    cirron_batch_free(batch);
    cirron_intern_free(names);
    return 0;
}

static cirron_id make_id(uint32_t number) {
    cirron_id id = {{(uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number, 0xAB}};
    return id;
}

static cirron_span_record make_span(uint32_t number) {
    cirron_span_record span = {.id = make_id(number),
                               .name = cirron_intern_name(names, "step", 4),
                               .start_ns = 1000,
                               .duration_ns = 234,
                               .thread_id = 7};
    return span;
}

static cirron_mark_record make_mark(uint32_t span) {
    cirron_mark_record mark = {.span_id = make_id(span),
                               .ts_ns = 1100,
                               .value.as_float = 0.5,
                               .name = cirron_intern_name(names, "loss", 4)};
    return mark;
}

/* The document, with a terminator; the caller frees it. */
static char *finish(void) {
    cirron_buffer out = {0};
    cirron_id id = {{0xBB}};
    assert_int_equal(cirron_batch_finish(batch, &id, 42, &out), CIRRON_OK);
    assert_int_equal(cirron_buffer_append(&out, "", 1), CIRRON_OK);
    return out.data;
}

static void assert_document_is(const char *expected) {
    char *document = finish();
    assert_string_equal(document, expected);
    free(document);
}

static void an_empty_batch_is_a_document(void **state) {
    (void)state;
    assert_int_equal(cirron_batch_records(batch), 0);
    assert_document_is(HEAD "],\"marks\":[" SNAPSHOTS);
}

static void a_span_has_every_field_in_order(void **state) {
    (void)state;
    cirron_span_record span = make_span(1);
    span.parent_id = make_id(2);
    span.cpu_ns = 200;
    span.gpu_ns = 150;
    span.memory_peak_bytes = 1 << 20;
    span.index = -5;
    span.overhead_ns = 90;
    span.thread_id = UINT64_MAX;
    span.flags = CIRRON_SPAN_PARENT | CIRRON_SPAN_INDEX | CIRRON_SPAN_CPU | CIRRON_SPAN_GPU |
                 CIRRON_SPAN_MEMORY;
    span.attrs_len = 9;
    assert_int_equal(cirron_batch_add_span(batch, &span, "{\"lr\":.5}"), CIRRON_OK);
    assert_int_equal(cirron_batch_records(batch), 1);
    assert_document_is(HEAD "{\"id\":\"000001ab000000000000000000000000\",\"name\":\"step\","
                            "\"parent_id\":\"000002ab000000000000000000000000\",\"index\":-5,"
                            "\"start_ns\":1000,\"end_ns\":1234,\"cpu_ns\":200,\"gpu_ns\":150,"
                            "\"memory_peak_bytes\":1048576,\"thread_id\":18446744073709551615,"
                            "\"pid\":4321,\"rank\":3,\"attrs\":{\"lr\":.5},\"mark_ids\":[],"
                            "\"overhead_ns\":90}],\"marks\":[" SNAPSHOTS);
}

static void what_a_span_lacks_is_null(void **state) {
    (void)state;
    cirron_span_record span = make_span(1);
    assert_int_equal(cirron_batch_add_span(batch, &span, ""), CIRRON_OK);
    assert_document_is(HEAD "{\"id\":\"000001ab000000000000000000000000\",\"name\":\"step\","
                            "\"parent_id\":null,\"index\":null,\"start_ns\":1000,"
                            "\"end_ns\":1234,\"cpu_ns\":null,\"gpu_ns\":null,"
                            "\"memory_peak_bytes\":null,\"thread_id\":7,\"pid\":4321,"
                            "\"rank\":3,\"attrs\":{},\"mark_ids\":[],\"overhead_ns\":0}"
                            "],\"marks\":[" SNAPSHOTS);
}

static void an_open_span_has_neither_end_nor_cpu_time(void **state) {
    (void)state;
    cirron_span_record span = make_span(1);
    span.flags = CIRRON_SPAN_OPEN | CIRRON_SPAN_CPU;
    span.cpu_ns = 99;
    assert_int_equal(cirron_batch_add_span(batch, &span, ""), CIRRON_OK);
    char *document = finish();
    assert_non_null(strstr(document, "\"start_ns\":1000,\"end_ns\":null,\"cpu_ns\":null"));
    free(document);
}

static void a_mark_has_every_field_in_order(void **state) {
    (void)state;
    cirron_mark_record mark = make_mark(1);
    cirron_id id = make_id(9);
    mark.kind = CIRRON_MARK_SUMMARY;
    mark.attrs_len = 7;
    assert_int_equal(cirron_batch_add_mark(batch, &mark, "{\"a\":1}", &id), CIRRON_OK);
    assert_document_is(HEAD "],\"marks\":[{\"id\":\"000009ab000000000000000000000000\","
                            "\"span_id\":\"000001ab000000000000000000000000\",\"name\":\"loss\","
                            "\"value_type\":\"float\",\"value\":0.5,\"attrs\":{\"a\":1},"
                            "\"ts_ns\":1100,\"kind\":\"summary\"}" SNAPSHOTS);
}

static void assert_mark_contains(const cirron_mark_record *mark, const char *payload,
                                 const char *expected) {
    cirron_id id = make_id(9);
    assert_int_equal(cirron_batch_add_mark(batch, mark, payload, &id), CIRRON_OK);
    char *document = finish();
    assert_non_null(strstr(document, expected));
    free(document);
}

static void a_value_is_written_by_its_type(void **state) {
    (void)state;
    cirron_mark_record mark = make_mark(1);
    mark.value.as_float = NAN;
    assert_mark_contains(&mark, "", "\"value_type\":\"float\",\"value\":\"NaN\",\"attrs\":{}");
    mark.value.as_float = -INFINITY;
    assert_mark_contains(&mark, "", "\"value_type\":\"float\",\"value\":\"-Infinity\"");
    mark.value.as_float = 3;
    assert_mark_contains(&mark, "", "\"value_type\":\"float\",\"value\":3.0");
    mark.value_type = CIRRON_VALUE_INT;
    mark.value.as_int = INT64_MIN;
    assert_mark_contains(&mark, "", "\"value_type\":\"int\",\"value\":-9223372036854775808");
    mark.value_type = CIRRON_VALUE_BOOL;
    mark.value.as_int = 1;
    assert_mark_contains(&mark, "", "\"value_type\":\"bool\",\"value\":true");
    mark.value.as_int = 0;
    assert_mark_contains(&mark, "", "\"value_type\":\"bool\",\"value\":false");
    mark.value_type = CIRRON_VALUE_STRING;
    mark.value_len = 5;
    mark.attrs_len = 7;
    assert_mark_contains(&mark, "a\"b\nc{\"k\":0}",
                         "\"value_type\":\"string\",\"value\":\"a\\\"b\\nc\",\"attrs\":{\"k\":0},"
                         "\"ts_ns\":1100,\"kind\":\"point\"");
}

static void an_inline_name_opens_the_payload(void **state) {
    (void)state;
    cirron_mark_record mark = make_mark(1);
    mark.name = CIRRON_NAME_INLINE;
    mark.name_len = 4;
    mark.value_type = CIRRON_VALUE_STRING;
    mark.value_len = 2;
    mark.attrs_len = 2;
    assert_mark_contains(&mark, "na\"mok{}",
                         "\"name\":\"na\\\"m\",\"value_type\":\"string\",\"value\":\"ok\"");
    cirron_span_record span = make_span(1);
    span.name = CIRRON_NAME_INLINE;
    span.name_len = 3;
    span.attrs_len = 7;
    assert_int_equal(cirron_batch_add_span(batch, &span, "abc{\"x\":2}"), CIRRON_OK);
    char *document = finish();
    assert_non_null(strstr(document, "\"name\":\"abc\",\"parent_id\""));
    assert_non_null(strstr(document, "\"attrs\":{\"x\":2}"));
    free(document);
}

static void text_at_its_longest_and_all_escaped_fits(void **state) {
    (void)state;
    enum { ATTRS = 64 };
    char *payload = malloc(CIRRON_MAX_NAME_BYTES + CIRRON_MAX_VALUE_BYTES + ATTRS);
    memset(payload, 1, CIRRON_MAX_NAME_BYTES + CIRRON_MAX_VALUE_BYTES);
    memset(payload + CIRRON_MAX_NAME_BYTES + CIRRON_MAX_VALUE_BYTES, ' ', ATTRS);
    cirron_mark_record mark = make_mark(1);
    mark.name = CIRRON_NAME_INLINE;
    mark.name_len = CIRRON_MAX_NAME_BYTES;
    mark.value_type = CIRRON_VALUE_STRING;
    mark.value_len = CIRRON_MAX_VALUE_BYTES;
    mark.attrs_len = ATTRS;
    cirron_id id = make_id(2);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(cirron_batch_add_mark(batch, &mark, payload, &id), CIRRON_OK);
    }
    assert_in_range(cirron_batch_size(batch),
                    50 * 6 * (CIRRON_MAX_NAME_BYTES + CIRRON_MAX_VALUE_BYTES), SIZE_MAX);
    free(payload);
}

static void a_mark_outside_a_session_belongs_to_root(void **state) {
    (void)state;
    cirron_mark_record mark = make_mark(1);
    mark.span_id = (cirron_id){{0}};
    assert_mark_contains(&mark, "", "\"span_id\":\"root\",");
}

static void a_span_names_the_marks_that_came_before_it_in_order(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        cirron_mark_record mark = make_mark(i % 2 + 1);
        cirron_id id = make_id(100 + i);
        assert_int_equal(cirron_batch_add_mark(batch, &mark, "", &id), CIRRON_OK);
    }
    for (uint32_t number = 1; number <= 3; number++) {
        cirron_span_record span = make_span(number);
        assert_int_equal(cirron_batch_add_span(batch, &span, ""), CIRRON_OK);
    }
    assert_int_equal(cirron_batch_records(batch), 9);
    char *document = finish();
    char *first = strstr(document, "\"id\":\"000001ab");
    char *second = strstr(document, "\"id\":\"000002ab");
    char *third = strstr(document, "\"id\":\"000003ab");
    assert_non_null(first);
    assert_non_null(second);
    assert_non_null(third);
    assert_non_null(strstr(first, "\"mark_ids\":[\"000064ab000000000000000000000000\","
                                  "\"000066ab000000000000000000000000\","
                                  "\"000068ab000000000000000000000000\"]"));
    assert_non_null(strstr(second, "\"mark_ids\":[\"000065ab000000000000000000000000\","
                                   "\"000067ab000000000000000000000000\","
                                   "\"000069ab000000000000000000000000\"]"));
    assert_non_null(strstr(third, "\"mark_ids\":[]"));
    free(document);
}

static void a_span_names_at_most_1024_marks(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 1100; i++) {
        cirron_mark_record mark = make_mark(1);
        cirron_id id = make_id(1000 + i);
        assert_int_equal(cirron_batch_add_mark(batch, &mark, "", &id), CIRRON_OK);
    }
    cirron_span_record span = make_span(1);
    assert_int_equal(cirron_batch_add_span(batch, &span, ""), CIRRON_OK);
    char *document = finish();
    const char *at = strstr(document, "\"mark_ids\":[");
    const char *end = strchr(at, ']');
    int commas = 0;
    for (; at != end; at++) {
        commas += *at == ',';
    }
    assert_int_equal(commas, 1023);
    assert_memory_equal(end - 34, "\"0007e7ab", 9); /* 1000 + 1023: the first, not the newest */
    free(document);
}

static void many_spans_with_marks_keep_theirs_apart(void **state) {
    (void)state;
    enum { SPANS = 3000 };
    for (uint32_t i = 0; i < SPANS; i++) {
        cirron_mark_record mark = make_mark(i);
        cirron_id id = make_id(10000 + i);
        assert_int_equal(cirron_batch_add_mark(batch, &mark, "", &id), CIRRON_OK);
    }
    for (uint32_t i = 0; i < SPANS; i++) {
        cirron_span_record span = make_span(i);
        assert_int_equal(cirron_batch_add_span(batch, &span, ""), CIRRON_OK);
    }
    char *document = finish();
    const char *at = document;
    for (uint32_t i = 0; i < SPANS; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "\"mark_ids\":[\"%06xab%024d\"]", 10000 + i, 0);
        at = strstr(at, "\"mark_ids\"");
        assert_non_null(at);
        assert_memory_equal(at, expected, strlen(expected));
        at++;
    }
    free(document);
}

static void snapshots_stand_as_they_are_behind_the_marks(void **state) {
    (void)state;
    static const char first[] = "{\"tensor_name\":\"0.weight\"}";
    static const char second[] = "{}";
    assert_int_equal(cirron_batch_add_snapshot(batch, first, sizeof first - 1), CIRRON_OK);
    assert_int_equal(cirron_batch_add_snapshot(batch, second, sizeof second - 1), CIRRON_OK);
    assert_int_equal(cirron_batch_records(batch), 2);
    assert_int_equal(cirron_batch_size(batch), sizeof first + sizeof second - 1);
    assert_document_is(HEAD "],\"marks\":[],\"snapshots\":[{\"tensor_name\":\"0.weight\"},{}]}\n");
    assert_document_is(HEAD "],\"marks\":[" SNAPSHOTS);
}

static void nothing_is_carried_into_the_next_batch(void **state) {
    (void)state;
    cirron_mark_record mark = make_mark(1);
    cirron_id id = make_id(9);
    assert_int_equal(cirron_batch_add_mark(batch, &mark, "", &id), CIRRON_OK);
    free(finish());
    assert_int_equal(cirron_batch_size(batch), 0);
    assert_int_equal(cirron_batch_records(batch), 0);
    cirron_span_record span = make_span(1);
    assert_int_equal(cirron_batch_add_mark(batch, &(cirron_mark_record){0}, "", &id), CIRRON_OK);
    cirron_batch_reset(batch);
    mark.span_id = make_id(77);
    assert_int_equal(cirron_batch_add_mark(batch, &mark, "", &id), CIRRON_OK);
    assert_int_equal(cirron_batch_add_span(batch, &span, ""), CIRRON_OK);
    char *document = finish();
    assert_non_null(strstr(document, "\"mark_ids\":[]"));
    free(document);
}

static void a_document_is_appended_to_what_stands_in_the_buffer(void **state) {
    (void)state;
    cirron_buffer out = {0};
    cirron_id id = {{0xBB}};
    assert_int_equal(cirron_buffer_append(&out, "before ", 7), CIRRON_OK);
    assert_int_equal(cirron_batch_finish(batch, &id, 42, &out), CIRRON_OK);
    assert_memory_equal(out.data, "before " HEAD, 7 + sizeof HEAD - 1);
    cirron_buffer_fini(&out);
}

/* Each allocation fails in turn until a record goes through. */
static void a_failed_allocation_leaves_the_batch_as_it_was(void **state) {
    (void)state;
    char attrs[5000];
    memset(attrs, ' ', sizeof attrs);
    cirron_id id = make_id(9);
    for (uint32_t i = 0; i < 2000; i++) {
        cirron_mark_record mark = make_mark(i / 2);
        cirron_span_record span = make_span(i / 2);
        span.attrs_len = i % 7 == 0 ? sizeof attrs : 0;
        size_t size = cirron_batch_size(batch);
        size_t records = cirron_batch_records(batch);
        int status = CIRRON_NO_MEMORY;
        for (long grace = 0; status != CIRRON_OK; grace++) {
            allocations_left = grace;
            status = i % 2 == 0 ? cirron_batch_add_mark(batch, &mark, "", &id)
                                : cirron_batch_add_span(batch, &span, attrs);
            allocations_left = UNLIMITED;
            if (status != CIRRON_OK) {
                assert_int_equal(cirron_batch_size(batch), size);
                assert_int_equal(cirron_batch_records(batch), records);
            }
        }
    }
    cirron_buffer out = {0};
    allocations_left = 0;
    assert_int_equal(cirron_batch_finish(batch, &id, 42, &out), CIRRON_NO_MEMORY);
    allocations_left = UNLIMITED;
    assert_int_equal(out.len, 0);
    assert_int_equal(cirron_batch_records(batch), 2000);
    char *document = finish();
    int listed = 0;
    for (const char *at = document; (at = strstr(at, "\"mark_ids\":[\"")) != NULL; at++) {
        listed++;
    }
    assert_int_equal(listed, 1000);
    free(document);
}

int main(void) {
    use_fallible_memory();
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_empty_batch_is_a_document),
        TEST(a_span_has_every_field_in_order),
        TEST(what_a_span_lacks_is_null),
        TEST(an_open_span_has_neither_end_nor_cpu_time),
        TEST(a_mark_has_every_field_in_order),
        TEST(a_value_is_written_by_its_type),
        TEST(an_inline_name_opens_the_payload),
        TEST(text_at_its_longest_and_all_escaped_fits),
        TEST(a_mark_outside_a_session_belongs_to_root),
        TEST(a_span_names_the_marks_that_came_before_it_in_order),
        TEST(a_span_names_at_most_1024_marks),
        TEST(many_spans_with_marks_keep_theirs_apart),
        TEST(snapshots_stand_as_they_are_behind_the_marks),
        TEST(nothing_is_carried_into_the_next_batch),
        TEST(a_document_is_appended_to_what_stands_in_the_buffer),
        TEST(a_failed_allocation_leaves_the_batch_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
