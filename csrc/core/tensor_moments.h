/* Sums and extremes of a block of values, and how the blocks of a tensor make one. */
#ifndef CIRRON_CORE_TENSOR_MOMENTS_H
#define CIRRON_CORE_TENSOR_MOMENTS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct cirron_moments {
    double count;
    double mean;
    double deviations; /* the sum of squared differences from the mean */
    double squares;    /* the sum of squares */
    double min;
    double max;
} cirron_moments;

/* Of no value at all. */
#define CIRRON_MOMENTS_EMPTY ((cirron_moments){0.0, 0.0, 0.0, 0.0, INFINITY, -INFINITY})

/* Adds `len` values to `total`. False when their sum of squares is not finite, which for
 * float32 means that some value is not; `total` then stays as it was. */
bool cirron_moments_add_f32(cirron_moments *total, const float *values, size_t len);
bool cirron_moments_add_f64(cirron_moments *total, const double *values, size_t len);

#endif
