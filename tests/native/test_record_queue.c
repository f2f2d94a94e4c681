/* The queue: order, limits, exact counts, and the same with a reader on another thread. */
#include <stdlib.h>

#include "core/record_queue.h"
#include "fallible_memory.h"
#include "test.h"

typedef struct number {
    uint64_t value;
    uint32_t payload;
    uint32_t payload_len;
    uint64_t copies[4];
} number;

static uint32_t payload_of(const void *record) {
    return ((const number *)record)->payload_len;
}

static void append(cirron_queue *queue, uint64_t value, uint32_t payload_len) {
    char *payload;
    uint32_t offset;
    number *record = cirron_queue_reserve(queue, payload_len, &payload, &offset);
    if (record == NULL) {
        return;
    }
    memset(payload, (int)(value & 0xFF), payload_len);
    record->value = value;
    record->payload = offset;
    record->payload_len = payload_len;
    for (size_t i = 0; i < 4; i++) {
        record->copies[i] = value ^ i;
    }
    cirron_queue_publish(queue, payload_len);
}

typedef struct seen {
    uint64_t count;
    uint64_t last;
    uint64_t first;
} seen;

static void read_all(cirron_queue *queue, uint64_t most, seen *seen) {
    cirron_claim claim;
    const char *chunk;
    const number *record;
    bool more;
    do {
        more = cirron_queue_claim(queue, most, &claim);
        while ((record = cirron_claim_next(&claim, &chunk)) != NULL) {
            for (size_t i = 0; i < 4; i++) {
                assert_int_equal(record->copies[i], record->value ^ i);
            }
            for (uint32_t i = 0; i < record->payload_len; i++) {
                assert_int_equal((uint8_t)chunk[record->payload + i], record->value & 0xFF);
            }
            assert_true(record->value > seen->last);
            if (seen->count++ == 0) {
                seen->first = record->value;
            }
            seen->last = record->value;
        }
        cirron_claim_release(&claim);
    } while (more);
}

static void records_come_back_in_order_with_their_payloads(void **state) {
    (void)state;
    cirron_queue queue;
    seen seen = {0};
    assert_int_equal(cirron_queue_init(&queue, sizeof(number), payload_of, 1 << 20, 1 << 30),
                     CIRRON_OK);
    for (uint64_t i = 1; i <= 20000; i++) {
        append(&queue, i, (uint32_t)(i * 7919 % 300));
        if (i % 3001 == 0) {
            read_all(&queue, 500, &seen);
        }
    }
    read_all(&queue, UINT64_MAX, &seen);
    assert_int_equal(seen.count, 20000);
    assert_int_equal(queue.dropped, 0);
    cirron_queue_fini(&queue);
    assert_int_equal(cirron_queues_bytes(), 0);
}

static void over_the_limit_exactly_the_oldest_go(void **state) {
    (void)state;
    cirron_queue queue;
    seen seen = {0};
    assert_int_equal(cirron_queue_init(&queue, sizeof(number), payload_of, 1000, 1 << 30),
                     CIRRON_OK);
    for (uint64_t i = 1; i <= 1001; i++) {
        append(&queue, i, 0);
    }
    assert_int_equal(queue.dropped, 1);
    for (uint64_t i = 1002; i <= 50000; i++) {
        append(&queue, i, 0);
    }
    read_all(&queue, UINT64_MAX, &seen);
    assert_int_equal(seen.count, 1000);
    assert_int_equal(seen.first, 49001);
    assert_int_equal(seen.last, 50000);
    assert_int_equal(queue.dropped, 49000);
    cirron_queue_fini(&queue);
    assert_int_equal(cirron_queues_bytes(), 0);
}

static void payload_bytes_have_a_limit_of_their_own(void **state) {
    (void)state;
    cirron_queue queue;
    seen seen = {0};
    assert_int_equal(cirron_queue_init(&queue, sizeof(number), payload_of, 1 << 20, 100000),
                     CIRRON_OK);
    for (uint64_t i = 1; i <= 1000; i++) {
        append(&queue, i, 1000);
    }
    read_all(&queue, UINT64_MAX, &seen);
    assert_int_equal(seen.count, 100);
    assert_int_equal(seen.count + queue.dropped, 1000);
    assert_int_equal(seen.last, 1000);
    /* partial claims give their bytes back as well */
    for (uint64_t round = 0; round < 50; round++) {
        cirron_claim claim;
        const char *chunk;
        append(&queue, 2000 + 2 * round, 1000);
        append(&queue, 2001 + 2 * round, 1000);
        (void)cirron_queue_claim(&queue, 2, &claim);
        while (cirron_claim_next(&claim, &chunk) != NULL) {
        }
        cirron_claim_release(&claim);
    }
    assert_int_equal(queue.dropped, 900);
    cirron_queue_fini(&queue);
}

static void without_memory_records_are_dropped_and_counted(void **state) {
    (void)state;
    cirron_queue queue;
    seen seen = {0};
    assert_int_equal(cirron_queue_init(&queue, sizeof(number), payload_of, 1 << 20, 1 << 30),
                     CIRRON_OK);
    for (uint64_t i = 1; i <= 10000; i++) {
        allocations_left = i > 6000 ? 0 : UNLIMITED;
        append(&queue, i, 8);
    }
    allocations_left = UNLIMITED;
    read_all(&queue, UINT64_MAX, &seen);
    assert_int_equal(seen.count + queue.dropped, 10000);
    assert_int_equal(seen.last, 10000);
    assert_true(queue.dropped > 0);
    cirron_queue_fini(&queue);
    assert_int_equal(cirron_queues_bytes(), 0);
}

typedef struct reader {
    cirron_queue *queue;
    _Atomic bool stop;
    seen seen;
    uint64_t most;
} reader;

static void *read_until_stopped(void *argument) {
    reader *reader = argument;
    while (!atomic_load(&reader->stop)) {
        read_all(reader->queue, reader->most, &reader->seen);
    }
    read_all(reader->queue, reader->most, &reader->seen);
    return NULL;
}

static void produced_is_claimed_plus_dropped_beside_a_reader(void **state) {
    (void)state;
    const uint64_t produced = 300000;
    for (uint64_t most = 64; most <= 1 << 20; most *= 128) {
        cirron_queue queue;
        reader reader = {.queue = &queue, .most = most};
        pthread_t thread;
        assert_int_equal(cirron_queue_init(&queue, sizeof(number), payload_of, 700, 20000),
                         CIRRON_OK);
        assert_int_equal(pthread_create(&thread, NULL, read_until_stopped, &reader), 0);
        for (uint64_t i = 1; i <= produced; i++) {
            append(&queue, i, (uint32_t)(i % 5 == 0 ? i % 60 : 0));
        }
        atomic_store(&reader.stop, true);
        pthread_join(thread, NULL);
        assert_int_equal(reader.seen.count + queue.dropped, produced);
        assert_int_equal(reader.seen.last, produced);
        cirron_queue_fini(&queue);
        assert_int_equal(cirron_queues_bytes(), 0);
    }
}

int main(void) {
    use_fallible_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back_in_order_with_their_payloads),
        cmocka_unit_test(over_the_limit_exactly_the_oldest_go),
        cmocka_unit_test(payload_bytes_have_a_limit_of_their_own),
        cmocka_unit_test(without_memory_records_are_dropped_and_counted),
        cmocka_unit_test(produced_is_claimed_plus_dropped_beside_a_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
