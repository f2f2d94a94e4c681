/* One batch of the spool in the making: records in, the JSON document of
 * docs/spool-format.md out. Owned by the thread that drains; no lock.
 *
 * Marks are handed over before the span that they belong to is, where both are in
 * one drain, so that the span's `mark_ids` can name those of the same batch (at
 * most 1,024).
 */
#ifndef CIRRON_CORE_BATCH_H
#define CIRRON_CORE_BATCH_H

#include "core/buffer.h"
#include "core/intern.h"

typedef struct cirron_batch cirron_batch;

/* A batch is cut when it has grown to this many bytes. */
enum { CIRRON_BATCH_BYTES = 1024 * 1024 };

/* `names` is borrowed and outlives the batch. pid and rank go onto every span. */
cirron_batch *cirron_batch_new(const cirron_intern *names);
void cirron_batch_free(cirron_batch *batch);
void cirron_batch_set_process(cirron_batch *batch, int64_t pid, int64_t rank);

/* `payload` points at the record's payload bytes. CIRRON_OK or CIRRON_NO_MEMORY,
 * and then the batch is as before. */
int cirron_batch_add_mark(cirron_batch *batch, const cirron_mark_record *mark, const char *payload,
                          const cirron_id *mark_id);
int cirron_batch_add_span(cirron_batch *batch, const cirron_span_record *span, const char *payload);

/* `json` is the whole record, an object. The same is returned. */
int cirron_batch_add_snapshot(cirron_batch *batch, const char *json, size_t len);

/* Bytes of JSON, and records, so far. */
size_t cirron_batch_size(const cirron_batch *batch);
size_t cirron_batch_records(const cirron_batch *batch);

/* Appends the whole document to `out` and empties the batch for the next one. On
 * CIRRON_NO_MEMORY the batch keeps its records. */
int cirron_batch_finish(cirron_batch *batch, const cirron_id *batch_id, int64_t created_ns,
                        cirron_buffer *out);

/* Drops what is in the batch. */
void cirron_batch_reset(cirron_batch *batch);

#endif
