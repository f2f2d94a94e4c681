/* Linking: which rows stay, whose children they are, and which session they are in. */
#include <stdio.h>

#include "core/span_table.h"
#include "fallible_memory.h"
#include "test.h"

static void add_span(cirron_table *table, const char *id, const char *parent, int64_t start,
                     int64_t end, uint32_t source) {
    bool session = parent == NULL && strncmp(id, "session", 7) == 0;
    cirron_table_span span = {
        .id = text_of(id),
        .parent_id = text_of(parent),
        .name = text_of(session ? "cirron.session" : "step"),
        .start_ns = start,
        .end_ns = end,
        .present = end != 0 ? CIRRON_HAS_END : 0,
    };
    assert_int_equal(cirron_table_add_span(table, &span, source), CIRRON_OK);
}

static void add_mark(cirron_table *table, const char *id, const char *span, int64_t ts,
                     int64_t value, uint32_t source) {
    cirron_table_mark mark = {
        .id = text_of(id),
        .span_id = text_of(span),
        .name = text_of("loss"),
        .ts_ns = ts,
        .as_int = value,
        .value_type = CIRRON_VALUE_INT,
    };
    assert_int_equal(cirron_table_add_mark(table, &mark, source), CIRRON_OK);
}

static void add_snapshot(cirron_table *table, const char *id, const char *span, uint32_t source) {
    cirron_table_snapshot snapshot = {
        .id = text_of(id), .span_id = text_of(span), .stats = text_of("{}")};
    assert_int_equal(cirron_table_add_snapshot(table, &snapshot, source), CIRRON_OK);
}

static uint32_t add_source(cirron_table *table, uint64_t bytes, int64_t created,
                           const char *version) {
    uint32_t source = 0;
    assert_int_equal(cirron_table_add_source(table, bytes, &source), CIRRON_OK);
    assert_int_equal(cirron_table_describe_source(table, source, created, text_of(version)),
                     CIRRON_OK);
    return source;
}

static void link_table(cirron_table *table) {
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
}

static int64_t get(const cirron_table *table, enum cirron_table_column column, size_t row) {
    return cirron_table_ints(table, column)[row];
}

static void assert_id(const cirron_table *table, size_t row, const char *expected) {
    char hex[32];
    cirron_text text = cirron_table_id_text(table, cirron_table_id(table, row), hex);
    assert_text_is(text, expected);
}

/* "id depth id depth ..." of the whole tree. */
static void assert_tree(const cirron_table *table, const char *expected) {
    char found[400] = "";
    for (size_t i = 0; i < cirron_table_spans(table); i++) {
        char hex[32];
        size_t row = (size_t)cirron_table_tree_rows(table)[i];
        cirron_text text = cirron_table_id_text(table, cirron_table_id(table, row), hex);
        size_t len = strlen(found);
        (void)snprintf(found + len, sizeof(found) - len, "%s%.*s %d", i == 0 ? "" : " ",
                       (int)text.len, text.data, cirron_table_tree_depths(table)[i]);
    }
    assert_string_equal(found, expected);
}

static void any_id_comes_back_as_it_was(void **state) {
    (void)state;
    const char *const ids[] = {
        "00112233445566778899aabbccddeeff",
        "ffffffffffffffffffffffffffffffff",
        "00112233445566778899AABBCCDDEEFF",
        "00112233445566778899aabbccddeefg",
        "0011223344556677/899aabbccddeeff",
        "001122334455667:8899aabbccddeeff",
        "00112233445566778899`abbccddeeff",
        "0011223344556677 899aabbccddeeff",
        "00112233445566778899a\303\251bccddeef",
        "0123456789abcdef",
        "67e55044-10b1-426f-9247-bb680e5fe0c8",
        "root",
        "",
        "x",
    };
    const size_t count = sizeof(ids) / sizeof(ids[0]);
    cirron_table *table = cirron_table_new();
    for (size_t i = 0; i < count; i++) {
        add_span(table, ids[i], i > 0 ? ids[i - 1] : NULL, 1, 2, 0);
    }
    link_table(table);
    assert_int_equal(cirron_table_spans(table), count);
    for (size_t i = 0; i < count; i++) {
        assert_id(table, i, ids[i]);
        assert_int_equal(get(table, CIRRON_COLUMN_PARENT_ROW, i), (int64_t)i - 1);
    }
    cirron_table_free(table);
}

static void an_id_given_as_bytes_is_the_id_of_its_digits(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    const cirron_id id = {{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}};
    cirron_table_span span = {.name = text_of("parent")};
    assert_int_equal(cirron_table_put_span(table, &id, NULL, &span, 0), CIRRON_OK);
    add_span(table, "child", "0123456789abcdef0000000000000000", 1, 2, 0);
    link_table(table);
    assert_int_equal(get(table, CIRRON_COLUMN_PARENT_ROW, 1), 0);
    assert_id(table, 0, "0123456789abcdef0000000000000000");
    cirron_table_free(table);
}

static void a_closed_span_wins_over_an_open_one_and_else_the_last(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    add_span(table, "x", NULL, 1, 0, 0);
    add_span(table, "a", NULL, 1, 10, 0);
    add_span(table, "b", NULL, 1, 0, 0);
    add_span(table, "c", NULL, 1, 0, 0);
    add_span(table, "a", NULL, 2, 0, 0);
    add_span(table, "b", NULL, 2, 20, 0);
    add_span(table, "c", NULL, 2, 0, 0);
    add_span(table, "y", "c", 1, 0, 0);
    add_span(table, "a", NULL, 3, 30, 0);
    link_table(table);
    assert_int_equal(cirron_table_spans(table), 5);
    const char *const ids[] = {"x", "a", "b", "c", "y"};
    const int64_t ends[] = {0, 30, 20, 0, 0};
    const int64_t starts[] = {1, 3, 2, 2, 1};
    for (size_t row = 0; row < 5; row++) {
        assert_id(table, row, ids[row]);
        assert_int_equal(get(table, CIRRON_COLUMN_END, row), ends[row]);
        assert_int_equal(get(table, CIRRON_COLUMN_START, row), starts[row]);
    }
    assert_int_equal(get(table, CIRRON_COLUMN_PARENT_ROW, 4), 3);
    cirron_table_free(table);
}

static void the_last_of_equal_marks_stays_and_marks_stand_by_time(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    add_span(table, "a", NULL, 1, 2, 0);
    add_span(table, "b", NULL, 1, 2, 0);
    add_mark(table, "m1", "b", 30, 1, 0);
    add_mark(table, "m2", "nowhere", 1, 2, 0);
    add_mark(table, "m3", "a", 5, 3, 0);
    add_mark(table, "m4", "b", 20, 4, 0);
    add_mark(table, "m5", "root", 1, 5, 0);
    add_mark(table, "m1", "b", 10, 6, 0);
    add_mark(table, "m6", "b", 20, 7, 0);
    link_table(table);
    assert_int_equal(cirron_table_marks(table), 6);
    assert_int_equal(get(table, CIRRON_COLUMN_MARK_COUNT, 0), 1);
    assert_int_equal(get(table, CIRRON_COLUMN_MARK_COUNT, 1), 3);
    size_t count;
    const uint32_t *marks = cirron_table_marks_of(table, 1, &count);
    const int64_t values[] = {6, 4, 7};
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(cirron_table_mark_at(table, marks[i]).as_int, values[i]);
    }
    cirron_table_free(table);
}

static void children_stand_by_start_and_then_by_row(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    add_span(table, "c3", "p", 30, 31, 0);
    add_span(table, "g2", "c1", 5, 6, 0);
    add_span(table, "c1", "p", 10, 20, 0);
    add_span(table, "g1", "c1", 5, 6, 0);
    add_span(table, "c2", "p", 10, 11, 0);
    add_span(table, "late", NULL, 50, 60, 0);
    add_span(table, "p", NULL, 1, 40, 0);
    add_span(table, "lost", "gone", 0, 1, 0);
    link_table(table);
    assert_tree(table, "lost 0 p 0 c1 1 g2 2 g1 2 c2 1 c3 1 late 0");
    cirron_table_free(table);
}

static void a_loop_of_parents_is_cut_and_counts_as_orphan(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    add_span(table, "tail", "a", 9, 10, 0);
    add_span(table, "a", "b", 1, 10, 0);
    add_span(table, "b", "c", 2, 10, 0);
    add_span(table, "c", "a", 3, 10, 0);
    add_span(table, "self", "self", 4, 10, 0);
    add_span(table, "session", NULL, 5, 10, 0);
    link_table(table);
    assert_tree(table, "a 0 c 1 b 2 tail 1 self 0 session 0");
    size_t count;
    assert_int_equal(cirron_table_sessions(table, &count)->spans, 1);
    assert_int_equal(count, 1);
    for (size_t row = 0; row < 5; row++) {
        assert_int_equal(get(table, CIRRON_COLUMN_SESSION, row), -1);
    }
    cirron_table_free(table);
}

static void sessions_hold_their_descendants_and_stand_newest_first(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    uint32_t one = add_source(table, 100, 7, "1.0");
    uint32_t two = add_source(table, 20, 9, "2.0");
    uint32_t three = add_source(table, 3, 8, "1.5");
    add_span(table, "session-old", NULL, 10, 0, one);
    add_span(table, "session-new", NULL, 50, 0, one);
    add_span(table, "deep", "mid", 12, 13, two);
    add_span(table, "mid", "session-old", 11, 14, one);
    add_span(table, "lost", "gone", 1, 2, three);
    add_span(table, "session-old", NULL, 10, 40, three);
    add_span(table, "session-nested", "session-old", 20, 30, one);
    add_mark(table, "m1", "deep", 1, 1, one);
    add_mark(table, "m2", "lost", 1, 1, one);
    add_snapshot(table, "s1", "mid", one);
    add_snapshot(table, "s1", "mid", one);
    link_table(table);

    size_t count;
    const cirron_table_session *sessions = cirron_table_sessions(table, &count);
    assert_int_equal(count, 2);
    assert_int_equal(sessions[0].started_ns, 50);
    assert_true(sessions[0].live);
    assert_int_equal(sessions[0].spans, 1);
    assert_int_equal(sessions[0].bytes, 100);
    assert_memory_equal(sessions[0].sdk_version.data, "1.0", 3);
    assert_id(table, (size_t)sessions[1].row, "session-old");
    assert_false(sessions[1].live);
    assert_int_equal(sessions[1].ended_ns, 40);
    assert_int_equal(sessions[1].spans, 4);
    assert_int_equal(sessions[1].marks, 1);
    assert_int_equal(sessions[1].snapshots, 1);
    assert_int_equal(sessions[1].bytes, 123);
    assert_memory_equal(sessions[1].sdk_version.data, "2.0", 3);
    assert_tree(table, "lost 0 session-old 0 mid 1 deep 2 session-nested 1 session-new 0");
    assert_int_equal(sessions[1].tree_start, 1);
    assert_int_equal(sessions[0].tree_start, 5);
    assert_int_equal(get(table, CIRRON_COLUMN_SESSION, 4), -1);
    assert_int_equal(get(table, CIRRON_COLUMN_SESSION, 2), 1);
    cirron_table_free(table);
}

static void the_file_of_a_record_that_lost_still_counts(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    uint32_t one = add_source(table, 1, 1, NULL);
    uint32_t two = add_source(table, 10, 2, "2");
    uint32_t three = add_source(table, 100, 3, NULL);
    uint32_t four = add_source(table, 1000, 4, NULL);
    add_span(table, "session", NULL, 10, 0, one);
    add_span(table, "session", NULL, 10, 40, two);
    add_mark(table, "m", "session", 1, 1, three);
    add_mark(table, "m", "session", 1, 1, two);
    add_snapshot(table, "s", "session", four);
    add_snapshot(table, "s", "session", two);
    link_table(table);
    size_t count;
    const cirron_table_session *session = cirron_table_sessions(table, &count);
    assert_int_equal(session->bytes, 1111);
    assert_memory_equal(session->sdk_version.data, "2", 1);
    cirron_table_free(table);
}

static void orphans_make_one_session_only_where_there_is_no_other(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    add_span(table, "a", "gone", 5, 9, 0);
    add_span(table, "b", NULL, 3, 0, 0);
    add_span(table, "c", "a", 6, 7, 0);
    add_mark(table, "m", "c", 1, 1, 0);
    link_table(table);
    size_t count;
    const cirron_table_session *session = cirron_table_sessions(table, &count);
    assert_int_equal(count, 1);
    assert_int_equal(session->row, -1);
    assert_int_equal(session->started_ns, 3);
    assert_int_equal(session->ended_ns, 9);
    assert_false(session->live);
    assert_int_equal(session->spans, 3);
    assert_int_equal(session->marks, 1);
    assert_int_equal(session->tree_start, 0);
    for (size_t row = 0; row < 3; row++) {
        assert_int_equal(get(table, CIRRON_COLUMN_SESSION, row), 0);
    }
    cirron_table_free(table);
}

static void an_empty_table_has_no_session(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    add_mark(table, "m", "gone", 1, 1, 0);
    link_table(table);
    size_t count;
    (void)cirron_table_sessions(table, &count);
    assert_int_equal(count, 0);
    assert_int_equal(cirron_table_spans(table), 0);
    assert_int_equal(cirron_table_marks(table), 1);
    cirron_table_free(table);
}

static void a_chain_of_200_000_spans_is_one_session(void **state) {
    (void)state;
    enum { COUNT = 200000 };
    cirron_table *table = cirron_table_new();
    char id[24];
    char parent[24];
    for (int i = COUNT - 1; i > 0; i--) {
        (void)snprintf(id, sizeof(id), "%d", i);
        (void)snprintf(parent, sizeof(parent), i > 1 ? "%d" : "session", i - 1);
        add_span(table, id, parent, i, COUNT * 2 - i, 0);
    }
    add_span(table, "session", NULL, 0, COUNT * 2, 0);
    link_table(table);
    size_t count;
    assert_int_equal(cirron_table_sessions(table, &count)->spans, COUNT);
    assert_int_equal(cirron_table_tree_depths(table)[COUNT - 1], COUNT - 1);
    assert_int_equal(cirron_table_tree_rows(table)[COUNT - 1], 0);
    cirron_table_free(table);
}

static void a_rollback_leaves_the_table_as_it_was(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    add_span(table, "a", NULL, 1, 2, add_source(table, 5, 1, "v"));
    cirron_table_savepoint savepoint = cirron_table_save(table);
    add_span(table, "b", "a", 1, 2, add_source(table, 7, 2, "w"));
    add_mark(table, "m", "a", 1, 1, 2);
    add_snapshot(table, "s", "a", 2);
    cirron_table_rollback(table, &savepoint);
    add_span(table, "b", "a", 3, 4, add_source(table, 11, 0, NULL));
    link_table(table);
    size_t count;
    const cirron_table_session *session = cirron_table_sessions(table, &count);
    assert_int_equal(cirron_table_spans(table), 2);
    assert_int_equal(cirron_table_marks(table), 0);
    assert_int_equal(cirron_table_snapshots(table), 0);
    assert_int_equal(get(table, CIRRON_COLUMN_START, 1), 3);
    assert_int_equal(session->bytes, 16);
    assert_memory_equal(session->sdk_version.data, "v", 1);
    cirron_table_free(table);
}

/* Fills and links a table with something of everything. */
static int fill_and_link(void) {
    cirron_table *table = cirron_table_new();
    uint32_t source = 0;
    int status = table == NULL ? CIRRON_NO_MEMORY : cirron_table_add_source(table, 1, &source);
    for (int i = 0; i < 200 && status == CIRRON_OK; i++) {
        char id[24];
        char name[24];
        (void)snprintf(id, sizeof(id), "id-%d", i % 150);
        (void)snprintf(name, sizeof(name), "name-%d", i);
        cirron_text text = text_of(id);
        cirron_table_span span = {
            .id = text, .name = text_of(name), .attrs = text_of("{}"), .start_ns = -i};
        cirron_table_mark mark = {.id = text,
                                  .span_id = text_of("id-1"),
                                  .as_string = text,
                                  .value_type = CIRRON_VALUE_STRING,
                                  .ts_ns = -i};
        cirron_table_snapshot snapshot = {.id = text, .span_id = text, .mode = text_of("full")};
        status = cirron_table_add_span(table, &span, source);
        if (status == CIRRON_OK) {
            status = cirron_table_add_mark(table, &mark, source);
        }
        if (status == CIRRON_OK) {
            status = cirron_table_add_snapshot(table, &snapshot, source);
        }
    }
    if (status == CIRRON_OK) {
        status = cirron_table_link(table);
    }
    cirron_table_free(table);
    return status;
}

static void every_failed_allocation_is_reported_and_nothing_leaks(void **state) {
    (void)state;
    assert_int_equal(blocks_held, 0);
    int status = CIRRON_NO_MEMORY;
    for (long limit = 0; status != CIRRON_OK; limit++) {
        assert_true(limit < 1000);
        allocations_left = limit;
        status = fill_and_link();
        allocations_left = UNLIMITED;
        assert_true(status == CIRRON_OK || status == CIRRON_NO_MEMORY);
        assert_int_equal(blocks_held, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_id_comes_back_as_it_was),
        cmocka_unit_test(an_id_given_as_bytes_is_the_id_of_its_digits),
        cmocka_unit_test(a_closed_span_wins_over_an_open_one_and_else_the_last),
        cmocka_unit_test(the_last_of_equal_marks_stays_and_marks_stand_by_time),
        cmocka_unit_test(children_stand_by_start_and_then_by_row),
        cmocka_unit_test(a_loop_of_parents_is_cut_and_counts_as_orphan),
        cmocka_unit_test(sessions_hold_their_descendants_and_stand_newest_first),
        cmocka_unit_test(the_file_of_a_record_that_lost_still_counts),
        cmocka_unit_test(orphans_make_one_session_only_where_there_is_no_other),
        cmocka_unit_test(an_empty_table_has_no_session),
        cmocka_unit_test(a_chain_of_200_000_spans_is_one_session),
        cmocka_unit_test(a_rollback_leaves_the_table_as_it_was),
        cmocka_unit_test(every_failed_allocation_is_reported_and_nothing_leaks),
    };
    use_fallible_memory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
