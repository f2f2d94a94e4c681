/* Durations are cut with integers: a double is looked at only where the decimals stand on
 * the edge, because there the nearest double decides on which side they fall.
 */
#include "core/display.h"

#include <math.h>

#include "core/json_writer.h"
#include "core/number_text.h"
#include "core/utf8.h"

static const uint64_t US = 1000;
static const uint64_t MS = 1000000;
static const uint64_t S = 1000000000;

void cirron_display_int(cirron_output *out, int64_t value) {
    char text[CIRRON_JSON_INT_BYTES];
    cirron_output_put(out, text, (size_t)(cirron_json_put_int(text, value) - text));
}

void cirron_display_uint(cirron_output *out, uint64_t value) {
    char text[CIRRON_JSON_INT_BYTES];
    cirron_output_put(out, text, (size_t)(cirron_json_put_uint(text, value) - text));
}

/* `ns` in units, with one or two decimals. */
static void put_units(cirron_output *out, uint64_t ns, uint64_t unit, int decimals,
                      const char *name) {
    char text[CIRRON_DOUBLE_FIXED_BYTES];
    const uint64_t scale = decimals == 1 ? 10 : 100;
    const uint64_t step = unit / scale; /* what the last decimal is worth */
    const uint64_t rest = ns % step;
    if (rest * 2 == step) {
        size_t len = cirron_double_fixed((double)ns / (double)unit, decimals, text);
        cirron_output_put(out, text, len);
    } else {
        uint64_t steps = ns / step + (rest * 2 > step);
        char *at = cirron_json_put_uint(text, steps / scale);
        *at++ = '.';
        if (decimals == 2) {
            *at++ = (char)('0' + steps % 100 / 10);
        }
        *at++ = (char)('0' + steps % 10);
        cirron_output_put(out, text, (size_t)(at - text));
    }
    cirron_output_text(out, name);
}

static void put_two_digits(cirron_output *out, uint64_t value) {
    char text[2] = {(char)('0' + value / 10), (char)('0' + value % 10)};
    cirron_output_put(out, text, sizeof(text));
}

void cirron_display_duration(cirron_output *out, bool negative, uint64_t ns) {
    if (negative || ns < US) {
        cirron_output_put(out, "-", negative);
        cirron_display_uint(out, ns);
        cirron_output_text(out, "ns");
        return;
    }
    /* Each unit ends where rounding would show the next one: no "1000.0us", no "60.00s". */
    if (ns < MS - 50) {
        put_units(out, ns, US, 1, "us");
        return;
    }
    if (ns < S - 50 * US) {
        put_units(out, ns, MS, 1, "ms");
        return;
    }
    if (ns < 60 * S - 5 * MS) {
        put_units(out, ns, S, 2, "s");
        return;
    }
    uint64_t tenths = ns / (100 * MS) + (ns % (100 * MS) >= 50 * MS);
    uint64_t minutes = tenths / 600;
    if (minutes >= 60) {
        cirron_display_uint(out, minutes / 60);
        cirron_output_put(out, "h", 1);
        put_two_digits(out, minutes % 60);
    } else {
        cirron_display_uint(out, minutes);
    }
    cirron_output_put(out, "m", 1);
    put_two_digits(out, tenths % 600 / 10);
    char last[3] = {'.', (char)('0' + tenths % 10), 's'};
    cirron_output_put(out, last, sizeof(last));
}

void cirron_display_interval(cirron_output *out, int64_t start_ns, int64_t end_ns) {
    bool negative = end_ns < start_ns;
    uint64_t forward = (uint64_t)end_ns - (uint64_t)start_ns;
    cirron_display_duration(out, negative, negative ? 0 - forward : forward);
}

void cirron_display_double(cirron_output *out, double value) {
    char text[CIRRON_DOUBLE_FIXED_BYTES];
    if (!isfinite(value)) {
        cirron_output_text(out, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
        return;
    }
    double size = fabs(value);
    if (size == 0 || (size >= 1e-3 && size < 1e15)) {
        cirron_output_put(out, text, cirron_double_fixed(value, 4, text));
        return;
    }
    size_t len = cirron_double_scientific(value, 4, text); /* an exponent of two digits or more */
    const char *exponent = memchr(text, 'e', len);
    cirron_output_put(out, text, (size_t)(exponent + 1 - text));
    cirron_output_put(out, "-", exponent[1] == '-');
    size_t digits = (size_t)(text + len - (exponent + 2));
    size_t zero = exponent[2] == '0';
    cirron_output_put(out, exponent + 2 + zero, digits - zero);
}

/* ---- text */

static bool acts_on_terminal(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0x61c || code == 0x200b ||
           code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2060 && code <= 0x2069) || (code >= 0xd800 && code <= 0xdfff) ||
           code == 0xfeff;
}

static void put_escape(cirron_output *out, uint32_t code) {
    static const char digits[] = "0123456789abcdef";
    char text[6] = {'\\'};
    size_t len = 1;
    if (code == '\t' || code == '\n' || code == '\r') {
        text[len++] = code == '\t' ? 't' : code == '\n' ? 'n' : 'r';
    } else {
        int width = code < 0x100 ? 2 : 4;
        text[len++] = width == 2 ? 'x' : 'u';
        while (width-- > 0) {
            text[len++] = digits[code >> (4 * width) & 15];
        }
    }
    cirron_output_put(out, text, len);
}

void cirron_display_text(cirron_output *out, const char *text, size_t len) {
    size_t plain = 0; /* where the run that needs no escape begins */
    for (size_t at = 0; at < len;) {
        unsigned char byte = (unsigned char)text[at];
        if (byte >= 0x20 && byte < 0x7f) {
            at++;
            continue;
        }
        uint32_t code;
        size_t length = cirron_utf8_decode(text + at, len - at, &code);
        if (acts_on_terminal(code)) {
            cirron_output_put(out, text + plain, at - plain);
            put_escape(out, code);
            plain = at + length;
        }
        at += length;
    }
    cirron_output_put(out, text + plain, len - plain);
}
