/* Statistics of a tensor: what a snapshot keeps of it. Any thread; nothing is allocated, no
 * state is kept and the array is only read, so the interpreter's lock is not needed.
 *
 * Mean, deviation, norm, extremes and histogram are of the finite values alone; NaN and
 * infinities are counted. Sums are float64, whatever the array holds.
 */
#ifndef CIRRON_CORE_TENSOR_STATS_H
#define CIRRON_CORE_TENSOR_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "core/array_walk.h"
#include "core/tensor_histogram.h"

typedef struct cirron_tensor_stats {
    uint64_t count; /* of finite values; where 0, only the next two mean anything */
    uint64_t nan_count;
    uint64_t inf_count; /* of either sign */
    double mean;
    double std; /* of the population */
    double min;
    double max;
    double norm; /* L2 */
    cirron_histogram histogram;
} cirron_tensor_stats;

/* CIRRON_UNSUPPORTED: what cirron_array_walk_init says. Reads the array twice: the bins are between
 * the extremes, which are known only at its end. */
int cirron_tensor_stats_of(const cirron_array *array, cirron_tensor_stats *stats);

#endif
