/* Which scope is current: one ContextVar holds the innermost Frame of each context.
 *
 * A Frame is what a context may keep alive: it knows its id, its parent frame and
 * whether it is closed, and refers to no object of the user's. Opening a scope costs one
 * get and one set of the variable; closing only marks the frame closed, readers walk
 * over closed frames. Everything here needs the GIL.
 */
#ifndef CIRRON_PYTHON_FRAME_H
#define CIRRON_PYTHON_FRAME_H

#include <Python.h>

#include <stdbool.h>

#include "core/types.h"

/* What a scope stands for, where hooks must know: bits. */
enum cirron_kind {
    CIRRON_KIND_EPOCH = 1u << 0,     /* a pass of the training loop, whoever opened it */
    CIRRON_KIND_STEP = 1u << 1,      /* one batch of it */
    CIRRON_KIND_BATCH = 1u << 2,     /* of ci.batches, from the request for the item on */
    CIRRON_KIND_PHASE = 1u << 3,     /* data_load, forward, backward: nothing below is one */
    CIRRON_KIND_OPTIMIZER = 1u << 4, /* optimizer_step: a closure runs phases in it */
};

typedef struct cirron_frame {
    PyObject_HEAD
    struct cirron_frame *parent; /* Owned: nearest ancestor not known to be closed, or NULL */
    PyObject *notes;             /* Owned, or NULL: see cirron_request_notes */
    cirron_id id;
    uint32_t generation; /* of the process that opened it */
    uint32_t session;
    uint32_t scopes; /* closed descendants */
    uint32_t marks;  /* on it and on them */
    uint32_t depth;  /* open frames from the outermost to this one, at most */
    uint8_t kind;    /* cirron_kind bits */
    bool closed;
    bool is_request;
} cirron_frame;

int cirron_frame_init(PyObject *module);

/* The innermost open frame of this context, borrowed from `*held`, or NULL for none.
 * `*held` is an owned reference that keeps it alive; NULL means an exception was set. */
cirron_frame *cirron_frame_current(PyObject **held);

/* A new open frame below `parent` (may be NULL); owned. NULL with an exception. The caller
 * sets id, generation, session and kind. */
cirron_frame *cirron_frame_new(cirron_frame *parent);

/* Makes `frame` the current one of this context; the caller holds the old value. */
int cirron_frame_push(cirron_frame *frame);

/* For work that runs in turns, each perhaps in another context: puts `frame` in the place
 * of what is current here and returns that, owned; NULL, with no exception set, when
 * there is no memory. Whoever gets it hands it to cirron_frame_end_turn. */
PyObject *cirron_frame_begin_turn(cirron_frame *frame);

/* Puts back `before`, which it takes over. Returns the innermost frame that the turn left
 * open, owned, or NULL. An exception that is set stays set. */
cirron_frame *cirron_frame_end_turn(PyObject *before);

/* Makes `frame`'s parent current where `frame` or a descendant is. */
void cirron_frame_leave(const cirron_frame *frame);

/* Open frames from the outermost to `frame`, counted. */
uint32_t cirron_frame_depth(const cirron_frame *frame);

/* The kinds of `frame` and its open ancestors, as bits. */
uint32_t cirron_frame_kinds(const cirron_frame *frame);

/* Marks it closed and hands its counts to the nearest open ancestor. */
void cirron_frame_close(cirron_frame *frame);

/* Marks it closed, as if it had never been; nothing was recorded below it. */
void cirron_frame_discard(cirron_frame *frame);

#endif
