/* The reading side: what is in a linked table, row by row or a column at a time. Nothing
 * here changes the table or allocates.
 */
#include "core/id.h"
#include "core/span_columns.h"

cirron_text cirron_table_text(const cirron_table *table, cirron_text_ref ref) {
    cirron_text text = {NULL, 0};
    if (ref != 0) {
        uint32_t len;
        memcpy(&len, table->heap.data + ref, sizeof(len));
        text = (cirron_text){table->heap.data + ref + sizeof(len), len};
    }
    return text;
}

size_t cirron_table_odd_ids(const cirron_table *table) {
    return table->odd_ids.count;
}

cirron_text cirron_table_odd_id_text(const cirron_table *table, size_t number) {
    size_t len;
    const char *text = cirron_text_dict_get(&table->odd_ids, (uint32_t)number, &len);
    return (cirron_text){text, len};
}

bool cirron_table_is_odd_id(const cirron_table *table, const cirron_id *id, size_t *number) {
    *number = cirron_hash_word(id->bytes + 8);
    return cirron_hash_word(id->bytes) == table->odd_prefix && *number < table->odd_ids.count;
}

cirron_text cirron_table_id_text(const cirron_table *table, const cirron_id *id, char hex[32]) {
    size_t number;
    if (cirron_table_is_odd_id(table, id, &number)) {
        return cirron_table_odd_id_text(table, number);
    }
    cirron_id_to_hex(id, hex);
    return (cirron_text){hex, 32};
}

size_t cirron_table_spans(const cirron_table *table) {
    return table->span_count;
}

size_t cirron_table_marks(const cirron_table *table) {
    return table->mark_count;
}

size_t cirron_table_snapshots(const cirron_table *table) {
    return table->snapshot_count;
}

const int64_t *cirron_table_ints(const cirron_table *table, enum cirron_table_column column) {
    return table->ints[column];
}

bool cirron_table_has(const cirron_table *table, enum cirron_table_column column, size_t row) {
    static const uint16_t fields[CIRRON_COLUMN_STORED] = {
        [CIRRON_COLUMN_END] = CIRRON_HAS_END,           [CIRRON_COLUMN_CPU] = CIRRON_HAS_CPU,
        [CIRRON_COLUMN_GPU] = CIRRON_HAS_GPU,           [CIRRON_COLUMN_MEMORY] = CIRRON_HAS_MEMORY,
        [CIRRON_COLUMN_INDEX] = CIRRON_HAS_INDEX,       [CIRRON_COLUMN_THREAD] = CIRRON_HAS_THREAD,
        [CIRRON_COLUMN_PID] = CIRRON_HAS_PID,           [CIRRON_COLUMN_RANK] = CIRRON_HAS_RANK,
        [CIRRON_COLUMN_OVERHEAD] = CIRRON_HAS_OVERHEAD,
    };
    if (column >= CIRRON_COLUMN_STORED) {
        return table->ints[column][row] >= 0;
    }
    return column == CIRRON_COLUMN_START || (table->span_present[row] & fields[column]) != 0;
}

void cirron_table_present(const cirron_table *table, enum cirron_table_column column,
                          uint8_t *present) {
    for (size_t row = 0; row < table->span_count; row++) {
        present[row] = cirron_table_has(table, column, row);
    }
}

const cirron_id *cirron_table_id(const cirron_table *table, size_t row) {
    return &table->ids[row];
}

const cirron_id *cirron_table_parent_id(const cirron_table *table, size_t row) {
    return table->span_present[row] & CIRRON_HAS_PARENT ? &table->parent_ids[row] : NULL;
}

size_t cirron_table_names(const cirron_table *table) {
    return table->names.count;
}

cirron_text cirron_table_name_text(const cirron_table *table, uint32_t name) {
    size_t len;
    const char *text = cirron_text_dict_get(&table->names, name, &len);
    return (cirron_text){text, len};
}

uint32_t cirron_table_name(const cirron_table *table, size_t row) {
    return table->span_names[row];
}

cirron_text cirron_table_attrs(const cirron_table *table, size_t row) {
    return cirron_table_text(table, table->attrs[row]);
}

const uint32_t *cirron_table_marks_of(const cirron_table *table, size_t row, size_t *count) {
    *count = table->mark_starts[row + 1] - table->mark_starts[row];
    return table->mark_order + table->mark_starts[row];
}

cirron_table_mark cirron_table_mark_at(const cirron_table *table, uint32_t mark) {
    const cirron_mark_row *row = &table->marks[mark];
    cirron_table_mark result = {
        .name = cirron_table_name_text(table, row->name),
        .attrs = cirron_table_text(table, row->attrs),
        .ts_ns = row->ts_ns,
        .value_type = row->value_type,
        .kind = row->kind,
    };
    if (row->value_type == CIRRON_VALUE_FLOAT) {
        result.as_float = row->value.as_float;
    } else if (row->value_type == CIRRON_VALUE_STRING) {
        result.as_string = cirron_table_text(table, row->value.as_string);
    } else {
        result.as_int = row->value.as_int;
    }
    return result;
}

cirron_table_snapshot cirron_table_snapshot_at(const cirron_table *table, size_t snapshot) {
    const cirron_snapshot_row *row = &table->snapshots[snapshot];
    return (cirron_table_snapshot){
        .tensor_name = cirron_table_text(table, row->tensor_name),
        .shape = cirron_table_text(table, row->shape),
        .dtype = cirron_table_text(table, row->dtype),
        .mode = cirron_table_text(table, row->mode),
        .stats = cirron_table_text(table, row->stats),
        .blob_uri = cirron_table_text(table, row->blob_uri),
        .attrs = cirron_table_text(table, row->attrs),
        .ts_ns = row->ts_ns,
    };
}

const cirron_id *cirron_table_snapshot_id(const cirron_table *table, size_t snapshot) {
    return &table->snapshots[snapshot].id;
}

const cirron_id *cirron_table_snapshot_span_id(const cirron_table *table, size_t snapshot) {
    return &table->snapshots[snapshot].span_id;
}

int64_t cirron_table_snapshot_row(const cirron_table *table, size_t snapshot) {
    uint32_t row = table->snapshots[snapshot].span_row;
    return row == CIRRON_NO_ROW ? -1 : (int64_t)row;
}

const int32_t *cirron_table_tree_rows(const cirron_table *table) {
    return table->tree_rows;
}

const int32_t *cirron_table_tree_depths(const cirron_table *table) {
    return table->tree_depths;
}

const cirron_table_session *cirron_table_sessions(const cirron_table *table, size_t *count) {
    *count = table->session_count;
    return table->sessions;
}
