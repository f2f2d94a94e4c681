/* torch tells a hook that an optimizer's step begins and that it has ended, but not that it
 * raised. What the first hook returns for the step's arguments lives as long as the step, so
 * the span hangs on that.
 */
#include "python/optimizer_step.h"

#include "core/process.h"
#include "python/hooks.h"
#include "python/recording.h"
#include "python/text.h"
#include "python/timed_scope.h"

typedef struct StepSpan {
    PyObject_HEAD
    Scope *scope;    /* Owned: open, or NULL */
    PyObject *timer; /* Owned: of the scope */
} StepSpan;

static PyTypeObject *span_type; /* Owned */
static PyObject *span_name;     /* Owned: "optimizer_step" */
static PyObject *attribute;     /* Owned: "span" */

/* Where an optimizer's step is no span: it is part of another. */
enum { INSIDE = CIRRON_KIND_PHASE | CIRRON_KIND_OPTIMIZER };

static void dealloc_span(PyObject *self) {
    StepSpan *span = (StepSpan *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (span->scope != NULL) {
        cirron_timed_close(span->scope, span->timer);
    }
    Py_CLEAR(span->scope);
    Py_CLEAR(span->timer);
    PyObject_Free(self);
    Py_DECREF(type);
}

static StepSpan *new_span(PyObject *timer) {
    StepSpan *span = PyObject_New(StepSpan, span_type);
    if (span != NULL) {
        Py_INCREF(timer);
        span->timer = timer;
        span->scope = NULL;
    }
    return span;
}

/* (arguments, keywords) as torch takes them from a hook, with a span that is now open. */
static PyObject *open_with(PyObject *timer, PyObject *type, PyObject *args, PyObject *kwargs) {
    StepSpan *span = new_span(timer);
    PyObject *carrier = PyObject_CallFunctionObjArgs(type, args, NULL);
    PyObject *result = NULL;
    if (span != NULL && carrier != NULL &&
        PyObject_SetAttr(carrier, attribute, (PyObject *)span) == 0) {
        result = PyTuple_Pack(2, carrier, kwargs);
    }
    if (result != NULL) {
        span->scope = cirron_timed_open(span_name, CIRRON_KIND_OPTIMIZER, NULL, timer);
    }
    Py_XDECREF(carrier);
    Py_XDECREF((PyObject *)span);
    return result;
}

static PyObject *open_optimizer_step(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
    (void)module;
    if (nargs != 4) {
        PyErr_SetString(PyExc_TypeError, "open_optimizer_step(timer, type, args, kwargs)");
        return NULL;
    }
    if (!cirron_the_recording.enabled || (cirron_open_kinds() & INSIDE) != 0) {
        Py_RETURN_NONE;
    }
    PyObject *result = open_with(args[0], args[1], args[2], args[3]);
    if (result == NULL) { /* no memory: the step runs, unrecorded */
        cirron_drop_exception();
        cirron_process_lose_span();
        Py_RETURN_NONE;
    }
    return result;
}

static PyType_Slot span_slots[] = {
    {Py_tp_dealloc, (void *)dealloc_span},
    {Py_tp_doc, "An open span, which closes when it is lost."},
    {0, NULL},
};

static PyType_Spec span_spec = {
    .name = "cirron._core.StepSpan",
    .basicsize = sizeof(StepSpan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = span_slots,
};

static PyMethodDef methods[] = {
    {"open_optimizer_step", (PyCFunction)(void *)open_optimizer_step, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

int cirron_optimizer_step_init(PyObject *module) {
    span_name = PyUnicode_InternFromString("optimizer_step");
    attribute = PyUnicode_InternFromString("span");
    span_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &span_spec, NULL);
    if (span_name == NULL || attribute == NULL || span_type == NULL) {
        return -1;
    }
    return PyModule_AddFunctions(module, methods);
}
