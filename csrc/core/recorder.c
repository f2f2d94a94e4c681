/* The registry of recorders, and the thread-local pointer into it. A pthread key's
 * destructor gives a recorder back when its thread ends.
 */
#include "core/recorder.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "core/memory.h"

_Thread_local cirron_recorder *cirron_this_recorder;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_end;
static cirron_registry *current; /* of this process; the key's destructor needs it */

static uint32_t span_payload(const void *record) {
    const cirron_span_record *span = record;
    return (span->name == CIRRON_NAME_INLINE ? span->name_len : 0) + span->attrs_len;
}

static uint32_t mark_payload(const void *record) {
    const cirron_mark_record *mark = record;
    return (mark->name == CIRRON_NAME_INLINE ? mark->name_len : 0) + mark->value_len +
           mark->attrs_len;
}

static void give_back(void *value) {
    cirron_recorder *recorder = value;
    cirron_this_recorder = NULL;
    if (recorder->generation != cirron_generation()) {
        return; /* the parent's: its registry's mutex may be held for ever */
    }
    pthread_mutex_lock(&current->mutex);
    recorder->in_use = false;
    pthread_mutex_unlock(&current->mutex);
}

static void make_key(void) {
    (void)pthread_key_create(&thread_end, give_back);
}

int cirron_registry_init(cirron_registry *registry) {
    pthread_once(&once, make_key);
    registry->first = NULL;
    current = registry;
    return pthread_mutex_init(&registry->mutex, NULL) == 0 ? CIRRON_OK : CIRRON_NO_MEMORY;
}

void cirron_registry_fini(cirron_registry *registry) {
    pthread_mutex_destroy(&registry->mutex);
}

static cirron_recorder *new_recorder(uint32_t generation) {
    cirron_recorder *recorder = cirron_calloc(1, sizeof *recorder);
    if (recorder == NULL) {
        return NULL;
    }
    if (cirron_queue_init(&recorder->spans, sizeof(cirron_span_record), span_payload,
                          CIRRON_SPANS_PER_THREAD, CIRRON_SPAN_BYTES_PER_THREAD) != CIRRON_OK) {
        cirron_free(recorder);
        return NULL;
    }
    if (cirron_queue_init(&recorder->marks, sizeof(cirron_mark_record), mark_payload,
                          CIRRON_MARKS_PER_THREAD, CIRRON_MARK_BYTES_PER_THREAD) != CIRRON_OK) {
        cirron_queue_fini(&recorder->spans);
        cirron_free(recorder);
        return NULL;
    }
    cirron_id_stream_init(&recorder->ids);
    recorder->generation = generation;
    return recorder;
}

cirron_recorder *cirron_registry_attach(cirron_registry *registry, uint32_t generation) {
    pthread_mutex_lock(&registry->mutex);
    cirron_recorder *recorder = registry->first;
    while (recorder != NULL && recorder->in_use) {
        recorder = recorder->next;
    }
    if (recorder != NULL) {
        recorder->in_use = true;
    }
    pthread_mutex_unlock(&registry->mutex);
    if (recorder == NULL) {
        recorder = new_recorder(generation);
        if (recorder == NULL) {
            return NULL;
        }
        recorder->in_use = true;
        pthread_mutex_lock(&registry->mutex);
        recorder->next = registry->first;
        registry->first = recorder;
        pthread_mutex_unlock(&registry->mutex);
    }
    recorder->thread_id = (uint64_t)syscall(SYS_gettid);
    recorder->warned_of_depth = false;
    cirron_cpu_clock_init(&recorder->cpu);
    cirron_this_recorder = recorder;
    (void)pthread_setspecific(thread_end, recorder); /* at worst it is not given back */
    return recorder;
}
