/* atomic.c - directories that appear whole or not at all.
 *
 *   MANIFEST   "rlhf-manifest 1\n"
 *              "<BLAKE2b-256 hex> <bytes> <name>\n"     for every other file, by name
 *              "<BLAKE2b-256 hex of the lines above>\n" */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"
#include "telemetry/log.h"

static const char manifest_name[] = "MANIFEST";
static const char manifest_title[] = "rlhf-manifest 1\n";

enum { MOST_ASIDE = 1000, LARGEST_MANIFEST = 16 << 20, READ_CHUNK = 1 << 20 };

/* What was given to rlhf_atomic_put(), to be compared with what is read back. */
struct given {
    struct given *next;
    struct rlhf_digest digest;
    char name[NAME_MAX + 1];
};

struct rlhf_atomic_dir {
    const struct rlhf_io *io;
    char dir[PATH_MAX], aside[PATH_MAX];
    struct given *given;
};

static int with_suffix(char out[PATH_MAX], const char *dir, const char *suffix, struct rlhf_error *err)
{
    size_t length = strlen(dir);

    while (length > 1 && dir[length - 1] == '/')
        length--;
    if ((size_t)snprintf(out, PATH_MAX, "%.*s%s", (int)length, dir, suffix) >= PATH_MAX)
        return rlhf_fail(err, RLHF_REJECT, "the path is too long: %.100s...", dir);
    return 0;
}

static int move(const struct rlhf_io *io, const char *from, const char *to, struct rlhf_error *err)
{
    if (io->rename(io, from, to) < 0)
        return rlhf_fail_errno(err, errno, "cannot rename %s to %s", from, to);
    return rlhf_sync_parent(io, to, err);
}

/* A crash between the two renames of commit leaves only DIR.old: it is put back. */
static int recover(const struct rlhf_io *io, const char *dir, struct rlhf_error *err)
{
    char old[PATH_MAX];

    if (with_suffix(old, dir, ".old", err) < 0)
        return -1;
    if (rlhf_exists(io, dir) || !rlhf_exists(io, old))
        return 0;
    rlhf_log(RLHF_LEVEL_WARNING, "directory_put_back path=\"%s\"", dir);
    return move(io, old, dir, err);
}

struct rlhf_atomic_dir *rlhf_atomic_begin(const struct rlhf_io *io, const char *dir, struct rlhf_error *err)
{
    struct rlhf_atomic_dir *a = calloc(1, sizeof *a);

    if (!a) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %s", dir);
        return NULL;
    }
    a->io = io;
    if (with_suffix(a->dir, dir, "", err) < 0 || with_suffix(a->aside, dir, ".tmp", err) < 0
        || recover(io, a->dir, err) < 0 || rlhf_remove_tree(io, a->aside, err) < 0
        || rlhf_make_dirs(io, a->aside, err) < 0) {
        rlhf_atomic_abort(a);
        return NULL;
    }
    return a;
}

const char *rlhf_atomic_path(const struct rlhf_atomic_dir *a)
{
    return a->aside;
}

static int check_name(const char *name, struct rlhf_error *err)
{
    if (*name == '\0' || *name == ' ' || strchr(name, '/') || strchr(name, '\n') || strcmp(name, manifest_name) == 0
        || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strlen(name) > NAME_MAX)
        return rlhf_fail(err, RLHF_REJECT, "'%.100s' cannot be the name of a file in a directory with a manifest", name);
    return 0;
}

int rlhf_atomic_put(struct rlhf_atomic_dir *a, const char *name, const void *data, size_t size,
                    struct rlhf_error *err)
{
    char path[PATH_MAX];
    struct given *g;

    if (check_name(name, err) < 0 || rlhf_path(path, sizeof path, a->aside, name, err) < 0)
        return -1;
    g = calloc(1, sizeof *g);
    if (!g)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %s", path);
    if (rlhf_write_new(a->io, path, data, size, err) < 0) {
        a->io->unlink(a->io, path);
        free(g);
        return -1;
    }
    g->digest = rlhf_digest_of(data, size);
    snprintf(g->name, sizeof g->name, "%s", name);
    g->next = a->given; /* of two with one name the later one comes first, and counts */
    a->given = g;
    return 0;
}

/* Size and digest of a file; synced before it is read when sync. */
static int measure(const struct rlhf_io *io, const char *path, bool sync, uint64_t *size, struct rlhf_digest *digest,
                   struct rlhf_error *err)
{
    int fd = rlhf_open(io, path, O_RDONLY, 0, err), result = -1;
    struct rlhf_hasher *h = NULL;
    char *chunk = NULL;
    size_t got;

    if (fd < 0)
        return -1;
    if (sync && rlhf_fsync(io, fd, path, err) < 0)
        goto out;
    h = rlhf_hasher_new();
    chunk = malloc(READ_CHUNK);
    if (!h || !chunk) {
        rlhf_fail(err, RLHF_FULL, "out of memory to read %s", path);
        goto out;
    }
    *size = 0;
    do {
        if (rlhf_pread(io, fd, chunk, READ_CHUNK, (off_t)*size, &got) < 0) {
            rlhf_fail_errno(err, errno, "cannot read %s", path);
            goto out;
        }
        rlhf_hasher_add(h, chunk, got);
        *size += got;
    } while (got == READ_CHUNK);
    *digest = rlhf_hasher_end(h);
    h = NULL;
    result = 0;
out:
    if (h)
        rlhf_hasher_end(h);
    free(chunk);
    io->close(io, fd);
    return result;
}

/* Calls each(ctx, name) for every name in a list of lines, which it takes apart. */
static int for_names(struct rlhf_bytes *names, int (*each)(void *ctx, const char *name, struct rlhf_error *err),
                     void *ctx, struct rlhf_error *err)
{
    for (char *rest = names->data, *name; rest && (name = strsep(&rest, "\n")) && *name;)
        if (each(ctx, name, err) < 0)
            return -1;
    return 0;
}

struct listing {
    struct rlhf_atomic_dir *a;
    struct rlhf_bytes manifest;
};

static int list_file(void *ctx, const char *name, struct rlhf_error *err)
{
    struct listing *l = ctx;
    const struct given *g = l->a->given;
    char path[PATH_MAX], text[RLHF_DIGEST_TEXT];
    struct rlhf_digest digest;
    uint64_t size;

    if (strcmp(name, manifest_name) == 0)
        return 0; /* a left-over; it is written last */
    if (check_name(name, err) < 0 || rlhf_path(path, sizeof path, l->a->aside, name, err) < 0)
        return -1;
    while (g && strcmp(g->name, name) != 0)
        g = g->next;
    if (measure(l->a->io, path, !g, &size, &digest, err) < 0)
        return -1;
    if (g && !rlhf_digest_equal(&g->digest, &digest))
        return rlhf_fail(err, RLHF_CORRUPT, "%s reads back otherwise than it was written: check the disk", path);
    rlhf_digest_text(&digest, text);
    return rlhf_bytes_printf(&l->manifest, err, "%s %llu %s\n", text, (unsigned long long)size, name);
}

static int write_manifest(struct rlhf_atomic_dir *a, struct rlhf_error *err)
{
    struct listing l = { .a = a };
    struct rlhf_bytes names = { 0 };
    char path[PATH_MAX], text[RLHF_DIGEST_TEXT];
    struct rlhf_digest digest;
    int result = -1;

    if (a->io->list(a->io, a->aside, &names) < 0) {
        rlhf_fail_errno(err, errno, "cannot list %s", a->aside);
    } else if (rlhf_path(path, sizeof path, a->aside, manifest_name, err) == 0
               && rlhf_bytes_printf(&l.manifest, err, "%s", manifest_title) == 0
               && for_names(&names, list_file, &l, err) == 0) {
        digest = rlhf_digest_of(l.manifest.data, l.manifest.size);
        rlhf_digest_text(&digest, text);
        if (rlhf_bytes_printf(&l.manifest, err, "%s\n", text) == 0)
            result = rlhf_write_new(a->io, path, l.manifest.data, l.manifest.size, err);
    }
    rlhf_bytes_free(&l.manifest);
    rlhf_bytes_free(&names);
    return result;
}

static int put_in_place(struct rlhf_atomic_dir *a, struct rlhf_error *err)
{
    char old[PATH_MAX];
    struct rlhf_error ignored;

    if (with_suffix(old, a->dir, ".old", err) < 0 || rlhf_remove_tree(a->io, old, err) < 0)
        return -1;
    if (rlhf_exists(a->io, a->dir) && move(a->io, a->dir, old, err) < 0)
        return -1;
    if (move(a->io, a->aside, a->dir, err) < 0) {
        recover(a->io, a->dir, &ignored);
        return -1;
    }
    if (rlhf_exists(a->io, old)
        && (rlhf_remove_tree(a->io, old, &ignored) < 0 || rlhf_sync_parent(a->io, old, &ignored) < 0))
        rlhf_log(RLHF_LEVEL_WARNING, "left_behind path=\"%s\" reason=\"%s\"", old, ignored.text); /* only room is lost */
    return 0;
}

static void free_atomic(struct rlhf_atomic_dir *a)
{
    for (struct given *g = a->given, *next; g; g = next) {
        next = g->next;
        free(g);
    }
    free(a);
}

int rlhf_atomic_commit(struct rlhf_atomic_dir *a, struct rlhf_error *err)
{
    if (write_manifest(a, err) < 0 || rlhf_sync_dir(a->io, a->aside, err) < 0 || put_in_place(a, err) < 0) {
        rlhf_atomic_abort(a);
        return -1;
    }
    free_atomic(a);
    return 0;
}

void rlhf_atomic_abort(struct rlhf_atomic_dir *a)
{
    int saved = errno;

    if (!a)
        return;
    if (a->aside[0])
        rlhf_remove_tree(a->io, a->aside, NULL);
    free_atomic(a);
    errno = saved;
}

/* A manifest in memory, checked against its own last line: its lines of files in text, without title and digest. */
static int read_manifest(const struct rlhf_io *io, const char *dir, struct rlhf_bytes *text, struct rlhf_error *err)
{
    char path[PATH_MAX], last[RLHF_DIGEST_TEXT];
    struct rlhf_digest digest, stated;
    size_t body, title = strlen(manifest_title);
    int fd = rlhf_open(io, dir, O_RDONLY | O_DIRECTORY, 0, err);

    if (fd < 0)
        return -1;
    io->close(io, fd);
    if (rlhf_path(path, sizeof path, dir, manifest_name, err) < 0)
        return -1;
    if (rlhf_read_file(io, path, LARGEST_MANIFEST, text, err) < 0) {
        if (err && err->code == RLHF_REJECT)
            err->code = RLHF_CORRUPT;
        return -1;
    }
    body = text->size >= RLHF_DIGEST_TEXT ? text->size - RLHF_DIGEST_TEXT : 0;
    if (body < title || memcmp(text->data, manifest_title, title) != 0 || text->data[text->size - 1] != '\n'
        || memchr(text->data, '\0', text->size))
        return rlhf_fail(err, RLHF_CORRUPT, "%s is damaged", path);
    memcpy(last, text->data + body, sizeof last - 1);
    last[sizeof last - 1] = '\0';
    digest = rlhf_digest_of(text->data, body);
    if (!rlhf_digest_parse(&stated, last) || !rlhf_digest_equal(&stated, &digest))
        return rlhf_fail(err, RLHF_CORRUPT, "%s is damaged", path);
    memmove(text->data, text->data + title, body - title);
    text->size = body - title;
    text->data[text->size] = '\0';
    return 0;
}

static int verify_line(const struct rlhf_io *io, const char *dir, const char *line, struct rlhf_error *err)
{
    char path[PATH_MAX], digest_text[RLHF_DIGEST_TEXT];
    struct rlhf_digest digest, stated;
    unsigned long long stated_size;
    uint64_t size;
    int name = 0;

    if (sscanf(line, "%64s %llu %n", digest_text, &stated_size, &name) != 2 || name == 0
        || !rlhf_digest_parse(&stated, digest_text) || check_name(line + name, NULL) < 0)
        return rlhf_fail(err, RLHF_CORRUPT, "the manifest of %s has a line that is none: %.100s", dir, line);
    if (rlhf_path(path, sizeof path, dir, line + name, err) < 0)
        return -1;
    if (measure(io, path, false, &size, &digest, err) < 0) {
        if (err && err->code == RLHF_REJECT)
            err->code = RLHF_CORRUPT;
        return -1;
    }
    if (size != stated_size)
        return rlhf_fail(err, RLHF_CORRUPT, "%s is damaged: %llu bytes, not %llu", path, (unsigned long long)size,
                         stated_size);
    if (!rlhf_digest_equal(&digest, &stated))
        return rlhf_fail(err, RLHF_CORRUPT, "%s is damaged: its bytes are not what was written", path);
    return 0;
}

struct known {
    const char *dir;
    const struct rlhf_bytes *manifest; /* its lines */
};

/* Every line of the manifest ends with its name, behind a space. */
static int check_known(void *ctx, const char *name, struct rlhf_error *err)
{
    const struct known *k = ctx;
    char line[NAME_MAX + 3];

    if (strcmp(name, manifest_name) == 0)
        return 0;
    snprintf(line, sizeof line, " %s\n", name);
    if (k->manifest->size && strstr(k->manifest->data, line))
        return 0;
    return rlhf_fail(err, RLHF_CORRUPT, "%s/%s is not in the manifest", k->dir, name);
}

int rlhf_atomic_verify(const struct rlhf_io *io, const char *dir, struct rlhf_error *err)
{
    struct rlhf_bytes manifest = { 0 }, names = { 0 };
    struct known known = { .dir = dir, .manifest = &manifest };
    char *lines = NULL;
    int result = -1;

    if (recover(io, dir, err) < 0 || read_manifest(io, dir, &manifest, err) < 0)
        goto out;
    if (io->list(io, dir, &names) < 0) {
        rlhf_fail_errno(err, errno, "cannot list %s", dir);
        goto out;
    }
    if (for_names(&names, check_known, &known, err) < 0)
        goto out;
    lines = strdup(manifest.data);
    if (!lines) {
        rlhf_fail(err, RLHF_FULL, "out of memory for the manifest of %s", dir);
        goto out;
    }
    result = 0;
    for (char *rest = lines, *line; result == 0 && (line = strsep(&rest, "\n")) && *line;)
        result = verify_line(io, dir, line, err);
out:
    free(lines);
    rlhf_bytes_free(&names);
    rlhf_bytes_free(&manifest);
    return result;
}

int rlhf_set_aside(const struct rlhf_io *io, const char *dir, struct rlhf_error *err)
{
    char suffix[32], aside[PATH_MAX];

    for (int n = 1; n <= MOST_ASIDE; n++) {
        snprintf(suffix, sizeof suffix, ".damaged-%d", n);
        if (with_suffix(aside, dir, suffix, err) < 0)
            return -1;
        if (rlhf_exists(io, aside))
            continue;
        if (move(io, dir, aside, err) < 0)
            return -1;
        rlhf_log(RLHF_LEVEL_WARNING, "set_aside path=\"%s\" as=\"%s\"", dir, aside);
        return 0;
    }
    return rlhf_fail(err, RLHF_FULL, "%d damaged versions of %s lie there already: look at them, and remove them",
                     MOST_ASIDE, dir);
}
