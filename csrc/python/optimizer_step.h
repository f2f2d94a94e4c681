/* The span of an optimizer's step. Needs the GIL. */
#ifndef CIRRON_PYTHON_OPTIMIZER_STEP_H
#define CIRRON_PYTHON_OPTIMIZER_STEP_H

#include <Python.h>

/* Adds the function `open_optimizer_step`. */
int cirron_optimizer_step_init(PyObject *module);

#endif
