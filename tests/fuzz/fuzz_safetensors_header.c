/* libFuzzer target: whatever a safetensors file holds, reading its header neither crashes
 * nor leaks, and tensors that come out fill the data behind the header exactly.
 *
 * The first byte of the input says how many bytes of data follow the header, which is the
 * rest; a true length is put before it, so that the fuzzer need not guess that.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "core/safetensors_reader.h"
#include "fuzz.h"

static int file;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    use_sanitizers_memory();
    file = memfd_create("fuzz", 0);
    return 0;
}

static void check_tensors(const cirron_safetensors *header, uint64_t begin, uint64_t end) {
    unsigned sum = 0;
    for (size_t i = 0; i < cirron_safetensors_count(header); i++) {
        cirron_tensor tensor = cirron_safetensors_tensor(header, i);
        CHECK(tensor.begin == begin && tensor.end >= begin);
        begin = tensor.end;
        for (size_t at = 0; at < tensor.name.len; at++) {
            sum += (unsigned char)tensor.name.data[at];
        }
        for (size_t at = 0; at < tensor.dtype.len; at++) {
            sum += (unsigned char)tensor.dtype.data[at];
        }
        for (size_t at = 0; at < tensor.dimensions; at++) {
            sum += (unsigned)tensor.shape[at];
        }
    }
    CHECK(begin == end);
    volatile unsigned sink = sum; /* the bytes have to be read */
    (void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const uint64_t len = size - 1;
    const uint64_t end = 8 + len + data[0];
    char why[CIRRON_SAFETENSORS_WHY_BYTES] = "";
    cirron_safetensors *header = NULL;
    CHECK(ftruncate(file, 0) == 0 && ftruncate(file, (off_t)end) == 0);
    CHECK(pwrite(file, &len, sizeof(len), 0) == sizeof(len)); /* little-endian, as we are */
    CHECK(pwrite(file, data + 1, len, 8) == (ssize_t)len);
    int status = cirron_safetensors_read(file, &header, why);
    if (status == CIRRON_OK) {
        check_tensors(header, 8 + len, end);
        cirron_safetensors_free(header);
    } else {
        CHECK(status == CIRRON_CORRUPT && header == NULL);
        CHECK(why[0] != '\0' && strlen(why) < sizeof(why));
    }
    return 0;
}
