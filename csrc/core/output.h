/* Text that is made for somebody to read: a buffer that remembers whether memory ran
 * out, so that a line is written piece by piece and looked at once. One owner.
 */
#ifndef CIRRON_CORE_OUTPUT_H
#define CIRRON_CORE_OUTPUT_H

#include <string.h>

#include "core/buffer.h"

typedef struct cirron_output {
    cirron_buffer text;
    int status; /* CIRRON_NO_MEMORY once something did not fit */
} cirron_output;

static inline void cirron_output_put(cirron_output *out, const char *bytes, size_t len) {
    if (cirron_buffer_append(&out->text, bytes, len) != CIRRON_OK) {
        out->status = CIRRON_NO_MEMORY;
    }
}

static inline void cirron_output_text(cirron_output *out, const char *text) {
    cirron_output_put(out, text, strlen(text));
}

#endif
