/* io.h - the file seam: every durable write and every read of durable state goes through here, so that
 * tests can make the n-th call fail, fall short, or lose power (tests/support/fake_disk.h).
 *
 * The functions finish short reads and writes, retry EINTR, and report everything else. After a failed
 * fsync the error is RLHF_FATAL and the file must not be trusted: the kernel may have dropped the pages. */
#ifndef RLHF_BASE_IO_H
#define RLHF_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/memory.h"

/* The system calls used, with their usual meaning: -1 and errno on failure. */
struct rlhf_io {
    int (*open)(const struct rlhf_io *io, const char *path, int flags, mode_t mode);
    int (*close)(const struct rlhf_io *io, int fd);
    ssize_t (*pread)(const struct rlhf_io *io, int fd, void *data, size_t size, off_t offset);
    ssize_t (*pwrite)(const struct rlhf_io *io, int fd, const void *data, size_t size, off_t offset);
    int (*fsync)(const struct rlhf_io *io, int fd);
    int (*ftruncate)(const struct rlhf_io *io, int fd, off_t size);
    int (*fstat)(const struct rlhf_io *io, int fd, struct stat *st);
    int (*rename)(const struct rlhf_io *io, const char *from, const char *to);
    int (*unlink)(const struct rlhf_io *io, const char *path); /* file or empty directory */
    int (*mkdir)(const struct rlhf_io *io, const char *path, mode_t mode);
    /* Names in a directory, in the order of their bytes, each with a newline behind it, appended to out. */
    int (*list)(const struct rlhf_io *io, const char *path, struct rlhf_bytes *out);
    /* Blocks for the file's first size bytes, so that writing there cannot find the disk full; it grows to size. */
    int (*allocate)(const struct rlhf_io *io, int fd, off_t size);
};
extern const struct rlhf_io rlhf_system_io;

/* Single calls. open, fsync and friends name the path in *err; pread and pwrite leave errno set, as the caller
 * knows what the bytes were for. pread gets less than size only at the end of the file. */
int rlhf_open(const struct rlhf_io *io, const char *path, int flags, mode_t mode, struct rlhf_error *err);
int rlhf_pread(const struct rlhf_io *io, int fd, void *data, size_t size, off_t offset, size_t *got);
int rlhf_pwrite(const struct rlhf_io *io, int fd, const void *data, size_t size, off_t offset);
int rlhf_fsync(const struct rlhf_io *io, int fd, const char *path, struct rlhf_error *err);

/* Whole files. Errors name the path and the reason. */
/* Appended to out, which stays as it was on failure. RLHF_REJECT above limit bytes. */
int rlhf_read_file(const struct rlhf_io *io, const char *path, size_t limit, struct rlhf_bytes *out,
                   struct rlhf_error *err);
/* Written to PATH.tmp, synced, renamed, directory synced: afterwards the old or the new file is there, whole. */
int rlhf_write_file(const struct rlhf_io *io, const char *path, const void *data, size_t size,
                    struct rlhf_error *err);
/* Written where it is and synced; the directory is not: for files of a directory that is not in place yet. */
int rlhf_write_new(const struct rlhf_io *io, const char *path, const void *data, size_t size, struct rlhf_error *err);
int rlhf_make_dirs(const struct rlhf_io *io, const char *path, struct rlhf_error *err); /* mkdir -p */
int rlhf_sync_dir(const struct rlhf_io *io, const char *path, struct rlhf_error *err);
int rlhf_sync_parent(const struct rlhf_io *io, const char *path, struct rlhf_error *err); /* the one that holds path */
int rlhf_remove_tree(const struct rlhf_io *io, const char *path, struct rlhf_error *err);
bool rlhf_exists(const struct rlhf_io *io, const char *path);

/* A file mapped read-only for as long as the struct lives (system calls, no seam). */
struct rlhf_mapping {
    const uint8_t *data;
    size_t size;
};
int rlhf_map_file(struct rlhf_mapping *m, const char *path, struct rlhf_error *err);
void rlhf_unmap(struct rlhf_mapping *m);

/* Joins with one '/', truncation is an error. */
int rlhf_path(char *out, size_t size, const char *dir, const char *name, struct rlhf_error *err);

#endif
