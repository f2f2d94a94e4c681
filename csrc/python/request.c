/* The call's own path stays in C: most results are seen at a glance to be no stream and to
 * carry no usage. What takes more than a glance goes to cirron.serving.result.
 */
#include "python/request.h"

#include <stdbool.h>

#include "core/id.h"
#include "python/recording.h"
#include "python/scope.h"
#include "python/text.h"

static PyObject *request_name; /* Owned */
static PyObject *usage_key;    /* Owned */

int cirron_request_init(PyObject *module) {
    (void)module;
    request_name = PyUnicode_InternFromString("request");
    usage_key = PyUnicode_InternFromString("usage");
    return request_name != NULL && usage_key != NULL ? 0 : -1;
}

/* RFC 9562, 5.4: 122 random bits, the version and the variant. */
static cirron_id uuid4(cirron_recorder *recorder) {
    cirron_id id = cirron_id_next(&recorder->ids);
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    return id;
}

PyObject *cirron_open_request(PyObject *module, PyObject *ignored) {
    (void)module;
    Scope *scope = cirron_scope_new(request_name);
    if (scope == NULL) {
        return NULL;
    }
    cirron_recorder *recorder = cirron_the_recording.enabled ? cirron_recorder_get() : NULL;
    if (recorder != NULL) {
        scope->request_id = uuid4(recorder);
        scope->own_attr = OWN_REQUEST_ID;
    }
    Py_XDECREF(cirron_scope_enter((PyObject *)scope, ignored));
    if (scope->frame != NULL) {
        scope->frame->is_request = true;
    }
    return (PyObject *)scope;
}

static bool is_plain(PyObject *result) {
    if (PyDict_CheckExact(result)) {
        return PyDict_GetItem(result, usage_key) == NULL;
    }
    return result == Py_None || PyUnicode_CheckExact(result) || PyBytes_CheckExact(result) ||
           PyBool_Check(result) || PyLong_CheckExact(result) || PyFloat_CheckExact(result) ||
           PyList_CheckExact(result);
}

void cirron_request_close(PyObject *request, PyObject *error) {
    PyObject *args[3] = {Py_None, error, Py_None};
    if (error != Py_None) {
        args[0] = (PyObject *)Py_TYPE(error);
    }
    Py_XDECREF(cirron_scope_exit(request, args, 3));
    PyErr_Clear();
}

/* Calls cirron.serving.result.<function>(request, second, ...); NULL, with no exception set,
 * when that fails. */
static PyObject *call_result(const char *function, PyObject *request, PyObject *second,
                             PyObject *third) {
    PyObject *module = PyImport_ImportModule("cirron.serving.result");
    PyObject *callable = module != NULL ? PyObject_GetAttrString(module, function) : NULL;
    PyObject *made = callable != NULL
                         ? PyObject_CallFunctionObjArgs(callable, request, second, third, NULL)
                         : NULL;
    Py_XDECREF(module);
    Py_XDECREF(callable);
    if (made == NULL) {
        cirron_drop_exception();
    }
    return made;
}

static int check_request(PyObject *const *args, Py_ssize_t nargs, Py_ssize_t expected) {
    if (nargs == expected && cirron_scope_check(args[0])) {
        return 0;
    }
    PyErr_SetString(PyExc_TypeError, "a request is needed, and what became of it");
    return -1;
}

PyObject *cirron_finish_request(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
    (void)module;
    if (check_request(args, nargs, 3) != 0) {
        return NULL;
    }
    const Scope *scope = (const Scope *)args[0];
    PyObject *result = args[1];
    PyObject *handed_out = NULL;
    if (scope->state == SCOPE_OPEN && (scope->frame->notes != NULL || !is_plain(result))) {
        handed_out = call_result("finish", args[0], result, args[2]);
    }
    if (handed_out == NULL) {
        cirron_request_close(args[0], Py_None);
        Py_INCREF(result);
        handed_out = result;
    }
    return handed_out;
}

PyObject *cirron_fail_request(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
    (void)module;
    if (check_request(args, nargs, 2) != 0) {
        return NULL;
    }
    const Scope *scope = (const Scope *)args[0];
    if (scope->state == SCOPE_OPEN && scope->frame->notes != NULL) {
        Py_XDECREF(call_result("mark_notes", args[0], NULL, NULL));
    }
    cirron_request_close(args[0], args[1]);
    Py_RETURN_NONE;
}

static PyObject *notes_of_context(void) {
    PyObject *held; /* Owned */
    cirron_frame *frame = cirron_frame_current(&held);
    while (frame != NULL && (frame->closed || !frame->is_request)) {
        frame = frame->parent;
    }
    PyObject *notes = Py_None;
    if (frame != NULL) {
        if (frame->notes == NULL) {
            frame->notes = PyDict_New();
        }
        notes = frame->notes;
    }
    Py_XINCREF(notes);
    Py_XDECREF(held);
    return notes;
}

PyObject *cirron_request_notes(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
    (void)module;
    if (nargs == 0) {
        return notes_of_context();
    }
    if (check_request(args, nargs, 1) != 0) {
        return NULL;
    }
    const cirron_frame *frame = ((const Scope *)args[0])->frame;
    PyObject *notes = frame != NULL && frame->notes != NULL ? frame->notes : Py_None;
    Py_INCREF(notes);
    return notes;
}
