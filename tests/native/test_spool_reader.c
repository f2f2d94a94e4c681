/* Files as they lie in a spool directory: good, gone, broken, and no files at all. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/spool_reader.h"
#include "refuse.h"
#include "scratch.h"
#include "test.h"

static int read_error;                 /* errno of the next read; 0: it works */
static size_t read_at_most = SIZE_MAX; /* bytes */
static bool stat_is_refused;

/* In place of the C library's. */
ssize_t read(int file, void *bytes, size_t len) {
    errno = read_error;
    if (read_error != 0) {
        read_error = 0;
        return -1;
    }
    return NEXT(read)(file, bytes, len < read_at_most ? len : read_at_most);
}

int fstat(int file, struct stat *about) {
    errno = ESTALE;
    return stat_is_refused ? -1 : NEXT(fstat)(file, about);
}

static const char batch[] =
    "{\"sdk_version\":\"1\",\"spans\":[{\"id\":\"a\",\"name\":\"cirron.session\"}]}";

typedef struct fixture {
    char path[128];
    cirron_json_reader *reader;
    cirron_table *table;
    const char *why;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(make_scratch(), 0);
    (void)snprintf(f->path, sizeof(f->path), "%s/batch.json", scratch);
    f->reader = cirron_json_reader_new();
    f->table = cirron_table_new();
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    assert_int_equal(remove_scratch(), 0);
    cirron_json_reader_free(f->reader);
    cirron_table_free(f->table);
    free(f);
    return 0;
}

static void write_file(const fixture *f, const char *text, size_t len) {
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static int read_file(fixture *f) {
    f->why = NULL;
    return cirron_spool_read_file(f->reader, f->path, f->table, &f->why);
}

static void a_batch_file_is_read_with_its_size(void **state) {
    fixture *f = *state;
    write_file(f, batch, sizeof(batch) - 1);
    assert_int_equal(read_file(f), CIRRON_OK);
    assert_int_equal(cirron_table_link(f->table), CIRRON_OK);
    size_t count;
    const cirron_table_session *session = cirron_table_sessions(f->table, &count);
    assert_int_equal(count, 1);
    assert_int_equal(session->bytes, sizeof(batch) - 1);
}

static void a_file_that_has_gone_is_no_failure(void **state) {
    fixture *f = *state;
    assert_int_equal(read_file(f), CIRRON_OK);
    assert_int_equal(cirron_table_spans(f->table), 0);
}

static void a_file_that_cannot_be_opened_leaves_errno_set(void **state) {
    fixture *f = *state;
    assert_int_equal(symlink(f->path, f->path), 0);
    assert_int_equal(read_file(f), CIRRON_IO);
    assert_int_equal(errno, ELOOP);
}

static void an_empty_file_is_refused(void **state) {
    fixture *f = *state;
    write_file(f, "", 0);
    assert_int_equal(read_file(f), CIRRON_CORRUPT);
    assert_string_equal(f->why, "empty file");
}

static void a_truncated_file_leaves_no_row_and_the_next_one_is_read(void **state) {
    fixture *f = *state;
    write_file(f, batch, sizeof(batch) - 10);
    assert_int_equal(read_file(f), CIRRON_CORRUPT);
    assert_string_equal(f->why, "truncated JSON");
    write_file(f, batch, sizeof(batch) - 1);
    assert_int_equal(read_file(f), CIRRON_OK);
    assert_int_equal(cirron_table_spans(f->table), 1);
}

static void a_directory_is_refused(void **state) {
    fixture *f = *state;
    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_int_equal(read_file(f), CIRRON_CORRUPT);
    assert_string_equal(f->why, "not a regular file");
}

static void a_pipe_is_refused_without_waiting_for_a_writer(void **state) {
    fixture *f = *state;
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_int_equal(read_file(f), CIRRON_CORRUPT);
    assert_string_equal(f->why, "not a regular file");
}

static void a_huge_file_is_refused_unread(void **state) {
    fixture *f = *state;
    write_file(f, batch, sizeof(batch) - 1);
    assert_int_equal(truncate(f->path, (off_t)1 << 31), 0); /* a hole */
    assert_int_equal(read_file(f), CIRRON_CORRUPT);
    assert_string_equal(f->why, "larger than 2 GiB");
}

static void a_growing_series_of_files_reuses_one_reader(void **state) {
    fixture *f = *state;
    char text[4096];
    for (int i = 0; i < 40; i++) {
        int len = snprintf(text, sizeof(text), "{\"x\":\"%*s\",\"spans\":[{\"id\":\"%d\"}]}",
                           (i % 20) * 150, "", i);
        write_file(f, text, (size_t)len);
        assert_int_equal(read_file(f), CIRRON_OK);
    }
    assert_int_equal(cirron_table_spans(f->table), 40);
}

static void a_read_that_is_cut_short_or_interrupted_goes_on(void **state) {
    fixture *f = *state;
    write_file(f, batch, sizeof(batch) - 1);
    read_error = EINTR;
    read_at_most = 10;
    assert_int_equal(read_file(f), CIRRON_OK);
    read_at_most = SIZE_MAX;
    assert_int_equal(cirron_table_spans(f->table), 1);
}

static void a_disk_that_fails_leaves_errno_and_no_row(void **state) {
    fixture *f = *state;
    write_file(f, batch, sizeof(batch) - 1);
    read_error = EIO;
    assert_int_equal(read_file(f), CIRRON_IO);
    assert_int_equal(errno, EIO);
    stat_is_refused = true;
    int status = read_file(f);
    stat_is_refused = false;
    assert_int_equal(status, CIRRON_IO);
    assert_int_equal(errno, ESTALE);
    assert_int_equal(cirron_table_spans(f->table), 0);
    assert_int_equal(read_file(f), CIRRON_OK);
}

static void a_file_that_shrinks_meanwhile_is_refused(void **state) {
    fixture *f = *state;
    write_file(f, batch, sizeof(batch) - 1);
    read_at_most = 0; /* its size was seen, its bytes are gone */
    int status = read_file(f);
    read_at_most = SIZE_MAX;
    assert_int_equal(status, CIRRON_CORRUPT);
    assert_non_null(f->why);
    assert_int_equal(cirron_table_spans(f->table), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_batch_file_is_read_with_its_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_has_gone_is_no_failure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_opened_leaves_errno_set, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_empty_file_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_truncated_file_leaves_no_row_and_the_next_one_is_read,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_read_that_is_cut_short_or_interrupted_goes_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_disk_that_fails_leaves_errno_and_no_row, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_shrinks_meanwhile_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_directory_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pipe_is_refused_without_waiting_for_a_writer, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_huge_file_is_refused_unread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_growing_series_of_files_reuses_one_reader, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
