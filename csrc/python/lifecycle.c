/* Waits are bounded and without the interpreter's lock. Counts are reported since the
 * session's start: what core counts, less what stood then.
 */
#include "python/lifecycle.h"

#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/sigterm.h"
#include "python/attrs.h"
#include "python/calibration.h"
#include "python/frame.h"
#include "python/recording.h"

static cirron_counters at_start;
static uint64_t scopes_at_start;
static uint64_t marks_at_start;
static pid_t pid_at_start;
static int64_t exit_wait_ns = 2000000000; /* what the last flush may take */
static _Atomic int64_t ending_until_ns;   /* until when a shutdown may wait; monotonic */

int64_t cirron_seconds_to_ns(double seconds) {
    return seconds > 0 ? (int64_t)((seconds < 1e9 ? seconds : 1e9) * 1e9) : 0;
}

/* The root's overhead must be in core before a signal may close it. */
static int64_t session_overhead(void) {
    return cirron_overhead_ns(cirron_the_recording.scopes - scopes_at_start,
                              cirron_the_recording.marks - marks_at_start);
}

static void update_root_overhead(void) {
    cirron_process *process = cirron_process_get();
    if (process != NULL) {
        atomic_store(&process->root_overhead_ns, session_overhead());
    }
}

static void remember_counts(void) {
    cirron_process *process = cirron_process_get();
    if (process != NULL) {
        Py_BEGIN_ALLOW_THREADS cirron_collector_settle(&process->collector);
        Py_END_ALLOW_THREADS
    }
    cirron_process_count(process, &at_start);
    pid_at_start = getpid();
    scopes_at_start = cirron_the_recording.scopes;
    marks_at_start = cirron_the_recording.marks;
}

/* A smaller trace buffer has just evicted what is not this session's. */
static void forget_evictions(void) {
    cirron_counters now;
    cirron_process_count(cirron_process_get(), &now);
    at_start.evicted = now.evicted;
}

static int fill_config(PyObject *args, PyObject *kwargs, cirron_session_config *config,
                       PyObject **dir, PyObject **attrs) {
    static char *names[] = {"spool_dir",      "spool_max_bytes",
                            "flush_interval", "trace_buffer_max_spans",
                            "cpu_time",       "rank",
                            "attrs",          NULL};
    PyObject *spool_dir; /* Borrowed */
    unsigned long long max_bytes;
    double interval;
    Py_ssize_t max_spans;
    int cpu_time;
    long long rank;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OKdnpLO!:start_session", names, &spool_dir,
                                     &max_bytes, &interval, &max_spans, &cpu_time, &rank,
                                     &PyDict_Type, attrs)) {
        return -1;
    }
    if (spool_dir != Py_None && !PyUnicode_FSConverter(spool_dir, dir)) {
        return -1;
    }
    config->spool_max_bytes = max_bytes;
    config->flush_interval_ns = cirron_seconds_to_ns(interval);
    config->trace_max_spans = (size_t)max_spans;
    config->cpu_time = cpu_time != 0;
    config->rank = rank;
    config->spool_dir = *dir != NULL ? PyBytes_AsString(*dir) : NULL;
    return 0;
}

static PyObject *start_session(PyObject *module, PyObject *args, PyObject *kwargs) {
    (void)module;
    cirron_session_config config;
    PyObject *dir = NULL;   /* Owned */
    PyObject *attrs = NULL; /* Borrowed */
    cirron_attrs encoded;
    if (fill_config(args, kwargs, &config, &dir, &attrs) != 0) {
        return NULL;
    }
    if (cirron_current_session.running) {
        Py_XDECREF(dir);
        PyErr_SetString(PyExc_RuntimeError, "a session is running");
        return NULL;
    }
    cirron_attrs_begin(&encoded);
    cirron_attrs_add_dict(&encoded, attrs);
    cirron_attrs_end(&encoded);
    config.attrs = encoded.text.data != NULL ? encoded.text.data : "";
    config.attrs_len = encoded.text.len;
    if (cirron_the_recording.scope_cost_ns == 0 && cirron_calibrate() != 0) {
        PyErr_Clear(); /* no memory: overhead reads 0 */
    }
    remember_counts();
    int status = cirron_session_start(&config);
    cirron_attrs_fini(&encoded);
    Py_XDECREF(dir);
    if (status != CIRRON_OK) {
        return PyErr_NoMemory();
    }
    forget_evictions();
    char hex[32];
    cirron_id_to_hex(&cirron_current_session.id, hex);
    return PyUnicode_FromStringAndSize(hex, sizeof hex);
}

/* Writing begins at once: a server's SIGTERM may come before the interpreter has ended, when
 * nobody catches signals any more. */
static PyObject *close_session(PyObject *module, PyObject *timeout) {
    (void)module;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    cirron_process *process = cirron_process_get();
    exit_wait_ns = cirron_seconds_to_ns(seconds);
    update_root_overhead();
    Py_BEGIN_ALLOW_THREADS cirron_session_close_root();
    if (process != NULL) {
        (void)cirron_flusher_flush(&process->flusher, 0); /* asks, and waits for nothing */
    }
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *end_session(PyObject *module, PyObject *timeout) {
    (void)module;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    bool done;
    int64_t wait_ns = cirron_seconds_to_ns(seconds);
    atomic_store(&ending_until_ns, cirron_monotonic_ns() + wait_ns);
    update_root_overhead();
    Py_BEGIN_ALLOW_THREADS done = cirron_session_end(wait_ns);
    atomic_store(&ending_until_ns, 0); /* now, or never in a daemon thread of an ended Python */
    Py_END_ALLOW_THREADS cirron_warn_of_disk();
    return PyBool_FromLong(done);
}

static PyObject *get_session_id(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    if (!cirron_current_session.running) {
        Py_RETURN_NONE;
    }
    char hex[32];
    cirron_id_to_hex(&cirron_current_session.id, hex);
    return PyUnicode_FromStringAndSize(hex, sizeof hex);
}

static PyObject *get_session_number(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    return PyLong_FromUnsignedLong(cirron_current_session.number);
}

static PyObject *set_enabled(PyObject *module, PyObject *enabled) {
    (void)module;
    int on = PyObject_IsTrue(enabled);
    if (on < 0) {
        return NULL;
    }
    cirron_the_recording.enabled = on != 0;
    Py_RETURN_NONE;
}

static PyObject *restart_counts(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    remember_counts();
    Py_RETURN_NONE;
}

static PyObject *is_enabled(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    return PyBool_FromLong(cirron_the_recording.enabled);
}

static PyObject *flush(PyObject *module, PyObject *timeout) {
    (void)module;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    cirron_process *process = cirron_process_get();
    bool done = false;
    update_root_overhead();
    if (process != NULL) {
        Py_BEGIN_ALLOW_THREADS done =
            cirron_flusher_flush(&process->flusher, cirron_seconds_to_ns(seconds));
        Py_END_ALLOW_THREADS
    }
    cirron_warn_of_disk();
    return PyBool_FromLong(done);
}

static uint32_t current_depth(void) {
    PyObject *held; /* Owned */
    cirron_frame *frame = cirron_frame_current(&held);
    uint32_t depth = cirron_frame_depth(frame);
    Py_XDECREF(held);
    PyErr_Clear();
    return depth;
}

static PyObject *get_counters(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    cirron_process *process = cirron_process_get();
    cirron_counters now = {0};
    cirron_counters since = {0};
    Py_BEGIN_ALLOW_THREADS cirron_process_count(process, &now);
    Py_END_ALLOW_THREADS if (getpid() == pid_at_start) {
        since = at_start; /* a child counts from its birth */
    }
    return Py_BuildValue(
        "{sK sK sK sK sK sK sK sK sK sI si sK sL sK si sI}", "span_count", now.spans - since.spans,
        "mark_count", now.marks - since.marks, "snapshot_count", now.snapshots - since.snapshots,
        "scope_drop_count", now.spans_dropped - since.spans_dropped, "mark_drop_count",
        now.marks_dropped - since.marks_dropped, "snapshot_drop_count",
        now.snapshots_dropped - since.snapshots_dropped, "spool_drop_count",
        now.files_dropped - since.files_dropped, "spool_dropped_records",
        now.records_dropped - since.records_dropped, "spool_bytes", now.spool_bytes,
        "spool_pending", now.pending, "spool_errno", now.disk_errno, "flush_latency_ns",
        now.latency_ns, "overhead_ns", (long long)session_overhead(), "trace_evicted_count",
        now.evicted - since.evicted, "flusher_running", (int)now.flusher_running, "scope_depth",
        current_depth());
}

static PyObject *catch_sigterm(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    cirron_process *process = cirron_process_get();
    return PyBool_FromLong(process != NULL && cirron_sigterm_catch(&process->flusher));
}

PyMethodDef cirron_lifecycle_methods[] = {
    {"start_session", (PyCFunction)(void *)start_session, METH_VARARGS | METH_KEYWORDS, NULL},
    {"close_session", close_session, METH_O, NULL},
    {"end_session", end_session, METH_O, NULL},
    {"session_id", get_session_id, METH_NOARGS, NULL},
    {"session_number", get_session_number, METH_NOARGS, NULL},
    {"set_enabled", set_enabled, METH_O, NULL},
    {"is_enabled", is_enabled, METH_NOARGS, NULL},
    {"restart_counts", restart_counts, METH_NOARGS, NULL},
    {"flush", flush, METH_O, NULL},
    {"counters", get_counters, METH_NOARGS, NULL},
    {"catch_sigterm", catch_sigterm, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* After the interpreter, or after a program that embeds it and calls exit() without ending
 * it (uWSGI's master): what is not written yet, and the only wait that an exit has for us. */
static void finish(void) {
    bool has_recorded = cirron_generation() != 0; /* else a child that never did */
    int64_t wait_ns = cirron_current_session.running
                          ? exit_wait_ns
                          : atomic_load(&ending_until_ns) - cirron_monotonic_ns();
    if (has_recorded && wait_ns >= 0) { /* also beside a shutdown in a daemon thread */
        (void)cirron_session_end(wait_ns);
    }
}

/* A child's overhead is its own; its other counts start with its own state. */
static void count_from_birth(void) {
    scopes_at_start = cirron_the_recording.scopes;
    marks_at_start = cirron_the_recording.marks;
}

int cirron_lifecycle_init(PyObject *module) {
    (void)pthread_atfork(NULL, NULL, count_from_birth); /* no memory: it counts the parent's */
    if (PyModule_AddFunctions(module, cirron_lifecycle_methods) != 0) {
        return -1;
    }
    (void)Py_AtExit(finish); /* full table: the next must do */
    (void)atexit(finish);
    return 0;
}
