/* The extension cirron._core: its method table and its start. What the functions do is
 * in the file that each is named after.
 */
#include <Python.h>

#include "core/process.h"
#include "python/arrow.h"
#include "python/export.h"
#include "python/fork.h"
#include "python/frame.h"
#include "python/hooks.h"
#include "python/lifecycle.h"
#include "python/loader_pass.h"
#include "python/mark.h"
#include "python/optimizer_step.h"
#include "python/phase.h"
#include "python/request.h"
#include "python/safetensors.h"
#include "python/scope.h"
#include "python/snapshot.h"
#include "python/stream.h"
#include "python/stream_span.h"
#include "python/stream_step.h"
#include "python/table.h"
#include "python/tensor_stats.h"
#include "python/trace.h"
#include "python/tree_chunks.h"

PyDoc_STRVAR(scope_doc,
             "scope($module, /, name, index=None, **attrs)\n--\n\n"
             "A named span, to be opened by `with` or used as a decorator.\n\n"
             "Args:\n"
             "    name: The span's name.\n"
             "    index: A number such as the epoch's or batch's, or None.\n"
             "    **attrs: Attributes; they are written as JSON when the span closes.\n\n"
             "Raises:\n"
             "    TypeError: `name` is no str, or `index` no integer.");

PyDoc_STRVAR(mark_doc,
             "mark($module, /, name, value, *, kind='point', **attrs)\n--\n\n"
             "A named value on the innermost open span of this context.\n\n"
             "Args:\n"
             "    name: The mark's name.\n"
             "    value: A float, int, str (at most 256 bytes stay) or bool; NumPy scalars too.\n"
             "    kind: 'point' for a series, 'summary' for the one value of a span.\n"
             "    **attrs: Attributes of the mark.\n\n"
             "Raises:\n"
             "    TypeError: `name` is no str, or `value` no scalar.\n"
             "    ValueError: `kind` is neither 'point' nor 'summary'.");

static PyMethodDef methods[] = {
    {"scope", (PyCFunction)(void *)cirron_scope, METH_FASTCALL | METH_KEYWORDS, scope_doc},
    {"mark", (PyCFunction)(void *)cirron_mark, METH_FASTCALL | METH_KEYWORDS, mark_doc},
    {"mark_on", (PyCFunction)(void *)cirron_mark_on, METH_FASTCALL | METH_KEYWORDS,
     "As mark(), on the open scope that comes first."},
    {"open_request", cirron_open_request, METH_NOARGS, "open_request()\n--\n\nAn open request."},
    {"finish_request", (PyCFunction)(void *)cirron_finish_request, METH_FASTCALL,
     "finish_request(request, result, timed, /)\n--\n\nWhat the caller gets."},
    {"fail_request", (PyCFunction)(void *)cirron_fail_request, METH_FASTCALL,
     "fail_request(request, error, /)\n--\n\nCloses the request with its error."},
    {"request_notes", (PyCFunction)(void *)cirron_request_notes, METH_FASTCALL,
     "The notes of a request, or of the innermost open one; None for no notes or no request."},
    {"is_recording", cirron_scope_is_recording, METH_O,
     "is_recording($module, scope, /)\n--\n\nWhether this process will record the scope."},
    {"record_snapshot", cirron_record_snapshot, METH_O,
     "record_snapshot($module, record, /)\n--\n\nA tensor's record, for the next batch."},
    {"read_spool", (PyCFunction)(void *)cirron_read_spool, METH_O,
     "read_spool(paths)\n--\n\nBatch files as one SpanTable."},
    {"format_duration", (PyCFunction)(void *)cirron_format_duration, METH_O,
     "format_duration(ns, /)\n--\n\nNanoseconds with a unit, such as 42.1ms."},
    {"read_safetensors", (PyCFunction)(void *)cirron_read_safetensors, METH_O,
     "read_safetensors($module, file, /)\n--\n\nThe tensors that the header of an open file "
     "names."},
    {"tensor_stats", (PyCFunction)(void *)cirron_tensor_stats_function, METH_O,
     "tensor_stats($module, array, /)\n--\n\nStatistics of an array's finite values."},
    {NULL, NULL, 0, NULL},
};

/* The recorder's state is the process's, so one interpreter alone may have it. */
static int check_interpreter(void) {
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) == 0) {
        return 0;
    }
    PyErr_SetString(PyExc_ImportError,
                    "cirron can't be imported in a subinterpreter: it records for the whole "
                    "process; import it in the main interpreter");
    return -1;
}

static int (*const parts[])(PyObject *module) = {
    cirron_frame_init,        cirron_scope_init,        cirron_request_init,
    cirron_stream_span_init,  cirron_stream_step_init,  cirron_stream_init,
    cirron_table_init_types,  cirron_export_init_types, cirron_records_init,
    cirron_tree_chunks_init,  cirron_lifecycle_init,    cirron_hooks_init,
    cirron_phase_init,        cirron_loader_pass_init,  cirron_optimizer_step_init,
    cirron_tensor_stats_init,
};

/* CPython 3.11 does not always say that there was no memory for a type. */
static int fail(void) {
    if (!PyErr_Occurred()) {
        PyErr_NoMemory();
    }
    return -1;
}

static int exec_module(PyObject *module) {
    if (check_interpreter() != 0) {
        return -1;
    }
    if (cirron_process_init() != CIRRON_OK) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i](module) != 0) {
            return fail();
        }
    }
    if (PyModule_AddFunctions(module, cirron_trace_methods) != 0 ||
        PyModule_AddFunctions(module, cirron_fork_methods) != 0) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "__version__", CIRRON_VERSION);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)exec_module},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "cirron._core", .m_doc = "The C half of cirron.",
    .m_methods = methods,  .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void) {
    return PyModuleDef_Init(&definition);
}
