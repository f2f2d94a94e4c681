/* Sessions as Python starts, flushes, counts and ends them. */
#ifndef CIRRON_PYTHON_LIFECYCLE_H
#define CIRRON_PYTHON_LIFECYCLE_H

#include <Python.h>

extern PyMethodDef cirron_lifecycle_methods[];

int cirron_lifecycle_init(PyObject *module);

#endif
