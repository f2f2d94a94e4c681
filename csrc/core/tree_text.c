/* Every line of a million is made here, so nothing is formatted twice and nothing is
 * allocated but for the chunk, which the caller takes away when it is full.
 */
#include "core/tree_text.h"

#include "core/attrs_reader.h"
#include "core/display.h"
#include "core/json_writer.h"
#include "core/memory.h"

#define PUT(out, literal) cirron_output_put(out, literal, sizeof(literal) - 1)

static const char OVERHEAD[] = "cirron.overhead_ns";

/* Escape codes, empty without colour. */
typedef struct look {
    const char *dash, *ellipsis;
    const char *bold, *dim, *cyan, *green, *red, *reset;
} look;

struct cirron_tree_text {
    const cirron_table *table; /* borrowed */
    cirron_tree_style style;
    look look;
    cirron_tree_walk walk;
    cirron_attrs_reader attrs;
    bool separate; /* JSON: a comma comes before the next span */
};

cirron_tree_text *cirron_tree_text_new(const cirron_table *table, size_t session,
                                       const cirron_tree_filter *filter,
                                       const cirron_tree_style *style) {
    cirron_tree_text *text = cirron_calloc(1, sizeof(*text));
    if (text == NULL) {
        return NULL;
    }
    text->table = table;
    text->style = *style;
    text->look = (look){"\xe2\x80\x94", "\xe2\x80\xa6", "", "", "", "", "", ""};
    if (style->color) {
        text->look.bold = "\x1b[1m";
        text->look.dim = "\x1b[2m";
        text->look.cyan = "\x1b[36m";
        text->look.green = "\x1b[32m";
        text->look.red = "\x1b[31m";
        text->look.reset = "\x1b[0m";
    }
    if (style->ascii) {
        text->look.dash = "-";
        text->look.ellipsis = "...";
    }
    cirron_text_dict_init(&text->attrs.names);
    if (cirron_tree_walk_init(&text->walk, table, session, filter) != CIRRON_OK) {
        cirron_tree_text_free(text);
        return NULL;
    }
    return text;
}

void cirron_tree_text_free(cirron_tree_text *text) {
    if (text != NULL) {
        cirron_tree_walk_fini(&text->walk);
        cirron_attrs_reader_fini(&text->attrs);
        cirron_free(text);
    }
}

bool cirron_tree_text_is_named(const cirron_tree_text *text) {
    return text->walk.named;
}

static bool get_number(const cirron_tree_text *text, enum cirron_table_column column, int64_t row,
                       int64_t *value) {
    if (row < 0 || !cirron_table_has(text->table, column, (size_t)row)) {
        return false;
    }
    *value = cirron_table_ints(text->table, column)[row];
    return true;
}

static cirron_text get_name(const cirron_tree_text *text, int64_t row) {
    static const char orphans[] = "(orphan spans)";
    if (row < 0) {
        return (cirron_text){orphans, sizeof(orphans) - 1};
    }
    return cirron_table_name_text(text->table, cirron_table_name(text->table, (size_t)row));
}

/* ---- lines */

static void put_indent(cirron_output *out, size_t depth) {
    static const char spaces[] = "                                ";
    size_t left = 2 * depth;
    while (left > 0) {
        size_t len = left < sizeof(spaces) - 1 ? left : sizeof(spaces) - 1;
        cirron_output_put(out, spaces, len);
        left -= len;
    }
}

/* The root shows these two alone; its other attributes say where it ran. */
static void put_root_attrs(const cirron_tree_text *text, int64_t row, cirron_output *out) {
    static const struct {
        enum cirron_table_column column;
        const char *name;
    } shown[] = {{CIRRON_COLUMN_PID, "pid="}, {CIRRON_COLUMN_RANK, "rank="}};
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        int64_t value;
        if (get_number(text, shown[i].column, row, &value)) {
            PUT(out, " ");
            cirron_output_text(out, text->look.dim);
            cirron_output_text(out, shown[i].name);
            cirron_display_int(out, value);
            cirron_output_text(out, text->look.reset);
        }
    }
}

static int put_attrs(cirron_tree_text *text, int64_t row, cirron_output *out) {
    cirron_text json = cirron_table_attrs(text->table, (size_t)row);
    size_t count = 0;
    int status = json.data == NULL ? CIRRON_OK : cirron_attrs_read(&text->attrs, json, &count);
    for (size_t i = 0; i < count && status == CIRRON_OK; i++) {
        cirron_text name = cirron_attrs_name(&text->attrs, i);
        cirron_text value = cirron_attrs_value(&text->attrs, i);
        if (cirron_attrs_is_nested(value)) {
            continue;
        }
        bool error = name.len == 5 && memcmp(name.data, "error", 5) == 0;
        PUT(out, " ");
        cirron_output_text(out, error ? text->look.red : text->look.dim);
        cirron_display_text(out, name.data, name.len);
        PUT(out, "=");
        cirron_attrs_display(&text->attrs, out, value);
        cirron_output_text(out, text->look.reset);
    }
    return status;
}

static int put_span_line(cirron_tree_text *text, const cirron_tree_step *step, cirron_output *out) {
    const look *look = &text->look;
    cirron_text name = get_name(text, step->row);
    int64_t start, end, index;
    int status = CIRRON_OK;
    put_indent(out, step->depth);
    cirron_output_text(out, look->bold);
    cirron_display_text(out, name.data, name.len);
    if (get_number(text, CIRRON_COLUMN_INDEX, step->row, &index)) {
        PUT(out, "[");
        cirron_display_int(out, index);
        PUT(out, "]");
    }
    cirron_output_text(out, look->reset);
    PUT(out, " ");
    cirron_output_text(out, look->dash);
    PUT(out, " ");
    cirron_output_text(out, look->cyan);
    if (cirron_tree_interval(&text->walk, step->row, &start, &end)) {
        cirron_display_interval(out, start, end);
    } else {
        cirron_output_text(out, step->depth == 0 ? "(live)" : "(open)");
    }
    cirron_output_text(out, look->reset);
    if (step->depth == 0) {
        put_root_attrs(text, step->row, out);
    } else {
        status = put_attrs(text, step->row, out);
    }
    PUT(out, "\n");
    return status;
}

/* What stands for a collapsed span's inside, its marks included. */
static int put_collapsed_line(cirron_tree_text *text, const cirron_tree_step *step,
                              cirron_output *out) {
    uint64_t covered;
    int status = cirron_tree_covered(&text->walk, step, &covered);
    if (status == CIRRON_OK) {
        put_indent(out, step->depth + 1);
        cirron_output_text(out, text->look.dim);
        cirron_output_text(out, text->look.ellipsis);
        PUT(out, " ");
        cirron_display_duration(out, false, covered);
        PUT(out, " (");
        cirron_display_uint(out, step->collapsed);
        cirron_output_text(out, step->collapsed == 1 ? " span, collapsed)" : " spans, collapsed)");
        cirron_output_text(out, text->look.reset);
        PUT(out, "\n");
    }
    return status;
}

static void put_mark_line(const cirron_tree_text *text, const cirron_table_mark *mark, size_t depth,
                          cirron_output *out) {
    put_indent(out, depth);
    cirron_output_text(out, text->look.green);
    PUT(out, "ci.mark ");
    cirron_display_text(out, mark->name.data, mark->name.len);
    PUT(out, "=");
    switch (mark->value_type) {
    case CIRRON_VALUE_FLOAT:
        cirron_display_double(out, mark->as_float);
        break;
    case CIRRON_VALUE_INT:
        cirron_display_int(out, mark->as_int);
        break;
    case CIRRON_VALUE_BOOL:
        cirron_output_text(out, mark->as_int != 0 ? "true" : "false");
        break;
    default:
        cirron_display_text(out, mark->as_string.data, mark->as_string.len);
        break;
    }
    if (mark->kind == CIRRON_MARK_SUMMARY) {
        PUT(out, " (summary)");
    }
    cirron_output_text(out, text->look.reset);
    PUT(out, "\n");
}

/* The profiler's own time in a span, as a mark. */
static bool get_overhead(const cirron_tree_text *text, int64_t row, cirron_table_mark *mark) {
    *mark = (cirron_table_mark){
        .name = {OVERHEAD, sizeof(OVERHEAD) - 1},
        .value_type = CIRRON_VALUE_INT,
        .kind = CIRRON_MARK_SUMMARY,
    };
    return text->style.overhead && get_number(text, CIRRON_COLUMN_OVERHEAD, row, &mark->as_int);
}

static void put_mark_lines(const cirron_tree_text *text, const cirron_tree_step *step,
                           cirron_output *out) {
    cirron_table_mark overhead;
    size_t count = 0;
    const uint32_t *marks =
        step->row < 0 ? NULL : cirron_table_marks_of(text->table, (size_t)step->row, &count);
    for (size_t i = 0; i < count; i++) {
        cirron_table_mark mark = cirron_table_mark_at(text->table, marks[i]);
        put_mark_line(text, &mark, step->depth + 1, out);
    }
    if (get_overhead(text, step->row, &overhead)) {
        put_mark_line(text, &overhead, step->depth + 1, out);
    }
}

static int put_lines(cirron_tree_text *text, const cirron_tree_step *step, cirron_output *out) {
    int status = CIRRON_OK;
    if (step->entering) {
        status = put_span_line(text, step, out);
        if (status == CIRRON_OK && step->collapsed != 0) {
            status = put_collapsed_line(text, step, out);
        }
    } else if (step->collapsed == 0) {
        put_mark_lines(text, step, out);
    }
    return status;
}

/* ---- JSON */

static void put_id_json(const cirron_tree_text *text, const cirron_id *id, cirron_output *out) {
    char hex[32];
    if (id == NULL) {
        PUT(out, "null");
        return;
    }
    cirron_text as_text = cirron_table_id_text(text->table, id, hex);
    cirron_ascii_json_string(out, as_text.data, as_text.len);
}

static void put_number_json(const cirron_tree_text *text, enum cirron_table_column column,
                            const char *key, int64_t row, bool is_ns, cirron_output *out) {
    int64_t value;
    cirron_output_text(out, key);
    if (!get_number(text, column, row, &value)) {
        PUT(out, "null");
        return;
    }
    cirron_output_put(out, "\"", is_ns);
    cirron_display_int(out, value);
    cirron_output_put(out, "\"", is_ns);
}

static void put_times_json(const cirron_tree_text *text, int64_t row, cirron_output *out) {
    int64_t start, end;
    bool closed = cirron_tree_interval(&text->walk, row, &start, &end);
    PUT(out, ", \"start_ns\": \"");
    cirron_display_int(out, start);
    if (!closed) {
        PUT(out, "\", \"end_ns\": null, \"duration_ns\": null");
        return;
    }
    PUT(out, "\", \"end_ns\": \"");
    cirron_display_int(out, end);
    PUT(out, "\", \"duration_ns\": \"");
    cirron_output_put(out, "-", end < start);
    uint64_t forward = (uint64_t)end - (uint64_t)start;
    cirron_display_uint(out, end < start ? 0 - forward : forward);
    PUT(out, "\"");
}

static void put_value_json(const cirron_table_mark *mark, cirron_output *out) {
    char text[CIRRON_JSON_DOUBLE_BYTES];
    switch (mark->value_type) {
    case CIRRON_VALUE_FLOAT:
        cirron_output_put(out, text, (size_t)(cirron_json_put_double(text, mark->as_float) - text));
        break;
    case CIRRON_VALUE_INT:
        cirron_display_int(out, mark->as_int);
        break;
    case CIRRON_VALUE_BOOL:
        cirron_output_text(out, mark->as_int != 0 ? "true" : "false");
        break;
    default:
        cirron_ascii_json_string(out, mark->as_string.data, mark->as_string.len);
        break;
    }
}

static void put_mark_json(const cirron_table_mark *mark, bool first, bool has_time,
                          cirron_output *out) {
    cirron_output_put(out, ", ", first ? 0 : 2);
    PUT(out, "{\"name\": ");
    cirron_ascii_json_string(out, mark->name.data, mark->name.len);
    PUT(out, ", \"value\": ");
    put_value_json(mark, out);
    cirron_output_text(out, mark->kind == CIRRON_MARK_SUMMARY
                                ? ", \"kind\": \"summary\", \"ts_ns\": "
                                : ", \"kind\": \"point\", \"ts_ns\": ");
    if (has_time) {
        PUT(out, "\"");
        cirron_display_int(out, mark->ts_ns);
        PUT(out, "\"");
    } else {
        PUT(out, "null");
    }
    PUT(out, ", \"attrs\": ");
    cirron_attrs_write(out, mark->attrs);
    PUT(out, "}");
}

static void put_marks_json(const cirron_tree_text *text, int64_t row, cirron_output *out) {
    cirron_table_mark overhead;
    size_t count = 0;
    int64_t start;
    const uint32_t *marks =
        row < 0 ? NULL : cirron_table_marks_of(text->table, (size_t)row, &count);
    PUT(out, ", \"marks\": [");
    for (size_t i = 0; i < count; i++) {
        cirron_table_mark mark = cirron_table_mark_at(text->table, marks[i]);
        put_mark_json(&mark, i == 0, true, out);
    }
    if (get_overhead(text, row, &overhead)) {
        bool closed = cirron_tree_interval(&text->walk, row, &start, &overhead.ts_ns);
        put_mark_json(&overhead, count == 0, closed, out);
    }
    PUT(out, "]");
}

static int put_collapsed_json(cirron_tree_text *text, const cirron_tree_step *step,
                              cirron_output *out) {
    uint64_t covered;
    int status = cirron_tree_covered(&text->walk, step, &covered);
    if (status == CIRRON_OK) {
        PUT(out, ", \"collapsed\": {\"spans\": ");
        cirron_display_uint(out, step->collapsed);
        PUT(out, ", \"duration_ns\": \"");
        cirron_display_uint(out, covered);
        PUT(out, "\"}");
    }
    return status;
}

static int open_span_json(cirron_tree_text *text, const cirron_tree_step *step,
                          cirron_output *out) {
    static const struct {
        enum cirron_table_column column;
        const char *key;
        bool is_ns;
    } numbers[] = {
        {CIRRON_COLUMN_CPU, ", \"cpu_ns\": ", true},
        {CIRRON_COLUMN_GPU, ", \"gpu_ns\": ", true},
        {CIRRON_COLUMN_MEMORY, ", \"memory_peak_bytes\": ", false},
        {CIRRON_COLUMN_THREAD, ", \"thread_id\": ", false},
        {CIRRON_COLUMN_PID, ", \"pid\": ", false},
        {CIRRON_COLUMN_RANK, ", \"rank\": ", false},
    };
    const int64_t row = step->row;
    cirron_text name = get_name(text, row);
    cirron_output_put(out, ",", text->separate);
    PUT(out, "{\"id\": ");
    if (row < 0) {
        cirron_ascii_json_string(out, name.data, name.len);
    } else {
        put_id_json(text, cirron_table_id(text->table, (size_t)row), out);
    }
    PUT(out, ", \"parent_id\": ");
    put_id_json(text, row < 0 ? NULL : cirron_table_parent_id(text->table, (size_t)row), out);
    PUT(out, ", \"name\": ");
    cirron_ascii_json_string(out, name.data, name.len);
    put_number_json(text, CIRRON_COLUMN_INDEX, ", \"index\": ", row, false, out);
    put_times_json(text, row, out);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        put_number_json(text, numbers[i].column, numbers[i].key, row, numbers[i].is_ns, out);
    }
    PUT(out, ", \"attrs\": ");
    cirron_attrs_write(out,
                       row < 0 ? (cirron_text){0} : cirron_table_attrs(text->table, (size_t)row));
    put_marks_json(text, row, out);
    int status = step->collapsed == 0 ? CIRRON_OK : put_collapsed_json(text, step, out);
    PUT(out, ", \"children\": [\n");
    text->separate = false;
    return status;
}

static int put_json(cirron_tree_text *text, const cirron_tree_step *step, cirron_output *out) {
    if (step->entering) {
        return open_span_json(text, step, out);
    }
    PUT(out, "]}\n");
    text->separate = true;
    return CIRRON_OK;
}

int cirron_tree_text_next(cirron_tree_text *text, size_t bytes, cirron_output *out) {
    const size_t before = out->text.len;
    int status = CIRRON_OK;
    bool done = false;
    while (status == CIRRON_OK && out->text.len - before < bytes) {
        cirron_tree_step step;
        status = cirron_tree_walk_next(&text->walk, &step, &done);
        if (done || status != CIRRON_OK) {
            break;
        }
        status = text->style.json ? put_json(text, &step, out) : put_lines(text, &step, out);
        if (out->status != CIRRON_OK) {
            status = out->status;
        }
    }
    return status;
}
