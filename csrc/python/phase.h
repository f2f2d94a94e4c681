/* Phase: a callable in front of a framework's, whose calls are spans. Needs the GIL. */
#ifndef CIRRON_PYTHON_PHASE_H
#define CIRRON_PYTHON_PHASE_H

#include <Python.h>

int cirron_phase_init(PyObject *module);

#endif
