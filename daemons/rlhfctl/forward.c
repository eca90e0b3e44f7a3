/* model forward - what a model makes of padded rows of token ids, as transformers computes it: logits, log-probs, the loss of
 * labels, its gradients, rewards. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/pool.h"
#include "model/adapter.h"
#include "model/model.h"
#include "rlhfctl/ctl.h"
#include "rlhfctl/tensors.h"
#include "tensor/ops.h"

enum { THREADS = 64, OUTPUTS = 4, IGNORED = -100 };

struct options {
    const char *model, *input, *output, *adapter, *products;
    bool grad, reward;
    unsigned threads;
};

struct forward {
    const struct options *o;
    struct rlhf_pool *pool;
    struct rlhf_model *model;
    struct rlhf_adapter *adapter; /* NULL: none; with one the gradients are its parameters' */
    struct rlhf_model_config c;
    struct rlhf_pass *pass;
    struct ctl_tensors in;
    struct ctl_batch batch;
    size_t tokens;
    int32_t *target;   /* [T] the label that each token predicts; -1: none */
    bool labelled;
    float *grad;       /* the layout of the model's parameters, or the adapter's */
    float *padded, *logprobs, *rewards, loss; /* what goes out */
    struct rlhf_safetensor *out;
    size_t outs;
};

/* ---- reading --------------------------------------------------------------------------------------- */

/* Labels are not shifted: a token's label is what the token before it predicts; so that of a row's first token has no
 * predictor, as in transformers. */
static int read_labels(struct forward *f, struct rlhf_error *err)
{
    struct ctl_batch *b = &f->batch;
    int32_t *labels = ctl_tensors_ints(&f->in, "labels", &b->rows, &b->width, err);
    size_t t = 0;
    int rc = labels ? 0 : -1;

    for (size_t i = 0; rc == 0 && i < b->rows * b->width; i++) {
        const size_t row = i / b->width, column = i % b->width;
        const bool real = t < f->tokens && t < b->start[row + 1] && b->column[t] == column;

        if (labels[i] != IGNORED && (labels[i] < 0 || (uint32_t)labels[i] >= f->c.vocabulary))
            rc = rlhf_fail(err, RLHF_REJECT, "%s: labels[%zu, %zu] is %d, neither -100 (ignored) nor in the vocabulary of %u",
                           f->in.path, row, column, labels[i], f->c.vocabulary);
        else if (labels[i] != IGNORED && !real)
            rc = rlhf_fail(err, RLHF_REJECT, "%s: labels[%zu, %zu] is %d where attention_mask is 0; make it -100", f->in.path,
                           row, column, labels[i]);
        else if (real && t > b->start[row])
            f->target[t - 1] = labels[i] == IGNORED ? -1 : labels[i];
        t += real;
    }
    free(labels);
    f->labelled = rc == 0;
    return rc;
}

static int read_input(struct forward *f, struct rlhf_error *err)
{
    const bool scalar = f->c.head == RLHF_HEAD_SCALAR;

    if (scalar != f->o->reward)
        return rlhf_fail(err, RLHF_REJECT, scalar ? "%s: this is a reward model; ask it for --reward"
                                                  : "%s: this is a language model, it has no --reward", f->o->model);
    if (ctl_tensors_open(&f->in, f->o->input, err) < 0 || ctl_batch_read(&f->batch, &f->in, f->c.vocabulary, err) < 0)
        return -1;
    f->tokens = f->batch.start[f->batch.rows];
    if (!(f->target = calloc(f->tokens, sizeof *f->target)))
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu tokens", f->tokens);
    for (size_t t = 0; t < f->tokens; t++)
        f->target[t] = -1;
    if (ctl_tensors_has(&f->in, "labels") && !f->o->reward)
        return read_labels(f, err);
    if (f->o->grad && !f->o->reward)
        return rlhf_fail(err, RLHF_REJECT, "%s: there is no tensor labels, and --grad wants the loss of some", f->o->input);
    if (f->o->grad && f->batch.rows % 2)
        return rlhf_fail(err, RLHF_REJECT, "%s: --reward --grad compares row i with row i + B/2, and there are %zu rows",
                         f->o->input, f->batch.rows);
    return 0;
}

/* Rotary positions do not end with the context that the model was trained for, and transformers does not end there. */
static int make_pass(struct forward *f, struct rlhf_error *err)
{
    if (f->c.position == RLHF_POSITION_ROTARY && f->batch.width > f->c.context)
        f->c.context = f->batch.width > 1 << 24 ? 1 << 24 : (uint32_t)f->batch.width;
    f->pass = rlhf_pass_new(&f->c, f->pool, f->o->grad, err);
    if (f->pass && f->o->grad) {
        size_t count;

        if (f->adapter)
            rlhf_adapter_parameters(f->adapter, &count);
        else
            rlhf_model_parameters(f->model, &count);
        f->grad = rlhf_aligned_new(count, sizeof *f->grad, err);
        if (!f->grad)
            return -1;
    }
    if (f->pass)
        rlhf_pass_adapt(f->pass, f->adapter, f->grad);
    return f->pass ? 0 : -1;
}

/* ---- what goes out --------------------------------------------------------------------------------- */

static void give(struct forward *f, const char *name, const float *data, size_t dims, const size_t *shape)
{
    f->out[f->outs++] = ctl_tensor(name, RLHF_DTYPE_F32, data, dims, shape);
}

static int no_memory(const struct forward *f, const char *what, struct rlhf_error *err)
{
    return rlhf_fail(err, RLHF_FULL, "no memory for %s of %zu rows of %zu", what, f->batch.rows, f->batch.width);
}

/* Packed rows [T, width] to where they stood; the rest is 0. */
static void unpack(const struct forward *f, const float *packed, size_t width, float *padded)
{
    const struct ctl_batch *b = &f->batch;

    for (size_t row = 0; row < b->rows; row++)
        for (size_t t = b->start[row]; t < b->start[row + 1]; t++)
            memcpy(padded + (row * b->width + b->column[t]) * width, packed + t * width, width * sizeof *padded);
}

static int give_logits(struct forward *f, struct rlhf_error *err)
{
    const size_t v = f->c.vocabulary, shape[] = { f->batch.rows, f->batch.width, v };
    float *logits;
    size_t count;
    int rc;

    if (!rlhf_mul_size(f->batch.rows * f->batch.width, v, &count) || !(f->padded = calloc(count, sizeof *f->padded))
        || !(logits = rlhf_aligned_new(f->tokens * v, sizeof *logits, NULL)))
        return no_memory(f, "the logits", err);
    rc = rlhf_pass_logits(f->pass, f->model, logits, err);
    if (rc == 0) {
        unpack(f, logits, v, f->padded);
        give(f, "logits", f->padded, 3, shape);
    }
    free(logits);
    return rc;
}

/* [b, s]: of the token that follows in the row. */
static int give_logprobs(struct forward *f, struct rlhf_error *err)
{
    const struct ctl_batch *b = &f->batch;
    const size_t width = b->width - 1, shape[] = { b->rows, width };
    int32_t *next = calloc(f->tokens, sizeof *next);
    float *logprob = calloc(f->tokens, sizeof *logprob);
    int rc = -1;

    f->logprobs = calloc(b->rows * b->width, sizeof *f->logprobs);
    if (!next || !logprob || !f->logprobs) {
        no_memory(f, "the log-probs", err);
        goto out;
    }
    for (size_t row = 0; row < b->rows; row++)
        for (size_t t = b->start[row]; t < b->start[row + 1]; t++)
            next[t] = t + 1 < b->start[row + 1] ? b->ids[t + 1] : -1;
    if ((rc = rlhf_pass_logprobs(f->pass, f->model, next, 1, logprob, NULL, err)) < 0)
        goto out;
    for (size_t row = 0; row < b->rows; row++)
        for (size_t t = b->start[row]; t + 1 < b->start[row + 1]; t++)
            f->logprobs[row * width + b->column[t]] = logprob[t];
    if (width > 0)
        give(f, "logprobs", f->logprobs, 2, shape);
out:
    free(next);
    free(logprob);
    return rc;
}

/* The mean over all labels, however many a row has. */
static int give_loss(struct forward *f, struct rlhf_error *err)
{
    float *logprob = calloc(f->tokens, sizeof *logprob), *d = calloc(f->tokens, sizeof *d);
    double sum = 0, labels = 0;
    int rc = -1;

    if (!logprob || !d) {
        no_memory(f, "the loss", err);
        goto out;
    }
    if ((rc = rlhf_pass_logprobs(f->pass, f->model, f->target, 1, logprob, NULL, err)) < 0)
        goto out;
    for (size_t t = 0; t < f->tokens; t++) {
        sum -= (double)logprob[t];
        labels += f->target[t] >= 0;
    }
    if (labels == 0) {
        rc = rlhf_fail(err, RLHF_REJECT, "%s: labels has none that a token before it predicts", f->in.path);
        goto out;
    }
    for (size_t t = 0; t < f->tokens; t++)
        d[t] = f->target[t] >= 0 ? (float)(-1 / labels) : 0;
    f->loss = (float)(sum / labels);
    give(f, "loss", &f->loss, 1, (size_t[]){ 1 });
    if (f->grad)
        rc = rlhf_pass_backward_logprobs(f->pass, f->model, d, NULL, f->adapter ? NULL : f->grad, err);
out:
    free(logprob);
    free(d);
    return rc;
}

/* transformers pools at the last token that is not the padding id, whatever the mask says; without one, at the first. */
static int pooled_at(const struct forward *f, size_t row, size_t *at, struct rlhf_error *err)
{
    const struct ctl_batch *b = &f->batch;
    const size_t last = b->column[b->start[row + 1] - 1];

    for (size_t s = last + 1; f->c.pad_id >= 0 && s < b->width; s++)
        if (b->padded[row * b->width + s] != f->c.pad_id)
            return rlhf_fail(err, RLHF_REJECT, "%s: input_ids[%zu, %zu] is %d where attention_mask is 0; make it the "
                             "pad_token_id of config.json, %d: the last other id is where transformers reads the reward",
                             f->in.path, row, s, b->padded[row * b->width + s], f->c.pad_id);
    *at = b->start[row + 1] - 1;
    while (f->c.pad_id >= 0 && *at > b->start[row] && b->ids[*at] == f->c.pad_id)
        --*at;
    return 0;
}

/* Bradley-Terry: row i is preferred to row i + B/2, -log sigmoid of the difference, mean over the pairs. */
static int give_preference(struct forward *f, const size_t *at, struct rlhf_error *err)
{
    const size_t pairs = f->batch.rows / 2;
    float *d = calloc(f->tokens, sizeof *d);
    double loss = 0;
    int rc;

    if (!d)
        return no_memory(f, "the loss", err);
    for (size_t i = 0; i < pairs; i++) {
        double margin = (double)f->rewards[i] - (double)f->rewards[i + pairs];

        loss += (margin > 0 ? log1p(exp(-margin)) : log1p(exp(margin)) - margin) / (double)pairs;
        d[at[i]] = (float)(-1 / (1 + exp(margin)) / (double)pairs);
        d[at[i + pairs]] = -d[at[i]];
    }
    f->loss = (float)loss;
    give(f, "loss", &f->loss, 1, (size_t[]){ 1 });
    rc = rlhf_pass_backward_scalars(f->pass, f->model, d, f->adapter ? NULL : f->grad, err);
    free(d);
    return rc;
}

static int give_rewards(struct forward *f, struct rlhf_error *err)
{
    const size_t rows = f->batch.rows;
    float *scalar = calloc(f->tokens, sizeof *scalar);
    size_t *at = calloc(rows, sizeof *at);
    int rc = -1;

    f->rewards = calloc(rows, sizeof *f->rewards);
    if (!scalar || !at || !f->rewards) {
        no_memory(f, "the rewards", err);
        goto out;
    }
    if ((rc = rlhf_pass_scalars(f->pass, f->model, scalar, err)) < 0)
        goto out;
    for (size_t row = 0; rc == 0 && row < rows; row++)
        if ((rc = pooled_at(f, row, &at[row], err)) == 0)
            f->rewards[row] = scalar[at[row]];
    if (rc == 0)
        give(f, "rewards", f->rewards, 1, &rows);
    if (rc == 0 && f->grad)
        rc = give_preference(f, at, err);
out:
    free(scalar);
    free(at);
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------------- */

static int write_output(struct forward *f, char (*names)[RLHF_PARAMETER_NAME + 8], const struct rlhf_parameter *table,
                        size_t tensors, struct rlhf_error *err)
{
    for (size_t i = 0; f->grad && i < tensors; i++) {
        snprintf(names[i], sizeof names[i], "grad.%s", table[i].name);
        give(f, names[i], f->grad + table[i].offset, table[i].dims, table[i].shape);
    }
    return ctl_tensors_write(f->o->output, f->out, f->outs, err);
}

static int run(struct forward *f, struct rlhf_error *err)
{
    const struct rlhf_batch batch = { .tokens = f->batch.ids, .start = f->batch.start, .sequences = f->batch.rows };
    size_t tensors;
    const struct rlhf_parameter *table =
        f->adapter ? rlhf_adapter_table(f->adapter, &tensors) : rlhf_model_table(f->model, &tensors);
    char (*names)[RLHF_PARAMETER_NAME + 8] = calloc(tensors, sizeof *names);
    int rc = -1;

    f->out = calloc(tensors + OUTPUTS, sizeof *f->out);
    if (!f->out || !names)
        rlhf_fail(err, RLHF_FULL, "no memory for %zu gradients", tensors);
    else if (rlhf_pass_forward(f->pass, f->model, &batch, err) < 0)
        rlhf_fail_prefix(err, "%s", f->in.path);
    else if (f->o->reward ? give_rewards(f, err) == 0
                          : give_logits(f, err) == 0 && give_logprobs(f, err) == 0
                                && (!f->labelled || give_loss(f, err) == 0))
        rc = write_output(f, names, table, tensors, err);
    free(names);
    return rc;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'm':
        o->model = text;
        break;
    case 'i':
        o->input = text;
        break;
    case 'o':
        o->output = text;
        break;
    case 'a':
        o->adapter = text;
        break;
    case 'g':
        o->grad = true;
        break;
    case 'r':
        o->reward = true;
        break;
    case 'p':
        o->products = text;
        break;
    case 't':
        o->threads = (unsigned)ctl_integer(state, "--threads", text, 1, THREADS);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is no option", text);
        break;
    case ARGP_KEY_END:
        if (!o->model || !o->input || !o->output)
            argp_error(state, "%s is missing", !o->model ? "--model" : !o->input ? "--input" : "--output");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int ctl_model_forward(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"model", 'm', "DIR", 0, "the model", 0},
        {"input", 'i', "IN.safetensors", 0, "input_ids [B, T], attention_mask [B, T] (padding on either side), and, if there "
                                            "is to be a loss, labels [B, T] with -100 where there is none", 0},
        {"output", 'o', "OUT.safetensors", 0, "gets logits [B, T, V], logprobs [B, T-1] of the tokens that follow, loss: "
                                              "the mean over the labels; 0 where the mask is 0", 0},
        {"grad", 'g', 0, 0, "also grad.NAME, the loss's gradient by each parameter", 0},
        {"reward", 'r', 0, 0, "of a reward model: rewards [B]; with --grad the loss is the mean of -log sigmoid(reward of "
                              "row i - reward of row i + B/2)", 0},
        {"adapter", 'a', "DIR", 0, "with the LoRA adapter in DIR; gradients are its parameters'", 0},
        {"products", 'p', "fp32|bf16", 0, "how to multiply (as the model's config.json says, or fp32)", 0},
        {"threads", 't', "N", 0, "compute threads (all processors)", 0},
        {0}};
    static const struct argp parser = {
        options, parse, NULL, "Computes what transformers computes for rows of token ids.", NULL, NULL, NULL};
    struct options o = {0};
    struct forward f = {.o = &o};
    int rc = -1;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (rlhf_tensor_start(err) == 0 && (f.pool = rlhf_pool_new(o.threads, err))
        && (f.model = o.grad && !o.adapter ? rlhf_model_load_parallel(o.model, f.pool, err)
                                          : rlhf_model_open(o.model, RLHF_PANELS_STORED, err))
        && ctl_set_products(f.model, o.products, err) == 0 && (!o.adapter || (f.adapter = rlhf_adapter_load(f.model, o.adapter, err)))) {
        f.c = *rlhf_model_get_config(f.model);
        if (read_input(&f, err) == 0 && make_pass(&f, err) == 0)
            rc = run(&f, err);
    }
    free(f.out);
    free(f.padded);
    free(f.logprobs);
    free(f.rewards);
    free(f.grad);
    free(f.target);
    rlhf_pass_free(f.pass);
    ctl_batch_free(&f.batch);
    ctl_tensors_close(&f.in);
    rlhf_adapter_free(f.adapter);
    rlhf_model_free(f.model);
    rlhf_pool_free(f.pool);
    return rc;
}
