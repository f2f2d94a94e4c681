/* One indirection over mimalloc. It allocates chunks, batches and tables; nothing
 * on the recording path calls it but for a new chunk.
 */
#include "core/memory.h"

#include <mimalloc.h>
#include <stdint.h>
#include <string.h>

static cirron_allocator memory = {mi_malloc, mi_realloc, mi_free};

void cirron_memory_use(const cirron_allocator *allocator) {
    memory = *allocator;
}

void *cirron_malloc(size_t size) {
    return memory.allocate(size ? size : 1);
}

void *cirron_calloc(size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / size) {
        return NULL;
    }
    void *block = cirron_malloc(count * size);
    if (block != NULL) {
        memset(block, 0, count * size);
    }
    return block;
}

void *cirron_realloc(void *block, size_t size) {
    return memory.resize(block, size ? size : 1);
}

void cirron_free(void *block) {
    if (block != NULL) {
        memory.release(block);
    }
}
