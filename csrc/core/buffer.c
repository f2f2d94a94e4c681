#include "core/buffer.h"

#include <stdint.h>

int cirron_buffer_reserve(cirron_buffer *buffer, size_t extra) {
    if (extra > SIZE_MAX / 2 - buffer->len) {
        return CIRRON_NO_MEMORY;
    }
    size_t need = buffer->len + extra;
    if (need <= buffer->cap) {
        return CIRRON_OK;
    }
    size_t cap = buffer->cap < 256 ? 256 : buffer->cap * 2;
    if (cap < need) {
        cap = need;
    }
    char *data = cirron_realloc(buffer->data, cap);
    if (data == NULL) {
        return CIRRON_NO_MEMORY;
    }
    buffer->data = data;
    buffer->cap = cap;
    return CIRRON_OK;
}

void cirron_buffer_fini(cirron_buffer *buffer) {
    cirron_free(buffer->data);
    *buffer = (cirron_buffer){0};
}
