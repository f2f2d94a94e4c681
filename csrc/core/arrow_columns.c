/* The columns of an export, in the order in which they are documented: one list a kind of
 * record, and for each column what makes its value out of a row. Adding a column is adding
 * a line.
 */
#include "core/arrow_columns.h"

#include "core/span_columns.h"

static cirron_text constant(const char *text) {
    return (cirron_text){text, strlen(text)};
}

static cirron_text no_text(void) {
    return (cirron_text){NULL, 0};
}

/* Empty attributes are not stored. */
static cirron_text attrs_text(const cirron_table *table, cirron_text_ref attrs) {
    return attrs == 0 ? constant("{}") : cirron_table_text(table, attrs);
}

static int64_t session_of(const cirron_table *table, uint32_t span_row) {
    return span_row == CIRRON_NO_ROW ? -1 : table->ints[CIRRON_COLUMN_SESSION][span_row];
}

/* The id of the session's root; null for records of no session. */
static cirron_text session_id(const cirron_table *table, uint32_t span_row, char hex[32]) {
    int64_t session = session_of(table, span_row);
    if (session < 0) {
        return no_text();
    }
    int64_t root = table->sessions[session].row;
    return root < 0 ? constant("(orphan spans)")
                    : cirron_table_id_text(table, &table->ids[root], hex);
}

/* ---- spans */

static cirron_text span_id(const cirron_table *table, size_t row, char hex[32]) {
    return cirron_table_id_text(table, &table->ids[row], hex);
}

static cirron_text span_session_id(const cirron_table *table, size_t row, char hex[32]) {
    return session_id(table, (uint32_t)row, hex);
}

static cirron_text span_parent_id(const cirron_table *table, size_t row, char hex[32]) {
    const cirron_id *id = cirron_table_parent_id(table, row);
    return id == NULL ? no_text() : cirron_table_id_text(table, id, hex);
}

static cirron_text span_name(const cirron_table *table, size_t row, char hex[32]) {
    (void)hex;
    return cirron_table_name_text(table, table->span_names[row]);
}

static cirron_text span_attrs(const cirron_table *table, size_t row, char hex[32]) {
    (void)hex;
    return attrs_text(table, table->attrs[row]);
}

/* Null while the span is open, and where a forged file has times further apart than an
 * int64 can say. */
static bool span_duration(const cirron_table *table, size_t row, int64_t *word) {
    return cirron_table_has(table, CIRRON_COLUMN_END, row) &&
           !__builtin_sub_overflow(table->ints[CIRRON_COLUMN_END][row],
                                   table->ints[CIRRON_COLUMN_START][row], word);
}

static const cirron_arrow_column span_columns[] = {
    {"id", "u", .text = span_id},
    {"session_id", "u", true, .text = span_session_id},
    {"parent_id", "u", true, .text = span_parent_id},
    {"name", "u", .text = span_name},
    {"index", "l", true, .ints = CIRRON_COLUMN_INDEX},
    {"start_ns", "l", false, .ints = CIRRON_COLUMN_START},
    {"end_ns", "l", true, .ints = CIRRON_COLUMN_END},
    {"duration_ns", "l", true, .word = span_duration},
    {"cpu_ns", "l", true, .ints = CIRRON_COLUMN_CPU},
    {"gpu_ns", "l", true, .ints = CIRRON_COLUMN_GPU},
    {"memory_peak_bytes", "l", true, .ints = CIRRON_COLUMN_MEMORY},
    {"thread_id", "l", true, .ints = CIRRON_COLUMN_THREAD},
    {"pid", "l", true, .ints = CIRRON_COLUMN_PID},
    {"rank", "l", true, .ints = CIRRON_COLUMN_RANK},
    {"attrs_json", "u", .text = span_attrs},
    {"overhead_ns", "l", true, .ints = CIRRON_COLUMN_OVERHEAD},
};

/* ---- marks */

static cirron_text mark_id(const cirron_table *table, size_t row, char hex[32]) {
    return cirron_table_id_text(table, &table->marks[row].id, hex);
}

static cirron_text mark_span_id(const cirron_table *table, size_t row, char hex[32]) {
    return cirron_table_id_text(table, &table->marks[row].span_id, hex);
}

static cirron_text mark_session_id(const cirron_table *table, size_t row, char hex[32]) {
    return session_id(table, table->marks[row].span_row, hex);
}

static cirron_text mark_name(const cirron_table *table, size_t row, char hex[32]) {
    (void)hex;
    return cirron_table_name_text(table, table->marks[row].name);
}

static cirron_text mark_value_type(const cirron_table *table, size_t row, char hex[32]) {
    static const char *const names[] = {
        [CIRRON_VALUE_FLOAT] = "float",
        [CIRRON_VALUE_INT] = "int",
        [CIRRON_VALUE_STRING] = "string",
        [CIRRON_VALUE_BOOL] = "bool",
    };
    (void)hex;
    return constant(names[table->marks[row].value_type]);
}

static bool mark_float(const cirron_table *table, size_t row, int64_t *word) {
    const cirron_mark_row *mark = &table->marks[row];
    memcpy(word, &mark->value, sizeof(*word)); /* the double's own bytes */
    return mark->value_type == CIRRON_VALUE_FLOAT;
}

static bool mark_int(const cirron_table *table, size_t row, int64_t *word) {
    const cirron_mark_row *mark = &table->marks[row];
    *word = mark->value.as_int;
    return mark->value_type == CIRRON_VALUE_INT;
}

static cirron_text mark_string(const cirron_table *table, size_t row, char hex[32]) {
    const cirron_mark_row *mark = &table->marks[row];
    (void)hex;
    return mark->value_type == CIRRON_VALUE_STRING ? cirron_table_text(table, mark->value.as_string)
                                                   : no_text();
}

static bool mark_bool(const cirron_table *table, size_t row, int64_t *word) {
    const cirron_mark_row *mark = &table->marks[row];
    *word = mark->value.as_int != 0;
    return mark->value_type == CIRRON_VALUE_BOOL;
}

static bool mark_time(const cirron_table *table, size_t row, int64_t *word) {
    *word = table->marks[row].ts_ns;
    return true;
}

static cirron_text mark_kind(const cirron_table *table, size_t row, char hex[32]) {
    (void)hex;
    return constant(table->marks[row].kind == CIRRON_MARK_SUMMARY ? "summary" : "point");
}

static cirron_text mark_attrs(const cirron_table *table, size_t row, char hex[32]) {
    (void)hex;
    return attrs_text(table, table->marks[row].attrs);
}

static const cirron_arrow_column mark_columns[] = {
    {"id", "u", .text = mark_id},
    {"span_id", "u", .text = mark_span_id},
    {"session_id", "u", true, .text = mark_session_id},
    {"name", "u", .text = mark_name},
    {"value_type", "u", .text = mark_value_type},
    {"value_float", "g", true, .word = mark_float},
    {"value_int", "l", true, .word = mark_int},
    {"value_string", "u", true, .text = mark_string},
    {"value_bool", "b", true, .word = mark_bool},
    {"ts_ns", "l", .word = mark_time},
    {"kind", "u", .text = mark_kind},
    {"attrs_json", "u", .text = mark_attrs},
};

/* ---- snapshots */

static cirron_text snapshot_id(const cirron_table *table, size_t row, char hex[32]) {
    return cirron_table_id_text(table, &table->snapshots[row].id, hex);
}

static cirron_text snapshot_span_id(const cirron_table *table, size_t row, char hex[32]) {
    return cirron_table_id_text(table, &table->snapshots[row].span_id, hex);
}

static cirron_text snapshot_session_id(const cirron_table *table, size_t row, char hex[32]) {
    return session_id(table, table->snapshots[row].span_row, hex);
}

static bool snapshot_time(const cirron_table *table, size_t row, int64_t *word) {
    *word = table->snapshots[row].ts_ns;
    return true;
}

#define SNAPSHOT_TEXT(field)                                                                       \
    static cirron_text snapshot_##field(const cirron_table *table, size_t row, char hex[32]) {     \
        (void)hex;                                                                                 \
        return cirron_table_text(table, table->snapshots[row].field);                              \
    }
SNAPSHOT_TEXT(tensor_name)
SNAPSHOT_TEXT(dtype)
SNAPSHOT_TEXT(shape)
SNAPSHOT_TEXT(mode)
SNAPSHOT_TEXT(stats)
SNAPSHOT_TEXT(blob_uri)
#undef SNAPSHOT_TEXT

static const cirron_arrow_column snapshot_columns[] = {
    {"id", "u", .text = snapshot_id},
    {"span_id", "u", .text = snapshot_span_id},
    {"session_id", "u", true, .text = snapshot_session_id},
    {"tensor_name", "u", true, .text = snapshot_tensor_name},
    {"dtype", "u", true, .text = snapshot_dtype},
    {"shape_json", "u", true, .text = snapshot_shape},
    {"mode", "u", true, .text = snapshot_mode},
    {"stats_json", "u", true, .text = snapshot_stats},
    {"blob_uri", "u", true, .text = snapshot_blob_uri},
    {"ts_ns", "l", .word = snapshot_time},
};

/* ---- all three */

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

const cirron_arrow_column *cirron_arrow_columns(enum cirron_arrow_kind kind, size_t *count) {
    switch (kind) {
    case CIRRON_ARROW_MARKS:
        *count = COUNT_OF(mark_columns);
        return mark_columns;
    case CIRRON_ARROW_SNAPSHOTS:
        *count = COUNT_OF(snapshot_columns);
        return snapshot_columns;
    default:
        *count = COUNT_OF(span_columns);
        return span_columns;
    }
}

size_t cirron_arrow_total(const cirron_table *table, enum cirron_arrow_kind kind) {
    return kind == CIRRON_ARROW_SPANS   ? table->span_count
           : kind == CIRRON_ARROW_MARKS ? table->mark_count
                                        : table->snapshot_count;
}

bool cirron_arrow_wants(const cirron_table *table, const cirron_arrow_rows *rows, size_t row) {
    uint32_t span = rows->kind == CIRRON_ARROW_SPANS   ? (uint32_t)row
                    : rows->kind == CIRRON_ARROW_MARKS ? table->marks[row].span_row
                                                       : table->snapshots[row].span_row;
    if (rows->by_session && session_of(table, span) != rows->session) {
        return false;
    }
    if (!rows->by_rank) {
        return true;
    }
    bool present = span != CIRRON_NO_ROW && cirron_table_has(table, CIRRON_COLUMN_RANK, span);
    return present == rows->rank_present &&
           (!present || table->ints[CIRRON_COLUMN_RANK][span] == rows->rank);
}
