/* Strings out of simdjson, for the C++ files that read with it (this header is C++): they
 * are unescaped in place, so the text lives as long as the bytes that were parsed.
 */
#ifndef CIRRON_CORE_JSON_STRINGS_H
#define CIRRON_CORE_JSON_STRINGS_H

#include <simdjson.h>

extern "C" {
#include "core/json_scalar.h"
#include "core/span_table.h"
}

inline simdjson::error_code unescape(simdjson::ondemand::raw_json_string raw, cirron_text *text) {
    char *data = const_cast<char *>(raw.raw()); // into the reader's own bytes
    text->data = data;
    return cirron_json_unescape(data, &text->len) ? simdjson::SUCCESS : simdjson::STRING_ERROR;
}

inline simdjson::error_code read_string(simdjson::ondemand::value &value, cirron_text *text) {
    simdjson::ondemand::raw_json_string raw;
    simdjson::error_code error = value.get_raw_json_string().get(raw);
    return error ? error : unescape(raw, text);
}

#endif
