/* The thread that writes: asked to, by itself, stopped, beside a fork, on a disk that refuses. */
#include <errno.h>

#include "session.h"

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

/* Where a directory above the spool would have to be. */
static const char *make_file_in_the_way(void) {
    static char path[80];
    snprintf(path, sizeof path, "%s/run", scratch);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    return path;
}

static void a_directory_that_cannot_be_made_keeps_the_batches(void **state) {
    (void)state;
    const char *in_the_way = make_file_in_the_way();
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
    const char *in_the_way = make_file_in_the_way();
    start_session();
    cirron_counters before = count();
    record_span("lost");
    record_mark("lost");
    assert_flushed();
    assert_true(end_session());
    cirron_counters after = count();
    assert_int_equal(after.pending, 0);
    /* The root's two records and those two. */
    assert_int_equal(after.records_dropped - before.records_dropped, 4);
    assert_true(after.files_dropped > before.files_dropped);
    assert_int_equal(unlink(in_the_way), 0);
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
    assert_true(end_session());
    assert_int_equal(count_spans("stuck"), 1);
}

static void a_start_calls_a_slow_stop_back(void **state) {
    (void)state;
    start_session();
    cirron_process *own = process();
    pthread_mutex_lock(&own->collector.mutex);
    assert_false(cirron_flusher_stop(&own->flusher, SECOND / 100));
    pthread_mutex_unlock(&own->collector.mutex);
    assert_int_equal(cirron_flusher_configure(&own->flusher, spool, UINT64_C(1) << 30, NEVER),
                     CIRRON_OK);
    cirron_flusher_start(&own->flusher);
    record_span("again");
    assert_flushed();
    assert_true(count().flusher_running);
    assert_int_equal(count_spans("again"), 1);
}

static void *flush_in_thread(void *flushed) {
    *(bool *)flushed = flush();
    return NULL;
}

static void *stop_in_thread(void *stopped) {
    *(bool *)stopped = cirron_flusher_stop(&process()->flusher, PATIENCE);
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
        assert_true(cirron_flusher_park(&process()->flusher, PATIENCE));
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
    assert_true(cirron_flusher_park(flusher, PATIENCE));
    assert_flushed();
    assert_int_equal(count_spans("first"), 1);
    cirron_flusher_unpark(flusher);
    record_span("last");
    assert_true(cirron_flusher_park(flusher, PATIENCE));
    assert_true(end_session());
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
        (void)cirron_flusher_park(&process()->flusher, PATIENCE);
        cirron_flusher_unpark(&process()->flusher);
    }
    assert_int_equal(count_spans("tick"), 1);
}

static void a_long_cycle_is_waited_for_once(void **state) {
    (void)state;
    start_session();
    assert_flushed(); /* the cycle that gets stuck is no earlier one */
    cirron_process *own = process();
    pthread_mutex_lock(&own->collector.mutex); /* the drain is stuck, soon */
    (void)cirron_flusher_flush(&own->flusher, SECOND / 2);
    assert_false(cirron_flusher_park(&own->flusher, SECOND / 100));
    cirron_flusher_unpark(&own->flusher);
    assert_false(cirron_flusher_park(&own->flusher, NEVER));
    cirron_flusher_unpark(&own->flusher);
    pthread_mutex_unlock(&own->collector.mutex);
    assert_flushed();
    assert_true(cirron_flusher_park(&own->flusher, PATIENCE));
    cirron_flusher_unpark(&own->flusher);
}

static void a_thread_with_the_number_of_the_last_flusher_is_waited_for_once(void **state) {
    (void)state;
    start_session();
    cirron_flusher *flusher = &process()->flusher;
    assert_true(cirron_flusher_stop(flusher, PATIENCE));
    flusher->thread_id = gettid();
    assert_false(cirron_flusher_park(flusher, SECOND / 100));
    cirron_flusher_unpark(flusher);
    assert_true(cirron_flusher_park(flusher, SECOND));
    cirron_flusher_unpark(flusher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(flush_returns_when_the_disk_has_it),
        TEST(the_flusher_wakes_by_itself),
        TEST(chunks_that_pile_up_wake_the_flusher),
        TEST(a_directory_that_cannot_be_made_keeps_the_batches),
        TEST(what_the_disk_refuses_to_the_end_is_counted),
        TEST(flush_and_stop_give_up_in_time),
        TEST(a_start_calls_a_slow_stop_back),
        TEST(a_flush_beside_a_stop_is_done),
        TEST(a_fork_that_is_known_of_finds_no_thread_of_ours),
        TEST(a_flush_or_a_stop_beside_a_parked_flusher_is_done),
        TEST(a_parked_flusher_keeps_its_interval),
        TEST(a_long_cycle_is_waited_for_once),
        TEST(a_thread_with_the_number_of_the_last_flusher_is_waited_for_once),
    };
    return cmocka_run_group_tests(tests, init_process, NULL);
}
