/* A model calls its modules thousands of times a step and only the outermost call is a
 * span, so what an inner call costs counts most: a look at the open frames, then the call
 * is passed on with the very arguments it came with.
 *
 * As an attribute of a class (torch.nn.Module.__call__) a Phase stands in the way of calls
 * alone: the slot behind `module(x)` takes a "method descriptor" as it is, while whoever
 * asks for the attribute, as torch.compile does, is given the original. super().__call__()
 * asks as well, and means a call; there the attribute of the object's own class is another.
 * torch.compile looks through super() by itself, into the class, and accepts a method whose
 * __func__ is a function, so a Phase says that it is one.
 */
#include "python/phase.h"

#include <structmember.h>

#include "python/hooks.h"
#include "python/optimizer_step.h"
#include "python/recording.h"
#include "python/text.h"
#include "python/timed_scope.h"

typedef struct Phase {
    PyObject_HEAD
    PyObject *name;        /* Owned: of the span and, as an attribute of a class, ... */
    PyObject *attribute;   /* Owned: ... the attribute's name, or None */
    PyObject *call;        /* Owned: what stood here before */
    PyObject *passed_over; /* Owned: a type whose instances open no span, or None */
    PyObject *first;       /* Owned: called with the next object called in a step, or None */
    PyObject *timer;       /* Owned: or None; has begin(scope) and end(scope) */
    char active;
} Phase;

static PyTypeObject *method_type; /* Owned: types.MethodType */

static bool is_passed_over(Phase *phase, PyObject *args) {
    return phase->passed_over != Py_None && PyTuple_Size(args) > 0 &&
           PyType_IsSubtype(Py_TYPE(PyTuple_GetItem(args, 0)), (PyTypeObject *)phase->passed_over);
}

static void call_first(Phase *phase, PyObject *args) {
    PyObject *first = phase->first; /* Owned now */
    Py_INCREF(Py_None);
    phase->first = Py_None;
    PyObject *result = PyObject_CallFunctionObjArgs(first, PyTuple_GetItem(args, 0), NULL);
    if (result == NULL) {
        cirron_drop_exception(); /* the hooks' own Python reports for itself */
    }
    Py_XDECREF(result);
    Py_DECREF(first);
}

static PyObject *call_in_scope(Phase *phase, PyObject *args, PyObject *kwargs) {
    PyObject *timer = phase->timer; /* Owned, as the next */
    Py_INCREF(timer);
    Scope *scope = cirron_timed_open(phase->name, CIRRON_KIND_PHASE, NULL, timer);
    PyObject *result = PyObject_Call(phase->call, args, kwargs);
    if (scope != NULL) {
        cirron_timed_close(scope, timer);
        Py_DECREF(scope);
    }
    Py_DECREF(timer);
    return result;
}

static PyObject *call_phase(PyObject *self, PyObject *args, PyObject *kwargs) {
    Phase *phase = (Phase *)self;
    if (!phase->active || !cirron_the_recording.enabled) {
        return PyObject_Call(phase->call, args, kwargs);
    }
    uint32_t kinds = cirron_open_kinds();
    if ((kinds & (CIRRON_KIND_PHASE | CIRRON_KIND_OPTIMIZER)) == CIRRON_KIND_OPTIMIZER) {
        cirron_end_left_optimizer_steps(); /* unless this is a closure of one */
        kinds = cirron_open_kinds();
    }
    if ((kinds & CIRRON_KIND_PHASE) != 0 || is_passed_over(phase, args)) {
        return PyObject_Call(phase->call, args, kwargs);
    }
    if (phase->first != Py_None && (kinds & CIRRON_KIND_STEP) != 0 && PyTuple_Size(args) > 0) {
        call_first(phase, args);
    }
    return call_in_scope(phase, args, kwargs);
}

/* ---- the attribute */

static PyObject *bind(PyObject *function, PyObject *object) {
    return PyObject_CallFunctionObjArgs((PyObject *)method_type, function, object, NULL);
}

static PyObject *get_attribute(PyObject *self, PyObject *object, PyObject *type) {
    Phase *phase = (Phase *)self;
    (void)type;
    if (object == NULL || object == Py_None) {
        Py_INCREF(phase->call);
        return phase->call;
    }
    PyObject *own = PyObject_GetAttr((PyObject *)Py_TYPE(object), phase->attribute); /* Owned */
    if (own == NULL) {
        PyErr_Clear();
    }
    PyObject *method = bind(own == phase->call ? phase->call : self, object);
    Py_XDECREF(own);
    return method;
}

static PyObject *get_class(PyObject *self, void *closure) {
    (void)self;
    (void)closure;
    Py_INCREF((PyObject *)method_type);
    return (PyObject *)method_type;
}

/* ---- the type */

static PyObject *new_phase(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "call", "attribute", "passed_over", NULL};
    PyObject *name; /* Borrowed, as the next three */
    PyObject *call;
    PyObject *attribute = Py_None;
    PyObject *passed_over = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UO|OO:Phase", names, &name, &call, &attribute,
                                     &passed_over)) {
        return NULL;
    }
    if (passed_over != Py_None && !PyType_Check(passed_over)) {
        PyErr_SetString(PyExc_TypeError, "passed_over is no type");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Phase *phase = (Phase *)allocate(type, 0);
    if (phase != NULL) {
        Py_INCREF(name);
        Py_INCREF(attribute);
        Py_INCREF(call);
        Py_INCREF(passed_over);
        Py_INCREF(Py_None);
        Py_INCREF(Py_None);
        phase->first = Py_None;
        phase->timer = Py_None;
        phase->name = name;
        phase->attribute = attribute;
        phase->call = call;
        phase->passed_over = passed_over;
        phase->active = 1;
    }
    return (PyObject *)phase;
}

static int traverse_phase(PyObject *self, visitproc visit, void *arg) {
    Phase *phase = (Phase *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(phase->call);
    Py_VISIT(phase->passed_over);
    Py_VISIT(phase->first);
    Py_VISIT(phase->timer);
    return 0;
}

/* Callable until the end, also in a cycle: what it needs to be called is not cleared. */
static int clear_phase(PyObject *self) {
    Phase *phase = (Phase *)self;
    PyObject *first = phase->first;
    PyObject *timer = phase->timer;
    Py_INCREF(Py_None);
    Py_INCREF(Py_None);
    phase->first = Py_None;
    phase->timer = Py_None;
    Py_XDECREF(first);
    Py_XDECREF(timer);
    return 0;
}

static void dealloc_phase(PyObject *self) {
    Phase *phase = (Phase *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(phase->first);
    Py_CLEAR(phase->timer);
    Py_CLEAR(phase->name);
    Py_CLEAR(phase->attribute);
    Py_CLEAR(phase->call);
    Py_CLEAR(phase->passed_over);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyGetSetDef phase_attributes[] = {
    {"__class__", get_class, NULL, "types.MethodType.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef phase_members[] = {
    {"__func__", T_OBJECT_EX, offsetof(Phase, call), READONLY, "What stood here before."},
    {"__wrapped__", T_OBJECT_EX, offsetof(Phase, call), READONLY, "What stood here before."},
    {"active", T_BOOL, offsetof(Phase, active), 0, "False passes every call on."},
    {"first", T_OBJECT_EX, offsetof(Phase, first), 0, "Called with the next object in a step."},
    {"timer", T_OBJECT_EX, offsetof(Phase, timer), 0, "Has begin(scope) and end(scope)."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot phase_slots[] = {
    {Py_tp_new, (void *)new_phase},
    {Py_tp_dealloc, (void *)dealloc_phase},
    {Py_tp_traverse, (void *)traverse_phase},
    {Py_tp_clear, (void *)clear_phase},
    {Py_tp_call, (void *)call_phase},
    {Py_tp_descr_get, (void *)get_attribute},
    {Py_tp_members, phase_members},
    {Py_tp_getset, phase_attributes},
    {Py_tp_doc, "A callable in front of another, whose outermost calls are spans."},
    {0, NULL},
};

static PyType_Spec phase_spec = {
    .name = "cirron._core.Phase",
    .basicsize = sizeof(Phase),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_METHOD_DESCRIPTOR |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = phase_slots,
};

int cirron_phase_init(PyObject *module) {
    PyObject *types = PyImport_ImportModule("types");
    method_type =
        types != NULL ? (PyTypeObject *)PyObject_GetAttrString(types, "MethodType") : NULL;
    Py_XDECREF(types);
    PyObject *type = PyType_FromModuleAndSpec(module, &phase_spec, NULL);
    if (method_type == NULL || type == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Phase", type);
}
