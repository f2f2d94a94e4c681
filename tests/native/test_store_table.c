/* What ci.trace() reads: the store's records as rows. */
#include "core/store_table.h"
#include "test.h"

typedef struct fixture {
    cirron_intern *names;
    cirron_store *store;
    cirron_table *table;
} fixture;

static cirron_id id_of(uint8_t number) {
    return (cirron_id){{number, 0xab}};
}

static uint32_t name_of(const fixture *f, const char *name) {
    return cirron_intern_name(f->names, name, strlen(name));
}

static fixture set_up(void) {
    fixture f = {.names = cirron_intern_new(), .table = cirron_table_new()};
    f.store = cirron_store_new(f.names, 100);
    return f;
}

static void tear_down(const fixture *f) {
    cirron_table_free(f->table);
    cirron_store_free(f->store);
    cirron_intern_free(f->names);
}

static void put_span(const fixture *f, uint8_t number, uint8_t parent, uint32_t session) {
    cirron_span_record span = {
        .id = id_of(number),
        .parent_id = id_of(parent),
        .start_ns = 100 * number,
        .duration_ns = 7,
        .cpu_ns = 3,
        .index = number,
        .overhead_ns = 11,
        .thread_id = 13,
        .name = name_of(f, "step"),
        .session = session,
        .flags = CIRRON_SPAN_CPU | CIRRON_SPAN_INDEX | (parent != 0 ? CIRRON_SPAN_PARENT : 0u),
    };
    assert_int_equal(cirron_store_put_span(f->store, &span, NULL), CIRRON_OK);
}

static int64_t get(const fixture *f, enum cirron_table_column column, size_t row) {
    return cirron_table_ints(f->table, column)[row];
}

static void a_span_keeps_its_fields_and_gets_the_process(void **state) {
    (void)state;
    fixture f = set_up();
    put_span(&f, 1, 0, 0);
    put_span(&f, 2, 1, 0);
    assert_int_equal(cirron_table_from_store(f.table, f.store, f.names, 41, 42, 0, -1), CIRRON_OK);
    assert_int_equal(cirron_table_link(f.table), CIRRON_OK);
    assert_int_equal(cirron_table_spans(f.table), 2);
    assert_int_equal(get(&f, CIRRON_COLUMN_START, 1), 200);
    assert_int_equal(get(&f, CIRRON_COLUMN_END, 1), 207);
    assert_int_equal(get(&f, CIRRON_COLUMN_CPU, 1), 3);
    assert_int_equal(get(&f, CIRRON_COLUMN_INDEX, 1), 2);
    assert_int_equal(get(&f, CIRRON_COLUMN_OVERHEAD, 1), 11);
    assert_int_equal(get(&f, CIRRON_COLUMN_THREAD, 1), 13);
    assert_int_equal(get(&f, CIRRON_COLUMN_PID, 1), 41);
    assert_int_equal(get(&f, CIRRON_COLUMN_RANK, 1), 42);
    assert_int_equal(get(&f, CIRRON_COLUMN_PARENT_ROW, 1), 0);
    uint8_t present[16];
    cirron_table_present(f.table, CIRRON_COLUMN_GPU, present);
    assert_int_equal(present[0], 0);
    assert_null(cirron_table_attrs(f.table, 0).data);
    tear_down(&f);
}

static void inline_names_values_and_attributes_are_told_apart(void **state) {
    (void)state;
    fixture f = set_up();
    cirron_id span_id = id_of(1);
    cirron_span_record span = {
        .id = span_id, .name = CIRRON_NAME_INLINE, .name_len = 4, .attrs_len = 7};
    assert_int_equal(cirron_store_put_span(f.store, &span, "long{\"a\":1}"), CIRRON_OK);
    cirron_mark_record mark = {
        .span_id = span_id,
        .name = CIRRON_NAME_INLINE,
        .name_len = 3,
        .value_len = 2,
        .attrs_len = 7,
        .value_type = CIRRON_VALUE_STRING,
        .kind = CIRRON_MARK_SUMMARY,
    };
    cirron_id mark_id = id_of(9);
    assert_int_equal(cirron_store_put_mark(f.store, &mark, "tagv1{\"b\":2}", &mark_id), CIRRON_OK);
    assert_int_equal(cirron_table_from_store(f.table, f.store, f.names, 1, 0, 0, -1), CIRRON_OK);
    assert_int_equal(cirron_table_link(f.table), CIRRON_OK);
    assert_text_is(cirron_table_name_text(f.table, cirron_table_name(f.table, 0)), "long");
    assert_text_is(cirron_table_attrs(f.table, 0), "{\"a\":1}");
    size_t count;
    const uint32_t *marks = cirron_table_marks_of(f.table, 0, &count);
    assert_int_equal(count, 1);
    cirron_table_mark row = cirron_table_mark_at(f.table, marks[0]);
    assert_text_is(row.name, "tag");
    assert_text_is(row.as_string, "v1");
    assert_text_is(row.attrs, "{\"b\":2}");
    assert_int_equal(row.kind, CIRRON_MARK_SUMMARY);
    tear_down(&f);
}

static void since_and_session_choose_spans(void **state) {
    (void)state;
    fixture f = set_up();
    put_span(&f, 1, 0, 1);
    put_span(&f, 2, 0, 2);
    put_span(&f, 3, 0, 1);
    assert_int_equal(cirron_table_from_store(f.table, f.store, f.names, 1, 0, 1, 1), CIRRON_OK);
    assert_int_equal(cirron_table_link(f.table), CIRRON_OK);
    assert_int_equal(cirron_table_spans(f.table), 1);
    assert_int_equal(get(&f, CIRRON_COLUMN_INDEX, 0), 3);
    tear_down(&f);
}

static void an_open_span_has_its_marks_and_no_end(void **state) {
    (void)state;
    fixture f = set_up();
    cirron_id root = id_of(7);
    cirron_id mark_id = id_of(8);
    cirron_mark_record mark = {.span_id = root, .name = name_of(&f, "loss"), .value.as_float = 0.5};
    assert_int_equal(cirron_store_put_mark(f.store, &mark, NULL, &mark_id), CIRRON_OK);
    put_span(&f, 1, 7, 0);
    const cirron_table_span about = {
        .name = {"cirron.session", 14}, .start_ns = 5, .end_ns = 6, .present = CIRRON_HAS_END};
    assert_int_equal(cirron_table_from_store(f.table, f.store, f.names, 1, 0, 0, -1), CIRRON_OK);
    assert_int_equal(cirron_table_add_open_span(f.table, f.store, f.names, &root, &about),
                     CIRRON_OK);
    assert_int_equal(cirron_table_link(f.table), CIRRON_OK);
    size_t count;
    const cirron_table_session *session = cirron_table_sessions(f.table, &count);
    assert_int_equal(count, 1);
    assert_int_equal(session->row, 1);
    assert_true(session->live);
    assert_int_equal(session->spans, 2);
    const uint32_t *marks = cirron_table_marks_of(f.table, 1, &count);
    assert_int_equal(count, 1);
    assert_true(cirron_table_mark_at(f.table, marks[0]).as_float == 0.5);
    tear_down(&f);
}

static void each_type_of_value_keeps_it(void **state) {
    (void)state;
    fixture f = set_up();
    cirron_span_record span = {.id = id_of(1),
                               .gpu_ns = 21,
                               .memory_peak_bytes = 22,
                               .name = name_of(&f, "step"),
                               .flags = CIRRON_SPAN_GPU | CIRRON_SPAN_MEMORY};
    assert_int_equal(cirron_store_put_span(f.store, &span, NULL), CIRRON_OK);
    cirron_mark_record mark = {.span_id = id_of(1), .name = name_of(&f, "loss")};
    for (uint8_t type = CIRRON_VALUE_FLOAT; type <= CIRRON_VALUE_BOOL; type++) {
        cirron_id id = id_of((uint8_t)(10 + type));
        mark.value_type = type;
        mark.ts_ns = type;
        mark.value_len = type == CIRRON_VALUE_STRING ? 2 : 0;
        if (type == CIRRON_VALUE_FLOAT) {
            mark.value.as_float = 0.5;
        } else {
            mark.value.as_int = 1;
        }
        assert_int_equal(cirron_store_put_mark(f.store, &mark, "ab", &id), CIRRON_OK);
    }
    assert_int_equal(cirron_table_from_store(f.table, f.store, f.names, 1, 0, 0, -1), CIRRON_OK);
    assert_int_equal(cirron_table_link(f.table), CIRRON_OK);
    assert_int_equal(get(&f, CIRRON_COLUMN_GPU, 0), 21);
    assert_int_equal(get(&f, CIRRON_COLUMN_MEMORY, 0), 22);
    size_t count;
    const uint32_t *marks = cirron_table_marks_of(f.table, 0, &count);
    assert_int_equal(count, 4);
    assert_true(cirron_table_mark_at(f.table, marks[0]).as_float == 0.5);
    assert_int_equal(cirron_table_mark_at(f.table, marks[1]).as_int, 1);
    assert_text_is(cirron_table_mark_at(f.table, marks[2]).as_string, "ab");
    assert_int_equal(cirron_table_mark_at(f.table, marks[3]).as_int, 1);
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_span_keeps_its_fields_and_gets_the_process),
        cmocka_unit_test(inline_names_values_and_attributes_are_told_apart),
        cmocka_unit_test(since_and_session_choose_spans),
        cmocka_unit_test(an_open_span_has_its_marks_and_no_end),
        cmocka_unit_test(each_type_of_value_keeps_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
