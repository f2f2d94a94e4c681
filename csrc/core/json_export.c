/* The fields stand in the order in which the profiler writes them, which readers guess
 * first. A record's fixed part and its texts are written into one reservation.
 */
#include "core/json_export.h"

#include "core/attrs_reader.h"
#include "core/json_writer.h"
#include "core/span_columns.h"

enum {
    MAX_MARK_IDS = 1024,
    FIXED_BYTES = 768, /* keys, numbers and quotes of any record */
};

/* ---- values */

static size_t room_for(cirron_text text) {
    return text.len * CIRRON_JSON_ESCAPE_BYTES + 2;
}

static char *put_text(char *at, cirron_text text) {
    return text.data == NULL ? CIRRON_EXPORT_PUT(at, "null")
                             : cirron_json_put_string(at, text.data, text.len);
}

/* Ids that are 32 hex digits need no look at each byte. */
static char *put_id(char *at, cirron_text text, const char hex[32]) {
    if (text.data != hex) {
        return put_text(at, text);
    }
    *at++ = '"';
    at = cirron_export_put(at, text.data, 32);
    *at++ = '"';
    return at;
}

static char *put_number(char *at, const cirron_table *table, enum cirron_table_column column,
                        size_t row) {
    return cirron_table_has(table, column, row)
               ? cirron_json_put_int(at, cirron_table_ints(table, column)[row])
               : CIRRON_EXPORT_PUT(at, "null");
}

/* A value as it stood in the file; null where it was malformed. */
static void put_json(cirron_output *out, cirron_text json) {
    size_t before = out->text.len;
    cirron_attrs_write_value(out, json);
    cirron_export_mend_surrogates(out->text.data + before, out->text.len - before);
}

/* ---- spans */

static void put_mark_ids(const cirron_table *table, cirron_output *out, size_t row) {
    size_t count;
    const uint32_t *marks = cirron_table_marks_of(table, row, &count);
    cirron_output_put(out, "[", 1);
    for (size_t i = 0; i < count && i < MAX_MARK_IDS; i++) {
        char hex[32];
        cirron_text id = cirron_table_id_text(table, &table->marks[marks[i]].id, hex);
        char *at = cirron_export_room(out, room_for(id) + 1);
        if (at == NULL) {
            return;
        }
        if (i != 0) {
            *at++ = ',';
        }
        cirron_export_wrote(out, put_id(at, id, hex));
    }
    cirron_output_put(out, "]", 1);
}

static void put_span(const cirron_table *table, cirron_output *out, size_t row) {
    char id_hex[32], parent_hex[32];
    const cirron_id *parent = cirron_table_parent_id(table, row);
    cirron_text id = cirron_table_id_text(table, cirron_table_id(table, row), id_hex);
    cirron_text parent_id = {NULL, 0};
    if (parent != NULL) {
        parent_id = cirron_table_id_text(table, parent, parent_hex);
    }
    cirron_text name = cirron_table_name_text(table, cirron_table_name(table, row));
    char *at =
        cirron_export_room(out, room_for(id) + room_for(parent_id) + room_for(name) + FIXED_BYTES);
    if (at == NULL) {
        return;
    }
    at = put_id(CIRRON_EXPORT_PUT(at, "{\"id\":"), id, id_hex);
    at = put_text(CIRRON_EXPORT_PUT(at, ",\"name\":"), name);
    at = put_id(CIRRON_EXPORT_PUT(at, ",\"parent_id\":"), parent_id, parent_hex);
    at = put_number(CIRRON_EXPORT_PUT(at, ",\"index\":"), table, CIRRON_COLUMN_INDEX, row);
    at = put_number(CIRRON_EXPORT_PUT(at, ",\"start_ns\":"), table, CIRRON_COLUMN_START, row);
    at = put_number(CIRRON_EXPORT_PUT(at, ",\"end_ns\":"), table, CIRRON_COLUMN_END, row);
    at = put_number(CIRRON_EXPORT_PUT(at, ",\"cpu_ns\":"), table, CIRRON_COLUMN_CPU, row);
    at = put_number(CIRRON_EXPORT_PUT(at, ",\"gpu_ns\":"), table, CIRRON_COLUMN_GPU, row);
    at = put_number(CIRRON_EXPORT_PUT(at, ",\"memory_peak_bytes\":"), table, CIRRON_COLUMN_MEMORY,
                    row);
    at = put_number(CIRRON_EXPORT_PUT(at, ",\"thread_id\":"), table, CIRRON_COLUMN_THREAD, row);
    at = put_number(CIRRON_EXPORT_PUT(at, ",\"pid\":"), table, CIRRON_COLUMN_PID, row);
    at = put_number(CIRRON_EXPORT_PUT(at, ",\"rank\":"), table, CIRRON_COLUMN_RANK, row);
    cirron_export_wrote(out, CIRRON_EXPORT_PUT(at, ",\"attrs\":"));
    cirron_export_attrs(out, cirron_table_attrs(table, row));
    cirron_output_text(out, ",\"mark_ids\":");
    put_mark_ids(table, out, row);
    if ((at = cirron_export_room(out, FIXED_BYTES)) != NULL) {
        at = put_number(CIRRON_EXPORT_PUT(at, ",\"overhead_ns\":"), table, CIRRON_COLUMN_OVERHEAD,
                        row);
        *at++ = '}';
        cirron_export_wrote(out, at);
    }
}

/* ---- marks */

static char *put_value(char *at, const cirron_table_mark *mark) {
    switch (mark->value_type) {
    case CIRRON_VALUE_FLOAT:
        return cirron_json_put_double(CIRRON_EXPORT_PUT(at, "\"float\",\"value\":"),
                                      mark->as_float);
    case CIRRON_VALUE_INT:
        return cirron_json_put_int(CIRRON_EXPORT_PUT(at, "\"int\",\"value\":"), mark->as_int);
    case CIRRON_VALUE_BOOL:
        return mark->as_int != 0 ? CIRRON_EXPORT_PUT(at, "\"bool\",\"value\":true")
                                 : CIRRON_EXPORT_PUT(at, "\"bool\",\"value\":false");
    default:
        return cirron_json_put_string(CIRRON_EXPORT_PUT(at, "\"string\",\"value\":"),
                                      mark->as_string.data == NULL ? "" : mark->as_string.data,
                                      mark->as_string.len);
    }
}

static void put_mark(const cirron_table *table, cirron_output *out, size_t number) {
    char id_hex[32], span_hex[32];
    const cirron_table_mark mark = cirron_table_mark_at(table, (uint32_t)number);
    const cirron_mark_row *row = &table->marks[number];
    cirron_text id = cirron_table_id_text(table, &row->id, id_hex);
    cirron_text span_id = cirron_table_id_text(table, &row->span_id, span_hex);
    char *at = cirron_export_room(out, room_for(id) + room_for(span_id) + room_for(mark.name) +
                                           room_for(mark.as_string) + FIXED_BYTES);
    if (at == NULL) {
        return;
    }
    at = put_id(CIRRON_EXPORT_PUT(at, "{\"id\":"), id, id_hex);
    at = put_id(CIRRON_EXPORT_PUT(at, ",\"span_id\":"), span_id, span_hex);
    at = put_text(CIRRON_EXPORT_PUT(at, ",\"name\":"), mark.name);
    at = put_value(CIRRON_EXPORT_PUT(at, ",\"value_type\":"), &mark);
    cirron_export_wrote(out, CIRRON_EXPORT_PUT(at, ",\"attrs\":"));
    cirron_export_attrs(out, mark.attrs);
    if ((at = cirron_export_room(out, FIXED_BYTES)) != NULL) {
        at = cirron_json_put_int(CIRRON_EXPORT_PUT(at, ",\"ts_ns\":"), mark.ts_ns);
        at = mark.kind == CIRRON_MARK_SUMMARY ? CIRRON_EXPORT_PUT(at, ",\"kind\":\"summary\"}")
                                              : CIRRON_EXPORT_PUT(at, ",\"kind\":\"point\"}");
        cirron_export_wrote(out, at);
    }
}

/* ---- snapshots */

static void put_member(cirron_output *out, const char *key, cirron_text text) {
    cirron_output_text(out, key);
    char *at = cirron_export_room(out, room_for(text) + 4);
    if (at != NULL) {
        cirron_export_wrote(out, put_text(at, text));
    }
}

static void put_snapshot(const cirron_table *table, cirron_output *out, size_t number) {
    char id_hex[32], span_hex[32];
    const cirron_table_snapshot snapshot = cirron_table_snapshot_at(table, number);
    put_member(out, "{\"id\":",
               cirron_table_id_text(table, cirron_table_snapshot_id(table, number), id_hex));
    put_member(out, ",\"span_id\":",
               cirron_table_id_text(table, cirron_table_snapshot_span_id(table, number), span_hex));
    put_member(out, ",\"tensor_name\":", snapshot.tensor_name);
    cirron_output_text(out, ",\"shape\":");
    put_json(out, snapshot.shape);
    put_member(out, ",\"dtype\":", snapshot.dtype);
    put_member(out, ",\"mode\":", snapshot.mode);
    cirron_output_text(out, ",\"stats\":");
    put_json(out, snapshot.stats);
    put_member(out, ",\"blob_uri\":", snapshot.blob_uri);
    char *at = cirron_export_room(out, FIXED_BYTES);
    if (at == NULL) {
        return;
    }
    at = cirron_json_put_int(CIRRON_EXPORT_PUT(at, ",\"ts_ns\":"), snapshot.ts_ns);
    cirron_export_wrote(out, CIRRON_EXPORT_PUT(at, ",\"attrs\":"));
    cirron_export_attrs(out, snapshot.attrs);
    cirron_output_put(out, "}", 1);
}

/* ---- the document */

static bool belongs(const cirron_export *export, int64_t span_row) {
    return export->session < 0 ||
           (span_row >= 0 &&
            cirron_table_ints(export->table, CIRRON_COLUMN_SESSION)[span_row] == export->session);
}

static bool mark_belongs(const cirron_export *export, size_t mark) {
    uint32_t row = export->table->marks[mark].span_row;
    return belongs(export, row == CIRRON_NO_ROW ? -1 : (int64_t)row);
}

/* The version is that of the newest session that goes out and has one. */
static void put_head(const cirron_export *export, cirron_output *out) {
    size_t count;
    const cirron_table_session *sessions = cirron_table_sessions(export->table, &count);
    cirron_text version = {NULL, 0};
    for (size_t i = 0; i < count && version.data == NULL; i++) {
        if (export->session < 0 || export->session == (int64_t)i) {
            version = sessions[i].sdk_version;
        }
    }
    put_member(out, "{\"schema_version\":1,\"sdk_version\":", version);
}

/* Before a record: the comma that separates it from the last one, and a new line. */
static void separate(cirron_export *export, cirron_output *out) {
    cirron_output_text(out, export->first ? "\n" : ",\n");
    export->first = false;
    export->done++;
}

void cirron_json_export_init(cirron_export *export, const cirron_table *table, int64_t session) {
    cirron_export_init(export, table, session);
    if (session < 0) {
        export->total += cirron_table_marks(table) + cirron_table_snapshots(table);
    } else {
        size_t count;
        const cirron_table_session *chosen = cirron_table_sessions(table, &count) + session;
        export->total += chosen->marks + chosen->snapshots;
    }
}

/* Whether a record may be written now: there is one left, room for it, and no failure. */
static bool goes_on(size_t next, size_t count, const cirron_output *out) {
    return next < count && out->text.len < CIRRON_EXPORT_CHUNK_BYTES && out->status == CIRRON_OK;
}

/* Ends a list that is through and opens what comes after it. */
static void end_part(cirron_export *export, cirron_output *out, const char *text) {
    cirron_output_text(out, text);
    export->part++;
    export->first = true;
}

int cirron_json_export_next(cirron_export *export, cirron_output *out) {
    enum { HEAD, SPANS, MARKS, SNAPSHOTS };
    const cirron_table *table = export->table;
    const size_t mark_count = cirron_table_marks(table);
    const size_t snapshot_count = cirron_table_snapshots(table);
    if (export->part == HEAD) {
        put_head(export, out);
        end_part(export, out, ",\n\"spans\":[");
    }
    if (export->part == SPANS) {
        while (goes_on(export->row, export->row_count, out)) {
            separate(export, out);
            put_span(table, out, (size_t)export->rows[export->row++]);
        }
        if (export->row == export->row_count) {
            end_part(export, out, "],\n\"marks\":[");
        }
    }
    if (export->part == MARKS) {
        for (; goes_on(export->mark, mark_count, out); export->mark++) {
            if (mark_belongs(export, export->mark)) {
                separate(export, out);
                put_mark(table, out, export->mark);
            }
        }
        if (export->mark == mark_count) {
            end_part(export, out, "],\n\"snapshots\":[");
        }
    }
    if (export->part == SNAPSHOTS) {
        for (; goes_on(export->snapshot, snapshot_count, out); export->snapshot++) {
            if (belongs(export, cirron_table_snapshot_row(table, export->snapshot))) {
                separate(export, out);
                put_snapshot(table, out, export->snapshot);
            }
        }
        if (export->snapshot == snapshot_count) {
            end_part(export, out, "]}\n");
            export->finished = true;
        }
    }
    return out->status;
}
