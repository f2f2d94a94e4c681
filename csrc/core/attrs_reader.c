/* A JSON scanner without recursion. Where an array or an object ends is a bit a level, so
 * that a bomb of brackets costs no stack; a thousand levels are where Python gives up too.
 */
#include "core/attrs_reader.h"

#include "core/display.h"
#include "core/number_text.h"
#include "core/utf8.h"

enum { MAX_LEVELS = 960 };

typedef struct scanner {
    const char *at, *end;
    cirron_output *out; /* NULL: only looked at */
    size_t level;
    bool is_object[MAX_LEVELS];
} scanner;

static void emit(const scanner *scan, const char *bytes, size_t len) {
    if (scan->out != NULL) {
        cirron_output_put(scan->out, bytes, len);
    }
}

static void skip_space(scanner *scan) {
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t')) {
        scan->at++;
    }
}

static bool is_next(const scanner *scan, char byte) {
    return scan->at < scan->end && *scan->at == byte;
}

/* ---- scalars */

static void put_code(cirron_output *out, uint32_t code) {
    static const char digits[] = "0123456789abcdef";
    if (code >= 0x10000) {
        put_code(out, 0xd800 + ((code - 0x10000) >> 10));
        code = 0xdc00 + ((code - 0x10000) & 0x3ff);
    }
    char text[6] = {'\\',
                    'u',
                    digits[code >> 12 & 15],
                    digits[code >> 8 & 15],
                    digits[code >> 4 & 15],
                    digits[code & 15]};
    cirron_output_put(out, text, sizeof(text));
}

static bool read_hex4(const char *text, const char *end, uint32_t *code) {
    *code = 0;
    for (int i = 0; i < 4; i++) {
        if (text + i >= end) {
            return false;
        }
        unsigned digit = (unsigned)(text[i] - '0');
        unsigned letter = (unsigned)((text[i] | 0x20) - 'a');
        if (digit > 9 && letter > 5) {
            return false;
        }
        *code = *code << 4 | (digit <= 9 ? digit : letter + 10);
    }
    return true;
}

static bool scan_escape(scanner *scan) {
    uint32_t code;
    if (scan->at + 1 >= scan->end) {
        return false;
    }
    if (scan->at[1] == 'u') {
        if (!read_hex4(scan->at + 2, scan->end, &code)) {
            return false;
        }
        scan->at += 6;
        return true;
    }
    if (memchr("\"\\/bfnrt", scan->at[1], 8) == NULL) {
        return false;
    }
    scan->at += 2;
    return true;
}

static bool scan_string(scanner *scan) {
    const char *plain = scan->at++;
    while (scan->at < scan->end && *scan->at != '"') {
        unsigned char byte = (unsigned char)*scan->at;
        if (byte < 0x20) {
            return false;
        }
        if (byte == '\\') {
            if (!scan_escape(scan)) {
                return false;
            }
        } else if (byte < 0x80) {
            scan->at++;
        } else {
            uint32_t code;
            size_t len = cirron_utf8_decode(scan->at, (size_t)(scan->end - scan->at), &code);
            if (scan->out != NULL) {
                emit(scan, plain, (size_t)(scan->at - plain));
                put_code(scan->out, code);
                plain = scan->at + len;
            }
            scan->at += len;
        }
    }
    if (scan->at == scan->end) {
        return false;
    }
    scan->at++;
    emit(scan, plain, (size_t)(scan->at - plain));
    return true;
}

static size_t skip_digits(scanner *scan) {
    const char *first = scan->at;
    while (scan->at < scan->end && (unsigned)(*scan->at - '0') <= 9) {
        scan->at++;
    }
    return (size_t)(scan->at - first);
}

static bool scan_number(scanner *scan) {
    const char *first = scan->at;
    scan->at += is_next(scan, '-');
    const char *digits = scan->at;
    size_t count = skip_digits(scan);
    if (count == 0 || (count > 1 && *digits == '0')) {
        return false;
    }
    if (is_next(scan, '.')) {
        scan->at++;
        if (skip_digits(scan) == 0) {
            return false;
        }
    }
    if (is_next(scan, 'e') || is_next(scan, 'E')) {
        scan->at++;
        scan->at += is_next(scan, '-') || is_next(scan, '+');
        if (skip_digits(scan) == 0) {
            return false;
        }
    }
    emit(scan, first, (size_t)(scan->at - first));
    return true;
}

static bool scan_scalar(scanner *scan) {
    static const struct {
        const char *word, *strict;
    } words[] = {
        {"true", "true"},   {"false", "false"},           {"null", "null"},
        {"NaN", "\"NaN\""}, {"Infinity", "\"Infinity\""}, {"-Infinity", "\"-Infinity\""},
    };
    if (is_next(scan, '"')) {
        return scan_string(scan);
    }
    size_t left = (size_t)(scan->end - scan->at);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t len = strlen(words[i].word);
        if (len <= left && memcmp(scan->at, words[i].word, len) == 0) {
            emit(scan, words[i].strict, strlen(words[i].strict));
            scan->at += len;
            return true;
        }
    }
    return scan_number(scan);
}

/* ---- structure */

/* A name and its colon; a value follows. */
static bool scan_name(scanner *scan) {
    skip_space(scan);
    if (!is_next(scan, '"') || !scan_string(scan)) {
        return false;
    }
    skip_space(scan);
    if (!is_next(scan, ':')) {
        return false;
    }
    scan->at++;
    emit(scan, ": ", 2);
    return true;
}

/* What follows a value: the ends of what it closes, then a comma or nothing. */
static bool scan_ends(scanner *scan) {
    while (scan->level > 0) {
        bool object = scan->is_object[scan->level - 1];
        skip_space(scan);
        if (is_next(scan, ',')) {
            scan->at++;
            emit(scan, ", ", 2);
            return !object || scan_name(scan);
        }
        if (!is_next(scan, object ? '}' : ']')) {
            return false;
        }
        emit(scan, scan->at++, 1);
        scan->level--;
    }
    return true;
}

/* One value, whatever is in it. */
static bool scan_value(scanner *scan) {
    do {
        skip_space(scan);
        bool object = is_next(scan, '{');
        if (object || is_next(scan, '[')) {
            if (scan->level == MAX_LEVELS) {
                return false;
            }
            scan->is_object[scan->level++] = object;
            emit(scan, scan->at++, 1);
            skip_space(scan);
            if (!is_next(scan, object ? '}' : ']')) {
                if (object && !scan_name(scan)) {
                    return false;
                }
                continue;
            }
        } else if (!scan_scalar(scan)) {
            return false;
        }
        if (!scan_ends(scan)) {
            return false;
        }
    } while (scan->level > 0);
    return true;
}

/* An absent text is an empty one. */
static void begin_scan(scanner *scan, cirron_text json, cirron_output *out) {
    scan->at = json.data != NULL ? json.data : "";
    scan->end = scan->at + json.len;
    scan->out = out;
    scan->level = 0;
}

/* Whether the whole text is one object; writes it where there is an output. */
static bool scan_object(cirron_text json, cirron_output *out) {
    scanner scan;
    begin_scan(&scan, json, out);
    skip_space(&scan);
    if (!is_next(&scan, '{') || !scan_value(&scan)) {
        return false;
    }
    skip_space(&scan);
    return scan.at == scan.end;
}

void cirron_attrs_write(cirron_output *out, cirron_text json) {
    size_t before = out->text.len;
    if (!scan_object(json, out)) {
        out->text.len = before;
        cirron_output_put(out, "{}", 2);
    }
}

void cirron_attrs_write_value(cirron_output *out, cirron_text json) {
    size_t before = out->text.len;
    scanner scan;
    begin_scan(&scan, json, out);
    bool whole = scan_value(&scan);
    if (whole) {
        skip_space(&scan);
        whole = scan.at == scan.end;
    }
    if (!whole) {
        out->text.len = before;
        cirron_output_put(out, "null", 4);
    }
}

void cirron_ascii_json_string(cirron_output *out, const char *text, size_t len) {
    size_t plain = 0;
    cirron_output_put(out, "\"", 1);
    for (size_t at = 0; at < len;) {
        unsigned char byte = (unsigned char)text[at];
        if (byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\') {
            at++;
            continue;
        }
        uint32_t code;
        size_t length = cirron_utf8_decode(text + at, len - at, &code);
        cirron_output_put(out, text + plain, at - plain);
        if (byte == '"' || byte == '\\') {
            char escape[2] = {'\\', (char)byte};
            cirron_output_put(out, escape, sizeof(escape));
        } else {
            put_code(out, code);
        }
        at += length;
        plain = at;
    }
    cirron_output_put(out, text + plain, len - plain);
    cirron_output_put(out, "\"", 1);
}

/* ---- members */

void cirron_attrs_reader_fini(cirron_attrs_reader *reader) {
    cirron_text_dict_fini(&reader->names);
    cirron_free(reader->values);
    cirron_buffer_fini(&reader->scratch);
    *reader = (cirron_attrs_reader){0};
}

/* The text of a string that was scanned, quotes included; in the scratch buffer when it has
 * escapes. */
static int unescape(cirron_attrs_reader *reader, const char *string, size_t len,
                    cirron_text *text) {
    const char *at = string + 1;
    const char *end = string + len - 1;
    *text = (cirron_text){at, (size_t)(end - at)};
    if (memchr(at, '\\', text->len) == NULL) {
        return CIRRON_OK;
    }
    reader->scratch.len = 0;
    int status = cirron_buffer_reserve(&reader->scratch, text->len);
    if (status != CIRRON_OK) {
        return status;
    }
    char *out = reader->scratch.data;
    while (at < end) {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        static const char escapes[] = "\"\\/bfnrt";
        static const char meanings[] = "\"\\/\b\f\n\r\t";
        uint32_t code, low;
        if (at[1] != 'u') {
            const char *known = memchr(escapes, at[1], sizeof(escapes) - 1);
            *out++ = meanings[known - escapes];
            at += 2;
            continue;
        }
        (void)read_hex4(at + 2, end, &code); /* the scanner has seen it */
        at += 6;
        if (code >= 0xd800 && code <= 0xdbff && end - at >= 6 && at[0] == '\\' && at[1] == 'u' &&
            read_hex4(at + 2, end, &low) && low >= 0xdc00 && low <= 0xdfff) {
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            at += 6;
        }
        out = cirron_utf8_encode(out, code);
    }
    *text = (cirron_text){reader->scratch.data, (size_t)(out - reader->scratch.data)};
    return CIRRON_OK;
}

static int set_value(cirron_attrs_reader *reader, uint32_t member, cirron_text value) {
    if (member >= reader->value_cap) {
        size_t cap = reader->value_cap * 2 + 16;
        cirron_text *values = cirron_realloc(reader->values, cap * sizeof(*values));
        if (values == NULL) {
            return CIRRON_NO_MEMORY;
        }
        reader->values = values;
        reader->value_cap = cap;
    }
    reader->values[member] = value;
    return CIRRON_OK;
}

int cirron_attrs_read(cirron_attrs_reader *reader, cirron_text json, size_t *count) {
    cirron_text_dict_reset(&reader->names);
    *count = 0;
    if (!scan_object(json, NULL)) {
        return CIRRON_OK;
    }
    scanner scan;
    begin_scan(&scan, json, NULL);
    skip_space(&scan);
    scan.at++;
    skip_space(&scan);
    while (!is_next(&scan, '}')) {
        scan.at += is_next(&scan, ',');
        skip_space(&scan);
        const char *string = scan.at;
        cirron_text name;
        uint32_t member = 0;
        (void)scan_string(&scan); /* it was fine before, and so is the rest */
        int status = unescape(reader, string, (size_t)(scan.at - string), &name);
        if (status == CIRRON_OK) {
            status = cirron_text_dict_add(&reader->names, name.data, name.len, &member);
        }
        skip_space(&scan);
        scan.at++;
        skip_space(&scan);
        const char *value = scan.at;
        (void)scan_value(&scan);
        if (status == CIRRON_OK) {
            status = set_value(reader, member, (cirron_text){value, (size_t)(scan.at - value)});
        }
        if (status != CIRRON_OK) {
            return status;
        }
        skip_space(&scan);
    }
    *count = reader->names.count;
    return CIRRON_OK;
}

cirron_text cirron_attrs_name(const cirron_attrs_reader *reader, size_t member) {
    size_t len;
    const char *text = cirron_text_dict_get(&reader->names, (uint32_t)member, &len);
    return (cirron_text){text, len};
}

cirron_text cirron_attrs_value(const cirron_attrs_reader *reader, size_t member) {
    return reader->values[member];
}

bool cirron_attrs_is_nested(cirron_text value) {
    return *value.data == '{' || *value.data == '[';
}

void cirron_attrs_display(cirron_attrs_reader *reader, cirron_output *out, cirron_text value) {
    char first = *value.data;
    if (first == '"') {
        cirron_text text;
        if (unescape(reader, value.data, value.len, &text) != CIRRON_OK) {
            out->status = CIRRON_NO_MEMORY;
            return;
        }
        cirron_display_text(out, text.data, text.len);
    } else if (value.data[value.len - 1] > '9') { /* true, NaN, -Infinity */
        cirron_output_put(out, value.data, value.len);
    } else if (memchr(value.data, '.', value.len) != NULL ||
               memchr(value.data, 'e', value.len) != NULL ||
               memchr(value.data, 'E', value.len) != NULL) {
        cirron_display_double(out, cirron_double_parse(value.data, value.len));
    } else if (value.len == 2 && memcmp(value.data, "-0", 2) == 0) {
        cirron_output_put(out, "0", 1);
    } else {
        cirron_output_put(out, value.data, value.len); /* an integer of any length */
    }
}
