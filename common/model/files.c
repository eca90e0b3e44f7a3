/* files.c - a model from and to Hugging Face's config.json and model.safetensors. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/io.h"
#include "model/internal.h"
#include "model/safetensors.h"

enum { CONFIG_BYTES = 1 << 20, INDEX_BYTES = 16 << 20, SHARDS = 1024 };

/* ---- tensors into the block ------------------------------------------------------------------------ */

/* The files of one checkpoint: one, or the shards of an index. */
struct shards {
    struct rlhf_safetensors *files;
    size_t count;
};

static const struct rlhf_safetensor *find(const struct shards *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct rlhf_safetensor *t = rlhf_safetensors_find(&s->files[i], name);

        if (t)
            return t;
    }
    return NULL;
}

/* Files of a bare GPT2Model or LlamaModel lack the first word of the body's names. */
static const char *without_prefix(const struct rlhf_model *m, const char *name)
{
    const char *prefix = m->config.norm == RLHF_NORM_LAYER ? "transformer." : "model.";

    return strncmp(name, prefix, strlen(prefix)) == 0 ? name + strlen(prefix) : name;
}

static const struct rlhf_safetensor *find_parameter(const struct rlhf_model *m, const struct shards *s,
                                                    const char *name)
{
    const struct rlhf_safetensor *t = find(s, name);

    return t ? t : find(s, without_prefix(m, name));
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t size = strlen(text), end = strlen(suffix);

    return size >= end && strcmp(text + size - end, suffix) == 0;
}

/* Constants that older transformers kept beside the weights: causal masks and rotary frequencies. */
static bool is_buffer(const struct rlhf_model *m, const char *name)
{
    if (m->config.norm == RLHF_NORM_LAYER)
        return has_suffix(name, ".attn.bias") || has_suffix(name, ".attn.masked_bias");
    return has_suffix(name, ".rotary_emb.inv_freq");
}

/* A list of names in one error text. */
struct complaint {
    char text[300];
    size_t used, count;
};

static void complain(struct complaint *c, const char *what, const char *name)
{
    char word[140];
    int size = snprintf(word, sizeof word, "%s%s%.100s", c->count ? ", " : "", what, name);

    c->count++;
    if (c->used + (size_t)size < sizeof c->text - 40) {
        memcpy(c->text + c->used, word, (size_t)size + 1);
        c->used += (size_t)size;
    } else if (c->used < sizeof c->text - 40) { /* the list ends here; the count goes on */
        snprintf(c->text + c->used, sizeof c->text - c->used, ", ...");
        c->used = sizeof c->text;
    }
}

static bool same_shape(const struct rlhf_parameter *p, const struct rlhf_safetensor *t)
{
    return t->dims == p->dims && t->shape[0] == p->shape[0] && (p->dims == 1 || t->shape[1] == p->shape[1]);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Every tensor of the files must be a parameter, under its full or its bare name, a known buffer, or a tied
 * head that repeats the embedding. */
static int list_unexpected(const struct rlhf_model *m, const struct shards *s, struct complaint *c,
                           struct rlhf_error *err)
{
    const char **known = calloc(2 * m->tensors, sizeof *known);
    size_t count = 0;

    if (!known)
        return rlhf_fail(err, RLHF_FULL, "no memory for a list of %zu names", 2 * m->tensors);
    for (size_t i = 0; i < m->tensors; i++) {
        known[count++] = m->table[i].name;
        known[count++] = without_prefix(m, m->table[i].name);
    }
    qsort(known, count, sizeof *known, by_text);
    for (size_t f = 0; f < s->count; f++)
        for (size_t i = 0; i < s->files[f].count; i++) {
            const char *name = s->files[f].tensors[i].name;
            bool tied = m->config.tied && strcmp(name, "lm_head.weight") == 0;

            if (!bsearch(&name, known, count, sizeof *known, by_text) && !is_buffer(m, name) && !tied)
                complain(c, "unexpected ", name);
        }
    free(known);
    return 0;
}

static int check_tensors(const struct rlhf_model *m, const struct shards *s, struct rlhf_error *err)
{
    struct complaint c = { 0 };

    for (size_t i = 0; i < m->tensors; i++) {
        const struct rlhf_parameter *p = &m->table[i];
        const struct rlhf_safetensor *t = find_parameter(m, s, p->name);

        if (!t) {
            complain(&c, "missing ", p->name);
        } else if (!same_shape(p, t)) {
            char text[256], is[64], wanted[64];
            struct rlhf_safetensor want = { .dims = p->dims, .shape = { p->shape[0], p->shape[1] } };

            snprintf(text, sizeof text, "%s %s, not %s", p->name, rlhf_safetensor_shape(t, is, sizeof is),
                     rlhf_safetensor_shape(&want, wanted, sizeof wanted));
            complain(&c, "misshapen ", text);
        }
    }
    if (list_unexpected(m, s, &c, err) < 0)
        return -1;
    if (c.count)
        return rlhf_fail(err, RLHF_CORRUPT, "%zu tensors do not fit config.json: %s", c.count, c.text);
    return 0;
}

/* A head in the file of a tied model must say the same as the embedding: two answers are an error. */
static int check_tied(const struct rlhf_model *m, const struct shards *s, struct rlhf_error *err)
{
    const struct rlhf_safetensor *head = m->config.tied ? find(s, "lm_head.weight") : NULL;
    const struct rlhf_safetensor *embedding = find_parameter(m, s, m->table[0].name);

    if (!head || !embedding)
        return 0;
    if (head->dtype != embedding->dtype || head->size != embedding->size
        || memcmp(head->data, embedding->data, head->size) != 0)
        return rlhf_fail(err, RLHF_CORRUPT, "lm_head.weight differs from %s although config.json says "
                         "tie_word_embeddings", m->table[0].name);
    return 0;
}

static int fill(struct rlhf_model *m, const struct shards *s, struct rlhf_error *err)
{
    for (size_t i = 0; i < m->tensors; i++)
        if (rlhf_safetensor_floats(find_parameter(m, s, m->table[i].name), m->block + m->table[i].offset, err) < 0)
            return -1;
    return 0;
}

/* NaN and infinity are never weights: neither read nor written (promise D9). */
static int check_finite(const struct rlhf_model *m, enum rlhf_code code, struct rlhf_error *err)
{
    for (size_t i = 0; i < m->tensors; i++) {
        const struct rlhf_parameter *p = &m->table[i];

        for (size_t j = 0; j < p->count; j++)
            if (!isfinite(m->block[p->offset + j]))
                return rlhf_fail(err, code, "%s: element %zu is %g, no weight", p->name, j,
                                 (double)m->block[p->offset + j]);
    }
    if (!isfinite(m->bias))
        return rlhf_fail(err, code, "the scalar head's bias is %g", (double)m->bias);
    return 0;
}

/* Checks first, allocates then: a hostile config.json costs no more memory than the tensors brought. */
static struct rlhf_model *build(const struct rlhf_model_config *c, float bias, const struct shards *s,
                                struct rlhf_error *err)
{
    struct rlhf_model *m = rlhf_model_plan(c, err);

    if (!m)
        return NULL;
    m->bias = bias;
    if (check_tensors(m, s, err) == 0 && check_tied(m, s, err) == 0 && rlhf_model_allocate(m, err) == 0
        && fill(m, s, err) == 0 && check_finite(m, RLHF_CORRUPT, err) == 0) {
        rlhf_model_touch(m, NULL);
        return m;
    }
    rlhf_model_free(m);
    return NULL;
}

struct rlhf_model *rlhf_model_read(const char *config, size_t config_size, const void *tensors,
                                   size_t tensors_size, struct rlhf_error *err)
{
    struct rlhf_model_config c;
    struct rlhf_safetensors file;
    struct rlhf_model *m;
    float bias;

    if (rlhf_model_config_read(&c, &bias, config, config_size, err) < 0)
        return NULL;
    if (rlhf_safetensors_parse(&file, tensors, tensors_size, err) < 0) {
        rlhf_fail_prefix(err, "model.safetensors");
        return NULL;
    }
    m = build(&c, bias, &(struct shards){ .files = &file, .count = 1 }, err);
    if (!m)
        rlhf_fail_prefix(err, "model.safetensors");
    rlhf_safetensors_free(&file);
    return m;
}

/* ---- directories ----------------------------------------------------------------------------------- */

/* An open checkpoint directory: the mapped files and their tables. */
struct opened {
    struct rlhf_mapping *maps;
    struct shards shards; /* files[i] is in maps[i] */
};

static void close_files(struct opened *o)
{
    for (size_t i = 0; i < o->shards.count; i++) {
        rlhf_safetensors_free(&o->shards.files[i]);
        rlhf_unmap(&o->maps[i]);
    }
    free(o->shards.files);
    free(o->maps);
}

static int open_file(struct opened *o, const char *dir, const char *name, struct rlhf_error *err)
{
    size_t i = o->shards.count;
    char path[PATH_MAX];

    if (rlhf_path(path, sizeof path, dir, name, err) < 0 || rlhf_map_file(&o->maps[i], path, err) < 0)
        return -1;
    if (rlhf_safetensors_parse(&o->shards.files[i], o->maps[i].data, o->maps[i].size, err) < 0) {
        rlhf_unmap(&o->maps[i]);
        return rlhf_fail_prefix(err, "%.200s", path);
    }
    o->shards.count++;
    return 0;
}

static int open_shards(struct opened *o, const char *dir, const json_t *map, struct rlhf_error *err)
{
    const char *names[SHARDS], *tensor;
    size_t count = 0;
    json_t *file;

    json_object_foreach((json_t *)map, tensor, file) {
        const char *name = json_string_value(file);
        size_t i = 0;

        if (!name || !*name || name[0] == '.' || strchr(name, '/'))
            return rlhf_fail(err, RLHF_CORRUPT, "weight_map: %.80s is not in a file of this directory", tensor);
        while (i < count && strcmp(names[i], name) != 0)
            i++;
        if (i == SHARDS)
            return rlhf_fail(err, RLHF_CORRUPT, "weight_map: more than %d files", SHARDS);
        if (i == count)
            names[count++] = name;
    }
    o->maps = calloc(count + 1, sizeof *o->maps);
    o->shards.files = calloc(count + 1, sizeof *o->shards.files);
    if (!o->maps || !o->shards.files)
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu files", count);
    for (size_t i = 0; i < count; i++)
        if (open_file(o, dir, names[i], err) < 0)
            return -1;
    return 0;
}

static int open_index(struct opened *o, const char *dir, const char *path, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    json_error_t wrong;
    json_t *root, *map;
    int rc = -1;

    if (rlhf_read_file(&rlhf_system_io, path, INDEX_BYTES, &text, err) < 0)
        return -1;
    root = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES, &wrong);
    map = json_object_get(root, "weight_map");
    if (!root)
        rlhf_fail(err, RLHF_CORRUPT, "line %d: %s", wrong.line, wrong.text);
    else if (!json_is_object(map))
        rlhf_fail(err, RLHF_CORRUPT, "weight_map is missing or no object");
    else
        rc = open_shards(o, dir, map, err);
    json_decref(root);
    rlhf_bytes_free(&text);
    return rc < 0 ? rlhf_fail_prefix(err, "%.200s", path) : 0;
}

static int open_files(struct opened *o, const char *dir, struct rlhf_error *err)
{
    char path[PATH_MAX];

    if (rlhf_path(path, sizeof path, dir, "model.safetensors", err) < 0)
        return -1;
    if (!rlhf_exists(&rlhf_system_io, path)) {
        if (rlhf_path(path, sizeof path, dir, "model.safetensors.index.json", err) < 0)
            return -1;
        if (!rlhf_exists(&rlhf_system_io, path))
            return rlhf_fail(err, RLHF_REJECT, "%.200s: neither model.safetensors nor "
                             "model.safetensors.index.json is there", dir);
        return open_index(o, dir, path, err);
    }
    o->maps = calloc(1, sizeof *o->maps);
    o->shards.files = calloc(1, sizeof *o->shards.files);
    if (!o->maps || !o->shards.files)
        return rlhf_fail(err, RLHF_FULL, "no memory");
    return open_file(o, dir, "model.safetensors", err);
}

static int load_config(struct rlhf_model_config *c, float *bias, const char *dir, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    char path[PATH_MAX];
    int rc;

    if (rlhf_path(path, sizeof path, dir, "config.json", err) < 0
        || rlhf_read_file(&rlhf_system_io, path, CONFIG_BYTES, &text, err) < 0)
        return -1;
    rc = rlhf_model_config_read(c, bias, text.data, text.size, err);
    rlhf_bytes_free(&text);
    return rc < 0 ? rlhf_fail_prefix(err, "%.200s", dir) : 0;
}

struct rlhf_model *rlhf_model_load(const char *dir, struct rlhf_error *err)
{
    struct rlhf_model_config c;
    struct opened o = { 0 };
    struct rlhf_model *m = NULL;
    float bias;

    if (load_config(&c, &bias, dir, err) < 0)
        return NULL;
    if (open_files(&o, dir, err) == 0 && !(m = build(&c, bias, &o.shards, err)))
        rlhf_fail_prefix(err, "%.200s", dir);
    close_files(&o);
    return m;
}

/* ---- writing --------------------------------------------------------------------------------------- */

int rlhf_model_write(const struct rlhf_model *m, struct rlhf_bytes *config, struct rlhf_bytes *tensors,
                     struct rlhf_error *err)
{
    struct rlhf_safetensor *list;
    int rc;

    if (check_finite(m, RLHF_FATAL, err) < 0)
        return rlhf_fail_prefix(err, "the model is not written");
    if (!(list = calloc(m->tensors, sizeof *list)))
        return rlhf_fail(err, RLHF_FULL, "no memory for a table of %zu tensors", m->tensors);
    for (size_t i = 0; i < m->tensors; i++) {
        const struct rlhf_parameter *p = &m->table[i];

        list[i] = (struct rlhf_safetensor){
            .name = p->name, .dtype = RLHF_DTYPE_F32, .dims = p->dims, .shape = { p->shape[0], p->shape[1] },
            .data = (const uint8_t *)(m->block + p->offset), .size = p->count * sizeof(float),
        };
    }
    rc = rlhf_model_config_write(&m->config, m->bias, config, err) < 0
                 || rlhf_safetensors_write(list, m->tensors, tensors, err) < 0 ? -1 : 0;
    free(list);
    return rc;
}
