/* What the targets share: an oracle's verdict, and the sanitizer's allocator. */
#ifndef CIRRON_FUZZ_FUZZ_H
#define CIRRON_FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(holds) check((holds), #holds, __LINE__)

static inline void check(int holds, const char *what, int line) {
    if (!holds) {
        fprintf(stderr, "line %d: this does not hold: %s\n", line, what);
        abort();
    }
}

static inline void use_sanitizers_memory(void) {
    cirron_memory_use(&(cirron_allocator){malloc, realloc, free});
}

#endif
