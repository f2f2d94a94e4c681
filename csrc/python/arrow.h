/* Records: the spans, marks or snapshots of a table as an object that speaks the Arrow
 * PyCapsule interface. Under the GIL; what it hands out needs none.
 */
#ifndef CIRRON_PYTHON_ARROW_H
#define CIRRON_PYTHON_ARROW_H

#include <Python.h>

#include "core/arrow.h"

/* Makes the type and adds it to the module. 0, or -1 with an exception. */
int cirron_records_init(PyObject *module);

/* All records of a kind; NULL with an exception. */
PyObject *cirron_records_new(cirron_table *table, enum cirron_arrow_kind kind);

/* The method __arrow_c_stream__ over some rows. */
PyObject *cirron_records_stream(cirron_table *table, const cirron_arrow_rows *rows, PyObject *args,
                                PyObject *kwargs);

#endif
