/* Reads an array twice, in blocks that fit the first caches: moments first, then the
 * histogram between the extremes that were found.
 *
 * A block is where the array lies in float32 or float64 already the array itself, else a
 * copy: gathered, widened, freed of what is not finite. Only float64 can leave its range by
 * being squared; its moments are then taken again, of values times a power of two.
 */
#include "core/tensor_stats.h"

#include <math.h>
#include <string.h>

#include "core/tensor_moments.h"
#include "core/tensor_values.h"

enum {
    COPY = CIRRON_WALK_COPY,
    DIRECT = 8 * CIRRON_WALK_COPY, /* what is not copied may come in larger blocks */
};

/* Below SMALL a square leaves the range of float64; a sum of squares says itself when it does
 * so at the other end. Values times 2^600, or 2^-600, have no such trouble. */
#define SMALL 0x1p-500
#define SCALE 0x1p600

typedef struct reading {
    cirron_array_walk walk;
    bool direct; /* blocks need no conversion */
    double scale;
    bool overflowed;
    uint64_t nan_count, inf_count;
    cirron_moments moments;
    float f32[COPY];
    double f64[COPY];
} reading;

static int start(reading *r, const cirron_array *array) {
    const int status = cirron_array_walk_init(&r->walk, array);
    if (status != CIRRON_OK) {
        return status;
    }
    const size_t size = r->walk.size;
    bool aligned = (uintptr_t)array->data % size == 0;
    for (size_t i = 0; i < array->dimensions && array->strides != NULL; i++) {
        aligned = aligned && array->strides[i] % (int64_t)size == 0;
    }
    r->direct = aligned && (array->dtype == CIRRON_FLOAT32 || array->dtype == CIRRON_FLOAT64);
    return CIRRON_OK;
}

static size_t next_f32(reading *r, const float **values) {
    const void *elements = NULL;
    const size_t len = cirron_array_walk_next(&r->walk, r->direct ? DIRECT : COPY, &elements);
    if (r->direct) {
        *values = elements;
    } else if (len > 0) {
        cirron_values_f32(r->walk.dtype, elements, len, r->f32);
        *values = r->f32;
    }
    return len;
}

static size_t next_f64(reading *r, const double **values) {
    const void *elements = NULL;
    const size_t len = cirron_array_walk_next(&r->walk, r->direct ? DIRECT : COPY, &elements);
    if (r->direct) {
        *values = elements;
    } else if (len > 0) {
        cirron_values_f64(r->walk.dtype, elements, len, r->f64);
        *values = r->f64;
    }
    return len;
}

/* ---- first reading */

static void add_moments_f32(reading *r, const float *values, size_t len) {
    if (cirron_moments_add_f32(&r->moments, values, len)) {
        return;
    }
    for (size_t i = 0; i < len; i += COPY) {
        const size_t some = len - i < COPY ? len - i : COPY;
        const size_t kept =
            cirron_finite_f32(values + i, some, r->f32, &r->nan_count, &r->inf_count);
        (void)cirron_moments_add_f32(&r->moments, r->f32, kept); /* finite: can't fail */
    }
}

static void add_moments_f64(reading *r, const double *values, size_t len) {
    if (r->scale == 1.0 && cirron_moments_add_f64(&r->moments, values, len)) {
        return;
    }
    for (size_t i = 0; i < len; i += COPY) {
        const size_t some = len - i < COPY ? len - i : COPY;
        const size_t kept =
            cirron_finite_f64(values + i, some, r->f64, &r->nan_count, &r->inf_count);
        for (size_t k = 0; k < kept; k++) {
            r->f64[k] *= r->scale;
        }
        if (!cirron_moments_add_f64(&r->moments, r->f64, kept)) {
            r->overflowed = true;
        }
    }
}

static int read_moments(reading *r, const cirron_array *array, double scale) {
    const int status = start(r, array);
    size_t len = 0;
    r->scale = scale;
    r->overflowed = false;
    r->nan_count = r->inf_count = 0;
    r->moments = CIRRON_MOMENTS_EMPTY;
    if (status != CIRRON_OK) {
        return status;
    }
    if (cirron_dtype_is_single(array->dtype)) {
        const float *values = NULL;
        while ((len = next_f32(r, &values)) > 0) {
            add_moments_f32(r, values, len);
        }
    } else {
        const double *values = NULL;
        while ((len = next_f64(r, &values)) > 0) {
            add_moments_f64(r, values, len);
        }
    }
    const cirron_moments *moments = &r->moments;
    r->overflowed = r->overflowed || !isfinite(moments->squares) || !isfinite(moments->deviations);
    return CIRRON_OK;
}

/* The extremes of float64 values, which a scale may have cost their last bits. */
static void read_extremes(reading *r, const cirron_array *array, cirron_tensor_stats *stats) {
    const double *values = NULL;
    size_t len = 0;
    (void)start(r, array); /* it has been read before */
    stats->min = INFINITY;
    stats->max = -INFINITY;
    while ((len = next_f64(r, &values)) > 0) {
        for (size_t i = 0; i < len; i++) {
            if (isfinite(values[i])) {
                stats->min = fmin(stats->min, values[i]);
                stats->max = fmax(stats->max, values[i]);
            }
        }
    }
}

static bool is_small(const cirron_moments *moments) {
    const double largest = fmax(fabs(moments->min), fabs(moments->max));
    return moments->count > 0.0 && largest > 0.0 && largest < SMALL;
}

/* ---- second reading */

static void add_bins_f32(reading *r, cirron_histogram *histogram, const float *values, size_t len) {
    uint64_t nan_count = 0, inf_count = 0;
    if (histogram->single && r->nan_count + r->inf_count == 0) {
        cirron_histogram_add_f32(histogram, values, len);
        return;
    }
    for (size_t i = 0; i < len; i += COPY) {
        const size_t some = len - i < COPY ? len - i : COPY;
        const size_t kept = cirron_finite_f32(values + i, some, r->f32, &nan_count, &inf_count);
        if (histogram->single) {
            cirron_histogram_add_f32(histogram, r->f32, kept);
            continue;
        }
        for (size_t k = 0; k < kept; k++) {
            r->f64[k] = (double)r->f32[k];
        }
        cirron_histogram_add_f64(histogram, r->f64, kept);
    }
}

static void add_bins_f64(reading *r, cirron_histogram *histogram, const double *values,
                         size_t len) {
    uint64_t nan_count = 0, inf_count = 0;
    if (r->nan_count + r->inf_count == 0) {
        cirron_histogram_add_f64(histogram, values, len);
        return;
    }
    for (size_t i = 0; i < len; i += COPY) {
        const size_t some = len - i < COPY ? len - i : COPY;
        const size_t kept = cirron_finite_f64(values + i, some, r->f64, &nan_count, &inf_count);
        cirron_histogram_add_f64(histogram, r->f64, kept);
    }
}

static void read_histogram(reading *r, const cirron_array *array, cirron_tensor_stats *stats) {
    const bool single = cirron_dtype_is_single(array->dtype);
    cirron_histogram *histogram = &stats->histogram;
    size_t len = 0;
    cirron_histogram_init(histogram, stats->min, stats->max, single);
    if (stats->min == stats->max) {
        cirron_histogram_put(histogram, stats->min, stats->count);
        return;
    }
    (void)start(r, array); /* it has been read before */
    if (single) {
        const float *values = NULL;
        while ((len = next_f32(r, &values)) > 0) {
            add_bins_f32(r, histogram, values, len);
        }
    } else {
        const double *values = NULL;
        while ((len = next_f64(r, &values)) > 0) {
            add_bins_f64(r, histogram, values, len);
        }
    }
}

int cirron_tensor_stats_of(const cirron_array *array, cirron_tensor_stats *stats) {
    reading r;
    memset(stats, 0, sizeof(*stats));
    const int status = read_moments(&r, array, 1.0);
    if (status != CIRRON_OK) {
        return status;
    }
    if (r.overflowed) {
        (void)read_moments(&r, array, 1.0 / SCALE);
    } else if (is_small(&r.moments) && !cirron_dtype_is_single(array->dtype)) {
        (void)read_moments(&r, array, SCALE);
    }
    stats->nan_count = r.nan_count;
    stats->inf_count = r.inf_count;
    stats->count = (uint64_t)r.moments.count;
    if (stats->count == 0) {
        return CIRRON_OK;
    }
    stats->mean = r.moments.mean / r.scale;
    stats->std = sqrt(r.moments.deviations / r.moments.count) / r.scale;
    stats->norm = sqrt(r.moments.squares) / r.scale;
    stats->min = r.moments.min;
    stats->max = r.moments.max;
    if (r.scale != 1.0) {
        read_extremes(&r, array, stats);
    }
    read_histogram(&r, array, stats);
    return CIRRON_OK;
}
