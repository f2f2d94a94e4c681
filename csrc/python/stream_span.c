#include "python/stream_span.h"

#include <string.h>
#include <structmember.h>

#include "core/clock.h"
#include "python/mark.h"
#include "python/request.h"
#include "python/text.h"

static PyTypeObject *span_type; /* Owned */
static PyObject *get_attribute; /* Owned: the builtin; it makes no exception of what is missing */
static PyObject *chunk_ms;      /* Owned */
static PyObject *event_type;    /* Owned: "type" */

/* An item's usage is its own, or its message's (Anthropic), response's (OpenAI's Responses
 * API) or chunk's (OpenAI's chat.completions.stream()). */
enum { PLACES = 4 };
static const char *const place_names[PLACES] = {"usage", "message", "response", "chunk"};
static PyObject *places[PLACES]; /* Owned */
enum { USAGE = 0 };

static PyObject *call_quietly(PyObject *self, const char *method, PyObject *first,
                              PyObject *second) {
    PyObject *name = PyUnicode_FromString(method);
    PyObject *result =
        name != NULL ? PyObject_CallMethodObjArgs(self, name, first, second, NULL) : NULL;
    Py_XDECREF(name);
    if (result == NULL) {
        cirron_drop_exception();
    }
    return result;
}

/* ---- turns */

static cirron_frame *open_frame(const cirron_stream_span *span) {
    cirron_frame *frame = span->frame;
    while (frame != NULL && frame->closed) {
        frame = frame->parent;
    }
    return frame;
}

PyObject *cirron_stream_begin_turn(cirron_stream_span *span) {
    cirron_frame *frame = span->ended ? NULL : open_frame(span);
    return frame != NULL ? cirron_frame_begin_turn(frame) : NULL;
}

void cirron_stream_end_turn(cirron_stream_span *span, PyObject *before) {
    if (before == NULL) {
        return;
    }
    cirron_frame *left = cirron_frame_end_turn(before);
    cirron_frame *was = span->frame;
    if (left == NULL && span->request != NULL) { /* closed all: begin where we began */
        left = span->request->frame;
        Py_XINCREF((PyObject *)left);
    }
    span->frame = left;
    Py_XDECREF((PyObject *)was);
}

/* ---- items */

static PyObject *attribute(PyObject *item, PyObject *name, PyObject *missing) {
    PyObject *value = PyObject_CallFunctionObjArgs(get_attribute, item, name, missing, NULL);
    if (value == NULL) {
        cirron_drop_exception();
        Py_INCREF(missing);
        value = missing;
    }
    return value;
}

static bool has_attribute(PyObject *item, PyObject *name) {
    PyObject *missing = (PyObject *)span_type;
    PyObject *value = attribute(item, name, missing);
    Py_DECREF(value);
    return value != missing;
}

static bool is_event(PyObject *item) {
    PyObject *type = attribute(item, event_type, Py_None);
    bool is = PyUnicode_Check(type);
    Py_DECREF(type);
    return is;
}

/* Where a first item of its type has anything. Usage may come with a later item alone, so
 * it is looked for in all, but where a type's own __getattr__ makes that dear. The other
 * places are asked of events alone: a row of a database might load its `message`. */
static uint8_t find_places(PyObject *item) {
    uint8_t found = has_attribute(item, places[USAGE]) ? 1u << USAGE : 0;
    for (int i = USAGE + 1; i < PLACES && is_event(item); i++) {
        found |= (uint8_t)(has_attribute(item, places[i]) << i);
    }
    if (!PyObject_HasAttrString((PyObject *)Py_TYPE(item), "__getattr__")) {
        found |= 1u << USAGE;
    }
    return found;
}

static uint8_t places_of(cirron_stream_span *span, PyObject *item) {
    PyTypeObject *type = Py_TYPE(item);
    for (int i = 0; i < CIRRON_STREAM_TYPES; i++) {
        if (span->types[i].type == type) {
            return span->types[i].places;
        }
    }
    uint8_t found = find_places(item);
    cirron_item_type *entry = &span->types[span->next_type++ % CIRRON_STREAM_TYPES];
    PyTypeObject *was = entry->type;
    Py_INCREF((PyObject *)type);
    *entry = (cirron_item_type){type, found};
    Py_XDECREF((PyObject *)was);
    return found;
}

static bool object_may_tell(cirron_stream_span *span, PyObject *item) {
    uint8_t found = places_of(span, item);
    bool may = false;
    for (int i = 0; i < PLACES && !may; i++) {
        if ((found >> i & 1) != 0) {
            PyObject *value = attribute(item, places[i], Py_None);
            may = value != Py_None;
            Py_DECREF(value);
        }
    }
    return may;
}

static bool dict_may_tell(PyObject *item) {
    PyObject *usage = PyDict_GetItem(item, places[USAGE]); /* Borrowed, as the next */
    bool may = usage != NULL && usage != Py_None;
    for (int i = USAGE + 1; i < PLACES && !may; i++) {
        PyObject *inner = PyDict_GetItem(item, places[i]);
        may = inner != NULL && PyDict_CheckExact(inner) &&
              PyDict_GetItem(inner, places[USAGE]) != NULL;
    }
    return may;
}

static bool str_may_tell(PyObject *item) {
    Py_ssize_t len = PyUnicode_GetLength(item);
    return len > 0 && (PyUnicode_ReadChar(item, len - 1) != '\n' ||
                       PyUnicode_Contains(item, places[USAGE]) == 1);
}

static bool bytes_may_tell(PyObject *item) {
    char *data;
    Py_ssize_t len;
    if (PyBytes_AsStringAndSize(item, &data, &len) != 0) {
        PyErr_Clear();
        return false;
    }
    return len > 0 && (data[len - 1] != '\n' || memmem(data, (size_t)len, place_names[USAGE],
                                                       strlen(place_names[USAGE])) != NULL);
}

/* Events come in whole lines from most servers: what ends with a line and has no usage in
 * it need not be read. */
static void see_text(cirron_stream_span *span, PyObject *item) {
    if (span->text == CIRRON_TEXT_PLAIN ||
        (span->text == CIRRON_TEXT_EVENTS &&
         !(PyBytes_CheckExact(item) ? bytes_may_tell(item) : str_may_tell(item)))) {
        return;
    }
    PyObject *kind = call_quietly((PyObject *)span, "see_text", item, NULL);
    span->text = kind != NULL ? (uint8_t)PyLong_AsLong(kind) : CIRRON_TEXT_PLAIN;
    Py_XDECREF(kind);
    PyErr_Clear();
}

static bool is_plain(PyObject *item) {
    return item == Py_None || PyLong_CheckExact(item) || PyFloat_CheckExact(item) ||
           PyTuple_CheckExact(item) || PyList_CheckExact(item);
}

static void look_for_usage(cirron_stream_span *span, PyObject *item) {
    if (PyUnicode_CheckExact(item) || PyBytes_CheckExact(item)) {
        see_text(span, item);
    } else if (!is_plain(item) &&
               (PyDict_CheckExact(item) ? dict_may_tell(item) : object_may_tell(span, item))) {
        Py_XDECREF(call_quietly((PyObject *)span, "see", item, NULL));
    }
}

static void see(cirron_stream_span *span, PyObject *item) {
    int64_t now = cirron_monotonic_ns();
    if (span->items == 0) {
        span->first_ns = now;
    } else if (now - span->last_ns > span->longest_gap_ns) {
        span->longest_gap_ns = now - span->last_ns;
    }
    span->last_ns = now;
    span->items++;
    if (span->timed && span->request != NULL && span->request->state == SCOPE_OPEN) {
        cirron_mark_float(span->request->frame, chunk_ms,
                          (double)(now - span->request->opened_ns) / 1e6);
    }
    look_for_usage(span, item);
}

/* ---- the end */

/* By the consumer, who closed it, or by the exception that is set, which stays set. */
static void end(cirron_stream_span *span, bool closed) {
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    bool completed = !closed && (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_StopIteration) ||
                                 PyErr_ExceptionMatches(PyExc_StopAsyncIteration));
    PyErr_Fetch(&type, &value, &traceback);
    if (!completed) {
        PyErr_NormalizeException(&type, &value, &traceback);
    }
    PyObject *error = closed || completed || value == NULL ? Py_None : value;
    span->ended = true;
    Py_CLEAR(span->frame);
    Py_XDECREF(call_quietly((PyObject *)span, "end", completed ? Py_True : Py_False, error));
    if (span->request != NULL && span->request->state == SCOPE_OPEN) { /* no memory for it */
        cirron_request_close((PyObject *)span->request, error);
    }
    PyErr_Restore(type, value, traceback);
}

void cirron_stream_record(cirron_stream_span *span, PyObject *result, bool closes) {
    if (span->ended) {
        return;
    }
    if (result == NULL || closes) {
        end(span, result != NULL);
    } else {
        see(span, result);
    }
}

/* ---- the type */

static int init_span(PyObject *self, PyObject *args, PyObject *kwargs) {
    cirron_stream_span *span = (cirron_stream_span *)self;
    PyObject *request;
    int timed;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "Op:StreamSpan", &request, &timed)) {
        return -1;
    }
    if (span->request != NULL || !cirron_scope_check(request)) {
        PyErr_SetString(PyExc_TypeError, "StreamSpan() takes a request, once");
        return -1;
    }
    Py_INCREF(request);
    span->request = (Scope *)request;
    span->timed = timed;
    if (span->request->state == SCOPE_OPEN) {
        span->frame = span->request->frame;
        Py_INCREF((PyObject *)span->frame);
        cirron_frame_leave(span->frame);
    }
    return 0;
}

static int traverse_span(PyObject *self, visitproc visit, void *arg) {
    cirron_stream_span *span = (cirron_stream_span *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)span->request);
    for (int i = 0; i < CIRRON_STREAM_TYPES; i++) {
        Py_VISIT((PyObject *)span->types[i].type);
    }
    return 0;
}

static int clear_span(PyObject *self) {
    cirron_stream_span *span = (cirron_stream_span *)self;
    Py_CLEAR(span->request);
    Py_CLEAR(span->frame);
    for (int i = 0; i < CIRRON_STREAM_TYPES; i++) {
        Py_CLEAR(span->types[i].type);
    }
    return 0;
}

static void dealloc_span(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)clear_span(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *get_first_ms(PyObject *self, void *closure) {
    (void)closure;
    const cirron_stream_span *span = (const cirron_stream_span *)self;
    if (span->items == 0 || span->request == NULL) {
        Py_RETURN_NONE;
    }
    return PyFloat_FromDouble((double)(span->first_ns - span->request->opened_ns) / 1e6);
}

static PyObject *get_rest_ms(PyObject *self, void *closure) {
    (void)closure;
    const cirron_stream_span *span = (const cirron_stream_span *)self;
    return PyFloat_FromDouble((double)(span->last_ns - span->first_ns) / 1e6);
}

static PyObject *get_longest_gap_ms(PyObject *self, void *closure) {
    (void)closure;
    return PyFloat_FromDouble((double)((cirron_stream_span *)self)->longest_gap_ns / 1e6);
}

static PyObject *get_open_ms(PyObject *self, void *closure) {
    (void)closure;
    const cirron_stream_span *span = (const cirron_stream_span *)self;
    int64_t opened_ns = span->request != NULL ? span->request->opened_ns : 0;
    return PyFloat_FromDouble((double)(cirron_monotonic_ns() - opened_ns) / 1e6);
}

static PyObject *close_span(PyObject *self, PyObject *ignored) {
    (void)ignored;
    cirron_stream_record((cirron_stream_span *)self, Py_None, true);
    Py_RETURN_NONE;
}

static PyMethodDef span_methods[] = {
    {"close", close_span, METH_NOARGS, "The consumer closed the stream: end(False, None)."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef span_getters[] = {
    {"first_ms", get_first_ms, NULL, "From the request's start to the first item, or None.", NULL},
    {"rest_ms", get_rest_ms, NULL, "From the first item to the last.", NULL},
    {"longest_gap_ms", get_longest_gap_ms, NULL, "The longest time between two items.", NULL},
    {"open_ms", get_open_ms, NULL, "From the request's start to now.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef span_members[] = {
    {"request", T_OBJECT, offsetof(cirron_stream_span, request), READONLY, "The request's scope."},
    {"items", T_LONGLONG, offsetof(cirron_stream_span, items), READONLY, "Items so far."},
    {"ended", T_BOOL, offsetof(cirron_stream_span, ended), READONLY, "Whether end() was called."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot span_slots[] = {
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)init_span},
    {Py_tp_dealloc, (void *)dealloc_span},
    {Py_tp_traverse, (void *)traverse_span},
    {Py_tp_clear, (void *)clear_span},
    {Py_tp_methods, span_methods},
    {Py_tp_getset, span_getters},
    {Py_tp_members, span_members},
    {Py_tp_doc, "StreamSpan(request, timed, /)\n--\n\nThe request span of a stream."},
    {0, NULL},
};

static PyType_Spec span_spec = {
    .name = "cirron._core.StreamSpan",
    .basicsize = sizeof(cirron_stream_span),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = span_slots,
};

int cirron_stream_span_init(PyObject *module) {
    PyObject *builtins = PyImport_ImportModule("builtins");
    get_attribute = builtins != NULL ? PyObject_GetAttrString(builtins, "getattr") : NULL;
    Py_XDECREF(builtins);
    chunk_ms = PyUnicode_InternFromString("chunk_ms");
    event_type = PyUnicode_InternFromString("type");
    if (get_attribute == NULL || chunk_ms == NULL || event_type == NULL) {
        return -1;
    }
    for (int i = 0; i < PLACES; i++) {
        if ((places[i] = PyUnicode_InternFromString(place_names[i])) == NULL) {
            return -1;
        }
    }
    span_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &span_spec, NULL);
    return span_type != NULL ? PyModule_AddObjectRef(module, "StreamSpan", (PyObject *)span_type)
                             : -1;
}

bool cirron_stream_span_check(PyObject *object) {
    return PyObject_TypeCheck(object, span_type);
}
