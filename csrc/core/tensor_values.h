/* Elements of any dtype as float32 or float64, a block at a time. Any thread. */
#ifndef CIRRON_CORE_TENSOR_VALUES_H
#define CIRRON_CORE_TENSOR_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/array_walk.h"

/* Whether float32 holds every value of it; integers count as float64, as NumPy has it. */
bool cirron_dtype_is_single(cirron_dtype dtype);

/* `elements` need no alignment. */
void cirron_values_f32(cirron_dtype dtype, const void *elements, size_t len, float *values);
void cirron_values_f64(cirron_dtype dtype, const void *elements, size_t len, double *values);

/* Copies what is finite, adds to the counts what is not; returns how many it has copied.
 * `to` may be `from`. */
size_t cirron_finite_f32(const float *from, size_t len, float *to, uint64_t *nan_count,
                         uint64_t *inf_count);
size_t cirron_finite_f64(const double *from, size_t len, double *to, uint64_t *nan_count,
                         uint64_t *inf_count);

#endif
