/* Too little of everything: memory, locks, threads. What was recorded is written or counted. */
#include <errno.h>

#include "child.h"
#include "session.h"

/* ---- in place of the C library's */

static quota threads_left = UNLIMITED;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
    return take_one(&threads_left) > 0 ? NEXT(pthread_create)(thread, attributes, run, argument)
                                       : EAGAIN;
}

static quota locks_left = UNLIMITED; /* with conditions, and attributes of threads */

int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes) {
    return take_one(&locks_left) > 0 ? NEXT(pthread_mutex_init)(mutex, attributes) : ENOMEM;
}

int pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes) {
    return take_one(&locks_left) > 0 ? NEXT(pthread_cond_init)(condition, attributes) : ENOMEM;
}

int pthread_condattr_init(pthread_condattr_t *attributes) {
    return take_one(&locks_left) > 0 ? NEXT(pthread_condattr_init)(attributes) : ENOMEM;
}

int pthread_attr_init(pthread_attr_t *attributes) {
    return take_one(&locks_left) > 0 ? NEXT(pthread_attr_init)(attributes) : ENOMEM;
}

/* ---- threads */

static void without_a_thread_flush_and_stop_write_themselves(void **state) {
    (void)state;
    threads_left = 0;
    start_session();
    record_span("first");
    assert_flushed();
    assert_false(count().flusher_running);
    assert_int_equal(count_spans("first"), 1);
    record_span("last");
    assert_true(end_session());
    assert_int_equal(count_spans("last"), 1);
    assert_int_equal(count_spans("cirron.session"), 2);
    threads_left = UNLIMITED;
}

static void a_flush_starts_the_thread_that_was_refused(void **state) {
    (void)state;
    threads_left = 0;
    start_session();
    threads_left = UNLIMITED;
    assert_false(count().flusher_running);
    record_span("late");
    assert_flushed();
    assert_true(count().flusher_running);
    assert_int_equal(count_spans("late"), 1);
}

static void without_attributes_of_threads_a_flush_writes_itself(void **state) {
    (void)state;
    start_session();
    assert_true(cirron_flusher_park(&process()->flusher, PATIENCE));
    locks_left = 0;
    cirron_flusher_unpark(&process()->flusher);
    record_span("alone");
    bool flushed = flush();
    locks_left = UNLIMITED;
    assert_true(flushed);
    assert_false(count().flusher_running);
    assert_int_equal(count_spans("alone"), 1);
}

/* ---- children */

/* In a child: one request more is granted each time, until there is a state to record into. */
static uint64_t lose_until_granted(quota *left, void (*lose)(void)) {
    uint64_t lost = 0;
    for (*left = 0; cirron_process_get() == NULL; *left = (long)lost) {
        lose();
        lost++;
    }
    *left = UNLIMITED;
    return lost;
}

static bool without_memory_spans_are_lost_and_counted(void) {
    uint64_t lost = lose_until_granted(&allocations_left, cirron_process_lose_span);
    return lost >= 10 && count().spans_dropped == lost && record_and_end("child");
}

static bool without_locks_marks_are_lost_and_counted(void) {
    uint64_t lost = lose_until_granted(&locks_left, cirron_process_lose_mark);
    return lost >= 3 && count().marks_dropped == lost && count().marks == lost &&
           record_and_end("child");
}

static void assert_child_counts_and_tries_again(bool (*in_child)(void)) {
    start_session();
    assert_flushed();
    assert_int_equal(exit_status_of(in_child), 0);
    assert_int_equal(count_spans("child"), 1);
}

static void a_child_without_memory_counts_and_tries_again(void **state) {
    (void)state;
    assert_child_counts_and_tries_again(without_memory_spans_are_lost_and_counted);
}

static void a_child_without_locks_counts_and_tries_again(void **state) {
    (void)state;
    assert_child_counts_and_tries_again(without_locks_marks_are_lost_and_counted);
}

static bool without_any_state_losses_are_counted(void) {
    cirron_counters counters;
    allocations_left = 0;
    if (cirron_process_get() != NULL) {
        return false;
    }
    cirron_process_lose_span();
    cirron_process_count(NULL, &counters);
    return counters.spans == 1 && counters.spans_dropped == 1 && counters.marks == 0 &&
           cirron_recorder_get() == NULL && cirron_session_end(SECOND);
}

static void what_a_child_lost_is_counted_while_it_has_nothing(void **state) {
    (void)state;
    assert_int_equal(exit_status_of(without_any_state_losses_are_counted), 0);
}

/* ---- memory */

static void a_flusher_that_begins_without_memory_writes_later(void **state) {
    (void)state;
    start_session();
    assert_flushed();
    cirron_flusher *flusher = &process()->flusher;
    assert_int_equal(cirron_flusher_configure(flusher, NULL, 0, NEVER), CIRRON_OK);
    assert_flushed(); /* as a child's, it now has no directory */
    assert_int_equal(cirron_flusher_configure(flusher, spool, UINT64_C(1) << 30, NEVER), CIRRON_OK);
    cirron_counters before = count();
    record_span("late");
    allocations_left = 0;
    bool flushed = cirron_flusher_flush(flusher, PATIENCE);
    allocations_left = UNLIMITED;
    assert_true(flushed);
    record_span("later");
    assert_flushed();
    assert_int_equal(count_spans("later"), 1);
    assert_int_equal(count_spans("late") + count().records_dropped - before.records_dropped, 1);
}

static bool has_process(void) {
    return cirron_process_get() != NULL;
}

static bool has_recorder(void) {
    return cirron_recorder_get() != NULL;
}

static bool has_session(void) {
    return start_session_in(spool, NEVER) == CIRRON_OK;
}

/* One request more is granted each time; tells whether any was refused. */
static bool works_after_refusals(bool (*step)(void)) {
    int granted = -1;
    do {
        allocations_left = ++granted;
    } while (!step());
    allocations_left = UNLIMITED;
    return granted > 0;
}

static bool everything_works_after_refusals(void) {
    bool worked = works_after_refusals(has_process) && works_after_refusals(has_recorder) &&
                  works_after_refusals(has_session) && record_and_end("child");
    /* The root's first record may have found no memory: then it is counted. */
    return worked && count_spans("cirron.session") + count().records_dropped == 2;
}

static void a_session_starts_whole_or_says_that_there_is_no_memory(void **state) {
    (void)state;
    assert_int_equal(exit_status_of(everything_works_after_refusals), 0);
    assert_int_equal(count_spans("child"), 1);
}

/* Whether what is recorded while memory is short is on disk or counted. */
static bool count_what_cannot_be_encoded(void) {
    start_session();
    bool flushed = flush();
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
        flushed = flush() && flushed;
        allocations_left = UNLIMITED;
    }
    flushed = flush() && flushed;
    uint64_t on_disk =
        count_spans("step") + count_on_disk("\"name\":\"loss\"") + count_on_disk("{\"weight\":0}");
    uint64_t dropped = count().records_dropped - before.records_dropped;
    return end_session() && flushed && on_disk > 0 && dropped > 0 && on_disk + dropped == produced;
}

static void what_cannot_be_encoded_is_counted(void **state) {
    (void)state;
    /* In a child, whose buffers have not grown yet. */
    assert_int_equal(exit_status_of(count_what_cannot_be_encoded), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(without_a_thread_flush_and_stop_write_themselves),
        TEST(a_flush_starts_the_thread_that_was_refused),
        TEST(without_attributes_of_threads_a_flush_writes_itself),
        TEST(a_child_without_memory_counts_and_tries_again),
        TEST(a_child_without_locks_counts_and_tries_again),
        TEST(what_a_child_lost_is_counted_while_it_has_nothing),
        TEST(a_flusher_that_begins_without_memory_writes_later),
        TEST(a_session_starts_whole_or_says_that_there_is_no_memory),
        TEST(what_cannot_be_encoded_is_counted),
    };
    return cmocka_run_group_tests(tests, init_process, NULL);
}
