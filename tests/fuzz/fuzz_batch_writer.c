/* libFuzzer target: what the writer writes, the reader reads back equal. The input becomes a
 * span and marks with arbitrary names, texts and numbers; its raw bytes become a JSON string.
 */
#include <math.h>

#include "core/batch.h"
#include "core/json_writer.h"
#include "core/number_text.h"
#include "fuzz.h"
#include "json_check.h"
#include "read_batch.h"

enum { MARKS = 4, TEXT_BYTES = 3 * 200 };

typedef struct input {
    const uint8_t *data;
    size_t size;
} input;

/* Zeros when nothing is left. */
static void take(input *from, void *out, size_t size) {
    size_t there = from->size < size ? from->size : size;
    memset(out, 0, size);
    if (there != 0) {
        memcpy(out, from->data, there);
    }
    from->data += there;
    from->size -= there;
}

/* Valid UTF-8: each two bytes are a character of at most three bytes. */
static uint32_t take_text(input *from, char text[TEXT_BYTES]) {
    uint8_t characters;
    uint32_t len = 0;
    take(from, &characters, 1);
    for (unsigned i = 0; i < characters % 200u; i++) {
        uint16_t c;
        take(from, &c, 2);
        c = c >= 0xD800 && c <= 0xDFFF ? 0xFFFD : c;
        if (c < 0x80) {
            text[len++] = (char)c;
        } else if (c < 0x800) {
            text[len++] = (char)(0xC0 | c >> 6);
            text[len++] = (char)(0x80 | (c & 0x3F));
        } else {
            text[len++] = (char)(0xE0 | c >> 12);
            text[len++] = (char)(0x80 | (c >> 6 & 0x3F));
            text[len++] = (char)(0x80 | (c & 0x3F));
        }
    }
    return len;
}

static int same_double(double a, double b) {
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

typedef struct one_mark {
    cirron_mark_record record;
    cirron_id id;
    char payload[2 * TEXT_BYTES]; /* the name, when it is inline, and the value */
    char name[TEXT_BYTES];
    char value[TEXT_BYTES];
    uint32_t name_len;
} one_mark;

static void make_mark(input *from, cirron_intern *names, const cirron_id *span, int number,
                      one_mark *mark) {
    uint8_t form;
    take(from, &form, 1);
    *mark = (one_mark){.id = {{(uint8_t)(number + 1)}}};
    cirron_mark_record *record = &mark->record;
    record->span_id = *span;
    record->value_type = form & 3;
    record->kind = form >> 2 & 1;
    record->ts_ns = number;
    mark->name_len = take_text(from, mark->name);
    uint32_t at = 0;
    record->name =
        form & 8 ? CIRRON_NAME_INLINE : cirron_intern_name(names, mark->name, mark->name_len);
    if (record->name == CIRRON_NAME_INLINE) {
        record->name_len = at = mark->name_len;
        memcpy(mark->payload, mark->name, mark->name_len);
    }
    if (record->value_type == CIRRON_VALUE_STRING) {
        record->value_len = take_text(from, mark->value);
        memcpy(mark->payload + at, mark->value, record->value_len);
    } else {
        take(from, &record->value, sizeof record->value);
        if (record->value_type == CIRRON_VALUE_BOOL) {
            record->value.as_int &= 1;
        }
    }
}

static void check_mark(const cirron_table *table, uint32_t row, const one_mark *mark) {
    cirron_table_mark read = cirron_table_mark_at(table, row);
    const cirron_mark_record *wrote = &mark->record;
    CHECK(is_same_text(read.name, (cirron_text){mark->name, mark->name_len}));
    CHECK(read.ts_ns == wrote->ts_ns && read.kind == wrote->kind);
    CHECK(read.value_type == wrote->value_type);
    if (wrote->value_type == CIRRON_VALUE_STRING) {
        CHECK(is_same_text(read.as_string, (cirron_text){mark->value, wrote->value_len}));
    } else if (wrote->value_type == CIRRON_VALUE_FLOAT) {
        CHECK(same_double(read.as_float, wrote->value.as_float));
    } else {
        CHECK(read.as_int == wrote->value.as_int);
    }
}

static void make_span(input *from, cirron_intern *names, cirron_span_record *span,
                      char name[TEXT_BYTES], uint32_t *name_len) {
    uint8_t flags;
    *span = (cirron_span_record){.id = {{0xAA}}, .parent_id = {{0xBB}}};
    take(from, &flags, 1);
    take(from, &span->index, 8);
    take(from, &span->cpu_ns, 8);
    take(from, &span->gpu_ns, 8);
    take(from, &span->memory_peak_bytes, 8);
    take(from, &span->overhead_ns, 8);
    take(from, &span->thread_id, 8);
    span->thread_id >>= 1; /* the column is an int64 */
    take(from, &span->start_ns, 8);
    span->start_ns = (int64_t)((uint64_t)span->start_ns >> 2);
    take(from, &span->duration_ns, 8);
    span->duration_ns = (int64_t)((uint64_t)span->duration_ns >> 2);
    span->flags = flags & (CIRRON_SPAN_PARENT | CIRRON_SPAN_INDEX | CIRRON_SPAN_CPU |
                           CIRRON_SPAN_GPU | CIRRON_SPAN_MEMORY);
    *name_len = take_text(from, name);
    span->name = flags & 128 ? CIRRON_NAME_INLINE : cirron_intern_name(names, name, *name_len);
    if (span->name == CIRRON_NAME_INLINE) {
        span->name_len = *name_len;
    }
}

static void check_span(const cirron_table *table, const cirron_span_record *span, const char *name,
                       uint32_t name_len) {
    const struct {
        enum cirron_table_column column;
        uint32_t flag;
        int64_t wrote;
    } fields[] = {
        {CIRRON_COLUMN_INDEX, CIRRON_SPAN_INDEX, span->index},
        {CIRRON_COLUMN_CPU, CIRRON_SPAN_CPU, span->cpu_ns},
        {CIRRON_COLUMN_GPU, CIRRON_SPAN_GPU, span->gpu_ns},
        {CIRRON_COLUMN_MEMORY, CIRRON_SPAN_MEMORY, span->memory_peak_bytes},
        {CIRRON_COLUMN_OVERHEAD, 0, span->overhead_ns},
        {CIRRON_COLUMN_THREAD, 0, (int64_t)span->thread_id},
        {CIRRON_COLUMN_START, 0, span->start_ns},
        {CIRRON_COLUMN_END, 0, span->start_ns + span->duration_ns},
    };
    CHECK(cirron_table_spans(table) == 1);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        int there = fields[i].flag == 0 || (span->flags & fields[i].flag) != 0;
        if (fields[i].column != CIRRON_COLUMN_START) {
            CHECK(cirron_table_has(table, fields[i].column, 0) == there);
        }
        CHECK(!there || cirron_table_ints(table, fields[i].column)[0] == fields[i].wrote);
    }
    CHECK((cirron_table_parent_id(table, 0) != NULL) == ((span->flags & CIRRON_SPAN_PARENT) != 0));
    CHECK(is_same_text(cirron_table_name_text(table, cirron_table_name(table, 0)),
                       (cirron_text){name, name_len}));
}

static void check_batch(input *from) {
    cirron_intern *names = cirron_intern_new();
    cirron_batch *batch = cirron_batch_new(names);
    cirron_span_record span;
    static char span_name[TEXT_BYTES];
    static one_mark marks[MARKS];
    uint32_t span_name_len;
    make_span(from, names, &span, span_name, &span_name_len);
    for (int i = 0; i < MARKS; i++) {
        make_mark(from, names, &span.id, i, &marks[i]);
        CHECK(cirron_batch_add_mark(batch, &marks[i].record, marks[i].payload, &marks[i].id) ==
              CIRRON_OK);
    }
    CHECK(cirron_batch_add_span(batch, &span, span_name) == CIRRON_OK);
    cirron_buffer document = {0};
    CHECK(cirron_batch_finish(batch, &(cirron_id){{0xCC}}, 42, &document) == CIRRON_OK);
    CHECK(json_is_strict(document.data, document.len));
    int status;
    cirron_table *table = read_table(document.data, document.len, &status);
    CHECK(status == CIRRON_OK);
    check_span(table, &span, span_name, span_name_len);
    size_t count;
    const uint32_t *rows = cirron_table_marks_of(table, 0, &count);
    CHECK(count == MARKS);
    for (size_t i = 0; i < count; i++) {
        check_mark(table, rows[i], &marks[i]);
    }
    cirron_table_free(table);
    cirron_buffer_fini(&document);
    cirron_batch_free(batch);
    cirron_intern_free(names);
}

/* Bytes that need not be UTF-8 still make a JSON string; a double comes back as it went. */
static void check_texts(const uint8_t *data, size_t size) {
    cirron_buffer out = {0};
    CHECK(cirron_json_string(&out, (const char *)data, size) == CIRRON_OK);
    CHECK(json_is_strict(out.data, out.len));
    double value = 0.0;
    memcpy(&value, data, size < sizeof value ? size : sizeof value);
    if (isfinite(value)) {
        out.len = 0;
        CHECK(cirron_json_double(&out, value) == CIRRON_OK);
        CHECK(same_double(cirron_double_parse(out.data, out.len), value));
        CHECK(cirron_buffer_append(&out, "", 1) == CIRRON_OK);
        CHECK(same_double(strtod(out.data, NULL), value));
    }
    cirron_buffer_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input from = {data, size};
    check_batch(&from);
    check_texts(data, size);
    return 0;
}
