/* Which process this is: a number that changes with every fork, also one made in C.
 *
 * The word lies in a page that the kernel wipes in a forked child (where the kernel
 * refuses, a pthread_atfork handler wipes it), so a look costs one load. Zero means:
 * a child that has not built its own state yet. Any thread may look.
 */
#ifndef CIRRON_CORE_GENERATION_H
#define CIRRON_CORE_GENERATION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

extern _Atomic uint32_t *cirron_generation_word;

/* Maps the page; once, before any thread records. CIRRON_OK or CIRRON_NO_MEMORY. */
int cirron_generation_init(void);

static inline uint32_t cirron_generation(void) {
    return atomic_load_explicit(cirron_generation_word, memory_order_acquire);
}

/* In a child: claims the right to build the child's state. Exactly one thread gets a
 * new number, which no ancestor had; the others wait for its publish and get 0. */
uint32_t cirron_generation_claim(void);
void cirron_generation_publish(uint32_t generation);

/* The claimed state could not be built: the next who looks claims again. */
void cirron_generation_give_up(void);

#endif
