/* What an AsyncStream gives in place of its source's awaitable: awaiting it awaits that.
 *
 * An asynchronous item takes several turns: every send() into the awaitable is one, and
 * between them, while the consumer's task is suspended, the request is not current. Needs
 * the GIL.
 */
#ifndef CIRRON_PYTHON_STREAM_STEP_H
#define CIRRON_PYTHON_STREAM_STEP_H

#include <Python.h>

#include <stdbool.h>

#include "python/stream_span.h"

int cirron_stream_step_init(PyObject *module);

/* Awaits an item, or the answer that `closes` the stream. Steals `awaitable`. */
PyObject *cirron_stream_step_new(cirron_stream_span *span, PyObject *awaitable, bool closes);

#endif
