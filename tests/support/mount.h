/* mount.h - whether a small disk can be mounted here. */
#ifndef SUPPORT_MOUNT_H
#define SUPPORT_MOUNT_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "support/suite.h"

/* Ends the process as skipped, saying why, where no tmpfs can be mounted. */
static inline void skip_without_tmpfs(void)
{
    char probe[] = "/tmp/rlhf-mount-XXXXXX";

    if (!mkdtemp(probe) || mount("probe", probe, "tmpfs", 0, "size=64k") != 0) {
        int reason = errno;

        rmdir(probe);
        skip("cannot mount a tmpfs here (%s); it takes root", strerror(reason));
    }
    umount(probe);
    rmdir(probe);
}

#endif
