/* convert - writes a model directory anew: other numbers, other files, another head. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "model/save.h"
#include "rlhfctl/ctl.h"
#include "store/store.h"

struct convert {
    const char *from, *to;
    struct rlhf_save how;
    bool change_head;
    enum rlhf_head head;
    uint64_t seed;
};

/* 5000, 200K, 2MB, 5G: thousands, as Hugging Face counts. */
static size_t parse_size(struct argp_state *state, const char *text)
{
    static const char units[] = "KMGT";
    char *end;
    double size;
    const char *unit;

    errno = 0;
    size = strtod(text, &end);
    if (end != text && *end && (unit = strchr(units, *end))) {
        for (const char *u = units; u <= unit; u++)
            size *= 1000;
        end++;
    }
    if (*end == 'B')
        end++;
    if (errno || end == text || *end || !(size >= 1 && size <= 1e15))
        argp_error(state, "--shard-size: '%s' is not a size as 500MB or 5G", text);
    return (size_t)size;
}

static void parse_number(struct convert *o, struct argp_state *state, const char *text)
{
    static const struct {
        const char *name;
        enum rlhf_number number;
    } names[] = {
        {"f32", RLHF_NUMBER_F32}, {"bf16", RLHF_NUMBER_BF16}, {"f16", RLHF_NUMBER_F16},
        {"float32", RLHF_NUMBER_F32}, {"bfloat16", RLHF_NUMBER_BF16}, {"float16", RLHF_NUMBER_F16},
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i].name) == 0) {
            o->how.as_stored = false;
            o->how.number = names[i].number;
            return;
        }
    argp_error(state, "--dtype: f32, bf16 or f16, not '%s'", text);
}

enum { HEAD = 256 }; /* -h is what people type for help */

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct convert *o = state->input;

    switch (key) {
    case 'm':
        o->from = text;
        break;
    case 'o':
        o->to = text;
        break;
    case 'd':
        parse_number(o, state, text);
        break;
    case 's':
        o->how.shard_size = parse_size(state, text);
        break;
    case HEAD:
        if (strcmp(text, "lm") != 0 && strcmp(text, "reward") != 0)
            argp_error(state, "--head: lm or reward, not '%s'", text);
        o->change_head = true;
        o->head = strcmp(text, "lm") == 0 ? RLHF_HEAD_LM : RLHF_HEAD_SCALAR;
        break;
    case 'r':
        o->seed = (uint64_t)ctl_integer(state, "--seed", text, 0, INT64_MAX);
        break;
    case ARGP_KEY_END:
        if (!o->from || !o->to)
            argp_error(state, "--model and --output: which directories?");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* The model with the wanted head: itself, or a copy in memory. Takes m. */
static struct rlhf_model *with_head(const struct convert *o, struct rlhf_model *m, struct rlhf_error *err)
{
    struct rlhf_model *copy;

    if (!m || !o->change_head || rlhf_model_get_config(m)->head == o->head)
        return m;
    copy = rlhf_model_clone(m, o->head, o->seed, err);
    rlhf_model_free(m);
    return copy;
}

/* A copy is fp32; it is written in what the model was stored in, unless another number is wanted. */
static void keep_number(struct convert *o, const struct rlhf_model *m)
{
    if (o->how.as_stored && o->change_head && o->head != rlhf_model_get_config(m)->head) {
        o->how.as_stored = false;
        o->how.number = rlhf_model_number(m, 0);
    }
}

static int write_model(struct convert *o, const struct rlhf_model *m, struct rlhf_error *err)
{
    struct rlhf_atomic_dir *a;
    int rc;

    if (rlhf_exists(&rlhf_system_io, o->to))
        return rlhf_fail(err, RLHF_REJECT, "%s is there already; name a directory that is not", o->to);
    if (!(a = rlhf_atomic_begin(&rlhf_system_io, o->to, err)))
        return -1;
    o->how.carry = o->from;
    rc = rlhf_model_save(m, rlhf_atomic_path(a), &o->how, err);
    if (rc == 0)
        return rlhf_atomic_commit(a, err);
    rlhf_atomic_abort(a);
    return rc;
}

int ctl_model_convert(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"model", 'm', "DIR", 0, "a model directory: config.json, model.safetensors or shards", 0},
        {"output", 'o', "DIR", 0, "the directory to make", 0},
        {"dtype", 'd', "TYPE", 0, "f32, bf16 or f16, rounded to nearest (default: as stored)", 0},
        {"shard-size", 's', "SIZE", 0, "split into files of at most SIZE, as 500MB or 5G (default: one file)", 0},
        {"head", HEAD, "HEAD", 0,
         "lm or reward: drop or add the scalar head; a new one is random, to be trained", 0},
        {"seed", 'r', "N", 0, "of a new scalar head (default 0)", 0},
        {0}};
    static const struct argp parser = {
        options, parse, NULL,
        "Writes a model directory anew, as transformers would: in other numbers, in shards or in one file, with another "
        "head. Tokenizer, chat template and generation_config.json come along byte for byte.",
        NULL, NULL, NULL};
    struct convert o = {.how = {.as_stored = true}};
    struct rlhf_model *m;
    size_t tensors;
    int rc;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (!(m = rlhf_model_open(o.from, RLHF_PANELS_STORED, err)))
        return -1;
    keep_number(&o, m);
    if (!(m = with_head(&o, m, err)))
        return -1;
    rc = write_model(&o, m, err);
    if (rc == 0) {
        rlhf_model_table(m, &tensors);
        printf("wrote %zu tensors to %s\n", tensors, o.to);
    }
    rlhf_model_free(m);
    return rc;
}
