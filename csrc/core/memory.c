/* One indirection over mimalloc. It allocates chunks, batches and tables; nothing
 * on the recording path calls it but for a new chunk.
 */
#include "core/memory.h"

#include <mimalloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE_BYTES = 2 << 20 };

#ifdef CIRRON_PLAIN_MALLOC /* under a sanitizer, which knows malloc's blocks alone */
static cirron_allocator memory = {malloc, realloc, free};
#else
static cirron_allocator memory = {mi_malloc, mi_realloc, mi_free};
#endif

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

void cirron_memory_will_fill(void *block, size_t size) {
    const uintptr_t page = HUGE_PAGE_BYTES;
    uintptr_t begin = ((uintptr_t)block + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)block + size) & ~(page - 1);
    if (begin < end) {
        /* A kernel without huge pages refuses, and then it is as it was. */
        (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
    }
}
