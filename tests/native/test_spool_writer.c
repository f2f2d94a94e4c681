/* The spool directory: whole files, a cap, a disk that refuses, a directory that goes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/spool_writer.h"

enum { PATH_BYTES = 512, GENEROUS = 1 << 30 };

static bool memory_is_short;

static void *allocate(size_t size) {
    return memory_is_short ? NULL : malloc(size);
}

static void *resize(void *block, size_t size) {
    return memory_is_short ? NULL : realloc(block, size);
}

static char base[64]; /* a fresh directory for each test */
static char spool[PATH_BYTES];
static cirron_spool_writer *writer;

static void make_path(char path[PATH_BYTES], const char *dir, const char *name) {
    assert_in_range(snprintf(path, PATH_BYTES, "%s/%s", dir, name), 1, PATH_BYTES - 1);
}

/* Calls `visit` with the path of each entry of `dir`; returns how many there are. */
static int each_entry(const char *dir, void (*visit)(const char *path)) {
    DIR *stream = opendir(dir);
    int count = 0;
    const struct dirent *entry;
    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            char path[PATH_BYTES];
            make_path(path, dir, entry->d_name);
            count++;
            if (visit != NULL) {
                visit(path);
            }
        }
    }
    if (stream != NULL) {
        closedir(stream);
    }
    return count;
}

static void remove_tree(const char *path) {
    if (unlink(path) != 0) {
        (void)each_entry(path, remove_tree);
        (void)rmdir(path);
    }
}

static int set_up(void **state) {
    (void)state;
    strcpy(base, "/tmp/cirron-spool-XXXXXX");
    if (mkdtemp(base) == NULL) {
        return 1;
    }
    make_path(spool, base, "a/b/spool");
    writer = cirron_spool_writer_new();
    return writer == NULL;
}

static int tear_down(void **state) {
    (void)state;
    cirron_spool_writer_free(writer);
    remove_tree(base);
    return 0;
}

static cirron_id make_id(uint32_t number) {
    cirron_id id = {{(uint8_t)(number >> 8), (uint8_t)number}};
    return id;
}

static void batch_name(char name[PATH_BYTES], uint32_t number) {
    snprintf(name, PATH_BYTES, "%020u-%04x%028d.json", number, number, 0);
}

static void batch_path(char path[PATH_BYTES], uint32_t number) {
    char name[PATH_BYTES];
    batch_name(name, number);
    make_path(path, spool, name);
}

/* Submits batch `number`: `size` bytes that say so, with number + 1 records. */
static int submit(uint32_t number, size_t size) {
    cirron_buffer document = {0};
    assert_int_equal(cirron_buffer_reserve(&document, size), CIRRON_OK);
    memset(document.data, 'a' + (int)(number % 26), size);
    document.len = size;
    cirron_id id = make_id(number);
    int status = cirron_spool_writer_submit(writer, &document, number, &id, number + 1);
    assert_null(document.data);
    assert_int_equal(document.len, 0);
    return status;
}

static void assert_whole_file(uint32_t number, size_t size) {
    char path[PATH_BYTES];
    batch_path(path, number);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(fgetc(file), 'a' + (int)(number % 26));
    }
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
}

static bool file_exists(uint32_t number) {
    char path[PATH_BYTES];
    batch_path(path, number);
    return access(path, F_OK) == 0;
}

static void write_foreign(const char *name, size_t size) {
    char path[PATH_BYTES];
    make_path(path, spool, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (size_t i = 0; i < size; i++) {
        fputc('f', file);
    }
    fclose(file);
}

static cirron_spool_stats stats(void) {
    return cirron_spool_writer_stats(writer);
}

static void a_batch_becomes_one_whole_file_in_a_directory_that_is_made(void **state) {
    (void)state;
    assert_int_equal(cirron_spool_writer_open(writer, spool, GENEROUS), CIRRON_OK);
    assert_int_equal(submit(7, 100000), CIRRON_OK);
    assert_whole_file(7, 100000);
    assert_int_equal(each_entry(spool, NULL), 1);
    assert_int_equal(stats().bytes, 100000);
    assert_int_equal(stats().pending, 0);
    assert_int_equal(stats().last_errno, 0);
    char path[PATH_BYTES];
    struct stat info;
    batch_path(path, 7);
    assert_int_equal(stat(path, &info), 0);
    mode_t mask = umask(0);
    (void)umask(mask);
    assert_int_equal(info.st_mode & 0777, 0644 & ~mask);
}

static void without_a_directory_batches_wait_and_are_written_later_in_order(void **state) {
    (void)state;
    assert_int_equal(submit(1, 10), CIRRON_IO);
    assert_int_equal(cirron_spool_writer_open(writer, NULL, 0), CIRRON_OK);
    assert_int_equal(submit(2, 10), CIRRON_IO);
    assert_int_equal(stats().pending, 2);
    assert_int_equal(cirron_spool_writer_open(writer, spool, GENEROUS), CIRRON_OK);
    assert_int_equal(cirron_spool_writer_retry(writer), CIRRON_OK);
    assert_whole_file(1, 10);
    assert_whole_file(2, 10);
    assert_int_equal(stats().pending, 0);
}

static void what_waits_can_be_given_up_and_counts(void **state) {
    (void)state;
    assert_int_equal(submit(1, 10), CIRRON_IO);
    cirron_spool_writer_give_up(writer);
    assert_int_equal(stats().pending, 0);
    assert_int_equal(stats().files_dropped, 1);
    assert_int_equal(cirron_spool_writer_retry(writer), CIRRON_OK);
    assert_int_equal(submit(2, 10), CIRRON_IO);
    assert_int_equal(stats().pending, 1);
}

static void a_directory_deleted_while_running_is_made_again(void **state) {
    (void)state;
    assert_int_equal(cirron_spool_writer_open(writer, spool, GENEROUS), CIRRON_OK);
    assert_int_equal(submit(1, 10), CIRRON_OK);
    remove_tree(spool);
    assert_int_equal(submit(2, 30), CIRRON_OK);
    assert_whole_file(2, 30);
    assert_int_equal(stats().bytes, 30);
    assert_int_equal(stats().files_dropped, 0);
}

static void a_path_that_is_no_directory_makes_batches_wait(void **state) {
    (void)state;
    char in_the_way[PATH_BYTES];
    make_path(in_the_way, base, "a");
    FILE *file = fopen(in_the_way, "wb");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(cirron_spool_writer_open(writer, spool, GENEROUS), CIRRON_IO);
    assert_int_equal(stats().last_errno, ENOTDIR);
    assert_int_equal(submit(1, 10), CIRRON_IO);
    assert_int_equal(submit(2, 10), CIRRON_IO);
    assert_int_equal(stats().last_errno, ENOTDIR);
    assert_int_equal(stats().pending, 2);
    assert_int_equal(unlink(in_the_way), 0);
    assert_int_equal(cirron_spool_writer_retry(writer), CIRRON_OK);
    assert_whole_file(1, 10);
    assert_whole_file(2, 10);
    assert_int_equal(stats().last_errno, 0);
    assert_int_equal(stats().files_dropped, 0);
}

static void a_directory_that_appears_late_is_counted_too(void **state) {
    (void)state;
    char hidden[PATH_BYTES];
    char parent[PATH_BYTES];
    make_path(parent, base, "a");
    make_path(hidden, base, "hidden");
    assert_int_equal(cirron_spool_writer_open(writer, spool, GENEROUS), CIRRON_OK);
    assert_int_equal(submit(1, 700), CIRRON_OK);
    assert_int_equal(rename(parent, hidden), 0);
    assert_int_equal(symlink("/dev/null", parent), 0);
    assert_int_equal(cirron_spool_writer_open(writer, spool, 1000), CIRRON_IO);
    assert_int_equal(submit(2, 600), CIRRON_IO);
    assert_int_equal(unlink(parent), 0);
    assert_int_equal(rename(hidden, parent), 0);
    assert_int_equal(cirron_spool_writer_retry(writer), CIRRON_OK);
    assert_false(file_exists(1));
    assert_whole_file(2, 600);
    assert_int_equal(stats().bytes, 600);
}

static void a_full_disk_leaves_no_half_file_and_loses_nothing(void **state) {
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit tight = {1000, before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(cirron_spool_writer_open(writer, spool, GENEROUS), CIRRON_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    int first = submit(1, 900);
    int second = submit(2, 5000); /* its first write is short, its second refused */
    int third = submit(3, 10);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(first, CIRRON_OK);
    assert_int_equal(second, CIRRON_IO);
    assert_int_equal(third, CIRRON_IO);
    assert_int_equal(stats().last_errno, EFBIG);
    assert_int_equal(stats().pending, 2);
    assert_int_equal(each_entry(spool, NULL), 1);
    assert_int_equal(cirron_spool_writer_retry(writer), CIRRON_OK);
    assert_whole_file(1, 900);
    assert_whole_file(2, 5000);
    assert_whole_file(3, 10);
    assert_int_equal(each_entry(spool, NULL), 3);
    assert_int_equal(stats().bytes, 5910);
    assert_int_equal(stats().files_dropped, 0);
}

static void the_cap_drops_the_oldest_files_and_counts_their_records(void **state) {
    (void)state;
    assert_int_equal(cirron_spool_writer_open(writer, spool, 1000), CIRRON_OK);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(submit(i, 100), CIRRON_OK);
    }
    assert_int_equal(stats().files_dropped, 0);
    assert_int_equal(submit(10, 100), CIRRON_OK); /* 1,100 bytes: down to 900 */
    assert_false(file_exists(0));
    assert_false(file_exists(1));
    for (uint32_t i = 2; i <= 10; i++) {
        assert_true(file_exists(i));
    }
    assert_int_equal(stats().bytes, 900);
    assert_int_equal(stats().files_dropped, 2);
    assert_int_equal(stats().records_dropped, 1 + 2);
    assert_int_equal(submit(11, 900), CIRRON_OK); /* all that is older goes */
    assert_int_equal(each_entry(spool, NULL), 1);
    assert_int_equal(stats().bytes, 900);
    assert_int_equal(stats().files_dropped, 11);
    assert_int_equal(stats().records_dropped, 66);
}

static void a_long_run_under_the_cap_counts_every_record(void **state) {
    (void)state;
    uint64_t produced = 0;
    uint64_t kept = 0;
    assert_int_equal(cirron_spool_writer_open(writer, spool, 3000), CIRRON_OK);
    for (uint32_t i = 0; i < 600; i++) {
        assert_int_equal(submit(i, 10 + i % 90), CIRRON_OK);
        assert_in_range(stats().bytes, 1, 3000);
        produced += i + 1;
    }
    for (uint32_t i = 0; i < 600; i++) {
        kept += file_exists(i) ? i + 1 : 0;
    }
    assert_int_equal(produced, kept + stats().records_dropped);
    assert_int_equal(stats().files_dropped, 600 - each_entry(spool, NULL));
}

static void a_batch_beyond_the_cap_is_dropped_and_counted(void **state) {
    (void)state;
    assert_int_equal(cirron_spool_writer_open(writer, spool, 1000), CIRRON_OK);
    assert_int_equal(submit(1, 500), CIRRON_OK);
    assert_int_equal(submit(2, 1001), CIRRON_OK);
    assert_true(file_exists(1));
    assert_false(file_exists(2));
    assert_int_equal(stats().files_dropped, 1);
    assert_int_equal(stats().records_dropped, 3);
    assert_int_equal(stats().pending, 0);
    assert_int_equal(submit(3, 1000), CIRRON_OK);
    assert_true(file_exists(3));
    assert_false(file_exists(1));
}

static void files_of_others_count_for_the_cap_but_not_their_records(void **state) {
    (void)state;
    char name[PATH_BYTES];
    assert_int_equal(cirron_spool_writer_open(writer, spool, GENEROUS), CIRRON_OK);
    batch_name(name, 1);
    write_foreign(name, 400);
    batch_name(name, 3);
    write_foreign(name, 400);
    assert_int_equal(cirron_spool_writer_open(writer, spool, 1000), CIRRON_OK);
    assert_int_equal(stats().bytes, 800);
    assert_int_equal(submit(2, 100), CIRRON_OK);
    assert_int_equal(submit(4, 200), CIRRON_OK);
    assert_false(file_exists(1));
    assert_true(file_exists(2));
    assert_true(file_exists(3));
    assert_int_equal(stats().files_dropped, 1);
    assert_int_equal(stats().records_dropped, 0);
    assert_int_equal(submit(5, 800), CIRRON_OK);
    assert_int_equal(stats().files_dropped, 4);
    assert_int_equal(stats().records_dropped, 3 + 5);
    assert_int_equal(stats().bytes, 800);
}

static void what_is_no_batch_file_is_neither_counted_nor_touched(void **state) {
    (void)state;
    assert_int_equal(cirron_spool_writer_open(writer, spool, GENEROUS), CIRRON_OK);
    char name[PATH_BYTES];
    char path[PATH_BYTES];
    char target[PATH_BYTES];
    batch_name(name, 1);
    strcat(name, ".tmp"); /* of a process that died */
    write_foreign(name, 300);
    write_foreign("notes.json", 300);
    write_foreign("00000000000000000001-ABCDEF00000000000000000000000000.json", 300);
    batch_path(path, 2);
    make_path(target, base, "precious");
    FILE *file = fopen(target, "wb");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(symlink(target, path), 0);
    batch_path(path, 3);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(cirron_spool_writer_open(writer, spool, 100), CIRRON_OK);
    assert_int_equal(stats().bytes, 0);
    assert_int_equal(submit(4, 90), CIRRON_OK);
    assert_int_equal(submit(5, 90), CIRRON_OK);
    assert_false(file_exists(4));
    assert_true(file_exists(5));
    assert_int_equal(each_entry(spool, NULL), 6);
    assert_int_equal(access(target, F_OK), 0);
    assert_int_equal(stats().files_dropped, 1);
}

static void a_file_that_somebody_else_removed_is_not_counted(void **state) {
    (void)state;
    char path[PATH_BYTES];
    assert_int_equal(cirron_spool_writer_open(writer, spool, 1000), CIRRON_OK);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(submit(i, 100), CIRRON_OK);
    }
    for (uint32_t i = 0; i < 4; i++) {
        batch_path(path, i);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(submit(10, 100), CIRRON_OK);
    assert_int_equal(stats().files_dropped, 0);
    assert_int_equal(stats().bytes, 700);
    assert_int_equal(submit(11, 700), CIRRON_OK); /* 1,400 bytes: down to 900 */
    assert_int_equal(stats().files_dropped, 5);
    assert_int_equal(stats().records_dropped, 5 + 6 + 7 + 8 + 9);
}

static void the_batches_that_wait_are_bounded_by_bytes(void **state) {
    (void)state;
    enum { SIZE = 8 * 1024 * 1024, FIT = CIRRON_SPOOL_PENDING_BYTES / SIZE };
    for (uint32_t i = 0; i < FIT; i++) {
        assert_int_equal(submit(i, SIZE), CIRRON_IO);
    }
    assert_int_equal(stats().pending, FIT);
    assert_int_equal(stats().files_dropped, 0);
    assert_int_equal(submit(FIT, SIZE), CIRRON_IO);
    assert_int_equal(submit(FIT + 1, SIZE), CIRRON_IO);
    assert_int_equal(stats().pending, FIT);
    assert_int_equal(stats().files_dropped, 2);
    assert_int_equal(stats().records_dropped, 1 + 2);
}

static void without_memory_a_batch_is_dropped_and_counted(void **state) {
    (void)state;
    assert_int_equal(cirron_spool_writer_open(writer, spool, GENEROUS), CIRRON_OK);
    cirron_buffer document = {0};
    cirron_id id = make_id(1);
    assert_int_equal(cirron_buffer_append(&document, "x", 1), CIRRON_OK);
    memory_is_short = true;
    int status = cirron_spool_writer_submit(writer, &document, 1, &id, 5);
    memory_is_short = false;
    assert_int_equal(status, CIRRON_NO_MEMORY);
    assert_null(document.data);
    assert_int_equal(stats().files_dropped, 1);
    assert_int_equal(stats().records_dropped, 5);
    assert_int_equal(submit(2, 10), CIRRON_OK);
}

static void two_writers_share_a_directory(void **state) {
    (void)state;
    cirron_spool_writer *mine = writer;
    cirron_spool_writer *other = cirron_spool_writer_new();
    assert_int_equal(cirron_spool_writer_open(mine, spool, GENEROUS), CIRRON_OK);
    assert_int_equal(cirron_spool_writer_open(other, spool, GENEROUS), CIRRON_OK);
    for (uint32_t i = 0; i < 20; i++) {
        writer = i % 2 == 0 ? mine : other;
        assert_int_equal(submit(i, 50), CIRRON_OK);
    }
    writer = mine;
    cirron_spool_writer_free(other);
    for (uint32_t i = 0; i < 20; i++) {
        assert_whole_file(i, 50);
    }
}

int main(void) {
    static const cirron_allocator fallible = {allocate, resize, free};
    cirron_memory_use(&fallible);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_batch_becomes_one_whole_file_in_a_directory_that_is_made),
        TEST(without_a_directory_batches_wait_and_are_written_later_in_order),
        TEST(what_waits_can_be_given_up_and_counts),
        TEST(a_directory_deleted_while_running_is_made_again),
        TEST(a_path_that_is_no_directory_makes_batches_wait),
        TEST(a_directory_that_appears_late_is_counted_too),
        TEST(a_full_disk_leaves_no_half_file_and_loses_nothing),
        TEST(the_cap_drops_the_oldest_files_and_counts_their_records),
        TEST(a_long_run_under_the_cap_counts_every_record),
        TEST(a_batch_beyond_the_cap_is_dropped_and_counted),
        TEST(files_of_others_count_for_the_cap_but_not_their_records),
        TEST(what_is_no_batch_file_is_neither_counted_nor_touched),
        TEST(a_file_that_somebody_else_removed_is_not_counted),
        TEST(the_batches_that_wait_are_bounded_by_bytes),
        TEST(without_memory_a_batch_is_dropped_and_counted),
        TEST(two_writers_share_a_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
