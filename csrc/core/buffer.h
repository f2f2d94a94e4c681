/* A growable run of bytes. One owner, no lock. A failed growth leaves the bytes as
 * they were and returns CIRRON_NO_MEMORY.
 */
#ifndef CIRRON_CORE_BUFFER_H
#define CIRRON_CORE_BUFFER_H

#include <string.h>

#include "core/memory.h"
#include "core/types.h"

typedef struct cirron_buffer {
    char *data; /* owned */
    size_t len;
    size_t cap;
} cirron_buffer;

/* Makes room for `extra` more bytes. */
int cirron_buffer_reserve(cirron_buffer *buffer, size_t extra);

/* Frees the bytes and empties the buffer. */
void cirron_buffer_fini(cirron_buffer *buffer);

static inline int cirron_buffer_append(cirron_buffer *buffer, const void *bytes, size_t len) {
    if (buffer->cap - buffer->len < len) {
        int status = cirron_buffer_reserve(buffer, len);
        if (status != CIRRON_OK) {
            return status;
        }
    }
    if (len != 0) {
        memcpy(buffer->data + buffer->len, bytes, len);
        buffer->len += len;
    }
    return CIRRON_OK;
}

/* Without the 0 at its end. */
static inline int cirron_buffer_append_text(cirron_buffer *buffer, const char *text) {
    return cirron_buffer_append(buffer, text, strlen(text));
}

#endif
