/* From the recorders' queues, and the one of snapshots, to the trace buffer and to finished
 * batches.
 *
 * Everything here happens under the collector's mutex, which is held while memory is
 * moved and never while a file is written: a stuck disk stops nobody who reads the
 * trace. Finished batches wait in the outbox, at most CIRRON_OUTBOX_BYTES; beyond that
 * the oldest go and are counted.
 */
#ifndef CIRRON_CORE_COLLECTOR_H
#define CIRRON_CORE_COLLECTOR_H

#include "core/batch.h"
#include "core/recorder.h"
#include "core/store.h"

enum {
    CIRRON_OUTBOX_BYTES = 64 * 1024 * 1024,
    CIRRON_MAX_SNAPSHOTS = 65536, /* that wait for a drain, */
    CIRRON_SNAPSHOT_BYTES = 64 * 1024 * 1024,
};

/* A finished batch on its way to the disk. */
typedef struct cirron_document {
    struct cirron_document *next;
    cirron_buffer text;
    cirron_id batch_id;
    int64_t created_ns;
    size_t records;
} cirron_document;

typedef struct cirron_collector {
    pthread_mutex_t mutex;
    cirron_registry *registry;
    cirron_intern *names;            /* owned */
    cirron_store *store;             /* owned */
    cirron_batch *batch;             /* owned */
    cirron_id_stream ids;            /* of marks and batches */
    pthread_mutex_t snapshots_mutex; /* who adds; never held while waiting */
    cirron_queue snapshots;          /* of all threads: they are rare */
    bool encodes;                    /* false: nothing is meant for the disk */
    cirron_document *outbox;         /* oldest first */
    cirron_document **outbox_end;
    size_t outbox_bytes;
    int64_t last_created_ns;
    _Atomic uint64_t files_dropped;
    _Atomic uint64_t records_dropped;
} cirron_collector;

int cirron_collector_init(cirron_collector *collector, cirron_registry *registry, size_t max_spans);

/* Of a collector that nobody has used yet. */
void cirron_collector_fini(cirron_collector *collector);

/* One pass over the threads takes at most this many spans (and marks) of each, so that
 * the outbox can be written in between; this many passes take all that was there. */
enum {
    CIRRON_SPANS_PER_PASS = 16384,
    CIRRON_PASSES = CIRRON_SPANS_PER_THREAD / CIRRON_SPANS_PER_PASS + 1,
};

/* Waits until nobody works here: a caller that must not wait long with something else in
 * its hands (the interpreter's lock) comes here first without it. Takes the mutex. */
void cirron_collector_settle(cirron_collector *collector);

/* Takes what the threads have published; true when a pass left some. Takes the mutex. */
bool cirron_collector_drain(cirron_collector *collector);

/* Any thread: a snapshot's record, one JSON object, on its way to the disk. What there is
 * no room for, and what is empty or longer than CIRRON_MAX_ATTRS_BYTES, is counted in
 * `snapshots.dropped`. */
void cirron_collector_record_snapshot(cirron_collector *collector, const char *json, size_t len);

/* Ends the batch in the making, so that it can be written. Takes the mutex. */
void cirron_collector_seal(cirron_collector *collector);

/* Adds a span that no thread recorded (the session's root). The caller holds the mutex. */
void cirron_collector_add_span(cirron_collector *collector, const cirron_span_record *span,
                               const char *payload);

/* Takes the outbox over: a list, oldest first, or NULL. Takes the mutex. */
cirron_document *cirron_collector_take(cirron_collector *collector);
void cirron_document_free(cirron_document *document);

#endif
