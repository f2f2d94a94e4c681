/* Keyed hashing of ids and short texts for the tables that read foreign files: the
 * seed is random, so a file can't be written to make every key collide. Any thread.
 */
#ifndef CIRRON_CORE_HASH_H
#define CIRRON_CORE_HASH_H

#include <string.h>

#include "core/types.h"

/* 64 random bits; never fails (without a random source it is hard to guess only). */
uint64_t cirron_hash_seed(void);

/* The two halves of a 128-bit product folded together: the mixing step of wyhash. */
static inline uint64_t cirron_hash_mix(uint64_t a, uint64_t b) {
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t cirron_hash_word(const void *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

static inline uint64_t cirron_hash_id(uint64_t seed, const cirron_id *id) {
    uint64_t low = cirron_hash_word(id->bytes) ^ seed;
    uint64_t high = cirron_hash_word(id->bytes + 8) ^ 0xa0761d6478bd642full;
    return cirron_hash_mix(cirron_hash_mix(low, high) ^ seed, 0xe7037ed1a0b428dbull);
}

static inline uint64_t cirron_hash_text(uint64_t seed, const char *text, size_t len) {
    uint64_t hash = seed ^ (uint64_t)len;
    uint64_t last = 0;
    for (; len > 8; len -= 8, text += 8) {
        hash = cirron_hash_mix(cirron_hash_word(text) ^ hash, 0xa0761d6478bd642full ^ seed);
    }
    memcpy(&last, text, len);
    return cirron_hash_mix(cirron_hash_mix(last ^ hash, 0xa0761d6478bd642full ^ seed) ^ seed,
                           0xe7037ed1a0b428dbull);
}

#endif
