/* libFuzzer target: the JSON of attributes, whatever it holds. What is written of it is
 * strict, and writing that once more changes nothing.
 */
#include "core/attrs_reader.h"
#include "fuzz.h"
#include "json_check.h"

typedef void (*writer)(cirron_output *out, cirron_text json);

static void check_writer(writer write, cirron_text json) {
    cirron_output once = {0};
    cirron_output twice = {0};
    write(&once, json);
    CHECK(once.status == CIRRON_OK && json_is_strict(once.text.data, once.text.len));
    for (size_t i = 0; i < once.text.len; i++) {
        CHECK((unsigned char)once.text.data[i] < 0x80);
    }
    write(&twice, text_in(&once.text));
    CHECK(is_same_text(text_in(&twice.text), text_in(&once.text)));
    cirron_buffer_fini(&once.text);
    cirron_buffer_fini(&twice.text);
}

static void check_members(cirron_text json) {
    cirron_attrs_reader reader = {0};
    cirron_output shown = {0};
    size_t count;
    CHECK(cirron_attrs_read(&reader, json, &count) == CIRRON_OK);
    for (size_t i = 0; i < count; i++) {
        cirron_text name = cirron_attrs_name(&reader, i);
        cirron_text value = cirron_attrs_value(&reader, i);
        CHECK(name.len == 0 || name.data != NULL);
        CHECK(value.data >= json.data && value.data + value.len <= json.data + json.len);
        if (!cirron_attrs_is_nested(value)) {
            cirron_attrs_display(&reader, &shown, value);
        }
        check_writer(cirron_attrs_write_value, value);
    }
    CHECK(shown.status == CIRRON_OK);
    cirron_buffer_fini(&shown.text);
    cirron_attrs_reader_fini(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = malloc(size + 1); /* readable to its end, and no further */
    if (size != 0) {
        memcpy(copy, data, size);
    }
    cirron_text json = {copy, size};
    check_writer(cirron_attrs_write, json);
    check_writer(cirron_attrs_write_value, json);
    check_members(json);
    free(copy);
    return 0;
}
