/* The store becomes a table under the collector's mutex and without the interpreter's
 * lock; everything after that is the table's business.
 */
#include "python/trace.h"

#include "core/clock.h"
#include "core/process.h"
#include "core/store_table.h"
#include "python/table.h"

/* The live session's root, which is no closed span yet. */
static int add_live_session(cirron_table *table, const cirron_process *process) {
    const cirron_session *session = &cirron_current_session;
    size_t attrs_len;
    const char *attrs = cirron_session_attrs(&attrs_len);
    cirron_table_span root = {
        .name = {"cirron.session", 14},
        .attrs = {attrs_len != 0 ? attrs : NULL, attrs_len},
        .start_ns = session->start_ns,
        .thread_id = (int64_t)session->thread_id,
        .pid = process->pid,
        .rank = session->rank,
        .present = CIRRON_HAS_THREAD | CIRRON_HAS_PID | CIRRON_HAS_RANK,
    };
    return cirron_table_add_open_span(table, process->collector.store, process->collector.names,
                                      &session->id, &root);
}

static PyObject *read_trace(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"live_session", "since", "session", NULL};
    int live_session = 0;
    unsigned long long since = 0;
    long long session = -1;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|pKL:read_trace", names, &live_session, &since,
                                     &session)) {
        return NULL;
    }
    cirron_process *process = cirron_process_get();
    cirron_table *table = process != NULL ? cirron_table_new() : NULL;
    if (table == NULL) {
        return PyErr_NoMemory();
    }
    cirron_collector *collector = &process->collector;
    int status;
    Py_BEGIN_ALLOW_THREADS pthread_mutex_lock(&collector->mutex);
    status = cirron_table_from_store(table, collector->store, collector->names, process->pid,
                                     cirron_current_session.rank, since, session);
    if (status == CIRRON_OK && live_session && cirron_current_session.running) {
        status = add_live_session(table, process);
    }
    pthread_mutex_unlock(&collector->mutex);
    if (status == CIRRON_OK) {
        status = cirron_table_link(table);
    }
    Py_END_ALLOW_THREADS if (status != CIRRON_OK) {
        cirron_table_free(table);
        return PyErr_NoMemory();
    }
    return cirron_table_wrap(table);
}

static uint64_t read_sequence(cirron_process *process) {
    pthread_mutex_lock(&process->collector.mutex);
    uint64_t sequence = cirron_store_sequence(process->collector.store);
    pthread_mutex_unlock(&process->collector.mutex);
    return sequence;
}

static PyObject *drained_sequence(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    cirron_process *process = cirron_process_get();
    uint64_t sequence = 0;
    Py_BEGIN_ALLOW_THREADS if (process != NULL) {
        sequence = read_sequence(process);
    }
    Py_END_ALLOW_THREADS return PyLong_FromUnsignedLongLong(sequence);
}

PyMethodDef cirron_trace_methods[] = {
    {"read_trace", (PyCFunction)(void *)read_trace, METH_VARARGS | METH_KEYWORDS, NULL},
    {"drained_sequence", drained_sequence, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
