/* What ci.trace() shows: the newest spans and their marks, bounded, in memory.
 *
 * One thread at a time (the drain lock). A ring of the newest `max_spans` closed
 * spans; per span every summary mark and the newest 1,024 point marks, found by span
 * id, also for spans that are still open; at most CIRRON_STORE_BYTES of attribute and
 * string bytes (oldest spans' and marks' go first) and CIRRON_STORE_SUMMARY_BYTES of
 * summary marks (beyond it the older values of the same name on the same span go
 * first). Eviction is O(1) a record. produced = held + evicted.
 */
#ifndef CIRRON_CORE_STORE_H
#define CIRRON_CORE_STORE_H

#include <stdbool.h>

#include "core/intern.h"
#include "core/types.h"

typedef struct cirron_store cirron_store;

enum {
    CIRRON_STORE_POINTS_PER_SPAN = 1024,
    CIRRON_STORE_BYTES = 64 * 1024 * 1024,
    CIRRON_STORE_SUMMARY_BYTES = 64 * 1024 * 1024,
};

/* `names` is borrowed and outlives the store. Memory grows with what is held, not
 * with max_spans. */
cirron_store *cirron_store_new(const cirron_intern *names, size_t max_spans);

/* The same with bounds of the caller's (tests): attribute and string bytes, bytes of
 * summaries, and point marks of all spans together. */
cirron_store *cirron_store_new_bounded(const cirron_intern *names, size_t max_spans, size_t bytes,
                                       size_t summary_bytes, uint32_t points);
void cirron_store_free(cirron_store *store);

/* A smaller bound evicts at once. */
int cirron_store_set_max_spans(cirron_store *store, size_t max_spans);

/* Records with CIRRON_SPAN_OPEN are ignored. On CIRRON_NO_MEMORY the record counts
 * as evicted. */
int cirron_store_put_span(cirron_store *store, const cirron_span_record *span, const char *payload);
int cirron_store_put_mark(cirron_store *store, const cirron_mark_record *mark, const char *payload,
                          const cirron_id *mark_id);

/* Spans and marks that left the buffer. */
uint64_t cirron_store_evicted(const cirron_store *store);

/* Closed spans ever put: the sequence number of the next span. */
uint64_t cirron_store_sequence(const cirron_store *store);

/* Calls `visit` with every held span whose sequence number is at least `since`, oldest
 * first. `span->payload` is no longer meaningful; the bytes come beside it. A visit
 * that returns anything but CIRRON_OK ends the walk with that. */
typedef int (*cirron_store_visit_span)(void *context, uint64_t sequence,
                                       const cirron_span_record *span, const char *payload);
int cirron_store_each_span(const cirron_store *store, uint64_t since, cirron_store_visit_span visit,
                           void *context);

/* The same for the marks held for one span id, in the order in which they were put, points
 * and summaries merged by time. */
typedef int (*cirron_store_visit_mark)(void *context, const cirron_mark_record *mark,
                                       const char *payload, const cirron_id *mark_id);
int cirron_store_each_mark(const cirron_store *store, const cirron_id *span_id,
                           cirron_store_visit_mark visit, void *context);

/* Whether the counts and links agree (tests). */
bool cirron_store_is_valid(const cirron_store *store);

#endif
