/* Spans as CSV by RFC 4180: a header, one row a span, lines that end in CR LF, quotes only
 * where a field needs them. Absent values are empty and unquoted, empty texts are `""`.
 * Text is UTF-8 as it stands, without a byte order mark.
 */
#ifndef CIRRON_CORE_CSV_EXPORT_H
#define CIRRON_CORE_CSV_EXPORT_H

#include "core/export.h"

/* Appends the next rows. `export` is as cirron_export_init left it, or as the last call. */
int cirron_csv_export_next(cirron_export *export, cirron_output *out);

#endif
