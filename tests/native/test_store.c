/* The trace buffer: what stays, what goes first, what it costs; held against a model that
 * keeps everything in plain arrays and looks at all of it each time.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/mark_store.h"
#include "core/memory.h"
#include "core/store.h"
#include "refuse.h"
#include "test.h"

/* ---- an allocator that counts live bytes, and refuses when told to */

static size_t live_bytes;
static quota allocations_left = UNLIMITED;

enum { PREFIX = 16 };

static void *resize(void *block, size_t size) {
    if (take_one(&allocations_left) <= 0) {
        return NULL;
    }
    char *before = block == NULL ? NULL : (char *)block - PREFIX;
    size_t size_before = 0;
    if (before != NULL) {
        memcpy(&size_before, before, sizeof size_before);
    }
    char *after = realloc(before, size + PREFIX);
    memcpy(after, &size, sizeof size);
    live_bytes += size - size_before;
    return after + PREFIX;
}

static void *allocate(size_t size) {
    return resize(NULL, size);
}

static void release(void *block) {
    char *before = (char *)block - PREFIX;
    size_t size;
    memcpy(&size, before, sizeof size);
    live_bytes -= size;
    free(before);
}

/* ---- what a test hands in and gets back */

static cirron_intern *names;

static int set_up(void **state) {
    (void)state;
    names = cirron_intern_new();
    return names == NULL;
}

static int tear_down(void **state) {
    (void)state;
    cirron_intern_free(names);
    return live_bytes != 0;
}

/* Ids of spans and marks: the number in the first and in the last bytes. */
static cirron_id make_id(uint32_t number) {
    cirron_id id;
    uint64_t halves[2] = {number * 0x9E3779B97F4A7C15u, number};
    memcpy(id.bytes, halves, sizeof id.bytes);
    return id;
}

static uint32_t number_of(const cirron_id *id) {
    uint64_t number;
    memcpy(&number, id->bytes + 8, sizeof number);
    return (uint32_t)number;
}

static int put_span(cirron_store *store, uint32_t number, int64_t end_ns, const char *attrs) {
    cirron_span_record span = {.id = make_id(number),
                               .start_ns = end_ns - 1,
                               .duration_ns = 1,
                               .name = 0,
                               .attrs_len = (uint32_t)strlen(attrs)};
    return cirron_store_put_span(store, &span, attrs);
}

static int put_mark(cirron_store *store, uint32_t span, uint32_t number, uint8_t kind,
                    const char *name) {
    cirron_id id = make_id(number);
    cirron_mark_record mark = {.span_id = make_id(span),
                               .ts_ns = number,
                               .name = cirron_intern_name(names, name, strlen(name)),
                               .kind = kind};
    return cirron_store_put_mark(store, &mark, "", &id);
}

enum { MOST_SEEN = 20000 };

typedef struct seen {
    uint32_t numbers[MOST_SEEN];
    uint64_t first_sequence;
    size_t count;
    size_t stop_after;
} seen;

static int see_span(void *context, uint64_t sequence, const cirron_span_record *span,
                    const char *payload) {
    seen *to = context;
    (void)payload;
    to->first_sequence = to->count == 0 ? sequence : to->first_sequence;
    assert_int_equal(sequence, to->first_sequence + to->count);
    to->numbers[to->count++] = number_of(&span->id);
    return to->count == to->stop_after ? CIRRON_IO : CIRRON_OK;
}

static int see_mark(void *context, const cirron_mark_record *mark, const char *payload,
                    const cirron_id *mark_id) {
    seen *to = context;
    (void)mark;
    (void)payload;
    to->numbers[to->count++] = number_of(mark_id);
    return to->count == to->stop_after ? CIRRON_IO : CIRRON_OK;
}

static seen *look_at_spans(const cirron_store *store, uint64_t since) {
    static seen found;
    found = (seen){.stop_after = 0};
    assert_int_equal(cirron_store_each_span(store, since, see_span, &found), CIRRON_OK);
    return &found;
}

static seen *look_at_marks(const cirron_store *store, uint32_t span) {
    static seen found;
    found = (seen){.stop_after = 0};
    cirron_id id = make_id(span);
    assert_int_equal(cirron_store_each_mark(store, &id, see_mark, &found), CIRRON_OK);
    return &found;
}

static void assert_numbers(const seen *found, size_t count, const uint32_t *expected) {
    assert_int_equal(found->count, count);
    assert_memory_equal(found->numbers, expected, count * sizeof *expected);
}

#define ASSERT_NUMBERS(found, ...)                                                                 \
    assert_numbers(found, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t),                    \
                   (uint32_t[]){__VA_ARGS__})

/* ---- spans */

static int check_payload(void *context, uint64_t sequence, const cirron_span_record *span,
                         const char *payload) {
    (void)context;
    (void)sequence;
    assert_int_equal(span->start_ns, 10);
    assert_int_equal(span->duration_ns, 20);
    assert_int_equal(span->cpu_ns, 30);
    assert_int_equal(span->gpu_ns, 40);
    assert_int_equal(span->memory_peak_bytes, 50);
    assert_int_equal(span->index, -60);
    assert_int_equal(span->overhead_ns, 70);
    assert_int_equal(span->thread_id, 80);
    assert_int_equal(span->session, 90);
    assert_int_equal(span->name, CIRRON_NAME_INLINE);
    assert_int_equal(span->flags, CIRRON_SPAN_PARENT | CIRRON_SPAN_INDEX);
    assert_int_equal(number_of(&span->id), 1);
    assert_int_equal(number_of(&span->parent_id), 2);
    assert_memory_equal(payload, "name{\"a\":1}", 11);
    return CIRRON_OK;
}

static void a_span_comes_back_as_it_was_put(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 10);
    cirron_span_record span = {.id = make_id(1),
                               .parent_id = make_id(2),
                               .start_ns = 10,
                               .duration_ns = 20,
                               .cpu_ns = 30,
                               .gpu_ns = 40,
                               .memory_peak_bytes = 50,
                               .index = -60,
                               .overhead_ns = 70,
                               .thread_id = 80,
                               .name = CIRRON_NAME_INLINE,
                               .name_len = 4,
                               .attrs_len = 7,
                               .session = 90,
                               .flags = CIRRON_SPAN_PARENT | CIRRON_SPAN_INDEX};
    char payload[] = "name{\"a\":1}";
    assert_int_equal(cirron_store_put_span(store, &span, payload), CIRRON_OK);
    memset(payload, '?', sizeof payload);
    assert_int_equal(cirron_store_each_span(store, 0, check_payload, NULL), CIRRON_OK);
    assert_int_equal(cirron_store_sequence(store), 1);
    cirron_store_free(store);
}

static void the_newest_spans_stay_and_the_others_are_counted(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 1000);
    for (uint32_t i = 1; i <= 2500; i++) {
        assert_int_equal(put_span(store, i, i, i % 3 == 0 ? "{\"k\":1}" : ""), CIRRON_OK);
    }
    const seen *found = look_at_spans(store, 0);
    assert_int_equal(found->count, 1000);
    assert_int_equal(found->numbers[0], 1501);
    assert_int_equal(found->numbers[999], 2500);
    assert_int_equal(found->first_sequence, 1500);
    assert_int_equal(cirron_store_evicted(store), 1500);
    assert_int_equal(cirron_store_sequence(store), 2500);
    ASSERT_NUMBERS(look_at_spans(store, 2497), 2498, 2499, 2500);
    assert_int_equal(look_at_spans(store, 2500)->count, 0);
    assert_true(cirron_store_is_valid(store));
    cirron_store_free(store);
}

static void an_open_span_is_ignored(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 10);
    cirron_span_record span = {.id = make_id(1), .flags = CIRRON_SPAN_OPEN};
    assert_int_equal(cirron_store_put_span(store, &span, ""), CIRRON_OK);
    assert_int_equal(cirron_store_sequence(store), 0);
    assert_int_equal(cirron_store_evicted(store), 0);
    cirron_store_free(store);
}

static void a_smaller_bound_evicts_at_once_and_a_larger_one_makes_room(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 10);
    for (uint32_t i = 1; i <= 10; i++) {
        assert_int_equal(put_span(store, i, i, "{}"), CIRRON_OK);
        assert_int_equal(put_mark(store, i, 100 + i, CIRRON_MARK_POINT, "m"), CIRRON_OK);
    }
    assert_int_equal(cirron_store_set_max_spans(store, 3), CIRRON_OK);
    ASSERT_NUMBERS(look_at_spans(store, 0), 8, 9, 10);
    assert_int_equal(look_at_marks(store, 7)->count, 0);
    ASSERT_NUMBERS(look_at_marks(store, 8), 108);
    assert_int_equal(cirron_store_evicted(store), 14);
    assert_int_equal(cirron_store_set_max_spans(store, 5), CIRRON_OK);
    for (uint32_t i = 11; i <= 13; i++) {
        assert_int_equal(put_span(store, i, i, "{}"), CIRRON_OK);
    }
    ASSERT_NUMBERS(look_at_spans(store, 0), 9, 10, 11, 12, 13);
    assert_int_equal(cirron_store_set_max_spans(store, 0), CIRRON_OK);
    assert_int_equal(put_span(store, 14, 14, "{}"), CIRRON_OK);
    assert_int_equal(look_at_spans(store, 0)->count, 0);
    assert_true(cirron_store_is_valid(store));
    assert_int_equal(cirron_store_set_max_spans(store, 2), CIRRON_OK);
    assert_int_equal(put_span(store, 15, 15, "{}"), CIRRON_OK);
    ASSERT_NUMBERS(look_at_spans(store, 0), 15);
    cirron_store_free(store);
}

static void a_smaller_bound_holds_without_memory_for_a_smaller_ring(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 10);
    for (uint32_t i = 1; i <= 10; i++) {
        assert_int_equal(put_span(store, i, i, ""), CIRRON_OK);
    }
    allocations_left = 0;
    int status = cirron_store_set_max_spans(store, 3);
    allocations_left = UNLIMITED;
    assert_int_equal(status, CIRRON_OK);
    for (uint32_t i = 11; i <= 20; i++) {
        assert_int_equal(put_span(store, i, i, ""), CIRRON_OK);
        assert_true(cirron_store_is_valid(store));
    }
    ASSERT_NUMBERS(look_at_spans(store, 0), 18, 19, 20);
    assert_int_equal(cirron_store_evicted(store), 17);
    cirron_store_free(store);
}

static void a_visit_that_fails_ends_the_walk(void **state) {
    (void)state;
    static seen found;
    cirron_store *store = cirron_store_new(names, 10);
    cirron_id id = make_id(1);
    for (uint32_t i = 1; i <= 5; i++) {
        assert_int_equal(put_span(store, i, i, ""), CIRRON_OK);
        assert_int_equal(put_mark(store, 1, i, CIRRON_MARK_POINT, "m"), CIRRON_OK);
    }
    found = (seen){.stop_after = 2};
    assert_int_equal(cirron_store_each_span(store, 0, see_span, &found), CIRRON_IO);
    assert_int_equal(found.count, 2);
    found = (seen){.stop_after = 3};
    assert_int_equal(cirron_store_each_mark(store, &id, see_mark, &found), CIRRON_IO);
    assert_int_equal(found.count, 3);
    cirron_store_free(store);
}

/* ---- marks */

static int check_mark(void *context, const cirron_mark_record *mark, const char *payload,
                      const cirron_id *mark_id) {
    int *calls = context;
    (*calls)++;
    assert_int_equal(number_of(mark_id), 5);
    assert_int_equal(number_of(&mark->span_id), 1);
    assert_int_equal(mark->ts_ns, 77);
    assert_int_equal(mark->value_type, CIRRON_VALUE_STRING);
    assert_int_equal(mark->kind, CIRRON_MARK_SUMMARY);
    assert_int_equal(mark->session, 4);
    assert_memory_equal(payload, "lossok{\"a\":1}", 13);
    return CIRRON_OK;
}

static void a_mark_comes_back_as_it_was_put(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 10);
    cirron_mark_record mark = {.span_id = make_id(1),
                               .ts_ns = 77,
                               .name = CIRRON_NAME_INLINE,
                               .name_len = 4,
                               .value_len = 2,
                               .attrs_len = 7,
                               .session = 4,
                               .value_type = CIRRON_VALUE_STRING,
                               .kind = CIRRON_MARK_SUMMARY};
    cirron_id mark_id = make_id(5);
    cirron_id span_id = make_id(1);
    char payload[] = "lossok{\"a\":1}";
    assert_int_equal(cirron_store_put_mark(store, &mark, payload, &mark_id), CIRRON_OK);
    memset(payload, '?', sizeof payload);
    int calls = 0;
    assert_int_equal(cirron_store_each_mark(store, &span_id, check_mark, &calls), CIRRON_OK);
    assert_int_equal(calls, 1);
    cirron_store_free(store);
}

static void marks_wait_for_their_span_and_leave_with_it(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 2);
    assert_int_equal(put_mark(store, 1, 1, CIRRON_MARK_POINT, "m"), CIRRON_OK);
    assert_int_equal(put_mark(store, 1, 2, CIRRON_MARK_SUMMARY, "m"), CIRRON_OK);
    assert_int_equal(put_mark(store, 2, 3, CIRRON_MARK_POINT, "m"), CIRRON_OK);
    assert_int_equal(put_span(store, 1, 4, ""), CIRRON_OK);
    assert_int_equal(put_span(store, 2, 5, ""), CIRRON_OK);
    ASSERT_NUMBERS(look_at_marks(store, 1), 1, 2);
    assert_int_equal(put_span(store, 3, 6, ""), CIRRON_OK);
    assert_int_equal(look_at_marks(store, 1)->count, 0);
    ASSERT_NUMBERS(look_at_marks(store, 2), 3);
    assert_int_equal(cirron_store_evicted(store), 3);
    cirron_store_free(store);
}

static void points_and_summaries_come_in_order_of_time(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 2);
    for (uint32_t i = 1; i <= 6; i++) {
        uint8_t kind = i % 3 == 0 ? CIRRON_MARK_SUMMARY : CIRRON_MARK_POINT;
        assert_int_equal(put_mark(store, 1, i, kind, "m"), CIRRON_OK);
    }
    ASSERT_NUMBERS(look_at_marks(store, 1), 1, 2, 3, 4, 5, 6);
    cirron_store_free(store);
}

static void an_open_span_keeps_every_summary_and_its_newest_points(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 10);
    for (uint32_t i = 1; i <= 4000; i++) {
        assert_int_equal(put_mark(store, 1, 2 * i, CIRRON_MARK_POINT, "loss"), CIRRON_OK);
        assert_int_equal(put_mark(store, 1, 2 * i + 1, CIRRON_MARK_SUMMARY, "loss"), CIRRON_OK);
    }
    const seen *found = look_at_marks(store, 1);
    assert_int_equal(found->count, 4000 + CIRRON_STORE_POINTS_PER_SPAN);
    assert_int_equal(found->numbers[0], 3);
    assert_int_equal(found->numbers[found->count - 2], 8000);
    assert_int_equal(cirron_store_evicted(store), 4000 - CIRRON_STORE_POINTS_PER_SPAN);
    assert_true(cirron_store_is_valid(store));
    cirron_store_free(store);
}

static void marks_of_the_root_sentinel_are_kept(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 1);
    assert_int_equal(put_mark(store, 0, 1, CIRRON_MARK_POINT, "m"), CIRRON_OK);
    assert_int_equal(put_mark(store, 0, 2, CIRRON_MARK_SUMMARY, "m"), CIRRON_OK);
    for (uint32_t i = 1; i <= 50; i++) {
        assert_int_equal(put_span(store, i, 10 + i, ""), CIRRON_OK);
    }
    ASSERT_NUMBERS(look_at_marks(store, 0), 1, 2);
    cirron_store_free(store);
}

static void points_of_spans_that_never_close_are_bounded(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new_bounded(names, 10, SIZE_MAX, SIZE_MAX, 500);
    for (uint32_t i = 1; i <= 5000; i++) {
        assert_int_equal(put_mark(store, i, i, CIRRON_MARK_POINT, "m"), CIRRON_OK);
    }
    assert_int_equal(cirron_store_evicted(store), 4500);
    assert_int_equal(look_at_marks(store, 4500)->count, 0);
    ASSERT_NUMBERS(look_at_marks(store, 4501), 4501);
    assert_true(cirron_store_is_valid(store));
    cirron_store_free(store);
}

static void past_the_bound_older_values_of_a_name_go_before_the_only_ones(void **state) {
    (void)state;
    size_t room = 5 * sizeof(cirron_mark_node);
    cirron_store *store = cirron_store_new_bounded(names, 10, SIZE_MAX, room, 100);
    assert_int_equal(put_mark(store, 1, 1, CIRRON_MARK_SUMMARY, "accuracy"), CIRRON_OK);
    assert_int_equal(put_mark(store, 2, 2, CIRRON_MARK_SUMMARY, "loss"), CIRRON_OK);
    for (uint32_t i = 3; i <= 40; i++) {
        assert_int_equal(put_mark(store, 1, i, CIRRON_MARK_SUMMARY, "loss"), CIRRON_OK);
    }
    ASSERT_NUMBERS(look_at_marks(store, 1), 1, 38, 39, 40);
    ASSERT_NUMBERS(look_at_marks(store, 2), 2);
    for (uint32_t i = 41; i <= 45; i++) {
        assert_int_equal(put_mark(store, i, i, CIRRON_MARK_SUMMARY, "loss"), CIRRON_OK);
    }
    assert_int_equal(look_at_marks(store, 1)->count, 0);
    assert_int_equal(look_at_marks(store, 2)->count, 0);
    ASSERT_NUMBERS(look_at_marks(store, 41), 41);
    ASSERT_NUMBERS(look_at_marks(store, 45), 45);
    assert_int_equal(cirron_store_evicted(store), 40);
    assert_true(cirron_store_is_valid(store));
    cirron_store_free(store);
}

static void inline_names_of_one_length_are_told_apart(void **state) {
    (void)state;
    size_t room = 300 * (sizeof(cirron_mark_node) + 3);
    cirron_store *store = cirron_store_new_bounded(names, 10, SIZE_MAX, room, 100);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 200; i++) {
            char name[8];
            snprintf(name, sizeof name, "%03u", i);
            cirron_id id = make_id(round * 1000 + i);
            cirron_mark_record mark = {.span_id = make_id(1),
                                       .ts_ns = round * 1000 + i,
                                       .name = CIRRON_NAME_INLINE,
                                       .name_len = 3,
                                       .kind = CIRRON_MARK_SUMMARY};
            assert_int_equal(cirron_store_put_mark(store, &mark, name, &id), CIRRON_OK);
        }
    }
    const seen *found = look_at_marks(store, 1);
    assert_int_equal(found->count, 300); /* the last two values of half, the last of all */
    assert_int_equal(found->numbers[0], 1100);
    assert_int_equal(found->numbers[100], 2000);
    assert_true(cirron_store_is_valid(store));
    cirron_store_free(store);
}

/* ---- bytes */

static void past_the_byte_bound_what_was_recorded_first_goes_first(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new_bounded(names, 100, 100, SIZE_MAX, 1000);
    char attrs[41];
    memset(attrs, ' ', 40);
    attrs[40] = '\0';
    assert_int_equal(put_span(store, 1, 1, attrs), CIRRON_OK);
    assert_int_equal(put_span(store, 2, 2, attrs), CIRRON_OK);
    assert_int_equal(put_span(store, 3, 3, attrs), CIRRON_OK);
    ASSERT_NUMBERS(look_at_spans(store, 0), 2, 3);
    cirron_mark_record mark = {.span_id = make_id(9), .ts_ns = 4, .attrs_len = 40};
    cirron_id id = make_id(50);
    assert_int_equal(cirron_store_put_mark(store, &mark, attrs, &id), CIRRON_OK);
    ASSERT_NUMBERS(look_at_spans(store, 0), 3);
    ASSERT_NUMBERS(look_at_marks(store, 9), 50);
    assert_int_equal(put_span(store, 5, 5, attrs), CIRRON_OK);
    ASSERT_NUMBERS(look_at_spans(store, 0), 5);
    ASSERT_NUMBERS(look_at_marks(store, 9), 50);
    assert_int_equal(put_span(store, 6, 6, attrs), CIRRON_OK);
    ASSERT_NUMBERS(look_at_spans(store, 0), 5, 6);
    assert_int_equal(look_at_marks(store, 9)->count, 0);
    assert_int_equal(cirron_store_evicted(store), 4);
    assert_true(cirron_store_is_valid(store));
    cirron_store_free(store);
}

static void memory_follows_what_is_held(void **state) {
    (void)state;
    size_t before = live_bytes;
    cirron_store *store = cirron_store_new(names, 100000);
    for (uint32_t i = 1; i <= 10; i++) {
        assert_int_equal(put_span(store, i, i, ""), CIRRON_OK);
    }
    assert_in_range(live_bytes - before, 1, 64 * 1024);
    for (uint32_t i = 11; i <= 300000; i++) {
        assert_int_equal(put_span(store, i, i, ""), CIRRON_OK);
    }
    assert_in_range(live_bytes - before, 1, 220 * 100000);
    assert_int_equal(cirron_store_set_max_spans(store, 10), CIRRON_OK);
    assert_in_range(live_bytes - before, 1, 64 * 1024);
    cirron_store_free(store);
    assert_int_equal(live_bytes, before);
}

/* Each allocation fails in turn. */
static void without_memory_a_record_counts_as_evicted(void **state) {
    (void)state;
    cirron_store *store = cirron_store_new(names, 600);
    uint64_t produced = 0;
    uint64_t refused = 0;
    (void)cirron_intern_name(names, "m", 1);
    for (uint32_t i = 1; i <= 1500; i++) {
        allocations_left = i % 4;
        int span = put_span(store, i, i, i % 3 == 0 ? "{}" : "");
        allocations_left = i % 5 == 0 ? 0 : 1;
        int mark = put_mark(store, i + 1, i, (uint8_t)(i % 2), "m");
        allocations_left = UNLIMITED;
        assert_true(span == CIRRON_OK || span == CIRRON_NO_MEMORY);
        assert_true(mark == CIRRON_OK || mark == CIRRON_NO_MEMORY);
        refused += span != CIRRON_OK;
        refused += mark != CIRRON_OK;
        produced += 2;
        if (i % 50 == 0) {
            assert_true(cirron_store_is_valid(store));
        }
    }
    uint64_t held = look_at_spans(store, 0)->count;
    for (uint32_t i = 1; i <= 1501; i++) {
        held += look_at_marks(store, i)->count;
    }
    assert_int_equal(produced, held + cirron_store_evicted(store));
    assert_true(refused > 0);
    cirron_store_free(store);
}

static void a_store_without_memory_is_null(void **state) {
    (void)state;
    for (long grace = 0;; grace++) {
        allocations_left = grace;
        cirron_store *store = cirron_store_new(names, 100);
        allocations_left = UNLIMITED;
        if (store != NULL) {
            cirron_store_free(store);
            break;
        }
        assert_in_range(grace, 0, 10);
    }
}

/* ---- the model */

enum { MODEL_SPANS = 200, MODEL_MARKS = 8192, PAYLOAD = 48 };

typedef struct model_mark {
    uint32_t number, span, name, len;
    int64_t ts;
    uint64_t superseded; /* when; 0: the newest of its name on its span */
    bool summary;
} model_mark;

typedef struct model_span {
    uint32_t number, len;
    int64_t end;
} model_span;

typedef struct model {
    size_t max_spans, byte_limit, summary_limit, point_limit;
    model_span spans[MODEL_SPANS];
    size_t span_count;
    model_mark marks[MODEL_MARKS]; /* in the order in which they were put */
    size_t mark_count;
    uint64_t clock;
    uint64_t evicted;
} model;

static void model_drop_mark(model *model, size_t at) {
    model->mark_count--;
    memmove(model->marks + at, model->marks + at + 1,
            (model->mark_count - at) * sizeof *model->marks);
    model->evicted++;
}

static void model_drop_span(model *model) {
    uint32_t number = model->spans[0].number;
    model->span_count--;
    memmove(model->spans, model->spans + 1, model->span_count * sizeof *model->spans);
    model->evicted++;
    for (size_t i = model->mark_count; i-- > 0;) {
        if (model->marks[i].span == number) {
            model_drop_mark(model, i);
        }
    }
}

/* The first point, of one span or (with span UINT32_MAX) of all; and how many there are. */
static size_t model_points(const model *model, uint32_t span, size_t *first) {
    size_t count = 0;
    for (size_t i = 0; i < model->mark_count; i++) {
        const model_mark *mark = &model->marks[i];
        if (!mark->summary && (span == UINT32_MAX || mark->span == span)) {
            *first = count++ == 0 ? i : *first;
        }
    }
    return count;
}

static void model_enforce_bytes(model *model) {
    for (;;) {
        size_t bytes = 0;
        size_t first = 0;
        for (size_t i = 0; i < model->span_count; i++) {
            bytes += model->spans[i].len;
        }
        for (size_t i = 0; i < model->mark_count; i++) {
            bytes += model->marks[i].summary ? 0 : model->marks[i].len;
        }
        if (bytes <= model->byte_limit) {
            return;
        }
        if (model_points(model, UINT32_MAX, &first) != 0 &&
            (model->span_count == 0 || model->marks[first].ts < model->spans[0].end)) {
            model_drop_mark(model, first);
        } else {
            model_drop_span(model);
        }
    }
}

static void model_enforce_summaries(model *model) {
    for (;;) {
        size_t bytes = 0;
        const model_mark *goes = NULL;
        for (size_t i = 0; i < model->mark_count; i++) {
            const model_mark *mark = &model->marks[i];
            if (!mark->summary) {
                continue;
            }
            bytes += sizeof(cirron_mark_node) + mark->len;
            bool sooner =
                goes == NULL || (mark->superseded != 0 &&
                                 (goes->superseded == 0 || mark->superseded < goes->superseded));
            goes = sooner ? mark : goes;
        }
        if (bytes <= model->summary_limit) {
            return;
        }
        model_drop_mark(model, (size_t)(goes - model->marks));
    }
}

static void model_put_mark(model *model, model_mark mark) {
    size_t first = 0;
    for (size_t i = 0; i < model->mark_count && mark.summary; i++) {
        model_mark *other = &model->marks[i];
        if (other->summary && other->superseded == 0 && other->span == mark.span &&
            other->name == mark.name) {
            other->superseded = ++model->clock;
        }
    }
    assert_true(model->mark_count < MODEL_MARKS);
    model->marks[model->mark_count++] = mark;
    while (model_points(model, mark.span, &first) > CIRRON_STORE_POINTS_PER_SPAN) {
        model_drop_mark(model, first);
    }
    while (model_points(model, UINT32_MAX, &first) > model->point_limit) {
        model_drop_mark(model, first);
    }
    model_enforce_summaries(model);
    model_enforce_bytes(model);
}

static void model_put_span(model *model, model_span span) {
    if (model->span_count == model->max_spans) {
        model_drop_span(model);
    }
    model->spans[model->span_count++] = span;
    model_enforce_bytes(model);
}

static void assert_store_equals(const cirron_store *store, const model *model, uint32_t last_span) {
    assert_true(cirron_store_is_valid(store));
    assert_int_equal(cirron_store_evicted(store), model->evicted);
    const seen *found = look_at_spans(store, 0);
    assert_int_equal(found->count, model->span_count);
    for (size_t i = 0; i < found->count; i++) {
        assert_int_equal(found->numbers[i], model->spans[i].number);
    }
    size_t total = 0;
    for (uint32_t span = 0; span <= last_span; span++) {
        found = look_at_marks(store, span);
        size_t at = 0;
        for (size_t i = 0; i < model->mark_count; i++) {
            if (model->marks[i].span == span) {
                assert_true(at < found->count);
                assert_int_equal(found->numbers[at++], model->marks[i].number);
            }
        }
        assert_int_equal(at, found->count);
        total += at;
    }
    assert_int_equal(total, model->mark_count);
}

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* A name: interned, or inline as the first byte of the payload. */
static void put_random_mark(cirron_store *store, model *model, uint32_t number, uint32_t span,
                            uint32_t *random) {
    char payload[PAYLOAD];
    memset(payload, 'p', sizeof payload);
    uint32_t name = next_random(random) % 6;
    bool is_inline = name >= 4;
    uint32_t attrs_len = next_random(random) % 3 == 0 ? next_random(random) % 40 : 0;
    payload[0] = (char)('a' + name);
    model_mark mark = {.number = number,
                       .span = span,
                       .name = name,
                       .len = attrs_len + is_inline,
                       .ts = number,
                       .summary = next_random(random) % 3 == 0};
    cirron_mark_record record = {.span_id = make_id(span),
                                 .ts_ns = number,
                                 .name = is_inline ? CIRRON_NAME_INLINE : name,
                                 .name_len = is_inline,
                                 .attrs_len = attrs_len,
                                 .kind = mark.summary};
    cirron_id id = make_id(number);
    assert_int_equal(cirron_store_put_mark(store, &record, payload, &id), CIRRON_OK);
    model_put_mark(model, mark);
}

static void run_against_model(uint32_t seed, size_t max_spans, size_t bytes, size_t summary_bytes,
                              uint32_t points, uint32_t steps, uint32_t spread) {
    cirron_store *store = cirron_store_new_bounded(names, max_spans, bytes, summary_bytes, points);
    model *model = calloc(1, sizeof *model);
    *model = (struct model){.max_spans = max_spans,
                            .byte_limit = bytes,
                            .summary_limit = summary_bytes,
                            .point_limit = points};
    uint32_t random = seed;
    uint32_t closed = 0; /* spans up to here are closed, those after it open */
    for (uint32_t step = 1; step <= steps; step++) {
        uint32_t dice = next_random(&random) % 100;
        if (dice < 20) {
            char attrs[PAYLOAD] = {0};
            memset(attrs, ' ', next_random(&random) % 2 == 0 ? next_random(&random) % 40 : 0);
            assert_int_equal(put_span(store, ++closed, step, attrs), CIRRON_OK);
            model_put_span(model, (model_span){closed, (uint32_t)strlen(attrs), step});
        } else if (dice == 20) {
            model->max_spans = 1 + next_random(&random) % max_spans;
            assert_int_equal(cirron_store_set_max_spans(store, model->max_spans), CIRRON_OK);
            while (model->span_count > model->max_spans) {
                model_drop_span(model);
            }
        } else { /* on an open span, a closed one, one long gone, or the root */
            uint32_t span = dice < 30 ? 0 : closed + next_random(&random) % spread;
            span = dice > 90 ? next_random(&random) % (closed + 1) : span;
            put_random_mark(store, model, step, span, &random);
        }
        if (step % (steps / 15) == 0) {
            assert_store_equals(store, model, closed + spread);
        }
    }
    free(model);
    cirron_store_free(store);
}

static void the_store_does_what_the_model_does(void **state) {
    (void)state;
    size_t node = sizeof(cirron_mark_node);
    for (uint32_t seed = 1; seed <= 6; seed++) {
        run_against_model(seed, 20, 600, 30 * node, 60, 1500, 8);       /* every bound is tight */
        run_against_model(seed, 100, 100000, 400 * node, 300, 1500, 3); /* tables grow */
        run_against_model(seed, 5, 50, 3 * node, 4, 1500, 30);          /* next to nothing fits */
    }
    run_against_model(7, 50, 100000, 800 * node, 3000, 20000, 1); /* the root has too many points */
}

int main(void) {
    static const cirron_allocator counting = {allocate, resize, release};
    cirron_memory_use(&counting);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_span_comes_back_as_it_was_put),
        TEST(the_newest_spans_stay_and_the_others_are_counted),
        TEST(an_open_span_is_ignored),
        TEST(a_smaller_bound_evicts_at_once_and_a_larger_one_makes_room),
        TEST(a_smaller_bound_holds_without_memory_for_a_smaller_ring),
        TEST(a_visit_that_fails_ends_the_walk),
        TEST(a_mark_comes_back_as_it_was_put),
        TEST(marks_wait_for_their_span_and_leave_with_it),
        TEST(points_and_summaries_come_in_order_of_time),
        TEST(an_open_span_keeps_every_summary_and_its_newest_points),
        TEST(marks_of_the_root_sentinel_are_kept),
        TEST(points_of_spans_that_never_close_are_bounded),
        TEST(past_the_bound_older_values_of_a_name_go_before_the_only_ones),
        TEST(inline_names_of_one_length_are_told_apart),
        TEST(past_the_byte_bound_what_was_recorded_first_goes_first),
        TEST(memory_follows_what_is_held),
        TEST(without_memory_a_record_counts_as_evicted),
        TEST(a_store_without_memory_is_null),
        TEST(the_store_does_what_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
