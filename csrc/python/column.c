/* memoryview needs an object that exports the memory. A table exports many columns, and
 * a memoryview of it may outlive every other reference, so each column is an exporter of
 * its own that holds on to the table.
 */
#include "python/column.h"

typedef struct column {
    PyObject_HEAD
    PyObject *owner; /* Owned */
    const void *data;
    const char *format;
    Py_ssize_t count;
    Py_ssize_t size;
} column;

static PyTypeObject *column_type; /* Owned */

static void column_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(((column *)object)->owner);
    PyObject_Free(object);
    Py_DECREF(type);
}

static int column_getbuffer(PyObject *object, Py_buffer *view, int flags) {
    column *self = (column *)object;
    if (flags & PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "a column is read-only");
        view->obj = NULL;
        return -1;
    }
    *view = (Py_buffer){
        .buf = (void *)self->data,
        .obj = Py_NewRef(object),
        .len = self->count * self->size,
        .itemsize = self->size,
        .readonly = 1,
        .ndim = 1,
        .format = flags & PyBUF_FORMAT ? (char *)self->format : NULL,
        .shape = flags & PyBUF_ND ? &self->count : NULL,
        .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? &self->size : NULL,
    };
    return 0;
}

static PyType_Slot slots[] = {
    {Py_tp_dealloc, (void *)column_dealloc},
    {Py_bf_getbuffer, (void *)column_getbuffer},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "cirron._core._Column",
    .basicsize = sizeof(column),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cirron_column_init(PyObject *module) {
    if (column_type == NULL) {
        column_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    }
    return column_type == NULL ? -1 : 0;
}

PyObject *cirron_column_view(PyObject *owner, const void *data, Py_ssize_t count, Py_ssize_t size,
                             const char *format) {
    column *self = PyObject_New(column, column_type);
    if (self == NULL) {
        return NULL;
    }
    self->owner = Py_NewRef(owner);
    self->data = data != NULL ? data : "";
    self->format = format;
    self->count = count;
    self->size = size;
    PyObject *view = PyMemoryView_FromObject((PyObject *)self);
    Py_DECREF(self);
    return view;
}
