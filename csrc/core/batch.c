/* Three sections grow side by side, spans, marks and snapshots, and are joined when the
 * batch ends.
 * Each record's fixed parts are counted first, so that a record is one reservation and a
 * failure leaves nothing behind.
 */
#include "core/batch.h"

#include <stdbool.h>

#include "core/id.h"
#include "core/json_writer.h"

enum {
    MAX_MARK_IDS = 1024,    /* that a span lists */
    SPAN_FIXED_BYTES = 700, /* keys, ids and numbers of a span, at most */
    MARK_FIXED_BYTES = 400,
    FIRST_SLOTS = 256,
};

static const uint32_t NIL = UINT32_MAX;

/* A mark of this batch: its id, and the next one of the same span. */
typedef struct listed_mark {
    cirron_id id;
    uint32_t next;
} listed_mark;

/* The marks of one span, in order. */
typedef struct mark_list {
    cirron_id span_id;
    uint32_t first;
    uint32_t last;
    uint32_t count;
    uint32_t generation; /* of the batch; an older one: the slot is empty */
} mark_list;

struct cirron_batch {
    const cirron_intern *names; /* borrowed */
    int64_t pid;
    int64_t rank;
    cirron_buffer spans;
    cirron_buffer marks;
    cirron_buffer snapshots;
    size_t records;
    uint32_t generation;
    listed_mark *listed; /* owned */
    uint32_t listed_count;
    uint32_t listed_cap;
    mark_list *lists; /* owned, open addressing */
    uint32_t list_count;
    uint32_t list_slots; /* a power of two */
};

cirron_batch *cirron_batch_new(const cirron_intern *names) {
    cirron_batch *batch = cirron_calloc(1, sizeof *batch);
    if (batch == NULL) {
        return NULL;
    }
    batch->names = names;
    batch->generation = 1;
    batch->list_slots = FIRST_SLOTS;
    batch->lists = cirron_calloc(FIRST_SLOTS, sizeof *batch->lists);
    if (batch->lists == NULL) {
        cirron_free(batch);
        return NULL;
    }
    return batch;
}

void cirron_batch_free(cirron_batch *batch) {
    if (batch == NULL) {
        return;
    }
    cirron_buffer_fini(&batch->spans);
    cirron_buffer_fini(&batch->marks);
    cirron_buffer_fini(&batch->snapshots);
    cirron_free(batch->listed);
    cirron_free(batch->lists);
    cirron_free(batch);
}

void cirron_batch_set_process(cirron_batch *batch, int64_t pid, int64_t rank) {
    batch->pid = pid;
    batch->rank = rank;
}

size_t cirron_batch_size(const cirron_batch *batch) {
    return batch->spans.len + batch->marks.len + batch->snapshots.len;
}

size_t cirron_batch_records(const cirron_batch *batch) {
    return batch->records;
}

void cirron_batch_reset(cirron_batch *batch) {
    batch->spans.len = 0;
    batch->marks.len = 0;
    batch->snapshots.len = 0;
    batch->records = 0;
    batch->listed_count = 0;
    batch->list_count = 0;
    batch->generation++;
}

/* ---- which marks belong to which span */

static mark_list *find_list(const cirron_batch *batch, const cirron_id *span_id) {
    uint64_t hash;
    memcpy(&hash, span_id, sizeof hash); /* ids are random */
    uint32_t mask = batch->list_slots - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        mark_list *list = &batch->lists[i];
        if (list->generation != batch->generation ||
            memcmp(&list->span_id, span_id, sizeof *span_id) == 0) {
            return list;
        }
    }
}

static int grow_lists(cirron_batch *batch) {
    mark_list *before = batch->lists;
    uint32_t slots = batch->list_slots;
    mark_list *lists = cirron_calloc((size_t)slots * 2, sizeof *lists);
    if (lists == NULL) {
        return CIRRON_NO_MEMORY;
    }
    batch->lists = lists;
    batch->list_slots = slots * 2;
    for (uint32_t i = 0; i < slots; i++) {
        if (before[i].generation == batch->generation) {
            *find_list(batch, &before[i].span_id) = before[i];
        }
    }
    cirron_free(before);
    return CIRRON_OK;
}

/* Room for one more, so that list_mark can't fail. */
static int reserve_listed(cirron_batch *batch) {
    if ((batch->list_count + 1) * 2 > batch->list_slots && grow_lists(batch) != CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    if (batch->listed_count == batch->listed_cap) {
        uint32_t cap = batch->listed_cap == 0 ? FIRST_SLOTS : batch->listed_cap * 2;
        listed_mark *listed = cirron_realloc(batch->listed, cap * sizeof *listed);
        if (listed == NULL) {
            return CIRRON_NO_MEMORY;
        }
        batch->listed = listed;
        batch->listed_cap = cap;
    }
    return CIRRON_OK;
}

static void list_mark(cirron_batch *batch, const cirron_id *span_id, const cirron_id *mark_id) {
    mark_list *list = find_list(batch, span_id);
    if (list->generation != batch->generation) {
        *list = (mark_list){*span_id, NIL, NIL, 0, batch->generation};
        batch->list_count++;
    }
    if (list->count == MAX_MARK_IDS) {
        return;
    }
    uint32_t at = batch->listed_count++;
    batch->listed[at] = (listed_mark){*mark_id, NIL};
    if (list->last == NIL) {
        list->first = at;
    } else {
        batch->listed[list->last].next = at;
    }
    list->last = at;
    list->count++;
}

/* ---- writing at `at`, where there is room; each returns the end */

static char *put(char *at, const char *bytes, size_t len) {
    if (len != 0) {
        memcpy(at, bytes, len);
    }
    return at + len;
}

#define PUT(at, text) put(at, text, sizeof(text) - 1)

static char *put_int_or_null(char *at, bool present, int64_t value) {
    return present ? cirron_json_put_int(at, value) : PUT(at, "null");
}

static char *put_attrs(char *at, const char *attrs, uint32_t len) {
    return len != 0 ? put(at, attrs, len) : PUT(at, "{}");
}

static char *put_mark_ids(char *at, const cirron_batch *batch, const mark_list *list) {
    *at++ = '[';
    for (uint32_t i = list != NULL ? list->first : NIL; i != NIL; i = batch->listed[i].next) {
        at = cirron_json_put_id(at, &batch->listed[i].id);
        if (batch->listed[i].next != NIL) {
            *at++ = ',';
        }
    }
    *at++ = ']';
    return at;
}

/* The name as JSON: kept ready for interned ones. `payload` moves past an inline name. */
static char *put_name(char *at, const cirron_batch *batch, uint32_t id, uint32_t len,
                      const char **payload) {
    if (id == CIRRON_NAME_INLINE) {
        const char *text = *payload;
        *payload += len;
        return cirron_json_put_string(at, text, len);
    }
    cirron_name name = cirron_intern_get(batch->names, id);
    return put(at, name.json, name.json_len);
}

static char *put_value(char *at, const cirron_mark_record *mark, const char *text) {
    switch (mark->value_type) {
    case CIRRON_VALUE_FLOAT:
        return cirron_json_put_double(PUT(at, "\"float\",\"value\":"), mark->value.as_float);
    case CIRRON_VALUE_INT:
        return cirron_json_put_int(PUT(at, "\"int\",\"value\":"), mark->value.as_int);
    case CIRRON_VALUE_STRING:
        return cirron_json_put_string(PUT(at, "\"string\",\"value\":"), text, mark->value_len);
    default:
        return mark->value.as_int ? PUT(at, "\"bool\",\"value\":true")
                                  : PUT(at, "\"bool\",\"value\":false");
    }
}

static size_t text_room(uint32_t len) {
    return (size_t)len * CIRRON_JSON_ESCAPE_BYTES + 2;
}

static size_t name_room(const cirron_batch *batch, uint32_t id, uint32_t len) {
    return id == CIRRON_NAME_INLINE ? text_room(len) : cirron_intern_get(batch->names, id).json_len;
}

/* Room for one more record, and where it starts: behind a comma, but for the first. NULL
 * when there is no memory. */
static char *begin_record(cirron_buffer *out, size_t room) {
    if (cirron_buffer_reserve(out, room) != CIRRON_OK) {
        return NULL;
    }
    char *at = out->data + out->len;
    return out->len != 0 ? PUT(at, ",") : at;
}

static void end_record(cirron_batch *batch, cirron_buffer *out, const char *at) {
    out->len = (size_t)(at - out->data);
    batch->records++;
}

int cirron_batch_add_mark(cirron_batch *batch, const cirron_mark_record *mark, const char *payload,
                          const cirron_id *mark_id) {
    char *at = begin_record(&batch->marks, MARK_FIXED_BYTES +
                                               name_room(batch, mark->name, mark->name_len) +
                                               text_room(mark->value_len) + mark->attrs_len);
    if (at == NULL || reserve_listed(batch) != CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    at = PUT(at, "{\"id\":");
    at = cirron_json_put_id(at, mark_id);
    at = PUT(at, ",\"span_id\":");
    if (cirron_id_is_zero(&mark->span_id)) {
        at = PUT(at, "\"root\"");
    } else {
        at = cirron_json_put_id(at, &mark->span_id);
        list_mark(batch, &mark->span_id, mark_id);
    }
    at = PUT(at, ",\"name\":");
    at = put_name(at, batch, mark->name, mark->name_len, &payload);
    at = PUT(at, ",\"value_type\":");
    at = put_value(at, mark, payload);
    payload += mark->value_len;
    at = PUT(at, ",\"attrs\":");
    at = put_attrs(at, payload, mark->attrs_len);
    at = PUT(at, ",\"ts_ns\":");
    at = cirron_json_put_int(at, mark->ts_ns);
    at = mark->kind == CIRRON_MARK_SUMMARY ? PUT(at, ",\"kind\":\"summary\"}")
                                           : PUT(at, ",\"kind\":\"point\"}");
    end_record(batch, &batch->marks, at);
    return CIRRON_OK;
}

int cirron_batch_add_span(cirron_batch *batch, const cirron_span_record *span,
                          const char *payload) {
    const mark_list *list = batch->list_count != 0 ? find_list(batch, &span->id) : NULL;
    if (list != NULL && list->generation != batch->generation) {
        list = NULL;
    }
    size_t ids_room = list != NULL ? (size_t)list->count * (CIRRON_JSON_ID_BYTES + 1) : 0;
    char *at = begin_record(&batch->spans, SPAN_FIXED_BYTES + ids_room + span->attrs_len +
                                               name_room(batch, span->name, span->name_len));
    if (at == NULL) {
        return CIRRON_NO_MEMORY;
    }
    bool open = (span->flags & CIRRON_SPAN_OPEN) != 0;
    at = PUT(at, "{\"id\":");
    at = cirron_json_put_id(at, &span->id);
    at = PUT(at, ",\"name\":");
    at = put_name(at, batch, span->name, span->name_len, &payload);
    at = PUT(at, ",\"parent_id\":");
    at = (span->flags & CIRRON_SPAN_PARENT) != 0 ? cirron_json_put_id(at, &span->parent_id)
                                                 : PUT(at, "null");
    at = PUT(at, ",\"index\":");
    at = put_int_or_null(at, (span->flags & CIRRON_SPAN_INDEX) != 0, span->index);
    at = PUT(at, ",\"start_ns\":");
    at = cirron_json_put_int(at, span->start_ns);
    at = PUT(at, ",\"end_ns\":");
    at = put_int_or_null(at, !open, span->start_ns + span->duration_ns);
    at = PUT(at, ",\"cpu_ns\":");
    at = put_int_or_null(at, !open && (span->flags & CIRRON_SPAN_CPU) != 0, span->cpu_ns);
    at = PUT(at, ",\"gpu_ns\":");
    at = put_int_or_null(at, (span->flags & CIRRON_SPAN_GPU) != 0, span->gpu_ns);
    at = PUT(at, ",\"memory_peak_bytes\":");
    at = put_int_or_null(at, (span->flags & CIRRON_SPAN_MEMORY) != 0, span->memory_peak_bytes);
    at = PUT(at, ",\"thread_id\":");
    at = cirron_json_put_uint(at, span->thread_id);
    at = PUT(at, ",\"pid\":");
    at = cirron_json_put_int(at, batch->pid);
    at = PUT(at, ",\"rank\":");
    at = cirron_json_put_int(at, batch->rank);
    at = PUT(at, ",\"attrs\":");
    at = put_attrs(at, payload, span->attrs_len);
    at = PUT(at, ",\"mark_ids\":");
    at = put_mark_ids(at, batch, list);
    at = PUT(at, ",\"overhead_ns\":");
    at = cirron_json_put_int(at, span->overhead_ns);
    at = PUT(at, "}");
    end_record(batch, &batch->spans, at);
    return CIRRON_OK;
}

int cirron_batch_add_snapshot(cirron_batch *batch, const char *json, size_t len) {
    char *at = begin_record(&batch->snapshots, len + 1);
    if (at == NULL) {
        return CIRRON_NO_MEMORY;
    }
    end_record(batch, &batch->snapshots, put(at, json, len));
    return CIRRON_OK;
}

int cirron_batch_finish(cirron_batch *batch, const cirron_id *batch_id, int64_t created_ns,
                        cirron_buffer *out) {
    if (cirron_buffer_reserve(out, cirron_batch_size(batch) + 256 + sizeof CIRRON_VERSION) !=
        CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    char *at = out->data + out->len;
    at = PUT(at, "{\"schema_version\":1,\"sdk_version\":\"" CIRRON_VERSION "\",\"batch_id\":");
    at = cirron_json_put_id(at, batch_id);
    at = PUT(at, ",\"created_ns\":");
    at = cirron_json_put_int(at, created_ns);
    at = PUT(at, ",\"spans\":[");
    at = put(at, batch->spans.data, batch->spans.len);
    at = PUT(at, "],\"marks\":[");
    at = put(at, batch->marks.data, batch->marks.len);
    at = PUT(at, "],\"snapshots\":[");
    at = put(at, batch->snapshots.data, batch->snapshots.len);
    at = PUT(at, "]}\n");
    out->len = (size_t)(at - out->data);
    cirron_batch_reset(batch);
    return CIRRON_OK;
}
