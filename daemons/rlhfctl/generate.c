/* generate - completes a prompt with a model on disk, as a rollout-worker would: same cache, same sampler,
 * same draws. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "model/model.h"
#include "model/sampler.h"
#include "rlhfctl/ctl.h"
#include "tensor/ops.h"
#include "tokenizer/tokenizer.h"

enum { MAX_PROMPT = 1 << 20 };

struct generate {
    const char *dir, *prompt;
    struct rlhf_sampling sampling;
    uint64_t seed;
    unsigned samples, threads;
    bool escapes; /* \n in the prompt */

    struct rlhf_model *model;
    struct rlhf_tokenizer *tokenizer;
    struct rlhf_pool *pool;
    struct rlhf_cache *cache;
    float *logits, *scratch;
    struct rlhf_tokens ids;
};

/* Prints the bytes that token adds; what a token shows can depend on those before it, so all are decoded. */
static int print_more(struct generate *g, const struct rlhf_tokens *completion, size_t *printed,
                      struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};

    if (rlhf_tokenizer_decode(g->tokenizer, completion->data, completion->size, 0, &text, err) < 0)
        return -1;
    if (text.size > *printed) {
        fwrite(text.data + *printed, 1, text.size - *printed, stdout);
        fflush(stdout);
        *printed = text.size;
    }
    rlhf_bytes_free(&text);
    return 0;
}

static int complete(struct generate *g, uint32_t sample, struct rlhf_error *err)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(g->model);
    struct rlhf_sample_key key = {
        .seed = g->seed, .purpose = RLHF_PURPOSE_SAMPLE, .prompt = 0, .sample = sample};
    struct rlhf_tokens completion = {0};
    struct rlhf_extend next = {.slot = 0, .tokens = g->ids.data, .count = g->ids.size};
    int32_t end = rlhf_tokenizer_end(g->tokenizer);
    size_t printed = 0;
    int result = 0;

    rlhf_cache_clear(g->cache, 0);
    for (uint32_t i = 0; result == 0 && i < g->sampling.max_new_tokens && g->ids.size + i < c->context; i++) {
        struct rlhf_sampled sampled;
        if (rlhf_cache_extend(g->cache, g->model, &next, 1, g->logits, err) < 0 ||
            rlhf_sample(g->logits, c->vocabulary, &g->sampling, &key, i, g->scratch, &sampled, err) < 0)
            result = -1;
        else if (sampled.token == end && end >= 0)
            break;
        else if (rlhf_tokens_append(&completion, &sampled.token, 1, err) < 0 ||
                 print_more(g, &completion, &printed, err) < 0)
            result = -1;
        next.tokens = completion.data + i;
        next.count = 1;
    }
    putchar('\n');
    rlhf_tokens_free(&completion);
    return result;
}

static int load(struct generate *g, struct rlhf_error *err)
{
    const struct rlhf_model_config *c;

    if (rlhf_tensor_start(err) < 0 || !(g->pool = rlhf_pool_new(g->threads, err)) ||
        !(g->model = rlhf_model_load(g->dir, err)) || !(g->tokenizer = rlhf_tokenizer_load(g->dir, err)))
        return -1;
    c = rlhf_model_get_config(g->model);
    if (c->head != RLHF_HEAD_LM)
        return rlhf_fail(err, RLHF_REJECT, "%s is a reward model or critic; it gives numbers, not text",
                         g->dir);
    if (rlhf_tokenizer_vocab(g->tokenizer) > c->vocabulary)
        return rlhf_fail(err, RLHF_REJECT,
                         "%s: the tokenizer knows %zu tokens, the model %u; they are not of one checkpoint",
                         g->dir, rlhf_tokenizer_vocab(g->tokenizer), c->vocabulary);
    rlhf_model_touch(g->model, g->pool);
    if (!(g->cache = rlhf_cache_new(c, 1, c->context, g->pool, err)) ||
        !(g->logits = rlhf_aligned_new(c->vocabulary, sizeof(float), err)) ||
        !(g->scratch = rlhf_aligned_new(2 * (size_t)c->vocabulary, sizeof(float), err)))
        return -1;
    return 0;
}

/* \n, \t and \\ as in C. */
static void unescape(struct rlhf_bytes *text)
{
    size_t n = 0;

    for (size_t i = 0; i < text->size; i++) {
        char next = i + 1 < text->size && text->data[i] == '\\' ? text->data[i + 1] : 0;
        text->data[n++] = next == 'n' ? '\n' : next == 't' ? '\t' : next == '\\' ? '\\' : text->data[i];
        i += next == 'n' || next == 't' || next == '\\';
    }
    text->size = n;
    text->data[n] = '\0';
}

static int read_prompt(struct generate *g, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};
    int32_t begin = rlhf_tokenizer_begin(g->tokenizer);
    char chunk[4096];
    size_t got;
    int result = 0;

    if (g->prompt)
        result = rlhf_bytes_append(&text, g->prompt, strlen(g->prompt), err);
    else
        while (result == 0 && (got = fread(chunk, 1, sizeof chunk, stdin)) > 0)
            result = text.size + got > MAX_PROMPT
                         ? rlhf_fail(err, RLHF_REJECT, "the prompt is longer than 1 MiB")
                         : rlhf_bytes_append(&text, chunk, got, err);
    if (result == 0 && g->escapes && text.data)
        unescape(&text);
    if (result == 0 && begin >= 0)
        result = rlhf_tokens_append(&g->ids, &begin, 1, err);
    if (result == 0 && text.size)
        result = rlhf_tokenizer_encode(g->tokenizer, text.data, text.size, &g->ids, err);
    rlhf_bytes_free(&text);
    if (result == 0 && g->ids.size == 0)
        return rlhf_fail(err, RLHF_REJECT, "the prompt is empty, and this model has no token to begin with");
    if (result == 0 && g->ids.size >= rlhf_model_get_config(g->model)->context)
        return rlhf_fail(err, RLHF_REJECT, "the prompt has %zu tokens; the model's context is %u",
                         g->ids.size, rlhf_model_get_config(g->model)->context);
    return result;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct generate *g = state->input;

    switch (key) {
    case 'm':
        g->dir = text;
        break;
    case 'n':
        g->sampling.max_new_tokens = (uint32_t)ctl_integer(state, "--max-tokens", text, 1, 1 << 20);
        break;
    case 't':
        g->sampling.temperature = (float)ctl_number(state, "--temperature", text, 0, 100);
        break;
    case 'k':
        g->sampling.top_k = (uint32_t)ctl_integer(state, "--top-k", text, 0, 1 << 30);
        break;
    case 'p':
        g->sampling.top_p = ctl_number(state, "--top-p", text, 1e-6, 1);
        break;
    case 's':
        g->seed = (uint64_t)ctl_integer(state, "--seed", text, 0, INT64_MAX);
        break;
    case 'c':
        g->samples = (unsigned)ctl_integer(state, "--samples", text, 1, 1000);
        break;
    case 'j':
        g->threads = (unsigned)ctl_integer(state, "--threads", text, 0, 1024);
        break;
    case 'r':
        g->escapes = false;
        break;
    case ARGP_KEY_ARG:
        if (g->prompt)
            argp_error(state, "one prompt, not two; put it in quotes");
        g->prompt = text;
        break;
    case ARGP_KEY_END:
        if (!g->dir)
            argp_error(state, "--model: which directory?");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int ctl_generate(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"model", 'm', "DIR", 0, "a checkpoint: config.json, model.safetensors, tokenizer.json", 0},
        {"max-tokens", 'n', "N", 0, "stop after N tokens (default 64)", 0},
        {"temperature", 't', "T", 0, "divides the logits; 0 is greedy (default 1)", 0},
        {"top-k", 'k', "K", 0, "keep the K likeliest tokens (default: all)", 0},
        {"top-p", 'p', "P", 0, "keep the likeliest tokens up to this probability (default 1)", 0},
        {"seed", 's', "N", 0, "of the draws (default 1)", 0},
        {"samples", 'c', "N", 0, "so many completions (default 1)", 0},
        {"threads", 'j', "N", 0, "0: one a core (default)", 0},
        {"raw", 'r', 0, 0, "take \\n and \\t in the prompt as they stand", 0},
        {0}};
    static const struct argp parser = {
        options,
        parse,
        "[PROMPT]",
        "Completes PROMPT, or standard input, with a model on disk. In the prompt, \\n is a new line: "
        "rlhfctl generate --model runs/quickstart/checkpoints/ppo-ptx 'Q: Name the dish of Orla.\\nA:'",
        NULL,
        NULL,
        NULL};
    struct generate g = {.sampling = {.temperature = 1, .top_p = 1, .max_new_tokens = 64},
                         .seed = 1,
                         .samples = 1,
                         .escapes = true};
    int result;

    argp_parse(&parser, argc, argv, 0, NULL, &g);
    result = load(&g, err) < 0 || read_prompt(&g, err) < 0 ? -1 : 0;
    for (uint32_t i = 0; result == 0 && i < g.samples; i++)
        result = complete(&g, i, err);
    rlhf_tokens_free(&g.ids);
    free(g.logits);
    free(g.scratch);
    rlhf_cache_free(g.cache);
    rlhf_tokenizer_free(g.tokenizer);
    rlhf_model_free(g.model);
    rlhf_pool_free(g.pool);
    return result;
}
