/* ci.watch's records. */
#ifndef CIRRON_PYTHON_SNAPSHOT_H
#define CIRRON_PYTHON_SNAPSHOT_H

#include <Python.h>

PyObject *cirron_record_snapshot(PyObject *module, PyObject *record);

#endif
