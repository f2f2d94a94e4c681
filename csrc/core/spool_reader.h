/* Batch files into a table: opens, sizes and reads one, and has its JSON parsed. One
 * thread a reader, which keeps its buffers from one file to the next.
 */
#ifndef CIRRON_CORE_SPOOL_READER_H
#define CIRRON_CORE_SPOOL_READER_H

#include "core/json_reader.h"

/* Adds the rows of one file; of a file that has gone since it was listed, none.
 * CIRRON_IO leaves errno set, CIRRON_CORRUPT sets *why to a short reason, a constant.
 * After any failure the table is as before. */
int cirron_spool_read_file(cirron_json_reader *reader, const char *path, cirron_table *table,
                           const char **why);

#endif
