/* The offset between the two clocks, measured between two monotonic readings. */
#include "core/clock.h"

_Atomic int64_t cirron_clock_offset;
_Atomic int64_t cirron_clock_measured = INT64_MIN / 2;

void cirron_clock_measure(int64_t now) {
    atomic_store_explicit(&cirron_clock_measured, now, memory_order_relaxed);
    int64_t before = cirron_monotonic_ns();
    int64_t wall = cirron_clock_read(CLOCK_REALTIME);
    int64_t after = cirron_monotonic_ns();
    int64_t offset = wall - (before + (after - before) / 2);
    int64_t moved = offset - atomic_load_explicit(&cirron_clock_offset, memory_order_relaxed);
    if (moved > 10000 || moved < -10000) {
        atomic_store_explicit(&cirron_clock_offset, offset, memory_order_relaxed);
    }
}
