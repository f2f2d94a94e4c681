/* The flusher's hot path: room is made once and then written unchecked. Text that needs
 * no escape, nearly all of it, is copied in one run.
 */
#include "core/json_writer.h"

#include <math.h>

#include "core/id.h"
#include "core/number_text.h"

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

static size_t count_plain(const char *text, size_t len) {
    size_t plain = 0;
    while (plain < len && classify((unsigned char)text[plain]) == PLAIN) {
        plain++;
    }
    return plain;
}

/* `plain`: how many bytes at the start need no look. */
static char *put_string(char *at, const char *text, size_t len, size_t plain) {
    static const char replacement[] = "\xEF\xBF\xBD";
    const unsigned char *in = (const unsigned char *)text;
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
    return at;
}

char *cirron_json_put_string(char *at, const char *text, size_t len) {
    return put_string(at, text, len, count_plain(text, len));
}

int cirron_json_string(cirron_buffer *out, const char *text, size_t len) {
    if (len > (SIZE_MAX - 2) / CIRRON_JSON_ESCAPE_BYTES) {
        return CIRRON_NO_MEMORY;
    }
    size_t plain = count_plain(text, len);
    int status = cirron_buffer_reserve(out, plain + (len - plain) * CIRRON_JSON_ESCAPE_BYTES + 2);
    if (status == CIRRON_OK) {
        out->len = (size_t)(put_string(out->data + out->len, text, len, plain) - out->data);
    }
    return status;
}

char *cirron_json_put_double(char *at, double value) {
    if (!isfinite(value)) {
        const char *name = isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
        return stpcpy(at, name);
    }
    size_t len = cirron_double_text(value, at);
    if (memchr(at, '.', len) == NULL && memchr(at, 'e', len) == NULL) {
        memcpy(at + len, ".0", 2);
        len += 2;
    }
    return at + len;
}

int cirron_json_double(cirron_buffer *out, double value) {
    char text[CIRRON_JSON_DOUBLE_BYTES];
    return cirron_buffer_append(out, text, (size_t)(cirron_json_put_double(text, value) - text));
}

/* The two digits of each number below 100. */
static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                            "25262728293031323334353637383940414243444546474849"
                            "50515253545556575859606162636465666768697071727374"
                            "75767778798081828384858687888990919293949596979899";

static void put_pair(char *at, uint32_t value) {
    memcpy(at, pairs + (size_t)value * 2, 2);
}

/* Digits eight at a time: their divisions don't wait for each other. */
static char *put_eight(char *at, uint32_t value) {
    uint32_t high = value / 10000;
    uint32_t low = value % 10000;
    put_pair(at, high / 100);
    put_pair(at + 2, high % 100);
    put_pair(at + 4, low / 100);
    put_pair(at + 6, low % 100);
    return at + 8;
}

/* Without leading zeros. */
static char *put_short(char *at, uint32_t value) {
    if (value >= 100) {
        at = put_short(at, value / 100);
        put_pair(at, value % 100);
        return at + 2;
    }
    if (value >= 10) {
        put_pair(at, value);
        return at + 2;
    }
    *at = (char)('0' + value);
    return at + 1;
}

char *cirron_json_put_uint(char *at, uint64_t value) {
    if (value < 100000000) {
        return put_short(at, (uint32_t)value);
    }
    at = cirron_json_put_uint(at, value / 100000000);
    return put_eight(at, (uint32_t)(value % 100000000));
}

char *cirron_json_put_int(char *at, int64_t value) {
    if (value < 0) {
        *at++ = '-';
        return cirron_json_put_uint(at, -(uint64_t)value);
    }
    return cirron_json_put_uint(at, (uint64_t)value);
}

int cirron_json_int(cirron_buffer *out, int64_t value) {
    char text[CIRRON_JSON_INT_BYTES];
    return cirron_buffer_append(out, text, (size_t)(cirron_json_put_int(text, value) - text));
}

int cirron_json_uint(cirron_buffer *out, uint64_t value) {
    char text[CIRRON_JSON_INT_BYTES];
    return cirron_buffer_append(out, text, (size_t)(cirron_json_put_uint(text, value) - text));
}

char *cirron_json_put_id(char *at, const cirron_id *id) {
    *at++ = '"';
    cirron_id_to_hex(id, at);
    at[32] = '"';
    return at + 33;
}

int cirron_json_id(cirron_buffer *out, const cirron_id *id) {
    char text[CIRRON_JSON_ID_BYTES];
    return cirron_buffer_append(out, text, (size_t)(cirron_json_put_id(text, id) - text));
}
