/* A directory for files, made for a test and removed with all that is in it. */
#ifndef CIRRON_NATIVE_SCRATCH_H
#define CIRRON_NATIVE_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char scratch[64];

static inline int make_scratch(void) {
    strcpy(scratch, "/tmp/cirron-test-XXXXXX");
    return mkdtemp(scratch) == NULL ? -1 : 0;
}

static inline int remove_one(const char *path, const struct stat *info, int type,
                             struct FTW *where) {
    (void)info, (void)type, (void)where;
    return remove(path);
}

/* Follows no link; a path that is not there is an error. */
static inline int remove_tree(const char *path) {
    return nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline int remove_scratch(void) {
    return remove_tree(scratch);
}

#endif
