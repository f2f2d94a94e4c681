/* Python strings as valid UTF-8: lone surrogates become U+FFFD, long ones are cut. */
#ifndef CIRRON_PYTHON_TEXT_H
#define CIRRON_PYTHON_TEXT_H

#include <Python.h>

#include <stdbool.h>

#include "core/buffer.h"

typedef struct cirron_utf8 {
    const char *data; /* lives as long as the string and the scratch buffer do */
    size_t len;
    bool cut;
} cirron_utf8;

/* At most `most` bytes of `string`, cut between characters. CIRRON_OK, or
 * CIRRON_NO_MEMORY with no exception set. `scratch` is overwritten when needed. */
int cirron_text_get(PyObject *string, size_t most, cirron_buffer *scratch, cirron_utf8 *text);

/* A buffer to work in, and its way back (one is kept for the next call). */
cirron_buffer cirron_scratch_take(void);
void cirron_scratch_give(cirron_buffer *buffer);

/* Clears an exception that the user's code may have raised inside a call of ours; Ctrl-C
 * comes again at the next bytecode. */
void cirron_drop_exception(void);

/* logging.getLogger("cirron").warning(message); whatever it raises is dropped and an
 * exception that was set stays set. */
void cirron_log_warning(const char *message);

#endif
