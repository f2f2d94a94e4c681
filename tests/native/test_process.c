/* The one state of a process: sessions and their root, and what a fork makes of them. */
#include "child.h"
#include "session.h"

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
    assert_true(end_session());
    assert_int_equal(count_on_disk(root), 2);
    assert_int_equal(count_spans("cirron.session"), 2);
    assert_int_equal(count_on_disk("\"end_ns\":null"), 1);
    assert_int_equal(count_on_disk("\"rank\":3,\"attrs\":{\"hostname\":\"here\"}"), 2);
    size_t len;
    assert_string_equal(cirron_session_attrs(&len), "{\"hostname\":\"here\"}");
    assert_int_equal(len, strlen("{\"hostname\":\"here\"}"));
    assert_string_equal(cirron_session_spool_dir(), spool);
    assert_false(count().flusher_running);
    assert_true(end_session()); /* again: nothing happens */
    assert_int_equal(count_spans("cirron.session"), 2);
}

static void a_root_is_closed_once(void **state) {
    (void)state;
    start_session();
    cirron_session_close_root();
    record_span("late");
    assert_true(end_session());
    assert_int_equal(count_spans("cirron.session"), 2);
    assert_int_equal(count_spans("late"), 1);
}

static bool fill_names_and_have_a_session(void) {
    for (uint32_t i = 0; i < CIRRON_INTERN_MAX_NAMES; i++) {
        (void)cirron_intern_name(process()->collector.names, (const char *)&i, sizeof i);
    }
    return start_session_in(spool, NEVER) == CIRRON_OK && end_session();
}

static void a_root_has_its_name_when_the_table_of_names_is_full(void **state) {
    (void)state;
    assert_int_equal(exit_status_of(fill_names_and_have_a_session), 0);
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
    assert_int_equal(start_session_in(NULL, NEVER), CIRRON_OK);
    uint64_t before = cirron_store_sequence(process()->collector.store);
    record_span("kept");
    assert_flushed();
    assert_true(end_session());
    assert_int_equal(cirron_store_sequence(process()->collector.store), before + 2);
    assert_int_equal(access(spool, F_OK), -1);
    start_session();
    assert_flushed();
    assert_int_equal(count_spans("kept"), 0);
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
    if (!flush()) {
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
        if (failed == 0 && wait_for(grandchild) != 0) {
            failed = 5;
        }
        _exit(end_session() ? failed : 6);
    }
    char pid[32];
    snprintf(pid, sizeof pid, "\"pid\":%d,", (int)child);
    int wrong = wait_for(child);
    pthread_mutex_unlock(collecting);
    assert_int_equal(wrong, 0);
    assert_int_equal(count_on_disk("\"end_ns\":null"), 1);
    assert_int_equal(count_on_disk(pid), 1);
    assert_true(end_session());
    assert_int_equal(count_spans("drained"), 1);
    assert_int_equal(count_spans("waiting"), 1);
    assert_int_equal(count_spans("child"), 1);
    assert_int_equal(count_spans("grandchild"), 1);
    assert_int_equal(count_spans("cirron.session"), 2);
}

static bool end_the_session_and_have_another(void) {
    bool ended = end_session(); /* leaves the parent's alone */
    return ended && start_session_in(spool, NEVER) == CIRRON_OK && record_and_end("child");
}

static bool has_room_of_its_own(void) {
    uint64_t waiting = cirron_queues_bytes(); /* in the parent */
    record_span("child");
    return cirron_queues_bytes() < waiting;
}

static void what_waits_in_the_parent_takes_no_room_of_a_child(void **state) {
    (void)state;
    assert_int_equal(start_session_in(NULL, NEVER), CIRRON_OK);
    pthread_mutex_lock(&process()->collector.mutex); /* nobody drains */
    for (int i = 0; i < 10000; i++) {
        record_span("step");
    }
    int status = exit_status_of(has_room_of_its_own);
    pthread_mutex_unlock(&process()->collector.mutex);
    assert_int_equal(status, 0);
}

static void a_child_may_have_a_session_of_its_own(void **state) {
    (void)state;
    start_session();
    assert_flushed();
    assert_int_equal(exit_status_of(end_the_session_and_have_another), 0);
    assert_flushed();
    assert_int_equal(count_spans("cirron.session"), 2 + 1);
    assert_int_equal(count_on_disk("\"end_ns\":null"), 1 + 1);
    assert_int_equal(count_spans("child"), 1);
    assert_true(end_session());
    assert_int_equal(count_spans("cirron.session"), 2 + 2);
}

static bool record_one_span(void) {
    return record_and_end("child");
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
        assert_int_equal(exit_status_of(record_one_span), 0);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    assert_flushed();
    assert_int_equal(count_spans("child"), CHILDREN);
}

static void *record_one(void *barrier) {
    pthread_barrier_wait(barrier);
    record_span("first");
    return NULL;
}

static bool record_first_in_threads(void) {
    return run_in_threads(record_one) && end_session() && count().spans == THREADS;
}

static void threads_that_record_first_in_a_child_share_one_state(void **state) {
    (void)state;
    enum { CHILDREN = 20 };
    start_session();
    assert_flushed();
    for (int i = 0; i < CHILDREN; i++) {
        assert_int_equal(exit_status_of(record_first_in_threads), 0);
    }
    assert_int_equal(count_spans("first"), CHILDREN * THREADS);
}

static bool fork_once_more_and_record(void) {
    cirron_process_before_fork(PATIENCE); /* before it has anything of its own */
    pid_t grandchild = fork();
    if (grandchild == 0) {
        _exit(record_and_end("grandchild") ? 0 : 1);
    }
    cirron_process_after_fork_in_parent();
    bool ended = record_and_end("child");
    return wait_for(grandchild) == 0 && ended;
}

static void forks_told_of_leave_both_sides_recording(void **state) {
    (void)state;
    start_session();
    record_span("before");
    cirron_process_before_fork(PATIENCE);
    pid_t child = fork();
    if (child == 0) {
        _exit(fork_once_more_and_record() ? 0 : 1);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_session_writes_what_was_recorded_before_it),
        TEST(a_session_writes_its_root_open_and_then_closed),
        TEST(a_root_is_closed_once),
        TEST(a_root_has_its_name_when_the_table_of_names_is_full),
        TEST(a_session_without_a_spool_keeps_its_records_in_memory),
        TEST(a_forked_child_writes_its_own_records_and_no_other),
        TEST(what_waits_in_the_parent_takes_no_room_of_a_child),
        TEST(a_child_may_have_a_session_of_its_own),
        TEST(a_fork_in_the_middle_of_everything_leaves_the_child_working),
        TEST(threads_that_record_first_in_a_child_share_one_state),
        TEST(forks_told_of_leave_both_sides_recording),
    };
    return cmocka_run_group_tests(tests, init_process, NULL);
}
