/* The text is known to be well-formed, so its first byte tells what a value is and nothing
 * is checked twice. No recursion: of a container only its kind is remembered.
 */
#include "core/otlp_value.h"

#include "core/export.h"
#include "core/json_scalar.h"
#include "core/json_writer.h"
#include "core/number_text.h"

enum { MAX_LEVELS = 16 };

typedef struct walk {
    const char *at, *end;
    cirron_output *out;
    size_t level;
    bool is_object[MAX_LEVELS];
} walk;

static void skip_space(walk *in) {
    while (in->at < in->end &&
           (*in->at == ' ' || *in->at == '\n' || *in->at == '\r' || *in->at == '\t')) {
        in->at++;
    }
}

/* The end of the string that starts at `at`. */
static const char *string_end(const char *at) {
    for (at++; *at != '"'; at++) {
        at += *at == '\\';
    }
    return at + 1;
}

static const char *container_end(const char *at) {
    size_t level = 0;
    do {
        if (*at == '"') {
            at = string_end(at);
            continue;
        }
        level += *at == '{' || *at == '[';
        level -= *at == '}' || *at == ']';
        at++;
    } while (level != 0);
    return at;
}

/* A string as it stands, quotes included. */
static void put_string(walk *in) {
    const char *first = in->at;
    size_t before = in->out->text.len;
    in->at = string_end(first);
    cirron_output_put(in->out, first, (size_t)(in->at - first));
    cirron_export_mend_surrogates(in->out->text.data + before, in->out->text.len - before);
}

static void put_json_text(walk *in) {
    const char *first = in->at;
    in->at = container_end(first);
    cirron_output_text(in->out, "{\"stringValue\":");
    if (cirron_json_string(&in->out->text, first, (size_t)(in->at - first)) != CIRRON_OK) {
        in->out->status = CIRRON_NO_MEMORY;
    }
    cirron_output_put(in->out, "}", 1);
}

static void put_double(walk *in, double value) {
    cirron_output_text(in->out, "{\"doubleValue\":");
    if (cirron_json_double(&in->out->text, value) != CIRRON_OK) {
        in->out->status = CIRRON_NO_MEMORY;
    }
    cirron_output_put(in->out, "}", 1);
}

static void put_number(walk *in) {
    const char *first = in->at;
    bool real = false;
    int64_t value;
    bool whole;
    while (in->at < in->end && memchr("+-.0123456789eE", *in->at, 15) != NULL) {
        real |= *in->at == '.' || *in->at == 'e' || *in->at == 'E';
        in->at++;
    }
    size_t len = (size_t)(in->at - first);
    if (real) {
        put_double(in, cirron_double_parse(first, len));
        return;
    }
    bool fits = cirron_json_decimal(first, len, &value, &whole) && whole;
    cirron_output_text(in->out, fits ? "{\"intValue\":\"" : "{\"stringValue\":\"");
    cirron_output_put(in->out, first, len);
    cirron_output_text(in->out, "\"}");
}

static void put_word(walk *in) {
    static const struct {
        const char *word, *value;
    } words[] = {
        {"true", "{\"boolValue\":true}"},
        {"false", "{\"boolValue\":false}"},
        {"null", "{}"},
        {"NaN", "{\"doubleValue\":\"NaN\"}"},
        {"Infinity", "{\"doubleValue\":\"Infinity\"}"},
        {"-Infinity", "{\"doubleValue\":\"-Infinity\"}"},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t len = strlen(words[i].word);
        if ((size_t)(in->end - in->at) >= len && memcmp(in->at, words[i].word, len) == 0) {
            cirron_output_text(in->out, words[i].value);
            in->at += len;
            return;
        }
    }
    put_number(in);
}

/* A member's name, up to where its value starts. */
static void put_name(walk *in) {
    skip_space(in);
    cirron_output_text(in->out, "{\"key\":");
    put_string(in);
    cirron_output_text(in->out, ",\"value\":");
    skip_space(in);
    in->at++; /* the colon */
}

/* What a value closes, up to where the next one starts. */
static void put_ends(walk *in) {
    while (in->level != 0) {
        bool object = in->is_object[in->level - 1];
        skip_space(in);
        if (object) {
            cirron_output_put(in->out, "}", 1); /* the member */
        }
        if (*in->at++ == ',') {
            cirron_output_put(in->out, ",", 1);
            if (object) {
                put_name(in);
            }
            return;
        }
        cirron_output_text(in->out, "]}}");
        in->level--;
    }
}

void cirron_otlp_value(cirron_output *out, cirron_text json) {
    walk in = {.at = json.data, .end = json.data + json.len, .out = out};
    do {
        skip_space(&in);
        bool object = *in.at == '{';
        if (*in.at == '"') {
            cirron_output_text(out, "{\"stringValue\":");
            put_string(&in);
            cirron_output_put(out, "}", 1);
        } else if (!object && *in.at != '[') {
            put_word(&in);
        } else if (in.level == MAX_LEVELS) {
            put_json_text(&in);
        } else {
            cirron_output_text(out, object ? "{\"kvlistValue\":{\"values\":["
                                           : "{\"arrayValue\":{\"values\":[");
            in.at++;
            skip_space(&in);
            if (*in.at != (object ? '}' : ']')) {
                in.is_object[in.level++] = object;
                if (object) {
                    put_name(&in);
                }
                continue;
            }
            in.at++;
            cirron_output_text(out, "]}}");
        }
        put_ends(&in);
    } while (in.level != 0 && out->status == CIRRON_OK);
}
