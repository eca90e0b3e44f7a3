#include "sync.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/text.h"
#include "http/post.h"
#include "store_vendors.h"
#include "telemetry/log.h"
#include "transfer.h"

enum {
    SECOND_US = 1000000,
    MAX_PAUSE_S = 300,
    DENIED_PAUSE_S = 60,
    ELSEWHERE_S = 10,    /* until we look whether whoever deals with a vendor in our place still does */
    GIVE_AT_ONCE = 1000, /* open tasks, with `auto` */
};

/* What came of a request, from the thread of requests. */
struct outcome {
    struct collector_account *account;
    unsigned status; /* 0: no answer, error says why */
    struct rlhf_bytes body;
    int64_t retry_after_s;
    struct rlhf_error error;
    struct outcome *next;
};

struct collector_sync {
    struct collector *collector;
    struct collector_accounts accounts;
    struct rlhf_poster *poster;
    int epoll, timer, event;
    char trouble[480];
    char owner[24];       /* of this process, among those that share a database */
    pthread_mutex_t lock; /* guards what follows */
    struct outcome *first, **last;
};

static int64_t now_us(const struct collector_sync *s)
{
    return rlhf_now(s->collector->env->clock);
}

static int64_t wall_us(const struct collector_sync *s)
{
    return s->collector->env->clock->wall_us(s->collector->env->clock);
}

/* ---- the thread of requests ---------------------------------------------------------------------- */

static void deliver(struct collector_sync *s, struct outcome *o)
{
    uint64_t one = 1;

    pthread_mutex_lock(&s->lock);
    *s->last = o;
    s->last = &o->next;
    pthread_mutex_unlock(&s->lock);
    ssize_t written = write(s->event, &one, sizeof(one));
    (void)written; /* full: readable anyway */
}

static int on_answer(void *ctx, void *tag, const struct rlhf_post_answer *answer, struct rlhf_error *err)
{
    struct outcome *o = tag;

    o->status = answer->status;
    o->retry_after_s = answer->retry_after_s;
    if (rlhf_bytes_append(&o->body, answer->body->data ? answer->body->data : "", answer->body->size, err) < 0) {
        o->status = 0;
        o->error = *err;
    }
    deliver(ctx, o);
    return 0;
}

static void on_failure(void *ctx, void *tag, const struct rlhf_error *why)
{
    struct outcome *o = tag;

    if (!why) { /* we are about to end */
        free(o);
        return;
    }
    o->error = *why;
    deliver(ctx, o);
}

/* ---- asking --------------------------------------------------------------------------------------- */

/* "Authorization: ...", owned; NULL: out of memory. */
static char *authorization(const struct collector_account *a)
{
    const struct collector_deal *d = &a->deal;
    const char *key = d->auth_key ? d->auth_key : a->key;
    struct rlhf_bytes line = { 0 }, plain = { 0 };

    if (d->auth != COLLECTOR_BASIC) {
        rlhf_bytes_printf(&line, NULL, "Authorization: %s %s", d->auth == COLLECTOR_TOKEN ? "Token" : "Bearer", key);
        return line.data;
    }
    if (rlhf_bytes_printf(&plain, NULL, "%s:", key) == 0) { /* the key is the user, the password is empty */
        size_t size = sodium_base64_encoded_len(plain.size, sodium_base64_VARIANT_ORIGINAL);
        char *text = malloc(size);
        if (text)
            rlhf_bytes_printf(&line, NULL, "Authorization: Basic %s",
                              sodium_bin2base64(text, size, (const unsigned char *)plain.data, plain.size,
                                                sodium_base64_VARIANT_ORIGINAL));
        free(text);
    }
    rlhf_bytes_free(&plain);
    return line.data;
}

static int send_request(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    struct collector_deal *d = &a->deal;
    const char *base = a->vendor->url ? a->vendor->url : a->server->url, *headers[2];
    struct outcome *o = calloc(1, sizeof(*o));
    char *login = d->auth == COLLECTOR_NO_AUTH ? NULL : authorization(a);
    struct rlhf_bytes url = { 0 };
    size_t count = 0;
    int rc = -1;

    if (login)
        headers[count++] = login;
    if (d->content_type)
        headers[count++] = d->content_type;
    if (!o || (d->auth != COLLECTOR_NO_AUTH && !login))
        rlhf_fail(err, RLHF_FULL, "no memory for a request");
    else if (rlhf_bytes_printf(&url, err, "%s%s", rlhf_starts_with(d->path.data, "http") ? "" : base, d->path.data)
             == 0) {
        o->account = a;
        rc = rlhf_poster_add(
            s->poster,
            &(struct rlhf_post){ .lane = a,
                                 .concurrency = 1,
                                 .url = url.data,
                                 .method = d->method,
                                 .headers = headers,
                                 .header_count = count,
                                 .body = d->body.size ? d->body.data : NULL,
                                 .size = d->body.size,
                                 .any_status = true,
                                 .timeout_ms = (uint32_t)a->vendor->timeout_seconds * 1000,
                                 .attempts = 1, /* pauses are ours: a push may not be repeated blindly */
                                 .tag = o },
            err);
    }
    if (rc < 0)
        free(o);
    if (login)
        rlhf_wipe(login, strlen(login));
    free(login);
    rlhf_bytes_free(&url);
    a->busy = rc == 0;
    a->counters.requests += rc == 0;
    return rc;
}

/* ---- failures ------------------------------------------------------------------------------------- */

static void fail(struct collector_sync *s, struct collector_account *a, const struct rlhf_error *err, int64_t asked_s)
{
    double pause = 1;

    for (unsigned i = 0; i < a->failures && pause < MAX_PAUSE_S; ++i)
        pause *= 2;
    pause *= 0.5 + 0.5 * (double)rlhf_random_uniform(s->collector->env->random);
    if (err->code == RLHF_DENIED && pause < DENIED_PAUSE_S)
        pause = DENIED_PAUSE_S;
    if (pause < (double)asked_s)
        pause = (double)asked_s;
    a->resume_us = now_us(s) + (int64_t)(pause * SECOND_US);
    ++a->failures;
    ++a->counters.failed;
    if (strcmp(a->error.text, err->text) != 0) /* once, not for every try */
        rlhf_log(RLHF_LEVEL_WARNING, "vendor name=%s retry_seconds=%.1f error=\"%s\"", a->vendor->name, pause,
                 err->text);
    a->error = *err;
}

static void succeed(struct collector_account *a)
{
    if (a->error.code != RLHF_OK)
        rlhf_log(RLHF_LEVEL_INFO, "vendor name=%s recovered after=%u", a->vendor->name, a->failures);
    a->failures = 0;
    a->error = (struct rlhf_error){ .code = RLHF_OK };
}

/* What was remembered of it last, by whichever process. */
static int read_memory(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    json_t *memory;

    if (collector_vendor_remembered(s->collector->store, a->vendor->name, &memory, err) < 0)
        return -1;
    json_decref(a->memory);
    a->memory = a->deal.memory = memory;
    a->taken_over = true;
    return 0;
}

/* What is done in a transaction. */
typedef int work_fn(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err);

/* A transaction around work. A store that fails makes the account wait, too. What we remember of an account that another
 * process dealt with meanwhile is read again; an answer to what was asked before that is not taken. */
static int transact(struct collector_sync *s, struct collector_account *a, work_fn *work, struct rlhf_error *err)
{
    struct collector_store *store = s->collector->store;
    bool held = false, anew = false;

    if (collector_store_begin(store, err) < 0)
        goto failed;
    if (collector_vendor_hold(store, a->vendor->name, s->owner, &held, &anew, err) < 0
        || (anew && read_memory(s, a, err) < 0)
        || (held && !(anew && a->answering) && work && work(s, a, err) < 0)) {
        collector_store_rollback(store);
        goto failed;
    }
    if (collector_store_commit(store, err) < 0)
        goto failed;
    a->elsewhere = !held || (anew && a->answering);
    if (!a->elsewhere)
        return 0;
    return rlhf_fail(err, RLHF_AGAIN, "another label-collector on this database deals with it");
failed:
    if (err->code != RLHF_REJECT)
        collector_wrote(s->collector, err);
    return -1;
}

/* ---- what came of it ------------------------------------------------------------------------------ */

static void refused(void *ctx, size_t line, const char *why)
{
    struct collector_account *a = ctx;

    (void)line;
    snprintf(a->counters.rejected_why, sizeof(a->counters.rejected_why), "%s", why);
}

/* Records: what people said, and that the tasks are there. */
static int apply_records(struct collector_sync *s, struct collector_account *a, struct collector_import *i,
                         struct rlhf_error *err)
{
    struct collector_store *store = s->collector->store;
    const char *name = a->vendor->name;
    json_t *pull = json_object_get(a->memory, "pull");
    int64_t sweep = json_integer_value(json_object_get(a->memory, "sweeps"));
    int64_t as_of_us =
        pull && a->deal.job == COLLECTOR_PULL ? json_integer_value(json_object_get(pull, "began")) : a->deal.now_us;
    json_int_t seen = json_integer_value(json_object_get(pull, "seen")) + (json_int_t)json_array_size(a->deal.records);
    struct collector_vendor_task task;
    json_t *record;
    size_t n;

    if (a->deal.job == COLLECTOR_PULL)
        json_object_set_new(pull, "seen", json_integer(seen));
    sweep += json_is_true(json_object_get(pull, "sweep"));
    json_array_foreach (a->deal.records, n, record) {
        if (collector_put_record(store, a->records, &a->vendor->guesses, record, as_of_us, i, err) < 0
            || (a->records->task(record, &task)
                && collector_vendor_saw(store, name, task.uid, task.remote, sweep, err) < 0))
            return -1;
    }
    return 0;
}

/* A list with nothing in it, where much should be, says that the asking is wrong; not that all is gone. */
static int check_sweep(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    struct collector_given given;

    if (collector_vendor_counts(s->collector->store, a->vendor->name, &given, err) < 0)
        return -1;
    if (given.sent > 0 && json_integer_value(json_object_get(json_object_get(a->memory, "pull"), "seen")) == 0)
        return rlhf_fail(err, RLHF_REJECT, "it lists none of the %llu tasks it has: is project %s still the right one?",
                         (unsigned long long)given.sent, collector_text_of(json_object_get(a->memory, "project")));
    return 0;
}

static int end_pull(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    const json_t *pull = json_object_get(a->memory, "pull");
    int64_t began = json_integer_value(json_object_get(pull, "began"));
    int64_t sweep = json_integer_value(json_object_get(a->memory, "sweeps")) + 1;

    if (json_is_true(json_object_get(pull, "sweep"))) {
        if (check_sweep(s, a, err) < 0)
            return -1;
        json_object_set_new(a->memory, "sweeps", json_integer(sweep));
        json_object_set_new(a->memory, "swept", json_integer(began));
        if (collector_vendor_swept(s->collector->store, a->vendor->name, sweep, began,
                                   a->vendor->settle_seconds * (int64_t)SECOND_US, err)
            < 0)
            return -1;
        a->queue = true; /* what was lost is to be sent again */
    }
    json_object_del(a->memory, "pull");
    return 0;
}

static int apply_pushed(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    json_t *pair;
    size_t i;

    json_array_foreach (a->deal.pushed, i, pair) {
        if (collector_vendor_move(s->collector->store, a->vendor->name, json_string_value(json_array_get(pair, 0)),
                                  "sent", json_string_value(json_array_get(pair, 1)), NULL, err)
            < 0)
            return -1;
    }
    return 0;
}

static int apply(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    struct collector_store *store = s->collector->store;
    struct collector_deal *d = &a->deal;
    struct collector_import i = { .source = a->vendor->name,
                                  .round = a->vendor->round ? a->vendor->round : "",
                                  .labeler = a->vendor->name,
                                  .refused = refused,
                                  .ctx = a };

    if (apply_records(s, a, &i, err) < 0 || apply_pushed(s, a, err) < 0)
        return -1;
    if (d->job == COLLECTOR_PULL && d->done && end_pull(s, a, err) < 0)
        return -1;
    if (d->job == COLLECTOR_FETCH
        && ((d->gone && collector_vendor_vanished(store, a->vendor->name, d->remote, err) < 0)
            || collector_vendor_fetched(store, a->vendor->name, d->remote, a->hints, err) < 0))
        return -1;
    if (collector_vendor_remember(store, a->vendor->name, a->memory, err) < 0)
        return -1;
    a->counters.stored += i.stored;
    a->counters.revised += i.revised;
    a->counters.deleted += i.deleted;
    a->counters.skipped += i.skipped;
    a->counters.rejected += i.rejected;
    return 0;
}

static int move_tasks(struct collector_sync *s, struct collector_account *a, const char *state, struct rlhf_error *err)
{
    json_t *task;
    size_t i;

    json_array_foreach (a->deal.tasks, i, task) {
        if (collector_vendor_move(s->collector->store, a->vendor->name, json_string_value(json_object_get(task, "uid")),
                                  state, NULL, NULL, err)
            < 0)
            return -1;
    }
    return 0;
}

/* The push that was just made was not; others, whose answers got lost, may have been. */
static int take_back(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    a->queue = true;
    return move_tasks(s, a, "queued", err);
}

/* All pushes may be made again. */
static int requeue(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    json_object_del(a->memory, "push");
    a->queue = true;
    return collector_vendor_requeue(s->collector->store, a->vendor->name, err) < 0
                   || collector_vendor_remember(s->collector->store, a->vendor->name, a->memory, err) < 0
               ? -1
               : 0;
}

/* The vendor does not take this task. */
static int refuse_task(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    const char *uid = json_string_value(json_object_get(json_array_get(a->deal.tasks, 0), "uid"));

    return collector_vendor_move(s->collector->store, a->vendor->name, uid, "refused", NULL, a->error.text, err);
}

/* A task that cannot be asked for: sweeps will see to it. */
static int drop_hints(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    return collector_vendor_fetched(s->collector->store, a->vendor->name, a->deal.remote, a->hints, err);
}

static int forget_pull(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    json_object_del(a->memory, "pull");
    return collector_vendor_remember(s->collector->store, a->vendor->name, a->memory, err);
}

/* What becomes of what was in a request that failed; NULL: nothing has to be done. undone: for sure nothing of it was. */
static work_fn *remedy(struct collector_account *a, const struct rlhf_error *why, bool undone)
{
    bool rejected = why->code == RLHF_REJECT;

    if (a->deal.job == COLLECTOR_PULL)
        return rejected ? forget_pull : NULL;
    if (a->deal.job == COLLECTOR_FETCH)
        return rejected ? drop_hints : NULL;
    if (a->deal.job != COLLECTOR_PUSH)
        return NULL;
    a->singly = a->singly || (rejected && undone); /* which one of them is it? */
    if (a->server->idempotent && (rejected || !json_object_get(a->memory, "push")))
        return requeue;
    return undone ? take_back : NULL;
}

static void after_failure(struct collector_sync *s, struct collector_account *a, const struct rlhf_error *why,
                          int64_t asked_s, bool undone)
{
    bool one = a->deal.job == COLLECTOR_PUSH && json_array_size(a->deal.tasks) == 1;
    struct rlhf_error err;

    if (one && why->code == RLHF_REJECT && undone) { /* the task's fault: the next one may do better */
        rlhf_log(RLHF_LEVEL_WARNING, "vendor name=%s task-refused error=\"%s\"", a->vendor->name, why->text);
        a->error = *why;
        if (transact(s, a, refuse_task, &err) == 0)
            succeed(a);
        else
            fail(s, a, &err, 0);
        return;
    }
    work_fn *work = remedy(a, why, undone);
    if (work && transact(s, a, work, &err) < 0)
        why = &err;
    fail(s, a, why, asked_s);
}

/* The server's own words for a refusal. */
static void describe(const struct outcome *o, const json_t *json, struct rlhf_error *err)
{
    static const char *const keys[] = { "detail", "message", "error" };
    const char *words = "";

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && !*words; ++i)
        words = collector_text_of(json_object_get(json, keys[i]));
    enum rlhf_code code = o->status == 401 || o->status == 403                                           ? RLHF_DENIED
                          : o->status == 408 || o->status == 425 || o->status == 429 || o->status >= 500 ? RLHF_AGAIN
                                                                                                         : RLHF_REJECT;
    rlhf_fail(err, code, "HTTP status %u%s%.200s", o->status, *words ? ": " : "", words);
}

/* Label Studio calls no private network, an account may not make webhooks: polling brings everything, too. */
static bool does_without_hook(struct collector_account *a, unsigned status, const struct rlhf_error *why)
{
    if (a->deal.job != COLLECTOR_HOOK || status == 401 || why->code == RLHF_AGAIN)
        return false;
    json_object_set_new(a->session, "hook", json_true());
    rlhf_log(RLHF_LEVEL_WARNING, "vendor name=%s webhook-refused error=\"%s\": polling goes on", a->vendor->name, why->text);
    return true;
}

/* An access token that has run out: once more with a new one. */
static bool logs_in_again(struct collector_sync *s, struct collector_account *a, unsigned status)
{
    struct rlhf_error err;

    if (status != 401 || a->deal.job == COLLECTOR_LOGIN || !json_object_get(a->session, "access")
        || json_object_get(a->session, "again"))
        return false;
    json_object_del(a->session, "access");
    json_object_del(a->session, "access_until");
    json_object_set_new(a->session, "again", json_true());
    if (a->deal.job == COLLECTOR_PUSH && transact(s, a, take_back, &err) < 0)
        fail(s, a, &err, 0);
    return true;
}

/* An answer that is none of ours to read. */
static void take_refusal(struct collector_sync *s, struct collector_account *a, const struct outcome *o,
                         const json_t *json)
{
    struct rlhf_error err;

    describe(o, json, &err);
    if (!does_without_hook(a, o->status, &err) && !logs_in_again(s, a, o->status))
        after_failure(s, a, &err, o->retry_after_s, o->status < 500 && o->status != 408);
}

static void take_answer(struct collector_sync *s, struct collector_account *a, const struct outcome *o,
                        const json_t *json)
{
    struct collector_deal *d = &a->deal;
    json_t *before = json_deep_copy(a->memory);
    struct rlhf_error err = { .code = RLHF_OK };

    if (a->server->answer(d, o->status, o->body.data ? o->body.data : "", o->body.size, json, &err) == 0
        && transact(s, a, apply, &err) == 0) {
        json_decref(before);
        succeed(a);
        if (d->done && d->job == COLLECTOR_HOOK)
            json_object_set_new(a->session, "hook", json_true());
        if (d->job != COLLECTOR_LOGIN)
            json_object_del(a->session, "again");
        if (d->done && d->job == COLLECTOR_PULL) {
            a->poll_us = now_us(s) + a->vendor->poll_seconds * SECOND_US;
            a->queue = true; /* others on this database may have given it tasks */
        }
        a->resume_us = now_us(s) + d->wait_ms * 1000;
        return;
    }
    json_decref(a->memory);
    a->memory = d->memory = before;
    after_failure(s, a, &err, 0, false);
}

static void take_outcome(struct collector_sync *s, struct outcome *o)
{
    struct collector_account *a = o->account;
    json_t *json = o->body.size ? json_loadb(o->body.data, o->body.size, 0, NULL) : NULL;
    bool readable = o->status / 100 == 2
                    || (o->status == 404 && (a->deal.job == COLLECTOR_FETCH || a->deal.job == COLLECTOR_PULL) && json);

    a->busy = false;
    a->answering = true;
    if (o->status == 0)
        after_failure(s, a, &o->error, 0, false);
    else if (readable)
        take_answer(s, a, o, json);
    else
        take_refusal(s, a, o, json);
    a->answering = false;
    json_decref(json);
    rlhf_bytes_free(&o->body);
    free(o);
}

/* ---- what to do next ------------------------------------------------------------------------------ */

static int give_open(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    size_t given;

    return collector_account_give(a, s->collector->store, NULL, GIVE_AT_ONCE, wall_us(s), &given, err);
}

static int set_sending(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    return move_tasks(s, a, "sending", err);
}

/* The tasks of the next push. 0: there are none. */
static int next_push(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    size_t limit = a->singly ? 1 : (size_t)a->vendor->batch;

    json_decref(a->deal.tasks);
    a->deal.tasks = NULL;
    if (json_object_get(a->memory, "push"))
        return 1;
    if (!a->queue)
        return 0;
    if (collector_vendor_queued(s->collector->store, a->vendor->name,
                                limit < a->server->batch ? limit : a->server->batch, &a->deal.tasks, err)
        < 0)
        return -1;
    if (json_array_size(a->deal.tasks))
        return 1;
    a->queue = a->singly = false;
    return 0;
}

/* When what is "sending" may be looked for; INT64_MAX: nothing is. In terms of the monotonic clock. */
static int settle_time(struct collector_sync *s, struct collector_account *a, int64_t *at_us, struct rlhf_error *err)
{
    uint64_t count = 0;
    int64_t tried_us = 0, swept = json_integer_value(json_object_get(a->memory, "swept"));

    *at_us = INT64_MAX;
    if (a->server->idempotent)
        return 0;
    if (collector_vendor_unsettled(s->collector->store, a->vendor->name, &count, &tried_us, err) < 0)
        return -1;
    int64_t due = tried_us + a->vendor->settle_seconds * SECOND_US;
    due = due > swept + SECOND_US ? due : swept + SECOND_US; /* the second look that it takes, not at once */
    if (count)
        *at_us = now_us(s) + due - wall_us(s);
    return 0;
}

/* A pull that is due begins; true when one is under way. */
static int next_pull(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    int64_t now = now_us(s), wall = wall_us(s), settled;
    int64_t swept = json_integer_value(json_object_get(a->memory, "swept"));

    if (json_object_get(a->memory, "pull"))
        return 1;
    if (settle_time(s, a, &settled, err) < 0)
        return -1;
    a->next_us = settled < a->poll_us ? settled : a->poll_us;
    if (!a->poll && a->next_us > now)
        return 0;
    bool sweep = !a->server->incremental || settled <= now || wall - swept >= a->vendor->sweep_seconds * SECOND_US;
    a->poll = false;
    json_object_set_new(a->memory, "pull", json_pack("{s:b, s:I}", "sweep", sweep, "began", (json_int_t)wall));
    return 1;
}

/* 1: deal.job is to be done. 0: nothing is, until next_us. */
static int next_job(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    struct collector_deal *d = &a->deal;
    int rc;

    if (!json_object_get(a->memory, "project") && a->vendor->project)
        json_object_set_new(a->memory, "project", json_string(a->vendor->project));
    d->job = a->server->must_login && a->server->must_login(d) ? COLLECTOR_LOGIN
             : !json_object_get(a->memory, "project")          ? COLLECTOR_PROJECT
             : a->vendor->callback && a->server->hooks && !json_object_get(a->session, "hook")
                     && !json_object_get(a->memory, "hook")
                 ? COLLECTOR_HOOK
                 : COLLECTOR_JOBS;
    if (d->job != COLLECTOR_JOBS)
        return 1;
    if (a->server->fetches
        && collector_vendor_hinted(s->collector->store, a->vendor->name, d->remote, sizeof(d->remote), &a->hints, err)
               < 0)
        return -1;
    if (a->server->fetches && *d->remote) {
        d->job = COLLECTOR_FETCH;
        return 1;
    }
    d->job = COLLECTOR_PUSH;
    if ((rc = next_push(s, a, err)) != 0)
        return rc;
    d->job = COLLECTOR_PULL;
    return next_pull(s, a, err);
}

/* At the first request: what the last process knew when it died. */
static int remember(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    if (a->memory)
        return 0;
    a->deal = (struct collector_deal){ .vendor = a->vendor,
                                       .key = a->key,
                                       .secret = a->secrets.count ? a->secrets.items[0] : NULL,
                                       .session = a->session };
    return read_memory(s, a, err);
}

/* Whoever holds the account, and nobody else, goes on. A push of a former holder that was cut off is made again where
 * nothing is taken twice. */
static int hold(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    if (transact(s, a, NULL, err) < 0)
        return -1;
    if (!a->taken_over)
        return 0;
    if (a->server->idempotent && !json_object_get(a->memory, "push") && transact(s, a, requeue, err) < 0)
        return -1;
    a->taken_over = false;
    return 0;
}

/* The next request of an account, if there is one to make. */
static int next_request(struct collector_sync *s, struct collector_account *a, struct rlhf_error *err)
{
    int rc;

    if (remember(s, a, err) < 0 || hold(s, a, err) < 0)
        return -1;
    if (a->vendor->automatic && now_us(s) >= a->poll_us) {
        if (transact(s, a, give_open, err) < 0)
            return -1;
        a->queue = true;
    }
    collector_deal_clear(&a->deal);
    a->deal.now_us = wall_us(s);
    if ((rc = next_job(s, a, err)) <= 0)
        return rc;
    if ((a->deal.job == COLLECTOR_PUSH && a->deal.tasks && transact(s, a, set_sending, err) < 0)
        || a->server->ask(&a->deal, err) < 0)
        return -1;
    return send_request(s, a, err);
}

static void step(struct collector_sync *s, struct collector_account *a)
{
    struct rlhf_error err = { .code = RLHF_OK };

    a->next_us = INT64_MAX;
    if (!a->server || a->busy)
        return;
    a->elsewhere = false;
    if (now_us(s) >= a->resume_us && next_request(s, a, &err) < 0) {
        if (a->elsewhere) /* which is no failure */
            a->resume_us = now_us(s) + ELSEWHERE_S * (int64_t)SECOND_US;
        else
            fail(s, a, &err, 0);
    }
    if (!a->busy && now_us(s) < a->resume_us)
        a->next_us = a->resume_us;
}

/* ---- running -------------------------------------------------------------------------------------- */

static void arm(struct collector_sync *s)
{
    int64_t next = INT64_MAX, now = now_us(s);

    for (size_t i = 0; i < s->accounts.count; ++i)
        if (s->accounts.items[i].next_us < next)
            next = s->accounts.items[i].next_us;
    int64_t wait = next == INT64_MAX ? 0 : next > now ? next - now : 1; /* 0: off */
    struct itimerspec when = { .it_value = { .tv_sec = wait / SECOND_US, .tv_nsec = wait % SECOND_US * 1000 } };
    timerfd_settime(s->timer, 0, &when, NULL);
}

static struct outcome *take_outcomes(struct collector_sync *s)
{
    pthread_mutex_lock(&s->lock);
    struct outcome *first = s->first;
    s->first = NULL;
    s->last = &s->first;
    pthread_mutex_unlock(&s->lock);
    return first;
}

void collector_sync_run(void *sync)
{
    struct collector_sync *s = sync;
    uint64_t count;

    while (read(s->timer, &count, sizeof(count)) > 0 || read(s->event, &count, sizeof(count)) > 0)
        continue;
    for (struct outcome *o = take_outcomes(s), *next; o; o = next) {
        next = o->next;
        take_outcome(s, o);
    }
    for (size_t i = 0; i < s->accounts.count; ++i)
        step(s, &s->accounts.items[i]);
    arm(s);
}

void collector_sync_wake(struct collector_sync *s, struct collector_account *a, bool poll)
{
    uint64_t one = 1;

    a->queue = true;
    a->poll = a->poll || poll;
    ssize_t written = write(s->event, &one, sizeof(one));
    (void)written;
}

struct collector_accounts *collector_sync_accounts(struct collector_sync *s)
{
    return &s->accounts;
}

const char *collector_sync_trouble(struct collector_sync *s)
{
    for (size_t i = 0; i < s->accounts.count; ++i) {
        const struct collector_account *a = &s->accounts.items[i];
        if (a->failures && a->error.code != RLHF_OK) {
            snprintf(s->trouble, sizeof(s->trouble), "vendor %s: %s", a->vendor->name, a->error.text);
            return s->trouble;
        }
    }
    return "";
}

int collector_sync_fd(const struct collector_sync *s)
{
    return s->epoll;
}

/* ---- opening -------------------------------------------------------------------------------------- */

static int watch(struct collector_sync *s, int fd, struct rlhf_error *err)
{
    struct epoll_event event = { .events = EPOLLIN };

    return fd < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) < 0
               ? rlhf_fail_errno(err, errno, "vendors: a descriptor to wait on")
               : 0;
}

struct collector_sync *collector_sync_new(struct collector *c, struct rlhf_error *err)
{
    struct collector_sync *s = calloc(1, sizeof(*s));
    unsigned char id[8] = { 0 };
    ssize_t got = getrandom(id, sizeof(id), 0);

    (void)got;
    if (!s) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    s->collector = c;
    s->last = &s->first;
    sodium_bin2hex(s->owner, sizeof(s->owner), id, sizeof(id));
    pthread_mutex_init(&s->lock, NULL);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    s->event = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC); /* the first look is due */
    if (watch(s, s->timer, err) < 0 || watch(s, s->event, err) < 0
        || collector_accounts_open(&s->accounts, c->config, c->env->io, err) < 0
        || !(s->poster = rlhf_poster_new(&(struct rlhf_post_taker){ on_answer, on_failure, s }, err))) {
        collector_sync_free(s);
        return NULL;
    }
    return c->sync = s;
}

void collector_sync_free(struct collector_sync *s)
{
    if (!s)
        return;
    rlhf_poster_free(s->poster);
    for (struct outcome *o = take_outcomes(s), *next; o; o = next) {
        next = o->next;
        rlhf_bytes_free(&o->body);
        free(o);
    }
    collector_accounts_close(&s->accounts);
    int fds[] = { s->epoll, s->timer, s->event };
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); ++i)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_mutex_destroy(&s->lock);
    s->collector->sync = NULL;
    free(s);
}
