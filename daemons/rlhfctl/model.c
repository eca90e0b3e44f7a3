/* model - says what a model directory holds. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "model/model.h"
#include "rlhfctl/ctl.h"
#include "store/store.h"

struct inspect {
    const char *dir;
    bool tensors;
};

static void print_shape(const struct rlhf_model_config *c)
{
    printf("%s style, %s\n", rlhf_model_config_name(c),
           c->head == RLHF_HEAD_LM ? "language model" : "scalar head (reward model or critic)");
    printf("layers %u, heads %u (%u for keys and values) of %u, channels %u, feed-forward %u\n", c->layers,
           c->heads, c->kv_heads, c->head_size, c->channels, c->mlp_size);
    printf("vocabulary %u, context %u, %s positions, embeddings %s\n", c->vocabulary, c->context,
           c->position == RLHF_POSITION_ROTARY ? "rotary" : "learned", c->tied ? "tied" : "apart");
}

static void print_tensor(const struct rlhf_parameter *t, const float *values)
{
    double sum = 0, squares = 0;
    float least = INFINITY, most = -INFINITY;
    size_t bad = 0;

    for (size_t i = 0; i < t->count; i++) {
        float v = values[t->offset + i];
        bad += !isfinite(v);
        sum += v;
        squares += (double)v * v;
        least = v < least ? v : least;
        most = v > most ? v : most;
    }
    printf("  %-52s %6zu", t->name, t->shape[0]);
    if (t->dims > 1)
        printf(" x %-6zu", t->shape[1]);
    else
        printf("         ");
    printf(" mean %+.2e  rms %.2e  %+.3f to %+.3f", sum / (double)t->count, sqrt(squares / (double)t->count),
           (double)least, (double)most);
    if (bad)
        printf("  %zu NOT FINITE", bad);
    putchar('\n');
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct inspect *o = state->input;

    switch (key) {
    case 't':
        o->tensors = true;
        break;
    case ARGP_KEY_ARG:
        if (o->dir)
            argp_error(state, "one directory, not two: '%s'", text);
        o->dir = text;
        break;
    case ARGP_KEY_END:
        if (!o->dir)
            argp_error(state, "which directory?");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int inspect(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"tensors", 't', 0, 0, "also every tensor: shape, mean, range", 0}, {0}};
    static const struct argp parser = {
        options, parse, "DIR", "Says what the model directory DIR holds, and checks it.", NULL, NULL, NULL};
    struct inspect o = {0};
    struct rlhf_model *m;
    const struct rlhf_parameter *table;
    const float *values;
    struct rlhf_digest digest;
    char text[RLHF_DIGEST_TEXT], manifest[500];
    size_t count, tensors, bad = 0;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (!(m = rlhf_model_load(o.dir, err)))
        return -1;
    print_shape(rlhf_model_get_config(m));
    values = rlhf_model_parameters(m, &count);
    table = rlhf_model_table(m, &tensors);
    digest = rlhf_digest_of(values, count * sizeof *values);
    rlhf_digest_text(&digest, text);
    printf("parameters %zu in %zu tensors, BLAKE2b %.16s\n", count, tensors, text);
    for (size_t i = 0; i < count; i++)
        bad += !isfinite(values[i]);
    for (size_t i = 0; o.tensors && i < tensors; i++)
        print_tensor(&table[i], values);
    rlhf_model_free(m);
    if (bad)
        return rlhf_fail(err, RLHF_CORRUPT, "%s: %zu parameters are not finite", o.dir, bad);
    snprintf(manifest, sizeof manifest, "%s/MANIFEST", o.dir);
    if (!rlhf_exists(&rlhf_system_io, manifest)) {
        printf("no MANIFEST: its files cannot be checked\n");
        return 0;
    }
    if (rlhf_atomic_verify(&rlhf_system_io, o.dir, err) < 0)
        return -1;
    printf("every file agrees with the MANIFEST\n");
    return 0;
}

int ctl_model(int argc, char **argv, struct rlhf_error *err)
{
    static const struct ctl_command commands[] = {
        {"inspect", "DIR", "shape, parameters, and whether the files are whole", inspect},
        {"forward", "--model DIR --input ...", "logits, log-probs, loss, gradients, rewards of rows", ctl_model_forward},
        {"merge", "--model DIR --adapter ...", "a model with a LoRA adapter added to its weights", ctl_model_merge},
        {0}};

    return ctl_dispatch("rlhfctl model", "Looks into model directories.", commands, argc, argv, err);
}
