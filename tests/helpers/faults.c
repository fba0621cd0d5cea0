/* Preloaded into a process: one of its calls that change files below a folder fails, and no file is flushed again after a
 * flush of it failed. Built by tests/robustness/test_disk.py, driven by faults.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *folder = "";
static long calls, failing = -1;
static int only_flushes, number;
static ino_t failed[64];
static int num_failed, flushed_again;

void faults_begin(const char *below, long at, int error, int flushes)
{
    folder = below, failing = at, number = error, only_flushes = flushes;
    calls = 0;
}

long faults_calls(void) { return calls; }
int faults_flushed_again(void) { return flushed_again; }

static int is_below(int descriptor)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0 || !*folder)
        return 0;
    path[size] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int fails(int descriptor, int is_flush)
{
    int before = errno;
    int counts = is_below(descriptor) && (is_flush || !only_flushes);
    errno = before;
    if (!counts)
        return 0;
    if (calls++ != failing)
        return 0;
    errno = number;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int descriptor, const void *data, size_t size)
{
    return fails(descriptor, 0) ? -1 : NEXT(write)(descriptor, data, size);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset)
{
    return fails(descriptor, 0) ? -1 : NEXT(pwrite64)(descriptor, data, size, offset);
}

int ftruncate64(int descriptor, off64_t size)
{
    return fails(descriptor, 0) ? -1 : NEXT(ftruncate64)(descriptor, size);
}

int fsync(int descriptor)
{
    struct stat found;
    int is_file = fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode);
    for (int place = 0; is_file && place < num_failed; place++)
        flushed_again += failed[place] == found.st_ino;
    if (!fails(descriptor, 1))
        return NEXT(fsync)(descriptor);
    if (is_file && num_failed < 64) {
        failed[num_failed++] = found.st_ino;
        /* While it is open, no other file gets its number. */
        dup(descriptor);
        errno = number;
    }
    return -1;
}
