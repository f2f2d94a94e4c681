// C has no shortest round trip (printf needs 17 digits or a search, and a locale), hence
// this one call in C++.
#include "core/number_text.h"

#include <charconv>

extern "C" size_t cirron_double_text(double value, char text[CIRRON_DOUBLE_TEXT_BYTES]) {
    return static_cast<size_t>(std::to_chars(text, text + CIRRON_DOUBLE_TEXT_BYTES, value).ptr -
                               text);
}
