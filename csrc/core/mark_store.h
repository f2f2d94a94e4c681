/* The marks of the trace buffer: per span the newest points and every summary, bounded.
 *
 * Part of the store; the same lock. Marks are nodes of one slab, linked twice: in the
 * list of their span and kind, and in a queue by age, from whose old end the bounds take.
 * A summary that has a newer value of the same name on the same span stands in a queue
 * of its own, which goes first.
 */
#ifndef CIRRON_CORE_MARK_STORE_H
#define CIRRON_CORE_MARK_STORE_H

#include <stdbool.h>

#include "core/store.h"

enum { CIRRON_STORE_POINTS = 1024 * 1024 }; /* of all spans together */

enum cirron_mark_queue {
    CIRRON_QUEUE_POINTS,
    CIRRON_QUEUE_SUMMARIES,  /* the newest value of its name on its span */
    CIRRON_QUEUE_SUPERSEDED, /* summaries with a newer one */
    CIRRON_QUEUES,
};

typedef struct cirron_mark_node {
    cirron_mark_record mark;
    cirron_id id;
    char *payload;          /* owned, or NULL when empty */
    uint32_t before, after; /* in the span's list */
    uint32_t older, newer;  /* in the queue; `newer` links free nodes */
    uint32_t queue;
} cirron_mark_node;

typedef struct cirron_node_list {
    uint32_t first, last, count;
} cirron_node_list;

/* The marks of one span. */
typedef struct cirron_mark_entry {
    cirron_id span_id;
    cirron_node_list points;
    cirron_node_list summaries;
    bool used;
} cirron_mark_entry;

typedef struct cirron_mark_store {
    cirron_mark_node *nodes; /* owned */
    uint32_t node_cap;
    uint32_t free_node;
    cirron_node_list queues[CIRRON_QUEUES];
    cirron_mark_entry *entries; /* owned, open addressing by span id */
    uint32_t entry_slots;
    uint32_t entry_count;
    uint32_t *newest; /* owned, open addressing by span id and name: node + 1, or 0 */
    uint32_t newest_slots;
    size_t point_bytes;   /* payloads of points */
    size_t summary_bytes; /* nodes and payloads of summaries */
    size_t summary_limit;
    uint32_t point_limit;
    uint64_t evicted;
} cirron_mark_store;

int cirron_mark_store_init(cirron_mark_store *store, size_t summary_limit, uint32_t point_limit);
void cirron_mark_store_fini(cirron_mark_store *store);

int cirron_mark_store_put(cirron_mark_store *store, const cirron_mark_record *mark,
                          const char *payload, const cirron_id *id);

/* Evicts every mark of the span. */
void cirron_mark_store_drop_span(cirron_mark_store *store, const cirron_id *span_id);

/* The oldest point mark, or NULL; and its eviction. */
const cirron_mark_node *cirron_mark_store_oldest_point(const cirron_mark_store *store);
void cirron_mark_store_drop_oldest_point(cirron_mark_store *store);

int cirron_mark_store_each(const cirron_mark_store *store, const cirron_id *span_id,
                           cirron_store_visit_mark visit, void *context);

bool cirron_mark_store_is_valid(const cirron_mark_store *store);

#endif
