/* What scope and mark share: the switch, the counts, the costs. Under the GIL. */
#ifndef CIRRON_PYTHON_RECORDING_H
#define CIRRON_PYTHON_RECORDING_H

#include <Python.h>

#include <stdbool.h>

#include "core/process.h"

typedef struct cirron_recording {
    bool enabled;
    bool measuring;  /* records are filled in and not published */
    uint64_t scopes; /* closed, ever */
    uint64_t marks;
    int64_t scope_cost_ns; /* one open and close */
    int64_t mark_cost_ns;
} cirron_recording;

extern cirron_recording cirron_the_recording;

static inline int64_t cirron_overhead_ns(uint64_t scopes, uint64_t marks) {
    return (int64_t)scopes * cirron_the_recording.scope_cost_ns +
           (int64_t)marks * cirron_the_recording.mark_cost_ns;
}

/* The disk began to refuse: says so once, from a thread of Python's. */
void cirron_warn_of_disk(void);

#endif
