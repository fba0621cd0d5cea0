/* Preloaded into a process: once `reads_fail` was called, its calls that read from a file fail with an error number if they
 * reach beyond byte `from` of it. Built by tests/helpers/preloaded.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static char file[4096];
static off64_t first;
static int number;

void reads_fail(const char *name, long from, int error)
{
    snprintf(file, sizeof file, "%s", name);
    first = from, number = error;
}

static int fails(int descriptor, off64_t end)
{
    char link[64], path[4096];
    if (!number || end <= first)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    if (strcmp(path, file))
        return 0;
    errno = number;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pread64(int descriptor, void *data, size_t size, off64_t offset)
{
    return fails(descriptor, offset + (off64_t)size) ? -1 : NEXT(pread64)(descriptor, data, size, offset);
}

static off64_t end_of(const struct iovec *buffers, int count, off64_t offset)
{
    for (int buffer = 0; buffer < count; buffer++)
        offset += buffers[buffer].iov_len;
    return offset;
}

ssize_t preadv64(int descriptor, const struct iovec *buffers, int count, off64_t offset)
{
    return fails(descriptor, end_of(buffers, count, offset)) ? -1 : NEXT(preadv64)(descriptor, buffers, count, offset);
}

/* What Python calls where there is it. */
ssize_t preadv64v2(int descriptor, const struct iovec *buffers, int count, off64_t offset, int flags)
{
    if (fails(descriptor, end_of(buffers, count, offset)))
        return -1;
    return NEXT(preadv64v2)(descriptor, buffers, count, offset, flags);
}
