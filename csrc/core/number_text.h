/* The shortest text of a double: a C face over C++17's std::to_chars, which is exact,
 * quick and deaf to locales. Any thread may call.
 */
#ifndef CIRRON_CORE_NUMBER_TEXT_H
#define CIRRON_CORE_NUMBER_TEXT_H

#include <stddef.h>

enum { CIRRON_DOUBLE_TEXT_BYTES = 32 };

#ifdef __cplusplus
extern "C" {
#endif

/* Writes the shortest text that reads back as `value`, which is finite, and returns its
 * length. No terminator. */
size_t cirron_double_text(double value, char text[CIRRON_DOUBLE_TEXT_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
