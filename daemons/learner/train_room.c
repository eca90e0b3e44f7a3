/* train_room.c - room on disk, had before it is needed (promise D6).
 *
 * DIR/reserved holds the blocks that the next state will take. It goes when the state is written, or when something
 * else finds the disk full, and is asked for again behind it: a disk that fills up stops the run between two steps,
 * with what was done in safety, and until there is room again. */
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "learner/train_parts.h"
#include "telemetry/log.h"

enum { BESIDE = 256 << 10, LOOK_AGAIN_MS = 200 }; /* bytes for manifest, journal and metrics of a step */

static int reserve(struct learner_work *w, size_t size, struct rlhf_error *err)
{
    const struct rlhf_io *io = w->t->io;
    char path[LEARNER_PATH];
    int fd, why = 0;

    if (learner_path(w->t, path, sizeof path, err, "reserved") < 0 ||
        (fd = rlhf_open(io, path, O_RDWR | O_CREAT | O_CLOEXEC, 0644, err)) < 0)
        return -1;
    if (io->allocate(io, fd, (off_t)size) < 0)
        why = errno;
    io->close(io, fd);
    w->t->reserved = true;
    if (why == 0 || why == EOPNOTSUPP || why == EINVAL) /* a file system that promises nothing */
        return 0;
    learner_room_release(w->t);
    return rlhf_fail_errno(err, why, "%zu KiB for the next state cannot be had in %s", size >> 10,
                           w->t->run->run.dir);
}

void learner_room_release(struct learner_trainer *t)
{
    char path[LEARNER_PATH];

    t->reserved = false;
    if (learner_path(t, path, sizeof path, NULL, "reserved") == 0)
        t->io->unlink(t->io, path);
}

int learner_room_wait(struct learner_work *w, const struct rlhf_error *why, struct rlhf_error *err)
{
    const struct timespec moment = {.tv_nsec = LOOK_AGAIN_MS * 1000000};

    if (why->code != RLHF_FULL) {
        if (err)
            *err = *why;
        return -1;
    }
    if (w->t->reserved) {
        learner_room_release(w->t);
        return 0;
    }
    if (learner_stopping(w))
        return learner_stopped(err);
    if (!w->t->waits_for_room)
        rlhf_log(RLHF_LEVEL_WARNING, "disk-full stage=%s step=%llu reason=\"%s\" the run waits for room", w->name,
                 (unsigned long long)w->step, why->text);
    w->t->waits_for_room = true;
    learner_progress(w, "waiting for room on disk: %s", why->text);
    nanosleep(&moment, NULL);
    return 0;
}

int learner_room_reserve(struct learner_work *w, size_t size, struct rlhf_error *err)
{
    struct rlhf_error why = {0};

    while (reserve(w, size + BESIDE, &why) < 0)
        if (learner_room_wait(w, &why, err) < 0)
            return -1;
    if (w->t->waits_for_room)
        rlhf_log(RLHF_LEVEL_INFO, "disk-has-room stage=%s step=%llu", w->name, (unsigned long long)w->step);
    w->t->waits_for_room = false;
    return 0;
}

int learner_write_file(struct learner_work *w, const char *path, const struct rlhf_bytes *bytes, struct rlhf_error *err)
{
    struct rlhf_error why = {0};

    while (rlhf_write_file(w->t->io, path, bytes->data ? bytes->data : "", bytes->size, &why) < 0)
        if (learner_room_wait(w, &why, err) < 0)
            return -1;
    return 0;
}
