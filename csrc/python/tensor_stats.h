/* TensorStats: the statistics of a tensor, for Python and for a snapshot's record. */
#ifndef CIRRON_PYTHON_TENSOR_STATS_H
#define CIRRON_PYTHON_TENSOR_STATS_H

#include <Python.h>

#include <stdbool.h>

#include "core/buffer.h"

int cirron_tensor_stats_init(PyObject *module);

/* The function `tensor_stats`: METH_O. */
PyObject *cirron_tensor_stats_function(PyObject *module, PyObject *object);

bool cirron_tensor_stats_check(PyObject *object);

/* Appends a TensorStats as the object that a record holds under "stats". CIRRON_NO_MEMORY
 * leaves some of it. */
int cirron_tensor_stats_encode(PyObject *object, cirron_buffer *out);

#endif
