/* store.h - durable state: the journal, and directories that appear whole or not at all. Every durable write goes
 * through here (and base/io.h below it). */
#ifndef RLHF_STORE_STORE_H
#define RLHF_STORE_STORE_H

#include "base/error.h"
#include "base/hash.h"
#include "base/io.h"

/* Journal: an append-only file of records, each with size and CRC-32C. Promise: a record whose append returned 0 is
 * there after any crash; a torn tail is cut off at open and said aloud; damage before the tail is RLHF_CORRUPT, and the
 * file is left as it is. A journal that was closed has no tail: any damage to it is found. A record whose append failed
 * may be there after a crash, or not. */
enum { RLHF_JOURNAL_LARGEST = 64 << 20 }; /* bytes of a record */
struct rlhf_journal;
/* Makes the file where there is none (not its directory). Calls replay (may be NULL) for every record, oldest first; its
 * failure ends the open, and so may damage that is found later. What replay has seen is on the disk when open returns.
 * Borrows io. */
struct rlhf_journal *rlhf_journal_open(const struct rlhf_io *io, const char *path,
                                       int (*replay)(void *ctx, const void *record, size_t size,
                                                     struct rlhf_error *err),
                                       void *ctx, struct rlhf_error *err);
/* RLHF_FULL: nothing was appended, and a later append may succeed. RLHF_FATAL: what the file holds is not known until
 * it is opened again, and every later append fails. */
int rlhf_journal_append(struct rlhf_journal *j, const void *record, size_t size, struct rlhf_error *err);
void rlhf_journal_close(struct rlhf_journal *j); /* NULL is fine */

/* A directory written aside and put in place at once: begin gives DIR.tmp (emptied) to write files into with
 * rlhf_atomic_put(), or by other means; commit writes MANIFEST (name, size, BLAKE2b of each file), syncs, re-reads,
 * renames over and syncs the parent. An existing DIR is replaced (set aside as DIR.old first, removed after; when a crash
 * comes between, begin and verify put it back). So after any crash the old or the new directory is there, whole. */
struct rlhf_atomic_dir;
struct rlhf_atomic_dir *rlhf_atomic_begin(const struct rlhf_io *io, const char *dir, struct rlhf_error *err);
int rlhf_atomic_put(struct rlhf_atomic_dir *a, const char *name, const void *data, size_t size,
                    struct rlhf_error *err);
/* DIR.tmp: files that are written there, complete and closed, before commit are part of the directory too. */
const char *rlhf_atomic_path(const struct rlhf_atomic_dir *a);
int rlhf_atomic_commit(struct rlhf_atomic_dir *a, struct rlhf_error *err); /* frees a, also on failure */
void rlhf_atomic_abort(struct rlhf_atomic_dir *a);                        /* NULL is fine */

/* Checks DIR against its MANIFEST: RLHF_CORRUPT names the file that is damaged, missing or too many;
 * RLHF_REJECT when there is no such directory. */
int rlhf_atomic_verify(const struct rlhf_io *io, const char *dir, struct rlhf_error *err);
/* Renames a damaged directory (or file) to DIR.damaged-N and says so in the log. */
int rlhf_set_aside(const struct rlhf_io *io, const char *dir, struct rlhf_error *err);

#endif
