/* transfer.h - preference files in and out: JSON lines of every common form (API.md, Files). */
#ifndef LABEL_COLLECTOR_TRANSFER_H
#define LABEL_COLLECTOR_TRANSFER_H

#include "base/memory.h"
#include "store.h"

struct collector_import {
    const char *round, *labeler,
        *source; /* for lines that name none; labeler "import", source "import" by default */
    const char *only_source; /* any other is refused; NULL = none is */
    size_t lines, stored, known, revised, skipped, deleted, rejected;
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

enum collector_format { COLLECTOR_KWAY, COLLECTOR_PAIRS, COLLECTOR_HH };

/* An export that is read in pieces, as fast as its reader takes it. What is stored after its start is not in
 * it. */
struct collector_export;
struct collector_export *collector_export_new(struct collector_store *s, const char *round,
                                              enum collector_format format, struct rlhf_error *err);
/* Up to max bytes into out. 0 = the end. -1 *err. */
ptrdiff_t collector_export_read(struct collector_export *e, char *out, size_t max, struct rlhf_error *err);
void collector_export_free(struct collector_export *e); /* NULL is fine */

/* A stored revision as API JSON; NULL when out of memory. */
json_t *collector_row_json(const struct collector_row *row);
/* "2023-04-05T06:07:08.123456Z" */
void collector_time_text(int64_t wall_us, char out[32]);

#endif
