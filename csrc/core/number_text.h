/* Doubles to text and back: a C face over C++17's std::to_chars and std::from_chars,
 * which are exact, quick and deaf to locales. Any thread may call.
 */
#ifndef CIRRON_CORE_NUMBER_TEXT_H
#define CIRRON_CORE_NUMBER_TEXT_H

#include <stddef.h>

enum {
    CIRRON_DOUBLE_TEXT_BYTES = 32,
    CIRRON_DOUBLE_FIXED_BYTES = 32, /* of a number below 1e15, with a few decimals */
};

#ifdef __cplusplus
extern "C" {
#endif

/* Writes the shortest text that reads back as `value`, which is finite, and returns its
 * length. No terminator. */
size_t cirron_double_text(double value, char text[CIRRON_DOUBLE_TEXT_BYTES]);

/* The same with a fixed number of decimals, at most 8, as printf's %f and %e: the first
 * for numbers below 1e15. */
size_t cirron_double_fixed(double value, int decimals, char text[CIRRON_DOUBLE_FIXED_BYTES]);
size_t cirron_double_scientific(double value, int decimals, char text[CIRRON_DOUBLE_FIXED_BYTES]);

/* The value of a number as JSON writes it; what is too large is an infinity, what is too
 * small a zero. */
double cirron_double_parse(const char *text, size_t len);

#ifdef __cplusplus
}
#endif

#endif
