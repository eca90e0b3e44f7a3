#include "slow_sync.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

const char *slow_sync_library(void)
{
    Dl_info info;

    return dladdr((void *)slow_sync_library, &info) ? info.dli_fname : "";
}

static void wait_longer(void)
{
    const char *text = getenv("RLHF_SYNC_US");
    long us = text ? atol(text) : 0;

    nanosleep(&(struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 }, NULL);
}

int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");

    wait_longer();
    return real(fd);
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

    wait_longer();
    return real(fd);
}
