/* The columns and what goes into them, row by row. No row has an allocation of its own:
 * columns grow together, texts go to one heap, names to a dictionary. An id of 32
 * lowercase hex digits becomes its 16 bytes; any other becomes the table's random prefix
 * and its number among the odd ones, so that ids compare as 16 bytes everywhere and none
 * can pass for another.
 */
#include "core/span_columns.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "decode_hex8 reads lowest byte first");

cirron_table *cirron_table_new(void) {
    cirron_table *table = cirron_calloc(1, sizeof(*table));
    if (table == NULL) {
        return NULL;
    }
    atomic_init(&table->owners, 1);
    cirron_text_dict_init(&table->names);
    cirron_text_dict_init(&table->odd_ids);
    table->odd_prefix = cirron_hash_seed();
    if (cirron_buffer_append(&table->heap, "", 1) != CIRRON_OK) { /* offset 0 is no text */
        cirron_table_free(table);
        return NULL;
    }
    return table;
}

cirron_table *cirron_table_retain(cirron_table *table) {
    atomic_fetch_add_explicit(&table->owners, 1, memory_order_relaxed);
    return table;
}

void cirron_table_free(cirron_table *table) {
    if (table == NULL || atomic_fetch_sub_explicit(&table->owners, 1, memory_order_acq_rel) != 1) {
        return;
    }
    cirron_span_array arrays[CIRRON_SPAN_ARRAYS];
    cirron_table_span_arrays(table, arrays);
    for (int i = 0; i < CIRRON_SPAN_ARRAYS; i++) {
        cirron_free(*arrays[i].data);
    }
    for (int i = CIRRON_COLUMN_STORED; i < CIRRON_COLUMN_COUNT; i++) {
        cirron_free(table->ints[i]);
    }
    cirron_text_dict_fini(&table->names);
    cirron_text_dict_fini(&table->odd_ids);
    cirron_buffer_fini(&table->heap);
    cirron_free(table->marks);
    cirron_free(table->snapshots);
    cirron_free(table->sources);
    cirron_free(table->duplicate_spans.items);
    cirron_free(table->duplicate_marks.items);
    cirron_free(table->duplicate_snapshots.items);
    cirron_free(table->mark_starts);
    cirron_free(table->mark_order);
    cirron_free(table->tree_rows);
    cirron_free(table->tree_depths);
    cirron_free(table->sessions);
    cirron_free(table);
}

void cirron_table_span_arrays(cirron_table *table, cirron_span_array arrays[CIRRON_SPAN_ARRAYS]) {
    size_t n = 0;
    for (; n < CIRRON_COLUMN_STORED; n++) {
        arrays[n] = (cirron_span_array){(void **)&table->ints[n], sizeof(int64_t)};
    }
    arrays[n++] = (cirron_span_array){(void **)&table->ids, sizeof(*table->ids)};
    arrays[n++] = (cirron_span_array){(void **)&table->parent_ids, sizeof(*table->parent_ids)};
    arrays[n++] = (cirron_span_array){(void **)&table->attrs, sizeof(*table->attrs)};
    arrays[n++] = (cirron_span_array){(void **)&table->span_names, sizeof(*table->span_names)};
    arrays[n++] = (cirron_span_array){(void **)&table->span_sources, sizeof(*table->span_sources)};
    arrays[n++] = (cirron_span_array){(void **)&table->span_present, sizeof(*table->span_present)};
}

/* Room for `need` things of `size` bytes; *cap at least doubles. */
static int grow(void **items, size_t need, size_t *cap, size_t size) {
    if (need <= *cap) {
        return CIRRON_OK;
    }
    size_t larger = *cap * 2 + 64 < need ? need : *cap * 2 + 64;
    void *moved = need <= CIRRON_TABLE_MAX_ROWS ? cirron_realloc(*items, larger * size) : NULL;
    if (moved == NULL) {
        return CIRRON_NO_MEMORY;
    }
    *items = moved;
    *cap = larger;
    return CIRRON_OK;
}

static int grow_spans(cirron_table *table, size_t need) {
    if (need <= table->span_cap) {
        return CIRRON_OK;
    }
    cirron_span_array arrays[CIRRON_SPAN_ARRAYS];
    cirron_table_span_arrays(table, arrays);
    size_t cap = table->span_cap;
    for (int i = 0; i < CIRRON_SPAN_ARRAYS; i++) {
        cap = table->span_cap; /* on failure the columns that did grow are merely long */
        int status = grow(arrays[i].data, need, &cap, arrays[i].size);
        if (status != CIRRON_OK) {
            return status;
        }
    }
    table->span_cap = cap;
    return CIRRON_OK;
}

static int grow_marks(cirron_table *table, size_t need) {
    return grow((void **)&table->marks, need, &table->mark_cap, sizeof(*table->marks));
}

static int grow_snapshots(cirron_table *table, size_t need) {
    return grow((void **)&table->snapshots, need, &table->snapshot_cap, sizeof(*table->snapshots));
}

static int grow_sources(cirron_table *table, size_t need) {
    return grow((void **)&table->sources, need, &table->source_cap, sizeof(*table->sources));
}

int cirron_table_reserve(cirron_table *table, size_t spans, size_t marks) {
    cirron_span_array arrays[CIRRON_SPAN_ARRAYS];
    int status = grow_spans(table, spans);
    if (status == CIRRON_OK) {
        status = grow_marks(table, marks);
    }
    if (status != CIRRON_OK) {
        return status;
    }
    cirron_table_span_arrays(table, arrays);
    for (int i = 0; i < CIRRON_SPAN_ARRAYS; i++) {
        cirron_memory_will_fill(*arrays[i].data, spans * arrays[i].size);
    }
    cirron_memory_will_fill(table->marks, marks * sizeof(*table->marks));
    return CIRRON_OK;
}

int cirron_table_make_room(cirron_table *table, const cirron_table *part) {
    int status = grow_spans(table, table->span_count + part->span_count);
    if (status == CIRRON_OK) {
        status = grow_marks(table, table->mark_count + part->mark_count);
    }
    if (status == CIRRON_OK) {
        status = grow_snapshots(table, table->snapshot_count + part->snapshot_count);
    }
    if (status == CIRRON_OK) {
        status = grow_sources(table, table->source_count + part->source_count);
    }
    return status;
}

/* ---- texts and ids */

static int store_text(cirron_table *table, cirron_text text, cirron_text_ref *ref) {
    *ref = 0;
    if (text.data == NULL) {
        return CIRRON_OK;
    }
    uint32_t len = (uint32_t)text.len;
    if (len != text.len) {
        return CIRRON_NO_MEMORY;
    }
    int status = cirron_buffer_reserve(&table->heap, sizeof(len) + text.len);
    if (status == CIRRON_OK) {
        *ref = table->heap.len;
        (void)cirron_buffer_append(&table->heap, &len, sizeof(len)); /* there is room */
        (void)cirron_buffer_append(&table->heap, text.data, text.len);
    }
    return status;
}

static int store_name(cirron_table *table, cirron_text text, uint32_t *name) {
    return cirron_text_dict_add(&table->names, text.data == NULL ? "" : text.data, text.len, name);
}

/* The value of eight hex digits, one a byte, lowest first; UINT64_MAX when some byte is
 * none. All lanes at once: a spool has two ids a span. */
static uint64_t decode_hex8(uint64_t text) {
    const uint64_t ones = 0x0101010101010101ull;
    uint64_t high = text & (0x80 * ones);
    uint64_t letter = (text & (0x40 * ones)) >> 6; /* 1 where the byte is 0x40 or more */
    uint64_t low = text & (0x0f * ones);
    uint64_t value = low + letter * 9;
    uint64_t upper = text & (0x70 * ones);
    uint64_t expected = (0x30 * ones) + letter * 0x30; /* 0x3_ a digit, 0x6_ a letter */
    uint64_t digit_over = (low + 6 * ones) & (0x10 * ones) & ~(letter << 4); /* 0x3a to 0x3f */
    uint64_t letter_low = (low + 0x0f * ones) & (0x10 * ones);               /* low nibble not 0 */
    uint64_t letter_over = (low + 9 * ones) & (0x10 * ones) & (letter << 4); /* over 6 */
    uint64_t letter_zero = ~letter_low & (letter << 4);
    if ((high | (upper ^ expected) | digit_over | letter_over | letter_zero) != 0) {
        return UINT64_MAX;
    }
    value = (value << 4 | value >> 8) & 0x00ff00ff00ff00ffull;
    value = (value | value >> 8) & 0x0000ffff0000ffffull;
    return (value | value >> 16) & 0xffffffffull;
}

static int read_id(cirron_table *table, cirron_text text, cirron_id *id) {
    if (text.len == 2 * sizeof(id->bytes)) {
        uint64_t bad = 0;
        for (size_t i = 0; i < 4; i++) {
            uint64_t four = decode_hex8(cirron_hash_word(text.data + 8 * i));
            uint32_t bytes = (uint32_t)four;
            memcpy(id->bytes + 4 * i, &bytes, sizeof(bytes));
            bad |= four >> 32;
        }
        if (bad == 0) {
            return CIRRON_OK;
        }
    }
    uint32_t number = 0;
    int status = cirron_text_dict_add(&table->odd_ids, text.data == NULL ? "" : text.data, text.len,
                                      &number);
    uint64_t low = number;
    memcpy(id->bytes, &table->odd_prefix, sizeof(low));
    memcpy(id->bytes + 8, &low, sizeof(low));
    return status;
}

/* ---- adding rows */

int cirron_table_add_span(cirron_table *table, const cirron_table_span *span, uint32_t source) {
    cirron_id id, parent_id;
    bool has_parent = span->parent_id.data != NULL;
    int status = read_id(table, span->id, &id);
    if (status == CIRRON_OK && has_parent) {
        status = read_id(table, span->parent_id, &parent_id);
    }
    if (status != CIRRON_OK) {
        return status;
    }
    return cirron_table_put_span(table, &id, has_parent ? &parent_id : NULL, span, source);
}

int cirron_table_put_span(cirron_table *table, const cirron_id *id, const cirron_id *parent_id,
                          const cirron_table_span *span, uint32_t source) {
    uint32_t name;
    cirron_text_ref attrs;
    int status = grow_spans(table, table->span_count + 1);
    if (status == CIRRON_OK) {
        status = store_name(table, span->name, &name);
    }
    if (status == CIRRON_OK) {
        status = store_text(table, span->attrs, &attrs);
    }
    if (status != CIRRON_OK) {
        return status;
    }
    size_t row = table->span_count++;
    uint32_t present = span->present & ~(uint32_t)CIRRON_HAS_PARENT;
    table->ids[row] = *id;
    table->parent_ids[row] = parent_id == NULL ? (cirron_id){{0}} : *parent_id;
    table->span_present[row] = (uint16_t)(present | (parent_id == NULL ? 0 : CIRRON_HAS_PARENT));
    table->span_names[row] = name;
    table->span_sources[row] = source;
    table->attrs[row] = attrs;
    table->ints[CIRRON_COLUMN_START][row] = span->start_ns;
    table->ints[CIRRON_COLUMN_END][row] = span->end_ns;
    table->ints[CIRRON_COLUMN_CPU][row] = span->cpu_ns;
    table->ints[CIRRON_COLUMN_GPU][row] = span->gpu_ns;
    table->ints[CIRRON_COLUMN_MEMORY][row] = span->memory_peak_bytes;
    table->ints[CIRRON_COLUMN_INDEX][row] = span->index;
    table->ints[CIRRON_COLUMN_THREAD][row] = span->thread_id;
    table->ints[CIRRON_COLUMN_PID][row] = span->pid;
    table->ints[CIRRON_COLUMN_RANK][row] = span->rank;
    table->ints[CIRRON_COLUMN_OVERHEAD][row] = span->overhead_ns;
    return CIRRON_OK;
}

int cirron_table_add_mark(cirron_table *table, const cirron_table_mark *mark, uint32_t source) {
    cirron_id id, span_id;
    int status = read_id(table, mark->id, &id);
    if (status == CIRRON_OK) {
        status = read_id(table, mark->span_id, &span_id);
    }
    if (status != CIRRON_OK) {
        return status;
    }
    return cirron_table_put_mark(table, &id, &span_id, mark, source);
}

int cirron_table_put_mark(cirron_table *table, const cirron_id *id, const cirron_id *span_id,
                          const cirron_table_mark *mark, uint32_t source) {
    cirron_mark_row row = {
        .id = *id,
        .span_id = *span_id,
        .ts_ns = mark->ts_ns,
        .source = source,
        .span_row = CIRRON_NO_ROW,
        .value_type = mark->value_type,
        .kind = mark->kind,
    };
    int status = grow_marks(table, table->mark_count + 1);
    if (status == CIRRON_OK) {
        status = store_name(table, mark->name, &row.name);
    }
    if (status == CIRRON_OK) {
        status = store_text(table, mark->attrs, &row.attrs);
    }
    if (mark->value_type == CIRRON_VALUE_FLOAT) {
        row.value.as_float = mark->as_float;
    } else if (mark->value_type != CIRRON_VALUE_STRING) {
        row.value.as_int = mark->as_int;
    } else if (status == CIRRON_OK) {
        status = store_text(table, mark->as_string, &row.value.as_string);
    }
    if (status == CIRRON_OK) {
        table->marks[table->mark_count++] = row;
    }
    return status;
}

int cirron_table_add_snapshot(cirron_table *table, const cirron_table_snapshot *snapshot,
                              uint32_t source) {
    cirron_snapshot_row row = {
        .ts_ns = snapshot->ts_ns, .source = source, .span_row = CIRRON_NO_ROW};
    const struct {
        cirron_text text;
        cirron_text_ref *ref;
    } texts[] = {
        {snapshot->tensor_name, &row.tensor_name},
        {snapshot->shape, &row.shape},
        {snapshot->dtype, &row.dtype},
        {snapshot->mode, &row.mode},
        {snapshot->stats, &row.stats},
        {snapshot->blob_uri, &row.blob_uri},
        {snapshot->attrs, &row.attrs},
    };
    int status = grow_snapshots(table, table->snapshot_count + 1);
    if (status == CIRRON_OK) {
        status = read_id(table, snapshot->id, &row.id);
    }
    if (status == CIRRON_OK) {
        status = read_id(table, snapshot->span_id, &row.span_id);
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && status == CIRRON_OK; i++) {
        status = store_text(table, texts[i].text, texts[i].ref);
    }
    if (status == CIRRON_OK) {
        table->snapshots[table->snapshot_count++] = row;
    }
    return status;
}

int cirron_table_add_source(cirron_table *table, uint64_t bytes, uint32_t *source) {
    int status = grow_sources(table, table->source_count + 1);
    if (status == CIRRON_OK) {
        table->sources[table->source_count++] =
            (cirron_source){.bytes = bytes, .sdk_version = CIRRON_NO_ROW};
        *source = (uint32_t)table->source_count;
    }
    return status;
}

int cirron_table_describe_source(cirron_table *table, uint32_t source, int64_t created_ns,
                                 cirron_text sdk_version) {
    cirron_source *about = &table->sources[source - 1];
    about->created_ns = created_ns;
    return sdk_version.data == NULL ? CIRRON_OK
                                    : store_name(table, sdk_version, &about->sdk_version);
}

cirron_table_savepoint cirron_table_save(const cirron_table *table) {
    return (cirron_table_savepoint){
        .spans = table->span_count,
        .marks = table->mark_count,
        .snapshots = table->snapshot_count,
        .sources = table->source_count,
        .text_bytes = table->heap.len,
    };
}

/* Names and odd ids stay in their dictionaries: nothing refers to them, and the next
 * file may bring them again. */
void cirron_table_rollback(cirron_table *table, const cirron_table_savepoint *savepoint) {
    table->span_count = savepoint->spans;
    table->mark_count = savepoint->marks;
    table->snapshot_count = savepoint->snapshots;
    table->source_count = savepoint->sources;
    table->heap.len = savepoint->text_bytes;
}
