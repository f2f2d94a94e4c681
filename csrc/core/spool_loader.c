/* Each thread parses a file into a small table of its own, which stays in its core's cache,
 * and waits for the file's turn to append that to the table of all: rows, names and
 * warnings come in the order of the files, and a broken file leaves nothing to undo.
 *
 * Halves of the list, joined at the end, would need no turns, but twice the memory.
 */
#include "core/spool_loader.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "core/memory.h"

enum { MAX_THREADS = 8, MAX_ROWS_TO_RESERVE = 8000000 };

struct cirron_spool_loader {
    cirron_table *table;      /* borrowed */
    cirron_spool_file *files; /* borrowed */
    size_t count;

    pthread_mutex_t lock;
    pthread_cond_t turned; /* `turn` or `status` changed, or a thread ended */
    size_t next;           /* the first file that nobody has taken */
    size_t turn;           /* the file whose rows come next; its thread alone has the table */
    int status;            /* what is no longer CIRRON_OK stops all threads */
    bool cancelled;

    pthread_t threads[MAX_THREADS];
    unsigned thread_count;
    unsigned running;
};

unsigned cirron_spool_loader_threads(void) {
    cpu_set_t cores;
    int count = sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
    return count > MAX_THREADS ? MAX_THREADS : (unsigned)count;
}

static bool is_stopped(const cirron_spool_loader *loader) {
    return loader->cancelled || loader->status != CIRRON_OK;
}

/* False: there is none left. */
static bool take_file(cirron_spool_loader *loader, size_t *number) {
    (void)pthread_mutex_lock(&loader->lock); /* it is no robust one: it can't fail */
    bool taken = !is_stopped(loader) && loader->next < loader->count;
    *number = taken ? loader->next++ : 0;
    (void)pthread_mutex_unlock(&loader->lock);
    return taken;
}

static bool wait_for_turn(cirron_spool_loader *loader, size_t number) {
    (void)pthread_mutex_lock(&loader->lock);
    while (loader->turn != number && !is_stopped(loader)) {
        (void)pthread_cond_wait(&loader->turned, &loader->lock);
    }
    bool ours = !is_stopped(loader);
    (void)pthread_mutex_unlock(&loader->lock);
    return ours;
}

static void end_turn(cirron_spool_loader *loader, int status) {
    (void)pthread_mutex_lock(&loader->lock);
    loader->turn++;
    loader->status = status == CIRRON_NO_MEMORY ? status : loader->status;
    (void)pthread_cond_broadcast(&loader->turned);
    (void)pthread_mutex_unlock(&loader->lock);
}

/* Files are cut at the same size, so the first one tells how much all will need. It is a
 * guess: that there is no room for it means nothing. */
static void reserve_for_all(const cirron_spool_loader *loader, const cirron_table *first) {
    size_t spans = cirron_table_spans(first) * loader->count;
    size_t marks = cirron_table_marks(first) * loader->count;
    if (spans + marks < MAX_ROWS_TO_RESERVE) {
        (void)cirron_table_reserve(loader->table, spans, marks);
    }
}

static int load_file(cirron_spool_loader *loader, size_t number, cirron_json_reader *reader,
                     cirron_table *part) {
    cirron_spool_file *file = &loader->files[number];
    file->status = cirron_spool_read_file(reader, file->path, part, &file->why);
    file->error = errno;
    if (!wait_for_turn(loader, number)) {
        return CIRRON_OK;
    }
    int status = file->status;
    if (status == CIRRON_OK) {
        if (number == 0) {
            reserve_for_all(loader, part);
        }
        status = cirron_table_append(loader->table, part);
    }
    end_turn(loader, status);
    cirron_table_clear(part);
    return status;
}

static void *run(void *argument) {
    cirron_spool_loader *loader = argument;
    cirron_json_reader *reader = cirron_json_reader_new();
    cirron_table *part = cirron_table_new();
    int status = reader == NULL || part == NULL ? CIRRON_NO_MEMORY : CIRRON_OK;
    size_t number;
    while (status != CIRRON_NO_MEMORY && take_file(loader, &number)) {
        status = load_file(loader, number, reader, part);
    }
    cirron_json_reader_free(reader);
    cirron_table_free(part);
    (void)pthread_mutex_lock(&loader->lock);
    loader->status = status == CIRRON_NO_MEMORY ? status : loader->status;
    loader->running--;
    (void)pthread_cond_broadcast(&loader->turned);
    (void)pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* The threads take no signal: those are the caller's. */
static void start_threads(cirron_spool_loader *loader, unsigned threads) {
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    loader->running = threads; /* so that none finds that it is the last one */
    for (; loader->thread_count < threads; loader->thread_count++) {
        pthread_t *thread = &loader->threads[loader->thread_count];
        if (pthread_create(thread, NULL, run, loader) != 0) {
            break;
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_mutex_lock(&loader->lock);
    loader->running -= threads - loader->thread_count;
    (void)pthread_mutex_unlock(&loader->lock);
}

cirron_spool_loader *cirron_spool_loader_start(cirron_table *table, cirron_spool_file *files,
                                               size_t count, unsigned threads) {
    cirron_spool_loader *loader = cirron_calloc(1, sizeof(*loader));
    pthread_condattr_t attributes;
    if (loader == NULL) {
        return NULL;
    }
    loader->table = table;
    loader->files = files;
    loader->count = count;
    (void)pthread_mutex_init(&loader->lock, NULL); /* nothing can fail on Linux */
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&loader->turned, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    threads = threads > MAX_THREADS ? MAX_THREADS : threads;
    start_threads(loader, threads > count ? (unsigned)count : threads);
    if (loader->thread_count == 0 && count > 0) { /* no thread to be had */
        loader->running = 1;
        (void)run(loader);
    }
    return loader;
}

bool cirron_spool_loader_wait(cirron_spool_loader *loader, int64_t ns) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* the clock exists */
    until.tv_sec += (time_t)((until.tv_nsec + ns) / 1000000000);
    until.tv_nsec = (until.tv_nsec + ns) % 1000000000;
    (void)pthread_mutex_lock(&loader->lock);
    int timeout = 0;
    while (loader->running > 0 && timeout == 0) {
        timeout = pthread_cond_timedwait(&loader->turned, &loader->lock, &until);
    }
    bool done = loader->running == 0;
    (void)pthread_mutex_unlock(&loader->lock);
    return done;
}

int cirron_spool_loader_end(cirron_spool_loader *loader) {
    (void)pthread_mutex_lock(&loader->lock);
    loader->cancelled = true;
    (void)pthread_cond_broadcast(&loader->turned);
    (void)pthread_mutex_unlock(&loader->lock);
    for (unsigned i = 0; i < loader->thread_count; i++) {
        (void)pthread_join(loader->threads[i], NULL);
    }
    int status = loader->status;
    (void)pthread_mutex_destroy(&loader->lock);
    (void)pthread_cond_destroy(&loader->turned);
    cirron_free(loader);
    return status;
}
