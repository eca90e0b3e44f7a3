/* The label store on a disk that fills up, fails, or loses power at the 1st, 2nd, 3rd ... call of a run, each in turn.
 *
 * The disk is an SQLite VFS in memory. What was written and not synced is, after a power cut, there or lost
 * or torn, sector by sector, by seed.
 *
 * A run is made once: at every call the process forks. To the child the fault happens there; it goes on from it, starts
 * again and looks at what is stored. The parent waits for that to end well, and goes on as if nothing was. */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "label-collector/store.h"
#include "support/fake_clock.h"
#include "support/suite.h"

enum { FILES = 8, SECTOR = 512, CHECKPOINT_PAGES = 24, AFTERWARDS = 4 /* labels sent after a fault */ };

/* Of a run. RLHF_LABELS=200 takes minutes; sanitizers find in a few what they find in many. */
#if defined(__SANITIZE_ADDRESS__)
static unsigned labels = 6;
#else
static unsigned labels = 24;
#endif

enum fault { NONE, POWER_CUT, FULL_ONCE, FULL_FROM, FAIL_ONCE };

/* A write that no sync has made durable yet; data NULL: the file was cut to size. */
struct pending {
    size_t offset, size;
    unsigned char *data;
    struct pending *next;
};

struct image {
    unsigned char *data;
    size_t size, capacity;
};

struct disk_file {
    char name[64]; /* empty: not there */
    struct image now, durable;
    struct pending *first, **last;
};

static struct disk {
    struct disk_file files[FILES];
    enum fault fault; /* that happens at each call, in a child of its own */
    unsigned calls;   /* so far; where it has happened: until then */
    bool fired, dead;
    struct rlhf_random random;
} disk;

/* What all processes of a test have seen. */
static struct tally {
    uint64_t faults, acknowledged, refused;
} *tally;

/* Under a sanitizer every realloc() is a new block, so it happens seldom. */
static void image_reserve(struct image *i, size_t size)
{
    if (size > i->capacity) {
        i->capacity = size + size / 2;
        i->data = realloc(i->data, i->capacity);
    }
}

static void image_write(struct image *i, const void *data, size_t size, size_t offset)
{
    if (offset + size > i->size) {
        image_reserve(i, offset + size);
        memset(i->data + i->size, 0, offset + size - i->size);
        i->size = offset + size;
    }
    memcpy(i->data + offset, data, size);
}

static void image_copy(struct image *to, const struct image *from)
{
    image_reserve(to, from->size);
    if (from->size)
        memcpy(to->data, from->data, from->size);
    to->size = from->size;
}

static void pending_add(struct disk_file *f, const void *data, size_t size, size_t offset)
{
    struct pending *p = calloc(1, sizeof(*p));

    p->offset = offset;
    p->size = size;
    if (data)
        p->data = memcpy(malloc(size), data, size);
    *f->last = p;
    f->last = &p->next;
}

static void pending_clear(struct disk_file *f)
{
    for (struct pending *p = f->first, *next; p; p = next) {
        next = p->next;
        free(p->data);
        free(p);
    }
    f->first = NULL;
    f->last = &f->first;
}

/* All of what is pending is done. */
static void make_durable(struct disk_file *f)
{
    for (const struct pending *p = f->first; p; p = p->next) {
        if (p->data)
            image_write(&f->durable, p->data, p->size, p->offset);
        else if (p->size < f->durable.size)
            f->durable.size = p->size;
    }
    pending_clear(f);
}

static void file_clear(struct disk_file *f)
{
    pending_clear(f);
    free(f->now.data);
    free(f->durable.data);
    memset(f, 0, sizeof(*f));
    f->last = &f->first;
}

static void disk_init(void)
{
    for (int i = 0; i < FILES; ++i)
        file_clear(&disk.files[i]);
    disk.fault = NONE;
    disk.calls = 0;
    disk.fired = disk.dead = false;
    memset(tally, 0, sizeof(*tally));
}

/* The machine is on again: of what was not synced, some is there. */
static void disk_reboot(void)
{
    for (int i = 0; i < FILES; ++i) {
        struct disk_file *f = &disk.files[i];
        for (struct pending *p = f->first; p; p = p->next) {
            if (!p->data) {
                if (rlhf_random_below(&disk.random, 2) && p->size < f->durable.size)
                    f->durable.size = p->size;
                continue;
            }
            uint32_t kept = rlhf_random_below(&disk.random, 3); /* all, none, some sectors */
            for (size_t at = 0; at < p->size; at += SECTOR) {
                size_t size = p->size - at < SECTOR ? p->size - at : SECTOR;
                if (kept == 0 || (kept == 2 && rlhf_random_below(&disk.random, 2)))
                    image_write(&f->durable, p->data + at, size, p->offset + at);
            }
        }
        pending_clear(f);
        image_copy(&f->now, &f->durable);
    }
    disk.dead = false;
    disk.fault = NONE;
}

/* True in the child, in which the fault happens; false in the parent, once the child has found everything in order. */
static bool happens_here(void)
{
    int status;
    pid_t child;

    fflush(NULL);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        rlhf_random_init(&disk.random, disk.calls, RLHF_PURPOSE_FAULT, (uint32_t)disk.fault, 0);
        return disk.fired = true;
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        _exit(WEXITSTATUS(status)); /* it has said what it missed */
    ck_assert_msg(status == 0, "killed by signal %d after the fault at call %u", WTERMSIG(status), disk.calls);
    ++tally->faults;
    return false;
}

/* Counts a call that changes or reads the disk; returns what SQLite is to hear of it. */
static int disk_call(bool needs_room, int failure)
{
    bool full = disk.fault == FULL_ONCE || disk.fault == FULL_FROM;

    if (disk.dead)
        return failure;
    if (disk.fired)
        return disk.fault == FULL_FROM && needs_room ? SQLITE_FULL : SQLITE_OK;
    ++disk.calls;
    if (disk.fault == NONE || (full && !needs_room) || !happens_here())
        return SQLITE_OK;
    disk.dead = disk.fault == POWER_CUT;
    return full ? SQLITE_FULL : failure;
}

/* ---- the VFS ----------------------------------------------------------------------------------- */

struct handle {
    sqlite3_file base;
    struct disk_file *file;
};

static struct disk_file *file_of(sqlite3_file *f)
{
    return ((struct handle *)f)->file;
}

static int vfs_close(sqlite3_file *f)
{
    (void)f;
    return SQLITE_OK;
}

static int vfs_read(sqlite3_file *f, void *data, int size, sqlite3_int64 offset)
{
    const struct image *i = &file_of(f)->now;
    int rc = disk_call(false, SQLITE_IOERR_READ);
    size_t there = (size_t)offset < i->size ? i->size - (size_t)offset : 0;

    if (rc != SQLITE_OK)
        return rc;
    if (there > (size_t)size)
        there = (size_t)size;
    if (there)
        memcpy(data, i->data + offset, there);
    memset((char *)data + there, 0, (size_t)size - there);
    return there == (size_t)size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int vfs_write(sqlite3_file *f, const void *data, int size, sqlite3_int64 offset)
{
    struct disk_file *file = file_of(f);
    bool was_alive = !disk.dead;
    int rc = disk_call(true, SQLITE_IOERR_WRITE);

    if (rc == SQLITE_OK)
        image_write(&file->now, data, (size_t)size, (size_t)offset);
    if (rc == SQLITE_OK || (disk.fault == POWER_CUT && was_alive)) /* the last one may have come through */
        pending_add(file, data, (size_t)size, (size_t)offset);
    return rc;
}

static int vfs_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    struct disk_file *file = file_of(f);
    int rc = disk_call(false, SQLITE_IOERR_TRUNCATE);

    if (rc == SQLITE_OK && (size_t)size < file->now.size) {
        file->now.size = (size_t)size;
        pending_add(file, NULL, (size_t)size, 0);
    }
    return rc;
}

static int vfs_sync(sqlite3_file *f, int flags)
{
    struct disk_file *file = file_of(f);
    int rc = disk_call(false, SQLITE_IOERR_FSYNC);

    (void)flags;
    if (rc == SQLITE_OK)
        make_durable(file);
    return rc;
}

static int vfs_size(sqlite3_file *f, sqlite3_int64 *size)
{
    *size = (sqlite3_int64)file_of(f)->now.size;
    return SQLITE_OK;
}

static int vfs_lock(sqlite3_file *f, int level)
{
    (void)f;
    (void)level;
    return SQLITE_OK;
}

static int vfs_reserved(sqlite3_file *f, int *out)
{
    (void)f;
    *out = 0;
    return SQLITE_OK;
}

static int vfs_control(sqlite3_file *f, int what, void *arg)
{
    (void)f;
    (void)what;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int vfs_sector(sqlite3_file *f)
{
    (void)f;
    return SECTOR;
}

static int vfs_traits(sqlite3_file *f)
{
    (void)f;
    return 0; /* promises nothing: writes may be torn and reordered */
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_lock,
    .xCheckReservedLock = vfs_reserved,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector,
    .xDeviceCharacteristics = vfs_traits,
};

static struct disk_file *find_file(const char *name)
{
    for (int i = 0; i < FILES; ++i)
        if (strcmp(disk.files[i].name, name) == 0)
            return &disk.files[i];
    return NULL;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    struct handle *h = (struct handle *)f;

    (void)vfs;
    h->base.pMethods = NULL;
    int rc = disk_call(false, SQLITE_CANTOPEN);
    if (rc != SQLITE_OK)
        return rc;
    h->file = find_file(name);
    if (!h->file) {
        if (!(flags & SQLITE_OPEN_CREATE) || !(h->file = find_file("")))
            return SQLITE_CANTOPEN;
        file_clear(h->file);
        snprintf(h->file->name, sizeof(h->file->name), "%s", name);
    }
    h->base.pMethods = &methods;
    if (out)
        *out = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    struct disk_file *f = find_file(name);
    int rc = disk_call(false, SQLITE_IOERR_DELETE);

    (void)vfs;
    (void)sync;
    if (rc == SQLITE_OK && f)
        file_clear(f);
    return rc == SQLITE_OK && !f ? SQLITE_IOERR_DELETE_NOENT : rc;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    (void)vfs;
    (void)flags;
    *out = find_file(name) != NULL;
    return SQLITE_OK;
}

static int vfs_path(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
    (void)vfs;
    snprintf(out, (size_t)size, "%s", name);
    return SQLITE_OK;
}

static int vfs_random(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs;
    memset(out, 42, (size_t)size);
    return size;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return us;
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
    (void)vfs;
    *out = 2460000.5;
    return SQLITE_OK;
}

/* Checkpoints often, so that the database file is written to as well. */
static int often(sqlite3 *db, const char **error, const struct sqlite3_api_routines *api)
{
    (void)error;
    (void)api;
    return sqlite3_wal_autocheckpoint(db, CHECKPOINT_PAGES);
}

static void setup(void)
{
    static sqlite3_vfs vfs = { .iVersion = 1,
                               .szOsFile = sizeof(struct handle),
                               .mxPathname = 60,
                               .zName = "disk",
                               .xOpen = vfs_open,
                               .xDelete = vfs_delete,
                               .xAccess = vfs_access,
                               .xFullPathname = vfs_path,
                               .xRandomness = vfs_random,
                               .xSleep = vfs_sleep,
                               .xCurrentTime = vfs_time };

    const char *many = getenv("RLHF_LABELS");

    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(tally != MAP_FAILED);
    labels = many ? (unsigned)atoi(many) : labels;
    setenv("RLHF_LOG", "error", 1);
    for (int i = 0; i < FILES; ++i)
        disk.files[i].last = &disk.files[i].first;
    ck_assert_int_eq(sqlite3_vfs_register(&vfs, 0), SQLITE_OK);
    ck_assert_int_eq(sqlite3_auto_extension((void (*)(void))often), SQLITE_OK);
}

/* ---- runs -------------------------------------------------------------------------------------- */

static struct fake_clock fake;

static struct collector_store *open_disk(struct rlhf_error *err)
{
    fake_clock_init(&fake);
    return collector_store_open(
        &(struct collector_store_config){ .database = "labels.db", .vfs = "disk", .labels_per_task = 1 },
        &fake.clock, err);
}

static int put(struct collector_store *s, unsigned i, struct rlhf_error *err)
{
    char id[16], prompt[600];
    struct collector_label l = { .id = id,
                                 .source = "api",
                                 .labeler = "ada",
                                 .round = "",
                                 .rank = { 1, 2 },
                                 .rank_count = 2,
                                 .seconds = -1,
                                 .content = { .prompt = prompt, .completion = { "x", "y" }, .count = 2 } };
    struct collector_receipt r;

    sprintf(id, "l%u", i);
    sprintf(prompt, "%0500u", i);
    if (collector_store_begin(s, err) < 0)
        return -1;
    if (collector_store_put_label(s, &l, &r, err) < 0) {
        collector_store_rollback(s);
        return -1;
    }
    return collector_store_commit(s, err);
}

static bool see(void *ctx, const struct collector_row *row)
{
    uint64_t *next = ctx;
    char id[16];

    sprintf(id, "l%d", (int)*next);
    ck_assert_str_eq(row->label.id, id);
    ck_assert_uint_eq(row->sequence, ++*next);
    return true;
}

/* Whatever happened before: all acked are stored, in order, and at most the one that was on its way besides; the last is known
 * when it is sent again, and more can be sent. */
static void check_whole(uint64_t acked)
{
    struct rlhf_error err = { 0 };
    struct collector_store *s = open_disk(&err);
    struct collector_counts n;
    uint64_t next = 0;

    expect_some(s, err);
    expect_ok(collector_store_counts(s, "", &n, &err), err);
    ck_assert_msg(n.labels >= acked && n.labels <= acked + 1, "%d acknowledged, %d stored (fault at call %u)",
                  (int)acked, (int)n.labels, disk.calls);
    uint64_t end = acked + AFTERWARDS < labels ? acked + AFTERWARDS : labels;
    for (uint64_t i = acked ? acked - 1 : 0; i < end; ++i)
        expect_ok(put(s, (unsigned)i, &err), err);
    expect_ok(
        collector_store_list(s, &(struct collector_range){ .round = "", .last = UINT64_MAX, .limit = 1000 },
                             see, &next, &err),
        err);
    ck_assert_uint_eq(next, end);
    collector_store_close(s);
    tally->acknowledged += acked;
}

/* The end of a run: a child's last line. */
static void end_run(void)
{
    if (disk.fired)
        _exit(0);
}

START_TEST(acknowledged_labels_survive_any_power_cut)
{
    struct rlhf_error err = { 0 };
    struct collector_store *s;
    uint64_t acked = 0;

    disk_init();
    disk.fault = POWER_CUT;
    s = open_disk(&err);
    while (s && acked < labels && put(s, (unsigned)acked, &err) == 0)
        ++acked;
    ck_assert(disk.fired || acked == labels);
    collector_store_close(s); /* at whose calls power is cut, too */
    unsigned calls = disk.calls;
    disk_reboot();
    check_whole(acked);
    end_run();
    ck_assert_uint_eq(tally->faults, calls);
    ck_assert_uint_gt(calls, 300);
    printf("power cut at each of %llu calls of a run of %u labels, %llu labels acknowledged before: none missing\n",
           (unsigned long long)tally->faults, labels, (unsigned long long)(tally->acknowledged - acked));
}
END_TEST

/* A database with its tables, for the runs that are not about how they come to be: that takes most of the calls. */
static void make_database(void)
{
    struct rlhf_error err = { 0 };
    struct collector_store *s;

    expect_some(s = open_disk(&err), err);
    collector_store_close(s);
}

/* Sends each label until it is taken; room comes back after a refusal. */
static void run_on_a_full_disk(enum fault fault)
{
    struct rlhf_error err = { 0 };
    struct collector_store *s;

    disk.fault = fault;
    while (!(s = open_disk(&err))) {
        expect_code(err, RLHF_FULL);
        disk.fault = NONE;
    }
    for (unsigned i = 0; i < labels;) {
        if (put(s, i, &err) == 0) {
            ++i;
            continue;
        }
        expect_code(err, RLHF_FULL);
        expect_contains(err.text, "labels.db");
        ++tally->refused;
        disk.fault = NONE;
    }
    collector_store_close(s);
    disk.fault = NONE;
    check_whole(labels);
    end_run();
    ck_assert_uint_gt(tally->refused, labels);
}

START_TEST(a_full_disk_refuses_and_loses_nothing)
{
    disk_init();
    run_on_a_full_disk(FULL_FROM);
}
END_TEST

START_TEST(one_write_without_room_refuses_and_loses_nothing)
{
    disk_init();
    make_database();
    run_on_a_full_disk(FULL_ONCE);
}
END_TEST

START_TEST(a_failing_call_is_never_silent)
{
    struct rlhf_error err = { 0 };
    struct collector_store *s;
    uint64_t acked = 0;

    disk_init();
    make_database();
    disk.fault = FAIL_ONCE;
    s = open_disk(&err);
    while (s && acked < labels && put(s, (unsigned)acked, &err) == 0)
        ++acked;
    if (!s || acked < labels) /* a checkpoint or a close may fail without harm: it is made up for later */
        ck_assert_msg(err.code == RLHF_FATAL || err.code == RLHF_CORRUPT || err.code == RLHF_FULL, "call %u: %s",
                      disk.calls, err.text);
    collector_store_close(s);
    disk.fault = NONE;
    check_whole(acked);
    end_run();
    ck_assert_uint_gt(tally->faults, labels);
}
END_TEST

int main(void)
{
    return RUN_SUITE_WITH("label-collector/disk", setup, NULL, acknowledged_labels_survive_any_power_cut,
                          a_full_disk_refuses_and_loses_nothing,
                          one_write_without_room_refuses_and_loses_nothing, a_failing_call_is_never_silent);
}
