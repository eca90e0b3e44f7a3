/* store.h - durable state: the journal, and directories that appear whole or not at all. Every durable write goes
 * through here (and base/io.h below it). */
#ifndef RLHF_STORE_STORE_H
#define RLHF_STORE_STORE_H

#include "base/error.h"
#include "base/hash.h"
#include "base/io.h"

/* Journal: an append-only file of records, each with size and CRC-32C. Promise: a record whose append returned 0 is
 * there after any crash; a torn tail is cut off at open and said aloud; damage before the tail is RLHF_CORRUPT, and the
 * file is left as it is. */
struct rlhf_journal;
/* Calls replay (may be NULL) for every record, oldest first; its failure ends the open. Borrows io. */
struct rlhf_journal *rlhf_journal_open(const struct rlhf_io *io, const char *path,
                                       int (*replay)(void *ctx, const void *record, size_t size,
                                                     struct rlhf_error *err),
                                       void *ctx, struct rlhf_error *err);
int rlhf_journal_append(struct rlhf_journal *j, const void *record, size_t size, struct rlhf_error *err);
void rlhf_journal_close(struct rlhf_journal *j); /* NULL is fine */

/* A directory written aside and put in place at once: begin gives DIR.tmp (emptied) to write files into with
 * rlhf_atomic_put(); commit writes MANIFEST (name, size, BLAKE2b of each file), syncs, re-reads, renames over and syncs
 * the parent. An existing DIR is replaced (set aside first, removed after). */
struct rlhf_atomic_dir;
struct rlhf_atomic_dir *rlhf_atomic_begin(const struct rlhf_io *io, const char *dir, struct rlhf_error *err);
int rlhf_atomic_put(struct rlhf_atomic_dir *a, const char *name, const void *data, size_t size,
                    struct rlhf_error *err);
int rlhf_atomic_commit(struct rlhf_atomic_dir *a, struct rlhf_error *err); /* frees a, also on failure */
void rlhf_atomic_abort(struct rlhf_atomic_dir *a);                        /* NULL is fine */

/* Checks DIR against its MANIFEST: RLHF_CORRUPT names the file that is damaged, missing or too many;
 * RLHF_REJECT when there is no such directory. */
int rlhf_atomic_verify(const struct rlhf_io *io, const char *dir, struct rlhf_error *err);
/* Renames a damaged directory to DIR.damaged-N and says so in the log. */
int rlhf_set_aside(const struct rlhf_io *io, const char *dir, struct rlhf_error *err);

#endif
