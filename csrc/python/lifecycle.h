/* Sessions as Python starts, flushes, counts and ends them. */
#ifndef CIRRON_PYTHON_LIFECYCLE_H
#define CIRRON_PYTHON_LIFECYCLE_H

#include <Python.h>

#include <stdint.h>

extern PyMethodDef cirron_lifecycle_methods[];

int cirron_lifecycle_init(PyObject *module);

/* Of a wait: none when negative, and no longer than 30 years. */
int64_t cirron_seconds_to_ns(double seconds);

#endif
