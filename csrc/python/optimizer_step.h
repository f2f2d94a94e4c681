/* The span of an optimizer's step. Needs the GIL. */
#ifndef CIRRON_PYTHON_OPTIMIZER_STEP_H
#define CIRRON_PYTHON_OPTIMIZER_STEP_H

#include <Python.h>

int cirron_optimizer_step_init(PyObject *module);

/* The function `open_optimizer_step`: METH_FASTCALL. */
PyObject *cirron_open_optimizer_step(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

#endif
