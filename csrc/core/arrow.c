/* Record batches out of a table, one at a time, so that an export of any size needs the
 * memory of one. A consumer may move a column out of its batch and drop the rest: each
 * column therefore has its own buffers and its own hold on the table, and the batch owns
 * nothing but the structs of its columns.
 */
#include "core/arrow.h"

#include <errno.h>

#include "core/arrow_columns.h"
#include "core/buffer.h"

/* Beside CIRRON_OK and CIRRON_NO_MEMORY: a column has more text than it may. */
enum { TOO_LONG = 1 };

/* The rows of one batch: `rows`, or those from `first` on where it is NULL. */
typedef struct batch {
    cirron_table *table;
    const cirron_arrow_column *columns;
    size_t column_count;
    const uint32_t *rows;
    size_t first, count;
} batch;

static size_t row_at(const batch *from, size_t i) {
    return from->rows == NULL ? from->first + i : from->rows[i];
}

/* ---- one column of a batch */

typedef struct column {
    cirron_table *table;    /* one of its owners */
    const void *buffers[3]; /* as the specification orders them: validity first */
    void *owned[3];
} column;

static void release_column(struct ArrowArray *array) {
    column *own = array->private_data;
    for (size_t i = 0; i < 3; i++) {
        cirron_free(own->owned[i]);
    }
    cirron_table_free(own->table);
    cirron_free(own);
    array->release = NULL;
}

static void set_bit(uint8_t *bits, size_t i) {
    bits[i >> 3] |= (uint8_t)(1u << (i & 7));
}

static void *own_buffer(column *own, size_t i, void *bytes) {
    own->owned[i] = bytes;
    own->buffers[i] = bytes;
    return bytes;
}

/* Bits for the rows, all 0, up to a whole word. */
static uint8_t *own_bits(column *own, size_t i, size_t count) {
    return own_buffer(own, i, cirron_calloc((count + 63) / 64, 8));
}

/* The integers stay where they are unless rows were picked out. */
static int fill_ints(const batch *from, const cirron_arrow_column *about, column *own,
                     uint8_t *validity, size_t *valid) {
    const int64_t *values = cirron_table_ints(from->table, about->ints);
    own->buffers[1] = values + from->first;
    if (from->rows != NULL) {
        int64_t *picked = own_buffer(own, 1, cirron_malloc(from->count * sizeof(*picked)));
        if (picked == NULL) {
            return CIRRON_NO_MEMORY;
        }
        for (size_t i = 0; i < from->count; i++) {
            picked[i] = values[from->rows[i]];
        }
    }
    for (size_t i = 0; i < from->count; i++) {
        if (cirron_table_has(from->table, about->ints, row_at(from, i))) {
            set_bit(validity, i);
            ++*valid;
        }
    }
    return CIRRON_OK;
}

static int fill_words(const batch *from, const cirron_arrow_column *about, column *own,
                      uint8_t *validity, size_t *valid) {
    int64_t *words = own_buffer(own, 1, cirron_calloc(from->count, sizeof(*words)));
    if (words == NULL) {
        return CIRRON_NO_MEMORY;
    }
    for (size_t i = 0; i < from->count; i++) {
        int64_t word;
        if (about->word(from->table, row_at(from, i), &word)) {
            words[i] = word;
            set_bit(validity, i);
            ++*valid;
        }
    }
    return CIRRON_OK;
}

static int fill_bools(const batch *from, const cirron_arrow_column *about, column *own,
                      uint8_t *validity, size_t *valid) {
    uint8_t *bits = own_bits(own, 1, from->count);
    if (bits == NULL) {
        return CIRRON_NO_MEMORY;
    }
    for (size_t i = 0; i < from->count; i++) {
        int64_t word;
        if (about->word(from->table, row_at(from, i), &word)) {
            if (word != 0) {
                set_bit(bits, i);
            }
            set_bit(validity, i);
            ++*valid;
        }
    }
    return CIRRON_OK;
}

static int fill_texts(const batch *from, const cirron_arrow_column *about, column *own,
                      uint8_t *validity, size_t *valid) {
    const size_t most = from->count == 1 ? INT32_MAX : CIRRON_ARROW_COLUMN_BYTES;
    cirron_buffer bytes = {0};
    int32_t *offsets = own_buffer(own, 1, cirron_malloc((from->count + 1) * sizeof(*offsets)));
    if (offsets == NULL) {
        return CIRRON_NO_MEMORY;
    }
    /* Ids fit in at once; of room that shorter texts leave, no page is ever touched. */
    int status = cirron_buffer_reserve(&bytes, from->count * 32);
    offsets[0] = 0;
    for (size_t i = 0; i < from->count && status == CIRRON_OK; i++) {
        char hex[32];
        cirron_text text = about->text(from->table, row_at(from, i), hex);
        if (text.data != NULL) {
            status = text.len > most - bytes.len
                         ? TOO_LONG
                         : cirron_buffer_append(&bytes, text.data, text.len);
            set_bit(validity, i);
            ++*valid;
        }
        offsets[i + 1] = (int32_t)bytes.len;
    }
    (void)own_buffer(own, 2, bytes.data);
    return status;
}

static int export_column(const batch *from, const cirron_arrow_column *about,
                         struct ArrowArray *array) {
    column *own = cirron_calloc(1, sizeof(*own));
    if (own == NULL) {
        return CIRRON_NO_MEMORY;
    }
    own->table = cirron_table_retain(from->table);
    *array = (struct ArrowArray){
        .length = (int64_t)from->count,
        .n_buffers = about->text != NULL ? 3 : 2,
        .buffers = own->buffers,
        .release = release_column,
        .private_data = own,
    };
    size_t valid = 0;
    uint8_t *validity = own_bits(own, 0, from->count);
    int status = validity == NULL          ? CIRRON_NO_MEMORY
                 : about->text != NULL     ? fill_texts(from, about, own, validity, &valid)
                 : about->word == NULL     ? fill_ints(from, about, own, validity, &valid)
                 : about->format[0] == 'b' ? fill_bools(from, about, own, validity, &valid)
                                           : fill_words(from, about, own, validity, &valid);
    if (status != CIRRON_OK) {
        release_column(array);
        return status;
    }
    array->null_count = (int64_t)(from->count - valid);
    if (array->null_count == 0) { /* no bitmap says the same */
        cirron_free(own->owned[0]);
        (void)own_buffer(own, 0, NULL);
    }
    return CIRRON_OK;
}

/* ---- a batch: a struct with a child for each column */

typedef struct struct_array {
    const void *buffers[1]; /* no validity: no row is null */
    struct ArrowArray **children;
    struct ArrowArray columns[];
} struct_array;

static void release_batch(struct ArrowArray *array) {
    for (int64_t i = 0; i < array->n_children; i++) {
        if (array->children[i]->release != NULL) { /* NULL: somebody took it over */
            array->children[i]->release(array->children[i]);
        }
    }
    cirron_free(array->children);
    cirron_free(array->private_data);
    array->release = NULL;
}

static int export_batch(const batch *from, struct ArrowArray *out) {
    struct_array *own = cirron_calloc(1, sizeof(*own) + from->column_count * sizeof(*own->columns));
    struct ArrowArray **children = cirron_malloc(from->column_count * sizeof(*children));
    if (own == NULL || children == NULL) {
        cirron_free(own);
        cirron_free(children);
        return CIRRON_NO_MEMORY;
    }
    struct ArrowArray array = {
        .length = (int64_t)from->count,
        .n_buffers = 1,
        .n_children = (int64_t)from->column_count,
        .buffers = own->buffers,
        .children = children,
        .release = release_batch,
        .private_data = own,
    };
    int status = CIRRON_OK;
    for (size_t i = 0; i < from->column_count; i++) {
        children[i] = &own->columns[i];
        if (status == CIRRON_OK) {
            status = export_column(from, &from->columns[i], children[i]);
        }
    }
    if (status == CIRRON_OK) {
        *out = array;
    } else {
        release_batch(&array);
    }
    return status;
}

/* ---- the schema; names and formats are constants */

static void release_field(struct ArrowSchema *schema) {
    schema->release = NULL;
}

static void release_schema(struct ArrowSchema *schema) {
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (schema->children[i]->release != NULL) {
            schema->children[i]->release(schema->children[i]);
        }
    }
    cirron_free(schema->children);
    cirron_free(schema->private_data);
    schema->release = NULL;
}

static int export_schema(const cirron_arrow_column *columns, size_t count,
                         struct ArrowSchema *out) {
    struct ArrowSchema *fields = cirron_calloc(count, sizeof(*fields));
    struct ArrowSchema **children = cirron_malloc(count * sizeof(*children));
    if (fields == NULL || children == NULL) {
        cirron_free(fields);
        cirron_free(children);
        return CIRRON_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        fields[i] = (struct ArrowSchema){
            .format = columns[i].format,
            .name = columns[i].name,
            .flags = columns[i].nullable ? ARROW_FLAG_NULLABLE : 0,
            .release = release_field,
        };
        children[i] = &fields[i];
    }
    *out = (struct ArrowSchema){
        .format = "+s",
        .name = "",
        .n_children = (int64_t)count,
        .children = children,
        .release = release_schema,
        .private_data = fields,
    };
    return CIRRON_OK;
}

/* ---- the stream */

typedef struct stream_state {
    batch next; /* `first` is where the search goes on; one of the table's owners */
    cirron_arrow_rows wanted;
    uint32_t *picked; /* owned; NULL when all rows are wanted */
    const char *error;
} stream_state;

static bool wants_all(const cirron_arrow_rows *rows) {
    return !rows->by_session && !rows->by_rank;
}

/* The rows of the next batch. */
static batch find_rows(const stream_state *state) {
    batch found = state->next;
    const size_t total = cirron_arrow_total(found.table, state->wanted.kind);
    if (state->picked == NULL) {
        size_t left = total - found.first;
        found.count = left < CIRRON_ARROW_BATCH_ROWS ? left : CIRRON_ARROW_BATCH_ROWS;
        return found;
    }
    found.count = 0;
    for (size_t row = found.first; row < total && found.count < CIRRON_ARROW_BATCH_ROWS; row++) {
        if (cirron_arrow_wants(found.table, &state->wanted, row)) {
            state->picked[found.count++] = (uint32_t)row;
        }
    }
    if (found.count != 0) {
        found.first = state->picked[0];
        bool gaps = state->picked[found.count - 1] - found.first + 1 != found.count;
        found.rows = gaps ? state->picked : NULL;
    }
    return found;
}

static int fail(stream_state *state, int status) {
    state->error = status == TOO_LONG ? "a text is longer than 2 GiB" : "out of memory";
    return status == TOO_LONG ? EOVERFLOW : ENOMEM;
}

static int get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    stream_state *state = stream->private_data;
    int status = export_schema(state->next.columns, state->next.column_count, out);
    return status == CIRRON_OK ? 0 : fail(state, status);
}

static int get_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    stream_state *state = stream->private_data;
    batch found = find_rows(state);
    out->release = NULL; /* the end, unless there is more */
    if (found.count == 0) {
        return 0;
    }
    int status = export_batch(&found, out);
    while (status == TOO_LONG && found.count > 1) {
        found.count /= 2;
        status = export_batch(&found, out);
    }
    if (status != CIRRON_OK) {
        return fail(state, status);
    }
    state->next.first = row_at(&found, found.count - 1) + 1;
    return 0;
}

static const char *get_last_error(struct ArrowArrayStream *stream) {
    return ((stream_state *)stream->private_data)->error;
}

static void release_stream(struct ArrowArrayStream *stream) {
    stream_state *state = stream->private_data;
    cirron_table_free(state->next.table);
    cirron_free(state->picked);
    cirron_free(state);
    stream->release = NULL;
}

size_t cirron_arrow_count(const cirron_table *table, const cirron_arrow_rows *rows) {
    const size_t total = cirron_arrow_total(table, rows->kind);
    size_t count = 0;
    if (wants_all(rows)) {
        return total;
    }
    for (size_t row = 0; row < total; row++) {
        count += cirron_arrow_wants(table, rows, row);
    }
    return count;
}

int cirron_arrow_stream(cirron_table *table, const cirron_arrow_rows *rows,
                        struct ArrowArrayStream *stream) {
    stream_state *state = cirron_calloc(1, sizeof(*state));
    uint32_t *picked = NULL;
    if (!wants_all(rows)) {
        picked = cirron_malloc(CIRRON_ARROW_BATCH_ROWS * sizeof(*picked));
    }
    if (state == NULL || (picked == NULL && !wants_all(rows))) {
        cirron_free(state);
        cirron_free(picked);
        return CIRRON_NO_MEMORY;
    }
    state->next.table = cirron_table_retain(table);
    state->next.columns = cirron_arrow_columns(rows->kind, &state->next.column_count);
    state->wanted = *rows;
    state->picked = picked;
    *stream = (struct ArrowArrayStream){
        .get_schema = get_schema,
        .get_next = get_next,
        .get_last_error = get_last_error,
        .release = release_stream,
        .private_data = state,
    };
    return CIRRON_OK;
}
