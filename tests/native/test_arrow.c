/* The Arrow stream as a consumer sees it: values, validity, moves, releases. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "core/arrow.h"
#include "fallible_memory.h"
#include "test.h"

static void add_span(cirron_table *table, const char *id, const char *parent, const char *name,
                     int64_t start, int64_t end, int64_t rank, const char *attrs) {
    cirron_table_span span = {
        .id = text_of(id),
        .parent_id = text_of(parent),
        .name = text_of(name),
        .attrs = text_of(attrs),
        .start_ns = start,
        .end_ns = end,
        .rank = rank,
        .present = (end != 0 ? CIRRON_HAS_END : 0u) | (rank >= 0 ? CIRRON_HAS_RANK : 0u),
    };
    assert_int_equal(cirron_table_add_span(table, &span, 0), CIRRON_OK);
}

/* Two sessions with a step each, and a span that is in neither. */
static cirron_table *two_sessions(void) {
    static const char hex[] = "00112233445566778899aabbccddeeff";
    cirron_table *table = cirron_table_new();
    assert_non_null(table);
    add_span(table, hex, NULL, "cirron.session", 100, 900, 0, "{\"a\":1}");
    add_span(table, "s2", NULL, "cirron.session", 200, 0, 1, NULL);
    add_span(table, "step1", hex, "step", INT64_MAX - 7, INT64_MAX, 0, NULL);
    add_span(table, "step2", "s2", "step", INT64_MIN, INT64_MAX, -1, NULL);
    add_span(table, "lost", "nowhere", "step", 1, 2, 0, NULL);
    cirron_table_mark mark = {.id = text_of("m1"), .span_id = text_of("step1")};
    mark.name = text_of("loss");
    mark.as_float = 0.5;
    mark.ts_ns = 7;
    assert_int_equal(cirron_table_add_mark(table, &mark, 0), CIRRON_OK);
    mark.id = text_of("m2");
    mark.span_id = text_of("root");
    mark.value_type = CIRRON_VALUE_BOOL;
    mark.as_int = 1;
    assert_int_equal(cirron_table_add_mark(table, &mark, 0), CIRRON_OK);
    mark.id = text_of("m3");
    mark.value_type = CIRRON_VALUE_STRING;
    mark.as_string = text_of("");
    assert_int_equal(cirron_table_add_mark(table, &mark, 0), CIRRON_OK);
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    return table;
}

static cirron_table *many_spans(size_t count, const char *attrs) {
    cirron_table *table = cirron_table_new();
    assert_non_null(table);
    add_span(table, "s", NULL, "cirron.session", 0, 1, 0, NULL);
    for (size_t i = 1; i < count; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "%zu", i);
        add_span(table, id, "s", "step", (int64_t)i, i % 3 == 0 ? 0 : (int64_t)i * 2,
                 (int64_t)i % 2, attrs);
    }
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    return table;
}

static struct ArrowArrayStream open_stream(cirron_table *table, cirron_arrow_rows rows) {
    struct ArrowArrayStream stream;
    assert_int_equal(cirron_arrow_stream(table, &rows, &stream), CIRRON_OK);
    return stream;
}

static struct ArrowArray next(struct ArrowArrayStream *stream) {
    struct ArrowArray array;
    memset(&array, 0xff, sizeof(array));
    assert_int_equal(stream->get_next(stream, &array), 0);
    return array;
}

/* The batch of all spans, marks or snapshots of a small table. */
static struct ArrowArray whole(cirron_table *table, enum cirron_arrow_kind kind) {
    struct ArrowArrayStream stream = open_stream(table, (cirron_arrow_rows){.kind = kind});
    struct ArrowArray array = next(&stream);
    stream.release(&stream);
    assert_null(stream.release);
    return array;
}

/* The column's number, by its name in the schema. */
static int64_t column_of(cirron_table *table, enum cirron_arrow_kind kind, const char *name) {
    struct ArrowArrayStream stream = open_stream(table, (cirron_arrow_rows){.kind = kind});
    struct ArrowSchema schema;
    int64_t found = -1;
    assert_int_equal(stream.get_schema(&stream, &schema), 0);
    stream.release(&stream); /* the schema needs no stream */
    for (int64_t i = 0; i < schema.n_children; i++) {
        if (strcmp(schema.children[i]->name, name) == 0) {
            found = i;
        }
    }
    schema.release(&schema);
    assert_null(schema.release);
    assert_true(found >= 0);
    return found;
}

static bool is_valid(const struct ArrowArray *column, size_t i) {
    const uint8_t *bits = column->buffers[0];
    return bits == NULL || (bits[i / 8] >> (i % 8) & 1) != 0;
}

/* `expected` NULL: null. */
static void assert_text(const struct ArrowArray *column, size_t i, const char *expected) {
    const int32_t *offsets = column->buffers[1];
    const char *bytes = column->buffers[2];
    assert_int_equal(is_valid(column, i), expected != NULL);
    size_t len = (size_t)(offsets[i + 1] - offsets[i]);
    assert_int_equal(len, expected == NULL ? 0 : strlen(expected));
    if (len != 0) {
        assert_memory_equal(bytes + offsets[i], expected, len);
    }
}

static void a_schema_names_every_column_and_its_type(void **state) {
    static const char *const names[] = {"id",
                                        "session_id",
                                        "parent_id",
                                        "name",
                                        "index",
                                        "start_ns",
                                        "end_ns",
                                        "duration_ns",
                                        "cpu_ns",
                                        "gpu_ns",
                                        "memory_peak_bytes",
                                        "thread_id",
                                        "pid",
                                        "rank",
                                        "attrs_json",
                                        "overhead_ns"};
    (void)state;
    cirron_table *table = two_sessions();
    struct ArrowArrayStream stream = open_stream(table, (cirron_arrow_rows){0});
    struct ArrowSchema schema;
    assert_int_equal(stream.get_schema(&stream, &schema), 0);
    assert_string_equal(schema.format, "+s");
    assert_int_equal(schema.n_children, 16);
    for (int64_t i = 0; i < schema.n_children; i++) {
        const struct ArrowSchema *field = schema.children[i];
        size_t len = strlen(field->name);
        bool ns = len > 3 && strcmp(field->name + len - 3, "_ns") == 0;
        assert_string_equal(field->name, names[i]);
        assert_true(!ns || strcmp(field->format, "l") == 0);
    }
    struct ArrowSchema moved = *schema.children[3];
    schema.children[3]->release = NULL;
    schema.release(&schema);
    assert_string_equal(moved.name, "name");
    moved.release(&moved);
    stream.release(&stream);
    cirron_table_free(table);
    assert_int_equal(blocks_held, 0);
}

static void integers_are_the_table_s_own_and_absent_ones_are_null(void **state) {
    (void)state;
    cirron_table *table = two_sessions();
    struct ArrowArray array = whole(table, CIRRON_ARROW_SPANS);
    assert_int_equal(array.length, 5);
    const struct ArrowArray *starts =
        array.children[column_of(table, CIRRON_ARROW_SPANS, "start_ns")];
    const struct ArrowArray *ends = array.children[column_of(table, CIRRON_ARROW_SPANS, "end_ns")];
    const struct ArrowArray *durations =
        array.children[column_of(table, CIRRON_ARROW_SPANS, "duration_ns")];
    const struct ArrowArray *gpus = array.children[column_of(table, CIRRON_ARROW_SPANS, "gpu_ns")];
    assert_ptr_equal(starts->buffers[1], cirron_table_ints(table, CIRRON_COLUMN_START));
    assert_ptr_equal(ends->buffers[1], cirron_table_ints(table, CIRRON_COLUMN_END));
    assert_null(starts->buffers[0]);
    assert_int_equal(starts->null_count, 0);
    assert_int_equal(ends->null_count, 1);
    assert_false(is_valid(ends, 1));
    assert_true(is_valid(ends, 4));
    assert_int_equal(((const int64_t *)durations->buffers[1])[2], 7);
    assert_false(is_valid(durations, 1)); /* open */
    assert_false(is_valid(durations, 3)); /* longer than an int64 */
    assert_int_equal(gpus->null_count, 5);
    array.release(&array);
    cirron_table_free(table);
    assert_int_equal(blocks_held, 0);
}

static void texts_are_ids_names_and_json(void **state) {
    (void)state;
    cirron_table *table = two_sessions();
    struct ArrowArray array = whole(table, CIRRON_ARROW_SPANS);
    struct ArrowArray **columns = array.children;
    const char *hex = "00112233445566778899aabbccddeeff";
    assert_text(columns[0], 0, hex);
    assert_text(columns[0], 4, "lost");
    assert_text(columns[1], 2, hex);
    assert_text(columns[1], 3, "s2");
    assert_text(columns[1], 4, NULL);
    assert_text(columns[2], 0, NULL);
    assert_text(columns[2], 4, "nowhere");
    assert_text(columns[3], 2, "step");
    assert_text(columns[14], 0, "{\"a\":1}");
    assert_text(columns[14], 1, "{}");
    array.release(&array);
    cirron_table_free(table);
    assert_int_equal(blocks_held, 0);
}

static void a_mark_has_its_value_in_the_column_of_its_type(void **state) {
    (void)state;
    cirron_table *table = two_sessions();
    struct ArrowArray array = whole(table, CIRRON_ARROW_MARKS);
    struct ArrowArray **columns = array.children;
    assert_int_equal(array.length, 3);
    assert_text(columns[1], 1, "root");
    assert_text(columns[2], 1, NULL);
    assert_text(columns[4], 0, "float");
    assert_text(columns[4], 1, "bool");
    double number = ((const double *)columns[5]->buffers[1])[0];
    assert_true(number == 0.5);
    assert_false(is_valid(columns[5], 1));
    assert_int_equal(columns[6]->null_count, 3);
    assert_text(columns[7], 0, NULL);
    assert_text(columns[7], 2, "");
    assert_false(is_valid(columns[8], 0));
    assert_true(is_valid(columns[8], 1));
    assert_int_equal(((const uint8_t *)columns[8]->buffers[1])[0], 2);
    assert_text(columns[10], 0, "point");
    array.release(&array);
    cirron_table_free(table);
    assert_int_equal(blocks_held, 0);
}

static void an_empty_table_has_a_schema_and_no_batch(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    assert_non_null(table);
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    struct ArrowArray array = whole(table, CIRRON_ARROW_SNAPSHOTS);
    assert_null(array.release);
    assert_true(column_of(table, CIRRON_ARROW_SNAPSHOTS, "stats_json") >= 0);
    cirron_table_free(table);
    assert_int_equal(blocks_held, 0);
}

static void rows_can_be_those_of_a_session_or_a_rank(void **state) {
    (void)state;
    cirron_table *table = two_sessions();
    /* The newest session is number 0: s2, whose rows are 1 and 3. */
    cirron_arrow_rows rows = {.by_session = true, .session = 0};
    struct ArrowArrayStream stream = open_stream(table, rows);
    struct ArrowArray array = next(&stream);
    assert_int_equal(array.length, 2);
    assert_int_equal(cirron_arrow_count(table, &rows), 2);
    assert_text(array.children[0], 1, "step2");
    assert_int_equal(((const int64_t *)array.children[5]->buffers[1])[1], INT64_MIN);
    assert_false(is_valid(array.children[6], 0));
    assert_true(is_valid(array.children[6], 1));
    array.release(&array);
    array = next(&stream);
    assert_null(array.release);
    stream.release(&stream);

    rows = (cirron_arrow_rows){.by_session = true, .session = -1};
    assert_int_equal(cirron_arrow_count(table, &rows), 1);
    rows = (cirron_arrow_rows){.by_rank = true, .rank_present = true, .rank = 0};
    assert_int_equal(cirron_arrow_count(table, &rows), 3);
    rows.rank_present = false;
    assert_int_equal(cirron_arrow_count(table, &rows), 1);
    rows = (cirron_arrow_rows){.kind = CIRRON_ARROW_MARKS, .by_session = true, .session = 1};
    assert_int_equal(cirron_arrow_count(table, &rows), 1);
    cirron_table_free(table);
    assert_int_equal(blocks_held, 0);
}

static void batches_hold_131_072_rows_and_then_the_rest(void **state) {
    const size_t count = 200000;
    (void)state;
    cirron_table *table = many_spans(count, NULL);
    struct ArrowArrayStream stream = open_stream(table, (cirron_arrow_rows){0});
    cirron_table_free(table); /* the stream holds on to it */
    size_t row = 0;
    for (struct ArrowArray array = next(&stream); array.release != NULL; array = next(&stream)) {
        assert_int_equal(array.length, row == 0 ? 131072 : count - 131072);
        const int64_t *starts = array.children[5]->buffers[1];
        for (size_t i = 0; i < (size_t)array.length; i++, row++) {
            assert_int_equal(starts[i], row);
            assert_int_equal(is_valid(array.children[6], i), row == 0 || row % 3 != 0);
        }
        array.release(&array);
    }
    assert_int_equal(row, count);
    stream.release(&stream);
    assert_int_equal(blocks_held, 0);
}

static void long_texts_make_shorter_batches(void **state) {
    static char attrs[1 << 20];
    size_t rows = 0, batches = 0;
    (void)state;
    memset(attrs, ' ', sizeof(attrs) - 1);
    memcpy(attrs, "{}", 2);
    cirron_table *table = many_spans(150, attrs);
    struct ArrowArrayStream stream = open_stream(table, (cirron_arrow_rows){0});
    cirron_table_free(table);
    for (struct ArrowArray array = next(&stream); array.release != NULL; array = next(&stream)) {
        const int32_t *offsets = array.children[14]->buffers[1];
        assert_in_range(offsets[array.length], 0, CIRRON_ARROW_COLUMN_BYTES);
        rows += (size_t)array.length;
        batches++;
        array.release(&array);
    }
    assert_int_equal(rows, 150);
    assert_true(batches > 1);
    stream.release(&stream);
    assert_int_equal(blocks_held, 0);
}

static void a_column_moved_out_outlives_batch_stream_and_table(void **state) {
    (void)state;
    cirron_table *table = two_sessions();
    struct ArrowArray array = whole(table, CIRRON_ARROW_SPANS);
    struct ArrowArray starts = *array.children[5];
    struct ArrowArray names = *array.children[3];
    array.children[5]->release = NULL;
    array.children[3]->release = NULL;
    cirron_table_free(table);
    array.release(&array);
    assert_null(array.release);
    assert_int_equal(((const int64_t *)starts.buffers[1])[2], INT64_MAX - 7);
    assert_text(&names, 2, "step");
    starts.release(&starts);
    names.release(&names);
    assert_int_equal(blocks_held, 0);
}

static void *release_there(void *array) {
    ((struct ArrowArray *)array)->release(array);
    return NULL;
}

static void another_thread_may_release_the_last_hold(void **state) {
    pthread_t threads[8];
    struct ArrowArray arrays[8];
    (void)state;
    cirron_table *table = two_sessions();
    for (size_t i = 0; i < 8; i++) {
        arrays[i] = whole(table, CIRRON_ARROW_SPANS);
    }
    cirron_table_free(table);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, release_there, &arrays[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(blocks_held, 0);
}

static void every_failed_allocation_is_an_error_with_a_text(void **state) {
    (void)state;
    cirron_table *table = two_sessions();
    const cirron_arrow_rows rows = {.by_session = true, .session = 0};
    bool done = false;
    for (long limit = 0; !done; limit++) {
        struct ArrowArrayStream stream = {0};
        struct ArrowSchema schema = {0};
        struct ArrowArray array = {0};
        long before = blocks_held;
        assert_true(limit < 1000);
        allocations_left = limit;
        int made = cirron_arrow_stream(table, &rows, &stream);
        int failed = made != CIRRON_OK ? ENOMEM : stream.get_schema(&stream, &schema);
        failed = failed != 0 ? failed : stream.get_next(&stream, &array);
        allocations_left = UNLIMITED;
        assert_true(failed == 0 || failed == ENOMEM);
        if (made == CIRRON_OK && failed != 0) {
            assert_string_equal(stream.get_last_error(&stream), "out of memory");
            assert_null(array.release);
        }
        done = failed == 0;
        if (array.release != NULL) {
            array.release(&array);
        }
        if (schema.release != NULL) {
            schema.release(&schema);
        }
        if (stream.release != NULL) {
            stream.release(&stream);
        }
        assert_int_equal(blocks_held, before);
    }
    cirron_table_free(table);
    assert_int_equal(blocks_held, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_schema_names_every_column_and_its_type),
        cmocka_unit_test(integers_are_the_table_s_own_and_absent_ones_are_null),
        cmocka_unit_test(texts_are_ids_names_and_json),
        cmocka_unit_test(a_mark_has_its_value_in_the_column_of_its_type),
        cmocka_unit_test(an_empty_table_has_a_schema_and_no_batch),
        cmocka_unit_test(rows_can_be_those_of_a_session_or_a_rank),
        cmocka_unit_test(batches_hold_131_072_rows_and_then_the_rest),
        cmocka_unit_test(long_texts_make_shorter_batches),
        cmocka_unit_test(a_column_moved_out_outlives_batch_stream_and_table),
        cmocka_unit_test(another_thread_may_release_the_last_hold),
        cmocka_unit_test(every_failed_allocation_is_an_error_with_a_text),
    };
    use_fallible_memory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
