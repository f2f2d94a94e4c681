#include "python/stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <structmember.h>

#include "python/stream_span.h"
#include "python/stream_step.h"

/* The layout of both types, so that a Python class can be both. */
typedef struct stream {
    PyObject_HEAD
    PyObject *source;         /* Owned, or NULL: cleared by the collector */
    cirron_stream_span *span; /* Owned, or NULL likewise */
    PyObject *weak_references;
    iternextfunc next; /* the source's, or NULL */
    unaryfunc anext;   /* likewise */
} stream;

static PyTypeObject *stream_type; /* Owned, as the next two */
static PyTypeObject *async_stream_type;
static PyObject *async_generator_type;

/* ValueError where the object lost what it needs. */
static int check(const stream *this) {
    if (this->source != NULL && this->span != NULL) {
        return 0;
    }
    PyErr_SetString(PyExc_ValueError, "the stream was not made, or is being collected");
    return -1;
}

/* ---- what is asked of the source */

enum { ITEM = 0, END = 1, AWAITED = 2 };

/* An async generator's __anext__, asend and so on run nothing of the user's: no turn yet. */
static bool is_async_generator(const stream *this) {
    return this->source != NULL && (PyObject *)Py_TYPE(this->source) == async_generator_type;
}

/* slot(source), or where that is NULL method(*args), in a turn: an ITEM, or what brings the
 * stream to its END. AWAITED: a step that awaits it. */
static inline PyObject *ask(stream *this, unaryfunc slot, PyObject *method, PyObject *args,
                            unsigned want) {
    bool awaited = (want & AWAITED) != 0;
    bool closes = (want & END) != 0;
    cirron_stream_span *span = this->span;
    Py_INCREF((PyObject *)this); /* the turn may drop it */
    PyObject *before = awaited && is_async_generator(this) ? NULL : cirron_stream_begin_turn(span);
    PyObject *result = slot != NULL ? slot(this->source) : PyObject_CallObject(method, args);
    cirron_stream_end_turn(span, before);
    if (awaited && result != NULL) {
        result = cirron_stream_step_new(span, result, closes);
    } else {
        cirron_stream_record(span, result, closes);
    }
    Py_DECREF((PyObject *)this);
    return result;
}

/* As the interpreter does, by the slot of the source's type. */
static inline PyObject *ask_slot(PyObject *self, unaryfunc slot, unsigned want) {
    stream *this = (stream *)self;
    if (check(this) != 0) {
        return NULL;
    }
    if (slot == NULL) {
        PyErr_Format(PyExc_TypeError, "%R object is not an %s", (PyObject *)Py_TYPE(this->source),
                     want == AWAITED ? "async iterator" : "iterator");
        return NULL;
    }
    return ask(this, slot, NULL, NULL, want);
}

/* source.<name>(*args) */
static PyObject *ask_method(PyObject *self, const char *name, PyObject *args, unsigned want) {
    stream *this = (stream *)self;
    PyObject *method = check(this) == 0 ? PyObject_GetAttrString(this->source, name) : NULL;
    if (method == NULL) {
        return NULL;
    }
    PyObject *result = ask(this, NULL, method, args, want);
    Py_DECREF(method);
    return result;
}

static PyObject *ask_to_send(PyObject *self, const char *name, PyObject *value, unsigned want) {
    PyObject *args = PyTuple_Pack(1, value);
    PyObject *result = args != NULL ? ask_method(self, name, args, want) : NULL;
    Py_XDECREF(args);
    return result;
}

/* Steals `iterator`, the source's, which may be NULL. Another than the source gets a stream
 * of its own, with the same span. */
static PyObject *stream_around(PyObject *self, PyTypeObject *type, PyObject *iterator) {
    stream *this = (stream *)self;
    PyObject *around = NULL;
    if (iterator == this->source) {
        Py_INCREF(self);
        around = self;
    } else if (iterator != NULL) {
        around =
            PyObject_CallFunctionObjArgs((PyObject *)type, iterator, (PyObject *)this->span, NULL);
    }
    Py_XDECREF(iterator);
    return around;
}

/* ---- what both types share */

static int init_stream(PyObject *self, PyObject *args, PyObject *kwargs) {
    stream *this = (stream *)self;
    PyObject *source;
    PyObject *span;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "OO:Stream", &source, &span)) {
        return -1;
    }
    if (this->source != NULL || !cirron_stream_span_check(span)) {
        PyErr_SetString(PyExc_TypeError, "a stream takes a source and its StreamSpan, once");
        return -1;
    }
    Py_INCREF(source);
    Py_INCREF(span);
    this->source = source;
    this->span = (cirron_stream_span *)span;
    this->next = (iternextfunc)PyType_GetSlot(Py_TYPE(source), Py_tp_iternext);
    this->anext = (unaryfunc)PyType_GetSlot(Py_TYPE(source), Py_am_anext);
    return 0;
}

static int traverse_stream(PyObject *self, visitproc visit, void *arg) {
    stream *this = (stream *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(this->source);
    Py_VISIT((PyObject *)this->span);
    return 0;
}

static int clear_stream(PyObject *self) {
    stream *this = (stream *)self;
    Py_CLEAR(this->source);
    Py_CLEAR(this->span);
    return 0;
}

static void dealloc_stream(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((stream *)self)->weak_references != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)clear_stream(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMemberDef base_members[] = {
    {"cirron_source", T_OBJECT, offsetof(stream, source), READONLY, "What is iterated."},
    {"cirron_span", T_OBJECT, offsetof(stream, span), READONLY, "The StreamSpan."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(stream, weak_references), READONLY, NULL},
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
    .basicsize = sizeof(stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = base_slots,
};

/* ---- Stream */

static PyObject *iterate(PyObject *self) {
    stream *this = (stream *)self;
    return check(this) == 0 ? stream_around(self, stream_type, PyObject_GetIter(this->source))
                            : NULL;
}

static PyObject *next_item(PyObject *self) {
    return ask_slot(self, ((stream *)self)->next, ITEM);
}

static PyObject *send_item(PyObject *self, PyObject *value) {
    return ask_to_send(self, "send", value, ITEM);
}

static PyObject *throw_item(PyObject *self, PyObject *args) {
    return ask_method(self, "throw", args, ITEM);
}

static PyObject *close_stream(PyObject *self, PyObject *ignored) {
    (void)ignored;
    return ask_method(self, "close", NULL, END);
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
    .basicsize = sizeof(stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = stream_slots,
};

/* ---- AsyncStream */

static PyObject *aiterate(PyObject *self) {
    stream *this = (stream *)self;
    return check(this) == 0
               ? stream_around(self, async_stream_type, PyObject_GetAIter(this->source))
               : NULL;
}

static PyObject *next_step(PyObject *self) {
    return ask_slot(self, ((stream *)self)->anext, AWAITED);
}

static PyObject *asend(PyObject *self, PyObject *value) {
    if (value == Py_None && is_async_generator((stream *)self)) {
        return next_step(self); /* the same, and sooner done */
    }
    return ask_to_send(self, "asend", value, AWAITED);
}

static PyObject *athrow(PyObject *self, PyObject *args) {
    return ask_method(self, "athrow", args, AWAITED);
}

static PyObject *aclose(PyObject *self, PyObject *ignored) {
    (void)ignored;
    return ask_method(self, "aclose", NULL, AWAITED | END);
}

static PyMethodDef async_stream_methods[] = {
    {"asend", asend, METH_O, "As the source's."},
    {"athrow", athrow, METH_VARARGS, "As the source's."},
    {"aclose", aclose, METH_NOARGS, "As the source's; the request ends."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot async_stream_slots[] = {
    {Py_am_aiter, (void *)aiterate},
    {Py_am_anext, (void *)next_step},
    {Py_tp_methods, async_stream_methods},
    {Py_tp_doc,
     "AsyncStream(source, span, /)\n--\n\nAn async iterator in the turns of a StreamSpan."},
    {0, NULL},
};

static PyType_Spec async_stream_spec = {
    .name = "cirron._core.AsyncStream",
    .basicsize = sizeof(stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = async_stream_slots,
};

int cirron_stream_init(PyObject *module) {
    PyObject *types = PyImport_ImportModule("types");
    async_generator_type =
        types != NULL ? PyObject_GetAttrString(types, "AsyncGeneratorType") : NULL;
    Py_XDECREF(types);
    PyObject *base = PyType_FromModuleAndSpec(module, &base_spec, NULL);
    if (async_generator_type == NULL || base == NULL) {
        Py_XDECREF(base);
        return -1;
    }
    stream_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &stream_spec, base);
    async_stream_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &async_stream_spec, base);
    Py_DECREF(base);
    if (stream_type == NULL || async_stream_type == NULL ||
        PyModule_AddObjectRef(module, "Stream", (PyObject *)stream_type) != 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "AsyncStream", (PyObject *)async_stream_type);
}
