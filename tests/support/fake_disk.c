#include "support/fake_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { SECTOR = 512, MOST_FDS = 256, NONE = -1 };

/* A write or truncation that is not on the disk yet. */
struct write_op {
    bool truncate;
    size_t offset, size; /* of a truncation: the new size is offset */
    uint8_t *data;
};

struct bytes {
    uint8_t *data;
    size_t size, capacity;
};

struct entry {
    char *name;
    int inode;
};

struct directory {
    struct entry *entries;
    size_t count, capacity;
};

/* Every inode exists twice: as programs see it, and as it is on the disk. */
struct fake_inode {
    bool is_directory;
    struct bytes seen, stored;
    struct directory seen_names, stored_names;
    struct write_op *writes; /* from stored to seen */
    size_t write_count, write_capacity;
};

/* One atomic change of names: removes a name, sets a name, or both (a rename within or between directories). */
struct fake_name_op {
    int from_directory, to_directory, inode; /* NONE where it does not apply */
    char *from, *to;
};

struct fake_fd {
    bool open, writable;
    int inode;
};

static void *grown(void *items, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity ? 2 * *capacity : 8;
    items = realloc(items, *capacity * size);
    RLHF_ASSERT(items);
    return items;
}

static char *copy_text(const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    RLHF_ASSERT(!text || copy);
    return copy;
}

/* -- bytes ---------------------------------------------------------------------------------------------- */

static void set_size(struct bytes *b, size_t size)
{
    if (size > b->capacity) {
        b->capacity = size + size / 2;
        b->data = realloc(b->data, b->capacity);
        RLHF_ASSERT(b->data);
    }
    if (size > b->size)
        memset(b->data + b->size, 0, size - b->size);
    b->size = size;
}

static void apply_write(struct bytes *b, const struct write_op *op)
{
    if (op->truncate) {
        set_size(b, op->offset);
        return;
    }
    if (op->offset + op->size > b->size)
        set_size(b, op->offset + op->size);
    if (op->size)
        memcpy(b->data + op->offset, op->data, op->size);
}

/* Some sectors of it only; or just the size that it would have given the file. */
static void apply_torn(struct fake_disk *d, struct bytes *b, const struct write_op *op)
{
    if (op->offset + op->size > b->size && rlhf_random_below(&d->random, 2))
        set_size(b, op->offset + op->size);
    for (size_t at = op->offset; at < op->offset + op->size;) {
        size_t end = (at / SECTOR + 1) * SECTOR;
        struct write_op part;

        if (end > op->offset + op->size)
            end = op->offset + op->size;
        part = (struct write_op){ .offset = at, .size = end - at, .data = op->data + (at - op->offset) };
        if (rlhf_random_below(&d->random, 2))
            apply_write(b, &part);
        at = end;
    }
}

static void record_write(struct fake_inode *n, struct write_op op)
{
    n->writes = grown(n->writes, &n->write_capacity, n->write_count, sizeof *n->writes);
    n->writes[n->write_count++] = op;
    apply_write(&n->seen, &op);
}

static void forget_writes(struct fake_inode *n)
{
    for (size_t i = 0; i < n->write_count; i++)
        free(n->writes[i].data);
    n->write_count = 0;
}

/* -- names ---------------------------------------------------------------------------------------------- */

static int find_name(const struct directory *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->entries[i].name, name) == 0)
            return (int)i;
    return NONE;
}

/* Sets name to inode, in the order of their bytes; NONE removes it. */
static void set_name(struct directory *names, const char *name, int inode)
{
    int at = find_name(names, name);
    size_t i = names->count;

    if (at != NONE && inode != NONE) {
        names->entries[at].inode = inode;
    } else if (at != NONE) {
        free(names->entries[at].name);
        names->count--;
        memmove(names->entries + at, names->entries + at + 1, (names->count - (size_t)at) * sizeof *names->entries);
    } else if (inode != NONE) {
        names->entries = grown(names->entries, &names->capacity, names->count, sizeof *names->entries);
        while (i > 0 && strcmp(names->entries[i - 1].name, name) > 0)
            i--;
        memmove(names->entries + i + 1, names->entries + i, (names->count - i) * sizeof *names->entries);
        names->entries[i] = (struct entry){ .name = copy_text(name), .inode = inode };
        names->count++;
    }
}

static void apply_names(struct fake_disk *d, const struct fake_name_op *op, bool on_disk)
{
    if (op->from_directory != NONE) {
        struct fake_inode *n = &d->inodes[op->from_directory];

        set_name(on_disk ? &n->stored_names : &n->seen_names, op->from, NONE);
    }
    if (op->to_directory != NONE) {
        struct fake_inode *n = &d->inodes[op->to_directory];

        set_name(on_disk ? &n->stored_names : &n->seen_names, op->to, op->inode);
    }
}

static void record_names(struct fake_disk *d, int from_directory, const char *from, int to_directory, const char *to,
                         int inode)
{
    struct fake_name_op op = { .from_directory = from_directory, .to_directory = to_directory, .inode = inode };

    op.from = copy_text(from);
    op.to = copy_text(to);
    d->names = grown(d->names, &d->name_capacity, d->name_count, sizeof *d->names);
    d->names[d->name_count++] = op;
    apply_names(d, &op, false);
}

static void free_name_op(struct fake_name_op *op)
{
    free(op->from);
    free(op->to);
}

/* Puts the waiting changes of names in one directory on the disk. */
static void sync_names(struct fake_disk *d, int directory)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->name_count; i++) {
        struct fake_name_op *op = &d->names[i];

        if (op->from_directory == directory || op->to_directory == directory) {
            apply_names(d, op, true);
            free_name_op(op);
        } else {
            d->names[kept++] = *op;
        }
    }
    d->name_count = kept;
}

static int new_inode(struct fake_disk *d, bool is_directory)
{
    d->inodes = grown(d->inodes, &d->inode_capacity, d->inode_count, sizeof *d->inodes);
    d->inodes[d->inode_count] = (struct fake_inode){ .is_directory = is_directory };
    return (int)d->inode_count++;
}

/* Walks path from the root (relative paths too): its directory, its last name, and its inode or NONE. */
static int walk(struct fake_disk *d, const char *path, int *directory, char name[NAME_MAX + 1], int *inode)
{
    char copy[PATH_MAX], *rest = copy, *part;

    *directory = NONE;
    *inode = 0;
    name[0] = '\0';
    if (strlen(path) >= sizeof copy) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(copy, path);
    while ((part = strsep(&rest, "/"))) {
        int at;

        if (*part == '\0' || strcmp(part, ".") == 0)
            continue;
        if (*inode == NONE || !d->inodes[*inode].is_directory || strlen(part) > NAME_MAX) {
            errno = *inode == NONE ? ENOENT : strlen(part) > NAME_MAX ? ENAMETOOLONG : ENOTDIR;
            return -1;
        }
        *directory = *inode;
        strcpy(name, part);
        at = find_name(&d->inodes[*directory].seen_names, part);
        *inode = at == NONE ? NONE : d->inodes[*directory].seen_names.entries[at].inode;
    }
    return 0;
}

/* -- faults --------------------------------------------------------------------------------------------- */

enum need { ANY, ROOM };
enum verdict { GO_ON, FAIL, CUT };

/* Counts a call and says what becomes of it. errno is set for FAIL and CUT. */
static enum verdict call(struct fake_disk *d, enum need need)
{
    errno = EIO;
    if (d->off)
        return FAIL;
    if (d->fault == FAKE_NOTHING || d->fault == FAKE_SHORT || (d->fault == FAKE_ENOSPC && need != ROOM))
        return GO_ON;
    d->calls++;
    if (d->calls < d->at || (d->calls > d->at && d->fault != FAKE_ENOSPC))
        return GO_ON;
    d->fired = true;
    if (d->fault == FAKE_ENOSPC)
        errno = ENOSPC;
    if (d->fault == FAKE_POWER_CUT) {
        d->off = true;
        return CUT;
    }
    return FAIL;
}

/* Does a call that the power cut met still happen? */
static bool happens(struct fake_disk *d, enum verdict v)
{
    return v == GO_ON || (v == CUT && rlhf_random_below(&d->random, 2));
}

static size_t shortened(struct fake_disk *d, size_t size)
{
    if (d->fault != FAKE_SHORT || size <= 1 || ++d->calls < d->at)
        return size;
    d->fired = true;
    return 1 + rlhf_random_below(&d->random, (uint32_t)(size < UINT32_MAX ? size : UINT32_MAX));
}

static struct fake_disk *disk_of(const struct rlhf_io *io)
{
    return (struct fake_disk *)(uintptr_t)io;
}

static struct fake_inode *inode_of(struct fake_disk *d, int fd)
{
    if (fd < 0 || (size_t)fd >= d->fd_count || !d->fds[fd].open) {
        errno = EBADF;
        return NULL;
    }
    return &d->inodes[d->fds[fd].inode];
}

/* -- calls ---------------------------------------------------------------------------------------------- */

static int fake_open(const struct rlhf_io *io, const char *path, int flags, mode_t mode)
{
    struct fake_disk *d = disk_of(io);
    bool writable = (flags & O_ACCMODE) != O_RDONLY;
    char name[NAME_MAX + 1];
    int directory, inode, fd = 0;
    enum verdict v;

    (void)mode;
    if (walk(d, path, &directory, name, &inode) < 0)
        return -1;
    v = call(d, inode == NONE && (flags & O_CREAT) ? ROOM : ANY);
    if (!happens(d, v))
        return -1;
    if (inode == NONE && !(flags & O_CREAT)) {
        errno = ENOENT;
        return -1;
    }
    if (inode != NONE && d->inodes[inode].is_directory ? writable : inode != NONE && (flags & O_DIRECTORY)) {
        errno = writable ? EISDIR : ENOTDIR;
        return -1;
    }
    if (inode == NONE) {
        inode = new_inode(d, false);
        record_names(d, NONE, NULL, directory, name, inode);
    } else if ((flags & O_TRUNC) && d->inodes[inode].seen.size > 0) {
        record_write(&d->inodes[inode], (struct write_op){ .truncate = true });
    }
    if (v == CUT) {
        errno = EIO;
        return -1;
    }
    while ((size_t)fd < d->fd_count && d->fds[fd].open)
        fd++;
    if (fd == MOST_FDS) {
        errno = EMFILE;
        return -1;
    }
    if ((size_t)fd == d->fd_count)
        d->fd_count++;
    d->fds[fd] = (struct fake_fd){ .open = true, .writable = writable, .inode = inode };
    return fd;
}

static int fake_close(const struct rlhf_io *io, int fd)
{
    struct fake_disk *d = disk_of(io);

    if (!inode_of(d, fd))
        return -1;
    d->fds[fd].open = false; /* not counted: what it could fail with has been shown by fsync */
    return 0;
}

static ssize_t fake_pread(const struct rlhf_io *io, int fd, void *data, size_t size, off_t offset)
{
    struct fake_disk *d = disk_of(io);
    struct fake_inode *n = inode_of(d, fd);

    if (!n || call(d, ANY) != GO_ON)
        return -1;
    if (n->is_directory) {
        errno = EISDIR;
        return -1;
    }
    if ((size_t)offset >= n->seen.size)
        return 0;
    if (size > n->seen.size - (size_t)offset)
        size = n->seen.size - (size_t)offset;
    size = shortened(d, size);
    if (size)
        memcpy(data, n->seen.data + offset, size);
    return (ssize_t)size;
}

static ssize_t fake_pwrite(const struct rlhf_io *io, int fd, const void *data, size_t size, off_t offset)
{
    struct fake_disk *d = disk_of(io);
    struct fake_inode *n = inode_of(d, fd);
    struct write_op op = { .offset = (size_t)offset };
    enum verdict v;

    if (!n)
        return -1;
    if (!d->fds[fd].writable) {
        errno = EBADF;
        return -1;
    }
    v = call(d, ROOM);
    /* A full disk takes what still fits, and then nothing. */
    if (v == FAIL && d->fault == FAKE_ENOSPC && d->calls == d->at && size > 1)
        size = rlhf_random_below(&d->random, (uint32_t)size);
    else if (!happens(d, v))
        return -1;
    size = shortened(d, size);
    if (size == 0 && v == FAIL)
        return -1;
    op.size = size;
    op.data = malloc(size ? size : 1);
    RLHF_ASSERT(op.data);
    memcpy(op.data, data, size);
    record_write(n, op);
    if (v == CUT) {
        errno = EIO;
        return -1;
    }
    return (ssize_t)size;
}

static int fake_fsync(const struct rlhf_io *io, int fd)
{
    struct fake_disk *d = disk_of(io);
    struct fake_inode *n = inode_of(d, fd);
    enum verdict v;

    if (!n)
        return -1;
    v = call(d, ANY);
    if (v == FAIL && !d->off)
        forget_writes(n); /* the kernel takes the pages for clean, and the disk has never seen them */
    if (!happens(d, v))
        return -1;
    if (n->is_directory)
        sync_names(d, d->fds[fd].inode);
    for (size_t i = 0; i < n->write_count; i++)
        apply_write(&n->stored, &n->writes[i]);
    forget_writes(n);
    if (v == CUT)
        errno = EIO;
    return v == CUT ? -1 : 0;
}

static int fake_ftruncate(const struct rlhf_io *io, int fd, off_t size)
{
    struct fake_disk *d = disk_of(io);
    struct fake_inode *n = inode_of(d, fd);
    enum verdict v;

    if (!n)
        return -1;
    v = call(d, ANY);
    if (happens(d, v))
        record_write(n, (struct write_op){ .truncate = true, .offset = (size_t)size });
    if (v != GO_ON)
        errno = EIO;
    return v == GO_ON ? 0 : -1;
}

static int fake_fstat(const struct rlhf_io *io, int fd, struct stat *st)
{
    struct fake_disk *d = disk_of(io);
    struct fake_inode *n = inode_of(d, fd);

    if (!n || call(d, ANY) != GO_ON)
        return -1;
    *st = (struct stat){ .st_mode = n->is_directory ? S_IFDIR | 0755 : S_IFREG | 0644, .st_size = (off_t)n->seen.size,
                         .st_nlink = 1 };
    return 0;
}

static int fake_rename(const struct rlhf_io *io, const char *from, const char *to)
{
    struct fake_disk *d = disk_of(io);
    char from_name[NAME_MAX + 1], to_name[NAME_MAX + 1];
    int from_directory, to_directory, inode, there;
    enum verdict v;

    if (walk(d, from, &from_directory, from_name, &inode) < 0 || walk(d, to, &to_directory, to_name, &there) < 0)
        return -1;
    if (inode == NONE) {
        errno = ENOENT;
        return -1;
    }
    if (there != NONE && there != inode
        && (d->inodes[inode].is_directory != d->inodes[there].is_directory || d->inodes[there].seen_names.count > 0)) {
        errno = d->inodes[there].seen_names.count > 0 ? ENOTEMPTY : d->inodes[there].is_directory ? EISDIR : ENOTDIR;
        return -1;
    }
    v = call(d, ANY);
    if (happens(d, v) && there != inode)
        record_names(d, from_directory, from_name, to_directory, to_name, inode);
    if (v != GO_ON)
        errno = EIO;
    return v == GO_ON ? 0 : -1;
}

static int fake_unlink(const struct rlhf_io *io, const char *path)
{
    struct fake_disk *d = disk_of(io);
    char name[NAME_MAX + 1];
    int directory, inode;
    enum verdict v;

    if (walk(d, path, &directory, name, &inode) < 0)
        return -1;
    if (inode == NONE || directory == NONE || d->inodes[inode].seen_names.count > 0) {
        errno = inode == NONE ? ENOENT : directory == NONE ? EBUSY : ENOTEMPTY;
        return -1;
    }
    v = call(d, ANY);
    if (happens(d, v))
        record_names(d, directory, name, NONE, NULL, NONE);
    if (v != GO_ON)
        errno = EIO;
    return v == GO_ON ? 0 : -1;
}

static int fake_mkdir(const struct rlhf_io *io, const char *path, mode_t mode)
{
    struct fake_disk *d = disk_of(io);
    char name[NAME_MAX + 1];
    int directory, inode;
    enum verdict v;

    (void)mode;
    if (walk(d, path, &directory, name, &inode) < 0)
        return -1;
    if (inode != NONE) {
        errno = EEXIST;
        return -1;
    }
    v = call(d, ROOM);
    if (happens(d, v))
        record_names(d, NONE, NULL, directory, name, new_inode(d, true));
    return v == GO_ON ? 0 : -1;
}

static int fake_list(const struct rlhf_io *io, const char *path, struct rlhf_bytes *out)
{
    struct fake_disk *d = disk_of(io);
    char name[NAME_MAX + 1];
    int directory, inode;

    if (walk(d, path, &directory, name, &inode) < 0 || call(d, ANY) != GO_ON)
        return -1;
    if (inode == NONE || !d->inodes[inode].is_directory) {
        errno = inode == NONE ? ENOENT : ENOTDIR;
        return -1;
    }
    for (size_t i = 0; i < d->inodes[inode].seen_names.count; i++)
        if (rlhf_bytes_printf(out, NULL, "%s\n", d->inodes[inode].seen_names.entries[i].name) < 0) {
            errno = ENOMEM;
            return -1;
        }
    return 0;
}

/* -- the disk ------------------------------------------------------------------------------------------- */

void fake_disk_init(struct fake_disk *d, enum fake_fault fault, unsigned n)
{
    *d = (struct fake_disk){
        .io = {
            .open = fake_open,
            .close = fake_close,
            .pread = fake_pread,
            .pwrite = fake_pwrite,
            .fsync = fake_fsync,
            .ftruncate = fake_ftruncate,
            .fstat = fake_fstat,
            .rename = fake_rename,
            .unlink = fake_unlink,
            .mkdir = fake_mkdir,
            .list = fake_list,
        },
    };
    d->fds = calloc(MOST_FDS, sizeof *d->fds);
    RLHF_ASSERT(d->fds);
    new_inode(d, true);
    fake_disk_seed(d, n);
    fake_disk_arm(d, fault, n);
}

void fake_disk_seed(struct fake_disk *d, uint64_t seed)
{
    rlhf_random_init(&d->random, seed, RLHF_PURPOSE_FAULT, 'd', 0);
}

void fake_disk_arm(struct fake_disk *d, enum fake_fault fault, unsigned n)
{
    d->fault = fault;
    d->at = n;
    d->calls = 0;
    d->fired = false;
}

/* What is on the disk of one file when the power goes. */
static void lose_writes(struct fake_disk *d, struct fake_inode *n)
{
    for (size_t i = 0; i < n->write_count; i++) {
        switch (rlhf_random_below(&d->random, 3)) {
        case 0:
            break;
        case 1:
            apply_write(&n->stored, &n->writes[i]);
            break;
        default:
            if (!n->writes[i].truncate)
                apply_torn(d, &n->stored, &n->writes[i]);
        }
    }
    forget_writes(n);
}

static void copy_stored(struct fake_inode *n)
{
    struct directory *seen = &n->seen_names;

    set_size(&n->seen, n->stored.size);
    if (n->stored.size)
        memcpy(n->seen.data, n->stored.data, n->stored.size);
    while (seen->count)
        set_name(seen, seen->entries[0].name, NONE);
    for (size_t i = 0; i < n->stored_names.count; i++)
        set_name(seen, n->stored_names.entries[i].name, n->stored_names.entries[i].inode);
}

void fake_disk_kill(struct fake_disk *d)
{
    for (size_t i = 0; i < d->fd_count; i++)
        d->fds[i].open = false;
    d->off = false;
    d->fault = FAKE_NOTHING;
}

void fake_disk_reboot(struct fake_disk *d)
{
    size_t survive = d->name_count ? rlhf_random_below(&d->random, (uint32_t)d->name_count + 1) : 0;

    for (size_t i = 0; i < d->name_count; i++) {
        if (i < survive)
            apply_names(d, &d->names[i], true);
        free_name_op(&d->names[i]);
    }
    d->name_count = 0;
    for (size_t i = 0; i < d->inode_count; i++) {
        lose_writes(d, &d->inodes[i]);
        copy_stored(&d->inodes[i]);
    }
    fake_disk_kill(d);
}

static struct fake_inode *file_at(struct fake_disk *d, const char *path)
{
    char name[NAME_MAX + 1];
    int directory, inode;

    if (walk(d, path, &directory, name, &inode) < 0 || inode == NONE || d->inodes[inode].is_directory)
        return NULL;
    return &d->inodes[inode];
}

size_t fake_disk_size(struct fake_disk *d, const char *path)
{
    const struct fake_inode *n = file_at(d, path);

    return n ? n->seen.size : SIZE_MAX;
}

void fake_disk_flip(struct fake_disk *d, const char *path, size_t byte, uint8_t mask)
{
    struct fake_inode *n = file_at(d, path);

    RLHF_ASSERT(n && byte < n->seen.size);
    n->seen.data[byte] ^= mask;
    if (byte < n->stored.size)
        n->stored.data[byte] ^= mask;
}

void fake_disk_cut(struct fake_disk *d, const char *path, size_t size)
{
    struct fake_inode *n = file_at(d, path);

    RLHF_ASSERT(n && size <= n->seen.size);
    set_size(&n->seen, size);
    if (n->stored.size > size)
        set_size(&n->stored, size);
}

static void free_names(struct directory *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->entries[i].name);
    free(names->entries);
}

void fake_disk_free(struct fake_disk *d)
{
    for (size_t i = 0; i < d->inode_count; i++) {
        struct fake_inode *n = &d->inodes[i];

        forget_writes(n);
        free(n->writes);
        free(n->seen.data);
        free(n->stored.data);
        free_names(&n->seen_names);
        free_names(&n->stored_names);
    }
    for (size_t i = 0; i < d->name_count; i++)
        free_name_op(&d->names[i]);
    free(d->names);
    free(d->inodes);
    free(d->fds);
    *d = (struct fake_disk){ 0 };
}
