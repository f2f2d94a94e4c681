/* Borrows an array, has core read it and returns a dict such as a snapshot record holds. */
#include "python/tensor_stats.h"

#include "core/tensor_stats.h"
#include "python/tensor_source.h"

/* Below it the reading takes less time than another thread may keep the lock. */
enum { LONG_BYTES = 1 << 18 };

static PyObject *float_list(const double *values, Py_ssize_t len) {
    PyObject *list = PyList_New(len);
    for (Py_ssize_t i = 0; i < len && list != NULL; i++) {
        PyObject *value = PyFloat_FromDouble(values[i]);
        if (value == NULL || PyList_SetItem(list, i, value) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *count_list(const uint64_t *values, Py_ssize_t len) {
    PyObject *list = PyList_New(len);
    for (Py_ssize_t i = 0; i < len && list != NULL; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(values[i]);
        if (value == NULL || PyList_SetItem(list, i, value) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *shape_tuple(const cirron_array *array) {
    PyObject *shape = PyTuple_New((Py_ssize_t)array->dimensions);
    for (size_t i = 0; i < array->dimensions && shape != NULL; i++) {
        PyObject *length = PyLong_FromLongLong(array->shape[i]);
        if (length == NULL || PyTuple_SetItem(shape, (Py_ssize_t)i, length) != 0) {
            Py_CLEAR(shape);
        }
    }
    return shape;
}

static PyObject *stats_dict(const cirron_array *array, const cirron_tensor_stats *stats) {
    const char *dtype = cirron_dtype_name(array->dtype);
    const cirron_histogram *histogram = &stats->histogram;
    if (stats->count == 0) {
        return Py_BuildValue("{s:N,s:s,s:O,s:O,s:O,s:O,s:O,s:O,s:K,s:K}", "shape",
                             shape_tuple(array), "dtype", dtype, "mean", Py_None, "std", Py_None,
                             "min", Py_None, "max", Py_None, "norm", Py_None, "histogram", Py_None,
                             "nan_count", (unsigned long long)stats->nan_count, "inf_count",
                             (unsigned long long)stats->inf_count);
    }
    return Py_BuildValue(
        "{s:N,s:s,s:d,s:d,s:d,s:d,s:d,s:{s:N,s:N},s:K,s:K}", "shape", shape_tuple(array), "dtype",
        dtype, "mean", stats->mean, "std", stats->std, "min", stats->min, "max", stats->max, "norm",
        stats->norm, "histogram", "bins", float_list(histogram->edges, CIRRON_BINS + 1), "counts",
        count_list(histogram->counts, CIRRON_BINS), "nan_count",
        (unsigned long long)stats->nan_count, "inf_count", (unsigned long long)stats->inf_count);
}

static int take_stats(const cirron_array *array, cirron_tensor_stats *stats) {
    uint64_t bytes = cirron_dtype_size(array->dtype);
    int status;
    for (size_t i = 0; i < array->dimensions && bytes < LONG_BYTES; i++) {
        bytes *= (uint64_t)array->shape[i];
    }
    if (bytes < LONG_BYTES) {
        return cirron_tensor_stats_of(array, stats);
    }
    Py_BEGIN_ALLOW_THREADS status = cirron_tensor_stats_of(array, stats);
    Py_END_ALLOW_THREADS return status;
}

PyObject *cirron_tensor_stats_function(PyObject *module, PyObject *object) {
    cirron_tensor_source source;
    cirron_tensor_stats stats;
    PyObject *result = NULL;
    (void)module;
    if (cirron_tensor_source_borrow(&source, object) != 0) {
        goto done;
    }
    if (take_stats(&source.array, &stats) != CIRRON_OK) {
        PyErr_SetString(PyExc_ValueError, "can't take statistics of an array of this shape");
        goto done;
    }
    result = stats_dict(&source.array, &stats);
done:
    cirron_tensor_source_release(&source);
    return result;
}
