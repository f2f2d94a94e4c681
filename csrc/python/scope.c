/* Opening and closing a span. The order matters: enter reads the clocks last and exit
 * reads them first, so that our own work lies outside the span; everything that can run
 * user code (attributes) happens before a record is reserved.
 *
 * A Scope is tracked by the collector only once it has attributes, and comes from a list
 * of used ones.
 */
#include "python/scope.h"

#include <string.h>
#include <structmember.h>

#include "core/clock.h"
#include "python/attrs.h"
#include "python/frame.h"
#include "python/names.h"
#include "python/recording.h"

enum scope_state {
    SCOPE_NEW,
    SCOPE_OPEN,
    SCOPE_UNRECORDED, /* open, but disabled, too deep or no memory */
    SCOPE_CLOSED,
};

typedef struct Scope {
    PyObject_HEAD PyObject *name; /* Owned */
    PyObject *attrs;              /* Owned, or NULL: none yet */
    PyObject *big_index;          /* Owned, or NULL: an index outside int64 */
    cirron_frame *frame;          /* Owned, or NULL: never recorded */
    cirron_id parent_id;
    int64_t index;
    int64_t opened_ns; /* monotonic */
    int64_t start_ns;  /* 0: not opened, or disabled then */
    int64_t end_ns;    /* 0: not closed */
    int64_t cpu_ns;    /* of the thread, when it was opened */
    uint64_t thread_id;
    uint8_t state;
    bool has_parent;
    bool has_index;
    bool has_cpu;
} Scope;

static PyTypeObject *scope_type; /* Owned */

enum { KEPT_SCOPES = 256 };
static Scope *kept_scopes[KEPT_SCOPES];
static int kept_count;

/* ---- making one */

static Scope *new_scope(PyObject *name) {
    Scope *scope;
    if (kept_count > 0) {
        scope = kept_scopes[--kept_count];
        PyObject_Init((PyObject *)scope, scope_type);
    } else {
        scope = PyObject_GC_New(Scope, scope_type);
        if (scope == NULL) {
            return NULL;
        }
    }
    Py_INCREF(name);
    scope->name = name;
    scope->attrs = NULL;
    scope->big_index = NULL;
    scope->frame = NULL;
    scope->start_ns = 0;
    scope->end_ns = 0;
    scope->state = SCOPE_NEW;
    scope->has_parent = false;
    scope->has_index = false;
    scope->has_cpu = false;
    return scope;
}

static int set_index(Scope *scope, PyObject *index) {
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
    if (scope->attrs == NULL) {
        scope->attrs = PyDict_New();
        if (scope->attrs == NULL) {
            return -1;
        }
        PyObject_GC_Track(scope);
    }
    return PyDict_SetItem(scope->attrs, key, value);
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
        scope = new_scope(call.name);
    }
    if (scope == NULL) {
        Py_XDECREF(call.attrs);
        return NULL;
    }
    if (call.attrs != NULL) {
        scope->attrs = call.attrs;
        PyObject_GC_Track(scope);
    }
    if (call.index != NULL && call.index != Py_None && set_index(scope, call.index) != 0) {
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
    if (parent == NULL || parent->depth < CIRRON_MAX_DEPTH) {
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
        if (parent != NULL) {
            frame->depth = parent->depth + 1;
            scope->parent_id = parent->id;
            scope->has_parent = true;
        } else if (session->running) {
            scope->parent_id = session->id;
            scope->has_parent = true;
        }
        if (cirron_frame_push(frame) != 0) {
            Py_CLEAR(frame);
        }
    }
    Py_XDECREF(held);
    if (frame == NULL && PyErr_Occurred()) {
        PyErr_Clear(); /* no memory: the block runs, unrecorded */
        cirron_count_lost_span();
    }
    return frame;
}

PyObject *cirron_scope_enter(PyObject *self, PyObject *ignored) {
    (void)ignored;
    Scope *scope = (Scope *)self;
    Py_INCREF(self);
    if (__builtin_expect(!cirron_the_recording.enabled, 0)) {
        scope->state = SCOPE_UNRECORDED;
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
        cirron_count_lost_span();
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
static PyObject *describe_error(PyObject *type, PyObject *value) {
    PyObject *name = PyObject_GetAttrString(type, "__name__");
    PyObject *message =
        name != NULL && value != NULL && value != Py_None ? PyObject_Str(value) : NULL;
    PyErr_Clear();
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
    PyObject *error = PyType_Check(type) ? describe_error(type, nargs > 1 ? args[1] : NULL) : NULL;
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

static void record_span(Scope *scope, cirron_recorder *recorder, int64_t duration, int64_t cpu,
                        const cirron_buffer *attrs) {
    cirron_buffer scratch = {0};
    cirron_name_ref name;
    if (cirron_name_find(scope->name, recorder->generation, &scratch, &name) != CIRRON_OK) {
        cirron_count_lost_span();
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
        record->duration_ns = duration;
        record->cpu_ns = cpu;
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
        if (!cirron_the_recording.measuring) {
            cirron_queue_publish(&recorder->spans, payload_len);
        }
    }
    if (scratch.data != NULL) {
        cirron_buffer_fini(&scratch);
    }
}

static void close_recorded(Scope *scope, PyObject *const *args, Py_ssize_t nargs) {
    int64_t now = cirron_monotonic_ns();
    cirron_recorder *recorder = cirron_recorder_get();
    int64_t cpu = 0;
    if (scope->has_cpu) {
        scope->has_cpu = recorder != NULL && recorder->thread_id == scope->thread_id;
        cpu = scope->has_cpu ? cirron_cpu_clock_read(&recorder->cpu, now) - scope->cpu_ns : 0;
        cpu = cpu < 0 ? 0 : cpu; /* an estimate, against a reading */
    }
    int64_t duration = now - scope->opened_ns;
    scope->end_ns = scope->start_ns + duration;
    if (__builtin_expect(nargs > 0 && args[0] != Py_None, 0)) {
        note_error(scope, args, nargs);
    }
    cirron_frame_close(scope->frame);
    cirron_the_recording.scopes++;
    if (recorder == NULL) {
        cirron_count_lost_span();
        return;
    }
    if (scope->frame->generation != recorder->generation) {
        return; /* opened before a fork: the parent's */
    }
    if (scope->attrs == NULL && scope->big_index == NULL) {
        record_span(scope, recorder, duration, cpu, &(cirron_buffer){.data = ""});
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
    if (recorder != NULL && scope->frame->generation == recorder->generation) {
        record_span(scope, recorder, duration, cpu, &attrs.text);
    }
    cirron_attrs_fini(&attrs);
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

/* ---- the type */

static void dealloc_scope(PyObject *self) {
    Scope *scope = (Scope *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (scope->attrs != NULL) {
        PyObject_GC_UnTrack(self);
    }
    if (scope->state == SCOPE_OPEN) {
        cirron_frame_close(scope->frame); /* lost without an exit: nobody's parent any more */
    }
    Py_CLEAR(scope->name);
    Py_CLEAR(scope->attrs);
    Py_CLEAR(scope->big_index);
    Py_CLEAR(scope->frame);
    if (kept_count < KEPT_SCOPES) {
        kept_scopes[kept_count++] = scope;
    } else {
        PyObject_GC_Del(scope);
    }
    Py_DECREF(type);
}

static int traverse_scope(PyObject *self, visitproc visit, void *arg) {
    Scope *scope = (Scope *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(scope->attrs);
    return 0;
}

static int clear_scope(PyObject *self) {
    Scope *scope = (Scope *)self;
    if (scope->attrs != NULL) {
        PyDict_Clear(scope->attrs); /* the dict itself stays: it says that we are tracked */
    }
    return 0;
}

static PyObject *hex_of(const cirron_id *id) {
    char hex[32];
    cirron_id_to_hex(id, hex);
    return PyUnicode_FromStringAndSize(hex, sizeof hex);
}

static PyObject *get_id(PyObject *self, void *closure) {
    (void)closure;
    Scope *scope = (Scope *)self;
    if (scope->frame == NULL) {
        Py_RETURN_NONE;
    }
    return hex_of(&scope->frame->id);
}

static PyObject *get_parent_id(PyObject *self, void *closure) {
    (void)closure;
    Scope *scope = (Scope *)self;
    if (!scope->has_parent) {
        Py_RETURN_NONE;
    }
    return hex_of(&scope->parent_id);
}

static PyObject *get_index(PyObject *self, void *closure) {
    (void)closure;
    Scope *scope = (Scope *)self;
    if (scope->big_index != NULL) {
        Py_INCREF(scope->big_index);
        return scope->big_index;
    }
    if (!scope->has_index) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLongLong(scope->index);
}

static PyObject *get_start(PyObject *self, void *closure) {
    (void)closure;
    Scope *scope = (Scope *)self;
    if (scope->start_ns == 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLongLong(scope->start_ns);
}

static PyObject *get_end(PyObject *self, void *closure) {
    (void)closure;
    Scope *scope = (Scope *)self;
    if (scope->end_ns == 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLongLong(scope->end_ns);
}

static PyObject *get_attrs(PyObject *self, void *closure) {
    (void)closure;
    Scope *scope = (Scope *)self;
    if (scope->attrs == NULL) {
        scope->attrs = PyDict_New();
        if (scope->attrs == NULL) {
            return NULL;
        }
        PyObject_GC_Track(self);
    }
    Py_INCREF(scope->attrs);
    return scope->attrs;
}

/* As a decorator: the wrapper is Python's business. */
static PyObject *call_scope(PyObject *self, PyObject *args, PyObject *kwargs) {
    Scope *scope = (Scope *)self;
    PyObject *fn;
    if (kwargs != NULL && PyDict_Size(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "scope(...) decorates one function");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O:scope", &fn)) {
        return NULL;
    }
    PyObject *module = PyImport_ImportModule("cirron.decorate");
    PyObject *index = get_index(self, NULL);
    PyObject *attrs = scope->attrs != NULL ? PyDict_Copy(scope->attrs) : PyDict_New();
    PyObject *wrapper = NULL;
    if (module != NULL && index != NULL && attrs != NULL) {
        wrapper = PyObject_CallMethod(module, "wrap", "OOOO", fn, scope->name, index, attrs);
    }
    Py_XDECREF(module);
    Py_XDECREF(index);
    Py_XDECREF(attrs);
    return wrapper;
}

static PyObject *repr_scope(PyObject *self) {
    static const char *const states[] = {"new", "open", "open, not recorded", "closed"};
    Scope *scope = (Scope *)self;
    return PyUnicode_FromFormat("<cirron.Scope %R, %s>", scope->name, states[scope->state]);
}

static PyMethodDef scope_methods[] = {
    {"__enter__", cirron_scope_enter, METH_NOARGS, "Open the span; returns the scope."},
    {"__exit__", (PyCFunction)(void *)cirron_scope_exit, METH_FASTCALL, "Close the span."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef scope_attributes[] = {
    {"id", get_id, NULL, "32 hex digits; None before the scope is open.", NULL},
    {"parent_id", get_parent_id, NULL, "The parent's id, or None.", NULL},
    {"index", get_index, NULL, "The index, or None.", NULL},
    {"start_ns", get_start, NULL, "Unix-epoch nanoseconds; None before.", NULL},
    {"end_ns", get_end, NULL, "Unix-epoch nanoseconds; None while open.", NULL},
    {"attrs", get_attrs, NULL, "Attributes, writable until the scope closes.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef scope_members[] = {
    {"name", T_OBJECT_EX, offsetof(Scope, name), READONLY, "The scope's name."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot scope_slots[] = {
    {Py_tp_dealloc, (void *)dealloc_scope},
    {Py_tp_traverse, (void *)traverse_scope},
    {Py_tp_clear, (void *)clear_scope},
    {Py_tp_call, (void *)call_scope},
    {Py_tp_repr, (void *)repr_scope},
    {Py_tp_methods, scope_methods},
    {Py_tp_getset, scope_attributes},
    {Py_tp_members, scope_members},
    {Py_tp_doc, "One span: open by `with`, or used as a decorator."},
    {0, NULL},
};

static PyType_Spec scope_spec = {
    .name = "cirron._core.Scope",
    .basicsize = sizeof(Scope),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_GC,
    .slots = scope_slots,
};

int cirron_scope_init(PyObject *module) {
    scope_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &scope_spec, NULL);
    return scope_type != NULL ? PyModule_AddObjectRef(module, "Scope", (PyObject *)scope_type) : -1;
}
