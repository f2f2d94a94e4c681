/* See the header for the idea. The symbols of glibc (>= 2.35) are looked up at run time,
 * so that a build on an older or newer glibc loads on the other.
 */
#include "core/cpu_clock.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

#include "core/clock.h"

enum {
    RSEQ_READING_LIVES_NS = 2000000,
    PLAIN_READING_LIVES_NS = 1000,
};

#if defined(__x86_64__)
#define RSEQ_SIGNATURE 0x53053053u
#elif defined(__aarch64__)
#define RSEQ_SIGNATURE 0xd428bc00u
#endif

#ifdef RSEQ_SIGNATURE

/* The kernel's struct rseq_cs and the start of its struct rseq (linux/rseq.h). */
struct critical_section {
    uint32_t version;
    uint32_t flags;
    uint64_t start_ip;
    uint64_t post_commit_offset;
    uint64_t abort_ip;
} __attribute__((aligned(32)));

struct rseq_head {
    uint32_t cpu_id_start;
    uint32_t cpu_id;
    uint64_t rseq_cs;
};

/* Never executed: the kernel wants the signature right before the abort address. */
static const struct {
    uint32_t signature;
    uint32_t landing[3];
} never_run __attribute__((aligned(16))) = {RSEQ_SIGNATURE, {0, 0, 0}};

static struct critical_section never_entered;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static ptrdiff_t rseq_offset; /* from the thread pointer; 0: don't use rseq */

static uint64_t *find_armed(ptrdiff_t offset) {
    struct rseq_head *head = (void *)((char *)__builtin_thread_pointer() + offset);
    return &head->rseq_cs;
}

static void test_rseq(void) {
    const ptrdiff_t *offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
    const unsigned *size = dlsym(RTLD_DEFAULT, "__rseq_size");
    if (offset == NULL || size == NULL || *size == 0) {
        return;
    }
    never_entered.start_ip = (uint64_t)(uintptr_t)&never_run;
    never_entered.post_commit_offset = 1;
    never_entered.abort_ip = (uint64_t)(uintptr_t)never_run.landing;
    uint64_t *armed = find_armed(*offset);
    if (__atomic_load_n(armed, __ATOMIC_RELAXED) != 0) {
        return; /* somebody else's critical section */
    }
    __atomic_store_n(armed, (uint64_t)(uintptr_t)&never_entered, __ATOMIC_RELAXED);
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    if (__atomic_load_n(armed, __ATOMIC_RELAXED) == 0) {
        rseq_offset = *offset;
    } else {
        __atomic_store_n(armed, 0, __ATOMIC_RELAXED);
    }
}

void cirron_cpu_clock_init(cirron_cpu_clock *clock) {
    pthread_once(&once, test_rseq);
    *clock = (cirron_cpu_clock){.armed = rseq_offset != 0 ? find_armed(rseq_offset) : NULL};
}

static int is_undisturbed(const cirron_cpu_clock *clock) {
    return __atomic_load_n(clock->armed, __ATOMIC_RELAXED) == (uint64_t)(uintptr_t)&never_entered;
}

static void arm(const cirron_cpu_clock *clock) {
    __atomic_store_n(clock->armed, (uint64_t)(uintptr_t)&never_entered, __ATOMIC_RELAXED);
}

#else

void cirron_cpu_clock_init(cirron_cpu_clock *clock) {
    *clock = (cirron_cpu_clock){0};
}

static int is_undisturbed(const cirron_cpu_clock *clock) {
    (void)clock;
    return 0;
}

static void arm(const cirron_cpu_clock *clock) {
    (void)clock;
}

#endif

int64_t cirron_cpu_clock_read(cirron_cpu_clock *clock, int64_t now) {
    int64_t age = now - clock->measured_ns;
    if (clock->armed != NULL) {
        if (age < RSEQ_READING_LIVES_NS && is_undisturbed(clock)) {
            return clock->cpu_ns + age;
        }
        arm(clock); /* before the reading: a switch in between clears it again */
    } else if (age < PLAIN_READING_LIVES_NS) {
        return clock->cpu_ns + age;
    }
    int64_t before = cirron_monotonic_ns();
    clock->cpu_ns = cirron_clock_read(CLOCK_THREAD_CPUTIME_ID);
    int64_t after = cirron_monotonic_ns();
    clock->measured_ns = before + (after - before) / 2;
    return clock->cpu_ns - (clock->measured_ns - now);
}
