/* The iterator in front of a loader's, which opens `step` and `data_load`. A step that
 * computes for long has emptied the caches, where every bytecode counts, so what happens
 * for each item is here. What happens once a pass is Python's: the subclass in
 * cirron/hooks/passes.py.
 */
#include "python/loader_pass.h"

#include <structmember.h>

#include "python/hooks.h"
#include "python/optimizer_step.h"
#include "python/timed_scope.h"

typedef struct LoopState {
    PyObject_HEAD
    PyObject *timer; /* Owned: has begin(scope) and end(scope), or None, or NULL */
    long long steps;
    char active;
} LoopState;

typedef struct LoaderPass {
    PyObject_HEAD
    LoopState *loop;          /* Owned; NULL: not initialised, as the next */
    PyObject *source;         /* Owned */
    PyObject *epoch;          /* Owned: a Scope, or None, or NULL, as the next */
    PyObject *step;           /* Owned: open */
    PyObject *trains;         /* Owned: a bool; else undecided, or NULL */
    uint32_t stray_steps;     /* of optimizers, when that was decided */
    uint32_t optimizer_steps; /* and ... */
    long long steps; /* ... of the loop, when last asked for an item within another's step */
} LoaderPass;

/* Within a batch of ci.batches it is ci.batches that says how long the item took. Within a
 * phase a loader is part of that phase, as the loader inside another loader is. */
enum { NOT_HERE = CIRRON_KIND_BATCH | CIRRON_KIND_PHASE };

static PyTypeObject *loop_type; /* Owned */
static PyObject *step_name;     /* Owned: "step" */
static PyObject *wait_name;     /* Owned: "data_load" */

static PyObject *timer_of(const LoopState *loop) {
    return loop->timer != NULL ? loop->timer : Py_None;
}

static void close_step(LoaderPass *pass) {
    PyObject *step = pass->step; /* Owned now */
    pass->step = NULL;
    if (step != NULL && cirron_scope_check(step)) {
        cirron_timed_close((Scope *)step, timer_of(pass->loop));
    }
    Py_XDECREF(step);
}

/* The step, owned, or NULL: there is no memory. */
static Scope *open_step(LoaderPass *pass) {
    const int64_t index = pass->loop->steps++; /* at once: another thread may open one too */
    Scope *step = cirron_timed_open(step_name, CIRRON_KIND_STEP, &index, timer_of(pass->loop));
    PyObject *before = pass->step;
    Py_XINCREF((PyObject *)step);
    pass->step = (PyObject *)step;
    Py_XDECREF(before);
    return step;
}

/* The item has come. */
static void close_wait(Scope *wait, Scope *step) {
    if (wait == NULL) {
        return;
    }
    cirron_timed_close(wait, Py_None);
    if (step != NULL && wait->end_ns != 0) {
        if (cirron_scope_set_data_load_ns(step, wait->end_ns - wait->start_ns) != 0) {
            PyErr_Clear(); /* no memory: the step stays without it */
        }
    }
}

/* No item has come: the source has ended, or its error is set. Returns NULL. */
static PyObject *leave(PyObject *self, Scope *wait) {
    PyObject *error[3];
    PyObject *done; /* Owned */
    bool ended = !PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_StopIteration);
    if (!ended && wait != NULL) {
        cirron_timed_close(wait, Py_None);
    }
    PyErr_Fetch(&error[0], &error[1], &error[2]);
    if (ended) { /* the wait was for nothing, and is none if nothing was recorded below it */
        if (wait != NULL && !cirron_scope_discard(wait)) {
            cirron_timed_close(wait, Py_None);
        }
        done = PyObject_CallMethod(self, "_end", NULL);
    } else {
        PyErr_NormalizeException(&error[0], &error[1], &error[2]);
        done = PyObject_CallMethod(self, "_fail", "O", error[1]);
    }
    if (done != NULL) {
        PyErr_Restore(error[0], error[1], error[2]);
        Py_DECREF(done);
    } else { /* Ctrl-C */
        Py_XDECREF(error[0]);
        Py_XDECREF(error[1]);
        Py_XDECREF(error[2]);
    }
    return NULL;
}

/* Whether a pass trains is asked at its first item, and once more when an optimizer has made a
 * step in what was not taken for training. */
static bool is_decided(const LoaderPass *pass) {
    return pass->trains == Py_True ||
           (pass->trains == Py_False && pass->stray_steps == cirron_stray_optimizer_steps());
}

static bool call(PyObject *self, const char *method) {
    PyObject *done = PyObject_CallMethod(self, method, NULL);
    Py_XDECREF(done);
    return done != NULL;
}

static bool decide(PyObject *self) {
    ((LoaderPass *)self)->stray_steps = cirron_stray_optimizer_steps();
    return call(self, "_decide");
}

/* Whether the step around this pass was left by another, whose iterator is still held: an
 * optimizer has made a step with this pass's last item, and the other was asked for none. */
static bool is_step_left(LoaderPass *pass) {
    const uint32_t optimizer_steps = cirron_optimizer_steps();
    const bool left = pass->steps == pass->loop->steps && pass->optimizer_steps != optimizer_steps;
    pass->steps = pass->loop->steps;
    pass->optimizer_steps = optimizer_steps;
    return left;
}

/* Whether a pass of training has to open an epoch before its next step. */
static bool has_no_place(LoaderPass *pass, uint32_t kinds) {
    if ((kinds & CIRRON_KIND_STEP) != 0) {
        return is_step_left(pass);
    }
    return (kinds & CIRRON_KIND_EPOCH) == 0 && (pass->epoch == NULL || pass->epoch == Py_None);
}

/* The next item, within what is no place for spans of the pass; its end ends the epoch. */
static PyObject *next_unseen(PyObject *self) {
    PyObject *item = cirron_next(((LoaderPass *)self)->source);
    return item != NULL ? item : leave(self, NULL);
}

static PyObject *next_item(PyObject *self) {
    LoaderPass *pass = (LoaderPass *)self;
    LoopState *loop = pass->loop;
    if (loop == NULL) {
        PyErr_SetString(PyExc_TypeError, "a pass that was not initialised");
        return NULL;
    }
    cirron_end_left_optimizer_steps();
    close_step(pass);
    if (!loop->active) {
        return cirron_next(pass->source);
    }
    if (!is_decided(pass) && !decide(self)) {
        return NULL;
    }
    uint32_t kinds = cirron_open_kinds();
    if ((kinds & NOT_HERE) != 0) {
        return next_unseen(self);
    }
    if (pass->trains == Py_True && has_no_place(pass, kinds)) {
        if (!call(self, "_find_place")) {
            return NULL;
        }
        kinds = cirron_open_kinds();
    }
    Scope *step = NULL; /* Owned, as the next */
    if (pass->trains == Py_True && (kinds & CIRRON_KIND_STEP) == 0) {
        step = open_step(pass);
    }
    Scope *wait = cirron_timed_open(wait_name, CIRRON_KIND_PHASE, NULL, Py_None);
    PyObject *item = cirron_next(pass->source);
    if (item != NULL) {
        close_wait(wait, step);
    } else {
        item = leave(self, wait);
    }
    Py_XDECREF((PyObject *)wait);
    Py_XDECREF((PyObject *)step);
    return item;
}

/* ---- the types */

static int traverse_loop(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((LoopState *)self)->timer);
    return 0;
}

static int clear_loop(PyObject *self) {
    Py_CLEAR(((LoopState *)self)->timer);
    return 0;
}

static void dealloc_loop(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)clear_loop(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMemberDef loop_members[] = {
    {"active", T_BOOL, offsetof(LoopState, active), 0, "False: passes open nothing any more."},
    {"timer", T_OBJECT, offsetof(LoopState, timer), 0, "Has begin(scope) and end(scope)."},
    {"steps", T_LONGLONG, offsetof(LoopState, steps), 0, "Steps so far, the next one's index."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot loop_slots[] = {
    {Py_tp_dealloc, (void *)dealloc_loop},
    {Py_tp_traverse, (void *)traverse_loop},
    {Py_tp_clear, (void *)clear_loop},
    {Py_tp_members, loop_members},
    {Py_tp_doc, "What the passes of a loop share."},
    {0, NULL},
};

static PyType_Spec loop_spec = {
    .name = "cirron._core.LoopState",
    .basicsize = sizeof(LoopState),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = loop_slots,
};

static int init_pass(PyObject *self, PyObject *args, PyObject *kwargs) {
    LoaderPass *pass = (LoaderPass *)self;
    PyObject *loop; /* Borrowed, as the next two */
    PyObject *source;
    PyObject *epoch;
    if (pass->loop != NULL || kwargs != NULL) {
        PyErr_SetString(PyExc_TypeError, "LoaderPass is initialised once, by position");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "O!OO:LoaderPass", loop_type, &loop, &source, &epoch)) {
        return -1;
    }
    Py_INCREF(loop);
    Py_INCREF(source);
    Py_INCREF(epoch);
    pass->loop = (LoopState *)loop;
    pass->source = source;
    pass->epoch = epoch;
    return 0;
}

static int traverse_pass(PyObject *self, visitproc visit, void *arg) {
    LoaderPass *pass = (LoaderPass *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)pass->loop);
    Py_VISIT(pass->source);
    Py_VISIT(pass->epoch);
    Py_VISIT(pass->step);
    Py_VISIT(pass->trains);
    return 0;
}

static int clear_pass(PyObject *self) {
    LoaderPass *pass = (LoaderPass *)self;
    Py_CLEAR(pass->loop);
    Py_CLEAR(pass->source);
    Py_CLEAR(pass->epoch);
    Py_CLEAR(pass->step);
    Py_CLEAR(pass->trains);
    return 0;
}

static void dealloc_pass(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)clear_pass(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMemberDef pass_members[] = {
    {"_loop", T_OBJECT_EX, offsetof(LoaderPass, loop), READONLY, NULL},
    {"_source", T_OBJECT_EX, offsetof(LoaderPass, source), READONLY, NULL},
    {"_epoch", T_OBJECT, offsetof(LoaderPass, epoch), 0, NULL},
    {"_step", T_OBJECT, offsetof(LoaderPass, step), 0, NULL},
    {"_trains", T_OBJECT, offsetof(LoaderPass, trains), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot pass_slots[] = {
    {Py_tp_init, (void *)init_pass},
    {Py_tp_dealloc, (void *)dealloc_pass},
    {Py_tp_traverse, (void *)traverse_pass},
    {Py_tp_clear, (void *)clear_pass},
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)next_item},
    {Py_tp_members, pass_members},
    {Py_tp_doc, "An iterator in front of a loader's, which opens steps."},
    {0, NULL},
};

static PyType_Spec pass_spec = {
    .name = "cirron._core.LoaderPass",
    .basicsize = sizeof(LoaderPass),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = pass_slots,
};

int cirron_loader_pass_init(PyObject *module) {
    step_name = PyUnicode_InternFromString("step");
    wait_name = PyUnicode_InternFromString("data_load");
    loop_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &loop_spec, NULL);
    PyObject *type = PyType_FromModuleAndSpec(module, &pass_spec, NULL);
    if (step_name == NULL || wait_name == NULL || loop_type == NULL || type == NULL ||
        PyModule_AddObjectRef(module, "LoopState", (PyObject *)loop_type) != 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "LoaderPass", type);
}
