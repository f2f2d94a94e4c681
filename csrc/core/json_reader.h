/* One batch file's JSON into rows of a table: simdjson behind a C face.
 *
 * The bytes are hostile. A document that is not whole or not JSON leaves no row; in a
 * whole one, unknown fields are passed over, known fields of another type are converted
 * where that makes sense and are absent where not, and a record without a string for
 * an id is skipped. What simdjson does not look at is not checked: JSON inside attrs,
 * shape, stats and unknown fields may still be malformed.
 *
 * One reader, one thread. No C++ exception leaves it. Memory grows with the largest
 * document.
 */
#ifndef CIRRON_CORE_JSON_READER_H
#define CIRRON_CORE_JSON_READER_H

#include "core/span_table.h"

typedef struct cirron_json_reader cirron_json_reader;

/* Longer documents are refused. */
#define CIRRON_JSON_MAX_BYTES ((size_t)INT32_MAX)

/* NULL when there is no memory. */
cirron_json_reader *cirron_json_reader_new(void);
void cirron_json_reader_free(cirron_json_reader *reader);

/* Room for a document of `len` bytes, at most CIRRON_JSON_MAX_BYTES; NULL when there is
 * no memory. Owned by the reader, valid until the next call. */
char *cirron_json_reader_reserve(cirron_json_reader *reader, size_t len);

/* Reads the first `len` of those bytes, which are scratch afterwards, and adds the rows.
 * `file_bytes` is what the file counts for in its sessions' sizes. CIRRON_CORRUPT sets
 * *why to a short reason, a constant. After any failure the table is as before. */
int cirron_json_reader_read(cirron_json_reader *reader, size_t len, uint64_t file_bytes,
                            cirron_table *table, const char **why);

#endif
