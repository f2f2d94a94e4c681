/* See the header. Every operation is O(1) but for the growth of the tables, which is
 * amortised, and the eviction of a span, which is O(1) for each of its marks.
 */
#include "core/mark_store.h"

#include <string.h>

#include "core/hash.h"
#include "core/memory.h"

enum { FIRST_NODES = 64, FIRST_SLOTS = 64 };

static const uint32_t NIL = UINT32_MAX;

static const cirron_node_list empty_list = {UINT32_MAX, UINT32_MAX, 0};

static uint32_t payload_len(const cirron_mark_record *mark) {
    return (mark->name == CIRRON_NAME_INLINE ? mark->name_len : 0) + mark->value_len +
           mark->attrs_len;
}

static size_t summary_size(const cirron_mark_record *mark) {
    return sizeof(cirron_mark_node) + payload_len(mark);
}

static bool same_id(const cirron_id *a, const cirron_id *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

static uint32_t hash_id(const cirron_id *id) {
    uint32_t hash; /* ids are random */
    memcpy(&hash, id, sizeof hash);
    return hash;
}

int cirron_mark_store_init(cirron_mark_store *store, size_t summary_limit, uint32_t point_limit) {
    *store = (cirron_mark_store){.free_node = NIL,
                                 .entry_slots = FIRST_SLOTS,
                                 .newest_slots = FIRST_SLOTS,
                                 .summary_limit = summary_limit,
                                 .point_limit = point_limit};
    for (int i = 0; i < CIRRON_QUEUES; i++) {
        store->queues[i] = empty_list;
    }
    store->entries = cirron_calloc(FIRST_SLOTS, sizeof *store->entries);
    store->newest = cirron_calloc(FIRST_SLOTS, sizeof *store->newest);
    if (store->entries == NULL || store->newest == NULL) {
        cirron_mark_store_fini(store);
        return CIRRON_NO_MEMORY;
    }
    return CIRRON_OK;
}

void cirron_mark_store_fini(cirron_mark_store *store) {
    for (int i = 0; i < CIRRON_QUEUES; i++) {
        for (uint32_t at = store->queues[i].count != 0 ? store->queues[i].first : NIL; at != NIL;
             at = store->nodes[at].newer) {
            cirron_free(store->nodes[at].payload);
        }
    }
    cirron_free(store->nodes);
    cirron_free(store->entries);
    cirron_free(store->newest);
}

/* ---- lists: the span's by before/after, the queue by older/newer */

static void append_to_queue(cirron_mark_store *store, uint32_t at, uint32_t queue) {
    cirron_node_list *list = &store->queues[queue];
    cirron_mark_node *node = &store->nodes[at];
    node->queue = queue;
    node->older = list->last;
    node->newer = NIL;
    if (list->last != NIL) {
        store->nodes[list->last].newer = at;
    } else {
        list->first = at;
    }
    list->last = at;
    list->count++;
}

static void remove_from_queue(cirron_mark_store *store, uint32_t at) {
    cirron_mark_node *node = &store->nodes[at];
    cirron_node_list *list = &store->queues[node->queue];
    if (node->older != NIL) {
        store->nodes[node->older].newer = node->newer;
    } else {
        list->first = node->newer;
    }
    if (node->newer != NIL) {
        store->nodes[node->newer].older = node->older;
    } else {
        list->last = node->older;
    }
    list->count--;
}

static void append_to_span(cirron_mark_store *store, uint32_t at, cirron_node_list *list) {
    cirron_mark_node *node = &store->nodes[at];
    node->before = list->last;
    node->after = NIL;
    if (list->last != NIL) {
        store->nodes[list->last].after = at;
    } else {
        list->first = at;
    }
    list->last = at;
    list->count++;
}

static void remove_from_span(cirron_mark_store *store, uint32_t at, cirron_node_list *list) {
    cirron_mark_node *node = &store->nodes[at];
    if (node->before != NIL) {
        store->nodes[node->before].after = node->after;
    } else {
        list->first = node->after;
    }
    if (node->after != NIL) {
        store->nodes[node->after].before = node->before;
    } else {
        list->last = node->before;
    }
    list->count--;
}

/* ---- entries by span id; deletion shifts the cluster back, so there are no tombstones */

static uint32_t find_entry(const cirron_mark_store *store, const cirron_id *span_id) {
    uint32_t mask = store->entry_slots - 1;
    uint32_t i = hash_id(span_id) & mask;
    while (store->entries[i].used && !same_id(&store->entries[i].span_id, span_id)) {
        i = (i + 1) & mask;
    }
    return i;
}

/* True when an item whose home is `home` may not move from `from` to the gap at `gap`. */
static bool must_stay(uint32_t home, uint32_t gap, uint32_t from) {
    return gap <= from ? gap < home && home <= from : gap < home || home <= from;
}

static void remove_entry(cirron_mark_store *store, uint32_t gap) {
    uint32_t mask = store->entry_slots - 1;
    for (uint32_t i = (gap + 1) & mask; store->entries[i].used; i = (i + 1) & mask) {
        if (!must_stay(hash_id(&store->entries[i].span_id) & mask, gap, i)) {
            store->entries[gap] = store->entries[i];
            gap = i;
        }
    }
    store->entries[gap].used = false;
    store->entry_count--;
}

static int grow_entries(cirron_mark_store *store) {
    cirron_mark_entry *before = store->entries;
    uint32_t slots = store->entry_slots;
    cirron_mark_entry *entries = cirron_calloc((size_t)slots * 2, sizeof *entries);
    if (entries == NULL) {
        return CIRRON_NO_MEMORY;
    }
    store->entries = entries;
    store->entry_slots = slots * 2;
    for (uint32_t i = 0; i < slots; i++) {
        if (before[i].used) {
            entries[find_entry(store, &before[i].span_id)] = before[i];
        }
    }
    cirron_free(before);
    return CIRRON_OK;
}

/* ---- the newest summary by span id and name */

static bool same_name(const cirron_mark_record *a, const char *a_payload,
                      const cirron_mark_record *b, const char *b_payload) {
    return a->name == b->name &&
           (a->name != CIRRON_NAME_INLINE ||
            (a->name_len == b->name_len &&
             (a->name_len == 0 || memcmp(a_payload, b_payload, a->name_len) == 0)));
}

static uint32_t hash_summary(const cirron_mark_record *mark, const char *payload) {
    uint32_t name = mark->name;
    if (name == CIRRON_NAME_INLINE && mark->name_len != 0) {
        name = (uint32_t)cirron_hash_text(0, payload, mark->name_len);
    }
    return hash_id(&mark->span_id) ^ (name * 2654435769u);
}

static uint32_t find_newest(const cirron_mark_store *store, const cirron_mark_record *mark,
                            const char *payload) {
    uint32_t mask = store->newest_slots - 1;
    uint32_t i = hash_summary(mark, payload) & mask;
    while (store->newest[i] != 0) {
        const cirron_mark_node *node = &store->nodes[store->newest[i] - 1];
        if (same_id(&node->mark.span_id, &mark->span_id) &&
            same_name(&node->mark, node->payload, mark, payload)) {
            break;
        }
        i = (i + 1) & mask;
    }
    return i;
}

static void remove_newest(cirron_mark_store *store, uint32_t gap) {
    uint32_t mask = store->newest_slots - 1;
    for (uint32_t i = (gap + 1) & mask; store->newest[i] != 0; i = (i + 1) & mask) {
        const cirron_mark_node *node = &store->nodes[store->newest[i] - 1];
        uint32_t home = hash_summary(&node->mark, node->payload) & mask;
        if (!must_stay(home, gap, i)) {
            store->newest[gap] = store->newest[i];
            gap = i;
        }
    }
    store->newest[gap] = 0;
}

static int grow_newest(cirron_mark_store *store) {
    uint32_t *before = store->newest;
    uint32_t slots = store->newest_slots;
    uint32_t *newest = cirron_calloc((size_t)slots * 2, sizeof *newest);
    if (newest == NULL) {
        return CIRRON_NO_MEMORY;
    }
    store->newest = newest;
    store->newest_slots = slots * 2;
    for (uint32_t i = 0; i < slots; i++) {
        if (before[i] != 0) {
            const cirron_mark_node *node = &store->nodes[before[i] - 1];
            newest[find_newest(store, &node->mark, node->payload)] = before[i];
        }
    }
    cirron_free(before);
    return CIRRON_OK;
}

/* ---- nodes */

static int grow_nodes(cirron_mark_store *store) {
    uint32_t cap = store->node_cap == 0 ? FIRST_NODES : store->node_cap * 2;
    cirron_mark_node *nodes = cirron_realloc(store->nodes, cap * sizeof *nodes);
    if (nodes == NULL) {
        return CIRRON_NO_MEMORY;
    }
    for (uint32_t i = store->node_cap; i < cap; i++) {
        nodes[i].newer = i + 1 < cap ? i + 1 : NIL;
    }
    store->free_node = store->node_cap;
    store->nodes = nodes;
    store->node_cap = cap;
    return CIRRON_OK;
}

/* Takes the node out of its queue and the index, not out of its span's list. */
static void release_node(cirron_mark_store *store, uint32_t at) {
    cirron_mark_node *node = &store->nodes[at];
    if (node->queue == CIRRON_QUEUE_POINTS) {
        store->point_bytes -= payload_len(&node->mark);
    } else {
        store->summary_bytes -= summary_size(&node->mark);
    }
    if (node->queue == CIRRON_QUEUE_SUMMARIES) {
        remove_newest(store, find_newest(store, &node->mark, node->payload));
    }
    remove_from_queue(store, at);
    cirron_free(node->payload);
    node->newer = store->free_node;
    store->free_node = at;
    store->evicted++;
}

static void drop_node(cirron_mark_store *store, uint32_t at) {
    uint32_t slot = find_entry(store, &store->nodes[at].mark.span_id);
    cirron_mark_entry *entry = &store->entries[slot];
    bool point = store->nodes[at].queue == CIRRON_QUEUE_POINTS;
    remove_from_span(store, at, point ? &entry->points : &entry->summaries);
    release_node(store, at);
    if (entry->points.count == 0 && entry->summaries.count == 0) {
        remove_entry(store, slot);
    }
}

/* ---- the store's face */

static int reserve_all(cirron_mark_store *store) {
    if (store->free_node == NIL && grow_nodes(store) != CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    if ((store->entry_count + 1) * 4 > store->entry_slots * 3 && grow_entries(store) != CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    if ((store->queues[CIRRON_QUEUE_SUMMARIES].count + 1) * 4 > store->newest_slots * 3) {
        return grow_newest(store);
    }
    return CIRRON_OK;
}

static void enforce_bounds(cirron_mark_store *store, const cirron_id *span_id) {
    const cirron_mark_entry *entry = &store->entries[find_entry(store, span_id)];
    if (entry->points.count > CIRRON_STORE_POINTS_PER_SPAN) {
        drop_node(store, entry->points.first);
    }
    while (store->queues[CIRRON_QUEUE_POINTS].count > store->point_limit) {
        drop_node(store, store->queues[CIRRON_QUEUE_POINTS].first);
    }
    while (store->summary_bytes > store->summary_limit) {
        const cirron_node_list *superseded = &store->queues[CIRRON_QUEUE_SUPERSEDED];
        drop_node(store, superseded->count != 0 ? superseded->first
                                                : store->queues[CIRRON_QUEUE_SUMMARIES].first);
    }
}

int cirron_mark_store_put(cirron_mark_store *store, const cirron_mark_record *mark,
                          const char *payload, const cirron_id *id) {
    uint32_t len = payload_len(mark);
    char *copy = len != 0 ? cirron_malloc(len) : NULL;
    if ((len != 0 && copy == NULL) || reserve_all(store) != CIRRON_OK) {
        cirron_free(copy);
        store->evicted++;
        return CIRRON_NO_MEMORY;
    }
    if (len != 0) {
        memcpy(copy, payload, len);
    }
    uint32_t at = store->free_node;
    cirron_mark_node *node = &store->nodes[at];
    store->free_node = node->newer;
    node->mark = *mark;
    node->id = *id;
    node->payload = copy;
    cirron_mark_entry *entry = &store->entries[find_entry(store, &mark->span_id)];
    if (!entry->used) {
        *entry = (cirron_mark_entry){mark->span_id, empty_list, empty_list, true};
        store->entry_count++;
    }
    if (mark->kind == CIRRON_MARK_SUMMARY) {
        uint32_t slot = find_newest(store, mark, copy);
        if (store->newest[slot] != 0) {
            uint32_t superseded = store->newest[slot] - 1;
            remove_from_queue(store, superseded);
            append_to_queue(store, superseded, CIRRON_QUEUE_SUPERSEDED);
        }
        store->newest[slot] = at + 1;
        append_to_queue(store, at, CIRRON_QUEUE_SUMMARIES);
        append_to_span(store, at, &entry->summaries);
        store->summary_bytes += summary_size(mark);
    } else {
        append_to_queue(store, at, CIRRON_QUEUE_POINTS);
        append_to_span(store, at, &entry->points);
        store->point_bytes += len;
    }
    enforce_bounds(store, &mark->span_id);
    return CIRRON_OK;
}

static void release_list(cirron_mark_store *store, const cirron_node_list *list) {
    uint32_t at = list->first;
    while (at != NIL) {
        uint32_t after = store->nodes[at].after;
        release_node(store, at);
        at = after;
    }
}

void cirron_mark_store_drop_span(cirron_mark_store *store, const cirron_id *span_id) {
    uint32_t slot = find_entry(store, span_id);
    if (store->entries[slot].used) {
        release_list(store, &store->entries[slot].points);
        release_list(store, &store->entries[slot].summaries);
        remove_entry(store, slot);
    }
}

const cirron_mark_node *cirron_mark_store_oldest_point(const cirron_mark_store *store) {
    const cirron_node_list *points = &store->queues[CIRRON_QUEUE_POINTS];
    return points->count != 0 ? &store->nodes[points->first] : NULL;
}

void cirron_mark_store_drop_oldest_point(cirron_mark_store *store) {
    drop_node(store, store->queues[CIRRON_QUEUE_POINTS].first);
}

/* The two lists, merged by time. */
int cirron_mark_store_each(const cirron_mark_store *store, const cirron_id *span_id,
                           cirron_store_visit_mark visit, void *context) {
    const cirron_mark_entry *entry = &store->entries[find_entry(store, span_id)];
    if (!entry->used) {
        return CIRRON_OK;
    }
    uint32_t point = entry->points.first;
    uint32_t summary = entry->summaries.first;
    int status = CIRRON_OK;
    while (status == CIRRON_OK && (point != NIL || summary != NIL)) {
        bool point_next = summary == NIL || (point != NIL && store->nodes[point].mark.ts_ns <=
                                                                 store->nodes[summary].mark.ts_ns);
        uint32_t *at = point_next ? &point : &summary;
        const cirron_mark_node *node = &store->nodes[*at];
        *at = node->after;
        status = visit(context, &node->mark, node->payload, &node->id);
    }
    return status;
}

bool cirron_mark_store_is_valid(const cirron_mark_store *store) {
    uint32_t listed = 0;
    uint32_t entries = 0;
    for (uint32_t i = 0; i < store->entry_slots; i++) {
        const cirron_mark_entry *entry = &store->entries[i];
        if (!entry->used) {
            continue;
        }
        entries++;
        listed += entry->points.count + entry->summaries.count;
        if (find_entry(store, &entry->span_id) != i ||
            entry->points.count > CIRRON_STORE_POINTS_PER_SPAN) {
            return false;
        }
    }
    uint32_t queued = 0;
    size_t summary_bytes = 0;
    size_t point_bytes = 0;
    for (uint32_t queue = 0; queue < CIRRON_QUEUES; queue++) {
        const cirron_node_list *list = &store->queues[queue];
        uint32_t at = list->first;
        for (uint32_t i = 0; i < list->count; i++, at = store->nodes[at].newer) {
            const cirron_mark_node *node = &store->nodes[at];
            if (node->queue == CIRRON_QUEUE_POINTS) {
                point_bytes += payload_len(&node->mark);
            } else {
                summary_bytes += summary_size(&node->mark);
            }
            bool newest = store->newest[find_newest(store, &node->mark, node->payload)] == at + 1;
            if (node->queue != queue || newest != (queue == CIRRON_QUEUE_SUMMARIES)) {
                return false;
            }
        }
        queued += list->count;
    }
    return entries == store->entry_count && listed == queued &&
           summary_bytes == store->summary_bytes && point_bytes == store->point_bytes &&
           summary_bytes <= store->summary_limit;
}
