/* torch tells a hook that an optimizer's step begins and that it has ended, but not that it
 * raised. What the first hook returns for the step's arguments lives as long as the step, so
 * the span hangs on that. It lives longer where somebody keeps the exception, and the frames
 * with it: so whoever finds a step open asks whether its call still runs.
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
    struct StepSpan *next;
    const void *thread; /* that opened it: something of which every thread has its own */
} StepSpan;

static StepSpan *open_spans; /* of all threads */
static PyObject *is_running; /* Owned, or NULL: a callable, True within an optimizer's step */
static _Thread_local uint32_t steps;
static _Thread_local uint32_t stray_steps;

static PyTypeObject *span_type; /* Owned */
static PyObject *span_name;     /* Owned: "optimizer_step" */
static PyObject *attribute;     /* Owned: "span" */

/* Where an optimizer's step is no span: it is part of another. */
enum { INSIDE = CIRRON_KIND_PHASE | CIRRON_KIND_OPTIMIZER };

static void close_span(StepSpan *span) {
    Scope *scope = span->scope; /* Owned now */
    if (scope == NULL) {
        return;
    }
    span->scope = NULL;
    StepSpan **at = &open_spans;
    while (*at != span) {
        at = &(*at)->next;
    }
    *at = span->next;
    cirron_timed_close(scope, span->timer);
    Py_DECREF((PyObject *)scope);
}

static void dealloc_span(PyObject *self) {
    StepSpan *span = (StepSpan *)self;
    PyTypeObject *type = Py_TYPE(self);
    close_span(span);
    Py_CLEAR(span->timer);
    PyObject_Free(self);
    Py_DECREF(type);
}

uint32_t cirron_optimizer_steps(void) {
    return steps;
}

uint32_t cirron_stray_optimizer_steps(void) {
    return stray_steps;
}

/* One of this thread's that are open, borrowed, or NULL. */
static StepSpan *find_open_span(void) {
    StepSpan *span = open_spans;
    while (span != NULL && span->thread != &stray_steps) {
        span = span->next;
    }
    return span;
}

static bool ask_whether_running(void) {
    PyObject *answer = is_running != NULL ? PyObject_CallNoArgs(is_running) : NULL;
    const bool running = answer == NULL || PyObject_IsTrue(answer) != 0;
    Py_XDECREF(answer);
    cirron_drop_exception();
    return running;
}

void cirron_end_left_optimizer_steps(void) {
    if (find_open_span() == NULL || (cirron_open_kinds() & CIRRON_KIND_OPTIMIZER) == 0 ||
        ask_whether_running()) {
        return; /* none; another context's; a step that called us */
    }
    StepSpan *span;
    while ((span = find_open_span()) != NULL) {
        Py_INCREF((PyObject *)span);
        close_span(span);
        Py_DECREF((PyObject *)span);
    }
}

static PyObject *end_left_optimizer_steps(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    cirron_end_left_optimizer_steps();
    Py_RETURN_NONE;
}

static PyObject *set_optimizer_check(PyObject *module, PyObject *check) {
    (void)module;
    PyObject *before = is_running;
    is_running = check != Py_None ? check : NULL;
    Py_XINCREF(is_running);
    Py_XDECREF(before);
    Py_RETURN_NONE;
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
    if (result != NULL && span->scope != NULL) {
        span->thread = &stray_steps;
        span->next = open_spans;
        open_spans = span;
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
    if (!cirron_the_recording.enabled) {
        Py_RETURN_NONE;
    }
    cirron_end_left_optimizer_steps();
    const uint32_t kinds = cirron_open_kinds();
    steps++;
    if ((kinds & (CIRRON_KIND_STEP | CIRRON_KIND_BATCH)) == 0) {
        stray_steps++;
    }
    if ((kinds & INSIDE) != 0) {
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
    {"end_left_optimizer_steps", end_left_optimizer_steps, METH_NOARGS, NULL},
    {"set_optimizer_check", set_optimizer_check, METH_O, NULL},
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
