#include "accounts.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "store_vendors.h"

enum { MAX_SECRET = 4096 };

static const int64_t HOUR_US = (int64_t)3600 * 1000000;

/* The first line of a file, owned. */
static char *read_line(const struct rlhf_io *io, const char *path, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    char *line = NULL;

    if (rlhf_read_file(io, path, MAX_SECRET, &text, err) == 0) {
        size_t size = strcspn(text.data ? text.data : "", "\r\n");
        if (size == 0)
            rlhf_fail(err, RLHF_REJECT, "%s: its first line is empty", path);
        else if (!(line = strndup(text.data, size)))
            rlhf_fail(err, RLHF_FULL, "out of memory");
    }
    if (text.data)
        rlhf_wipe(text.data, text.size);
    rlhf_bytes_free(&text);
    return line;
}

static int open_account(struct collector_account *a, const struct collector_vendor_config *v, const struct rlhf_io *io,
                        struct rlhf_error *err)
{
    a->vendor = v;
    a->server = collector_server_of((enum collector_vendor_kind)v->kind);
    a->records = collector_vendor_find(collector_vendor_kinds[v->kind]);
    a->queue = a->poll = true;
    a->session = json_object();
    a->secrets.items = calloc(v->secret_files.count + 1, sizeof(*a->secrets.items));
    if (!a->session || !a->secrets.items)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    if (v->token_file && !(a->key = read_line(io, v->token_file, err)))
        return -1;
    if (v->kind == COLLECTOR_SCALE && rlhf_starts_with(a->key, "test_") && !v->guesses.test_answers)
        return rlhf_fail(err, RLHF_REJECT,
                         "%s: a test key, whose answers no human gave: use a live one, or set guesses.test_answers",
                         v->token_file);
    for (size_t i = 0; i < v->secret_files.count; ++i, ++a->secrets.count)
        if (!(a->secrets.items[i] = read_line(io, v->secret_files.items[i], err)))
            return -1;
    return 0;
}

int collector_accounts_open(struct collector_accounts *a, const struct collector_config *config,
                            const struct rlhf_io *io, struct rlhf_error *err)
{
    const struct collector_vendor_config *vendors = config->vendors.items;

    *a = (struct collector_accounts){ .items = calloc(config->vendors.count + 1, sizeof(*a->items)) };
    if (!a->items)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    for (size_t i = 0; i < config->vendors.count; ++i) {
        ++a->count;
        if (open_account(&a->items[i], &vendors[i], io, err) < 0)
            return rlhf_fail_prefix(err, "vendor %s", vendors[i].name);
    }
    return 0;
}

struct collector_account *collector_account_find(const struct collector_accounts *a, const char *name)
{
    for (size_t i = 0; i < a->count; ++i)
        if (strcmp(a->items[i].vendor->name, name) == 0)
            return &a->items[i];
    return NULL;
}

static void wipe(char *secret)
{
    if (secret)
        rlhf_wipe(secret, strlen(secret));
    free(secret);
}

void collector_accounts_close(struct collector_accounts *a)
{
    for (size_t i = 0; i < a->count; ++i) {
        struct collector_account *one = &a->items[i];
        collector_deal_clear(&one->deal);
        rlhf_bytes_free(&one->deal.path);
        rlhf_bytes_free(&one->deal.body);
        json_decref(one->deal.tasks);
        json_decref(one->memory);
        json_decref(one->session);
        wipe(one->key);
        for (size_t k = 0; k < one->secrets.count; ++k)
            wipe(one->secrets.items[k]);
        free(one->secrets.items);
    }
    free(a->items);
    *a = (struct collector_accounts){ 0 };
}

int collector_account_give(const struct collector_account *a, struct collector_store *store, const char *round,
                           size_t limit, int64_t now_us, size_t *given, struct rlhf_error *err)
{
    const struct collector_vendor_config *v = a->vendor;
    bool pairs = v->layout == COLLECTOR_PAIRS_ONLY;
    struct collector_given before;

    *given = 0;
    if (collector_vendor_counts(store, v->name, &before, err) < 0)
        return -1;
    uint64_t has = before.queued + before.sending + before.sent;
    if (v->quota && has + limit > (uint64_t)v->quota)
        limit = has < (uint64_t)v->quota ? (size_t)((uint64_t)v->quota - has) : 0;
    struct collector_gift gift = { .round = round ? round : v->round ? v->round : "",
                                   .k_min = pairs ? 2 : 3,
                                   .k_max = pairs ? 2 : COLLECTOR_MAX_COMPLETIONS,
                                   .limit = limit,
                                   .people = (size_t)v->overlap,
                                   .until_us = v->hold_hours ? now_us + v->hold_hours * HOUR_US : 0 };
    return collector_vendor_give(store, v->name, &gift, given, err);
}

/* ---- telling -------------------------------------------------------------------------------------- */

static void take_labels(void *ctx, const struct collector_standing *st)
{
    *(uint64_t *)ctx = st->labels;
}

json_t *collector_account_json(const struct collector_account *a, struct collector *c, struct rlhf_error *err)
{
    const struct collector_vendor_config *v = a->vendor;
    struct collector_given g;
    uint64_t labels = 0;
    double wait = a->failures ? (double)(a->resume_us - rlhf_now(c->env->clock)) / 1e6 : 0;

    if (collector_vendor_counts(c->store, v->name, &g, err) < 0
        || collector_store_standing(c->store, "source", v->name, NULL, 1, take_labels, &labels, err) < 0)
        return NULL;
    json_t *project = json_object_get(a->memory, "project");
    json_t *tasks = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "queued", (json_int_t)g.queued, "sending",
                              (json_int_t)g.sending, "sent", (json_int_t)g.sent, "refused", (json_int_t)g.refused,
                              "gone", (json_int_t)g.gone, "owed", (json_int_t)g.owed, "error", g.error);
    json_t *said = json_pack("{s:I, s:I, s:I, s:I, s:I, s:s}", "stored", (json_int_t)a->counters.stored, "revised",
                             (json_int_t)a->counters.revised, "deleted", (json_int_t)a->counters.deleted, "skipped",
                             (json_int_t)a->counters.skipped, "rejected", (json_int_t)a->counters.rejected, "error",
                             a->counters.rejected_why);
    return json_pack("{s:s, s:s, s:s, s:o, s:I, s:f, s:I, s:o, s:{s:I, s:I}, s:{s:I, s:I}, s:s, s:f}", "name", v->name,
                     "kind", collector_vendor_kinds[v->kind], "project", collector_text_of(project), "tasks", tasks,
                     "labels", (json_int_t)labels, "cost", v->price * (double)labels, "quota", (json_int_t)v->quota,
                     "said", said, "requests", "made", (json_int_t)a->counters.requests, "failed",
                     (json_int_t)a->counters.failed, "callbacks", "taken", (json_int_t)a->counters.callbacks, "refused",
                     (json_int_t)a->counters.refused, "error", a->error.code == RLHF_OK ? "" : a->error.text,
                     "retry_seconds", wait > 0 ? wait : 0.0);
}
