/* One page, wiped on fork. The number itself is kept beside it in ordinary memory,
 * which a child inherits, so that numbers never repeat down a line of forks.
 */
#include "core/generation.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/types.h"

/* A child's first thread is building the new state. */
#define BUILDING UINT32_MAX

_Atomic uint32_t *cirron_generation_word;
static uint32_t last_generation;

static void wipe(void) {
    atomic_store_explicit(cirron_generation_word, 0, memory_order_release);
}

int cirron_generation_init(void) {
    if (cirron_generation_word != NULL) {
        return CIRRON_OK;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return CIRRON_NO_MEMORY;
    }
    cirron_generation_word = memory;
    if (madvise(memory, page, MADV_WIPEONFORK) != 0 && pthread_atfork(NULL, NULL, wipe) != 0) {
        return CIRRON_NO_MEMORY;
    }
    return CIRRON_OK;
}

uint32_t cirron_generation_claim(void) {
    uint32_t seen = 0;
    if (atomic_compare_exchange_strong(cirron_generation_word, &seen, BUILDING)) {
        return ++last_generation;
    }
    while (cirron_generation() == BUILDING) {
        sched_yield();
    }
    return 0;
}

void cirron_generation_give_up(void) {
    wipe();
}

void cirron_generation_publish(uint32_t generation) {
    atomic_store_explicit(cirron_generation_word, generation, memory_order_release);
}
