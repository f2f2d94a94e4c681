/* SIGTERM: everything is written first, and the process dies of it as it would have. */
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "core/sigterm.h"
#include "child.h"
#include "session.h"

/* ---- in place of the C library's */

static bool timers_are_refused, actions_are_refused;

int timer_create(clockid_t clock, struct sigevent *event, timer_t *timer) {
    errno = EAGAIN;
    return timers_are_refused ? -1 : NEXT(timer_create)(clock, event, timer);
}

int sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    return actions_are_refused && number == SIGTERM ? -1 : NEXT(sigaction)(number, action, before);
}

/* ---- processes that die */

/* TSan delivers signals late, and makes a fork of vfork. */
static void skip_under_tsan(void) {
    if (UNDER_TSAN) {
        skip();
    }
}

static void start_session_and_catch(void) {
    start_session();
    (void)cirron_sigterm_catch(&process()->flusher);
}

static _Noreturn void die_by_sigterm(void) {
    (void)raise(SIGTERM);
    sleep(30); /* another thread may send it once more */
    _exit(1);
}

static void assert_killed_by_sigterm(pid_t child) {
    assert_int_equal(signal_that_killed(child), SIGTERM);
}

static void sigterm_writes_everything_first(void **state) {
    (void)state;
    skip_under_tsan();
    for (int timers = 0; timers < 2; timers++) {
        pid_t child = fork();
        if (child == 0) {
            start_session();
            timers_are_refused = timers == 0;
            bool caught = cirron_sigterm_catch(&process()->flusher);
            timers_are_refused = false;
            bool again = cirron_sigterm_catch(&process()->flusher);
            record_span(caught && again ? "last" : "uncaught");
            die_by_sigterm();
        }
        assert_killed_by_sigterm(child);
        assert_int_equal(count_spans("last"), timers + 1);
        assert_int_equal(count_spans("cirron.session"), 2 * (timers + 1));
    }
}

static void sigterm_is_answered_by_a_process_that_only_forks(void **state) {
    (void)state;
    enum { ROUNDS = 100 };
    skip_under_tsan();
    for (int i = 0; i < ROUNDS; i++) {
        int ready[2];
        assert_int_equal(pipe(ready), 0);
        pid_t child = fork();
        if (child == 0) {
            start_session_and_catch();
            record_span("last");
            for (bool told = false;; told = true) {
                (void)cirron_flusher_park(&process()->flusher, PATIENCE);
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
    skip_under_tsan();
    pid_t parent = fork();
    if (parent == 0) {
        start_session_and_catch();
        (void)flush(); /* or a child under ASan may inherit the lock of its allocator, held */
        pid_t child = fork();
        if (child == 0) {
            record_span("child");
            die_by_sigterm();
        }
        bool killed = signal_that_killed(child) == SIGTERM;
        _exit(record_and_end("parent") && killed ? 0 : 1);
    }
    assert_int_equal(wait_for(parent), 0);
    assert_int_equal(count_spans("child"), 1);
    assert_int_equal(count_spans("parent"), 1);
}

static void a_child_of_an_ended_session_answers_sigterm_in_its_own(void **state) {
    (void)state;
    skip_under_tsan();
    pid_t parent = fork();
    if (parent == 0) {
        start_session_and_catch();
        (void)end_session();
        pid_t child = fork();
        if (child == 0) {
            start_session_and_catch();
            record_span("child");
            die_by_sigterm();
        }
        _exit(signal_that_killed(child) == SIGTERM ? 0 : 1);
    }
    assert_int_equal(wait_for(parent), 0);
    assert_int_equal(count_spans("child"), 1);
}

/* As a supervisor does that sends it to its workers and to their process group. */
static void sigterm_that_is_sent_twice_is_answered_once(void **state) {
    (void)state;
    skip_under_tsan();
    pid_t child = fork();
    if (child == 0) {
        start_session_and_catch();
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
    skip_under_tsan();
    pid_t child = fork();
    if (child == 0) {
        start_session();
        (void)flush();
        timers_are_refused = true;
        (void)cirron_sigterm_catch(&process()->flusher);
        pthread_mutex_lock(&process()->collector.mutex);
        (void)raise(SIGTERM);
        (void)raise(SIGTERM);
        _exit(1);
    }
    assert_killed_by_sigterm(child);
}

/* In a process of its own, which ends by it. */
static void take_sigterm_after_a_child_of_vfork(void) {
    start_session_and_catch();
    record_span("last");
    pid_t child = vfork();
    if (child == 0) {
        (void)raise(SIGTERM);
        _exit(0);
    }
    if (signal_that_killed(child) == SIGTERM) {
        die_by_sigterm();
    }
    _exit(1);
}

static void a_child_of_vfork_leaves_sigterm_to_its_parent(void **state) {
    (void)state;
    skip_under_tsan();
    pid_t child = fork();
    if (child == 0) {
        take_sigterm_after_a_child_of_vfork();
    }
    assert_killed_by_sigterm(child);
    assert_int_equal(count_spans("last"), 1);
    assert_int_equal(count_spans("cirron.session"), 2);
}

static void sigterm_after_the_session_ends_the_process_at_once(void **state) {
    (void)state;
    skip_under_tsan();
    pid_t child = fork();
    if (child == 0) {
        start_session_and_catch();
        (void)end_session();
        die_by_sigterm();
    }
    assert_killed_by_sigterm(child);
}

static void a_stuck_flusher_does_not_keep_a_process_from_sigterm(void **state) {
    (void)state;
    skip_under_tsan();
    pid_t child = fork();
    if (child == 0) {
        start_session();
        (void)flush();
        (void)cirron_sigterm_catch(&process()->flusher);
        pthread_mutex_lock(&process()->collector.mutex);
        die_by_sigterm(); /* by the second one, which the timer sends */
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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(sigterm_writes_everything_first),
        TEST(sigterm_is_answered_by_a_process_that_only_forks),
        TEST(a_child_of_a_session_answers_sigterm_for_itself),
        TEST(a_child_of_an_ended_session_answers_sigterm_in_its_own),
        TEST(sigterm_that_is_sent_twice_is_answered_once),
        TEST(without_a_timer_a_second_sigterm_ends_a_stuck_process),
        TEST(a_child_of_vfork_leaves_sigterm_to_its_parent),
        TEST(sigterm_after_the_session_ends_the_process_at_once),
        TEST(a_stuck_flusher_does_not_keep_a_process_from_sigterm),
        TEST(sigterm_that_is_somebody_else_s_stays_so),
    };
    return cmocka_run_group_tests(tests, init_process, NULL);
}
