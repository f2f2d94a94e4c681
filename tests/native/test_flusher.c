/* From the recorders to the disk: sessions and their root, flush and stop, threads that
 * come and go, forks. All tests share the one state of this process, one session each.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/process.h"
#include "core/sigterm.h"

#define SECOND INT64_C(1000000000)

/* A fork made beside the flusher starts a new one in the child. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0";
}

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

/* ---- what the system refuses */

static _Atomic int allocations_left = INT_MAX;

static bool has_memory(void) {
    return allocations_left == INT_MAX || allocations_left-- > 0;
}

static void *allocate(size_t size) {
    return has_memory() ? malloc(size) : NULL;
}

static void *resize(void *block, size_t size) {
    return has_memory() ? realloc(block, size) : NULL;
}

static int threads_refused;

/* In place of the C library's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (threads_refused > 0) {
        threads_refused--;
        return EAGAIN;
    }
    *(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
    return next(thread, attributes, run, argument);
}

/* Locks and conditions, attributes of threads, timers and signal actions. */
static _Atomic int objects_left = INT_MAX;

static bool has_objects(void) {
    return objects_left == INT_MAX || objects_left-- > 0;
}

/* Looked up each time: threads may be the first at once. */
#define NEXT(name) (*(void **)&next = dlsym(RTLD_NEXT, #name))

int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes) {
    int (*next)(pthread_mutex_t *, const pthread_mutexattr_t *);
    (void)NEXT(pthread_mutex_init);
    return has_objects() ? next(mutex, attributes) : ENOMEM;
}

int pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes) {
    int (*next)(pthread_cond_t *, const pthread_condattr_t *);
    (void)NEXT(pthread_cond_init);
    return has_objects() ? next(condition, attributes) : ENOMEM;
}

int pthread_condattr_init(pthread_condattr_t *attributes) {
    int (*next)(pthread_condattr_t *);
    (void)NEXT(pthread_condattr_init);
    return has_objects() ? next(attributes) : ENOMEM;
}

int pthread_attr_init(pthread_attr_t *attributes) {
    int (*next)(pthread_attr_t *);
    (void)NEXT(pthread_attr_init);
    return has_objects() ? next(attributes) : ENOMEM;
}

int timer_create(clockid_t clock, struct sigevent *event, timer_t *timer) {
    int (*next)(clockid_t, struct sigevent *, timer_t *);
    (void)NEXT(timer_create);
    errno = EAGAIN;
    return has_objects() ? next(clock, event, timer) : -1;
}

static bool actions_are_refused;

int sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    int (*next)(int, const struct sigaction *, struct sigaction *);
    (void)NEXT(sigaction);
    return actions_are_refused && number == SIGTERM ? -1 : next(number, action, before);
}

static char directory[64]; /* of one test; its spool is inside */
static char spool[80];

static int make_directory(void **state) {
    (void)state;
    strcpy(directory, "/tmp/cirron-flusher-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    snprintf(spool, sizeof spool, "%s/run/spool", directory);
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info, (void)type, (void)where;
    return remove(path);
}

static int end_session_and_remove_directory(void **state) {
    (void)state;
    (void)cirron_session_end(10 * SECOND);
    return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- recording and looking */

static cirron_process *process(void) {
    return cirron_process_get();
}

static int start_session_in(const char *spool_dir, int64_t interval_ns) {
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

/* A session whose flusher wakes only when it is asked to. */
static void start_session(void) {
    assert_int_equal(start_session_in(spool, 3600 * SECOND), CIRRON_OK);
}

static void record_span(const char *name) {
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

static void record_mark(const char *name) {
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

static void record_snapshot(const char *json) {
    cirron_collector_record_snapshot(&process()->collector, json, strlen(json));
}

static cirron_counters count(void) {
    cirron_counters counters;
    cirron_process_count(process(), &counters);
    return counters;
}

static size_t count_in_file(const char *path, const char *needle) {
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
static size_t count_on_disk(const char *needle) {
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

static size_t count_spans(const char *name) {
    char needle[64];
    snprintf(needle, sizeof needle, "\",\"name\":\"%s\",\"parent_id\"", name);
    return count_on_disk(needle);
}

/* A child can't fail a test, so it tells by its exit status. */
static int wait_for(pid_t child) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void assert_flushed(void) {
    assert_true(cirron_flusher_flush(&process()->flusher, 30 * SECOND));
}

/* ---- sessions */

static void a_session_writes_its_root_open_and_then_closed(void **state) {
    (void)state;
    char root[64] = "{\"id\":\"";
    start_session();
    cirron_id_to_hex(&cirron_current_session.id, root + strlen(root));
    assert_flushed();
    assert_int_equal(count_on_disk(root), 1);
    assert_int_equal(count_spans("cirron.session"), 1);
    assert_int_equal(count_on_disk("\"end_ns\":null"), 1);
    assert_true(cirron_session_end(30 * SECOND));
    assert_int_equal(count_on_disk(root), 2);
    assert_int_equal(count_spans("cirron.session"), 2);
    assert_int_equal(count_on_disk("\"end_ns\":null"), 1);
    assert_int_equal(count_on_disk("\"rank\":3,\"attrs\":{\"hostname\":\"here\"}"), 2);
    size_t len;
    assert_string_equal(cirron_session_attrs(&len), "{\"hostname\":\"here\"}");
    assert_int_equal(len, strlen("{\"hostname\":\"here\"}"));
    assert_string_equal(cirron_session_spool_dir(), spool);
    assert_false(count().flusher_running);
    assert_true(cirron_session_end(30 * SECOND)); /* again: nothing happens */
    assert_int_equal(count_spans("cirron.session"), 2);
}

static void a_root_is_closed_once(void **state) {
    (void)state;
    start_session();
    cirron_session_close_root();
    record_span("late");
    assert_true(cirron_session_end(30 * SECOND));
    assert_int_equal(count_spans("cirron.session"), 2);
    assert_int_equal(count_spans("late"), 1);
}

static void a_root_has_its_name_when_the_table_of_names_is_full(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        for (uint32_t i = 0; i < CIRRON_INTERN_MAX_NAMES; i++) {
            (void)cirron_intern_name(process()->collector.names, (const char *)&i, sizeof i);
        }
        _exit(start_session_in(spool, 3600 * SECOND) == CIRRON_OK && cirron_session_end(30 * SECOND)
                  ? 0
                  : 1);
    }
    assert_int_equal(wait_for(child), 0);
    assert_int_equal(count_spans("cirron.session"), 2);
}

static void a_session_writes_what_was_recorded_before_it(void **state) {
    (void)state;
    record_span("early");
    assert_flushed(); /* without a thread: into the trace buffer only */
    assert_int_equal(count_spans("early"), 0);
    start_session();
    assert_flushed();
    assert_int_equal(count_spans("early"), 1);
}

static void a_session_without_a_spool_keeps_its_records_in_memory(void **state) {
    (void)state;
    assert_int_equal(start_session_in(NULL, 3600 * SECOND), CIRRON_OK);
    uint64_t before = cirron_store_sequence(process()->collector.store);
    record_span("kept");
    assert_flushed();
    assert_true(cirron_session_end(30 * SECOND));
    assert_int_equal(cirron_store_sequence(process()->collector.store), before + 2);
    assert_int_equal(access(spool, F_OK), -1);
    start_session();
    assert_flushed();
    assert_int_equal(count_spans("kept"), 0);
}

/* ---- flush and stop */

static void flush_returns_when_the_disk_has_it(void **state) {
    (void)state;
    start_session();
    for (size_t i = 1; i <= 30; i++) {
        record_mark("loss");
        record_span("step");
        assert_flushed();
        assert_int_equal(count_spans("step"), i);
        assert_int_equal(count_on_disk("\"name\":\"loss\",\"value_type\":\"int\",\"value\":7"), i);
    }
}

static void wait_for_spans(const char *name) {
    for (int i = 0; i < 30000 && count_spans(name) == 0; i++) {
        usleep(1000);
    }
}

static void the_flusher_wakes_by_itself(void **state) {
    (void)state;
    assert_int_equal(start_session_in(spool, SECOND / 1000), CIRRON_OK);
    record_span("tick");
    wait_for_spans("tick");
    assert_int_equal(count_spans("tick"), 1);
}

static void chunks_that_pile_up_wake_the_flusher(void **state) {
    (void)state;
    start_session();
    assert_flushed();
    for (int i = 0; i < 20000; i++) {
        record_span("busy");
    }
    wait_for_spans("busy");
    assert_int_not_equal(count_spans("busy"), 0);
    assert_flushed();
    assert_int_equal(count_spans("busy"), 20000);
}

static void a_directory_that_cannot_be_made_keeps_the_batches(void **state) {
    (void)state;
    char in_the_way[80];
    snprintf(in_the_way, sizeof in_the_way, "%s/run", directory);
    close(open(in_the_way, O_CREAT | O_WRONLY, 0600));
    atomic_store(&cirron_disk_refused, false);
    start_session();
    record_span("waits");
    assert_flushed();
    record_span("waits");
    assert_flushed();
    assert_true(count().pending >= 2);
    assert_int_equal(count().disk_errno, ENOTDIR);
    assert_true(atomic_load(&cirron_disk_refused));
    assert_int_equal(unlink(in_the_way), 0);
    assert_flushed();
    assert_int_equal(count().pending, 0);
    assert_int_equal(count().disk_errno, 0);
    assert_int_equal(count_spans("waits"), 2);
}

static void what_the_disk_refuses_to_the_end_is_counted(void **state) {
    (void)state;
    char in_the_way[80];
    snprintf(in_the_way, sizeof in_the_way, "%s/run", directory);
    close(open(in_the_way, O_CREAT | O_WRONLY, 0600));
    start_session();
    cirron_counters before = count();
    record_span("lost");
    record_mark("lost");
    assert_flushed();
    assert_true(cirron_session_end(30 * SECOND));
    cirron_counters after = count();
    assert_int_equal(after.pending, 0);
    /* The root's two records and those two. */
    assert_int_equal(after.records_dropped - before.records_dropped, 4);
    assert_true(after.files_dropped > before.files_dropped);
    assert_int_equal(unlink(in_the_way), 0);
}

static void without_a_thread_flush_and_stop_write_themselves(void **state) {
    (void)state;
    threads_refused = 1000;
    start_session();
    record_span("first");
    assert_flushed();
    assert_false(count().flusher_running);
    assert_int_equal(count_spans("first"), 1);
    record_span("last");
    assert_true(cirron_session_end(30 * SECOND));
    assert_int_equal(count_spans("last"), 1);
    assert_int_equal(count_spans("cirron.session"), 2);
    threads_refused = 0;
}

static void a_flush_starts_the_thread_that_was_refused(void **state) {
    (void)state;
    threads_refused = 1;
    start_session();
    assert_false(count().flusher_running);
    record_span("late");
    assert_flushed();
    assert_true(count().flusher_running);
    assert_int_equal(count_spans("late"), 1);
}

static void a_child_without_memory_counts_and_tries_again(void **state) {
    (void)state;
    start_session();
    assert_flushed();
    pid_t child = fork();
    if (child == 0) {
        uint64_t lost = 0;
        for (allocations_left = 0; cirron_process_get() == NULL; allocations_left = (int)lost) {
            cirron_process_lose_span();
            lost++;
        }
        allocations_left = INT_MAX;
        if (lost < 10 || count().spans_dropped != lost) {
            _exit(2);
        }
        record_span("child");
        _exit(cirron_session_end(30 * SECOND) ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
    assert_int_equal(count_spans("child"), 1);
}

static void flush_and_stop_give_up_in_time(void **state) {
    (void)state;
    start_session();
    cirron_process *own = process();
    pthread_mutex_lock(&own->collector.mutex); /* the drain is stuck */
    record_span("stuck");
    assert_false(cirron_flusher_flush(&own->flusher, SECOND / 100));
    assert_false(cirron_flusher_stop(&own->flusher, SECOND / 100));
    pthread_mutex_unlock(&own->collector.mutex);
    assert_true(cirron_session_end(30 * SECOND));
    assert_int_equal(count_spans("stuck"), 1);
}

static void a_start_calls_a_slow_stop_back(void **state) {
    (void)state;
    start_session();
    cirron_process *own = process();
    pthread_mutex_lock(&own->collector.mutex);
    assert_false(cirron_flusher_stop(&own->flusher, SECOND / 100));
    pthread_mutex_unlock(&own->collector.mutex);
    assert_int_equal(
        cirron_flusher_configure(&own->flusher, spool, UINT64_C(1) << 30, 3600 * SECOND),
        CIRRON_OK);
    cirron_flusher_start(&own->flusher);
    record_span("again");
    assert_flushed();
    assert_true(count().flusher_running);
    assert_int_equal(count_spans("again"), 1);
}

static void *flush_in_thread(void *flushed) {
    *(bool *)flushed = cirron_flusher_flush(&process()->flusher, 30 * SECOND);
    return NULL;
}

static void *stop_in_thread(void *stopped) {
    *(bool *)stopped = cirron_flusher_stop(&process()->flusher, 30 * SECOND);
    return NULL;
}

static void a_flush_beside_a_stop_is_done(void **state) {
    (void)state;
    pthread_t threads[2];
    bool done[2] = {false, false};
    start_session();
    assert_flushed();
    cirron_process *own = process();
    pthread_mutex_lock(&own->collector.mutex); /* holds the last cycle up */
    assert_int_equal(pthread_create(&threads[0], NULL, stop_in_thread, &done[0]), 0);
    usleep(20000);
    assert_int_equal(pthread_create(&threads[1], NULL, flush_in_thread, &done[1]), 0);
    usleep(20000);
    pthread_mutex_unlock(&own->collector.mutex);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    assert_true(done[0]);
    assert_true(done[1]);
}

/* ---- snapshots */

static void snapshots_are_stored_or_counted(void **state) {
    (void)state;
    static char longest[CIRRON_MAX_ATTRS_BYTES + 2];
    memset(longest, ' ', sizeof longest - 1);
    memcpy(longest, "{\"long\":0", 9);
    longest[sizeof longest - 2] = '}';
    start_session();
    cirron_counters before = count();
    record_snapshot("{\"weight\":0}");
    record_snapshot("");
    record_snapshot(longest); /* one byte too many */
    longest[sizeof longest - 3] = '}';
    longest[sizeof longest - 2] = '\0';
    record_snapshot(longest);
    assert_flushed();
    cirron_counters after = count();
    assert_int_equal(after.snapshots - before.snapshots, 4);
    assert_int_equal(after.snapshots_dropped - before.snapshots_dropped, 2);
    assert_int_equal(count_on_disk("\"snapshots\":[{\"weight\":0},{\"long\""), 1);
}

static void snapshots_that_nobody_drains_are_bounded_and_counted(void **state) {
    (void)state;
    start_session();
    assert_flushed();
    cirron_counters before = count();
    pthread_mutex_lock(&process()->collector.mutex);
    for (int i = 0; i < CIRRON_MAX_SNAPSHOTS + 10; i++) {
        record_snapshot("{\"weight\":0}");
    }
    pthread_mutex_unlock(&process()->collector.mutex);
    assert_flushed();
    cirron_counters after = count();
    assert_int_equal(after.snapshots - before.snapshots, CIRRON_MAX_SNAPSHOTS + 10);
    assert_int_equal(after.snapshots_dropped - before.snapshots_dropped, 10);
    assert_int_equal(count_on_disk("{\"weight\":0}"), CIRRON_MAX_SNAPSHOTS);
}

static void a_session_without_a_spool_keeps_no_snapshots(void **state) {
    (void)state;
    assert_int_equal(start_session_in(NULL, 3600 * SECOND), CIRRON_OK);
    record_snapshot("{\"weight\":0}");
    assert_flushed();
    assert_true(cirron_session_end(30 * SECOND));
    start_session();
    assert_flushed();
    assert_int_equal(count_on_disk("weight"), 0);
}

static void a_forked_child_drops_the_snapshots_of_its_parent(void **state) {
    (void)state;
    start_session();
    record_snapshot("{\"parent\":0}");
    pid_t child = fork();
    if (child == 0) {
        record_snapshot("{\"child\":0}");
        _exit(cirron_session_end(30 * SECOND) ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
    assert_int_equal(count_on_disk("parent\":0"), 0);
    assert_true(cirron_session_end(30 * SECOND));
    assert_int_equal(count_on_disk("parent\":0"), 1);
    assert_int_equal(count_on_disk("child\":0"), 1);
}

/* ---- threads */

static void *record_in_thread(void *recorder) {
    record_span("in_thread");
    *(cirron_recorder **)recorder = cirron_this_recorder;
    return NULL;
}

static void the_recorder_of_a_dead_thread_is_taken_over(void **state) {
    (void)state;
    cirron_recorder *recorders[20];
    start_session();
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, record_in_thread, &recorders[i]), 0);
        pthread_join(thread, NULL);
        assert_ptr_equal(recorders[i], recorders[0]);
        assert_ptr_not_equal(recorders[i], cirron_recorder_get());
    }
    assert_flushed();
    assert_int_equal(count_spans("in_thread"), 20);
}

enum { THREADS = 4, SPANS_PER_THREAD = 3000 };

static void *record_many(void *barrier) {
    pthread_barrier_wait(barrier);
    for (int i = 0; i < SPANS_PER_THREAD; i++) {
        record_mark("loss");
        record_span("step");
    }
    return NULL;
}

static void what_threads_record_beside_the_flusher_is_written_once(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    assert_int_equal(start_session_in(spool, SECOND / 1000), CIRRON_OK);
    cirron_counters before = count();
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, record_many, &barrier), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
    assert_flushed();
    assert_int_equal(count_spans("step"), THREADS * SPANS_PER_THREAD);
    assert_int_equal(count_on_disk("\"name\":\"loss\""), THREADS * SPANS_PER_THREAD);
    cirron_counters after = count();
    assert_int_equal(after.spans - before.spans, THREADS * SPANS_PER_THREAD);
    assert_int_equal(after.marks - before.marks, THREADS * SPANS_PER_THREAD);
    assert_int_equal(after.spans_dropped + after.marks_dropped, 0);
    assert_int_equal(after.records_dropped - before.records_dropped, 0);
}

/* ---- forks */

/* What a child does: 0, or the number of what is wrong. */
static int record_as_child(const cirron_recorder *inherited, const char *name) {
    if (cirron_recorder_get() == inherited) {
        return 1;
    }
    if (count().spans != 0 || cirron_store_sequence(process()->collector.store) != 0) {
        return 2;
    }
    record_span(name);
    if (!cirron_flusher_flush(&process()->flusher, 30 * SECOND)) {
        return 3;
    }
    return count_spans(name) == 1 ? 0 : 4;
}

static void a_forked_child_writes_its_own_records_and_no_other(void **state) {
    (void)state;
    start_session();
    record_span("drained");
    assert_flushed();
    pthread_mutex_t *collecting = &process()->collector.mutex;
    pthread_mutex_lock(collecting); /* for ever, in the child */
    record_span("waiting");
    const cirron_recorder *inherited = cirron_recorder_get();
    pid_t child = fork();
    if (child == 0) {
        int failed = record_as_child(inherited, "child");
        pid_t grandchild = fork();
        if (grandchild == 0) {
            _exit(record_as_child(cirron_this_recorder, "grandchild"));
        }
        int status = -1;
        if (failed == 0 && (waitpid(grandchild, &status, 0) != grandchild || status != 0)) {
            failed = 5;
        }
        _exit(cirron_session_end(30 * SECOND) ? failed : 6);
    }
    char pid[32];
    snprintf(pid, sizeof pid, "\"pid\":%d,", (int)child);
    int wrong = wait_for(child);
    pthread_mutex_unlock(collecting);
    assert_int_equal(wrong, 0);
    assert_int_equal(count_on_disk("\"end_ns\":null"), 1);
    assert_int_equal(count_on_disk(pid), 1);
    assert_true(cirron_session_end(30 * SECOND));
    assert_int_equal(count_spans("drained"), 1);
    assert_int_equal(count_spans("waiting"), 1);
    assert_int_equal(count_spans("child"), 1);
    assert_int_equal(count_spans("grandchild"), 1);
    assert_int_equal(count_spans("cirron.session"), 2);
}

static void what_waits_in_the_parent_takes_no_room_of_a_child(void **state) {
    (void)state;
    assert_int_equal(start_session_in(NULL, 3600 * SECOND), CIRRON_OK);
    pthread_mutex_lock(&process()->collector.mutex); /* nobody drains */
    for (int i = 0; i < 10000; i++) {
        record_span("step");
    }
    uint64_t waiting = cirron_queues_bytes();
    pid_t child = fork();
    if (child == 0) {
        record_span("child");
        _exit(cirron_queues_bytes() < waiting ? 0 : 1);
    }
    pthread_mutex_unlock(&process()->collector.mutex);
    assert_int_equal(wait_for(child), 0);
}

static void a_child_may_have_a_session_of_its_own(void **state) {
    (void)state;
    start_session();
    assert_flushed();
    pid_t child = fork();
    if (child == 0) {
        bool ended = cirron_session_end(30 * SECOND); /* leaves the parent's alone */
        int started = start_session_in(spool, 3600 * SECOND);
        record_span("child");
        _exit(ended && started == CIRRON_OK && cirron_session_end(30 * SECOND) ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
    assert_flushed();
    assert_int_equal(count_spans("cirron.session"), 2 + 1);
    assert_int_equal(count_on_disk("\"end_ns\":null"), 1 + 1);
    assert_int_equal(count_spans("child"), 1);
    assert_true(cirron_session_end(30 * SECOND));
    assert_int_equal(count_spans("cirron.session"), 2 + 2);
}

/* In a process of its own, which ends by it. */
static void take_sigterm_after_a_child_of_vfork(void) {
    start_session();
    (void)cirron_sigterm_catch(&process()->flusher);
    record_span("last");
    pid_t child = vfork();
    if (child == 0) {
        (void)raise(SIGTERM);
        _exit(0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) {
        (void)raise(SIGTERM);
        sleep(30);
    }
    _exit(1);
}

static void a_child_of_vfork_leaves_sigterm_to_its_parent(void **state) {
    (void)state;
    if (UNDER_TSAN) {
        skip(); /* it makes a fork of vfork, and delivers signals late */
    }
    pid_t child = fork();
    if (child == 0) {
        take_sigterm_after_a_child_of_vfork();
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    assert_int_equal(count_spans("last"), 1);
    assert_int_equal(count_spans("cirron.session"), 2);
}

static void *record_until_told(void *stop) {
    while (!atomic_load((_Atomic bool *)stop)) {
        record_span("beside");
    }
    return NULL;
}

static void a_fork_in_the_middle_of_everything_leaves_the_child_working(void **state) {
    (void)state;
    enum { CHILDREN = 20 };
    _Atomic bool stop = false;
    pthread_t thread;
    if (UNDER_ASAN) {
        skip(); /* a child may inherit the lock of its allocator, held */
    }
    assert_int_equal(start_session_in(spool, SECOND / 1000), CIRRON_OK);
    assert_int_equal(pthread_create(&thread, NULL, record_until_told, &stop), 0);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0) {
            record_span("child");
            _exit(cirron_session_end(30 * SECOND) ? 0 : 1);
        }
        assert_int_equal(wait_for(child), 0);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    assert_flushed();
    assert_int_equal(count_spans("child"), CHILDREN);
}

/* ---- forks that are known of */

static int count_threads(void) {
    int threads = 0;
    DIR *dir = opendir("/proc/self/task");
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        threads += entry->d_name[0] != '.';
    }
    closedir(dir);
    return threads;
}

static void a_fork_that_is_known_of_finds_no_thread_of_ours(void **state) {
    (void)state;
    start_session();
    assert_flushed();
    int others = count_threads() - 1; /* a sanitizer may have one */
    for (int i = 0; i < 100; i++) {
        record_span("work");
        assert_true(cirron_flusher_park(&process()->flusher, 30 * SECOND));
        assert_int_equal(count_threads(), others);
        cirron_flusher_unpark(&process()->flusher);
        assert_int_equal(count_threads(), others + 1);
    }
    assert_flushed();
    assert_int_equal(count_spans("work"), 100);
}

static void a_flush_or_a_stop_beside_a_parked_flusher_is_done(void **state) {
    (void)state;
    start_session();
    cirron_flusher *flusher = &process()->flusher;
    record_span("first");
    assert_true(cirron_flusher_park(flusher, 30 * SECOND));
    assert_flushed();
    assert_int_equal(count_spans("first"), 1);
    cirron_flusher_unpark(flusher);
    record_span("last");
    assert_true(cirron_flusher_park(flusher, 30 * SECOND));
    assert_true(cirron_session_end(30 * SECOND));
    cirron_flusher_unpark(flusher);
    assert_int_equal(count_spans("last"), 1);
    assert_false(count().flusher_running);
}

static void a_parked_flusher_keeps_its_interval(void **state) {
    (void)state;
    assert_int_equal(start_session_in(spool, SECOND / 20), CIRRON_OK);
    assert_flushed();
    record_span("tick");
    for (int i = 0; i < 10000 && count_spans("tick") == 0; i++) {
        (void)cirron_flusher_park(&process()->flusher, 30 * SECOND);
        cirron_flusher_unpark(&process()->flusher);
    }
    assert_int_equal(count_spans("tick"), 1);
}

static void a_long_cycle_is_waited_for_once(void **state) {
    (void)state;
    start_session();
    cirron_process *own = process();
    pthread_mutex_lock(&own->collector.mutex); /* the drain is stuck */
    (void)cirron_flusher_flush(&own->flusher, SECOND / 100);
    assert_false(cirron_flusher_park(&own->flusher, SECOND / 100));
    cirron_flusher_unpark(&own->flusher);
    assert_false(cirron_flusher_park(&own->flusher, 3600 * SECOND));
    cirron_flusher_unpark(&own->flusher);
    pthread_mutex_unlock(&own->collector.mutex);
    assert_flushed();
    assert_true(cirron_flusher_park(&own->flusher, 30 * SECOND));
    cirron_flusher_unpark(&own->flusher);
}

static void a_thread_with_the_number_of_the_last_flusher_is_waited_for_once(void **state) {
    (void)state;
    start_session();
    cirron_flusher *flusher = &process()->flusher;
    assert_true(cirron_flusher_stop(flusher, 30 * SECOND));
    flusher->thread_id = gettid();
    assert_false(cirron_flusher_park(flusher, SECOND / 100));
    cirron_flusher_unpark(flusher);
    assert_true(cirron_flusher_park(flusher, SECOND));
    cirron_flusher_unpark(flusher);
}

static void forks_told_of_leave_both_sides_recording(void **state) {
    (void)state;
    start_session();
    record_span("before");
    cirron_process_before_fork(30 * SECOND);
    pid_t child = fork();
    if (child == 0) {
        cirron_process_before_fork(30 * SECOND); /* before it has anything of its own */
        pid_t grandchild = fork();
        if (grandchild != 0) {
            cirron_process_after_fork_in_parent();
        }
        record_span(grandchild == 0 ? "grandchild" : "child");
        bool ended = cirron_session_end(30 * SECOND);
        int status = 0;
        if (grandchild != 0 && (waitpid(grandchild, &status, 0) != grandchild || status != 0)) {
            _exit(2);
        }
        _exit(ended ? 0 : 1);
    }
    cirron_process_after_fork_in_parent();
    record_span("after");
    assert_int_equal(wait_for(child), 0);
    assert_flushed();
    assert_int_equal(count_spans("before"), 1);
    assert_int_equal(count_spans("after"), 1);
    assert_int_equal(count_spans("child"), 1);
    assert_int_equal(count_spans("grandchild"), 1);
}

static void *record_one(void *barrier) {
    pthread_barrier_wait(barrier);
    record_span("first");
    return NULL;
}

static void threads_that_record_first_in_a_child_share_one_state(void **state) {
    (void)state;
    enum { CHILDREN = 20 };
    start_session();
    assert_flushed();
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t threads[THREADS];
            pthread_barrier_t barrier;
            (void)pthread_barrier_init(&barrier, NULL, THREADS);
            for (int k = 0; k < THREADS; k++) {
                (void)pthread_create(&threads[k], NULL, record_one, &barrier);
            }
            for (int k = 0; k < THREADS; k++) {
                pthread_join(threads[k], NULL);
            }
            _exit(cirron_session_end(30 * SECOND) && count().spans == THREADS ? 0 : 1);
        }
        assert_int_equal(wait_for(child), 0);
    }
    assert_int_equal(count_spans("first"), CHILDREN * THREADS);
}

/* ---- too little of everything */

static void a_child_without_locks_counts_and_tries_again(void **state) {
    (void)state;
    start_session();
    assert_flushed();
    pid_t child = fork();
    if (child == 0) {
        uint64_t lost = 0;
        for (objects_left = 0; cirron_process_get() == NULL; objects_left = (int)lost) {
            cirron_process_lose_mark();
            lost++;
        }
        objects_left = INT_MAX;
        if (lost < 3 || count().marks_dropped != lost || count().marks != lost) {
            _exit(2);
        }
        record_span("child");
        _exit(cirron_session_end(30 * SECOND) ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
    assert_int_equal(count_spans("child"), 1);
}

static void a_flusher_that_begins_without_memory_writes_later(void **state) {
    (void)state;
    start_session();
    assert_flushed();
    cirron_flusher *flusher = &process()->flusher;
    assert_int_equal(cirron_flusher_configure(flusher, NULL, 0, 3600 * SECOND), CIRRON_OK);
    assert_flushed(); /* as a child's, it now has no directory */
    assert_int_equal(cirron_flusher_configure(flusher, spool, UINT64_C(1) << 30, 3600 * SECOND),
                     CIRRON_OK);
    cirron_counters before = count();
    record_span("late");
    allocations_left = 0;
    bool flushed = cirron_flusher_flush(flusher, 30 * SECOND);
    allocations_left = INT_MAX;
    assert_true(flushed);
    record_span("later");
    assert_flushed();
    assert_int_equal(count_spans("later"), 1);
    assert_int_equal(count_spans("late") + count().records_dropped - before.records_dropped, 1);
}

static void what_a_child_lost_is_counted_while_it_has_nothing(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        cirron_counters counters;
        allocations_left = 0;
        if (cirron_process_get() != NULL) {
            _exit(2);
        }
        cirron_process_lose_span();
        cirron_process_count(NULL, &counters);
        bool counted = counters.spans == 1 && counters.spans_dropped == 1 && counters.marks == 0;
        _exit(counted && cirron_recorder_get() == NULL && cirron_session_end(SECOND) ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
}

static bool has_process(void) {
    return cirron_process_get() != NULL;
}

static bool has_recorder(void) {
    return cirron_recorder_get() != NULL;
}

static bool has_session(void) {
    return start_session_in(spool, 3600 * SECOND) == CIRRON_OK;
}

/* One request more is granted each time; tells whether any was refused. */
static bool works_after_refusals(bool (*step)(void)) {
    int granted = -1;
    do {
        allocations_left = ++granted;
    } while (!step());
    allocations_left = INT_MAX;
    return granted > 0;
}

static void a_session_starts_whole_or_says_that_there_is_no_memory(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        bool worked = works_after_refusals(has_process) && works_after_refusals(has_recorder) &&
                      works_after_refusals(has_session);
        record_span("child");
        worked = cirron_session_end(30 * SECOND) && worked;
        /* The root's first record may have found no memory: then it is counted. */
        _exit(worked && count_spans("cirron.session") + count().records_dropped == 2 ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
    assert_int_equal(count_spans("child"), 1);
}

/* Whether what is recorded while memory is short is on disk or counted. */
static bool count_what_cannot_be_encoded(void) {
    bool flushed = cirron_flusher_flush(&process()->flusher, 30 * SECOND);
    cirron_counters before = count();
    uint64_t produced = 0;
    for (int granted = 0; granted < 40; granted++) {
        for (int i = 0; i < 1 << (granted % 8); i++) {
            record_mark("loss");
            record_span("step");
            record_snapshot("{\"weight\":0}");
            produced += 3;
        }
        allocations_left = granted / 8;
        flushed = cirron_flusher_flush(&process()->flusher, 30 * SECOND) && flushed;
        allocations_left = INT_MAX;
    }
    flushed = cirron_flusher_flush(&process()->flusher, 30 * SECOND) && flushed;
    uint64_t on_disk =
        count_spans("step") + count_on_disk("\"name\":\"loss\"") + count_on_disk("{\"weight\":0}");
    uint64_t dropped = count().records_dropped - before.records_dropped;
    return flushed && on_disk > 0 && dropped > 0 && on_disk + dropped == produced;
}

static void what_cannot_be_encoded_is_counted(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) { /* whose buffers have not grown yet */
        start_session();
        bool counted = count_what_cannot_be_encoded();
        _exit(cirron_session_end(30 * SECOND) && counted ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
}

static void record_inline(bool is_span) {
    char *payload;
    uint32_t offset;
    cirron_recorder *recorder = cirron_recorder_get();
    if (is_span) {
        cirron_span_record *span = cirron_recorder_reserve_span(recorder, 4, &payload, &offset);
        *span = (cirron_span_record){
            .name = CIRRON_NAME_INLINE, .name_len = 4, .payload = offset, .thread_id = 1};
        memcpy(payload, "odd!", 4);
        cirron_queue_publish(&recorder->spans, 4);
    } else {
        cirron_mark_record *mark = cirron_recorder_reserve_mark(recorder, 4, &payload, &offset);
        *mark = (cirron_mark_record){.name = CIRRON_NAME_INLINE, .name_len = 4, .payload = offset};
        memcpy(payload, "odd!", 4);
        cirron_queue_publish(&recorder->marks, 4);
    }
}

static void records_that_nobody_drains_are_bounded_and_counted(void **state) {
    (void)state;
    enum { MORE = 10 };
    assert_int_equal(start_session_in(NULL, 3600 * SECOND), CIRRON_OK);
    assert_flushed();
    uint64_t stored = cirron_store_sequence(process()->collector.store);
    cirron_counters before = count();
    pthread_mutex_lock(&process()->collector.mutex);
    for (int i = 0; i < CIRRON_MARKS_PER_THREAD + MORE; i++) {
        i % 2 == 0 ? record_inline(false) : record_mark("loss");
    }
    for (int i = 0; i < CIRRON_SPANS_PER_THREAD + MORE; i++) {
        i % 2 == 0 ? record_inline(true) : record_span("step");
    }
    pthread_mutex_unlock(&process()->collector.mutex);
    assert_flushed();
    cirron_counters after = count();
    assert_int_equal(after.marks_dropped - before.marks_dropped, MORE);
    assert_int_equal(after.spans_dropped - before.spans_dropped, MORE);
    assert_int_equal(cirron_store_sequence(process()->collector.store) - stored,
                     CIRRON_SPANS_PER_THREAD);
}

static void without_attributes_of_threads_a_flush_writes_itself(void **state) {
    (void)state;
    start_session();
    assert_true(cirron_flusher_park(&process()->flusher, 30 * SECOND));
    objects_left = 0;
    cirron_flusher_unpark(&process()->flusher);
    record_span("alone");
    bool flushed = cirron_flusher_flush(&process()->flusher, 30 * SECOND);
    objects_left = INT_MAX;
    assert_true(flushed);
    assert_false(count().flusher_running);
    assert_int_equal(count_spans("alone"), 1);
}

/* ---- SIGTERM */

static void assert_killed_by_sigterm(pid_t child) {
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void sigterm_writes_everything_first(void **state) {
    (void)state;
    if (UNDER_TSAN) {
        skip(); /* it delivers signals late */
    }
    for (int timers = 0; timers < 2; timers++) {
        pid_t child = fork();
        if (child == 0) {
            start_session();
            objects_left = timers == 0 ? 0 : INT_MAX; /* no timer to be had */
            bool caught = cirron_sigterm_catch(&process()->flusher);
            objects_left = INT_MAX;
            bool again = cirron_sigterm_catch(&process()->flusher);
            record_span(caught && again ? "last" : "uncaught");
            (void)raise(SIGTERM);
            sleep(30);
            _exit(1);
        }
        assert_killed_by_sigterm(child);
        assert_int_equal(count_spans("last"), timers + 1);
        assert_int_equal(count_spans("cirron.session"), 2 * (timers + 1));
    }
}

static void sigterm_is_answered_by_a_process_that_only_forks(void **state) {
    (void)state;
    enum { ROUNDS = 100 };
    if (UNDER_TSAN) {
        skip();
    }
    for (int i = 0; i < ROUNDS; i++) {
        int ready[2];
        assert_int_equal(pipe(ready), 0);
        pid_t child = fork();
        if (child == 0) {
            start_session();
            (void)cirron_sigterm_catch(&process()->flusher);
            record_span("last");
            for (bool told = false;; told = true) {
                (void)cirron_flusher_park(&process()->flusher, 30 * SECOND);
                cirron_flusher_unpark(&process()->flusher);
                if (!told && write(ready[1], "", 1) != 1) {
                    _exit(1);
                }
            }
        }
        char byte;
        assert_int_equal(read(ready[0], &byte, 1), 1);
        usleep((useconds_t)(i * 10));
        assert_int_equal(kill(child, SIGTERM), 0);
        assert_killed_by_sigterm(child);
        close(ready[0]);
        close(ready[1]);
    }
    assert_int_equal(count_spans("last"), ROUNDS);
}

static void a_child_of_a_session_answers_sigterm_for_itself(void **state) {
    (void)state;
    if (UNDER_TSAN) {
        skip();
    }
    pid_t parent = fork();
    if (parent == 0) {
        start_session();
        (void)cirron_sigterm_catch(&process()->flusher);
        pid_t child = fork();
        if (child == 0) {
            record_span("child");
            (void)raise(SIGTERM);
            sleep(30);
            _exit(1);
        }
        int status = 0;
        bool killed = waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
                      WTERMSIG(status) == SIGTERM;
        record_span("parent");
        _exit(killed && cirron_session_end(30 * SECOND) ? 0 : 1);
    }
    assert_int_equal(wait_for(parent), 0);
    assert_int_equal(count_spans("child"), 1);
    assert_int_equal(count_spans("parent"), 1);
}

static void a_child_of_an_ended_session_answers_sigterm_in_its_own(void **state) {
    (void)state;
    if (UNDER_TSAN) {
        skip();
    }
    pid_t parent = fork();
    if (parent == 0) {
        start_session();
        (void)cirron_sigterm_catch(&process()->flusher);
        (void)cirron_session_end(30 * SECOND);
        pid_t child = fork();
        if (child == 0) {
            start_session();
            (void)cirron_sigterm_catch(&process()->flusher);
            record_span("child");
            (void)raise(SIGTERM);
            sleep(30);
            _exit(1);
        }
        int status = 0;
        _exit(waitpid(child, &status, 0) == child && WIFSIGNALED(status) ? 0 : 1);
    }
    assert_int_equal(wait_for(parent), 0);
    assert_int_equal(count_spans("child"), 1);
}

/* As a supervisor does that sends it to its workers and to their process group. */
static void sigterm_that_is_sent_twice_is_answered_once(void **state) {
    (void)state;
    if (UNDER_TSAN) {
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        start_session();
        (void)cirron_sigterm_catch(&process()->flusher);
        record_span("last");
        pthread_mutex_lock(&process()->collector.mutex); /* it is not done yet */
        (void)raise(SIGTERM);
        (void)raise(SIGTERM);
        pthread_mutex_unlock(&process()->collector.mutex);
        sleep(30);
        _exit(1);
    }
    assert_killed_by_sigterm(child);
    assert_int_equal(count_spans("last"), 1);
    assert_int_equal(count_spans("cirron.session"), 2);
}

static void without_a_timer_a_second_sigterm_ends_a_stuck_process(void **state) {
    (void)state;
    if (UNDER_TSAN) {
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        start_session();
        (void)cirron_flusher_flush(&process()->flusher, 30 * SECOND);
        objects_left = 0;
        (void)cirron_sigterm_catch(&process()->flusher);
        objects_left = INT_MAX;
        pthread_mutex_lock(&process()->collector.mutex);
        (void)raise(SIGTERM);
        (void)raise(SIGTERM);
        _exit(1);
    }
    assert_killed_by_sigterm(child);
}

static void sigterm_after_the_session_ends_the_process_at_once(void **state) {
    (void)state;
    if (UNDER_TSAN) {
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        start_session();
        (void)cirron_sigterm_catch(&process()->flusher);
        (void)cirron_session_end(30 * SECOND);
        (void)raise(SIGTERM);
        sleep(30);
        _exit(1);
    }
    assert_killed_by_sigterm(child);
}

static void a_stuck_flusher_does_not_keep_a_process_from_sigterm(void **state) {
    (void)state;
    if (UNDER_TSAN) {
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        start_session();
        (void)cirron_flusher_flush(&process()->flusher, 30 * SECOND);
        (void)cirron_sigterm_catch(&process()->flusher);
        pthread_mutex_lock(&process()->collector.mutex);
        (void)raise(SIGTERM);
        sleep(30); /* interrupted by the second one, which the timer sends */
        _exit(1);
    }
    assert_killed_by_sigterm(child);
}

static void on_signal(int number) {
    (void)number;
}

static void on_signal_with_info(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
}

static void sigterm_that_is_somebody_else_s_stays_so(void **state) {
    (void)state;
    struct sigaction before, after;
    const struct sigaction others[] = {
        {.sa_handler = SIG_IGN},
        {.sa_handler = on_signal},
        {.sa_sigaction = on_signal_with_info, .sa_flags = SA_SIGINFO},
    };
    start_session();
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(sigaction(SIGTERM, &others[i], &before), 0);
        assert_false(cirron_sigterm_catch(&process()->flusher));
        cirron_sigterm_continue(&process()->flusher);
        assert_int_equal(sigaction(SIGTERM, &before, &after), 0);
        assert_ptr_equal(after.sa_handler, others[i].sa_handler);
    }
    actions_are_refused = true;
    bool caught = cirron_sigterm_catch(&process()->flusher);
    cirron_sigterm_continue(&process()->flusher);
    actions_are_refused = false;
    assert_false(caught);
}

#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, make_directory, end_session_and_remove_directory)

int main(void) {
    cirron_memory_use(&(cirron_allocator){allocate, resize, free}); /* seen by sanitizers */
    if (cirron_process_init() != CIRRON_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        TEST(a_session_writes_what_was_recorded_before_it),
        TEST(a_session_writes_its_root_open_and_then_closed),
        TEST(a_root_is_closed_once),
        TEST(a_root_has_its_name_when_the_table_of_names_is_full),
        TEST(a_session_without_a_spool_keeps_its_records_in_memory),
        TEST(flush_returns_when_the_disk_has_it),
        TEST(the_flusher_wakes_by_itself),
        TEST(chunks_that_pile_up_wake_the_flusher),
        TEST(a_directory_that_cannot_be_made_keeps_the_batches),
        TEST(what_the_disk_refuses_to_the_end_is_counted),
        TEST(without_a_thread_flush_and_stop_write_themselves),
        TEST(a_flush_starts_the_thread_that_was_refused),
        TEST(a_child_without_memory_counts_and_tries_again),
        TEST(flush_and_stop_give_up_in_time),
        TEST(a_start_calls_a_slow_stop_back),
        TEST(a_flush_beside_a_stop_is_done),
        TEST(snapshots_are_stored_or_counted),
        TEST(snapshots_that_nobody_drains_are_bounded_and_counted),
        TEST(a_session_without_a_spool_keeps_no_snapshots),
        TEST(a_forked_child_drops_the_snapshots_of_its_parent),
        TEST(the_recorder_of_a_dead_thread_is_taken_over),
        TEST(what_threads_record_beside_the_flusher_is_written_once),
        TEST(a_forked_child_writes_its_own_records_and_no_other),
        TEST(what_waits_in_the_parent_takes_no_room_of_a_child),
        TEST(a_child_may_have_a_session_of_its_own),
        TEST(a_child_of_vfork_leaves_sigterm_to_its_parent),
        TEST(a_fork_in_the_middle_of_everything_leaves_the_child_working),
        TEST(a_fork_that_is_known_of_finds_no_thread_of_ours),
        TEST(a_flush_or_a_stop_beside_a_parked_flusher_is_done),
        TEST(a_parked_flusher_keeps_its_interval),
        TEST(a_long_cycle_is_waited_for_once),
        TEST(a_thread_with_the_number_of_the_last_flusher_is_waited_for_once),
        TEST(forks_told_of_leave_both_sides_recording),
        TEST(threads_that_record_first_in_a_child_share_one_state),
        TEST(a_child_without_locks_counts_and_tries_again),
        TEST(a_flusher_that_begins_without_memory_writes_later),
        TEST(what_a_child_lost_is_counted_while_it_has_nothing),
        TEST(a_session_starts_whole_or_says_that_there_is_no_memory),
        TEST(what_cannot_be_encoded_is_counted),
        TEST(records_that_nobody_drains_are_bounded_and_counted),
        TEST(without_attributes_of_threads_a_flush_writes_itself),
        TEST(sigterm_writes_everything_first),
        TEST(sigterm_is_answered_by_a_process_that_only_forks),
        TEST(a_child_of_a_session_answers_sigterm_for_itself),
        TEST(a_child_of_an_ended_session_answers_sigterm_in_its_own),
        TEST(sigterm_that_is_sent_twice_is_answered_once),
        TEST(without_a_timer_a_second_sigterm_ends_a_stuck_process),
        TEST(sigterm_after_the_session_ends_the_process_at_once),
        TEST(a_stuck_flusher_does_not_keep_a_process_from_sigterm),
        TEST(sigterm_that_is_somebody_else_s_stays_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
