/* transfer.h - preference files in: JSON lines of every common form, vendors' exports (API.md, Files). */
#ifndef LABEL_COLLECTOR_TRANSFER_H
#define LABEL_COLLECTOR_TRANSFER_H

#include "base/memory.h"
#include "store.h"

struct collector_import {
    const char *round, *labeler,
        *source; /* for lines that name none; labeler "import", source "import" by default */
    const char *only_source; /* any other is refused; NULL = none is */
    size_t lines, stored, known, revised, skipped, deleted, rejected;
    size_t warned; /* lines whose chosen completion has the lower score: stored as they say */
    /* Told of every line that was refused. */
    void (*refused)(void *ctx, size_t line, const char *why);
    void *ctx;
};
/* Puts every good line of text, inside the caller's transaction. 0 also when lines were refused; -1 when the
 * database failed: then the transaction has to be rolled back. */
int collector_import(struct collector_store *s, const char *text, size_t size, struct collector_import *i,
                     struct rlhf_error *err);

struct collector_vendor;
/* The same of a vendor's export: lines counts records (their numbers are told to refused), skipped what somebody passed on. A
 * judgement of a task that is not known needs its prompt and completions in the record. */
int collector_import_vendor(struct collector_store *s, const struct collector_vendor *v, const char *text, size_t size,
                            struct collector_import *i, struct rlhf_error *err);

struct collector_guesses;
/* One record. as_of_us (wall clock): it has all that the vendor knew of its task then, so labels of its that are not in it
 * are deleted, but those stored since; 0: it may be a part. Counts in *i, which is not reset. */
int collector_put_record(struct collector_store *s, const struct collector_vendor *v, const struct collector_guesses *g,
                         const json_t *record, int64_t as_of_us, struct collector_import *i, struct rlhf_error *err);

#endif
