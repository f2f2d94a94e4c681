/* A block is summed about zero, which costs least. Where that would cancel more than ten
 * bits of the variance, it is summed once more about its own first value: a member of the
 * block lies within sqrt(len) deviations of the mean, so then at most log2(len) bits cancel
 * (Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance, 1983). Blocks are
 * joined by the formula of Chan, Golub and LeVeque (Updating Formulae and a Pairwise
 * Algorithm for Computing Sample Variances, 1979), which doesn't cancel.
 */
#include "core/tensor_moments.h"

#include <math.h>

#include "core/simd.h"

/* Independent accumulators: the compiler turns them into vectors. */
enum { LANES = 16 };

typedef struct sums {
    double sum;
    double squares;
    double min;
    double max;
} sums;

/* Less of the squares than this is left: sum once more. */
#define CANCELLED 0x1p-10

static void merge(cirron_moments *total, const cirron_moments *block) {
    const double count = total->count + block->count;
    const double apart = block->mean - total->mean;
    total->mean += apart * (block->count / count);
    total->deviations +=
        block->deviations + apart * apart * (total->count * (block->count / count));
    total->squares += block->squares;
    total->min = fmin(total->min, block->min);
    total->max = fmax(total->max, block->max);
    total->count = count;
}

/* One set of functions for each type and instruction set. */
#define TARGET
#define REAL float
#define NAME(name) name##_f32
#include "core/tensor_moments_kernel.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(name) name##_f64
#include "core/tensor_moments_kernel.h"
#undef REAL
#undef NAME

#undef TARGET
#define TARGET CIRRON_VECTORS_FMA
#define REAL float
#define NAME(name) name##_f32_vectors
#include "core/tensor_moments_kernel.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(name) name##_f64_vectors
#include "core/tensor_moments_kernel.h"
#undef REAL
#undef NAME

bool cirron_moments_add_f32(cirron_moments *total, const float *values, size_t len) {
    return cirron_has_vectors() ? add_f32_vectors(total, values, len) : add_f32(total, values, len);
}

bool cirron_moments_add_f64(cirron_moments *total, const double *values, size_t len) {
    return cirron_has_vectors() ? add_f64_vectors(total, values, len) : add_f64(total, values, len);
}
