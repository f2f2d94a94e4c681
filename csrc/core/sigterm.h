/* SIGTERM: flush, then die by it, as the process would have done. Only where its
 * disposition is the default; Python's signal.getsignal() goes on saying so.
 */
#ifndef CIRRON_CORE_SIGTERM_H
#define CIRRON_CORE_SIGTERM_H

#include "core/flusher.h"

/* From now on `flusher` answers. False when the disposition is not the default. */
bool cirron_sigterm_catch(cirron_flusher *flusher);

/* In a child: what the parent caught, the child's flusher answers. */
void cirron_sigterm_continue(cirron_flusher *flusher);

#endif
