/* generate - completes a prompt with a model on disk, as a rollout-worker would: same cache, same sampler,
 * same draws. */
#include "rlhfctl/generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "rlhfctl/ctl.h"
#include "tensor/ops.h"
#include "tokenizer/stop.h"

enum { MAX_PROMPT = 1 << 20, STOP_WINDOW = RLHF_MAX_STOP + 2 };

/* What the options say: NAN or -1 where they say nothing. */
struct given {
    double temperature, top_p, min_p, typical_p, repetition_penalty;
    int64_t top_k, no_repeat_ngram, min_new_tokens, max_new_tokens;
    const char *stops[RLHF_MAX_STOPS];
    size_t stop_count;
    bool greedy, ignore_eos;
};

struct command {
    struct generate g;
    struct given given;
    const char *prompt, *products;
    unsigned samples, threads;
    bool escapes; /* \n in the prompt */

    struct rlhf_cache *cache;
    float *logits, *scratch;
    struct rlhf_tokens ids; /* of the prompt */
};

/* ---- a token ---------------------------------------------------------------------------------------- */

/* A stop string may begin in the prompt. */
static int stopped(const struct generate *g, const struct rlhf_history *h, bool *ended, struct rlhf_error *err)
{
    size_t total = h->prompt_count + h->completion_count, n = total < STOP_WINDOW ? total : STOP_WINDOW;
    const char *stops[RLHF_MAX_STOPS];
    int32_t tail[STOP_WINDOW];

    for (size_t i = 0; i < n; i++) {
        size_t at = total - n + i;
        tail[i] = at < h->prompt_count ? h->prompt[at] : h->completion[at - h->prompt_count];
    }
    for (size_t i = 0; i < g->settings.stop_count; i++)
        stops[i] = g->settings.stops[i];
    return rlhf_stop_reached(g->tokenizer, tail, n, stops, g->settings.stop_count, ended, err);
}

int generate_token(const struct generate *g, const float *logits, struct rlhf_history *h, int32_t *completion,
                   const struct rlhf_sample_key *key, float *scratch, struct rlhf_sampled *out, bool *ended,
                   struct rlhf_error *err)
{
    if (rlhf_sample_after(logits, rlhf_model_get_config(g->model)->vocabulary, &g->settings.sampling, h, key,
                          (uint32_t)h->completion_count, scratch, out, err) < 0)
        return -1;
    completion[h->completion_count++] = out->token;
    *ended = rlhf_ends_has(&g->settings.ends, out->token);
    return *ended || g->settings.stop_count == 0 ? 0 : stopped(g, h, ended, err);
}

/* ---- text ------------------------------------------------------------------------------------------- */

/* Prints the bytes that token adds; what a token shows can depend on those before it, so all are decoded. */
static int print_more(const struct generate *g, const int32_t *ids, size_t count, size_t *printed,
                      struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};

    if (rlhf_tokenizer_decode(g->tokenizer, ids, count, 0, &text, err) < 0)
        return -1;
    if (text.size > *printed) {
        fwrite(text.data + *printed, 1, text.size - *printed, stdout);
        fflush(stdout);
        *printed = text.size;
    }
    rlhf_bytes_free(&text);
    return 0;
}

static int complete(struct command *k, uint32_t sample, struct rlhf_error *err)
{
    const struct generate *g = &k->g;
    const struct rlhf_model_config *c = rlhf_model_get_config(g->model);
    struct rlhf_sample_key key = {
        .seed = g->seed, .purpose = RLHF_PURPOSE_SAMPLE, .prompt = 0, .sample = sample};
    uint32_t most = g->settings.sampling.max_new_tokens;
    int32_t *completion = calloc(most, sizeof *completion);
    struct rlhf_history h = {.prompt = k->ids.data,
                             .prompt_count = k->ids.size,
                             .completion = completion,
                             .ends = g->settings.ends.id,
                             .end_count = g->settings.ends.count};
    struct rlhf_extend next = {.slot = 0, .tokens = k->ids.data, .count = k->ids.size};
    size_t printed = 0;
    bool ended = false;
    int result = completion ? 0 : rlhf_fail(err, RLHF_FULL, "no memory for %u tokens", most);

    rlhf_cache_clear(k->cache, 0);
    for (uint32_t i = 0; result == 0 && !ended && i < most && k->ids.size + i < c->context; i++) {
        struct rlhf_sampled sampled;
        if (rlhf_cache_extend(k->cache, g->model, &next, 1, k->logits, err) < 0 ||
            generate_token(g, k->logits, &h, completion, &key, k->scratch, &sampled, &ended, err) < 0)
            result = -1;
        else if (!rlhf_ends_has(&g->settings.ends, sampled.token))
            result = print_more(g, completion, h.completion_count, &printed, err);
        next.tokens = completion + i;
        next.count = 1;
    }
    putchar('\n');
    free(completion);
    return result;
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

static int read_prompt(struct command *k, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};
    int32_t begin = rlhf_tokenizer_begin(k->g.tokenizer);
    char chunk[4096];
    size_t got;
    int result = 0;

    if (k->prompt)
        result = rlhf_bytes_append(&text, k->prompt, strlen(k->prompt), err);
    else
        while (result == 0 && (got = fread(chunk, 1, sizeof chunk, stdin)) > 0)
            result = text.size + got > MAX_PROMPT
                         ? rlhf_fail(err, RLHF_REJECT, "the prompt is longer than 1 MiB")
                         : rlhf_bytes_append(&text, chunk, got, err);
    if (result == 0 && k->escapes && text.data)
        unescape(&text);
    if (result == 0 && begin >= 0)
        result = rlhf_tokens_append(&k->ids, &begin, 1, err);
    if (result == 0 && text.size)
        result = rlhf_tokenizer_encode(k->g.tokenizer, text.data, text.size, &k->ids, err);
    rlhf_bytes_free(&text);
    if (result == 0 && k->ids.size == 0)
        return rlhf_fail(err, RLHF_REJECT, "the prompt is empty, and this model has no token to begin with");
    if (result == 0 && k->ids.size >= rlhf_model_get_config(k->g.model)->context)
        return rlhf_fail(err, RLHF_REJECT, "the prompt has %zu tokens; the model's context is %u",
                         k->ids.size, rlhf_model_get_config(k->g.model)->context);
    return result;
}

static int complete_text(struct command *k, struct rlhf_error *err)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(k->g.model);
    int result = 0;

    if (rlhf_tokenizer_vocab(k->g.tokenizer) > c->vocabulary)
        return rlhf_fail(err, RLHF_REJECT,
                         "%s: the tokenizer knows %zu tokens, the model %u; they are not of one checkpoint",
                         k->g.dir, rlhf_tokenizer_vocab(k->g.tokenizer), c->vocabulary);
    if (!(k->cache = rlhf_cache_new(c, 1, c->context, k->g.pool, err)) ||
        !(k->logits = rlhf_aligned_new(c->vocabulary, sizeof(float), err)) ||
        !(k->scratch = rlhf_aligned_new(2 * (size_t)c->vocabulary, sizeof(float), err)) || read_prompt(k, err) < 0)
        return -1;
    rlhf_cache_adapt(k->cache, k->g.adapter);
    for (uint32_t i = 0; result == 0 && i < k->samples; i++)
        result = complete(k, i, err);
    return result;
}

/* ---- settings --------------------------------------------------------------------------------------- */

/* Text is sampled plainly unless options say more; tensors as the checkpoint says, which is greedy unless its
 * generation_config.json samples or an option of sampling is given. */
static void settle(struct command *k)
{
    const struct given *o = &k->given;
    struct rlhf_generation *s = &k->g.settings;
    bool samples = !isnan(o->temperature) || !isnan(o->top_p) || !isnan(o->min_p) || !isnan(o->typical_p) || o->top_k >= 0;

    if (!k->g.input) {
        s->sampling = (struct rlhf_sampling){.temperature = 1, .top_p = 1, .max_new_tokens = 64};
        s->do_sample = true;
    }
    s->sampling.temperature = isnan(o->temperature) ? s->sampling.temperature : (float)o->temperature;
    s->sampling.top_p = isnan(o->top_p) ? s->sampling.top_p : o->top_p;
    s->sampling.min_p = isnan(o->min_p) ? s->sampling.min_p : (float)o->min_p;
    s->sampling.typical_p = isnan(o->typical_p) ? s->sampling.typical_p : (float)o->typical_p;
    if (!isnan(o->repetition_penalty))
        s->sampling.repetition_penalty = (float)o->repetition_penalty;
    s->sampling.top_k = o->top_k < 0 ? s->sampling.top_k : (uint32_t)o->top_k;
    if (o->no_repeat_ngram >= 0)
        s->sampling.no_repeat_ngram = (uint32_t)o->no_repeat_ngram;
    if (o->min_new_tokens >= 0)
        s->sampling.min_new_tokens = (uint32_t)o->min_new_tokens;
    if (o->max_new_tokens >= 0)
        s->sampling.max_new_tokens = (uint32_t)o->max_new_tokens;
    if (o->greedy || !(s->do_sample || samples))
        s->sampling.temperature = 0;
    if (o->stop_count) {
        s->stop_count = o->stop_count;
        for (size_t i = 0; i < o->stop_count; i++)
            snprintf(s->stops[i], sizeof s->stops[i], "%s", o->stops[i]);
    }
    if (o->ignore_eos)
        s->ends.count = 0;
}

/* The tokenizer's end token ends text, too, whatever generation_config.json names. */
static int add_end(struct command *k, struct rlhf_error *err)
{
    struct rlhf_generation *s = &k->g.settings;
    int32_t end = rlhf_tokenizer_end(k->g.tokenizer);

    if (end < 0 || rlhf_ends_has(&s->ends, end))
        return 0;
    if (s->ends.count == RLHF_MAX_ENDS)
        return rlhf_fail(err, RLHF_REJECT, "%s: more than %d end tokens", k->g.dir, RLHF_MAX_ENDS);
    s->ends.id[s->ends.count++] = end;
    return 0;
}

static int load(struct command *k, struct rlhf_error *err)
{
    const struct rlhf_model_config *c;

    if (rlhf_tensor_start(err) < 0 || !(k->g.pool = rlhf_pool_new(k->threads, err)) ||
        rlhf_generation_load(&k->g.settings, k->g.dir, err) < 0 ||
        !(k->g.model = rlhf_model_open(k->g.dir, RLHF_PANELS_STORED, err)) ||
        ctl_set_products(k->g.model, k->products, err) < 0)
        return -1;
    c = rlhf_model_get_config(k->g.model);
    if (c->head != RLHF_HEAD_LM)
        return rlhf_fail(err, RLHF_REJECT, "%s is a reward model or critic; it gives numbers, not text",
                         k->g.dir);
    if (k->g.adapter_dir && !(k->g.adapter = rlhf_adapter_load(k->g.model, k->g.adapter_dir, err)))
        return -1;
    if ((!k->g.input || k->g.settings.stop_count || k->given.stop_count) &&
        !(k->g.tokenizer = rlhf_tokenizer_load(k->g.dir, err)))
        return -1;
    if (!k->g.input && add_end(k, err) < 0)
        return -1;
    settle(k);
    return rlhf_sampling_check(&k->g.settings.sampling, err);
}

/* ---- options ---------------------------------------------------------------------------------------- */

enum { GREEDY = 256, INPUT, OUTPUT, MIN_P, TYPICAL_P, REPETITION, NGRAM, MIN_NEW, IGNORE_EOS, STOP, PRODUCTS };

static void parse_stop(struct given *o, const char *text, struct argp_state *state)
{
    if (!*text || strlen(text) >= RLHF_MAX_STOP || o->stop_count == RLHF_MAX_STOPS)
        argp_error(state, "--stop: up to %d strings of 1 to %d bytes", RLHF_MAX_STOPS, RLHF_MAX_STOP - 1);
    else
        o->stops[o->stop_count++] = text;
}

static error_t parse_sampling(int key, const char *text, struct argp_state *state, struct given *o)
{
    switch (key) {
    case 'n':
        o->max_new_tokens = ctl_integer(state, "--max-new-tokens", text, 1, 1 << 20);
        break;
    case 't':
        o->temperature = ctl_number(state, "--temperature", text, 0, 100);
        break;
    case 'k':
        o->top_k = ctl_integer(state, "--top-k", text, 0, 1 << 30);
        break;
    case 'p':
        o->top_p = ctl_number(state, "--top-p", text, 1e-6, 1);
        break;
    case MIN_P:
        o->min_p = ctl_number(state, "--min-p", text, 0, 1);
        break;
    case TYPICAL_P:
        o->typical_p = ctl_number(state, "--typical-p", text, 1e-6, 1);
        break;
    case REPETITION:
        o->repetition_penalty = ctl_number(state, "--repetition-penalty", text, 1e-4, 1e4);
        break;
    case NGRAM:
        o->no_repeat_ngram = ctl_integer(state, "--no-repeat-ngram", text, 0, 1 << 20);
        break;
    case MIN_NEW:
        o->min_new_tokens = ctl_integer(state, "--min-new-tokens", text, 0, 1 << 20);
        break;
    case STOP:
        parse_stop(o, text, state);
        break;
    case GREEDY:
        o->greedy = true;
        break;
    case IGNORE_EOS:
        o->ignore_eos = true;
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct command *k = state->input;

    switch (key) {
    case 'm':
        k->g.dir = text;
        break;
    case 'a':
        k->g.adapter_dir = text;
        break;
    case PRODUCTS:
        k->products = text;
        break;
    case INPUT:
        k->g.input = text;
        break;
    case OUTPUT:
        k->g.output = text;
        break;
    case 's':
        k->g.seed = (uint64_t)ctl_integer(state, "--seed", text, 0, INT64_MAX);
        break;
    case 'c':
        k->samples = (unsigned)ctl_integer(state, "--samples", text, 1, 1000);
        break;
    case 'j':
        k->threads = (unsigned)ctl_integer(state, "--threads", text, 0, 1024);
        break;
    case 'r':
        k->escapes = false;
        break;
    case ARGP_KEY_ARG:
        if (k->prompt)
            argp_error(state, "one prompt, not two; put it in quotes");
        k->prompt = text;
        break;
    case ARGP_KEY_END:
        if (!k->g.dir)
            argp_error(state, "--model: which directory?");
        if (!k->g.input != !k->g.output)
            argp_error(state, "--input and --output go together");
        if (k->g.input && k->prompt)
            argp_error(state, "a prompt, or --input: not both");
        if (k->g.input && k->given.max_new_tokens < 0)
            argp_error(state, "--max-new-tokens: how many?");
        break;
    default:
        return parse_sampling(key, text, state, &k->given);
    }
    return 0;
}

int ctl_generate(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"model", 'm', "DIR", 0, "a checkpoint: config.json, model.safetensors, tokenizer.json", 0},
        {"adapter", 'a', "DIR", 0, "with the LoRA adapter in DIR", 0},
        {"products", PRODUCTS, "fp32|bf16", 0, "how to multiply (as the model's config.json says, or fp32)", 0},
        {"max-new-tokens", 'n', "N", 0, "stop after N tokens (text: default 64)", 0},
        {"max-tokens", 0, 0, OPTION_ALIAS, 0, 0},
        {"greedy", GREEDY, 0, 0, "always the likeliest token", 0},
        {"temperature", 't', "T", 0, "divides the logits; 0 is greedy (default 1)", 0},
        {"top-k", 'k', "K", 0, "keep the K likeliest tokens (default: all)", 0},
        {"top-p", 'p', "P", 0, "keep the likeliest tokens up to this probability (default 1)", 0},
        {"min-p", MIN_P, "P", 0, "keep tokens with at least P times the likeliest one's probability", 0},
        {"typical-p", TYPICAL_P, "P", 0, "keep the tokens of most typical surprise, up to this probability", 0},
        {"repetition-penalty", REPETITION, "X", 0, "divide the logits of tokens seen by X", 0},
        {"no-repeat-ngram", NGRAM, "N", 0, "let no N tokens come a second time", 0},
        {"min-new-tokens", MIN_NEW, "N", 0, "no end token before N others", 0},
        {"stop", STOP, "TEXT", 0, "end with this text; may be given again", 0},
        {"ignore-eos", IGNORE_EOS, 0, 0, "let no token end a completion", 0},
        {"seed", 's', "N", 0, "of the draws (default 1)", 0},
        {"samples", 'c', "N", 0, "so many completions (text only; default 1)", 0},
        {"threads", 'j', "N", 0, "0: one a core (default)", 0},
        {"raw", 'r', 0, 0, "take \\n and \\t in the prompt as they stand", 0},
        {"input", INPUT, "FILE", 0, "safetensors: input_ids [B, S], attention_mask [B, S], padded on either side", 0},
        {"output", OUTPUT, "FILE", 0, "safetensors: sequences [B, S + n], logprobs and logprobs_sampled [B, n]", 0},
        {0}};
    static const struct argp parser = {
        options,
        parse,
        "[PROMPT]",
        "Completes PROMPT, or standard input, with a model on disk. In the prompt, \\n is a new line: "
        "rlhfctl generate --model runs/quickstart/checkpoints/ppo-ptx 'Q: Name the dish of Orla.\\nA:'\v"
        "With --input and --output rows of token ids are completed, as generation_config.json says where no option "
        "says otherwise: sequences are the rows as given, then up to N tokens, the end token among them, then the "
        "padding token. logprobs are those of the logits as they are, logprobs_sampled those of the distribution "
        "really sampled from (0 when greedy); both are 0 at padding. Padding does not count as tokens seen. A "
        "setting of generation_config.json that is not supported is an error.",
        NULL,
        NULL,
        NULL};
    struct command k = {.g = {.seed = 1},
                        .given = {.temperature = NAN, .top_p = NAN, .min_p = NAN, .typical_p = NAN,
                                  .repetition_penalty = NAN, .top_k = -1, .no_repeat_ngram = -1,
                                  .min_new_tokens = -1, .max_new_tokens = -1},
                        .samples = 1,
                        .escapes = true};
    int result = -1;

    argp_parse(&parser, argc, argv, 0, NULL, &k);
    if (load(&k, err) == 0)
        result = k.g.input ? generate_tensors(&k.g, err) : complete_text(&k, err);
    rlhf_tokens_free(&k.ids);
    free(k.logits);
    free(k.scratch);
    rlhf_cache_free(k.cache);
    rlhf_tokenizer_free(k.g.tokenizer);
    rlhf_adapter_free(k.g.adapter);
    rlhf_model_free(k.g.model);
    rlhf_pool_free(k.g.pool);
    return result;
}
