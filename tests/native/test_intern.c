/* The table of names: ids, both forms of a name, the bounds, and many threads at once. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/intern.h"
#include "fallible_memory.h"
#include "test.h"

static uint32_t intern_text(cirron_intern *table, const char *text) {
    return cirron_intern_name(table, text, strlen(text));
}

static void assert_name_is(const cirron_intern *table, uint32_t id, const char *text,
                           const char *json) {
    cirron_name name = cirron_intern_get(table, id);
    assert_int_equal(name.text_len, strlen(text));
    assert_memory_equal(name.text, text, name.text_len);
    assert_int_equal(name.json_len, strlen(json));
    assert_memory_equal(name.json, json, name.json_len);
}

static void the_same_name_gets_the_same_id_and_ids_are_dense(void **state) {
    (void)state;
    cirron_intern *table = cirron_intern_new();
    char text[32];
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 5000; i++) {
            snprintf(text, sizeof text, "name-%u", i);
            assert_int_equal(intern_text(table, text), i);
        }
    }
    cirron_intern_free(table);
}

static void a_name_comes_back_raw_and_as_json(void **state) {
    (void)state;
    cirron_intern *table = cirron_intern_new();
    uint32_t plain = intern_text(table, "forward");
    uint32_t odd = intern_text(table, "a\"b\\c\n\xC3\xA9");
    uint32_t empty = cirron_intern_name(table, "", 0);
    uint32_t with_nul = cirron_intern_name(table, "x\0y", 3);
    assert_name_is(table, plain, "forward", "\"forward\"");
    assert_name_is(table, odd, "a\"b\\c\n\xC3\xA9", "\"a\\\"b\\\\c\\n\xC3\xA9\"");
    assert_name_is(table, empty, "", "\"\"");
    cirron_name name = cirron_intern_get(table, with_nul);
    assert_int_equal(name.text_len, 3);
    assert_memory_equal(name.json, "\"x\\u0000y\"", name.json_len);
    cirron_intern_free(table);
}

static void a_name_that_is_a_prefix_of_another_is_its_own(void **state) {
    (void)state;
    cirron_intern *table = cirron_intern_new();
    assert_int_not_equal(intern_text(table, "step"), intern_text(table, "step2"));
    assert_int_not_equal(cirron_intern_name(table, "a\0b", 3), intern_text(table, "a"));
    cirron_intern_free(table);
}

static void a_long_name_is_never_interned(void **state) {
    (void)state;
    cirron_intern *table = cirron_intern_new();
    char text[CIRRON_INTERN_MAX_NAME + 1];
    memset(text, 'x', sizeof text);
    assert_int_equal(cirron_intern_name(table, text, CIRRON_INTERN_MAX_NAME), 0);
    assert_int_equal(cirron_intern_name(table, text, sizeof text), CIRRON_NAME_INLINE);
    cirron_intern_free(table);
}

static void a_full_table_still_knows_the_names_it_has(void **state) {
    (void)state;
    cirron_intern *table = cirron_intern_new();
    char text[32];
    for (uint32_t i = 0; i < CIRRON_INTERN_MAX_NAMES; i++) {
        snprintf(text, sizeof text, "%u", i);
        assert_int_equal(intern_text(table, text), i);
    }
    assert_int_equal(intern_text(table, "one too many"), CIRRON_NAME_INLINE);
    assert_int_equal(intern_text(table, "65535"), 65535);
    assert_name_is(table, 65535, "65535", "\"65535\"");
    cirron_intern_free(table);
}

static void the_bytes_of_all_names_are_bounded(void **state) {
    (void)state;
    cirron_intern *table = cirron_intern_new();
    char text[CIRRON_INTERN_MAX_NAME];
    memset(text, 'x', sizeof text);
    uint32_t taken = 0;
    for (; taken < CIRRON_INTERN_MAX_NAMES; taken++) {
        snprintf(text, sizeof text, "%08u", taken);
        if (cirron_intern_name(table, text, sizeof text) == CIRRON_NAME_INLINE) {
            break;
        }
    }
    assert_in_range(taken, CIRRON_INTERN_MAX_BYTES / (2 * sizeof text + 8),
                    CIRRON_INTERN_MAX_BYTES / (2 * sizeof text) + 1);
    cirron_intern_free(table);
}

static void without_memory_a_name_is_inline_and_the_table_stays_whole(void **state) {
    (void)state;
    cirron_intern *table = cirron_intern_new();
    assert_int_equal(intern_text(table, "before"), 0);
    allocations_left = 0;
    assert_int_equal(intern_text(table, "during"), CIRRON_NAME_INLINE);
    assert_int_equal(intern_text(table, "before"), 0);
    assert_null(cirron_intern_new());
    allocations_left = UNLIMITED;
    assert_int_equal(intern_text(table, "during"), 1);
    cirron_intern_free(table);
}

enum { THREADS = 4, NAMES = 6000 };

typedef struct worker {
    pthread_t thread;
    cirron_intern *table;
    uint32_t first;
    bool agrees;
    uint32_t ids[NAMES];
} worker;

static void *intern_and_read(void *argument) {
    worker *self = argument;
    char text[32];
    self->agrees = true;
    for (uint32_t i = 0; i < NAMES; i++) {
        uint32_t number = (i + self->first) % NAMES;
        snprintf(text, sizeof text, "name-%u", number);
        uint32_t id = intern_text(self->table, text);
        cirron_name name = cirron_intern_get(self->table, id);
        self->ids[number] = id;
        self->agrees = self->agrees && name.text_len == strlen(text) &&
                       memcmp(name.text, text, name.text_len) == 0;
    }
    return NULL;
}

static void threads_that_intern_the_same_names_agree_on_the_ids(void **state) {
    (void)state;
    cirron_intern *table = cirron_intern_new();
    worker *workers = calloc(THREADS, sizeof *workers);
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i].table = table;
        workers[i].first = i * NAMES / THREADS;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, intern_and_read, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_true(workers[i].agrees);
        assert_memory_equal(workers[i].ids, workers[0].ids, sizeof workers[0].ids);
    }
    free(workers);
    cirron_intern_free(table);
}

int main(void) {
    use_fallible_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_name_gets_the_same_id_and_ids_are_dense),
        cmocka_unit_test(a_name_comes_back_raw_and_as_json),
        cmocka_unit_test(a_name_that_is_a_prefix_of_another_is_its_own),
        cmocka_unit_test(a_long_name_is_never_interned),
        cmocka_unit_test(a_full_table_still_knows_the_names_it_has),
        cmocka_unit_test(the_bytes_of_all_names_are_bounded),
        cmocka_unit_test(without_memory_a_name_is_inline_and_the_table_stays_whole),
        cmocka_unit_test(threads_that_intern_the_same_names_agree_on_the_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
