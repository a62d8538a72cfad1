/*
 * Preloaded into every process of a run: counts the calls that change files below one directory, and at one of
 * them kills the run or lets the call fail. Processes and threads count together, in a file that all have mapped;
 * its layout is `_CONTROL` in calls.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define FICLONE_REQUEST 0x40049409UL

enum kind { CREATE, RENAME, SYNC, UNLINK, TRUNCATE, WRITE, KINDS };

struct control {
    int32_t armed;   /* a bit for each kind that may be hit */
    int32_t error;   /* what the call fails with; 0: SIGKILL instead */
    int32_t lasting; /* whether all later ones fail too */
    int32_t victim;  /* the process to kill */
    int64_t at;      /* which of the armed calls is hit, from 1 */
    int64_t seen;    /* armed calls so far */
    int64_t counts[KINDS];
    char below[256]; /* calls elsewhere don't count */
    char hit[256];   /* the call that was hit */
};

static struct control *control;
static int syncs; /* whether to wait for the disk: no power fails here, so it would only take time */

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("DRILL_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        control = mapped;
    syncs = getenv("DRILL_SYNCS") != NULL;
}

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int counts(const char *path) {
    return strncmp(path, control->below, strlen(control->below)) == 0;
}

/* Count a call; what it has to fail with, or 0. */
static int pass(enum kind kind, const char *name, const char *path) {
    if (!control || !control->below[0] || !counts(path))
        return 0;
    __atomic_add_fetch(&control->counts[kind], 1, __ATOMIC_SEQ_CST);
    if (!(control->armed & 1 << kind))
        return 0;
    int64_t seen = __atomic_add_fetch(&control->seen, 1, __ATOMIC_SEQ_CST);
    if (seen < control->at || (seen > control->at && !control->lasting))
        return 0;
    if (seen == control->at)
        snprintf(control->hit, sizeof control->hit, "%s %s", name, path + strlen(control->below));
    if (control->error)
        return control->error;
    if (control->victim > 1) /* 0 and below are whole groups of processes */
        kill(control->victim, SIGKILL);
    for (;;)
        pause(); /* a program of the victim's dies with it, or it is found to hold the disk */
}

static int pass_at(enum kind kind, const char *name, int directory, const char *path) {
    char whole[2 * PATH_MAX];
    if (!control || path[0] == '/' || directory == AT_FDCWD)
        return pass(kind, name, path);
    if (!path_of(directory, whole, PATH_MAX))
        return 0;
    strcat(strcat(whole, "/"), path);
    return pass(kind, name, whole);
}

static int pass_fd(enum kind kind, const char *name, int fd) {
    char path[PATH_MAX];
    int saved = errno;
    int found = control && path_of(fd, path, sizeof path);
    errno = saved;
    return found ? pass(kind, name, path) : 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define CALL(name, result, checked, parameters, arguments)                                                         \
    result name parameters {                                                                                       \
        static __typeof__(&name) real;                                                                             \
        if (!real)                                                                                                 \
            real = REAL(name);                                                                                     \
        int error = checked;                                                                                       \
        if (error) {                                                                                               \
            errno = error;                                                                                         \
            return -1;                                                                                             \
        }                                                                                                          \
        return real arguments;                                                                                     \
    }

#define SYNC_CALL(name)                                                                                            \
    int name(int fd) {                                                                                             \
        int error = pass_fd(SYNC, #name, fd);                                                                      \
        if (error) {                                                                                               \
            errno = error;                                                                                         \
            return -1;                                                                                             \
        }                                                                                                          \
        return syncs ? REAL(name)(fd) : 0;                                                                         \
    }

CALL(rename, int, pass(RENAME, "rename", to), (const char *from, const char *to), (from, to))
CALL(renameat, int, pass_at(RENAME, "renameat", to_at, to), (int from_at, const char *from, int to_at, const char *to),
     (from_at, from, to_at, to))
SYNC_CALL(fsync)
SYNC_CALL(fdatasync)
SYNC_CALL(syncfs)
CALL(unlink, int, pass(UNLINK, "unlink", path), (const char *path), (path))
CALL(unlinkat, int, pass_at(UNLINK, "unlinkat", directory, path), (int directory, const char *path, int flags),
     (directory, path, flags))
CALL(rmdir, int, pass(UNLINK, "rmdir", path), (const char *path), (path))
CALL(truncate, int, pass(TRUNCATE, "truncate", path), (const char *path, off_t size), (path, size))
CALL(truncate64, int, pass(TRUNCATE, "truncate", path), (const char *path, off64_t size), (path, size))
CALL(ftruncate, int, pass_fd(TRUNCATE, "ftruncate", fd), (int fd, off_t size), (fd, size))
CALL(ftruncate64, int, pass_fd(TRUNCATE, "ftruncate", fd), (int fd, off64_t size), (fd, size))
CALL(write, ssize_t, pass_fd(WRITE, "write", fd), (int fd, const void *data, size_t size), (fd, data, size))
CALL(pwrite, ssize_t, pass_fd(WRITE, "pwrite", fd), (int fd, const void *data, size_t size, off_t at),
     (fd, data, size, at))
CALL(pwrite64, ssize_t, pass_fd(WRITE, "pwrite", fd), (int fd, const void *data, size_t size, off64_t at),
     (fd, data, size, at))
CALL(copy_file_range, ssize_t, pass_fd(WRITE, "copy_file_range", to),
     (int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned int flags),
     (from, from_at, to, to_at, size, flags))
CALL(fallocate, int, pass_fd(WRITE, "fallocate", fd), (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
CALL(fallocate64, int, pass_fd(WRITE, "fallocate", fd), (int fd, int mode, off64_t at, off64_t size),
     (fd, mode, at, size))
CALL(mkdir, int, pass(CREATE, "mkdir", path), (const char *path, mode_t mode), (path, mode))

/* These two give their error back instead of setting errno. */
int posix_fallocate(int fd, off_t at, off_t size) {
    int error = pass_fd(WRITE, "posix_fallocate", fd);
    return error ? error : REAL(posix_fallocate)(fd, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    int error = pass_fd(WRITE, "posix_fallocate", fd);
    return error ? error : REAL(posix_fallocate64)(fd, at, size);
}

/* No filesystem shares blocks here, so that a grown disk is grown where it lies on every host. */
int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (control && request == FICLONE_REQUEST) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return REAL(ioctl)(fd, request, argument);
}

#define OPEN(name, checked, parameters, arguments)                                                                 \
    int name parameters {                                                                                          \
        mode_t mode = 0;                                                                                           \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                                     \
            va_list rest;                                                                                          \
            va_start(rest, flags);                                                                                 \
            mode = va_arg(rest, mode_t);                                                                           \
            va_end(rest);                                                                                          \
        }                                                                                                          \
        int error = flags & (O_CREAT | O_TRUNC) ? checked : 0;                                                     \
        if (error) {                                                                                               \
            errno = error;                                                                                         \
            return -1;                                                                                             \
        }                                                                                                          \
        return REAL(name) arguments;                                                                               \
    }

OPEN(open, pass(CREATE, "open", path), (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, pass(CREATE, "open", path), (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, pass_at(CREATE, "open", directory, path), (int directory, const char *path, int flags, ...),
     (directory, path, flags, mode))
OPEN(openat64, pass_at(CREATE, "open", directory, path), (int directory, const char *path, int flags, ...),
     (directory, path, flags, mode))
