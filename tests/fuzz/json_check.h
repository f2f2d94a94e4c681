/* An oracle: whether bytes are one JSON document by RFC 8259, in UTF-8. Written apart from
 * everything in core, so that it does not share its mistakes. */
#ifndef CIRRON_FUZZ_JSON_CHECK_H
#define CIRRON_FUZZ_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct json_text {
    const unsigned char *at, *end;
} json_text;

static bool json_take(json_text *text, unsigned char byte) {
    if (text->at == text->end || *text->at != byte) {
        return false;
    }
    text->at++;
    return true;
}

static void json_skip_space(json_text *text) {
    while (text->at != text->end && strchr(" \t\r\n", *text->at) != NULL && *text->at != 0) {
        text->at++;
    }
}

static size_t json_digits(json_text *text) {
    const unsigned char *before = text->at;
    while (text->at != text->end && *text->at >= '0' && *text->at <= '9') {
        text->at++;
    }
    return (size_t)(text->at - before);
}

static bool json_number(json_text *text) {
    (void)json_take(text, '-');
    const unsigned char *first = text->at;
    size_t digits = json_digits(text);
    if (digits == 0 || (digits > 1 && *first == '0') ||
        (json_take(text, '.') && json_digits(text) == 0)) {
        return false;
    }
    if (json_take(text, 'e') || json_take(text, 'E')) {
        (void)(json_take(text, '+') || json_take(text, '-'));
        return json_digits(text) != 0;
    }
    return true;
}

/* One character above ASCII, by the table of RFC 3629. */
static bool json_multibyte(json_text *text) {
    static const struct {
        unsigned char lead[2], second[2];
        size_t rest;
    } forms[] = {
        {{0xC2, 0xDF}, {0x80, 0xBF}, 1}, {{0xE0, 0xE0}, {0xA0, 0xBF}, 2},
        {{0xE1, 0xEC}, {0x80, 0xBF}, 2}, {{0xED, 0xED}, {0x80, 0x9F}, 2},
        {{0xEE, 0xEF}, {0x80, 0xBF}, 2}, {{0xF0, 0xF0}, {0x90, 0xBF}, 3},
        {{0xF1, 0xF3}, {0x80, 0xBF}, 3}, {{0xF4, 0xF4}, {0x80, 0x8F}, 3},
    };
    const unsigned char *at = text->at;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (*at < forms[i].lead[0] || *at > forms[i].lead[1]) {
            continue;
        }
        if ((size_t)(text->end - at) <= forms[i].rest || at[1] < forms[i].second[0] ||
            at[1] > forms[i].second[1]) {
            return false;
        }
        for (size_t j = 2; j <= forms[i].rest; j++) {
            if (at[j] < 0x80 || at[j] > 0xBF) {
                return false;
            }
        }
        text->at += forms[i].rest + 1;
        return true;
    }
    return false;
}

static bool json_string(json_text *text) {
    if (!json_take(text, '"')) {
        return false;
    }
    while (text->at != text->end && *text->at != '"') {
        if (*text->at >= 0x80) {
            if (!json_multibyte(text)) {
                return false;
            }
        } else if (*text->at < 0x20) {
            return false;
        } else if (*text->at++ == '\\') {
            if (text->at == text->end || *text->at == 0 ||
                strchr("\"\\/bfnrtu", *text->at) == NULL) {
                return false;
            }
            for (int i = *text->at++ == 'u' ? 4 : 0; i > 0; i--, text->at++) {
                if (text->at == text->end || *text->at == 0 ||
                    strchr("0123456789abcdefABCDEF", *text->at) == NULL) {
                    return false;
                }
            }
        }
    }
    return json_take(text, '"');
}

static bool json_scalar(json_text *text) {
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(text->end - text->at) >= len && memcmp(text->at, words[i], len) == 0) {
            text->at += len;
            return true;
        }
    }
    return text->at != text->end && *text->at == '"' ? json_string(text) : json_number(text);
}

/* A key and its colon, where an object is open. */
static bool json_key(json_text *text, char open) {
    json_skip_space(text);
    if (open != '{') {
        return true;
    }
    bool is_key = json_string(text);
    json_skip_space(text);
    return is_key && json_take(text, ':');
}

/* The values that can still be closed, innermost last, are kept in `open`. */
static bool json_document(json_text *text, char *open) {
    size_t depth = 0;
    for (;;) {
        json_skip_space(text);
        bool began = json_take(text, '{') || json_take(text, '[');
        if (began) {
            open[depth++] = (char)text->at[-1];
            json_skip_space(text);
        } else if (!json_scalar(text)) {
            return false;
        }
        bool is_empty = began;
        for (;; is_empty = false) {
            json_skip_space(text);
            if (depth == 0) {
                return text->at == text->end;
            }
            if (!json_take(text, open[depth - 1] == '{' ? '}' : ']')) {
                break;
            }
            depth--;
        }
        if ((!is_empty && !json_take(text, ',')) || !json_key(text, open[depth - 1])) {
            return false;
        }
    }
}

static bool json_is_strict(const char *data, size_t len) {
    json_text text = {(const unsigned char *)data, (const unsigned char *)data + len};
    char *open = malloc(len + 1);
    bool strict = open != NULL && json_document(&text, open);
    free(open);
    return strict;
}

#endif
