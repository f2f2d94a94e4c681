/* Linking: duplicates go, spans find their parents, marks and snapshots their spans.
 * Everything is found through one index over the ids of the spans, built in the pass
 * that finds the duplicates.
 */
#include "core/span_columns.h"

#include <stdlib.h>

/* How far ahead slots of the index are fetched. */
enum { PREFETCH_ROWS = 12 };

/* Two rows with one id; `second` comes later. */
typedef struct clash {
    uint32_t first, second;
} clash;

typedef struct clashes {
    clash *items; /* owned */
    size_t count, cap;
} clashes;

/* One of the table's three kinds of rows, so that duplicates go the same way in all. */
typedef struct row_kind {
    const cirron_span_array *arrays;
    size_t array_count;
    const void *ids;
    size_t id_stride;
    const void *sources;
    size_t source_stride;
    size_t *count;
    cirron_duplicates *duplicates;
    bool (*second_wins)(const cirron_table *table, clash rows);
} row_kind;

static int add_clash(clashes *list, clash rows) {
    if (list->count == list->cap) {
        size_t cap = list->cap * 2 + 16;
        clash *items = cirron_realloc(list->items, cap * sizeof(*items));
        if (items == NULL) {
            return CIRRON_NO_MEMORY;
        }
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = rows;
    return CIRRON_OK;
}

static int index_rows(cirron_id_index *index, size_t count, clashes *list) {
    for (size_t row = 0; row < count; row++) {
        if (row + PREFETCH_ROWS < count) {
            cirron_id_index_prefetch(index, cirron_id_index_id(index, row + PREFETCH_ROWS));
        }
        uint32_t first = cirron_id_index_put(index, (uint32_t)row);
        if (first != row && add_clash(list, (clash){first, (uint32_t)row}) != CIRRON_OK) {
            return CIRRON_NO_MEMORY;
        }
    }
    return CIRRON_OK;
}

/* The winner's values go to the first row of the id; the loser's file is remembered. */
static int settle_clashes(const cirron_table *table, const row_kind *kind, const clashes *list) {
    cirron_duplicates *duplicates = kind->duplicates;
    duplicates->items = cirron_malloc(list->count * sizeof(*duplicates->items));
    if (duplicates->items == NULL) {
        return CIRRON_NO_MEMORY;
    }
    for (size_t i = 0; i < list->count; i++) {
        clash rows = list->items[i];
        bool second_wins = kind->second_wins(table, rows);
        uint32_t loser = second_wins ? rows.first : rows.second;
        uint32_t source;
        memcpy(&source, (const char *)kind->sources + loser * kind->source_stride, sizeof(source));
        duplicates->items[duplicates->count++] = (cirron_duplicate){rows.first, source};
        for (size_t j = 0; j < kind->array_count && second_wins; j++) {
            char *data = *kind->arrays[j].data;
            size_t size = kind->arrays[j].size;
            memcpy(data + rows.first * size, data + rows.second * size, size);
        }
    }
    return CIRRON_OK;
}

/* Takes the second row of each clash out of the columns. */
static int remove_seconds(const row_kind *kind, const clashes *list, cirron_id_index *index) {
    uint32_t *moved = cirron_malloc(*kind->count * sizeof(*moved));
    if (moved == NULL) {
        return CIRRON_NO_MEMORY;
    }
    for (size_t j = 0; j < kind->array_count; j++) {
        char *data = *kind->arrays[j].data;
        size_t size = kind->arrays[j].size;
        size_t kept = list->items[0].second;
        for (size_t i = 0; i < list->count; i++) {
            size_t from = list->items[i].second + 1;
            size_t to = i + 1 < list->count ? list->items[i + 1].second : *kind->count;
            memmove(data + kept * size, data + from * size, (to - from) * size);
            kept += to - from;
        }
    }
    size_t removed = 0;
    for (size_t row = 0; row < *kind->count; row++) {
        moved[row] = (uint32_t)(row - removed);
        removed += removed < list->count && list->items[removed].second == row;
    }
    *kind->count -= removed;
    cirron_id_index_renumber(index, moved);
    for (size_t i = 0; i < kind->duplicates->count; i++) {
        kind->duplicates->items[i].row = moved[kind->duplicates->items[i].row];
    }
    cirron_free(moved);
    return CIRRON_OK;
}

/* Leaves one row of each id, and an index over them that the caller ends. */
static int remove_duplicates(const cirron_table *table, const row_kind *kind,
                             cirron_id_index *index) {
    clashes list = {0};
    int status = cirron_id_index_init(index, kind->ids, kind->id_stride, *kind->count);
    if (status == CIRRON_OK) {
        status = index_rows(index, *kind->count, &list);
    }
    if (status == CIRRON_OK && list.count != 0) {
        status = settle_clashes(table, kind, &list);
        if (status == CIRRON_OK) {
            status = remove_seconds(kind, &list, index);
        }
    }
    cirron_free(list.items);
    return status;
}

static bool later_wins(const cirron_table *table, clash rows) {
    (void)table; /* marks and snapshots are written whole */
    (void)rows;
    return true;
}

static bool closed_wins(const cirron_table *table, clash rows) {
    return (table->span_present[rows.second] & CIRRON_HAS_END) != 0 ||
           (table->span_present[rows.first] & CIRRON_HAS_END) == 0;
}

static int link_spans(cirron_table *table, cirron_id_index *index) {
    cirron_span_array arrays[CIRRON_SPAN_ARRAYS];
    cirron_table_span_arrays(table, arrays);
    const row_kind kind = {
        .arrays = arrays,
        .array_count = CIRRON_SPAN_ARRAYS,
        .ids = table->ids,
        .id_stride = sizeof(*table->ids),
        .sources = table->span_sources,
        .source_stride = sizeof(*table->span_sources),
        .count = &table->span_count,
        .duplicates = &table->duplicate_spans,
        .second_wins = closed_wins,
    };
    int status = remove_duplicates(table, &kind, index);
    for (int i = CIRRON_COLUMN_STORED; i < CIRRON_COLUMN_COUNT && status == CIRRON_OK; i++) {
        table->ints[i] = cirron_calloc(table->span_count, sizeof(*table->ints[i]));
        status = table->ints[i] == NULL ? CIRRON_NO_MEMORY : CIRRON_OK;
    }
    if (status != CIRRON_OK) {
        return status;
    }
    int64_t *parents = table->ints[CIRRON_COLUMN_PARENT_ROW];
    const cirron_id *last = NULL; /* siblings tend to stand together */
    uint32_t last_row = CIRRON_NO_ROW;
    for (size_t row = 0; row < table->span_count; row++) {
        const cirron_id *parent = cirron_table_parent_id(table, row);
        if (parent == NULL) {
            parents[row] = -1;
            continue;
        }
        if (last == NULL || memcmp(last, parent, sizeof(*last)) != 0) {
            last = parent;
            last_row = cirron_id_index_find(index, parent);
        }
        parents[row] = last_row == CIRRON_NO_ROW ? -1 : (int64_t)last_row;
    }
    return CIRRON_OK;
}

/* Sets the span_row of each row that stands `stride` bytes after the last. */
static void join_spans(const cirron_id_index *spans, size_t count, size_t stride,
                       const cirron_id *span_id, uint32_t *span_row) {
    const cirron_id *last = NULL;
    uint32_t last_row = CIRRON_NO_ROW;
    for (size_t i = 0; i < count; i++) {
        if (last == NULL || memcmp(last, span_id, sizeof(*last)) != 0) {
            last = span_id;
            last_row = cirron_id_index_find(spans, span_id);
        }
        *span_row = last_row;
        span_id = (const void *)((const char *)span_id + stride);
        span_row = (void *)((char *)span_row + stride);
    }
}

static int link_marks(cirron_table *table, const cirron_id_index *spans) {
    if (table->mark_count == 0) {
        return CIRRON_OK;
    }
    const size_t stride = sizeof(*table->marks);
    const row_kind kind = {
        .arrays = &(cirron_span_array){(void **)&table->marks, stride},
        .array_count = 1,
        .ids = &table->marks->id,
        .id_stride = stride,
        .sources = &table->marks->source,
        .source_stride = stride,
        .count = &table->mark_count,
        .duplicates = &table->duplicate_marks,
        .second_wins = later_wins,
    };
    cirron_id_index index;
    int status = remove_duplicates(table, &kind, &index);
    cirron_id_index_fini(&index);
    join_spans(spans, table->mark_count, stride, &table->marks->span_id, &table->marks->span_row);
    return status;
}

static int link_snapshots(cirron_table *table, const cirron_id_index *spans) {
    if (table->snapshot_count == 0) {
        return CIRRON_OK;
    }
    const size_t stride = sizeof(*table->snapshots);
    const row_kind kind = {
        .arrays = &(cirron_span_array){(void **)&table->snapshots, stride},
        .array_count = 1,
        .ids = &table->snapshots->id,
        .id_stride = stride,
        .sources = &table->snapshots->source,
        .source_stride = stride,
        .count = &table->snapshot_count,
        .duplicates = &table->duplicate_snapshots,
        .second_wins = later_wins,
    };
    cirron_id_index index;
    int status = remove_duplicates(table, &kind, &index);
    cirron_id_index_fini(&index);
    join_spans(spans, table->snapshot_count, stride, &table->snapshots->span_id,
               &table->snapshots->span_row);
    return status;
}

/* A mark's place in time, for sorting. */
typedef struct mark_time {
    int64_t ts_ns;
    uint32_t mark;
} mark_time;

static int compare_times(const void *left, const void *right) {
    const mark_time *a = left;
    const mark_time *b = right;
    if (a->ts_ns != b->ts_ns) {
        return a->ts_ns < b->ts_ns ? -1 : 1;
    }
    return a->mark < b->mark ? -1 : a->mark > b->mark;
}

/* Sorts the marks of one span; `scratch` has room for all of them. Mostly they are. */
static void sort_marks(const cirron_table *table, uint32_t *marks, size_t count,
                       mark_time *scratch) {
    bool sorted = true;
    for (size_t i = 1; i < count && sorted; i++) {
        sorted = table->marks[marks[i - 1]].ts_ns <= table->marks[marks[i]].ts_ns;
    }
    if (sorted) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        scratch[i] = (mark_time){table->marks[marks[i]].ts_ns, marks[i]};
    }
    qsort(scratch, count, sizeof(*scratch), compare_times);
    for (size_t i = 0; i < count; i++) {
        marks[i] = scratch[i].mark;
    }
}

static int order_marks(cirron_table *table) {
    int64_t *counts = table->ints[CIRRON_COLUMN_MARK_COUNT];
    size_t most = 0;
    uint32_t joined = 0;
    for (size_t i = 0; i < table->mark_count; i++) {
        uint32_t row = table->marks[i].span_row;
        if (row != CIRRON_NO_ROW) {
            joined++;
            counts[row]++;
            most = (size_t)counts[row] > most ? (size_t)counts[row] : most;
        }
    }
    mark_time *scratch = cirron_malloc(most * sizeof(*scratch));
    table->mark_starts = cirron_malloc((table->span_count + 1) * sizeof(*table->mark_starts));
    table->mark_order = cirron_malloc(table->mark_count * sizeof(*table->mark_order));
    if (scratch == NULL || table->mark_starts == NULL || table->mark_order == NULL) {
        cirron_free(scratch);
        return CIRRON_NO_MEMORY;
    }
    uint32_t *starts = table->mark_starts;
    starts[0] = 0;
    for (size_t row = 0; row < table->span_count; row++) {
        starts[row + 1] = starts[row] + (uint32_t)counts[row];
    }
    for (size_t i = table->mark_count; i-- > 0;) { /* backwards: ranges fill from their ends */
        uint32_t row = table->marks[i].span_row;
        if (row != CIRRON_NO_ROW) {
            table->mark_order[--starts[row + 1]] = (uint32_t)i;
        }
    }
    for (size_t row = 0; row < table->span_count; row++) { /* the starts slipped by one row */
        starts[row] = starts[row + 1];
    }
    starts[table->span_count] = joined;
    for (size_t row = 0; row < table->span_count; row++) {
        if (counts[row] > 1) {
            sort_marks(table, table->mark_order + starts[row], (size_t)counts[row], scratch);
        }
    }
    cirron_free(scratch);
    return CIRRON_OK;
}

int cirron_table_link(cirron_table *table) {
    cirron_id_index spans = {0};
    int status = link_spans(table, &spans);
    if (status == CIRRON_OK) {
        status = link_marks(table, &spans);
    }
    if (status == CIRRON_OK) {
        status = link_snapshots(table, &spans);
    }
    cirron_id_index_fini(&spans);
    if (status == CIRRON_OK) {
        status = order_marks(table);
    }
    if (status == CIRRON_OK) {
        status = cirron_table_order_tree(table);
    }
    return status == CIRRON_OK ? cirron_table_find_sessions(table) : status;
}
