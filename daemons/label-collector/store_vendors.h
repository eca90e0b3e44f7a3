/* store_vendors.h - the store's side of dealing with vendors' servers: which tasks were given to whom and how far they
 * have come (an outbox), what is remembered of each vendor, and which callbacks were taken.
 *
 * A task given to a vendor is
 *     queued   to be sent
 *     sending  a request with it was made, and its outcome is not known (yet)
 *     sent     it is there
 *     refused  the vendor does not take it: error says why
 *     gone     it was there, and is not any more
 * What is "sending" is never sent again before the vendor's own list of tasks was swept twice without it: so a task is
 * neither lost nor doubled, whoever is killed when.
 *
 * All but the readings are called between begin and commit. `vendor` is its name in the configuration, and the source
 * of its labels. */
#ifndef LABEL_COLLECTOR_STORE_VENDORS_H
#define LABEL_COLLECTOR_STORE_VENDORS_H

#include <jansson.h>

#include "store.h"

/* What is remembered of it; an empty object at first. Owned. */
int collector_vendor_remembered(struct collector_store *s, const char *vendor, json_t **memory, struct rlhf_error *err);
int collector_vendor_remember(struct collector_store *s, const char *vendor, const json_t *memory,
                              struct rlhf_error *err);
/* Where several collectors share a database, one deals with a vendor, for as long as it is connected. *held: we do. *anew:
 * and somebody else did before, so what we remember of it is out of date. */
int collector_vendor_hold(struct collector_store *s, const char *vendor, const char *owner, bool *held, bool *anew,
                          struct rlhf_error *err);

/* Which tasks, and for how long they are kept from others. */
struct collector_gift {
    const char *round; /* "" = any */
    size_t k_min, k_max, limit;
    size_t people;    /* of the vendor's that judge each */
    int64_t until_us; /* wall clock. 0: they are offered to others all the time */
};
/* Queues up to limit open rankings of k_min to k_max completions that it was not given yet, each in an order chosen at
 * random. Until then the judgements that it owes are nobody else's: a task that waits for no more is offered to nobody. */
int collector_vendor_give(struct collector_store *s, const char *vendor, const struct collector_gift *gift, size_t *given,
                          struct rlhf_error *err);
/* One of its people has judged a task, or passed it on. */
int collector_vendor_paid(struct collector_store *s, const char *vendor, const char *task, struct rlhf_error *err);
/* Up to limit tasks that were kept for a vendor until now are offered again. freed: how many. */
int collector_vendor_free_overdue(struct collector_store *s, size_t limit, size_t *freed, struct rlhf_error *err);
/* Up to limit queued ones, owned: [{"uid", "prompt", "completions", "presented"}], completions as presented. */
int collector_vendor_queued(struct collector_store *s, const char *vendor, size_t limit, json_t **tasks,
                            struct rlhf_error *err);
/* state: as above. remote, error: may be NULL. */
int collector_vendor_move(struct collector_store *s, const char *vendor, const char *task, const char *state,
                          const char *remote, const char *error, struct rlhf_error *err);
/* The order in which a task was given to vendor: text of a JSON list into presented, "" where it never was. RLHF_REJECT
 * (and the other's name) when only another vendor was given it. */
int collector_vendor_order(struct collector_store *s, const char *vendor, const char *task, char *presented,
                           size_t size, struct rlhf_error *err);

/* Whose a task's completions are: policies, a JSON list, owned (NULL = not known), and how many there are (0: no such
 * task). task may be the vendor's id of it: then it becomes ours. */
int collector_vendor_policies(struct collector_store *s, const char *vendor, char *task, size_t size, json_t **policies,
                              size_t *count, struct rlhf_error *err);

/* The vendor's list has the task: it is sent. */
int collector_vendor_saw(struct collector_store *s, const char *vendor, const char *task, const char *remote,
                         int64_t sweep, struct rlhf_error *err);
/* A sweep of all of the vendor's tasks that began at began_us (wall clock) has ended. What was sent settle_us before,
 * and was missed by two, is queued again (sending), or gone: its labels are deleted. */
int collector_vendor_swept(struct collector_store *s, const char *vendor, int64_t sweep, int64_t began_us,
                           int64_t settle_us, struct rlhf_error *err);
/* The vendor's task of this id is not there any more: gone, where it is one of ours. */
int collector_vendor_vanished(struct collector_store *s, const char *vendor, const char *remote,
                              struct rlhf_error *err);
/* All that are "sending" are queued again: the vendor takes nothing twice, or has said no. */
int collector_vendor_requeue(struct collector_store *s, const char *vendor, struct rlhf_error *err);
/* At as_of_us (wall clock) the vendor had exactly these labels of the task: others of its, stored before, are deleted;
 * what a callback brought since is left alone. ids: a list of texts. */
int collector_vendor_labels(struct collector_store *s, const char *vendor, const char *task, const json_t *ids,
                            int64_t as_of_us, size_t *deleted, struct rlhf_error *err);

/* Something has changed with the vendor's task of this id. *known: it is one of ours. */
int collector_vendor_hint(struct collector_store *s, const char *vendor, const char *remote, bool *known,
                          struct rlhf_error *err);
/* The vendor's task that a label of its belongs to; "" = not known. */
int collector_vendor_label_task(struct collector_store *s, const char *vendor, const char *label, char *remote,
                                size_t size, struct rlhf_error *err);
/* Whether a label of this id was ever stored. */
int collector_vendor_knows(struct collector_store *s, const char *vendor, const char *label, bool *known,
                           struct rlhf_error *err);
/* One that has changed ("" = none), and how many hints there were. Then, fetched, they are forgotten. */
int collector_vendor_hinted(struct collector_store *s, const char *vendor, char *remote, size_t size, int64_t *hints,
                            struct rlhf_error *err);
int collector_vendor_fetched(struct collector_store *s, const char *vendor, const char *remote, int64_t hints,
                             struct rlhf_error *err);

/* Remembers a callback's id for keep_us at least. *fresh: it was not known. */
int collector_vendor_callback(struct collector_store *s, const char *vendor, const char *id, int64_t keep_us,
                              bool *fresh, struct rlhf_error *err);

/* ---- reading ------------------------------------------------------------------------------------ */

struct collector_given {
    uint64_t queued, sending, sent, refused, gone;
    uint64_t owed; /* judgements that others are not asked for */
    char error[200]; /* of one refused */
};
int collector_vendor_counts(struct collector_store *s, const char *vendor, struct collector_given *given,
                            struct rlhf_error *err);
/* How many are "sending", and when the last of them was sent (wall clock). */
int collector_vendor_unsettled(struct collector_store *s, const char *vendor, uint64_t *count, int64_t *tried_us,
                               struct rlhf_error *err);

#endif
