/* What the targets share: an oracle's verdict, the sanitizer's allocator, texts. */
#ifndef CIRRON_FUZZ_FUZZ_H
#define CIRRON_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"
#include "core/span_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(holds) check((holds), #holds, __LINE__)

static inline void check(int holds, const char *what, int line) {
    if (!holds) {
        fprintf(stderr, "line %d: this does not hold: %s\n", line, what);
        abort();
    }
}

__attribute__((constructor)) static inline void use_sanitizers_memory(void) {
    cirron_memory_use(&(cirron_allocator){malloc, realloc, free});
}

static inline cirron_text text_in(const cirron_buffer *buffer) {
    return (cirron_text){buffer->data, buffer->len};
}

static inline bool is_same_text(cirron_text a, cirron_text b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* To its last byte, for the sanitizer to see. */
static inline void read_text(cirron_text text) {
    static volatile size_t sink;
    for (size_t i = 0; i < text.len; i++) {
        sink += (unsigned char)text.data[i];
    }
}

#endif
