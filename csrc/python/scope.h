/* The Scope type: `with ci.scope(name, index=None, **attrs) as s:`. */
#ifndef CIRRON_PYTHON_SCOPE_H
#define CIRRON_PYTHON_SCOPE_H

#include <Python.h>

int cirron_scope_init(PyObject *module);

/* The function `scope`: METH_FASTCALL | METH_KEYWORDS. */
PyObject *cirron_scope(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames);

/* The methods, for measuring their cost. */
PyObject *cirron_scope_enter(PyObject *self, PyObject *ignored);
PyObject *cirron_scope_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs);

#endif
