/* Requests: a request is the Scope `request` of one call of a served function. It has a
 * request_id (UUID4) for an attribute, and notes: what was learnt of its tokens while it
 * ran. Needs the GIL; none of these raises once its arguments are right.
 */
#ifndef CIRRON_PYTHON_REQUEST_H
#define CIRRON_PYTHON_REQUEST_H

#include <Python.h>

int cirron_request_init(PyObject *module);

/* open_request() -> Scope */
PyObject *cirron_open_request(PyObject *module, PyObject *ignored);

/* finish_request(request, result, timed) -> what the caller gets */
PyObject *cirron_finish_request(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* fail_request(request, error) */
PyObject *cirron_fail_request(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* Ends it, with `error` or None, whatever memory there is. No exception may be set. */
void cirron_request_close(PyObject *request, PyObject *error);

/* request_notes(request=<the innermost open one of this context>) -> dict | None */
PyObject *cirron_request_notes(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

#endif
