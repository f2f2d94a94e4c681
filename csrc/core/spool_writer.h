/* The spool directory as its writer sees it: whole batch files under
 * <created_ns, 20 digits>-<batch_id, 32 hex>.json, a cap on their bytes, and
 * patience with a disk that refuses.
 *
 * One thread at a time (the drain lock). Batches wait in memory, at most
 * CIRRON_SPOOL_PENDING_BYTES, until the disk takes them; beyond that the oldest go
 * and are counted. Without a directory (no session) they wait as well. No call
 * raises, prints or blocks on anything but the file system.
 */
#ifndef CIRRON_CORE_SPOOL_WRITER_H
#define CIRRON_CORE_SPOOL_WRITER_H

#include "core/buffer.h"

typedef struct cirron_spool_writer cirron_spool_writer;

enum { CIRRON_SPOOL_PENDING_BYTES = 64 * 1024 * 1024 };

typedef struct cirron_spool_stats {
    uint64_t bytes;           /* in *.json files of the directory, running total */
    uint64_t files_dropped;   /* by the cap or for want of memory */
    uint64_t records_dropped; /* records of ours in those files */
    size_t pending;           /* batches that wait in memory */
    int last_errno;           /* why the last attempt failed; 0 after a success */
} cirron_spool_stats;

cirron_spool_writer *cirron_spool_writer_new(void);
void cirron_spool_writer_free(cirron_spool_writer *writer);

/* From now on batches go to `dir` (made when missing, parents too), which holds at
 * most max_bytes. The directory is listed once, here; a directory that can't be made
 * or read now is retried with each write. dir NULL: batches wait in memory. The writer takes
 * the block `dir` over, so that short memory can't keep it from knowing where to write. */
int cirron_spool_writer_open(cirron_spool_writer *writer, char *dir, uint64_t max_bytes);

/* Takes the bytes over (`document` comes back empty) and tries to write all that
 * waits, oldest first. CIRRON_OK when nothing waits any more, CIRRON_IO when the
 * disk refuses, CIRRON_NO_MEMORY when the batch was dropped and counted. */
int cirron_spool_writer_submit(cirron_spool_writer *writer, cirron_buffer *document,
                               int64_t created_ns, const cirron_id *batch_id, size_t records);

/* Tries again what waits. */
int cirron_spool_writer_retry(cirron_spool_writer *writer);

/* Drops what waits, and counts it. */
void cirron_spool_writer_give_up(cirron_spool_writer *writer);

cirron_spool_stats cirron_spool_writer_stats(const cirron_spool_writer *writer);

#endif
