/*
 * Preloaded into every process of a run: writes down, in one order for all of them, what changes files below one
 * directory, with its data, and what is synced. Its layout is that of `_HEADER` in recording.py.
 *
 * A lock that all processes share is held from before a call until its record is written, so that the order of
 * the records is that of the calls. Nothing is really synced, as no power fails while a run is recorded. Calls go
 * to the kernel by their numbers where that is all that glibc would do.
 *
 * Where a state of a power cut is looked at, its files have other inodes than those that were recorded. Then
 * stat(2) and its kin answer with the recorded ones, so that a run sees what it would see after the cut.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utime.h>

#pragma GCC diagnostic ignored "-Wnonnull-compare" /* utimensat(2) takes NULL on Linux */

#define FICLONE_REQUEST 0x40049409UL
#define FICLONERANGE_REQUEST 0x4020940dUL
#define GETFLAGS_REQUEST 0x80086601UL
#define SETFLAGS_REQUEST 0x40086602UL
#define SYNC_FLAG 0x8
#define PIECE (1 << 20)
#define MOST_INODES 16384
#define FREED (1ULL << 40) /* added to an inode that another file is said to have */

enum kind {
    WRITE, TRUNCATE, PUNCH, ALLOCATE, FLAGS, MODE, TIME,   /* of a file */
    CREATE, MKDIR, SYMLINK, LINK, RENAME, UNLINK, RMDIR,   /* of names */
    FSYNC, FDATASYNC, SYNCFS,
    UNKNOWN /* what the simulator could not follow; any such record fails the test */
};

struct control {
    int32_t lock;
    int32_t recording;
    int32_t shares; /* whether files share blocks, as on XFS and btrfs: FICLONE is done by copying */
    int32_t count;  /* of inodes */
    char below[256];
    char log[256];
    uint64_t real[MOST_INODES]; /* sorted */
    uint64_t said[MOST_INODES]; /* in place of each */
    uint64_t taken[MOST_INODES]; /* what is said, sorted */
};

struct record {
    uint32_t kind, mode;
    uint64_t ino;
    int64_t a, b, mtime_ns;
    uint32_t synced; /* whether the write itself waits for the disk */
    uint32_t lengths[2];
};

static struct control *control;
static int log_fd = -1;
static int syncs; /* whether to wait for the disk all the same */
static __thread char place[200];

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("POWERCUT_CONTROL");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        return;
    fd = (int)syscall(SYS_openat, AT_FDCWD, ((struct control *)mapped)->log, O_WRONLY | O_APPEND | O_CLOEXEC);
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 400);
    syscall(SYS_close, fd);
    control = mapped;
    syncs = getenv("POWERCUT_SYNCS") != NULL;
}

/* Where in the program the next sync of this thread is asked for. */
void powercut_place(const char *text) {
    snprintf(place, sizeof place, "%s", text);
}

static int is_recording(void) {
    return control && control->recording;
}

static void lock(void) {
    while (__atomic_exchange_n(&control->lock, 1, __ATOMIC_ACQUIRE))
        sched_yield();
}

static void unlock(void) {
    __atomic_store_n(&control->lock, 0, __ATOMIC_RELEASE);
}

static void put(struct record record, const char *first, size_t first_size, const char *second) {
    int saved = errno;
    record.lengths[0] = first_size;
    record.lengths[1] = strlen(second);
    struct iovec parts[] = {{&record, sizeof record},
                            {(void *)first, first_size},
                            {(void *)second, record.lengths[1]}};
    size_t whole = sizeof record + first_size + record.lengths[1];
    if (syscall(SYS_writev, log_fd, parts, 3) != (ssize_t)whole)
        abort(); /* a log with a hole proves nothing */
    errno = saved;
}

static int is_below(const char *path) {
    size_t length = strlen(control->below);
    return strncmp(path, control->below, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int real_stat(int directory, const char *path, int flags, struct stat *found) {
    return (int)syscall(SYS_newfstatat, directory, path, found, flags);
}

/* Whether a descriptor leads to something that is recorded, and what it is. */
static int recorded(int fd, struct stat *found) {
    char path[PATH_MAX];
    int saved = errno;
    int is = is_recording() && path_of(fd, path) && is_below(path) && real_stat(fd, "", AT_EMPTY_PATH, found) == 0;
    errno = saved;
    return is;
}

static int recorded_file(int fd, struct stat *found) {
    return recorded(fd, found) && S_ISREG(found->st_mode);
}

/* The path from the root of the host, its directory without symlinks; whether it is recorded. */
static int canonical(int directory, const char *path, char *whole) {
    char start[2 * PATH_MAX], parent[PATH_MAX];
    if (!is_recording())
        return 0;
    int saved = errno;
    if (path[0] == '/')
        start[0] = 0;
    else if (directory == AT_FDCWD ? !getcwd(start, PATH_MAX) : !path_of(directory, start))
        return 0;
    if (path[0] != '/')
        strcat(start, "/");
    strncat(start, path, PATH_MAX - 1);
    size_t length = strlen(start);
    while (length > 1 && start[length - 1] == '/')
        start[--length] = 0;
    char *name = strrchr(start, '/');
    *name++ = 0;
    int is = realpath(start[0] ? start : "/", parent) != NULL;
    if (is)
        snprintf(whole, 2 * PATH_MAX, "%s/%s", strcmp(parent, "/") ? parent : "", name);
    errno = saved;
    return is && is_below(whole);
}

static int64_t mtime_ns(const struct stat *found) {
    return found->st_mtim.tv_sec * 1000000000LL + found->st_mtim.tv_nsec;
}

static struct record about(enum kind kind, const struct stat *found) {
    return (struct record){.kind = kind, .mode = found->st_mode, .ino = found->st_ino, .mtime_ns = mtime_ns(found)};
}

static void put_change(int fd, enum kind kind, int64_t a, int64_t b) {
    struct stat now;
    if (real_stat(fd, "", AT_EMPTY_PATH, &now))
        return;
    struct record record = about(kind, &now);
    record.a = a, record.b = b;
    put(record, "", 0, "");
}

static void put_write(int fd, const char *data, size_t size, int64_t at) {
    struct stat now;
    int saved = errno;
    if (real_stat(fd, "", AT_EMPTY_PATH, &now))
        return;
    struct record record = about(WRITE, &now);
    record.a = at;
    record.synced = (fcntl(fd, F_GETFL) & O_DSYNC) != 0; /* O_SYNC has this bit too */
    put(record, data, size, "");
    errno = saved;
}

/* What a call without data of its own has written: read back. */
static void put_read_back(int fd, int64_t at, int64_t size) {
    char link[64], *data = malloc(PIECE);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    while (size > 0) {
        ssize_t got = syscall(SYS_pread64, reader, data, size < PIECE ? size : PIECE, at);
        if (got <= 0)
            break;
        put_write(fd, data, got, at);
        at += got, size -= got;
    }
    syscall(SYS_close, reader);
    free(data);
}

static void unknown(const char *name) {
    lock();
    put((struct record){.kind = UNKNOWN}, name, strlen(name), "");
    unlock();
}

/* ---- data ---- */

ssize_t write(int fd, const void *data, size_t size) {
    struct stat found;
    if (!recorded_file(fd, &found))
        return syscall(SYS_write, fd, data, size);
    lock();
    ssize_t done = syscall(SYS_write, fd, data, size);
    if (done > 0)
        put_write(fd, data, done, lseek(fd, 0, SEEK_CUR) - done);
    unlock();
    return done;
}

#define PWRITE(name)                                                                                               \
    ssize_t name(int fd, const void *data, size_t size, off64_t at) {                                              \
        struct stat found;                                                                                         \
        if (!recorded_file(fd, &found))                                                                            \
            return syscall(SYS_pwrite64, fd, data, size, at);                                                      \
        lock();                                                                                                    \
        ssize_t done = syscall(SYS_pwrite64, fd, data, size, at);                                                  \
        if (done > 0)                                                                                              \
            put_write(fd, data, done, at);                                                                         \
        unlock();                                                                                                  \
        return done;                                                                                               \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct stat found;
    if (!recorded_file(fd, &found))
        return syscall(SYS_writev, fd, parts, count);
    lock();
    ssize_t done = syscall(SYS_writev, fd, parts, count);
    if (done > 0)
        put_read_back(fd, lseek(fd, 0, SEEK_CUR) - done, done);
    unlock();
    return done;
}

#define PWRITEV(name)                                                                                              \
    ssize_t name(int fd, const struct iovec *parts, int count, off64_t at) {                                       \
        struct stat found;                                                                                         \
        if (!recorded_file(fd, &found))                                                                            \
            return REAL(name)(fd, parts, count, at);                                                               \
        lock();                                                                                                    \
        ssize_t done = REAL(name)(fd, parts, count, at);                                                           \
        if (done > 0)                                                                                              \
            put_read_back(fd, at, done);                                                                           \
        unlock();                                                                                                  \
        return done;                                                                                               \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned int flags) {
    struct stat found;
    if (!recorded_file(to, &found))
        return REAL(copy_file_range)(from, from_at, to, to_at, size, flags);
    lock();
    ssize_t done = REAL(copy_file_range)(from, from_at, to, to_at, size, flags);
    if (done > 0)
        put_read_back(to, (to_at ? *to_at : lseek(to, 0, SEEK_CUR)) - done, done);
    unlock();
    return done;
}

#define SENDFILE(name, offset)                                                                                     \
    ssize_t name(int to, int from, offset *at, size_t size) {                                                      \
        struct stat found;                                                                                         \
        if (!recorded_file(to, &found))                                                                            \
            return REAL(name)(to, from, at, size);                                                                 \
        lock();                                                                                                    \
        ssize_t done = REAL(name)(to, from, at, size);                                                             \
        if (done > 0)                                                                                              \
            put_read_back(to, lseek(to, 0, SEEK_CUR) - done, done);                                                \
        unlock();                                                                                                  \
        return done;                                                                                               \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

#define MMAP(name)                                                                                                 \
    void *name(void *at, size_t size, int protection, int flags, int fd, off64_t offset) {                         \
        char path[PATH_MAX];                                                                                       \
        struct stat found;                                                                                         \
        if (fd >= 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED) && recorded_file(fd, &found) &&           \
            path_of(fd, path) && !strstr(path, "-shm"))                                                            \
            unknown("mmap");                                                                                       \
        return REAL(name)(at, size, protection, flags, fd, offset);                                                \
    }
MMAP(mmap)
MMAP(mmap64)

/* ---- size and blocks ---- */

#define FTRUNCATE(name)                                                                                            \
    int name(int fd, off64_t size) {                                                                               \
        struct stat found;                                                                                         \
        if (!recorded_file(fd, &found))                                                                            \
            return (int)syscall(SYS_ftruncate, fd, size);                                                          \
        lock();                                                                                                    \
        int failed = (int)syscall(SYS_ftruncate, fd, size);                                                        \
        if (!failed)                                                                                               \
            put_change(fd, TRUNCATE, size, 0);                                                                     \
        unlock();                                                                                                  \
        return failed;                                                                                             \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define TRUNCATE_PATH(name, ftruncate_name)                                                                        \
    int name(const char *path, off64_t size) {                                                                     \
        int fd = is_recording() ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC) : -1;             \
        if (fd < 0)                                                                                                \
            return (int)syscall(SYS_truncate, path, size);                                                         \
        int failed = ftruncate_name(fd, size);                                                                     \
        syscall(SYS_close, fd);                                                                                    \
        return failed;                                                                                             \
    }
TRUNCATE_PATH(truncate, ftruncate)
TRUNCATE_PATH(truncate64, ftruncate64)

static int allocate(int fd, int mode, off64_t at, off64_t size) {
    struct stat found;
    if (!recorded_file(fd, &found))
        return (int)syscall(SYS_fallocate, fd, mode, at, size);
    lock();
    int failed = (int)syscall(SYS_fallocate, fd, mode, at, size);
    if (!failed && (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
        put_change(fd, PUNCH, at, size);
    else if (!failed && !(mode & ~FALLOC_FL_KEEP_SIZE))
        put_change(fd, ALLOCATE, at, mode ? -size : size); /* below 0: the file stays as long as it is */
    unlock();
    if (!failed && (mode & ~(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)))
        unknown("fallocate");
    return failed;
}

int fallocate(int fd, int mode, off_t at, off_t size) {
    return allocate(fd, mode, at, size);
}

int fallocate64(int fd, int mode, off64_t at, off64_t size) {
    return allocate(fd, mode, at, size);
}

/* These two give their error back. What glibc does where a filesystem can't allocate is not followed. */
int posix_fallocate(int fd, off_t at, off_t size) {
    return allocate(fd, 0, at, size) ? errno : 0;
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    return allocate(fd, 0, at, size) ? errno : 0;
}

static int clone_by_copying(int from, int to) {
    struct stat found;
    char *data = malloc(PIECE);
    real_stat(from, "", AT_EMPTY_PATH, &found);
    ftruncate(to, 0);
    ftruncate(to, found.st_size);
    for (off64_t at = 0; (at = lseek(from, at, SEEK_DATA)) >= 0;) {
        off64_t end = lseek(from, at, SEEK_HOLE);
        for (; at < end;) {
            ssize_t got = syscall(SYS_pread64, from, data, end - at < PIECE ? end - at : PIECE, at);
            if (got <= 0 || pwrite64(to, data, got, at) != got)
                break;
            at += got;
        }
        at = end;
    }
    free(data);
    return 0;
}

int ioctl(int fd, unsigned long request, ...) {
    struct stat found;
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (!is_recording() || !recorded(fd, &found))
        return (int)syscall(SYS_ioctl, fd, request, argument);
    if (request == FICLONE_REQUEST && control->shares)
        return clone_by_copying((int)(intptr_t)argument, fd);
    if (request == FICLONE_REQUEST || request == FICLONERANGE_REQUEST) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (request == GETFLAGS_REQUEST) {
        *(int *)argument = 0;
        return 0;
    }
    if (request == SETFLAGS_REQUEST) { /* not really: it would take time */
        lock();
        put_change(fd, FLAGS, *(int *)argument & SYNC_FLAG, 0);
        unlock();
        return 0;
    }
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

/* ---- attributes ---- */

#define ATTRIBUTE(name, kind, directory, flags, parameters, arguments)                                             \
    int name parameters {                                                                                          \
        char whole[2 * PATH_MAX];                                                                                  \
        struct stat now;                                                                                           \
        if (!is_recording())                                                                                       \
            return REAL(name) arguments;                                                                           \
        int is = path ? canonical(directory, path, whole) : recorded(directory, &now);                             \
        lock();                                                                                                    \
        int failed = REAL(name) arguments;                                                                         \
        if (is && !failed &&                                                                                       \
            !real_stat(directory, path ? path : "", path ? flags : AT_EMPTY_PATH, &now))                           \
            put(about(kind, &now), "", 0, "");                                                                     \
        unlock();                                                                                                  \
        return failed;                                                                                             \
    }
#define OF_FD(name, kind, parameters, arguments)                                                                   \
    int name parameters {                                                                                          \
        struct stat now;                                                                                           \
        int is = recorded(fd, &now);                                                                               \
        if (!is)                                                                                                   \
            return REAL(name) arguments;                                                                           \
        lock();                                                                                                    \
        int failed = REAL(name) arguments;                                                                         \
        if (!failed && !real_stat(fd, "", AT_EMPTY_PATH, &now))                                                    \
            put(about(kind, &now), "", 0, "");                                                                     \
        unlock();                                                                                                  \
        return failed;                                                                                             \
    }
ATTRIBUTE(chmod, MODE, AT_FDCWD, 0, (const char *path, mode_t mode), (path, mode))
ATTRIBUTE(fchmodat, MODE, directory, 0, (int directory, const char *path, mode_t mode, int flags),
          (directory, path, mode, flags))
OF_FD(fchmod, MODE, (int fd, mode_t mode), (fd, mode))
ATTRIBUTE(utimensat, TIME, directory, flags, (int directory, const char *path, const struct timespec times[2], int flags),
          (directory, path, times, flags))
ATTRIBUTE(utimes, TIME, AT_FDCWD, 0, (const char *path, const struct timeval times[2]), (path, times))
OF_FD(futimens, TIME, (int fd, const struct timespec times[2]), (fd, times))

/* ---- names ---- */

static int open_recorded(int directory, const char *path, int flags, mode_t mode) {
    char whole[2 * PATH_MAX];
    struct stat before, now;
    if (!(flags & (O_CREAT | O_TRUNC | __O_TMPFILE)) || !canonical(directory, path, whole))
        return (int)syscall(SYS_openat, directory, path, flags, mode);
    lock();
    int was = real_stat(AT_FDCWD, whole, 0, &before) == 0;
    int fd = (int)syscall(SYS_openat, directory, path, flags, mode);
    if (fd >= 0 && real_stat(fd, "", AT_EMPTY_PATH, &now) == 0 && S_ISREG(now.st_mode)) {
        if ((flags & O_TMPFILE) == O_TMPFILE)
            put(about(CREATE, &now), "", 0, "");
        else if (!was)
            put(about(CREATE, &now), whole, strlen(whole), "");
        else if (flags & O_TRUNC)
            put_change(fd, TRUNCATE, 0, 0);
    }
    unlock();
    return fd;
}

#define MODE_OF(flags)                                                                                             \
    mode_t mode = 0;                                                                                               \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                                         \
        va_list rest;                                                                                              \
        va_start(rest, flags);                                                                                     \
        mode = va_arg(rest, mode_t);                                                                               \
        va_end(rest);                                                                                              \
    }
#define OPEN(name)                                                                                                 \
    int name(const char *path, int flags, ...) {                                                                   \
        MODE_OF(flags)                                                                                             \
        return open_recorded(AT_FDCWD, path, flags, mode);                                                         \
    }
#define OPENAT(name)                                                                                               \
    int name(int directory, const char *path, int flags, ...) {                                                    \
        MODE_OF(flags)                                                                                             \
        return open_recorded(directory, path, flags, mode);                                                        \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) {
    return open_recorded(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode) {
    return open_recorded(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* A call that makes or removes one name. */
static int name_call(enum kind kind, int directory, const char *path, const char *target, int failed_is, int (*call)(void *),
                     void *arguments) {
    char whole[2 * PATH_MAX];
    struct stat found = {0};
    if (!canonical(directory, path, whole))
        return call(arguments);
    lock();
    int is_going = kind == UNLINK || kind == RMDIR;
    if (is_going)
        real_stat(AT_FDCWD, whole, AT_SYMLINK_NOFOLLOW, &found);
    int done = call(arguments);
    if (done != failed_is) {
        if (!is_going)
            real_stat(AT_FDCWD, whole, AT_SYMLINK_NOFOLLOW, &found);
        put(about(kind, &found), whole, strlen(whole), target);
    }
    unlock();
    return done;
}

struct at {
    int directory, to_directory, flags;
    const char *path, *to;
    mode_t mode;
};

static int do_mkdir(void *a) {
    struct at *at = a;
    return (int)syscall(SYS_mkdirat, at->directory, at->path, at->mode);
}
static int do_unlink(void *a) {
    struct at *at = a;
    return (int)syscall(SYS_unlinkat, at->directory, at->path, at->flags);
}
static int do_symlink(void *a) {
    struct at *at = a;
    return (int)syscall(SYS_symlinkat, at->path, at->directory, at->to);
}
static int do_link(void *a) {
    struct at *at = a;
    return (int)syscall(SYS_linkat, at->directory, at->path, at->to_directory, at->to, at->flags);
}

int mkdirat(int directory, const char *path, mode_t mode) {
    struct at at = {.directory = directory, .path = path, .mode = mode};
    return name_call(MKDIR, directory, path, "", -1, do_mkdir, &at);
}
int mkdir(const char *path, mode_t mode) {
    return mkdirat(AT_FDCWD, path, mode);
}
int unlinkat(int directory, const char *path, int flags) {
    struct at at = {.directory = directory, .path = path, .flags = flags};
    return name_call(flags & AT_REMOVEDIR ? RMDIR : UNLINK, directory, path, "", -1, do_unlink, &at);
}
int unlink(const char *path) {
    return unlinkat(AT_FDCWD, path, 0);
}
int rmdir(const char *path) {
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}
int symlinkat(const char *target, int directory, const char *path) {
    struct at at = {.directory = directory, .path = target, .to = path};
    return name_call(SYMLINK, directory, path, target, -1, do_symlink, &at);
}
int symlink(const char *target, const char *path) {
    return symlinkat(target, AT_FDCWD, path);
}
int linkat(int directory, const char *path, int to_directory, const char *to, int flags) {
    struct at at = {.directory = directory, .to_directory = to_directory, .path = path, .to = to, .flags = flags};
    return name_call(LINK, to_directory, to, "", -1, do_link, &at);
}
int link(const char *path, const char *to) {
    return linkat(AT_FDCWD, path, AT_FDCWD, to, 0);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned int flags) {
    char source[2 * PATH_MAX], target[2 * PATH_MAX];
    struct stat found;
    int comes = canonical(to_at, to, target), goes = canonical(from_at, from, source);
    if (!comes && !goes)
        return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (!comes || !goes || (flags & RENAME_EXCHANGE))
        unknown("rename");
    lock();
    int failed = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (!failed && !real_stat(AT_FDCWD, target, AT_SYMLINK_NOFOLLOW, &found))
        put(about(RENAME, &found), source, strlen(source), target);
    unlock();
    return failed;
}
int renameat(int from_at, const char *from, int to_at, const char *to) {
    return renameat2(from_at, from, to_at, to, 0);
}
int rename(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- syncs ---- */

#define SYNC_CALL(name, kind)                                                                                      \
    int name(int fd) {                                                                                             \
        struct stat found;                                                                                         \
        char path[PATH_MAX];                                                                                       \
        if (!is_recording())                                                                                       \
            return 0;                                                                                              \
        if (recorded(fd, &found) && path_of(fd, path)) {                                                           \
            lock();                                                                                                \
            put(about(kind, &found), path, strlen(path), place);                                                   \
            unlock();                                                                                              \
        }                                                                                                          \
        place[0] = 0;                                                                                              \
        return syncs ? (int)syscall(SYS_##name, fd) : 0;                                                           \
    }
SYNC_CALL(fsync, FSYNC)
SYNC_CALL(fdatasync, FDATASYNC)
SYNC_CALL(syncfs, SYNCFS)

/* What waits for less than that is no barrier here: sync_file_range(2) says so of itself. */
int msync(void *at, size_t size, int flags) {
    if (is_recording())
        unknown("msync");
    return REAL(msync)(at, size, flags);
}

void sync(void) {
    if (is_recording())
        unknown("sync");
}

/* ---- inodes ---- */

static uint64_t *found_in(uint64_t *sorted, uint64_t value) {
    int low = 0, high = control->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (sorted[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low < control->count && sorted[low] == value ? &sorted[low] : NULL;
}

static uint64_t said(uint64_t ino) {
    if (!control || !control->count)
        return ino;
    uint64_t *at = found_in(control->real, ino);
    if (at)
        return control->said[at - control->real];
    return found_in(control->taken, ino) ? ino + FREED : ino;
}

#define STAT(name, type, parameters, arguments)                                                                    \
    int name parameters {                                                                                          \
        int failed = (int)syscall arguments;                                                                       \
        if (!failed)                                                                                               \
            found->st_ino = said(found->st_ino);                                                                   \
        return failed;                                                                                             \
    }
#define STATS(suffix, type)                                                                                        \
    STAT(stat##suffix, type, (const char *restrict path, struct type *restrict found),                             \
         (SYS_newfstatat, AT_FDCWD, path, found, 0))                                                               \
    STAT(lstat##suffix, type, (const char *restrict path, struct type *restrict found),                            \
         (SYS_newfstatat, AT_FDCWD, path, found, AT_SYMLINK_NOFOLLOW))                                             \
    STAT(fstat##suffix, type, (int fd, struct type *found), (SYS_newfstatat, fd, "", found, AT_EMPTY_PATH))        \
    STAT(fstatat##suffix, type,                                                                                    \
         (int directory, const char *restrict path, struct type *restrict found, int flags),                       \
         (SYS_newfstatat, directory, path, found, flags))
STATS(, stat)
STATS(64, stat64)

int statx(int directory, const char *restrict path, int flags, unsigned int mask, struct statx *restrict found) {
    int failed = (int)syscall(SYS_statx, directory, path, flags, mask, found);
    if (!failed)
        found->stx_ino = said(found->stx_ino);
    return failed;
}
