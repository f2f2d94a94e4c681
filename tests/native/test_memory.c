/* Sizes that no machine has, and hints that change nothing. */
#include "core/buffer.h"
#include "core/json_writer.h"
#include "core/memory.h"
#include "test.h"

static void sizes_beyond_all_memory_are_refused(void **state) {
    (void)state;
    assert_null(cirron_calloc(SIZE_MAX / 2, 3));
    cirron_buffer buffer = {0};
    assert_int_equal(cirron_buffer_append(&buffer, "abc", 3), CIRRON_OK);
    assert_int_equal(cirron_buffer_reserve(&buffer, SIZE_MAX / 2), CIRRON_NO_MEMORY);
    assert_int_equal(cirron_json_string(&buffer, "x", SIZE_MAX / 2), CIRRON_NO_MEMORY);
    assert_int_equal(buffer.len, 3);
    assert_memory_equal(buffer.data, "abc", 3);
    cirron_buffer_fini(&buffer);
}

static void nothing_is_a_block_as_well(void **state) {
    (void)state;
    void *blocks[] = {cirron_malloc(0), cirron_calloc(3, 0), cirron_realloc(NULL, 0)};
    for (size_t i = 0; i < sizeof(blocks) / sizeof(*blocks); i++) {
        assert_non_null(blocks[i]);
        cirron_free(blocks[i]);
    }
    cirron_free(NULL);
}

static void a_hint_leaves_the_bytes_as_they_were(void **state) {
    (void)state;
    const size_t sizes[] = {100, (size_t)8 << 20}; /* less than a huge page, and some of them */
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        unsigned char *block = cirron_malloc(sizes[i]);
        assert_non_null(block);
        memset(block, 7, sizes[i]);
        cirron_memory_will_fill(block, sizes[i]);
        for (size_t at = 0; at < sizes[i]; at++) {
            assert_true(block[at] == 7);
        }
        cirron_free(block);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_beyond_all_memory_are_refused),
        cmocka_unit_test(nothing_is_a_block_as_well),
        cmocka_unit_test(a_hint_leaves_the_bytes_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
