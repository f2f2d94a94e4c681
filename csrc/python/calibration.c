/* The functions that a program calls are run here a few hundred times, with records that
 * are filled in and never published. Unit costs instead of clock reads: timing each scope
 * would double its cost.
 */
#include "python/calibration.h"

#include "core/clock.h"
#include "python/mark.h"
#include "python/recording.h"
#include "python/scope.h"

static int run_scopes(int count, PyObject *name) {
    for (int i = 0; i < count; i++) {
        PyObject *scope = cirron_scope(NULL, &name, 1, NULL);
        PyObject *entered = scope != NULL ? cirron_scope_enter(scope, NULL) : NULL;
        PyObject *none = entered != NULL ? cirron_scope_exit(scope, NULL, 0) : NULL;
        Py_XDECREF(entered);
        Py_XDECREF(scope);
        if (none == NULL) {
            return -1;
        }
        Py_DECREF(none);
    }
    return 0;
}

static int run_marks(int count, PyObject *name, PyObject *value) {
    PyObject *args[2] = {name, value};
    for (int i = 0; i < count; i++) {
        PyObject *none = cirron_mark(NULL, args, 2, NULL);
        if (none == NULL) {
            return -1;
        }
        Py_DECREF(none);
    }
    return 0;
}

int cirron_calibrate(void) {
    enum { ROUNDS = 5, COUNT = 100 };
    cirron_recording *recording = &cirron_the_recording;
    cirron_recording before = *recording;
    PyObject *name = PyUnicode_FromString("cirron.overhead");
    PyObject *value = PyFloat_FromDouble(0.5);
    int64_t best_scope = INT64_MAX;
    int64_t best_mark = INT64_MAX;
    int failed = name == NULL || value == NULL;
    int was_enabled = PyGC_Disable(); /* no finaliser, so no other thread in between */
    recording->enabled = true;
    recording->measuring = true;
    for (int round = 0; round < ROUNDS && !failed; round++) {
        int64_t start = cirron_monotonic_ns();
        failed = run_scopes(COUNT, name);
        int64_t middle = cirron_monotonic_ns();
        failed = failed || run_marks(COUNT, name, value);
        int64_t end = cirron_monotonic_ns();
        best_scope = middle - start < best_scope ? middle - start : best_scope;
        best_mark = end - middle < best_mark ? end - middle : best_mark;
    }
    Py_XDECREF(name);
    Py_XDECREF(value);
    *recording = before;
    if (was_enabled) {
        PyGC_Enable();
    }
    if (!failed) {
        recording->scope_cost_ns = best_scope / COUNT;
        recording->mark_cost_ns = best_mark / COUNT;
    }
    return failed ? -1 : 0;
}
