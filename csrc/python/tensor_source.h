/* The memory of an array that another library owns, borrowed without a copy by the buffer
 * protocol or DLPack. Under the GIL, but what is borrowed may be read without.
 */
#ifndef CIRRON_PYTHON_TENSOR_SOURCE_H
#define CIRRON_PYTHON_TENSOR_SOURCE_H

#include <Python.h>

#include "core/array_walk.h"
#include "python/dlpack.h"

/* Exactly one of the three owns what `array` refers to. */
typedef struct cirron_tensor_source {
    cirron_array array;
    Py_buffer buffer; /* Owned where buffer.obj is set */
    cirron_dl_managed *managed;
    cirron_dl_versioned *versioned;
    int64_t shape[CIRRON_ARRAY_MAX_DIMENSIONS];
    int64_t strides[CIRRON_ARRAY_MAX_DIMENSIONS];
} cirron_tensor_source;

/* -1 with TypeError for what offers neither protocol or is not in the CPU's memory, with
 * ValueError for elements of an unknown kind or what its owner refuses to lend. Whatever is
 * returned, the source is to be released. */
int cirron_tensor_source_borrow(cirron_tensor_source *source, PyObject *object);

/* Leaves an exception that is set as it is. */
void cirron_tensor_source_release(cirron_tensor_source *source);

#endif
