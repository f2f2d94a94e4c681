/* One value on the innermost open span. A float with no attributes, the common case,
 * runs through with no allocation and no user code.
 */
#include "python/mark.h"

#include <string.h>

#include "core/clock.h"
#include "python/attrs.h"
#include "python/names.h"
#include "python/recording.h"
#include "python/scope.h"

/* The arguments of one call. */
typedef struct call {
    PyObject *name;      /* Borrowed */
    PyObject *value;     /* Borrowed */
    cirron_frame *frame; /* Borrowed, or NULL: the innermost open one */
    uint8_t kind;
    bool has_attrs;
} call;

/* A value, ready for the record. */
typedef struct scalar {
    uint8_t type;
    double as_float;
    int64_t as_int;
    cirron_utf8 text;
} scalar;

static int parse_kind(PyObject *kind, call *call) {
    if (PyUnicode_Check(kind)) {
        if (PyUnicode_CompareWithASCIIString(kind, "point") == 0) {
            call->kind = CIRRON_MARK_POINT;
            return 0;
        }
        if (PyUnicode_CompareWithASCIIString(kind, "summary") == 0) {
            call->kind = CIRRON_MARK_SUMMARY;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "mark(): kind must be \"point\" or \"summary\", not %R", kind);
    return -1;
}

static int set_once(PyObject **slot, PyObject *value, const char *name) {
    if (*slot != NULL) {
        PyErr_Format(PyExc_TypeError, "mark() got multiple values for '%s'", name);
        return -1;
    }
    *slot = value;
    return 0;
}

static bool is_named(PyObject *key, const char *name) {
    return PyUnicode_GetLength(key) == (Py_ssize_t)strlen(name) &&
           PyUnicode_CompareWithASCIIString(key, name) == 0;
}

static bool is_attr(PyObject *key) {
    return !is_named(key, "name") && !is_named(key, "value") && !is_named(key, "kind");
}

static int parse_keywords(PyObject *const *values, PyObject *kwnames, call *call) {
    Py_ssize_t count = PyTuple_Size(kwnames);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *key = PyTuple_GetItem(kwnames, i); /* Borrowed */
        int failed = 0;
        if (is_attr(key)) {
            call->has_attrs = true;
        } else if (is_named(key, "kind")) {
            failed = parse_kind(values[i], call);
        } else if (is_named(key, "name")) {
            failed = set_once(&call->name, values[i], "name");
        } else {
            failed = set_once(&call->value, values[i], "value");
        }
        if (failed) {
            return -1;
        }
    }
    return 0;
}

static int parse_call(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, call *call) {
    if (nargs > 2) {
        PyErr_Format(PyExc_TypeError,
                     "mark() takes a name and a value, then keywords (%zd arguments given)", nargs);
        return -1;
    }
    call->name = nargs > 0 ? args[0] : NULL;
    call->value = nargs > 1 ? args[1] : NULL;
    if (kwnames != NULL && parse_keywords(args + nargs, kwnames, call) != 0) {
        return -1;
    }
    if (call->name == NULL || call->value == NULL) {
        PyErr_SetString(PyExc_TypeError, "mark() needs a name and a value: mark(name, value)");
        return -1;
    }
    if (!PyUnicode_Check(call->name)) {
        PyErr_Format(PyExc_TypeError, "mark(): name must be a str, not %R",
                     (PyObject *)Py_TYPE(call->name));
        return -1;
    }
    return 0;
}

static void convert_int(PyObject *value, scalar *out) {
    int overflow;
    out->type = CIRRON_VALUE_INT;
    out->as_int = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) {
        out->type = CIRRON_VALUE_FLOAT;
        out->as_float = PyLong_AsDouble(value);
        if (PyErr_Occurred()) {
            PyErr_Clear();
            out->as_float = overflow > 0 ? __builtin_inf() : -__builtin_inf();
        }
    }
}

/* 1: converted; 0: not a scalar; -1: no memory. No exception is set. */
static int convert_builtin(PyObject *value, cirron_buffer *scratch, scalar *out) {
    if (PyFloat_Check(value)) {
        out->type = CIRRON_VALUE_FLOAT;
        out->as_float = PyFloat_AsDouble(value);
    } else if (PyBool_Check(value)) {
        out->type = CIRRON_VALUE_BOOL;
        out->as_int = value == Py_True;
    } else if (PyLong_Check(value)) {
        convert_int(value, out);
    } else if (PyUnicode_Check(value)) {
        out->type = CIRRON_VALUE_STRING;
        return cirron_text_get(value, CIRRON_MAX_VALUE_BYTES, scratch, &out->text) == CIRRON_OK
                   ? 1
                   : -1;
    } else {
        return 0;
    }
    return 1;
}

/* As convert_builtin; `*item` is the owned object behind a NumPy scalar, or NULL. */
static int convert(PyObject *value, cirron_buffer *scratch, scalar *out, PyObject **item) {
    int converted = convert_builtin(value, scratch, out);
    if (converted == 0 && (*item = cirron_numpy_item(value)) != NULL) {
        converted = convert_builtin(*item, scratch, out);
    }
    if (converted == 0) {
        PyErr_Format(PyExc_TypeError,
                     "mark(): value must be a float, int, str or bool, not %R; take one number out "
                     "of it with .item(), or record tensors with snapshots",
                     (PyObject *)Py_TYPE(value));
    }
    return converted;
}

/* Fills in the span that the mark belongs to and counts the mark there. */
static int find_span(cirron_frame *frame, cirron_id *span_id, uint32_t *session_number) {
    PyObject *held = NULL; /* Owned */
    if (frame == NULL) {
        frame = cirron_frame_current(&held);
        if (held == NULL) {
            PyErr_Clear();
            return -1;
        }
    }
    const cirron_session *session = &cirron_current_session;
    if (frame != NULL) {
        frame->marks++;
        *span_id = frame->id;
        *session_number = frame->session;
    } else {
        *span_id = session->running ? session->id : (cirron_id){{0}};
        *session_number = session->number;
    }
    Py_XDECREF(held);
    return 0;
}

static int record_mark(const call *call, const scalar *value, const cirron_buffer *attrs) {
    cirron_recorder *recorder = cirron_recorder_get();
    cirron_buffer scratch = {0};
    cirron_name_ref name;
    cirron_id span_id;
    uint32_t session;
    if (recorder == NULL || find_span(call->frame, &span_id, &session) != 0 ||
        cirron_name_find(call->name, recorder->generation, &scratch, &name) != CIRRON_OK) {
        cirron_buffer_fini(&scratch);
        return -1;
    }
    uint32_t value_len = value->type == CIRRON_VALUE_STRING ? (uint32_t)value->text.len : 0;
    uint32_t attrs_len = (uint32_t)attrs->len;
    uint32_t payload_len = name.len + value_len + attrs_len;
    char *payload;
    uint32_t offset;
    cirron_mark_record *record =
        cirron_recorder_reserve_mark(recorder, payload_len, &payload, &offset);
    if (record != NULL) { /* NULL is counted by the queue */
        if (payload_len != 0) {
            memcpy(payload, name.text, name.len);
            memcpy(payload + name.len, value->text.data, value_len);
            memcpy(payload + name.len + value_len, attrs->data, attrs_len);
        }
        record->span_id = span_id;
        record->ts_ns = cirron_epoch_ns(cirron_monotonic_ns());
        if (value->type == CIRRON_VALUE_FLOAT) {
            record->value.as_float = value->as_float;
        } else {
            record->value.as_int = value->as_int;
        }
        record->name = name.id;
        record->payload = offset;
        record->name_len = name.len;
        record->value_len = value_len;
        record->attrs_len = attrs_len;
        record->session = session;
        record->value_type = value->type;
        record->kind = call->kind;
        if (!cirron_the_recording.measuring) {
            cirron_queue_publish(&recorder->marks, payload_len);
        }
    }
    cirron_the_recording.marks++;
    if (scratch.data != NULL) {
        cirron_buffer_fini(&scratch);
    }
    return 0;
}

static int record_with_attrs(const call *call, const scalar *value, PyObject *const *values,
                             PyObject *kwnames) {
    cirron_attrs attrs;
    cirron_attrs_begin(&attrs);
    Py_ssize_t count = PyTuple_Size(kwnames);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *key = PyTuple_GetItem(kwnames, i); /* Borrowed */
        if (is_attr(key)) {
            cirron_attrs_add(&attrs, key, values[i]);
        }
    }
    cirron_attrs_end(&attrs);
    int status = record_mark(call, value, &attrs.text);
    cirron_attrs_fini(&attrs);
    return status;
}

static PyObject *mark_frame(cirron_frame *frame, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames) {
    call call = {.frame = frame};
    if (parse_call(args, nargs, kwnames, &call) != 0) {
        return NULL;
    }
    cirron_buffer scratch = {0};
    PyObject *item = NULL;
    scalar value = {.text = {.data = ""}};
    int converted = convert(call.value, &scratch, &value, &item);
    if (converted == 1) {
        converted = call.has_attrs ? record_with_attrs(&call, &value, args + nargs, kwnames)
                                   : record_mark(&call, &value, &(cirron_buffer){.data = ""});
        converted = converted == 0 ? 1 : -1;
    }
    Py_XDECREF(item);
    if (scratch.data != NULL) {
        cirron_buffer_fini(&scratch);
    }
    if (converted == 0) {
        return NULL;
    }
    if (converted < 0) {
        cirron_process_lose_mark();
    }
    if (__builtin_expect(atomic_load_explicit(&cirron_disk_refused, memory_order_relaxed), 0)) {
        cirron_warn_of_disk();
    }
    Py_RETURN_NONE;
}

PyObject *cirron_mark(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames) {
    (void)module;
    if (__builtin_expect(!cirron_the_recording.enabled, 0)) {
        Py_RETURN_NONE;
    }
    return mark_frame(NULL, args, nargs, kwnames);
}

PyObject *cirron_mark_on(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames) {
    (void)module;
    if (nargs == 0 || !cirron_scope_check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "mark_on() needs a scope");
        return NULL;
    }
    const Scope *scope = (const Scope *)args[0];
    if (scope->state != SCOPE_OPEN) {
        Py_RETURN_NONE;
    }
    return mark_frame(scope->frame, args + 1, nargs - 1, kwnames);
}

void cirron_mark_float(cirron_frame *frame, PyObject *name, double value) {
    call call = {.name = name, .frame = frame, .kind = CIRRON_MARK_POINT};
    scalar number = {.type = CIRRON_VALUE_FLOAT, .as_float = value, .text = {.data = ""}};
    if (record_mark(&call, &number, &(cirron_buffer){.data = ""}) != 0) {
        cirron_process_lose_mark();
    }
}
