/* JSON text: escapes, broken UTF-8, numbers that read back as they were, no locale. */
#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json_writer.h"
#include "core/number_text.h"
#include "fallible_memory.h"
#include "test.h"

#define REPLACED "\xEF\xBF\xBD"

static void assert_buffer_is(cirron_buffer *out, const char *expected) {
    assert_int_equal(out->len, strlen(expected));
    assert_memory_equal(out->data, expected, out->len);
    out->len = 0;
}

static void assert_string_is(const char *text, size_t len, const char *expected) {
    cirron_buffer out = {0};
    char *exact = malloc(len + 1); /* so that a sanitizer sees a read past the end */
    memcpy(exact, text, len);
    char *fitted = realloc(exact, len != 0 ? len : 1);
    assert_int_equal(cirron_json_string(&out, fitted, len), CIRRON_OK);
    assert_buffer_is(&out, expected);
    free(fitted);
    cirron_buffer_fini(&out);
}

static void every_control_byte_is_escaped(void **state) {
    (void)state;
    static const char *const named[32] = {
        [8] = "\\b", [9] = "\\t", [10] = "\\n", [12] = "\\f", [13] = "\\r"};
    for (int byte = 0; byte < 0x20; byte++) {
        char text[3] = {'a', (char)byte, 'z'};
        char expected[16];
        if (named[byte] != NULL) {
            snprintf(expected, sizeof expected, "\"a%sz\"", named[byte]);
        } else {
            snprintf(expected, sizeof expected, "\"a\\u%04xz\"", byte);
        }
        assert_string_is(text, sizeof text, expected);
    }
    assert_string_is("\"\\/\x7f", 4, "\"\\\"\\\\/\x7f\"");
}

static void text_without_escapes_is_copied_at_every_length(void **state) {
    (void)state;
    char text[300];
    char expected[sizeof text + 3];
    for (size_t len = 0; len < sizeof text; len++) {
        for (size_t i = 0; i < len; i++) {
            text[i] = (char)(' ' + (i * 7 + len) % 95);
            text[i] = text[i] == '"' || text[i] == '\\' ? '.' : text[i];
        }
        snprintf(expected, sizeof expected, "\"%.*s\"", (int)len, text);
        assert_string_is(text, len, expected);
    }
}

static void an_escape_is_found_at_every_place(void **state) {
    (void)state;
    char text[64];
    char expected[80];
    for (size_t len = 1; len <= sizeof text; len++) {
        for (size_t place = 0; place < len; place++) {
            memset(text, 'x', len);
            text[place] = '\n';
            snprintf(expected, sizeof expected, "\"%.*s\\n%.*s\"", (int)place, text,
                     (int)(len - place - 1), text + place + 1);
            assert_string_is(text, len, expected);
        }
    }
}

static void valid_utf8_stays_as_it_is(void **state) {
    (void)state;
    static const char *const texts[] = {"\xC2\x80",         "\xDF\xBF",         "\xE0\xA0\x80",
                                        "\xED\x9F\xBF",     "\xEE\x80\x80",     "\xEF\xBF\xBF",
                                        "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "e\xCC\x81 ok"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "\"%s\"", texts[i]);
        assert_string_is(texts[i], strlen(texts[i]), expected);
    }
}

static void bytes_that_are_not_utf8_become_the_replacement_character(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        int invalid;
    } cases[] = {
        {"\x80", 1},             /* a continuation alone */
        {"\xC0\x80", 2},         /* overlong NUL */
        {"\xC1\xBF", 2},         /* overlong */
        {"\xE0\x9F\xBF", 3},     /* overlong */
        {"\xF0\x8F\xBF\xBF", 4}, /* overlong */
        {"\xED\xA0\x80", 3},     /* a surrogate */
        {"\xED\xBF\xBF", 3},     /* a surrogate */
        {"\xF4\x90\x80\x80", 4}, /* above U+10FFFF */
        {"\xF5", 1},             /* never a lead */
        {"\xFF", 1},             /* never a lead */
        {"\xC3", 1},             /* cut short */
        {"\xE2\x82", 2},         /* cut short */
        {"\xF0\x9F\x98", 3},     /* cut short */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char expected[64] = "\"";
        for (int n = 0; n < cases[i].invalid; n++) {
            strcat(expected, REPLACED);
        }
        strcat(expected, "\"");
        assert_string_is(cases[i].bytes, strlen(cases[i].bytes), expected);
    }
    assert_string_is("a\xE2\x82\"b\xC3\xA9", 7, "\"a" REPLACED REPLACED "\\\"b\xC3\xA9\"");
}

static void assert_reads_back(cirron_buffer *out, double value) {
    out->len = 0;
    assert_int_equal(cirron_json_double(out, value), CIRRON_OK);
    assert_int_equal(cirron_buffer_append(out, "", 1), CIRRON_OK);
    char *end;
    double back = strtod(out->data, &end);
    assert_ptr_equal(end, out->data + out->len - 1);
    assert_memory_equal(&back, &value, sizeof value);
    assert_non_null(strpbrk(out->data, ".e"));
    assert_true(out->data[0] == '-' || (out->data[0] >= '0' && out->data[0] <= '9'));
}

static void a_double_reads_back_bit_for_bit(void **state) {
    (void)state;
    cirron_buffer out = {0};
    static const double known[] = {0.0,
                                   -0.0,
                                   1.0,
                                   0.1,
                                   1.0 / 3,
                                   5e-324,
                                   2.2250738585072014e-308,
                                   1e5,
                                   1e15,
                                   1e16,
                                   1e21,
                                   1e22,
                                   1e23,
                                   9007199254740993.0,
                                   1e308,
                                   1.7976931348623157e308,
                                   -123456.789};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_reads_back(&out, known[i]);
    }
    uint64_t bits = 88172645463325252u; /* xorshift */
    for (int i = 0; i < 200000; i++) {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value)) {
            assert_reads_back(&out, value);
        }
    }
    cirron_buffer_fini(&out);
}

static void a_double_is_as_short_as_it_can_be(void **state) {
    (void)state;
    cirron_buffer out = {0};
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},    {1.0, "1.0"},
                 {-0.0, "-0.0"},  {0.6931471805599453, "0.6931471805599453"},
                 {1e22, "1e+22"}, {5e-324, "5e-324"},
                 {-2.5, "-2.5"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(cirron_json_double(&out, cases[i].value), CIRRON_OK);
        assert_buffer_is(&out, cases[i].text);
    }
    cirron_buffer_fini(&out);
}

static void nan_and_the_infinities_are_strings(void **state) {
    (void)state;
    cirron_buffer out = {0};
    assert_int_equal(cirron_json_double(&out, NAN), CIRRON_OK);
    assert_buffer_is(&out, "\"NaN\"");
    assert_int_equal(cirron_json_double(&out, -NAN), CIRRON_OK);
    assert_buffer_is(&out, "\"NaN\"");
    assert_int_equal(cirron_json_double(&out, INFINITY), CIRRON_OK);
    assert_buffer_is(&out, "\"Infinity\"");
    assert_int_equal(cirron_json_double(&out, -INFINITY), CIRRON_OK);
    assert_buffer_is(&out, "\"-Infinity\"");
    cirron_buffer_fini(&out);
}

static void no_locale_has_a_say_in_numbers(void **state) {
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    const char *found = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && found == NULL; i++) {
        found = setlocale(LC_ALL, names[i]);
    }
    if (found == NULL || strcmp(localeconv()->decimal_point, ",") != 0) {
        setlocale(LC_ALL, "C");
        skip();
    }
    cirron_buffer out = {0};
    assert_int_equal(cirron_json_double(&out, 1234567.5), CIRRON_OK);
    assert_buffer_is(&out, "1234567.5");
    assert_int_equal(cirron_json_int(&out, 1234567), CIRRON_OK);
    assert_buffer_is(&out, "1234567");
    cirron_buffer_fini(&out);
    setlocale(LC_ALL, "C");
}

static void integers_are_exact_to_the_ends_of_their_range(void **state) {
    (void)state;
    cirron_buffer out = {0};
    char expected[32];
    static const int64_t edges[] = {0, 9, 10, 99, 100, 999, INT64_MAX, INT64_MIN, INT64_MIN + 1};
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        snprintf(expected, sizeof expected, "%" PRId64, edges[i]);
        assert_int_equal(cirron_json_int(&out, edges[i]), CIRRON_OK);
        assert_buffer_is(&out, expected);
    }
    for (uint64_t power = 1, i = 0; i < 20; i++, power *= 10) {
        for (uint64_t value = power - 1; value <= power + 1; value++) {
            snprintf(expected, sizeof expected, "%" PRIu64, value);
            assert_int_equal(cirron_json_uint(&out, value), CIRRON_OK);
            assert_buffer_is(&out, expected);
            snprintf(expected, sizeof expected, "%" PRId64, -(int64_t)(value / 2));
            assert_int_equal(cirron_json_int(&out, -(int64_t)(value / 2)), CIRRON_OK);
            assert_buffer_is(&out, expected);
        }
    }
    assert_int_equal(cirron_json_uint(&out, UINT64_MAX), CIRRON_OK);
    assert_buffer_is(&out, "18446744073709551615");
    cirron_buffer_fini(&out);
}

static void an_id_is_32_lowercase_hex_digits(void **state) {
    (void)state;
    cirron_buffer out = {0};
    cirron_id id = {
        {0x00, 0x01, 0x9f, 0xa0, 0xff, 0xde, 0xad, 0xbe, 0xef, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba}};
    assert_int_equal(cirron_json_id(&out, &id), CIRRON_OK);
    assert_buffer_is(&out, "\"00019fa0ffdeadbeef1032547698ba00\"");
    cirron_buffer_fini(&out);
}

static void without_memory_nothing_is_appended(void **state) {
    (void)state;
    char text[512];
    memset(text, '\n', sizeof text);
    for (size_t room = 0; room <= 300; room += 100) {
        cirron_buffer out = {0};
        assert_int_equal(cirron_buffer_reserve(&out, 256), CIRRON_OK);
        out.len = room > out.cap ? out.cap : room;
        size_t before = out.len;
        allocations_left = 0;
        int string_status = cirron_json_string(&out, text, sizeof text);
        size_t after_string = out.len;
        out.len = out.cap;
        cirron_id id = {{1}};
        int id_status = cirron_json_id(&out, &id);
        int double_status = cirron_json_double(&out, 0.5);
        int nan_status = cirron_json_double(&out, NAN);
        int int_status = cirron_json_int(&out, 7);
        allocations_left = UNLIMITED;
        assert_int_equal(string_status, CIRRON_NO_MEMORY);
        assert_int_equal(after_string, before);
        assert_int_equal(id_status, CIRRON_NO_MEMORY);
        assert_int_equal(double_status, CIRRON_NO_MEMORY);
        assert_int_equal(nan_status, CIRRON_NO_MEMORY);
        assert_int_equal(int_status, CIRRON_NO_MEMORY);
        assert_int_equal(out.len, out.cap);
        cirron_buffer_fini(&out);
    }
}

static void numbers_beyond_a_double_are_infinite_or_zero(void **state) {
    (void)state;
    static char digits[401], zeros[403] = "0.";
    memset(digits, '9', 400);
    memset(zeros + 2, '0', 400);
    zeros[401] = '1';
    const struct {
        const char *text;
        double value;
    } cases[] = {
        {"1e400", INFINITY},
        {"1E+400", INFINITY},
        {"-1e400", -INFINITY},
        {"-12.5e+400", -INFINITY},
        {"1e-400", 0.0},
        {"0.001E-400", 0.0},
        {"-1e-400", -0.0},
        {"1e99999999999999999999", INFINITY},
        {"1e-99999999999999999999", 0.0},
        {digits, INFINITY},
        {zeros, 0.0},
        {"2.5", 2.5},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        double value = cirron_double_parse(cases[i].text, strlen(cases[i].text));
        assert_true(value == cases[i].value);
        assert_int_equal(signbit(value), signbit(cases[i].value));
    }
}

int main(void) {
    use_fallible_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_control_byte_is_escaped),
        cmocka_unit_test(text_without_escapes_is_copied_at_every_length),
        cmocka_unit_test(an_escape_is_found_at_every_place),
        cmocka_unit_test(valid_utf8_stays_as_it_is),
        cmocka_unit_test(bytes_that_are_not_utf8_become_the_replacement_character),
        cmocka_unit_test(a_double_reads_back_bit_for_bit),
        cmocka_unit_test(a_double_is_as_short_as_it_can_be),
        cmocka_unit_test(nan_and_the_infinities_are_strings),
        cmocka_unit_test(no_locale_has_a_say_in_numbers),
        cmocka_unit_test(integers_are_exact_to_the_ends_of_their_range),
        cmocka_unit_test(an_id_is_32_lowercase_hex_digits),
        cmocka_unit_test(without_memory_nothing_is_appended),
        cmocka_unit_test(numbers_beyond_a_double_are_infinite_or_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
