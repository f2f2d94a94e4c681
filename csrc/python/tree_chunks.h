/* A session's tree as an iterator of bytes. Under the GIL. */
#ifndef CIRRON_PYTHON_TREE_CHUNKS_H
#define CIRRON_PYTHON_TREE_CHUNKS_H

#include <Python.h>

#include "core/tree_text.h"

/* Makes the type and adds TreeChunks to the module. 0, or -1 with an exception. */
int cirron_tree_chunks_init(PyObject *module);

/* The method `SpanTable.render` for a linked table. */
PyObject *cirron_tree_chunks_new(cirron_table *table, PyObject *args, PyObject *kwargs);

/* The function `format_duration`: METH_O. */
PyObject *cirron_format_duration(PyObject *module, PyObject *ns);

#endif
