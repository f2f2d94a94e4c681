/* See the header for the protocol. The road not taken: a ring would need no chunks, but
 * payloads of any size would need a second ring and a second limit, and its memory would
 * stay at the limit for every thread that ever recorded.
 */
#include "core/record_queue.h"

#include "core/memory.h"

static _Atomic uint64_t queues_bytes;
static _Atomic uint32_t queues_filled; /* bytes */

uint64_t cirron_queues_bytes(void) {
    return atomic_load_explicit(&queues_bytes, memory_order_relaxed);
}

void cirron_queues_forget(void) {
    atomic_store_explicit(&queues_bytes, 0, memory_order_relaxed);
}

static void (*pile_up)(void);

void cirron_queues_on_pile_up(void (*notify)(void)) {
    pile_up = notify;
}

void cirron_queues_settled(void) {
    atomic_store_explicit(&queues_filled, 0, memory_order_relaxed);
}

static void count_filled(uint32_t bytes) {
    uint32_t filled =
        atomic_fetch_add_explicit(&queues_filled, bytes, memory_order_relaxed) + bytes;
    if (filled >= CIRRON_PILED_UP_BYTES && pile_up != NULL) {
        pile_up();
    }
}

static char *chunk_start(cirron_chunk *chunk) {
    return (char *)chunk;
}

static void reset_chunk(cirron_chunk *chunk, uint64_t base) {
    chunk->next = NULL;
    chunk->base = base;
    chunk->end = 0;
    chunk->payload_low = chunk->size;
    chunk->pinned = false;
    chunk->orphaned = false;
}

static cirron_chunk *new_chunk(uint32_t size, uint64_t base) {
    uint64_t bytes = atomic_fetch_add_explicit(&queues_bytes, size, memory_order_relaxed) + size;
    cirron_chunk *chunk = bytes <= CIRRON_QUEUES_MAX_BYTES ? cirron_malloc(size) : NULL;
    if (chunk == NULL) {
        atomic_fetch_sub_explicit(&queues_bytes, size, memory_order_relaxed);
        return NULL;
    }
    chunk->size = size;
    reset_chunk(chunk, base);
    return chunk;
}

static void free_chunk(cirron_chunk *chunk) {
    if (chunk != NULL) {
        atomic_fetch_sub_explicit(&queues_bytes, chunk->size, memory_order_relaxed);
        cirron_free(chunk);
    }
}

int cirron_queue_init(cirron_queue *queue, uint32_t record_size, cirron_payload_size payload_size,
                      uint64_t limit, uint64_t limit_bytes) {
    *queue = (cirron_queue){.limit = limit,
                            .limit_bytes = limit_bytes,
                            .record_size = record_size,
                            .chunk_bytes = CIRRON_SMALLEST_CHUNK_BYTES,
                            .payload_size = payload_size};
    if (pthread_mutex_init(&queue->mutex, NULL) != 0) {
        return CIRRON_NO_MEMORY;
    }
    queue->first = queue->last = new_chunk(CIRRON_SMALLEST_CHUNK_BYTES, 0);
    if (queue->first == NULL) {
        pthread_mutex_destroy(&queue->mutex);
        return CIRRON_NO_MEMORY;
    }
    return CIRRON_OK;
}

void cirron_queue_fini(cirron_queue *queue) {
    while (queue->first != NULL) {
        cirron_chunk *next = queue->first->next;
        free_chunk(queue->first);
        queue->first = next;
    }
    free_chunk(queue->spare);
    pthread_mutex_destroy(&queue->mutex);
}

static void *record_at(const cirron_queue *queue, cirron_chunk *chunk, uint64_t number) {
    return chunk_start(chunk) + sizeof *chunk + (number - chunk->base) * queue->record_size;
}

/* Under the mutex: takes the first chunk, which the tail has crossed, off the list. */
static void remove_first(cirron_queue *queue) {
    cirron_chunk *chunk = queue->first;
    queue->first = chunk->next;
    if (chunk->pinned) {
        chunk->orphaned = true;
    } else if (queue->spare == NULL) {
        queue->spare = chunk;
    } else {
        free_chunk(chunk);
    }
}

/* A claim may have read head_bytes one payload ahead of head, hence the sign. */
static bool is_over(const cirron_queue *queue, uint64_t records, uint64_t bytes) {
    return records >= queue->limit || (int64_t)bytes > (int64_t)queue->limit_bytes;
}

/* Drops the oldest unclaimed records until one more fits under the limits. Most often
 * the mutex only tells that the reader has claimed in the meantime. */
static void make_room(cirron_queue *queue, uint64_t head, uint64_t bytes) {
    uint64_t dropped = 0;
    pthread_mutex_lock(&queue->mutex);
    while (queue->tail < head && is_over(queue, head - queue->tail, bytes - queue->tail_bytes)) {
        queue->tail_bytes += queue->payload_size(record_at(queue, queue->first, queue->tail));
        queue->tail++;
        dropped++;
        if (queue->first->next != NULL && queue->tail == queue->first->end) {
            remove_first(queue);
        }
    }
    queue->tail_seen = queue->tail;
    queue->bytes_seen = queue->tail_bytes;
    pthread_mutex_unlock(&queue->mutex);
    if (dropped != 0) {
        atomic_fetch_add_explicit(&queue->dropped, dropped, memory_order_relaxed);
    }
}

/* No memory for a chunk: the oldest records go, and their chunk is used again. */
static cirron_chunk *steal_oldest(cirron_queue *queue, uint64_t head, uint32_t need) {
    cirron_chunk *stolen = NULL;
    uint64_t dropped = 0;
    pthread_mutex_lock(&queue->mutex);
    while (stolen == NULL && queue->first->next != NULL && !queue->first->pinned) {
        cirron_chunk *oldest = queue->first;
        for (; queue->tail < oldest->end; queue->tail++, dropped++) {
            queue->tail_bytes += queue->payload_size(record_at(queue, oldest, queue->tail));
        }
        queue->first = oldest->next;
        if (oldest->size >= need) {
            stolen = oldest;
        } else {
            free_chunk(oldest);
        }
    }
    pthread_mutex_unlock(&queue->mutex);
    atomic_fetch_add_explicit(&queue->dropped, dropped, memory_order_relaxed);
    if (stolen != NULL) {
        reset_chunk(stolen, head);
    }
    return stolen;
}

/* Twice the size while older chunks wait, half of it when everything was claimed. */
static uint32_t choose_size(cirron_queue *queue, uint64_t head, uint32_t need) {
    uint32_t size = queue->chunk_bytes;
    pthread_mutex_lock(&queue->mutex);
    if (queue->first != queue->last) {
        size = size * 2 < CIRRON_LARGEST_CHUNK_BYTES ? size * 2 : CIRRON_LARGEST_CHUNK_BYTES;
    } else if (queue->tail == head && size > CIRRON_SMALLEST_CHUNK_BYTES) {
        size /= 2;
    }
    pthread_mutex_unlock(&queue->mutex);
    queue->chunk_bytes = size;
    return size >= need ? size : CIRRON_LARGEST_CHUNK_BYTES;
}

static cirron_chunk *take_spare(cirron_queue *queue, uint64_t head, uint32_t size) {
    cirron_chunk *spare = queue->spare;
    queue->spare = NULL;
    if (spare != NULL && spare->size < size) {
        free_chunk(spare);
        spare = NULL;
    }
    if (spare != NULL) {
        reset_chunk(spare, head);
    }
    return spare;
}

/* `need`: bytes of the chunk that the next record takes, the header included. */
static cirron_chunk *append_chunk(cirron_queue *queue, uint64_t head, uint32_t need) {
    uint32_t size = choose_size(queue, head, need);
    cirron_chunk *chunk = take_spare(queue, head, size);
    if (chunk == NULL) {
        chunk = new_chunk(size, head);
    }
    if (chunk == NULL) {
        chunk = steal_oldest(queue, head, need);
    }
    if (chunk == NULL) {
        return NULL;
    }
    uint32_t filled = queue->last->size;
    pthread_mutex_lock(&queue->mutex);
    queue->last->end = head;
    queue->last->next = chunk;
    if (queue->first == queue->last && queue->tail == head) {
        remove_first(queue); /* nothing in it is unclaimed */
    }
    pthread_mutex_unlock(&queue->mutex);
    queue->last = chunk;
    count_filled(filled);
    return chunk;
}

static uint32_t free_bytes(const cirron_queue *queue, const cirron_chunk *chunk, uint64_t head) {
    uint64_t front = sizeof *chunk + (head - chunk->base) * queue->record_size;
    return chunk->payload_low - (uint32_t)front;
}

void *cirron_queue_reserve(cirron_queue *queue, uint32_t payload_len, char **payload,
                           uint32_t *offset) {
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&queue->head_bytes, memory_order_relaxed) + payload_len;
    if (__builtin_expect(is_over(queue, head - queue->tail_seen, bytes - queue->bytes_seen), 0)) {
        make_room(queue, head, bytes);
    }
    cirron_chunk *chunk = queue->last;
    uint32_t need = queue->record_size + payload_len;
    if (__builtin_expect(free_bytes(queue, chunk, head) < need, 0)) {
        chunk = append_chunk(queue, head, (uint32_t)sizeof *chunk + need);
        if (chunk == NULL) {
            atomic_fetch_add_explicit(&queue->refused, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&queue->dropped, 1, memory_order_relaxed);
            return NULL;
        }
    }
    chunk->payload_low -= payload_len;
    *offset = chunk->payload_low;
    *payload = chunk_start(chunk) + chunk->payload_low;
    return record_at(queue, chunk, head);
}

bool cirron_queue_claim(cirron_queue *queue, uint64_t most, cirron_claim *claim) {
    pthread_mutex_lock(&queue->mutex);
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    bool more = head - queue->tail > most;
    claim->queue = queue;
    claim->partial = more;
    claim->bytes = 0;
    claim->head = more ? queue->tail + most : head;
    claim->position = queue->tail;
    claim->chunk = queue->first;
    cirron_chunk *end = queue->first;
    while (end->next != NULL && end->end <= claim->head) {
        end = end->next;
    }
    /* The chunks before `end` are the claim's alone from here on. */
    claim->end = end;
    queue->first = end;
    queue->tail = claim->head;
    if (!more) {
        queue->tail_bytes = atomic_load_explicit(&queue->head_bytes, memory_order_relaxed);
    }
    end->pinned = true;
    pthread_mutex_unlock(&queue->mutex);
    return more;
}

const void *cirron_claim_next(cirron_claim *claim, const char **start) {
    while (claim->chunk != claim->end && claim->position >= claim->chunk->end) {
        cirron_chunk *read = claim->chunk;
        claim->chunk = read->next;
        free_chunk(read);
    }
    if (claim->position >= claim->head) {
        return NULL;
    }
    *start = chunk_start(claim->chunk);
    const void *record = record_at(claim->queue, claim->chunk, claim->position++);
    if (claim->partial) {
        claim->bytes += claim->queue->payload_size(record);
    }
    return record;
}

void cirron_claim_release(cirron_claim *claim) {
    while (claim->chunk != claim->end) {
        cirron_chunk *read = claim->chunk;
        claim->chunk = read->next;
        free_chunk(read);
    }
    pthread_mutex_lock(&claim->queue->mutex);
    claim->end->pinned = false;
    claim->queue->tail_bytes += claim->bytes;
    bool orphaned = claim->end->orphaned;
    pthread_mutex_unlock(&claim->queue->mutex);
    if (orphaned) {
        free_chunk(claim->end);
    }
}
