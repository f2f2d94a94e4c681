/* The request span of a stream: open until the stream ends, current only while the stream
 * makes an item, whichever thread or context asks for it.
 *
 * It keeps the clock of the items and looks, at a glance, which of them may tell of tokens.
 * Python's subclass (cirron.serving.stream) reads those, in `see(item)`, or in
 * `see_text(item)`, which returns an enum cirron_stream_text, and writes the marks, in
 * `end(completed, error)`, which is called once. Needs the GIL.
 */
#ifndef CIRRON_PYTHON_STREAM_SPAN_H
#define CIRRON_PYTHON_STREAM_SPAN_H

#include <Python.h>

#include <stdbool.h>

#include "python/scope.h"

enum { CIRRON_STREAM_TYPES = 4 };

/* What items that are text are taken for. */
enum cirron_stream_text {
    CIRRON_TEXT_UNKNOWN, /* none came yet */
    CIRRON_TEXT_PLAIN,
    CIRRON_TEXT_EVENTS,     /* server-sent events, or JSON in lines */
    CIRRON_TEXT_UNFINISHED, /* the same, in the middle of a line */
};

/* Where items of one type may carry usage. */
typedef struct cirron_item_type {
    PyTypeObject *type; /* Owned, or NULL */
    uint8_t places;     /* bits, one for each of the attributes that are looked at */
} cirron_item_type;

typedef struct cirron_stream_span {
    PyObject_HEAD
    Scope *request;      /* Owned, or NULL: cleared by the collector */
    cirron_frame *frame; /* Owned, or NULL: the innermost that the last turn left open */
    cirron_item_type types[CIRRON_STREAM_TYPES];
    int64_t first_ns; /* monotonic, as the next */
    int64_t last_ns;
    int64_t longest_gap_ns;
    int64_t items;
    uint32_t next_type;
    uint8_t text; /* enum cirron_stream_text */
    bool timed;   /* a mark an item is asked for */
    bool ended;
} cirron_stream_span;

int cirron_stream_span_init(PyObject *module);
bool cirron_stream_span_check(PyObject *object);

/* Makes the request current for a turn. What it returns goes to end_turn, which takes it. */
PyObject *cirron_stream_begin_turn(cirron_stream_span *span);
void cirron_stream_end_turn(cirron_stream_span *span, PyObject *before);

/* What the consumer asked for came: an item, or the answer that `closes` the stream. NULL: the
 * exception that is set says why not (none, StopIteration and StopAsyncIteration: the end).
 * It stays set. */
void cirron_stream_record(cirron_stream_span *span, PyObject *result, bool closes);

#endif
