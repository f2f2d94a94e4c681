/* How values look to people: durations with a unit, numbers with four decimals, names
 * that can't steer a terminal. UTF-8; no locale has a say in it. Any thread.
 */
#ifndef CIRRON_CORE_DISPLAY_H
#define CIRRON_CORE_DISPLAY_H

#include <stdbool.h>

#include "core/output.h"

/* `850ns`, `66.8us`, `42.1ms`, `1.23s`, `2m05.3s` or `1h02m05.3s`. */
void cirron_display_duration(cirron_output *out, bool negative, uint64_t ns);

/* From `start_ns` to `end_ns`, which may be the earlier one. */
void cirron_display_interval(cirron_output *out, int64_t start_ns, int64_t end_ns);

/* Four decimals, or an exponent where four decimals would lose the number. */
void cirron_display_double(cirron_output *out, double value);

void cirron_display_int(cirron_output *out, int64_t value);
void cirron_display_uint(cirron_output *out, uint64_t value);

/* The text with what a terminal would act upon (control characters, line separators,
 * direction overrides, surrogates) as an escape such as \x1b. */
void cirron_display_text(cirron_output *out, const char *text, size_t len);

#endif
