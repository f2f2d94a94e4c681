/* The JSON of attributes, which nobody has looked at since it was cut out of its file: it
 * is checked here before anything of it is shown. One reader, one thread.
 *
 * Read as Python's json reads it: NaN and the infinities are numbers, of equal names the
 * last value counts, and what is malformed or nested too deep holds nothing.
 */
#ifndef CIRRON_CORE_ATTRS_READER_H
#define CIRRON_CORE_ATTRS_READER_H

#include <stdbool.h>

#include "core/output.h"
#include "core/span_table.h"
#include "core/text_dict.h"

/* Writes a JSON object once more, strict, in ASCII and with ", " and ": " between its parts;
 * `{}` for what is no object. */
void cirron_attrs_write(cirron_output *out, cirron_text json);

/* The same for any value; `null` for what is malformed or absent. */
void cirron_attrs_write_value(cirron_output *out, cirron_text json);

/* The same for a string. */
void cirron_ascii_json_string(cirron_output *out, const char *text, size_t len);

typedef struct cirron_attrs_reader {
    cirron_text_dict names;
    cirron_text *values; /* owned; as they stand in the JSON, one a name */
    size_t value_cap;
    cirron_buffer scratch;
} cirron_attrs_reader;

void cirron_attrs_reader_fini(cirron_attrs_reader *reader);

/* Takes the members of an object apart and says how many there are, in order of their
 * first appearance. CIRRON_OK or CIRRON_NO_MEMORY. */
int cirron_attrs_read(cirron_attrs_reader *reader, cirron_text json, size_t *count);

/* One of them, until the next call. A surrogate in a name stands in three bytes. */
cirron_text cirron_attrs_name(const cirron_attrs_reader *reader, size_t member);
cirron_text cirron_attrs_value(const cirron_attrs_reader *reader, size_t member);

/* Whether a value is an object or a list. */
bool cirron_attrs_is_nested(cirron_text value);

/* Shows a value that is not nested; text without its quotes. */
void cirron_attrs_display(cirron_attrs_reader *reader, cirron_output *out, cirron_text value);

#endif
