/* A batch file's bytes into a table: accepted, or refused with a reason and without a row. */
#ifndef CIRRON_FUZZ_READ_BATCH_H
#define CIRRON_FUZZ_READ_BATCH_H

#include "core/json_reader.h"
#include "fuzz.h"

static inline int read_batch(cirron_json_reader *reader, cirron_table *table, const void *data,
                             size_t size) {
    const cirron_table_savepoint before = cirron_table_save(table);
    char *bytes = cirron_json_reader_reserve(reader, size);
    const char *why = NULL;
    if (size != 0) {
        memcpy(bytes, data, size);
    }
    int status = cirron_json_reader_read(reader, size, size, table, &why);
    if (status != CIRRON_OK) {
        const cirron_table_savepoint after = cirron_table_save(table);
        CHECK(why != NULL && memcmp(&before, &after, sizeof(before)) == 0);
    }
    return status;
}

/* The linked table of one batch, to be freed; empty where it was refused. */
static inline cirron_table *read_table(const void *data, size_t size, int *status) {
    cirron_json_reader *reader = cirron_json_reader_new();
    cirron_table *table = cirron_table_new();
    *status = read_batch(reader, table, data, size);
    CHECK(cirron_table_link(table) == CIRRON_OK);
    cirron_json_reader_free(reader);
    return table;
}

#endif
