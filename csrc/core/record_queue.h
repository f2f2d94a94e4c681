/* The way of records from one producer thread to whoever drains: append-only chunks.
 *
 * The owner alone appends: it fills a record, then publishes by storing `head` with
 * release order. A reader loads `head` with acquire order and touches nothing beyond
 * it; a published record never changes. `tail` and the list of chunks change only under
 * the mutex, which the owner takes for a new chunk and when it is over its limit, and
 * the reader to claim. Nobody holds it while reading or writing records.
 *
 * A chunk is one block: records grow from its front, payloads from its back, and it is
 * full when they meet. A payload offset counts from the start of the chunk.
 *
 * produced = claimed + dropped + still waiting, always, exactly.
 */
#ifndef CIRRON_CORE_RECORD_QUEUE_H
#define CIRRON_CORE_RECORD_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "core/types.h"

typedef struct cirron_chunk {
    struct cirron_chunk *next; /* under the mutex; set: this chunk is sealed */
    uint64_t base;             /* number of its first record */
    uint64_t end;              /* of the last, plus one; valid when sealed */
    uint32_t size;             /* bytes of the block, this header included */
    uint32_t payload_low;      /* owner only: start of the payloads */
    bool pinned;               /* a claim reads it */
    bool orphaned;             /* dropped while pinned: the claim frees it */
} cirron_chunk;

enum {
    CIRRON_SMALLEST_CHUNK_BYTES = 8 * 1024,
    CIRRON_LARGEST_CHUNK_BYTES = 128 * 1024, /* holds any record with its payload */
};

/* How many payload bytes a record has. */
typedef uint32_t (*cirron_payload_size)(const void *record);

typedef struct cirron_queue {
    /* Owner. */
    cirron_chunk *last;
    cirron_chunk *spare;  /* a dropped chunk, to be used again; or NULL */
    uint64_t tail_seen;   /* tail and */
    uint64_t bytes_seen;  /* tail_bytes as of the last look */
    uint64_t limit;       /* unclaimed records */
    uint64_t limit_bytes; /* unclaimed payload bytes */
    uint32_t record_size;
    uint32_t chunk_bytes; /* of the next chunk: grows with the backlog, so that a thousand
                             threads that record little take little */
    cirron_payload_size payload_size;

    /* Published by the owner; bytes first, then head. */
    _Atomic uint64_t head;
    _Atomic uint64_t head_bytes;
    _Atomic uint64_t dropped;
    _Atomic uint64_t refused; /* of the dropped: never had a number, for want of memory */

    /* Under the mutex. */
    pthread_mutex_t mutex;
    cirron_chunk *first;
    uint64_t tail;
    uint64_t tail_bytes;
} cirron_queue;

int cirron_queue_init(cirron_queue *queue, uint32_t record_size, cirron_payload_size payload_size,
                      uint64_t limit, uint64_t limit_bytes);

/* No producer and no claim any more. */
void cirron_queue_fini(cirron_queue *queue);

/* Owner: room for one record and `payload_len` bytes, or NULL when there is no memory
 * (the record is counted as dropped). `*payload` gets the bytes' address, `*offset` what
 * the record keeps. Over the limit the oldest unclaimed records go, one for one. */
void *cirron_queue_reserve(cirron_queue *queue, uint32_t payload_len, char **payload,
                           uint32_t *offset);

/* Owner: publishes the record that was reserved last. */
static inline void cirron_queue_publish(cirron_queue *queue, uint32_t payload_len) {
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    if (payload_len != 0) {
        uint64_t bytes = atomic_load_explicit(&queue->head_bytes, memory_order_relaxed);
        atomic_store_explicit(&queue->head_bytes, bytes + payload_len, memory_order_relaxed);
    }
    atomic_store_explicit(&queue->head, head + 1, memory_order_release);
}

/* A claimed range of records; walk it with next, then release it. One claim at a time. */
typedef struct cirron_claim {
    cirron_queue *queue;
    cirron_chunk *chunk; /* the one being read */
    cirron_chunk *end;   /* pinned: it stays in the queue */
    uint64_t position;
    uint64_t head;
    uint64_t bytes; /* payload bytes read of a claim that left some records */
    bool partial;
} cirron_claim;

/* Claims at most `most` records. True when more were waiting. */
bool cirron_queue_claim(cirron_queue *queue, uint64_t most, cirron_claim *claim);

/* The next record with its payload (`offset` is read by the caller from the record, so
 * the chunk's start comes back), or NULL at the end. */
const void *cirron_claim_next(cirron_claim *claim, const char **chunk_start);
void cirron_claim_release(cirron_claim *claim);

/* Bytes of all chunks of the process, and the most that they may take. */
enum { CIRRON_QUEUES_MAX_BYTES = 256 * 1024 * 1024 };
uint64_t cirron_queues_bytes(void);

/* In a child: the chunks so far are its parent's. */
void cirron_queues_forget(void);

/* `notify` is called by a producer when this much was filled since the last
 * cirron_queues_settled(): a hint that it is time to drain. */
enum { CIRRON_PILED_UP_BYTES = 1024 * 1024 };
void cirron_queues_on_pile_up(void (*notify)(void));
void cirron_queues_settled(void);

#endif
