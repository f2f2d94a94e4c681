/* Rows out of the store of the running process: the road of ci.trace() into a table.
 *
 * The caller holds the drain lock. Nothing is linked here; each function returns
 * CIRRON_OK or CIRRON_NO_MEMORY.
 */
#ifndef CIRRON_CORE_STORE_TABLE_H
#define CIRRON_CORE_STORE_TABLE_H

#include "core/span_table.h"
#include "core/store.h"

/* Adds the closed spans from sequence number `since` on, with their marks. `session`
 * keeps those opened under that session number; -1 keeps all. */
int cirron_table_from_store(cirron_table *table, const cirron_store *store,
                            const cirron_intern *names, int64_t pid, int64_t rank, uint64_t since,
                            int64_t session);

/* Adds a span that is still open, as `span` describes it (its ids are not looked at, its
 * end is taken as absent), with the marks that the store holds for its id. */
int cirron_table_add_open_span(cirron_table *table, const cirron_store *store,
                               const cirron_intern *names, const cirron_id *span_id,
                               const cirron_table_span *span);

#endif
