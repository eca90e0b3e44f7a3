/* train_rollouts.c - packed completions: adding some, leaving some out. */
#include "learner/train_rollouts.h"

#include <stdlib.h>
#include <string.h>

enum { TOKEN_ARRAYS = 7 }; /* one block, carved */

static void carve(struct learner_rollouts *r, float *block, size_t tokens)
{
    r->logprob_old = block;
    r->logprob_ref = block + tokens;
    r->value = block + 2 * tokens;
    r->reward = block + 3 * tokens;
    r->advantage = block + 4 * tokens;
    r->ret = block + 5 * tokens;
    r->logprob_prox = block + 6 * tokens;
    r->token_capacity = tokens;
}

static int reserve(struct learner_rollouts *r, size_t tokens, struct rlhf_error *err)
{
    struct learner_rollouts before = *r;
    size_t wanted = tokens > 2 * r->token_capacity ? tokens : 2 * r->token_capacity;
    float *block;

    if (tokens <= r->token_capacity)
        return 0;
    if (!(block = calloc(TOKEN_ARRAYS * wanted, sizeof *block)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for an iteration of %zu tokens", wanted);
    carve(r, block, wanted);
    if (r->tokens > 0) {
        memcpy(r->logprob_old, before.logprob_old, r->tokens * sizeof(float));
        memcpy(r->logprob_ref, before.logprob_ref, r->tokens * sizeof(float));
    }
    free(before.logprob_old);
    return 0;
}

int learner_rollouts_init(struct learner_rollouts *r, size_t capacity, struct rlhf_error *err)
{
    *r = (struct learner_rollouts){.capacity = capacity};
    r->items = calloc(capacity, sizeof *r->items);
    r->start = calloc(capacity + 1, sizeof *r->start);
    r->prompt = calloc(capacity, sizeof *r->prompt);
    r->group = calloc(capacity + 1, sizeof *r->group);
    r->ended = calloc(capacity, sizeof *r->ended);
    r->score = calloc(capacity, sizeof *r->score);
    r->whole = calloc(capacity, sizeof *r->whole);
    r->kl = calloc(capacity, sizeof *r->kl);
    if (r->items && r->start && r->prompt && r->group && r->ended && r->score && r->whole && r->kl)
        return 0;
    learner_rollouts_free(r);
    return rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions an iteration", capacity);
}

void learner_rollouts_free(struct learner_rollouts *r)
{
    rlhf_tokens_free(&r->ids);
    free(r->items), free(r->start), free(r->prompt), free(r->group), free(r->ended);
    free(r->score), free(r->whole), free(r->kl), free(r->logprob_old);
    *r = (struct learner_rollouts){0};
}

void learner_rollouts_clear(struct learner_rollouts *r)
{
    rlhf_tokens_clear(&r->ids);
    r->count = r->tokens = 0;
    r->start[0] = 0;
}

int learner_rollouts_add(struct learner_rollouts *r, const struct learner_generate_job *job,
                         const struct learner_rollout *rollout, uint32_t prompt, struct rlhf_error *err)
{
    size_t i = r->count;

    if (reserve(r, r->tokens + rollout->count, err) < 0 ||
        rlhf_tokens_append(&r->ids, job->prompt_ids, job->prompt_count, err) < 0 ||
        rlhf_tokens_append(&r->ids, rollout->ids, rollout->count, err) < 0)
        return -1;
    memcpy(r->logprob_old + r->tokens, rollout->logprob, rollout->count * sizeof(float));
    r->items[i] = (struct learner_item){.count = job->prompt_count + rollout->count, .first = job->prompt_count};
    r->prompt[i] = prompt;
    r->ended[i] = rollout->ended;
    r->tokens += rollout->count;
    r->start[++r->count] = (uint32_t)r->tokens;
    return 0;
}

void learner_rollouts_locate(struct learner_rollouts *r)
{
    size_t at = 0;

    for (size_t i = 0; i < r->count; i++) {
        r->items[i].ids = r->ids.data + at;
        at += r->items[i].count;
    }
}

void learner_rollouts_keep(struct learner_rollouts *r, const bool *keep)
{
    float *const by_token[] = {r->logprob_old, r->logprob_ref, r->value,
                               r->reward,      r->advantage,   r->ret,  r->logprob_prox};
    size_t kept = 0, tokens = 0, id = 0, kept_ids = 0;

    for (size_t i = 0; i < r->count; i++) {
        size_t from = r->start[i], size = r->start[i + 1] - from, ids = r->items[i].count;

        if (keep[i]) {
            memmove(r->ids.data + kept_ids, r->ids.data + id, ids * sizeof *r->ids.data);
            for (size_t a = 0; a < TOKEN_ARRAYS; a++)
                memmove(by_token[a] + tokens, by_token[a] + from, size * sizeof(float));
            r->items[kept] = r->items[i];
            r->prompt[kept] = r->prompt[i];
            r->ended[kept] = r->ended[i];
            r->score[kept] = r->score[i];
            r->whole[kept] = r->whole[i];
            r->kl[kept] = r->kl[i];
            r->start[kept++] = (uint32_t)tokens; /* never one that is still to be read: kept <= i */
            tokens += size;
            kept_ids += ids;
        }
        id += ids;
    }
    r->count = kept;
    r->tokens = tokens;
    r->ids.size = kept_ids;
    r->start[kept] = (uint32_t)tokens;
    learner_rollouts_locate(r);
}

struct rlhf_ragged learner_rollouts_groups(struct learner_rollouts *r)
{
    size_t groups = 0;

    for (size_t i = 0; i < r->count; i++)
        if (i == 0 || r->prompt[i] != r->prompt[i - 1])
            r->group[groups++] = (uint32_t)i;
    r->group[groups] = (uint32_t)r->count;
    return (struct rlhf_ragged){r->group, groups};
}
