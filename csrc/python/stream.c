#include "python/stream.h"

#include <stddef.h>
#include <structmember.h>

int cirron_stream_check(const cirron_stream *stream) {
    if (stream->source != NULL && stream->span != NULL) {
        return 0;
    }
    PyErr_SetString(PyExc_ValueError, "the stream was not made, or is being collected");
    return -1;
}

/* ---- what both kinds share */

static int init_stream(PyObject *self, PyObject *args, PyObject *kwargs) {
    cirron_stream *stream = (cirron_stream *)self;
    PyObject *source;
    PyObject *span;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "OO:Stream", &source, &span)) {
        return -1;
    }
    if (stream->source != NULL || !cirron_stream_span_check(span)) {
        PyErr_SetString(PyExc_TypeError, "a stream takes a source and its StreamSpan, once");
        return -1;
    }
    Py_INCREF(source);
    Py_INCREF(span);
    stream->source = source;
    stream->span = (cirron_stream_span *)span;
    stream->next = (iternextfunc)PyType_GetSlot(Py_TYPE(source), Py_tp_iternext);
    return 0;
}

static int traverse_stream(PyObject *self, visitproc visit, void *arg) {
    cirron_stream *stream = (cirron_stream *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(stream->source);
    Py_VISIT((PyObject *)stream->span);
    return 0;
}

static int clear_stream(PyObject *self) {
    cirron_stream *stream = (cirron_stream *)self;
    Py_CLEAR(stream->source);
    Py_CLEAR(stream->span);
    return 0;
}

static void dealloc_stream(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((cirron_stream *)self)->weak_references != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)clear_stream(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMemberDef base_members[] = {
    {"cirron_source", T_OBJECT, offsetof(cirron_stream, source), READONLY, "What is iterated."},
    {"cirron_span", T_OBJECT, offsetof(cirron_stream, span), READONLY, "The StreamSpan."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(cirron_stream, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot base_slots[] = {
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)init_stream},
    {Py_tp_dealloc, (void *)dealloc_stream},
    {Py_tp_traverse, (void *)traverse_stream},
    {Py_tp_clear, (void *)clear_stream},
    {Py_tp_members, base_members},
    {Py_tp_doc, "What Stream and AsyncStream share."},
    {0, NULL},
};

static PyType_Spec base_spec = {
    .name = "cirron._core.StreamBase",
    .basicsize = sizeof(cirron_stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = base_slots,
};

/* ---- Stream */

static PyTypeObject *stream_type; /* Owned */

/* What a turn gave, recorded. */
static PyObject *end_turn(cirron_stream_span *span, PyObject *before, PyObject *item) {
    cirron_stream_end_turn(span, before);
    if (item != NULL) {
        cirron_stream_see(span, item);
    } else {
        cirron_stream_stopped(span);
    }
    return item;
}

static PyObject *next_item(PyObject *self) {
    cirron_stream *stream = (cirron_stream *)self;
    if (cirron_stream_check(stream) != 0) {
        return NULL;
    }
    if (stream->next == NULL) {
        PyErr_Format(PyExc_TypeError, "%R object is not an iterator",
                     (PyObject *)Py_TYPE(stream->source));
        return NULL;
    }
    cirron_stream_span *span = stream->span;
    PyObject *source = stream->source;
    Py_INCREF((PyObject *)span); /* the turn may drop the stream */
    Py_INCREF(source);
    PyObject *before;
    cirron_stream_begin_turn(span, &before);
    PyObject *item = end_turn(span, before, stream->next(source));
    Py_DECREF(source);
    Py_DECREF((PyObject *)span);
    return item;
}

/* source.<method>(*args) in a turn: an item, or what closed the stream. */
static PyObject *call_in_turn(PyObject *self, const char *method, PyObject *args, bool closes) {
    cirron_stream *stream = (cirron_stream *)self;
    if (cirron_stream_check(stream) != 0) {
        return NULL;
    }
    PyObject *callable = PyObject_GetAttrString(stream->source, method);
    if (callable == NULL) {
        return NULL;
    }
    cirron_stream_span *span = stream->span;
    Py_INCREF((PyObject *)span);
    PyObject *before;
    cirron_stream_begin_turn(span, &before);
    PyObject *result = PyObject_CallObject(callable, args);
    if (closes && result != NULL) {
        cirron_stream_end_turn(span, before);
        cirron_stream_closed(span);
    } else {
        (void)end_turn(span, before, result);
    }
    Py_DECREF(callable);
    Py_DECREF((PyObject *)span);
    return result;
}

static PyObject *send_item(PyObject *self, PyObject *value) {
    PyObject *args = PyTuple_Pack(1, value);
    PyObject *item = args != NULL ? call_in_turn(self, "send", args, false) : NULL;
    Py_XDECREF(args);
    return item;
}

static PyObject *throw_item(PyObject *self, PyObject *args) {
    return call_in_turn(self, "throw", args, false);
}

static PyObject *close_stream(PyObject *self, PyObject *ignored) {
    (void)ignored;
    return call_in_turn(self, "close", NULL, true);
}

/* An iterator whose iter() is another gets a Stream around that, with the same span. */
static PyObject *iterate(PyObject *self) {
    cirron_stream *stream = (cirron_stream *)self;
    if (cirron_stream_check(stream) != 0) {
        return NULL;
    }
    PyObject *iterator = PyObject_GetIter(stream->source);
    if (iterator == stream->source) {
        Py_DECREF(iterator);
        Py_INCREF(self);
        return self;
    }
    PyObject *made = NULL;
    if (iterator != NULL) {
        made = PyObject_CallFunctionObjArgs((PyObject *)stream_type, iterator,
                                            (PyObject *)stream->span, NULL);
        Py_DECREF(iterator);
    }
    return made;
}

static PyMethodDef stream_methods[] = {
    {"send", send_item, METH_O, "As the source's."},
    {"throw", throw_item, METH_VARARGS, "As the source's."},
    {"close", close_stream, METH_NOARGS, "As the source's; the request ends."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_iter, (void *)iterate},
    {Py_tp_iternext, (void *)next_item},
    {Py_tp_methods, stream_methods},
    {Py_tp_doc, "Stream(source, span, /)\n--\n\nAn iterator in the turns of a StreamSpan."},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "cirron._core.Stream",
    .basicsize = sizeof(cirron_stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = stream_slots,
};

int cirron_stream_init(PyObject *module) {
    PyObject *base = PyType_FromModuleAndSpec(module, &base_spec, NULL);
    if (base == NULL) {
        return -1;
    }
    stream_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &stream_spec, base);
    int status = -1;
    if (stream_type != NULL) {
        status = PyModule_AddObjectRef(module, "Stream", (PyObject *)stream_type);
    }
    if (status == 0) {
        status = cirron_async_stream_init(module, base);
    }
    Py_DECREF(base);
    return status;
}
