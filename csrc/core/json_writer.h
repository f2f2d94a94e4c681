/* JSON text, strict RFC 8259, appended to a buffer. One owner, no lock. Every
 * function returns CIRRON_OK or CIRRON_NO_MEMORY and appends nothing on failure.
 */
#ifndef CIRRON_CORE_JSON_WRITER_H
#define CIRRON_CORE_JSON_WRITER_H

#include "core/buffer.h"

/* Quotes and escapes; bytes that are not UTF-8 become U+FFFD. */
int cirron_json_string(cirron_buffer *out, const char *text, size_t len);

/* The shortest text that reads back as the same double, always with a '.' or an
 * exponent; NaN and the infinities as the strings "NaN", "Infinity", "-Infinity".
 * No locale has a say in it. */
int cirron_json_double(cirron_buffer *out, double value);

int cirron_json_int(cirron_buffer *out, int64_t value);
int cirron_json_uint(cirron_buffer *out, uint64_t value);

/* 32 hex digits in quotes. */
int cirron_json_id(cirron_buffer *out, const cirron_id *id);

#endif
