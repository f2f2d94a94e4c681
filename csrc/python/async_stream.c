/* An asynchronous item takes several turns: every send() into the awaitable is one, and
 * between them, while the consumer's task is suspended, the request is not current.
 */
#include <stddef.h>

#include "python/stream.h"

/* What the awaitable is waited for. */
enum purpose { NEXT_ITEM, CLOSING };

typedef struct step {
    PyObject_HEAD
    PyObject *awaitable;      /* Owned, or NULL: finished, or cleared */
    PyObject *iterator;       /* Owned, or NULL: not awaited yet */
    cirron_stream_span *span; /* Owned, or NULL likewise */
    enum purpose purpose;
} step;

static PyTypeObject *step_type; /* Owned */

/* ---- a step */

static int traverse_step(PyObject *self, visitproc visit, void *arg) {
    step *this = (step *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(this->awaitable);
    Py_VISIT(this->iterator);
    Py_VISIT((PyObject *)this->span);
    return 0;
}

static int clear_step(PyObject *self) {
    step *this = (step *)self;
    Py_CLEAR(this->awaitable);
    Py_CLEAR(this->iterator);
    Py_CLEAR(this->span);
    return 0;
}

static void dealloc_step(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)clear_step(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Steals `awaitable`, which may be NULL: an exception is set, and stays. */
static PyObject *new_step(cirron_stream_span *span, PyObject *awaitable, enum purpose purpose) {
    step *made = awaitable != NULL ? PyObject_GC_New(step, step_type) : NULL;
    if (made == NULL) {
        Py_XDECREF(awaitable);
        return NULL;
    }
    Py_INCREF((PyObject *)span);
    made->awaitable = awaitable;
    made->iterator = NULL;
    made->span = span;
    made->purpose = purpose;
    PyObject_GC_Track(made);
    return (PyObject *)made;
}

static PyObject *iterator_of(PyObject *awaitable) {
    unaryfunc await = (unaryfunc)PyType_GetSlot(Py_TYPE(awaitable), Py_am_await);
    if (await != NULL) {
        return await(awaitable);
    }
    Py_INCREF(awaitable); /* a generator that types.coroutine marked */
    return awaitable;
}

/* The iterator, borrowed; made in a turn, since making it may run the user's code. */
static PyObject *start(step *this) {
    if (this->span == NULL || this->awaitable == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited stream step");
        return NULL;
    }
    if (this->iterator == NULL) {
        this->iterator = iterator_of(this->awaitable);
    }
    return this->iterator;
}

/* The step is over: `item` is what it gave, or NULL with an exception that is set. */
static void finish(step *this, cirron_stream_span *span, PyObject *item) {
    Py_CLEAR(this->awaitable);
    Py_CLEAR(this->iterator);
    if (item == NULL) {
        cirron_stream_stopped(span);
    } else if (this->purpose == NEXT_ITEM) {
        cirron_stream_see(span, item);
    } else {
        cirron_stream_closed(span);
    }
}

static PySendResult send_step(PyObject *self, PyObject *value, PyObject **result) {
    step *this = (step *)self;
    cirron_stream_span *span = this->span;
    PySendResult sent = PYGEN_ERROR;
    PyObject *before = NULL;
    *result = NULL;
    Py_INCREF(self);
    Py_XINCREF((PyObject *)span);
    if (span != NULL) {
        cirron_stream_begin_turn(span, &before);
    }
    PyObject *iterator = start(this);
    bool started = iterator != NULL;
    if (started) {
        Py_INCREF(iterator);
        sent = PyIter_Send(iterator, value, result);
        Py_DECREF(iterator);
    }
    if (span != NULL) {
        cirron_stream_end_turn(span, before);
    }
    if (sent != PYGEN_NEXT && span != NULL && (started || this->awaitable != NULL)) {
        finish(this, span, *result);
    }
    Py_XDECREF((PyObject *)span);
    Py_DECREF(self);
    return sent;
}

/* What send() and throw() give to who calls them by name. */
static PyObject *as_yielded(PySendResult sent, PyObject *result) {
    if (sent != PYGEN_RETURN) {
        return result;
    }
    /* Made here: an item that is a tuple would become the exception's arguments. */
    PyObject *stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, result, NULL);
    Py_DECREF(result);
    if (stop != NULL) {
        PyErr_SetObject(PyExc_StopIteration, stop);
        Py_DECREF(stop);
    }
    return NULL;
}

static PyObject *step_send(PyObject *self, PyObject *value) {
    PyObject *result;
    PySendResult sent = send_step(self, value, &result);
    return as_yielded(sent, result);
}

static PyObject *step_next(PyObject *self) {
    return step_send(self, Py_None);
}

/* iterator.throw(*args); an iterator without one gets the exception raised where it waits,
 * which is here. */
static PyObject *throw_into(PyObject *iterator, PyObject *args) {
    PyObject *method = PyObject_GetAttrString(iterator, "throw");
    if (method != NULL) {
        PyObject *yielded = PyObject_CallObject(method, args);
        Py_DECREF(method);
        return yielded;
    }
    PyErr_Clear();
    PyObject *error = PyTuple_GetItem(args, 0); /* Borrowed */
    if (PyType_Check(error)) {
        PyErr_SetObject(error, PyTuple_Size(args) > 1 ? PyTuple_GetItem(args, 1) : NULL);
    } else {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    }
    return NULL;
}

static PyObject *step_throw(PyObject *self, PyObject *args) {
    step *this = (step *)self;
    if (PyTuple_Size(args) == 0) {
        PyErr_SetString(PyExc_TypeError, "throw() takes an exception");
        return NULL;
    }
    cirron_stream_span *span = this->span;
    Py_XINCREF((PyObject *)span);
    PyObject *before = NULL;
    if (span != NULL) {
        cirron_stream_begin_turn(span, &before);
    }
    PyObject *iterator = start(this);
    bool started = iterator != NULL;
    PyObject *yielded = NULL;
    if (started) {
        Py_INCREF(iterator);
        yielded = throw_into(iterator, args);
        Py_DECREF(iterator);
    }
    if (span != NULL) {
        cirron_stream_end_turn(span, before);
    }
    if (yielded == NULL && started) {
        /* StopIteration: the step swallowed the exception and has its item. */
        PyObject *type;
        PyObject *value;
        PyObject *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        PyObject *item = NULL;
        if (type != NULL && PyErr_GivenExceptionMatches(type, PyExc_StopIteration)) {
            item = PyObject_GetAttrString(value, "value");
        }
        if (item == NULL) {
            PyErr_Restore(type, value, traceback);
            finish(this, span, NULL);
        } else {
            finish(this, span, item);
            Py_DECREF(item);
            PyErr_Restore(type, value, traceback);
        }
    }
    Py_XDECREF((PyObject *)span);
    return yielded;
}

/* The consumer's coroutine was closed while it waited. */
static PyObject *step_close(PyObject *self, PyObject *ignored) {
    step *this = (step *)self;
    (void)ignored;
    PyObject *target = this->iterator != NULL ? this->iterator : this->awaitable;
    cirron_stream_span *span = this->span;
    PyObject *method = target != NULL ? PyObject_GetAttrString(target, "close") : NULL;
    if (method == NULL || span == NULL) {
        Py_XDECREF(method);
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    Py_INCREF((PyObject *)span);
    PyObject *before;
    cirron_stream_begin_turn(span, &before);
    PyObject *result = PyObject_CallNoArgs(method);
    cirron_stream_end_turn(span, before);
    Py_CLEAR(this->awaitable);
    Py_CLEAR(this->iterator);
    Py_DECREF((PyObject *)span);
    Py_DECREF(method);
    return result;
}

static PyObject *same(PyObject *self) {
    Py_INCREF(self);
    return self;
}

static PyMethodDef step_methods[] = {
    {"send", step_send, METH_O, "As a coroutine's."},
    {"throw", step_throw, METH_VARARGS, "As a coroutine's."},
    {"close", step_close, METH_NOARGS, "As a coroutine's."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot step_slots[] = {
    {Py_tp_dealloc, (void *)dealloc_step},
    {Py_tp_traverse, (void *)traverse_step},
    {Py_tp_clear, (void *)clear_step},
    {Py_tp_iter, (void *)same},
    {Py_tp_iternext, (void *)step_next},
    {Py_am_await, (void *)same},
    {Py_am_send, (void *)send_step},
    {Py_tp_methods, step_methods},
    {Py_tp_doc, "Awaits one item of an AsyncStream."},
    {0, NULL},
};

static PyType_Spec step_spec = {
    .name = "cirron._core.StreamStep",
    .basicsize = sizeof(step),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = step_slots,
};

/* ---- AsyncStream */

static PyTypeObject *async_stream_type; /* Owned */

/* Its __anext__, asend and so on run nothing of the user's yet, so they need no turn. */
static bool is_async_generator(PyObject *source) {
    static PyObject *type; /* Owned; looked up late, for `import cirron` to stay short */
    if (type == NULL) {
        PyObject *types = PyImport_ImportModule("types");
        type = types != NULL ? PyObject_GetAttrString(types, "AsyncGeneratorType") : NULL;
        Py_XDECREF(types);
        PyErr_Clear();
    }
    return source != NULL && (PyObject *)Py_TYPE(source) == type;
}

/* source.<method>(*args), called in a turn, as a step. */
static PyObject *step_of_call(PyObject *self, const char *method, PyObject *args,
                              enum purpose purpose) {
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
    PyObject *before = NULL;
    if (!is_async_generator(stream->source)) {
        cirron_stream_begin_turn(span, &before);
    }
    PyObject *awaitable = PyObject_CallObject(callable, args);
    cirron_stream_end_turn(span, before);
    PyObject *made = new_step(span, awaitable, purpose);
    Py_DECREF((PyObject *)span);
    Py_DECREF(callable);
    return made;
}

/* Unlike the methods by name, these two go by the type's slots, as the interpreter does. */
static PyObject *next_step(PyObject *self) {
    cirron_stream *stream = (cirron_stream *)self;
    if (cirron_stream_check(stream) != 0) {
        return NULL;
    }
    unaryfunc anext = (unaryfunc)PyType_GetSlot(Py_TYPE(stream->source), Py_am_anext);
    if (anext == NULL) {
        PyErr_Format(PyExc_TypeError, "%R object is not an async iterator",
                     (PyObject *)Py_TYPE(stream->source));
        return NULL;
    }
    cirron_stream_span *span = stream->span;
    Py_INCREF((PyObject *)span);
    PyObject *before = NULL;
    if (!is_async_generator(stream->source)) {
        cirron_stream_begin_turn(span, &before);
    }
    PyObject *awaitable = anext(stream->source);
    cirron_stream_end_turn(span, before);
    PyObject *made = new_step(span, awaitable, NEXT_ITEM);
    Py_DECREF((PyObject *)span);
    return made;
}

static PyObject *aiterate(PyObject *self) {
    cirron_stream *stream = (cirron_stream *)self;
    if (cirron_stream_check(stream) != 0) {
        return NULL;
    }
    unaryfunc aiter = (unaryfunc)PyType_GetSlot(Py_TYPE(stream->source), Py_am_aiter);
    if (aiter == NULL) {
        PyErr_Format(PyExc_TypeError, "%R object is not async iterable",
                     (PyObject *)Py_TYPE(stream->source));
        return NULL;
    }
    PyObject *iterator = aiter(stream->source);
    if (iterator == stream->source) {
        Py_DECREF(iterator);
        return same(self);
    }
    PyObject *made = NULL;
    if (iterator != NULL) {
        made = PyObject_CallFunctionObjArgs((PyObject *)async_stream_type, iterator,
                                            (PyObject *)stream->span, NULL);
        Py_DECREF(iterator);
    }
    return made;
}

static PyObject *asend(PyObject *self, PyObject *value) {
    if (value == Py_None && is_async_generator(((cirron_stream *)self)->source)) {
        return next_step(self); /* the same, and sooner done */
    }
    PyObject *args = PyTuple_Pack(1, value);
    PyObject *made = args != NULL ? step_of_call(self, "asend", args, NEXT_ITEM) : NULL;
    Py_XDECREF(args);
    return made;
}

static PyObject *athrow(PyObject *self, PyObject *args) {
    return step_of_call(self, "athrow", args, NEXT_ITEM);
}

static PyObject *aclose(PyObject *self, PyObject *ignored) {
    (void)ignored;
    return step_of_call(self, "aclose", NULL, CLOSING);
}

static PyMethodDef stream_methods[] = {
    {"asend", asend, METH_O, "As the source's."},
    {"athrow", athrow, METH_VARARGS, "As the source's."},
    {"aclose", aclose, METH_NOARGS, "As the source's; the request ends."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_am_aiter, (void *)aiterate},
    {Py_am_anext, (void *)next_step},
    {Py_tp_methods, stream_methods},
    {Py_tp_doc,
     "AsyncStream(source, span, /)\n--\n\nAn async iterator in the turns of a StreamSpan."},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "cirron._core.AsyncStream",
    .basicsize = sizeof(cirron_stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = stream_slots,
};

int cirron_async_stream_init(PyObject *module, PyObject *base) {
    step_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &step_spec, NULL);
    async_stream_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &stream_spec, base);
    if (step_type == NULL || async_stream_type == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "AsyncStream", (PyObject *)async_stream_type);
}
