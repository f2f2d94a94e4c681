/* The spans of the trace buffer in a ring, in the order in which they were closed; their
 * marks are next door (mark_store). A span leaves with its marks.
 */
#include "core/store.h"

#include <string.h>

#include "core/mark_store.h"
#include "core/memory.h"

enum { FIRST_SLOTS = 256 };

typedef struct held_span {
    cirron_span_record span;
    char *payload; /* owned, or NULL when empty */
} held_span;

struct cirron_store {
    const cirron_intern *names; /* borrowed */
    held_span *ring;            /* owned; slot = sequence % slots */
    size_t slots;
    size_t max_spans;
    uint64_t first; /* sequence number of the oldest span held */
    uint64_t next;  /* and of the next to come */
    size_t span_bytes;
    size_t byte_limit; /* payloads of spans and point marks */
    uint64_t evicted_spans;
    cirron_mark_store marks;
};

static uint32_t payload_len(const cirron_span_record *span) {
    return (span->name == CIRRON_NAME_INLINE ? span->name_len : 0) + span->attrs_len;
}

cirron_store *cirron_store_new_bounded(const cirron_intern *names, size_t max_spans, size_t bytes,
                                       size_t summary_bytes, uint32_t points) {
    cirron_store *store = cirron_calloc(1, sizeof *store);
    if (store == NULL) {
        return NULL;
    }
    store->names = names;
    store->max_spans = max_spans;
    store->byte_limit = bytes;
    if (cirron_mark_store_init(&store->marks, summary_bytes, points) != CIRRON_OK) {
        cirron_free(store);
        return NULL;
    }
    return store;
}

cirron_store *cirron_store_new(const cirron_intern *names, size_t max_spans) {
    return cirron_store_new_bounded(names, max_spans, CIRRON_STORE_BYTES,
                                    CIRRON_STORE_SUMMARY_BYTES, CIRRON_STORE_POINTS);
}

static held_span *slot_of(const cirron_store *store, uint64_t sequence) {
    return &store->ring[sequence % store->slots];
}

static size_t count_held(const cirron_store *store) {
    return (size_t)(store->next - store->first);
}

void cirron_store_free(cirron_store *store) {
    if (store == NULL) {
        return;
    }
    for (uint64_t i = store->first; i < store->next; i++) {
        cirron_free(slot_of(store, i)->payload);
    }
    cirron_mark_store_fini(&store->marks);
    cirron_free(store->ring);
    cirron_free(store);
}

static void evict_oldest(cirron_store *store) {
    held_span *oldest = slot_of(store, store->first);
    cirron_mark_store_drop_span(&store->marks, &oldest->span.id);
    store->span_bytes -= payload_len(&oldest->span);
    cirron_free(oldest->payload);
    store->first++;
    store->evicted_spans++;
}

/* Moves the held spans into a ring of another size. */
static int resize_ring(cirron_store *store, size_t slots) {
    held_span *ring = cirron_malloc(slots * sizeof *ring);
    if (ring == NULL) {
        return CIRRON_NO_MEMORY;
    }
    for (uint64_t i = store->first; i < store->next; i++) {
        ring[i % slots] = *slot_of(store, i);
    }
    cirron_free(store->ring);
    store->ring = ring;
    store->slots = slots;
    return CIRRON_OK;
}

int cirron_store_set_max_spans(cirron_store *store, size_t max_spans) {
    while (count_held(store) > max_spans) {
        evict_oldest(store);
    }
    store->max_spans = max_spans;
    if (store->slots > max_spans) {
        /* Without memory for a smaller ring the larger one does. */
        (void)resize_ring(store, max_spans == 0 ? 1 : max_spans);
    }
    return CIRRON_OK;
}

static int reserve_slot(cirron_store *store) {
    if (count_held(store) < store->slots && count_held(store) < store->max_spans) {
        return CIRRON_OK;
    }
    if (store->slots < store->max_spans) {
        size_t slots = store->slots == 0 ? FIRST_SLOTS : store->slots * 2;
        if (resize_ring(store, slots < store->max_spans ? slots : store->max_spans) == CIRRON_OK) {
            return CIRRON_OK;
        }
    }
    if (count_held(store) == 0) {
        return CIRRON_NO_MEMORY;
    }
    evict_oldest(store);
    return CIRRON_OK;
}

/* Attribute and string bytes: what was recorded first goes first. */
static void enforce_bytes(cirron_store *store) {
    while (store->span_bytes + store->marks.point_bytes > store->byte_limit) {
        const cirron_mark_node *point = cirron_mark_store_oldest_point(&store->marks);
        const cirron_span_record *span =
            count_held(store) != 0 ? &slot_of(store, store->first)->span : NULL;
        if (point != NULL &&
            (span == NULL || point->mark.ts_ns < span->start_ns + span->duration_ns)) {
            cirron_mark_store_drop_oldest_point(&store->marks);
        } else {
            evict_oldest(store);
        }
    }
}

int cirron_store_put_span(cirron_store *store, const cirron_span_record *span,
                          const char *payload) {
    if ((span->flags & CIRRON_SPAN_OPEN) != 0) {
        return CIRRON_OK;
    }
    uint32_t len = payload_len(span);
    char *copy = len != 0 ? cirron_malloc(len) : NULL;
    if (store->max_spans == 0 || (len != 0 && copy == NULL) || reserve_slot(store) != CIRRON_OK) {
        cirron_free(copy);
        cirron_mark_store_drop_span(&store->marks, &span->id);
        store->evicted_spans++;
        return store->max_spans == 0 ? CIRRON_OK : CIRRON_NO_MEMORY;
    }
    if (len != 0) {
        memcpy(copy, payload, len);
    }
    *slot_of(store, store->next++) = (held_span){*span, copy};
    store->span_bytes += len;
    enforce_bytes(store);
    return CIRRON_OK;
}

int cirron_store_put_mark(cirron_store *store, const cirron_mark_record *mark, const char *payload,
                          const cirron_id *mark_id) {
    int status = cirron_mark_store_put(&store->marks, mark, payload, mark_id);
    enforce_bytes(store);
    return status;
}

uint64_t cirron_store_evicted(const cirron_store *store) {
    return store->evicted_spans + store->marks.evicted;
}

uint64_t cirron_store_sequence(const cirron_store *store) {
    return store->next;
}

int cirron_store_each_span(const cirron_store *store, uint64_t since, cirron_store_visit_span visit,
                           void *context) {
    int status = CIRRON_OK;
    uint64_t start = since > store->first ? since : store->first;
    for (uint64_t i = start; i < store->next && status == CIRRON_OK; i++) {
        const held_span *held = slot_of(store, i);
        status = visit(context, i, &held->span, held->payload);
    }
    return status;
}

int cirron_store_each_mark(const cirron_store *store, const cirron_id *span_id,
                           cirron_store_visit_mark visit, void *context) {
    return cirron_mark_store_each(&store->marks, span_id, visit, context);
}

bool cirron_store_is_valid(const cirron_store *store) {
    size_t bytes = 0;
    for (uint64_t i = store->first; i < store->next; i++) {
        bytes += payload_len(&slot_of(store, i)->span);
    }
    return count_held(store) <= store->max_spans && count_held(store) <= store->slots &&
           bytes == store->span_bytes && cirron_mark_store_is_valid(&store->marks);
}
