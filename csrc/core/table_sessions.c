/* Which session a span belongs to, and what each session amounts to. A session is the
 * subtree of a root named cirron.session, so it is one run of places in the tree's order
 * and nothing has to be searched.
 */
#include "core/span_columns.h"

#include <stdlib.h>

/* One session and one file that holds a record of it. */
typedef struct use {
    uint32_t session, source;
} use;

typedef struct uses {
    use *items; /* owned */
    size_t count, cap;
} uses;

static bool is_session_root(const cirron_table *table, size_t row) {
    static const char name[] = "cirron.session";
    if (cirron_table_parent_id(table, row) != NULL) {
        return false;
    }
    cirron_text text = cirron_table_name_text(table, table->span_names[row]);
    return text.len == sizeof(name) - 1 && memcmp(text.data, name, text.len) == 0;
}

static size_t subtree_end(const cirron_table *table, size_t place) {
    do {
        place++;
    } while (place < table->span_count && table->tree_depths[place] != 0);
    return place;
}

/* Roots stand in the order by start; the newest session is number 0. */
static int number_sessions(cirron_table *table) {
    size_t count = 0;
    for (size_t place = 0; place < table->span_count; place++) {
        count += table->tree_depths[place] == 0 &&
                 is_session_root(table, (size_t)table->tree_rows[place]);
    }
    table->sessions = cirron_calloc(count == 0 ? 1 : count, sizeof(*table->sessions));
    if (table->sessions == NULL) {
        return CIRRON_NO_MEMORY;
    }
    table->session_count = count;
    int64_t *numbers = table->ints[CIRRON_COLUMN_SESSION];
    size_t number = count;
    for (size_t place = 0; place < table->span_count;) {
        size_t root = (size_t)table->tree_rows[place];
        size_t end = subtree_end(table, place);
        bool real = is_session_root(table, root);
        if (real) {
            table->sessions[--number] = (cirron_table_session){
                .row = (int64_t)root,
                .started_ns = table->ints[CIRRON_COLUMN_START][root],
                .ended_ns = table->ints[CIRRON_COLUMN_END][root],
                .live = (table->span_present[root] & CIRRON_HAS_END) == 0,
                .tree_start = place,
                .spans = end - place,
            };
        }
        for (; place < end; place++) {
            numbers[table->tree_rows[place]] = real ? (int64_t)number : -1;
        }
    }
    return CIRRON_OK;
}

/* All spans in one session, for files that hold no root. */
static void gather_orphans(cirron_table *table) {
    cirron_table_session *session = &table->sessions[0];
    *session = (cirron_table_session){
        .row = -1,
        .started_ns = INT64_MAX,
        .ended_ns = INT64_MIN,
        .live = true,
        .spans = table->span_count,
    };
    for (size_t row = 0; row < table->span_count; row++) {
        int64_t start = table->ints[CIRRON_COLUMN_START][row];
        int64_t end = table->ints[CIRRON_COLUMN_END][row];
        session->started_ns = start < session->started_ns ? start : session->started_ns;
        if (table->span_present[row] & CIRRON_HAS_END) {
            session->live = false;
            session->ended_ns = end > session->ended_ns ? end : session->ended_ns;
        }
        table->ints[CIRRON_COLUMN_SESSION][row] = 0;
    }
    table->session_count = 1;
}

/* Rows of one file and session mostly follow each other: only changes are noted. */
static int add_use(uses *list, int64_t session, uint32_t source) {
    if (session < 0 || source == 0) {
        return CIRRON_OK;
    }
    const use *last = list->count == 0 ? NULL : &list->items[list->count - 1];
    if (last != NULL && last->session == session && last->source == source) {
        return CIRRON_OK;
    }
    if (list->count == list->cap) {
        size_t cap = list->cap * 2 + 64;
        use *items = cirron_realloc(list->items, cap * sizeof(*items));
        if (items == NULL) {
            return CIRRON_NO_MEMORY;
        }
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = (use){(uint32_t)session, source};
    return CIRRON_OK;
}

static int64_t session_of(const cirron_table *table, uint32_t span_row) {
    return span_row == CIRRON_NO_ROW ? -1 : table->ints[CIRRON_COLUMN_SESSION][span_row];
}

static int list_uses(cirron_table *table, uses *list) {
    int status = CIRRON_OK;
    for (size_t i = 0; i < table->span_count && status == CIRRON_OK; i++) {
        status = add_use(list, session_of(table, (uint32_t)i), table->span_sources[i]);
    }
    for (size_t i = 0; i < table->mark_count && status == CIRRON_OK; i++) {
        int64_t session = session_of(table, table->marks[i].span_row);
        if (session >= 0) {
            table->sessions[session].marks++;
        }
        status = add_use(list, session, table->marks[i].source);
    }
    for (size_t i = 0; i < table->snapshot_count && status == CIRRON_OK; i++) {
        int64_t session = session_of(table, table->snapshots[i].span_row);
        if (session >= 0) {
            table->sessions[session].snapshots++;
        }
        status = add_use(list, session, table->snapshots[i].source);
    }
    for (size_t i = 0; i < table->duplicate_spans.count && status == CIRRON_OK; i++) {
        cirron_duplicate lost = table->duplicate_spans.items[i];
        status = add_use(list, session_of(table, lost.row), lost.source);
    }
    for (size_t i = 0; i < table->duplicate_marks.count && status == CIRRON_OK; i++) {
        cirron_duplicate lost = table->duplicate_marks.items[i];
        status = add_use(list, session_of(table, table->marks[lost.row].span_row), lost.source);
    }
    for (size_t i = 0; i < table->duplicate_snapshots.count && status == CIRRON_OK; i++) {
        cirron_duplicate lost = table->duplicate_snapshots.items[i];
        status = add_use(list, session_of(table, table->snapshots[lost.row].span_row), lost.source);
    }
    return status;
}

static int compare_uses(const void *left, const void *right) {
    const use *a = left;
    const use *b = right;
    if (a->session != b->session) {
        return a->session < b->session ? -1 : 1;
    }
    return a->source < b->source ? -1 : a->source > b->source;
}

/* Sums the sizes of each session's files and finds the newest one's version. */
static void sum_files(cirron_table *table, uses *list) {
    if (list->count == 0) {
        return;
    }
    qsort(list->items, list->count, sizeof(*list->items), compare_uses);
    int64_t newest_ns = INT64_MIN;
    for (size_t i = 0; i < list->count; i++) {
        const use *at = &list->items[i];
        if (i > 0 && compare_uses(at - 1, at) == 0) {
            continue;
        }
        if (i > 0 && at[-1].session != at->session) {
            newest_ns = INT64_MIN;
        }
        cirron_table_session *session = &table->sessions[at->session];
        const cirron_source *source = &table->sources[at->source - 1];
        session->bytes += source->bytes;
        if (source->sdk_version != CIRRON_NO_ROW && source->created_ns >= newest_ns) {
            newest_ns = source->created_ns;
            session->sdk_version = cirron_table_name_text(table, source->sdk_version);
        }
    }
}

int cirron_table_find_sessions(cirron_table *table) {
    int status = number_sessions(table);
    if (status != CIRRON_OK) {
        return status;
    }
    if (table->session_count == 0 && table->span_count != 0) {
        gather_orphans(table);
    }
    uses list = {0};
    status = list_uses(table, &list);
    if (status == CIRRON_OK) {
        sum_files(table, &list);
    }
    cirron_free(list.items);
    return status;
}
