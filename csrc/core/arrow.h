/* The table for other libraries, without a copy where its columns already lie as Arrow
 * wants them: a stream of record batches by the Arrow C data and C stream interfaces.
 *
 * Everything handed out, down to the single column of a batch, holds on to the table on
 * its own account, so it may outlive the table's owner and be released by any thread.
 * What one stream hands out must not be asked of it by two threads at once.
 */
#ifndef CIRRON_CORE_ARROW_H
#define CIRRON_CORE_ARROW_H

#include "core/span_table.h"

/* The interfaces, as https://arrow.apache.org/docs/format/CDataInterface.html and
 * CStreamInterface.html define them; guarded by the names that the specification gives,
 * since another header may bring the same. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *schema);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *array);
    void *private_data;
};

#endif

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *stream, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *stream, struct ArrowArray *out);
    const char *(*get_last_error)(struct ArrowArrayStream *stream);
    void (*release)(struct ArrowArrayStream *stream);
    void *private_data;
};

#endif

enum cirron_arrow_kind { CIRRON_ARROW_SPANS, CIRRON_ARROW_MARKS, CIRRON_ARROW_SNAPSHOTS };

/* Which rows of a linked table: all of a kind, or those of one session and of one rank
 * (of a mark or snapshot: its span's). */
typedef struct cirron_arrow_rows {
    enum cirron_arrow_kind kind;
    bool by_session, by_rank;
    int64_t session; /* a number in cirron_table_sessions; -1: those of no session */
    int64_t rank;
    bool rank_present; /* false: those without a rank */
} cirron_arrow_rows;

enum {
    CIRRON_ARROW_BATCH_ROWS = 128 * 1024,
    CIRRON_ARROW_COLUMN_BYTES = 64 << 20, /* more text makes a batch shorter */
};

size_t cirron_arrow_count(const cirron_table *table, const cirron_arrow_rows *rows);

/* Makes a stream of batches of at most CIRRON_ARROW_BATCH_ROWS rows, which its owner
 * releases. CIRRON_OK or CIRRON_NO_MEMORY. */
int cirron_arrow_stream(cirron_table *table, const cirron_arrow_rows *rows,
                        struct ArrowArrayStream *stream);

#endif
