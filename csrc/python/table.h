/* The type SpanTable, columns and rows of a core table as Python sees them, and the
 * function that fills one from batch files. Under the GIL.
 */
#ifndef CIRRON_PYTHON_TABLE_H
#define CIRRON_PYTHON_TABLE_H

#include <Python.h>

#include "core/span_table.h"

/* Makes the types and adds SpanTable to the module. 0, or -1 with an exception. */
int cirron_table_init_types(PyObject *module);

/* A SpanTable over a linked table, which it takes over, also when it fails; NULL with an
 * exception. */
PyObject *cirron_table_wrap(cirron_table *table);

/* The same with a list of str for `warnings`, or NULL for none. */
PyObject *cirron_table_wrap_with(cirron_table *table, PyObject *warnings);

/* The function `read_spool`: METH_O. */
PyObject *cirron_read_spool(PyObject *module, PyObject *paths);

#endif
