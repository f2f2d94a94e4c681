/* Texts, each kept once and numbered from 0: the span names of a table, and those ids
 * that are no 32 hex digits. One owner, no lock, unbounded (its size follows that of
 * the files it was filled from).
 */
#ifndef CIRRON_CORE_TEXT_DICT_H
#define CIRRON_CORE_TEXT_DICT_H

#include "core/buffer.h"

typedef struct cirron_text_dict {
    cirron_buffer bytes; /* all texts end to end */
    uint64_t *ends;      /* owned; text i ends here and starts where i - 1 ends */
    uint64_t *slots;     /* owned; high half of the hash, then index + 1; 0: free */
    uint64_t seed;
    size_t slot_count; /* a power of two, or 0 */
    uint32_t count;
    uint32_t cap;
} cirron_text_dict;

void cirron_text_dict_init(cirron_text_dict *dict);
void cirron_text_dict_fini(cirron_text_dict *dict);

/* Forgets all texts and keeps a small dictionary's memory for the next ones. */
void cirron_text_dict_reset(cirron_text_dict *dict);

/* The number of the text, which is added when it is new. CIRRON_OK or
 * CIRRON_NO_MEMORY. */
int cirron_text_dict_add(cirron_text_dict *dict, const char *text, size_t len, uint32_t *index);

/* The text, borrowed until the next one is added. `index` is below `count`. */
const char *cirron_text_dict_get(const cirron_text_dict *dict, uint32_t index, size_t *len);

#endif
