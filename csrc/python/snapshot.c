/* A snapshot's record is written as JSON here, in the thread that took it: a model has a few
 * hundred at the end of an epoch, so nothing is won by a form of its own for them.
 */
#include "python/snapshot.h"

#include "python/attrs.h"
#include "python/recording.h"

PyObject *cirron_record_snapshot(PyObject *module, PyObject *record) {
    (void)module;
    if (!PyDict_Check(record)) {
        PyErr_SetString(PyExc_TypeError, "a record is a dict");
        return NULL;
    }
    cirron_process *process = cirron_process_get();
    if (!cirron_the_recording.enabled || process == NULL) {
        Py_RETURN_NONE;
    }
    cirron_attrs encoded;
    cirron_attrs_begin(&encoded);
    cirron_attrs_add_dict(&encoded, record);
    cirron_attrs_end(&encoded);
    cirron_collector_record_snapshot(&process->collector, encoded.text.data,
                                     encoded.truncated ? 0 : encoded.text.len);
    cirron_attrs_fini(&encoded);
    Py_RETURN_NONE;
}
