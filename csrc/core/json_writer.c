/* The flusher's hot path: each writer reserves once and then writes unchecked. Text that
 * needs no escape, nearly all of it, is copied in one run.
 */
#include "core/json_writer.h"

#include <math.h>
#include <stdbool.h>

#include "core/id.h"
#include "core/number_text.h"

enum { LONGEST_INTEGER = 20, LONGEST_ESCAPE = 6 };

/* What a byte is inside a JSON string. */
enum byte_class { PLAIN = 0, ESCAPED, MULTIBYTE };

static enum byte_class classify(unsigned char byte) {
    if (byte >= 0x80) {
        return MULTIBYTE;
    }
    return byte < 0x20 || byte == '"' || byte == '\\' ? ESCAPED : PLAIN;
}

/* Bytes of the valid UTF-8 sequence at `text`, or 0 (RFC 3629: no overlong form, no
 * surrogate, nothing above U+10FFFF). */
static size_t sequence_length(const unsigned char *text, size_t len) {
    unsigned char lead = text[0];
    size_t need = lead >= 0xC2 && lead <= 0xDF   ? 2
                  : lead >= 0xE0 && lead <= 0xEF ? 3
                  : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                 : 0;
    if (need == 0 || len < need) {
        return 0;
    }
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (text[1] < low || text[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < need; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return need;
}

static char *write_escape(char *out, unsigned char byte) {
    static const char digits[] = "0123456789abcdef";
    static const char letters[] = "btn?fr"; /* 0x08 to 0x0D */
    *out++ = '\\';
    if (byte == '"' || byte == '\\') {
        *out++ = (char)byte;
    } else if (byte >= 0x08 && byte <= 0x0D && byte != 0x0B) {
        *out++ = letters[byte - 0x08];
    } else {
        memcpy(out, "u00", 3);
        out[3] = digits[byte >> 4];
        out[4] = digits[byte & 15];
        out += 5;
    }
    return out;
}

int cirron_json_string(cirron_buffer *out, const char *text, size_t len) {
    static const char replacement[] = "\xEF\xBF\xBD";
    if (len > (SIZE_MAX - 2) / LONGEST_ESCAPE) {
        return CIRRON_NO_MEMORY;
    }
    int status = cirron_buffer_reserve(out, len + 2);
    if (status != CIRRON_OK) {
        return status;
    }
    const unsigned char *in = (const unsigned char *)text;
    size_t start = out->len;
    size_t plain = 0;
    while (plain < len && classify(in[plain]) == PLAIN) {
        plain++;
    }
    if (plain < len) { /* the rare text that may grow */
        status = cirron_buffer_reserve(out, plain + (len - plain) * LONGEST_ESCAPE + 2);
        if (status != CIRRON_OK) {
            return status;
        }
    }
    char *at = out->data + start;
    *at++ = '"';
    if (plain != 0) {
        memcpy(at, in, plain);
        at += plain;
    }
    for (size_t i = plain; i < len;) {
        enum byte_class class = classify(in[i]);
        size_t sequence = class == MULTIBYTE ? sequence_length(in + i, len - i) : 1;
        if (class == ESCAPED) {
            at = write_escape(at, in[i]);
        } else if (sequence == 0) {
            memcpy(at, replacement, 3);
            at += 3;
            sequence = 1;
        } else {
            memcpy(at, in + i, sequence);
            at += sequence;
        }
        i += sequence;
    }
    *at++ = '"';
    out->len = (size_t)(at - out->data);
    return CIRRON_OK;
}

int cirron_json_double(cirron_buffer *out, double value) {
    if (isnan(value)) {
        return cirron_buffer_append(out, "\"NaN\"", 5);
    }
    if (isinf(value)) {
        return value > 0 ? cirron_buffer_append(out, "\"Infinity\"", 10)
                         : cirron_buffer_append(out, "\"-Infinity\"", 11);
    }
    char text[CIRRON_DOUBLE_TEXT_BYTES + 2];
    size_t len = cirron_double_text(value, text);
    if (memchr(text, '.', len) == NULL && memchr(text, 'e', len) == NULL) {
        memcpy(text + len, ".0", 2);
        len += 2;
    }
    return cirron_buffer_append(out, text, len);
}

static int append_digits(cirron_buffer *out, uint64_t value, bool negative) {
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233"
                                "34353637383940414243444546474849505152535455565758596061626364656667"
                                "6869707172737475767778798081828384858687888990919293949596979899";
    char text[LONGEST_INTEGER + 1];
    char *end = text + sizeof text;
    char *at = end;
    while (value >= 100) {
        at -= 2;
        memcpy(at, pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(at, pairs + value * 2, 2);
    } else {
        *--at = (char)('0' + value);
    }
    if (negative) {
        *--at = '-';
    }
    return cirron_buffer_append(out, at, (size_t)(end - at));
}

int cirron_json_int(cirron_buffer *out, int64_t value) {
    return append_digits(out, value < 0 ? -(uint64_t)value : (uint64_t)value, value < 0);
}

int cirron_json_uint(cirron_buffer *out, uint64_t value) {
    return append_digits(out, value, false);
}

int cirron_json_id(cirron_buffer *out, const cirron_id *id) {
    char text[34];
    text[0] = '"';
    cirron_id_to_hex(id, text + 1);
    text[33] = '"';
    return cirron_buffer_append(out, text, sizeof text);
}
