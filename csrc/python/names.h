/* From a name object to its place in the record: a cache in front of core's table of
 * names. Under the GIL. It keeps the newest few hundred short name strings alive.
 */
#ifndef CIRRON_PYTHON_NAMES_H
#define CIRRON_PYTHON_NAMES_H

#include "core/process.h"
#include "python/text.h"

typedef struct cirron_name_ref {
    uint32_t id;  /* of the intern table, or CIRRON_NAME_INLINE */
    uint32_t len; /* the bytes to put inline; 0 otherwise */
    const char *text;
} cirron_name_ref;

/* `name` is a str. `scratch` must live until the bytes are copied. */
int cirron_name_find(PyObject *name, uint32_t generation, cirron_buffer *scratch,
                     cirron_name_ref *ref);

#endif
