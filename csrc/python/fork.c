/* What the hooks of a fork need: the flusher's thread away while the process forks, and
 * steps that are done whatever signals come.
 *
 * A program's signal handlers run between any two steps of Python, also of a hook. What they
 * raise there would end the hook half done, and CPython would print it and go on. So a hook
 * is called again until it is done, its steps are done once however often they are asked
 * for, and what was raised comes when the program itself runs again.
 */
#include "python/fork.h"

#include <unistd.h>

#include "core/clock.h"
#include "core/process.h"
#include "python/lifecycle.h"

enum { TRIES = 100 };

#define PATIENCE_NS INT64_C(50000000) /* with the hooks of others */

/* The process in which this thread has done the step for its fork, or 0. */
static _Thread_local pid_t locked_in;
static _Thread_local pid_t parked_in;

/* Has `pending` called by the main thread with (what, frame, deadline, process). False when it
 * can't be; an exception may be set then. */
static bool call_later(int (*pending)(void *), PyObject *what, PyObject *frame) {
    long long deadline_ns = cirron_monotonic_ns() + PATIENCE_NS;
    PyObject *arguments = Py_BuildValue("(OOLi)", what, frame, deadline_ns, (int)getpid());
    bool will = arguments != NULL && Py_AddPendingCall(pending, arguments) == 0;
    if (!will) {
        Py_XDECREF(arguments);
    }
    return will;
}

/* A frame runs again when the C function that it called has returned. Later hooks of the same
 * fork may let pending calls run before: then it is called once more. */
static bool is_too_early(int (*pending)(void *), PyObject *arguments) {
    PyObject *frame = PyTuple_GetItem(arguments, 1); /* Borrowed, as the next */
    PyObject *deadline_ns = PyTuple_GetItem(arguments, 2);
    return (PyObject *)PyEval_GetFrame() != frame &&
           cirron_monotonic_ns() < PyLong_AsLongLong(deadline_ns) &&
           Py_AddPendingCall(pending, arguments) == 0;
}

static int raise_when_back(void *put_off) {
    PyObject *arguments = put_off;                   /* Owned */
    PyObject *error = PyTuple_GetItem(arguments, 0); /* Borrowed */
    /* A child has the calls that its parent put off. */
    bool is_ours = PyLong_AsLong(PyTuple_GetItem(arguments, 3)) == getpid();
    if (is_ours && is_too_early(raise_when_back, arguments)) {
        return 0;
    }
    if (is_ours) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    }
    Py_DECREF(arguments);
    return is_ours ? -1 : 0;
}

/* Has an exception raised in the code that forks. False when it can't, or need not: handlers
 * run in the main thread alone, and a want of memory is not theirs. */
static bool put_off(PyObject *error) {
    PyObject *frame = (PyObject *)PyEval_GetFrame(); /* Borrowed */
    if (gettid() != getpid() || PyErr_GivenExceptionMatches(error, PyExc_MemoryError)) {
        return false;
    }
    bool will = call_later(raise_when_back, error, frame != NULL ? frame : Py_None);
    PyErr_Clear(); /* the error itself is told */
    return will;
}

/* Takes the exception that is set; `before` becomes its context. */
static PyObject *take_exception(PyObject *before) {
    PyObject *type;
    PyObject *error;
    PyObject *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL) {
        (void)PyException_SetTraceback(error, traceback); /* fails for what is no traceback */
    }
    if (before != NULL && before != error) {
        PyException_SetContext(error, before);
    } else {
        Py_XDECREF(before);
    }
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return error;
}

static PyObject *run_hook(PyObject *call, PyObject *ignored) {
    (void)ignored;
    PyObject *error = NULL; /* Owned */
    PyObject *result = PyObject_CallNoArgs(call);
    for (int i = 0; result == NULL && i < TRIES; i++) {
        error = take_exception(error);
        result = PyObject_CallNoArgs(call);
    }
    if (result != NULL && error != NULL && !put_off(error)) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        PyErr_WriteUnraisable(call);
    }
    Py_XDECREF(error);
    return result;
}

static PyMethodDef hook = {"fork_hook", run_hook, METH_NOARGS, NULL};

static PyObject *fork_hook(PyObject *module, PyObject *call) {
    (void)module;
    return PyCFunction_New(&hook, call);
}

static PyObject *lock_for_fork(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *lock; /* Borrowed */
    double seconds;
    if (!PyArg_ParseTuple(args, "Od:lock_for_fork", &lock, &seconds)) {
        return NULL;
    }
    if (locked_in != getpid()) {
        PyObject *result = PyObject_CallMethod(lock, "acquire", "id", 1, seconds);
        if (result == NULL) {
            return NULL;
        }
        locked_in = PyObject_IsTrue(result) == 1 ? getpid() : 0;
        Py_DECREF(result);
    }
    Py_RETURN_NONE;
}

static PyObject *unlock_after_fork(PyObject *module, PyObject *lock) {
    (void)module;
    if (locked_in != getpid()) {
        Py_RETURN_NONE;
    }
    locked_in = 0;
    return PyObject_CallMethod(lock, "release", NULL);
}

static PyObject *before_fork(PyObject *module, PyObject *timeout) {
    (void)module;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    if (parked_in != getpid()) {
        parked_in = getpid();
        Py_BEGIN_ALLOW_THREADS cirron_process_before_fork(cirron_seconds_to_ns(seconds));
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static PyObject *after_fork_in_parent(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    if (parked_in == getpid()) {
        parked_in = 0;
        cirron_process_after_fork_in_parent();
    }
    Py_RETURN_NONE;
}

static int call_in_frame(void *put_off) {
    PyObject *arguments = put_off;                  /* Owned */
    PyObject *call = PyTuple_GetItem(arguments, 0); /* Borrowed */
    if (is_too_early(call_in_frame, arguments)) {
        return 0;
    }
    PyObject *result = run_hook(call, NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable(call);
    }
    Py_XDECREF(result);
    Py_DECREF(arguments);
    return 0;
}

static PyObject *call_when_back(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *call; /* Borrowed, as the next */
    PyObject *frame;
    if (!PyArg_ParseTuple(args, "OO:call_when_back", &call, &frame)) {
        return NULL;
    }
    bool will = call_later(call_in_frame, call, frame);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(will);
}

PyMethodDef cirron_fork_methods[] = {
    {"fork_hook", fork_hook, METH_O, NULL},
    {"lock_for_fork", lock_for_fork, METH_VARARGS, NULL},
    {"unlock_after_fork", unlock_after_fork, METH_O, NULL},
    {"before_fork", before_fork, METH_O, NULL},
    {"after_fork_in_parent", after_fork_in_parent, METH_NOARGS, NULL},
    {"call_when_back", call_when_back, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
