/* Borrows an array and has core read it. What comes of it stays in C's numbers until somebody
 * asks: a record is written from them, and a model has hundreds at the end of an epoch.
 */
#include "python/tensor_stats.h"

#include <stddef.h>
#include <structmember.h>

#include "core/json_writer.h"
#include "core/tensor_stats.h"
#include "python/tensor_source.h"

/* Below it the reading takes less time than another thread may keep the lock. */
enum { LONG_BYTES = 1 << 18 };

typedef struct TensorStats {
    PyObject_HEAD
    cirron_tensor_stats stats;
} TensorStats;

static PyTypeObject *stats_type; /* Owned */

bool cirron_tensor_stats_check(PyObject *object) {
    return Py_IS_TYPE(object, stats_type);
}

/* ---- as JSON */

static int put_number(cirron_buffer *out, const char *key, double value) {
    int status = cirron_buffer_append_text(out, key);
    return status == CIRRON_OK ? cirron_json_double(out, value) : status;
}

static int put_histogram(cirron_buffer *out, const cirron_histogram *histogram) {
    int status = CIRRON_OK;
    for (int i = 0; i <= CIRRON_BINS && status == CIRRON_OK; i++) {
        status = put_number(out, i == 0 ? ",\"histogram\":{\"bins\":[" : ",", histogram->edges[i]);
    }
    for (int i = 0; i < CIRRON_BINS && status == CIRRON_OK; i++) {
        status = cirron_buffer_append_text(out, i == 0 ? "],\"counts\":[" : ",");
        if (status == CIRRON_OK) {
            status = cirron_json_uint(out, histogram->counts[i]);
        }
    }
    return status == CIRRON_OK ? cirron_buffer_append_text(out, "]}}") : status;
}

int cirron_tensor_stats_encode(PyObject *object, cirron_buffer *out) {
    const cirron_tensor_stats *stats = &((TensorStats *)object)->stats;
    if (stats->count == 0) {
        return cirron_buffer_append_text(out,
                                         "{\"mean\":null,\"std\":null,\"min\":null,\"max\":null,"
                                         "\"norm\":null,\"histogram\":null}");
    }
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"{\"mean\":", stats->mean}, {",\"std\":", stats->std},   {",\"min\":", stats->min},
        {",\"max\":", stats->max},   {",\"norm\":", stats->norm},
    };
    int status = CIRRON_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && status == CIRRON_OK; i++) {
        status = put_number(out, numbers[i].key, numbers[i].value);
    }
    return status == CIRRON_OK ? put_histogram(out, &stats->histogram) : status;
}

/* ---- for Python */

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

static PyObject *as_dict(PyObject *self, PyObject *ignored) {
    (void)ignored;
    const cirron_tensor_stats *stats = &((TensorStats *)self)->stats;
    const cirron_histogram *histogram = &stats->histogram;
    if (stats->count == 0) {
        return Py_BuildValue("{s:O,s:O,s:O,s:O,s:O,s:O}", "mean", Py_None, "std", Py_None, "min",
                             Py_None, "max", Py_None, "norm", Py_None, "histogram", Py_None);
    }
    return Py_BuildValue("{s:d,s:d,s:d,s:d,s:d,s:{s:N,s:N}}", "mean", stats->mean, "std",
                         stats->std, "min", stats->min, "max", stats->max, "norm", stats->norm,
                         "histogram", "bins", float_list(histogram->edges, CIRRON_BINS + 1),
                         "counts", count_list(histogram->counts, CIRRON_BINS));
}

static void dealloc_stats(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef stats_methods[] = {
    {"as_dict", as_dict, METH_NOARGS, "as_dict($self, /)\n--\n\nWhat a record holds."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef stats_members[] = {
    {"nan_count", T_ULONGLONG, offsetof(TensorStats, stats.nan_count), READONLY, NULL},
    {"inf_count", T_ULONGLONG, offsetof(TensorStats, stats.inf_count), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot stats_slots[] = {
    {Py_tp_dealloc, (void *)dealloc_stats},
    {Py_tp_methods, stats_methods},
    {Py_tp_members, stats_members},
    {Py_tp_doc, "Statistics of a tensor's finite values."},
    {0, NULL},
};

static PyType_Spec stats_spec = {
    .name = "cirron._core.TensorStats",
    .basicsize = sizeof(TensorStats),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = stats_slots,
};

int cirron_tensor_stats_init(PyObject *module) {
    stats_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &stats_spec, NULL);
    return stats_type != NULL ? PyModule_AddObjectRef(module, "TensorStats", (PyObject *)stats_type)
                              : -1;
}

/* ---- reading */

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
    (void)module;
    cirron_tensor_source source;
    TensorStats *result = NULL;
    if (cirron_tensor_source_borrow(&source, object) == 0) {
        result = PyObject_New(TensorStats, stats_type);
    }
    if (result != NULL && take_stats(&source.array, &result->stats) != CIRRON_OK) {
        PyErr_SetString(PyExc_ValueError, "can't take statistics of an array of this shape");
        Py_CLEAR(result);
    }
    cirron_tensor_source_release(&source);
    return (PyObject *)result;
}
