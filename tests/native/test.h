/* cmocka, with what it wants before it, and the texts that the readers of core hand out. */
#ifndef CIRRON_NATIVE_TEST_H
#define CIRRON_NATIVE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "core/span_table.h"

/* NULL: an absent text. */
static inline cirron_text text_of(const char *text) {
    return (cirron_text){text, text == NULL ? 0 : strlen(text)};
}

static inline void assert_text_is(cirron_text text, const char *expected) {
    assert_non_null(text.data);
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.data, expected, text.len);
}

#endif
