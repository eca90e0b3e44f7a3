/* accounts.h - what is known of each configured vendor while the daemon runs: its keys and secrets, what it remembers,
 * how dealing with it goes. */
#ifndef LABEL_COLLECTOR_ACCOUNTS_H
#define LABEL_COLLECTOR_ACCOUNTS_H

#include "collector.h"
#include "servers.h"

struct collector_account {
    const struct collector_vendor_config *vendor;
    const struct collector_server *server;  /* NULL: it only calls */
    const struct collector_vendor *records; /* how to read what it says; NULL: our own words */
    char *key;                              /* NULL = none */
    struct rlhf_config_strings secrets;
    json_t *memory, *session;
    struct collector_deal deal;          /* the job begun last */
    size_t asked;                        /* tasks in a push that is under way */
    int64_t hints;                       /* of the task that is fetched */
    bool busy;                           /* a request is under way */
    bool queue;                          /* there may be tasks to push */
    bool singly;                         /* a batch was refused: one at a time, to find out which */
    bool taken_over; /* from whoever dealt with it before */
    bool answering;  /* an answer is being taken */
    bool elsewhere; /* another process on our database deals with it */
    bool poll;                           /* look now */
    int64_t resume_us, poll_us, next_us; /* monotonic: not before; the next pull; when there is something to do */
    unsigned failures;                   /* in a row */
    struct rlhf_error error;             /* of the last; RLHF_OK */
    struct {
        uint64_t requests, failed, callbacks, refused;
        uint64_t stored, revised, deleted, skipped, rejected; /* of what it said */
        char rejected_why[200];
    } counters;
};

struct collector_accounts {
    struct collector_account *items;
    size_t count;
};
/* Reads the files of keys and secrets; the error names vendor and file. */
int collector_accounts_open(struct collector_accounts *a, const struct collector_config *config,
                            const struct rlhf_io *io, struct rlhf_error *err);
struct collector_account *collector_account_find(const struct collector_accounts *a, const char *name); /* or NULL */
/* Queues open tasks for it, within transaction, quota and limit: those of round; NULL: of its own, where it has one. now_us:
 * wall clock. */
int collector_account_give(const struct collector_account *a, struct collector_store *store, const char *round,
                           size_t limit, int64_t now_us, size_t *given, struct rlhf_error *err);
/* As GET /api/v1/vendors tells it. NULL when the store cannot be read (*err) or memory is out. */
json_t *collector_account_json(const struct collector_account *a, struct collector *c, struct rlhf_error *err);
void collector_accounts_close(struct collector_accounts *a); /* leaves it zeroed */

#endif
