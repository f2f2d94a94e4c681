/* SIGTERM without Python: the handler wakes the flusher, which flushes, restores the
 * default and sends the signal again. A Python handler would wait for C code to return.
 *
 * A stuck disk must not keep the process alive: the handler arms a timer that sends
 * SIGTERM again after two seconds, and the second one finds the default at once.
 */
#include "core/sigterm.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 2 };

static cirron_flusher *_Atomic caught_by; /* who answers */
static pid_t caught_in;                   /* the process that it flushes */
static timer_t patience;
static bool has_patience;

/* Async-signal-safe: loads, sigaction, raise, timer_settime, futex. */
static void on_sigterm(int number) {
    int error = errno;
    /* A child of vfork shares this memory: it must not take what its parent needs. */
    bool is_child = caught_in != getpid();
    cirron_flusher *flusher = is_child ? NULL : atomic_exchange(&caught_by, NULL);
    if (flusher == NULL || !atomic_load(&flusher->answers)) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigset_t only;
        sigemptyset(&only);
        sigaddset(&only, number);
        (void)sigaction(number, &action, NULL);
        (void)raise(number);
        (void)pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    } else {
        struct itimerspec later = {.it_value.tv_sec = PATIENCE_SECONDS};
        if (has_patience) {
            (void)timer_settime(patience, 0, &later, NULL);
        }
        cirron_flusher_die(flusher, number);
    }
    errno = error;
}

static void answer_with(cirron_flusher *flusher) {
    if (!has_patience || caught_in != getpid()) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};
        has_patience = timer_create(CLOCK_MONOTONIC, &event, &patience) == 0;
        caught_in = getpid();
    }
    atomic_store(&caught_by, flusher);
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

/* POSIX timers are not inherited. */
void cirron_sigterm_continue(cirron_flusher *flusher) {
    struct sigaction before;
    if (sigaction(SIGTERM, NULL, &before) == 0 && is_ours(&before)) {
        answer_with(flusher);
    }
}
