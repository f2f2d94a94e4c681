/* Statistics of a tensor for Python. */
#ifndef CIRRON_PYTHON_TENSOR_STATS_H
#define CIRRON_PYTHON_TENSOR_STATS_H

#include <Python.h>

/* The function `tensor_stats`: METH_O. */
PyObject *cirron_tensor_stats_function(PyObject *module, PyObject *object);

#endif
