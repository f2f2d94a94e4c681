/* The glossary: the nouns that every room of core shares.
 *
 *   span      a timed region with a name, a parent and attributes
 *   mark      a named scalar on a span ("root" when there was no session)
 *   snapshot  what is known of one tensor of a model at the end of a span; its text is JSON
 *             from the start
 *   record    the fixed-size form in which a producer hands over a span, mark or snapshot
 *   payload   the variable-size bytes of one record: inline name, string value,
 *             attributes; they lie in the record's chunk, never behind a pointer
 *   session   one lifetime of profile(); numbered from 1 in a process, and 0 for
 *             what was recorded before the first
 *
 * Records hold no pointer, so a chunk can be read without the interpreter's lock
 * and freed in one call.
 */
#ifndef CIRRON_CORE_TYPES_H
#define CIRRON_CORE_TYPES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* What core returns. Anything but CIRRON_OK must be looked at. */
enum cirron_status {
    CIRRON_OK = 0,
    CIRRON_NO_MEMORY = -1,
    CIRRON_IO = -2,          /* errno says more */
    CIRRON_CORRUPT = -3,     /* bytes from disk that are not what they should be */
    CIRRON_UNSUPPORTED = -4, /* an input that is of no kind known here */
};

/* A span's or mark's identity; 32 lowercase hex digits when somebody reads it. */
typedef struct cirron_id {
    uint8_t bytes[16];
} cirron_id;

/* A name that is no entry of the intern table: its bytes open the payload. */
#define CIRRON_NAME_INLINE UINT32_MAX

enum {
    CIRRON_MAX_DEPTH = 64,              /* open ancestors, the session not counted */
    CIRRON_MAX_NAME_BYTES = 4096,       /* longer names are cut on a UTF-8 boundary */
    CIRRON_MAX_VALUE_BYTES = 256,       /* a mark's string value */
    CIRRON_MAX_ATTRS_BYTES = 64 * 1024, /* the JSON of one record's attributes */
};

enum cirron_span_flag {
    CIRRON_SPAN_PARENT = 1u << 0, /* parent_id is set; otherwise null */
    CIRRON_SPAN_INDEX = 1u << 1,
    CIRRON_SPAN_CPU = 1u << 2,
    CIRRON_SPAN_GPU = 1u << 3,
    CIRRON_SPAN_MEMORY = 1u << 4,
    CIRRON_SPAN_OPEN = 1u << 5,    /* not closed yet: end_ns is null */
    CIRRON_SPAN_SESSION = 1u << 6, /* the root of a session */
};

/* Payload: [name bytes, when inline][attributes as one JSON object, or nothing]. */
typedef struct cirron_span_record {
    cirron_id id;
    cirron_id parent_id;
    int64_t start_ns;    /* Unix epoch */
    int64_t duration_ns; /* a difference of CLOCK_MONOTONIC */
    int64_t cpu_ns;
    int64_t gpu_ns;
    int64_t memory_peak_bytes;
    int64_t index;
    int64_t overhead_ns;
    uint64_t thread_id;
    uint32_t name;    /* intern id or CIRRON_NAME_INLINE */
    uint32_t payload; /* bytes from the start of the chunk */
    uint32_t name_len;
    uint32_t attrs_len;
    uint32_t session;
    uint32_t flags;
} cirron_span_record;

enum cirron_value_type {
    CIRRON_VALUE_FLOAT = 0,
    CIRRON_VALUE_INT = 1,
    CIRRON_VALUE_STRING = 2,
    CIRRON_VALUE_BOOL = 3,
};

enum cirron_mark_kind {
    CIRRON_MARK_POINT = 0,
    CIRRON_MARK_SUMMARY = 1,
};

/* Payload: [name bytes, when inline][string value, UTF-8][attributes, JSON]. */
typedef struct cirron_mark_record {
    cirron_id span_id; /* all zero: the "root" sentinel */
    int64_t ts_ns;
    union {
        double as_float;
        int64_t as_int; /* also bool */
    } value;
    uint32_t name;
    uint32_t payload;
    uint32_t name_len;
    uint32_t value_len; /* strings only */
    uint32_t attrs_len;
    uint32_t session;
    uint8_t value_type;
    uint8_t kind;
    uint8_t reserved[6];
} cirron_mark_record;

/* Payload: one JSON object, at most CIRRON_MAX_ATTRS_BYTES. */
typedef struct cirron_snapshot_record {
    uint32_t payload;
    uint32_t payload_len;
} cirron_snapshot_record;

static_assert(sizeof(cirron_span_record) == 120, "a span record is 120 bytes");
static_assert(sizeof(cirron_mark_record) == 64, "a mark record is 64 bytes");

#endif
