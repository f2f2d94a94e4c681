/* Which process this is, where the kernel wipes a page on fork and where it does not. */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/generation.h"
#include "core/types.h"
#include "child.h"
#include "refuse.h"
#include "test.h"

static bool mmap_is_refused, madvise_is_refused, atfork_is_refused;

/* In place of the C library's. */
void *mmap(void *at, size_t len, int protection, int flags, int file, off_t offset) {
    return mmap_is_refused ? MAP_FAILED : NEXT(mmap)(at, len, protection, flags, file, offset);
}

int madvise(void *at, size_t len, int advice) {
    errno = EINVAL; /* Linux before 4.14 */
    return madvise_is_refused && advice == MADV_WIPEONFORK ? -1 : NEXT(madvise)(at, len, advice);
}

extern int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *);

int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    return atfork_is_refused ? ENOMEM : __register_atfork(prepare, parent, child, NULL);
}

static bool is_zero(void) {
    return cirron_generation() == 0;
}

/* Numbers never repeat down a line of forks, and a parent's word is its own. */
static bool works(void) {
    if (cirron_generation_init() != CIRRON_OK || cirron_generation_init() != CIRRON_OK) {
        return false;
    }
    uint32_t first = cirron_generation_claim();
    cirron_generation_publish(first);
    if (first == 0 || cirron_generation() != first || cirron_generation_claim() != 0) {
        return false;
    }
    if (exit_status_of(is_zero) != 0 || cirron_generation() != first) {
        return false;
    }
    cirron_generation_give_up();
    uint32_t second = cirron_generation_claim();
    cirron_generation_publish(second);
    return second > first;
}

static bool works_without_wiping(void) {
    madvise_is_refused = true;
    return works();
}

static bool fails_without_a_page(void) {
    mmap_is_refused = true;
    int status = cirron_generation_init();
    mmap_is_refused = false;
    return status == CIRRON_NO_MEMORY;
}

static bool fails_without_any_way_to_see_a_fork(void) {
    madvise_is_refused = atfork_is_refused = true;
    return cirron_generation_init() == CIRRON_NO_MEMORY;
}

static void a_fork_is_seen(void **state) {
    (void)state;
    assert_int_equal(exit_status_of(works), 0);
}

static void a_fork_is_seen_by_an_old_kernel_too(void **state) {
    (void)state;
    assert_int_equal(exit_status_of(works_without_wiping), 0);
}

static void what_cannot_see_forks_says_so(void **state) {
    (void)state;
    assert_int_equal(exit_status_of(fails_without_a_page), 0);
    assert_int_equal(exit_status_of(fails_without_any_way_to_see_a_fork), 0);
}

static void *claim(void *got) {
    *(uint32_t *)got = cirron_generation_claim();
    return NULL;
}

static bool waits_for_the_first(void) {
    pthread_t thread;
    uint32_t other = 1;
    if (cirron_generation_init() != CIRRON_OK) {
        return false;
    }
    uint32_t own = cirron_generation_claim();
    if (pthread_create(&thread, NULL, claim, &other) != 0) {
        return false;
    }
    usleep(20000); /* it can but wait */
    cirron_generation_publish(own);
    pthread_join(thread, NULL);
    return other == 0;
}

static void of_two_threads_one_builds_and_the_other_waits(void **state) {
    (void)state;
    assert_int_equal(exit_status_of(waits_for_the_first), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fork_is_seen),
        cmocka_unit_test(a_fork_is_seen_by_an_old_kernel_too),
        cmocka_unit_test(what_cannot_see_forks_says_so),
        cmocka_unit_test(of_two_threads_one_builds_and_the_other_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
