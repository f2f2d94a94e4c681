/* The trace buffer as Python reads it. */
#ifndef CIRRON_PYTHON_TRACE_H
#define CIRRON_PYTHON_TRACE_H

#include <Python.h>

extern PyMethodDef cirron_trace_methods[];

#endif
