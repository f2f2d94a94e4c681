/* Children of forks. One can't fail a test, so it tells by how it ends. */
#ifndef CIRRON_NATIVE_CHILD_H
#define CIRRON_NATIVE_CHILD_H

#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

/* The exit status; -1: it was killed, or is no child. */
static inline int wait_for(pid_t child) {
    int status;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The signal that killed it; 0: none did. */
static inline int signal_that_killed(pid_t child) {
    int status;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* 0 when `check` holds in a child. */
static inline int exit_status_of(bool (*check)(void)) {
    pid_t child = fork();
    if (child == 0) {
        _exit(check() ? 0 : 1);
    }
    return wait_for(child);
}

#endif
