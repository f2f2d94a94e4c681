/* Scopes that hooks open around others' code, with the GPU's time where there is a timer.
 * An exception that is set when one closes stays set. Needs the GIL.
 */
#ifndef CIRRON_PYTHON_TIMED_SCOPE_H
#define CIRRON_PYTHON_TIMED_SCOPE_H

#include "python/scope.h"

/* An open scope, owned. NULL, counted as lost and with no exception set, when there is no
 * memory. `timer` is None or has begin(scope) and end(scope). */
Scope *cirron_timed_open(PyObject *name, uint8_t kind, const int64_t *index, PyObject *timer);

/* Closes it; the exception that is set, if one is, is the span's error. */
void cirron_timed_close(Scope *scope, PyObject *timer);

#endif
