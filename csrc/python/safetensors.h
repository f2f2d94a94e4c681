/* The header of a safetensors file for Python. Under the GIL. */
#ifndef CIRRON_PYTHON_SAFETENSORS_H
#define CIRRON_PYTHON_SAFETENSORS_H

#include <Python.h>

/* The function `read_safetensors`: METH_O. */
PyObject *cirron_read_safetensors(PyObject *module, PyObject *file);

#endif
