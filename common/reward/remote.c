#include "reward/remote.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http/post.h"
#include "reward/answers.h"

enum { MAX_KEY = 4096 };

/* One text, added and not yet rewarded. */
struct wish {
    void *tag;
    char *prompt, *completion, *answer; /* until it is asked for */
    struct wish *next;
};

/* What one request asks for. */
struct batch {
    const struct rlhf_source *source;
    struct rlhf_bytes key; /* of the source's credential */
    struct wish *first, **last;
    size_t count;
    struct batch *next;
};

struct rlhf_remote {
    const struct rlhf_io *io;
    const char *credentials;
    struct rlhf_remote_taker taker;
    struct rlhf_poster *poster;
    struct batch *open; /* not yet asked for, and not yet full: one a source */
};

static void wish_free(struct wish *w)
{
    if (!w)
        return;
    free(w->prompt);
    free(w->completion);
    free(w->answer);
    free(w);
}

static void batch_free(struct batch *b)
{
    for (struct wish *w = b->first, *next; w; w = next) {
        next = w->next;
        wish_free(w);
    }
    if (b->key.data)
        rlhf_wipe(b->key.data, b->key.capacity);
    rlhf_bytes_free(&b->key);
    free(b);
}

/* ---- answers (the poster's thread) ------------------------------------------------------------------- */

static int take_rewards(struct rlhf_remote *r, struct batch *b, const struct rlhf_bytes *answer, struct rlhf_error *err)
{
    float *reward = calloc(b->count, sizeof *reward);
    struct rlhf_error none = { 0 };
    size_t i = 0;
    int rc = reward ? rlhf_service_rewards(answer->data ? answer->data : "", answer->size, b->count, reward, err)
                    : rlhf_fail(err, RLHF_FULL, "no memory for rewards");

    rlhf_fail(&none, RLHF_REJECT, "the service has no reward for it");
    for (struct wish *w = b->first; rc == 0 && w; w = w->next, i++)
        r->taker.rewarded(r->taker.ctx, w->tag, reward[i], isnan(reward[i]) ? &none : NULL);
    free(reward);
    return rc;
}

static int take_score(struct rlhf_remote *r, struct batch *b, const struct rlhf_bytes *answer, struct rlhf_error *err)
{
    char *words = rlhf_judge_words(answer->data ? answer->data : "", answer->size, err);
    struct rlhf_error why = { 0 };
    float score;

    if (!words)
        return -1;
    score = rlhf_judge_score(b->source, words, &why);
    r->taker.rewarded(r->taker.ctx, b->first->tag, score, isnan(score) ? &why : NULL);
    free(words);
    return 0;
}

static int answered(void *ctx, void *tag, const struct rlhf_post_answer *answer, struct rlhf_error *err)
{
    struct batch *b = tag;
    int rc = rlhf_source_settings(b->source)->kind == RLHF_SOURCE_JUDGE ? take_score(ctx, b, answer->body, err)
                                                                         : take_rewards(ctx, b, answer->body, err);

    if (rc == 0)
        batch_free(b);
    return rc;
}

static void failed(void *ctx, void *tag, const struct rlhf_error *why)
{
    struct rlhf_remote *r = ctx;
    struct batch *b = tag;

    for (struct wish *w = b->first; w; w = w->next)
        if (why)
            r->taker.rewarded(r->taker.ctx, w->tag, NAN, why);
        else
            r->taker.forgotten(r->taker.ctx, w->tag);
    batch_free(b);
}

/* ---- questions --------------------------------------------------------------------------------------- */

static int write_request(const struct batch *b, struct rlhf_bytes *out, struct rlhf_error *err)
{
    struct rlhf_source_text *texts = calloc(b->count, sizeof *texts);
    size_t n = 0;
    int rc = texts ? 0 : rlhf_fail(err, RLHF_FULL, "no memory for a request");

    for (const struct wish *w = b->first; rc == 0 && w; w = w->next)
        texts[n++] = (struct rlhf_source_text){ w->prompt, w->completion, w->answer, 0 };
    if (rc == 0)
        rc = rlhf_source_settings(b->source)->kind == RLHF_SOURCE_JUDGE
                 ? rlhf_judge_request(b->source, texts, out, err)
                 : rlhf_service_request(b->source, texts, b->count, out, err);
    free(texts);
    return rc;
}

/* The first line of the credential's file. */
static int read_key(struct rlhf_remote *r, const char *name, struct rlhf_bytes *key, struct rlhf_error *err)
{
    char path[PATH_MAX];

    if (!r->credentials)
        return rlhf_fail(err, RLHF_REJECT, "no credential '%s' here: name their folder in the key credentials", name);
    if (rlhf_path(path, sizeof path, r->credentials, name, err) < 0 || rlhf_read_file(r->io, path, MAX_KEY, key, err) < 0)
        return -1;
    key->size = strcspn(key->data ? key->data : "", "\r\n");
    if (key->size == 0)
        return rlhf_fail(err, RLHF_REJECT, "%.120s: empty; its first line is the key", path);
    key->data[key->size] = '\0';
    return 0;
}

static int ask(struct rlhf_remote *r, struct batch *b, struct rlhf_error *err)
{
    const struct rlhf_source_settings *s = rlhf_source_settings(b->source);
    struct rlhf_bytes body = { 0 };
    int rc = write_request(b, &body, err) < 0
                     || rlhf_poster_add(r->poster,
                                        &(struct rlhf_post){ .lane = b->source,
                                                             .concurrency = s->concurrency,
                                                             .url = s->url,
                                                             .key = b->key.data,
                                                             .body = body.data,
                                                             .size = body.size,
                                                             .timeout_ms = s->timeout_ms,
                                                             .attempts = s->attempts,
                                                             .backoff_ms = s->backoff_ms,
                                                             .tag = b },
                                        err)
                            < 0
                 ? -1
                 : 0;

    rlhf_bytes_free(&body);
    return rc;
}

/* A batch whose request cannot even be made is missing, and says why. */
static void send(struct rlhf_remote *r, struct batch *b)
{
    struct rlhf_error why = { 0 };

    if (ask(r, b, &why) < 0)
        failed(r, b, &why);
}

static struct batch *open_batch(struct rlhf_remote *r, const struct rlhf_source *s, struct rlhf_error *err)
{
    const char *credential = rlhf_source_settings(s)->credential;
    struct batch *b = r->open;

    while (b && b->source != s)
        b = b->next;
    if (b)
        return b;
    if (!(b = calloc(1, sizeof *b))) {
        rlhf_fail(err, RLHF_FULL, "no memory for a request");
        return NULL;
    }
    if (credential[0] && read_key(r, credential, &b->key, err) < 0) {
        batch_free(b);
        return NULL;
    }
    b->source = s;
    b->last = &b->first;
    b->next = r->open;
    return r->open = b;
}

static struct wish *a_wish(const struct rlhf_source_text *t, void *tag)
{
    struct wish *w = calloc(1, sizeof *w);

    if (w && (w->prompt = strdup(t->prompt)) && (w->completion = strdup(t->completion))
        && (!t->answer || (w->answer = strdup(t->answer)))) {
        w->tag = tag;
        return w;
    }
    wish_free(w);
    return NULL;
}

int rlhf_remote_add(struct rlhf_remote *r, const struct rlhf_source *s, const struct rlhf_source_text *t, void *tag,
                    struct rlhf_error *err)
{
    const struct rlhf_source_settings *o = rlhf_source_settings(s);
    struct batch *b = open_batch(r, s, err);
    struct wish *w;

    if (!b)
        return -1;
    if (!(w = a_wish(t, tag)))
        return rlhf_fail(err, RLHF_FULL, "no memory for a text to be rewarded");
    *b->last = w;
    b->last = &w->next;
    if (++b->count < (o->kind == RLHF_SOURCE_JUDGE ? 1 : o->batch))
        return 0;
    for (struct batch **at = &r->open; *at; at = &(*at)->next)
        if (*at == b) {
            *at = b->next;
            break;
        }
    send(r, b);
    return 0;
}

void rlhf_remote_flush(struct rlhf_remote *r)
{
    while (r->open) {
        struct batch *b = r->open;

        r->open = b->next;
        if (b->count > 0)
            send(r, b);
        else
            batch_free(b);
    }
}

void rlhf_remote_forget(struct rlhf_remote *r)
{
    while (r->open) {
        struct batch *b = r->open;

        r->open = b->next;
        failed(r, b, NULL);
    }
    rlhf_poster_forget(r->poster);
}

struct rlhf_remote *rlhf_remote_new(const struct rlhf_io *io, const char *credentials, const struct rlhf_remote_taker *taker,
                                    struct rlhf_error *err)
{
    struct rlhf_remote *r = calloc(1, sizeof *r);

    if (!r) {
        rlhf_fail(err, RLHF_FULL, "no memory for remote rewards");
        return NULL;
    }
    r->io = io;
    r->credentials = credentials;
    r->taker = *taker;
    if ((r->poster = rlhf_poster_new(&(struct rlhf_post_taker){ answered, failed, r }, err)))
        return r;
    free(r);
    return NULL;
}

void rlhf_remote_stop(struct rlhf_remote *r)
{
    rlhf_poster_stop(r->poster);
}

void rlhf_remote_free(struct rlhf_remote *r)
{
    if (!r)
        return;
    rlhf_remote_forget(r);
    rlhf_poster_free(r->poster);
    free(r);
}
