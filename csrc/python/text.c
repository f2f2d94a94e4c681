/* PyUnicode_AsUTF8AndSize is the fast road and keeps its result inside the string; a
 * string longer than the cut is shortened first, so that a huge one of the user's does
 * not grow by our copy.
 */
#include "python/text.h"

enum { SCRATCH_KEPT_BYTES = 128 * 1024 };

static cirron_buffer kept; /* under the GIL */

cirron_buffer cirron_scratch_take(void) {
    cirron_buffer taken = kept;
    kept = (cirron_buffer){0};
    taken.len = 0;
    return taken;
}

void cirron_scratch_give(cirron_buffer *buffer) {
    if (buffer->cap > kept.cap && buffer->cap <= SCRATCH_KEPT_BYTES) {
        cirron_buffer smaller = kept;
        kept = *buffer;
        *buffer = smaller;
    }
    cirron_buffer_fini(buffer);
}

static size_t cut_between_characters(const char *text, size_t len, size_t most) {
    if (len <= most) {
        return len;
    }
    while (most > 0 && ((unsigned char)text[most] & 0xC0) == 0x80) {
        most--;
    }
    return most;
}

static int append_code_point(cirron_buffer *out, Py_UCS4 c) {
    char bytes[4];
    size_t len;
    if (c >= 0xD800 && c <= 0xDFFF) {
        c = 0xFFFD;
    }
    if (c < 0x80) {
        bytes[0] = (char)c;
        len = 1;
    } else if (c < 0x800) {
        bytes[0] = (char)(0xC0 | (c >> 6));
        bytes[1] = (char)(0x80 | (c & 0x3F));
        len = 2;
    } else if (c < 0x10000) {
        bytes[0] = (char)(0xE0 | (c >> 12));
        bytes[1] = (char)(0x80 | ((c >> 6) & 0x3F));
        bytes[2] = (char)(0x80 | (c & 0x3F));
        len = 3;
    } else {
        bytes[0] = (char)(0xF0 | (c >> 18));
        bytes[1] = (char)(0x80 | ((c >> 12) & 0x3F));
        bytes[2] = (char)(0x80 | ((c >> 6) & 0x3F));
        bytes[3] = (char)(0x80 | (c & 0x3F));
        len = 4;
    }
    return cirron_buffer_append(out, bytes, len);
}

static int encode_with_replacement(PyObject *string, cirron_buffer *scratch) {
    Py_UCS4 *points = PyUnicode_AsUCS4Copy(string);
    if (points == NULL) {
        return CIRRON_NO_MEMORY;
    }
    int status = CIRRON_OK;
    Py_ssize_t length = PyUnicode_GetLength(string);
    for (Py_ssize_t i = 0; i < length && status == CIRRON_OK; i++) {
        status = append_code_point(scratch, points[i]);
    }
    PyMem_Free(points);
    return status;
}

int cirron_text_get(PyObject *string, size_t most, cirron_buffer *scratch, cirron_utf8 *text) {
    Py_ssize_t len;
    bool shortened = (size_t)PyUnicode_GetLength(string) > most;
    if (!shortened) {
        text->data = PyUnicode_AsUTF8AndSize(string, &len);
        if (text->data != NULL) {
            text->len = cut_between_characters(text->data, (size_t)len, most);
            text->cut = text->len < (size_t)len;
            return CIRRON_OK;
        }
        PyErr_Clear();
        Py_INCREF(string);
    } else {
        string = PyUnicode_Substring(string, 0, (Py_ssize_t)most);
        if (string == NULL) {
            PyErr_Clear();
            return CIRRON_NO_MEMORY;
        }
    }
    scratch->len = 0;
    const char *data = shortened ? PyUnicode_AsUTF8AndSize(string, &len) : NULL;
    int status = data != NULL ? cirron_buffer_append(scratch, data, (size_t)len)
                              : encode_with_replacement(string, scratch);
    Py_DECREF(string);
    PyErr_Clear();
    if (status != CIRRON_OK) {
        return status;
    }
    text->data = scratch->data;
    text->len = cut_between_characters(scratch->data, scratch->len, most);
    text->cut = shortened || text->len < scratch->len;
    return CIRRON_OK;
}

void cirron_drop_exception(void) {
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_SetInterrupt();
    }
    PyErr_Clear();
}

void cirron_log_warning(const char *message) {
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *logging = PyImport_ImportModule("logging");
    PyObject *logger =
        logging != NULL ? PyObject_CallMethod(logging, "getLogger", "s", "cirron") : NULL;
    PyObject *result = logger != NULL ? PyObject_CallMethod(logger, "warning", "s", message) : NULL;
    cirron_drop_exception();
    Py_XDECREF(result);
    Py_XDECREF(logger);
    Py_XDECREF(logging);
    PyErr_Restore(type, value, traceback);
}
