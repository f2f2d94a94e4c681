/* libFuzzer target: batch files (several, with a NUL between them) into one table, which
 * is then linked and read. Beyond crashes it looks for tables that contradict
 * themselves. */
#include "core/json_reader.h"
#include "fuzz.h"
#include "read_batch.h"

static void check_tree(const cirron_table *table) {
    const size_t count = cirron_table_spans(table);
    const int32_t *rows = cirron_table_tree_rows(table);
    const int32_t *depths = cirron_table_tree_depths(table);
    const int64_t *parents = cirron_table_ints(table, CIRRON_COLUMN_PARENT_ROW);
    const int64_t *sessions = cirron_table_ints(table, CIRRON_COLUMN_SESSION);
    size_t *places = calloc(count + 1, sizeof(*places));
    size_t session_count;
    const cirron_table_session *all = cirron_table_sessions(table, &session_count);
    for (size_t i = 0; i < count; i++) {
        CHECK(rows[i] >= 0 && (size_t)rows[i] < count && places[rows[i]] == 0);
        places[rows[i]] = i + 1;
        int64_t parent = parents[rows[i]];
        if (parent < 0) {
            CHECK(depths[i] == 0);
            continue;
        }
        CHECK((size_t)parent < count && places[parent] != 0);
        CHECK(depths[i] == depths[places[parent] - 1] + 1);
        CHECK(sessions[rows[i]] == sessions[parent]);
    }
    size_t inside = 0;
    for (size_t row = 0; row < count; row++) {
        CHECK(sessions[row] >= -1 && sessions[row] < (int64_t)session_count);
        inside += sessions[row] >= 0;
    }
    for (size_t i = 0; i < session_count; i++) {
        CHECK(all[i].tree_start + all[i].spans <= count);
        CHECK(i == 0 || all[i - 1].started_ns >= all[i].started_ns);
        inside -= all[i].spans;
        read_text(all[i].sdk_version);
    }
    CHECK(inside == 0);
    free(places);
}

static void read_rows(const cirron_table *table) {
    const int64_t *mark_counts = cirron_table_ints(table, CIRRON_COLUMN_MARK_COUNT);
    for (size_t row = 0; row < cirron_table_spans(table); row++) {
        char hex[32];
        const cirron_id *parent = cirron_table_parent_id(table, row);
        read_text(cirron_table_id_text(table, cirron_table_id(table, row), hex));
        if (parent != NULL) {
            read_text(cirron_table_id_text(table, parent, hex));
        }
        read_text(cirron_table_name_text(table, cirron_table_name(table, row)));
        read_text(cirron_table_attrs(table, row));
        size_t count;
        const uint32_t *marks = cirron_table_marks_of(table, row, &count);
        CHECK((int64_t)count == mark_counts[row]);
        int64_t last = INT64_MIN;
        for (size_t i = 0; i < count; i++) {
            CHECK(marks[i] < cirron_table_marks(table));
            cirron_table_mark mark = cirron_table_mark_at(table, marks[i]);
            read_text(mark.name);
            read_text(mark.attrs);
            read_text(mark.as_string);
            CHECK(mark.ts_ns >= last);
            last = mark.ts_ns;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cirron_json_reader *reader = cirron_json_reader_new();
    cirron_table *table = cirron_table_new();
    while (size != 0) {
        const uint8_t *nul = memchr(data, 0, size);
        size_t len = nul == NULL ? size : (size_t)(nul - data);
        (void)read_batch(reader, table, data, len);
        len += nul != NULL;
        data += len;
        size -= len;
    }
    CHECK(cirron_table_link(table) == CIRRON_OK);
    check_tree(table);
    read_rows(table);
    cirron_table_free(table);
    cirron_json_reader_free(reader);
    return 0;
}
