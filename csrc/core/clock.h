/* Time: CLOCK_MONOTONIC for durations, and an offset that turns it into Unix-epoch
 * nanoseconds. Any thread may call.
 *
 * The offset is measured again once a second by whoever asks then, and adopted when it
 * moved by more than 10 us, so that neighbouring spans keep their order between two
 * steps of the wall clock.
 */
#ifndef CIRRON_CORE_CLOCK_H
#define CIRRON_CORE_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

extern _Atomic int64_t cirron_clock_offset;
extern _Atomic int64_t cirron_clock_measured; /* monotonic ns of the last measurement */

static inline int64_t cirron_clock_read(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t cirron_monotonic_ns(void) {
    return cirron_clock_read(CLOCK_MONOTONIC);
}

void cirron_clock_measure(int64_t now);

/* Unix-epoch nanoseconds of the monotonic reading `now`. */
static inline int64_t cirron_epoch_ns(int64_t now) {
    if (now - atomic_load_explicit(&cirron_clock_measured, memory_order_relaxed) > 1000000000) {
        cirron_clock_measure(now);
    }
    return now + atomic_load_explicit(&cirron_clock_offset, memory_order_relaxed);
}

#endif
