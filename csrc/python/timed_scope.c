/* What hooks do around others' code. What the hooks' own Python raises is dropped: it
 * reports for itself.
 */
#include "python/timed_scope.h"

#include "core/process.h"
#include "python/text.h"

static void drop(PyObject *result) {
    if (result == NULL) {
        cirron_drop_exception();
    }
    Py_XDECREF(result);
}

/* The timer looks at the GPU's clock. */
static void tell_timer(PyObject *timer, const char *event, Scope *scope) {
    PyObject *error[3];
    PyErr_Fetch(&error[0], &error[1], &error[2]);
    Py_INCREF(timer); /* the hook may be taken out meanwhile */
    drop(PyObject_CallMethod(timer, event, "O", (PyObject *)scope));
    Py_DECREF(timer);
    PyErr_Restore(error[0], error[1], error[2]);
}

Scope *cirron_timed_open(PyObject *name, uint8_t kind, const int64_t *index, PyObject *timer) {
    Scope *scope = cirron_scope_new(name);
    if (scope == NULL) {
        PyErr_Clear();
        cirron_process_lose_span();
        return NULL;
    }
    scope->kind = kind;
    if (index != NULL) {
        scope->index = *index;
        scope->has_index = true;
    }
    if (timer != Py_None) {
        tell_timer(timer, "begin", scope);
    }
    drop(cirron_scope_enter((PyObject *)scope, NULL));
    return scope;
}

void cirron_timed_close(Scope *scope, PyObject *timer) {
    PyObject *error[3];
    PyErr_Fetch(&error[0], &error[1], &error[2]);
    if (error[0] != NULL) {
        PyErr_NormalizeException(&error[0], &error[1], &error[2]);
    }
    drop(cirron_scope_exit((PyObject *)scope, error, error[0] != NULL ? 2 : 0));
    PyErr_Restore(error[0], error[1], error[2]);
    if (timer != Py_None) {
        tell_timer(timer, "end", scope);
    }
}
