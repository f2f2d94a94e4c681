/* What threads record comes together: into the store and onto the disk, once, or counted. */
#include "child.h"
#include "session.h"

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

enum { SPANS_PER_THREAD = 3000 };

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
    assert_int_equal(start_session_in(spool, SECOND / 1000), CIRRON_OK);
    cirron_counters before = count();
    assert_true(run_in_threads(record_many));
    assert_flushed();
    assert_int_equal(count_spans("step"), THREADS * SPANS_PER_THREAD);
    assert_int_equal(count_on_disk("\"name\":\"loss\""), THREADS * SPANS_PER_THREAD);
    cirron_counters after = count();
    assert_int_equal(after.spans - before.spans, THREADS * SPANS_PER_THREAD);
    assert_int_equal(after.marks - before.marks, THREADS * SPANS_PER_THREAD);
    assert_int_equal(after.spans_dropped + after.marks_dropped, 0);
    assert_int_equal(after.records_dropped - before.records_dropped, 0);
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
    assert_int_equal(start_session_in(NULL, NEVER), CIRRON_OK);
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
    assert_int_equal(start_session_in(NULL, NEVER), CIRRON_OK);
    record_snapshot("{\"weight\":0}");
    assert_flushed();
    assert_true(end_session());
    start_session();
    assert_flushed();
    assert_int_equal(count_on_disk("weight"), 0);
}

static bool record_a_snapshot(void) {
    record_snapshot("{\"child\":0}");
    return end_session();
}

static void a_forked_child_drops_the_snapshots_of_its_parent(void **state) {
    (void)state;
    start_session();
    assert_flushed();
    record_snapshot("{\"parent\":0}");
    assert_int_equal(exit_status_of(record_a_snapshot), 0);
    assert_int_equal(count_on_disk("parent\":0"), 0);
    assert_true(end_session());
    assert_int_equal(count_on_disk("parent\":0"), 1);
    assert_int_equal(count_on_disk("child\":0"), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_recorder_of_a_dead_thread_is_taken_over),
        TEST(what_threads_record_beside_the_flusher_is_written_once),
        TEST(records_that_nobody_drains_are_bounded_and_counted),
        TEST(snapshots_are_stored_or_counted),
        TEST(snapshots_that_nobody_drains_are_bounded_and_counted),
        TEST(a_session_without_a_spool_keeps_no_snapshots),
        TEST(a_forked_child_drops_the_snapshots_of_its_parent),
    };
    return cmocka_run_group_tests(tests, init_process, NULL);
}
