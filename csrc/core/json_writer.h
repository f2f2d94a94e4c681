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

/* The same for a caller that has made room: they write at `at` and return the end. */
enum {
    CIRRON_JSON_INT_BYTES = 20,
    CIRRON_JSON_ID_BYTES = 34,
    CIRRON_JSON_DOUBLE_BYTES = 34,
    CIRRON_JSON_ESCAPE_BYTES = 6, /* a byte of a string, whose quotes are 2 more */
};

char *cirron_json_put_string(char *at, const char *text, size_t len);
char *cirron_json_put_double(char *at, double value);
char *cirron_json_put_int(char *at, int64_t value);
char *cirron_json_put_uint(char *at, uint64_t value);
char *cirron_json_put_id(char *at, const cirron_id *id);

#endif
