/* Code points out of and into UTF-8. Readers of text that was checked elsewhere: a byte
 * that is none of a sequence reads as U+FFFD, a surrogate as itself.
 */
#ifndef CIRRON_CORE_UTF8_H
#define CIRRON_CORE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The code point at `text`, which has `len` bytes, at least 1; returns its length. */
static inline size_t cirron_utf8_decode(const char *text, size_t len, uint32_t *code) {
    const unsigned char *byte = (const unsigned char *)text;
    size_t need = byte[0] < 0x80 ? 1 : byte[0] < 0xe0 ? 2 : byte[0] < 0xf0 ? 3 : 4;
    *code = byte[0];
    if (need == 1) {
        return 1;
    }
    if (byte[0] < 0xc2 || byte[0] > 0xf4 || need > len) {
        *code = 0xfffd;
        return 1;
    }
    *code &= 0x7fu >> need;
    for (size_t i = 1; i < need; i++) {
        if ((byte[i] & 0xc0) != 0x80) {
            *code = 0xfffd;
            return 1;
        }
        *code = *code << 6 | (byte[i] & 0x3fu);
    }
    return need;
}

/* Writes a code point of at most 0x1fffff, up to 4 bytes; returns the end. */
static inline char *cirron_utf8_encode(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *out++ = (char)(0xe0 | code >> 12);
        } else {
            *out++ = (char)(0xf0 | code >> 18);
            *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        }
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
    }
    *out++ = (char)(0x80 | (code & 0x3f));
    return out;
}

#endif
