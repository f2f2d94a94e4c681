/* Headers of safetensors files: what is read, and what is refused with which reason. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/safetensors_reader.h"
#include "test.h"

/* What the first reads give: -1 an error, 0 the end, 1 what is there. */
static ssize_t reads[2] = {1, 1};
static int reads_done = 2;
static int read_errno;

/* In place of the C library's. */
ssize_t pread(int file, void *bytes, size_t len, off_t offset) {
    ssize_t result = reads_done < 2 ? reads[reads_done++] : 1;
    errno = read_errno;
    return result == 1 ? syscall(SYS_pread64, file, bytes, len, offset) : result;
}

static char why[CIRRON_SAFETENSORS_WHY_BYTES];

static void put(int file, const void *bytes, size_t len) {
    assert_int_equal(write(file, bytes, len), (ssize_t)len);
}

/* Reads a file whose header says that it is `len` bytes long. */
static int read_file(uint64_t len, const char *json, size_t data_bytes,
                     cirron_safetensors **header) {
    int file = memfd_create("test", 0);
    assert_true(file >= 0);
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++) {
        prefix[i] = (unsigned char)(len >> (8 * i));
    }
    put(file, prefix, sizeof(prefix));
    put(file, json, strlen(json));
    assert_int_equal(ftruncate(file, (off_t)(8 + strlen(json) + data_bytes)), 0);
    why[0] = '\0';
    int status = cirron_safetensors_read(file, header, why);
    close(file);
    return status;
}

static cirron_safetensors *read_good(const char *json, size_t data_bytes) {
    cirron_safetensors *header = NULL;
    int status = read_file(strlen(json), json, data_bytes, &header);
    if (status != CIRRON_OK) {
        fail_msg("%s: %s", why, json);
    }
    return header;
}

static void assert_refused(const char *json, size_t data_bytes, const char *reason) {
    cirron_safetensors *header = NULL;
    assert_int_equal(read_file(strlen(json), json, data_bytes, &header), CIRRON_CORRUPT);
    assert_null(header);
    if (strstr(why, reason) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", why, reason);
    }
}

static void tensors_come_in_the_order_of_their_bytes(void **state) {
    (void)state;
    cirron_safetensors *header =
        read_good("{\"__metadata__\":{\"format\":\"pt\"},"
                  "\"b\":{\"data_offsets\":[24,28],\"shape\":[2],\"dtype\":\"F16\"},"
                  "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24],\"new\":[1]},"
                  "\"\\u00e9\\n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[28,36]}}  ",
                  36);
    assert_int_equal(cirron_safetensors_count(header), 3);
    cirron_tensor tensor = cirron_safetensors_tensor(header, 0);
    assert_text_is(tensor.name, "a");
    assert_text_is(tensor.dtype, "F32");
    assert_int_equal(tensor.dimensions, 2);
    assert_int_equal(tensor.shape[0], 2);
    assert_int_equal(tensor.shape[1], 3);
    assert_int_equal(tensor.end - tensor.begin, 24);
    uint64_t end = tensor.end;
    tensor = cirron_safetensors_tensor(header, 1);
    assert_text_is(tensor.name, "b");
    assert_int_equal(tensor.begin, end);
    tensor = cirron_safetensors_tensor(header, 2);
    assert_text_is(tensor.name, "\xc3\xa9\n");
    assert_int_equal(tensor.dimensions, 0);
    assert_int_equal(tensor.end, end + 12);
    cirron_safetensors_free(header);
}

static void types_of_every_width_are_measured(void **state) {
    (void)state;
    static const struct {
        const char *dtype;
        unsigned bits;
    } dtypes[] = {{"F64", 64},    {"F32", 32}, {"F16", 16}, {"BF16", 16},   {"I64", 64},
                  {"I32", 32},    {"I16", 16}, {"I8", 8},   {"U64", 64},    {"U32", 32},
                  {"U16", 16},    {"U8", 8},   {"BOOL", 8}, {"F8_E4M3", 8}, {"F8_E5M2", 8},
                  {"F8_E8M0", 8}, {"C64", 64}, {"F4", 4},   {"F6_E2M3", 6}, {"F8_E5M2FNUZ", 8}};
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
        char json[128];
        for (unsigned wrong = 0; wrong < 2; wrong++) {
            unsigned bytes = dtypes[i].bits + wrong;
            (void)snprintf(json, sizeof(json),
                           "{\"a\":{\"dtype\":\"%s\",\"shape\":[8],\"data_offsets\":[0,%u]}}",
                           dtypes[i].dtype, bytes);
            if (wrong) {
                assert_refused(json, bytes, "data_offsets do not fit shape and dtype");
            } else {
                cirron_safetensors_free(read_good(json, bytes));
            }
        }
    }
}

static void a_type_of_tomorrow_keeps_its_name(void **state) {
    (void)state;
    cirron_safetensors *header =
        read_good("{\"a\":{\"dtype\":\"Q3\",\"shape\":[9],\"data_offsets\":[0,5]}}", 5);
    assert_text_is(cirron_safetensors_tensor(header, 0).dtype, "Q3");
    cirron_safetensors_free(header);
}

static void empty_tensors_and_empty_files_are_fine(void **state) {
    (void)state;
    cirron_safetensors_free(read_good("{}", 0));
    cirron_safetensors_free(
        read_good("{\"a\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[0,0]}}", 0));
}

static void a_length_beyond_the_file_is_refused(void **state) {
    (void)state;
    cirron_safetensors *header = NULL;
    static const uint64_t lengths[] = {3, 1u << 30, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        assert_int_equal(read_file(lengths[i], "{}", 0, &header), CIRRON_CORRUPT);
        assert_non_null(strstr(why, "longer than the file"));
    }
    assert_int_equal(read_file(0, "", 0, &header), CIRRON_CORRUPT);
    assert_int_equal(read_file(100000001, "{}", 100000001, &header), CIRRON_CORRUPT);
    assert_non_null(strstr(why, "larger than 100 MB"));
}

static size_t largest;

static void *note_malloc(size_t size) {
    largest = size > largest ? size : largest;
    return malloc(size);
}

static void *note_realloc(void *block, size_t size) {
    largest = size > largest ? size : largest;
    return realloc(block, size);
}

static void a_sparse_file_costs_little(void **state) {
    (void)state;
    cirron_safetensors *header = NULL;
    largest = 0;
    assert_int_equal(read_file(99999999, "{", 100000000, &header), CIRRON_CORRUPT);
    assert_true(largest < 4 << 20);
}

static void layouts_that_lie_are_refused(void **state) {
    (void)state;
#define TENSOR(shape, offsets) "{\"dtype\":\"U8\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    assert_refused("{\"a\":" TENSOR("[4]", "[0,4]") ",\"b\":" TENSOR("[4]", "[2,6]") "}", 6,
                   "overlap");
    assert_refused("{\"a\":" TENSOR("[4]", "[0,4]") ",\"b\":" TENSOR("[4]", "[5,9]") "}", 9, "gap");
    assert_refused("{\"a\":" TENSOR("[4]", "[0,4]") "}", 5, "the file has 5 bytes of data");
    assert_refused("{\"a\":" TENSOR("[4]", "[0,4]") "}", 3, "its header says 4");
    assert_refused("{\"a\":" TENSOR("[4]", "[4,0]") "}", 4, "run backwards");
    assert_refused("{\"a\":" TENSOR("[4]", "[0,-4]") "}", 4, "not two whole numbers");
    assert_refused("{\"a\":" TENSOR("[4]", "[0,4,4]") "}", 4, "not two whole numbers");
    assert_refused("{\"a\":" TENSOR("[4]", "[0,4.0]") "}", 4, "not two whole numbers");
    assert_refused("{\"a\":" TENSOR("[4]", "[0,18446744073709551616]") "}", 4, "two whole");
    assert_refused("{\"a\":" TENSOR("[4.5]", "[0,4]") "}", 4, "shape is no list");
    assert_refused("{\"a\":" TENSOR("[4294967296,4294967296]", "[0,0]") "}", 0, "larger than any");
    assert_refused("{\"a\":" TENSOR("[4]", "[0,4]") ",\"a\":" TENSOR("[0]", "[4,4]") "}", 4,
                   "given twice");
    assert_refused(
        "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1,
        "dtype is given twice");
    assert_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[]}}", 0, "is missing");
    assert_refused("{\"a\":{\"dtype\":8,\"shape\":[],\"data_offsets\":[0,1]}}", 1, "no string");
    assert_refused("{\"a\":{\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
                   "no whole number of bytes");
    assert_refused("{\"a\":3}", 0, "no JSON object");
    assert_refused("{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ holds more than strings");
    assert_refused("{\"__metadata__\":[]}", 0, "__metadata__ is no JSON object");
    assert_refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is given twice");
    assert_refused("{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],"
                   "\"data_offsets\":[0,8]}}",
                   8, "no whole number of bytes");
    assert_refused("[]", 0, "no JSON object");
    assert_refused(" {}", 0, "no JSON object");
    assert_refused("{} {}", 0, "no valid JSON");
    assert_refused("{\"a", 0, "no valid JSON");
    assert_refused("{\"\xff\":1}", 0, "no valid JSON");
#undef TENSOR
}

static void depth_costs_an_error_at_most(void **state) {
    (void)state;
    enum { DEPTH = 1 << 20 };
    static char json[DEPTH + 16];
    cirron_safetensors *header = NULL;
    memcpy(json, "{\"a\":{\"x\":", 10);
    memset(json + 10, '[', DEPTH);
    json[10 + DEPTH] = '\0';
    assert_int_equal(read_file(strlen(json), json, 0, &header), CIRRON_CORRUPT);
}

static void every_truncation_is_refused(void **state) {
    (void)state;
    static const char json[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                               "\"b\":{\"dtype\":\"U8\","
                               "\"shape\":[1],\"data_offsets\":[24,25]}}";
    for (size_t len = 1; len < sizeof(json) - 1; len++) {
        char cut[sizeof(json)];
        memcpy(cut, json, len);
        cut[len] = '\0';
        assert_refused(cut, 25, "");
    }
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    int ends[2];
    cirron_safetensors *header = NULL;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(cirron_safetensors_read(ends[0], &header, why), CIRRON_CORRUPT);
    assert_string_equal(why, "not a regular file");
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(cirron_safetensors_read(-1, &header, why), CIRRON_IO);
}

static void no_metadata_is_as_good_as_none(void **state) {
    (void)state;
    cirron_safetensors *header = read_good("{\"__metadata__\":null}", 0);
    assert_int_equal(cirron_safetensors_count(header), 0);
    cirron_safetensors_free(header);
}

static void a_file_of_less_than_a_length_is_refused(void **state) {
    (void)state;
    cirron_safetensors *header = NULL;
    int file = memfd_create("short", 0);
    put(file, "1234567", 7);
    assert_int_equal(cirron_safetensors_read(file, &header, why), CIRRON_CORRUPT);
    assert_string_equal(why, "too short for a safetensors file");
    close(file);
}

static void a_disk_that_fails_or_a_file_that_shrinks_is_told(void **state) {
    (void)state;
    static const char json[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    cirron_safetensors *header = NULL;
    for (int call = 0; call < 2; call++) { /* of the length, and of the header */
        memcpy(reads, (ssize_t[]){call == 0 ? -1 : 1, call == 0 ? 1 : -1}, sizeof(reads));
        reads_done = 0;
        read_errno = EIO;
        assert_int_equal(read_file(sizeof(json) - 1, json, 1, &header), CIRRON_IO);
        reads_done = 0;
        read_errno = EINTR;
        assert_int_equal(read_file(sizeof(json) - 1, json, 1, &header), CIRRON_OK);
        cirron_safetensors_free(header);
        reads_done = 0;
        memcpy(reads, (ssize_t[]){call == 0 ? 0 : 1, call == 0 ? 1 : 0}, sizeof(reads));
        assert_int_equal(read_file(sizeof(json) - 1, json, 1, &header), CIRRON_CORRUPT);
        assert_string_equal(why, "the file ends too early");
    }
}

int main(void) {
    cirron_memory_use(&(cirron_allocator){note_malloc, note_realloc, free});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_come_in_the_order_of_their_bytes),
        cmocka_unit_test(types_of_every_width_are_measured),
        cmocka_unit_test(a_type_of_tomorrow_keeps_its_name),
        cmocka_unit_test(empty_tensors_and_empty_files_are_fine),
        cmocka_unit_test(a_length_beyond_the_file_is_refused),
        cmocka_unit_test(a_sparse_file_costs_little),
        cmocka_unit_test(layouts_that_lie_are_refused),
        cmocka_unit_test(depth_costs_an_error_at_most),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(no_metadata_is_as_good_as_none),
        cmocka_unit_test(a_file_of_less_than_a_length_is_refused),
        cmocka_unit_test(a_disk_that_fails_or_a_file_that_shrinks_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
