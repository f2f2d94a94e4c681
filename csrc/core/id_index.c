/* Open addressing with linear probing, at most half full. Half of the hash stands in
 * the slot beside the row, so that a probe touches the ids only where they are equal.
 */
#include "core/id_index.h"

#include "core/memory.h"

int cirron_id_index_init(cirron_id_index *index, const void *ids, size_t stride, size_t rows) {
    size_t slot_count = 64;
    while (slot_count < rows * 2) {
        slot_count *= 2;
    }
    *index = (cirron_id_index){
        .ids = ids,
        .stride = stride,
        .slots = cirron_calloc(slot_count, sizeof(*index->slots)),
        .mask = slot_count - 1,
        .seed = cirron_hash_seed(),
    };
    return index->slots == NULL ? CIRRON_NO_MEMORY : CIRRON_OK;
}

void cirron_id_index_fini(cirron_id_index *index) {
    cirron_free(index->slots);
    *index = (cirron_id_index){0};
}

/* The slot that holds the id, or the free one where it belongs. */
static size_t find_slot(const cirron_id_index *index, const cirron_id *id, uint64_t hash) {
    size_t at = hash & index->mask;
    for (; index->slots[at] != 0; at = (at + 1) & index->mask) {
        if ((index->slots[at] ^ hash) >> 32 != 0) {
            continue;
        }
        uint32_t row = (uint32_t)index->slots[at] - 1;
        if (memcmp(cirron_id_index_id(index, row), id, sizeof(*id)) == 0) {
            break;
        }
    }
    return at;
}

uint32_t cirron_id_index_put(cirron_id_index *index, uint32_t row) {
    const cirron_id *id = cirron_id_index_id(index, row);
    uint64_t hash = cirron_hash_id(index->seed, id);
    size_t at = find_slot(index, id, hash);
    if (index->slots[at] == 0) {
        index->slots[at] = (hash & ~(uint64_t)UINT32_MAX) | (row + 1u);
        return row;
    }
    return (uint32_t)index->slots[at] - 1;
}

uint32_t cirron_id_index_find(const cirron_id_index *index, const cirron_id *id) {
    size_t at = find_slot(index, id, cirron_hash_id(index->seed, id));
    return (uint32_t)index->slots[at] - 1; /* a free slot gives CIRRON_NO_ROW */
}

void cirron_id_index_renumber(cirron_id_index *index, const uint32_t *moved) {
    for (size_t at = 0; at <= index->mask; at++) {
        uint64_t slot = index->slots[at];
        if (slot != 0) {
            uint32_t row = moved[(uint32_t)slot - 1];
            index->slots[at] = (slot & ~(uint64_t)UINT32_MAX) | (row + 1u);
        }
    }
}
