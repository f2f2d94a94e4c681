/* Attributes as one JSON object, built while the GIL is held.
 *
 * Any value is accepted: what JSON does not know becomes str(value), what raises becomes
 * "<unserialisable TypeName>". No function here leaves an exception set. The object is
 * at most CIRRON_MAX_ATTRS_BYTES long; the first attributes stay, the one that crosses
 * the limit is cut when it is a str and left out otherwise, and
 * "cirron.attrs_truncated": true is added.
 */
#ifndef CIRRON_PYTHON_ATTRS_H
#define CIRRON_PYTHON_ATTRS_H

#include <Python.h>

#include <stdbool.h>

#include "core/buffer.h"

typedef struct cirron_attrs {
    cirron_buffer text;
    bool truncated;
} cirron_attrs;

void cirron_attrs_begin(cirron_attrs *attrs);
void cirron_attrs_add(cirron_attrs *attrs, PyObject *key, PyObject *value);

/* Every item of a dict. */
void cirron_attrs_add_dict(cirron_attrs *attrs, PyObject *dict);

/* Closes the object. The text is empty when there was nothing to write. */
void cirron_attrs_end(cirron_attrs *attrs);
void cirron_attrs_fini(cirron_attrs *attrs);

/* A new reference to what a NumPy scalar holds, or NULL when `value` is none (no
 * exception is set either way). NumPy is looked at only where it is imported. */
PyObject *cirron_numpy_item(PyObject *value);

/* True for numpy.integer; no exception is set. */
bool cirron_is_numpy_integer(PyObject *value);

#endif
