/* A span is written in two reservations, its attributes and events piece by piece between
 * them. In one document even a span with a million events is cut between two of them.
 *
 * A span that has not ended gets the latest time that was seen below it as its end, since
 * receivers take a missing end for the year 1970, and the attribute cirron.open.
 */
#include "core/otlp_export.h"

#include "core/id.h"
#include "core/json_writer.h"
#include "core/otlp_value.h"
#include "core/span_columns.h"

enum { FIXED_BYTES = 512 };

/* ---- ids */

static bool is_hex(cirron_text text) {
    for (size_t i = 0; i < text.len; i++) {
        char c = (char)(text.data[i] | 0x20);
        if ((unsigned)(text.data[i] - '0') > 9 && (unsigned)(c - 'a') > 5) {
            return false;
        }
    }
    return true;
}

static void read_hex(const char *text, uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < 2 * len; i++) {
        unsigned c = (unsigned char)text[i];
        unsigned digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
        bytes[i / 2] = (uint8_t)((unsigned)bytes[i / 2] << 4 | digit);
    }
}

static bool is_zero(const uint8_t *bytes, size_t len) {
    uint8_t any = 0;
    for (size_t i = 0; i < len; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

cirron_otlp_id cirron_otlp_id_of(cirron_text id, const uint8_t digest[32]) {
    cirron_otlp_id result;
    bool hex = is_hex(id);
    memcpy(result.trace, digest, sizeof(result.trace));
    memcpy(result.span, digest, sizeof(result.span));
    if (hex && id.len >= 2 * sizeof(result.trace)) {
        read_hex(id.data, result.trace, sizeof(result.trace));
    }
    if (hex && id.len >= 2 * sizeof(result.span)) {
        read_hex(id.data, result.span, sizeof(result.span));
    }
    return result;
}

static const cirron_otlp_id *find_odd(const cirron_otlp_export *export, const cirron_id *id) {
    size_t number;
    return cirron_table_is_odd_id(export->base.table, id, &number) ? &export->odd_ids[number]
                                                                   : NULL;
}

/* OTLP forbids ids of zeros alone; the other half of ours stands in, or a one. */
static void span_id_of(const cirron_otlp_export *export, const cirron_id *id, uint8_t span[8]) {
    const cirron_otlp_id *odd = find_odd(export, id);
    memcpy(span, odd == NULL ? id->bytes : odd->span, 8);
    if (is_zero(span, 8)) {
        memcpy(span, odd == NULL ? id->bytes + 8 : odd->trace + 8, 8);
        span[7] |= (uint8_t)is_zero(span, 8);
    }
}

static void trace_id_of(const cirron_otlp_export *export, const cirron_id *id, uint8_t trace[16]) {
    const cirron_otlp_id *odd = find_odd(export, id);
    memcpy(trace, odd == NULL ? id->bytes : odd->trace, 16);
    trace[15] |= (uint8_t)is_zero(trace, 16);
}

static char *put_hex(char *at, const uint8_t *bytes, size_t len) {
    char hex[32];
    cirron_id id = {{0}};
    memcpy(id.bytes, bytes, len);
    cirron_id_to_hex(&id, hex);
    return cirron_export_put(at, hex, 2 * len);
}

/* The trace is the session's. A tree outside of all sessions shares one with the other
 * children of its missing parent. */
static void begin_tree(cirron_otlp_export *export, size_t root, int64_t session) {
    const cirron_table *table = export->base.table;
    const cirron_id *id = cirron_table_id(table, root);
    size_t count;
    const cirron_table_session *sessions = cirron_table_sessions(table, &count);
    if (session >= 0 && sessions[session].row >= 0) {
        id = cirron_table_id(table, (size_t)sessions[session].row);
    } else if (cirron_table_parent_id(table, root) != NULL) {
        id = cirron_table_parent_id(table, root);
    }
    trace_id_of(export, id, export->trace);
}

/* ---- times */

/* Times before 1970 have no form in OTLP. */
static char *put_time(char *at, int64_t ns) {
    *at++ = '"';
    at = cirron_json_put_int(at, ns < 0 ? 0 : ns);
    *at++ = '"';
    return at;
}

static bool is_open(const cirron_table *table, size_t row) {
    return !cirron_table_has(table, CIRRON_COLUMN_END, row);
}

static int64_t max_time(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* The latest time in each span's subtree, from the leaves up, when any span is open. */
static int find_latest(cirron_otlp_export *export) {
    const cirron_export *base = &export->base;
    const cirron_table *table = base->table;
    size_t open = 0;
    for (size_t i = 0; i < base->row_count; i++) {
        open += is_open(table, (size_t)base->rows[i]);
    }
    if (open == 0) {
        return CIRRON_OK;
    }
    int64_t *latest = cirron_malloc(cirron_table_spans(table) * sizeof(*latest));
    if (latest == NULL) {
        return CIRRON_NO_MEMORY;
    }
    const int64_t *starts = cirron_table_ints(table, CIRRON_COLUMN_START);
    const int64_t *ends = cirron_table_ints(table, CIRRON_COLUMN_END);
    const int64_t *parents = cirron_table_ints(table, CIRRON_COLUMN_PARENT_ROW);
    for (size_t i = 0; i < base->row_count; i++) {
        size_t row = (size_t)base->rows[i];
        size_t count;
        const uint32_t *marks = cirron_table_marks_of(table, row, &count);
        latest[row] = is_open(table, row) ? starts[row] : max_time(starts[row], ends[row]);
        if (count != 0) {
            latest[row] = max_time(latest[row], table->marks[marks[count - 1]].ts_ns);
        }
    }
    for (size_t i = base->row_count; i-- > 0;) {
        size_t row = (size_t)base->rows[i];
        if (parents[row] >= 0) {
            size_t parent = (size_t)parents[row];
            latest[parent] = max_time(latest[parent], latest[row]);
        }
    }
    export->latest = latest;
    return CIRRON_OK;
}

/* ---- attributes of a span */

/* Names that the export adds, unless the span has an attribute of that name itself. */
enum added {
    ADDED_INDEX,
    ADDED_RANK,
    ADDED_PID,
    ADDED_OPEN,
    ADDED_INPUT_TOKENS,
    ADDED_OUTPUT_TOKENS,
    ADDED_COUNT
};

static const char *const added_names[ADDED_COUNT] = {
    [ADDED_INDEX] = "cirron.index",
    [ADDED_RANK] = "cirron.rank",
    [ADDED_PID] = "process.pid",
    [ADDED_OPEN] = "cirron.open",
    [ADDED_INPUT_TOKENS] = "gen_ai.usage.input_tokens",
    [ADDED_OUTPUT_TOKENS] = "gen_ai.usage.output_tokens",
};

static bool text_is(cirron_text text, const char *other) {
    return text.len == strlen(other) && memcmp(text.data, other, text.len) == 0;
}

static void put_text(cirron_output *out, cirron_text text) {
    char *at = cirron_export_room(out, text.len * CIRRON_JSON_ESCAPE_BYTES + 2);
    if (at != NULL) {
        cirron_export_wrote(out, cirron_json_put_string(at, text.data, text.len));
    }
}

static void put_key(cirron_output *out, cirron_text name, bool *first) {
    cirron_output_text(out, *first ? "{\"key\":" : ",{\"key\":");
    put_text(out, name);
    cirron_output_text(out, ",\"value\":");
    *first = false;
}

/* One of the names that need no escape, with a number. */
static void put_int_attr(cirron_output *out, const char *name, int64_t value, bool *first) {
    put_key(out, (cirron_text){name, strlen(name)}, first);
    char *at = cirron_export_room(out, 64);
    if (at != NULL) {
        at = cirron_json_put_int(CIRRON_EXPORT_PUT(at, "{\"intValue\":\""), value);
        cirron_export_wrote(out, CIRRON_EXPORT_PUT(at, "\"}}"));
    }
}

static void put_string_attr(cirron_output *out, const char *name, cirron_text value, bool *first) {
    put_key(out, (cirron_text){name, strlen(name)}, first);
    cirron_output_text(out, "{\"stringValue\":");
    put_text(out, value);
    cirron_output_text(out, "}}");
}

/* The summary mark of one of two names that holds a count, the first name before the
 * second, a later mark before an earlier one. */
static bool find_tokens(const cirron_table *table, size_t row, const char *name, const char *other,
                        int64_t *tokens) {
    size_t count;
    const uint32_t *marks = cirron_table_marks_of(table, row, &count);
    bool found = false;
    for (size_t i = count; i-- > 0;) {
        const cirron_mark_row *mark = &table->marks[marks[i]];
        if (mark->kind != CIRRON_MARK_SUMMARY || mark->value_type != CIRRON_VALUE_INT) {
            continue;
        }
        cirron_text text = cirron_table_name_text(table, mark->name);
        if (text_is(text, name)) {
            *tokens = mark->value.as_int;
            return true;
        }
        if (!found && text_is(text, other)) {
            *tokens = mark->value.as_int;
            found = true;
        }
    }
    return found;
}

static void put_added(const cirron_table *table, cirron_output *out, size_t row,
                      const bool taken[ADDED_COUNT], bool *first) {
    static const enum cirron_table_column columns[] = {
        [ADDED_INDEX] = CIRRON_COLUMN_INDEX,
        [ADDED_RANK] = CIRRON_COLUMN_RANK,
        [ADDED_PID] = CIRRON_COLUMN_PID,
    };
    int64_t tokens;
    for (int i = ADDED_INDEX; i <= ADDED_PID; i++) {
        if (!taken[i] && cirron_table_has(table, columns[i], row)) {
            put_int_attr(out, added_names[i], cirron_table_ints(table, columns[i])[row], first);
        }
    }
    if (!taken[ADDED_OPEN] && is_open(table, row)) {
        const char *name = added_names[ADDED_OPEN];
        put_key(out, (cirron_text){name, strlen(name)}, first);
        cirron_output_text(out, "{\"boolValue\":true}}");
    }
    if (!taken[ADDED_INPUT_TOKENS] &&
        find_tokens(table, row, "input_tokens", "prompt_tokens", &tokens)) {
        put_int_attr(out, added_names[ADDED_INPUT_TOKENS], tokens, first);
    }
    if (!taken[ADDED_OUTPUT_TOKENS] &&
        find_tokens(table, row, "output_tokens", "completion_tokens", &tokens)) {
        put_int_attr(out, added_names[ADDED_OUTPUT_TOKENS], tokens, first);
    }
}

/* Puts the members of a JSON object; those named in `without` are left out. */
static int put_members(cirron_otlp_export *export, cirron_output *out, cirron_text json,
                       const char *const without[2], bool *first) {
    size_t count;
    int status = cirron_attrs_read(&export->attrs, json, &count);
    for (size_t i = 0; i < count && status == CIRRON_OK; i++) {
        cirron_text name = cirron_attrs_name(&export->attrs, i);
        if (without != NULL && (text_is(name, without[0]) || text_is(name, without[1]))) {
            continue;
        }
        put_key(out, name, first);
        cirron_otlp_value(out, cirron_attrs_value(&export->attrs, i));
        cirron_output_text(out, "}");
    }
    return status;
}

/* Whether the members read last hold an `error`; null and false are none. */
static bool find_error(cirron_otlp_export *export, size_t count, cirron_text *error) {
    for (size_t i = 0; i < count; i++) {
        if (text_is(cirron_attrs_name(&export->attrs, i), "error")) {
            *error = cirron_attrs_value(&export->attrs, i);
            return !text_is(*error, "null") && !text_is(*error, "false");
        }
    }
    return false;
}

static void put_status(cirron_otlp_export *export, cirron_output *out, size_t count) {
    cirron_text error = {NULL, 0};
    if (!find_error(export, count, &error)) {
        cirron_output_text(out, "],\"status\":{\"code\":0},\"events\":[");
    } else if (*error.data == '"') {
        cirron_output_text(out, "],\"status\":{\"code\":2,\"message\":");
        size_t before = out->text.len;
        cirron_output_put(out, error.data, error.len);
        cirron_export_mend_surrogates(out->text.data + before, out->text.len - before);
        cirron_output_text(out, "},\"events\":[");
    } else {
        cirron_output_text(out, "],\"status\":{\"code\":2},\"events\":[");
    }
}

static void put_attributes(cirron_otlp_export *export, cirron_output *out, size_t row) {
    const cirron_table *table = export->base.table;
    const cirron_text json = cirron_table_attrs(table, row);
    bool taken[ADDED_COUNT] = {false};
    bool first = true;
    size_t count = 0;
    if (json.data != NULL) {
        if (put_members(export, out, json, NULL, &first) != CIRRON_OK) {
            out->status = CIRRON_NO_MEMORY;
            return;
        }
        count = export->attrs.names.count;
        for (size_t i = 0; i < count; i++) {
            for (int j = 0; j < ADDED_COUNT; j++) {
                taken[j] |= text_is(cirron_attrs_name(&export->attrs, i), added_names[j]);
            }
        }
    }
    put_added(table, out, row, taken, &first);
    put_status(export, out, count);
}

/* ---- events */

static void put_event(cirron_otlp_export *export, cirron_output *out, uint32_t number) {
    static const char *const own[2] = {"value", "kind"};
    const cirron_table_mark mark = cirron_table_mark_at(export->base.table, number);
    const char *type = mark.value_type == CIRRON_VALUE_FLOAT  ? "{\"doubleValue\":"
                       : mark.value_type == CIRRON_VALUE_INT  ? "{\"intValue\":"
                       : mark.value_type == CIRRON_VALUE_BOOL ? "{\"boolValue\":"
                                                              : "{\"stringValue\":";
    char *at = cirron_export_room(
        out, (mark.name.len + mark.as_string.len) * CIRRON_JSON_ESCAPE_BYTES + FIXED_BYTES);
    if (at == NULL) {
        return;
    }
    at = put_time(CIRRON_EXPORT_PUT(at, "{\"timeUnixNano\":"), mark.ts_ns);
    at = cirron_json_put_string(CIRRON_EXPORT_PUT(at, ",\"name\":"), mark.name.data, mark.name.len);
    at = CIRRON_EXPORT_PUT(at, ",\"attributes\":[{\"key\":\"value\",\"value\":");
    at = cirron_export_put(at, type, strlen(type));
    if (mark.value_type == CIRRON_VALUE_FLOAT) {
        at = cirron_json_put_double(at, mark.as_float);
    } else if (mark.value_type == CIRRON_VALUE_INT) {
        *at++ = '"';
        at = cirron_json_put_int(at, mark.as_int);
        *at++ = '"';
    } else if (mark.value_type == CIRRON_VALUE_BOOL) {
        at = mark.as_int != 0 ? CIRRON_EXPORT_PUT(at, "true") : CIRRON_EXPORT_PUT(at, "false");
    } else {
        at = cirron_json_put_string(at, mark.as_string.data == NULL ? "" : mark.as_string.data,
                                    mark.as_string.len);
    }
    at = CIRRON_EXPORT_PUT(at, "}},{\"key\":\"kind\",\"value\":{\"stringValue\":");
    at = mark.kind == CIRRON_MARK_SUMMARY ? CIRRON_EXPORT_PUT(at, "\"summary\"}}")
                                          : CIRRON_EXPORT_PUT(at, "\"point\"}}");
    cirron_export_wrote(out, at);
    if (mark.attrs.data != NULL) {
        bool first = false;
        if (put_members(export, out, mark.attrs, own, &first) != CIRRON_OK) {
            out->status = CIRRON_NO_MEMORY;
        }
    }
    cirron_output_put(out, "]}", 2);
}

/* ---- spans */

static void open_span(cirron_otlp_export *export, cirron_output *out, size_t row) {
    const cirron_table *table = export->base.table;
    const cirron_id *parent = cirron_table_parent_id(table, row);
    const cirron_text name = cirron_table_name_text(table, cirron_table_name(table, row));
    uint8_t span[8];
    char *at = cirron_export_room(out, name.len * CIRRON_JSON_ESCAPE_BYTES + FIXED_BYTES);
    if (at == NULL) {
        return;
    }
    at = put_hex(CIRRON_EXPORT_PUT(at, "\n{\"traceId\":\""), export->trace, 16);
    span_id_of(export, cirron_table_id(table, row), span);
    at = put_hex(CIRRON_EXPORT_PUT(at, "\",\"spanId\":\""), span, 8);
    if (parent != NULL) {
        span_id_of(export, parent, span);
        at = put_hex(CIRRON_EXPORT_PUT(at, "\",\"parentSpanId\":\""), span, 8);
    }
    at = cirron_json_put_string(CIRRON_EXPORT_PUT(at, "\",\"name\":"), name.data, name.len);
    at = CIRRON_EXPORT_PUT(at, ",\"kind\":1,\"startTimeUnixNano\":");
    at = put_time(at, cirron_table_ints(table, CIRRON_COLUMN_START)[row]);
    at = put_time(CIRRON_EXPORT_PUT(at, ",\"endTimeUnixNano\":"),
                  is_open(table, row) ? export->latest[row]
                                      : cirron_table_ints(table, CIRRON_COLUMN_END)[row]);
    cirron_export_wrote(out, CIRRON_EXPORT_PUT(at, ",\"attributes\":["));
    put_attributes(export, out, row);
}

static bool is_full(const cirron_otlp_export *export, const cirron_output *out) {
    size_t limit = export->request_bytes != 0 ? export->request_bytes : CIRRON_EXPORT_CHUNK_BYTES;
    return out->text.len >= limit || out->status != CIRRON_OK;
}

/* Writes the events that are left; false when the span goes on in the next piece. */
static bool put_events(cirron_otlp_export *export, cirron_output *out, size_t row) {
    size_t count;
    const uint32_t *marks = cirron_table_marks_of(export->base.table, row, &count);
    while (export->event < count) {
        if (export->request_bytes == 0 && is_full(export, out)) {
            return false;
        }
        if (export->event != 0) {
            cirron_output_put(out, ",", 1);
        }
        put_event(export, out, marks[export->event++]);
    }
    cirron_output_put(out, "]}", 2);
    return true;
}

/* ---- resources and documents */

static void open_group(cirron_otlp_export *export, cirron_output *out, size_t row,
                       int64_t session) {
    const cirron_table *table = export->base.table;
    char hex[32];
    bool first = true;
    cirron_text version = {NULL, 0};
    cirron_text id = cirron_export_session_id(table, row, hex);
    if (session >= 0) {
        size_t count;
        version = cirron_table_sessions(table, &count)[session].sdk_version;
    }
    cirron_output_text(out, "{\"resource\":{\"attributes\":[");
    put_string_attr(out, "service.name", (cirron_text){"cirron", 6}, &first);
    if (version.data != NULL) {
        put_string_attr(out, "sdk.version", version, &first);
    }
    if (id.data != NULL) {
        put_string_attr(out, "cirron.session.id", id, &first);
    }
    cirron_output_text(out, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"cirron\"},\"spans\":[");
    export->group = session;
    export->in_group = true;
}

static void close_group(cirron_otlp_export *export, cirron_output *out) {
    if (export->in_group) {
        cirron_output_text(out, "\n]}]}");
        export->in_group = false;
    }
}

/* Goes to the next span: into its trace, and into its session's resource. */
static void begin_span(cirron_otlp_export *export, cirron_output *out, size_t row) {
    cirron_export *base = &export->base;
    int64_t session = cirron_table_ints(base->table, CIRRON_COLUMN_SESSION)[row];
    if (base->depths[base->row] == 0) {
        begin_tree(export, row, session);
    }
    if (!export->in_document) {
        cirron_output_text(out, "{\"resourceSpans\":[");
        export->in_document = true;
        open_group(export, out, row, session);
    } else if (session != export->group) {
        close_group(export, out);
        cirron_output_put(out, ",", 1);
        open_group(export, out, row, session);
    } else {
        cirron_output_put(out, ",", 1);
    }
    open_span(export, out, row);
    export->event = 0;
    export->in_span = true;
}

int cirron_otlp_export_init(cirron_otlp_export *export, const cirron_table *table, int64_t session,
                            const cirron_otlp_id *odd_ids, size_t request_bytes) {
    *export = (cirron_otlp_export){.odd_ids = odd_ids, .request_bytes = request_bytes};
    cirron_export_init(&export->base, table, session);
    return find_latest(export);
}

void cirron_otlp_export_fini(cirron_otlp_export *export) {
    cirron_export_fini(&export->base);
    cirron_attrs_reader_fini(&export->attrs);
    cirron_free(export->latest);
}

int cirron_otlp_export_next(cirron_otlp_export *export, cirron_output *out) {
    cirron_export *base = &export->base;
    if (base->row_count == 0 && export->request_bytes == 0) {
        cirron_output_text(out, "{\"resourceSpans\":[]}\n");
    }
    while (base->row < base->row_count && !is_full(export, out)) {
        size_t row = (size_t)base->rows[base->row];
        if (!export->in_span) {
            begin_span(export, out, row);
        }
        if (put_events(export, out, row)) {
            export->in_span = false;
            base->row++;
        }
    }
    base->done = base->row;
    base->finished = base->row == base->row_count;
    if (export->in_document && (base->finished || export->request_bytes != 0)) {
        close_group(export, out);
        cirron_output_text(out, "]}\n");
        export->in_document = false;
    }
    return out->status;
}
