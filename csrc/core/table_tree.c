/* The order of the tree: depth first, children by start. No recursion and one place a
 * span, so that a chain of a million spans and a loop of parents in a forged file are
 * walked like anything else.
 */
#include "core/span_columns.h"

#include <stdlib.h>

/* Children of all spans, those of row r from starts[r] up to starts[r + 1]; roots count
 * as children of a row behind the last one. */
typedef struct child_lists {
    uint32_t *starts;
    uint32_t *rows;
} child_lists;

/* A row's place among its siblings. */
typedef struct sibling {
    int64_t start_ns;
    uint32_t row;
} sibling;

/* Spans whose parents lead back to themselves would hang from no root: each loop is
 * cut where a walk upwards enters it. `walks` is zeroed and one a span. */
static void cut_loops(cirron_table *table, uint32_t *walks) {
    int64_t *parents = table->ints[CIRRON_COLUMN_PARENT_ROW];
    for (size_t row = 0; row < table->span_count; row++) {
        const uint32_t walk = (uint32_t)row + 1;
        size_t at = row;
        while (walks[at] == 0) {
            walks[at] = walk;
            if (parents[at] < 0) {
                break;
            }
            at = (size_t)parents[at];
            if (walks[at] == walk) {
                parents[at] = -1;
            }
        }
    }
}

static int compare_siblings(const void *left, const void *right) {
    const sibling *a = left;
    const sibling *b = right;
    if (a->start_ns != b->start_ns) {
        return a->start_ns < b->start_ns ? -1 : 1;
    }
    return a->row < b->row ? -1 : a->row > b->row;
}

/* Sorts the children of one span by start; they mostly are. */
static int sort_children(const int64_t *starts_ns, uint32_t *rows, size_t count) {
    bool sorted = true;
    for (size_t i = 1; i < count && sorted; i++) {
        sorted = starts_ns[rows[i - 1]] <= starts_ns[rows[i]];
    }
    if (sorted) {
        return CIRRON_OK;
    }
    sibling *scratch = cirron_malloc(count * sizeof(*scratch));
    if (scratch == NULL) {
        return CIRRON_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        scratch[i] = (sibling){starts_ns[rows[i]], rows[i]};
    }
    qsort(scratch, count, sizeof(*scratch), compare_siblings);
    for (size_t i = 0; i < count; i++) {
        rows[i] = scratch[i].row;
    }
    cirron_free(scratch);
    return CIRRON_OK;
}

static int list_children(const cirron_table *table, child_lists *children) {
    const int64_t *parents = table->ints[CIRRON_COLUMN_PARENT_ROW];
    const size_t count = table->span_count;
    uint32_t *starts = children->starts;
    for (size_t row = 0; row < count; row++) {
        starts[parents[row] < 0 ? count : (size_t)parents[row]]++;
    }
    uint32_t sum = 0;
    for (size_t row = 0; row <= count; row++) { /* each start stands at its range's end */
        sum += starts[row];
        starts[row] = sum;
    }
    starts[count + 1] = sum;
    for (size_t row = count; row-- > 0;) { /* backwards: ranges fill from their ends */
        size_t parent = parents[row] < 0 ? count : (size_t)parents[row];
        children->rows[--starts[parent]] = (uint32_t)row;
    }
    int status = CIRRON_OK;
    for (size_t row = 0; row <= count && status == CIRRON_OK; row++) {
        status = sort_children(table->ints[CIRRON_COLUMN_START], children->rows + starts[row],
                               starts[row + 1] - starts[row]);
    }
    return status;
}

/* The rows that wait lie at the far end of the order itself, next one first: those
 * written and those waiting are never more than there are. */
static void walk_depth_first(cirron_table *table, const child_lists *children, uint32_t *depths) {
    const size_t count = table->span_count;
    int32_t *order = table->tree_rows;
    size_t written = 0;
    size_t waiting = count;
    size_t parent = count;
    for (;;) {
        size_t child_count = children->starts[parent + 1] - children->starts[parent];
        waiting -= child_count;
        for (size_t i = 0; i < child_count; i++) {
            uint32_t child = children->rows[children->starts[parent] + i];
            depths[child] = parent == count ? 0 : depths[parent] + 1;
            order[waiting + i] = (int32_t)child;
        }
        if (waiting == count) {
            break;
        }
        parent = (size_t)order[waiting++];
        table->tree_depths[written] = (int32_t)depths[parent];
        order[written++] = (int32_t)parent;
    }
}

int cirron_table_order_tree(cirron_table *table) {
    const size_t count = table->span_count;
    child_lists children = {
        .starts = cirron_calloc(count + 2, sizeof(*children.starts)),
        .rows = cirron_malloc(count * sizeof(*children.rows)),
    };
    uint32_t *scratch = cirron_calloc(count, sizeof(*scratch)); /* walks, then depths */
    table->tree_rows = cirron_malloc(count * sizeof(*table->tree_rows));
    table->tree_depths = cirron_malloc(count * sizeof(*table->tree_depths));
    int status = CIRRON_NO_MEMORY;
    if (children.starts == NULL || children.rows == NULL || scratch == NULL ||
        table->tree_rows == NULL || table->tree_depths == NULL) {
        goto done;
    }
    cut_loops(table, scratch);
    status = list_children(table, &children);
    if (status == CIRRON_OK) {
        walk_depth_first(table, &children, scratch);
    }
done:
    cirron_free(children.starts);
    cirron_free(children.rows);
    cirron_free(scratch);
    return status;
}
