#include "python/stream_step.h"

enum state { NEW, STARTED, FINISHED };

typedef struct step {
    PyObject_HEAD
    PyObject *awaited;        /* Owned, or NULL: cleared. NEW: the awaitable; then its iterator */
    cirron_stream_span *span; /* Owned, or NULL likewise */
    enum state state;
    bool closes; /* the stream; else it gives an item */
} step;

static PyTypeObject *step_type; /* Owned */

PyObject *cirron_stream_step_new(cirron_stream_span *span, PyObject *awaitable, bool closes) {
    step *made = PyObject_GC_New(step, step_type);
    if (made == NULL) {
        Py_DECREF(awaitable);
        return NULL;
    }
    Py_INCREF((PyObject *)span);
    made->awaited = awaitable;
    made->span = span;
    made->state = NEW;
    made->closes = closes;
    PyObject_GC_Track(made);
    return (PyObject *)made;
}

static int traverse_step(PyObject *self, visitproc visit, void *arg) {
    step *this = (step *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(this->awaited);
    Py_VISIT((PyObject *)this->span);
    return 0;
}

static int clear_step(PyObject *self) {
    step *this = (step *)self;
    this->state = FINISHED;
    Py_CLEAR(this->awaited);
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

/* ---- a turn */

/* In a turn, since making the iterator may run the user's code. */
static int start(step *this) {
    if (this->state != NEW) {
        return 0;
    }
    PyObject *awaitable = this->awaited;
    unaryfunc await = (unaryfunc)PyType_GetSlot(Py_TYPE(awaitable), Py_am_await);
    this->state = FINISHED; /* meanwhile: that code may come back to this step */
    /* Without the slot it is a generator that types.coroutine marked. */
    PyObject *iterator = await != NULL ? await(awaitable) : Py_NewRef(awaitable);
    if (iterator == NULL) {
        return -1;
    }
    this->awaited = iterator;
    this->state = STARTED;
    Py_DECREF(awaitable);
    return 0;
}

/* The value of the StopIteration that is set, owned. NULL: another exception is, and stays. */
static PyObject *take_returned(void) {
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return NULL;
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *returned = PyObject_GetAttrString(value, "value");
    Py_DECREF(type);
    Py_DECREF(value);
    Py_XDECREF(traceback);
    return returned;
}

/* iterator.throw(*args); an iterator without one gets the exception raised where it waits,
 * which is here. */
static PySendResult throw_into(PyObject *iterator, PyObject *args, PyObject **result) {
    PyObject *method = PyObject_GetAttrString(iterator, "throw");
    if (method == NULL) {
        PyErr_Clear();
        PyObject *error = PyTuple_GetItem(args, 0); /* Borrowed */
        if (PyType_Check(error)) {
            PyErr_SetObject(error, PyTuple_Size(args) > 1 ? PyTuple_GetItem(args, 1) : NULL);
        } else {
            PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        }
        return PYGEN_ERROR;
    }
    *result = PyObject_CallObject(method, args);
    Py_DECREF(method);
    if (*result != NULL) {
        return PYGEN_NEXT;
    }
    *result = take_returned(); /* it swallowed the exception and has its item */
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

/* Sends `value`, or where that is NULL throws `thrown`, the arguments of throw(). */
static PySendResult resume(step *this, PyObject *value, PyObject *thrown, PyObject **result) {
    PySendResult sent = PYGEN_ERROR;
    *result = NULL;
    if (this->state == FINISHED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited stream step");
        return sent;
    }
    Py_INCREF((PyObject *)this); /* the turn may drop it */
    PyObject *before = cirron_stream_begin_turn(this->span);
    if (start(this) == 0) {
        sent = value != NULL ? PyIter_Send(this->awaited, value, result)
                             : throw_into(this->awaited, thrown, result);
    }
    cirron_stream_end_turn(this->span, before);
    if (sent != PYGEN_NEXT) {
        this->state = FINISHED;
        cirron_stream_record(this->span, *result, this->closes);
    }
    Py_DECREF((PyObject *)this);
    return sent;
}

/* ---- the type */

static PySendResult send_in(PyObject *self, PyObject *value, PyObject **result) {
    return resume((step *)self, value, NULL, result);
}

/* For who calls send() or throw() by name. */
static PyObject *resume_by_name(PyObject *self, PyObject *value, PyObject *thrown) {
    PyObject *result;
    if (resume((step *)self, value, thrown, &result) != PYGEN_RETURN) {
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

static PyObject *step_next(PyObject *self) {
    return resume_by_name(self, Py_None, NULL);
}

static PyObject *step_send(PyObject *self, PyObject *value) {
    return resume_by_name(self, value, NULL);
}

static PyObject *step_throw(PyObject *self, PyObject *args) {
    if (PyTuple_Size(args) == 0) {
        PyErr_SetString(PyExc_TypeError, "throw() takes an exception");
        return NULL;
    }
    return resume_by_name(self, NULL, args);
}

/* The consumer's coroutine was closed while it waited. */
static PyObject *step_close(PyObject *self, PyObject *ignored) {
    step *this = (step *)self;
    (void)ignored;
    PyObject *method =
        this->state != FINISHED ? PyObject_GetAttrString(this->awaited, "close") : NULL;
    if (method == NULL) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    PyObject *before = cirron_stream_begin_turn(this->span);
    PyObject *result = PyObject_CallNoArgs(method);
    cirron_stream_end_turn(this->span, before);
    this->state = FINISHED;
    Py_DECREF(method);
    return result;
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
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)step_next},
    {Py_am_await, (void *)PyObject_SelfIter},
    {Py_am_send, (void *)send_in},
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

int cirron_stream_step_init(PyObject *module) {
    step_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &step_spec, NULL);
    return step_type != NULL ? 0 : -1;
}
