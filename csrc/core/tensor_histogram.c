/* Where the edges are evenly spaced the bin of a value is found by arithmetic alone. Scaled
 * so that sixteen bins become 15.49 and rounded, a value has the number of its bin or of
 * the next: r, from 0 to 15, for its bin is at most half a bin from there and the squeeze
 * adds less than half. Whether the value lies below edge r decides, and that edge is computed
 * again as init computed it, two roundings and no table. So nothing is approximate in what
 * comes out, and every step is a vector operation. This file must be compiled with
 * -ffp-contract=off: a fused multiply-add rounds once.
 *
 * Counting adds 1 << 4 * bin to words of eight four-bit counters, which are emptied into
 * bytes every fifteenth time, and those into sixteen bits.
 *
 * Where the edges are not even enough (few floats between the extremes, or a range at the
 * end of what floats can say), fifteen comparisons and sums find the bins.
 */
#include "core/tensor_histogram.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/simd.h"

enum {
    VECTOR_BYTES = 32,
    GROUP = 15,  /* vectors until a four-bit counter is full */
    GROUPS = 17, /* groups until a byte is: 17 * 15 = 255 */
};

/* The mask of the even counters, and of the even bytes. */
#define EVEN_NIBBLES 0x0f0f0f0f
#define EVEN_BYTES 0x00ff00ff

/* An edge may be off by half a unit in the last place of the larger extreme. This keeps that
 * below a hundredth of a bin. */
#define STEPS_PER_BIN 64

#define SQUEEZED_BINS 15.49

/* ---- edges */

/* NumPy's linspace in float32; false where two edges are the same or the range overflows. */
static bool set_single_edges(cirron_histogram *histogram, float first, float last) {
    const float width = (last - first) / CIRRON_BINS;
    histogram->edges[0] = (double)first;
    histogram->edges[CIRRON_BINS] = (double)last;
    for (int i = 1; i < CIRRON_BINS; i++) {
        histogram->edges[i] = (double)((float)i * width + first);
    }
    for (int i = 0; i < CIRRON_BINS; i++) {
        if (!(histogram->edges[i] < histogram->edges[i + 1])) {
            return false;
        }
    }
    const float largest = fmaxf(fabsf(first), fabsf(last));
    histogram->single = true;
    histogram->width = (double)width;
    histogram->scale = SQUEEZED_BINS / (double)(last - first);
    histogram->evenly_rounded =
        width >= STEPS_PER_BIN * FLT_EPSILON * largest && width >= 0x1p-100f;
    return isfinite(width);
}

static void set_double_edges(cirron_histogram *histogram, double first, double last) {
    const double range = last - first;
    const double width = range / CIRRON_BINS;
    histogram->edges[0] = first;
    histogram->edges[CIRRON_BINS] = last;
    for (int i = 1; i < CIRRON_BINS; i++) {
        const double share = (double)i / CIRRON_BINS;
        double edge = (double)i * width + first;
        if (!isfinite(range)) {
            edge = first * (1.0 - share) + last * share;
        } else if (width == 0.0) {
            edge = share * range + first;
        }
        histogram->edges[i] = fmin(edge, last);
    }
    const double largest = fmax(fabs(first), fabs(last));
    histogram->single = false;
    histogram->width = width;
    histogram->scale = SQUEEZED_BINS / range;
    histogram->evenly_rounded =
        isfinite(range) && width >= STEPS_PER_BIN * DBL_EPSILON * largest && width >= 0x1p-1000;
}

void cirron_histogram_init(cirron_histogram *histogram, double min, double max, bool single) {
    const double around = min == max ? 0.5 : 0.0;
    memset(histogram, 0, sizeof(*histogram));
    if (!single || !set_single_edges(histogram, (float)(min - around), (float)(max + around))) {
        set_double_edges(histogram, min - around, max + around);
    }
}

/* ---- counts */

/* Adds up the fields of a lane: counters 0, 2, 1, 3 and so on of `all`, and of those the ones
 * that stand for bins 8 to 15. */
static void add_fields(uint64_t counts[CIRRON_BINS], int field, uint64_t all, uint64_t upper) {
    static const int first[] = {0, 2, 1, 3};
    for (int half = 0; half < 2; half++) {
        const uint64_t in_upper = (upper >> (16 * half)) & 0xffff;
        counts[4 * half + first[field]] += ((all >> (16 * half)) & 0xffff) - in_upper;
        counts[8 + 4 * half + first[field]] += in_upper;
    }
}

/* Everything for float32, then for float64. */
#define REAL float
#define INT int32_t
#define UINT uint32_t
#define MAGIC 0x1.8p23f
#define NAME(name) name##_f32
#include "core/tensor_histogram_kernel.h"
#undef REAL
#undef INT
#undef UINT
#undef MAGIC
#undef NAME

#define REAL double
#define INT int64_t
#define UINT uint64_t
#define MAGIC 0x1.8p52
#define NAME(name) name##_f64
#include "core/tensor_histogram_kernel.h"

void cirron_histogram_add_f32(cirron_histogram *histogram, const float *values, size_t len) {
    assert(histogram->single);
    add_f32(histogram, values, len);
}

void cirron_histogram_add_f64(cirron_histogram *histogram, const double *values, size_t len) {
    assert(!histogram->single);
    add_f64(histogram, values, len);
}

void cirron_histogram_put(cirron_histogram *histogram, double value, uint64_t count) {
    int bin = 0;
    while (bin < CIRRON_BINS - 1 && value >= histogram->edges[bin + 1]) {
        bin++;
    }
    histogram->counts[bin] += count;
}
