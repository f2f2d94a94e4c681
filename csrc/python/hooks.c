/* A hook may run in threads that are not the program's: a framework's own threads, or a
 * process that it forked. The framework's hooks know how to tell; they are asked once in
 * each thread of each process, when it first comes by.
 */
#include "python/hooks.h"

#include "python/recording.h"
#include "python/scope.h"
#include "python/text.h"

static PyObject *is_foreign;     /* Owned, or NULL: a callable, True in a foreign thread */
static uint32_t foreign_version; /* of is_foreign */

static _Thread_local struct {
    uint32_t generation;
    uint32_t version;
    bool foreign;
} asked;

static _Thread_local uint32_t requests; /* calls of ci.batches for an item, one in another */

static bool ask_whether_foreign(void) {
    uint32_t generation = cirron_generation();
    asked.generation = generation;
    asked.version = foreign_version;
    asked.foreign = false; /* what is_foreign itself calls is not asked again */
    if (is_foreign != NULL) {
        PyObject *answer = PyObject_CallNoArgs(is_foreign);
        asked.foreign = answer != NULL && PyObject_IsTrue(answer) == 1;
        Py_XDECREF(answer);
        cirron_drop_exception();
    }
    return asked.foreign;
}

static inline bool in_foreign_thread(void) {
    if (asked.version == foreign_version && asked.generation == cirron_generation()) {
        return asked.foreign;
    }
    return ask_whether_foreign();
}

uint32_t cirron_open_kinds(void) {
    PyObject *held; /* Owned */
    uint32_t kinds = cirron_frame_kinds(cirron_frame_current(&held));
    if (held == NULL) {
        PyErr_Clear();
        return CIRRON_KIND_PHASE;
    }
    Py_DECREF(held);
    if ((kinds & CIRRON_KIND_PHASE) == 0 && in_foreign_thread()) {
        kinds |= CIRRON_KIND_PHASE;
    }
    return kinds | (requests != 0 ? CIRRON_KIND_BATCH : 0u);
}

static PyObject *open_kinds(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    return PyLong_FromUnsignedLong(cirron_open_kinds());
}

PyObject *cirron_next(PyObject *iterator) {
    iternextfunc next = (iternextfunc)PyType_GetSlot(Py_TYPE(iterator), Py_tp_iternext);
    if (next == NULL) {
        PyErr_SetString(PyExc_TypeError, "not an iterator");
        return NULL;
    }
    return next(iterator);
}

static PyObject *request_batch(PyObject *module, PyObject *iterator) {
    (void)module;
    requests++;
    PyObject *item = cirron_next(iterator);
    requests--;
    if (item == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return item;
}

static PyObject *set_foreign_check(PyObject *module, PyObject *check) {
    (void)module;
    PyObject *before = is_foreign;
    Py_INCREF(check);
    is_foreign = check != Py_None ? check : NULL;
    if (is_foreign == NULL) {
        Py_DECREF(check);
    }
    foreign_version++;
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

static PyObject *kind_scope(PyObject *module, PyObject *args) {
    (void)module;
    int kind;
    PyObject *name; /* Borrowed, as the next */
    PyObject *index = Py_None;
    if (!PyArg_ParseTuple(args, "iU|O:kind_scope", &kind, &name, &index)) {
        return NULL;
    }
    Scope *scope = cirron_scope_new(name);
    if (scope == NULL) {
        return NULL;
    }
    scope->kind = (uint8_t)kind;
    if (index != Py_None && cirron_scope_set_index(scope, index) != 0) {
        Py_DECREF(scope);
        return NULL;
    }
    return (PyObject *)scope;
}

static Scope *as_scope(PyObject *object) {
    if (cirron_scope_check(object)) {
        return (Scope *)object;
    }
    PyErr_SetString(PyExc_TypeError, "not a Scope");
    return NULL;
}

static PyObject *discard(PyObject *module, PyObject *object) {
    (void)module;
    Scope *scope = as_scope(object);
    return scope != NULL ? PyBool_FromLong(cirron_scope_discard(scope)) : NULL;
}

static PyObject *hold(PyObject *module, PyObject *object) {
    (void)module;
    Scope *scope = as_scope(object);
    if (scope == NULL) {
        return NULL;
    }
    scope->holds_record = true;
    scope->has_gpu = false;
    scope->has_memory = false;
    Py_RETURN_NONE;
}

/* A number that is known, or None. */
static int take_number(PyObject *value, int64_t *number, bool *known) {
    if (value == Py_None) {
        return 0;
    }
    *number = PyLong_AsLongLong(value);
    *known = true;
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *publish(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *object; /* Borrowed, as the next two */
    PyObject *gpu_ns = Py_None;
    PyObject *peak = Py_None;
    if (!PyArg_ParseTuple(args, "O|OO:publish", &object, &gpu_ns, &peak)) {
        return NULL;
    }
    Scope *scope = as_scope(object);
    if (scope == NULL || take_number(gpu_ns, &scope->gpu_ns, &scope->has_gpu) != 0 ||
        take_number(peak, &scope->memory_peak_bytes, &scope->has_memory) != 0) {
        return NULL;
    }
    cirron_scope_publish(scope);
    Py_RETURN_NONE;
}

PyMethodDef cirron_hooks_methods[] = {
    {"kind_scope", kind_scope, METH_VARARGS, NULL},
    {"open_kinds", open_kinds, METH_NOARGS, NULL},
    {"request_batch", request_batch, METH_O, NULL},
    {"set_foreign_check", set_foreign_check, METH_O, NULL},
    {"discard", discard, METH_O, NULL},
    {"hold", hold, METH_O, NULL},
    {"publish", publish, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int cirron_hooks_init(PyObject *module) {
    if (PyModule_AddFunctions(module, cirron_hooks_methods) != 0 ||
        PyModule_AddIntConstant(module, "KIND_EPOCH", CIRRON_KIND_EPOCH) != 0 ||
        PyModule_AddIntConstant(module, "KIND_STEP", CIRRON_KIND_STEP) != 0 ||
        PyModule_AddIntConstant(module, "KIND_BATCH", CIRRON_KIND_BATCH) != 0 ||
        PyModule_AddIntConstant(module, "KIND_PHASE", CIRRON_KIND_PHASE) != 0 ||
        PyModule_AddIntConstant(module, "KIND_OPTIMIZER", CIRRON_KIND_OPTIMIZER) != 0) {
        return -1;
    }
    return 0;
}
