/* A histogram of sixteen equal bins between the extremes, as NumPy's `histogram` makes it:
 * bin i holds edges[i] <= value < edges[i + 1], and the last also its upper edge. Where the
 * values are all the same the range is half a unit to either side.
 *
 * Edges of float32 and narrower floats are computed in float32, all others in float64, as
 * NumPy 2 does, so edges and counts are its own to the last bit. Where float32 has not
 * sixteen values between the extremes (NumPy then raises), edges are float64; where float64
 * has not either, some edges coincide and the bins between them stay empty.
 */
#ifndef CIRRON_CORE_TENSOR_HISTOGRAM_H
#define CIRRON_CORE_TENSOR_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CIRRON_BINS = 16,
    CIRRON_HISTOGRAM_MAX_BLOCK = 1 << 16, /* values a call may add */
};

typedef struct cirron_histogram {
    double edges[CIRRON_BINS + 1];
    uint64_t counts[CIRRON_BINS];
    double scale;        /* from a value, less the first edge, to fifteen and a half bins */
    double width;        /* of a bin */
    bool single;         /* edges are float32, and so must the values be that are added */
    bool evenly_rounded; /* the edges lie close enough to where they should be to be guessed */
} cirron_histogram;

/* Empty, between two finite numbers. `single`: the values are float32 or narrower floats. */
void cirron_histogram_init(cirron_histogram *histogram, double min, double max, bool single);

/* Adds finite values between the extremes, those of _f32 only where `single` still is set. */
void cirron_histogram_add_f32(cirron_histogram *histogram, const float *values, size_t len);
void cirron_histogram_add_f64(cirron_histogram *histogram, const double *values, size_t len);

/* Adds one value `count` times. */
void cirron_histogram_put(cirron_histogram *histogram, double value, uint64_t count);

#endif
