/* Memory that runs out at every point of reading and exporting: each call says so, what it
 * had taken is given back, and with enough the result is the same as ever.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/arrow.h"
#include "core/csv_export.h"
#include "core/json_export.h"
#include "core/json_reader.h"
#include "core/otlp_export.h"
#include "core/safetensors_reader.h"
#include "core/spool_loader.h"
#include "core/store_table.h"
#include "core/tree_text.h"
#include "fallible_memory.h"
#include "test.h"

static const void *frozen; /* a block that can't grow */

static void *resize_unless_frozen(void *block, size_t size) {
    return block != NULL && block == frozen ? NULL : resize_or_refuse(block, size);
}

/* Runs `work` with its first request refused, then its second, and so on until none is left
 * to refuse; then the same with all that follow refused as well. `has_hints`: some requests
 * are for speed alone, and without them the work is done as well. */
static void refuse_each_of(int (*work)(void), bool has_hints) {
    for (int all = 0; all < 2; all++) {
        for (long number = 0;; number++) {
            const long before = blocks_held;
            allocations_left = number;
            refusals_at_most = all ? LONG_MAX : 1;
            const int status = work();
            const bool refused = allocations_left < 0;
            allocations_left = UNLIMITED;
            assert_int_equal(blocks_held, before);
            if (!refused) {
                assert_int_equal(status, CIRRON_OK);
                assert_true(number > 0);
                break;
            }
            assert_int_equal(status, has_hints && status == CIRRON_OK ? status : CIRRON_NO_MEMORY);
        }
    }
}

static void refuse_each(int (*work)(void)) {
    refuse_each_of(work, false);
}

/* ---- what is read and exported */

#define ROOT "000102030405060708090a0b0c0d0e0f"

/* Spans of two sessions and of none: with and without each field, open, out of order, twice;
 * marks of each type; a snapshot. */
static const char batch[] =
    "{\"schema_version\":1,\"sdk_version\":\"0.1\",\"created_ns\":7,\"spans\":["
    "{\"id\":\"" ROOT "\",\"name\":\"cirron.session\",\"start_ns\":5,\"end_ns\":500,\"pid\":1,"
    "\"rank\":0,\"attrs\":{\"hostname\":\"a\\\"b\",\"error\":\"E: \\ud800\"}},"
    "{\"id\":\"step\",\"parent_id\":\"" ROOT "\",\"name\":\"step, \\\"one\\\"\",\"index\":3,"
    "\"start_ns\":6,\"end_ns\":60,\"cpu_ns\":1,\"gpu_ns\":2,\"memory_peak_bytes\":3,"
    "\"thread_id\":4,\"pid\":1,\"rank\":0,\"overhead_ns\":9,\"attrs\":{\"n\":[1,{\"x\":NaN}],"
    "\"cirron.rank\":1,\"error\":true,\"caf\\u00e9\":-1e99,\"text\":\"a, b\\n\"}},"
    "{\"id\":\"step\",\"parent_id\":\"" ROOT "\",\"name\":\"lost twin\",\"start_ns\":6},"
    "{\"id\":\"forward\",\"parent_id\":\"step\",\"name\":\"forward\",\"start_ns\":-7,"
    "\"end_ns\":40,\"attrs\":{}},"
    "{\"id\":\"open\",\"parent_id\":\"step\",\"name\":\"open\",\"start_ns\":30},"
    "{\"id\":\"twin\",\"parent_id\":\"step\",\"name\":\"twin\",\"start_ns\":30,\"attrs\":"
    "{\r\n\t\"k\"\r: 1}},"
    "{\"id\":\"00000000000000000000000000000000\",\"name\":\"cirron.session\",\"start_ns\":9},"
    "{\"id\":\"orphan\",\"parent_id\":\"nowhere\",\"name\":\"\",\"start_ns\":1,\"end_ns\":2}"
    "],\"marks\":["
    "{\"id\":\"m1\",\"span_id\":\"step\",\"name\":\"loss\",\"value_type\":\"float\",\"value\":0.5,"
    "\"ts_ns\":8,\"kind\":\"point\",\"attrs\":{\"value\":1,\"unit\":\"x\"}},"
    "{\"id\":\"m2\",\"span_id\":\"step\",\"name\":\"input_tokens\",\"value_type\":\"int\","
    "\"value\":12,\"ts_ns\":9,\"kind\":\"summary\"},"
    "{\"id\":\"m3\",\"span_id\":\"step\",\"name\":\"completion_tokens\",\"value_type\":\"int\","
    "\"value\":-4,\"ts_ns\":10,\"kind\":\"summary\"},"
    "{\"id\":\"m4\",\"span_id\":\"open\",\"name\":\"said\",\"value_type\":\"string\","
    "\"value\":\"caf\\u00e9 \\\"x\\\"\",\"ts_ns\":99},"
    "{\"id\":\"m5\",\"span_id\":\"" ROOT "\",\"name\":\"good\",\"value_type\":\"bool\","
    "\"value\":true,\"ts_ns\":7},"
    "{\"id\":\"m5\",\"span_id\":\"" ROOT "\",\"name\":\"good\",\"value_type\":\"bool\","
    "\"value\":false,\"ts_ns\":7},"
    "{\"id\":\"m7\",\"span_id\":\"" ROOT "\",\"name\":\"good\",\"value_type\":\"bool\","
    "\"value\":true,\"ts_ns\":6},"
    "{\"id\":\"m8\",\"span_id\":\"step\",\"name\":\"at once\",\"value_type\":\"int\","
    "\"value\":1,\"ts_ns\":8},"
    "{\"id\":\"m6\",\"span_id\":\"root\",\"name\":\"loss\",\"value_type\":\"float\","
    "\"value\":\"NaN\",\"ts_ns\":7}"
    "],\"snapshots\":["
    "{\"id\":\"s1\",\"span_id\":\"step\",\"tensor_name\":\"w\",\"shape\":[2,3],\"dtype\":"
    "\"float32\",\"mode\":\"full\",\"stats\":{\"mean\":0.5},\"blob_uri\":\"file:///x\","
    "\"ts_ns\":11,\"attrs\":{\"k\":1}},"
    "{\"id\":\"s1\",\"span_id\":\"step\",\"tensor_name\":\"w\"},"
    "{\"id\":\"s2\",\"span_id\":\"nowhere\",\"tensor_name\":\"v\"}]}";

static int read_batch(cirron_table *table) {
    const char *why = "";
    cirron_json_reader *reader = cirron_json_reader_new();
    if (reader == NULL) {
        return CIRRON_NO_MEMORY;
    }
    char *bytes = cirron_json_reader_reserve(reader, sizeof(batch) - 1);
    int status = CIRRON_NO_MEMORY;
    if (bytes != NULL) {
        memcpy(bytes, batch, sizeof(batch) - 1);
        status = cirron_json_reader_read(reader, sizeof(batch) - 1, 1000, table, &why);
    }
    cirron_json_reader_free(reader);
    return status;
}

static int read_and_link(void) {
    cirron_table *table = cirron_table_new();
    if (table == NULL) {
        return CIRRON_NO_MEMORY;
    }
    int status = read_batch(table);
    if (status != CIRRON_OK) {
        assert_int_equal(cirron_table_spans(table), 0); /* a failed file leaves no row */
        assert_int_equal(cirron_table_marks(table), 0);
        assert_int_equal(cirron_table_snapshots(table), 0);
    } else {
        status = cirron_table_link(table);
    }
    if (status == CIRRON_OK) {
        assert_int_equal(cirron_table_spans(table), 7);
        assert_int_equal(cirron_table_marks(table), 8);
        assert_int_equal(cirron_table_snapshots(table), 2);
    }
    cirron_table_free(table);
    return status;
}

static void a_batch_is_read_and_linked_or_it_is_not(void **state) {
    (void)state;
    refuse_each(read_and_link);
}

static cirron_table *part; /* not linked */

static int append_twice(void) {
    cirron_table *table = cirron_table_new();
    int status = table == NULL ? CIRRON_NO_MEMORY : cirron_table_append(table, part);
    if (status == CIRRON_OK) {
        status = cirron_table_append(table, part);
    }
    if (status == CIRRON_OK) {
        assert_int_equal(cirron_table_spans(table), 2 * cirron_table_spans(part));
        assert_int_equal(cirron_table_marks(table), 2 * cirron_table_marks(part));
    }
    cirron_table_free(table);
    return status;
}

static void a_table_is_appended_or_it_is_not(void **state) {
    (void)state;
    part = cirron_table_new();
    assert_int_equal(read_batch(part), CIRRON_OK);
    refuse_each(append_twice);
    cirron_table_free(part);
}

/* ---- exports */

static cirron_table *table;
static cirron_otlp_id odd_ids[64];

static int read_table(void **state) {
    (void)state;
    table = cirron_table_new();
    if (table == NULL || read_batch(table) != CIRRON_OK || cirron_table_link(table) != CIRRON_OK) {
        return -1;
    }
    assert_true(cirron_table_odd_ids(table) <= 64);
    for (size_t i = 0; i < cirron_table_odd_ids(table); i++) {
        uint8_t digest[32] = {(uint8_t)i};
        odd_ids[i] = cirron_otlp_id_of(cirron_table_odd_id_text(table, i), digest);
    }
    return 0;
}

static int free_table(void **state) {
    (void)state;
    cirron_table_free(table);
    return 0;
}

static cirron_output out; /* where the documents go */

static int write_csv(void) {
    cirron_export export;
    cirron_export_init(&export, table, -1);
    int status = cirron_csv_export_next(&export, &out);
    assert_true(status != CIRRON_OK || export.finished);
    cirron_export_fini(&export);
    return status;
}

static int write_json(void) {
    cirron_export export;
    cirron_json_export_init(&export, table, -1);
    int status = cirron_json_export_next(&export, &out);
    assert_true(status != CIRRON_OK || export.finished);
    cirron_export_fini(&export);
    return status;
}

static int write_otlp_requests(size_t request_bytes) {
    cirron_otlp_export export;
    int status = cirron_otlp_export_init(&export, table, -1, odd_ids, request_bytes);
    while (status == CIRRON_OK && !export.base.finished) {
        out.text.len = 0;
        status = cirron_otlp_export_next(&export, &out);
    }
    cirron_otlp_export_fini(&export);
    return status;
}

static int write_otlp(void) {
    return write_otlp_requests(0);
}

static int write_small_otlp(void) {
    return write_otlp_requests(1);
}

static int write_tree(const cirron_tree_filter *filter, const cirron_tree_style *style) {
    size_t sessions;
    int status = CIRRON_OK;
    (void)cirron_table_sessions(table, &sessions);
    for (size_t i = 0; i < sessions && status == CIRRON_OK; i++) {
        cirron_tree_text *text = cirron_tree_text_new(table, i, filter, style);
        if (text == NULL) {
            return CIRRON_NO_MEMORY;
        }
        for (size_t before = SIZE_MAX; status == CIRRON_OK && before != out.text.len;) {
            before = out.text.len;
            status = cirron_tree_text_next(text, 1, &out);
        }
        cirron_tree_text_free(text);
    }
    return status;
}

static int write_lines(void) {
    return write_tree(&(cirron_tree_filter){.depth = -1},
                      &(cirron_tree_style){.overhead = true, .color = true});
}

static int write_some_lines(void) {
    return write_tree(&(cirron_tree_filter){.name = {"o", 1}, .min_wall_ns = 1, .depth = 1},
                      &(cirron_tree_style){.ascii = true});
}

static int write_tree_json(void) {
    return write_tree(&(cirron_tree_filter){.depth = -1},
                      &(cirron_tree_style){.json = true, .overhead = true});
}

static int write_collapsed_json(void) {
    return write_tree(&(cirron_tree_filter){.depth = 0}, &(cirron_tree_style){.json = true});
}

static int (*const writers[])(void) = {write_csv,       write_json,          write_otlp,
                                       write_lines,     write_some_lines,    write_small_otlp,
                                       write_tree_json, write_collapsed_json};

enum { WRITERS = sizeof(writers) / sizeof(writers[0]) };

static int (*writer)(void);

static int write_afresh(void) {
    out = (cirron_output){0};
    int status = writer();
    assert_int_equal(status, out.status == CIRRON_OK ? status : out.status);
    cirron_buffer_fini(&out.text);
    return status;
}

static void an_export_is_whole_or_says_that_memory_ran_out(void **state) {
    (void)state;
    for (int i = 0; i < WRITERS; i++) {
        writer = writers[i];
        refuse_each(write_afresh);
    }
}

/* The same for each length at which the document can be cut: its buffer does not grow. */
static void a_document_that_cannot_grow_is_never_passed_off_as_whole(void **state) {
    (void)state;
    for (int i = 0; i < WRITERS; i++) {
        out = (cirron_output){0};
        assert_int_equal(writers[i](), CIRRON_OK);
        const cirron_buffer whole = out.text;
        bool fitted = false;
        for (size_t cap = 1; !fitted; cap++) {
            out = (cirron_output){.text = {cirron_malloc(cap), 0, cap}};
            frozen = out.text.data;
            fitted = writers[i]() == CIRRON_OK;
            frozen = NULL;
            assert_true(out.text.len <= cap);
            if (fitted) {
                assert_int_equal(out.text.len, whole.len);
                assert_memory_equal(out.text.data, whole.data, whole.len);
            } else {
                assert_int_equal(out.status, CIRRON_NO_MEMORY);
            }
            cirron_buffer_fini(&out.text);
        }
        cirron_free(whole.data);
    }
}

/* ---- Arrow */

static int stream_of(cirron_arrow_rows rows) {
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    struct ArrowArray array;
    int status = cirron_arrow_stream(table, &rows, &stream);
    if (status != CIRRON_OK) {
        return status;
    }
    if (stream.get_schema(&stream, &schema) == 0) {
        schema.release(&schema);
    } else {
        status = CIRRON_NO_MEMORY;
    }
    do {
        array.release = NULL;
        if (stream.get_next(&stream, &array) != 0) {
            assert_non_null(stream.get_last_error(&stream));
            status = CIRRON_NO_MEMORY;
        }
        if (array.release == NULL) {
            break;
        }
        array.release(&array);
    } while (status == CIRRON_OK);
    stream.release(&stream);
    return status;
}

static cirron_arrow_rows rows_wanted;

static int stream_wanted(void) {
    return stream_of(rows_wanted);
}

static void a_stream_of_records_says_that_memory_ran_out(void **state) {
    (void)state;
    for (int kind = CIRRON_ARROW_SPANS; kind <= CIRRON_ARROW_SNAPSHOTS; kind++) {
        rows_wanted = (cirron_arrow_rows){.kind = (enum cirron_arrow_kind)kind};
        refuse_each(stream_wanted);
        rows_wanted.by_session = true;
        refuse_each(stream_wanted);
        rows_wanted.session = 1;
        rows_wanted.by_rank = true;
        refuse_each(stream_wanted);
    }
}

/* ---- the store */

static cirron_intern *names;
static cirron_store *store;

static const cirron_id step_id = {{1}};

static int put_records(void) {
    const cirron_span_record span = {.id = step_id,
                                     .start_ns = 5,
                                     .name = CIRRON_NAME_INLINE,
                                     .name_len = 4,
                                     .attrs_len = 7,
                                     .thread_id = 1};
    const cirron_mark_record mark = {.span_id = step_id,
                                     .ts_ns = 6,
                                     .name = CIRRON_NAME_INLINE,
                                     .name_len = 4,
                                     .value_len = 3,
                                     .value_type = CIRRON_VALUE_STRING,
                                     .kind = CIRRON_MARK_SUMMARY};
    const cirron_id id = {{2}};
    int marked = cirron_store_put_mark(store, &mark, "losslow", &id);
    int put = cirron_store_put_span(store, &span, "step{\"a\":1}");
    assert_true(cirron_store_is_valid(store));
    return marked != CIRRON_OK ? marked : put;
}

static int fill_a_store(void) {
    int status = CIRRON_NO_MEMORY;
    names = cirron_intern_new();
    store = names == NULL ? NULL : cirron_store_new(names, 8);
    if (store != NULL) {
        status = put_records();
        /* What is not held is counted. */
        assert_true((status == CIRRON_OK) == (cirron_store_evicted(store) == 0));
    }
    if (status == CIRRON_OK) {
        status = cirron_store_set_max_spans(store, 100000);
    }
    cirron_store_free(store);
    cirron_intern_free(names);
    return status;
}

static void a_store_holds_a_record_or_counts_it(void **state) {
    (void)state;
    refuse_each(fill_a_store);
}

static int read_store(void) {
    cirron_table *rows = cirron_table_new();
    const cirron_table_span open = {.name = {"open", 4}, .start_ns = 1, .attrs = {"{}", 2}};
    int status = CIRRON_NO_MEMORY;
    if (rows != NULL) {
        status = cirron_table_from_store(rows, store, names, 1, 2, 0, -1);
    }
    if (status == CIRRON_OK) {
        status = cirron_table_add_open_span(rows, store, names, &step_id, &open);
    }
    if (status == CIRRON_OK) {
        assert_int_equal(cirron_table_spans(rows), 2);
        assert_int_equal(cirron_table_marks(rows), 2);
    }
    cirron_table_free(rows);
    return status;
}

static void the_store_is_read_or_it_is_not(void **state) {
    (void)state;
    names = cirron_intern_new();
    store = cirron_store_new(names, 8);
    assert_int_equal(put_records(), CIRRON_OK);
    refuse_each(read_store);
    cirron_store_free(store);
    cirron_intern_free(names);
}

/* ---- files */

static int read_header(void) {
    static const char json[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                               "\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
                               "\"__metadata__\":{\"format\":\"pt\"}}";
    char file_bytes[8 + sizeof(json) - 1 + 8] = {(char)(sizeof(json) - 1)};
    char why[CIRRON_SAFETENSORS_WHY_BYTES];
    cirron_safetensors *header = NULL;
    FILE *file = tmpfile();
    assert_non_null(file);
    memcpy(file_bytes + 8, json, sizeof(json) - 1);
    assert_int_equal(fwrite(file_bytes, sizeof(file_bytes), 1, file), 1);
    assert_int_equal(fflush(file), 0);
    int status = cirron_safetensors_read(fileno(file), &header, why);
    assert_true((status == CIRRON_OK) == (header != NULL));
    if (header != NULL) {
        assert_int_equal(cirron_safetensors_count(header), 2);
    }
    cirron_safetensors_free(header);
    fclose(file);
    return status;
}

static void a_header_is_read_or_it_is_not(void **state) {
    (void)state;
    refuse_each(read_header);
}

static char path[] = "/tmp/cirron-no-memory-XXXXXX";

static int load_file(void) {
    cirron_spool_file files[3] = {{.path = path}, {.path = path}, {.path = path}};
    cirron_table *rows = cirron_table_new();
    if (rows == NULL) {
        return CIRRON_NO_MEMORY;
    }
    int status = CIRRON_NO_MEMORY;
    cirron_spool_loader *loader = cirron_spool_loader_start(rows, files, 3, 2);
    if (loader != NULL) {
        while (!cirron_spool_loader_wait(loader, 1000000000)) {
        }
        status = cirron_spool_loader_end(loader);
    }
    if (status == CIRRON_OK) {
        assert_int_equal(cirron_table_spans(rows), 3 * 8);
        assert_int_equal(cirron_table_marks(rows), 3 * 9);
    }
    cirron_table_free(rows);
    return status;
}

static void a_spool_is_loaded_or_it_is_not(void **state) {
    (void)state;
    int file = mkstemp(path);
    assert_int_equal(write(file, batch, sizeof(batch) - 1), sizeof(batch) - 1);
    close(file);
    refuse_each_of(load_file, true);
    unlink(path);
}

int main(void) {
    cirron_memory_use(&(cirron_allocator){allocate_or_refuse, resize_unless_frozen, release});
#define WITH_TABLE(name) cmocka_unit_test_setup_teardown(name, read_table, free_table)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_read_and_linked_or_it_is_not),
        cmocka_unit_test(a_table_is_appended_or_it_is_not),
        WITH_TABLE(an_export_is_whole_or_says_that_memory_ran_out),
        WITH_TABLE(a_document_that_cannot_grow_is_never_passed_off_as_whole),
        WITH_TABLE(a_stream_of_records_says_that_memory_ran_out),
        cmocka_unit_test(a_store_holds_a_record_or_counts_it),
        cmocka_unit_test(the_store_is_read_or_it_is_not),
        cmocka_unit_test(a_header_is_read_or_it_is_not),
        cmocka_unit_test(a_spool_is_loaded_or_it_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
