/* Spans as OTLP/JSON, the JSON form of an ExportTraceServiceRequest: a resource a session,
 * marks as events. One document for everything, or many requests of bounded size, because
 * receivers refuse large ones.
 *
 * OTLP has ids of 16 bytes for traces and 8 for spans. An id of hex digits keeps its first
 * 32 or 16; of any other one the first bytes of its SHA-256, which the caller computes.
 */
#ifndef CIRRON_CORE_OTLP_EXPORT_H
#define CIRRON_CORE_OTLP_EXPORT_H

#include "core/attrs_reader.h"
#include "core/export.h"

/* What an id of a table becomes. */
typedef struct cirron_otlp_id {
    uint8_t trace[16];
    uint8_t span[8];
} cirron_otlp_id;

/* The form of an id that is no 32 lowercase hex digits, whose SHA-256 is `digest`. */
cirron_otlp_id cirron_otlp_id_of(cirron_text id, const uint8_t digest[32]);

typedef struct cirron_otlp_export {
    cirron_export base;
    cirron_attrs_reader attrs;
    const cirron_otlp_id *odd_ids; /* borrowed: one each of cirron_table_odd_ids */
    size_t request_bytes;          /* 0: one document */
    int64_t *latest;               /* owned; NULL when no span is open */
    uint8_t trace[16];             /* of the tree that is being written */
    int64_t group;                 /* the session whose resource is open */
    size_t event;                  /* of the span that is being written */
    bool in_document, in_group, in_span;
} cirron_otlp_export;

/* CIRRON_OK or CIRRON_NO_MEMORY. `odd_ids` is borrowed and outlives the export. */
int cirron_otlp_export_init(cirron_otlp_export *export, const cirron_table *table, int64_t session,
                            const cirron_otlp_id *odd_ids, size_t request_bytes);
void cirron_otlp_export_fini(cirron_otlp_export *export);

/* Appends the next spans; where requests are bounded, exactly one whole request, which
 * exceeds `request_bytes` only when a single span does. */
int cirron_otlp_export_next(cirron_otlp_export *export, cirron_output *out);

#endif
