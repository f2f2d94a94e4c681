/* What the streamed exports (CSV, JSON, OTLP/JSON) have in common: which rows go out, how
 * far they have gone, and a few texts that all of them write.
 *
 * An export turns a linked table into one document, in pieces: each call of its `next`
 * appends about CIRRON_EXPORT_CHUNK_BYTES and stops between two records, so that memory
 * stays bounded however large the document is. One export, one thread; the table is
 * borrowed and outlives it.
 */
#ifndef CIRRON_CORE_EXPORT_H
#define CIRRON_CORE_EXPORT_H

#include "core/output.h"
#include "core/span_table.h"

enum { CIRRON_EXPORT_CHUNK_BYTES = 1 << 20 };

typedef struct cirron_export {
    const cirron_table *table; /* borrowed */
    int64_t session;           /* its number; -1: everything in the table */
    const int32_t *rows;       /* borrowed: the spans, depth first */
    const int32_t *depths;     /* borrowed */
    size_t row_count;
    size_t row, mark, snapshot; /* what comes next of each */
    size_t done, total;         /* records, for a progress bar */
    cirron_output scratch;
    int part;   /* of the document; the format's own, 0 at first */
    bool first; /* no record of this part has been written */
    bool finished;
} cirron_export;

/* `session` is a number in cirron_table_sessions, or -1. `total` is set for spans alone. */
void cirron_export_init(cirron_export *export, const cirron_table *table, int64_t session);
void cirron_export_fini(cirron_export *export);

/* The id of the session that a span belongs to; absent when it belongs to none. */
cirron_text cirron_export_session_id(const cirron_table *table, size_t row, char hex[32]);

/* Appends the attributes as one strict JSON object, `{}` for none or malformed ones. */
void cirron_export_attrs(cirron_output *out, cirron_text attrs);

/* In JSON text that is well-formed otherwise: each escape of a lone surrogate becomes that
 * of U+FFFD, which is as long. */
void cirron_export_mend_surrogates(char *json, size_t len);

/* Makes room for `len` bytes and says where they go; NULL, with the status set, when there
 * is no memory. The caller sets the new length. */
static inline char *cirron_export_room(cirron_output *out, size_t len) {
    if (cirron_buffer_reserve(&out->text, len) != CIRRON_OK) {
        out->status = CIRRON_NO_MEMORY;
        return NULL;
    }
    return out->text.data + out->text.len;
}

static inline void cirron_export_wrote(cirron_output *out, const char *end) {
    out->text.len = (size_t)(end - out->text.data);
}

static inline char *cirron_export_put(char *at, const char *text, size_t len) {
    memcpy(at, text, len);
    return at + len;
}

/* Puts a string literal. */
#define CIRRON_EXPORT_PUT(at, literal) cirron_export_put((at), (literal), sizeof(literal) - 1)

#endif
