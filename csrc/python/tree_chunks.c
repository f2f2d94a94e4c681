/* Chunks are about a megabyte: few enough for a million lines, small enough that Ctrl-C and
 * a closed pipe are noticed between them.
 */
#include "python/tree_chunks.h"

#include "core/display.h"

enum { CHUNK_BYTES = 1 << 20, CHUNK_ROOM = CHUNK_BYTES + 4096 };

typedef struct tree_chunks {
    PyObject_HEAD
    cirron_table *table;    /* owned */
    cirron_tree_text *text; /* owned */
    cirron_output out;
} tree_chunks;

static PyTypeObject *tree_chunks_type; /* Owned */

PyObject *cirron_tree_chunks_new(cirron_table *table, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"session", "name",  "min_wall_ns", "depth", "overhead",
                               "json",    "color", "ascii",       NULL};
    cirron_tree_filter filter = {0};
    cirron_tree_style style = {0};
    Py_ssize_t session, name_len = 0;
    Py_ssize_t depth = -1;
    int overhead = 0, json = 0, color = 0, ascii = 0;
    size_t count;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n|$z#dnpppp:render", keywords, &session,
                                     &filter.name.data, &name_len, &filter.min_wall_ns, &depth,
                                     &overhead, &json, &color, &ascii)) {
        return NULL;
    }
    (void)cirron_table_sessions(table, &count);
    if (session < 0 || (size_t)session >= count) {
        return PyErr_Format(PyExc_IndexError, "session %zd of %zu", session, count);
    }
    filter.name.len = (size_t)name_len;
    filter.depth = depth;
    style = (cirron_tree_style){json != 0, overhead != 0, color != 0, ascii != 0};
    tree_chunks *self = PyObject_New(tree_chunks, tree_chunks_type);
    if (self == NULL) {
        return NULL;
    }
    self->table = cirron_table_retain(table);
    self->out = (cirron_output){0};
    self->text = cirron_tree_text_new(table, (size_t)session, &filter, &style);
    if (self->text == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static PyObject *next_chunk(PyObject *object) {
    tree_chunks *self = (tree_chunks *)object;
    self->out.text.len = 0;
    if (self->out.text.cap < CHUNK_ROOM &&
        cirron_buffer_reserve(&self->out.text, CHUNK_ROOM) != CIRRON_OK) {
        return PyErr_NoMemory();
    }
    if (cirron_tree_text_next(self->text, CHUNK_BYTES, &self->out) != CIRRON_OK) {
        return PyErr_NoMemory();
    }
    if (self->out.text.len == 0) {
        return NULL; /* the end */
    }
    return PyBytes_FromStringAndSize(self->out.text.data, (Py_ssize_t)self->out.text.len);
}

static PyObject *get_named(PyObject *object, void *closure) {
    (void)closure;
    return PyBool_FromLong(cirron_tree_text_is_named(((tree_chunks *)object)->text));
}

static PyObject *get_self(PyObject *object) {
    return Py_NewRef(object);
}

static void tree_chunks_dealloc(PyObject *object) {
    tree_chunks *self = (tree_chunks *)object;
    PyTypeObject *type = Py_TYPE(object);
    cirron_tree_text_free(self->text);
    cirron_buffer_fini(&self->out.text);
    cirron_table_free(self->table);
    PyObject_Free(object);
    Py_DECREF(type);
}

PyObject *cirron_format_duration(PyObject *module, PyObject *ns) {
    (void)module;
    cirron_output out = {0};
    PyObject *text = NULL;
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(ns, &overflow);
    if (overflow != 0) {
        return PyUnicode_FromFormat("%Sns", ns); /* of no clock */
    }
    if (value == -1 && PyErr_Occurred()) {
        return NULL;
    }
    cirron_display_interval(&out, 0, value);
    if (out.status == CIRRON_OK) {
        text = PyUnicode_FromStringAndSize(out.text.data, (Py_ssize_t)out.text.len);
    } else {
        PyErr_NoMemory();
    }
    cirron_buffer_fini(&out.text);
    return text;
}

static PyGetSetDef getters[] = {
    {"named", get_named, NULL, "Whether any span has the name that was asked for.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "One session's tree in chunks of whole lines, UTF-8."},
    {Py_tp_dealloc, (void *)tree_chunks_dealloc},
    {Py_tp_iter, (void *)get_self},
    {Py_tp_iternext, (void *)next_chunk},
    {Py_tp_getset, getters},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "cirron._core.TreeChunks",
    .basicsize = sizeof(tree_chunks),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cirron_tree_chunks_init(PyObject *module) {
    if (tree_chunks_type == NULL) {
        tree_chunks_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    }
    return tree_chunks_type == NULL ? -1 : PyModule_AddType(module, tree_chunks_type);
}
