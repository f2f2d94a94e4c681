/* Spans, marks and snapshots in columns: what every reader looks at, whether the
 * records came from the spool or from the store of the running process.
 *
 * Filled by one thread (begin rows, then cirron_table_link once), read-only
 * afterwards. Rows are numbered from 0 in the order in which they were added; linking
 * removes duplicates. Text lies in the table's own heap and dies with it.
 */
#ifndef CIRRON_CORE_SPAN_TABLE_H
#define CIRRON_CORE_SPAN_TABLE_H

#include <stdbool.h>

#include "core/types.h"

typedef struct cirron_table cirron_table;

/* Text that the table does not own yet; copied when a row is added. */
typedef struct cirron_text {
    const char *data; /* UTF-8; NULL: absent */
    size_t len;
} cirron_text;

enum cirron_table_field {
    CIRRON_HAS_INDEX = 1u << 0,
    CIRRON_HAS_END = 1u << 1,
    CIRRON_HAS_CPU = 1u << 2,
    CIRRON_HAS_GPU = 1u << 3,
    CIRRON_HAS_MEMORY = 1u << 4,
    CIRRON_HAS_THREAD = 1u << 5,
    CIRRON_HAS_PID = 1u << 6,
    CIRRON_HAS_RANK = 1u << 7,
    CIRRON_HAS_OVERHEAD = 1u << 8,
    CIRRON_HAS_PARENT = 1u << 9,
};

/* One span as a producer of rows hands it over. Ids are text, because a file may hold
 * ids that are no 32 hex digits; attrs is a JSON object or absent. CIRRON_HAS_PARENT
 * follows from parent_id. */
typedef struct cirron_table_span {
    cirron_text id, parent_id, name, attrs;
    int64_t index, start_ns, end_ns, cpu_ns, gpu_ns, memory_peak_bytes;
    int64_t thread_id, pid, rank, overhead_ns;
    uint32_t present; /* cirron_table_field */
} cirron_table_span;

typedef struct cirron_table_mark {
    cirron_text id, span_id, name, attrs;
    cirron_text as_string; /* CIRRON_VALUE_STRING */
    double as_float;
    int64_t as_int; /* also bool */
    int64_t ts_ns;
    uint8_t value_type; /* cirron_value_type */
    uint8_t kind;       /* cirron_mark_kind */
} cirron_table_mark;

/* shape, stats and attrs are JSON texts as they stand in the file. */
typedef struct cirron_table_snapshot {
    cirron_text id, span_id, tensor_name, shape, dtype, mode, stats, blob_uri, attrs;
    int64_t ts_ns;
} cirron_table_snapshot;

/* A table has one owner, who frees it; retaining makes one more, on any thread. NULL: there
 * is no memory. */
cirron_table *cirron_table_new(void);
cirron_table *cirron_table_retain(cirron_table *table);
void cirron_table_free(cirron_table *table);

/* ---- adding rows
 *
 * Each returns CIRRON_OK or CIRRON_NO_MEMORY. `source` numbers the file that the row
 * came from (0 for the store). */
int cirron_table_add_span(cirron_table *table, const cirron_table_span *span, uint32_t source);
int cirron_table_add_mark(cirron_table *table, const cirron_table_mark *mark, uint32_t source);
int cirron_table_add_snapshot(cirron_table *table, const cirron_table_snapshot *snapshot,
                              uint32_t source);

/* The same for ids that are at hand as bytes; the texts of ids in the row are not looked
 * at. `parent_id` NULL: no parent. */
int cirron_table_put_span(cirron_table *table, const cirron_id *id, const cirron_id *parent_id,
                          const cirron_table_span *span, uint32_t source);
int cirron_table_put_mark(cirron_table *table, const cirron_id *id, const cirron_id *span_id,
                          const cirron_table_mark *mark, uint32_t source);

/* Announces a file of `bytes` bytes and gives it its number, from 1. */
int cirron_table_add_source(cirron_table *table, uint64_t bytes, uint32_t *source);

/* What the file says about itself. CIRRON_OK or CIRRON_NO_MEMORY. */
int cirron_table_describe_source(cirron_table *table, uint32_t source, int64_t created_ns,
                                 cirron_text sdk_version);

/* How far the table was filled, and the way back there: a file that turns out broken
 * leaves no row. */
typedef struct cirron_table_savepoint {
    size_t spans, marks, snapshots, sources, text_bytes;
} cirron_table_savepoint;

cirron_table_savepoint cirron_table_save(const cirron_table *table);
void cirron_table_rollback(cirron_table *table, const cirron_table_savepoint *savepoint);

/* ---- tables that are filled in parts
 *
 * Appends the rows of `part` as if they had been added here; neither is linked yet. After
 * CIRRON_NO_MEMORY the table can only be freed. */
int cirron_table_append(cirron_table *table, const cirron_table *part);

/* Takes all rows out, so that the table can be filled once more. */
void cirron_table_clear(cirron_table *table);

/* Makes room for so many rows in all. CIRRON_OK or CIRRON_NO_MEMORY. */
int cirron_table_reserve(cirron_table *table, size_t spans, size_t marks);

/* ---- linking
 *
 * Removes duplicates (of spans the one with an end wins, else the last; of marks and
 * snapshots the last), joins spans with parents, sessions and marks, and orders the
 * tree. A parent that is not in the table, or a cycle, makes a root. Once, after the last
 * row; CIRRON_NO_MEMORY leaves a table that can only be freed. */
int cirron_table_link(cirron_table *table);

/* ---- reading, after linking
 *
 * Everything returned is borrowed from the table. */

enum cirron_table_column {
    CIRRON_COLUMN_START,
    CIRRON_COLUMN_END,
    CIRRON_COLUMN_CPU,
    CIRRON_COLUMN_GPU,
    CIRRON_COLUMN_MEMORY,
    CIRRON_COLUMN_INDEX,
    CIRRON_COLUMN_THREAD,
    CIRRON_COLUMN_PID,
    CIRRON_COLUMN_RANK,
    CIRRON_COLUMN_OVERHEAD,
    CIRRON_COLUMN_STORED, /* the columns up to here come with the rows */
    CIRRON_COLUMN_MARK_COUNT = CIRRON_COLUMN_STORED,
    CIRRON_COLUMN_PARENT_ROW, /* -1: none */
    CIRRON_COLUMN_SESSION,    /* a number in cirron_table_sessions, -1: none */
    CIRRON_COLUMN_COUNT,
};

size_t cirron_table_spans(const cirron_table *table);
size_t cirron_table_marks(const cirron_table *table);
size_t cirron_table_snapshots(const cirron_table *table);

/* One value a span; absent ones are 0. */
const int64_t *cirron_table_ints(const cirron_table *table, enum cirron_table_column column);

/* Whether the column holds a value for the span. */
bool cirron_table_has(const cirron_table *table, enum cirron_table_column column, size_t row);

/* The same for each span, written as 1 or 0. */
void cirron_table_present(const cirron_table *table, enum cirron_table_column column,
                          uint8_t *present);

/* Ids, one a span; that of a parent is NULL when there is none. */
const cirron_id *cirron_table_id(const cirron_table *table, size_t row);
const cirron_id *cirron_table_parent_id(const cirron_table *table, size_t row);

/* The id as it was read: 32 hex digits written to `hex`, or the odd text. */
cirron_text cirron_table_id_text(const cirron_table *table, const cirron_id *id, char hex[32]);

/* Ids that are no 32 lowercase hex digits are numbered: how many there are, the text of one,
 * and whether an id is such a one. */
size_t cirron_table_odd_ids(const cirron_table *table);
cirron_text cirron_table_odd_id_text(const cirron_table *table, size_t number);
bool cirron_table_is_odd_id(const cirron_table *table, const cirron_id *id, size_t *number);

/* Names are numbered: rows of the same name have the same number. */
size_t cirron_table_names(const cirron_table *table);
cirron_text cirron_table_name_text(const cirron_table *table, uint32_t name);
uint32_t cirron_table_name(const cirron_table *table, size_t row);

/* The attributes' JSON object; absent when there are none. */
cirron_text cirron_table_attrs(const cirron_table *table, size_t row);

/* The marks of a span by time, as numbers for cirron_table_mark_at, which leaves the
 * texts of ids absent. */
const uint32_t *cirron_table_marks_of(const cirron_table *table, size_t row, size_t *count);
cirron_table_mark cirron_table_mark_at(const cirron_table *table, uint32_t mark);

/* Snapshot records, numbered in the order of the files; texts of ids are absent. The row is
 * that of the span, -1 when it is not in the table. */
cirron_table_snapshot cirron_table_snapshot_at(const cirron_table *table, size_t snapshot);
const cirron_id *cirron_table_snapshot_id(const cirron_table *table, size_t snapshot);
const cirron_id *cirron_table_snapshot_span_id(const cirron_table *table, size_t snapshot);
int64_t cirron_table_snapshot_row(const cirron_table *table, size_t snapshot);

/* All spans depth first, children and roots by start, and each one's depth. */
const int32_t *cirron_table_tree_rows(const cirron_table *table);
const int32_t *cirron_table_tree_depths(const cirron_table *table);

typedef struct cirron_table_session {
    int64_t row; /* of the root; -1: the synthetic session of orphans */
    int64_t started_ns;
    int64_t ended_ns; /* means nothing while `live` */
    bool live;
    size_t tree_start; /* its spans are `spans` places of the tree from here on */
    size_t spans, marks, snapshots;
    uint64_t bytes;          /* of the files that hold any record of it */
    cirron_text sdk_version; /* of the newest such file */
} cirron_table_session;

/* Newest first, by start. */
const cirron_table_session *cirron_table_sessions(const cirron_table *table, size_t *count);

#endif
