/* Tensors leave as plain tuples: there are hundreds of them, not millions, and the values
 * are none of core's business.
 */
#include "python/safetensors.h"

#include <errno.h>
#include <string.h>

#include "core/safetensors_reader.h"

static PyObject *shape_tuple(const cirron_tensor *tensor) {
    PyObject *shape = PyTuple_New((Py_ssize_t)tensor->dimensions);
    for (size_t i = 0; i < tensor->dimensions && shape != NULL; i++) {
        PyObject *dimension = PyLong_FromUnsignedLongLong(tensor->shape[i]);
        if (dimension == NULL || PyTuple_SetItem(shape, (Py_ssize_t)i, dimension) != 0) {
            Py_CLEAR(shape);
        }
    }
    return shape;
}

/* (name, dtype, shape, begin, end). */
static PyObject *tensor_tuple(const cirron_tensor *tensor) {
    PyObject *shape = shape_tuple(tensor);
    PyObject *name =
        PyUnicode_DecodeUTF8(tensor->name.data, (Py_ssize_t)tensor->name.len, "replace");
    PyObject *dtype =
        PyUnicode_DecodeUTF8(tensor->dtype.data, (Py_ssize_t)tensor->dtype.len, "replace");
    PyObject *tuple = NULL;
    if (shape != NULL && name != NULL && dtype != NULL) {
        tuple = Py_BuildValue("(OOOKK)", name, dtype, shape, (unsigned long long)tensor->begin,
                              (unsigned long long)tensor->end);
    }
    Py_XDECREF(shape);
    Py_XDECREF(name);
    Py_XDECREF(dtype);
    return tuple;
}

static PyObject *tensor_list(const cirron_safetensors *header) {
    const size_t count = cirron_safetensors_count(header);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; i < count && list != NULL; i++) {
        cirron_tensor tensor = cirron_safetensors_tensor(header, i);
        PyObject *tuple = tensor_tuple(&tensor);
        if (tuple == NULL || PyList_SetItem(list, (Py_ssize_t)i, tuple) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *raise(int status, const char *why) {
    if (status == CIRRON_NO_MEMORY) {
        return PyErr_NoMemory();
    }
    if (status == CIRRON_IO) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    PyObject *reason = PyUnicode_DecodeUTF8(why, (Py_ssize_t)strlen(why), "replace");
    if (reason != NULL) {
        PyErr_SetObject(PyExc_ValueError, reason);
        Py_DECREF(reason);
    }
    return NULL;
}

PyObject *cirron_read_safetensors(PyObject *module, PyObject *file) {
    cirron_safetensors *header = NULL;
    char why[CIRRON_SAFETENSORS_WHY_BYTES] = "";
    const int descriptor = PyObject_AsFileDescriptor(file);
    int status, error;
    (void)module;
    if (descriptor < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS status = cirron_safetensors_read(descriptor, &header, why);
    error = errno;
    Py_END_ALLOW_THREADS errno = error;
    if (status != CIRRON_OK) {
        return raise(status, why);
    }
    PyObject *list = tensor_list(header);
    cirron_safetensors_free(header);
    return list;
}
