/* A wall clock that a test can step, for tests/support/clock_step.py: preloaded into real processes.
 *
 * The file CLOCK_STEP_FILE holds the step in seconds, and may change at any moment. As on a real
 * machine, the monotonic clock does not move, and `btime` in /proc/stat moves along.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *step;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("CLOCK_STEP_FILE");
    int file = name ? (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *shared = mmap(NULL, sizeof *step, PROT_READ, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (shared != MAP_FAILED) step = shared;
}

static int64_t step_s(void) { return step ? *step : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += step_s();
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    int result = syscall(SYS_gettimeofday, now, zone);
    now->tv_sec += step_s();
    return result;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}

/* A copy of /proc/stat with the moment of the boot moved by the step. */
static int stepped_boot(int real) {
    static const char field[] = "\nbtime ";
    static __thread char content[1 << 18];
    size_t length = 0;
    for (ssize_t more; (more = read(real, content + length, sizeof content - 1 - length)) > 0;)
        length += more;
    close(real);
    content[length] = 0;
    int copy = memfd_create("stat", MFD_CLOEXEC);
    char *boot = strstr(content, field), *rest;
    if (boot) {
        long long moved = strtoll(boot + strlen(field), &rest, 10) + step_s();
        dprintf(copy, "%.*s%s%lld%s", (int)(boot - content), content, field, moved, rest);
    } else {
        dprintf(copy, "%s", content);
    }
    lseek(copy, 0, SEEK_SET);
    return copy;
}

static int open_file(const char *name, int flags, mode_t mode) {
    int file = syscall(SYS_openat, AT_FDCWD, name, flags, mode);
    return file >= 0 && step_s() && !strcmp(name, "/proc/stat") ? stepped_boot(file) : file;
}

int open(const char *name, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open_file(name, flags, mode);
}

int open64(const char *name, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open_file(name, flags, mode);
}
