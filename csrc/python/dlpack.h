/* The structures that DLPack hands over in a capsule, as its specification lays them down
 * (https://dmlc.github.io/dlpack/latest/c_api.html), versions 0 and 1.
 */
#ifndef CIRRON_PYTHON_DLPACK_H
#define CIRRON_PYTHON_DLPACK_H

#include <stdint.h>

/* Device types whose memory the CPU reads: its own, and what CUDA and ROCm have pinned. */
enum { CIRRON_DL_CPU = 1, CIRRON_DL_CUDA_HOST = 3, CIRRON_DL_ROCM_HOST = 11 };

enum cirron_dl_code {
    CIRRON_DL_INT = 0,
    CIRRON_DL_UINT = 1,
    CIRRON_DL_FLOAT = 2,
    CIRRON_DL_BFLOAT = 4,
    CIRRON_DL_COMPLEX = 5,
    CIRRON_DL_BOOL = 6,
};

enum { CIRRON_DL_MAJOR = 1 };

typedef struct cirron_dl_tensor {
    void *data;
    struct {
        int32_t type;
        int32_t id;
    } device;
    int32_t dimensions;
    struct {
        uint8_t code;
        uint8_t bits;
        uint16_t lanes;
    } dtype;
    int64_t *shape;
    int64_t *strides; /* elements; NULL: C order without gaps */
    uint64_t byte_offset;
} cirron_dl_tensor;

/* In a capsule named "dltensor". */
typedef struct cirron_dl_managed {
    cirron_dl_tensor tensor;
    void *context;
    void (*deleter)(struct cirron_dl_managed *self); /* may be NULL */
} cirron_dl_managed;

/* In a capsule named "dltensor_versioned". Of an unknown major version only the first three
 * members may be touched. */
typedef struct cirron_dl_versioned {
    uint32_t major;
    uint32_t minor;
    void *context;
    void (*deleter)(struct cirron_dl_versioned *self); /* may be NULL */
    uint64_t flags;
    cirron_dl_tensor tensor;
} cirron_dl_versioned;

#endif
