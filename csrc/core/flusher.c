/* The cycle: drain, take the outbox, write it, tell who waits. The mutex guards the few
 * words that are waited for; it is never held while draining or writing, so a fork, a
 * signal or a stuck disk in the middle of a cycle finds it free.
 */
#include "core/flusher.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"

_Atomic bool cirron_disk_refused;

int cirron_flusher_init(cirron_flusher *flusher, cirron_collector *collector) {
    *flusher = (cirron_flusher){.collector = collector};
    flusher->writer = cirron_spool_writer_new();
    if (flusher->writer == NULL) {
        return CIRRON_NO_MEMORY;
    }
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);
    if (failed == 0) {
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* fails for bad ids only */
        failed = pthread_cond_init(&flusher->changed, &attributes);
        pthread_condattr_destroy(&attributes);
    }
    if (failed == 0 && (failed = pthread_mutex_init(&flusher->mutex, NULL)) != 0) {
        pthread_cond_destroy(&flusher->changed);
    }
    if (failed != 0) {
        cirron_spool_writer_free(flusher->writer);
    }
    return failed == 0 ? CIRRON_OK : CIRRON_NO_MEMORY;
}

void cirron_flusher_fini(cirron_flusher *flusher) {
    cirron_free(flusher->spool_dir);
    cirron_spool_writer_free(flusher->writer);
    pthread_cond_destroy(&flusher->changed);
    pthread_mutex_destroy(&flusher->mutex);
}

static void wake(cirron_flusher *flusher) {
    atomic_fetch_add(&flusher->wakes, 1);
    (void)syscall(SYS_futex, &flusher->wakes, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void cirron_flusher_kick(cirron_flusher *flusher) {
    if (!atomic_exchange_explicit(&flusher->kicked, true, memory_order_relaxed)) {
        wake(flusher);
    }
}

void cirron_flusher_die(cirron_flusher *flusher, int signal) {
    atomic_store(&flusher->signal, signal);
    wake(flusher);
}

static void publish_stats(cirron_flusher *flusher) {
    cirron_spool_stats stats = cirron_spool_writer_stats(flusher->writer);
    bool refused_before = atomic_load_explicit(&flusher->disk_errno, memory_order_relaxed) != 0;
    atomic_store(&flusher->spool_bytes, stats.bytes);
    atomic_store(&flusher->files_dropped, stats.files_dropped);
    atomic_store(&flusher->records_dropped, stats.records_dropped);
    atomic_store(&flusher->pending, (uint32_t)stats.pending);
    atomic_store(&flusher->disk_errno, stats.last_errno);
    if (stats.last_errno != 0 && !refused_before) {
        atomic_store(&cirron_disk_refused, true);
    }
}

static void write_documents(cirron_flusher *flusher, cirron_document *list) {
    while (list != NULL) {
        cirron_document *document = list;
        list = document->next;
        (void)cirron_spool_writer_submit(flusher->writer, &document->text, document->created_ns,
                                         &document->batch_id, document->records);
        cirron_document_free(document); /* what the disk refuses, the writer keeps */
    }
}

static void reopen_spool(cirron_flusher *flusher) {
    pthread_mutex_lock(&flusher->mutex);
    bool reopen = flusher->reopen;
    flusher->reopen = false;
    char *dir = flusher->spool_dir;
    uint64_t max_bytes = flusher->spool_max_bytes;
    flusher->spool_dir = NULL;
    pthread_mutex_unlock(&flusher->mutex);
    if (!reopen) {
        return;
    }
    if (dir == NULL) {
        cirron_spool_writer_give_up(flusher->writer);
    }
    (void)cirron_spool_writer_open(flusher->writer, dir, max_bytes);
}

static void end_drain(cirron_flusher *flusher, bool seal) {
    if (flusher->drained != NULL) {
        flusher->drained();
    }
    if (seal) {
        cirron_collector_seal(flusher->collector);
    }
}

/* `seal`: the batch in the making is written as well, however small. */
static void run_cycle(cirron_flusher *flusher, bool seal) {
    int64_t start = cirron_monotonic_ns();
    atomic_store_explicit(&flusher->kicked, false, memory_order_relaxed);
    cirron_queues_settled();
    cirron_id_next_epoch();
    reopen_spool(flusher);
    if (cirron_spool_writer_stats(flusher->writer).pending != 0) {
        (void)cirron_spool_writer_retry(flusher->writer);
    }
    bool more = true;
    for (int pass = 0; more && pass < CIRRON_PASSES; pass++) {
        more = cirron_collector_drain(flusher->collector);
        if (!more || pass + 1 == CIRRON_PASSES) {
            end_drain(flusher, seal);
        }
        write_documents(flusher, cirron_collector_take(flusher->collector));
        publish_stats(flusher);
    }
    atomic_store(&flusher->latency_ns, (uint64_t)(cirron_monotonic_ns() - start));
}

/* The session ends: what the disk refuses once more is counted, not kept for ever. */
static void run_last_cycle(cirron_flusher *flusher) {
    run_cycle(flusher, true);
    (void)cirron_spool_writer_retry(flusher->writer);
    cirron_spool_writer_give_up(flusher->writer);
    publish_stats(flusher);
}

static void wait_for_work(cirron_flusher *flusher, int64_t next_tick) {
    while (atomic_load(&flusher->wakes) == flusher->wakes_seen) {
        int64_t left = next_tick - cirron_monotonic_ns();
        if (left <= 0) {
            return;
        }
        struct timespec timeout = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        (void)syscall(SYS_futex, &flusher->wakes, FUTEX_WAIT_PRIVATE, flusher->wakes_seen, &timeout,
                      NULL, 0);
    }
    flusher->wakes_seen = atomic_load(&flusher->wakes);
}

static void die_by(int signal_number) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    (void)sigaction(signal_number, &action, NULL);
    (void)kill(getpid(), signal_number);
}

/* Not with a signal to answer: in a process that forks all the time no thread would. */
static bool leave_for_fork(cirron_flusher *flusher) {
    pthread_mutex_lock(&flusher->mutex);
    bool leaves = flusher->parks != 0 && atomic_load(&flusher->signal) == 0;
    if (leaves) {
        flusher->alive = flusher->running = false;
        flusher->park_was_late = false;
        pthread_cond_broadcast(&flusher->changed);
    }
    pthread_mutex_unlock(&flusher->mutex);
    return leaves;
}

static void *run(void *argument) {
    cirron_flusher *flusher = argument;
    (void)prctl(PR_SET_NAME, "cirron-flusher");
    pthread_mutex_lock(&flusher->mutex);
    flusher->thread_id = gettid();
    pthread_mutex_unlock(&flusher->mutex);
    bool stopping = false;
    while (!stopping) {
        pthread_mutex_lock(&flusher->mutex);
        int64_t next_tick = flusher->sealed_ns + flusher->interval_ns;
        bool asked = flusher->asked != flusher->done || flusher->stopping || flusher->reopen ||
                     flusher->parks != 0 || atomic_load(&flusher->signal) != 0;
        pthread_mutex_unlock(&flusher->mutex);
        if (!asked) {
            wait_for_work(flusher, next_tick);
        }
        if (leave_for_fork(flusher)) {
            break;
        }
        int signal_number = atomic_exchange(&flusher->signal, 0);
        if (signal_number != 0 && flusher->before_death != NULL) {
            flusher->before_death();
        }
        pthread_mutex_lock(&flusher->mutex);
        uint64_t ticket = flusher->asked;
        stopping = flusher->stopping;
        asked = ticket != flusher->done || stopping;
        pthread_mutex_unlock(&flusher->mutex);
        int64_t now = cirron_monotonic_ns();
        bool seal = asked || signal_number != 0 || now >= next_tick;
        flusher->sealed_ns = seal ? now : flusher->sealed_ns;
        if (stopping) {
            run_last_cycle(flusher);
        } else {
            run_cycle(flusher, seal);
        }
        if (signal_number != 0) {
            die_by(signal_number);
        }
        pthread_mutex_lock(&flusher->mutex);
        flusher->done = ticket;
        /* A new start may have called it back, or a flush or signal come in meanwhile. */
        stopping = stopping && flusher->stopping && flusher->asked == ticket &&
                   atomic_load(&flusher->signal) == 0;
        flusher->running = !stopping;
        flusher->alive = !stopping;
        flusher->park_was_late = false;
        atomic_store(&flusher->answers, !stopping);
        pthread_cond_broadcast(&flusher->changed);
        pthread_mutex_unlock(&flusher->mutex);
    }
    return NULL;
}

/* Under the mutex. Where the system has no thread for us, the next flush tries again. */
static void start_thread(cirron_flusher *flusher) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) {
        return;
    }
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, 256 * 1024);
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int failed = pthread_create(&thread, &attributes, run, flusher);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    flusher->alive = flusher->running = failed == 0;
    atomic_store(&flusher->answers, flusher->running);
}

/* No thread could be started: the caller plays its part, for all who ask meanwhile. With
 * the mutex held, which it lets go while it works. */
static void run_here(cirron_flusher *flusher) {
    flusher->running = true;
    while (flusher->asked != flusher->done) {
        uint64_t ticket = flusher->asked;
        bool stopping = flusher->stopping;
        pthread_mutex_unlock(&flusher->mutex);
        if (stopping) {
            run_last_cycle(flusher);
        } else {
            run_cycle(flusher, true);
        }
        pthread_mutex_lock(&flusher->mutex);
        flusher->done = ticket;
        pthread_cond_broadcast(&flusher->changed);
    }
    flusher->running = false;
}

int cirron_flusher_configure(cirron_flusher *flusher, const char *spool_dir, uint64_t max_bytes,
                             int64_t interval_ns) {
    char *copy = NULL;
    if (spool_dir != NULL) {
        size_t size = strlen(spool_dir) + 1;
        copy = cirron_malloc(size);
        if (copy == NULL) {
            return CIRRON_NO_MEMORY;
        }
        memcpy(copy, spool_dir, size);
    }
    pthread_mutex_lock(&flusher->mutex);
    cirron_free(flusher->spool_dir);
    flusher->spool_dir = copy;
    flusher->spool_max_bytes = max_bytes;
    flusher->interval_ns = interval_ns;
    flusher->reopen = true;
    pthread_mutex_unlock(&flusher->mutex);
    return CIRRON_OK;
}

void cirron_flusher_start(cirron_flusher *flusher) {
    pthread_mutex_lock(&flusher->mutex);
    flusher->wanted = true;
    flusher->stopping = false;
    flusher->parks = 0;
    if (!flusher->running) {
        flusher->sealed_ns = cirron_monotonic_ns();
        start_thread(flusher);
    }
    pthread_mutex_unlock(&flusher->mutex);
    wake(flusher);
}

static struct timespec deadline_in(int64_t timeout_ns) {
    int64_t at = cirron_monotonic_ns() + timeout_ns;
    return (struct timespec){.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
}

static bool ask(cirron_flusher *flusher, bool stop, int64_t timeout_ns) {
    struct timespec deadline = deadline_in(timeout_ns);
    pthread_mutex_lock(&flusher->mutex);
    bool parked = flusher->parks != 0; /* nobody waits for somebody else's fork */
    flusher->parks = 0;
    if (!flusher->running && flusher->wanted && (!stop || parked)) {
        start_thread(flusher);
    }
    bool wanted = flusher->running || flusher->wanted;
    bool done = !wanted;
    flusher->wanted = flusher->wanted && !stop;
    if (wanted) {
        uint64_t ticket = ++flusher->asked;
        flusher->stopping |= stop;
        wake(flusher);
        if (!flusher->running) {
            run_here(flusher);
        }
        int waited = 0;
        while (flusher->done < ticket && waited == 0) {
            waited = pthread_cond_timedwait(&flusher->changed, &flusher->mutex, &deadline);
        }
        done = flusher->done >= ticket;
    }
    pthread_mutex_unlock(&flusher->mutex);
    if (!wanted) {
        bool more = true;
        for (int pass = 0; more && pass < CIRRON_PASSES; pass++) {
            more = cirron_collector_drain(flusher->collector);
        }
        end_drain(flusher, false);
    }
    return done;
}

bool cirron_flusher_flush(cirron_flusher *flusher, int64_t timeout_ns) {
    return ask(flusher, false, timeout_ns);
}

bool cirron_flusher_stop(cirron_flusher *flusher, int64_t timeout_ns) {
    return ask(flusher, true, timeout_ns);
}

/* A thread that has ended is still counted as one for some microseconds. Waited for once:
 * another thread may have got its number. */
static bool wait_until_forgotten(cirron_flusher *flusher, pid_t thread_id, int64_t deadline_ns) {
    bool forgotten;
    while (!(forgotten = syscall(SYS_tgkill, getpid(), thread_id, 0) != 0) &&
           cirron_monotonic_ns() < deadline_ns) {
        sched_yield();
    }
    pthread_mutex_lock(&flusher->mutex);
    if (flusher->thread_id == thread_id) {
        flusher->thread_id = 0;
    }
    pthread_mutex_unlock(&flusher->mutex);
    return forgotten;
}

bool cirron_flusher_park(cirron_flusher *flusher, int64_t timeout_ns) {
    int64_t deadline_ns = cirron_monotonic_ns() + timeout_ns;
    struct timespec deadline = deadline_in(timeout_ns);
    pthread_mutex_lock(&flusher->mutex);
    flusher->parks++;
    if (flusher->alive) {
        wake(flusher);
        int waited = flusher->park_was_late ? ETIMEDOUT : 0;
        while (flusher->alive && flusher->parks != 0 && waited == 0) {
            waited = pthread_cond_timedwait(&flusher->changed, &flusher->mutex, &deadline);
        }
        flusher->park_was_late = flusher->alive && flusher->parks != 0;
    }
    bool left = !flusher->alive;
    pid_t thread_id = flusher->thread_id;
    pthread_mutex_unlock(&flusher->mutex);
    return left && (thread_id == 0 || wait_until_forgotten(flusher, thread_id, deadline_ns));
}

void cirron_flusher_unpark(cirron_flusher *flusher) {
    pthread_mutex_lock(&flusher->mutex);
    bool is_last = flusher->parks != 0 && --flusher->parks == 0;
    if (is_last && !flusher->running && (flusher->wanted || flusher->asked != flusher->done)) {
        start_thread(flusher);
    }
    pthread_mutex_unlock(&flusher->mutex);
}
