/* Making, opening and closing a span. The order matters: enter reads the clocks last and
 * exit reads them first, so that our own work lies outside the span; everything that can
 * run user code (attributes) happens before a record is reserved.
 */
#include "python/scope.h"

#include <string.h>

#include "core/clock.h"
#include "core/id.h"
#include "core/json_writer.h"
#include "python/attrs.h"
#include "python/names.h"
#include "python/recording.h"

/* ---- making one */

int cirron_scope_set_index(Scope *scope, PyObject *index) {
    PyObject *number = NULL;
    if (PyLong_Check(index) && !PyBool_Check(index)) {
        Py_INCREF(index);
        number = index;
    } else if (cirron_is_numpy_integer(index)) {
        number = PyNumber_Index(index);
    } else if (cirron_the_recording.enabled) {
        PyErr_Format(PyExc_TypeError, "scope(): index must be an int or None, not %R",
                     (PyObject *)Py_TYPE(index));
        return -1;
    }
    if (number == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int overflow;
    scope->index = PyLong_AsLongLongAndOverflow(number, &overflow);
    scope->has_index = overflow == 0;
    if (overflow != 0) {
        scope->big_index = number;
    } else {
        Py_DECREF(number);
    }
    return 0;
}

static int set_attr(Scope *scope, PyObject *key, PyObject *value) {
    PyObject *attrs = cirron_scope_attrs(scope); /* Borrowed */
    return attrs != NULL ? PyDict_SetItem(attrs, key, value) : -1;
}

/* The arguments of one call; all borrowed but for attrs. */
typedef struct scope_call {
    PyObject *name;
    PyObject *index;
    PyObject *attrs; /* Owned, or NULL: none */
} scope_call;

static bool is_named(PyObject *key, const char *name, Py_ssize_t len) {
    return PyUnicode_GetLength(key) == len && PyUnicode_CompareWithASCIIString(key, name) == 0;
}

static int set_once(PyObject **slot, PyObject *value, const char *name) {
    if (*slot != NULL) {
        PyErr_Format(PyExc_TypeError, "scope() got multiple values for '%s'", name);
        return -1;
    }
    *slot = value;
    return 0;
}

static int parse_keywords(PyObject *const *values, PyObject *kwnames, scope_call *call) {
    Py_ssize_t count = PyTuple_Size(kwnames);
    int failed = 0;
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        PyObject *key = PyTuple_GetItem(kwnames, i); /* Borrowed */
        if (is_named(key, "name", 4)) {
            failed = set_once(&call->name, values[i], "name");
        } else if (is_named(key, "index", 5)) {
            failed = set_once(&call->index, values[i], "index");
        } else {
            if (call->attrs == NULL) {
                call->attrs = PyDict_New();
            }
            failed = call->attrs == NULL || PyDict_SetItem(call->attrs, key, values[i]) != 0;
        }
    }
    return failed ? -1 : 0;
}

static int check_call(const scope_call *call, Py_ssize_t nargs) {
    if (nargs > 2) {
        PyErr_Format(PyExc_TypeError,
                     "scope() takes a name and an index, then keywords (%zd arguments given)",
                     nargs);
    } else if (call->name == NULL) {
        PyErr_SetString(PyExc_TypeError, "scope() needs a name: scope(name, index=None, **attrs)");
    } else if (!PyUnicode_Check(call->name) && cirron_the_recording.enabled) {
        PyErr_Format(PyExc_TypeError, "scope(): name must be a str, not %R",
                     (PyObject *)Py_TYPE(call->name));
    } else {
        return 0;
    }
    return -1;
}

PyObject *cirron_scope(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames) {
    (void)module;
    Scope *scope = NULL;
    scope_call call = {nargs > 0 ? args[0] : NULL, nargs > 1 ? args[1] : NULL, NULL};
    if ((kwnames == NULL || parse_keywords(args + nargs, kwnames, &call) == 0) &&
        check_call(&call, nargs) == 0) {
        scope = cirron_scope_new(call.name);
    }
    if (scope == NULL) {
        Py_XDECREF(call.attrs);
        return NULL;
    }
    if (call.attrs != NULL) {
        scope->attrs = call.attrs;
        PyObject_GC_Track(scope);
    }
    if (call.index != NULL && call.index != Py_None &&
        cirron_scope_set_index(scope, call.index) != 0) {
        Py_DECREF(scope);
        return NULL;
    }
    return (PyObject *)scope;
}

/* ---- opening */

static void warn_of_depth(cirron_recorder *recorder) {
    cirron_process *process = cirron_process_get();
    if (process != NULL) {
        atomic_fetch_add(&process->spans_too_deep, 1);
    }
    if (!recorder->warned_of_depth) {
        recorder->warned_of_depth = true;
        cirron_log_warning("cirron: scopes are nested deeper than 64; the deeper ones run, but "
                           "are not recorded (health()['scope_drop_count'] counts them)");
    }
}

static bool is_too_deep(cirron_frame *parent, cirron_recorder *recorder) {
    if (parent == NULL || parent->depth < CIRRON_MAX_DEPTH || cirron_the_recording.measuring) {
        return false;
    }
    parent->depth = cirron_frame_depth(parent); /* some ancestors may have closed since */
    if (parent->depth < CIRRON_MAX_DEPTH) {
        return false;
    }
    warn_of_depth(recorder);
    return true;
}

/* The new current frame of this context, or NULL: the scope goes unrecorded. */
static cirron_frame *open_frame(Scope *scope, cirron_recorder *recorder) {
    PyObject *held; /* Owned */
    cirron_frame *parent = cirron_frame_current(&held);
    cirron_frame *frame = NULL;
    if (held != NULL && !is_too_deep(parent, recorder)) {
        frame = cirron_frame_new(parent);
    }
    if (frame != NULL) {
        const cirron_session *session = &cirron_current_session;
        frame->id = cirron_id_next(&recorder->ids);
        frame->generation = recorder->generation;
        frame->session = session->number;
        frame->kind = scope->kind;
        if (parent != NULL) {
            frame->depth = parent->depth + 1;
            scope->parent_id = parent->id;
            scope->has_parent = true;
        } else if (session->running) {
            scope->parent_id = session->id;
            scope->has_parent = true;
        }
        if (cirron_frame_push(frame) != 0) {
            frame->closed = true; /* the variable may hold it all the same */
            Py_CLEAR(frame);
        }
    }
    Py_XDECREF(held);
    if (frame == NULL && PyErr_Occurred()) {
        PyErr_Clear(); /* no memory: the block runs, unrecorded */
        cirron_process_lose_span();
    }
    return frame;
}

PyObject *cirron_scope_enter(PyObject *self, PyObject *ignored) {
    (void)ignored;
    Scope *scope = (Scope *)self;
    Py_INCREF(self);
    if (__builtin_expect(!cirron_the_recording.enabled, 0)) {
        if (scope->state == SCOPE_NEW) { /* an open one must still close its frame */
            scope->state = SCOPE_UNRECORDED;
        }
        return self;
    }
    if (scope->state != SCOPE_NEW) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_RuntimeError,
                        "a Scope is entered once: call scope() again for a new span");
        return NULL;
    }
    scope->state = SCOPE_UNRECORDED;
    cirron_recorder *recorder = cirron_recorder_get();
    if (recorder == NULL) {
        cirron_process_lose_span();
        return self;
    }
    scope->frame = open_frame(scope, recorder);
    if (scope->frame != NULL) {
        scope->state = SCOPE_OPEN;
        scope->thread_id = recorder->thread_id;
        scope->has_cpu = cirron_current_session.cpu_time;
    }
    scope->opened_ns = cirron_monotonic_ns();
    scope->start_ns = cirron_epoch_ns(scope->opened_ns);
    if (scope->has_cpu) {
        scope->cpu_ns = cirron_cpu_clock_read(&recorder->cpu, scope->opened_ns);
    }
    return self;
}

/* ---- closing */

/* "TypeName: message", at most 256 bytes; NULL without an exception set when that can't
 * be had. */
static PyObject *describe_error(PyTypeObject *type, PyObject *value) {
    PyObject *name = PyType_GetName(type); /* __name__ may be anything */
    PyObject *message =
        name != NULL && value != NULL && value != Py_None ? PyObject_Str(value) : NULL;
    cirron_drop_exception();
    PyObject *text = NULL;
    if (message != NULL && PyUnicode_GetLength(message) > 0) {
        PyObject *start = PyUnicode_Substring(message, 0, CIRRON_MAX_VALUE_BYTES);
        text = start != NULL ? PyUnicode_FromFormat("%U: %U", name, start) : NULL;
        Py_XDECREF(start);
    } else if (name != NULL) {
        Py_INCREF(name);
        text = name;
    }
    Py_XDECREF(name);
    Py_XDECREF(message);
    PyErr_Clear();
    if (text == NULL) {
        return NULL;
    }
    cirron_buffer scratch = {0};
    cirron_utf8 utf8;
    PyObject *cut = NULL;
    if (cirron_text_get(text, CIRRON_MAX_VALUE_BYTES, &scratch, &utf8) == CIRRON_OK) {
        cut = PyUnicode_DecodeUTF8(utf8.data, (Py_ssize_t)utf8.len, "replace");
    }
    cirron_buffer_fini(&scratch);
    Py_DECREF(text);
    PyErr_Clear();
    return cut;
}

static void note_error(Scope *scope, PyObject *const *args, Py_ssize_t nargs) {
    PyObject *type = args[0];
    if (PyErr_GivenExceptionMatches(type, PyExc_GeneratorExit)) {
        return; /* a loop that was left early */
    }
    PyObject *error = NULL;
    if (PyType_Check(type)) {
        error = describe_error((PyTypeObject *)type, nargs > 1 ? args[1] : NULL);
    }
    PyObject *key = error != NULL ? PyUnicode_FromString("error") : NULL;
    if (key != NULL) {
        (void)set_attr(scope, key, error); /* no memory: the span stays without it */
    }
    Py_XDECREF(key);
    Py_XDECREF(error);
    PyErr_Clear();
}

static void add_big_index(Scope *scope, cirron_attrs *attrs) {
    PyObject *key = PyUnicode_FromString("cirron.index");
    if (key != NULL) {
        cirron_attrs_add(attrs, key, scope->big_index);
        Py_DECREF(key);
    }
    PyErr_Clear();
}

static void add_gpu(cirron_span_record *record, const Scope *scope) {
    record->gpu_ns = scope->gpu_ns;
    record->memory_peak_bytes = scope->memory_peak_bytes;
    record->flags |=
        (scope->has_gpu ? CIRRON_SPAN_GPU : 0u) | (scope->has_memory ? CIRRON_SPAN_MEMORY : 0u);
}

static void record_span(Scope *scope, cirron_recorder *recorder, const cirron_buffer *attrs) {
    cirron_buffer scratch = {0};
    cirron_name_ref name;
    if (cirron_name_find(scope->name, recorder->generation, &scratch, &name) != CIRRON_OK) {
        cirron_process_lose_span();
        cirron_buffer_fini(&scratch);
        return;
    }
    const cirron_frame *frame = scope->frame;
    uint32_t payload_len = name.len + (uint32_t)attrs->len;
    char *payload;
    uint32_t offset;
    cirron_span_record *record =
        cirron_recorder_reserve_span(recorder, payload_len, &payload, &offset);
    if (record != NULL) {
        if (payload_len != 0) {
            memcpy(payload, name.text, name.len);
            memcpy(payload + name.len, attrs->data, attrs->len);
        }
        record->id = frame->id;
        record->parent_id = scope->parent_id;
        record->start_ns = scope->start_ns;
        record->duration_ns = scope->end_ns - scope->start_ns;
        record->cpu_ns = scope->cpu_ns;
        record->index = scope->index;
        record->overhead_ns = cirron_overhead_ns(frame->scopes, frame->marks);
        record->thread_id = scope->thread_id;
        record->name = name.id;
        record->payload = offset;
        record->name_len = name.len;
        record->attrs_len = (uint32_t)attrs->len;
        record->session = frame->session;
        record->flags = (scope->has_parent ? CIRRON_SPAN_PARENT : 0u) |
                        (scope->has_index ? CIRRON_SPAN_INDEX : 0u) |
                        (scope->has_cpu ? CIRRON_SPAN_CPU : 0u);
        if (__builtin_expect(scope->holds_record, 0)) {
            add_gpu(record, scope);
        }
        if (!cirron_the_recording.measuring) {
            cirron_queue_publish(&recorder->spans, payload_len);
        }
    }
    if (scratch.data != NULL) {
        cirron_buffer_fini(&scratch);
    }
}

#define PUT(at, literal) (memcpy(at, literal, sizeof(literal) - 1), (at) + sizeof(literal) - 1)

/* The attributes of a scope that has none but its own, or nothing. Returns the length. */
__attribute__((noinline)) static size_t write_own_attr(const Scope *scope, char text[64]) {
    char *at = text;
    switch (scope->own_attr) {
    case OWN_REQUEST_ID:
        at = PUT(at, "{\"request_id\":\"");
        cirron_id_to_hex(&scope->request_id, at);
        at = PUT(at + 32, "\"}");
        break;
    case OWN_DATA_LOAD_NS:
        at = PUT(at, "{\"data_load_ns\":");
        at = cirron_json_put_int(at, scope->data_load_ns);
        at = PUT(at, "}");
        break;
    default:
        break;
    }
    return (size_t)(at - text);
}

/* Everything that can run user code comes before a record is reserved. */
__attribute__((always_inline)) static inline void record_scope(Scope *scope,
                                                               cirron_recorder *recorder) {
    if (recorder == NULL) {
        cirron_process_lose_span();
        return;
    }
    if (scope->frame->generation != recorder->generation) {
        return; /* opened before a fork: the parent's */
    }
    if (scope->attrs == NULL && scope->big_index == NULL) {
        char text[64] = "";
        size_t len = scope->own_attr != OWN_NONE ? write_own_attr(scope, text) : 0;
        record_span(scope, recorder, &(cirron_buffer){.data = text, .len = len});
        return;
    }
    cirron_attrs attrs;
    cirron_attrs_begin(&attrs);
    if (scope->attrs != NULL) {
        cirron_attrs_add_dict(&attrs, scope->attrs);
    }
    if (scope->big_index != NULL) {
        add_big_index(scope, &attrs);
    }
    cirron_attrs_end(&attrs);
    recorder = cirron_recorder_get(); /* user code ran: it may have forked, or worse */
    if (recorder == NULL) {
        cirron_process_lose_span();
    } else if (scope->frame->generation == recorder->generation) {
        record_span(scope, recorder, &attrs.text);
    }
    cirron_attrs_fini(&attrs);
}

static void close_recorded(Scope *scope, PyObject *const *args, Py_ssize_t nargs) {
    int64_t now = cirron_monotonic_ns();
    cirron_recorder *recorder = cirron_recorder_get();
    if (scope->has_cpu) {
        scope->has_cpu = recorder != NULL && recorder->thread_id == scope->thread_id;
        int64_t cpu = 0;
        if (scope->has_cpu) {
            cpu = cirron_cpu_clock_read(&recorder->cpu, now) - scope->cpu_ns;
        }
        scope->cpu_ns = cpu < 0 ? 0 : cpu; /* an estimate, against a reading */
    }
    scope->end_ns = scope->start_ns + now - scope->opened_ns;
    if (__builtin_expect(nargs > 0 && args[0] != Py_None, 0)) {
        note_error(scope, args, nargs);
        recorder = cirron_recorder_get(); /* an exception's str may have forked */
    }
    cirron_frame_close(scope->frame);
    cirron_the_recording.scopes++;
    if (__builtin_expect(scope->holds_record, 0)) {
        scope->state = SCOPE_HELD;
    } else {
        record_scope(scope, recorder);
    }
}

PyObject *cirron_scope_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    Scope *scope = (Scope *)self;
    if (scope->state == SCOPE_OPEN) {
        scope->state = SCOPE_CLOSED;
        close_recorded(scope, args, nargs);
        if (__builtin_expect(atomic_load_explicit(&cirron_disk_refused, memory_order_relaxed), 0)) {
            cirron_warn_of_disk();
        }
    } else if (scope->state == SCOPE_UNRECORDED) {
        scope->state = SCOPE_CLOSED;
        if (scope->start_ns != 0) {
            scope->end_ns = scope->start_ns + cirron_monotonic_ns() - scope->opened_ns;
        }
    }
    Py_RETURN_NONE;
}

void cirron_scope_publish(Scope *scope) {
    if (scope->state == SCOPE_HELD) {
        scope->state = SCOPE_CLOSED;
        record_scope(scope, cirron_recorder_get());
    }
}

bool cirron_scope_discard(Scope *scope) {
    if (scope->state == SCOPE_OPEN) {
        if (scope->frame->scopes != 0 || scope->frame->marks != 0) {
            return false;
        }
        cirron_frame_discard(scope->frame);
    }
    scope->state = SCOPE_CLOSED;
    return true;
}
