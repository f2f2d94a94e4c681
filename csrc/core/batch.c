/* Two sections grow side by side, spans and marks, and are joined when the batch ends.
 * Each record's fixed parts are counted first, so that a record is one reservation and a
 * failure leaves nothing behind.
 */
#include "core/batch.h"

#include <stdbool.h>

#include "core/id.h"
#include "core/json_writer.h"

enum {
    MAX_MARK_IDS = 1024,       /* that a span lists */
    SPAN_FIXED_BYTES = 700,    /* keys, ids and numbers of a span, at most */
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
    cirron_free(batch->listed);
    cirron_free(batch->lists);
    cirron_free(batch);
}

void cirron_batch_set_process(cirron_batch *batch, int64_t pid, int64_t rank) {
    batch->pid = pid;
    batch->rank = rank;
}

size_t cirron_batch_size(const cirron_batch *batch) {
    return batch->spans.len + batch->marks.len;
}

size_t cirron_batch_records(const cirron_batch *batch) {
    return batch->records;
}

void cirron_batch_reset(cirron_batch *batch) {
    batch->spans.len = 0;
    batch->marks.len = 0;
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

/* ---- writing; the caller has reserved, so appends can't fail */

#define PUT(out, text) ((void)cirron_buffer_append(out, text, sizeof(text) - 1))

static void put_int_or_null(cirron_buffer *out, bool present, int64_t value) {
    if (present) {
        (void)cirron_json_int(out, value);
    } else {
        PUT(out, "null");
    }
}

static void put_attrs(cirron_buffer *out, const char *attrs, uint32_t len) {
    if (len != 0) {
        (void)cirron_buffer_append(out, attrs, len);
    } else {
        PUT(out, "{}");
    }
}

static void put_mark_ids(cirron_buffer *out, const cirron_batch *batch, const mark_list *list) {
    PUT(out, "[");
    for (uint32_t at = list != NULL ? list->first : NIL; at != NIL; at = batch->listed[at].next) {
        (void)cirron_json_id(out, &batch->listed[at].id);
        if (batch->listed[at].next != NIL) {
            PUT(out, ",");
        }
    }
    PUT(out, "]");
}

/* The name as JSON: kept ready for interned ones. `payload` moves past an inline name. */
static int put_name(cirron_buffer *out, const cirron_batch *batch, uint32_t id, uint32_t len,
                    const char **payload) {
    if (id == CIRRON_NAME_INLINE) {
        const char *text = *payload;
        *payload += len;
        return cirron_json_string(out, text, len);
    }
    cirron_name name = cirron_intern_get(batch->names, id);
    return cirron_buffer_append(out, name.json, name.json_len);
}

static int put_value(cirron_buffer *out, const cirron_mark_record *mark, const char *text) {
    switch (mark->value_type) {
    case CIRRON_VALUE_FLOAT:
        PUT(out, "\"float\",\"value\":");
        return cirron_json_double(out, mark->value.as_float);
    case CIRRON_VALUE_INT:
        PUT(out, "\"int\",\"value\":");
        return cirron_json_int(out, mark->value.as_int);
    case CIRRON_VALUE_STRING:
        PUT(out, "\"string\",\"value\":");
        return cirron_json_string(out, text, mark->value_len);
    default:
        PUT(out, "\"bool\",\"value\":");
        return mark->value.as_int ? cirron_buffer_append(out, "true", 4)
                                  : cirron_buffer_append(out, "false", 5);
    }
}

/* A name or string value is at most six times as long as JSON. */
static size_t text_room(uint32_t len) {
    return (size_t)len * 6 + 2;
}

int cirron_batch_add_mark(cirron_batch *batch, const cirron_mark_record *mark, const char *payload,
                          const cirron_id *mark_id) {
    cirron_buffer *out = &batch->marks;
    size_t name_room = mark->name == CIRRON_NAME_INLINE
                           ? text_room(mark->name_len)
                           : cirron_intern_get(batch->names, mark->name).json_len;
    if (cirron_buffer_reserve(out, MARK_FIXED_BYTES + name_room + text_room(mark->value_len) +
                                       mark->attrs_len) != CIRRON_OK ||
        reserve_listed(batch) != CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    if (out->len != 0) {
        PUT(out, ",");
    }
    PUT(out, "{\"id\":");
    (void)cirron_json_id(out, mark_id);
    PUT(out, ",\"span_id\":");
    if (cirron_id_is_zero(&mark->span_id)) {
        PUT(out, "\"root\"");
    } else {
        (void)cirron_json_id(out, &mark->span_id);
        list_mark(batch, &mark->span_id, mark_id);
    }
    PUT(out, ",\"name\":");
    (void)put_name(out, batch, mark->name, mark->name_len, &payload);
    PUT(out, ",\"value_type\":");
    (void)put_value(out, mark, payload);
    payload += mark->value_len;
    PUT(out, ",\"attrs\":");
    put_attrs(out, payload, mark->attrs_len);
    PUT(out, ",\"ts_ns\":");
    (void)cirron_json_int(out, mark->ts_ns);
    if (mark->kind == CIRRON_MARK_SUMMARY) {
        PUT(out, ",\"kind\":\"summary\"}");
    } else {
        PUT(out, ",\"kind\":\"point\"}");
    }
    batch->records++;
    return CIRRON_OK;
}

int cirron_batch_add_span(cirron_batch *batch, const cirron_span_record *span,
                          const char *payload) {
    cirron_buffer *out = &batch->spans;
    const mark_list *list = batch->list_count != 0 ? find_list(batch, &span->id) : NULL;
    if (list != NULL && list->generation != batch->generation) {
        list = NULL;
    }
    size_t name_room = span->name == CIRRON_NAME_INLINE
                           ? text_room(span->name_len)
                           : cirron_intern_get(batch->names, span->name).json_len;
    size_t ids_room = list != NULL ? (size_t)list->count * 35 : 0;
    if (cirron_buffer_reserve(out, SPAN_FIXED_BYTES + name_room + ids_room + span->attrs_len) !=
        CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    bool open = (span->flags & CIRRON_SPAN_OPEN) != 0;
    if (out->len != 0) {
        PUT(out, ",");
    }
    PUT(out, "{\"id\":");
    (void)cirron_json_id(out, &span->id);
    PUT(out, ",\"name\":");
    (void)put_name(out, batch, span->name, span->name_len, &payload);
    PUT(out, ",\"parent_id\":");
    if ((span->flags & CIRRON_SPAN_PARENT) != 0) {
        (void)cirron_json_id(out, &span->parent_id);
    } else {
        PUT(out, "null");
    }
    PUT(out, ",\"index\":");
    put_int_or_null(out, (span->flags & CIRRON_SPAN_INDEX) != 0, span->index);
    PUT(out, ",\"start_ns\":");
    (void)cirron_json_int(out, span->start_ns);
    PUT(out, ",\"end_ns\":");
    put_int_or_null(out, !open, span->start_ns + span->duration_ns);
    PUT(out, ",\"cpu_ns\":");
    put_int_or_null(out, !open && (span->flags & CIRRON_SPAN_CPU) != 0, span->cpu_ns);
    PUT(out, ",\"gpu_ns\":");
    put_int_or_null(out, (span->flags & CIRRON_SPAN_GPU) != 0, span->gpu_ns);
    PUT(out, ",\"memory_peak_bytes\":");
    put_int_or_null(out, (span->flags & CIRRON_SPAN_MEMORY) != 0, span->memory_peak_bytes);
    PUT(out, ",\"thread_id\":");
    (void)cirron_json_uint(out, span->thread_id);
    PUT(out, ",\"pid\":");
    (void)cirron_json_int(out, batch->pid);
    PUT(out, ",\"rank\":");
    (void)cirron_json_int(out, batch->rank);
    PUT(out, ",\"attrs\":");
    put_attrs(out, payload, span->attrs_len);
    PUT(out, ",\"mark_ids\":");
    put_mark_ids(out, batch, list);
    PUT(out, ",\"overhead_ns\":");
    (void)cirron_json_int(out, span->overhead_ns);
    PUT(out, "}");
    batch->records++;
    return CIRRON_OK;
}

int cirron_batch_finish(cirron_batch *batch, const cirron_id *batch_id, int64_t created_ns,
                        cirron_buffer *out) {
    if (cirron_buffer_reserve(out, cirron_batch_size(batch) + 256 + sizeof CIRRON_VERSION) !=
        CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    PUT(out, "{\"schema_version\":1,\"sdk_version\":\"" CIRRON_VERSION "\",\"batch_id\":");
    (void)cirron_json_id(out, batch_id);
    PUT(out, ",\"created_ns\":");
    (void)cirron_json_int(out, created_ns);
    PUT(out, ",\"spans\":[");
    (void)cirron_buffer_append(out, batch->spans.data, batch->spans.len);
    PUT(out, "],\"marks\":[");
    (void)cirron_buffer_append(out, batch->marks.data, batch->marks.len);
    PUT(out, "],\"snapshots\":[]}\n");
    cirron_batch_reset(batch);
    return CIRRON_OK;
}
