/* sample - what the sampler would draw from, given logits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/generation.h"
#include "rlhfctl/ctl.h"
#include "rlhfctl/tensors.h"
#include "tensor/ops.h"

struct probs {
    const char *input, *output, *params;

    struct rlhf_generation settings;
    int64_t prompt_length;
    struct ctl_tensors in;
    struct ctl_batch batch; /* tokens so far; rows 0: none given */
    float *logits, *scores, *probs, *scratch;
    size_t rows, vocabulary;
};

static int read_input(struct probs *p, struct rlhf_error *err)
{
    float penalty = p->settings.sampling.repetition_penalty;
    size_t bytes;

    if (ctl_tensors_open(&p->in, p->input, err) < 0 ||
        !(p->logits = ctl_tensors_floats(&p->in, "logits", &p->rows, &p->vocabulary, err)))
        return -1;
    if (ctl_tensors_has(&p->in, "input_ids") && ctl_batch_read(&p->batch, &p->in, INT32_MAX, err) < 0)
        return -1;
    if (p->batch.rows && p->batch.rows != p->rows)
        return rlhf_fail(err, RLHF_REJECT, "%s: input_ids has %zu rows, logits %zu", p->input, p->batch.rows, p->rows);
    if (!p->batch.rows && ((penalty != 0 && penalty != 1) || p->settings.sampling.no_repeat_ngram > 0))
        return rlhf_fail(err, RLHF_REJECT, "%s: repetition_penalty and no_repeat_ngram_size need input_ids", p->input);
    if (p->settings.sampling.min_new_tokens > 0 && p->settings.ends.count == 0)
        return rlhf_fail(err, RLHF_REJECT, "min_new_tokens: needs eos_token_id");
    bytes = p->rows * p->vocabulary * sizeof *p->logits;
    if (!(p->scores = malloc(bytes)) || !(p->probs = malloc(bytes)) ||
        !(p->scratch = malloc(p->vocabulary * sizeof *p->scratch)))
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu x %zu scores", p->rows, p->vocabulary);
    return 0;
}

/* All of the tokens are prompt, unless prompt_length (of the padded row, as transformers counts) says less. */
static struct rlhf_history history(const struct probs *p, size_t row)
{
    struct rlhf_history h = {.ends = p->settings.ends.id, .end_count = p->settings.ends.count};
    size_t count, completed = 0;

    if (!p->batch.rows)
        return h;
    count = p->batch.start[row + 1] - p->batch.start[row];
    if (p->prompt_length >= 0 && (size_t)p->prompt_length < p->batch.width)
        completed = p->batch.width - (size_t)p->prompt_length;
    h.completion_count = completed < count ? completed : count;
    h.prompt_count = count - h.completion_count;
    h.prompt = p->batch.ids + p->batch.start[row];
    h.completion = h.prompt + h.prompt_count;
    return h;
}

static int compute(struct probs *p, struct rlhf_error *err)
{
    for (size_t row = 0; row < p->rows; row++) {
        float *scores = p->scores + row * p->vocabulary, *probs = p->probs + row * p->vocabulary;
        struct rlhf_history h = history(p, row);
        struct rlhf_error why = {0};
        float most, log_sum;
        double sum = 0;

        if (rlhf_sampling_scores(p->logits + row * p->vocabulary, p->vocabulary, &p->settings.sampling, &h, scores,
                                 p->scratch, &why) < 0)
            return rlhf_fail(err, why.code, "row %zu: %s", row, why.text);
        rlhf_vocab_row(scores, p->vocabulary, 1, &most, &log_sum, NULL);
        rlhf_vocab_weights_row(scores, p->vocabulary, 1, most, probs);
        for (size_t i = 0; i < p->vocabulary; i++)
            sum += (double)probs[i];
        for (size_t i = 0; i < p->vocabulary; i++)
            probs[i] = (float)((double)probs[i] / sum);
    }
    return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct probs *p = state->input;

    switch (key) {
    case 'i':
        p->input = text;
        break;
    case 'o':
        p->output = text;
        break;
    case 'p':
        p->params = text;
        break;
    case ARGP_KEY_END:
        if (!p->input || !p->output)
            argp_error(state, "--input and --output are needed");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int probs(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"input", 'i', "FILE", 0, "safetensors: logits [B, V]; input_ids [B, T] and attention_mask [B, T] if penalties "
                                  "look at the tokens before", 0},
        {"output", 'o', "FILE", 0, "safetensors: probs [B, V] and scores [B, V], -inf where a token is removed", 0},
        {"params", 'p', "JSON", 0, "an object of transformers' names (default {})", 0},
        {0}};
    static const struct argp parser = {
        options, parse, "",
        "Writes the probabilities that the next token is drawn with, given logits.\v"
        "Names and order of the parameters: repetition_penalty, no_repeat_ngram_size, min_new_tokens with eos_token_id "
        "(one or a list) and prompt_length (how many of the T tokens are prompt; default: all of them); then "
        "temperature, top_k, top_p, min_p, typical_p, with min_tokens_to_keep. What is not given is off. A name that "
        "is not known, or a setting that is not supported, is an error.",
        NULL, NULL, NULL};
    struct probs p = {.params = "{}"};
    struct rlhf_error why = {0};
    int rc = -1;

    argp_parse(&parser, argc, argv, 0, NULL, &p);
    if (rlhf_generation_params(&p.settings, &p.prompt_length, p.params, strlen(p.params), &why) < 0)
        return rlhf_fail(err, why.code, "--params: %s", why.text);
    if (rlhf_tensor_start(err) == 0 && read_input(&p, err) == 0 && compute(&p, err) == 0) {
        const size_t shape[] = {p.rows, p.vocabulary};
        const struct rlhf_safetensor out[] = {ctl_tensor("probs", RLHF_DTYPE_F32, p.probs, 2, shape),
                                              ctl_tensor("scores", RLHF_DTYPE_F32, p.scores, 2, shape)};
        rc = ctl_tensors_write(p.output, out, 2, err);
    }
    free(p.logits);
    free(p.scores);
    free(p.probs);
    free(p.scratch);
    ctl_batch_free(&p.batch);
    ctl_tensors_close(&p.in);
    return rc;
}

int ctl_sample(int argc, char **argv, struct rlhf_error *err)
{
    static const struct ctl_command commands[] = {
        {"probs", "--input FILE --output FILE", "filtered probabilities for given logits", probs}, {0}};

    return ctl_dispatch("rlhfctl sample", "Shows what the sampler draws from.", commands, argc, argv, err);
}
