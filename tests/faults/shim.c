/* Preloaded into an interpreter, it makes one call of a chosen kind fail: the n-th that our
 * extension itself makes. A call is ours when it returns into _core.abi3.so, so CPython, the
 * C library and mimalloc go on undisturbed; an allocation of Python's is ours when a frame
 * of _core is on the stack below no evaluation of Python code.
 *
 * CIRRON_FAULT_KIND names the kind, CIRRON_FAULT_NTH the call; with CIRRON_FAULT_ALL every
 * later one fails as well. A forked child goes on counting where its parent is. Failures are
 * appended to CIRRON_FAULT_LOG: the function, and where it was called.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- which call */

static const char *kind = "";
static const char *log_path;
static long nth;
static bool all;
static _Atomic long *calls; /* shared with children */

typedef struct range {
    uintptr_t begin, end;
} range;

static range core;

__attribute__((constructor)) static void read_environment(void) {
    const char *number = getenv("CIRRON_FAULT_NTH");
    kind = getenv("CIRRON_FAULT_KIND") != NULL ? getenv("CIRRON_FAULT_KIND") : "";
    log_path = getenv("CIRRON_FAULT_LOG");
    nth = number != NULL ? atol(number) : 0;
    all = getenv("CIRRON_FAULT_ALL") != NULL;
    long page = syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                        -1, (off_t)0);
    calls = (void *)page;
}

static int note_core(struct dl_phdr_info *info, size_t size, void *found) {
    (void)size;
    if (strstr(info->dlpi_name, "/cirron/_core.") == NULL) {
        return 0;
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) != 0) {
            uintptr_t begin = info->dlpi_addr + part->p_vaddr;
            *(range *)found = (range){begin, begin + part->p_memsz};
        }
    }
    return 1;
}

static bool find_core(void) {
    return core.begin != 0 || dl_iterate_phdr(note_core, &core) != 0;
}

static bool in_core(const void *address) {
    uintptr_t at = (uintptr_t)address;
    return core.begin <= at && at < core.end;
}

static void log_failure(const char *function, const void *caller) {
    char line[128];
    int len = snprintf(line, sizeof line, "%s called at %#lx\n", function,
                       (unsigned long)((uintptr_t)caller - core.begin));
    long file = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (file >= 0) {
        syscall(SYS_write, file, line, (size_t)len);
        syscall(SYS_close, file);
    }
}

static bool is_the_call(const char *function, const void *caller) {
    long number = atomic_fetch_add(calls, 1) + 1;
    if (nth == 0 || (all ? number < nth : number != nth)) {
        return false;
    }
    log_failure(function, caller);
    return true;
}

static bool fails(const char *of_kind, const char *function, const void *caller) {
    return strcmp(kind, of_kind) == 0 && find_core() && in_core(caller) &&
           is_the_call(function, caller);
}

static void *find_next(const char *name, const char *library) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) { /* it was loaded for _core alone */
        void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
        found = handle != NULL ? dlsym(handle, name) : NULL;
    }
    return found;
}

/* A function whose failure is a value and an errno. */
#define FAULT(type, name, arguments, passed, of_kind, value, error)                                \
    type name arguments {                                                                          \
        static type(*next) arguments;                                                              \
        if (fails(of_kind, #name, __builtin_return_address(0))) {                                  \
            errno = (error);                                                                       \
            return value;                                                                          \
        }                                                                                          \
        if (next == NULL) {                                                                        \
            next = (type(*) arguments)find_next(#name, "libmimalloc.so.2");                        \
        }                                                                                          \
        return next passed;                                                                        \
    }

/* One that returns its error. */
#define FAULT_CODE(name, arguments, passed, of_kind, error)                                        \
    FAULT(int, name, arguments, passed, of_kind, error, errno)

FAULT(void *, mi_malloc, (size_t size), (size), "memory", NULL, ENOMEM)
FAULT(void *, mi_realloc, (void *block, size_t size), (block, size), "memory", NULL, ENOMEM)

/* operator new[](size_t, std::nothrow_t const &), by which simdjson allocates. */
void *_ZnamRKSt9nothrow_t(size_t size, const void *nothrow);
void *_ZnamRKSt9nothrow_t(size_t size, const void *nothrow) {
    static void *(*next)(size_t, const void *);
    if (fails("memory", "new[]", __builtin_return_address(0))) {
        return NULL;
    }
    if (next == NULL) {
        next = (void *(*)(size_t, const void *))find_next("_ZnamRKSt9nothrow_t", "libstdc++.so.6");
    }
    return next(size, nothrow);
}

FAULT(int, madvise, (void *block, size_t size, int advice), (block, size, advice), "map", -1,
      EINVAL)
FAULT(void *, mmap, (void *at, size_t size, int access, int flags, int file, off_t offset),
      (at, size, access, flags, file, offset), "map", MAP_FAILED, ENOMEM)
FAULT_CODE(__register_atfork,
           (void (*before)(void), void (*parent)(void), void (*child)(void), void *library),
           (before, parent, child, library), "map", ENOMEM)

FAULT_CODE(pthread_create,
           (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *),
            void *argument),
           (thread, attributes, run, argument), "thread", EAGAIN)
FAULT_CODE(pthread_attr_init, (pthread_attr_t * attributes), (attributes), "thread", ENOMEM)
FAULT_CODE(pthread_attr_setstacksize, (pthread_attr_t * attributes, size_t size),
           (attributes, size), "thread", EINVAL)

FAULT_CODE(pthread_mutex_init, (pthread_mutex_t * mutex, const pthread_mutexattr_t *attributes),
           (mutex, attributes), "lock", ENOMEM)
FAULT_CODE(pthread_cond_init, (pthread_cond_t * condition, const pthread_condattr_t *attributes),
           (condition, attributes), "lock", ENOMEM)
FAULT_CODE(pthread_condattr_init, (pthread_condattr_t * attributes), (attributes), "lock", ENOMEM)
FAULT_CODE(pthread_key_create, (pthread_key_t * key, void (*end)(void *)), (key, end), "lock",
           EAGAIN)
FAULT_CODE(pthread_setspecific, (pthread_key_t key, const void *value), (key, value), "lock",
           ENOMEM)

FAULT(DIR *, opendir, (const char *path), (path), "open", NULL, EMFILE)
int open(const char *path, int flags, ...) {
    static int (*next)(const char *, int, ...);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (fails("open", "open", __builtin_return_address(0))) {
        errno = EMFILE;
        return -1;
    }
    if (next == NULL) {
        next = (int (*)(const char *, int, ...))find_next("open", "libc.so.6");
    }
    return next(path, flags, mode);
}

/* A write fails, or is cut short, or is interrupted. */
ssize_t write(int file, const void *bytes, size_t size) {
    static ssize_t (*next)(int, const void *, size_t);
    const void *caller = __builtin_return_address(0);
    if (next == NULL) {
        next = (ssize_t(*)(int, const void *, size_t))find_next("write", "libc.so.6");
    }
    if (fails("write", "write", caller)) {
        errno = ENOSPC;
        return -1;
    }
    if (fails("interrupted-write", "write", caller)) {
        errno = EINTR;
        return -1;
    }
    return next(file, bytes, size > 1 && fails("short-write", "write", caller) ? size / 2 : size);
}

/* The descriptor is gone all the same, as with NFS. */
int close(int file) {
    static int (*next)(int);
    if (next == NULL) {
        next = (int (*)(int))find_next("close", "libc.so.6");
    }
    bool failed = fails("close", "close", __builtin_return_address(0));
    int result = next(file);
    if (failed) {
        errno = EIO;
        return -1;
    }
    return result;
}

FAULT(int, rename, (const char *from, const char *to), (from, to), "rename", -1, EIO)
FAULT(int, mkdir, (const char *path, mode_t mode), (path, mode), "mkdir", -1, EACCES)
FAULT(int, unlink, (const char *path), (path), "unlink", -1, EPERM)
FAULT(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), "unlink", -1,
      EPERM)
FAULT(int, fstat, (int file, struct stat *info), (file, info), "stat", -1, EIO)
FAULT(int, fstatat, (int dir, const char *path, struct stat *info, int flags),
      (dir, path, info, flags), "stat", -1, EIO)

FAULT(ssize_t, read, (int file, void *bytes, size_t size), (file, bytes, size), "read", -1, EIO)
FAULT(ssize_t, pread, (int file, void *bytes, size_t size, off_t at), (file, bytes, size, at),
      "read", -1, EIO)
FAULT(struct dirent *, readdir, (DIR * dir), (dir), "read", NULL, EIO)

FAULT(ssize_t, getrandom, (void *bytes, size_t size, unsigned flags), (bytes, size, flags),
      "entropy", -1, ENOSYS)

FAULT(int, timer_create, (clockid_t clock, struct sigevent *event, timer_t *timer),
      (clock, event, timer), "signal", -1, EAGAIN)
FAULT(int, sigaction, (int number, const struct sigaction *action, struct sigaction *before),
      (number, action, before), "signal", -1, EINVAL)

/* ---- Python's own allocations */

typedef struct python_allocator {
    void *context;
    void *(*allocate)(void *context, size_t size);
    void *(*allocate_zeroed)(void *context, size_t count, size_t size);
    void *(*resize)(void *context, void *block, size_t size);
    void (*release)(void *context, void *block);
} python_allocator;

enum { DOMAINS = 3, FRAMES = 64, EVALUATORS = 4, STACK_WORDS = 256, REPEATED = 20 };

static python_allocator python_next[DOMAINS];
static range evaluators[EVALUATORS];
static _Thread_local bool inside;

static bool is_evaluator(const void *address) {
    uintptr_t at = (uintptr_t)address;
    for (int i = 0; i < EVALUATORS; i++) {
        if (evaluators[i].begin <= at && at < evaluators[i].end) {
            return true;
        }
    }
    return false;
}

/* Whether the stack holds an address of ours near its top: a cheap look before the true one,
 * since nearly no allocation of a program is ours. */
static bool may_be_ours(void) {
    void *const *stack = __builtin_frame_address(0);
    for (int i = 0; i < STACK_WORDS; i++) {
        if (in_core(stack[i])) {
            return true;
        }
    }
    return false;
}

/* Calls in a row from one place, as of a loop that measures something a thousand times: only
 * the first are counted. */
static bool is_repeated(const void *place) {
    static const void *last_place;
    static int in_a_row;
    in_a_row = place == last_place ? in_a_row + 1 : 0;
    last_place = place;
    return in_a_row >= REPEATED;
}

static bool python_fails(void) {
    void *frames[FRAMES];
    if (inside || !find_core() || !may_be_ours()) {
        return false;
    }
    inside = true;
    bool failed = false;
    int count = backtrace(frames, FRAMES);
    for (int i = 0; i < count && !is_evaluator(frames[i]); i++) {
        if (in_core(frames[i])) {
            failed = !is_repeated(frames[i]) && is_the_call("Python", frames[i]);
            break;
        }
    }
    inside = false;
    return failed;
}

static void *python_allocate(void *context, size_t size) {
    python_allocator *next = context;
    return python_fails() ? NULL : next->allocate(next->context, size);
}

static void *python_allocate_zeroed(void *context, size_t count, size_t size) {
    python_allocator *next = context;
    return python_fails() ? NULL : next->allocate_zeroed(next->context, count, size);
}

static void *python_resize(void *context, void *block, size_t size) {
    python_allocator *next = context;
    return python_fails() ? NULL : next->resize(next->context, block, size);
}

static void python_release(void *context, void *block) {
    python_allocator *next = context;
    next->release(next->context, block);
}

/* Called by the scenario, which is Python code, when the kind is "python". */
void cirron_fault_python(void);
void cirron_fault_python(void) {
    static const char *names[EVALUATORS] = {"_PyEval_EvalFrameDefault", "_PyEval_Vector",
                                            "_PyFunction_Vectorcall", "PyEval_EvalCode"};
    for (int i = 0; i < EVALUATORS; i++) {
        void *address = dlsym(RTLD_DEFAULT, names[i]);
        Dl_info info;
        ElfW(Sym) *symbol = NULL;
        if (address != NULL && dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) != 0 &&
            symbol != NULL) {
            evaluators[i] = (range){(uintptr_t)address, (uintptr_t)address + symbol->st_size};
        }
    }
    void (*get)(int, python_allocator *) =
        (void (*)(int, python_allocator *))dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    void (*set)(int, python_allocator *) =
        (void (*)(int, python_allocator *))dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    for (int domain = 0; domain < DOMAINS; domain++) {
        python_allocator ours = {&python_next[domain], python_allocate, python_allocate_zeroed,
                                 python_resize, python_release};
        get(domain, &python_next[domain]);
        set(domain, &ours);
    }
}
