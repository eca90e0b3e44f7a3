/* inspect - says what a model directory holds, and reads all of it once. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/hash.h"
#include "base/io.h"
#include "model/checkpoint.h"
#include "model/save.h"
#include "rlhfctl/ctl.h"
#include "store/store.h"

enum { CHUNK = 1 << 18, CONFIG_BYTES = 1 << 20 };

struct inspect {
    const char *dir;
    bool tensors, json;

    struct rlhf_model *model;
    struct rlhf_checkpoint files; /* once more, as files rather than as parameters */
    json_t *config;
    struct summary *summaries; /* [tensors] */
    float *floats;             /* [CHUNK] */
};

struct summary {
    double mean, rms;
    float least, most;
};

/* ---- reading --------------------------------------------------------------------------------------- */

static int read_tensor(struct inspect *o, size_t tensor, const struct rlhf_parameter *p, struct rlhf_hasher *hasher,
                       struct rlhf_error *err)
{
    struct summary *s = &o->summaries[tensor];
    double sum = 0, squares = 0;

    *s = (struct summary){.least = INFINITY, .most = -INFINITY};
    for (size_t from = 0, count; from < p->count; from += count) {
        count = p->count - from < CHUNK ? p->count - from : CHUNK;
        rlhf_model_values(o->model, tensor, from, count, o->floats);
        rlhf_hasher_add(hasher, o->floats, count * sizeof *o->floats);
        for (size_t i = 0; i < count; i++) {
            float v = o->floats[i];
            if (!isfinite(v))
                return rlhf_fail(err, RLHF_CORRUPT, "%s: %s: element %zu is %g, no weight", o->dir, p->name,
                                 from + i, (double)v);
            sum += v;
            squares += (double)v * v;
            s->least = v < s->least ? v : s->least;
            s->most = v > s->most ? v : s->most;
        }
    }
    s->mean = p->count ? sum / (double)p->count : 0;
    s->rms = p->count ? sqrt(squares / (double)p->count) : 0;
    return 0;
}

/* All parameters as floats, in table order: the same for the same weights, however they are stored. */
static int read_all(struct inspect *o, char digest[RLHF_DIGEST_TEXT], struct rlhf_error *err)
{
    struct rlhf_hasher *hasher = rlhf_hasher_new();
    const struct rlhf_parameter *table;
    struct rlhf_digest d;
    size_t tensors;
    int rc = 0;

    table = rlhf_model_table(o->model, &tensors);
    o->summaries = calloc(tensors, sizeof *o->summaries);
    o->floats = malloc(CHUNK * sizeof *o->floats);
    if (!hasher || !o->summaries || !o->floats)
        rc = rlhf_fail(err, RLHF_FULL, "no memory to read a model of %zu tensors", tensors);
    for (size_t i = 0; rc == 0 && i < tensors; i++)
        rc = read_tensor(o, i, &table[i], hasher, err);
    if (hasher) {
        d = rlhf_hasher_end(hasher);
        rlhf_digest_text(&d, digest);
    }
    return rc;
}

/* config.json passed the model's own reader; here it is only asked for its words. */
static int read_config(struct inspect *o, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};
    char path[500];

    if (rlhf_path(path, sizeof path, o->dir, "config.json", err) < 0 ||
        rlhf_read_file(&rlhf_system_io, path, CONFIG_BYTES, &text, err) < 0)
        return -1;
    o->config = json_loadb(text.data, text.size, 0, NULL);
    rlhf_bytes_free(&text);
    return o->config ? 0 : rlhf_fail(err, RLHF_CORRUPT, "%s is not JSON", path);
}

static const char *word(const struct inspect *o, const char *key)
{
    json_t *value = json_object_get(o->config, key);

    if (json_is_array(value))
        value = json_array_get(value, 0);
    return json_is_string(value) ? json_string_value(value) : "";
}

/* What is stored in each kind of number. */
struct kind {
    size_t tensors, parameters, bytes;
};

static void count_kinds(const struct inspect *o, struct kind kinds[RLHF_NUMBER_F16 + 1])
{
    size_t tensors;
    const struct rlhf_parameter *table = rlhf_model_table(o->model, &tensors);

    memset(kinds, 0, (RLHF_NUMBER_F16 + 1) * sizeof *kinds);
    for (size_t i = 0; i < tensors; i++) {
        struct kind *k = &kinds[rlhf_model_number(o->model, i)];

        k->tensors++;
        k->parameters += table[i].count;
        k->bytes += table[i].count * rlhf_number_size(rlhf_model_number(o->model, i));
    }
}

static size_t parameters(const struct inspect *o)
{
    size_t tensors, count = 0;
    const struct rlhf_parameter *table = rlhf_model_table(o->model, &tensors);

    for (size_t i = 0; i < tensors; i++)
        count += table[i].count;
    return count;
}

/* "none", or "agrees"; -1 when it does not. */
static int check_manifest(const struct inspect *o, const char **says, struct rlhf_error *err)
{
    char path[500];

    *says = "none";
    if (rlhf_path(path, sizeof path, o->dir, "MANIFEST", err) < 0)
        return -1;
    if (!rlhf_exists(&rlhf_system_io, path))
        return 0;
    *says = "agrees";
    return rlhf_atomic_verify(&rlhf_system_io, o->dir, err);
}

/* ---- for people ------------------------------------------------------------------------------------ */

static void print_shape(const struct inspect *o)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(o->model);

    printf("%s (%s), %s\n", rlhf_model_config_name(c), word(o, "architectures"),
           c->head == RLHF_HEAD_LM ? "language model" : "scalar head (reward model or critic)");
    printf("layers %u, heads %u (%u for keys and values) of %u, channels %u, feed-forward %u\n", c->layers,
           c->heads, c->kv_heads, c->head_size, c->channels, c->mlp_size);
    printf("vocabulary %u, context %u, %s positions, embeddings %s\n", c->vocabulary, c->context,
           c->position == RLHF_POSITION_ROTARY ? "rotary" : "learned", c->tied ? "tied" : "apart");
}

static void print_files(const struct inspect *o)
{
    struct kind kinds[RLHF_NUMBER_F16 + 1];

    count_kinds(o, kinds);
    for (int n = 0; n <= RLHF_NUMBER_F16; n++)
        if (kinds[n].tensors)
            printf("stored as %s: %zu parameters in %zu tensors, %.1f MB\n", rlhf_number_name((enum rlhf_number)n),
                   kinds[n].parameters, kinds[n].tensors, (double)kinds[n].bytes / 1e6);
    for (size_t i = 0; i < o->files.files; i++)
        printf("file %s: %zu tensors, %.1f MB\n", o->files.names[i], o->files.parts[i].count,
               (double)o->files.maps[i].size / 1e6);
}

static void print_tensors(const struct inspect *o)
{
    size_t tensors;
    const struct rlhf_parameter *table = rlhf_model_table(o->model, &tensors);

    for (size_t i = 0; i < tensors; i++) {
        const struct rlhf_parameter *t = &table[i];
        const struct summary *s = &o->summaries[i];

        printf("  %-52s %-4s %6zu", t->name, rlhf_number_name(rlhf_model_number(o->model, i)), t->shape[0]);
        if (t->dims > 1)
            printf(" x %-6zu", t->shape[1]);
        else
            printf("         ");
        printf(" mean %+.2e  rms %.2e  %+.3f to %+.3f\n", s->mean, s->rms, (double)s->least, (double)s->most);
    }
}

static void print_text(const struct inspect *o, const char *digest, const char *manifest)
{
    size_t tensors;

    rlhf_model_table(o->model, &tensors);
    print_shape(o);
    printf("parameters %zu in %zu tensors, BLAKE2b %.16s\n", parameters(o), tensors, digest);
    print_files(o);
    if (o->tensors)
        print_tensors(o);
    puts(strcmp(manifest, "none") == 0 ? "no MANIFEST: its files cannot be checked"
                                       : "every file agrees with the MANIFEST");
}

/* ---- for programs ---------------------------------------------------------------------------------- */

static json_t *json_of_kinds(const struct inspect *o)
{
    struct kind kinds[RLHF_NUMBER_F16 + 1];
    json_t *all = json_object();

    count_kinds(o, kinds);
    for (int n = 0; n <= RLHF_NUMBER_F16; n++)
        if (kinds[n].tensors)
            json_object_set_new(all, rlhf_number_name((enum rlhf_number)n),
                                json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)kinds[n].tensors, "parameters",
                                          (json_int_t)kinds[n].parameters, "bytes", (json_int_t)kinds[n].bytes));
    return all;
}

static json_t *json_of_files(const struct inspect *o)
{
    json_t *all = json_array();

    for (size_t i = 0; i < o->files.files; i++)
        json_array_append_new(all, json_pack("{s:s, s:I, s:I}", "name", o->files.names[i], "bytes",
                                             (json_int_t)o->files.maps[i].size, "tensors",
                                             (json_int_t)o->files.parts[i].count));
    return all;
}

static json_t *json_of_tensors(const struct inspect *o)
{
    size_t tensors;
    const struct rlhf_parameter *table = rlhf_model_table(o->model, &tensors);
    json_t *all = json_array();

    for (size_t i = 0; i < tensors; i++) {
        const struct summary *s = &o->summaries[i];
        json_t *shape = json_array();

        for (size_t d = 0; d < table[i].dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)table[i].shape[d]));
        json_array_append_new(all, json_pack("{s:s, s:s, s:o, s:f, s:f, s:f, s:f}", "name", table[i].name, "dtype",
                                             rlhf_number_name(rlhf_model_number(o->model, i)), "shape", shape, "mean",
                                             s->mean, "rms", s->rms, "min", (double)s->least, "max",
                                             (double)s->most));
    }
    return all;
}

static int print_json(const struct inspect *o, const char *digest, const char *manifest, struct rlhf_error *err)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(o->model);
    size_t tensors;
    json_t *root;
    int rc;

    rlhf_model_table(o->model, &tensors);
    root = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:s, s:s, s:o, s:o}", "directory", o->dir, "family",
                     rlhf_model_config_name(c), "architecture", word(o, "architectures"), "head",
                     c->head == RLHF_HEAD_LM ? "lm" : "reward", "parameters", (json_int_t)parameters(o), "tensor_count",
                     (json_int_t)tensors, "tied", (int)c->tied, "blake2b", digest, "manifest", manifest, "dtypes",
                     json_of_kinds(o), "files", json_of_files(o));
    if (!root)
        return rlhf_fail(err, RLHF_FULL, "%s: what it holds is no JSON", o->dir);
    json_object_update_new(root, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "layers", (json_int_t)c->layers,
                                           "heads", (json_int_t)c->heads, "kv_heads", (json_int_t)c->kv_heads,
                                           "head_size", (json_int_t)c->head_size, "channels", (json_int_t)c->channels,
                                           "mlp_size", (json_int_t)c->mlp_size, "vocabulary",
                                           (json_int_t)c->vocabulary, "context", (json_int_t)c->context));
    if (o->tensors)
        json_object_set_new(root, "tensors", json_of_tensors(o));
    rc = json_dumpf(root, stdout, JSON_COMPACT);
    json_decref(root);
    putchar('\n');
    return rc == 0 ? 0 : rlhf_fail(err, RLHF_FULL, "%s: what it holds cannot be printed", o->dir);
}

/* ---- the command ----------------------------------------------------------------------------------- */

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct inspect *o = state->input;

    switch (key) {
    case 't':
        o->tensors = true;
        break;
    case 'j':
        o->json = true;
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

int ctl_model_inspect(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"tensors", 't', 0, 0, "also every tensor: how it is stored, shape, mean, range", 0},
        {"json", 'j', 0, 0, "one JSON object instead of text", 0},
        {0}};
    static const struct argp parser = {
        options, parse, "DIR", "Says what the model directory DIR holds, and checks it.", NULL, NULL, NULL};
    struct inspect o = {0};
    char digest[RLHF_DIGEST_TEXT] = "";
    const char *manifest;
    int rc = -1;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if ((o.model = rlhf_model_open(o.dir, RLHF_PANELS_STORED, err)) &&
        rlhf_checkpoint_open(&o.files, o.dir, err) == 0 && read_config(&o, err) == 0 &&
        read_all(&o, digest, err) == 0 && check_manifest(&o, &manifest, err) == 0) {
        rc = 0;
        if (o.json)
            rc = print_json(&o, digest, manifest, err);
        else
            print_text(&o, digest, manifest);
    }
    json_decref(o.config);
    free(o.summaries);
    free(o.floats);
    rlhf_checkpoint_close(&o.files);
    rlhf_model_free(o.model);
    return rc;
}
