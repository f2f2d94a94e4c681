/* What the hooks of a fork need. */
#ifndef CIRRON_PYTHON_FORK_H
#define CIRRON_PYTHON_FORK_H

#include <Python.h>

extern PyMethodDef cirron_fork_methods[];

#endif
