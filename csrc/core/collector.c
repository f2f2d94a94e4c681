/* One drain: for each thread its marks and spans, merged by time, so that a span comes
 * right after the marks made inside it and its batch can name them.
 */
#include "core/collector.h"

#include "core/clock.h"
#include "core/memory.h"

static uint32_t snapshot_payload(const void *record) {
    return ((const cirron_snapshot_record *)record)->payload_len;
}

static int init_snapshots(cirron_collector *collector) {
    if (pthread_mutex_init(&collector->snapshots_mutex, NULL) != 0) {
        return CIRRON_NO_MEMORY;
    }
    int status = cirron_queue_init(&collector->snapshots, sizeof(cirron_snapshot_record),
                                   snapshot_payload, CIRRON_MAX_SNAPSHOTS, CIRRON_SNAPSHOT_BYTES);
    if (status != CIRRON_OK) {
        pthread_mutex_destroy(&collector->snapshots_mutex);
    }
    return status;
}

static void fini_snapshots(cirron_collector *collector) {
    cirron_queue_fini(&collector->snapshots);
    pthread_mutex_destroy(&collector->snapshots_mutex);
}

int cirron_collector_init(cirron_collector *collector, cirron_registry *registry,
                          size_t max_spans) {
    *collector = (cirron_collector){.registry = registry, .encodes = true};
    collector->outbox_end = &collector->outbox;
    cirron_id_stream_init(&collector->ids);
    if (init_snapshots(collector) != CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    if (pthread_mutex_init(&collector->mutex, NULL) != 0) {
        fini_snapshots(collector);
        return CIRRON_NO_MEMORY;
    }
    collector->names = cirron_intern_new();
    if (collector->names != NULL) {
        collector->store = cirron_store_new(collector->names, max_spans);
        collector->batch = cirron_batch_new(collector->names);
    }
    if (collector->store == NULL || collector->batch == NULL) {
        cirron_collector_fini(collector);
        return CIRRON_NO_MEMORY;
    }
    return CIRRON_OK;
}

void cirron_collector_fini(cirron_collector *collector) {
    cirron_batch_free(collector->batch);
    cirron_store_free(collector->store);
    cirron_intern_free(collector->names);
    pthread_mutex_destroy(&collector->mutex);
    fini_snapshots(collector);
}

void cirron_document_free(cirron_document *document) {
    cirron_buffer_fini(&document->text);
    cirron_free(document);
}

static void count_dropped(cirron_collector *collector, uint64_t files, uint64_t records) {
    atomic_fetch_add_explicit(&collector->files_dropped, files, memory_order_relaxed);
    atomic_fetch_add_explicit(&collector->records_dropped, records, memory_order_relaxed);
}

static void push_document(cirron_collector *collector, cirron_document *document) {
    document->next = NULL;
    *collector->outbox_end = document;
    collector->outbox_end = &document->next;
    collector->outbox_bytes += document->text.cap;
    while (collector->outbox_bytes > CIRRON_OUTBOX_BYTES && collector->outbox->next != NULL) {
        cirron_document *oldest = collector->outbox;
        collector->outbox = oldest->next;
        collector->outbox_bytes -= oldest->text.cap;
        count_dropped(collector, 1, oldest->records);
        cirron_document_free(oldest);
    }
}

static void seal_batch(cirron_collector *collector) {
    size_t records = cirron_batch_records(collector->batch);
    if (records == 0) {
        return;
    }
    cirron_document *document = cirron_calloc(1, sizeof *document);
    if (document != NULL) {
        int64_t now = cirron_epoch_ns(cirron_monotonic_ns());
        if (now <= collector->last_created_ns) {
            now = collector->last_created_ns + 1;
        }
        document->created_ns = now;
        document->batch_id = cirron_id_next(&collector->ids);
        document->records = records;
        if (cirron_batch_finish(collector->batch, &document->batch_id, now, &document->text) ==
            CIRRON_OK) {
            collector->last_created_ns = now;
            push_document(collector, document);
            return;
        }
        cirron_document_free(document);
    }
    cirron_batch_reset(collector->batch);
    count_dropped(collector, 1, records);
}

static void seal_full_batch(cirron_collector *collector) {
    if (cirron_batch_size(collector->batch) >= CIRRON_BATCH_BYTES) {
        seal_batch(collector);
    }
}

static void add_span(cirron_collector *collector, const cirron_span_record *span,
                     const char *payload) {
    (void)cirron_store_put_span(collector->store, span, payload); /* counts by itself */
    if (collector->encodes) {
        if (cirron_batch_add_span(collector->batch, span, payload) != CIRRON_OK) {
            count_dropped(collector, 0, 1);
        }
        seal_full_batch(collector);
    }
}

static void add_mark(cirron_collector *collector, const cirron_mark_record *mark,
                     const char *payload) {
    cirron_id id = cirron_id_next(&collector->ids);
    (void)cirron_store_put_mark(collector->store, mark, payload, &id); /* counts by itself */
    if (collector->encodes) {
        if (cirron_batch_add_mark(collector->batch, mark, payload, &id) != CIRRON_OK) {
            count_dropped(collector, 0, 1);
        }
        seal_full_batch(collector);
    }
}

/* Spans are claimed first: every mark made before such a span closed is then among the
 * marks claimed after it. */
static bool drain_recorder(cirron_collector *collector, cirron_recorder *recorder) {
    cirron_claim spans;
    cirron_claim marks;
    const char *span_chunk = NULL;
    const char *mark_chunk = NULL;
    bool more = cirron_queue_claim(&recorder->spans, CIRRON_SPANS_PER_PASS, &spans);
    more |= cirron_queue_claim(&recorder->marks, 2 * CIRRON_SPANS_PER_PASS, &marks);
    const cirron_span_record *span = cirron_claim_next(&spans, &span_chunk);
    const cirron_mark_record *mark = cirron_claim_next(&marks, &mark_chunk);
    while (span != NULL || mark != NULL) {
        if (mark != NULL && (span == NULL || mark->ts_ns <= span->start_ns + span->duration_ns)) {
            add_mark(collector, mark, mark_chunk + mark->payload);
            mark = cirron_claim_next(&marks, &mark_chunk);
        } else {
            add_span(collector, span, span_chunk + span->payload);
            span = cirron_claim_next(&spans, &span_chunk);
        }
    }
    cirron_claim_release(&spans);
    cirron_claim_release(&marks);
    return more;
}

static bool drain_snapshots(cirron_collector *collector) {
    cirron_claim claim;
    const char *chunk = NULL;
    bool more = cirron_queue_claim(&collector->snapshots, CIRRON_SPANS_PER_PASS, &claim);
    const cirron_snapshot_record *snapshot = cirron_claim_next(&claim, &chunk);
    for (; snapshot != NULL; snapshot = cirron_claim_next(&claim, &chunk)) {
        if (collector->encodes) {
            if (cirron_batch_add_snapshot(collector->batch, chunk + snapshot->payload,
                                          snapshot->payload_len) != CIRRON_OK) {
                count_dropped(collector, 0, 1);
            }
            seal_full_batch(collector);
        }
    }
    cirron_claim_release(&claim);
    return more;
}

void cirron_collector_record_snapshot(cirron_collector *collector, const char *json, size_t len) {
    cirron_queue *queue = &collector->snapshots;
    char *payload;
    uint32_t offset;
    pthread_mutex_lock(&collector->snapshots_mutex);
    if (len == 0 || len > CIRRON_MAX_ATTRS_BYTES) {
        atomic_fetch_add(&queue->refused, 1);
        atomic_fetch_add(&queue->dropped, 1);
    } else {
        cirron_snapshot_record *record =
            cirron_queue_reserve(queue, (uint32_t)len, &payload, &offset);
        if (record != NULL) {
            memcpy(payload, json, len);
            *record = (cirron_snapshot_record){.payload = offset, .payload_len = (uint32_t)len};
            cirron_queue_publish(queue, (uint32_t)len);
        }
    }
    pthread_mutex_unlock(&collector->snapshots_mutex);
}

void cirron_collector_settle(cirron_collector *collector) {
    pthread_mutex_lock(&collector->mutex);
    pthread_mutex_unlock(&collector->mutex);
}

bool cirron_collector_drain(cirron_collector *collector) {
    pthread_mutex_lock(&collector->mutex);
    bool more = drain_snapshots(collector);
    cirron_recorder *recorder =
        atomic_load_explicit(&collector->registry->first, memory_order_acquire);
    for (; recorder != NULL; recorder = recorder->next) {
        more |= drain_recorder(collector, recorder);
    }
    pthread_mutex_unlock(&collector->mutex);
    return more;
}

void cirron_collector_seal(cirron_collector *collector) {
    pthread_mutex_lock(&collector->mutex);
    if (collector->encodes) {
        seal_batch(collector);
    }
    pthread_mutex_unlock(&collector->mutex);
}

void cirron_collector_add_span(cirron_collector *collector, const cirron_span_record *span,
                               const char *payload) {
    add_span(collector, span, payload);
}

cirron_document *cirron_collector_take(cirron_collector *collector) {
    pthread_mutex_lock(&collector->mutex);
    cirron_document *list = collector->outbox;
    collector->outbox = NULL;
    collector->outbox_end = &collector->outbox;
    collector->outbox_bytes = 0;
    pthread_mutex_unlock(&collector->mutex);
    return list;
}
