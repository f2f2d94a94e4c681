/* The spool directory: whole files, a cap, a disk that refuses, a directory that goes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/spool_writer.h"
#include "fallible_memory.h"
#include "scratch.h"
#include "test.h"

enum { PATH_BYTES = 512, GENEROUS = 1 << 30 };

/* ---- what the system refuses, in place of the C library's */

static struct {
    int write, close, rename, mkdir, unlinkat; /* errno of the next call; 0: it works */
    bool write_nothing;
} refused;

static bool is_refused(int *error) {
    errno = *error != 0 ? *error : errno;
    bool yes = *error != 0;
    *error = 0;
    return yes;
}

ssize_t write(int file, const void *bytes, size_t len) {
    if (refused.write_nothing) {
        refused.write_nothing = false;
        return 0;
    }
    return is_refused(&refused.write) ? -1 : NEXT(write)(file, bytes, len);
}

/* As on NFS: the file is closed even so. */
int close(int file) {
    int done = NEXT(close)(file);
    return is_refused(&refused.close) ? -1 : done;
}

int rename(const char *from, const char *to) {
    return is_refused(&refused.rename) ? -1 : NEXT(rename)(from, to);
}

int mkdir(const char *path, mode_t mode) {
    return is_refused(&refused.mkdir) ? -1 : NEXT(mkdir)(path, mode);
}

int unlinkat(int dir, const char *path, int flags) {
    return is_refused(&refused.unlinkat) ? -1 : NEXT(unlinkat)(dir, path, flags);
}

static char spool[PATH_BYTES];
static cirron_spool_writer *writer;

static void make_path(char path[PATH_BYTES], const char *dir, const char *name) {
    assert_in_range(snprintf(path, PATH_BYTES, "%s/%s", dir, name), 1, PATH_BYTES - 1);
}

/* How many files are in the spool, of whatever name. */
static int count_files(void) {
    DIR *dir = opendir(spool);
    int count = 0;
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

static int set_up(void **state) {
    (void)state;
    if (make_scratch() != 0) {
        return 1;
    }
    make_path(spool, scratch, "a/b/spool");
    writer = cirron_spool_writer_new();
    return writer == NULL;
}

static int tear_down(void **state) {
    (void)state;
    cirron_spool_writer_free(writer);
    return remove_scratch();
}

/* The writer takes its directory over. */
static int open_spool(cirron_spool_writer *of, const char *dir, uint64_t max_bytes) {
    return cirron_spool_writer_open(of, dir == NULL ? NULL : strdup(dir), max_bytes);
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
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
    assert_int_equal(submit(7, 100000), CIRRON_OK);
    assert_whole_file(7, 100000);
    assert_int_equal(count_files(), 1);
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
    assert_int_equal(open_spool(writer, NULL, 0), CIRRON_OK);
    assert_int_equal(submit(2, 10), CIRRON_IO);
    assert_int_equal(stats().pending, 2);
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
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
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
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
    make_path(in_the_way, scratch, "a");
    FILE *file = fopen(in_the_way, "wb");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_IO);
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
    make_path(parent, scratch, "a");
    make_path(hidden, scratch, "hidden");
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
    assert_int_equal(submit(1, 700), CIRRON_OK);
    assert_int_equal(rename(parent, hidden), 0);
    assert_int_equal(symlink("/dev/null", parent), 0);
    assert_int_equal(open_spool(writer, spool, 1000), CIRRON_IO);
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
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
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
    assert_int_equal(count_files(), 1);
    assert_int_equal(cirron_spool_writer_retry(writer), CIRRON_OK);
    assert_whole_file(1, 900);
    assert_whole_file(2, 5000);
    assert_whole_file(3, 10);
    assert_int_equal(count_files(), 3);
    assert_int_equal(stats().bytes, 5910);
    assert_int_equal(stats().files_dropped, 0);
}

static void the_cap_drops_the_oldest_files_and_counts_their_records(void **state) {
    (void)state;
    assert_int_equal(open_spool(writer, spool, 1000), CIRRON_OK);
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
    assert_int_equal(count_files(), 1);
    assert_int_equal(stats().bytes, 900);
    assert_int_equal(stats().files_dropped, 11);
    assert_int_equal(stats().records_dropped, 66);
}

static void a_long_run_under_the_cap_counts_every_record(void **state) {
    (void)state;
    uint64_t produced = 0;
    uint64_t kept = 0;
    assert_int_equal(open_spool(writer, spool, 3000), CIRRON_OK);
    for (uint32_t i = 0; i < 600; i++) {
        assert_int_equal(submit(i, 10 + i % 90), CIRRON_OK);
        assert_in_range(stats().bytes, 1, 3000);
        produced += i + 1;
    }
    for (uint32_t i = 0; i < 600; i++) {
        kept += file_exists(i) ? i + 1 : 0;
    }
    assert_int_equal(produced, kept + stats().records_dropped);
    assert_int_equal(stats().files_dropped, 600 - count_files());
}

static void a_batch_beyond_the_cap_is_dropped_and_counted(void **state) {
    (void)state;
    assert_int_equal(open_spool(writer, spool, 1000), CIRRON_OK);
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
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
    batch_name(name, 1);
    write_foreign(name, 400);
    batch_name(name, 3);
    write_foreign(name, 400);
    assert_int_equal(open_spool(writer, spool, 1000), CIRRON_OK);
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
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
    char name[PATH_BYTES];
    char path[PATH_BYTES];
    char target[PATH_BYTES];
    batch_name(name, 1);
    strcat(name, ".tmp"); /* of a process that died */
    write_foreign(name, 300);
    write_foreign("notes.json", 300);
    write_foreign("00000000000000000001-ABCDEF00000000000000000000000000.json", 300);
    batch_path(path, 2);
    make_path(target, scratch, "precious");
    FILE *file = fopen(target, "wb");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(symlink(target, path), 0);
    batch_path(path, 3);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(open_spool(writer, spool, 100), CIRRON_OK);
    assert_int_equal(stats().bytes, 0);
    assert_int_equal(submit(4, 90), CIRRON_OK);
    assert_int_equal(submit(5, 90), CIRRON_OK);
    assert_false(file_exists(4));
    assert_true(file_exists(5));
    assert_int_equal(count_files(), 6);
    assert_int_equal(access(target, F_OK), 0);
    assert_int_equal(stats().files_dropped, 1);
}

static void a_file_that_somebody_else_removed_is_not_counted(void **state) {
    (void)state;
    char path[PATH_BYTES];
    assert_int_equal(open_spool(writer, spool, 1000), CIRRON_OK);
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
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
    cirron_buffer document = {0};
    cirron_id id = make_id(1);
    assert_int_equal(cirron_buffer_append(&document, "x", 1), CIRRON_OK);
    allocations_left = 0;
    int status = cirron_spool_writer_submit(writer, &document, 1, &id, 5);
    allocations_left = UNLIMITED;
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
    assert_int_equal(open_spool(mine, spool, GENEROUS), CIRRON_OK);
    assert_int_equal(open_spool(other, spool, GENEROUS), CIRRON_OK);
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

static void a_file_that_is_refused_at_any_step_waits_and_leaves_nothing(void **state) {
    (void)state;
    int *const steps[] = {&refused.write, &refused.close, &refused.rename};
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
    for (uint32_t i = 0; i < 3; i++) {
        *steps[i] = EDQUOT;
        assert_int_equal(submit(i, 100), CIRRON_IO);
        assert_int_equal(stats().last_errno, EDQUOT);
        assert_int_equal(stats().pending, 1);
        assert_int_equal(count_files(), (int)i); /* nor half a file */
        assert_int_equal(cirron_spool_writer_retry(writer), CIRRON_OK);
        assert_int_equal(stats().last_errno, 0);
        assert_whole_file(i, 100);
    }
    refused.write = refused.close = EIO; /* the first error is told */
    assert_int_equal(submit(3, 100), CIRRON_IO);
    assert_int_equal(stats().last_errno, EIO);
    assert_int_equal(stats().files_dropped, 0);
}

static void an_interrupted_write_goes_on_and_one_of_nothing_is_a_full_disk(void **state) {
    (void)state;
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
    refused.write = EINTR;
    assert_int_equal(submit(1, 100), CIRRON_OK);
    assert_whole_file(1, 100);
    refused.write_nothing = true;
    assert_int_equal(submit(2, 100), CIRRON_IO);
    assert_int_equal(stats().last_errno, ENOSPC);
    assert_int_equal(cirron_spool_writer_retry(writer), CIRRON_OK);
    assert_whole_file(2, 100);
}

static void a_directory_that_is_gone_and_cannot_be_made_keeps_the_batch(void **state) {
    (void)state;
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
    remove_tree(spool);
    char parent[PATH_BYTES];
    make_path(parent, scratch, "a/b");
    remove_tree(parent);
    refused.mkdir = EACCES; /* the first of those on the way; then nothing can be made below */
    assert_int_equal(submit(1, 10), CIRRON_OK);
    assert_whole_file(1, 10);
    remove_tree(parent);
    FILE *file = fopen(parent, "wb");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(submit(2, 10), CIRRON_IO);
    assert_int_equal(stats().last_errno, ENOTDIR);
    assert_int_equal(unlink(parent), 0);
    assert_int_equal(cirron_spool_writer_retry(writer), CIRRON_OK);
    assert_whole_file(2, 10);
}

/* Sets the time of a file's last change to `hours` ago. */
static void make_older(const char *name, int hours) {
    char path[PATH_BYTES];
    make_path(path, spool, name);
    const struct timespec times[2] = {{.tv_sec = time(NULL) - hours * 3600},
                                      {.tv_sec = time(NULL) - hours * 3600}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void half_a_batch_of_a_dead_process_is_removed_after_an_hour(void **state) {
    (void)state;
    char old[PATH_BYTES], young[PATH_BYTES], odd[PATH_BYTES];
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
    batch_name(old, 1);
    strcat(old, ".tmp");
    batch_name(young, 2);
    strcat(young, ".tmp");
    batch_name(odd, 3);
    odd[20] = '_';
    strcat(odd, ".tmp");
    char *const names[] = {old, young, odd};
    for (int i = 0; i < 3; i++) {
        write_foreign(names[i], 10);
        make_older(names[i], i == 1 ? 0 : 2);
    }
    batch_name(odd, 4);
    strcpy(odd + 53, ".jsontmp!");
    write_foreign(odd, 10);
    make_older(odd, 2);
    batch_name(odd, 5);
    memcpy(odd + 53, ".text", 5);
    write_foreign(odd, 10);
    memset(odd, 'x', 20);
    write_foreign(odd, 10);
    assert_int_equal(open_spool(writer, spool, GENEROUS), CIRRON_OK);
    assert_int_equal(stats().bytes, 0);
    assert_int_equal(count_files(), 5);
    char path[PATH_BYTES];
    make_path(path, spool, old);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_file_that_cannot_be_removed_stays_and_the_next_one_goes(void **state) {
    (void)state;
    assert_int_equal(open_spool(writer, spool, 1000), CIRRON_OK);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(submit(i, 100), CIRRON_OK);
    }
    refused.unlinkat = EPERM;
    assert_int_equal(submit(10, 100), CIRRON_OK);
    assert_true(file_exists(0));
    assert_false(file_exists(1));
    assert_int_equal(stats().files_dropped, 2);
    assert_int_equal(stats().bytes, 900);
    refused.unlinkat = ENOENT; /* another process's cap was quicker */
    assert_int_equal(submit(11, 200), CIRRON_OK);
    assert_int_equal(stats().files_dropped, 3); /* it was not ours to drop */
    assert_int_equal(stats().bytes, 900);
}

static void all_files_may_go_by_other_hands(void **state) {
    (void)state;
    assert_int_equal(open_spool(writer, spool, 1000), CIRRON_OK);
    assert_int_equal(submit(1, 900), CIRRON_OK);
    char path[PATH_BYTES];
    batch_path(path, 1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(submit(2, 900), CIRRON_OK); /* the list is empty */
    assert_int_equal(stats().bytes, 900);
    remove_tree(spool);
    assert_int_equal(submit(3, 900), CIRRON_OK); /* there is no directory to list */
    assert_whole_file(3, 900);
    assert_int_equal(stats().files_dropped, 0);
}

/* Whatever is refused, each batch is on disk, waits or was counted. */
static void memory_that_runs_out_anywhere_loses_nothing_uncounted(void **state) {
    (void)state;
    enum { BATCHES = 70 }; /* more than the first lists hold */
    bool refused_some = true;
    for (int granted = 0; refused_some; granted++) {
        cirron_spool_writer *fresh = cirron_spool_writer_new();
        assert_non_null(fresh);
        remove_tree(spool);
        cirron_spool_writer *set_up_one = writer;
        writer = fresh;
        allocations_left = UNLIMITED;
        cirron_buffer documents[BATCHES] = {{0}};
        for (int i = 0; i < BATCHES; i++) {
            assert_int_equal(cirron_buffer_append(&documents[i], "0123456789", 10), CIRRON_OK);
        }
        allocations_left = granted;
        (void)open_spool(fresh, spool, 680);
        for (int i = 0; i < BATCHES; i++) {
            cirron_id id = make_id((uint32_t)i);
            (void)cirron_spool_writer_submit(fresh, &documents[i], i, &id, 1);
        }
        refused_some = allocations_left < 0;
        allocations_left = UNLIMITED;
        assert_int_equal(count_files() + (int)stats().pending + (int)stats().files_dropped,
                         BATCHES);
        assert_int_equal(open_spool(fresh, spool, 680), CIRRON_OK);
        assert_int_equal(cirron_spool_writer_retry(fresh), CIRRON_OK);
        assert_int_equal(stats().pending, 0);
        cirron_spool_writer_free(fresh);
        writer = set_up_one;
    }
    cirron_spool_writer_free(NULL);
}

int main(void) {
    use_fallible_memory();
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
        TEST(a_file_that_is_refused_at_any_step_waits_and_leaves_nothing),
        TEST(an_interrupted_write_goes_on_and_one_of_nothing_is_a_full_disk),
        TEST(a_directory_that_is_gone_and_cannot_be_made_keeps_the_batch),
        TEST(half_a_batch_of_a_dead_process_is_removed_after_an_hour),
        TEST(a_file_that_cannot_be_removed_stays_and_the_next_one_goes),
        TEST(all_files_may_go_by_other_hands),
        TEST(memory_that_runs_out_anywhere_loses_nothing_uncounted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
