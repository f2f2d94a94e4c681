/* The function `mark`: METH_FASTCALL | METH_KEYWORDS. */
#ifndef CIRRON_PYTHON_MARK_H
#define CIRRON_PYTHON_MARK_H

#include <Python.h>

PyObject *cirron_mark(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

#endif
