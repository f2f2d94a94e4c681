/* The span of an optimizer's step. Needs the GIL.
 *
 * A step that raises leaves its span open for as long as somebody keeps the exception. It is
 * ended when a hook next comes by.
 */
#ifndef CIRRON_PYTHON_OPTIMIZER_STEP_H
#define CIRRON_PYTHON_OPTIMIZER_STEP_H

#include <Python.h>

#include <stdint.h>

/* Steps that optimizers have begun in this thread. */
uint32_t cirron_optimizer_steps(void);

/* Those of them outside every step of a loop. */
uint32_t cirron_stray_optimizer_steps(void);

/* Ends the spans of this thread's optimizer steps that are over. */
void cirron_end_left_optimizer_steps(void);

/* Adds the functions `end_left_optimizer_steps`, `set_optimizer_check` and
 * `open_optimizer_step`. */
int cirron_optimizer_step_init(PyObject *module);

#endif
