/* A session's tree for people and for programs: lines of text, or JSON, in chunks. One
 * owner, one thread; the table outlives it.
 */
#ifndef CIRRON_CORE_TREE_TEXT_H
#define CIRRON_CORE_TREE_TEXT_H

#include "core/tree_walk.h"
#include "core/output.h"

typedef struct cirron_tree_style {
    bool json;
    bool overhead; /* the profiler's own time, as a last summary mark of each span */
    bool color;    /* escape codes; lines only */
    bool ascii;    /* no dash and ellipsis of Unicode; names stay as they are; lines only */
} cirron_tree_style;

typedef struct cirron_tree_text cirron_tree_text;

/* NULL when there is no memory. `session` is a number of cirron_table_sessions. */
cirron_tree_text *cirron_tree_text_new(const cirron_table *table, size_t session,
                                       const cirron_tree_filter *filter,
                                       const cirron_tree_style *style);
void cirron_tree_text_free(cirron_tree_text *text);

/* Whether any span has the filter's name. */
bool cirron_tree_text_is_named(const cirron_tree_text *text);

/* Appends about `bytes` bytes, whole lines in UTF-8; none when all has been said.
 * CIRRON_OK or CIRRON_NO_MEMORY.
 *
 * As JSON, a span is an object on lines of its own, one that opens it and one that closes
 * it, so that the document can be of any depth; it is ASCII and the root comes without
 * anything around it. ns are strings, since a double can't hold them. */
int cirron_tree_text_next(cirron_tree_text *text, size_t bytes, cirron_output *out);

#endif
