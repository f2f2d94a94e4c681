/* One session of a linked table as it is shown: filtered, cut at a depth, and walked span
 * by span without recursion. One walker, one thread; the table outlives it.
 */
#ifndef CIRRON_CORE_TREE_WALK_H
#define CIRRON_CORE_TREE_WALK_H

#include "core/span_table.h"

/* What is shown. Ancestors of what is kept are kept, and so is the root. */
typedef struct cirron_tree_filter {
    cirron_text name;   /* spans with this in their name; absent: all */
    double min_wall_ns; /* spans that took at least this; 0: all */
    int64_t depth;      /* what lies below is collapsed; -1: nothing is */
} cirron_tree_filter;

/* A span is entered, then what lies below it is, then it is left. */
typedef struct cirron_tree_step {
    bool entering;
    int64_t row; /* -1: the root that stands for a session of orphans */
    size_t depth;
    size_t collapsed; /* spans below it that are not entered */
    size_t place;     /* where those begin in the tree's order */
    size_t end;
} cirron_tree_step;

typedef struct cirron_tree_walk {
    const cirron_table *table;           /* borrowed */
    const cirron_table_session *session; /* borrowed */
    cirron_tree_filter filter;
    uint8_t *kept;          /* owned; one a row, NULL: all are */
    bool named;             /* whether any name matches */
    cirron_tree_step *path; /* owned; the spans that are open */
    size_t path_len, path_cap;
    size_t place, end;
    bool rooted;
    struct cirron_interval *intervals; /* owned scratch */
    size_t interval_cap;
} cirron_tree_walk;

/* CIRRON_OK or CIRRON_NO_MEMORY; the walk is to be ended either way. The filter's name is
 * not looked at afterwards. */
int cirron_tree_walk_init(cirron_tree_walk *walk, const cirron_table *table, size_t session,
                          const cirron_tree_filter *filter);
void cirron_tree_walk_fini(cirron_tree_walk *walk);

/* The next step; *done when there is none. CIRRON_OK or CIRRON_NO_MEMORY. */
int cirron_tree_walk_next(cirron_tree_walk *walk, cirron_tree_step *step, bool *done);

/* Start and end of a step's span; false: it has no end. */
bool cirron_tree_interval(const cirron_tree_walk *walk, int64_t row, int64_t *start_ns,
                          int64_t *end_ns);

/* How long, while the step's span was open, at least one closed span of those collapsed in
 * it was. */
int cirron_tree_covered(cirron_tree_walk *walk, const cirron_tree_step *step, uint64_t *ns);

#endif
