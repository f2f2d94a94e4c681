/* The seed of keyed hashing, from the kernel. Early in a boot getrandom may refuse to
 * answer without waiting; reading a trace never waits for that, it takes the clock and
 * the place of the stack instead.
 */
#include "core/hash.h"

#include <sys/random.h>
#include <time.h>

uint64_t cirron_hash_seed(void) {
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed)) {
        return seed;
    }
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* zero does as well */
    return cirron_hash_mix((uint64_t)now.tv_nsec ^ 0x8ebc6af09c88c6e3ull,
                           (uint64_t)(uintptr_t)&now | 1u);
}
