/* Sessions of this process, what is recorded in them, and what is then on the disk. All tests
 * of a file share the one state of the process, one session each.
 */
#ifndef CIRRON_NATIVE_SESSION_H
#define CIRRON_NATIVE_SESSION_H

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/process.h"
#include "fallible_memory.h"
#include "scratch.h"
#include "test.h"

#define SECOND INT64_C(1000000000)
#define PATIENCE (30 * SECOND)
#define NEVER (3600 * SECOND) /* an interval: the flusher wakes only when it is asked to */

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN true
#elif defined(__has_feature)
#define UNDER_ASAN __has_feature(address_sanitizer)
#else
#define UNDER_ASAN false
#endif

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN true
#elif defined(__has_feature)
#define UNDER_TSAN __has_feature(thread_sanitizer)
#else
#define UNDER_TSAN false
#endif

static char spool[80]; /* of one test */

static inline cirron_process *process(void) {
    return cirron_process_get();
}

static inline int start_session_in(const char *spool_dir, int64_t interval_ns) {
    static const char attrs[] = "{\"hostname\":\"here\"}";
    cirron_session_config config = {.spool_dir = spool_dir,
                                    .spool_max_bytes = UINT64_C(1) << 30,
                                    .flush_interval_ns = interval_ns,
                                    .trace_max_spans = 1000,
                                    .rank = 3,
                                    .cpu_time = true,
                                    .attrs = attrs,
                                    .attrs_len = sizeof attrs - 1};
    return cirron_session_start(&config);
}

static inline void start_session(void) {
    assert_int_equal(start_session_in(spool, NEVER), CIRRON_OK);
}

static inline bool end_session(void) {
    return cirron_session_end(PATIENCE);
}

static inline bool flush(void) {
    return cirron_flusher_flush(&process()->flusher, PATIENCE);
}

static inline void assert_flushed(void) {
    assert_true(flush());
}

/* ---- recording */

static inline void record_span(const char *name) {
    char *payload;
    uint32_t offset;
    cirron_recorder *recorder = cirron_recorder_get();
    cirron_span_record *span = cirron_recorder_reserve_span(recorder, 0, &payload, &offset);
    int64_t now = cirron_monotonic_ns();
    *span = (cirron_span_record){
        .id = cirron_id_next(&recorder->ids),
        .parent_id = cirron_current_session.id,
        .start_ns = cirron_epoch_ns(now),
        .duration_ns = cirron_monotonic_ns() - now,
        .thread_id = recorder->thread_id,
        .name = cirron_intern_name(process()->collector.names, name, strlen(name)),
        .payload = offset,
        .session = cirron_current_session.number,
        .flags = CIRRON_SPAN_PARENT};
    cirron_queue_publish(&recorder->spans, 0);
}

static inline void record_mark(const char *name) {
    char *payload;
    uint32_t offset;
    cirron_recorder *recorder = cirron_recorder_get();
    cirron_mark_record *mark = cirron_recorder_reserve_mark(recorder, 0, &payload, &offset);
    *mark = (cirron_mark_record){
        .span_id = cirron_current_session.id,
        .ts_ns = cirron_epoch_ns(cirron_monotonic_ns()),
        .value.as_int = 7,
        .value_type = CIRRON_VALUE_INT,
        .name = cirron_intern_name(process()->collector.names, name, strlen(name)),
        .payload = offset,
        .session = cirron_current_session.number};
    cirron_queue_publish(&recorder->marks, 0);
}

static inline void record_snapshot(const char *json) {
    cirron_collector_record_snapshot(&process()->collector, json, strlen(json));
}

/* What most children do at last; whether all of it is on the disk in time. */
static inline bool record_and_end(const char *name) {
    record_span(name);
    return end_session();
}

enum { THREADS = 4 };

/* Runs `run` on several threads, which are to wait at the barrier that they are given; false
 * where there are not so many. */
static inline bool run_in_threads(void *(*run)(void *barrier)) {
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    bool started = pthread_barrier_init(&barrier, NULL, THREADS) == 0;
    for (int i = 0; i < THREADS && started; i++) {
        started = pthread_create(&threads[i], NULL, run, &barrier) == 0;
    }
    for (int i = 0; i < THREADS && started; i++) {
        pthread_join(threads[i], NULL);
    }
    return started && pthread_barrier_destroy(&barrier) == 0;
}

/* ---- looking */

static inline cirron_counters count(void) {
    cirron_counters counters;
    cirron_process_count(process(), &counters);
    return counters;
}

static inline size_t count_in_file(const char *path, const char *needle) {
    struct stat info;
    int file = open(path, O_RDONLY);
    assert_int_equal(fstat(file, &info), 0);
    char *text = calloc(1, (size_t)info.st_size + 1);
    assert_int_equal(read(file, text, (size_t)info.st_size), info.st_size);
    close(file);
    size_t found = 0;
    for (const char *at = text; (at = strstr(at, needle)) != NULL; at++) {
        found++;
    }
    free(text);
    return found;
}

/* How often the batch files of the spool say `needle`. */
static inline size_t count_on_disk(const char *needle) {
    size_t found = 0;
    DIR *dir = opendir(spool);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[512];
        size_t len = strlen(entry->d_name);
        if (len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0) {
            snprintf(path, sizeof path, "%s/%s", spool, entry->d_name);
            found += count_in_file(path, needle);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return found;
}

static inline size_t count_spans(const char *name) {
    char needle[64];
    snprintf(needle, sizeof needle, "\",\"name\":\"%s\",\"parent_id\"", name);
    return count_on_disk(needle);
}

/* ---- a file of tests, and one of them */

static inline int init_process(void **state) {
    (void)state;
    use_fallible_memory(); /* seen by sanitizers */
    return cirron_process_init();
}

static inline int set_up(void **state) {
    (void)state;
    int failed = make_scratch();
    snprintf(spool, sizeof spool, "%s/run/spool", scratch);
    return failed;
}

static inline int tear_down(void **state) {
    (void)state;
    (void)cirron_session_end(10 * SECOND);
    return remove_scratch();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* A fork made beside the flusher starts a new one in the child. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0";
}

#endif
