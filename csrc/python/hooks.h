/* What the hooks of frameworks need beyond scope(): scopes of a kind, which is open here,
 * records that are held back or never made, and Phase. Needs the GIL.
 */
#ifndef CIRRON_PYTHON_HOOKS_H
#define CIRRON_PYTHON_HOOKS_H

#include <Python.h>

#include <stdint.h>

/* The kinds that are open in this context, as bits (frame.h). A thread of the framework's
 * own counts as inside a phase, so that hooks open nothing there. */
uint32_t cirron_open_kinds(void);

/* What next(iterator) returns; at the end NULL, perhaps without an exception. */
PyObject *cirron_next(PyObject *iterator);

extern PyMethodDef cirron_hooks_methods[];

/* Adds the functions and the KIND_ constants. */
int cirron_hooks_init(PyObject *module);

#endif
