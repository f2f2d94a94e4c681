/* What a span table looks like inside. Private to the files that fill it (span_table.c),
 * link it (table_link.c, table_tree.c, table_sessions.c) and read it (table_read.c).
 *
 * Spans, which there are most of and which exports read column by column, lie in
 * columns; marks and snapshots lie in rows. Texts lie in one heap, each behind its
 * length, and are referred to by their offset (0: absent), which no growth changes.
 */
#ifndef CIRRON_CORE_SPAN_COLUMNS_H
#define CIRRON_CORE_SPAN_COLUMNS_H

#include <stdatomic.h>

#include "core/buffer.h"
#include "core/id_index.h"
#include "core/span_table.h"
#include "core/text_dict.h"

typedef uint64_t cirron_text_ref;

enum { CIRRON_TABLE_MAX_ROWS = INT32_MAX };

typedef struct cirron_mark_row {
    cirron_id id;
    cirron_id span_id;
    union {
        double as_float;
        int64_t as_int;
        cirron_text_ref as_string;
    } value;
    int64_t ts_ns;
    cirron_text_ref attrs;
    uint32_t name;
    uint32_t source;
    uint32_t span_row; /* CIRRON_NO_ROW: not in the table */
    uint8_t value_type;
    uint8_t kind;
} cirron_mark_row;

typedef struct cirron_snapshot_row {
    cirron_id id;
    cirron_id span_id;
    int64_t ts_ns;
    cirron_text_ref tensor_name, shape, dtype, mode, stats, blob_uri, attrs;
    uint32_t source;
    uint32_t span_row;
} cirron_snapshot_row;

typedef struct cirron_source {
    uint64_t bytes;
    int64_t created_ns;
    uint32_t sdk_version; /* a text of `names`; CIRRON_NO_ROW: unknown */
} cirron_source;

/* A record that lost to another one with the same id: its file still holds a record of
 * that one's session. */
typedef struct cirron_duplicate {
    uint32_t row; /* of the winner */
    uint32_t source;
} cirron_duplicate;

typedef struct cirron_duplicates {
    cirron_duplicate *items; /* owned */
    size_t count;
    size_t cap;
} cirron_duplicates;

struct cirron_table {
    _Atomic size_t owners;
    cirron_text_dict names;
    cirron_text_dict odd_ids; /* ids that are no 32 hex digits */
    uint64_t odd_prefix;      /* random; opens the 16 bytes that stand for an odd id */
    cirron_buffer heap;

    /* Owned columns, `span_cap` long; those beyond CIRRON_COLUMN_STORED are made by
     * linking and as long as there are spans. */
    cirron_id *ids;
    cirron_id *parent_ids;
    int64_t *ints[CIRRON_COLUMN_COUNT];
    cirron_text_ref *attrs;
    uint32_t *span_names;
    uint32_t *span_sources;
    uint16_t *span_present; /* cirron_table_field */
    size_t span_count, span_cap;

    cirron_mark_row *marks; /* owned */
    size_t mark_count, mark_cap;
    cirron_snapshot_row *snapshots; /* owned */
    size_t snapshot_count, snapshot_cap;
    cirron_source *sources; /* owned; number 1 is the first */
    size_t source_count, source_cap;

    /* Made by linking, owned. */
    cirron_duplicates duplicate_spans, duplicate_marks, duplicate_snapshots;
    uint32_t *mark_starts; /* one a span and one more: its place in mark_order */
    uint32_t *mark_order;
    int32_t *tree_rows;
    int32_t *tree_depths;
    cirron_table_session *sessions;
    size_t session_count;
};

/* The columns that come with the rows, for code that treats all of them alike. */
enum { CIRRON_SPAN_ARRAYS = CIRRON_COLUMN_STORED + 6 };

typedef struct cirron_span_array {
    void **data;
    size_t size; /* bytes of one value */
} cirron_span_array;

void cirron_table_span_arrays(cirron_table *table, cirron_span_array arrays[CIRRON_SPAN_ARRAYS]);

/* Room for the rows of `part` behind those of the table. */
int cirron_table_make_room(cirron_table *table, const cirron_table *part);

cirron_text cirron_table_text(const cirron_table *table, cirron_text_ref ref);

/* The later steps of linking, in this order, once spans know their parents and marks
 * their spans; each returns CIRRON_OK or CIRRON_NO_MEMORY. */
int cirron_table_order_tree(cirron_table *table);
int cirron_table_find_sessions(cirron_table *table);

#endif
