/* The type Export: a table as a document of another format, an iterator of bytes. Chunks
 * are made without the GIL.
 */
#ifndef CIRRON_PYTHON_EXPORT_H
#define CIRRON_PYTHON_EXPORT_H

#include <Python.h>

#include "core/span_table.h"

/* Makes the type and adds it to the module. 0, or -1 with an exception. */
int cirron_export_init_types(PyObject *module);

/* The method SpanTable.export; NULL with an exception. */
PyObject *cirron_export_new(cirron_table *table, PyObject *args, PyObject *kwargs);

#endif
