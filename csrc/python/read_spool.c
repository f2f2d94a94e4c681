/* Batch files into a SpanTable. Reading and parsing happen without the GIL, a few files
 * at a time, so that other threads run on and Ctrl-C is noticed in a large spool.
 */
#include <Python.h>

#include <errno.h>
#include <string.h>

#include "core/spool_reader.h"
#include "python/table.h"

/* Files between two looks at the signals: some 30 ms of work. */
enum { FILES_AT_ONCE = 32 };

/* What became of one file. */
typedef struct outcome {
    const char *path; /* borrowed */
    const char *why;
    int status;
    int error; /* errno */
} outcome;

/* The paths as a list of bytes. */
static PyObject *encode_paths(PyObject *paths) {
    PyObject *list = PySequence_List(paths);
    Py_ssize_t count = list == NULL ? 0 : PyList_Size(list);
    for (Py_ssize_t i = 0; i < count && list != NULL; i++) {
        PyObject *bytes = NULL;
        if (!PyUnicode_FSConverter(PyList_GetItem(list, i), &bytes) ||
            PyList_SetItem(list, i, bytes) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* Runs without the GIL. False: there is no memory. */
static bool read_files(cirron_json_reader *reader, cirron_table *table, outcome *files,
                       Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++) {
        outcome *file = &files[i];
        file->status = cirron_spool_read_file(reader, file->path, table, &file->why);
        file->error = errno;
        if (file->status == CIRRON_NO_MEMORY) {
            return false;
        }
    }
    return true;
}

static int add_warning(PyObject *warnings, const outcome *file) {
    PyObject *path = PyUnicode_DecodeFSDefault(file->path);
    PyObject *line = NULL;
    if (path != NULL) {
        line = PyUnicode_FromFormat("%U: %s", path,
                                    file->status == CIRRON_IO ? strerror(file->error) : file->why);
    }
    int result = line == NULL ? -1 : PyList_Append(warnings, line);
    Py_XDECREF(path);
    Py_XDECREF(line);
    return result;
}

/* 0, or -1 with an exception. */
static int read_all(cirron_json_reader *reader, cirron_table *table, PyObject *paths,
                    PyObject *warnings) {
    const Py_ssize_t count = PyList_Size(paths);
    for (Py_ssize_t next = 0; next < count;) {
        outcome files[FILES_AT_ONCE] = {0};
        Py_ssize_t taken = 0;
        for (; taken < FILES_AT_ONCE && next < count; taken++, next++) {
            files[taken].path = PyBytes_AsString(PyList_GetItem(paths, next));
        }
        bool done;
        Py_BEGIN_ALLOW_THREADS done = read_files(reader, table, files, taken);
        Py_END_ALLOW_THREADS if (!done) {
            PyErr_NoMemory();
            return -1;
        }
        for (Py_ssize_t i = 0; i < taken; i++) {
            if (files[i].status != CIRRON_OK && add_warning(warnings, &files[i]) != 0) {
                return -1;
            }
        }
        if (PyErr_CheckSignals() != 0) {
            return -1;
        }
    }
    return 0;
}

PyObject *cirron_read_spool(PyObject *module, PyObject *paths) {
    PyObject *result = NULL;
    PyObject *encoded = encode_paths(paths);
    PyObject *warnings = PyList_New(0);
    cirron_json_reader *reader = cirron_json_reader_new();
    cirron_table *table = cirron_table_new();
    int status;
    (void)module;
    if (encoded == NULL || warnings == NULL) {
        goto done;
    }
    if (reader == NULL || table == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    if (read_all(reader, table, encoded, warnings) != 0) {
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS cirron_json_reader_free(
        reader); /* its buffers, before linking needs some */
    reader = NULL;
    status = cirron_table_link(table);
    Py_END_ALLOW_THREADS if (status != CIRRON_OK) {
        PyErr_NoMemory();
        goto done;
    }
    result = cirron_table_wrap_with(table, warnings);
    table = NULL;
done:
    cirron_json_reader_free(reader);
    cirron_table_free(table);
    Py_XDECREF(encoded);
    Py_XDECREF(warnings);
    return result;
}
