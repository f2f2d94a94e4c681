/* Loops that the compiler makes vectors of: no branch, and no conversion instruction that a
 * machine may lack.
 */
#include "core/tensor_values.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/simd.h"

bool cirron_dtype_is_single(cirron_dtype dtype) {
    return dtype == CIRRON_FLOAT16 || dtype == CIRRON_BFLOAT16 || dtype == CIRRON_FLOAT32;
}

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* IEEE 754 binary16. A subnormal is a multiple of 2^-24: it becomes the fraction of 2^-14,
 * which is then taken away again, so that no subnormal of float32 is met on the way. Masks,
 * since of a conditional around the subtraction the compiler makes a branch. */
static inline __attribute__((always_inline)) float float_of_half(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    const uint32_t normal = magnitude + (magnitude < 0x0f800000 ? 0x38000000 : 0x70000000);
    const uint32_t subnormal = bits_of_float(float_of_bits(magnitude + 0x38800000) - 0x1p-14f);
    const uint32_t is_subnormal = 0u - (magnitude < 0x00800000);
    return float_of_bits(sign | (subnormal & is_subnormal) | (normal & ~is_subnormal));
}

static inline __attribute__((always_inline)) void widen_halves(const unsigned char *restrict halves,
                                                               size_t len, float *restrict values) {
    for (size_t i = 0; i < len; i++) {
        uint16_t half;
        memcpy(&half, halves + sizeof(half) * i, sizeof(half));
        values[i] = float_of_half(half);
    }
}

static CIRRON_VECTORS void widen_halves_vectors(const unsigned char *halves, size_t len,
                                                float *values) {
    widen_halves(halves, len, values);
}

static void widen_bfloats(const unsigned char *restrict bfloats, size_t len,
                          float *restrict values) {
    for (size_t i = 0; i < len; i++) {
        uint16_t bfloat;
        memcpy(&bfloat, bfloats + sizeof(bfloat) * i, sizeof(bfloat));
        values[i] = float_of_bits((uint32_t)bfloat << 16);
    }
}

void cirron_values_f32(cirron_dtype dtype, const void *elements, size_t len, float *values) {
    if (dtype == CIRRON_FLOAT32) {
        memcpy(values, elements, len * sizeof(*values));
    } else if (dtype == CIRRON_BFLOAT16) {
        widen_bfloats(elements, len, values);
    } else if (cirron_has_vectors()) {
        widen_halves_vectors(elements, len, values);
    } else {
        widen_halves(elements, len, values);
    }
}

#define WIDEN(type)                                                                                \
    for (size_t i = 0; i < len; i++) {                                                             \
        type value;                                                                                \
        memcpy(&value, from + sizeof(value) * i, sizeof(value));                                   \
        values[i] = (double)value;                                                                 \
    }                                                                                              \
    break

void cirron_values_f64(cirron_dtype dtype, const void *elements, size_t len, double *values) {
    const unsigned char *from = elements;
    switch (dtype) {
    case CIRRON_INT8:
        WIDEN(int8_t);
    case CIRRON_INT16:
        WIDEN(int16_t);
    case CIRRON_INT32:
        WIDEN(int32_t);
    case CIRRON_INT64:
        WIDEN(int64_t);
    case CIRRON_UINT8:
        WIDEN(uint8_t);
    case CIRRON_UINT16:
        WIDEN(uint16_t);
    case CIRRON_UINT32:
        WIDEN(uint32_t);
    case CIRRON_UINT64:
        WIDEN(uint64_t);
    case CIRRON_BOOL:
        for (size_t i = 0; i < len; i++) {
            values[i] = from[i] != 0 ? 1.0 : 0.0;
        }
        break;
    default:
        memcpy(values, elements, len * sizeof(*values));
        break;
    }
}

size_t cirron_finite_f32(const float *from, size_t len, float *to, uint64_t *nan_count,
                         uint64_t *inf_count) {
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        const float value = from[i];
        to[kept] = value;
        kept += fabsf(value) <= FLT_MAX;
        *nan_count += isnan(value) != 0;
        *inf_count += isinf(value) != 0;
    }
    return kept;
}

size_t cirron_finite_f64(const double *from, size_t len, double *to, uint64_t *nan_count,
                         uint64_t *inf_count) {
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        const double value = from[i];
        to[kept] = value;
        kept += fabs(value) <= DBL_MAX;
        *nan_count += isnan(value) != 0;
        *inf_count += isinf(value) != 0;
    }
    return kept;
}
