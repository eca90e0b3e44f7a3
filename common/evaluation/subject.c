#include "evaluation/subject.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/stop.h"

enum { CACHED_BATCHES = 4 /* tokens in the cache, in batches */, SLOTS = 128, LINES = 32, FEWEST_SLOTS = 3 };

struct rlhf_subject {
    const struct rlhf_model *model;
    const struct rlhf_adapter *adapter;
    const struct rlhf_tokenizer *tokenizer;
    struct rlhf_pool *pool;
    struct rlhf_model_config config;
    struct rlhf_framing framing;
    size_t batch;
    struct rlhf_examination examination;
    struct rlhf_ends ends;        /* of completions */
    struct rlhf_sampling penalties; /* and what else generation_config.json says of them */
    const struct rlhf_form *form; /* of prompts that are answered; NULL: as the text stands */
};

struct rlhf_subject *rlhf_subject_new(const struct rlhf_model *m, const struct rlhf_adapter *a, const struct rlhf_tokenizer *t,
                                      struct rlhf_pool *pool, size_t batch, struct rlhf_error *err)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(m);
    struct rlhf_subject *s;

    if (c->head != RLHF_HEAD_LM) {
        rlhf_fail(err, RLHF_REJECT, "this is a reward model or critic; it gives numbers, and cannot be asked for text");
        return NULL;
    }
    if (rlhf_tokenizer_vocab(t) > c->vocabulary) {
        rlhf_fail(err, RLHF_REJECT, "the tokenizer knows %zu tokens, the model %u; they are not of one checkpoint",
                  rlhf_tokenizer_vocab(t), c->vocabulary);
        return NULL;
    }
    if (!(s = calloc(1, sizeof *s))) {
        rlhf_fail(err, RLHF_FULL, "no memory for an evaluation");
        return NULL;
    }
    *s = (struct rlhf_subject){ .model = m, .adapter = a, .tokenizer = t, .pool = pool, .config = *c, .batch = batch };
    if (c->rope.type == RLHF_ROPE_DYNAMIC && c->context > c->rope.original)
        s->config.context = c->rope.original;
    if ((s->ends.id[0] = rlhf_tokenizer_end(t)) >= 0)
        s->ends.count = 1;
    if (rlhf_framing_init(&s->framing, t, s->config.context, err) == 0)
        return s;
    rlhf_subject_free(s);
    return NULL;
}

void rlhf_subject_free(struct rlhf_subject *s)
{
    if (s)
        rlhf_framing_free(&s->framing);
    free(s);
}

const struct rlhf_framing *rlhf_subject_framing(const struct rlhf_subject *s)
{
    return &s->framing;
}

void rlhf_subject_answer(struct rlhf_subject *s, const struct rlhf_form *f)
{
    s->form = f->chat ? f : NULL;
}

int rlhf_subject_settle(struct rlhf_subject *s, const struct rlhf_generation *g, struct rlhf_error *err)
{
    struct rlhf_ends ends = s->ends;

    for (uint32_t i = 0; i < g->ends.count; i++) {
        if (rlhf_ends_has(&ends, g->ends.id[i]))
            continue;
        if (ends.count == RLHF_MAX_ENDS)
            return rlhf_fail(err, RLHF_REJECT, "more than %d end tokens", RLHF_MAX_ENDS);
        ends.id[ends.count++] = g->ends.id[i];
    }
    s->ends = ends;
    s->penalties = (struct rlhf_sampling){ .repetition_penalty = g->sampling.repetition_penalty,
                                           .no_repeat_ngram = g->sampling.no_repeat_ngram,
                                           .min_new_tokens = g->sampling.min_new_tokens };
    return 0;
}

void rlhf_subject_watch(struct rlhf_subject *s, const struct rlhf_examination *e)
{
    s->examination = *e;
}

static int step(const struct rlhf_subject *s, size_t done, size_t total, struct rlhf_error *err)
{
    const struct rlhf_examination *e = &s->examination;

    return e->step ? e->step(e->ctx, done, total, err) : 0;
}

/* A cache for sequences of up to `longest` tokens. */
static struct rlhf_cache *make_cache(const struct rlhf_subject *s, size_t longest, size_t most, size_t *slots,
                                     struct rlhf_error *err)
{
    struct rlhf_cache *k;

    *slots = CACHED_BATCHES * s->batch / longest;
    *slots = *slots > most ? most : *slots < FEWEST_SLOTS ? FEWEST_SLOTS : *slots;
    if ((k = rlhf_cache_new(&s->config, *slots, longest, s->pool, err)))
        rlhf_cache_adapt(k, s->adapter);
    return k;
}

/* ---- log-probs -------------------------------------------------------------------------------------- */

/* Requests in the order of their contexts, equal ones once. A context's last token is read together with the continuation: what it
 * predicts is wanted. */
struct scoring {
    struct rlhf_subject *s;
    const struct rlhf_requests *r;
    size_t *order;   /* [count] all requests */
    size_t *unique;  /* [uniques] the first of equals */
    size_t uniques;
    struct rlhf_cache *cache; /* slot 0 has the beginning that a batch shares */
    size_t slots;
    const int32_t *shared;    /* [shared_size] what is there */
    size_t shared_size;
    struct rlhf_extend *items; /* [slots] */
    size_t *first_row;         /* [slots] */
    int32_t *target;           /* [rows] */
    float *logprob;            /* [rows] */
    size_t rows;
};

static const int32_t *tokens_of(const struct rlhf_requests *r, size_t i)
{
    return r->tokens.data + r->at[i].start;
}

static size_t context_of(const struct rlhf_requests *r, size_t i)
{
    return r->at[i].size - r->at[i].wanted;
}

static int compare_tokens(const int32_t *a, size_t a_size, const int32_t *b, size_t b_size)
{
    for (size_t i = 0; i < a_size && i < b_size; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return (a_size > b_size) - (a_size < b_size);
}

static int compare_contexts(const struct rlhf_requests *r, size_t a, size_t b)
{
    return compare_tokens(tokens_of(r, a), context_of(r, a), tokens_of(r, b), context_of(r, b));
}

static int compare_requests(const struct rlhf_requests *r, size_t a, size_t b)
{
    int rc = compare_contexts(r, a, b);

    return rc ? rc : compare_tokens(tokens_of(r, a), r->at[a].size, tokens_of(r, b), r->at[b].size);
}

static int compare_places(const void *a, const void *b, void *r)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    int rc = compare_requests(r, x, y);

    return rc ? rc : (x > y) - (x < y);
}

static size_t common(const int32_t *a, size_t a_size, const int32_t *b, size_t b_size)
{
    size_t n = 0;

    while (n < a_size && n < b_size && a[n] == b[n])
        n++;
    return n;
}

static int room_for_rows(struct scoring *c, size_t rows, struct rlhf_error *err)
{
    int32_t *target;
    float *logprob;

    if (rows <= c->rows)
        return 0;
    if ((target = reallocarray(c->target, rows, sizeof *target)))
        c->target = target;
    if ((logprob = reallocarray(c->logprob, rows, sizeof *logprob)))
        c->logprob = logprob;
    if (!target || !logprob)
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu tokens to score", rows);
    c->rows = rows;
    return 0;
}

/* Reads items whose predictions nobody wants. */
static int read_items(struct scoring *c, size_t count, struct rlhf_error *err)
{
    size_t rows = 0;

    for (size_t i = 0; i < count; i++)
        rows += c->items[i].count;
    if (room_for_rows(c, rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows; i++)
        c->target[i] = -1;
    return rlhf_cache_logprobs(c->cache, c->s->model, c->items, count, c->target, c->logprob, err);
}

/* Slot 0 holds the first `size` of these tokens. */
static int share(struct scoring *c, const int32_t *tokens, size_t size, struct rlhf_error *err)
{
    size_t same = common(c->shared, c->shared_size, tokens, size);

    rlhf_cache_fork(c->cache, 0, 0, same);
    c->shared = tokens;
    c->shared_size = same; /* should reading fail */
    c->items[0] = (struct rlhf_extend){ .slot = 0, .tokens = tokens + same, .count = size - same };
    if (size > same && read_items(c, 1, err) < 0)
        return -1;
    c->shared_size = size;
    return 0;
}

/* How many requests from number `from` of the unique ones on have its context, `to` being the end. */
static size_t group_size(const struct scoring *c, size_t from, size_t to)
{
    size_t n = 1;

    while (from + n < to && compare_contexts(c->r, c->unique[from], c->unique[from + n]) == 0)
        n++;
    return n;
}

/* Reads the contexts that several requests have, each in a slot of its own behind those of the requests. */
static int read_contexts(struct scoring *c, size_t from, size_t to, struct rlhf_error *err)
{
    size_t n = 0, slot = 1 + to - from;

    for (size_t i = from, group; i < to; i += group) {
        const size_t first = c->unique[i], read = context_of(c->r, first) - 1;

        group = group_size(c, i, to);
        if (group == 1)
            continue;
        rlhf_cache_fork(c->cache, 0, slot, c->shared_size);
        if (read > c->shared_size)
            c->items[n++] = (struct rlhf_extend){ slot, tokens_of(c->r, first) + c->shared_size, read - c->shared_size };
        slot++;
    }
    return n ? read_items(c, n, err) : 0;
}

/* The items of the requests, what each row is to predict, and where an item's rows begin. */
static int plan_rows(struct scoring *c, size_t from, size_t to, struct rlhf_error *err)
{
    size_t rows = 0, slot = 1 + to - from;

    for (size_t i = from, group; i < to; i += group) {
        group = group_size(c, i, to);
        for (size_t j = i; j < i + group; j++) {
            const struct rlhf_request *q = &c->r->at[c->unique[j]];
            const size_t place = j - from, have = group == 1 ? c->shared_size : context_of(c->r, c->unique[j]) - 1;

            rlhf_cache_fork(c->cache, group == 1 ? 0 : slot, 1 + place, have);
            c->items[place] = (struct rlhf_extend){ 1 + place, tokens_of(c->r, c->unique[j]) + have, q->size - 1 - have };
            c->first_row[place] = rows;
            rows += c->items[place].count;
        }
        slot += group > 1;
    }
    if (room_for_rows(c, rows, err) < 0)
        return -1;
    for (size_t place = 0; place < to - from; place++) {
        const struct rlhf_extend *item = &c->items[place];

        for (size_t t = 0; t < item->count; t++)
            c->target[c->first_row[place] + t] =
                t + c->r->at[c->unique[from + place]].wanted < item->count ? -1 : item->tokens[t + 1];
    }
    return 0;
}

static int score_batch(struct scoring *c, size_t from, size_t to, double *logprob, struct rlhf_error *err)
{
    const size_t first = c->unique[from], last = c->unique[to - 1];
    size_t shared = common(tokens_of(c->r, first), context_of(c->r, first), tokens_of(c->r, last), context_of(c->r, last));

    for (size_t i = from; i < to; i++)
        if (context_of(c->r, c->unique[i]) - 1 < shared)
            shared = context_of(c->r, c->unique[i]) - 1;
    if (share(c, tokens_of(c->r, first), shared, err) < 0 || read_contexts(c, from, to, err) < 0
        || plan_rows(c, from, to, err) < 0
        || rlhf_cache_logprobs(c->cache, c->s->model, c->items, to - from, c->target, c->logprob, err) < 0)
        return -1;
    for (size_t place = 0; place < to - from; place++) {
        double sum = 0;

        for (size_t t = 0; t < c->items[place].count; t++)
            sum += (double)c->logprob[c->first_row[place] + t];
        logprob[c->unique[from + place]] = sum;
    }
    return 0;
}

/* The end of the batch that begins at from: as many as slots (a context that several have takes one more) and tokens allow. */
static size_t batch_end(const struct scoring *c, size_t from)
{
    size_t slots = 1, rows = 0, to = from;
    bool grouped = false; /* its context has its slot already */

    for (; to < c->uniques; to++) {
        const size_t i = c->unique[to], before = to > from ? c->unique[to - 1] : i;
        const bool same = to > from && compare_contexts(c->r, before, i) == 0;
        const size_t known = to == from ? common(c->shared, c->shared_size, tokens_of(c->r, i), context_of(c->r, i))
                                        : common(tokens_of(c->r, before), context_of(c->r, before), tokens_of(c->r, i), context_of(c->r, i));

        slots += 1 + (same && !grouped);
        grouped = same;
        rows += c->r->at[i].size - known;
        if (to > from && (slots > c->slots || rows > c->s->batch))
            break;
    }
    return to;
}

static int score_all(struct scoring *c, double *logprob, struct rlhf_error *err)
{
    for (size_t from = 0, to; from < c->uniques; from = to) {
        to = batch_end(c, from);
        if (score_batch(c, from, to, logprob, err) < 0 || step(c->s, to, c->uniques, err) < 0)
            return -1;
    }
    for (size_t i = 1; i < c->r->count; i++)
        if (compare_requests(c->r, c->order[i - 1], c->order[i]) == 0)
            logprob[c->order[i]] = logprob[c->order[i - 1]];
    return 0;
}

static int prepare(struct scoring *c, struct rlhf_error *err)
{
    const size_t count = c->r->count;
    size_t longest = 1;

    if (!(c->order = calloc(count, sizeof *c->order)) || !(c->unique = calloc(count, sizeof *c->unique)))
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu requests", count);
    for (size_t i = 0; i < count; i++) {
        c->order[i] = i;
        if (c->r->at[i].size - 1 > longest)
            longest = c->r->at[i].size - 1;
    }
    qsort_r(c->order, count, sizeof *c->order, compare_places, (void *)c->r);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || compare_requests(c->r, c->order[i - 1], c->order[i]) != 0)
            c->unique[c->uniques++] = c->order[i];
    if (!(c->cache = make_cache(c->s, longest, SLOTS, &c->slots, err)))
        return -1;
    if (!(c->items = calloc(c->slots, sizeof *c->items)) || !(c->first_row = calloc(c->slots, sizeof *c->first_row)))
        return rlhf_fail(err, RLHF_FULL, "no memory for a batch of %zu requests", c->slots);
    return 0;
}

/* ---- decoding --------------------------------------------------------------------------------------- */

/* A prompt and what is made of it, token by token. */
struct line {
    const int32_t *prompt;
    size_t prompt_count, most; /* tokens to make at most */
    int32_t *made;             /* [most], while it is being made */
    struct rlhf_history history;
    struct rlhf_sample_key key;
};

/* What is made of many lines, some of them at a time; each enters where another has ended. */
struct decoding {
    struct rlhf_subject *s;
    const struct rlhf_sampling *sampling;
    const struct rlhf_ends *ends;
    struct line *lines; /* [count] */
    size_t count;
    /* After each token: *over when line i wants no more; and what becomes of it when it has ended. */
    int (*judge)(void *ctx, size_t i, const struct line *l, bool *over, struct rlhf_error *err);
    int (*finish)(void *ctx, size_t i, const struct line *l, struct rlhf_error *err);
    void *ctx;

    struct rlhf_cache *cache;
    size_t slots, active;
    struct rlhf_extend items[LINES];
    size_t line[LINES]; /* of item i, which is in slot line_slot[i] */
    float *logits;      /* [LINES, V] */
    float *scratch;     /* [2 V] */
};

static int enter(struct decoding *d, size_t slot, size_t i, struct rlhf_error *err)
{
    struct line *l = &d->lines[i];

    if (!(l->made = calloc(l->most, sizeof *l->made)))
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu tokens", l->most);
    l->history = (struct rlhf_history){ .prompt = l->prompt, .completion = l->made, .prompt_count = l->prompt_count,
                                        .ends = d->ends->id, .end_count = d->ends->count };
    rlhf_cache_clear(d->cache, slot);
    d->items[d->active] = (struct rlhf_extend){ .slot = slot, .tokens = l->prompt, .count = l->prompt_count };
    d->line[d->active++] = i;
    return 0;
}

/* A token more for item number `at`. */
static int extend(struct decoding *d, size_t at, bool *over, struct rlhf_error *err)
{
    struct line *l = &d->lines[d->line[at]];
    const size_t v = d->s->config.vocabulary, n = l->history.completion_count;
    struct rlhf_sampled sampled;

    if (rlhf_sample_after(d->logits + at * v, v, d->sampling, &l->history, &l->key, (uint32_t)n, d->scratch, &sampled, err) < 0)
        return -1;
    l->made[n] = sampled.token;
    l->history.completion_count = n + 1;
    d->items[at].tokens = l->made + n;
    d->items[at].count = 1;
    *over = n + 1 == l->most || rlhf_ends_has(d->ends, sampled.token);
    return *over ? 0 : d->judge(d->ctx, d->line[at], l, over, err);
}

static int leave(struct decoding *d, size_t i, struct rlhf_error *err)
{
    struct line *l = &d->lines[i];
    int rc = d->finish(d->ctx, i, l, err);

    free(l->made);
    l->made = NULL;
    return rc;
}

static int decode_all(struct decoding *d, struct rlhf_error *err)
{
    size_t next = 0, done = 0;

    while (d->active < d->slots && next < d->count)
        if (enter(d, d->active, next++, err) < 0)
            return -1;
    while (d->active > 0) {
        size_t kept = 0, ended[LINES], free_slot[LINES], n = 0, before = d->active;

        if (rlhf_cache_extend(d->cache, d->s->model, d->items, d->active, d->logits, err) < 0)
            return -1;
        for (size_t at = 0; at < before; at++) {
            bool over;

            if (extend(d, at, &over, err) < 0)
                return -1;
            if (over) {
                ended[n] = d->line[at];
                free_slot[n++] = d->items[at].slot;
            } else {
                d->items[kept] = d->items[at];
                d->line[kept++] = d->line[at];
            }
        }
        d->active = kept;
        for (size_t i = 0; i < n; i++)
            if (leave(d, ended[i], err) < 0 || (next < d->count && enter(d, free_slot[i], next++, err) < 0))
                return -1;
        done += n;
        if (step(d->s, done, d->count, err) < 0)
            return -1;
    }
    return 0;
}

static int decode(struct decoding *d, struct rlhf_error *err)
{
    const size_t v = d->s->config.vocabulary;
    size_t longest = 1;
    int rc = -1;

    for (size_t i = 0; i < d->count; i++)
        if (d->lines[i].prompt_count + d->lines[i].most > longest)
            longest = d->lines[i].prompt_count + d->lines[i].most;
    longest = longest > d->s->config.context ? d->s->config.context : longest;
    if ((d->cache = make_cache(d->s, longest, LINES, &d->slots, err))
        && (d->logits = rlhf_aligned_new(d->slots * v, sizeof *d->logits, err))
        && (d->scratch = rlhf_aligned_new(2 * v, sizeof *d->scratch, err)))
        rc = decode_all(d, err);
    for (size_t i = 0; i < d->count; i++)
        free(d->lines[i].made);
    rlhf_cache_free(d->cache);
    free(d->logits);
    free(d->scratch);
    return rc;
}

/* ---- is it what the model would say? ------------------------------------------------------------------ */

struct guessing {
    const struct scoring *c;
    bool *greedy;
};

static int judge_guess(void *ctx, size_t i, const struct line *l, bool *over, struct rlhf_error *err)
{
    const struct guessing *g = ctx;
    const size_t last = l->history.completion_count - 1;

    (void)err;
    *over = l->made[last] != tokens_of(g->c->r, g->c->unique[i])[l->prompt_count + last];
    return 0;
}

static int finish_guess(void *ctx, size_t i, const struct line *l, struct rlhf_error *err)
{
    const struct guessing *g = ctx;

    (void)err;
    g->greedy[g->c->unique[i]] = l->history.completion_count == l->most
                                 && memcmp(l->made, tokens_of(g->c->r, g->c->unique[i]) + l->prompt_count,
                                           l->most * sizeof *l->made) == 0;
    return 0;
}

static int guess_all(const struct scoring *c, bool *greedy, struct rlhf_error *err)
{
    static const struct rlhf_sampling likeliest = { .temperature = 0, .top_p = 1, .max_new_tokens = 1 };
    static const struct rlhf_ends none = { .count = 0 };
    struct guessing g = { .c = c, .greedy = greedy };
    struct line *lines = calloc(c->uniques, sizeof *lines);
    struct decoding d = { .s = c->s, .sampling = &likeliest, .ends = &none, .lines = lines, .count = c->uniques,
                          .judge = judge_guess, .finish = finish_guess, .ctx = &g };
    int rc;

    if (!lines)
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu requests", c->uniques);
    for (size_t i = 0; i < c->uniques; i++)
        lines[i] = (struct line){ .prompt = tokens_of(c->r, c->unique[i]), .prompt_count = context_of(c->r, c->unique[i]),
                                  .most = c->r->at[c->unique[i]].wanted };
    rc = decode(&d, err);
    for (size_t i = 1; rc == 0 && i < c->r->count; i++)
        if (compare_requests(c->r, c->order[i - 1], c->order[i]) == 0)
            greedy[c->order[i]] = greedy[c->order[i - 1]];
    free(lines);
    return rc;
}

int rlhf_subject_score(struct rlhf_subject *s, const struct rlhf_requests *r, double *logprob, bool *greedy,
                       struct rlhf_error *err)
{
    struct scoring c = { .s = s, .r = r };
    int rc = 0;

    if (r->count == 0)
        return 0;
    if (prepare(&c, err) < 0 || (greedy && guess_all(&c, greedy, err) < 0)
        || (logprob && score_all(&c, logprob, err) < 0))
        rc = -1;
    rlhf_cache_free(c.cache);
    free(c.order);
    free(c.unique);
    free(c.items);
    free(c.first_row);
    free(c.target);
    free(c.logprob);
    return rc;
}

/* ---- completions ------------------------------------------------------------------------------------ */

struct completing {
    struct rlhf_subject *s;
    const struct rlhf_completing *c;
    struct rlhf_bytes end; /* the text of the tokenizer's end token, which cuts the text, too */
    char **text;
};

static int judge_completion(void *ctx, size_t i, const struct line *l, bool *over, struct rlhf_error *err)
{
    const struct completing *k = ctx;

    (void)i;
    return rlhf_stop_reached(k->s->tokenizer, l->made, l->history.completion_count, k->c->stops, k->c->stop_count, over, err);
}

static void cut_at(struct rlhf_bytes *text, const char *stop)
{
    char *found = stop && *stop ? memmem(text->data, text->size, stop, strlen(stop)) : NULL;

    if (found) {
        text->size = (size_t)(found - text->data);
        *found = '\0';
    }
}

static int finish_completion(void *ctx, size_t i, const struct line *l, struct rlhf_error *err)
{
    const struct completing *k = ctx;
    struct rlhf_bytes text = { 0 };

    if (rlhf_tokenizer_decode_text(k->s->tokenizer, l->made, l->history.completion_count, 0, &text, err) < 0
        || rlhf_bytes_append(&text, "", 0, err) < 0) {
        rlhf_bytes_free(&text);
        return -1;
    }
    for (size_t j = 0; j < k->c->stop_count; j++)
        cut_at(&text, k->c->stops[j]);
    cut_at(&text, k->end.data);
    k->text[i] = text.data;
    return 0;
}

static int frame(const struct completing *k, const char *prompt, size_t most, struct rlhf_tokens *tokens, struct rlhf_error *err)
{
    const size_t before = tokens->size;

    if (!k->c->answers || !k->s->form)
        return rlhf_frame_prompt(&k->s->framing, prompt, most, tokens, err);
    if (rlhf_form_prompt(k->s->form, prompt, tokens, err) < 0)
        return -1;
    rlhf_frame_cut(tokens, before, most);
    return 0;
}

static int frame_lines(struct completing *k, const char *const *prompts, size_t count, struct rlhf_tokens *tokens,
                       struct line *lines, struct rlhf_error *err)
{
    const size_t context = k->s->config.context, most = k->c->sampling.max_new_tokens, samples = k->c->samples;

    if (most >= context)
        return rlhf_fail(err, RLHF_REJECT, "%zu new tokens leave no room for a prompt in the model's context of %zu; ask for fewer",
                         most, context);
    for (size_t i = 0; i < count; i++) {
        const size_t before = tokens->size;

        if (frame(k, prompts[i], context - most, tokens, err) < 0)
            return -1;
        for (size_t j = 0; j < samples; j++)
            lines[i * samples + j] = (struct line){ .prompt_count = tokens->size - before, .most = most,
                                                    .key = { .seed = k->c->seed, .purpose = RLHF_PURPOSE_EVALUATE,
                                                             .prompt = k->c->first_prompt + (uint32_t)i, .sample = (uint32_t)j } };
    }
    for (size_t i = 0, at = 0; i < count; at += lines[i++ * samples].prompt_count)
        for (size_t j = 0; j < samples; j++)
            lines[i * samples + j].prompt = tokens->data + at;
    return 0;
}

int rlhf_subject_complete(struct rlhf_subject *s, const char *const *prompts, size_t count, const struct rlhf_completing *c,
                          char **text, struct rlhf_error *err)
{
    struct completing k = { .s = s, .c = c, .text = text };
    struct line *lines = calloc(count * c->samples, sizeof *lines);
    struct rlhf_sampling sampling = c->sampling;
    struct decoding d = { .s = s, .sampling = &sampling, .ends = &s->ends, .lines = lines, .count = count * c->samples,
                          .judge = judge_completion, .finish = finish_completion, .ctx = &k };
    const int32_t end = rlhf_tokenizer_end(s->tokenizer);
    struct rlhf_tokens tokens = { 0 };
    int rc = -1;

    sampling.repetition_penalty = s->penalties.repetition_penalty;
    sampling.no_repeat_ngram = s->penalties.no_repeat_ngram;
    sampling.min_new_tokens = s->penalties.min_new_tokens;
    if (!lines && count > 0)
        rlhf_fail(err, RLHF_FULL, "no memory for %zu completions", count * c->samples);
    else if ((end < 0 || rlhf_tokenizer_decode_text(s->tokenizer, &end, 1, 1, &k.end, err) == 0)
             && frame_lines(&k, prompts, count, &tokens, lines, err) == 0)
        rc = decode(&d, err);
    rlhf_bytes_free(&k.end);
    rlhf_tokens_free(&tokens);
    free(lines);
    return rc;
}
