/* Statistics of arrays: every element read once, whatever the strides, and nothing beside. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "core/tensor_stats.h"
#include "test.h"

static cirron_tensor_stats stats_of(const void *data, cirron_dtype dtype, size_t dimensions,
                                    const int64_t *shape, const int64_t *strides) {
    const cirron_array array = {data, dtype, dimensions, shape, strides};
    cirron_tensor_stats stats;
    assert_int_equal(cirron_tensor_stats_of(&array, &stats), CIRRON_OK);
    return stats;
}

static void assert_double(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-12 * fabs(expected))) {
        fail_msg("%.17g is not %.17g", found, expected);
    }
}

static void assert_bins(const cirron_tensor_stats *stats, const uint64_t *expected) {
    for (int i = 0; i < CIRRON_BINS; i++) {
        assert_int_equal(stats->histogram.counts[i], expected[i]);
    }
}

/* The bins by their definition: the last edge that is not above the value. */
static void count_plainly(const cirron_histogram *histogram, const double *values, size_t len,
                          uint64_t *counts) {
    memset(counts, 0, CIRRON_BINS * sizeof(*counts));
    for (size_t i = 0; i < len; i++) {
        int bin = CIRRON_BINS - 1;
        while (bin > 0 && values[i] < histogram->edges[bin]) {
            bin--;
        }
        counts[bin]++;
    }
}

/* Heap memory of exactly this size, so that AddressSanitizer sees a step beside it. */
static void *exact_copy(const void *data, size_t bytes) {
    void *copy = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, data, bytes);
    return copy;
}

static double some_value(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (double)(*state >> 8) / (1 << 24) - 0.25;
}

static void test_counts_are_right_at_every_length_and_in_both_types(void **state) {
    (void)state;
    const size_t lengths[] = {1, 2, 7, 8, 9, 119, 120, 121, 2040, 2048, 2049, 16384, 70001};
    for (size_t k = 0; k < sizeof(lengths) / sizeof(*lengths); k++) {
        const int64_t shape[] = {(int64_t)lengths[k]};
        double *doubles = malloc(lengths[k] * sizeof(double));
        float *floats = malloc(lengths[k] * sizeof(float));
        uint32_t random = 1;
        uint64_t expected[CIRRON_BINS];
        assert_non_null(doubles);
        assert_non_null(floats);
        for (size_t i = 0; i < lengths[k]; i++) {
            floats[i] = (float)some_value(&random);
            doubles[i] = (double)floats[i];
        }
        cirron_tensor_stats stats = stats_of(floats, CIRRON_FLOAT32, 1, shape, NULL);
        count_plainly(&stats.histogram, doubles, lengths[k], expected);
        assert_bins(&stats, expected);
        stats = stats_of(doubles, CIRRON_FLOAT64, 1, shape, NULL);
        count_plainly(&stats.histogram, doubles, lengths[k], expected);
        assert_bins(&stats, expected);
        assert_int_equal(stats.count, lengths[k]);
        free(doubles);
        free(floats);
    }
}

static void test_all_values_in_one_bin_do_not_overflow_a_counter(void **state) {
    (void)state;
    enum { LEN = 200000 };
    const int64_t shape[] = {LEN};
    float *values = malloc(LEN * sizeof(float));
    assert_non_null(values);
    for (int bin = 0; bin < CIRRON_BINS; bin++) {
        for (int i = 0; i < LEN; i++) {
            values[i] = (float)bin + 0.5f;
        }
        values[0] = 0.0f;
        values[LEN - 1] = 16.0f;
        uint64_t expected[CIRRON_BINS] = {0};
        expected[0] += 1;
        expected[CIRRON_BINS - 1] += 1;
        expected[bin] += LEN - 2;
        const cirron_tensor_stats stats = stats_of(values, CIRRON_FLOAT32, 1, shape, NULL);
        assert_bins(&stats, expected);
    }
    free(values);
}

static void test_strides_of_either_sign_reach_each_element_once(void **state) {
    (void)state;
    int16_t values[4][6];
    for (int i = 0; i < 24; i++) {
        values[i / 6][i % 6] = (int16_t)(i * i);
    }
    int16_t *copy = exact_copy(values, sizeof(values));
    const int64_t shape[] = {3, 1, 2};
    const int64_t strides[] = {-4, 1000, 36}; /* columns 5, 3, 1 of rows 0 and 3 */
    const cirron_tensor_stats stats = stats_of(copy + 5, CIRRON_INT16, 3, shape, strides);
    assert_int_equal(stats.count, 6);
    assert_double(stats.mean, (25 + 9 + 1 + 529 + 441 + 361) / 6.0);
    assert_double(stats.min, 1);
    assert_double(stats.max, 529);
    free(copy);
}

static void test_transposed_arrays_and_unaligned_ones_are_read(void **state) {
    (void)state;
    enum { ROWS = 77, COLUMNS = 301 };
    char *raw = malloc(ROWS * COLUMNS * sizeof(float) + 1);
    assert_non_null(raw);
    double sum = 0.0;
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        const float value = (float)(i % 1000);
        memcpy(raw + 1 + sizeof(float) * (size_t)i, &value, sizeof(value));
        sum += (double)value;
    }
    const int64_t shape[] = {COLUMNS, ROWS};
    const int64_t strides[] = {sizeof(float), COLUMNS * sizeof(float)};
    cirron_tensor_stats stats = stats_of(raw + 1, CIRRON_FLOAT32, 2, shape, strides);
    assert_int_equal(stats.count, ROWS * COLUMNS);
    assert_double(stats.mean, sum / (ROWS * COLUMNS));
    const int64_t part[] = {COLUMNS / 2, ROWS};
    const int64_t wide[] = {2 * sizeof(float), COLUMNS * sizeof(float)};
    stats = stats_of(raw + 1, CIRRON_FLOAT32, 2, part, wide);
    assert_int_equal(stats.count, COLUMNS / 2 * ROWS);
    free(raw);
}

static void test_nan_and_infinity_are_only_counted(void **state) {
    (void)state;
    const double values[] = {NAN, 1.0, INFINITY, 3.0, -INFINITY, -NAN};
    const int64_t shape[] = {6};
    const cirron_tensor_stats stats = stats_of(values, CIRRON_FLOAT64, 1, shape, NULL);
    assert_int_equal(stats.count, 2);
    assert_int_equal(stats.nan_count, 2);
    assert_int_equal(stats.inf_count, 2);
    assert_double(stats.mean, 2.0);
    assert_double(stats.std, 1.0);
    assert_double(stats.norm, sqrt(10.0));
    const int64_t first[] = {1};
    assert_int_equal(stats_of(values, CIRRON_FLOAT64, 1, first, NULL).count, 0);
}

static void test_bfloat16_and_halves_widen_exactly(void **state) {
    (void)state;
    const uint16_t bfloats[] = {0x3f80, 0xc040, 0x7fc0, 0xff80}; /* 1, -3, NaN, -infinity */
    const uint16_t halves[] = {0x0001, 0x8400, 0x7bff, 0x7c01, 0x7c00};
    const int64_t four[] = {4}, five[] = {5};
    cirron_tensor_stats stats = stats_of(bfloats, CIRRON_BFLOAT16, 1, four, NULL);
    assert_double(stats.mean, -1.0);
    assert_int_equal(stats.nan_count + stats.inf_count, 2);
    stats = stats_of(halves, CIRRON_FLOAT16, 1, five, NULL);
    assert_double(stats.min, -0x1p-14);
    assert_double(stats.max, 65504.0);
    assert_double(stats.mean, (0x1p-24 - 0x1p-14 + 65504.0) / 3);
    assert_int_equal(stats.nan_count, 1);
    assert_int_equal(stats.inf_count, 1);
}

static void test_empty_arrays_and_scalars_have_their_statistics(void **state) {
    (void)state;
    const float value = 2.5f;
    const int64_t empty[] = {3, 0, INT64_MAX};
    assert_int_equal(stats_of(NULL, CIRRON_FLOAT32, 3, empty, NULL).count, 0);
    const cirron_tensor_stats stats = stats_of(&value, CIRRON_FLOAT32, 0, NULL, NULL);
    assert_int_equal(stats.count, 1);
    assert_double(stats.norm, 2.5);
    assert_double(stats.histogram.edges[0], 2.0);
    assert_double(stats.histogram.edges[CIRRON_BINS], 3.0);
    assert_int_equal(stats.histogram.counts[8], 1);
}

static void test_what_is_no_array_is_refused(void **state) {
    (void)state;
    const float value = 0.0f;
    int64_t shape[CIRRON_ARRAY_MAX_DIMENSIONS + 1];
    cirron_tensor_stats stats;
    for (size_t i = 0; i < sizeof(shape) / sizeof(*shape); i++) {
        shape[i] = 1;
    }
    cirron_array array = {&value, CIRRON_FLOAT32, CIRRON_ARRAY_MAX_DIMENSIONS + 1, shape, NULL};
    assert_int_equal(cirron_tensor_stats_of(&array, &stats), CIRRON_UNSUPPORTED);
    array.dimensions = 2;
    array.dtype = CIRRON_DTYPE_COUNT;
    assert_int_equal(cirron_tensor_stats_of(&array, &stats), CIRRON_UNSUPPORTED);
    array.dtype = CIRRON_FLOAT32;
    shape[0] = -1;
    assert_int_equal(cirron_tensor_stats_of(&array, &stats), CIRRON_UNSUPPORTED);
    shape[0] = shape[1] = INT64_MAX;
    assert_int_equal(cirron_tensor_stats_of(&array, &stats), CIRRON_UNSUPPORTED);
}

static void test_deviation_keeps_its_digits_beside_a_large_mean(void **state) {
    (void)state;
    enum { LEN = 100000 };
    const int64_t shape[] = {LEN};
    double *values = malloc(LEN * sizeof(double));
    assert_non_null(values);
    for (int i = 0; i < LEN; i++) {
        values[i] = 1e9 + (i % 2 == 0 ? 1.0 : -1.0);
    }
    const cirron_tensor_stats stats = stats_of(values, CIRRON_FLOAT64, 1, shape, NULL);
    assert_double(stats.std, 1.0);
    assert_double(stats.mean, 1e9);
    free(values);
}

static void test_deviation_of_floats_keeps_its_digits_beside_a_large_mean(void **state) {
    (void)state;
    enum { LEN = 100003 };
    const int64_t shape[] = {LEN};
    float *values = malloc(LEN * sizeof(float));
    assert_non_null(values);
    for (int i = 0; i < LEN; i++) {
        values[i] = 8388608.0f + (float)(i % 2 == 0 ? 1 : -1);
    }
    values[LEN - 1] = 8388608.0f;
    const cirron_tensor_stats stats = stats_of(values, CIRRON_FLOAT32, 1, shape, NULL);
    assert_true(fabs(stats.std - 1.0) < 1e-5);
    assert_double(stats.mean, 8388608.0);
    free(values);
}

static void test_every_integer_type_is_read_by_its_value(void **state) {
    (void)state;
    const int8_t i8[] = {INT8_MIN, INT8_MAX};
    const int32_t i32[] = {INT32_MIN, INT32_MAX};
    const int64_t i64[] = {-(INT64_C(1) << 53), INT64_C(1) << 53};
    const uint8_t u8[] = {0, UINT8_MAX};
    const uint16_t u16[] = {0, UINT16_MAX};
    const uint32_t u32[] = {0, UINT32_MAX};
    const uint64_t u64[] = {0, UINT64_C(1) << 63};
    const unsigned char bools[] = {0, 2}; /* anything but 0 is true */
    const struct {
        cirron_dtype dtype;
        const void *data;
        double min, max;
    } cases[] = {
        {CIRRON_INT8, i8, INT8_MIN, INT8_MAX}, {CIRRON_INT32, i32, INT32_MIN, INT32_MAX},
        {CIRRON_INT64, i64, -0x1p53, 0x1p53},  {CIRRON_UINT8, u8, 0, UINT8_MAX},
        {CIRRON_UINT16, u16, 0, UINT16_MAX},   {CIRRON_UINT32, u32, 0, UINT32_MAX},
        {CIRRON_UINT64, u64, 0, 0x1p63},       {CIRRON_BOOL, bools, 0, 1},
    };
    const int64_t shape[] = {2};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const cirron_tensor_stats stats = stats_of(cases[i].data, cases[i].dtype, 1, shape, NULL);
        assert_int_equal(stats.count, 2);
        assert_double(stats.min, cases[i].min);
        assert_double(stats.max, cases[i].max);
        assert_int_equal(stats.histogram.counts[0], 1);
        assert_int_equal(stats.histogram.counts[CIRRON_BINS - 1], 1);
    }
}

static void test_each_size_of_element_is_gathered_over_its_strides(void **state) {
    (void)state;
    const uint8_t bytes[] = {1, 99, 3, 99, 5};
    const double doubles[] = {1, 99, 3, 99, 5};
    const int64_t shape[] = {3}, by_2[] = {2}, by_16[] = {16};
    assert_double(stats_of(bytes, CIRRON_UINT8, 1, shape, by_2).mean, 3.0);
    assert_double(stats_of(doubles, CIRRON_FLOAT64, 1, shape, by_16).max, 5.0);
}

static void test_squares_that_leave_the_range_of_doubles_are_scaled(void **state) {
    (void)state;
    const int64_t shape[] = {4};
    const double large[] = {-0x1p1000, 0x1p1000, NAN, INFINITY};
    cirron_tensor_stats stats = stats_of(large, CIRRON_FLOAT64, 1, shape, NULL);
    assert_int_equal(stats.count, 2);
    assert_int_equal(stats.nan_count, 1);
    assert_int_equal(stats.inf_count, 1);
    assert_double(stats.mean, 0.0);
    assert_double(stats.std, 0x1p1000);
    assert_double(stats.norm, sqrt(2.0) * 0x1p1000);
    assert_double(stats.max, 0x1p1000);
    const double small[] = {1e-200, 3e-200, 1e-200, 3e-200};
    stats = stats_of(small, CIRRON_FLOAT64, 1, shape, NULL);
    assert_double(stats.mean, 2e-200);
    assert_double(stats.std, 1e-200);
    assert_double(stats.min, 1e-200);
    assert_double(stats.max, 3e-200);
    assert_int_equal(stats.histogram.counts[0], 2);
    const double zeros[] = {0.0, -0.0, 0.0, 0.0};
    assert_double(stats_of(zeros, CIRRON_FLOAT64, 1, shape, NULL).norm, 0.0);
    /* The largest range there is: its width is no double. */
    const double all[] = {-DBL_MAX, DBL_MAX, 0.0, 1.0};
    stats = stats_of(all, CIRRON_FLOAT64, 1, shape, NULL);
    assert_double(stats.min, -DBL_MAX);
    assert_double(stats.histogram.edges[CIRRON_BINS], DBL_MAX);
    assert_int_equal(stats.histogram.counts[8], 2);
}

static void test_infinities_among_floats_leave_the_bins_of_the_rest(void **state) {
    (void)state;
    enum { LEN = 5000 };
    const int64_t shape[] = {LEN};
    float *values = malloc(LEN * sizeof(float));
    assert_non_null(values);
    for (int i = 0; i < LEN; i++) {
        values[i] = (float)(i % 16) + (i % 16 == 15 ? 1.0f : 0.0f);
    }
    values[7] = INFINITY;
    values[4999] = -INFINITY; /* each was a 7 */
    values[8] = NAN;
    const cirron_tensor_stats stats = stats_of(values, CIRRON_FLOAT32, 1, shape, NULL);
    assert_int_equal(stats.count, LEN - 3);
    assert_int_equal(stats.inf_count, 2);
    assert_int_equal(stats.histogram.counts[0], 313);
    assert_int_equal(stats.histogram.counts[7], 313 - 2);
    assert_int_equal(stats.histogram.counts[8], 312 - 1);
    free(values);
}

static void test_floats_too_close_for_their_edges_are_counted_by_doubles(void **state) {
    (void)state;
    const float next = nextafterf(1.0f, 2.0f);
    const float values[] = {1.0f, next, 1.0f, NAN};
    const int64_t three[] = {3}, four[] = {4};
    cirron_tensor_stats stats = stats_of(values, CIRRON_FLOAT32, 1, three, NULL);
    assert_false(stats.histogram.single);
    assert_int_equal(stats.histogram.counts[0], 2);
    assert_int_equal(stats.histogram.counts[CIRRON_BINS - 1], 1);
    stats = stats_of(values, CIRRON_FLOAT32, 1, four, NULL);
    assert_int_equal(stats.histogram.counts[0], 2);
    assert_int_equal(stats.nan_count, 1);
    const double doubles[] = {1.0, nextafter(1.0, 2.0), 1.0};
    stats = stats_of(doubles, CIRRON_FLOAT64, 1, three, NULL);
    uint64_t expected[CIRRON_BINS];
    count_plainly(&stats.histogram, doubles, 3, expected); /* some edges are the same */
    assert_bins(&stats, expected);
    /* The ends of what floats can say. */
    const float widest[] = {-FLT_MAX, FLT_MAX, 0.0f};
    stats = stats_of(widest, CIRRON_FLOAT32, 1, three, NULL);
    assert_int_equal(stats.histogram.counts[0], 1);
    assert_int_equal(stats.histogram.counts[8], 1);
    assert_int_equal(stats.histogram.counts[CIRRON_BINS - 1], 1);
    const double tiny[] = {0.0, 0x1p-1074, 0.0};
    stats = stats_of(tiny, CIRRON_FLOAT64, 1, three, NULL);
    assert_int_equal(stats.count, 3);
    assert_double(stats.max, 0x1p-1074);
}

#ifdef __x86_64__
/* What the compiler's runtime found this machine to have. */
extern struct {
    unsigned vendor, type, subtype, features[1];
} __cpu_model;

enum { AVX2 = 10, FMA = 14 };

static int take_fma_away(void **state) {
    (void)state;
    __builtin_cpu_init();
    __cpu_model.features[0] &= ~(1u << FMA);
    return 0;
}

static int take_vectors_away(void **state) {
    (void)state;
    __cpu_model.features[0] &= ~(1u << AVX2);
    return 0;
}
#else
static int take_fma_away(void **state) {
    (void)state;
    return 0;
}

static int take_vectors_away(void **state) {
    (void)state;
    return 0;
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_are_right_at_every_length_and_in_both_types),
        cmocka_unit_test(test_all_values_in_one_bin_do_not_overflow_a_counter),
        cmocka_unit_test(test_strides_of_either_sign_reach_each_element_once),
        cmocka_unit_test(test_transposed_arrays_and_unaligned_ones_are_read),
        cmocka_unit_test(test_nan_and_infinity_are_only_counted),
        cmocka_unit_test(test_bfloat16_and_halves_widen_exactly),
        cmocka_unit_test(test_empty_arrays_and_scalars_have_their_statistics),
        cmocka_unit_test(test_what_is_no_array_is_refused),
        cmocka_unit_test(test_deviation_keeps_its_digits_beside_a_large_mean),
        cmocka_unit_test(test_deviation_of_floats_keeps_its_digits_beside_a_large_mean),
        cmocka_unit_test(test_every_integer_type_is_read_by_its_value),
        cmocka_unit_test(test_each_size_of_element_is_gathered_over_its_strides),
        cmocka_unit_test(test_squares_that_leave_the_range_of_doubles_are_scaled),
        cmocka_unit_test(test_infinities_among_floats_leave_the_bins_of_the_rest),
        cmocka_unit_test(test_floats_too_close_for_their_edges_are_counted_by_doubles),
    };
    int failed = cmocka_run_group_tests_name("with the vectors of this machine", tests, NULL, NULL);
    failed += cmocka_run_group_tests_name("with AVX2 alone", tests, take_fma_away, NULL);
    return failed + cmocka_run_group_tests_name("with none", tests, take_vectors_away, NULL);
}
