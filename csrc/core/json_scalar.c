/* Strings are unescaped where they stand, because the text only gets shorter: reading
 * a file takes no second buffer. Decimals are cut digit by digit, without a double in
 * between, which would cost the last digits of a time in ns.
 */
#include "core/json_scalar.h"

#include <string.h>

static bool has_byte(uint64_t word, uint64_t byte) {
    uint64_t zeros = word ^ (byte * 0x0101010101010101ull);
    return ((zeros - 0x0101010101010101ull) & ~zeros & 0x8080808080808080ull) != 0;
}

/* The first quote or backslash. */
static char *find_special(char *text) {
    for (;; text += 8) {
        uint64_t word;
        memcpy(&word, text, sizeof(word));
        if (has_byte(word, '"') || has_byte(word, '\\')) {
            break;
        }
    }
    while (*text != '"' && *text != '\\') {
        text++;
    }
    return text;
}

static bool read_hex4(const char *text, uint32_t *value) {
    *value = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t c = (unsigned char)text[i];
        uint32_t letter = c | 0x20;
        if (c - '0' <= 9) {
            *value = *value << 4 | (c - '0');
        } else if (letter - 'a' <= 5) {
            *value = *value << 4 | (letter - 'a' + 10);
        } else {
            return false;
        }
    }
    return true;
}

static char *write_utf8(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

/* *in stands behind "\u" and ends up behind the escape, or the pair of them. */
static bool read_unicode(const char **in, uint32_t *code) {
    if (!read_hex4(*in, code)) {
        return false;
    }
    *in += 4;
    if (*code < 0xd800 || *code > 0xdfff) {
        return true;
    }
    uint32_t low;
    if (*code < 0xdc00 && (*in)[0] == '\\' && (*in)[1] == 'u' && read_hex4(*in + 2, &low) &&
        low >= 0xdc00 && low <= 0xdfff) {
        *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
        *in += 6;
    } else {
        *code = 0xfffd;
    }
    return true;
}

bool cirron_json_unescape(char *text, size_t *len) {
    char *out = find_special(text);
    const char *in = out;
    while (*in != '"') {
        if (*in != '\\') {
            *out++ = *in++;
            continue;
        }
        static const char escapes[] = "\"\\/bfnrt";
        static const char meanings[] = "\"\\/\b\f\n\r\t";
        char escape = in[1];
        in += 2;
        if (escape == 'u') {
            uint32_t code;
            if (!read_unicode(&in, &code)) {
                return false;
            }
            out = write_utf8(out, code);
            continue;
        }
        const char *known = memchr(escapes, escape, sizeof(escapes) - 1);
        if (known == NULL) {
            return false;
        }
        *out++ = meanings[known - escapes];
    }
    *len = (size_t)(out - text);
    return true;
}

/* Whether a number that stands in a document ends before this byte. */
static bool ends_number(char c) {
    return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Whether all eight bytes are digits. */
static bool are_digits(uint64_t word) {
    return ((word & 0xf0f0f0f0f0f0f0f0ull) |
            ((word + 0x0606060606060606ull) & 0xf0f0f0f0f0f0f0f0ull) >> 4) == 0x3333333333333333ull;
}

/* The value of eight digits, the first in the lowest byte: pairs, fours, all. */
static uint64_t join_digits(uint64_t word) {
    word = (word & 0x0f0f0f0f0f0f0f0full) * 2561 >> 8;
    word = (word & 0x00ff00ff00ff00ffull) * 6553601 >> 16;
    return (word & 0x0000ffff0000ffffull) * 42949672960001ull >> 32;
}

bool cirron_json_integer(const char *text, int64_t *value) {
    const bool negative = *text == '-';
    const char *first = text + negative;
    const char *at = first;
    uint64_t magnitude = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        if (!are_digits(word)) {
            break;
        }
        magnitude = magnitude * 100000000 + join_digits(word);
        at += sizeof(word);
    }
    for (; (unsigned)(*at - '0') <= 9 && at - first < 19; at++) {
        magnitude = magnitude * 10 + (unsigned)(*at - '0');
    }
    *value = (int64_t)(negative ? 0 - magnitude : magnitude);
    return at != first && ends_number(*at) && (*first != '0' || at - first == 1) &&
           magnitude <= INT64_MAX;
}

static size_t count_digits(const char *text, const char *end) {
    const char *at = text;
    while (at < end && (unsigned)(*at - '0') <= 9) {
        at++;
    }
    return (size_t)(at - text);
}

/* A part of a decimal as runs of digits, so that the point can be moved. */
typedef struct decimal {
    const char *digits;
    size_t digit_count;
    const char *fraction;
    size_t fraction_count;
    int64_t exponent;
    bool negative;
} decimal;

static bool split_decimal(const char *at, const char *end, decimal *parts) {
    parts->negative = at < end && *at == '-';
    at += parts->negative;
    parts->digits = at;
    parts->digit_count = count_digits(at, end);
    at += parts->digit_count;
    if (parts->digit_count == 0 || (parts->digit_count > 1 && parts->digits[0] == '0')) {
        return false;
    }
    if (at < end && *at == '.') {
        parts->fraction = ++at;
        parts->fraction_count = count_digits(at, end);
        at += parts->fraction_count;
        if (parts->fraction_count == 0) {
            return false;
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        bool negative = at < end && *at == '-';
        at += at < end && (*at == '-' || *at == '+');
        size_t count = count_digits(at, end);
        for (size_t i = 0; i < count; i++) {
            if (parts->exponent < INT64_MAX / 16) { /* beyond any length of digits */
                parts->exponent = parts->exponent * 10 + (at[i] - '0');
            }
        }
        parts->exponent = negative ? -parts->exponent : parts->exponent;
        at += count;
        if (count == 0) {
            return false;
        }
    }
    return at == end;
}

bool cirron_json_decimal(const char *text, size_t len, int64_t *value, bool *whole) {
    decimal parts = {0};
    if (!split_decimal(text, text + len, &parts)) {
        return false;
    }
    size_t total = parts.digit_count + parts.fraction_count;
    int64_t integer_digits = (int64_t)parts.digit_count + parts.exponent;
    const uint64_t limit = (uint64_t)INT64_MAX + parts.negative;
    uint64_t magnitude = 0;
    *whole = true;
    for (size_t i = 0; i < total; i++) {
        char c = i < parts.digit_count ? parts.digits[i] : parts.fraction[i - parts.digit_count];
        unsigned digit = (unsigned)(c - '0');
        if ((int64_t)i >= integer_digits) {
            *whole = *whole && digit == 0;
        } else if (magnitude > (limit - digit) / 10) {
            magnitude = limit;
            *whole = false;
            break;
        } else {
            magnitude = magnitude * 10 + digit;
        }
    }
    for (int64_t i = (int64_t)total; i < integer_digits && magnitude != 0; i++) {
        if (magnitude > limit / 10) {
            magnitude = limit;
            *whole = false;
            break;
        }
        magnitude *= 10;
    }
    *value = parts.negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}
