/* A disk that forgets, for tests/support/power_cut.py: preloaded into real processes (LD_PRELOAD).
 *
 * Each change below POWER_CUT_ROOT goes to the files as usual, and into a journal below
 * POWER_CUT_JOURNAL, before the program goes on. A sync is written there too, and it takes effect when
 * it returns: it covers the changes that were complete when it began. So the journals say at any
 * moment what a disk must hold, and what it may have lost.
 *
 * A record: sequence number, operation, inode, argument (all 8 bytes), length, and so many bytes.
 * Each process has its own journal, because a killed process may leave half a record at its end.
 * SQLite's -shm file is shared memory, which no disk has to keep; it is left out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPENED = 'O', FOLDER = 'M', WRITTEN = 'W', CUT_TO = 'T', SYNCED = 'S', FOLDER_SYNCED = 'D',
       REMOVED = 'U', RENAMED = 'R' };
enum { SYNC_TAKES_US = 2000, PATH_BYTES = 2 * PATH_MAX };

typedef struct { uint64_t sequence, operation, inode, argument, length; } header;

static char root[PATH_MAX], journals[PATH_MAX];
static size_t root_length;
static uint64_t *last_sequence; /* in memory that all processes share */
static int journal = -1;
static pid_t journal_of;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *from = getenv("POWER_CUT_ROOT"), *to = getenv("POWER_CUT_JOURNAL");
    char counter[PATH_MAX + 16];
    if (!from || !to || strlen(from) >= PATH_MAX || strlen(to) >= PATH_MAX) return;
    strcpy(journals, to);
    snprintf(counter, sizeof counter, "%s/sequence", journals);
    int file = syscall(SYS_openat, AT_FDCWD, counter, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || syscall(SYS_ftruncate, file, (long)sizeof *last_sequence)) return;
    last_sequence = mmap(NULL, sizeof *last_sequence, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (last_sequence == MAP_FAILED) return;
    strcpy(root, from);
    root_length = strlen(root);
}

static void record(int operation, uint64_t inode, uint64_t argument, const void *bytes, size_t length) {
    int error = errno;
    if (journal_of != getpid()) { /* the first record, or the first one after a fork */
        char name[PATH_MAX + 64];
        journal_of = getpid();
        snprintf(name, sizeof name, "%s/%d-%lu.journal", journals, (int)journal_of,
                 (unsigned long)__atomic_add_fetch(last_sequence, 1, __ATOMIC_SEQ_CST));
        journal = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    header head = {__atomic_add_fetch(last_sequence, 1, __ATOMIC_SEQ_CST), operation, inode, argument,
                   length};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)bytes, length}};
    if (syscall(SYS_writev, journal, parts, 2) != (long)(sizeof head + length)) {
        static const char complaint[] = "power_cut.c: the journal can't be written\n";
        syscall(SYS_write, 2, complaint, sizeof complaint - 1);
        abort();
    }
    errno = error;
}

/* The part of a path below the root; NULL for all that is not on this disk. */
static const char *below(const char *path) {
    size_t length = strlen(path);
    if (!root_length || strncmp(path, root, root_length)) return NULL;
    if (length >= 4 && !strcmp(path + length - 4, "-shm")) return NULL;
    if (path[root_length] == '/') return path + root_length + 1;
    return path[root_length] ? NULL : "";
}

static const char *of_descriptor(int file, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = root_length ? readlink(link, path, PATH_MAX - 1) : -1;
    if (length < 0) return NULL;
    path[length] = 0;
    return below(path);
}

static const char *of_path(int folder, const char *name, char *path) {
    int error = errno;
    char start[PATH_MAX] = "";
    if (!root_length) return NULL;
    if (name[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(start, sizeof start)) start[0] = 0;
        } else {
            of_descriptor(folder, start);
        }
        strcat(start, "/");
    }
    errno = error;
    if (strlen(start) + strlen(name) >= PATH_BYTES) return NULL;
    return below(strcat(strcpy(path, start), name));
}

static uint64_t inode_of(int file) {
    struct stat about;
    return fstat(file, &about) ? 0 : about.st_ino;
}

/* ── Files */

static int open_file(int folder, const char *name, int flags, mode_t mode) {
    char path[PATH_BYTES];
    const char *inner = flags & (O_CREAT | O_TRUNC) ? of_path(folder, name, path) : NULL;
    if (!inner) return syscall(SYS_openat, folder, name, flags, mode);
    pthread_mutex_lock(&lock);
    int file = syscall(SYS_openat, folder, name, flags, mode);
    if (file >= 0) {
        record(OPENED, inode_of(file), 0, inner, strlen(inner));
        if (flags & O_TRUNC) record(CUT_TO, inode_of(file), 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return file;
}

#define MODE_OF(flags)                                                                              \
    mode_t mode = 0;                                                                                \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                          \
        va_list more;                                                                               \
        va_start(more, flags);                                                                      \
        mode = va_arg(more, mode_t);                                                                \
        va_end(more);                                                                               \
    }

int open(const char *name, int flags, ...) { MODE_OF(flags) return open_file(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE_OF(flags) return open_file(AT_FDCWD, name, flags, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE_OF(flags) return open_file(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE_OF(flags) return open_file(folder, name, flags, mode); }

static ssize_t write_at(int file, const void *bytes, size_t length, off_t offset, int appends) {
    char path[PATH_MAX];
    if (!of_descriptor(file, path))
        return appends ? syscall(SYS_write, file, bytes, length)
                       : syscall(SYS_pwrite64, file, bytes, length, offset);
    pthread_mutex_lock(&lock);
    if (appends) {
        int to_the_end = fcntl(file, F_GETFL) & O_APPEND;
        offset = syscall(SYS_lseek, file, 0L, to_the_end ? SEEK_END : SEEK_CUR);
    }
    record(WRITTEN, inode_of(file), offset, bytes, length);
    ssize_t written = appends ? syscall(SYS_write, file, bytes, length)
                              : syscall(SYS_pwrite64, file, bytes, length, offset);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t write(int file, const void *bytes, size_t length) { return write_at(file, bytes, length, 0, 1); }
ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) { return write_at(file, bytes, length, at, 0); }
ssize_t pwrite64(int file, const void *bytes, size_t length, off_t at) { return write_at(file, bytes, length, at, 0); }

int ftruncate(int file, off_t length) {
    char path[PATH_MAX];
    if (!of_descriptor(file, path)) return syscall(SYS_ftruncate, file, length);
    pthread_mutex_lock(&lock);
    record(CUT_TO, inode_of(file), length, NULL, 0);
    int result = syscall(SYS_ftruncate, file, length);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate64(int file, off_t length) { return ftruncate(file, length); }

/* The file below need not be synced: a test ends processes, not the machine. */
static int sync_file(int file, long real_call) {
    char path[PATH_MAX];
    struct stat about;
    const char *inner = of_descriptor(file, path);
    if (!inner || fstat(file, &about)) return syscall(real_call, file);
    pthread_mutex_lock(&lock);
    uint64_t covered = __atomic_load_n(last_sequence, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&lock);
    usleep(SYNC_TAKES_US);
    pthread_mutex_lock(&lock);
    record(S_ISDIR(about.st_mode) ? FOLDER_SYNCED : SYNCED, about.st_ino, covered, inner, strlen(inner));
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int file) { return sync_file(file, SYS_fsync); }
int fdatasync(int file) { return sync_file(file, SYS_fdatasync); }

/* ── Names */

static int change_name(int operation, int folder, const char *name, long call, int argument) {
    char path[PATH_BYTES];
    const char *inner = of_path(folder, name, path);
    if (!inner) return syscall(call, folder, name, argument);
    pthread_mutex_lock(&lock);
    int result = syscall(call, folder, name, argument);
    if (!result) record(operation, 0, 0, inner, strlen(inner));
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *name) { return change_name(REMOVED, AT_FDCWD, name, SYS_unlinkat, 0); }
int unlinkat(int folder, const char *name, int flags) { return change_name(REMOVED, folder, name, SYS_unlinkat, flags); }
int rmdir(const char *name) { return change_name(REMOVED, AT_FDCWD, name, SYS_unlinkat, AT_REMOVEDIR); }
int mkdir(const char *name, mode_t mode) { return change_name(FOLDER, AT_FDCWD, name, SYS_mkdirat, mode); }
int mkdirat(int folder, const char *name, mode_t mode) { return change_name(FOLDER, folder, name, SYS_mkdirat, mode); }

int rename(const char *from, const char *to) {
    char paths[2 * PATH_BYTES], target[PATH_BYTES];
    const char *inner = of_path(AT_FDCWD, from, paths), *new_name = of_path(AT_FDCWD, to, target);
    if (!inner || !new_name) return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (!result) {
        size_t first = strlen(inner) + 1; /* both names, with the zero byte between them */
        strcpy((char *)inner + first, new_name);
        record(RENAMED, 0, 0, inner, first + strlen(new_name));
    }
    pthread_mutex_unlock(&lock);
    return result;
}
