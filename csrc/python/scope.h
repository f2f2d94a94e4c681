/* The Scope type: `with ci.scope(name, index=None, **attrs) as s:`. Needs the GIL. */
#ifndef CIRRON_PYTHON_SCOPE_H
#define CIRRON_PYTHON_SCOPE_H

#include <Python.h>

#include <stdbool.h>

#include "python/frame.h"

enum scope_state {
    SCOPE_NEW,
    SCOPE_OPEN,
    SCOPE_UNRECORDED, /* open, but disabled, too deep or no memory */
    SCOPE_CLOSED,
    SCOPE_HELD, /* closed, and its record is still to be published */
};

/* An attribute that costs no dict while the scope has no other. */
enum scope_own_attr {
    OWN_NONE,
    OWN_REQUEST_ID,
    OWN_DATA_LOAD_NS,
};

typedef struct Scope {
    PyObject_HEAD
    PyObject *name;      /* Owned */
    PyObject *attrs;     /* Owned, or NULL: none yet */
    PyObject *big_index; /* Owned, or NULL: an index outside int64 */
    cirron_frame *frame; /* Owned, or NULL: never recorded */
    cirron_id parent_id;
    union { /* by own_attr */
        cirron_id request_id;
        int64_t data_load_ns;
    };
    int64_t index;
    int64_t opened_ns; /* monotonic */
    int64_t start_ns;  /* 0: not opened, or disabled then */
    int64_t end_ns;    /* 0: not closed */
    int64_t cpu_ns;    /* of the thread, when it was opened; once closed, in between */
    int64_t gpu_ns;
    int64_t memory_peak_bytes;
    uint64_t thread_id;
    uint8_t state; /* these eight are set to 0 at once */
    uint8_t kind;  /* cirron_kind bits */
    uint8_t own_attr;
    bool has_parent;
    bool has_index;
    bool has_cpu;
    bool holds_record; /* closing leaves the record to cirron_scope_publish */
    bool has_gpu;      /* and the next, where the record is held */
    bool has_memory;
} Scope;

bool cirron_scope_check(PyObject *object);

int cirron_scope_init(PyObject *module);

/* A new Scope, not entered, without index and attributes; NULL with an exception. */
Scope *cirron_scope_new(PyObject *name);

/* Sets its attribute data_load_ns; -1 with an exception. */
int cirron_scope_set_data_load_ns(Scope *scope, int64_t ns);

/* Its attributes, borrowed, made when there are none yet; NULL with an exception. */
PyObject *cirron_scope_attrs(Scope *scope);

/* The function `scope`: METH_FASTCALL | METH_KEYWORDS. */
PyObject *cirron_scope(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames);

/* The function `is_recording`: METH_O. */
PyObject *cirron_scope_is_recording(PyObject *module, PyObject *scope);

/* Sets its index, any integer; -1 with an exception. */
int cirron_scope_set_index(Scope *scope, PyObject *index);

/* __enter__ and __exit__. */
PyObject *cirron_scope_enter(PyObject *self, PyObject *ignored);
PyObject *cirron_scope_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs);

/* Writes the record of a closed scope that held it back; nothing for any other. */
void cirron_scope_publish(Scope *scope);

/* Closes an open scope as if it had never been opened. False, and nothing happened, when
 * something was recorded below it. */
bool cirron_scope_discard(Scope *scope);

#endif
