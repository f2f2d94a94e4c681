/* What the instruction gate counts in core: `core_loop encode N` writes N spans into
 * batches, `core_loop parse N` also reads the documents back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/batch.h"
#include "core/json_reader.h"

static const char attrs[] = "{\"batch\":3,\"phase\":\"train\"}";

static cirron_id make_id(uint32_t number) {
    cirron_id id = {{0xAB}};
    memcpy(id.bytes + 4, &number, sizeof number);
    return id;
}

static cirron_span_record make_span(cirron_intern *names, uint32_t number) {
    return (cirron_span_record){
        .id = make_id(number),
        .parent_id = make_id(0),
        .start_ns = 1776486598051509001 + number,
        .duration_ns = 1234567,
        .cpu_ns = 1200000,
        .index = number,
        .overhead_ns = 400,
        .thread_id = 4321,
        .name = cirron_intern_name(names, "forward", strlen("forward")),
        .attrs_len = sizeof attrs - 1,
        .flags = CIRRON_SPAN_PARENT | CIRRON_SPAN_INDEX | CIRRON_SPAN_CPU,
    };
}

static int parse(const cirron_buffer *document) {
    const char *why;
    cirron_json_reader *reader = cirron_json_reader_new();
    cirron_table *table = cirron_table_new();
    int status = CIRRON_NO_MEMORY;
    char *bytes =
        reader != NULL && table != NULL ? cirron_json_reader_reserve(reader, document->len) : NULL;
    if (bytes != NULL) {
        memcpy(bytes, document->data, document->len);
        status = cirron_json_reader_read(reader, document->len, document->len, table, &why);
    }
    cirron_json_reader_free(reader);
    cirron_table_free(table);
    return status;
}

static int run(cirron_batch *batch, cirron_intern *names, uint32_t spans, bool parsed) {
    cirron_buffer document = {0};
    cirron_id batch_id = make_id(1);
    int status = CIRRON_OK;
    for (uint32_t i = 1; i <= spans && status == CIRRON_OK; i++) {
        cirron_span_record span = make_span(names, i);
        status = cirron_batch_add_span(batch, &span, attrs);
    }
    if (status == CIRRON_OK) {
        status = cirron_batch_finish(batch, &batch_id, 42, &document);
    }
    if (status == CIRRON_OK && parsed) {
        status = parse(&document);
    }
    cirron_buffer_fini(&document);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        (void)fprintf(stderr, "usage: core_loop encode|parse SPANS\n");
        return 2;
    }
    cirron_intern *names = cirron_intern_new();
    cirron_batch *batch = names != NULL ? cirron_batch_new(names) : NULL;
    int status = CIRRON_NO_MEMORY;
    if (batch != NULL) {
        status =
            run(batch, names, (uint32_t)strtoul(argv[2], NULL, 10), strcmp(argv[1], "parse") == 0);
    }
    cirron_batch_free(batch);
    cirron_intern_free(names);
    return status == CIRRON_OK ? 0 : 1;
}
