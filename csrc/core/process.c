/* The pointer to the state, the rebuilding in a child, and the session's root span,
 * which no thread records: it is kept here, so that a signal can close it.
 */
#include "core/process.h"

#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/sigterm.h"

cirron_session cirron_current_session = {.cpu_time = true};

/* The session's settings, kept for children; written with cirron_current_session. */
static struct {
    char *spool_dir; /* owned */
    uint64_t spool_max_bytes;
    int64_t flush_interval_ns;
    size_t trace_max_spans;
    char *attrs; /* owned */
    uint32_t attrs_len;
} settings = {.trace_max_spans = 100000};

static const char root_name[] = "cirron.session";

static cirron_process *_Atomic current;

/* Of the root: when it was closed (monotonic), or one of these. One word, since a signal
 * may close it beside another thread that does. */
enum { NO_END = 0, STILL_OPEN = -1 };
static _Atomic int64_t root_end;

static void write_closed_root(void);

/* What could not even be counted in a recorder. Not in cirron_process, for which there may
 * be no memory either. */
static struct {
    _Atomic uint64_t spans;
    _Atomic uint64_t marks;
    pid_t pid;
} lost;

static void forget_losses_of_parent(void) {
    if (lost.pid != getpid()) {
        lost.pid = getpid();
        atomic_store(&lost.spans, 0);
        atomic_store(&lost.marks, 0);
    }
}

void cirron_process_lose_span(void) {
    atomic_fetch_add(&lost.spans, 1);
}

void cirron_process_lose_mark(void) {
    atomic_fetch_add(&lost.marks, 1);
}

/* NULL where a child has none yet: for what must not build it. */
static cirron_flusher *present_flusher(void) {
    cirron_process *process = atomic_load_explicit(&current, memory_order_acquire);
    bool is_ours = process != NULL && process->generation == cirron_generation();
    return is_ours ? &process->flusher : NULL;
}

static void kick_flusher(void) {
    cirron_flusher *flusher = present_flusher();
    if (flusher != NULL) {
        cirron_flusher_kick(flusher);
    }
}

void cirron_process_before_fork(int64_t timeout_ns) {
    cirron_flusher *flusher = present_flusher();
    if (flusher != NULL) {
        (void)cirron_flusher_park(flusher, timeout_ns);
    }
}

void cirron_process_after_fork_in_parent(void) {
    cirron_flusher *flusher = present_flusher();
    if (flusher != NULL) {
        cirron_flusher_unpark(flusher);
    }
}

int cirron_process_init(void) {
    cirron_queues_on_pile_up(kick_flusher);
    return cirron_generation_init();
}

/* Done early, so that the table is never too full for it. */
static uint32_t intern_root_name(cirron_collector *collector) {
    return cirron_intern_name(collector->names, root_name, sizeof root_name - 1);
}

static int configure_flusher(cirron_flusher *flusher) {
    return cirron_flusher_configure(flusher, settings.spool_dir, settings.spool_max_bytes,
                                    settings.flush_interval_ns);
}

/* All of it, or nothing. */
static int init_parts(cirron_process *process) {
    if (cirron_registry_init(&process->registry) != CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    if (cirron_collector_init(&process->collector, &process->registry, settings.trace_max_spans) !=
        CIRRON_OK) {
        goto no_collector;
    }
    if (intern_root_name(&process->collector) == CIRRON_NAME_INLINE ||
        cirron_flusher_init(&process->flusher, &process->collector) != CIRRON_OK) {
        goto no_flusher;
    }
    if (configure_flusher(&process->flusher) == CIRRON_OK) {
        return CIRRON_OK;
    }
    cirron_flusher_fini(&process->flusher);
no_flusher:
    cirron_collector_fini(&process->collector);
no_collector:
    cirron_registry_fini(&process->registry);
    return CIRRON_NO_MEMORY;
}

static cirron_process *build(uint32_t generation) {
    cirron_process *process = cirron_calloc(1, sizeof *process);
    if (process == NULL) {
        return NULL;
    }
    process->generation = generation;
    process->pid = getpid();
    if (init_parts(process) != CIRRON_OK) {
        cirron_free(process);
        return NULL;
    }
    process->flusher.before_death = cirron_session_close_root;
    process->flusher.drained = write_closed_root;
    cirron_batch_set_process(process->collector.batch, process->pid, cirron_current_session.rank);
    return process;
}

/* In a child of a session: what the child records goes to the same spool. */
static void continue_session(cirron_process *process) {
    process->collector.encodes = settings.spool_dir != NULL;
    cirron_flusher_start(&process->flusher);
    cirron_sigterm_continue(&process->flusher);
}

static cirron_process *rebuild(void) {
    uint32_t generation = cirron_generation_claim();
    if (generation != 0) {
        forget_losses_of_parent();
        cirron_queues_forget();
        cirron_process *process = build(generation);
        atomic_store(&current, process);
        if (process == NULL) {
            cirron_generation_give_up(); /* the next record tries again */
            return NULL;
        }
        cirron_generation_publish(generation);
        if (cirron_current_session.running) {
            continue_session(process);
        }
    }
    return atomic_load(&current);
}

cirron_process *cirron_process_get(void) {
    if (__builtin_expect(cirron_generation() == 0 || cirron_generation() == UINT32_MAX, 0)) {
        return rebuild();
    }
    return atomic_load_explicit(&current, memory_order_acquire);
}

cirron_recorder *cirron_recorder_attach(void) {
    cirron_process *process = cirron_process_get();
    return process != NULL ? cirron_registry_attach(&process->registry, process->generation) : NULL;
}

static cirron_span_record root_record(void) {
    const cirron_session *session = &cirron_current_session;
    return (cirron_span_record){.id = session->id,
                                .start_ns = session->start_ns,
                                .thread_id = session->thread_id,
                                .attrs_len = settings.attrs_len,
                                .session = session->number,
                                .flags = CIRRON_SPAN_SESSION};
}

static char *copy_bytes(const char *bytes, size_t len) {
    char *copy = cirron_malloc(len + 1);
    if (copy != NULL) {
        memcpy(copy, bytes, len);
        copy[len] = '\0';
    }
    return copy;
}

static int keep_settings(const cirron_session_config *config) {
    char *attrs = copy_bytes(config->attrs, config->attrs_len);
    char *dir =
        config->spool_dir != NULL ? copy_bytes(config->spool_dir, strlen(config->spool_dir)) : NULL;
    if (attrs == NULL || (config->spool_dir != NULL && dir == NULL)) {
        cirron_free(attrs);
        cirron_free(dir);
        return CIRRON_NO_MEMORY;
    }
    char *old_attrs = settings.attrs; /* freed last: a fork made in C may come in between */
    char *old_dir = settings.spool_dir;
    settings.attrs = attrs;
    settings.attrs_len = (uint32_t)config->attrs_len;
    settings.spool_dir = dir;
    settings.spool_max_bytes = config->spool_max_bytes;
    settings.flush_interval_ns = config->flush_interval_ns;
    settings.trace_max_spans = config->trace_max_spans;
    cirron_free(old_attrs);
    cirron_free(old_dir);
    return CIRRON_OK;
}

/* Under the collector's mutex. */
static void write_root(cirron_process *process, uint32_t flags, int64_t duration_ns) {
    cirron_collector *collector = &process->collector;
    cirron_span_record root = root_record();
    root.name = intern_root_name(collector);
    root.flags |= flags;
    root.duration_ns = duration_ns;
    root.overhead_ns = atomic_load(&process->root_overhead_ns);
    cirron_collector_add_span(collector, &root, settings.attrs);
}

static void free_documents(cirron_document *list) {
    while (list != NULL) {
        cirron_document *next = list->next;
        cirron_document_free(list);
        list = next;
    }
}

int cirron_session_start(const cirron_session_config *config) {
    cirron_process *process = cirron_process_get();
    cirron_recorder *recorder = cirron_recorder_get();
    if (process == NULL || recorder == NULL) {
        return CIRRON_NO_MEMORY;
    }
    write_closed_root(); /* of a session whose stop ran out of time */
    if (keep_settings(config) != CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    cirron_collector *collector = &process->collector;
    pthread_mutex_lock(&collector->mutex);
    collector->encodes = config->spool_dir != NULL;
    int status = cirron_store_set_max_spans(collector->store, config->trace_max_spans);
    cirron_batch_set_process(collector->batch, process->pid, config->rank);
    if (!collector->encodes) {
        cirron_batch_reset(collector->batch);
    }
    pthread_mutex_unlock(&collector->mutex);
    if (!collector->encodes) {
        free_documents(cirron_collector_take(collector));
    }
    if (status == CIRRON_OK) {
        status = configure_flusher(&process->flusher);
    }
    if (status != CIRRON_OK) {
        return status;
    }
    cirron_flusher_start(&process->flusher);
    cirron_session *session = &cirron_current_session;
    int64_t now = cirron_monotonic_ns();
    pthread_mutex_lock(&collector->mutex); /* under which others read the session */
    *session = (cirron_session){.id = cirron_id_next(&recorder->ids),
                                .number = session->number + 1,
                                .generation = process->generation,
                                .running = true,
                                .cpu_time = config->cpu_time,
                                .started_monotonic_ns = now,
                                .start_ns = cirron_epoch_ns(now),
                                .rank = config->rank,
                                .thread_id = recorder->thread_id};
    atomic_store(&process->root_overhead_ns, 0);
    write_root(process, CIRRON_SPAN_OPEN, 0);
    atomic_store(&root_end, STILL_OPEN);
    pthread_mutex_unlock(&collector->mutex);
    return CIRRON_OK;
}

const char *cirron_session_attrs(size_t *len) {
    *len = settings.attrs_len;
    return settings.attrs != NULL ? settings.attrs : "";
}

const char *cirron_session_spool_dir(void) {
    return settings.spool_dir;
}

void cirron_session_close_root(void) {
    int64_t end = STILL_OPEN;
    if (cirron_current_session.generation == cirron_generation()) {
        (void)atomic_compare_exchange_strong(&root_end, &end, cirron_monotonic_ns());
    }
}

/* After a drain: the root's end follows what was recorded in the session. The mutex keeps
 * the next session from starting in the middle of it. */
static void write_closed_root(void) {
    cirron_process *process = atomic_load(&current);
    pthread_mutex_lock(&process->collector.mutex);
    int64_t end = atomic_load(&root_end);
    if (end != STILL_OPEN && end != NO_END) {
        atomic_store(&root_end, NO_END);
        if (process->generation == cirron_current_session.generation) {
            write_root(process, 0, end - cirron_current_session.started_monotonic_ns);
        }
    }
    pthread_mutex_unlock(&process->collector.mutex);
}

bool cirron_session_end(int64_t timeout_ns) {
    cirron_process *process = cirron_process_get();
    if (process == NULL) {
        return true;
    }
    cirron_session_close_root();
    cirron_current_session.running = false;
    bool done = cirron_flusher_stop(&process->flusher, timeout_ns);
    pthread_mutex_lock(&process->collector.mutex);
    process->collector.encodes = true; /* kept for the session that may follow */
    pthread_mutex_unlock(&process->collector.mutex);
    return done;
}

void cirron_process_count(cirron_process *process, cirron_counters *counters) {
    uint64_t spans_lost = atomic_load(&lost.spans);
    uint64_t marks_lost = atomic_load(&lost.marks);
    if (process == NULL) {
        *counters = (cirron_counters){.spans = spans_lost,
                                      .marks = marks_lost,
                                      .spans_dropped = spans_lost,
                                      .marks_dropped = marks_lost};
        return;
    }
    cirron_flusher *flusher = &process->flusher;
    cirron_collector *collector = &process->collector;
    uint64_t too_deep = atomic_load(&process->spans_too_deep);
    *counters = (cirron_counters){
        .spans = spans_lost,
        .marks = marks_lost,
        .snapshots =
            atomic_load(&collector->snapshots.head) + atomic_load(&collector->snapshots.refused),
        .snapshots_dropped = atomic_load(&collector->snapshots.dropped),
        .spans_dropped = spans_lost + too_deep,
        .marks_dropped = marks_lost,
        .spans_too_deep = too_deep,
        .files_dropped =
            atomic_load(&collector->files_dropped) + atomic_load(&flusher->files_dropped),
        .records_dropped =
            atomic_load(&collector->records_dropped) + atomic_load(&flusher->records_dropped),
        .spool_bytes = atomic_load(&flusher->spool_bytes),
        .latency_ns = atomic_load(&flusher->latency_ns),
        .pending = atomic_load(&flusher->pending),
        .disk_errno = atomic_load(&flusher->disk_errno),
    };
    cirron_recorder *recorder = atomic_load(&process->registry.first);
    for (; recorder != NULL; recorder = recorder->next) {
        counters->spans +=
            atomic_load(&recorder->spans.head) + atomic_load(&recorder->spans.refused);
        counters->marks +=
            atomic_load(&recorder->marks.head) + atomic_load(&recorder->marks.refused);
        counters->spans_dropped += atomic_load(&recorder->spans.dropped);
        counters->marks_dropped += atomic_load(&recorder->marks.dropped);
    }
    pthread_mutex_lock(&collector->mutex);
    counters->evicted = cirron_store_evicted(collector->store);
    pthread_mutex_unlock(&collector->mutex);
    pthread_mutex_lock(&flusher->mutex);
    counters->flusher_running = flusher->running;
    pthread_mutex_unlock(&flusher->mutex);
}
