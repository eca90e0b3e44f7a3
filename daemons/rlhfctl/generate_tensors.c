/* Completions of padded rows of token ids, in the arrangement of transformers' generate(). */
#include <stdlib.h>
#include <string.h>

#include "rlhfctl/generate.h"
#include "rlhfctl/tensors.h"

enum { GROUP = 16, MAX_CONTEXT = 1 << 24 }; /* rows at a time; what a row becomes does not depend on it */

struct row {
    struct rlhf_history history;
    int32_t *completion; /* [n] */
    bool ended;
};

struct rows {
    const struct generate *g;
    struct ctl_tensors in;
    struct ctl_batch batch;
    size_t longest, most; /* new tokens of a row: so far, at most */
    struct row *rows;     /* [B] */
    float *logprob, *logprob_raw; /* [B, most] */
    struct rlhf_cache *cache;     /* of GROUP slots */
    float *logits, *scratch;      /* [GROUP, V], [2 V] */
};

static int begin(struct rows *r, struct rlhf_error *err)
{
    struct rlhf_model_config c = *rlhf_model_get_config(r->g->model);
    const struct rlhf_generation *s = &r->g->settings;
    size_t context = 0;

    r->most = s->sampling.max_new_tokens;
    if (ctl_tensors_open(&r->in, r->g->input, err) < 0 || ctl_batch_read(&r->batch, &r->in, c.vocabulary, err) < 0)
        return -1;
    for (size_t b = 0; b < r->batch.rows; b++)
        if (context < r->batch.start[b + 1] - r->batch.start[b])
            context = r->batch.start[b + 1] - r->batch.start[b];
    context += r->most;
    if (c.position == RLHF_POSITION_ROTARY && context > c.context && context < MAX_CONTEXT)
        c.context = (uint32_t)context; /* such positions do not end with those of training, nor does transformers */
    if (context > c.context)
        return rlhf_fail(err, RLHF_REJECT, "%s: a row of %zu tokens and %zu new ones exceed the model's context of %u",
                         r->g->input, context - r->most, r->most, c.context);
    r->rows = calloc(r->batch.rows, sizeof *r->rows);
    r->logprob = calloc(r->batch.rows * r->most, sizeof *r->logprob);
    r->logprob_raw = calloc(r->batch.rows * r->most, sizeof *r->logprob_raw);
    if (!r->rows || !r->logprob || !r->logprob_raw)
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu rows of %zu new tokens", r->batch.rows, r->most);
    for (size_t b = 0; b < r->batch.rows; b++) {
        if (!(r->rows[b].completion = calloc(r->most, sizeof *r->rows[b].completion)))
            return rlhf_fail(err, RLHF_FULL, "no memory for %zu new tokens", r->most);
        r->rows[b].history = (struct rlhf_history){.prompt = r->batch.ids + r->batch.start[b],
                                                   .prompt_count = r->batch.start[b + 1] - r->batch.start[b],
                                                   .completion = r->rows[b].completion,
                                                   .ends = s->ends.id,
                                                   .end_count = s->ends.count};
    }
    if (!(r->cache = rlhf_cache_new(&c, GROUP, context, r->g->pool, err)) ||
        !(r->logits = rlhf_aligned_new(GROUP * (size_t)c.vocabulary, sizeof(float), err)) ||
        !(r->scratch = rlhf_aligned_new(2 * (size_t)c.vocabulary, sizeof(float), err)))
        return -1;
    rlhf_cache_adapt(r->cache, r->g->adapter);
    return 0;
}

/* One token for row b, whose logits these are. */
static int extend(struct rows *r, size_t b, const float *logits, struct rlhf_error *err)
{
    struct row *row = &r->rows[b];
    const struct rlhf_sample_key key = {
        .seed = r->g->seed, .purpose = RLHF_PURPOSE_SAMPLE, .prompt = (uint32_t)b, .sample = 0};
    size_t n = row->history.completion_count;
    struct rlhf_sampled sampled;
    struct rlhf_error why = {0};

    if (generate_token(r->g, logits, &row->history, row->completion, &key, r->scratch, &sampled, &row->ended, &why) < 0)
        return rlhf_fail(err, why.code, "row %zu, new token %zu: %s", b, n, why.text);
    r->logprob[b * r->most + n] = sampled.logprob;
    r->logprob_raw[b * r->most + n] = sampled.logprob_raw;
    if (r->longest < n + 1)
        r->longest = n + 1;
    return 0;
}

/* Rows first .. first + count - 1, until all have ended. */
static int complete(struct rows *r, size_t first, size_t count, struct rlhf_error *err)
{
    size_t vocabulary = rlhf_model_get_config(r->g->model)->vocabulary, of[GROUP], items;
    struct rlhf_extend item[GROUP];

    for (size_t slot = 0; slot < count; slot++)
        rlhf_cache_clear(r->cache, slot);
    for (size_t n = 0; n < r->most; n++) {
        items = 0;
        for (size_t slot = 0; slot < count; slot++) {
            const struct row *row = &r->rows[first + slot];

            if (row->ended)
                continue;
            of[items] = first + slot;
            item[items++] = n == 0 ? (struct rlhf_extend){slot, row->history.prompt, row->history.prompt_count}
                                   : (struct rlhf_extend){slot, row->completion + n - 1, 1};
        }
        if (items == 0)
            return 0;
        if (rlhf_cache_extend(r->cache, r->g->model, item, items, r->logits, err) < 0)
            return -1;
        for (size_t i = 0; i < items; i++)
            if (extend(r, of[i], r->logits + i * vocabulary, err) < 0)
                return -1;
    }
    return 0;
}

/* Rows as given, what they became, and padding up to the longest. */
static int write_rows(struct rows *r, struct rlhf_error *err)
{
    const size_t rows = r->batch.rows, prompt = r->batch.width, width = prompt + r->longest;
    const size_t shape[] = {rows, width}, shape_new[] = {rows, r->longest};
    int64_t *sequences = calloc(rows * width, sizeof *sequences), pad = r->g->settings.pad;
    int rc;

    if (!sequences)
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu x %zu tokens", rows, width);
    for (size_t b = 0; b < rows; b++) {
        size_t count = r->rows[b].history.completion_count;

        for (size_t s = 0; s < prompt; s++)
            sequences[b * width + s] = r->batch.padded[b * prompt + s];
        for (size_t i = 0; i < r->longest; i++)
            sequences[b * width + prompt + i] = i < count ? r->rows[b].completion[i] : pad < 0 ? 0 : pad;
        memmove(r->logprob + b * r->longest, r->logprob + b * r->most, r->longest * sizeof *r->logprob);
        memmove(r->logprob_raw + b * r->longest, r->logprob_raw + b * r->most, r->longest * sizeof *r->logprob_raw);
    }
    rc = ctl_tensors_write(
        r->g->output,
        (struct rlhf_safetensor[]){ctl_tensor("sequences", RLHF_DTYPE_I64, sequences, 2, shape),
                                   ctl_tensor("logprobs", RLHF_DTYPE_F32, r->logprob_raw, 2, shape_new),
                                   ctl_tensor("logprobs_sampled", RLHF_DTYPE_F32, r->logprob, 2, shape_new)},
        3, err);
    free(sequences);
    return rc;
}

int generate_tensors(const struct generate *g, struct rlhf_error *err)
{
    struct rows r = {.g = g};
    int rc = begin(&r, err);

    for (size_t b = 0; rc == 0 && b < r.batch.rows; b += GROUP)
        rc = complete(&r, b, r.batch.rows - b < GROUP ? r.batch.rows - b : GROUP, err);
    if (rc == 0)
        rc = write_rows(&r, err);
    for (size_t b = 0; r.rows && b < r.batch.rows; b++)
        free(r.rows[b].completion);
    free(r.rows);
    free(r.logprob);
    free(r.logprob_raw);
    free(r.logits);
    free(r.scratch);
    rlhf_cache_free(r.cache);
    ctl_batch_free(&r.batch);
    ctl_tensors_close(&r.in);
    return rc;
}
