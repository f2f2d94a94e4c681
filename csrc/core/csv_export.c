/* A row is written into one reservation, sized for the case that every byte of every text
 * is a quote.
 */
#include "core/csv_export.h"

#include "core/json_writer.h"

static const char header[] =
    "session_id,span_id,parent_id,name,index,start_ns,end_ns,duration_ns,cpu_ns,gpu_ns,"
    "memory_peak_bytes,thread_id,pid,rank,attrs_json\r\n";

enum { NUMBERS = 10, FIXED_BYTES = NUMBERS * (CIRRON_JSON_INT_BYTES + 1) + 16 };

static bool needs_quotes(cirron_text text) {
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '"' || c == ',' || c == '\n' || c == '\r') {
            return true;
        }
    }
    return text.len == 0;
}

/* Takes at most twice the length and 2 bytes. */
static char *put_field(char *at, cirron_text text) {
    if (text.data == NULL) {
        return at;
    }
    if (!needs_quotes(text)) {
        return cirron_export_put(at, text.data, text.len);
    }
    *at++ = '"';
    for (size_t i = 0; i < text.len; i++) {
        *at = '"';
        at += text.data[i] == '"';
        *at++ = text.data[i];
    }
    *at++ = '"';
    return at;
}

static char *put_number(char *at, const cirron_table *table, enum cirron_table_column column,
                        size_t row) {
    *at++ = ',';
    return cirron_table_has(table, column, row)
               ? cirron_json_put_int(at, cirron_table_ints(table, column)[row])
               : at;
}

/* Empty while the span is open, and for times so far apart that no int64 holds it. */
static char *put_duration(char *at, const cirron_table *table, size_t row) {
    int64_t duration;
    *at++ = ',';
    if (!cirron_table_has(table, CIRRON_COLUMN_END, row) ||
        __builtin_sub_overflow(cirron_table_ints(table, CIRRON_COLUMN_END)[row],
                               cirron_table_ints(table, CIRRON_COLUMN_START)[row], &duration)) {
        return at;
    }
    return cirron_json_put_int(at, duration);
}

static void put_row(cirron_export *export, cirron_output *out, size_t row) {
    const cirron_table *table = export->table;
    char session_hex[32], id_hex[32], parent_hex[32];
    const cirron_id *parent = cirron_table_parent_id(table, row);
    const cirron_text session = cirron_export_session_id(table, row, session_hex);
    const cirron_text id = cirron_table_id_text(table, cirron_table_id(table, row), id_hex);
    const cirron_text parent_id =
        parent == NULL ? (cirron_text){NULL, 0} : cirron_table_id_text(table, parent, parent_hex);
    const cirron_text name = cirron_table_name_text(table, cirron_table_name(table, row));
    cirron_output *scratch = &export->scratch;
    scratch->text.len = 0;
    cirron_export_attrs(scratch, cirron_table_attrs(table, row));
    const cirron_text attrs = {scratch->text.data, scratch->text.len};
    char *at = scratch->status != CIRRON_OK
                   ? NULL
                   : cirron_export_room(
                         out, 2 * (session.len + id.len + parent_id.len + name.len + attrs.len) +
                                  FIXED_BYTES);
    if (at == NULL) {
        out->status = CIRRON_NO_MEMORY;
        return;
    }
    at = put_field(at, session);
    *at++ = ',';
    at = put_field(at, id);
    *at++ = ',';
    at = put_field(at, parent_id);
    *at++ = ',';
    at = put_field(at, name);
    at = put_number(at, table, CIRRON_COLUMN_INDEX, row);
    at = put_number(at, table, CIRRON_COLUMN_START, row);
    at = put_number(at, table, CIRRON_COLUMN_END, row);
    at = put_duration(at, table, row);
    at = put_number(at, table, CIRRON_COLUMN_CPU, row);
    at = put_number(at, table, CIRRON_COLUMN_GPU, row);
    at = put_number(at, table, CIRRON_COLUMN_MEMORY, row);
    at = put_number(at, table, CIRRON_COLUMN_THREAD, row);
    at = put_number(at, table, CIRRON_COLUMN_PID, row);
    at = put_number(at, table, CIRRON_COLUMN_RANK, row);
    *at++ = ',';
    at = put_field(at, attrs);
    at = CIRRON_EXPORT_PUT(at, "\r\n");
    cirron_export_wrote(out, at);
}

int cirron_csv_export_next(cirron_export *export, cirron_output *out) {
    if (export->part == 0) {
        export->part = 1;
        cirron_output_put(out, header, sizeof(header) - 1);
    }
    while (export->row < export->row_count && out->text.len < CIRRON_EXPORT_CHUNK_BYTES &&
           out->status == CIRRON_OK) {
        put_row(export, out, (size_t)export->rows[export->row++]);
    }
    export->done = export->row;
    export->finished = export->row == export->row_count;
    return out->status;
}
