/* The tree's order is depth first, so a subtree is a run of places: collapsing skips one,
 * and ancestors are found by going through a run backwards.
 */
#include "core/tree_walk.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

typedef struct cirron_interval {
    int64_t start, stop;
} interval;

/* ---- what is kept */

/* For each name whether it is wanted: there are far fewer names than spans. */
static uint8_t *match_names(const cirron_table *table, cirron_text wanted) {
    size_t count = cirron_table_names(table);
    uint8_t *matches = cirron_malloc(count);
    for (size_t i = 0; i < count && matches != NULL; i++) {
        cirron_text name = cirron_table_name_text(table, (uint32_t)i);
        matches[i] = memmem(name.data, name.len, wanted.data, wanted.len) != NULL;
    }
    return matches;
}

static bool is_long_enough(const cirron_table *table, size_t row, double min_wall_ns) {
    if (!cirron_table_has(table, CIRRON_COLUMN_END, row)) {
        return true;
    }
    long double start = (long double)cirron_table_ints(table, CIRRON_COLUMN_START)[row];
    return (long double)cirron_table_ints(table, CIRRON_COLUMN_END)[row] - start >= min_wall_ns;
}

static int filter_spans(cirron_tree_walk *walk) {
    const cirron_table *table = walk->table;
    const cirron_tree_filter *filter = &walk->filter;
    const int64_t *parents = cirron_table_ints(table, CIRRON_COLUMN_PARENT_ROW);
    const int32_t *rows = cirron_table_tree_rows(table);
    const bool any_name = filter->name.data == NULL;
    walk->named = any_name;
    if (any_name && filter->min_wall_ns <= 0) {
        return CIRRON_OK;
    }
    uint8_t *matches = any_name ? NULL : match_names(table, filter->name);
    walk->kept = cirron_calloc(cirron_table_spans(table), 1);
    if (walk->kept == NULL || (matches == NULL && !any_name)) {
        cirron_free(matches);
        return CIRRON_NO_MEMORY;
    }
    for (size_t place = walk->end; place-- > walk->place;) {
        size_t row = (size_t)rows[place];
        if (any_name || matches[cirron_table_name(table, row)]) {
            walk->named = true;
            walk->kept[row] |= is_long_enough(table, row, filter->min_wall_ns);
        }
        if (walk->kept[row] && parents[row] >= 0) {
            walk->kept[parents[row]] = 1;
        }
    }
    cirron_free(matches);
    if (walk->session->row >= 0) {
        walk->kept[walk->session->row] = 1;
    }
    return CIRRON_OK;
}

static bool is_kept(const cirron_tree_walk *walk, size_t place) {
    return walk->kept == NULL || walk->kept[cirron_table_tree_rows(walk->table)[place]];
}

int cirron_tree_walk_init(cirron_tree_walk *walk, const cirron_table *table, size_t session,
                          const cirron_tree_filter *filter) {
    size_t count;
    const cirron_table_session *about = &cirron_table_sessions(table, &count)[session];
    *walk = (cirron_tree_walk){
        .table = table,
        .session = about,
        .filter = *filter,
        .place = about->tree_start,
        .end = about->tree_start + about->spans,
    };
    int status = filter_spans(walk);
    walk->filter.name = (cirron_text){0};
    return status;
}

void cirron_tree_walk_fini(cirron_tree_walk *walk) {
    cirron_free(walk->kept);
    cirron_free(walk->path);
    cirron_free(walk->intervals);
    *walk = (cirron_tree_walk){0};
}

/* ---- walking */

/* The depth of the span at a place: those of a session of orphans hang from one root. */
static size_t depth_at(const cirron_tree_walk *walk, size_t place) {
    return (size_t)cirron_table_tree_depths(walk->table)[place] + (walk->session->row < 0);
}

static int enter(cirron_tree_walk *walk, int64_t row, size_t depth, cirron_tree_step *step) {
    if (walk->path_len == walk->path_cap) {
        size_t cap = walk->path_cap * 2 + 32;
        cirron_tree_step *path = cirron_realloc(walk->path, cap * sizeof(*path));
        if (path == NULL) {
            return CIRRON_NO_MEMORY;
        }
        walk->path = path;
        walk->path_cap = cap;
    }
    *step = (cirron_tree_step){.entering = true, .row = row, .depth = depth, .place = walk->place};
    if (walk->filter.depth >= 0 && depth == (size_t)walk->filter.depth) {
        for (; walk->place < walk->end && depth_at(walk, walk->place) > depth; walk->place++) {
            step->collapsed += is_kept(walk, walk->place);
        }
    }
    step->end = walk->place;
    walk->path[walk->path_len] = *step;
    walk->path[walk->path_len++].entering = false;
    return CIRRON_OK;
}

int cirron_tree_walk_next(cirron_tree_walk *walk, cirron_tree_step *step, bool *done) {
    *done = false;
    if (walk->session->row < 0 && !walk->rooted) {
        walk->rooted = true;
        return enter(walk, -1, 0, step);
    }
    while (walk->place < walk->end && !is_kept(walk, walk->place)) {
        walk->place++;
    }
    bool more = walk->place < walk->end;
    if (walk->path_len > 0 && (!more || walk->path_len > depth_at(walk, walk->place))) {
        *step = walk->path[--walk->path_len];
        return CIRRON_OK;
    }
    if (!more) {
        *done = true;
        return CIRRON_OK;
    }
    size_t depth = depth_at(walk, walk->place);
    int64_t row = cirron_table_tree_rows(walk->table)[walk->place++];
    return enter(walk, row, depth, step);
}

/* ---- times */

bool cirron_tree_interval(const cirron_tree_walk *walk, int64_t row, int64_t *start_ns,
                          int64_t *end_ns) {
    if (row < 0) {
        *start_ns = walk->session->started_ns;
        *end_ns = walk->session->ended_ns;
        return !walk->session->live;
    }
    *start_ns = cirron_table_ints(walk->table, CIRRON_COLUMN_START)[row];
    *end_ns = cirron_table_ints(walk->table, CIRRON_COLUMN_END)[row];
    return cirron_table_has(walk->table, CIRRON_COLUMN_END, (size_t)row);
}

static int compare_intervals(const void *left, const void *right) {
    const interval *a = left;
    const interval *b = right;
    return a->start < b->start ? -1 : a->start > b->start;
}

/* The closed spans that are collapsed, by start; they mostly stand in that order. */
static int list_intervals(cirron_tree_walk *walk, const cirron_tree_step *step, size_t *count) {
    const int32_t *rows = cirron_table_tree_rows(walk->table);
    bool sorted = true;
    *count = 0;
    if (step->collapsed > walk->interval_cap) {
        cirron_free(walk->intervals);
        walk->intervals = cirron_malloc(step->collapsed * sizeof(*walk->intervals));
        walk->interval_cap = walk->intervals == NULL ? 0 : step->collapsed;
        if (walk->intervals == NULL) {
            return CIRRON_NO_MEMORY;
        }
    }
    for (size_t place = step->place; place < step->end; place++) {
        interval *last = &walk->intervals[*count];
        if (is_kept(walk, place) &&
            cirron_tree_interval(walk, rows[place], &last->start, &last->stop)) {
            sorted = sorted && (*count == 0 || last[-1].start <= last->start);
            ++*count;
        }
    }
    if (!sorted) {
        qsort(walk->intervals, *count, sizeof(*walk->intervals), compare_intervals);
    }
    return CIRRON_OK;
}

int cirron_tree_covered(cirron_tree_walk *walk, const cirron_tree_step *step, uint64_t *ns) {
    size_t count;
    int64_t until, last;
    *ns = 0;
    if (!cirron_tree_interval(walk, step->row, &until, &last)) {
        last = INT64_MAX;
    }
    int status = list_intervals(walk, step, &count);
    for (size_t i = 0; i < count && status == CIRRON_OK; i++) {
        int64_t start = walk->intervals[i].start > until ? walk->intervals[i].start : until;
        int64_t stop = walk->intervals[i].stop < last ? walk->intervals[i].stop : last;
        if (stop > start) {
            *ns += (uint64_t)stop - (uint64_t)start;
            until = stop;
        }
    }
    return status;
}
