/* PyContextVar_* is not in the limited API, so the C functions behind the variable's
 * bound get and set are called directly where their calling convention is the known one,
 * and through the objects elsewhere.
 *
 * The guard around set: on 3.11 a collection inside it may run finalisers that replace
 * the variable's map while set still uses it. The caller owns the old value and the
 * collector is held off.
 */
#include "python/frame.h"

typedef PyObject *(*fast_function)(PyObject *, PyObject *const *, Py_ssize_t);

static PyTypeObject *frame_type; /* Owned */
static PyObject *variable;       /* Owned */
static PyObject *bound_get;      /* Owned */
static PyObject *bound_set;      /* Owned */
static fast_function direct_get; /* NULL: call the object */
static PyCFunction direct_set;

enum { KEPT_FRAMES = 256 };
static cirron_frame *kept_frames[KEPT_FRAMES];
static int kept_count;

static void dealloc_frame(PyObject *self) {
    cirron_frame *frame = (cirron_frame *)self;
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(frame->parent);
    Py_CLEAR(frame->notes);
    if (kept_count < KEPT_FRAMES) {
        kept_frames[kept_count++] = frame;
    } else {
        PyObject_Free(frame);
    }
    Py_DECREF(type);
}

static PyType_Slot frame_slots[] = {
    {Py_tp_dealloc, (void *)dealloc_frame},
    {0, NULL},
};

static PyType_Spec frame_spec = {
    .name = "cirron._core.Frame",
    .basicsize = sizeof(cirron_frame),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = frame_slots,
};

/* Each step only where none before has raised. */
static PyObject *make_variable(void) {
    PyObject *made = NULL;
    PyObject *contextvars = PyImport_ImportModule("_contextvars");
    PyObject *type = contextvars != NULL ? PyObject_GetAttrString(contextvars, "ContextVar") : NULL;
    PyObject *args = type != NULL ? Py_BuildValue("(s)", "cirron.scope") : NULL;
    PyObject *kwargs = args != NULL ? Py_BuildValue("{s:O}", "default", Py_None) : NULL;
    if (kwargs != NULL) {
        made = PyObject_Call(type, args, kwargs);
    }
    Py_XDECREF(contextvars);
    Py_XDECREF(type);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return made;
}

int cirron_frame_init(PyObject *module) {
    frame_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &frame_spec, NULL);
    variable = frame_type != NULL ? make_variable() : NULL;
    if (variable == NULL) {
        return -1;
    }
    bound_get = PyObject_GetAttrString(variable, "get");
    bound_set = PyObject_GetAttrString(variable, "set");
    if (bound_get == NULL || bound_set == NULL) {
        return -1;
    }
    if (PyCFunction_GetFlags(bound_get) == METH_FASTCALL &&
        PyCFunction_GetFlags(bound_set) == METH_O) {
        direct_get = (fast_function)(void *)PyCFunction_GetFunction(bound_get);
        direct_set = PyCFunction_GetFunction(bound_set);
    }
    PyErr_Clear(); /* GetFlags of what is no C function */
    return 0;
}

static cirron_frame *skip_closed(cirron_frame *frame) {
    while (frame != NULL && frame->closed) {
        frame = frame->parent;
    }
    return frame;
}

static void shorten_link(cirron_frame *frame) {
    cirron_frame *parent = frame->parent;
    if (parent != NULL && parent->closed) {
        frame->parent = skip_closed(parent);
        Py_XINCREF((PyObject *)frame->parent);
        Py_DECREF(parent);
    }
}

static PyObject *get_variable(void) {
    return direct_get != NULL ? direct_get(variable, NULL, 0) : PyObject_CallNoArgs(bound_get);
}

cirron_frame *cirron_frame_current(PyObject **held) {
    *held = get_variable();
    if (*held == NULL || *held == Py_None) {
        return NULL;
    }
    cirron_frame *frame = (cirron_frame *)*held;
    if (!frame->closed) {
        return frame;
    }
    shorten_link(frame);
    return frame->parent;
}

cirron_frame *cirron_frame_new(cirron_frame *parent) {
    cirron_frame *frame;
    if (kept_count > 0) {
        frame = kept_frames[--kept_count];
        PyObject_Init((PyObject *)frame, frame_type);
    } else {
        frame = PyObject_New(cirron_frame, frame_type);
        if (frame == NULL) {
            return NULL;
        }
    }
    Py_XINCREF((PyObject *)parent);
    frame->parent = parent;
    frame->notes = NULL;
    frame->scopes = 0;
    frame->marks = 0;
    frame->depth = 1;
    frame->closed = false;
    frame->is_request = false;
    return frame;
}

static int set_variable(PyObject *value) {
    int was_enabled = PyGC_Disable();
    PyObject *token = direct_set != NULL ? direct_set(variable, value)
                                         : PyObject_CallFunctionObjArgs(bound_set, value, NULL);
    if (was_enabled) {
        PyGC_Enable();
    }
    if (token == NULL) {
        return -1;
    }
    Py_DECREF(token);
    return 0;
}

int cirron_frame_push(cirron_frame *frame) {
    return set_variable((PyObject *)frame);
}

PyObject *cirron_frame_begin_turn(cirron_frame *frame) {
    PyObject *before = get_variable();
    if (before == NULL || set_variable((PyObject *)frame) != 0) {
        PyErr_Clear();
        Py_CLEAR(before);
    }
    return before;
}

cirron_frame *cirron_frame_end_turn(PyObject *before) {
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *held; /* Owned */
    cirron_frame *left = cirron_frame_current(&held);
    Py_XINCREF((PyObject *)left);
    (void)set_variable(before); /* no memory: the context keeps a frame that will close */
    Py_XDECREF(held);
    Py_DECREF(before);
    PyErr_Restore(type, value, traceback); /* drops what was raised here */
    return left;
}

void cirron_frame_leave(const cirron_frame *frame) {
    PyObject *held; /* Owned */
    for (const cirron_frame *at = cirron_frame_current(&held); at != NULL; at = at->parent) {
        if (at == frame) {
            cirron_frame *parent = skip_closed(frame->parent);
            (void)set_variable(parent != NULL ? (PyObject *)parent : Py_None); /* as above */
            break;
        }
    }
    Py_XDECREF(held);
    PyErr_Clear();
}

uint32_t cirron_frame_depth(const cirron_frame *frame) {
    uint32_t depth = 0;
    for (; frame != NULL; frame = frame->parent) {
        depth += !frame->closed;
    }
    return depth;
}

uint32_t cirron_frame_kinds(const cirron_frame *frame) {
    uint32_t kinds = 0;
    for (; frame != NULL; frame = frame->parent) {
        kinds |= frame->closed ? 0u : frame->kind;
    }
    return kinds;
}

void cirron_frame_discard(cirron_frame *frame) {
    frame->closed = true;
    shorten_link(frame);
}

void cirron_frame_close(cirron_frame *frame) {
    frame->closed = true;
    shorten_link(frame);
    cirron_frame *parent = frame->parent;
    if (parent != NULL) {
        parent->scopes += frame->scopes + 1;
        parent->marks += frame->marks;
    }
}
