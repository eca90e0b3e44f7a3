/* fake_disk.h - a disk in memory that fails at the n-th call, or loses power there.
 *
 *     unsigned at = 0;
 *     do {
 *         fake_disk_init(&disk, FAKE_POWER_CUT, ++at);
 *         acked = append_records(&disk.io, 64);
 *         fake_disk_reboot(&disk);          // unsynced bytes are lost, torn or reordered
 *         ck_assert_uint_ge(count_records(&disk.io), acked);
 *         fired = disk.fired;
 *         fake_disk_free(&disk);
 *     } while (fired);
 *
 * It is harsher than real ones. Until its file is synced, every single write may reach the disk or not, whatever came
 * before or after it; of one that does, any of its 512-byte sectors may be missing (then zero, or what was there). A name
 * (created, renamed, removed) is on the disk when its directory was synced; of the others a first part survives, in their
 * order. A file whose sync failed loses its writes on the disk, though they can still be read. */
#ifndef SUPPORT_FAKE_DISK_H
#define SUPPORT_FAKE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/io.h"
#include "base/random.h"

enum fake_fault {
    FAKE_NOTHING,
    FAKE_POWER_CUT, /* the n-th call happens in part or not at all; from then on all fail until reboot    */
    FAKE_EIO,       /* the n-th call fails, once                                                          */
    FAKE_ENOSPC,    /* the n-th call that needs room (write, create, mkdir) fails, and all later ones of them */
    FAKE_SHORT,     /* from the n-th call on, reads and writes do at least one byte and often not all     */
};

struct fake_disk {
    struct rlhf_io io; /* first: &disk.io is what is handed out */
    enum fake_fault fault;
    unsigned at;       /* the n-th counted call, from 1 */
    unsigned calls;    /* so far; under FAKE_ENOSPC only those that need room */
    bool fired;        /* the fault has happened */
    bool off;          /* no power */
    struct rlhf_random random;
    struct fake_inode *inodes;
    size_t inode_count, inode_capacity;
    struct fake_name_op *names; /* not on the disk yet */
    size_t name_count, name_capacity;
    struct fake_fd *fds;
    size_t fd_count;
};

/* An empty disk with the root directory. The fault's details come from n as a seed. */
void fake_disk_init(struct fake_disk *d, enum fake_fault fault, unsigned n);
/* Draws the details from another seed. */
void fake_disk_seed(struct fake_disk *d, uint64_t seed);
/* Another fault from here on, counting from now. */
void fake_disk_arm(struct fake_disk *d, enum fake_fault fault, unsigned n);
/* Power off and on: what was not synced is lost in part, descriptors are gone, no fault is armed. */
void fake_disk_reboot(struct fake_disk *d);
/* The process dies and the kernel lives: descriptors are gone, nothing is lost, and no fault is armed. */
void fake_disk_kill(struct fake_disk *d);
/* Damage at rest, on the disk and in memory alike. */
size_t fake_disk_size(struct fake_disk *d, const char *path); /* SIZE_MAX: no such file */
void fake_disk_flip(struct fake_disk *d, const char *path, size_t byte, uint8_t mask);
void fake_disk_cut(struct fake_disk *d, const char *path, size_t size);
void fake_disk_free(struct fake_disk *d);

#endif
