/* The header of a safetensors file: which tensors it holds and where their bytes lie.
 *
 *     u64, little-endian   length of the header
 *     header               {"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},...}
 *     data                 the tensors end to end; offsets count from here
 *
 * The bytes are hostile. The header is at most CIRRON_SAFETENSORS_MAX_HEADER bytes and
 * lies within the file; the tensors fill the data without overlap or gap, each name is
 * given once, and shape, type and length agree. Types that are not known here keep
 * their name, and only their length goes unchecked. As in the batches, JSON inside fields that
 * nobody knows is passed over and may be malformed. Memory grows with the bytes of the header
 * that are really there: a sparse file costs a megabyte.
 *
 * No C++ exception leaves the file. Any thread may call; a header is read-only.
 */
#ifndef CIRRON_CORE_SAFETENSORS_READER_H
#define CIRRON_CORE_SAFETENSORS_READER_H

#include "core/span_table.h"

enum {
    CIRRON_SAFETENSORS_MAX_HEADER = 100 * 1000 * 1000,
    CIRRON_SAFETENSORS_WHY_BYTES = 256,
};

typedef struct cirron_safetensors cirron_safetensors;

/* Borrowed from the header. `begin` and `end` count from the start of the file. */
typedef struct cirron_tensor {
    cirron_text name, dtype;
    const uint64_t *shape;
    size_t dimensions;
    uint64_t begin, end;
} cirron_tensor;

/* Reads the header of an open file, whose position stays. CIRRON_IO leaves errno set,
 * CIRRON_CORRUPT writes the reason to `why`: one line, perhaps with bytes of the file in
 * it. */
int cirron_safetensors_read(int file, cirron_safetensors **header,
                            char why[CIRRON_SAFETENSORS_WHY_BYTES]);
void cirron_safetensors_free(cirron_safetensors *header);

/* Tensors in the order of their data. */
size_t cirron_safetensors_count(const cirron_safetensors *header);
cirron_tensor cirron_safetensors_tensor(const cirron_safetensors *header, size_t number);

#endif
