/* What a test wants refused: calls of the C library, by functions in their place, and memory. */
#ifndef CIRRON_NATIVE_REFUSE_H
#define CIRRON_NATIVE_REFUSE_H

#include <dlfcn.h>
#include <limits.h>
#include <stdatomic.h>
#include <stddef.h>

/* The C library's own function, for the one in its place. Kept once it is found: looking it up
 * takes the loader's lock, which a child of a fork in the middle would inherit held. Atomic, as
 * two threads may be the first at once. */
#define NEXT(function)                                                                             \
    __extension__({                                                                                \
        static void *_Atomic next;                                                                 \
        void *found = atomic_load(&next);                                                          \
        if (found == NULL) {                                                                       \
            found = dlsym(RTLD_NEXT, #function);                                                   \
            atomic_store(&next, found);                                                            \
        }                                                                                          \
        (__typeof__(&(function)))found;                                                            \
    })

/* How many requests are granted yet; below zero once some were refused. */
typedef _Atomic long quota;

#define UNLIMITED LONG_MAX

/* What was left before this request: none, and it is refused. */
static inline long take_one(quota *left) {
    return atomic_load(left) == UNLIMITED ? UNLIMITED : atomic_fetch_sub(left, 1);
}

#endif
