/* The two scalars of JSON for which simdjson is too strict or too lossy: strings with
 * lone surrogates, and numbers that have to become an int64 exactly.
 */
#ifndef CIRRON_CORE_JSON_SCALAR_H
#define CIRRON_CORE_JSON_SCALAR_H

#include <stdbool.h>

#include "core/types.h"

/* How many bytes behind a string's quote or a number must be readable. */
enum { CIRRON_JSON_TEXT_PADDING = 32 };

/* Unescapes, in place, a string that opens before `text` and is known to be closed; its
 * length goes to *len. Lone surrogates become U+FFFD. False: an escape that is none. */
bool cirron_json_unescape(char *text, size_t *len);

/* The common case of the next one: a whole integer of at most 19 digits that fits int64,
 * as it stands in a document. False: anything else. */
bool cirron_json_integer(const char *text, int64_t *value);

/* A decimal number as JSON writes it, cut to an integer and clamped to int64; *whole
 * says that nothing was cut or clamped. False: it is no such number. */
bool cirron_json_decimal(const char *text, size_t len, int64_t *value, bool *whole);

#endif
