/* SIGTERM without Python: the handler wakes the flusher, which flushes, restores the
 * default and sends the signal again. A Python handler would wait for C code to return.
 *
 * A stuck disk must not keep the process alive: the handler arms a timer that sends
 * SIGTERM again after two seconds, and that one finds the default. Those that come before
 * are the same request: a supervisor's, and its process group's.
 */
#include "core/sigterm.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

enum { PATIENCE_SECONDS = 2 };

static cirron_flusher *_Atomic caught_by; /* who answers */
static _Atomic pid_t caught_in;           /* the process that it flushes; set last */
static _Atomic int64_t told_ns;           /* when it was told, monotonic; 0: not yet */
static timer_t patience;
static bool has_patience;

/* Tells the flusher, once; false when the process has to die now. */
static bool tell(cirron_flusher *flusher, int number) {
    int64_t now = cirron_monotonic_ns();
    int64_t told = 0;
    if (!atomic_load(&flusher->answers)) {
        return false;
    }
    if (!atomic_compare_exchange_strong(&told_ns, &told, now)) {
        return has_patience && now - told < PATIENCE_SECONDS * INT64_C(1000000000);
    }
    struct itimerspec later = {.it_value.tv_sec = PATIENCE_SECONDS};
    if (has_patience) {
        (void)timer_settime(patience, 0, &later, NULL);
    }
    cirron_flusher_die(flusher, number);
    return true;
}

/* Async-signal-safe: loads, clock_gettime, sigaction, raise, timer_settime, futex. */
static void on_sigterm(int number) {
    int error = errno;
    /* A child of vfork shares this memory: it must not take what its parent needs. */
    bool is_child = atomic_load(&caught_in) != getpid();
    if (is_child || !tell(atomic_load(&caught_by), number)) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigset_t only;
        sigemptyset(&only);
        sigaddset(&only, number);
        (void)sigaction(number, &action, NULL);
        (void)raise(number);
        (void)pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    }
    errno = error;
}

/* POSIX timers are not inherited. */
static void answer_with(cirron_flusher *flusher) {
    atomic_store(&caught_by, flusher);
    atomic_store(&told_ns, 0);
    if (!has_patience || atomic_load(&caught_in) != getpid()) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};
        has_patience = timer_create(CLOCK_MONOTONIC, &event, &patience) == 0;
    }
    atomic_store(&caught_in, getpid());
}

static bool is_ours(const struct sigaction *action) {
    return (action->sa_flags & SA_SIGINFO) == 0 && action->sa_handler == on_sigterm;
}

bool cirron_sigterm_catch(cirron_flusher *flusher) {
    struct sigaction before;
    if (sigaction(SIGTERM, NULL, &before) != 0) {
        return false;
    }
    if (is_ours(&before)) {
        if (atomic_load(&caught_in) != getpid()) {
            answer_with(flusher); /* the session of the parent had ended */
        }
        return true;
    }
    if ((before.sa_flags & SA_SIGINFO) != 0 || before.sa_handler != SIG_DFL) {
        return false;
    }
    answer_with(flusher);
    struct sigaction action = {.sa_handler = on_sigterm, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    return sigaction(SIGTERM, &action, NULL) == 0;
}

void cirron_sigterm_continue(cirron_flusher *flusher) {
    struct sigaction before;
    if (sigaction(SIGTERM, NULL, &before) == 0 && is_ours(&before)) {
        answer_with(flusher);
    }
}
