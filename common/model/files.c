/* files.c - a model from and to Hugging Face's config.json and model.safetensors. */
#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/io.h"
#include "model/internal.h"

enum { CONFIG_BYTES = 1 << 20, FILL = 1 << 18 /* floats a task converts: about 100 us */ };

/* ---- which tensor is which parameter ---------------------------------------------------------------- */

/* Files of a bare GPT2Model or LlamaModel lack the first word of the body's names: that of the embedding's. */
static const char *without_prefix(const struct rlhf_model *m, const char *name)
{
    size_t size = strcspn(m->table[0].name, ".") + 1;

    return strncmp(name, m->table[0].name, size) == 0 ? name + size : name;
}

static const struct rlhf_safetensor *find_parameter(const struct rlhf_model *m, const struct rlhf_checkpoint *k,
                                                    const char *name)
{
    const struct rlhf_safetensor *t = rlhf_checkpoint_find(k, rlhf_model_file_name(&m->config, name));

    if (!t)
        t = rlhf_checkpoint_find(k, name);
    return t ? t : rlhf_checkpoint_find(k, without_prefix(m, name));
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t size = strlen(text), end = strlen(suffix);

    return size >= end && strcmp(text + size - end, suffix) == 0;
}

/* Constants that older transformers kept beside the weights: causal masks and rotary frequencies. */
static bool is_buffer(const char *name)
{
    static const char *const buffers[] = { ".attn.bias", ".attn.masked_bias", ".attention.bias",
                                           ".attention.masked_bias", ".rotary_emb.inv_freq" };

    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        if (has_suffix(name, buffers[i]))
            return true;
    return false;
}

/* What a language-model head is called; a tied model's file may repeat it. */
static const char *const head_names[] = { "lm_head.weight", "embed_out.weight" };

static const struct rlhf_safetensor *find_tied(const struct rlhf_model *m, const struct rlhf_checkpoint *k)
{
    const struct rlhf_safetensor *t = NULL;

    for (size_t i = 0; m->config.tied && !t && i < sizeof head_names / sizeof head_names[0]; i++)
        t = rlhf_checkpoint_find(k, head_names[i]);
    return t;
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

/* Every tensor of the files must be a parameter, under its name, its bare name or its name in files, a known buffer, or a tied
 * head that repeats the embedding. */
static int list_unexpected(const struct rlhf_model *m, const struct rlhf_checkpoint *k, struct complaint *c,
                           struct rlhf_error *err)
{
    const struct rlhf_safetensor *tied = find_tied(m, k);
    const char **known = calloc(3 * m->tensors, sizeof *known);
    size_t count = 0;

    if (!known)
        return rlhf_fail(err, RLHF_FULL, "no memory for a list of %zu names", 3 * m->tensors);
    for (size_t i = 0; i < m->tensors; i++) {
        known[count++] = m->table[i].name;
        known[count++] = without_prefix(m, m->table[i].name);
        known[count++] = rlhf_model_file_name(&m->config, m->table[i].name);
    }
    qsort(known, count, sizeof *known, by_text);
    for (size_t i = 0; i < k->count; i++)
        if (!bsearch(&k->tensors[i]->name, known, count, sizeof *known, by_text) && !is_buffer(k->tensors[i]->name)
            && k->tensors[i] != tied)
            complain(c, "unexpected ", k->tensors[i]->name);
    free(known);
    return 0;
}

static void complain_of_shape(struct complaint *c, const struct rlhf_parameter *p, const struct rlhf_safetensor *t)
{
    const struct rlhf_safetensor want = { .dims = p->dims, .shape = { p->shape[0], p->shape[1] } };
    char text[256], is[64], wanted[64];

    snprintf(text, sizeof text, "%s %s, not %s", p->name, rlhf_safetensor_shape(t, is, sizeof is),
             rlhf_safetensor_shape(&want, wanted, sizeof wanted));
    complain(c, "misshapen ", text);
}

/* A head in the file of a tied model must say the same as the embedding: two answers are an error. What it says is compared
 * when somebody reads it. */
static int check_tied(const struct rlhf_model *m, const struct rlhf_checkpoint *k, struct rlhf_error *err)
{
    const struct rlhf_safetensor *head = find_tied(m, k), *embedding = find_parameter(m, k, m->table[0].name);

    if (head && (head->dtype != embedding->dtype || head->size != embedding->size))
        return rlhf_fail(err, RLHF_CORRUPT, "%s differs from %s although config.json says tie_word_embeddings",
                         head->name, m->table[0].name);
    return 0;
}

int rlhf_source_check_tied(const struct rlhf_model *m, const struct rlhf_source *s, struct rlhf_error *err)
{
    if (s->tied && memcmp(s->tied->data, s->of[0]->data, s->tied->size) != 0)
        return rlhf_fail(err, RLHF_CORRUPT, "%s differs from %s although config.json says tie_word_embeddings",
                         s->tied->name, m->table[0].name);
    return 0;
}

static int number_of(const struct rlhf_safetensor *t, enum rlhf_number *number, struct rlhf_error *err)
{
    switch (t->dtype) {
    case RLHF_DTYPE_F32:
        *number = RLHF_NUMBER_F32;
        return 0;
    case RLHF_DTYPE_BF16:
        *number = RLHF_NUMBER_BF16;
        return 0;
    case RLHF_DTYPE_F16:
        *number = RLHF_NUMBER_F16;
        return 0;
    default:
        return rlhf_fail(err, RLHF_REJECT, "tensor %.80s has dtype %s; F32, F16 or BF16 is needed", t->name,
                         rlhf_dtype_name(t->dtype));
    }
}

int rlhf_source_match(const struct rlhf_model *m, struct rlhf_source *s, struct rlhf_error *err)
{
    const struct rlhf_checkpoint *k = &s->files;
    struct complaint c = { 0 };

    s->of = calloc(m->tensors, sizeof *s->of);
    s->number = calloc(m->tensors, sizeof *s->number);
    if (!s->of || !s->number)
        return rlhf_fail(err, RLHF_FULL, "no memory for a list of %zu tensors", m->tensors);
    for (size_t i = 0; i < m->tensors; i++) {
        const struct rlhf_parameter *p = &m->table[i];

        if (!(s->of[i] = find_parameter(m, k, p->name)))
            complain(&c, "missing ", p->name);
        else if (!same_shape(p, s->of[i]))
            complain_of_shape(&c, p, s->of[i]);
    }
    if (list_unexpected(m, k, &c, err) < 0)
        return -1;
    if (c.count)
        return rlhf_fail(err, RLHF_CORRUPT, "%zu tensors do not fit config.json: %s", c.count, c.text);
    for (size_t i = 0; i < m->tensors; i++)
        if (number_of(s->of[i], &s->number[i], err) < 0)
            return -1;
    s->tied = find_tied(m, k);
    return check_tied(m, k, err);
}

void rlhf_source_close(struct rlhf_source *s)
{
    rlhf_checkpoint_close(&s->files);
    free(s->of);
    free(s->number);
    free(s->products);
    if (s->release)
        s->release(s->owner);
    *s = (struct rlhf_source){ 0 };
}

/* ---- into the block --------------------------------------------------------------------------------- */

void rlhf_source_read(const struct rlhf_source *s, size_t tensor, size_t from, size_t count, float *out)
{
    rlhf_widen(s->number[tensor], s->of[tensor]->data + from * rlhf_number_size(s->number[tensor]), count, out);
}

int rlhf_source_bad(const struct rlhf_model *m, const struct rlhf_source *s, size_t tensor, struct rlhf_error *err)
{
    const struct rlhf_parameter *p = &m->table[tensor];
    float x;

    for (size_t i = 0; i < p->count; i++) {
        if (s->of[tensor])
            rlhf_source_read(s, tensor, i, 1, &x);
        else
            rlhf_panels_values(m, tensor, i, 1, &x);
        if (!rlhf_weights_finite(&x, 1))
            return rlhf_fail(err, RLHF_CORRUPT, "%s: element %zu is %g, no weight", p->name, i, (double)x);
    }
    return 0;
}

struct fill {
    struct rlhf_model *m;
    const struct rlhf_source *s;
    atomic_bool bad;
};

/* One stretch of the block, of whichever tensors are there. */
static void fill_part(void *ctx, size_t index)
{
    struct fill *f = ctx;
    size_t from = index * FILL, to = from + FILL < f->m->count ? from + FILL : f->m->count, i = 0;

    while (f->m->table[i].offset + f->m->table[i].count <= from)
        i++;
    for (; from < to; i++) {
        const struct rlhf_parameter *p = &f->m->table[i];
        size_t end = p->offset + p->count < to ? p->offset + p->count : to;

        rlhf_source_read(f->s, i, from - p->offset, end - from, f->m->block + from);
        from = end;
    }
    if (!rlhf_weights_finite(f->m->block + index * FILL, to - index * FILL))
        atomic_store_explicit(&f->bad, true, memory_order_relaxed);
}

int rlhf_source_fill(struct rlhf_model *m, const struct rlhf_source *s, struct rlhf_pool *pool, struct rlhf_error *err)
{
    struct fill f = { .m = m, .s = s };

    rlhf_pool_for(pool, (m->count + FILL - 1) / FILL, fill_part, &f);
    for (size_t i = 0; atomic_load(&f.bad) && i < m->tensors; i++)
        if (rlhf_source_bad(m, s, i, err) < 0)
            return -1;
    return rlhf_source_check_tied(m, s, err);
}

static int check_bias(const struct rlhf_model *m, enum rlhf_code code, struct rlhf_error *err)
{
    return isfinite(m->bias) ? 0 : rlhf_fail(err, code, "the scalar head's bias is %g", (double)m->bias);
}

static int match(const struct rlhf_model *m, struct rlhf_source *s, bool frozen, struct rlhf_error *err)
{
    if (!rlhf_panels_present(&s->files))
        return rlhf_source_match(m, s, err);
    return frozen ? rlhf_panels_match(m, s, err)
                  : rlhf_fail(err, RLHF_REJECT, "its weights are in panels, which are viewed, not loaded");
}

/* Checks first, allocates then: a hostile config.json costs no more memory than the tensors brought. Takes s->files and
 * what s->release gives back. */
static struct rlhf_model *build(const struct rlhf_model_config *c, float bias, struct rlhf_source *s, bool frozen,
                                struct rlhf_pool *pool, struct rlhf_error *err)
{
    struct rlhf_model *m = rlhf_model_plan(c, err);
    int rc = -1;

    if (m && match(m, s, frozen, err) == 0) {
        m->bias = bias;
        if (check_bias(m, RLHF_CORRUPT, err) < 0)
            rc = -1;
        else if (frozen)
            rc = rlhf_model_freeze(m, s, err);
        else
            rc = rlhf_model_allocate(m, err) < 0 ? -1 : rlhf_source_fill(m, s, pool, err);
    }
    rlhf_source_close(s); /* empty when the model has taken it */
    if (rc == 0) {
        rlhf_model_touch(m, NULL);
        return m;
    }
    rlhf_model_free(m);
    return NULL;
}

static struct rlhf_model *from_memory(const char *config, size_t config_size, const void *tensors, size_t tensors_size,
                                      struct rlhf_source *s, bool frozen, struct rlhf_error *err)
{
    struct rlhf_model_config c;
    struct rlhf_model *m;
    float bias;

    if (rlhf_model_config_read(&c, &bias, config, config_size, err) < 0) {
        rlhf_source_close(s);
        return NULL;
    }
    if (rlhf_checkpoint_view(&s->files, tensors, tensors_size, err) == 0) {
        m = build(&c, bias, s, frozen, NULL, err);
    } else {
        rlhf_source_close(s);
        m = NULL;
    }
    if (!m)
        rlhf_fail_prefix(err, "model.safetensors");
    return m;
}

struct rlhf_model *rlhf_model_read(const char *config, size_t config_size, const void *tensors,
                                   size_t tensors_size, struct rlhf_error *err)
{
    struct rlhf_source s = { 0 };

    return from_memory(config, config_size, tensors, tensors_size, &s, false, err);
}

struct rlhf_model *rlhf_model_view(const char *config, size_t config_size, const void *tensors, size_t tensors_size,
                                   void (*release)(void *owner), void *owner, struct rlhf_error *err)
{
    struct rlhf_source s = { .release = release, .owner = owner };

    return from_memory(config, config_size, tensors, tensors_size, &s, true, err);
}

/* ---- directories ----------------------------------------------------------------------------------- */

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

static struct rlhf_model *from_directory(const char *dir, enum rlhf_panels panels, bool frozen, struct rlhf_pool *pool,
                                         struct rlhf_error *err)
{
    struct rlhf_source s = { .panels = panels };
    struct rlhf_model_config c;
    struct rlhf_model *m;
    float bias;

    if (load_config(&c, &bias, dir, err) < 0 || rlhf_checkpoint_open(&s.files, dir, err) < 0)
        return NULL;
    if (!(m = build(&c, bias, &s, frozen, pool, err)))
        rlhf_fail_prefix(err, "%.200s", dir);
    return m;
}

struct rlhf_model *rlhf_model_load(const char *dir, struct rlhf_error *err)
{
    return from_directory(dir, RLHF_PANELS_STORED, false, NULL, err);
}

struct rlhf_model *rlhf_model_load_parallel(const char *dir, struct rlhf_pool *pool, struct rlhf_error *err)
{
    return from_directory(dir, RLHF_PANELS_STORED, false, pool, err);
}

struct rlhf_model *rlhf_model_open(const char *dir, enum rlhf_panels panels, struct rlhf_error *err)
{
    return from_directory(dir, panels, true, NULL, err);
}

/* ---- writing --------------------------------------------------------------------------------------- */

/* NaN and infinity are never weights: neither read nor written (promise D9). */
static int complain_of_weight(const struct rlhf_model *m, struct rlhf_error *err)
{
    for (size_t i = 0; i < m->tensors; i++) {
        const struct rlhf_parameter *p = &m->table[i];

        for (size_t j = 0; !rlhf_weights_finite(m->block + p->offset, p->count) && j < p->count; j++)
            if (!isfinite(m->block[p->offset + j]))
                return rlhf_fail(err, RLHF_FATAL, "%s: element %zu is %g, no weight", p->name, j,
                                 (double)m->block[p->offset + j]);
    }
    return 0;
}

struct finite {
    const struct rlhf_model *m;
    atomic_bool bad;
};

static void check_part(void *ctx, size_t index)
{
    struct finite *f = ctx;
    size_t from = index * FILL, left = f->m->count - from;

    if (!rlhf_weights_finite(f->m->block + from, left < FILL ? left : FILL))
        atomic_store_explicit(&f->bad, true, memory_order_relaxed);
}

int rlhf_model_check_finite(const struct rlhf_model *m, struct rlhf_pool *pool, struct rlhf_error *err)
{
    struct finite f = { .m = m };

    rlhf_pool_for(pool, (m->count + FILL - 1) / FILL, check_part, &f);
    return atomic_load(&f.bad) ? complain_of_weight(m, err) : check_bias(m, RLHF_FATAL, err);
}

int rlhf_model_write(const struct rlhf_model *m, struct rlhf_bytes *config, struct rlhf_bytes *tensors,
                     struct rlhf_error *err)
{
    struct rlhf_safetensor *list;
    int rc;

    RLHF_ASSERT(!m->frozen);
    if (rlhf_model_check_finite(m, NULL, err) < 0)
        return rlhf_fail_prefix(err, "the model is not written");
    if (!(list = calloc(m->tensors, sizeof *list)))
        return rlhf_fail(err, RLHF_FULL, "no memory for a table of %zu tensors", m->tensors);
    for (size_t i = 0; i < m->tensors; i++) {
        const struct rlhf_parameter *p = &m->table[i];

        list[i] = (struct rlhf_safetensor){
            .name = rlhf_model_file_name(&m->config, p->name), .dtype = RLHF_DTYPE_F32, .dims = p->dims, .shape = { p->shape[0], p->shape[1] },
            .data = (const uint8_t *)(m->block + p->offset), .size = p->count * sizeof(float),
        };
    }
    rc = rlhf_model_config_write(&m->config, m->bias, config, err) < 0
                 || rlhf_safetensors_write(list, m->tensors, tensors, err) < 0 ? -1 : 0;
    free(list);
    return rc;
}
