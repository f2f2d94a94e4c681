/* A column of numbers in C memory as a read-only memoryview. Under the GIL. */
#ifndef CIRRON_PYTHON_COLUMN_H
#define CIRRON_PYTHON_COLUMN_H

#include <Python.h>

int cirron_column_init(PyObject *module);

/* `count` values of `size` bytes, named `format` as struct does ("q", "i", "B"; a
 * constant). `owner` is kept alive and keeps the memory alive. */
PyObject *cirron_column_view(PyObject *owner, const void *data, Py_ssize_t count, Py_ssize_t size,
                             const char *format);

#endif
