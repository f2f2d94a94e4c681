/* libFuzzer target: a table filled from a hostile batch file, written in every form. JSON and
 * OTLP are strict, the JSON holds what the table held and stays as it is when it is read and
 * written again, and each line of the CSV has as many fields as its head.
 */
#include "core/csv_export.h"
#include "core/json_export.h"
#include "core/otlp_export.h"
#include "core/tree_text.h"
#include "fuzz.h"
#include "json_check.h"
#include "read_batch.h"

static cirron_output export_json(const cirron_table *table, int64_t session) {
    cirron_export export;
    cirron_output out = {0};
    cirron_json_export_init(&export, table, session);
    while (!export.finished) {
        CHECK(cirron_json_export_next(&export, &out) == CIRRON_OK);
    }
    CHECK(export.done == export.total);
    cirron_export_fini(&export);
    CHECK(json_is_strict(out.text.data, out.text.len));
    return out;
}

static void check_json(const cirron_table *table) {
    cirron_output once = export_json(table, -1);
    int status;
    cirron_table *again = read_table(once.text.data, once.text.len, &status);
    CHECK(status == CIRRON_OK);
    CHECK(cirron_table_spans(again) == cirron_table_spans(table));
    CHECK(cirron_table_marks(again) == cirron_table_marks(table));
    CHECK(cirron_table_snapshots(again) == cirron_table_snapshots(table));
    cirron_output twice = export_json(again, -1);
    CHECK(is_same_text(text_in(&twice.text), text_in(&once.text)));
    cirron_table_free(again);
    cirron_buffer_fini(&once.text);
    cirron_buffer_fini(&twice.text);
}

/* Fields of the line at `*at`, which then stands behind it. */
static size_t take_csv_line(const char **at, const char *end) {
    size_t fields = 1;
    int quoted = 0;
    for (; *at != end; ++*at) {
        quoted ^= **at == '"';
        fields += !quoted && **at == ',';
        if (!quoted && **at == '\n') {
            CHECK((*at)[-1] == '\r');
            ++*at;
            return fields;
        }
    }
    CHECK(0); /* the last line ends as well */
    return 0;
}

static void check_csv(const cirron_table *table) {
    cirron_export export;
    cirron_output out = {0};
    cirron_export_init(&export, table, -1);
    while (!export.finished) {
        CHECK(cirron_csv_export_next(&export, &out) == CIRRON_OK);
    }
    cirron_export_fini(&export);
    const char *at = out.text.data;
    const char *end = at + out.text.len;
    size_t fields = take_csv_line(&at, end);
    size_t rows = 0;
    for (; at != end; rows++) {
        CHECK(take_csv_line(&at, end) == fields);
    }
    CHECK(rows == cirron_table_spans(table));
    cirron_buffer_fini(&out.text);
}

static void check_otlp(const cirron_table *table, size_t request_bytes) {
    static const uint8_t digest[32] = {1, 2, 3};
    size_t odd = cirron_table_odd_ids(table);
    cirron_otlp_id *ids = calloc(odd + 1, sizeof *ids);
    for (size_t i = 0; i < odd; i++) {
        ids[i] = cirron_otlp_id_of(cirron_table_odd_id_text(table, i), digest);
    }
    cirron_otlp_export export;
    cirron_output out = {0};
    CHECK(cirron_otlp_export_init(&export, table, -1, ids, request_bytes) == CIRRON_OK);
    while (!export.base.finished) {
        CHECK(cirron_otlp_export_next(&export, &out) == CIRRON_OK);
        if (request_bytes != 0 && out.text.len != 0) { /* no spans, no request */
            CHECK(json_is_strict(out.text.data, out.text.len));
            out.text.len = 0;
        }
    }
    CHECK(request_bytes != 0 || json_is_strict(out.text.data, out.text.len));
    cirron_otlp_export_fini(&export);
    cirron_buffer_fini(&out.text);
    free(ids);
}

static void check_tree(const cirron_table *table, size_t session, cirron_tree_filter filter,
                       cirron_tree_style style) {
    cirron_output out = {0};
    size_t before;
    cirron_tree_text *text = cirron_tree_text_new(table, session, &filter, &style);
    CHECK(text != NULL);
    do {
        before = out.text.len;
        CHECK(cirron_tree_text_next(text, 100, &out) == CIRRON_OK);
    } while (out.text.len != before);
    CHECK(!style.json || json_is_strict(out.text.data, out.text.len));
    cirron_tree_text_free(text);
    cirron_buffer_fini(&out.text);
}

static void check_trees(const cirron_table *table) {
    static const cirron_tree_filter filters[] = {
        {.depth = -1},
        {.depth = 0},
        {.depth = 1, .min_wall_ns = 1e6},
        {.depth = -1, .name = {"e", 1}},
    };
    size_t sessions;
    (void)cirron_table_sessions(table, &sessions);
    for (size_t session = 0; session < sessions && session < 4; session++) {
        for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
            check_tree(table, session, filters[i], (cirron_tree_style){.color = true});
            check_tree(table, session, filters[i],
                       (cirron_tree_style){.ascii = true, .overhead = true});
            check_tree(table, session, filters[i],
                       (cirron_tree_style){.json = true, .overhead = true});
        }
        cirron_output one = export_json(table, (int64_t)session);
        cirron_buffer_fini(&one.text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int status; /* what is refused leaves an empty table, which is written as well */
    cirron_table *table = read_table(data, size, &status);
    check_csv(table);
    check_json(table);
    check_otlp(table, 0);
    check_otlp(table, 500);
    check_trees(table);
    cirron_table_free(table);
    return 0;
}
