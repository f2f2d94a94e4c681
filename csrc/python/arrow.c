/* Some rows of a table for pyarrow, Polars, DuckDB and whatever else takes an Arrow stream.
 * The stream and its batches are core's: they own their share of the table and never look
 * at a Python object, so a consumer may read and release them on any thread, without the
 * GIL, and after the interpreter's objects are gone.
 */
#include "python/arrow.h"

#include "core/memory.h"

#define CAPSULE_NAME "arrow_array_stream"

typedef struct records {
    PyObject_HEAD
    cirron_table *table; /* one of its owners */
    cirron_arrow_rows rows;
} records;

static PyTypeObject *records_type; /* Owned */

static PyObject *make_records(cirron_table *table, const cirron_arrow_rows *rows) {
    records *self = PyObject_New(records, records_type);
    if (self != NULL) {
        self->table = cirron_table_retain(table);
        self->rows = *rows;
    }
    return (PyObject *)self;
}

PyObject *cirron_records_new(cirron_table *table, enum cirron_arrow_kind kind) {
    return make_records(table, &(cirron_arrow_rows){.kind = kind});
}

/* ---- the capsule */

/* The consumer has moved the stream out, or never looked at it. */
static void destroy_stream(PyObject *capsule) {
    struct ArrowArrayStream *stream = PyCapsule_GetPointer(capsule, CAPSULE_NAME);
    if (stream->release != NULL) {
        stream->release(stream);
    }
    cirron_free(stream);
}

PyObject *cirron_records_stream(cirron_table *table, const cirron_arrow_rows *rows, PyObject *args,
                                PyObject *kwargs) {
    static char *keywords[] = {"requested_schema", NULL};
    PyObject *requested; /* the interface lets a producer pass over it */
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:__arrow_c_stream__", keywords, &requested)) {
        return NULL;
    }
    struct ArrowArrayStream *stream = cirron_malloc(sizeof(*stream));
    if (stream == NULL || cirron_arrow_stream(table, rows, stream) != CIRRON_OK) {
        cirron_free(stream);
        return PyErr_NoMemory();
    }
    PyObject *capsule = PyCapsule_New(stream, CAPSULE_NAME, destroy_stream);
    if (capsule == NULL) {
        stream->release(stream);
        cirron_free(stream);
    }
    return capsule;
}

/* ---- the type */

static PyObject *records_stream(PyObject *object, PyObject *args, PyObject *kwargs) {
    records *self = (records *)object;
    return cirron_records_stream(self->table, &self->rows, args, kwargs);
}

static PyObject *records_of_session(PyObject *object, PyObject *number) {
    records *self = (records *)object;
    cirron_arrow_rows rows = self->rows;
    size_t count;
    (void)cirron_table_sessions(self->table, &count);
    rows.by_session = true;
    rows.session = -1;
    if (number != Py_None) {
        Py_ssize_t session = PyNumber_AsSsize_t(number, PyExc_IndexError);
        if (session == -1 && PyErr_Occurred()) {
            return NULL;
        }
        if (session < 0 || (size_t)session >= count) {
            return PyErr_Format(PyExc_IndexError, "session %zd of %zu", session, count);
        }
        rows.session = session;
    }
    return make_records(self->table, &rows);
}

static PyObject *records_of_rank(PyObject *object, PyObject *number) {
    records *self = (records *)object;
    cirron_arrow_rows rows = self->rows;
    rows.by_rank = true;
    rows.rank_present = number != Py_None;
    if (rows.rank_present) {
        rows.rank = PyLong_AsLongLong(number);
        if (rows.rank == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    return make_records(self->table, &rows);
}

static Py_ssize_t records_length(PyObject *object) {
    records *self = (records *)object;
    return (Py_ssize_t)cirron_arrow_count(self->table, &self->rows);
}

static void records_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    cirron_table_free(((records *)object)->table);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"__arrow_c_stream__", (PyCFunction)(void *)records_stream, METH_VARARGS | METH_KEYWORDS,
     "__arrow_c_stream__($self, /, requested_schema=None)\n--\n\n"
     "The records as a stream of Arrow record batches, by the Arrow PyCapsule interface."},
    {"of_session", records_of_session, METH_O,
     "of_session($self, session, /)\n--\n\nThose of one session; None: those of no session."},
    {"of_rank", records_of_rank, METH_O,
     "of_rank($self, rank, /)\n--\n\nThose of one rank; None: those without a rank."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Spans, marks or snapshots of a table, for Arrow."},
    {Py_tp_dealloc, (void *)records_dealloc},
    {Py_tp_methods, methods},
    {Py_sq_length, (void *)records_length},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "cirron._core.Records",
    .basicsize = sizeof(records),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cirron_records_init(PyObject *module) {
    if (records_type == NULL) {
        records_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    }
    return records_type == NULL ? -1 : PyModule_AddType(module, records_type);
}
