/* All files of a spool into one table, by several threads. The table comes out as if one
 * thread had read file after file.
 */
#ifndef CIRRON_CORE_SPOOL_LOADER_H
#define CIRRON_CORE_SPOOL_LOADER_H

#include "core/spool_reader.h"

/* What became of one file; see cirron_spool_read_file. */
typedef struct cirron_spool_file {
    const char *path; /* borrowed */
    const char *why;
    int status;
    int error; /* errno */
} cirron_spool_file;

typedef struct cirron_spool_loader cirron_spool_loader;

/* Threads that are of use here: the cores that this process may use, at most 8. */
unsigned cirron_spool_loader_threads(void);

/* Starts `threads` threads that fill `table`; both it and the files are the loader's until
 * it has ended. NULL when there is no memory. */
cirron_spool_loader *cirron_spool_loader_start(cirron_table *table, cirron_spool_file *files,
                                               size_t count, unsigned threads);

/* Waits up to `ns` for the last file. True: there is nothing to wait for. */
bool cirron_spool_loader_wait(cirron_spool_loader *loader, int64_t ns);

/* Stops after the files at hand and frees the loader. CIRRON_OK, or CIRRON_NO_MEMORY when
 * there was not enough for some file. */
int cirron_spool_loader_end(cirron_spool_loader *loader);

#endif
