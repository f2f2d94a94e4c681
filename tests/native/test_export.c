/* The streamed exports: CSV, JSON and OTLP/JSON documents from a table made by hand. */
#include <stdio.h>

#include "core/csv_export.h"
#include "core/json_export.h"
#include "core/otlp_export.h"
#include "core/otlp_value.h"
#include "test.h"

#define TEXT(literal) ((cirron_text){(literal), sizeof(literal) - 1})

static const char root_id[] = "000102030405060708090a0b0c0d0e0f";

static void add_span(cirron_table *table, cirron_text id, cirron_text parent, const char *name,
                     int64_t start, cirron_text attrs) {
    cirron_table_span span = {
        .id = id,
        .parent_id = parent,
        .name = {name, strlen(name)},
        .attrs = attrs,
        .start_ns = start,
        .end_ns = start + 10,
        .rank = 2,
        .present = CIRRON_HAS_END | CIRRON_HAS_RANK,
    };
    assert_int_equal(cirron_table_add_span(table, &span, 0), CIRRON_OK);
}

/* A session with one child, which has one mark. */
static cirron_table *make_table(cirron_text attrs) {
    cirron_table *table = cirron_table_new();
    assert_non_null(table);
    add_span(table, TEXT(root_id), (cirron_text){NULL, 0}, "cirron.session", 5, attrs);
    add_span(table, TEXT("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"), TEXT(root_id), "a,\"b\"", 6,
             (cirron_text){NULL, 0});
    cirron_table_mark mark = {
        .id = TEXT("m"),
        .span_id = TEXT("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"),
        .name = TEXT("loss"),
        .as_float = 0.5,
        .ts_ns = 7,
    };
    assert_int_equal(cirron_table_add_mark(table, &mark, 0), CIRRON_OK);
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    return table;
}

static void assert_text(cirron_output *out, const char *expected) {
    assert_int_equal(out->status, CIRRON_OK);
    cirron_output_put(out, "", 1);
    assert_string_equal(out->text.data, expected);
    out->text.len = 0;
}

static void test_csv_quotes_what_needs_it_and_nothing_else(void **state) {
    cirron_table *table = make_table(TEXT("{\"k\":1}"));
    cirron_export export;
    cirron_output out = {0};
    (void)state;
    cirron_export_init(&export, table, -1);
    assert_int_equal(cirron_csv_export_next(&export, &out), CIRRON_OK);
    assert_true(export.finished);
    assert_text(&out,
                "session_id,span_id,parent_id,name,index,start_ns,end_ns,duration_ns,cpu_ns,gpu_ns,"
                "memory_peak_bytes,thread_id,pid,rank,attrs_json\r\n"
                "000102030405060708090a0b0c0d0e0f,000102030405060708090a0b0c0d0e0f,,cirron.session,"
                ",5,15,10,,,,,,2,\"{\"\"k\"\": 1}\"\r\n"
                "000102030405060708090a0b0c0d0e0f,f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff,"
                "000102030405060708090a0b0c0d0e0f,\"a,\"\"b\"\"\",,6,16,10,,,,,,2,{}\r\n");
    cirron_export_fini(&export);
    cirron_buffer_fini(&out.text);
    cirron_table_free(table);
}

static void test_json_has_the_shape_of_a_batch(void **state) {
    cirron_table *table = make_table(TEXT("{broken}"));
    cirron_export export;
    cirron_output out = {0};
    (void)state;
    cirron_json_export_init(&export, table, 0);
    assert_int_equal(export.total, 3);
    assert_int_equal(cirron_json_export_next(&export, &out), CIRRON_OK);
    assert_true(export.finished);
    assert_int_equal(export.done, 3);
    assert_text(&out,
                "{\"schema_version\":1,\"sdk_version\":null,\n\"spans\":[\n"
                "{\"id\":\"000102030405060708090a0b0c0d0e0f\",\"name\":\"cirron.session\","
                "\"parent_id\":null,\"index\":null,\"start_ns\":5,\"end_ns\":15,\"cpu_ns\":null,"
                "\"gpu_ns\":null,\"memory_peak_bytes\":null,\"thread_id\":null,\"pid\":null,"
                "\"rank\":2,\"attrs\":{},\"mark_ids\":[],\"overhead_ns\":null},\n"
                "{\"id\":\"f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff\",\"name\":\"a,\\\"b\\\"\","
                "\"parent_id\":\"000102030405060708090a0b0c0d0e0f\",\"index\":null,\"start_ns\":6,"
                "\"end_ns\":16,\"cpu_ns\":null,\"gpu_ns\":null,\"memory_peak_bytes\":null,"
                "\"thread_id\":null,\"pid\":null,\"rank\":2,\"attrs\":{},\"mark_ids\":[\"m\"],"
                "\"overhead_ns\":null}],\n\"marks\":[\n"
                "{\"id\":\"m\",\"span_id\":\"f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff\",\"name\":\"loss\","
                "\"value_type\":\"float\",\"value\":0.5,\"attrs\":{},\"ts_ns\":7,"
                "\"kind\":\"point\"}],\n\"snapshots\":[]}\n");
    cirron_export_fini(&export);
    cirron_buffer_fini(&out.text);
    cirron_table_free(table);
}

static void test_otlp_has_a_resource_a_session_and_marks_as_events(void **state) {
    cirron_table *table = make_table(TEXT("{\"error\":\"E: x\"}"));
    cirron_otlp_export export;
    cirron_output out = {0};
    (void)state;
    assert_int_equal(cirron_otlp_export_init(&export, table, -1, NULL, 0), CIRRON_OK);
    assert_int_equal(cirron_otlp_export_next(&export, &out), CIRRON_OK);
    assert_true(export.base.finished);
    assert_text(
        &out,
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":"
        "{\"stringValue\":\"cirron\"}},{\"key\":\"cirron.session.id\",\"value\":{\"stringValue\":"
        "\"000102030405060708090a0b0c0d0e0f\"}}]},\"scopeSpans\":[{\"scope\":{\"name\":"
        "\"cirron\"},\"spans\":[\n"
        "{\"traceId\":\"000102030405060708090a0b0c0d0e0f\",\"spanId\":\"0001020304050607\","
        "\"name\":\"cirron.session\",\"kind\":1,\"startTimeUnixNano\":\"5\","
        "\"endTimeUnixNano\":\"15\",\"attributes\":[{\"key\":\"error\",\"value\":{\"stringValue\":"
        "\"E: x\"}},{\"key\":\"cirron.rank\",\"value\":{\"intValue\":\"2\"}}],"
        "\"status\":{\"code\":2,\"message\":\"E: x\"},\"events\":[]},\n"
        "{\"traceId\":\"000102030405060708090a0b0c0d0e0f\",\"spanId\":\"f0f1f2f3f4f5f6f7\","
        "\"parentSpanId\":\"0001020304050607\",\"name\":\"a,\\\"b\\\"\",\"kind\":1,"
        "\"startTimeUnixNano\":\"6\",\"endTimeUnixNano\":\"16\",\"attributes\":[{\"key\":"
        "\"cirron.rank\",\"value\":{\"intValue\":\"2\"}}],\"status\":{\"code\":0},\"events\":["
        "{\"timeUnixNano\":\"7\",\"name\":\"loss\",\"attributes\":[{\"key\":\"value\",\"value\":"
        "{\"doubleValue\":0.5}},{\"key\":\"kind\",\"value\":{\"stringValue\":\"point\"}}]}]}\n"
        "]}]}]}\n");
    cirron_otlp_export_fini(&export);
    cirron_buffer_fini(&out.text);
    cirron_table_free(table);
}

static void test_otlp_requests_are_whole_documents(void **state) {
    cirron_table *table = make_table((cirron_text){NULL, 0});
    cirron_otlp_export export;
    cirron_output out = {0};
    int requests = 0;
    (void)state;
    assert_int_equal(cirron_otlp_export_init(&export, table, -1, NULL, 1), CIRRON_OK);
    while (!export.base.finished) {
        out.text.len = 0;
        assert_int_equal(cirron_otlp_export_next(&export, &out), CIRRON_OK);
        assert_memory_equal(out.text.data, "{\"resourceSpans\":[{", 19);
        assert_memory_equal(out.text.data + out.text.len - 8, "\n]}]}]}\n", 8);
        requests++;
    }
    assert_int_equal(requests, 2);
    cirron_otlp_export_fini(&export);
    cirron_buffer_fini(&out.text);
    cirron_table_free(table);
}

static void test_otlp_values_keep_their_types(void **state) {
    static const struct {
        const char *json, *value;
    } cases[] = {
        {"1", "{\"intValue\":\"1\"}"},
        {"-9223372036854775808", "{\"intValue\":\"-9223372036854775808\"}"},
        {"9223372036854775808", "{\"stringValue\":\"9223372036854775808\"}"},
        {"1e999", "{\"doubleValue\":\"Infinity\"}"},
        {"2.50", "{\"doubleValue\":2.5}"},
        {"NaN", "{\"doubleValue\":\"NaN\"}"},
        {"true", "{\"boolValue\":true}"},
        {"null", "{}"},
        {"\"a\\\\\"", "{\"stringValue\":\"a\\\\\"}"},
        {"\"\\ud800\\ud83d\\ude00\"", "{\"stringValue\":\"\\ufffd\\ud83d\\ude00\"}"},
        {"[ ]", "{\"arrayValue\":{\"values\":[]}}"},
        {"[1, {}]", "{\"arrayValue\":{\"values\":[{\"intValue\":\"1\"},"
                    "{\"kvlistValue\":{\"values\":[]}}]}}"},
        {"{\"a\": [true], \"]\": \"}\"}",
         "{\"kvlistValue\":{\"values\":[{\"key\":\"a\",\"value\":{\"arrayValue\":{\"values\":["
         "{\"boolValue\":true}]}}},{\"key\":\"]\",\"value\":{\"stringValue\":\"}\"}}]}}"},
    };
    cirron_output out = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cirron_otlp_value(&out, (cirron_text){cases[i].json, strlen(cases[i].json)});
        assert_text(&out, cases[i].value);
    }
    cirron_buffer_fini(&out.text);
}

static void test_otlp_ids_keep_hex_digits_or_take_those_of_the_digest(void **state) {
    uint8_t digest[32];
    (void)state;
    for (uint8_t i = 0; i < 32; i++) {
        digest[i] = (uint8_t)(0xa0 + i);
    }
    cirron_otlp_id id = cirron_otlp_id_of(TEXT("00112233445566778899AABBCCDDEEFF00"), digest);
    assert_memory_equal(id.trace, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb", 12);
    assert_memory_equal(id.span, "\x00\x11\x22\x33\x44\x55\x66\x77", 8);
    id = cirron_otlp_id_of(TEXT("0011223344556677"), digest);
    assert_memory_equal(id.trace, digest, 16);
    assert_memory_equal(id.span, "\x00\x11\x22\x33\x44\x55\x66\x77", 8);
    id = cirron_otlp_id_of(TEXT("a541b565-b754-42e3-9d6c-1f0f3f6c2b11"), digest);
    assert_memory_equal(id.trace, digest, 16);
    assert_memory_equal(id.span, digest, 8);
}

static void test_otlp_values_nested_too_deep_are_json_text(void **state) {
    enum { DEPTH = 40 };
    char json[2 * DEPTH + 64] = "";
    cirron_output out = {0};
    (void)state;
    memset(json, '[', DEPTH);
    strcat(json, "{\"a\\\"]\" : [ 1 ,\t\"}\"\n] , \"b\":{}}");
    memset(json + strlen(json), ']', DEPTH);
    cirron_otlp_value(&out, (cirron_text){json, strlen(json)});
    cirron_output_put(&out, "", 1);
    assert_non_null(strstr(out.text.data, "{\"stringValue\":\"["));
    const char *text = strstr(out.text.data, "{\\\"a\\\\\\\"]\\\" : [ 1 ,");
    assert_non_null(text);
    cirron_buffer_fini(&out.text);
}

static void test_spaces_between_the_parts_of_a_value_are_passed_over(void **state) {
    static const char json[] = " {\r\n\t\"a\" : [ 1 , 2 ]\n, \"b\" : -Infinity } ";
    cirron_output out = {0};
    (void)state;
    cirron_otlp_value(&out, (cirron_text){json, sizeof(json) - 1});
    assert_text(&out, "{\"kvlistValue\":{\"values\":[{\"key\":\"a\",\"value\":{\"arrayValue\":"
                      "{\"values\":[{\"intValue\":\"1\"},{\"intValue\":\"2\"}]}}},{\"key\":\"b\","
                      "\"value\":{\"doubleValue\":\"-Infinity\"}}]}}");
    cirron_buffer_fini(&out.text);
}

static void test_lone_surrogates_alone_are_replaced(void **state) {
    static const char *const cases[][2] = {
        {"\\uD83D\\uDE00", "\\uD83D\\uDE00"}, /* a pair stays */
        {"\\ud83d\\ud83d\\ude00", "\\ufffd\\ud83d\\ude00"},
        {"\\ude00\\ud83d", "\\ufffd\\ufffd"},
        {"\\ud83dx", "\\ufffdx"},
        {"\\ud83d\\nabcd", "\\ufffd\\nabcd"},
        {"\\ud83d\\u00e9", "\\ufffd\\u00e9"},
        {"\\\\ud83d", "\\\\ud83d"}, /* no escape at all */
        {"\\ue000\\n", "\\ue000\\n"},
        {"\\n", "\\n"},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[32];
        strcpy(text, cases[i][0]);
        cirron_export_mend_surrogates(text, strlen(text));
        assert_string_equal(text, cases[i][1]);
    }
}

/* A session of `spans` spans and another one; the first span has `marks` marks. */
static cirron_table *make_large_table(int spans, int marks) {
    cirron_table *table = cirron_table_new();
    char id[33];
    assert_non_null(table);
    add_span(table, TEXT(root_id), (cirron_text){NULL, 0}, "cirron.session", 5,
             TEXT("{\"error\":null}"));
    for (int i = 1; i < spans; i++) {
        (void)snprintf(id, sizeof(id), "%032x", i);
        add_span(table, (cirron_text){id, 32}, TEXT(root_id), "line\r", 5 + i,
                 TEXT("{\"error\":false,\"process.pid\":1,\"gen_ai.usage.input_tokens\":2,"
                      "\"gen_ai.usage.output_tokens\":3,\"cirron.open\":4}"));
    }
    (void)snprintf(id, sizeof(id), "%032x", 1);
    for (int i = 0; i < marks; i++) {
        char mark_id[16];
        (void)snprintf(mark_id, sizeof(mark_id), "m%d", i);
        cirron_table_mark mark = {
            .id = {mark_id, strlen(mark_id)},
            .span_id = {id, 32},
            .name = TEXT("loss"),
            .as_float = 0.5,
            .ts_ns = i,
            .attrs = TEXT("{\"kind\":1,\"value\":2,\"unit\":\"x\"}"),
        };
        assert_int_equal(cirron_table_add_mark(table, &mark, 0), CIRRON_OK);
    }
    add_span(table, TEXT("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"), (cirron_text){NULL, 0},
             "cirron.session", 9, (cirron_text){NULL, 0});
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    return table;
}

/* By hand: memmem costs a sanitizer a look at all that follows, each time. */
static size_t count_of(const cirron_output *out, const char *needle) {
    const size_t len = strlen(needle);
    size_t found = 0;
    for (size_t at = 0; at + len <= out->text.len; at++) {
        found += out->text.data[at] == *needle && memcmp(out->text.data + at, needle, len) == 0;
    }
    return found;
}

enum { SPANS = 15000, MARKS = 9000 };

static void test_long_documents_come_in_pieces_of_a_megabyte(void **state) {
    cirron_table *table = make_large_table(SPANS, MARKS);
    cirron_output piece = {0}, all = {0};
    int pieces = 0;
    (void)state;
    cirron_export csv;
    cirron_export_init(&csv, table, -1);
    for (; !csv.finished; pieces++, piece.text.len = 0) {
        assert_int_equal(cirron_csv_export_next(&csv, &piece), CIRRON_OK);
        assert_in_range(piece.text.len, 1, CIRRON_EXPORT_CHUNK_BYTES + 1000);
        cirron_output_put(&all, piece.text.data, piece.text.len);
    }
    cirron_export_fini(&csv);
    assert_true(pieces > 1);
    assert_int_equal(count_of(&all, "\r\n"), 1 + SPANS + 1);
    assert_int_equal(count_of(&all, "\"line\r\""), SPANS - 1);
    all.text.len = 0;

    pieces = 0;
    cirron_export json;
    cirron_json_export_init(&json, table, -1);
    for (; !json.finished; pieces++, piece.text.len = 0) {
        assert_int_equal(cirron_json_export_next(&json, &piece), CIRRON_OK);
        assert_in_range(piece.text.len, 1, CIRRON_EXPORT_CHUNK_BYTES + 100000);
        cirron_output_put(&all, piece.text.data, piece.text.len);
    }
    cirron_export_fini(&json);
    assert_true(pieces > 1);
    assert_int_equal(count_of(&all, "{\"id\":\""), SPANS + 1 + MARKS);
    assert_int_equal(count_of(&all, "\"m1023\""), 2); /* the span names a thousand of its marks */
    assert_int_equal(count_of(&all, "\"m1024\""), 1);
    all.text.len = 0;

    pieces = 0;
    cirron_otlp_export otlp;
    assert_int_equal(cirron_otlp_export_init(&otlp, table, -1, NULL, 0), CIRRON_OK);
    for (; !otlp.base.finished; pieces++, piece.text.len = 0) {
        assert_int_equal(cirron_otlp_export_next(&otlp, &piece), CIRRON_OK);
        cirron_output_put(&all, piece.text.data, piece.text.len);
    }
    cirron_otlp_export_fini(&otlp);
    assert_true(pieces > 1);
    assert_int_equal(count_of(&all, "\"spanId\""), SPANS + 1);
    assert_int_equal(count_of(&all, "{\"resource\":"), 2);
    assert_int_equal(count_of(&all, "\"timeUnixNano\""), MARKS);
    assert_int_equal(count_of(&all, "\"status\":{\"code\":0}"), SPANS + 1);
    assert_int_equal(count_of(&all, "\"key\":\"unit\""), MARKS);
    assert_int_equal(count_of(&all, "\"key\":\"kind\""), MARKS); /* ours, not the mark's own */
    assert_int_equal(count_of(&all, "gen_ai.usage.input_tokens"), SPANS - 1);
    cirron_buffer_fini(&all.text);
    cirron_buffer_fini(&piece.text);
    cirron_table_free(table);
}

static void test_an_export_of_one_session_holds_nothing_of_another(void **state) {
    cirron_table *table = make_large_table(3, 2);
    size_t sessions;
    cirron_output out = {0};
    (void)state;
    (void)cirron_table_sessions(table, &sessions);
    assert_int_equal(sessions, 2);
    for (int64_t session = 0; session < 2; session++) { /* the newest comes first */
        cirron_export export;
        cirron_json_export_init(&export, table, session);
        assert_int_equal(cirron_json_export_next(&export, &out), CIRRON_OK);
        assert_int_equal(count_of(&out, "\"start_ns\""), session == 0 ? 1 : 3);
        assert_int_equal(count_of(&out, "\"ts_ns\""), session == 0 ? 0 : 2);
        out.text.len = 0;
        cirron_export_fini(&export);
    }
    cirron_buffer_fini(&out.text);
    cirron_table_free(table);
}

static void test_a_duration_that_no_number_holds_is_left_empty(void **state) {
    cirron_table *table = cirron_table_new();
    cirron_output out = {0};
    cirron_export export;
    (void)state;
    assert_non_null(table);
    const cirron_table_span spans[] = {
        {.id = TEXT("a"), .start_ns = INT64_MIN, .end_ns = INT64_MAX, .present = CIRRON_HAS_END},
        {.id = TEXT("b"), .start_ns = 4},
    };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cirron_table_add_span(table, &spans[i], 0), CIRRON_OK);
    }
    assert_int_equal(cirron_table_link(table), CIRRON_OK);
    cirron_export_init(&export, table, -1);
    assert_int_equal(cirron_csv_export_next(&export, &out), CIRRON_OK);
    assert_int_equal(count_of(&out, "-9223372036854775808,9223372036854775807,,,,,,,,{}\r\n"), 1);
    assert_int_equal(count_of(&out, ",4,,,,,,,,,{}\r\n"), 1);
    cirron_export_fini(&export);
    cirron_buffer_fini(&out.text);
    cirron_table_free(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv_quotes_what_needs_it_and_nothing_else),
        cmocka_unit_test(test_json_has_the_shape_of_a_batch),
        cmocka_unit_test(test_otlp_has_a_resource_a_session_and_marks_as_events),
        cmocka_unit_test(test_otlp_requests_are_whole_documents),
        cmocka_unit_test(test_otlp_values_keep_their_types),
        cmocka_unit_test(test_otlp_ids_keep_hex_digits_or_take_those_of_the_digest),
        cmocka_unit_test(test_otlp_values_nested_too_deep_are_json_text),
        cmocka_unit_test(test_spaces_between_the_parts_of_a_value_are_passed_over),
        cmocka_unit_test(test_lone_surrogates_alone_are_replaced),
        cmocka_unit_test(test_long_documents_come_in_pieces_of_a_megabyte),
        cmocka_unit_test(test_an_export_of_one_session_holds_nothing_of_another),
        cmocka_unit_test(test_a_duration_that_no_number_holds_is_left_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
