/* Which columns spans, marks and snapshots have for other libraries, and what stands in
 * each row: the part of arrow.c that knows the records. Any thread; nothing is changed.
 */
#ifndef CIRRON_CORE_ARROW_COLUMNS_H
#define CIRRON_CORE_ARROW_COLUMNS_H

#include "core/arrow.h"

/* A column; its values come from the one function that is set, else from the table's
 * column of integers. A text lies in the table, is a constant, or was written to `hex`;
 * absent: null. A word is the 8 bytes of an int64 or a double, or 0 or 1 for a bool;
 * false: null. */
typedef struct cirron_arrow_column {
    const char *name;
    const char *format; /* "u" UTF-8, "l" int64, "g" double, "b" bool */
    bool nullable;
    enum cirron_table_column ints;
    cirron_text (*text)(const cirron_table *table, size_t row, char hex[32]);
    bool (*word)(const cirron_table *table, size_t row, int64_t *word);
} cirron_arrow_column;

const cirron_arrow_column *cirron_arrow_columns(enum cirron_arrow_kind kind, size_t *count);

size_t cirron_arrow_total(const cirron_table *table, enum cirron_arrow_kind kind);

/* Whether the record is among `rows`. */
bool cirron_arrow_wants(const cirron_table *table, const cirron_arrow_rows *rows, size_t row);

#endif
