/* What a thread records with: its queues of spans and marks, its ids, its CPU clock.
 *
 * A recorder belongs to one thread (process.h finds it) and outlives it: the next new
 * thread takes it over with what still waits in it, so memory follows the number of
 * threads that live at once. Recorders of before a fork are never touched again.
 */
#ifndef CIRRON_CORE_RECORDER_H
#define CIRRON_CORE_RECORDER_H

#include "core/cpu_clock.h"
#include "core/generation.h"
#include "core/id.h"
#include "core/record_queue.h"

enum {
    CIRRON_MARKS_PER_THREAD = 65536,
    CIRRON_MARK_BYTES_PER_THREAD = 8 * 1024 * 1024,
    CIRRON_SPANS_PER_THREAD = 524288, /* 60 MiB of records: a second of a disk that is slow */
    CIRRON_SPAN_BYTES_PER_THREAD = 32 * 1024 * 1024,
};

typedef struct cirron_recorder {
    cirron_queue spans;
    cirron_queue marks;
    cirron_id_stream ids;
    cirron_cpu_clock cpu;
    uint64_t thread_id; /* the kernel's */
    uint32_t generation;
    bool warned_of_depth;
    bool in_use;                  /* under the registry's mutex */
    struct cirron_recorder *next; /* in the registry; set once */
} cirron_recorder;

/* All recorders of one process. */
typedef struct cirron_registry {
    pthread_mutex_t mutex;
    cirron_recorder *_Atomic first; /* newest first; entries are never removed */
} cirron_registry;

int cirron_registry_init(cirron_registry *registry);

/* Of a registry that nobody has attached to. */
void cirron_registry_fini(cirron_registry *registry);

/* A recorder of its own for the calling thread; NULL when there is no memory. */
cirron_recorder *cirron_registry_attach(cirron_registry *registry, uint32_t generation);

extern _Thread_local cirron_recorder *cirron_this_recorder;

/* Room for a record with its payload (see record_queue.h); NULL: counted as dropped. */
static inline cirron_span_record *cirron_recorder_reserve_span(cirron_recorder *recorder,
                                                               uint32_t payload_len, char **payload,
                                                               uint32_t *offset) {
    return cirron_queue_reserve(&recorder->spans, payload_len, payload, offset);
}

static inline cirron_mark_record *cirron_recorder_reserve_mark(cirron_recorder *recorder,
                                                               uint32_t payload_len, char **payload,
                                                               uint32_t *offset) {
    return cirron_queue_reserve(&recorder->marks, payload_len, payload, offset);
}

#endif
