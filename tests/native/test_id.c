/* Ids: the ChaCha20 of RFC 8439, never the same twice, fresh entropy when asked. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/id.h"
#include "test.h"

static int entropy_errors[4]; /* of the next calls; 0: it works */
static int entropy_calls;

/* In place of the C library's. */
ssize_t getrandom(void *bytes, size_t len, unsigned flags) {
    int call = entropy_calls++;
    if (call < 4 && entropy_errors[call] != 0) {
        errno = entropy_errors[call];
        return -1;
    }
    return syscall(SYS_getrandom, bytes, len, flags);
}

static void next_entropy_fails(int first, int second) {
    memcpy(entropy_errors, (int[4]){first, second}, sizeof entropy_errors);
    entropy_calls = 0;
}

static int compare_ids(const void *a, const void *b) {
    return memcmp(a, b, sizeof(cirron_id));
}

static void a_hundred_thousand_ids_differ(void **state) {
    (void)state;
    enum { COUNT = 100000 };
    cirron_id *ids = malloc(COUNT * sizeof *ids);
    cirron_id_stream streams[2];
    cirron_id_stream_init(&streams[0]);
    cirron_id_stream_init(&streams[1]);
    for (int i = 0; i < COUNT; i++) {
        ids[i] = cirron_id_next(&streams[i % 2]);
        if (i % 1000 == 0) {
            cirron_id_next_epoch();
        }
    }
    qsort(ids, COUNT, sizeof *ids, compare_ids);
    for (int i = 1; i < COUNT; i++) {
        assert_memory_not_equal(&ids[i - 1], &ids[i], sizeof *ids);
    }
    free(ids);
}

/* RFC 8439 appendix A.1, test vector 1: all-zero key and nonce, block counter 0; and
 * vector 2, block counter 1. The first 32 bytes become the next key. */
static void the_stream_is_chacha20(void **state) {
    (void)state;
    static const uint8_t block_0_second_half[32] = {0xda, 0x41, 0x59, 0x7c, 0x51, 0x57, 0x48, 0x8d,
                                                    0x77, 0x24, 0xe0, 0x3f, 0xb8, 0xd8, 0x4a, 0x37,
                                                    0x6a, 0x43, 0xb8, 0xf4, 0x15, 0x18, 0xa1, 0x1c,
                                                    0xc3, 0x87, 0xb6, 0x69, 0xb2, 0xee, 0x65, 0x86};
    static const uint8_t block_1_start[16] = {0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a,
                                              0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d, 0x08, 0x0d};
    cirron_id_stream stream;
    cirron_id_stream_init(&stream);
    cirron_id_refill(&stream); /* takes this epoch's entropy */
    memset(stream.key, 0, sizeof stream.key);
    cirron_id_refill(&stream);
    assert_memory_equal(stream.bytes + 32, block_0_second_half, 32);
    assert_memory_equal(stream.bytes + 64, block_1_start, 16);
    for (int i = 0; i < 32; i++) {
        assert_int_equal(stream.bytes[i], 0);
    }
}

static void a_new_epoch_brings_fresh_entropy(void **state) {
    (void)state;
    cirron_id_stream twins[2];
    cirron_id_stream_init(&twins[0]);
    (void)cirron_id_next(&twins[0]);
    twins[1] = twins[0]; /* a copy of the memory foresees the stream ... */
    cirron_id a = cirron_id_next(&twins[0]);
    cirron_id b = cirron_id_next(&twins[1]);
    assert_memory_equal(&a, &b, sizeof a);
    cirron_id_next_epoch(); /* ... until the next refill after this */
    cirron_id_refill(&twins[0]);
    cirron_id_refill(&twins[1]);
    a = cirron_id_next(&twins[0]);
    b = cirron_id_next(&twins[1]);
    assert_memory_not_equal(&a, &b, sizeof a);
}

static void without_entropy_ids_still_differ(void **state) {
    (void)state;
    cirron_id_stream streams[3];
    cirron_id ids[3];
    for (int i = 0; i < 3; i++) {
        next_entropy_fails(i == 2 ? EINTR : ENOSYS, 0);
        cirron_id_stream_init(&streams[i]);
        ids[i] = cirron_id_next(&streams[i]);
        assert_int_equal(entropy_calls, i == 2 ? 2 : 1); /* interrupted: once more */
    }
    assert_memory_not_equal(&ids[0], &ids[1], sizeof ids[0]);
    assert_memory_not_equal(&ids[1], &ids[2], sizeof ids[0]);
    next_entropy_fails(EAGAIN, 0);
    uint64_t seed = cirron_hash_seed();
    assert_int_equal(entropy_calls, 1);
    assert_true(seed != cirron_hash_seed());
}

static void an_id_is_never_all_zero(void **state) {
    (void)state;
    cirron_id_stream stream;
    cirron_id_stream_init(&stream);
    cirron_id first = cirron_id_next(&stream);
    memset(stream.bytes + stream.used, 0, sizeof first); /* what chance may bring */
    cirron_id second = cirron_id_next(&stream);
    assert_false(cirron_id_is_zero(&second));
    assert_memory_not_equal(&first, &second, sizeof first);
}

static void hex_is_lowercase_and_whole(void **state) {
    (void)state;
    cirron_id id = {{0x00, 0x01, 0x9f, 0xa0, 0xff, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
    char hex[33] = {0};
    cirron_id_to_hex(&id, hex);
    assert_string_equal(hex, "00019fa0ff05060708090a0b0c0d0e0f");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_thousand_ids_differ),
        cmocka_unit_test(the_stream_is_chacha20),
        cmocka_unit_test(a_new_epoch_brings_fresh_entropy),
        cmocka_unit_test(without_entropy_ids_still_differ),
        cmocka_unit_test(an_id_is_never_all_zero),
        cmocka_unit_test(hex_is_lowercase_and_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
