/* Dimensions are turned to positive strides, sorted by them and joined where one continues
 * the other, so a transposed or reversed array without gaps is one run again. What then
 * still has gaps is gathered.
 */
#include "core/array_walk.h"

#include <string.h>

/* A row of at least so many elements is not worth copying. */
enum { LONG_ROW = 256 };

size_t cirron_dtype_size(cirron_dtype dtype) {
    static const uint8_t sizes[CIRRON_DTYPE_COUNT] = {
        [CIRRON_FLOAT16] = 2, [CIRRON_BFLOAT16] = 2, [CIRRON_FLOAT32] = 4, [CIRRON_FLOAT64] = 8,
        [CIRRON_INT8] = 1,    [CIRRON_INT16] = 2,    [CIRRON_INT32] = 4,   [CIRRON_INT64] = 8,
        [CIRRON_UINT8] = 1,   [CIRRON_UINT16] = 2,   [CIRRON_UINT32] = 4,  [CIRRON_UINT64] = 8,
        [CIRRON_BOOL] = 1,
    };
    return sizes[dtype];
}

/* The number of elements; false when there can't be so many. */
static bool count_elements(const cirron_array *array, uint64_t *count) {
    bool empty = false;
    *count = 1;
    for (size_t i = 0; i < array->dimensions; i++) {
        if (array->shape[i] < 0) {
            return false;
        }
        empty = empty || array->shape[i] == 0;
    }
    for (size_t i = 0; i < array->dimensions && !empty; i++) {
        if (__builtin_mul_overflow(*count, (uint64_t)array->shape[i], count)) {
            return false;
        }
    }
    if (empty) {
        *count = 0;
    }
    return *count <= INT64_MAX / 8;
}

/* Inserts a dimension among the `count` that are sorted, the widest stride first. Repetition,
 * stride 0, comes before all. */
static void insert_dimension(cirron_array_walk *walk, size_t count, int64_t length,
                             int64_t stride) {
    size_t i = count;
    while (i > 0 && (stride == 0 || (walk->strides[i - 1] != 0 && walk->strides[i - 1] < stride))) {
        walk->shape[i] = walk->shape[i - 1];
        walk->strides[i] = walk->strides[i - 1];
        i--;
    }
    walk->shape[i] = length;
    walk->strides[i] = stride;
}

static size_t join_dimensions(cirron_array_walk *walk, size_t count) {
    size_t last = 0;
    for (size_t i = 1; i < count; i++) {
        if (walk->strides[last] == walk->shape[i] * walk->strides[i]) {
            walk->shape[last] *= walk->shape[i];
        } else {
            walk->shape[++last] = walk->shape[i];
        }
        walk->strides[last] = walk->strides[i];
    }
    return last + 1;
}

int cirron_array_walk_init(cirron_array_walk *walk, const cirron_array *array) {
    if ((unsigned)array->dtype >= CIRRON_DTYPE_COUNT ||
        array->dimensions > CIRRON_ARRAY_MAX_DIMENSIONS || !count_elements(array, &walk->left)) {
        return CIRRON_UNSUPPORTED;
    }
    walk->dtype = array->dtype;
    walk->size = cirron_dtype_size(array->dtype);
    walk->row = array->data;
    walk->at = 0;
    if (walk->left == 0) {
        return CIRRON_OK;
    }
    int64_t packed = (int64_t)walk->size;
    size_t count = 0;
    for (size_t i = array->dimensions; i-- > 0;) {
        const int64_t length = array->shape[i];
        int64_t stride = array->strides != NULL ? array->strides[i] : packed;
        packed *= length;
        if (length == 1) {
            continue;
        }
        if (stride < 0) {
            walk->row += (length - 1) * stride;
            stride = -stride;
        }
        insert_dimension(walk, count++, length, stride);
    }
    if (count == 0) {
        insert_dimension(walk, count++, 1, (int64_t)walk->size);
    }
    walk->outer = join_dimensions(walk, count) - 1;
    walk->length = walk->shape[walk->outer];
    walk->stride = walk->strides[walk->outer];
    memset(walk->index, 0, sizeof(walk->index));
    return CIRRON_OK;
}

static void next_row(cirron_array_walk *walk) {
    walk->at = 0;
    for (size_t i = walk->outer; i-- > 0;) {
        walk->row += walk->strides[i];
        if (++walk->index[i] < walk->shape[i]) {
            return;
        }
        walk->row -= walk->shape[i] * walk->strides[i];
        walk->index[i] = 0;
    }
}

static void gather(const cirron_array_walk *walk, const unsigned char *from, unsigned char *to,
                   size_t len) {
    const int64_t stride = walk->stride;
    if (stride == (int64_t)walk->size) {
        memcpy(to, from, len * walk->size);
        return;
    }
    for (size_t i = 0; i < len; i++, from += stride) {
        switch (walk->size) {
        case 1:
            to[i] = *from;
            break;
        case 2:
            memcpy(to + 2 * i, from, 2);
            break;
        case 4:
            memcpy(to + 4 * i, from, 4);
            break;
        default:
            memcpy(to + 8 * i, from, 8);
            break;
        }
    }
}

/* Takes at most `max` elements off the current row; returns how many. */
static size_t take(cirron_array_walk *walk, size_t max, const unsigned char **from) {
    const uint64_t in_row = (uint64_t)(walk->length - walk->at);
    const size_t len = in_row < max ? (size_t)in_row : max;
    *from = walk->row + walk->at * walk->stride;
    walk->at += (int64_t)len;
    walk->left -= len;
    if (walk->at == walk->length) {
        next_row(walk);
    }
    return len;
}

size_t cirron_array_walk_next(cirron_array_walk *walk, size_t max, const void **elements) {
    const unsigned char *from = NULL;
    size_t len = 0;
    if (walk->left == 0) {
        return 0;
    }
    if (walk->stride == (int64_t)walk->size && (walk->outer == 0 || walk->length >= LONG_ROW)) {
        len = take(walk, max, &from);
        *elements = from;
        return len;
    }
    max = max < CIRRON_WALK_COPY ? max : CIRRON_WALK_COPY;
    while (len < max && walk->left > 0) {
        const size_t taken = take(walk, max - len, &from);
        gather(walk, from, walk->gathered.bytes + len * walk->size, taken);
        len += taken;
    }
    *elements = walk->gathered.bytes;
    return len;
}
