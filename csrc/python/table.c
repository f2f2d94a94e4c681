/* SpanTable is a thin cover of core's table: columns leave as memoryviews without a copy,
 * names as one str each, ids and attributes are made when they are asked for. The table is
 * read-only, so no call needs more than the GIL.
 */
#include "python/table.h"

#include <string.h>

#include "core/memory.h"
#include "python/arrow.h"
#include "python/column.h"
#include "python/export.h"
#include "python/tree_chunks.h"

typedef struct span_table {
    PyObject_HEAD
    cirron_table *table; /* owned */
    PyObject **names;    /* owned; Owned: a str a name, NULL until asked for */
    PyObject *warnings;  /* Owned: list of str, NULL when there are none */
} span_table;

static PyTypeObject *span_table_type; /* Owned */
static PyObject *json_loads;          /* Owned; NULL until the first attribute is read */

static PyObject *to_str(cirron_text text) {
    return PyUnicode_DecodeUTF8(text.data, (Py_ssize_t)text.len, "replace");
}

static Py_ssize_t span_count(const span_table *self) {
    return (Py_ssize_t)cirron_table_spans(self->table);
}

/* ---- columns */

static char *column_keywords[] = {"column", NULL};

static int find_column(const char *name, enum cirron_table_column *column) {
    static const char *const names[CIRRON_COLUMN_COUNT] = {
        [CIRRON_COLUMN_START] = "start_ns",
        [CIRRON_COLUMN_END] = "end_ns",
        [CIRRON_COLUMN_CPU] = "cpu_ns",
        [CIRRON_COLUMN_GPU] = "gpu_ns",
        [CIRRON_COLUMN_MEMORY] = "memory_peak_bytes",
        [CIRRON_COLUMN_INDEX] = "index",
        [CIRRON_COLUMN_THREAD] = "thread_id",
        [CIRRON_COLUMN_PID] = "pid",
        [CIRRON_COLUMN_RANK] = "rank",
        [CIRRON_COLUMN_OVERHEAD] = "overhead_ns",
        [CIRRON_COLUMN_MARK_COUNT] = "mark_count",
        [CIRRON_COLUMN_PARENT_ROW] = "parent_row",
        [CIRRON_COLUMN_SESSION] = "session",
    };
    for (int i = 0; i < CIRRON_COLUMN_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            *column = (enum cirron_table_column)i;
            return 0;
        }
    }
    PyErr_Format(PyExc_KeyError, "no column of integers is named %s", name);
    return -1;
}

static PyObject *table_ints(PyObject *object, PyObject *args, PyObject *kwargs) {
    span_table *self = (span_table *)object;
    const char *name;
    enum cirron_table_column column;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s:ints", column_keywords, &name) ||
        find_column(name, &column) != 0) {
        return NULL;
    }
    return cirron_column_view(object, cirron_table_ints(self->table, column), span_count(self),
                              sizeof(int64_t), "q");
}

static PyObject *table_present(PyObject *object, PyObject *args, PyObject *kwargs) {
    span_table *self = (span_table *)object;
    const char *name;
    enum cirron_table_column column;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s:present", column_keywords, &name) ||
        find_column(name, &column) != 0) {
        return NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, span_count(self));
    if (bytes == NULL) {
        return NULL;
    }
    cirron_table_present(self->table, column, (uint8_t *)PyBytes_AsString(bytes));
    PyObject *view = PyMemoryView_FromObject(bytes);
    Py_DECREF(bytes);
    return view;
}

static PyObject *get_name(span_table *self, uint32_t name) {
    if (self->names == NULL) {
        self->names = cirron_calloc(cirron_table_names(self->table), sizeof(*self->names));
        if (self->names == NULL) {
            return PyErr_NoMemory();
        }
    }
    if (self->names[name] == NULL) {
        self->names[name] = to_str(cirron_table_name_text(self->table, name));
    }
    return Py_XNewRef(self->names[name]);
}

static PyObject *id_str(const cirron_table *table, const cirron_id *id) {
    char hex[32];
    return to_str(cirron_table_id_text(table, id, hex));
}

/* The str of a parent's id; siblings that follow each other share it. */
static PyObject *parent_id_str(const cirron_table *table, Py_ssize_t row, PyObject *previous) {
    const cirron_id *id = cirron_table_parent_id(table, (size_t)row);
    if (id == NULL) {
        return Py_NewRef(Py_None);
    }
    const cirron_id *last = row > 0 ? cirron_table_parent_id(table, (size_t)row - 1) : NULL;
    if (last != NULL && memcmp(last, id, sizeof(*id)) == 0) {
        return Py_NewRef(previous);
    }
    return id_str(table, id);
}

static PyObject *table_strings(PyObject *object, PyObject *args, PyObject *kwargs) {
    span_table *self = (span_table *)object;
    const char *column;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s:strings", column_keywords, &column)) {
        return NULL;
    }
    bool ids = strcmp(column, "id") == 0;
    bool parent_ids = strcmp(column, "parent_id") == 0;
    if (!ids && !parent_ids && strcmp(column, "name") != 0) {
        return PyErr_Format(PyExc_KeyError, "no column of text is named %s", column);
    }
    const Py_ssize_t count = span_count(self);
    PyObject *list = PyList_New(count);
    PyObject *item = NULL;
    for (Py_ssize_t row = 0; row < count && list != NULL; row++) {
        if (ids) {
            item = id_str(self->table, cirron_table_id(self->table, (size_t)row));
        } else if (parent_ids) {
            item = parent_id_str(self->table, row, item);
        } else {
            item = get_name(self, cirron_table_name(self->table, (size_t)row));
        }
        if (item == NULL || PyList_SetItem(list, row, item) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* ---- one span */

static int read_row(span_table *self, PyObject *args, PyObject *kwargs, const char *format,
                    size_t *row) {
    static char *keywords[] = {"row", NULL};
    Py_ssize_t number;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, keywords, &number)) {
        return -1;
    }
    if (number < 0 || number >= span_count(self)) {
        PyErr_Format(PyExc_IndexError, "row %zd of a table of %zd spans", number, span_count(self));
        return -1;
    }
    *row = (size_t)number;
    return 0;
}

/* The dict that the JSON holds; an empty one where it holds something else or is broken,
 * as a file from somewhere else may have it. */
static PyObject *load_attrs(cirron_text json) {
    PyObject *text = NULL;
    PyObject *attrs = NULL;
    if (json.data == NULL) {
        return PyDict_New();
    }
    if (json_loads == NULL) {
        PyObject *module = PyImport_ImportModule("json");
        if (module == NULL) {
            return NULL;
        }
        json_loads = PyObject_GetAttrString(module, "loads");
        Py_DECREF(module);
        if (json_loads == NULL) {
            return NULL;
        }
    }
    text = to_str(json);
    if (text == NULL) {
        return NULL;
    }
    attrs = PyObject_CallFunctionObjArgs(json_loads, text, NULL);
    Py_DECREF(text);
    if (attrs == NULL && !PyErr_ExceptionMatches(PyExc_ValueError) &&
        !PyErr_ExceptionMatches(PyExc_RecursionError)) {
        return NULL;
    }
    if (attrs == NULL || !PyDict_Check(attrs)) {
        PyErr_Clear();
        Py_XDECREF(attrs);
        attrs = PyDict_New();
    }
    return attrs;
}

static PyObject *table_attrs(PyObject *object, PyObject *args, PyObject *kwargs) {
    span_table *self = (span_table *)object;
    size_t row;
    if (read_row(self, args, kwargs, "n:attrs", &row) != 0) {
        return NULL;
    }
    return load_attrs(cirron_table_attrs(self->table, row));
}

static PyObject *mark_value(const cirron_table_mark *mark) {
    switch (mark->value_type) {
    case CIRRON_VALUE_FLOAT:
        return PyFloat_FromDouble(mark->as_float);
    case CIRRON_VALUE_INT:
        return PyLong_FromLongLong(mark->as_int);
    case CIRRON_VALUE_BOOL:
        return PyBool_FromLong(mark->as_int != 0);
    default:
        return to_str(mark->as_string);
    }
}

/* (name, value, kind, ts_ns, attrs). */
static PyObject *mark_tuple(const cirron_table_mark *mark) {
    PyObject *name = to_str(mark->name);
    PyObject *value = name != NULL ? mark_value(mark) : NULL;
    PyObject *attrs = value != NULL ? load_attrs(mark->attrs) : NULL;
    PyObject *tuple = NULL;
    if (attrs != NULL) {
        tuple = Py_BuildValue("(OOsLO)", name, value,
                              mark->kind == CIRRON_MARK_SUMMARY ? "summary" : "point",
                              (long long)mark->ts_ns, attrs);
    }
    Py_XDECREF(name);
    Py_XDECREF(value);
    Py_XDECREF(attrs);
    return tuple;
}

static PyObject *table_marks_of(PyObject *object, PyObject *args, PyObject *kwargs) {
    span_table *self = (span_table *)object;
    size_t row, count;
    if (read_row(self, args, kwargs, "n:marks_of", &row) != 0) {
        return NULL;
    }
    const uint32_t *marks = cirron_table_marks_of(self->table, row, &count);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; i < count && list != NULL; i++) {
        cirron_table_mark mark = cirron_table_mark_at(self->table, marks[i]);
        PyObject *tuple = mark_tuple(&mark);
        if (tuple == NULL || PyList_SetItem(list, (Py_ssize_t)i, tuple) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* ---- snapshots */

static PyObject *text_or_none(cirron_text text) {
    return text.data == NULL ? Py_NewRef(Py_None) : to_str(text);
}

/* Takes over `value`. 0, or -1 with an exception, also when `value` is NULL. */
static int set_item(PyObject *dict, const char *key, PyObject *value) {
    int status = value == NULL ? -1 : PyDict_SetItemString(dict, key, value);
    Py_XDECREF(value);
    return status;
}

static PyObject *snapshot_dict(const cirron_table *table, size_t number) {
    const cirron_table_snapshot snapshot = cirron_table_snapshot_at(table, number);
    PyObject *dict = PyDict_New();
    if (dict == NULL ||
        set_item(dict, "id", id_str(table, cirron_table_snapshot_id(table, number))) ||
        set_item(dict, "span_id", id_str(table, cirron_table_snapshot_span_id(table, number))) ||
        set_item(dict, "row", PyLong_FromLongLong(cirron_table_snapshot_row(table, number))) ||
        set_item(dict, "tensor_name", text_or_none(snapshot.tensor_name)) ||
        set_item(dict, "dtype", text_or_none(snapshot.dtype)) ||
        set_item(dict, "shape_json", text_or_none(snapshot.shape)) ||
        set_item(dict, "mode", text_or_none(snapshot.mode)) ||
        set_item(dict, "stats_json", text_or_none(snapshot.stats)) ||
        set_item(dict, "blob_uri", text_or_none(snapshot.blob_uri)) ||
        set_item(dict, "ts_ns", PyLong_FromLongLong(snapshot.ts_ns)) ||
        set_item(dict, "attrs_json", text_or_none(snapshot.attrs))) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *table_snapshot_records(PyObject *object, PyObject *ignored) {
    span_table *self = (span_table *)object;
    const size_t count = cirron_table_snapshots(self->table);
    (void)ignored;
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; i < count && list != NULL; i++) {
        PyObject *dict = snapshot_dict(self->table, i);
        if (dict == NULL || PyList_SetItem(list, (Py_ssize_t)i, dict) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* ---- trees and sessions */

static PyObject *table_tree(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"session", NULL};
    span_table *self = (span_table *)object;
    PyObject *number = Py_None;
    size_t start = 0;
    size_t count = cirron_table_spans(self->table);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:tree", keywords, &number)) {
        return NULL;
    }
    if (number != Py_None) {
        size_t session_count;
        const cirron_table_session *sessions = cirron_table_sessions(self->table, &session_count);
        Py_ssize_t session = PyNumber_AsSsize_t(number, PyExc_IndexError);
        if (session == -1 && PyErr_Occurred()) {
            return NULL;
        }
        if (session < 0 || (size_t)session >= session_count) {
            return PyErr_Format(PyExc_IndexError, "session %zd of %zu", session, session_count);
        }
        start = sessions[session].tree_start;
        count = sessions[session].spans;
    }
    const int32_t *rows = cirron_table_tree_rows(self->table);
    const int32_t *depths = cirron_table_tree_depths(self->table);
    PyObject *row_view =
        cirron_column_view(object, rows + start, (Py_ssize_t)count, sizeof(*rows), "i");
    PyObject *depth_view =
        cirron_column_view(object, depths + start, (Py_ssize_t)count, sizeof(*depths), "i");
    PyObject *pair = NULL;
    if (row_view != NULL && depth_view != NULL) {
        pair = PyTuple_Pack(2, row_view, depth_view);
    }
    Py_XDECREF(row_view);
    Py_XDECREF(depth_view);
    return pair;
}

static PyObject *table_render(PyObject *object, PyObject *args, PyObject *kwargs) {
    return cirron_tree_chunks_new(((span_table *)object)->table, args, kwargs);
}

static PyObject *table_export(PyObject *object, PyObject *args, PyObject *kwargs) {
    return cirron_export_new(((span_table *)object)->table, args, kwargs);
}

static PyObject *session_dict(const cirron_table *table, const cirron_table_session *session) {
    PyObject *id = session->row < 0 ? PyUnicode_FromString("(orphan spans)")
                                    : id_str(table, cirron_table_id(table, (size_t)session->row));
    PyObject *ended = session->live ? Py_NewRef(Py_None) : PyLong_FromLongLong(session->ended_ns);
    PyObject *version =
        session->sdk_version.data == NULL ? Py_NewRef(Py_None) : to_str(session->sdk_version);
    PyObject *dict = NULL;
    if (id != NULL && ended != NULL && version != NULL) {
        dict = Py_BuildValue(
            "{sOsLsLsOsnsnsnsKsO}", "id", id, "row", (long long)session->row, "started_ns",
            (long long)session->started_ns, "ended_ns", ended, "spans", (Py_ssize_t)session->spans,
            "marks", (Py_ssize_t)session->marks, "snapshots", (Py_ssize_t)session->snapshots,
            "bytes", (unsigned long long)session->bytes, "sdk_version", version);
    }
    Py_XDECREF(id);
    Py_XDECREF(ended);
    Py_XDECREF(version);
    return dict;
}

static PyObject *table_sessions(PyObject *object, PyObject *ignored) {
    span_table *self = (span_table *)object;
    size_t count;
    const cirron_table_session *sessions = cirron_table_sessions(self->table, &count);
    (void)ignored;
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; i < count && list != NULL; i++) {
        PyObject *dict = session_dict(self->table, &sessions[i]);
        if (dict == NULL || PyList_SetItem(list, (Py_ssize_t)i, dict) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* ---- the type */

static Py_ssize_t table_length(PyObject *object) {
    return span_count((span_table *)object);
}

static PyObject *table_mark_count(PyObject *object, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(cirron_table_marks(((span_table *)object)->table));
}

static PyObject *table_snapshot_count(PyObject *object, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(cirron_table_snapshots(((span_table *)object)->table));
}

/* `closure` is the kind. */
static PyObject *table_records(PyObject *object, void *closure) {
    return cirron_records_new(((span_table *)object)->table,
                              (enum cirron_arrow_kind)(intptr_t)closure);
}

static PyObject *table_stream(PyObject *object, PyObject *args, PyObject *kwargs) {
    return cirron_records_stream(((span_table *)object)->table,
                                 &(cirron_arrow_rows){.kind = CIRRON_ARROW_SPANS}, args, kwargs);
}

static PyObject *table_warnings(PyObject *object, void *closure) {
    span_table *self = (span_table *)object;
    (void)closure;
    if (self->warnings == NULL) {
        return PyList_New(0);
    }
    return PyList_GetSlice(self->warnings, 0, PyList_Size(self->warnings));
}

static void table_dealloc(PyObject *object) {
    span_table *self = (span_table *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (size_t i = 0; self->names != NULL && i < cirron_table_names(self->table); i++) {
        Py_XDECREF(self->names[i]);
    }
    cirron_free(self->names);
    Py_XDECREF(self->warnings);
    cirron_table_free(self->table);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* A method that takes keywords, as the method table wants it. */
#define WITH_KEYWORDS(function) (PyCFunction)(void *)(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef methods[] = {
    {"ints", WITH_KEYWORDS(table_ints),
     "ints($self, /, column)\n--\n\nAn int64 column; absent values are 0."},
    {"present", WITH_KEYWORDS(table_present),
     "present($self, /, column)\n--\n\n1 where ints(column) holds a value, else 0."},
    {"strings", WITH_KEYWORDS(table_strings),
     "strings($self, /, column)\n--\n\nA text column: id, parent_id or name."},
    {"attrs", WITH_KEYWORDS(table_attrs), "attrs($self, /, row)\n--\n\nA span's attributes."},
    {"marks_of", WITH_KEYWORDS(table_marks_of),
     "marks_of($self, /, row)\n--\n\n(name, value, kind, ts_ns, attrs) of a span's marks by time."},
    {"snapshot_records", table_snapshot_records, METH_NOARGS,
     "snapshot_records($self, /)\n--\n\nThe snapshot records, in the order of the files."},
    {"tree", WITH_KEYWORDS(table_tree),
     "tree($self, /, session=None)\n--\n\nRows depth first, and each one's depth."},
    {"render", WITH_KEYWORDS(table_render),
     "render($self, /, session, *, name=None, min_wall_ns=0.0, depth=-1, overhead=False, "
     "json=False, color=False, ascii=False)\n--\n\nThe tree of a session, as text in chunks."},
    {"export", WITH_KEYWORDS(table_export),
     "export($self, /, format, session=None, *, request_bytes=0)\n--\n\n"
     "The table, or one session, as csv, json or otlp in chunks of bytes."},
    {"sessions", table_sessions, METH_NOARGS,
     "sessions($self, /)\n--\n\nThe sessions, newest first."},
    {"__arrow_c_stream__", WITH_KEYWORDS(table_stream),
     "__arrow_c_stream__($self, /, requested_schema=None)\n--\n\nThe spans, for Arrow."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
    {"spans", table_records, NULL, "The spans, for Arrow.", (void *)CIRRON_ARROW_SPANS},
    {"marks", table_records, NULL, "The marks, for Arrow.", (void *)CIRRON_ARROW_MARKS},
    {"snapshots", table_records, NULL, "The snapshot records, for Arrow.",
     (void *)CIRRON_ARROW_SNAPSHOTS},
    {"mark_count", table_mark_count, NULL, "Marks in the table.", NULL},
    {"snapshot_count", table_snapshot_count, NULL, "Snapshot records in the table.", NULL},
    {"warnings", table_warnings, NULL, "A line for each file that could not be read.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Spans, marks and snapshots in columns, read-only, linked into trees."},
    {Py_tp_dealloc, (void *)table_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {Py_sq_length, (void *)table_length},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "cirron._core.SpanTable",
    .basicsize = sizeof(span_table),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cirron_table_init_types(PyObject *module) {
    if (cirron_column_init(module) != 0) {
        return -1;
    }
    if (span_table_type == NULL) {
        span_table_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    }
    return span_table_type == NULL ? -1 : PyModule_AddType(module, span_table_type);
}

PyObject *cirron_table_wrap_with(cirron_table *table, PyObject *warnings) {
    span_table *self = PyObject_New(span_table, span_table_type);
    if (self == NULL) {
        cirron_table_free(table);
        return NULL;
    }
    self->table = table;
    self->names = NULL;
    self->warnings = Py_XNewRef(warnings);
    return (PyObject *)self;
}

PyObject *cirron_table_wrap(cirron_table *table) {
    return cirron_table_wrap_with(table, NULL);
}
