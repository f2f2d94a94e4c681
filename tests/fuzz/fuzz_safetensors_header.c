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

static int file = -1;

static void check_tensors(const cirron_safetensors *header, uint64_t begin, uint64_t end) {
    for (size_t i = 0; i < cirron_safetensors_count(header); i++) {
        cirron_tensor tensor = cirron_safetensors_tensor(header, i);
        CHECK(tensor.begin == begin && tensor.end >= begin);
        begin = tensor.end;
        read_text(tensor.name);
        read_text(tensor.dtype);
        read_text(
            (cirron_text){(const char *)tensor.shape, tensor.dimensions * sizeof(*tensor.shape)});
    }
    CHECK(begin == end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    file = file < 0 ? memfd_create("fuzz", 0) : file;
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
