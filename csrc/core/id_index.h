/* Finds the row that has an id, in a column of ids that somebody else owns and that
 * stays in place meanwhile. One owner, no lock; it lives while a table is linked.
 */
#ifndef CIRRON_CORE_ID_INDEX_H
#define CIRRON_CORE_ID_INDEX_H

#include "core/hash.h"

#define CIRRON_NO_ROW UINT32_MAX

typedef struct cirron_id_index {
    const char *ids; /* borrowed; id of row 0 */
    size_t stride;   /* bytes from one row's id to the next */
    uint64_t *slots; /* owned; high half of the hash, then row + 1; 0: free */
    size_t mask;
    uint64_t seed;
} cirron_id_index;

/* Empty, with room for `rows` rows. CIRRON_OK or CIRRON_NO_MEMORY. */
int cirron_id_index_init(cirron_id_index *index, const void *ids, size_t stride, size_t rows);
void cirron_id_index_fini(cirron_id_index *index);

/* Adds the row, unless one with the same id is there; returns the row that is. */
uint32_t cirron_id_index_put(cirron_id_index *index, uint32_t row);

/* The row with this id, or CIRRON_NO_ROW. */
uint32_t cirron_id_index_find(const cirron_id_index *index, const cirron_id *id);

/* After rows moved: `moved[row]` is the new number of each row that is in the index. */
void cirron_id_index_renumber(cirron_id_index *index, const uint32_t *moved);

static inline const cirron_id *cirron_id_index_id(const cirron_id_index *index, size_t row) {
    return (const cirron_id *)(const void *)(index->ids + row * index->stride);
}

/* Fetches the slot of an id that will be asked for soon: a million random ids live in
 * no cache. */
static inline void cirron_id_index_prefetch(const cirron_id_index *index, const cirron_id *id) {
    __builtin_prefetch(&index->slots[cirron_hash_id(index->seed, id) & index->mask]);
}

#endif
