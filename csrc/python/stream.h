/* Iterators that hand on another's items unchanged and record each turn in a StreamSpan:
 * Stream for `for`, AsyncStream for `async for`. Needs the GIL.
 */
#ifndef CIRRON_PYTHON_STREAM_H
#define CIRRON_PYTHON_STREAM_H

#include <Python.h>

/* Adds the types to the module. */
int cirron_stream_init(PyObject *module);

#endif
