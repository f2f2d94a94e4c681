/* The functions `mark` and `mark_on`: METH_FASTCALL | METH_KEYWORDS. */
#ifndef CIRRON_PYTHON_MARK_H
#define CIRRON_PYTHON_MARK_H

#include <Python.h>

#include "python/frame.h"

PyObject *cirron_mark(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* As mark, on the scope that is the first argument. */
PyObject *cirron_mark_on(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames);

/* A point on an open frame; `name` is a str. What can't be kept is counted. */
void cirron_mark_float(cirron_frame *frame, PyObject *name, double value);

#endif
