/* Preloaded into a process: each of its calls that read from a shard takes so many milliseconds more as the environment variable
 * SLOW_READS says. Built by tests/helpers/preloaded.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void wait_for_the_disk(int descriptor)
{
    char link[64], path[4096];
    const char *milliseconds = getenv("SLOW_READS");
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (!milliseconds || size < 0)
        return;
    path[size] = 0;
    if (!strstr(path, "/shard-"))
        return;
    struct timespec pause = {0, atol(milliseconds) * 1000000};
    nanosleep(&pause, 0);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t preadv64(int descriptor, const struct iovec *buffers, int count, off64_t offset)
{
    wait_for_the_disk(descriptor);
    return NEXT(preadv64)(descriptor, buffers, count, offset);
}

/* What Python calls where there is it. */
ssize_t preadv64v2(int descriptor, const struct iovec *buffers, int count, off64_t offset, int flags)
{
    wait_for_the_disk(descriptor);
    return NEXT(preadv64v2)(descriptor, buffers, count, offset, flags);
}
