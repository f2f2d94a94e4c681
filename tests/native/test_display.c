/* How values look, and the attributes' JSON that they come from. */
#include <math.h>

#include "core/attrs_reader.h"
#include "core/display.h"
#include "test.h"

static cirron_output out;

/* What was written since the last call. */
static const char *said(void) {
    cirron_output_put(&out, "", 1);
    assert_int_equal(out.status, CIRRON_OK);
    out.text.len = 0;
    return out.text.data;
}

static int free_output(void **state) {
    (void)state;
    cirron_buffer_fini(&out.text);
    return 0;
}

static void durations_have_one_unit_and_never_round_into_the_next(void **state) {
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {
        {0, "0ns"},
        {999, "999ns"},
        {1000, "1.0us"},
        {1250, "1.2us"}, /* the nearest double decides: here a tie, to even */
        {1350, "1.4us"},
        {1150, "1.1us"},
        {66800, "66.8us"},
        {999949, "999.9us"},
        {999950, "1.0ms"},
        {42100000, "42.1ms"},
        {42150000, "42.1ms"},
        {999950000, "1.00s"},
        {1005000000, "1.00s"},
        {1234567890, "1.23s"},
        {59994999999, "59.99s"},
        {59995000000, "1m00.0s"},
        {125300000000, "2m05.3s"},
        {3599960000000, "1h00m00.0s"},
        {11112340000000, "3h05m12.3s"},
        {UINT64_MAX, "5124095h34m33.7s"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cirron_display_duration(&out, false, cases[i].ns);
        assert_string_equal(said(), cases[i].text);
    }
}

static void intervals_may_be_of_any_length_and_direction(void **state) {
    (void)state;
    cirron_display_interval(&out, 5, 2);
    assert_string_equal(said(), "-3ns");
    cirron_display_interval(&out, INT64_MAX, INT64_MIN);
    assert_string_equal(said(), "-18446744073709551615ns");
    cirron_display_interval(&out, INT64_MIN, INT64_MAX);
    assert_string_equal(said(), "5124095h34m33.7s");
}

static void doubles_have_four_decimals_or_an_exponent(void **state) {
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.68412, "0.6841"},
        {0, "0.0000"},
        {-0.0, "-0.0000"},
        {1e-3, "0.0010"},
        {3.25e-5, "3.2500e-5"},
        {1.5e20, "1.5000e20"},
        {-1e300, "-1.0000e300"},
        {5e-324, "4.9407e-324"},
        {999999999999999.9, "999999999999999.8750"},
        {1e15, "1.0000e15"},
        {NAN, "NaN"},
        {-INFINITY, "-Infinity"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cirron_display_double(&out, cases[i].value);
        assert_string_equal(said(), cases[i].text);
    }
}

static void text_keeps_what_prints_and_escapes_what_acts(void **state) {
    static const char *const cases[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"\x1b]0;x\x07[red]\xc3\xa9", "\\x1b]0;x\\x07[red]\xc3\xa9"},
        {"a\tb\nc\rd\x7f", "a\\tb\\nc\\rd\\x7f"},
        {"m\xc2\x9b", "m\\x9b"},
        {"\xe2\x80\xae\xd8\x9c\xef\xbb\xbf\xe2\x80\xa8", "\\u202e\\u061c\\ufeff\\u2028"},
        {"\xed\xa0\x80", "\\ud800"},
        {"\xf0\x9f\x98\x80\xe2\x80\x94", "\xf0\x9f\x98\x80\xe2\x80\x94"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cirron_display_text(&out, cases[i][0], strlen(cases[i][0]));
        assert_string_equal(said(), cases[i][1]);
    }
}

/* ---- attributes */

/* All members that are not nested, as `name=value;`. */
static const char *members_of(const char *json) {
    cirron_attrs_reader reader = {0};
    size_t count;
    cirron_text_dict_init(&reader.names);
    assert_int_equal(cirron_attrs_read(&reader, text_of(json), &count), CIRRON_OK);
    for (size_t i = 0; i < count; i++) {
        cirron_text name = cirron_attrs_name(&reader, i);
        cirron_text value = cirron_attrs_value(&reader, i);
        if (!cirron_attrs_is_nested(value)) {
            cirron_display_text(&out, name.data, name.len);
            cirron_output_put(&out, "=", 1);
            cirron_attrs_display(&reader, &out, value);
            cirron_output_put(&out, ";", 1);
        }
    }
    cirron_attrs_reader_fini(&reader);
    return said();
}

static void members_show_every_type(void **state) {
    (void)state;
    assert_string_equal(
        members_of("{\"n\":3,\"x\":0.25,\"ok\":true,\"no\":null,\"s\":\"two words\"}"),
        "n=3;x=0.2500;ok=true;no=null;s=two words;");
    assert_string_equal(members_of(" { \"a\" : [1,{\"b\":2}] , \"c\":{}, \"d\":-0 } "), "d=0;");
    assert_string_equal(members_of("{\"i\":123456789012345678901234567890,\"e\":1E3,\"t\":1e-5}"),
                        "i=123456789012345678901234567890;e=1000.0000;t=1.0000e-5;");
    assert_string_equal(members_of("{\"a\":NaN,\"b\":Infinity,\"c\":-Infinity,\"d\":1e999,"
                                   "\"e\":-1e999,\"f\":1e-999}"),
                        "a=NaN;b=Infinity;c=-Infinity;d=Infinity;e=-Infinity;f=0.0000;");
}

static size_t put_utf8(char text[4], uint32_t code) {
    if (code < 0x80) {
        text[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        text[0] = (char)(0xc0 | code >> 6);
        text[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    text[0] = (char)(0xe0 | code >> 12);
    text[1] = (char)(0x80 | (code >> 6 & 0x3f));
    text[2] = (char)(0x80 | (code & 0x3f));
    return 3;
}

static void just_what_acts_on_a_terminal_is_escaped(void **state) {
    (void)state;
    static const uint32_t acting[][2] = {{0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},
                                         {0x200b, 0x200b}, {0x200e, 0x200f}, {0x2028, 0x202e},
                                         {0x2060, 0x2069}, {0xd800, 0xdfff}, {0xfeff, 0xfeff}};
    cirron_output out = {0};
    for (uint32_t code = 0; code < 0x10000; code++) {
        char text[4];
        size_t len = put_utf8(text, code);
        bool acts = false;
        for (size_t i = 0; i < sizeof(acting) / sizeof(acting[0]); i++) {
            acts |= acting[i][0] <= code && code <= acting[i][1];
        }
        out.text.len = 0;
        cirron_display_text(&out, text, len);
        bool kept = out.text.len == len && memcmp(out.text.data, text, len) == 0;
        if (kept == acts && code != '\\') {
            fail_msg("U+%04x: %.*s", code, (int)out.text.len, out.text.data);
        }
    }
    cirron_buffer_fini(&out.text);
}

static void names_are_unescaped_and_the_last_of_equal_ones_counts(void **state) {
    (void)state;
    assert_string_equal(members_of("{\"a\\nb\":\"c\\r\\u202ed\",\"\\u00e9\":\"\\ud83d\\ude00\"}"),
                        "a\\nb=c\\r\\u202ed;\xc3\xa9=\xf0\x9f\x98\x80;");
    assert_string_equal(members_of("{\"a\":1,\"b\":2,\"\\u0061\":\"\\ud800\"}"), "a=\\ud800;b=2;");
}

static const char *const malformed[] = {
    "",
    "[]",
    "{",
    "}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "{\"a\":1]",
    "{\"a\":[1}",
    "{\"a\":01}",
    "{\"a\":1.}",
    "{\"a\":.5}",
    "{\"a\":1e}",
    "{\"a\":-}",
    "{\"a\":tru}",
    "{\"a\":\"\\x\"}",
    "{\"a\":\"\\u12g4\"}",
    "{\"a\":\"\n\"}",
    "{\"a\":\"",
    "{\"a\":\"\\",
    "{a:1}",
    "{\"a\":1}{",
    "{\"a\":1} x",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":\"\\u12",
};

static void malformed_attributes_hold_nothing(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        assert_string_equal(members_of(malformed[i]), "");
        cirron_attrs_write(&out, text_of(malformed[i]));
        assert_string_equal(said(), "{}");
    }
    cirron_attrs_write(&out, (cirron_text){0});
    assert_string_equal(said(), "{}");
}

static void every_prefix_of_an_object_is_refused(void **state) {
    static const char json[] = "{\"a\":[1.5e-3,\"\\ud83d\\ude00\",{\"b\":null}],\"c\":-0.5}";
    (void)state;
    for (size_t len = 0; len < sizeof(json) - 1; len++) {
        char *copy = cirron_malloc(len); /* so that a sanitizer sees what is read behind it */
        memcpy(copy, json, len);
        cirron_attrs_write(&out, (cirron_text){copy, len});
        cirron_free(copy);
        assert_string_equal(said(), "{}");
    }
}

static void attributes_are_written_strict_and_in_ascii(void **state) {
    (void)state;
    cirron_attrs_write(
        &out,
        text_of("{ \"\xc3\xa9\":[NaN,-Infinity , {} ,[]],\"b\" :\"\\u00e9\xf0\x9f\x98\x80\"}"));
    assert_string_equal(said(), "{\"\\u00e9\": [\"NaN\", \"-Infinity\", {}, []], "
                                "\"b\": \"\\u00e9\\ud83d\\ude00\"}");
    cirron_ascii_json_string(&out, "a\"\\\n\xc3\xa9", 6);
    assert_string_equal(said(), "\"a\\\"\\\\\\u000a\\u00e9\"");
}

static void brackets_without_end_cost_no_stack(void **state) {
    enum { LEVELS = 900 };
    static char json[1 << 20];
    (void)state;
    memset(json, '[', sizeof(json));
    memcpy(json, "{\"a\":", 5);
    cirron_attrs_write(&out, (cirron_text){json, sizeof(json)});
    assert_string_equal(said(), "{}");
    memset(json + 5 + LEVELS, ']', LEVELS);
    json[5 + 2 * LEVELS] = '}';
    cirron_attrs_write(&out, (cirron_text){json, 5 + 2 * LEVELS + 1});
    assert_int_equal(strlen(said()), 5 + 2 * LEVELS + 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_have_one_unit_and_never_round_into_the_next),
        cmocka_unit_test(intervals_may_be_of_any_length_and_direction),
        cmocka_unit_test(doubles_have_four_decimals_or_an_exponent),
        cmocka_unit_test(text_keeps_what_prints_and_escapes_what_acts),
        cmocka_unit_test(just_what_acts_on_a_terminal_is_escaped),
        cmocka_unit_test(members_show_every_type),
        cmocka_unit_test(names_are_unescaped_and_the_last_of_equal_ones_counts),
        cmocka_unit_test(malformed_attributes_hold_nothing),
        cmocka_unit_test(every_prefix_of_an_object_is_refused),
        cmocka_unit_test(attributes_are_written_strict_and_in_ascii),
        cmocka_unit_test(brackets_without_end_cost_no_stack),
    };
    return cmocka_run_group_tests(tests, NULL, free_output);
}
