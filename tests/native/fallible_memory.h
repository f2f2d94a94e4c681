/* An allocator for core that runs out of memory when a test says so. */
#ifndef CIRRON_NATIVE_FALLIBLE_MEMORY_H
#define CIRRON_NATIVE_FALLIBLE_MEMORY_H

#include <stdbool.h>
#include <stdlib.h>

#include "core/memory.h"
#include "refuse.h"

static quota allocations_left = UNLIMITED;
static long refusals_at_most = LONG_MAX; /* in a row; then memory is there again */
static _Atomic long blocks_held;         /* by core */

static inline bool allocation_is_refused(void) {
    long left = take_one(&allocations_left);
    return left <= 0 && left > -refusals_at_most;
}

static inline void *allocate_or_refuse(size_t size) {
    void *block = allocation_is_refused() ? NULL : malloc(size);
    blocks_held += block != NULL;
    return block;
}

static inline void *resize_or_refuse(void *block, size_t size) {
    void *moved = allocation_is_refused() ? NULL : realloc(block, size);
    blocks_held += moved != NULL && block == NULL;
    return moved;
}

static inline void release(void *block) {
    blocks_held--;
    free(block);
}

static inline void use_fallible_memory(void) {
    cirron_memory_use(&(cirron_allocator){allocate_or_refuse, resize_or_refuse, release});
}

#endif
