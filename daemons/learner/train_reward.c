/* train_reward.c - a reward model from comparisons: the K-wise loss, held-out accuracy, the bias that makes
 * demonstrations score 0 on average. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_parts.h"
#include "rl/preference.h"
#include "rl/statistics.h"
#include "telemetry/log.h"

enum { MOST_COMPLETIONS = 64, MOST_TOGETHER = 64 }; /* of a comparison; comparisons of one pass */

/* Comparisons as token sequences. Comparison i has the completions first[i] .. first[i + 1] - 1. */
struct comparisons {
    struct rlhf_sequences sequences; /* [begin] prompt completion [end], as sampled */
    uint32_t *rank;                  /* [sequences] */
    uint32_t *first;                 /* [count + 1] */
    json_t *sources;                 /* [count] the lines they were read from */
    size_t count, skipped;
};

struct reward {
    struct learner_work *w;
    const struct rlhf_stage_reward *settings;
    size_t limit; /* tokens of a sequence */
    struct comparisons train, validation;
    struct learner_order order;
    struct learner_item *items; /* of a step, or of all validation completions */
    size_t item_capacity;
};

static void comparisons_free(struct comparisons *c)
{
    rlhf_sequences_free(&c->sequences);
    free(c->rank);
    free(c->first);
    json_decref(c->sources);
}

/* ---- reading ----------------------------------------------------------------------------------------- */

static int grow(struct comparisons *c, size_t completions, struct rlhf_error *err)
{
    uint32_t *rank = reallocarray(c->rank, c->sequences.count + completions, sizeof *rank), *first;

    if (rank)
        c->rank = rank;
    first = reallocarray(c->first, c->count + 2, sizeof *first);
    if (first)
        c->first = first;
    if (!c->sources)
        c->sources = json_array();
    if (!rank || !first || !c->sources)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu comparisons", c->count);
    if (c->count == 0)
        c->first[0] = 0;
    return 0;
}

static int append_ids(struct rlhf_tokens *to, const json_t *ids, struct rlhf_error *err)
{
    size_t i;
    json_t *id;

    json_array_foreach(ids, i, id)
    {
        int32_t value = (int32_t)json_integer_value(id);
        if (rlhf_tokens_append(to, &value, 1, err) < 0)
            return -1;
    }
    return 0;
}

/* Adds a line of DIR/comparisons/ROUND.jsonl. */
static int add(struct comparisons *c, size_t limit, json_t *line, struct rlhf_error *err)
{
    json_t *list = json_object_get(line, "completions"), *ranks = json_object_get(line, "ranks"), *entry;
    size_t k = json_array_size(list), i;
    struct rlhf_tokens ids = {0};
    int rc = grow(c, k, err);

    if (k > MOST_COMPLETIONS) {
        c->skipped++;
        return rc;
    }
    json_array_foreach(list, i, entry)
    {
        size_t tokens = json_array_size(json_object_get(line, "prompt_ids")) +
                        json_array_size(json_object_get(entry, "ids"));
        if (tokens > limit || tokens == 0) {
            c->skipped++;
            return rc;
        }
    }
    for (i = 0; rc == 0 && i < k; i++) {
        rlhf_tokens_clear(&ids);
        c->rank[c->sequences.count] = (uint32_t)json_integer_value(json_array_get(ranks, i));
        rc = append_ids(&ids, json_object_get(line, "prompt_ids"), err) < 0 ||
                     append_ids(&ids, json_object_get(json_array_get(list, i), "ids"), err) < 0 ||
                     rlhf_sequences_append(&c->sequences, ids.data, ids.size, err) < 0
                 ? -1
                 : 0;
    }
    rlhf_tokens_free(&ids);
    if (rc == 0) {
        json_array_append(c->sources, line);
        c->first[++c->count] = (uint32_t)c->sequences.count;
    }
    return rc;
}

/* Held out or not depends on the prompt alone, so one prompt is never on both sides. */
static bool held_out(const struct reward *r, const json_t *line)
{
    const char *prompt = json_string_value(json_object_get(line, "prompt"));

    return r->settings->validation.count == 0 &&
           rlhf_crc32c(0, prompt, strlen(prompt)) < r->settings->held_out * 4294967296.0;
}

static bool has_pair(const json_t *line)
{
    json_t *ranks = json_object_get(line, "ranks");

    for (size_t i = 1; i < json_array_size(ranks); i++)
        if (json_integer_value(json_array_get(ranks, i)) != json_integer_value(json_array_get(ranks, 0)))
            return true;
    return false;
}

static int read_round(struct reward *r, const char *round, struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    json_t *lines, *line;
    size_t i;
    int rc = 0;

    if (learner_path(r->w->t, path, sizeof path, err, "comparisons/%s.jsonl", round) < 0 ||
        !(lines = learner_read_lines(r->w->t, path, err)))
        return -1;
    json_array_foreach(lines, i, line)
    {
        if (rc == 0 && held_out(r, line))
            rc = add(&r->validation, r->limit, line, err);
        else if (rc == 0 && has_pair(line))
            rc = add(&r->train, r->limit, line, err);
    }
    json_object_set_new(json_object_get(r->w->provenance, "comparisons"), round,
                        json_integer((json_int_t)json_array_size(lines)));
    json_decref(lines);
    return rc;
}

/* A comparison given as text, in the form of our own files. */
static json_t *tokenised(const struct learner_trainer *t, const struct rlhf_comparison *c,
                         struct rlhf_error *err)
{
    json_t *completions = json_array(), *ranks = json_array(), *prompt_ids;
    int32_t begin = rlhf_tokenizer_begin(t->tokenizer), end = rlhf_tokenizer_end(t->tokenizer);

    prompt_ids = learner_encode(t, c->prompt, begin, -1, err);
    for (size_t k = 0; prompt_ids && k < c->count; k++) {
        json_t *ids = learner_encode(t, c->completion[k], -1, end, err);
        if (!ids) {
            json_decref(prompt_ids);
            prompt_ids = NULL;
            break;
        }
        json_array_append_new(completions, json_pack("{s:s, s:o}", "text", c->completion[k], "ids", ids));
        json_array_append_new(ranks, json_integer(c->rank[k]));
    }
    if (!prompt_ids) {
        json_decref(completions);
        json_decref(ranks);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "prompt", c->prompt, "prompt_ids", prompt_ids, "completions",
                     completions, "ranks", ranks);
}

/* A line that is JSON but no comparison (published sets hold a few: equal completions, prompts that differ)
 * is said aloud and left out. */
static int add_validation(struct reward *r, const char *line, const char *where, size_t *refused,
                          struct rlhf_error *err)
{
    struct rlhf_comparison c = {0};
    struct rlhf_error why = {0};
    json_t *o = json_loads(line, 0, NULL);
    int rc;

    if (!o)
        return rlhf_fail(err, RLHF_REJECT, "%s: not JSON", where);
    json_decref(o);
    if (rlhf_comparison_parse(&c, line, strlen(line), where, &why) < 0) {
        rlhf_log(RLHF_LEVEL_WARNING, "comparison-left-out stage=%s reason=\"%s\"", r->w->name, why.text);
        ++*refused;
        return 0;
    }
    o = tokenised(r->w->t, &c, err);
    rc = o ? add(&r->validation, r->limit, o, err) : -1;
    json_decref(o);
    rlhf_comparison_free(&c);
    return rc;
}

static int read_validation(struct reward *r, const char *path, struct rlhf_error *err)
{
    struct rlhf_bytes bytes = {0};
    size_t number = 0, lines = 0, refused = 0;
    char *at, *line, where[LEARNER_PATH];
    int rc = rlhf_read_file(r->w->t->io, path, LEARNER_FILE_LIMIT, &bytes, err);

    for (at = bytes.data; rc == 0 && at && (line = strsep(&at, "\n"));) {
        number++;
        if (!*line)
            continue;
        lines++;
        snprintf(where, sizeof where, "%s:%zu", path, number);
        rc = add_validation(r, line, where, &refused, err);
    }
    rlhf_bytes_free(&bytes);
    if (rc == 0 && refused == lines)
        rc = rlhf_fail(err, RLHF_REJECT, "%s: not one of its %zu lines is a comparison", path, lines);
    return rc;
}

static int read_all(struct reward *r, struct rlhf_error *err)
{
    const struct rlhf_config_strings *rounds = &r->settings->rounds, *files = &r->settings->validation;

    json_object_set_new(r->w->provenance, "comparisons", json_object());
    for (size_t i = 0; i < rounds->count; i++)
        if (read_round(r, rounds->items[i], err) < 0)
            return -1;
    for (size_t i = 0; i < files->count; i++)
        if (read_validation(r, files->items[i], err) < 0)
            return -1;
    if (r->train.skipped + r->validation.skipped)
        rlhf_log(RLHF_LEVEL_WARNING, "comparisons-too-large stage=%s left_out=%zu limit=%zu", r->w->name,
                 r->train.skipped + r->validation.skipped, r->limit);
    if (r->train.count == 0)
        return rlhf_fail(err, RLHF_REJECT,
                         "the rounds hold no comparison with a preference of at most %zu tokens", r->limit);
    rlhf_log(RLHF_LEVEL_INFO, "comparisons-read stage=%s train=%zu held_out=%zu", r->w->name, r->train.count,
             r->validation.count);
    return learner_order_init(&r->order, (uint64_t)r->w->t->run->run.seed, r->w->key, r->train.count, err);
}

/* ---- training ---------------------------------------------------------------------------------------- */

/* Appends comparison i's completions to r->items[n...]; returns the new n, 0 when out of memory. */
static size_t put_items(struct reward *r, const struct comparisons *c, size_t i, size_t n,
                        struct rlhf_error *err)
{
    size_t k = c->first[i + 1] - c->first[i];

    if (n + k > r->item_capacity) {
        size_t wanted = 2 * (n + k);
        struct learner_item *grown = reallocarray(r->items, wanted, sizeof *grown);
        if (!grown) {
            rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions", wanted);
            return 0;
        }
        r->items = grown;
        r->item_capacity = wanted;
    }
    for (uint32_t j = c->first[i]; j < c->first[i + 1]; j++) {
        uint32_t from = c->sequences.start[j], to = c->sequences.start[j + 1];
        r->items[n++] = (struct learner_item){.ids = c->sequences.tokens.data + from, .count = to - from};
    }
    return n;
}

/* The pairs of the packed comparisons index[0 .. count), whose completions r->items are, forward and
 * backward. */
static int pairs_gradient(struct reward *r, struct learner_training *tr, const uint32_t *index, size_t count,
                          size_t items, double scale, double *loss, struct rlhf_agreement *a,
                          struct rlhf_error *err)
{
    static const struct rlhf_preference paper = {0};
    struct learner_batch *b = &tr->compute.batch;

    if (learner_compute_forward_all(&tr->compute, tr->model, r->items, items, err) < 0 ||
        rlhf_pass_scalars(tr->compute.pass, tr->model, b->value, err) < 0)
        return -1;
    memset(b->slope, 0, b->tokens.size * sizeof *b->slope);
    for (size_t i = 0, n = 0; i < count; i++) {
        uint32_t first = r->train.first[index[i]], k = r->train.first[index[i] + 1] - first;
        float reward[MOST_COMPLETIONS], slope[MOST_COMPLETIONS];
        for (uint32_t j = 0; j < k; j++) {
            reward[j] = b->value[b->start[n + j + 1] - 1];
            slope[j] = 0;
        }
        *loss += scale * rlhf_kway_loss(&paper, reward, r->train.rank + first, k, scale, slope, NULL);
        rlhf_agreement_add(a, reward, r->train.rank + first, k);
        for (uint32_t j = 0; j < k; j++)
            b->slope[b->start[n + j + 1] - 1] = slope[j];
        n += k;
    }
    return rlhf_pass_backward_scalars(tr->compute.pass, tr->model, b->slope, tr->optimizer.grad, err);
}

static size_t tokens_of(const struct comparisons *c, size_t i)
{
    return c->sequences.start[c->first[i + 1]] - c->sequences.start[c->first[i]];
}

static int step(struct learner_training *tr, void *ctx, uint64_t number, double *loss, uint64_t *tokens,
                json_t *metrics, struct rlhf_error *err)
{
    struct reward *r = ctx;
    size_t batch = (size_t)r->settings->batch;
    struct rlhf_agreement a = {0};

    for (size_t i = 0; i < batch;) {
        uint32_t index[MOST_TOGETHER];
        size_t count = 0, items = 0, packed = 0;
        while (i < batch && count < MOST_TOGETHER) { /* all completions of a prompt in one pass */
            uint32_t at = learner_order_at(&r->order, number * batch + i);
            if (count > 0 && packed + tokens_of(&r->train, at) > tr->compute.limit)
                break;
            packed += tokens_of(&r->train, at);
            if ((items = put_items(r, &r->train, at, items, err)) == 0)
                return -1;
            index[count++] = at;
            i++;
        }
        *tokens += packed;
        if (pairs_gradient(r, tr, index, count, items, 1 / (double)batch, loss, &a, err) < 0)
            return -1;
    }
    learner_metric(metrics, "accuracy", a.right / (double)a.pairs);
    return 0;
}

/* ---- measuring --------------------------------------------------------------------------------------- */

static void put_agreement(json_t *o, const char *prefix, struct rlhf_agreement *a)
{
    struct rlhf_interval i = rlhf_wilson(a->right, (double)a->pairs, 1.96);
    char key[64];

    rlhf_agreement_end(a);
    snprintf(key, sizeof key, "%saccuracy", prefix);
    learner_metric(o, key, a->pairs ? a->right / (double)a->pairs : NAN);
    snprintf(key, sizeof key, "%slow", prefix);
    learner_metric(o, key, i.low);
    snprintf(key, sizeof key, "%shigh", prefix);
    learner_metric(o, key, i.high);
}

static int validate(struct reward *r, struct learner_training *tr, json_t *o, struct rlhf_error *err)
{
    struct comparisons *c = &r->validation;
    struct rlhf_agreement model = {0}, length = {0};
    struct rlhf_bytes lines = {0};
    char path[LEARNER_PATH];
    float *score = calloc(2 * c->sequences.count + 1, sizeof *score), *size = score + c->sequences.count;
    size_t items = 0;
    int rc = score ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for validation");

    for (size_t i = 0; rc == 0 && i < c->count; i++)
        rc = (items = put_items(r, c, i, items, err)) == 0 ? -1 : 0;
    if (rc == 0 && items > 0)
        rc = learner_last_scalars(&tr->compute, tr->model, r->items, items, score, err);
    for (size_t i = 0; rc == 0 && i < items; i++)
        size[i] = (float)r->items[i].count;
    for (size_t i = 0; rc == 0 && i < c->count; i++) {
        uint32_t first = c->first[i], k = c->first[i + 1] - first;
        json_t *line = json_deep_copy(json_array_get(c->sources, i)), *scores = json_array(), *entry;
        size_t j;
        rlhf_agreement_add(&model, score + first, c->rank + first, k);
        rlhf_agreement_add(&length, size + first, c->rank + first, k);
        for (j = 0; j < k; j++)
            json_array_append_new(scores, json_real(score[first + j]) ?: json_null());
        json_object_set_new(line, "scores", scores);
        json_object_del(line, "prompt_ids");
        json_array_foreach(json_object_get(line, "completions"), j, entry) json_object_del(entry, "ids");
        rc = learner_append_json(&lines, line, err);
        json_decref(line);
    }
    if (rc == 0) {
        json_object_set_new(o, "comparisons", json_integer((json_int_t)c->count));
        json_object_set_new(o, "pairs", json_integer((json_int_t)model.pairs));
        json_object_set_new(o, "ties", json_integer((json_int_t)model.ties));
        put_agreement(o, "", &model);
        put_agreement(o, "length_", &length);
        learner_metric(o, "margin_of_ties", model.margin);
        learner_metric(o, "margin_of_pairs", model.ordered_margin);
        rc = learner_path(r->w->t, path, sizeof path, err, "evaluations/%s/validation.jsonl", r->w->name) <
                         0 ||
                     learner_write_file(r->w, path, &lines, err) < 0
                 ? -1
                 : 0;
    }
    rlhf_bytes_free(&lines);
    free(score);
    return rc;
}

/* Sets the bias so that demonstrations score 0 on average (InstructGPT, appendix C.2). */
static int center(struct reward *r, struct learner_training *tr, json_t *o, struct rlhf_error *err)
{
    struct rlhf_demonstrations d = {0};
    struct learner_order order = {0};
    size_t count = (size_t)r->settings->zero_mean_count;
    struct learner_item *items = NULL;
    float *score = NULL;
    double mean = 0, square = 0;
    int rc = -1;

    if (rlhf_read_demonstrations(r->settings->zero_mean_on, r->w->t->tokenizer, r->limit, &d, err) < 0)
        return -1;
    count = count < d.sequences.count ? count : d.sequences.count;
    if (count == 0) {
        rlhf_fail(err, RLHF_REJECT, "%s: no demonstration of at most %zu tokens", r->settings->zero_mean_on,
                  r->limit);
        goto out;
    }
    items = calloc(count, sizeof *items);
    score = calloc(count, sizeof *score);
    if (!items || !score) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu demonstrations", count);
        goto out;
    }
    if (learner_order_init(&order, (uint64_t)r->w->t->run->run.seed, r->w->key, d.sequences.count, err) < 0)
        goto out;
    for (size_t i = 0; i < count; i++) {
        uint32_t at = learner_order_at(&order, i), from = d.sequences.start[at];
        items[i] = (struct learner_item){.ids = d.sequences.tokens.data + from,
                                         .count = d.sequences.start[at + 1] - from};
    }
    if (learner_last_scalars(&tr->compute, tr->model, items, count, score, err) < 0)
        goto out;
    for (size_t i = 0; i < count; i++) {
        mean += score[i] / (double)count;
        square += (double)score[i] * score[i] / (double)count;
    }
    rlhf_model_set_bias(tr->model, rlhf_model_bias(tr->model) - (float)mean);
    learner_metric(o, "bias", rlhf_model_bias(tr->model));
    learner_metric(o, "demonstrations_sd", sqrt(fmax(0, square - mean * mean)));
    rc = 0;
out:
    free(items);
    free(score);
    learner_order_free(&order);
    rlhf_demonstrations_free(&d);
    return rc;
}

static int finish(struct reward *r, struct learner_training *tr, struct rlhf_error *err)
{
    json_t *o = json_object();
    char path[LEARNER_PATH];
    int rc = -1;

    learner_progress(r->w, "measuring");
    if (learner_path(r->w->t, path, sizeof path, err, "evaluations/%s", r->w->name) == 0 &&
        rlhf_make_dirs(r->w->t->io, path, err) == 0 &&
        (!r->settings->zero_mean_on || center(r, tr, o, err) == 0) && validate(r, tr, o, err) == 0 &&
        learner_path(r->w->t, path, sizeof path, err, "evaluations/%s/metrics.json", r->w->name) == 0 &&
        learner_write_json(r->w, path, o, err) == 0) {
        rlhf_log(
            RLHF_LEVEL_INFO,
            "reward-model stage=%s accuracy=%.3f low=%.3f high=%.3f length_accuracy=%.3f pairs=%lld sd=%.3f",
            r->w->name, json_number_value(json_object_get(o, "accuracy")),
            json_number_value(json_object_get(o, "low")), json_number_value(json_object_get(o, "high")),
            json_number_value(json_object_get(o, "length_accuracy")),
            (long long)json_integer_value(json_object_get(o, "pairs")),
            json_number_value(json_object_get(o, "demonstrations_sd")));
        json_object_set(r->w->provenance, "measured", o);
        rc = learner_save_model(r->w, tr->model, err);
    }
    json_decref(o);
    return rc;
}

int learner_reward(struct learner_work *w, struct rlhf_error *err)
{
    const struct rlhf_stage_reward *s = w->stage->reward;
    struct rlhf_model *model =
        learner_load_model(w, rlhf_stage_from(w->t->run, w->index), RLHF_HEAD_SCALAR, err);
    struct reward r = {.w = w, .settings = s};
    struct learner_training tr = {0};
    uint64_t steps;
    int rc = -1;

    if (!model)
        return -1;
    r.limit = rlhf_model_get_config(model)->context;
    if (s->max_tokens && (size_t)s->max_tokens < r.limit)
        r.limit = (size_t)s->max_tokens;
    if (read_all(&r, err) < 0) {
        rlhf_model_free(model);
        goto out;
    }
    steps = (uint64_t)s->epochs * r.train.count / (uint64_t)s->batch;
    if (learner_training_init(&tr, w, model, &s->optimizer, NULL, steps ? steps : 1, err) < 0)
        goto out;
    tr.step = step;
    tr.ctx = &r;
    rc = learner_training_run(&tr, err) < 0 || finish(&r, &tr, err) < 0 ? -1 : 0;
    learner_training_free(&tr);
out:
    comparisons_free(&r.train);
    comparisons_free(&r.validation);
    learner_order_free(&r.order);
    free(r.items);
    return rc;
}
