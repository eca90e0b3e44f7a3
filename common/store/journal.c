/* journal.c - the append-only file.
 *
 *   file    magic "RLHFJNL1"                                                              8 bytes
 *   record  size u32 | check u32 | number u64 | payload [size] | mark u32     20 bytes + payload
 *
 * All little-endian. check is the CRC-32C of size, number and payload; numbers count from 0. mark says that the record
 * before it had reached the disk: it is the CRC-32C of "synced", number and check, and is written together with the next
 * record, or at close. So of a bad record at the end
 *
 *   - with a good mark behind it is known that it was whole once: damage, RLHF_CORRUPT;
 *   - without, it is the one append that was never acknowledged: torn, cut off.
 *
 * Only the last record before a crash has no mark yet; damage to it looks like a torn one. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"
#include "telemetry/log.h"

static const char magic[8] = "RLHFJNL1";

enum { HEAD = 16, MARK = 4, FILE_HEAD = sizeof magic };

struct rlhf_journal {
    const struct rlhf_io *io;
    char path[PATH_MAX];
    int fd;
    off_t end;       /* behind the last record's payload */
    uint64_t number; /* of the next record */
    uint32_t check;  /* of the last record */
    bool owes_mark;  /* the last record has no mark yet */
    bool broken;     /* what the file holds is no longer known */
    struct rlhf_bytes buffer;
};

static void put32(uint8_t *at, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(x >> 8 * i);
}

static void put64(uint8_t *at, uint64_t x)
{
    put32(at, (uint32_t)x);
    put32(at + 4, (uint32_t)(x >> 32));
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get64(const uint8_t *at)
{
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

static uint32_t check_of(uint64_t number, const void *payload, uint32_t size)
{
    uint8_t head[12];

    put32(head, size);
    put64(head + 4, number);
    return rlhf_crc32c(rlhf_crc32c(0, head, sizeof head), payload, size);
}

static uint32_t mark_of(uint64_t number, uint32_t check)
{
    uint8_t text[18] = "synced";

    put64(text + 6, number);
    put32(text + 14, check);
    return rlhf_crc32c(0, text, sizeof text);
}

/* What is found at one place of the file. */
struct found {
    bool whole;  /* head and payload are there, and their check holds */
    bool marked; /* a good mark stands behind them                    */
    uint32_t size, check;
    uint64_t number;
};

/* Looks at offset. The payload is in j->buffer then. -1 when the file cannot be read. */
static int look(struct rlhf_journal *j, off_t offset, off_t file_size, struct found *f, struct rlhf_error *err)
{
    uint8_t head[HEAD];
    size_t got, want;

    *f = (struct found){ 0 };
    if (file_size - offset < HEAD)
        return 0;
    if (rlhf_pread(j->io, j->fd, head, HEAD, offset, &got) < 0)
        return rlhf_fail_errno(err, errno, "cannot read the journal %s", j->path);
    f->size = get32(head);
    f->check = get32(head + 4);
    f->number = get64(head + 8);
    if (got < HEAD || f->size > RLHF_JOURNAL_LARGEST || f->size > (uint64_t)(file_size - offset - HEAD))
        return 0;
    want = (size_t)f->size + MARK;
    rlhf_bytes_clear(&j->buffer);
    if (rlhf_bytes_reserve(&j->buffer, want, err) < 0)
        return -1;
    if (rlhf_pread(j->io, j->fd, j->buffer.data, want, offset + HEAD, &got) < 0)
        return rlhf_fail_errno(err, errno, "cannot read the journal %s", j->path);
    f->whole = got >= f->size && check_of(f->number, j->buffer.data, f->size) == f->check;
    f->marked = got == want
                && get32((const uint8_t *)j->buffer.data + f->size) == mark_of(f->number, f->check);
    return 0;
}

/* Is there a whole record behind the bad one at offset? Its size cannot be trusted, so every later byte is tried. */
static int has_successor(struct rlhf_journal *j, off_t offset, off_t file_size, bool *has, struct rlhf_error *err)
{
    enum { CHUNK = 1 << 16 };
    uint8_t chunk[CHUNK];
    uint64_t most = j->number + (uint64_t)(file_size - offset) / (HEAD + MARK) + 1;

    *has = false;
    for (off_t at = offset + 1; at < file_size; at += CHUNK - (HEAD - 1)) {
        size_t got;

        if (rlhf_pread(j->io, j->fd, chunk, CHUNK, at, &got) < 0)
            return rlhf_fail_errno(err, errno, "cannot read the journal %s", j->path);
        for (size_t i = 0; i + HEAD <= got; i++) {
            uint64_t number = get64(chunk + i + 8);
            struct found f;

            if (number < j->number || number > most)
                continue;
            if (look(j, at + (off_t)i, file_size, &f, err) < 0)
                return -1;
            if (f.whole) {
                *has = true;
                return 0;
            }
        }
        if (got < CHUNK)
            break;
    }
    return 0;
}

/* Does the file end with the mark of the bad record at offset? Either its check or its payload may be what is bad. */
static int has_mark(struct rlhf_journal *j, off_t offset, off_t file_size, uint32_t check, bool *has,
                    struct rlhf_error *err)
{
    off_t size = file_size - offset - HEAD - MARK;
    uint32_t mark;
    size_t got;

    *has = false;
    if (size < 0 || size > RLHF_JOURNAL_LARGEST)
        return 0;
    rlhf_bytes_clear(&j->buffer);
    if (rlhf_bytes_reserve(&j->buffer, (size_t)size + MARK, err) < 0)
        return -1;
    if (rlhf_pread(j->io, j->fd, j->buffer.data, (size_t)size + MARK, offset + HEAD, &got) < 0)
        return rlhf_fail_errno(err, errno, "cannot read the journal %s", j->path);
    if (got < (size_t)size + MARK)
        return 0;
    mark = get32((const uint8_t *)j->buffer.data + size);
    *has = mark == mark_of(j->number, check)
           || mark == mark_of(j->number, check_of(j->number, j->buffer.data, (uint32_t)size));
    return 0;
}

static int complain_damage(const struct rlhf_journal *j, off_t at, struct rlhf_error *err)
{
    return rlhf_fail(err, RLHF_CORRUPT, "the journal %s is damaged at byte %lld (record %llu): restore it from a copy, or "
                     "set it aside", j->path, (long long)at, (unsigned long long)j->number);
}

/* The record at offset is bad, all before cut is good: a torn append, which is cut off, or damage. */
static int settle_tail(struct rlhf_journal *j, off_t cut, off_t offset, off_t file_size, const struct found *bad,
                       struct rlhf_error *err)
{
    bool damage;

    if (has_mark(j, offset, file_size, bad->check, &damage, err) < 0
        || (!damage && has_successor(j, offset, file_size, &damage, err) < 0))
        return -1;
    if (damage || bad->marked)
        return complain_damage(j, offset, err);
    rlhf_log(RLHF_LEVEL_WARNING, "journal_torn path=\"%s\" record=%llu cut_bytes=%lld", j->path,
             (unsigned long long)j->number, (long long)(file_size - cut));
    if (j->io->ftruncate(j->io, j->fd, cut) < 0)
        return rlhf_fail_errno(err, errno, "cannot cut the torn end off the journal %s", j->path);
    return 0;
}

static int write_mark(struct rlhf_journal *j, off_t at, uint64_t number, uint32_t check)
{
    uint8_t mark[MARK];

    put32(mark, mark_of(number, check));
    return rlhf_pwrite(j->io, j->fd, mark, sizeof mark, at);
}

/* The last record read has no good mark, but bytes behind it: an append was begun. When the power went, its payload may
 * have reached the disk before the mark in front of it did; then the mark is made good here. In any other place a bad
 * mark is damage. */
static int settle_mark(struct rlhf_journal *j, off_t file_size, struct rlhf_error *err)
{
    off_t next = j->end + MARK;
    struct found f;

    if (look(j, next, file_size, &f, err) < 0)
        return -1;
    if (!f.whole || f.number != j->number)
        return settle_tail(j, j->end, next, file_size, &f, err);
    if (f.marked || next + HEAD + (off_t)f.size < file_size)
        return complain_damage(j, j->end, err);
    if (rlhf_fsync(j->io, j->fd, j->path, err) < 0)
        return -1;
    if (write_mark(j, j->end, j->number - 1, j->check) < 0)
        return rlhf_fail_errno(err, errno, "cannot write the journal %s", j->path);
    j->owes_mark = false;
    return 0;
}

static int replay_all(struct rlhf_journal *j,
                      int (*replay)(void *ctx, const void *record, size_t size, struct rlhf_error *err), void *ctx,
                      struct rlhf_error *err)
{
    struct stat st;
    struct found f;

    if (j->io->fstat(j->io, j->fd, &st) < 0)
        return rlhf_fail_errno(err, errno, "cannot read the journal %s", j->path);
    for (off_t at = FILE_HEAD; at < st.st_size; at = j->end + MARK) {
        if (look(j, at, st.st_size, &f, err) < 0)
            return -1;
        if (!f.whole || f.number != j->number)
            return settle_tail(j, at, at, st.st_size, &f, err);
        if (replay && replay(ctx, j->buffer.data, f.size, err) < 0)
            return rlhf_fail_prefix(err, "record %llu of the journal %s", (unsigned long long)f.number, j->path);
        j->number++;
        j->check = f.check;
        j->end = at + HEAD + (off_t)f.size;
        j->owes_mark = !f.marked;
        if (j->owes_mark && st.st_size > j->end) {
            if (settle_mark(j, st.st_size, err) < 0)
                return -1;
            if (j->owes_mark)
                return 0;
        }
    }
    return 0;
}

static int open_file(struct rlhf_journal *j, struct rlhf_error *err)
{
    char head[FILE_HEAD];
    size_t got;

    if (!rlhf_exists(j->io, j->path) && rlhf_write_file(j->io, j->path, magic, sizeof magic, err) < 0)
        return -1;
    j->fd = rlhf_open(j->io, j->path, O_RDWR, 0, err);
    if (j->fd < 0)
        return -1;
    if (rlhf_pread(j->io, j->fd, head, sizeof head, 0, &got) < 0)
        return rlhf_fail_errno(err, errno, "cannot read the journal %s", j->path);
    if (got < sizeof head || memcmp(head, magic, sizeof head) != 0)
        return rlhf_fail(err, RLHF_CORRUPT, "%s is not a journal, or its first bytes are damaged", j->path);
    return 0;
}

struct rlhf_journal *rlhf_journal_open(const struct rlhf_io *io, const char *path,
                                       int (*replay)(void *ctx, const void *record, size_t size,
                                                     struct rlhf_error *err),
                                       void *ctx, struct rlhf_error *err)
{
    struct rlhf_journal *j = calloc(1, sizeof *j);

    if (!j) {
        rlhf_fail(err, RLHF_FULL, "out of memory for the journal %s", path);
        return NULL;
    }
    j->io = io;
    j->fd = -1;
    j->end = FILE_HEAD;
    j->broken = true; /* until it is open: nothing is marked when opening fails */
    if ((size_t)snprintf(j->path, sizeof j->path, "%s", path) >= sizeof j->path) {
        rlhf_fail(err, RLHF_REJECT, "the journal's path is too long: %.100s...", path);
    } else if (open_file(j, err) == 0 && replay_all(j, replay, ctx, err) == 0
               /* A record may have been read from the page cache of a process that was killed before it synced. */
               && rlhf_fsync(io, j->fd, j->path, err) == 0) {
        j->broken = false;
        return j;
    }
    rlhf_journal_close(j);
    return NULL;
}

int rlhf_journal_append(struct rlhf_journal *j, const void *record, size_t size, struct rlhf_error *err)
{
    uint8_t head[MARK + HEAD];
    size_t skip = j->owes_mark ? 0 : MARK;
    off_t at = j->end + (j->number > 0 ? (off_t)skip : 0);
    uint32_t check;

    if (j->broken)
        return rlhf_fail(err, RLHF_FATAL, "the journal %s failed before; restart to read what it holds", j->path);
    if (size > RLHF_JOURNAL_LARGEST)
        return rlhf_fail(err, RLHF_REJECT, "a record of %zu bytes is too large for the journal %s (at most %d)", size,
                         j->path, RLHF_JOURNAL_LARGEST);
    check = check_of(j->number, record, (uint32_t)size);
    put32(head, j->owes_mark ? mark_of(j->number - 1, j->check) : 0);
    put32(head + MARK, (uint32_t)size);
    put32(head + MARK + 4, check);
    put64(head + MARK + 8, j->number);
    rlhf_bytes_clear(&j->buffer);
    if (rlhf_bytes_append(&j->buffer, head + skip, sizeof head - skip, err) < 0
        || rlhf_bytes_append(&j->buffer, record, size, err) < 0)
        return -1;
    if (rlhf_pwrite(j->io, j->fd, j->buffer.data, j->buffer.size, at) < 0) {
        rlhf_fail_errno(err, errno, "cannot append to the journal %s", j->path);
        if (j->io->ftruncate(j->io, j->fd, at) < 0)
            j->broken = true;
        return -1;
    }
    if (rlhf_fsync(j->io, j->fd, j->path, err) < 0) {
        j->broken = true;
        return -1;
    }
    j->end = at + (off_t)j->buffer.size;
    j->check = check;
    j->number++;
    j->owes_mark = true;
    return 0;
}

void rlhf_journal_close(struct rlhf_journal *j)
{
    int saved = errno;

    if (!j)
        return;
    if (!j->broken && j->owes_mark) { /* a courtesy to the next reader: without it, damage to the last record is torn */
        if (write_mark(j, j->end, j->number - 1, j->check) == 0)
            j->io->fsync(j->io, j->fd);
    }
    if (j->fd >= 0)
        j->io->close(j->io, j->fd);
    rlhf_bytes_free(&j->buffer);
    free(j);
    errno = saved;
}
