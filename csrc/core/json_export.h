/* The table as one document in the shape of a spool batch: merged, without duplicates, and
 * strict RFC 8259 whatever the attributes were. A record a line. Marks and snapshots of
 * spans that are not in the table are in it as well, unless one session alone is exported.
 */
#ifndef CIRRON_CORE_JSON_EXPORT_H
#define CIRRON_CORE_JSON_EXPORT_H

#include "core/export.h"

/* For an export of all kinds of records: sets `total`. */
void cirron_json_export_init(cirron_export *export, const cirron_table *table, int64_t session);

/* Appends the next records. */
int cirron_json_export_next(cirron_export *export, cirron_output *out);

#endif
