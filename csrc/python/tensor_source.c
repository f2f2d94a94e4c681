/* The buffer protocol comes first: it is the cheaper, and lends read-only arrays too. DLPack
 * has what it lacks, bfloat16 and PyTorch.
 *
 * A capsule is consumed as the specification asks: taken over by renaming it, after which
 * the deleter is ours to call, once.
 */
#include "python/tensor_source.h"

#include <stdbool.h>
#include <string.h>

static int refuse_dtype(const char *what) {
    PyErr_Format(PyExc_ValueError,
                 "can't take statistics of %s: only of floats of 16 to 64 bits, integers and "
                 "booleans, in this machine's byte order",
                 what);
    return -1;
}

static int refuse_dimensions(int dimensions) {
    PyErr_Format(PyExc_ValueError, "can't take statistics of %d dimensions: at most %d", dimensions,
                 (int)CIRRON_ARRAY_MAX_DIMENSIONS);
    return -1;
}

/* The integer type of so many bytes; CIRRON_DTYPE_COUNT where there is none. */
static cirron_dtype integer_of(bool is_signed, size_t bytes) {
    switch (bytes) {
    case 1:
        return is_signed ? CIRRON_INT8 : CIRRON_UINT8;
    case 2:
        return is_signed ? CIRRON_INT16 : CIRRON_UINT16;
    case 4:
        return is_signed ? CIRRON_INT32 : CIRRON_UINT32;
    case 8:
        return is_signed ? CIRRON_INT64 : CIRRON_UINT64;
    default:
        return CIRRON_DTYPE_COUNT;
    }
}

static cirron_dtype float_of(size_t bytes) {
    switch (bytes) {
    case 2:
        return CIRRON_FLOAT16;
    case 4:
        return CIRRON_FLOAT32;
    case 8:
        return CIRRON_FLOAT64;
    default:
        return CIRRON_DTYPE_COUNT;
    }
}

/* ---- the buffer protocol */

/* A format of the struct module with one element, as `f`, `<i8` can't be but `<q` is. */
static cirron_dtype dtype_of_format(const char *format, size_t bytes) {
    const char foreign = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '>' : '<';
    if (format == NULL) {
        return CIRRON_UINT8;
    }
    if ((*format == foreign || (*format == '!' && foreign == '>')) && bytes > 1) {
        return CIRRON_DTYPE_COUNT;
    }
    if (*format != '\0' && strchr("@=<>!", *format) != NULL) {
        format++;
    }
    if (format[0] == '\0' || format[1] != '\0') {
        return CIRRON_DTYPE_COUNT;
    }
    if (strchr("efd", format[0]) != NULL) {
        return float_of(bytes);
    }
    if (strchr("bhilqn", format[0]) != NULL) {
        return integer_of(true, bytes);
    }
    if (strchr("BHILQN", format[0]) != NULL) {
        return integer_of(false, bytes);
    }
    return format[0] == '?' && bytes == 1 ? CIRRON_BOOL : CIRRON_DTYPE_COUNT;
}

static int borrow_buffer(cirron_tensor_source *source) {
    const Py_buffer *buffer = &source->buffer;
    cirron_array *array = &source->array;
    if (buffer->ndim > CIRRON_ARRAY_MAX_DIMENSIONS) {
        return refuse_dimensions(buffer->ndim);
    }
    array->dtype = dtype_of_format(buffer->format, (size_t)buffer->itemsize);
    if (array->dtype == CIRRON_DTYPE_COUNT) {
        char what[64];
        PyOS_snprintf(what, sizeof(what), "elements of format '%.40s'", buffer->format);
        return refuse_dtype(what);
    }
    for (int i = 0; i < buffer->ndim; i++) {
        source->shape[i] = buffer->shape[i];
        source->strides[i] = buffer->strides != NULL ? buffer->strides[i] : 0;
    }
    array->data = buffer->buf;
    array->dimensions = (size_t)buffer->ndim;
    array->strides = buffer->strides != NULL ? source->strides : NULL; /* ctypes has none */
    return 0;
}

/* ---- DLPack */

static bool cpu_reads(long device) {
    return device == CIRRON_DL_CPU || device == CIRRON_DL_CUDA_HOST ||
           device == CIRRON_DL_ROCM_HOST;
}

/* -1 with TypeError unless the object says that its memory is the CPU's. */
static int check_device(PyObject *object) {
    PyObject *device = PyObject_CallMethod(object, "__dlpack_device__", NULL);
    PyObject *type = device != NULL ? PySequence_GetItem(device, 0) : NULL;
    long number = -1;
    if (type != NULL) {
        number = PyLong_AsLong(type);
    }
    Py_XDECREF(type);
    Py_XDECREF(device);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (!cpu_reads(number)) {
        PyErr_Format(PyExc_TypeError,
                     "the tensor is on a device (DLPack's number %ld): copy it to the CPU first",
                     number);
        return -1;
    }
    return 0;
}

/* The capsule, of version 1 where the object knows of versions. */
static PyObject *request_capsule(PyObject *object) {
    PyObject *method = PyObject_GetAttrString(object, "__dlpack__");
    PyObject *positional = PyTuple_New(0);
    PyObject *named = Py_BuildValue("{s:(ii)}", "max_version", CIRRON_DL_MAJOR, 0);
    PyObject *capsule = NULL;
    if (method != NULL && positional != NULL && named != NULL) {
        capsule = PyObject_Call(method, positional, named);
        if (capsule == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Clear();
            capsule = PyObject_Call(method, positional, NULL);
        }
    }
    Py_XDECREF(method);
    Py_XDECREF(positional);
    Py_XDECREF(named);
    return capsule;
}

/* Makes a ValueError of what the owner raised, unless it is beyond our say. */
static void explain_refusal(void) {
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError) ||
        PyErr_ExceptionMatches(PyExc_TypeError)) {
        return;
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyErr_Format(PyExc_ValueError,
                 "the array can't be read: %S (a tensor that requires grad must be detached "
                 "first)",
                 value);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* Takes over what the capsule holds. */
static const cirron_dl_tensor *consume_capsule(cirron_tensor_source *source, PyObject *capsule) {
    if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        cirron_dl_versioned *versioned = PyCapsule_GetPointer(capsule, "dltensor_versioned");
        if (PyCapsule_SetName(capsule, "used_dltensor_versioned") != 0) {
            return NULL;
        }
        source->versioned = versioned;
        if (versioned->major != CIRRON_DL_MAJOR) {
            PyErr_Format(PyExc_ValueError, "the array can't be read: DLPack of version %u",
                         (unsigned)versioned->major);
            return NULL;
        }
        return &versioned->tensor;
    }
    cirron_dl_managed *managed = PyCapsule_GetPointer(capsule, "dltensor");
    if (managed == NULL || PyCapsule_SetName(capsule, "used_dltensor") != 0) {
        return NULL;
    }
    source->managed = managed;
    return &managed->tensor;
}

static cirron_dtype dtype_of_tensor(const cirron_dl_tensor *tensor) {
    const size_t bytes = tensor->dtype.bits % 8 == 0 ? tensor->dtype.bits / 8u : 0;
    if (tensor->dtype.lanes != 1) {
        return CIRRON_DTYPE_COUNT;
    }
    switch (tensor->dtype.code) {
    case CIRRON_DL_INT:
        return integer_of(true, bytes);
    case CIRRON_DL_UINT:
        return integer_of(false, bytes);
    case CIRRON_DL_FLOAT:
        return float_of(bytes);
    case CIRRON_DL_BFLOAT:
        return bytes == 2 ? CIRRON_BFLOAT16 : CIRRON_DTYPE_COUNT;
    case CIRRON_DL_BOOL:
        return bytes == 1 ? CIRRON_BOOL : CIRRON_DTYPE_COUNT;
    default:
        return CIRRON_DTYPE_COUNT;
    }
}

static int borrow_tensor(cirron_tensor_source *source, const cirron_dl_tensor *tensor) {
    cirron_array *array = &source->array;
    if (!cpu_reads(tensor->device.type)) {
        PyErr_SetString(PyExc_TypeError, "the tensor is on a device: copy it to the CPU first");
        return -1;
    }
    if (tensor->dimensions < 0 || tensor->dimensions > CIRRON_ARRAY_MAX_DIMENSIONS) {
        return refuse_dimensions(tensor->dimensions);
    }
    array->dtype = dtype_of_tensor(tensor);
    if (array->dtype == CIRRON_DTYPE_COUNT) {
        char what[64];
        PyOS_snprintf(what, sizeof(what), "%s numbers of %d bits (DLPack's type %d)",
                      tensor->dtype.code == CIRRON_DL_COMPLEX ? "complex" : "such",
                      tensor->dtype.bits, tensor->dtype.code);
        return refuse_dtype(what);
    }
    const int64_t size = (int64_t)cirron_dtype_size(array->dtype);
    for (int32_t i = 0; i < tensor->dimensions; i++) {
        source->shape[i] = tensor->shape[i];
        source->strides[i] = tensor->strides != NULL ? tensor->strides[i] * size : 0;
    }
    array->data = (const char *)tensor->data + tensor->byte_offset;
    array->dimensions = (size_t)tensor->dimensions;
    array->strides = tensor->strides != NULL ? source->strides : NULL;
    return 0;
}

static int borrow_capsule(cirron_tensor_source *source, PyObject *capsule) {
    const cirron_dl_tensor *tensor = consume_capsule(source, capsule);
    return tensor != NULL ? borrow_tensor(source, tensor) : -1;
}

static int borrow_from_lender(cirron_tensor_source *source, PyObject *object) {
    PyObject *capsule = check_device(object) == 0 ? request_capsule(object) : NULL;
    if (capsule == NULL) {
        explain_refusal();
        return -1;
    }
    int status = borrow_capsule(source, capsule);
    Py_DECREF(capsule);
    return status;
}

/* ---- either */

static int has_attribute(PyObject *object, const char *name) {
    PyObject *attribute = PyObject_GetAttrString(object, name);
    if (attribute == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(attribute);
    return 1;
}

int cirron_tensor_source_borrow(cirron_tensor_source *source, PyObject *object) {
    int lends = 0;
    memset(source, 0, sizeof(*source));
    source->array.shape = source->shape;
    if (PyCapsule_CheckExact(object)) {
        return borrow_capsule(source, object);
    }
    if (PyObject_CheckBuffer(object)) {
        if (PyObject_GetBuffer(object, &source->buffer, PyBUF_RECORDS_RO) == 0) {
            return borrow_buffer(source);
        }
        source->buffer.obj = NULL;
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear(); /* there is another way, and its refusal says as much */
    }
    lends = has_attribute(object, "__dlpack__");
    if (lends > 0) {
        lends = has_attribute(object, "__dlpack_device__");
    }
    if (lends == 0) {
        PyErr_Format(PyExc_TypeError,
                     "an array is needed, with DLPack or the buffer protocol, not %.200R",
                     Py_TYPE(object));
    }
    return lends > 0 ? borrow_from_lender(source, object) : -1;
}

void cirron_tensor_source_release(cirron_tensor_source *source) {
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    PyErr_Fetch(&type, &value, &traceback); /* a deleter may run any code */
    if (source->buffer.obj != NULL) {
        PyBuffer_Release(&source->buffer);
    }
    if (source->managed != NULL && source->managed->deleter != NULL) {
        source->managed->deleter(source->managed);
    }
    if (source->versioned != NULL && source->versioned->deleter != NULL) {
        source->versioned->deleter(source->versioned);
    }
    PyErr_Restore(type, value, traceback);
}
