/* Ids: 16 bytes of a ChaCha20 stream (RFC 8439) keyed by getrandom, one stream per
 * thread, owned by it. The key is replaced by output at every refill, so past ids
 * can't be computed from a memory image, and mixed with fresh kernel entropy when the
 * epoch moved (each flush tick) or the process forked (streams die with the parent's
 * state).
 */
#ifndef CIRRON_CORE_ID_H
#define CIRRON_CORE_ID_H

#include <string.h>

#include "core/types.h"

enum { CIRRON_ID_STREAM_BYTES = 1024 };

typedef struct cirron_id_stream {
    uint8_t bytes[CIRRON_ID_STREAM_BYTES];
    uint32_t key[8];
    uint32_t used;  /* of bytes */
    uint32_t epoch; /* of the last entropy */
} cirron_id_stream;

/* Makes every stream take fresh entropy at its next refill. */
void cirron_id_next_epoch(void);

void cirron_id_stream_init(cirron_id_stream *stream);
void cirron_id_refill(cirron_id_stream *stream);

/* The next id; never all zero (that is the "root" sentinel). */
static inline cirron_id cirron_id_next(cirron_id_stream *stream) {
    static const cirron_id zero;
    cirron_id id;
    do {
        if (stream->used == CIRRON_ID_STREAM_BYTES) {
            cirron_id_refill(stream);
        }
        memcpy(&id, stream->bytes + stream->used, sizeof id);
        stream->used += (uint32_t)sizeof id;
    } while (__builtin_expect(memcmp(&id, &zero, sizeof id) == 0, 0));
    return id;
}

static inline int cirron_id_is_zero(const cirron_id *id) {
    static const cirron_id zero;
    return memcmp(id, &zero, sizeof zero) == 0;
}

/* 32 lowercase hex digits, no terminator. */
void cirron_id_to_hex(const cirron_id *id, char hex[32]);

#endif
