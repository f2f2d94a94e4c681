/* The encoder of attributes. User code runs here (__str__, __float__), so nothing of a
 * recorder is held meanwhile, and dicts and lists that could change under it are copied.
 */
#include "python/attrs.h"

#include "core/json_writer.h"
#include "python/tensor_stats.h"
#include "python/text.h"

static const char truncated_item[] = "\"cirron.attrs_truncated\":true}";

enum {
    MAX_LEVELS = 8, /* attrs itself is the first */
    TEXT_LIMIT = CIRRON_MAX_ATTRS_BYTES - (int)sizeof truncated_item,
};

/* Besides CIRRON_OK and CIRRON_NO_MEMORY: the text has grown beyond TEXT_LIMIT. */
enum { TOO_LONG = 1 };

static int encode_value(cirron_buffer *out, PyObject *value, int level);

PyObject *cirron_numpy_item(PyObject *value) {
    PyObject *modules = PyImport_GetModuleDict();             /* Borrowed */
    PyObject *numpy = PyDict_GetItemString(modules, "numpy"); /* Borrowed */
    PyObject *generic = numpy != NULL ? PyObject_GetAttrString(numpy, "generic") : NULL;
    PyObject *item = NULL;
    if (generic != NULL && PyObject_IsInstance(value, generic) == 1) {
        item = PyObject_CallMethod(value, "item", NULL);
        if (item != NULL && Py_IS_TYPE(item, Py_TYPE(value))) {
            Py_DECREF(item); /* a longdouble is its own item */
            item = PyNumber_Float(value);
        }
    }
    Py_XDECREF(generic);
    cirron_drop_exception();
    return item;
}

bool cirron_is_numpy_integer(PyObject *value) {
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *numpy = PyDict_GetItemString(modules, "numpy");
    PyObject *integer = numpy != NULL ? PyObject_GetAttrString(numpy, "integer") : NULL;
    bool is = integer != NULL && PyObject_IsInstance(value, integer) == 1;
    Py_XDECREF(integer);
    cirron_drop_exception();
    return is;
}

static int encode_string(cirron_buffer *out, PyObject *string) {
    cirron_buffer scratch = {0};
    cirron_utf8 text;
    int status = cirron_text_get(string, CIRRON_MAX_ATTRS_BYTES, &scratch, &text);
    if (status == CIRRON_OK) {
        status = cirron_json_string(out, text.data, text.len);
    }
    if (status == CIRRON_OK && text.cut) {
        status = TOO_LONG;
    }
    cirron_buffer_fini(&scratch);
    return status;
}

static int encode_as_text(cirron_buffer *out, PyObject *value) {
    PyObject *text = PyObject_Str(value);
    if (text == NULL) {
        cirron_drop_exception();
        PyObject *name = PyType_GetName(Py_TYPE(value)); /* __name__ may be anything */
        if (name != NULL) {
            text = PyUnicode_FromFormat("<unserialisable %U>", name);
            Py_DECREF(name);
        }
        PyErr_Clear();
        if (text == NULL) {
            return CIRRON_NO_MEMORY;
        }
    }
    int status = encode_string(out, text);
    Py_DECREF(text);
    return status;
}

static int encode_int(cirron_buffer *out, PyObject *value) {
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0) {
        return cirron_json_int(out, number);
    }
    PyObject *plain = PyNumber_Long(value); /* a subclass may have a str of its own */
    if (plain == NULL) {
        cirron_drop_exception();
        return CIRRON_NO_MEMORY;
    }
    int status = encode_as_text(out, plain);
    Py_DECREF(plain);
    return status;
}

static int check_length(const cirron_buffer *out, int status) {
    return status == CIRRON_OK && out->len > TEXT_LIMIT ? TOO_LONG : status;
}

static int encode_key(cirron_buffer *out, PyObject *key) {
    int status = PyUnicode_Check(key) ? encode_string(out, key) : encode_as_text(out, key);
    return status == CIRRON_OK ? cirron_buffer_append_text(out, ":") : status;
}

static int encode_sequence(cirron_buffer *out, PyObject *value, int level) {
    PyObject *items = PySequence_Tuple(value);
    if (items == NULL) {
        cirron_drop_exception();
        return encode_as_text(out, value);
    }
    int status = cirron_buffer_append_text(out, "[");
    Py_ssize_t count = PyTuple_Size(items);
    for (Py_ssize_t i = 0; i < count && status == CIRRON_OK; i++) {
        status = i > 0 ? cirron_buffer_append_text(out, ",") : CIRRON_OK;
        if (status == CIRRON_OK) {
            status = check_length(out, encode_value(out, PyTuple_GetItem(items, i), level + 1));
        }
    }
    Py_DECREF(items);
    return status == CIRRON_OK ? cirron_buffer_append_text(out, "]") : status;
}

static int encode_dict(cirron_buffer *out, PyObject *value, int level) {
    PyObject *copy = PyDict_Copy(value);
    if (copy == NULL) {
        cirron_drop_exception();
        return CIRRON_NO_MEMORY;
    }
    int status = cirron_buffer_append_text(out, "{");
    const char *comma = "";
    PyObject *key;
    PyObject *item;
    Py_ssize_t position = 0;
    while (status == CIRRON_OK && PyDict_Next(copy, &position, &key, &item)) {
        status = cirron_buffer_append_text(out, comma);
        if (status == CIRRON_OK) {
            status = encode_key(out, key);
        }
        if (status == CIRRON_OK) {
            status = check_length(out, encode_value(out, item, level + 1));
        }
        comma = ",";
    }
    Py_DECREF(copy);
    return status == CIRRON_OK ? cirron_buffer_append_text(out, "}") : status;
}

/* `level` is the value's own, were it a container. */
static int encode_value(cirron_buffer *out, PyObject *value, int level) {
    if (PyUnicode_Check(value)) {
        return encode_string(out, value);
    }
    if (value == Py_None) {
        return cirron_buffer_append_text(out, "null");
    }
    if (PyBool_Check(value)) {
        return cirron_buffer_append_text(out, value == Py_True ? "true" : "false");
    }
    if (PyLong_Check(value)) {
        return encode_int(out, value);
    }
    if (PyFloat_Check(value)) {
        return cirron_json_double(out, PyFloat_AsDouble(value));
    }
    if (level <= MAX_LEVELS && (PyList_Check(value) || PyTuple_Check(value))) {
        return encode_sequence(out, value, level);
    }
    if (level <= MAX_LEVELS && PyDict_Check(value)) {
        return encode_dict(out, value, level);
    }
    if (cirron_tensor_stats_check(value)) {
        return cirron_tensor_stats_encode(value, out);
    }
    PyObject *item = cirron_numpy_item(value);
    if (item != NULL && (PyLong_Check(item) || PyFloat_Check(item) || PyUnicode_Check(item))) {
        int status = encode_value(out, item, level);
        Py_DECREF(item);
        return status;
    }
    Py_XDECREF(item);
    return encode_as_text(out, value);
}

void cirron_attrs_begin(cirron_attrs *attrs) {
    *attrs = (cirron_attrs){.text = cirron_scratch_take()};
}

/* Escapes make JSON longer than its text: the cut is tried smaller until it fits. */
static int add_cut_string(cirron_buffer *out, PyObject *value, size_t limit) {
    cirron_buffer scratch = {0};
    size_t start = out->len;
    size_t most = limit - start;
    int status = TOO_LONG;
    while (status == TOO_LONG && most > 0) {
        cirron_utf8 text;
        out->len = start;
        status = cirron_text_get(value, most, &scratch, &text);
        if (status == CIRRON_OK) {
            status = cirron_json_string(out, text.data, text.len);
        }
        if (status == CIRRON_OK && out->len > limit) {
            status = TOO_LONG;
            most /= 2;
        }
    }
    cirron_buffer_fini(&scratch);
    return status;
}

void cirron_attrs_add(cirron_attrs *attrs, PyObject *key, PyObject *value) {
    if (attrs->truncated) {
        return;
    }
    cirron_buffer *out = &attrs->text;
    size_t before = out->len;
    Py_INCREF(key);
    Py_INCREF(value);
    int status = cirron_buffer_append_text(out, before == 0 ? "{" : ",");
    if (status == CIRRON_OK) {
        status = check_length(out, encode_key(out, key));
    }
    size_t value_at = out->len;
    if (status == CIRRON_OK) {
        status = check_length(out, encode_value(out, value, 2));
        if (status == TOO_LONG && PyUnicode_Check(value)) {
            out->len = value_at;
            attrs->truncated = true;
            status = add_cut_string(out, value, TEXT_LIMIT);
        }
    }
    Py_DECREF(key);
    Py_DECREF(value);
    if (status != CIRRON_OK) {
        out->len = before;
        attrs->truncated |= status == TOO_LONG;
    }
}

static bool is_plain(PyObject *key, PyObject *value) {
    return PyUnicode_CheckExact(key) &&
           (PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || PyFloat_CheckExact(value) ||
            PyBool_Check(value) || value == Py_None);
}

void cirron_attrs_add_dict(cirron_attrs *attrs, PyObject *dict) {
    PyObject *key;
    PyObject *value;
    Py_ssize_t position = 0;
    bool plain = true;
    while (plain && PyDict_Next(dict, &position, &key, &value)) {
        plain = is_plain(key, value);
    }
    PyObject *items = dict; /* plain items run no user code: nobody changes the dict */
    if (plain) {
        Py_INCREF(items);
    } else if ((items = PyDict_Copy(dict)) == NULL) {
        PyErr_Clear();
        return;
    }
    position = 0;
    while (PyDict_Next(items, &position, &key, &value)) {
        cirron_attrs_add(attrs, key, value);
    }
    Py_DECREF(items);
}

void cirron_attrs_end(cirron_attrs *attrs) {
    cirron_buffer *out = &attrs->text;
    if (attrs->truncated) {
        if (cirron_buffer_append_text(out, out->len == 0 ? "{" : ",") != CIRRON_OK ||
            cirron_buffer_append_text(out, truncated_item) != CIRRON_OK) {
            out->len = 0;
        }
    } else if (out->len != 0 && cirron_buffer_append_text(out, "}") != CIRRON_OK) {
        out->len = 0;
    }
}

void cirron_attrs_fini(cirron_attrs *attrs) {
    cirron_scratch_give(&attrs->text);
}
