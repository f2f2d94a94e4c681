/* A JSON value as the AnyValue of OTLP/JSON. */
#ifndef CIRRON_CORE_OTLP_VALUE_H
#define CIRRON_CORE_OTLP_VALUE_H

#include "core/output.h"
#include "core/span_table.h"

/* `json` is one value that cirron_attrs_read has found well-formed. Integers outside int64
 * become their digits as a string, null a value without a type; what lies deeper than 16
 * levels, which receivers may refuse, is a string of JSON. */
void cirron_otlp_value(cirron_output *out, cirron_text json);

#endif
