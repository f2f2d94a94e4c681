/* The Scope object and its type: what Python sees of a span. A Scope is tracked by the
 * collector only once it has attributes, and comes from a list of used ones.
 */
#include "python/scope.h"

#include <structmember.h>

#include "core/generation.h"
#include "core/id.h"

static PyTypeObject *scope_type; /* Owned */

enum { KEPT_SCOPES = 256 };
static Scope *kept_scopes[KEPT_SCOPES];
static int kept_count;

Scope *cirron_scope_new(PyObject *name) {
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
    scope->kind = 0;
    scope->has_parent = false;
    scope->has_index = false;
    scope->has_cpu = false;
    scope->own_attr = OWN_NONE;
    scope->holds_record = false;
    scope->has_gpu = false;
    return scope;
}

bool cirron_scope_check(PyObject *object) {
    return Py_IS_TYPE(object, scope_type);
}

static PyObject *hex_of(const cirron_id *id) {
    char hex[32];
    cirron_id_to_hex(id, hex);
    return PyUnicode_FromStringAndSize(hex, sizeof hex);
}

/* Takes `value` over. */
static int set_item(PyObject *dict, const char *key, PyObject *value) {
    int status = value != NULL ? PyDict_SetItemString(dict, key, value) : -1;
    Py_XDECREF(value);
    return status;
}

int cirron_scope_set_data_load_ns(Scope *scope, int64_t ns) {
    if (scope->attrs != NULL) {
        return set_item(scope->attrs, "data_load_ns", PyLong_FromLongLong(ns));
    }
    scope->own_attr = OWN_DATA_LOAD_NS;
    scope->data_load_ns = ns;
    return 0;
}

PyObject *cirron_scope_attrs(Scope *scope) {
    if (scope->attrs != NULL) {
        return scope->attrs;
    }
    PyObject *attrs = PyDict_New();
    if (attrs != NULL && scope->own_attr == OWN_REQUEST_ID &&
        set_item(attrs, "request_id", hex_of(&scope->request_id)) != 0) {
        Py_CLEAR(attrs);
    }
    if (attrs != NULL && scope->own_attr == OWN_DATA_LOAD_NS &&
        set_item(attrs, "data_load_ns", PyLong_FromLongLong(scope->data_load_ns)) != 0) {
        Py_CLEAR(attrs);
    }
    if (attrs != NULL) {
        scope->attrs = attrs;
        PyObject_GC_Track(scope);
    }
    return attrs;
}

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
    PyObject *attrs = cirron_scope_attrs(scope);
    Py_XINCREF(attrs);
    return attrs;
}

PyObject *cirron_scope_is_recording(PyObject *module, PyObject *scope) {
    (void)module;
    const Scope *self = (const Scope *)scope;
    if (!Py_IS_TYPE(scope, scope_type)) {
        PyErr_SetString(PyExc_TypeError, "is_recording() takes a Scope");
        return NULL;
    }
    return PyBool_FromLong(self->state == SCOPE_OPEN &&
                           self->frame->generation == cirron_generation());
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
    static const char *const states[] = {"new", "open", "open, not recorded", "closed", "closed"};
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
