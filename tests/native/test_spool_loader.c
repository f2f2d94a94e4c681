/* Many files by several threads come out as by one. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/spool_loader.h"
#include "refuse.h"
#include "scratch.h"
#include "test.h"

static quota threads_left = UNLIMITED;

/* In place of the C library's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
    return take_one(&threads_left) > 0 ? NEXT(pthread_create)(thread, attributes, run, argument)
                                       : EAGAIN;
}

enum { FILES = 60, BROKEN = 7, MISSING = 11, SPANS = 20 };

static char paths[FILES][64];

/* Names, odd ids, marks of every type and a span that stands in each file. */
static void write_file(int number) {
    FILE *file = fopen(paths[number], "w");
    assert_non_null(file);
    (void)fprintf(file,
                  "{\"sdk_version\":\"0.%d\",\"created_ns\":%d,\"spans\":["
                  "{\"id\":\"root\",\"name\":\"cirron.session\",\"start_ns\":1,\"end_ns\":%s}",
                  number, number, number == FILES / 2 ? "900" : "null");
    for (int i = 0; i < SPANS; i++) {
        (void)fprintf(file,
                      ",{\"id\":\"odd %d/%d\",\"parent_id\":\"root\",\"name\":\"name %d\","
                      "\"start_ns\":%d,\"end_ns\":99,\"attrs\":{\"n\":%d}}",
                      number, i, (number * 3 + i) % 50, number * SPANS + i, number * 100 + i);
    }
    (void)fprintf(file,
                  "],\"marks\":[{\"id\":\"m%d\",\"span_id\":\"root\",\"name\":\"mark %d\","
                  "\"value_type\":\"string\",\"value\":\"value %d\",\"ts_ns\":%d,\"attrs\":"
                  "{\"m\":1}}],\"snapshots\":[{\"id\":\"s%d\",\"span_id\":\"odd %d/0\","
                  "\"tensor_name\":\"t%d\"}]",
                  number, number, number, number, number, number, number);
    (void)fprintf(file, number == BROKEN ? "" : "}");
    assert_int_equal(fclose(file), 0);
}

static int write_spool(void **state) {
    (void)state;
    assert_int_equal(make_scratch(), 0);
    for (int i = 0; i < FILES; i++) {
        (void)snprintf(paths[i], sizeof(paths[i]), "%s/%03d.json", scratch, i);
        if (i != MISSING) {
            write_file(i);
        }
    }
    return 0;
}

static int remove_spool(void **state) {
    (void)state;
    return remove_scratch();
}

static cirron_table *read_in_order(void) {
    cirron_table *table = cirron_table_new();
    cirron_json_reader *reader = cirron_json_reader_new();
    for (int i = 0; i < FILES; i++) {
        const char *why;
        (void)cirron_spool_read_file(reader, paths[i], table, &why);
    }
    cirron_json_reader_free(reader);
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    return table;
}

static cirron_table *read_by_threads(unsigned threads, cirron_spool_file files[FILES]) {
    cirron_table *table = cirron_table_new();
    for (int i = 0; i < FILES; i++) {
        files[i] = (cirron_spool_file){.path = paths[i]};
    }
    cirron_spool_loader *loader = cirron_spool_loader_start(table, files, FILES, threads);
    assert_non_null(loader);
    while (!cirron_spool_loader_wait(loader, 1000000)) {
    }
    assert_int_equal(cirron_spool_loader_end(loader), CIRRON_OK);
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    return table;
}

static void assert_same_text(cirron_text left, cirron_text right) {
    assert_int_equal(left.data == NULL, right.data == NULL);
    assert_int_equal(left.len, right.len);
    if (left.data != NULL) {
        assert_memory_equal(left.data, right.data, left.len);
    }
}

static void assert_same_spans(const cirron_table *left, const cirron_table *right) {
    for (size_t row = 0; row < cirron_table_spans(left); row++) {
        char hex[2][32];
        assert_same_text(cirron_table_id_text(left, cirron_table_id(left, row), hex[0]),
                         cirron_table_id_text(right, cirron_table_id(right, row), hex[1]));
        assert_same_text(cirron_table_name_text(left, cirron_table_name(left, row)),
                         cirron_table_name_text(right, cirron_table_name(right, row)));
        assert_same_text(cirron_table_attrs(left, row), cirron_table_attrs(right, row));
        for (int column = 0; column < CIRRON_COLUMN_COUNT; column++) {
            assert_int_equal(cirron_table_ints(left, (enum cirron_table_column)column)[row],
                             cirron_table_ints(right, (enum cirron_table_column)column)[row]);
        }
        assert_int_equal(cirron_table_tree_rows(left)[row], cirron_table_tree_rows(right)[row]);
    }
}

static void assert_same_tables(const cirron_table *left, const cirron_table *right) {
    size_t count[2];
    assert_int_equal(cirron_table_spans(left), cirron_table_spans(right));
    assert_int_equal(cirron_table_marks(left), cirron_table_marks(right));
    assert_int_equal(cirron_table_snapshots(left), cirron_table_snapshots(right));
    assert_same_spans(left, right);
    for (uint32_t i = 0; i < cirron_table_marks(left); i++) {
        cirron_table_mark a = cirron_table_mark_at(left, i);
        cirron_table_mark b = cirron_table_mark_at(right, i);
        assert_same_text(a.name, b.name);
        assert_same_text(a.as_string, b.as_string);
        assert_same_text(a.attrs, b.attrs);
    }
    for (size_t i = 0; i < cirron_table_snapshots(left); i++) {
        assert_same_text(cirron_table_snapshot_at(left, i).tensor_name,
                         cirron_table_snapshot_at(right, i).tensor_name);
        assert_int_equal(cirron_table_snapshot_row(left, i), cirron_table_snapshot_row(right, i));
    }
    const cirron_table_session *a = cirron_table_sessions(left, &count[0]);
    const cirron_table_session *b = cirron_table_sessions(right, &count[1]);
    assert_int_equal(count[0], 1);
    assert_int_equal(count[1], 1);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(a->ended_ns, b->ended_ns);
    assert_same_text(a->sdk_version, b->sdk_version);
}

static void any_number_of_threads_gives_the_same_table(void **state) {
    (void)state;
    cirron_table *expected = read_in_order();
    assert_int_equal(cirron_table_spans(expected), 1 + (FILES - 2) * SPANS);
    for (unsigned threads = 1; threads <= 9; threads++) {
        cirron_spool_file files[FILES];
        cirron_table *table = read_by_threads(threads, files);
        assert_same_tables(table, expected);
        for (int i = 0; i < FILES; i++) {
            assert_int_equal(files[i].status, i == BROKEN ? CIRRON_CORRUPT : CIRRON_OK);
        }
        assert_string_equal(files[BROKEN].why, "truncated JSON");
        cirron_table_free(table);
    }
    cirron_table_free(expected);
}

static void threads_that_are_refused_are_done_without(void **state) {
    (void)state;
    cirron_table *expected = read_in_order();
    assert_in_range(cirron_spool_loader_threads(), 1, 8);
    for (int granted = 0; granted < 3; granted++) {
        cirron_spool_file files[FILES];
        threads_left = granted;
        cirron_table *table = read_by_threads(4, files);
        threads_left = UNLIMITED;
        assert_same_tables(table, expected);
        cirron_table_free(table);
    }
    cirron_table_free(expected);
}

static void no_file_is_read_at_once(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    cirron_spool_loader *loader = cirron_spool_loader_start(table, NULL, 0, 4);
    assert_true(cirron_spool_loader_wait(loader, 0));
    assert_int_equal(cirron_spool_loader_end(loader), CIRRON_OK);
    cirron_table_free(table);
}

static void a_loader_can_be_ended_early(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        cirron_spool_file files[FILES] = {0};
        cirron_table *table = cirron_table_new();
        for (int j = 0; j < FILES; j++) {
            files[j].path = paths[j];
        }
        cirron_spool_loader *loader = cirron_spool_loader_start(table, files, FILES, 3);
        (void)cirron_spool_loader_wait(loader, i * 10000);
        assert_int_equal(cirron_spool_loader_end(loader), CIRRON_OK);
        assert_true(cirron_table_spans(table) <= (FILES - 2) * (SPANS + 1));
        cirron_table_free(table);
    }
}

static void a_cleared_table_is_filled_once_more(void **state) {
    cirron_table *table = cirron_table_new();
    const char *why;
    cirron_json_reader *reader = cirron_json_reader_new();
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cirron_spool_read_file(reader, paths[i], table, &why), CIRRON_OK);
        cirron_table_clear(table);
        assert_int_equal(cirron_table_spans(table), 0);
        assert_int_equal(cirron_table_names(table), 0);
    }
    assert_int_equal(cirron_spool_read_file(reader, paths[2], table, &why), CIRRON_OK);
    assert_int_equal(cirron_table_spans(table), SPANS + 1);
    cirron_json_reader_free(reader);
    cirron_table_free(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_table),
        cmocka_unit_test(threads_that_are_refused_are_done_without),
        cmocka_unit_test(no_file_is_read_at_once),
        cmocka_unit_test(a_loader_can_be_ended_early),
        cmocka_unit_test(a_cleared_table_is_filled_once_more),
    };
    return cmocka_run_group_tests(tests, write_spool, remove_spool);
}
