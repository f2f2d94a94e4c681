/* The switch and the counts of recording, and the one warning about the disk. */
#include "python/recording.h"

#include <string.h>

#include "python/text.h"

cirron_recording cirron_the_recording = {.enabled = true};

void cirron_warn_of_disk(void) {
    if (!atomic_exchange(&cirron_disk_refused, false)) {
        return;
    }
    cirron_process *process = cirron_process_get();
    int error = process != NULL ? atomic_load(&process->flusher.disk_errno) : 0;
    const char *dir = cirron_session_spool_dir();
    char message[512];
    PyOS_snprintf(message, sizeof message,
                  "cirron: the spool %.256s can't be written (%.80s); traces wait in memory and "
                  "are tried again, the oldest are dropped beyond 64 MiB",
                  dir != NULL ? dir : "", error != 0 ? strerror(error) : "it works again by now");
    cirron_log_warning(message);
}
