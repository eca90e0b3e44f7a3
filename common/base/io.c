#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DEEPEST_TREE = 64 };

static int system_open(const struct rlhf_io *io, const char *path, int flags, mode_t mode)
{
    (void)io;
    return open(path, flags | O_CLOEXEC, mode);
}

static int system_close(const struct rlhf_io *io, int fd)
{
    (void)io;
    return close(fd);
}

static ssize_t system_pread(const struct rlhf_io *io, int fd, void *data, size_t size, off_t offset)
{
    (void)io;
    return pread(fd, data, size, offset);
}

static ssize_t system_pwrite(const struct rlhf_io *io, int fd, const void *data, size_t size, off_t offset)
{
    (void)io;
    return pwrite(fd, data, size, offset);
}

static int system_fsync(const struct rlhf_io *io, int fd)
{
    (void)io;
    return fsync(fd);
}

static int system_ftruncate(const struct rlhf_io *io, int fd, off_t size)
{
    (void)io;
    return ftruncate(fd, size);
}

static int system_fstat(const struct rlhf_io *io, int fd, struct stat *st)
{
    (void)io;
    return fstat(fd, st);
}

static int system_rename(const struct rlhf_io *io, const char *from, const char *to)
{
    (void)io;
    return rename(from, to);
}

static int system_unlink(const struct rlhf_io *io, const char *path)
{
    (void)io;
    return remove(path);
}

static int system_mkdir(const struct rlhf_io *io, const char *path, mode_t mode)
{
    (void)io;
    return mkdir(path, mode);
}

static int not_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* In the order of their bytes, so that nothing depends on the file system. */
static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int system_list(const struct rlhf_io *io, const char *path, struct rlhf_bytes *out)
{
    struct dirent **entries;
    int count = scandir(path, &entries, not_dots, by_bytes);
    int reason = 0;

    (void)io;
    if (count < 0)
        return -1;
    for (int i = 0; i < count; i++) {
        if (strchr(entries[i]->d_name, '\n'))
            reason = EILSEQ; /* cannot be said in this form, and is none of ours */
        else if (rlhf_bytes_printf(out, NULL, "%s\n", entries[i]->d_name) < 0)
            reason = ENOMEM;
        free(entries[i]);
    }
    free(entries);
    errno = reason;
    return reason ? -1 : 0;
}

static int system_allocate(const struct rlhf_io *io, int fd, off_t size)
{
    int why = posix_fallocate(fd, 0, size);

    (void)io;
    if (why)
        errno = why;
    return why ? -1 : 0;
}

const struct rlhf_io rlhf_system_io = {
    .open = system_open,
    .close = system_close,
    .pread = system_pread,
    .pwrite = system_pwrite,
    .fsync = system_fsync,
    .ftruncate = system_ftruncate,
    .fstat = system_fstat,
    .rename = system_rename,
    .unlink = system_unlink,
    .mkdir = system_mkdir,
    .list = system_list,
    .allocate = system_allocate,
};

static void close_quietly(const struct rlhf_io *io, int fd)
{
    int saved = errno;

    io->close(io, fd);
    errno = saved;
}

int rlhf_open(const struct rlhf_io *io, const char *path, int flags, mode_t mode, struct rlhf_error *err)
{
    int fd;

    do
        fd = io->open(io, path, flags, mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        rlhf_fail_errno(err, errno, "cannot open %s", path);
    return fd;
}

int rlhf_pread(const struct rlhf_io *io, int fd, void *data, size_t size, off_t offset, size_t *got)
{
    char *bytes = data;

    *got = 0;
    while (*got < size) {
        ssize_t n = io->pread(io, fd, bytes + *got, size - *got, offset + (off_t)*got);

        if (n == 0)
            break;
        if (n > 0)
            *got += (size_t)n;
        else if (errno != EINTR)
            return -1;
    }
    return 0;
}

int rlhf_pwrite(const struct rlhf_io *io, int fd, const void *data, size_t size, off_t offset)
{
    const char *bytes = data;
    size_t done = 0;

    while (done < size) {
        ssize_t n = io->pwrite(io, fd, bytes + done, size - done, offset + (off_t)done);

        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0) {
            errno = ENOSPC;
            return -1;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

int rlhf_fsync(const struct rlhf_io *io, int fd, const char *path, struct rlhf_error *err)
{
    if (io->fsync(io, fd) == 0)
        return 0;
    return rlhf_fail(err, RLHF_FATAL, "cannot sync %s: %s; what was written may be lost", path,
                     strerrordesc_np(errno));
}

int rlhf_read_file(const struct rlhf_io *io, const char *path, size_t limit, struct rlhf_bytes *out,
                   struct rlhf_error *err)
{
    enum { LEAST_CHUNK = 4096, MOST_CHUNK = 16 << 20 };
    struct rlhf_bytes read = { 0 };
    struct stat st;
    size_t chunk = LEAST_CHUNK, got = 0;
    int fd = rlhf_open(io, path, O_RDONLY, 0, err), result = -1;

    if (fd < 0)
        return -1;
    if (io->fstat(io, fd, &st) < 0) {
        rlhf_fail_errno(err, errno, "cannot read %s", path);
        goto out;
    }
    if (S_ISDIR(st.st_mode)) {
        rlhf_fail_errno(err, EISDIR, "cannot read %s", path);
        goto out;
    }
    if (st.st_size > 0) { /* a hint: pipes and /proc do not know theirs */
        chunk = (size_t)st.st_size > MOST_CHUNK ? MOST_CHUNK : (size_t)st.st_size + 1;
    }
    do {
        if (rlhf_bytes_reserve(&read, chunk, err) < 0) {
            rlhf_fail_prefix(err, "%s", path);
            goto out;
        }
        if (rlhf_pread(io, fd, read.data + read.size, chunk, (off_t)read.size, &got) < 0) {
            rlhf_fail_errno(err, errno, "cannot read %s", path);
            goto out;
        }
        read.size += got;
        read.data[read.size] = '\0';
        if (read.size > limit) {
            rlhf_fail(err, RLHF_REJECT, "%s is larger than %zu bytes", path, limit);
            goto out;
        }
    } while (got == chunk);
    result = rlhf_bytes_append(out, read.data, read.size, err);
out:
    close_quietly(io, fd);
    rlhf_bytes_free(&read);
    return result;
}

/* The directory that holds path: "." for a bare name. */
static int parent_of(char *out, size_t size, const char *path, struct rlhf_error *err)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 1;

    if (slash == path)
        length = 1;
    if (length >= size)
        return rlhf_fail_errno(err, ENAMETOOLONG, "%s", path);
    memcpy(out, slash ? path : ".", length);
    out[length] = '\0';
    return 0;
}

int rlhf_sync_dir(const struct rlhf_io *io, const char *path, struct rlhf_error *err)
{
    int fd = rlhf_open(io, path, O_RDONLY | O_DIRECTORY, 0, err);
    int result;

    if (fd < 0)
        return -1;
    result = rlhf_fsync(io, fd, path, err);
    close_quietly(io, fd);
    return result;
}

int rlhf_sync_parent(const struct rlhf_io *io, const char *path, struct rlhf_error *err)
{
    char parent[PATH_MAX];

    if (parent_of(parent, sizeof parent, path, err) < 0)
        return -1;
    return rlhf_sync_dir(io, parent, err);
}

int rlhf_write_new(const struct rlhf_io *io, const char *path, const void *data, size_t size, struct rlhf_error *err)
{
    int fd = rlhf_open(io, path, O_WRONLY | O_CREAT | O_TRUNC, 0644, err);
    int result = 0;

    if (fd < 0)
        return -1;
    if (rlhf_pwrite(io, fd, data, size, 0) < 0)
        result = rlhf_fail_errno(err, errno, "cannot write %s", path);
    else if (rlhf_fsync(io, fd, path, err) < 0)
        result = -1;
    if (io->close(io, fd) < 0 && result == 0)
        result = rlhf_fail_errno(err, errno, "cannot write %s", path);
    return result;
}

int rlhf_write_file(const struct rlhf_io *io, const char *path, const void *data, size_t size,
                    struct rlhf_error *err)
{
    char aside[PATH_MAX];

    if ((size_t)snprintf(aside, sizeof aside, "%s.tmp", path) >= sizeof aside)
        return rlhf_fail_errno(err, ENAMETOOLONG, "%s", path);
    if (rlhf_write_new(io, aside, data, size, err) < 0) {
        io->unlink(io, aside);
        return -1;
    }
    if (io->rename(io, aside, path) < 0) {
        rlhf_fail_errno(err, errno, "cannot put %s in place", path);
        io->unlink(io, aside);
        return -1;
    }
    return rlhf_sync_parent(io, path, err);
}

int rlhf_make_dirs(const struct rlhf_io *io, const char *path, struct rlhf_error *err)
{
    char part[PATH_MAX];
    size_t size = strlen(path);

    if (size == 0 || size >= sizeof part)
        return rlhf_fail(err, RLHF_REJECT, "cannot make the directory '%s': its name is %s", path,
                         size ? "too long" : "empty");
    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (io->mkdir(io, part, 0755) == 0) {
            if (rlhf_sync_parent(io, part, err) < 0)
                return -1;
        } else if (errno != EEXIST && errno != EISDIR) {
            /* A parent that may not be written to need not be made, if it is there. */
            struct rlhf_error why;
            int fd;

            rlhf_fail_errno(&why, errno, "cannot make the directory %s", part);
            fd = rlhf_open(io, part, O_RDONLY | O_DIRECTORY, 0, NULL);
            if (fd < 0) {
                if (err)
                    *err = why;
                return -1;
            }
            close_quietly(io, fd);
        }
    }
    int fd = rlhf_open(io, path, O_RDONLY | O_DIRECTORY, 0, err);

    if (fd < 0)
        return -1;
    close_quietly(io, fd);
    return 0;
}

static int remove_below(const struct rlhf_io *io, const char *path, unsigned depth, struct rlhf_error *err)
{
    struct rlhf_bytes names = { 0 };
    int result = 0;

    if (io->unlink(io, path) == 0 || errno == ENOENT)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return rlhf_fail_errno(err, errno, "cannot remove %s", path);
    if (depth == 0)
        return rlhf_fail(err, RLHF_REJECT, "cannot remove %s: more than %d directories deep", path, DEEPEST_TREE);
    if (io->list(io, path, &names) < 0) {
        result = rlhf_fail_errno(err, errno, "cannot list %s", path);
        goto out;
    }
    for (char *rest = names.data, *name; result == 0 && rest && (name = strsep(&rest, "\n")) && *name;) {
        char child[PATH_MAX];

        result = rlhf_path(child, sizeof child, path, name, err) < 0 ? -1 : remove_below(io, child, depth - 1, err);
    }
    if (result == 0 && io->unlink(io, path) < 0 && errno != ENOENT)
        result = rlhf_fail_errno(err, errno, "cannot remove %s", path);
out:
    rlhf_bytes_free(&names);
    return result;
}

int rlhf_remove_tree(const struct rlhf_io *io, const char *path, struct rlhf_error *err)
{
    return remove_below(io, path, DEEPEST_TREE, err);
}

bool rlhf_exists(const struct rlhf_io *io, const char *path)
{
    int fd;

    do
        fd = io->open(io, path, O_RDONLY | O_NONBLOCK, 0);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return errno != ENOENT && errno != ENOTDIR;
    close_quietly(io, fd);
    return true;
}

int rlhf_map_file(struct rlhf_mapping *m, const char *path, struct rlhf_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *data = NULL;

    if (fd < 0)
        return rlhf_fail_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &st) < 0) {
        rlhf_fail_errno(err, errno, "cannot read %s", path);
    } else if (!S_ISREG(st.st_mode)) {
        rlhf_fail(err, RLHF_REJECT, "%s is not a plain file", path);
    } else if (st.st_size > 0
               && (data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED) {
        rlhf_fail_errno(err, errno, "cannot map %s", path);
    } else {
        *m = (struct rlhf_mapping){ .data = data, .size = (size_t)st.st_size };
        close(fd);
        return 0;
    }
    close(fd);
    return -1;
}

void rlhf_unmap(struct rlhf_mapping *m)
{
    if (m->data)
        munmap((void *)(uintptr_t)m->data, m->size);
    *m = (struct rlhf_mapping){ 0 };
}

int rlhf_path(char *out, size_t size, const char *dir, const char *name, struct rlhf_error *err)
{
    size_t length = strlen(dir);
    const char *between = length == 0 || dir[length - 1] == '/' ? "" : "/";
    int need = snprintf(out, size, "%s%s%s", dir, between, name);

    if (need < 0 || (size_t)need >= size)
        return rlhf_fail(err, RLHF_REJECT, "the path %s%s%s is longer than %zu bytes", dir, between, name, size - 1);
    return 0;
}
