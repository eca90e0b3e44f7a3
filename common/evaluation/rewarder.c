#include "evaluation/rewarder.h"

#include <stdlib.h>

#include "evaluation/requests.h"

struct rlhf_reward_model {
    const struct rlhf_model *model;
    const struct rlhf_form *form;
    struct rlhf_pass *pass;
    size_t batch, context;

    struct rlhf_tokens tokens; /* of one batch */
    uint32_t *start;           /* [batch + 2] */
    float *scalar;             /* [scalars] */
    size_t scalars;
};

struct rlhf_reward_model *rlhf_reward_model_new(const struct rlhf_model *m, const struct rlhf_form *f, struct rlhf_pool *pool,
                                                size_t batch, struct rlhf_error *err)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(m);
    struct rlhf_reward_model *r;

    if (c->head != RLHF_HEAD_SCALAR) {
        rlhf_fail(err, RLHF_REJECT, "this is a language model, no reward model");
        return NULL;
    }
    if (rlhf_tokenizer_vocab(f->tokenizer) > c->vocabulary) {
        rlhf_fail(err, RLHF_REJECT, "the tokenizer knows %zu tokens, the model %u; they are not of one checkpoint",
                  rlhf_tokenizer_vocab(f->tokenizer), c->vocabulary);
        return NULL;
    }
    if (!(r = calloc(1, sizeof *r))) {
        rlhf_fail(err, RLHF_FULL, "no memory for a reward model");
        return NULL;
    }
    *r = (struct rlhf_reward_model){ .model = m, .form = f, .batch = batch, .context = c->context };
    if (!(r->start = calloc(batch + 2, sizeof *r->start)))
        rlhf_fail(err, RLHF_FULL, "no memory for batches of %zu tokens", batch);
    else if ((r->pass = rlhf_pass_new(c, pool, 0, err)))
        return r;
    rlhf_reward_model_free(r);
    return NULL;
}

void rlhf_reward_model_free(struct rlhf_reward_model *r)
{
    if (!r)
        return;
    rlhf_pass_free(r->pass);
    rlhf_tokens_free(&r->tokens);
    free(r->start);
    free(r->scalar);
    free(r);
}

/* One sequence more behind those of the batch. */
static int append_text(struct rlhf_reward_model *r, const char *prompt, const char *completion, struct rlhf_error *err)
{
    const size_t begin = r->tokens.size;

    if (rlhf_form_prompt(r->form, prompt, &r->tokens, err) < 0
        || rlhf_form_completion(r->form, prompt, completion, &r->tokens, err) < 0)
        return -1;
    if (r->tokens.size == begin)
        return rlhf_fail(err, RLHF_REJECT, "an empty completion of an empty prompt has no reward");
    rlhf_frame_cut(&r->tokens, begin, r->context);
    return 0;
}

/* The rewards of the sequences in the batch. */
static int reward_batch(struct rlhf_reward_model *r, size_t sequences, double *reward, struct rlhf_error *err)
{
    const struct rlhf_batch b = { .tokens = r->tokens.data, .start = r->start, .sequences = sequences };

    if (r->tokens.size > r->scalars) {
        float *grown = reallocarray(r->scalar, r->tokens.size, sizeof *grown);

        if (!grown)
            return rlhf_fail(err, RLHF_FULL, "no memory for %zu tokens", r->tokens.size);
        r->scalar = grown;
        r->scalars = r->tokens.size;
    }
    if (rlhf_pass_forward(r->pass, r->model, &b, err) < 0 || rlhf_pass_scalars(r->pass, r->model, r->scalar, err) < 0)
        return -1;
    for (size_t i = 0; i < sequences; i++)
        reward[i] = (double)r->scalar[r->start[i + 1] - 1];
    rlhf_tokens_clear(&r->tokens);
    return 0;
}

static int reward_all(void *ctx, const char *const *prompts, const char *const *completions, size_t count, double *reward,
                      struct rlhf_error *err)
{
    struct rlhf_reward_model *r = ctx;
    size_t first = 0;

    rlhf_tokens_clear(&r->tokens);
    for (size_t i = 0; i < count; i++) {
        if (append_text(r, prompts[i], completions[i], err) < 0)
            return -1;
        r->start[i + 1 - first] = (uint32_t)r->tokens.size;
        if (r->tokens.size >= r->batch || i + 1 == count) {
            if (reward_batch(r, i + 1 - first, reward + first, err) < 0)
                return -1;
            first = i + 1;
        }
    }
    return 0;
}

struct rlhf_rewarder rlhf_reward_model_rewarder(struct rlhf_reward_model *r)
{
    return (struct rlhf_rewarder){ .reward = reward_all, .ctx = r };
}
