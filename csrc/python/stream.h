/* Iterators that hand on another's items unchanged and record each turn in a StreamSpan:
 * Stream for `for`, AsyncStream (async_stream.c) for `async for`. Both have one layout, so
 * that a Python class can be both. Needs the GIL.
 */
#ifndef CIRRON_PYTHON_STREAM_H
#define CIRRON_PYTHON_STREAM_H

#include <Python.h>

#include "python/stream_span.h"

typedef struct cirron_stream {
    PyObject_HEAD
    PyObject *source;         /* Owned, or NULL: cleared by the collector */
    cirron_stream_span *span; /* Owned, or NULL likewise */
    PyObject *weak_references;
    iternextfunc next; /* the source's, or NULL */
} cirron_stream;

/* Adds the types to the module. */
int cirron_stream_init(PyObject *module);
int cirron_async_stream_init(PyObject *module, PyObject *base);

/* ValueError where the object lost what it needs. */
int cirron_stream_check(const cirron_stream *stream);

#endif
