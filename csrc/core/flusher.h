/* The native thread that brings records to the disk. It never attaches to Python, has
 * all signals blocked, and wakes on its interval, when chunks pile up, on a flush and
 * on SIGTERM. Nobody waits for it but with a bound.
 */
#ifndef CIRRON_CORE_FLUSHER_H
#define CIRRON_CORE_FLUSHER_H

#include <sys/types.h>

#include "core/collector.h"
#include "core/spool_writer.h"

typedef struct cirron_flusher {
    cirron_collector *collector;
    cirron_spool_writer *writer; /* owned; the thread's alone while it runs */
    _Atomic uint32_t wakes;      /* a futex: no file, which a daemon that closes all would hit */
    uint32_t wakes_seen;         /* the thread's alone, as sealed_ns */
    int64_t sealed_ns;           /* when it last wrote all there was; monotonic */
    _Atomic int signal;          /* a signal to die by after the next cycle, or 0 */
    _Atomic bool kicked;         /* a wake is on its way */
    _Atomic bool answers;        /* the thread runs: for signal handlers */
    void (*before_death)(void);  /* a signal is about to end the process */
    void (*drained)(void);       /* the threads' records are taken; may add to the collector */

    /* Copies for readers. */
    _Atomic uint64_t spool_bytes;
    _Atomic uint64_t files_dropped;
    _Atomic uint64_t records_dropped;
    _Atomic uint64_t latency_ns; /* of the last cycle */
    _Atomic uint32_t pending;    /* batches that the disk refused */
    _Atomic int disk_errno;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool wanted;        /* a session wants the thread, whether or not there is one */
    bool running;       /* it runs, or somebody plays its part */
    bool alive;         /* there is a thread */
    pid_t thread_id;    /* of the last thread, until the kernel has forgotten it; 0: none */
    unsigned parks;     /* forks in the making, for which the thread leaves */
    bool park_was_late; /* and its present cycle did not let it: not waited for again */
    bool stopping;
    uint64_t asked; /* number of the last flush that was asked for */
    uint64_t done;  /* and of the last that is done */
    int64_t interval_ns;
    char *spool_dir; /* owned; NULL: nothing goes to the disk */
    uint64_t spool_max_bytes;
    bool reopen; /* the two above are new */
} cirron_flusher;

/* The disk began to refuse and nobody was told yet: set by the thread, cleared by who
 * tells. */
extern _Atomic bool cirron_disk_refused;

int cirron_flusher_init(cirron_flusher *flusher, cirron_collector *collector);

/* Of a flusher that was never started. */
void cirron_flusher_fini(cirron_flusher *flusher);

/* These settings hold from the next cycle on. CIRRON_OK, or CIRRON_NO_MEMORY and those of
 * before. */
int cirron_flusher_configure(cirron_flusher *flusher, const char *spool_dir, uint64_t max_bytes,
                             int64_t interval_ns);

/* Starts the thread when it does not run. Where the system has none to give, each flush tries
 * again, and until then does the work itself. */
void cirron_flusher_start(cirron_flusher *flusher);

/* Asks for a cycle and waits until one that began after the call is done: true, or
 * `timeout_ns` passed: false. Without a session it drains here and writes nothing. */
bool cirron_flusher_flush(cirron_flusher *flusher, int64_t timeout_ns);

/* A last flush, after which the thread ends; it ends later when the disk is stuck. What the
 * disk refuses then is dropped and counted. */
bool cirron_flusher_stop(cirron_flusher *flusher, int64_t timeout_ns);

/* Before a fork: the thread ends, at most after `timeout_ns`, so that the process forks
 * with no thread of ours. False when it is in the middle of a long cycle and the fork
 * has to do with it. What is asked of the flusher meanwhile is done by a new thread. */
bool cirron_flusher_park(cirron_flusher *flusher, int64_t timeout_ns);

/* After it, in the parent, once for each park. */
void cirron_flusher_unpark(cirron_flusher *flusher);

/* Chunks pile up: wakes the thread, once. Safe in a signal handler, as is die. */
void cirron_flusher_kick(cirron_flusher *flusher);

/* Flush, then the default action of `signal`. */
void cirron_flusher_die(cirron_flusher *flusher, int signal);

#endif
