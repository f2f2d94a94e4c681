/* Records of the store become rows without a detour through JSON or hex: ids go over as
 * bytes, names and payloads as they lie there.
 */
#include "core/store_table.h"

/* What the visits need to know. */
typedef struct fill {
    cirron_table *table;
    const cirron_store *store;
    const cirron_intern *names;
    int64_t pid, rank, session;
} fill;

/* The name of a record; one that is inline opens the payload, which then moves on. */
static cirron_text take_name(const cirron_intern *names, uint32_t name, uint32_t len,
                             const char **payload) {
    if (name != CIRRON_NAME_INLINE) {
        cirron_name entry = cirron_intern_get(names, name);
        return (cirron_text){entry.text, entry.text_len};
    }
    cirron_text text = {*payload, len};
    *payload += len;
    return text;
}

static cirron_text attrs_text(const char *payload, uint32_t len) {
    return (cirron_text){len == 0 ? NULL : payload, len};
}

static int add_mark(void *context, const cirron_mark_record *mark, const char *payload,
                    const cirron_id *mark_id) {
    const fill *to = context;
    payload = payload == NULL ? "" : payload;
    cirron_table_mark row = {
        .name = take_name(to->names, mark->name, mark->name_len, &payload),
        .ts_ns = mark->ts_ns,
        .value_type = mark->value_type,
        .kind = mark->kind,
    };
    if (mark->value_type == CIRRON_VALUE_STRING) {
        row.as_string = (cirron_text){payload, mark->value_len};
        payload += mark->value_len;
    } else if (mark->value_type == CIRRON_VALUE_FLOAT) {
        row.as_float = mark->value.as_float;
    } else {
        row.as_int = mark->value.as_int;
    }
    row.attrs = attrs_text(payload, mark->attrs_len);
    return cirron_table_put_mark(to->table, mark_id, &mark->span_id, &row, 0);
}

static int add_span(void *context, uint64_t sequence, const cirron_span_record *span,
                    const char *payload) {
    fill *to = context;
    payload = payload == NULL ? "" : payload;
    (void)sequence;
    if (to->session >= 0 && span->session != (uint64_t)to->session) {
        return CIRRON_OK;
    }
    const struct {
        uint32_t flag, present;
    } fields[] = {
        {CIRRON_SPAN_INDEX, CIRRON_HAS_INDEX},
        {CIRRON_SPAN_CPU, CIRRON_HAS_CPU},
        {CIRRON_SPAN_GPU, CIRRON_HAS_GPU},
        {CIRRON_SPAN_MEMORY, CIRRON_HAS_MEMORY},
    };
    cirron_table_span row = {
        .name = take_name(to->names, span->name, span->name_len, &payload),
        .attrs = attrs_text(payload, span->attrs_len),
        .start_ns = span->start_ns,
        .end_ns = span->start_ns + span->duration_ns,
        .thread_id = (int64_t)span->thread_id,
        .pid = to->pid,
        .rank = to->rank,
        .overhead_ns = span->overhead_ns,
        .present = CIRRON_HAS_END | CIRRON_HAS_THREAD | CIRRON_HAS_PID | CIRRON_HAS_RANK |
                   CIRRON_HAS_OVERHEAD,
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        row.present |= span->flags & fields[i].flag ? fields[i].present : 0;
    }
    row.index = row.present & CIRRON_HAS_INDEX ? span->index : 0;
    row.cpu_ns = row.present & CIRRON_HAS_CPU ? span->cpu_ns : 0;
    row.gpu_ns = row.present & CIRRON_HAS_GPU ? span->gpu_ns : 0;
    row.memory_peak_bytes = row.present & CIRRON_HAS_MEMORY ? span->memory_peak_bytes : 0;
    const cirron_id *parent = span->flags & CIRRON_SPAN_PARENT ? &span->parent_id : NULL;
    int status = cirron_table_put_span(to->table, &span->id, parent, &row, 0);
    if (status != CIRRON_OK) {
        return status;
    }
    return cirron_store_each_mark(to->store, &span->id, add_mark, to);
}

int cirron_table_from_store(cirron_table *table, const cirron_store *store,
                            const cirron_intern *names, int64_t pid, int64_t rank, uint64_t since,
                            int64_t session) {
    fill to = {table, store, names, pid, rank, session};
    return cirron_store_each_span(store, since, add_span, &to);
}

int cirron_table_add_open_span(cirron_table *table, const cirron_store *store,
                               const cirron_intern *names, const cirron_id *span_id,
                               const cirron_table_span *span) {
    fill to = {.table = table, .store = store, .names = names, .session = -1};
    cirron_table_span open_span = *span;
    open_span.end_ns = 0;
    open_span.present &= ~(uint32_t)CIRRON_HAS_END;
    int status = cirron_table_put_span(table, span_id, NULL, &open_span, 0);
    if (status != CIRRON_OK) {
        return status;
    }
    return cirron_store_each_mark(store, span_id, add_mark, &to);
}
