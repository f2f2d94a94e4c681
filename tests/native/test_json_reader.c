/* Batches as JSON: what is read, what is converted, what is refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json_reader.h"
#include "test.h"

static int read_bytes(cirron_table *table, const char *text, size_t len, const char **why) {
    cirron_json_reader *reader = cirron_json_reader_new();
    assert_non_null(reader);
    char *bytes = cirron_json_reader_reserve(reader, len);
    assert_non_null(bytes);
    memcpy(bytes, text, len);
    int status = cirron_json_reader_read(reader, len, len, table, why);
    cirron_json_reader_free(reader);
    return status;
}

/* The linked table of one good document. */
static cirron_table *read_good(const char *text) {
    const char *why = "";
    cirron_table *table = cirron_table_new();
    int status = read_bytes(table, text, strlen(text), &why);
    if (status != CIRRON_OK) {
        fail_msg("%s: %s", why, text);
    }
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    return table;
}

static int64_t get_int(const cirron_table *table, enum cirron_table_column column, size_t row) {
    return cirron_table_ints(table, column)[row];
}

static bool is_present(const cirron_table *table, enum cirron_table_column column, size_t row) {
    uint8_t present[64];
    assert_true(cirron_table_spans(table) <= sizeof(present));
    cirron_table_present(table, column, present);
    return present[row] != 0;
}

static void every_field_of_a_span_is_read(void **state) {
    (void)state;
    cirron_table *table = read_good(
        "{\"schema_version\":1,\"spans\":[{\"id\":\"00112233445566778899aabbccddeeff\","
        "\"name\":\"epoch\",\"parent_id\":\"root-1\",\"index\":-3,\"start_ns\":1776486598051509001,"
        "\"end_ns\":1776486598051509999,\"cpu_ns\":5,\"gpu_ns\":6,\"memory_peak_bytes\":7,"
        "\"thread_id\":8,\"pid\":9,\"rank\":10,\"attrs\":{\"a\": [1, {}]},\"mark_ids\":[\"m\"],"
        "\"overhead_ns\":11}]}");
    const int64_t expected[CIRRON_COLUMN_STORED] = {
        1776486598051509001, 1776486598051509999, 5, 6, 7, -3, 8, 9, 10, 11};
    for (int column = 0; column < CIRRON_COLUMN_STORED; column++) {
        assert_int_equal(get_int(table, (enum cirron_table_column)column, 0), expected[column]);
        assert_true(is_present(table, (enum cirron_table_column)column, 0));
    }
    char hex[32];
    assert_text_is(cirron_table_id_text(table, cirron_table_id(table, 0), hex),
                   "00112233445566778899aabbccddeeff");
    assert_text_is(cirron_table_id_text(table, cirron_table_parent_id(table, 0), hex), "root-1");
    assert_text_is(cirron_table_name_text(table, cirron_table_name(table, 0)), "epoch");
    assert_text_is(cirron_table_attrs(table, 0), "{\"a\": [1, {}]}");
    cirron_table_free(table);
}

static void null_and_missing_fields_are_absent(void **state) {
    (void)state;
    cirron_table *table =
        read_good("{\"spans\":[{\"id\":\"a\",\"parent_id\":null,\"index\":null,\"end_ns\":null,"
                  "\"cpu_ns\":null,\"attrs\":{}},{\"id\":\"b\"}]}");
    for (size_t row = 0; row < 2; row++) {
        for (int column = CIRRON_COLUMN_END; column < CIRRON_COLUMN_STORED; column++) {
            assert_false(is_present(table, (enum cirron_table_column)column, row));
            assert_int_equal(get_int(table, (enum cirron_table_column)column, row), 0);
        }
        assert_null(cirron_table_parent_id(table, row));
        assert_null(cirron_table_attrs(table, row).data);
        assert_int_equal(cirron_table_name_text(table, cirron_table_name(table, row)).len, 0);
    }
    cirron_table_free(table);
}

static void integers_of_another_type_are_converted_exactly(void **state) {
    (void)state;
    const struct {
        const char *json;
        int64_t expected;
        bool present;
    } cases[] = {
        {"1776486598051509001", 1776486598051509001, true},
        {"\"1776486598051509001\"", 1776486598051509001, true},
        {"1776486598051509001.0", 1776486598051509001, true},
        {"1776486598051509001.9", 1776486598051509001, true},
        {"1.776486598051509001e18", 1776486598051509001, true},
        {"17764865980515090010e-1", 1776486598051509001, true},
        {" 7 ", 7, true},
        {"-0", 0, true},
        {"true", 1, true},
        {"false", 0, true},
        {"9223372036854775807", INT64_MAX, true},
        {"9223372036854775808", INT64_MAX, true},
        {"18446744073709551615", INT64_MAX, true},
        {"99999999999999999999999999", INT64_MAX, true},
        {"1e400", INT64_MAX, true},
        {"-9223372036854775808", INT64_MIN, true},
        {"-9223372036854775809", INT64_MIN, true},
        {"-1e99", INT64_MIN, true},
        {"1e-99", 0, true},
        {"0e999999999999999999999", 0, true},
        {"null", 0, false},
        {"\"\"", 0, false},
        {"\"x\"", 0, false},
        {"\"NaN\"", 0, false},
        {"\"\\u0031\\u0032\"", 12, true},
        {"[1]", 0, false},
        {"{\"a\":1}", 0, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[200];
        (void)snprintf(text, sizeof(text), "{\"spans\":[{\"index\":%s,\"id\":\"a\"}]}",
                       cases[i].json);
        cirron_table *table = read_good(text);
        if (get_int(table, CIRRON_COLUMN_INDEX, 0) != cases[i].expected ||
            is_present(table, CIRRON_COLUMN_INDEX, 0) != cases[i].present) {
            fail_msg("%s became %lld", cases[i].json,
                     (long long)get_int(table, CIRRON_COLUMN_INDEX, 0));
        }
        cirron_table_free(table);
    }
}

static void text_of_another_type_is_converted(void **state) {
    (void)state;
    cirron_table *table = read_good("{\"spans\":[{\"id\":\"a\",\"name\":12.50,\"parent_id\":7},"
                                    "{\"id\":\"b\",\"name\":[1],\"parent_id\":{}}]}");
    char hex[32];
    assert_text_is(cirron_table_name_text(table, cirron_table_name(table, 0)), "12.50");
    assert_text_is(cirron_table_id_text(table, cirron_table_parent_id(table, 0), hex), "7");
    assert_int_equal(cirron_table_name_text(table, cirron_table_name(table, 1)).len, 0);
    assert_null(cirron_table_parent_id(table, 1));
    cirron_table_free(table);
}

static void unknown_fields_are_ignored_at_every_level(void **state) {
    (void)state;
    cirron_table *table = read_good(
        "{\"schema_version\":7,\"future\":{\"spans\":[{\"id\":\"no\"}]},\"spans\":[{\"id\":\"a\","
        "\"new\":[{\"id\":\"x\"}],\"name\":\"n\"}],\"marks\":[{\"unit\":{},\"id\":\"m\","
        "\"span_id\":\"a\",\"value\":1}],\"snapshots\":[{\"id\":\"s\",\"span_id\":\"a\",\"z\":0}],"
        "\"more\":[[[]]]}");
    assert_int_equal(cirron_table_spans(table), 1);
    assert_int_equal(cirron_table_marks(table), 1);
    assert_int_equal(cirron_table_snapshots(table), 1);
    cirron_table_free(table);
}

static void escapes_are_undone_in_values_and_keys(void **state) {
    (void)state;
    cirron_table *table =
        read_good("{\"sp\\u0061ns\":[{\"i\\u0064\":\"\\u0061\\u00e9\\ud83d\\ude00\","
                  "\"name\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\ud800\\u0041\\udc00\\ud83dx\"}]}");
    char hex[32];
    assert_text_is(cirron_table_id_text(table, cirron_table_id(table, 0), hex),
                   "a\xc3\xa9\xf0\x9f\x98\x80");
    assert_text_is(cirron_table_name_text(table, cirron_table_name(table, 0)),
                   "\"\\/\b\f\n\r\t\xef\xbf\xbd"
                   "A\xef\xbf\xbd\xef\xbf\xbdx");
    cirron_table_free(table);
}

static void mark_values_take_the_declared_type_or_that_of_their_json(void **state) {
    (void)state;
    const struct {
        const char *fields;
        int type;
        double as_float;
        int64_t as_int;
        const char *as_string;
    } cases[] = {
        {"\"value_type\":\"float\",\"value\":0.5", CIRRON_VALUE_FLOAT, 0.5, 0, NULL},
        {"\"value\":0.5,\"value_type\":\"float\"", CIRRON_VALUE_FLOAT, 0.5, 0, NULL},
        {"\"value_type\":\"float\",\"value\":2", CIRRON_VALUE_FLOAT, 2, 0, NULL},
        {"\"value_type\":\"float\",\"value\":\"2.25\"", CIRRON_VALUE_FLOAT, 2.25, 0, NULL},
        {"\"value_type\":\"float\",\"value\":true", CIRRON_VALUE_FLOAT, 1, 0, NULL},
        {"\"value_type\":\"float\",\"value\":\"NaN\"", CIRRON_VALUE_FLOAT, NAN, 0, NULL},
        {"\"value_type\":\"float\",\"value\":\"Infinity\"", CIRRON_VALUE_FLOAT, INFINITY, 0, NULL},
        {"\"value_type\":\"float\",\"value\":\"-Infinity\"", CIRRON_VALUE_FLOAT, -INFINITY, 0,
         NULL},
        {"\"value_type\":\"float\",\"value\":-1e999", CIRRON_VALUE_FLOAT, -INFINITY, 0, NULL},
        {"\"value_type\":\"float\",\"value\":null", CIRRON_VALUE_FLOAT, NAN, 0, NULL},
        {"\"value_type\":\"float\",\"value\":\"soon\"", CIRRON_VALUE_STRING, 0, 0, "soon"},
        {"\"value_type\":\"int\",\"value\":9223372036854775807", CIRRON_VALUE_INT, 0, INT64_MAX,
         NULL},
        {"\"value_type\":\"int\",\"value\":\"-12\"", CIRRON_VALUE_INT, 0, -12, NULL},
        {"\"value_type\":\"int\",\"value\":3.0", CIRRON_VALUE_INT, 0, 3, NULL},
        {"\"value_type\":\"int\",\"value\":3.5", CIRRON_VALUE_FLOAT, 3.5, 0, NULL},
        {"\"value_type\":\"int\",\"value\":true", CIRRON_VALUE_INT, 0, 1, NULL},
        {"\"value_type\":\"int\",\"value\":\"x\"", CIRRON_VALUE_STRING, 0, 0, "x"},
        {"\"value_type\":\"string\",\"value\":\"NaN\"", CIRRON_VALUE_STRING, 0, 0, "NaN"},
        {"\"value_type\":\"string\",\"value\":1.50", CIRRON_VALUE_STRING, 0, 0, "1.50"},
        {"\"value_type\":\"bool\",\"value\":true", CIRRON_VALUE_BOOL, 0, 1, NULL},
        {"\"value_type\":\"bool\",\"value\":\"false\"", CIRRON_VALUE_BOOL, 0, 0, NULL},
        {"\"value_type\":\"bool\",\"value\":2", CIRRON_VALUE_BOOL, 0, 1, NULL},
        {"\"value\":7", CIRRON_VALUE_INT, 0, 7, NULL},
        {"\"value\":7.0", CIRRON_VALUE_FLOAT, 7, 0, NULL},
        {"\"value\":1e3", CIRRON_VALUE_FLOAT, 1000, 0, NULL},
        {"\"value\":18446744073709551616", CIRRON_VALUE_FLOAT, 18446744073709551616.0, 0, NULL},
        {"\"value\":false", CIRRON_VALUE_BOOL, 0, 0, NULL},
        {"\"value\":\"t\"", CIRRON_VALUE_STRING, 0, 0, "t"},
        {"\"value\":[1, 2]", CIRRON_VALUE_STRING, 0, 0, "[1, 2]"},
        {"\"value_type\":\"complex\",\"value\":1", CIRRON_VALUE_INT, 0, 1, NULL},
        {"\"kind\":\"point\"", CIRRON_VALUE_FLOAT, NAN, 0, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[300];
        (void)snprintf(
            text, sizeof(text),
            "{\"spans\":[{\"id\":\"a\"}],\"marks\":[{\"id\":\"m\",\"span_id\":\"a\",%s}]}",
            cases[i].fields);
        cirron_table *table = read_good(text);
        cirron_table_mark mark = cirron_table_mark_at(table, 0);
        if (mark.value_type != cases[i].type) {
            fail_msg("%s has type %d", cases[i].fields, mark.value_type);
        }
        if (cases[i].as_string != NULL) {
            assert_text_is(mark.as_string, cases[i].as_string);
        } else if (isnan(cases[i].as_float)) {
            assert_true(isnan(mark.as_float));
        } else {
            assert_true(mark.as_float == cases[i].as_float);
            assert_int_equal(mark.as_int, cases[i].as_int);
        }
        cirron_table_free(table);
    }
}

static void a_record_without_a_string_id_is_skipped(void **state) {
    (void)state;
    cirron_table *table = read_good(
        "{\"spans\":[{\"name\":\"n\"},{\"id\":5},{\"id\":null},7,\"x\",[{\"id\":\"no\"}],null,"
        "{\"id\":\"yes\"}],\"marks\":[{\"span_id\":\"yes\"},[]],\"snapshots\":{\"id\":\"s\"}}");
    assert_int_equal(cirron_table_spans(table), 1);
    assert_int_equal(cirron_table_marks(table), 0);
    assert_int_equal(cirron_table_snapshots(table), 0);
    cirron_table_free(table);
}

static const char whole[] =
    "{\"spans\":[{\"id\":\"a\",\"attrs\":{\"x\":{}},\"mark_ids\":[]},{\"id\":\"b\"}],"
    "\"marks\":[{\"id\":\"m\",\"span_id\":\"a\",\"value\":1.5,\"attrs\":{\"y\":[1]}}],"
    "\"snapshots\":[{\"id\":\"s\",\"span_id\":\"a\",\"stats\":{\"mean\":1}}],\"z\":{}}";

static void a_truncated_document_leaves_no_row(void **state) {
    (void)state;
    cirron_table *table = cirron_table_new();
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        const char *why = NULL;
        assert_int_equal(read_bytes(table, whole, len, &why), CIRRON_CORRUPT);
        assert_non_null(why);
        assert_int_equal(cirron_table_spans(table), 0);
        assert_int_equal(cirron_table_marks(table), 0);
        assert_int_equal(cirron_table_snapshots(table), 0);
    }
    cirron_table_free(table);
}

static void a_broken_document_leaves_what_was_there(void **state) {
    (void)state;
    const char *const broken[] = {
        "",
        " ",
        "null",
        "[]",
        "7",
        "{",
        "}",
        "{\"spans\":[}",
        "{\"spans\":[]}}",
        "{\"spans\":[]} x",
        "{\"spans\" []}",
        "{\"spans\":[{\"id\":\"a\" \"name\":\"b\"}]}",
        "{\"spans\":[{\"id\":\"a}]}",
        "{\"spans\":[{\"id\":\"a\",\"index\":1x}]}",
        "{\"spans\":[{\"id\":\"a\",\"index\":01}]}",
        "{\"spans\":[{\"id\":\"a\",\"index\":truth}]}",
        "{\"spans\":[{\"id\":\"a\",\"name\":nul}]}",
        "{\"spans\":[{\"id\":\"\\x\"}]}",
        "{\"spans\":[{\"id\":\"\\u12g4\"}]}",
        "{\"spans\":[{\"id\":\"\xff\"}]}",
        "{\"spans\":[{\"id\":\"a\tb\"}]}",
        "{\"spans\":[{\"id\":\"a\"},{\"id\":\"b\",\"index\":NaN}]}",
    };
    cirron_table *table = cirron_table_new();
    const char *why = NULL;
    assert_int_equal(read_bytes(table, whole, sizeof(whole) - 1, &why), CIRRON_OK);
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        int status = read_bytes(table, broken[i], strlen(broken[i]), &why);
        if (status != CIRRON_CORRUPT) {
            fail_msg("accepted: %s", broken[i]);
        }
        assert_true(strlen(why) < 40);
    }
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    assert_int_equal(cirron_table_spans(table), 2);
    assert_int_equal(cirron_table_marks(table), 1);
    assert_int_equal(cirron_table_snapshots(table), 1);
    assert_text_is(cirron_table_attrs(table, 0), "{\"x\":{}}");
    cirron_table_free(table);
}

static void deep_nesting_is_passed_over_or_kept_as_text(void **state) {
    (void)state;
    enum { DEPTH = 200000 };
    const char *const wraps[][2] = {
        {"{\"x\":", "}"},
        {"{\"spans\":[{\"id\":\"a\",\"attrs\":{\"k\":", "}}]}"},
        {"{\"spans\":[{\"id\":\"a\",\"name\":", "}]}"},
    };
    for (size_t i = 0; i < sizeof(wraps) / sizeof(wraps[0]); i++) {
        size_t head = strlen(wraps[i][0]);
        size_t tail = strlen(wraps[i][1]);
        char *text = malloc(head + 2 * DEPTH + tail);
        memcpy(text, wraps[i][0], head);
        memset(text + head, '[', DEPTH);
        memset(text + head + DEPTH, ']', DEPTH);
        memcpy(text + head + 2 * DEPTH, wraps[i][1], tail);
        cirron_table *table = cirron_table_new();
        const char *why = NULL;
        assert_int_equal(read_bytes(table, text, head + 2 * DEPTH + tail, &why), CIRRON_OK);
        assert_int_equal(read_bytes(table, text, head + 2 * DEPTH - 1, &why), CIRRON_CORRUPT);
        assert_int_equal(read_bytes(table, text, head + DEPTH, &why), CIRRON_CORRUPT);
        cirron_table_free(table);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_a_span_is_read),
        cmocka_unit_test(null_and_missing_fields_are_absent),
        cmocka_unit_test(integers_of_another_type_are_converted_exactly),
        cmocka_unit_test(text_of_another_type_is_converted),
        cmocka_unit_test(unknown_fields_are_ignored_at_every_level),
        cmocka_unit_test(escapes_are_undone_in_values_and_keys),
        cmocka_unit_test(mark_values_take_the_declared_type_or_that_of_their_json),
        cmocka_unit_test(a_record_without_a_string_id_is_skipped),
        cmocka_unit_test(a_truncated_document_leaves_no_row),
        cmocka_unit_test(a_broken_document_leaves_what_was_there),
        cmocka_unit_test(deep_nesting_is_passed_over_or_kept_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
