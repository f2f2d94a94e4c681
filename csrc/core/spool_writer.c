/* Files are written under a temporary name and renamed, so that a reader never meets half
 * a batch. What was written is remembered in a compact list, for the cap to count what
 * it drops; the directory itself is listed when it is opened and when the cap is crossed.
 */
#include "core/spool_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/id.h"

enum {
    NAME_LEN = 20 + 1 + 32 + 5, /* <created_ns>-<batch_id>.json */
    CAP_PERCENT_KEPT = 90,      /* so that the directory is not listed for each write */
    STALE_SECONDS = 3600,
};

/* A batch that waits for the disk. */
typedef struct waiting {
    struct waiting *next;
    cirron_buffer document;
    cirron_id batch_id;
    int64_t created_ns;
    size_t records;
} waiting;

/* A file that this writer wrote and that may still be there. */
typedef struct written {
    cirron_id batch_id;
    int64_t created_ns;
    uint64_t records;
} written;

struct cirron_spool_writer {
    char *dir; /* owned; NULL: batches wait */
    uint64_t max_bytes;
    waiting *first; /* oldest first */
    waiting **end;
    size_t waiting_bytes;
    written *files; /* owned; oldest first, from file_first to before file_end */
    size_t file_first;
    size_t file_end;
    size_t file_cap;
    bool listed; /* stats.bytes started from what was in the directory */
    cirron_spool_stats stats;
};

cirron_spool_writer *cirron_spool_writer_new(void) {
    cirron_spool_writer *writer = cirron_calloc(1, sizeof *writer);
    if (writer != NULL) {
        writer->end = &writer->first;
    }
    return writer;
}

static void count_dropped(cirron_spool_writer *writer, uint64_t records) {
    writer->stats.files_dropped++;
    writer->stats.records_dropped += records;
}

static void drop_first_waiting(cirron_spool_writer *writer) {
    waiting *oldest = writer->first;
    writer->first = oldest->next;
    if (writer->first == NULL) {
        writer->end = &writer->first;
    }
    writer->waiting_bytes -= oldest->document.cap;
    writer->stats.pending--;
    cirron_buffer_fini(&oldest->document);
    cirron_free(oldest);
}

void cirron_spool_writer_give_up(cirron_spool_writer *writer) {
    while (writer->first != NULL) {
        count_dropped(writer, writer->first->records);
        drop_first_waiting(writer);
    }
}

void cirron_spool_writer_free(cirron_spool_writer *writer) {
    if (writer == NULL) {
        return;
    }
    cirron_spool_writer_give_up(writer);
    cirron_free(writer->files);
    cirron_free(writer->dir);
    cirron_free(writer);
}

cirron_spool_stats cirron_spool_writer_stats(const cirron_spool_writer *writer) {
    return writer->stats;
}

/* ---- the directory */

static int make_directories(const char *path) {
    char *copy = cirron_malloc(strlen(path) + 1);
    if (copy == NULL) {
        return CIRRON_NO_MEMORY;
    }
    strcpy(copy, path);
    int error = 0; /* the first that is not EEXIST: the rest only follows from it */
    char *at = copy + strspn(copy, "/");
    for (char *slash = strchr(at, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0755) != 0 && errno != EEXIST && error == 0) {
            error = errno;
        }
        *slash = '/';
    }
    bool made = mkdir(copy, 0755) == 0 || errno == EEXIST;
    cirron_free(copy);
    errno = made || error == 0 ? errno : error;
    return made ? CIRRON_OK : CIRRON_IO;
}

static bool is_batch_name(const char *name) {
    if (strlen(name) != NAME_LEN || name[20] != '-' || strcmp(name + 53, ".json") != 0) {
        return false;
    }
    return strspn(name, "0123456789") == 20 && strspn(name + 21, "0123456789abcdef") == 32;
}

/* A batch file of the directory, ours or not. */
typedef struct listed {
    char name[NAME_LEN + 1];
    uint64_t size;
} listed;

typedef struct listing {
    listed *files; /* owned */
    size_t count;
    size_t cap;
    uint64_t bytes;
} listing;

static int add_listed(listing *list, const char *name, uint64_t size) {
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 64 : list->cap * 2;
        listed *files = cirron_realloc(list->files, cap * sizeof *files);
        if (files == NULL) {
            errno = ENOMEM;
            return CIRRON_NO_MEMORY;
        }
        list->files = files;
        list->cap = cap;
    }
    listed *file = &list->files[list->count++];
    memcpy(file->name, name, sizeof file->name);
    file->size = size;
    list->bytes += size;
    return CIRRON_OK;
}

/* Half a batch that a killed process left behind; an hour is longer than any write. */
static bool is_stale(const char *name, const struct stat *info) {
    char batch[NAME_LEN + 1];
    if (strlen(name) != NAME_LEN + 4 || strcmp(name + NAME_LEN, ".tmp") != 0) {
        return false;
    }
    memcpy(batch, name, NAME_LEN);
    batch[NAME_LEN] = '\0';
    return is_batch_name(batch) && time(NULL) - info->st_mtime > STALE_SECONDS;
}

/* Lists the batches and removes what is stale. On failure `list` is empty. */
static int list_directory(const char *path, listing *list) {
    *list = (listing){0};
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return CIRRON_IO;
    }
    int status = CIRRON_OK;
    const struct dirent *entry;
    while (status == CIRRON_OK && (entry = readdir(dir)) != NULL) {
        struct stat info;
        if (fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode)) {
            continue;
        }
        if (is_batch_name(entry->d_name)) {
            status = add_listed(list, entry->d_name, (uint64_t)info.st_size);
        } else if (is_stale(entry->d_name, &info)) {
            (void)unlinkat(dirfd(dir), entry->d_name, 0); /* next time, then */
        }
    }
    closedir(dir);
    if (status != CIRRON_OK) {
        cirron_free(list->files);
        *list = (listing){0};
    }
    return status;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const listed *)a)->name, ((const listed *)b)->name);
}

static int count_bytes(cirron_spool_writer *writer) {
    listing list;
    int status = list_directory(writer->dir, &list);
    if (status == CIRRON_OK) {
        writer->stats.bytes = list.bytes;
        writer->listed = true;
    }
    cirron_free(list.files);
    return status;
}

int cirron_spool_writer_open(cirron_spool_writer *writer, char *dir, uint64_t max_bytes) {
    cirron_free(writer->dir);
    writer->dir = dir;
    writer->max_bytes = max_bytes;
    writer->file_first = writer->file_end = 0;
    writer->listed = false;
    writer->stats.bytes = 0;
    writer->stats.last_errno = 0;
    if (dir == NULL) {
        return CIRRON_OK;
    }
    int status = make_directories(dir);
    if (status == CIRRON_OK) {
        status = count_bytes(writer);
    }
    if (status != CIRRON_OK) {
        writer->stats.last_errno = errno;
    }
    return status;
}

/* ---- the cap */

static void format_name(char name[NAME_LEN + 1], int64_t created_ns, const cirron_id *batch_id) {
    char hex[33] = {0};
    cirron_id_to_hex(batch_id, hex);
    snprintf(name, NAME_LEN + 1, "%020" PRId64 "-%s.json", created_ns, hex);
}

static int compare_written(const written *file, const char *name) {
    char ours[NAME_LEN + 1];
    format_name(ours, file->created_ns, &file->batch_id);
    return strcmp(ours, name);
}

/* Forgets the files that sort before `name`, which is the first there is. */
static void forget_before(cirron_spool_writer *writer, const char *name) {
    while (writer->file_first < writer->file_end &&
           compare_written(&writer->files[writer->file_first], name) < 0) {
        writer->file_first++;
    }
}

/* Records of the file, if this writer wrote it; it is forgotten. Older ones stay: they could
 * not be deleted, or other hands were quicker. */
static uint64_t forget_written(cirron_spool_writer *writer, const char *name) {
    for (size_t i = writer->file_first; i < writer->file_end; i++) {
        written *file = &writer->files[i];
        int order = compare_written(file, name);
        if (order == 0) {
            uint64_t records = file->records;
            written *first = &writer->files[writer->file_first++];
            memmove(first + 1, first, (size_t)(file - first) * sizeof *first);
            return records;
        }
        if (order > 0) {
            break;
        }
    }
    return 0;
}

/* Deletes the oldest files until `incoming` more bytes fit. */
static void enforce_cap(cirron_spool_writer *writer, uint64_t incoming) {
    listing list;
    if (list_directory(writer->dir, &list) != CIRRON_OK) {
        return; /* the write itself will tell */
    }
    if (list.count != 0) {
        qsort(list.files, list.count, sizeof *list.files, compare_names);
        forget_before(writer, list.files[0].name);
    } else {
        writer->file_first = writer->file_end = 0;
    }
    uint64_t goal = writer->max_bytes / 100 * CAP_PERCENT_KEPT;
    int dir = open(writer->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < list.count && dir >= 0 && list.bytes + incoming > goal; i++) {
        const listed *file = &list.files[i];
        if (unlinkat(dir, file->name, 0) == 0) {
            list.bytes -= file->size;
            count_dropped(writer, forget_written(writer, file->name));
        } else if (errno == ENOENT) {
            list.bytes -= file->size; /* somebody else was quicker */
        }
    }
    if (dir >= 0) {
        close(dir);
    }
    writer->stats.bytes = list.bytes;
    cirron_free(list.files);
}

static void remember_written(cirron_spool_writer *writer, const waiting *batch) {
    if (writer->file_end == writer->file_cap && writer->file_first > writer->file_cap / 2) {
        writer->file_end -= writer->file_first;
        memmove(writer->files, writer->files + writer->file_first,
                writer->file_end * sizeof *writer->files);
        writer->file_first = 0;
    } else if (writer->file_end == writer->file_cap) {
        size_t cap = writer->file_cap == 0 ? 64 : writer->file_cap * 2;
        written *files = cirron_realloc(writer->files, cap * sizeof *files);
        if (files == NULL) {
            return; /* should the cap drop it, its records are not counted */
        }
        writer->files = files;
        writer->file_cap = cap;
    }
    writer->files[writer->file_end++] =
        (written){batch->batch_id, batch->created_ns, batch->records};
}

/* ---- one file */

static int write_whole(int fd, const char *data, size_t len) {
    while (len != 0) {
        ssize_t done = write(fd, data, len);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            errno = done == 0 ? ENOSPC : errno;
            return CIRRON_IO;
        }
        data += done;
        len -= (size_t)done;
    }
    return CIRRON_OK;
}

static int open_temporary(const char *path) {
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
}

static int write_file(cirron_spool_writer *writer, const waiting *batch) {
    char name[NAME_LEN + 1];
    size_t size = strlen(writer->dir) + 1 + sizeof name + 4;
    char *final = cirron_malloc(2 * size);
    if (final == NULL) {
        errno = ENOMEM;
        return CIRRON_IO;
    }
    char *temporary = final + size;
    format_name(name, batch->created_ns, &batch->batch_id);
    snprintf(final, size, "%s/%s", writer->dir, name);
    snprintf(temporary, size, "%s/%s.tmp", writer->dir, name);
    int fd = open_temporary(temporary);
    if (fd < 0 && errno == ENOENT && make_directories(writer->dir) == CIRRON_OK) {
        writer->stats.bytes = 0; /* the files went with their directory */
        writer->file_first = writer->file_end = 0;
        fd = open_temporary(temporary);
    }
    int status = fd >= 0 ? write_whole(fd, batch->document.data, batch->document.len) : CIRRON_IO;
    int error = errno;
    if (fd >= 0 && close(fd) != 0 && status == CIRRON_OK) {
        status = CIRRON_IO; /* NFS tells of a full disk here */
        error = errno;
    }
    if (status == CIRRON_OK && rename(temporary, final) != 0) {
        status = CIRRON_IO;
        error = errno;
    }
    if (status != CIRRON_OK && fd >= 0) {
        (void)unlink(temporary);
    }
    errno = error;
    cirron_free(final);
    return status;
}

int cirron_spool_writer_retry(cirron_spool_writer *writer) {
    if (writer->dir == NULL) {
        return writer->first == NULL ? CIRRON_OK : CIRRON_IO;
    }
    while (writer->first != NULL) {
        waiting *batch = writer->first;
        uint64_t size = batch->document.len;
        if (size > writer->max_bytes) {
            count_dropped(writer, batch->records);
            drop_first_waiting(writer);
            continue;
        }
        if (!writer->listed) {
            (void)count_bytes(writer); /* the write itself will tell */
        }
        if (writer->stats.bytes + size > writer->max_bytes) {
            enforce_cap(writer, size);
        }
        if (write_file(writer, batch) != CIRRON_OK) {
            writer->stats.last_errno = errno;
            return CIRRON_IO;
        }
        writer->stats.last_errno = 0;
        writer->stats.bytes += size;
        remember_written(writer, batch);
        drop_first_waiting(writer);
    }
    return CIRRON_OK;
}

int cirron_spool_writer_submit(cirron_spool_writer *writer, cirron_buffer *document,
                               int64_t created_ns, const cirron_id *batch_id, size_t records) {
    waiting *batch = cirron_calloc(1, sizeof *batch);
    if (batch == NULL) {
        count_dropped(writer, records);
        cirron_buffer_fini(document);
        return CIRRON_NO_MEMORY;
    }
    *batch = (waiting){NULL, *document, *batch_id, created_ns, records};
    *document = (cirron_buffer){0};
    *writer->end = batch;
    writer->end = &batch->next;
    writer->waiting_bytes += batch->document.cap;
    writer->stats.pending++;
    int status = cirron_spool_writer_retry(writer);
    while (writer->waiting_bytes > CIRRON_SPOOL_PENDING_BYTES) {
        count_dropped(writer, writer->first->records);
        drop_first_waiting(writer);
    }
    return status;
}
