/* Names, each kept once for the life of the process, raw and JSON-escaped.
 *
 * Any thread may intern (a lock, taken once per new name and thread) and any
 * thread may read an id that it was given, without a lock: entries never move and
 * never change. The table is bounded; beyond it the caller puts the name inline
 * into the record's payload.
 */
#ifndef CIRRON_CORE_INTERN_H
#define CIRRON_CORE_INTERN_H

#include "core/types.h"

typedef struct cirron_intern cirron_intern;

typedef struct cirron_name {
    const char *text; /* UTF-8, no terminator; borrowed from the table */
    const char *json; /* with quotes and escapes */
    uint32_t text_len;
    uint32_t json_len;
} cirron_name;

enum {
    CIRRON_INTERN_MAX_NAMES = 65536,
    CIRRON_INTERN_MAX_BYTES = 8 * 1024 * 1024, /* of text and JSON together */
    CIRRON_INTERN_MAX_NAME = 1024,             /* longer names are never interned */
};

/* NULL when there is no memory. */
cirron_intern *cirron_intern_new(void);
void cirron_intern_free(cirron_intern *table);

/* The id of the name, or CIRRON_NAME_INLINE when the table is full, the name too
 * long or memory short. `text` is valid UTF-8. */
uint32_t cirron_intern_name(cirron_intern *table, const char *text, size_t len);

/* `id` came from cirron_intern_name of the same table. */
cirron_name cirron_intern_get(const cirron_intern *table, uint32_t id);

#endif
