/* The switch and the counts of recording, and what a scope and a mark cost here. */
#include "python/recording.h"

#include <string.h>

#include "core/clock.h"
#include "python/mark.h"
#include "python/scope.h"
#include "python/text.h"

cirron_recording cirron_the_recording = {.enabled = true};

void cirron_count_lost_span(void) {
    cirron_process *process = cirron_process_get();
    if (process != NULL) {
        atomic_fetch_add(&process->spans_lost, 1);
    }
}

void cirron_count_lost_mark(void) {
    cirron_process *process = cirron_process_get();
    if (process != NULL) {
        atomic_fetch_add(&process->marks_lost, 1);
    }
}

void cirron_warn_of_disk(void) {
    if (!atomic_exchange(&cirron_disk_refused, false)) {
        return;
    }
    cirron_process *process = cirron_process_get();
    int error = process != NULL ? atomic_load(&process->flusher.disk_errno) : 0;
    char message[256];
    PyOS_snprintf(message, sizeof message,
                  "cirron: the spool can't be written (%.80s); traces wait in memory and are "
                  "tried again, the oldest are dropped beyond 64 MiB",
                  error != 0 ? strerror(error) : "it works again by now");
    cirron_log_warning(message);
}

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

int cirron_measure_costs(void) {
    enum { ROUNDS = 5, COUNT = 100 };
    cirron_recording *recording = &cirron_the_recording;
    cirron_recording before = *recording;
    PyObject *name = PyUnicode_FromString("cirron.overhead");
    PyObject *value = PyFloat_FromDouble(0.5);
    int64_t best_scope = INT64_MAX;
    int64_t best_mark = INT64_MAX;
    int failed = name == NULL || value == NULL;
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
    if (!failed) {
        recording->scope_cost_ns = best_scope / COUNT;
        recording->mark_cost_ns = best_mark / COUNT;
    }
    return failed ? -1 : 0;
}
