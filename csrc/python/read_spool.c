/* Batch files into a SpanTable. Native threads read and parse without the GIL, so that other
 * threads run on and Ctrl-C is noticed in a large spool.
 */
#include <Python.h>

#include <string.h>

#include "core/memory.h"
#include "core/spool_loader.h"
#include "python/table.h"

/* How long Ctrl-C may go unnoticed. */
enum { NS_BETWEEN_SIGNALS = 50000000 };

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

static int add_warning(PyObject *warnings, const cirron_spool_file *file) {
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

/* Waits for the loader's threads. 0, or -1 with an exception. */
static int wait_for(cirron_spool_loader *loader) {
    bool done;
    do {
        Py_BEGIN_ALLOW_THREADS done = cirron_spool_loader_wait(loader, NS_BETWEEN_SIGNALS);
        Py_END_ALLOW_THREADS if (PyErr_CheckSignals() != 0) {
            return -1;
        }
    } while (!done);
    return 0;
}

/* 0, or -1 with an exception. */
static int read_all(cirron_table *table, cirron_spool_file *files, size_t count) {
    int status;
    cirron_spool_loader *loader =
        cirron_spool_loader_start(table, files, count, cirron_spool_loader_threads());
    if (loader == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int result = wait_for(loader);
    Py_BEGIN_ALLOW_THREADS status = cirron_spool_loader_end(loader);
    Py_END_ALLOW_THREADS if (result == 0 && status != CIRRON_OK) {
        PyErr_NoMemory();
        result = -1;
    }
    return result;
}

PyObject *cirron_read_spool(PyObject *module, PyObject *paths) {
    PyObject *result = NULL;
    PyObject *encoded = encode_paths(paths);
    PyObject *warnings = PyList_New(0);
    const Py_ssize_t count = encoded == NULL ? 0 : PyList_Size(encoded);
    cirron_spool_file *files = cirron_calloc((size_t)count, sizeof(*files));
    cirron_table *table = cirron_table_new();
    int status;
    (void)module;
    if (encoded == NULL || warnings == NULL) {
        goto done;
    }
    if (files == NULL || table == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        files[i].path = PyBytes_AsString(PyList_GetItem(encoded, i));
    }
    if (read_all(table, files, (size_t)count) != 0) {
        goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (files[i].status != CIRRON_OK && add_warning(warnings, &files[i]) != 0) {
            goto done;
        }
    }
    Py_BEGIN_ALLOW_THREADS status = cirron_table_link(table);
    Py_END_ALLOW_THREADS if (status != CIRRON_OK) {
        PyErr_NoMemory();
        goto done;
    }
    result = cirron_table_wrap_with(table, warnings);
    table = NULL;
done:
    cirron_free(files);
    cirron_table_free(table);
    Py_XDECREF(encoded);
    Py_XDECREF(warnings);
    return result;
}
