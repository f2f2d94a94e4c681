/* Files of a spool directory are read whole, because a batch is about a megabyte and the
 * parser wants it in one piece. What is no regular file is refused before it is read: a
 * pipe named *.json would make the reader wait forever.
 */
#include "core/spool_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads up to `len` bytes; *got is less when the file has shrunk. */
static int read_all(int file, char *bytes, size_t len, size_t *got) {
    *got = 0;
    while (*got < len) {
        ssize_t count = read(file, bytes + *got, len - *got);
        if (count == 0) {
            break;
        }
        if (count > 0) {
            *got += (size_t)count;
        } else if (errno != EINTR) {
            return CIRRON_IO;
        }
    }
    return CIRRON_OK;
}

static int read_open_file(cirron_json_reader *reader, int file, cirron_table *table,
                          const char **why) {
    struct stat about;
    if (fstat(file, &about) != 0) {
        return CIRRON_IO;
    }
    if (!S_ISREG(about.st_mode)) {
        *why = "not a regular file";
        return CIRRON_CORRUPT;
    }
    if ((uint64_t)about.st_size > CIRRON_JSON_MAX_BYTES) {
        *why = "larger than 2 GiB";
        return CIRRON_CORRUPT;
    }
    size_t len = (size_t)about.st_size;
    char *bytes = cirron_json_reader_reserve(reader, len);
    if (bytes == NULL) {
        return CIRRON_NO_MEMORY;
    }
    int status = read_all(file, bytes, len, &len);
    if (status != CIRRON_OK) {
        return status;
    }
    return cirron_json_reader_read(reader, len, len, table, why);
}

int cirron_spool_read_file(cirron_json_reader *reader, const char *path, cirron_table *table,
                           const char **why) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0) {
        return errno == ENOENT ? CIRRON_OK : CIRRON_IO;
    }
    int status = read_open_file(reader, file, table, why);
    int failure = errno;
    (void)close(file); /* nothing was written */
    errno = failure;
    return status;
}
