/* The CPU clock follows the kernel's, through work, sleep and switches. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/cpu_clock.h"
#include "test.h"

static int64_t read_clock(cirron_cpu_clock *clock) {
    return cirron_cpu_clock_read(clock, cirron_monotonic_ns());
}

static void burn(int64_t ns) {
    int64_t end = cirron_monotonic_ns() + ns;
    while (cirron_monotonic_ns() < end) {
    }
}

static void it_stays_near_the_kernels_clock(void **state) {
    (void)state;
    cirron_cpu_clock clock;
    cirron_cpu_clock_init(&clock);
    for (int i = 0; i < 2000; i++) {
        burn(i * 37 % 5000);
        if (i % 100 == 0) {
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        }
        int64_t before = cirron_clock_read(CLOCK_THREAD_CPUTIME_ID);
        int64_t estimate = read_clock(&clock);
        int64_t after = cirron_clock_read(CLOCK_THREAD_CPUTIME_ID);
        /* generous: a switch between the readings is allowed to show */
        assert_true(estimate >= before - 1000000);
        assert_true(estimate <= after + 1000000);
    }
}

static void sleep_is_not_cpu_time(void **state) {
    (void)state;
    cirron_cpu_clock clock;
    cirron_cpu_clock_init(&clock);
    (void)read_clock(&clock);
    int64_t start = read_clock(&clock);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* younger than a forced reading */
    assert_true(read_clock(&clock) - start < 900000);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    assert_true(read_clock(&clock) - start < 10000000);
}

static void work_is_cpu_time(void **state) {
    (void)state;
    cirron_cpu_clock clock;
    cirron_cpu_clock_init(&clock);
    int64_t start = read_clock(&clock);
    int64_t kernel_start = cirron_clock_read(CLOCK_THREAD_CPUTIME_ID);
    burn(20000000);
    int64_t kernel = cirron_clock_read(CLOCK_THREAD_CPUTIME_ID) - kernel_start;
    int64_t estimate = read_clock(&clock) - start;
    assert_true(llabs(estimate - kernel) < 2000000);
}

/* The same three, in a process that glibc has not registered for rseq. */
static void it_is_as_true_without_restartable_sequences(void **state) {
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        (void)setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
        (void)execl("/proc/self/exe", "test_cpu_clock", "plain", (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void without_them_a_reading_lives_a_microsecond(void **state) {
    (void)state;
    cirron_cpu_clock clock;
    cirron_cpu_clock_init(&clock);
    (void)read_clock(&clock);
    const int64_t measured = clock.measured_ns;
    assert_null(clock.armed);
    assert_int_equal(cirron_cpu_clock_read(&clock, measured + 999), clock.cpu_ns + 999);
    assert_int_equal(clock.measured_ns, measured);
    burn(2000);
    (void)read_clock(&clock);
    assert_true(clock.measured_ns > measured);
}

int main(int count, char **arguments) {
    const struct CMUnitTest plain[] = {
        cmocka_unit_test(it_stays_near_the_kernels_clock),
        cmocka_unit_test(sleep_is_not_cpu_time),
        cmocka_unit_test(work_is_cpu_time),
        cmocka_unit_test(without_them_a_reading_lives_a_microsecond),
    };
    if (count == 2 && strcmp(arguments[1], "plain") == 0) {
        return cmocka_run_group_tests(plain, NULL, NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_stays_near_the_kernels_clock),
        cmocka_unit_test(sleep_is_not_cpu_time),
        cmocka_unit_test(work_is_cpu_time),
        cmocka_unit_test(it_is_as_true_without_restartable_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
