/* LoaderPass: the iterator in front of a loader's, and LoopState. Needs the GIL. */
#ifndef CIRRON_PYTHON_LOADER_PASS_H
#define CIRRON_PYTHON_LOADER_PASS_H

#include <Python.h>

/* Adds both types. */
int cirron_loader_pass_init(PyObject *module);

#endif
