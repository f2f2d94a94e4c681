/* A table onto the end of another: columns are copied, and what they refer to by number
 * (names, files, texts, odd ids) is numbered anew.
 */
#include <stdlib.h>

#include "core/span_columns.h"

/* What numbers of the part become in the whole. */
typedef struct renumbering {
    uint32_t *names;   /* owned */
    uint32_t *odd_ids; /* owned */
    uint64_t part_prefix, prefix;
    cirron_text_ref text_shift;
    uint32_t source_shift;
} renumbering;

static int map_texts(cirron_text_dict *dict, const cirron_text_dict *part, uint32_t **numbers) {
    *numbers = cirron_malloc(part->count * sizeof(**numbers));
    int status = *numbers == NULL ? CIRRON_NO_MEMORY : CIRRON_OK;
    for (uint32_t i = 0; i < part->count && status == CIRRON_OK; i++) {
        size_t len;
        const char *text = cirron_text_dict_get(part, i, &len);
        status = cirron_text_dict_add(dict, text, len, &(*numbers)[i]);
    }
    return status;
}

static void move_text(const renumbering *new, cirron_text_ref *ref) {
    *ref += *ref == 0 ? 0 : new->text_shift;
}

static void move_id(const renumbering *new, cirron_id *id) {
    if (cirron_hash_word(id->bytes) == new->part_prefix) {
        uint64_t number = new->odd_ids[cirron_hash_word(id->bytes + 8)];
        memcpy(id->bytes, &new->prefix, sizeof(new->prefix));
        memcpy(id->bytes + 8, &number, sizeof(number));
    }
}

static void append_spans(cirron_table *table, const cirron_table *part, const renumbering *new) {
    cirron_span_array to[CIRRON_SPAN_ARRAYS], from[CIRRON_SPAN_ARRAYS];
    const size_t first = table->span_count;
    cirron_table_span_arrays(table, to);
    cirron_table_span_arrays((cirron_table *)part, from); /* only read */
    for (int i = 0; i < CIRRON_SPAN_ARRAYS && part->span_count != 0; i++) {
        memcpy((char *)*to[i].data + first * to[i].size, *from[i].data,
               part->span_count * to[i].size);
    }
    table->span_count += part->span_count;
    for (size_t row = first; row < table->span_count; row++) {
        table->span_names[row] = new->names[table->span_names[row]];
        table->span_sources[row] += new->source_shift;
        move_text(new, &table->attrs[row]);
    }
    for (size_t row = first; row < table->span_count && part->odd_ids.count != 0; row++) {
        move_id(new, &table->ids[row]);
        move_id(new, &table->parent_ids[row]);
    }
}

static void append_marks(cirron_table *table, const cirron_table *part, const renumbering *new) {
    for (size_t i = 0; i < part->mark_count; i++) {
        cirron_mark_row *row = &table->marks[table->mark_count++];
        *row = part->marks[i];
        row->name = new->names[row->name];
        row->source += new->source_shift;
        move_text(new, &row->attrs);
        if (row->value_type == CIRRON_VALUE_STRING) {
            move_text(new, &row->value.as_string);
        }
        if (part->odd_ids.count != 0) {
            move_id(new, &row->id);
            move_id(new, &row->span_id);
        }
    }
}

static void append_snapshots(cirron_table *table, const cirron_table *part,
                             const renumbering *new) {
    for (size_t i = 0; i < part->snapshot_count; i++) {
        cirron_snapshot_row *row = &table->snapshots[table->snapshot_count++];
        *row = part->snapshots[i];
        row->source += new->source_shift;
        cirron_text_ref *texts[] = {&row->tensor_name, &row->shape,    &row->dtype, &row->mode,
                                    &row->stats,       &row->blob_uri, &row->attrs};
        for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++) {
            move_text(new, texts[j]);
        }
        if (part->odd_ids.count != 0) {
            move_id(new, &row->id);
            move_id(new, &row->span_id);
        }
    }
}

static void append_sources(cirron_table *table, const cirron_table *part, const renumbering *new) {
    for (size_t i = 0; i < part->source_count; i++) {
        cirron_source source = part->sources[i];
        if (source.sdk_version != CIRRON_NO_ROW) {
            source.sdk_version = new->names[source.sdk_version];
        }
        table->sources[table->source_count++] = source;
    }
}

int cirron_table_append(cirron_table *table, const cirron_table *part) {
    renumbering new = {
        .part_prefix = part->odd_prefix,
        .prefix = table->odd_prefix,
        .text_shift = table->heap.len - 1, /* a part's texts begin behind its one byte */
        .source_shift = (uint32_t)table->source_count,
    };
    int status = cirron_table_make_room(table, part);
    if (status == CIRRON_OK) {
        status = map_texts(&table->names, &part->names, &new.names);
    }
    if (status == CIRRON_OK) {
        status = map_texts(&table->odd_ids, &part->odd_ids, &new.odd_ids);
    }
    if (status == CIRRON_OK) {
        status = cirron_buffer_append(&table->heap, part->heap.data + 1, part->heap.len - 1);
    }
    if (status == CIRRON_OK) {
        append_spans(table, part, &new);
        append_marks(table, part, &new);
        append_snapshots(table, part, &new);
        append_sources(table, part, &new);
    }
    cirron_free(new.names);
    cirron_free(new.odd_ids);
    return status;
}

void cirron_table_clear(cirron_table *table) {
    table->span_count = 0;
    table->mark_count = 0;
    table->snapshot_count = 0;
    table->source_count = 0;
    table->heap.len = 1;
    cirron_text_dict_reset(&table->names);
    cirron_text_dict_reset(&table->odd_ids);
}
