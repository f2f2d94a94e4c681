/* One type for the three formats, which differ only in the function that makes the next
 * chunk. It shares the table, so it may outlive the SpanTable it came from.
 */
#include "python/export.h"

#include "core/csv_export.h"
#include "core/json_export.h"
#include "core/otlp_export.h"
#include "core/memory.h"

enum { CHUNK_ROOM = CIRRON_EXPORT_CHUNK_BYTES + CIRRON_EXPORT_CHUNK_BYTES / 16 };

enum format { CSV, JSON, OTLP };

typedef struct export_object {
    PyObject_HEAD
    cirron_table *table; /* one of its owners */
    enum format format;
    cirron_otlp_export export; /* the others use its `base` alone */
    cirron_otlp_id *odd_ids;   /* owned */
    cirron_output out;
    bool running; /* a thread makes a chunk, without the GIL */
} export_object;

static PyTypeObject *export_type; /* Owned */

/* hashlib.sha256(text).digest(). */
static int hash_text(PyObject *sha256, cirron_text text, uint8_t digest[32]) {
    PyObject *bytes = PyBytes_FromStringAndSize(text.data, (Py_ssize_t)text.len);
    PyObject *hash = bytes == NULL ? NULL : PyObject_CallFunctionObjArgs(sha256, bytes, NULL);
    PyObject *result = hash == NULL ? NULL : PyObject_CallMethod(hash, "digest", NULL);
    int status = -1;
    if (result != NULL && PyBytes_Check(result) && PyBytes_Size(result) == 32) {
        memcpy(digest, PyBytes_AsString(result), 32);
        status = 0;
    } else if (result != NULL) {
        PyErr_SetString(PyExc_TypeError, "sha256().digest() gave no 32 bytes");
    }
    Py_XDECREF(bytes);
    Py_XDECREF(hash);
    Py_XDECREF(result);
    return status;
}

/* OTLP's form of each id that is no 32 hex digits. 0, or -1 with an exception. */
static int hash_odd_ids(export_object *self) {
    const size_t count = cirron_table_odd_ids(self->table);
    if (count == 0) {
        return 0;
    }
    self->odd_ids = cirron_calloc(count, sizeof(*self->odd_ids));
    if (self->odd_ids == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyObject *hashlib = PyImport_ImportModule("hashlib");
    PyObject *sha256 = hashlib == NULL ? NULL : PyObject_GetAttrString(hashlib, "sha256");
    int status = sha256 == NULL ? -1 : 0;
    for (size_t i = 0; i < count && status == 0; i++) {
        uint8_t digest[32];
        cirron_text text = cirron_table_odd_id_text(self->table, i);
        status = hash_text(sha256, text, digest);
        if (status == 0) {
            self->odd_ids[i] = cirron_otlp_id_of(text, digest);
        }
    }
    Py_XDECREF(hashlib);
    Py_XDECREF(sha256);
    return status;
}

static int start(export_object *self, int64_t session, size_t request_bytes) {
    if (self->format == CSV) {
        cirron_export_init(&self->export.base, self->table, session);
        return 0;
    }
    if (self->format == JSON) {
        cirron_json_export_init(&self->export.base, self->table, session);
        return 0;
    }
    if (hash_odd_ids(self) != 0) {
        return -1;
    }
    if (cirron_otlp_export_init(&self->export, self->table, session, self->odd_ids,
                                request_bytes) != CIRRON_OK) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

PyObject *cirron_export_new(cirron_table *table, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"format", "session", "request_bytes", NULL};
    static const char *const names[] = {[CSV] = "csv", [JSON] = "json", [OTLP] = "otlp"};
    const char *name;
    PyObject *number = Py_None;
    Py_ssize_t request_bytes = 0;
    Py_ssize_t session = -1;
    int format = CSV;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|O$n:export", keywords, &name, &number,
                                     &request_bytes)) {
        return NULL;
    }
    while (format <= OTLP && strcmp(names[format], name) != 0) {
        format++;
    }
    if (format > OTLP) {
        return PyErr_Format(PyExc_ValueError, "no export format is named %s", name);
    }
    if (request_bytes < 0) {
        return PyErr_Format(PyExc_ValueError, "request_bytes is %zd", request_bytes);
    }
    if (number != Py_None) {
        size_t count;
        (void)cirron_table_sessions(table, &count);
        session = PyNumber_AsSsize_t(number, PyExc_IndexError);
        if (session == -1 && PyErr_Occurred()) {
            return NULL;
        }
        if (session < 0 || (size_t)session >= count) {
            return PyErr_Format(PyExc_IndexError, "session %zd of %zu", session, count);
        }
    }
    export_object *self = PyObject_New(export_object, export_type);
    if (self == NULL) {
        return NULL;
    }
    self->table = cirron_table_retain(table);
    self->format = (enum format)format;
    self->export = (cirron_otlp_export){0};
    self->odd_ids = NULL;
    self->out = (cirron_output){0};
    self->running = false;
    if (start(self, session, (size_t)request_bytes) != 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* Runs without the GIL. */
static int make_chunk(export_object *self) {
    self->out.text.len = 0;
    if (self->out.text.cap < CHUNK_ROOM &&
        cirron_buffer_reserve(&self->out.text, CHUNK_ROOM) != CIRRON_OK) {
        return CIRRON_NO_MEMORY;
    }
    switch (self->format) {
    case CSV:
        return cirron_csv_export_next(&self->export.base, &self->out);
    case JSON:
        return cirron_json_export_next(&self->export.base, &self->out);
    default:
        return cirron_otlp_export_next(&self->export, &self->out);
    }
}

static PyObject *next_chunk(PyObject *object) {
    export_object *self = (export_object *)object;
    int status = CIRRON_OK;
    if (self->running) {
        PyErr_SetString(PyExc_ValueError, "the export is at work in another thread");
        return NULL;
    }
    if (self->export.base.finished) {
        return NULL;
    }
    self->running = true;
    Py_BEGIN_ALLOW_THREADS status = make_chunk(self);
    Py_END_ALLOW_THREADS self->running = false;
    if (status != CIRRON_OK) {
        self->export.base.finished = true;
        return PyErr_NoMemory();
    }
    if (self->out.text.len == 0) {
        return NULL; /* no request at all, for no span */
    }
    return PyBytes_FromStringAndSize(self->out.text.data, (Py_ssize_t)self->out.text.len);
}

static PyObject *get_done(PyObject *object, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(((export_object *)object)->export.base.done);
}

static PyObject *get_total(PyObject *object, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(((export_object *)object)->export.base.total);
}

static PyObject *get_self(PyObject *object) {
    return Py_NewRef(object);
}

static void export_dealloc(PyObject *object) {
    export_object *self = (export_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    cirron_otlp_export_fini(&self->export); /* what the other formats left empty is so */
    cirron_free(self->odd_ids);
    cirron_buffer_fini(&self->out.text);
    cirron_table_free(self->table);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyGetSetDef getters[] = {
    {"done", get_done, NULL, "Records written so far.", NULL},
    {"total", get_total, NULL, "Records in all.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A table as a document of another format, in chunks of bytes."},
    {Py_tp_dealloc, (void *)export_dealloc},
    {Py_tp_iter, (void *)get_self},
    {Py_tp_iternext, (void *)next_chunk},
    {Py_tp_getset, getters},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "cirron._core.Export",
    .basicsize = sizeof(export_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cirron_export_init_types(PyObject *module) {
    if (export_type == NULL) {
        export_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    }
    return export_type == NULL ? -1 : PyModule_AddType(module, export_type);
}
