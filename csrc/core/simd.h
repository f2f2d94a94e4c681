/* Vector instructions beyond what every machine of the architecture has.
 *
 * A function marked CIRRON_VECTORS is called only where cirron_has_vectors() says yes. That
 * is written out because target_clones needs ifunc, which musl lacks. x86-64 alone needs it:
 * elsewhere the baseline has what our loops want.
 */
#ifndef CIRRON_CORE_SIMD_H
#define CIRRON_CORE_SIMD_H

#include <stdbool.h>

#ifdef __x86_64__
#define CIRRON_VECTORS __attribute__((target("avx2")))
#define CIRRON_VECTORS_FMA __attribute__((target("avx2,fma")))

static inline bool cirron_has_vectors(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
#define CIRRON_VECTORS
#define CIRRON_VECTORS_FMA

static inline bool cirron_has_vectors(void) {
    return true;
}
#endif

#endif
