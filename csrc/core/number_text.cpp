// C has no shortest round trip (printf needs 17 digits or a search, and a locale), hence
// these calls in C++.
#include "core/number_text.h"

#include <charconv>
#include <cmath>

extern "C" size_t cirron_double_text(double value, char text[CIRRON_DOUBLE_TEXT_BYTES]) {
    return static_cast<size_t>(std::to_chars(text, text + CIRRON_DOUBLE_TEXT_BYTES, value).ptr -
                               text);
}

extern "C" size_t cirron_double_fixed(double value, int decimals,
                                      char text[CIRRON_DOUBLE_FIXED_BYTES]) {
    auto end = text + CIRRON_DOUBLE_FIXED_BYTES;
    auto result = std::to_chars(text, end, value, std::chars_format::fixed, decimals);
    return static_cast<size_t>(result.ptr - text);
}

extern "C" size_t cirron_double_scientific(double value, int decimals,
                                           char text[CIRRON_DOUBLE_FIXED_BYTES]) {
    auto end = text + CIRRON_DOUBLE_FIXED_BYTES;
    auto result = std::to_chars(text, end, value, std::chars_format::scientific, decimals);
    return static_cast<size_t>(result.ptr - text);
}

// from_chars tells too large and too small alike. The digits before the point and the
// exponent say which: nothing in between is out of range.
static bool is_large(const char *text, const char *end) {
    long exponent = 0;
    long digits = 0;
    for (; text < end && *text != '.' && *text != 'e' && *text != 'E'; text++) {
        digits += *text != '-' && (digits > 0 || *text != '0');
    }
    while (text < end && *text != 'e' && *text != 'E') {
        text++;
    }
    if (text < end) {
        text += 1 + (text + 1 < end && text[1] == '+');
        if (std::from_chars(text, end, exponent).ec != std::errc()) {
            return *text != '-';
        }
    }
    return exponent + digits > 0;
}

extern "C" double cirron_double_parse(const char *text, size_t len) {
    double value = 0;
    if (std::from_chars(text, text + len, value).ec == std::errc::result_out_of_range) {
        value = std::copysign(is_large(text, text + len) ? INFINITY : 0.0, *text == '-' ? -1 : 1);
    }
    return value;
}
