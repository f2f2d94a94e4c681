// Where simdjson reads batches: its on-demand parser walks a document and each field goes straight
// into the row that is being made, without a document tree in between. Built without
// exceptions; errors are simdjson's codes until the last function turns them into ours.
//
// Strings are unescaped by json_scalar.h in place of simdjson, whose strictness about
// surrogates would cost a whole file for one odd name.

#define SIMDJSON_EXCEPTIONS 0

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <simdjson.h>
#include <string_view>

#include "core/json_strings.h"

extern "C" {
#include "core/json_reader.h"
#include "core/json_scalar.h"
#include "core/memory.h"
}

namespace ondemand = simdjson::ondemand;
using simdjson::error_code;

struct cirron_json_reader {
    ondemand::parser parser;
    char *data; // owned
    size_t cap;
};

namespace {

// ---- values

// A mark's value before its type is known: the field that tells may come later.
struct scalar {
    enum { absent, integer, real, boolean, string } kind;
    cirron_text text; // as it stands in the file
    int64_t as_int;
    double as_float;
    bool whole; // as_int is all of it
};

std::string_view view(cirron_text text) {
    return {text.data, text.len};
}

cirron_text trim(std::string_view token) {
    size_t last = token.find_last_not_of(" \t\n\r");
    return {token.data(), last == std::string_view::npos ? 0 : last + 1};
}

error_code read_null(ondemand::value &value) {
    bool is_null = false;
    bool failed = value.is_null().get(is_null);
    return failed || !is_null ? simdjson::N_ATOM_ERROR : simdjson::SUCCESS;
}

// The JSON text of a value. Only an object will do where `object_only`; an empty one counts
// as absent there.
error_code read_json(ondemand::value &value, bool object_only, cirron_text *text) {
    ondemand::json_type type;
    std::string_view json;
    error_code error = value.type().get(type);
    if (error) {
        return error;
    }
    if (type == ondemand::json_type::object) {
        ondemand::object object;
        if ((error = value.get_object().get(object)) || (error = object.raw_json().get(json))) {
            return error;
        }
    } else if (object_only) {
        return simdjson::SUCCESS;
    } else if (type == ondemand::json_type::array) {
        ondemand::array array;
        if ((error = value.get_array().get(array)) || (error = array.raw_json().get(json))) {
            return error;
        }
    } else if (type == ondemand::json_type::null) {
        return read_null(value);
    } else {
        json = value.raw_json_token();
    }
    cirron_text trimmed = trim(json);
    if (!object_only || view(trimmed) != "{}") {
        *text = trimmed;
    }
    return simdjson::SUCCESS;
}

error_code read_text(ondemand::value &value, cirron_text *text) {
    ondemand::json_type type;
    error_code error = value.type().get(type);
    if (error) {
        return error;
    }
    switch (type) {
    case ondemand::json_type::string:
        return read_string(value, text);
    case ondemand::json_type::null:
        return read_null(value);
    case ondemand::json_type::number:
    case ondemand::json_type::boolean:
        *text = trim(value.raw_json_token());
        return simdjson::SUCCESS;
    default:
        return simdjson::SUCCESS; // a container is no text
    }
}

error_code read_scalar(ondemand::value &value, scalar *result) {
    ondemand::json_type type;
    error_code error = value.type().get(type);
    if (error) {
        return error;
    }
    if (type == ondemand::json_type::number) {
        cirron_text text = trim(value.raw_json_token());
        *result = {scalar::integer, text, 0, 0, true};
        if (cirron_json_integer(text.data, &result->as_int)) {
            result->as_float = static_cast<double>(result->as_int);
            return simdjson::SUCCESS;
        }
        if (!cirron_json_decimal(text.data, text.len, &result->as_int, &result->whole)) {
            return simdjson::NUMBER_ERROR;
        }
        if (value.get_double().get(result->as_float)) { // more than a double can hold
            result->as_float = text.data[0] == '-' ? -INFINITY : INFINITY;
        }
        if (!result->whole || view(text).find_first_of(".eE") != std::string_view::npos) {
            result->kind = scalar::real;
        }
        return simdjson::SUCCESS;
    }
    if (type == ondemand::json_type::boolean) {
        bool flag;
        *result = {scalar::boolean, trim(value.raw_json_token()), 0, 0, true};
        if (value.get_bool().get(flag)) {
            return simdjson::T_ATOM_ERROR;
        }
        result->as_int = flag;
        result->as_float = flag;
        return simdjson::SUCCESS;
    }
    if (type == ondemand::json_type::null) {
        return read_null(value);
    }
    result->kind = scalar::string;
    return type == ondemand::json_type::string ? read_string(value, &result->text)
                                               : read_json(value, false, &result->text);
}

error_code read_int(ondemand::value &value, int64_t *number, bool *present) {
    int64_t integer;
    if (cirron_json_integer(value.raw_json_token().data(), &integer)) {
        *number = integer;
        *present = true;
        return simdjson::SUCCESS;
    }
    scalar result = {};
    ondemand::json_type type;
    error_code error = value.type().get(type);
    if (error || type == ondemand::json_type::object || type == ondemand::json_type::array) {
        return error;
    }
    if ((error = read_scalar(value, &result)) || result.kind == scalar::absent) {
        return error;
    }
    if (result.kind == scalar::string &&
        !cirron_json_decimal(result.text.data, result.text.len, &result.as_int, &result.whole)) {
        return simdjson::SUCCESS;
    }
    *number = result.as_int;
    *present = true;
    return simdjson::SUCCESS;
}

// ---- rows

struct span_draft : cirron_table_span {};

struct mark_draft : cirron_table_mark {
    cirron_text type_text, kind_text;
    scalar value;
    uint32_t present;
};

struct snapshot_draft : cirron_table_snapshot {
    uint32_t present;
};

enum class form { ignored, id, text, object, json, number, value };

// A field of a record and the member of the row that it fills.
template <typename Row> struct field {
    std::string_view name;
    form as;
    cirron_text Row::*text = nullptr;
    int64_t Row::*number = nullptr;
    uint32_t present = 0;
};

// In the order in which batches are written, which makes the next field the first guess.
constexpr field<span_draft> span_fields[] = {
    {"id", form::id, &span_draft::id},
    {"name", form::text, &span_draft::name},
    {"parent_id", form::text, &span_draft::parent_id},
    {"index", form::number, nullptr, &span_draft::index, CIRRON_HAS_INDEX},
    {"start_ns", form::number, nullptr, &span_draft::start_ns},
    {"end_ns", form::number, nullptr, &span_draft::end_ns, CIRRON_HAS_END},
    {"cpu_ns", form::number, nullptr, &span_draft::cpu_ns, CIRRON_HAS_CPU},
    {"gpu_ns", form::number, nullptr, &span_draft::gpu_ns, CIRRON_HAS_GPU},
    {"memory_peak_bytes", form::number, nullptr, &span_draft::memory_peak_bytes, CIRRON_HAS_MEMORY},
    {"thread_id", form::number, nullptr, &span_draft::thread_id, CIRRON_HAS_THREAD},
    {"pid", form::number, nullptr, &span_draft::pid, CIRRON_HAS_PID},
    {"rank", form::number, nullptr, &span_draft::rank, CIRRON_HAS_RANK},
    {"attrs", form::object, &span_draft::attrs},
    {"mark_ids", form::ignored}, // marks are joined by their span_id
    {"overhead_ns", form::number, nullptr, &span_draft::overhead_ns, CIRRON_HAS_OVERHEAD},
};

constexpr field<mark_draft> mark_fields[] = {
    {"id", form::id, &mark_draft::id},
    {"span_id", form::text, &mark_draft::span_id},
    {"name", form::text, &mark_draft::name},
    {"value_type", form::text, &mark_draft::type_text},
    {"value", form::value},
    {"attrs", form::object, &mark_draft::attrs},
    {"ts_ns", form::number, nullptr, &mark_draft::ts_ns},
    {"kind", form::text, &mark_draft::kind_text},
};

constexpr field<snapshot_draft> snapshot_fields[] = {
    {"id", form::id, &snapshot_draft::id},
    {"span_id", form::text, &snapshot_draft::span_id},
    {"tensor_name", form::text, &snapshot_draft::tensor_name},
    {"shape", form::json, &snapshot_draft::shape},
    {"dtype", form::text, &snapshot_draft::dtype},
    {"mode", form::text, &snapshot_draft::mode},
    {"stats", form::json, &snapshot_draft::stats},
    {"blob_uri", form::text, &snapshot_draft::blob_uri},
    {"ts_ns", form::number, nullptr, &snapshot_draft::ts_ns},
    {"attrs", form::object, &snapshot_draft::attrs},
};

template <typename Word> bool equal_at(const char *left, const char *right, size_t at) {
    Word a, b;
    memcpy(&a, left + at, sizeof(a));
    memcpy(&b, right + at, sizeof(b));
    return a == b;
}

// Whether the text starts with a name of 2 to 24 bytes. There are 29 such comparisons a span
// and its marks; a call of memcmp for each took a tenth of the time.
bool starts_with(const char *text, std::string_view name) {
    const char *other = name.data();
    const size_t len = name.size();
    if (len < 4) {
        return equal_at<uint16_t>(text, other, 0) && equal_at<uint16_t>(text, other, len - 2);
    }
    if (len < 8) {
        return equal_at<uint32_t>(text, other, 0) && equal_at<uint32_t>(text, other, len - 4);
    }
    return equal_at<uint64_t>(text, other, 0) && equal_at<uint64_t>(text, other, len - 8) &&
           (len <= 16 || equal_at<uint64_t>(text, other, 8));
}

// The number of the field with this key, or `count`. The longest name is far shorter than
// the padding behind the document, so the first comparison needs no length of the key.
template <typename Row>
error_code find_field(const field<Row> *fields, size_t count, ondemand::raw_json_string key,
                      size_t guess, size_t *found) {
    const char *raw = key.raw();
    for (size_t i = 0; i < count; i++) {
        *found = guess + i < count ? guess + i : guess + i - count;
        std::string_view name = fields[*found].name;
        if (starts_with(raw, name) && raw[name.size()] == '"') {
            return simdjson::SUCCESS;
        }
    }
    cirron_text text; // unknown, or escaped
    error_code error = unescape(key, &text);
    for (*found = 0; !error && *found < count && fields[*found].name != view(text);) {
        ++*found;
    }
    return error;
}

template <typename Row>
error_code read_field(const field<Row> &known, ondemand::value &value, Row *row) {
    bool present = false;
    error_code error = simdjson::SUCCESS;
    switch (known.as) {
    case form::ignored:
        break;
    case form::id:
        error = read_string(value, &(row->*known.text));
        if (error == simdjson::INCORRECT_TYPE) {
            error = simdjson::SUCCESS;
        }
        break;
    case form::text:
        error = read_text(value, &(row->*known.text));
        break;
    case form::object:
    case form::json:
        error = read_json(value, known.as == form::object, &(row->*known.text));
        break;
    case form::number:
        error = read_int(value, &(row->*known.number), &present);
        row->present |= present ? known.present : 0;
        break;
    case form::value:
        if constexpr (std::is_same_v<Row, mark_draft>) {
            error = read_scalar(value, &row->value);
        }
        break;
    }
    return error;
}

template <typename Row, size_t count>
error_code read_record(ondemand::object object, const field<Row> (&fields)[count], Row *row) {
    size_t guess = 0;
    for (auto entry : object) {
        error_code error = entry.error();
        if (error) {
            return error;
        }
        ondemand::field &&member =
            std::move(entry).value_unsafe(); // a copy would cost 50 ns a span
        size_t found = 0;
        error = find_field(fields, count, member.key(), guess, &found);
        if (!error && found < count) {
            error = read_field(fields[found], member.value(), row);
            guess = found + 1;
        }
        if (error) {
            return error;
        }
    }
    return simdjson::SUCCESS;
}

// Gives the value the type that the record declares, or that its JSON has.
void settle_value(mark_draft *mark) {
    const scalar &value = mark->value;
    const std::string_view type = view(mark->type_text);
    const std::string_view text = view(value.text);
    const bool number = value.kind == scalar::integer || value.kind == scalar::real;
    mark->kind = view(mark->kind_text) == "summary" ? CIRRON_MARK_SUMMARY : CIRRON_MARK_POINT;
    mark->as_int = value.as_int;
    mark->as_float = value.as_float;
    mark->as_string = value.text;

    bool whole = value.whole;
    if (value.kind == scalar::absent) { // how some writers put NaN
        mark->as_float = NAN;
        mark->value_type = CIRRON_VALUE_FLOAT;
    } else if (type == "string") {
        mark->value_type = CIRRON_VALUE_STRING;
    } else if (type == "bool" && (number || value.kind == scalar::boolean)) {
        mark->as_int = number ? value.as_float != 0 : value.as_int;
        mark->value_type = CIRRON_VALUE_BOOL;
    } else if (type == "bool" && (text == "true" || text == "false")) {
        mark->as_int = text == "true";
        mark->value_type = CIRRON_VALUE_BOOL;
    } else if (type == "int" && value.kind != scalar::string && whole) {
        mark->value_type = CIRRON_VALUE_INT;
    } else if (type == "int" && value.kind == scalar::string &&
               cirron_json_decimal(text.data(), text.size(), &mark->as_int, &whole)) {
        mark->value_type = CIRRON_VALUE_INT;
    } else if (type == "float" && value.kind == scalar::string) {
        // Takes "NaN" and "Infinity" as well.
        auto end = std::from_chars(text.data(), text.data() + text.size(), mark->as_float);
        bool parsed = end.ec == std::errc() && end.ptr == text.data() + text.size();
        mark->value_type = parsed ? CIRRON_VALUE_FLOAT : CIRRON_VALUE_STRING;
    } else if (type == "float" || value.kind == scalar::real) {
        mark->value_type = CIRRON_VALUE_FLOAT;
    } else if (value.kind == scalar::integer) {
        mark->value_type = CIRRON_VALUE_INT;
    } else {
        mark->value_type = value.kind == scalar::boolean ? CIRRON_VALUE_BOOL : CIRRON_VALUE_STRING;
    }
}

int add_row(cirron_table *table, const span_draft *span, uint32_t source) {
    return cirron_table_add_span(table, span, source);
}

int add_row(cirron_table *table, mark_draft *mark, uint32_t source) {
    settle_value(mark);
    return cirron_table_add_mark(table, mark, source);
}

int add_row(cirron_table *table, const snapshot_draft *snapshot, uint32_t source) {
    return cirron_table_add_snapshot(table, snapshot, source);
}

// ---- documents

template <typename Row, size_t count>
error_code read_records(ondemand::value &value, const field<Row> (&fields)[count],
                        cirron_table *table, uint32_t source) {
    ondemand::array array;
    error_code error = value.get_array().get(array);
    if (error) {
        return error == simdjson::INCORRECT_TYPE ? simdjson::SUCCESS : error;
    }
    for (auto item : array) {
        ondemand::value record;
        ondemand::object object;
        if ((error = std::move(item).get(record))) {
            return error;
        }
        error = record.get_object().get(object);
        if (error == simdjson::INCORRECT_TYPE) {
            continue;
        }
        Row row = {};
        if (error || (error = read_record(object, fields, &row))) {
            return error;
        }
        if (row.id.data != nullptr && add_row(table, &row, source) != CIRRON_OK) {
            return simdjson::MEMALLOC;
        }
    }
    return simdjson::SUCCESS;
}

error_code read_members(ondemand::object object, cirron_table *table, uint32_t source) {
    cirron_text sdk_version = {};
    int64_t created_ns = 0;
    for (auto entry : object) {
        ondemand::field member;
        cirron_text key;
        error_code error = std::move(entry).get(member);
        if (error || (error = unescape(member.key(), &key))) {
            return error;
        }
        ondemand::value &value = member.value();
        if (view(key) == "spans") {
            error = read_records(value, span_fields, table, source);
        } else if (view(key) == "marks") {
            error = read_records(value, mark_fields, table, source);
        } else if (view(key) == "snapshots") {
            error = read_records(value, snapshot_fields, table, source);
        } else if (view(key) == "sdk_version") {
            error = read_text(value, &sdk_version);
        } else if (view(key) == "created_ns") {
            bool present = false;
            error = read_int(value, &created_ns, &present);
        }
        if (error) {
            return error;
        }
    }
    int status = cirron_table_describe_source(table, source, created_ns, sdk_version);
    return status == CIRRON_OK ? simdjson::SUCCESS : simdjson::MEMALLOC;
}

error_code read_document(cirron_json_reader *reader, size_t len, cirron_table *table,
                         uint32_t source) {
    ondemand::document document;
    ondemand::object object;
    simdjson::padded_string_view bytes(reader->data, len, reader->cap);
    error_code error = reader->parser.iterate(bytes).get(document);
    if (error || (error = document.get_object().get(object)) ||
        (error = read_members(object, table, source))) {
        return error;
    }
    bool at_end = document.current_location().error() == simdjson::OUT_OF_BOUNDS;
    return at_end ? simdjson::SUCCESS : simdjson::TRAILING_CONTENT;
}

const char *explain(error_code error) {
    switch (error) {
    case simdjson::EMPTY:
        return "empty file";
    case simdjson::UTF8_ERROR:
        return "not UTF-8";
    case simdjson::UNCLOSED_STRING:
    case simdjson::INCOMPLETE_ARRAY_OR_OBJECT:
        return "truncated JSON";
    case simdjson::INCORRECT_TYPE:
        return "no JSON object";
    default:
        return "malformed JSON";
    }
}

} // namespace

extern "C" cirron_json_reader *cirron_json_reader_new(void) {
    void *memory = cirron_malloc(sizeof(cirron_json_reader));
    return memory == nullptr ? nullptr : new (memory) cirron_json_reader();
}

extern "C" void cirron_json_reader_free(cirron_json_reader *reader) {
    if (reader != nullptr) {
        cirron_free(reader->data);
        reader->~cirron_json_reader();
        cirron_free(reader);
    }
}

extern "C" char *cirron_json_reader_reserve(cirron_json_reader *reader, size_t len) {
    static_assert(simdjson::SIMDJSON_PADDING >= CIRRON_JSON_TEXT_PADDING);
    size_t need = len + simdjson::SIMDJSON_PADDING;
    if (need > reader->cap) {
        cirron_free(reader->data);
        reader->cap = need + need / 4;
        reader->data = static_cast<char *>(cirron_malloc(reader->cap));
        if (reader->data == nullptr) {
            reader->cap = 0;
        }
    }
    return reader->data;
}

extern "C" int cirron_json_reader_read(cirron_json_reader *reader, size_t len, uint64_t file_bytes,
                                       cirron_table *table, const char **why) {
    // What lies behind the document must close no bracket and no string of it.
    memset(reader->data + len, 0, simdjson::SIMDJSON_PADDING);
    cirron_table_savepoint savepoint = cirron_table_save(table);
    uint32_t source = 0;
    error_code error = simdjson::MEMALLOC;
    if (cirron_table_add_source(table, file_bytes, &source) == CIRRON_OK) {
        error = read_document(reader, len, table, source);
    }
    if (!error) {
        return CIRRON_OK;
    }
    cirron_table_rollback(table, &savepoint);
    if (error == simdjson::MEMALLOC) {
        return CIRRON_NO_MEMORY;
    }
    *why = explain(error);
    return CIRRON_CORRUPT;
}
