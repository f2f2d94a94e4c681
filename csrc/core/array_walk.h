/* Arrays of somebody else's and the way through their elements, whatever the strides: in the
 * order of memory as far as that can be, since no statistic asks for another. A walk belongs
 * to one thread.
 */
#ifndef CIRRON_CORE_ARRAY_WALK_H
#define CIRRON_CORE_ARRAY_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/types.h"

enum { CIRRON_ARRAY_MAX_DIMENSIONS = 64 };

typedef enum cirron_dtype {
    CIRRON_FLOAT16,
    CIRRON_BFLOAT16,
    CIRRON_FLOAT32,
    CIRRON_FLOAT64,
    CIRRON_INT8,
    CIRRON_INT16,
    CIRRON_INT32,
    CIRRON_INT64,
    CIRRON_UINT8,
    CIRRON_UINT16,
    CIRRON_UINT32,
    CIRRON_UINT64,
    CIRRON_BOOL,
    CIRRON_DTYPE_COUNT,
} cirron_dtype;

/* Somebody else's memory, in the byte order of this machine. */
typedef struct cirron_array {
    const void *data; /* the element at index 0, 0, ...; needs no alignment */
    cirron_dtype dtype;
    size_t dimensions;
    const int64_t *shape;
    const int64_t *strides; /* bytes, of either sign; NULL: C order without gaps */
} cirron_array;

size_t cirron_dtype_size(cirron_dtype dtype);

enum { CIRRON_WALK_COPY = 2048 }; /* elements that are gathered at a time */

typedef struct cirron_array_walk {
    cirron_dtype dtype;
    size_t size;    /* of an element, bytes */
    uint64_t left;  /* elements still to come */
    size_t outer;   /* dimensions outside the innermost one */
    int64_t length; /* of the innermost one */
    int64_t stride;
    int64_t at; /* in the innermost one */
    const unsigned char *row;
    int64_t shape[CIRRON_ARRAY_MAX_DIMENSIONS];
    int64_t strides[CIRRON_ARRAY_MAX_DIMENSIONS];
    int64_t index[CIRRON_ARRAY_MAX_DIMENSIONS];
    union {
        double align;
        unsigned char bytes[CIRRON_WALK_COPY * 8];
    } gathered;
} cirron_array_walk;

/* CIRRON_UNSUPPORTED: no such dtype (complex numbers have none), a negative size, too many
 * elements or more dimensions than CIRRON_ARRAY_MAX_DIMENSIONS. */
int cirron_array_walk_init(cirron_array_walk *walk, const cirron_array *array);

/* The next elements, side by side and aligned or not as they are in the array: at most `max`
 * of them, 0 at the end. They stay until the next call. */
size_t cirron_array_walk_next(cirron_array_walk *walk, size_t max, const void **elements);

#endif
