/* The one state of a process, its sessions, and what a fork does to it.
 *
 * cirron_process_get() gives the state of the calling process; in a child of a fork the
 * first call builds a new one and never touches what the parent had locked or recorded.
 * The child inherits the session: its id stays the parent of what the child records,
 * and its spool is where that goes; only the process that opened the session closes it.
 *
 * Starting and ending sessions is for one thread at a time (the binding holds the GIL).
 */
#ifndef CIRRON_CORE_PROCESS_H
#define CIRRON_CORE_PROCESS_H

#include "core/flusher.h"
#include "core/recorder.h"

/* What the recording path looks at; written by one thread at a time, read with the GIL
 * or by the thread that ends the process. Survives a fork as it is. */
typedef struct cirron_session {
    cirron_id id;
    uint32_t number;     /* of sessions started so far; 0: none yet */
    uint32_t generation; /* of the process that opened it */
    bool running;
    bool cpu_time;
    int64_t started_monotonic_ns;
    int64_t start_ns;
    int64_t rank;
    uint64_t thread_id;
} cirron_session;

extern cirron_session cirron_current_session;

typedef struct cirron_session_config {
    const char *spool_dir; /* NULL: nothing goes to the disk */
    uint64_t spool_max_bytes;
    int64_t flush_interval_ns;
    size_t trace_max_spans;
    int64_t rank;
    bool cpu_time;
    const char *attrs; /* of the root span: one JSON object */
    size_t attrs_len;
} cirron_session_config;

typedef struct cirron_process {
    uint32_t generation;
    int64_t pid;
    cirron_registry registry;
    cirron_collector collector;
    cirron_flusher flusher;
    _Atomic uint64_t spans_too_deep;
    _Atomic int64_t root_overhead_ns; /* of the session, as the binding computes it */
} cirron_process;

/* Once, when the extension loads. */
int cirron_process_init(void);

/* NULL when there is no memory for the state. */
cirron_process *cirron_process_get(void);

/* Around a fork that is known of: the flusher's thread ends before it, at most after
 * `timeout_ns`, and goes on after it in the parent. Forks that are not known of do no
 * harm. */
void cirron_process_before_fork(int64_t timeout_ns);
void cirron_process_after_fork_in_parent(void);

/* Builds what is missing: the process's state after a fork, the thread's recorder. */
cirron_recorder *cirron_recorder_attach(void);

/* The calling thread's recorder; NULL when there is no memory for one. A look at
 * thread-local memory and at the generation word. */
static inline cirron_recorder *cirron_recorder_get(void) {
    cirron_recorder *recorder = cirron_this_recorder;
    if (__builtin_expect(recorder != NULL && recorder->generation == cirron_generation(), 1)) {
        return recorder;
    }
    return cirron_recorder_attach();
}

/* Opens the root span. CIRRON_OK, or CIRRON_NO_MEMORY and nothing was started. */
int cirron_session_start(const cirron_session_config *config);

/* The root span's attributes, borrowed until the next start; "" for none. */
const char *cirron_session_attrs(size_t *len);

/* Its spool directory, borrowed until the next start; NULL for none. */
const char *cirron_session_spool_dir(void);

/* Ends the root span; its record follows with the next drain. Nothing when this process
 * did not open it or it is closed. Later records still belong to the session until
 * cirron_session_end. */
void cirron_session_close_root(void);

/* Closes, flushes and stops the flusher. False when that took longer than `timeout_ns`. */
bool cirron_session_end(int64_t timeout_ns);

/* Counts since the process started; the binding subtracts what stood at a session's
 * start. */
typedef struct cirron_counters {
    uint64_t spans; /* recorded: waiting, drained or dropped */
    uint64_t marks;
    uint64_t snapshots;
    uint64_t spans_dropped; /* for want of room, memory or depth */
    uint64_t marks_dropped;
    uint64_t snapshots_dropped;
    uint64_t spans_too_deep; /* of spans_dropped: never among `spans` */
    uint64_t files_dropped;
    uint64_t records_dropped;
    uint64_t evicted; /* from the trace buffer */
    uint64_t spool_bytes;
    uint64_t latency_ns;
    uint32_t pending;
    int disk_errno;
    bool flusher_running;
} cirron_counters;

/* Without a process, only what was lost for want of one. */
void cirron_process_count(cirron_process *process, cirron_counters *counters);

/* Counts a span or mark for which there was no memory: not even a recorder. */
void cirron_process_lose_span(void);
void cirron_process_lose_mark(void);

#endif
