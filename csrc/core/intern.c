/* Names in segments that never move. A lookup goes through an open-addressing table of
 * ids under the mutex; a reader with an id needs neither.
 */
#include "core/intern.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/json_writer.h"

enum {
    SEGMENT_NAMES = 1024,
    SEGMENTS = CIRRON_INTERN_MAX_NAMES / SEGMENT_NAMES,
    FIRST_SLOTS = 256,
};

struct cirron_intern {
    pthread_mutex_t mutex;
    cirron_name *_Atomic segments[SEGMENTS]; /* owned */
    uint32_t count;
    uint32_t slot_count; /* a power of two */
    uint32_t *slots;     /* id + 1, or 0 */
    size_t bytes;
};

cirron_intern *cirron_intern_new(void) {
    cirron_intern *table = cirron_calloc(1, sizeof *table);
    if (table == NULL) {
        return NULL;
    }
    table->slot_count = FIRST_SLOTS;
    table->slots = cirron_calloc(FIRST_SLOTS, sizeof *table->slots);
    if (table->slots == NULL || pthread_mutex_init(&table->mutex, NULL) != 0) {
        cirron_free(table->slots);
        cirron_free(table);
        return NULL;
    }
    return table;
}

void cirron_intern_free(cirron_intern *table) {
    if (table == NULL) {
        return;
    }
    for (uint32_t id = 0; id < table->count; id++) {
        cirron_free((char *)cirron_intern_get(table, id).text);
    }
    for (size_t i = 0; i < SEGMENTS; i++) {
        cirron_free(table->segments[i]);
    }
    cirron_free(table->slots);
    pthread_mutex_destroy(&table->mutex);
    cirron_free(table);
}

cirron_name cirron_intern_get(const cirron_intern *table, uint32_t id) {
    const cirron_name *segment =
        atomic_load_explicit(&table->segments[id / SEGMENT_NAMES], memory_order_acquire);
    return segment[id % SEGMENT_NAMES];
}

/* FNV-1a. */
static uint32_t hash_text(const char *text, size_t len) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    }
    return hash ^ (hash >> 15);
}

/* The slot that holds the name, or the empty one where it belongs. */
static uint32_t *find_slot(const cirron_intern *table, const char *text, size_t len) {
    uint32_t mask = table->slot_count - 1;
    for (uint32_t i = hash_text(text, len) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &table->slots[i];
        if (*slot == 0) {
            return slot;
        }
        cirron_name name = cirron_intern_get(table, *slot - 1);
        if (name.text_len == len && memcmp(name.text, text, len) == 0) {
            return slot;
        }
    }
}

static int grow_slots(cirron_intern *table) {
    uint32_t *before = table->slots;
    uint32_t *slots = cirron_calloc((size_t)table->slot_count * 2, sizeof *slots);
    if (slots == NULL) {
        return CIRRON_NO_MEMORY;
    }
    table->slots = slots;
    table->slot_count *= 2;
    for (uint32_t id = 0; id < table->count; id++) {
        cirron_name name = cirron_intern_get(table, id);
        *find_slot(table, name.text, name.text_len) = id + 1;
    }
    cirron_free(before);
    return CIRRON_OK;
}

/* Raw text and JSON in one block. */
static int copy_name(const char *text, size_t len, cirron_name *name) {
    cirron_buffer block = {0};
    if (cirron_buffer_append(&block, text, len) != CIRRON_OK ||
        cirron_json_string(&block, text, len) != CIRRON_OK) {
        cirron_buffer_fini(&block);
        return CIRRON_NO_MEMORY;
    }
    char *fitted = cirron_realloc(block.data, block.len); /* most names are short */
    char *data = fitted != NULL ? fitted : block.data;
    *name = (cirron_name){data, data + len, (uint32_t)len, (uint32_t)(block.len - len)};
    return CIRRON_OK;
}

static uint32_t add_name(cirron_intern *table, const char *text, size_t len) {
    cirron_name *segment = table->segments[table->count / SEGMENT_NAMES];
    cirron_name name;
    if (segment == NULL) {
        segment = cirron_calloc(SEGMENT_NAMES, sizeof *segment);
        if (segment == NULL) {
            return CIRRON_NAME_INLINE;
        }
        atomic_store_explicit(&table->segments[table->count / SEGMENT_NAMES], segment,
                              memory_order_release);
    }
    if ((table->count + 1) * 2 > table->slot_count && grow_slots(table) != CIRRON_OK) {
        return CIRRON_NAME_INLINE;
    }
    if (copy_name(text, len, &name) != CIRRON_OK) {
        return CIRRON_NAME_INLINE;
    }
    segment[table->count % SEGMENT_NAMES] = name;
    table->bytes += name.text_len + name.json_len;
    *find_slot(table, text, len) = table->count + 1;
    return table->count++;
}

uint32_t cirron_intern_name(cirron_intern *table, const char *text, size_t len) {
    if (len > CIRRON_INTERN_MAX_NAME) {
        return CIRRON_NAME_INLINE;
    }
    pthread_mutex_lock(&table->mutex);
    uint32_t slot = *find_slot(table, text, len);
    uint32_t id = CIRRON_NAME_INLINE;
    if (slot != 0) {
        id = slot - 1;
    } else if (table->count < CIRRON_INTERN_MAX_NAMES && table->bytes < CIRRON_INTERN_MAX_BYTES) {
        id = add_name(table, text, len);
    }
    pthread_mutex_unlock(&table->mutex);
    return id;
}
