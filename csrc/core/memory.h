/* Memory of core: mimalloc behind one small struct, so that tests can count,
 * limit or fail allocations. Any thread may call. The process's own malloc is
 * never replaced.
 */
#ifndef CIRRON_CORE_MEMORY_H
#define CIRRON_CORE_MEMORY_H

#include <stddef.h>

typedef struct cirron_allocator {
    void *(*allocate)(size_t size);
    void *(*resize)(void *block, size_t size);
    void (*release)(void *block);
} cirron_allocator;

/* Replaces the allocator; only before the first allocation (tests). */
void cirron_memory_use(const cirron_allocator *allocator);

/* Each returns NULL when there is no memory; free takes NULL. */
void *cirron_malloc(size_t size);
void *cirron_calloc(size_t count, size_t size);
void *cirron_realloc(void *block, size_t size);
void cirron_free(void *block);

/* Says that a large block is about to be filled: it then takes hundreds of page faults in
 * place of many thousands. A hint. */
void cirron_memory_will_fill(void *block, size_t size);

#endif
