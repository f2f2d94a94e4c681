/* The rows of an export are places of the table's tree, so that a parent comes before its
 * children and a session is one run; nothing is sorted or copied for it.
 */
#include "core/export.h"

#include "core/attrs_reader.h"

void cirron_export_init(cirron_export *export, const cirron_table *table, int64_t session) {
    size_t start = 0;
    size_t count = cirron_table_spans(table);
    if (session >= 0) {
        size_t session_count;
        const cirron_table_session *chosen = cirron_table_sessions(table, &session_count) + session;
        start = chosen->tree_start;
        count = chosen->spans;
    }
    *export = (cirron_export){
        .table = table,
        .session = session,
        .rows = cirron_table_tree_rows(table) + start,
        .depths = cirron_table_tree_depths(table) + start,
        .row_count = count,
        .total = count,
    };
}

void cirron_export_fini(cirron_export *export) {
    cirron_buffer_fini(&export->scratch.text);
}

cirron_text cirron_export_session_id(const cirron_table *table, size_t row, char hex[32]) {
    int64_t number = cirron_table_ints(table, CIRRON_COLUMN_SESSION)[row];
    size_t count;
    if (number < 0) {
        return (cirron_text){NULL, 0};
    }
    const cirron_table_session *session = &cirron_table_sessions(table, &count)[number];
    if (session->row < 0) {
        static const char orphans[] = "(orphan spans)";
        return (cirron_text){orphans, sizeof(orphans) - 1};
    }
    return cirron_table_id_text(table, cirron_table_id(table, (size_t)session->row), hex);
}

/* Of a digit, which the JSON reader has seen to be one. */
static int hex_value(char c) {
    int letter = (c | 0x20) - 'a';
    return letter >= 0 ? letter + 10 : c - '0';
}

/* The code unit of the escape \uXXXX at `text`, or -1 when there is none. */
static int code_unit(const char *text, const char *end) {
    if (end - text < 6 || text[0] != '\\' || text[1] != 'u') {
        return -1;
    }
    return hex_value(text[2]) << 12 | hex_value(text[3]) << 8 | hex_value(text[4]) << 4 |
           hex_value(text[5]);
}

void cirron_export_mend_surrogates(char *json, size_t len) {
    char *end = json + len;
    char *at = json;
    while (at < end && (at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        int unit = code_unit(at, end);
        if (unit < 0xd800 || unit > 0xdfff) {
            at += 2; /* of a longer escape, what follows holds no backslash */
            continue;
        }
        int low = unit < 0xdc00 ? code_unit(at + 6, end) : -1;
        if (low >= 0xdc00 && low <= 0xdfff) {
            at += 12;
        } else {
            memcpy(at, "\\ufffd", 6);
            at += 6;
        }
    }
}

void cirron_export_attrs(cirron_output *out, cirron_text attrs) {
    if (attrs.data == NULL) {
        cirron_output_put(out, "{}", 2);
        return;
    }
    size_t before = out->text.len;
    cirron_attrs_write(out, attrs);
    cirron_export_mend_surrogates(out->text.data + before, out->text.len - before);
}
