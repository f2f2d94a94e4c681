/* Open addressing over texts that lie end to end in one buffer: adding a known text
 * allocates nothing, and a new one costs no allocation of its own.
 */
#include "core/text_dict.h"

#include "core/hash.h"

enum { SLOTS_TO_KEEP = 1024 };

void cirron_text_dict_init(cirron_text_dict *dict) {
    *dict = (cirron_text_dict){.seed = cirron_hash_seed()};
}

void cirron_text_dict_fini(cirron_text_dict *dict) {
    cirron_buffer_fini(&dict->bytes);
    cirron_free(dict->ends);
    cirron_free(dict->slots);
    *dict = (cirron_text_dict){0};
}

void cirron_text_dict_reset(cirron_text_dict *dict) {
    if (dict->slot_count > SLOTS_TO_KEEP) {
        cirron_free(dict->slots);
        dict->slots = NULL;
        dict->slot_count = 0;
    } else if (dict->count != 0) {
        memset(dict->slots, 0, dict->slot_count * sizeof(*dict->slots));
    }
    dict->bytes.len = 0;
    dict->count = 0;
}

const char *cirron_text_dict_get(const cirron_text_dict *dict, uint32_t index, size_t *len) {
    uint64_t start = index == 0 ? 0 : dict->ends[index - 1];
    *len = (size_t)(dict->ends[index] - start);
    return dict->bytes.data + start;
}

static int grow_slots(cirron_text_dict *dict) {
    size_t slot_count = dict->slot_count == 0 ? 64 : dict->slot_count * 2;
    uint64_t *slots = cirron_calloc(slot_count, sizeof(*slots));
    if (slots == NULL) {
        return CIRRON_NO_MEMORY;
    }
    for (uint32_t index = 0; index < dict->count; index++) {
        size_t len;
        const char *text = cirron_text_dict_get(dict, index, &len);
        uint64_t hash = cirron_hash_text(dict->seed, text, len);
        size_t at = hash & (slot_count - 1);
        while (slots[at] != 0) {
            at = (at + 1) & (slot_count - 1);
        }
        slots[at] = (hash & ~(uint64_t)UINT32_MAX) | (index + 1u);
    }
    cirron_free(dict->slots);
    dict->slots = slots;
    dict->slot_count = slot_count;
    return CIRRON_OK;
}

static int reserve(cirron_text_dict *dict, size_t len) {
    if (dict->count >= UINT32_MAX / 2) {
        return CIRRON_NO_MEMORY;
    }
    if (dict->count == dict->cap) {
        uint32_t cap = dict->cap == 0 ? 32 : dict->cap * 2;
        uint64_t *ends = cirron_realloc(dict->ends, cap * sizeof(*ends));
        if (ends == NULL) {
            return CIRRON_NO_MEMORY;
        }
        dict->ends = ends;
        dict->cap = cap;
    }
    return cirron_buffer_reserve(&dict->bytes, len + 1); /* so that `data` is never NULL */
}

int cirron_text_dict_add(cirron_text_dict *dict, const char *text, size_t len, uint32_t *index) {
    if (dict->count >= dict->slot_count / 2) {
        int status = grow_slots(dict);
        if (status != CIRRON_OK) {
            return status;
        }
    }
    uint64_t hash = cirron_hash_text(dict->seed, text, len);
    size_t at = hash & (dict->slot_count - 1);
    for (; dict->slots[at] != 0; at = (at + 1) & (dict->slot_count - 1)) {
        if ((dict->slots[at] ^ hash) >> 32 != 0) {
            continue;
        }
        uint32_t known = (uint32_t)dict->slots[at] - 1;
        size_t known_len;
        const char *known_text = cirron_text_dict_get(dict, known, &known_len);
        if (known_len == len && memcmp(known_text, text, len) == 0) {
            *index = known;
            return CIRRON_OK;
        }
    }
    int status = reserve(dict, len);
    if (status != CIRRON_OK) {
        return status;
    }
    (void)cirron_buffer_append(&dict->bytes, text, len); /* there is room */
    dict->ends[dict->count] = dict->bytes.len;
    dict->slots[at] = (hash & ~(uint64_t)UINT32_MAX) | (dict->count + 1u);
    *index = dict->count++;
    return CIRRON_OK;
}
