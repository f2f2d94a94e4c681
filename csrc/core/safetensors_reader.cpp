// The second use of simdjson: on demand, each tensor goes from the header's text into one
// row; the checks that need all rows come last. Names stay where the text was read to and
// are unescaped there, so a header costs its own bytes, simdjson's index and a row a tensor.

#define SIMDJSON_EXCEPTIONS 0

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <simdjson.h>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json_strings.h"

extern "C" {
#include "core/buffer.h"
#include "core/json_scalar.h"
#include "core/safetensors_reader.h"
#include "core/text_dict.h"
}

namespace ondemand = simdjson::ondemand;
using simdjson::error_code;

namespace {

struct row {
    cirron_text name, dtype;
    size_t shape; // its place in `shapes`
    size_t dimensions;
    uint64_t begin, end; // in the data
};

} // namespace

struct cirron_safetensors {
    cirron_buffer json; // with simdjson's padding behind `len`
    cirron_buffer rows; // of `row`
    cirron_buffer shapes;
    uint64_t data_start;
};

namespace {

enum {
    LENGTH_BYTES = 8,
    READ_BYTES = 1 << 20,
    SHOWN_NAME_BYTES = 80,
};

// Bits of one value; what is not here is a type of tomorrow.
constexpr struct {
    std::string_view name;
    uint64_t bits;
} dtypes[] = {
    {"F32", 32},    {"BF16", 16},   {"F16", 16},        {"F64", 64},        {"I64", 64},
    {"I32", 32},    {"I16", 16},    {"I8", 8},          {"U8", 8},          {"U16", 16},
    {"U32", 32},    {"U64", 64},    {"BOOL", 8},        {"F8_E4M3", 8},     {"F8_E5M2", 8},
    {"F8_E8M0", 8}, {"C64", 64},    {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F4", 4},
    {"F6_E2M3", 6}, {"F6_E3M2", 6},
};

std::string_view view(cirron_text text) {
    return {text.data, text.len};
}

row *rows_of(const cirron_safetensors *header, size_t *count) {
    *count = header->rows.len / sizeof(row);
    return reinterpret_cast<row *>(header->rows.data);
}

__attribute__((format(printf, 2, 3))) int corrupt(char *why, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(why, CIRRON_SAFETENSORS_WHY_BYTES, format, arguments);
    va_end(arguments);
    return CIRRON_CORRUPT;
}

// What is wrong with one tensor, which is named.
int refuse(char *why, cirron_text name, const char *reason) {
    int shown = static_cast<int>(std::min<size_t>(name.len, SHOWN_NAME_BYTES));
    return corrupt(why, "tensor \"%.*s%s\": %s", shown, name.data,
                   name.len > SHOWN_NAME_BYTES ? "..." : "", reason);
}

int malformed(error_code error, char *why) {
    if (error == simdjson::MEMALLOC) {
        return CIRRON_NO_MEMORY;
    }
    return corrupt(why, "the header is no valid JSON (%s)", simdjson::error_message(error));
}

// ---- fields

// Appends the numbers of an array and counts them.
error_code read_numbers(ondemand::value &value, cirron_buffer *numbers, size_t *count) {
    ondemand::array array;
    error_code error = value.get_array().get(array);
    *count = 0;
    if (error) {
        return error;
    }
    for (auto item : array) {
        ondemand::value element;
        uint64_t number;
        if ((error = std::move(item).get(element)) || (error = element.get_uint64().get(number))) {
            return error;
        }
        if (cirron_buffer_append(numbers, &number, sizeof(number)) != CIRRON_OK) {
            return simdjson::MEMALLOC;
        }
        ++*count;
    }
    return simdjson::SUCCESS;
}

int read_offsets(ondemand::value &value, cirron_buffer *scratch, row *tensor, char *why) {
    size_t count;
    const size_t before = scratch->len;
    error_code error = read_numbers(value, scratch, &count);
    scratch->len = before;
    if (error == simdjson::MEMALLOC) {
        return CIRRON_NO_MEMORY;
    }
    if (error || count != 2) {
        return refuse(why, tensor->name, "data_offsets are not two whole numbers");
    }
    memcpy(&tensor->begin, scratch->data + before, sizeof(tensor->begin));
    memcpy(&tensor->end, scratch->data + before + sizeof(tensor->begin), sizeof(tensor->end));
    return CIRRON_OK;
}

int read_field(cirron_safetensors *header, std::string_view key, ondemand::value &value,
               row *tensor, unsigned *seen, char *why) {
    static constexpr std::string_view known[] = {"dtype", "shape", "data_offsets"};
    static constexpr const char *twice[] = {"dtype is given twice", "shape is given twice",
                                            "data_offsets are given twice"};
    const size_t field =
        static_cast<size_t>(std::find(std::begin(known), std::end(known), key) - known);
    if (field == std::size(known)) {
        return CIRRON_OK;
    }
    if ((*seen & 1u << field) != 0) {
        return refuse(why, tensor->name, twice[field]);
    }
    *seen |= 1u << field;
    if (field == 0) {
        error_code error = read_string(value, &tensor->dtype);
        return error ? refuse(why, tensor->name, "dtype is no string") : CIRRON_OK;
    }
    if (field == 2) {
        return read_offsets(value, &header->shapes, tensor, why);
    }
    tensor->shape = header->shapes.len / sizeof(uint64_t);
    error_code error = read_numbers(value, &header->shapes, &tensor->dimensions);
    if (error == simdjson::MEMALLOC) {
        return CIRRON_NO_MEMORY;
    }
    return error ? refuse(why, tensor->name, "shape is no list of whole numbers") : CIRRON_OK;
}

// ---- one tensor

int check_length(const cirron_safetensors *header, const row &tensor, char *why) {
    const char *shape = header->shapes.data + tensor.shape * sizeof(uint64_t);
    uint64_t bits = 0;
    uint64_t values = 1;
    if (tensor.begin > tensor.end) {
        return refuse(why, tensor.name, "data_offsets run backwards");
    }
    for (size_t i = 0; i < tensor.dimensions; i++) {
        uint64_t dimension;
        memcpy(&dimension, shape + i * sizeof(dimension), sizeof(dimension));
        if (__builtin_mul_overflow(values, dimension, &values)) {
            return refuse(why, tensor.name, "shape is larger than any file");
        }
    }
    for (const auto &dtype : dtypes) {
        bits = dtype.name == view(tensor.dtype) ? dtype.bits : bits;
    }
    if (bits == 0) {
        return CIRRON_OK;
    }
    if (__builtin_mul_overflow(values, bits, &bits) || bits % 8 != 0) {
        return refuse(why, tensor.name, "shape is no whole number of bytes");
    }
    return bits / 8 == tensor.end - tensor.begin
               ? CIRRON_OK
               : refuse(why, tensor.name, "data_offsets do not fit shape and dtype");
}

int read_tensor(cirron_safetensors *header, cirron_text name, ondemand::value &value, char *why) {
    ondemand::object object;
    row tensor = {};
    unsigned seen = 0;
    tensor.name = name;
    error_code error = value.get_object().get(object);
    if (error) {
        return error == simdjson::INCORRECT_TYPE ? refuse(why, name, "no JSON object")
                                                 : malformed(error, why);
    }
    for (auto entry : object) {
        ondemand::field member;
        cirron_text key;
        if ((error = std::move(entry).get(member)) || (error = unescape(member.key(), &key))) {
            return malformed(error, why);
        }
        int status = read_field(header, view(key), member.value(), &tensor, &seen, why);
        if (status != CIRRON_OK) {
            return status;
        }
    }
    if (seen != 7) {
        return refuse(why, name, "one of dtype, shape, data_offsets is missing");
    }
    int status = check_length(header, tensor, why);
    return status == CIRRON_OK ? cirron_buffer_append(&header->rows, &tensor, sizeof(tensor))
                               : status;
}

int read_metadata(ondemand::value &value, char *why) {
    ondemand::object object;
    bool is_null;
    if (!value.is_null().get(is_null) && is_null) {
        return CIRRON_OK;
    }
    error_code error = value.get_object().get(object);
    if (error) {
        return corrupt(why, "__metadata__ is no JSON object");
    }
    for (auto entry : object) {
        ondemand::field member;
        cirron_text text;
        if ((error = std::move(entry).get(member)) || (error = unescape(member.key(), &text))) {
            return malformed(error, why);
        }
        if (read_string(member.value(), &text)) {
            return corrupt(why, "__metadata__ holds more than strings");
        }
    }
    return CIRRON_OK;
}

// ---- all tensors

int read_members(cirron_safetensors *header, ondemand::object object, cirron_text_dict *names,
                 char *why) {
    bool metadata = false;
    for (auto entry : object) {
        ondemand::field member;
        cirron_text name;
        error_code error = std::move(entry).get(member);
        if (error || (error = unescape(member.key(), &name))) {
            return malformed(error, why);
        }
        int status;
        if (view(name) == "__metadata__") {
            status = metadata ? corrupt(why, "__metadata__ is given twice")
                              : read_metadata(member.value(), why);
            metadata = true;
        } else {
            uint32_t number;
            const uint32_t count = names->count;
            status = cirron_text_dict_add(names, name.data, name.len, &number);
            if (status == CIRRON_OK) {
                status = number == count ? read_tensor(header, name, member.value(), why)
                                         : refuse(why, name, "the name is given twice");
            }
        }
        if (status != CIRRON_OK) {
            return status;
        }
    }
    return CIRRON_OK;
}

// The tensors have to fill the data from its first byte to its last.
int check_layout(cirron_safetensors *header, uint64_t data_bytes, char *why) {
    size_t count;
    row *rows = rows_of(header, &count);
    uint64_t end = 0;
    std::sort(rows, rows + count, [](const row &left, const row &right) {
        if (left.begin != right.begin) {
            return left.begin < right.begin;
        }
        return left.end != right.end ? left.end < right.end : left.name.data < right.name.data;
    });
    for (size_t i = 0; i < count; i++) {
        if (rows[i].begin != end) {
            return refuse(why, rows[i].name,
                          rows[i].begin < end ? "its bytes overlap those of another tensor"
                                              : "there is a gap before its bytes");
        }
        end = rows[i].end;
    }
    return end == data_bytes ? CIRRON_OK
                             : corrupt(why, "the file has %llu bytes of data, its header says %llu",
                                       static_cast<unsigned long long>(data_bytes),
                                       static_cast<unsigned long long>(end));
}

int parse(cirron_safetensors *header, uint64_t data_bytes, char *why) {
    ondemand::parser parser;
    ondemand::document document;
    ondemand::object object;
    cirron_buffer *json = &header->json;
    simdjson::padded_string_view bytes(json->data, json->len, json->cap);
    error_code error = parser.iterate(bytes).get(document);
    if (error || (error = document.get_object().get(object))) {
        return malformed(error, why);
    }
    cirron_text_dict names;
    cirron_text_dict_init(&names);
    int status = read_members(header, object, &names, why);
    cirron_text_dict_fini(&names);
    if (status == CIRRON_OK && document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
        status = malformed(simdjson::TRAILING_CONTENT, why);
    }
    return status == CIRRON_OK ? check_layout(header, data_bytes, why) : status;
}

// ---- the file

// Reads `len` bytes at `offset`; fewer are left only when the file has shrunk.
int read_at(int file, char *bytes, size_t len, uint64_t offset, char *why) {
    while (len > 0) {
        ssize_t count = pread(file, bytes, len, static_cast<off_t>(offset));
        if (count == 0) {
            return corrupt(why, "the file ends too early");
        }
        if (count < 0 && errno != EINTR) {
            return CIRRON_IO;
        }
        if (count > 0) {
            bytes += count;
            len -= static_cast<size_t>(count);
            offset += static_cast<uint64_t>(count);
        }
    }
    return CIRRON_OK;
}

// Piece by piece: what is announced is believed only as far as it is there. No JSON holds
// a NUL, and a hole in a sparse file holds nothing else.
int read_json(int file, cirron_buffer *json, size_t len, char *why) {
    while (json->len < len) {
        size_t piece = std::min<size_t>(len - json->len, READ_BYTES);
        if (cirron_buffer_reserve(json, piece + simdjson::SIMDJSON_PADDING) != CIRRON_OK) {
            return CIRRON_NO_MEMORY;
        }
        char *bytes = json->data + json->len;
        int status = read_at(file, bytes, piece, LENGTH_BYTES + json->len, why);
        if (status != CIRRON_OK) {
            return status;
        }
        if (json->data[0] != '{' || memchr(bytes, 0, piece) != nullptr) {
            return corrupt(why, "the header is no JSON object");
        }
        json->len += piece;
    }
    memset(json->data + json->len, 0, simdjson::SIMDJSON_PADDING);
    return CIRRON_OK;
}

int read_header(int file, cirron_safetensors *header, char *why) {
    struct stat about;
    unsigned char prefix[LENGTH_BYTES];
    uint64_t len = 0;
    if (fstat(file, &about) != 0) {
        return CIRRON_IO;
    }
    if (!S_ISREG(about.st_mode)) {
        return corrupt(why, "not a regular file");
    }
    const uint64_t file_bytes = static_cast<uint64_t>(about.st_size);
    if (file_bytes < LENGTH_BYTES) {
        return corrupt(why, "too short for a safetensors file");
    }
    int status = read_at(file, reinterpret_cast<char *>(prefix), sizeof(prefix), 0, why);
    if (status != CIRRON_OK) {
        return status;
    }
    for (int i = LENGTH_BYTES; i-- > 0;) {
        len = len << 8 | prefix[i];
    }
    if (len > file_bytes - LENGTH_BYTES) {
        return corrupt(why, "the header would be longer than the file (not safetensors?)");
    }
    if (len > CIRRON_SAFETENSORS_MAX_HEADER) {
        return corrupt(why, "the header is larger than 100 MB");
    }
    if (len == 0) {
        return corrupt(why, "the header is empty");
    }
    header->data_start = LENGTH_BYTES + len;
    status = read_json(file, &header->json, static_cast<size_t>(len), why);
    return status == CIRRON_OK ? parse(header, file_bytes - header->data_start, why) : status;
}

} // namespace

extern "C" int cirron_safetensors_read(int file, cirron_safetensors **header,
                                       char why[CIRRON_SAFETENSORS_WHY_BYTES]) {
    void *memory = cirron_calloc(1, sizeof(cirron_safetensors));
    *header = static_cast<cirron_safetensors *>(memory);
    if (memory == nullptr) {
        return CIRRON_NO_MEMORY;
    }
    int status = read_header(file, *header, why);
    if (status != CIRRON_OK) {
        int error = errno;
        cirron_safetensors_free(*header);
        *header = nullptr;
        errno = error;
    }
    return status;
}

extern "C" void cirron_safetensors_free(cirron_safetensors *header) {
    if (header != nullptr) {
        cirron_buffer_fini(&header->json);
        cirron_buffer_fini(&header->rows);
        cirron_buffer_fini(&header->shapes);
        cirron_free(header);
    }
}

extern "C" size_t cirron_safetensors_count(const cirron_safetensors *header) {
    size_t count;
    (void)rows_of(header, &count);
    return count;
}

extern "C" cirron_tensor cirron_safetensors_tensor(const cirron_safetensors *header,
                                                   size_t number) {
    size_t count;
    const row &tensor = rows_of(header, &count)[number];
    const char *shape = header->shapes.data + tensor.shape * sizeof(uint64_t);
    cirron_tensor result = {};
    result.name = tensor.name;
    result.dtype = tensor.dtype;
    result.shape = tensor.dimensions == 0 ? nullptr : reinterpret_cast<const uint64_t *>(shape);
    result.dimensions = tensor.dimensions;
    result.begin = header->data_start + tensor.begin;
    result.end = header->data_start + tensor.end;
    return result;
}
