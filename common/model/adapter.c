/* adapter.c - LoRA: places in a model, files, forward, backward, merging. */
#include "model/adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/io.h"
#include "base/random.h"
#include "model/adapter_internal.h"

enum { CONFIG_LIMIT = 1 << 20 };

static const char prefix[] = "base_model.model."; /* before every name in PEFT's files */

/* ---- places ---------------------------------------------------------------------------------------- */

/* The product of layer l that holds a tensor of the table: sets slot, from; false when there is none. */
static bool find_product(const struct rlhf_layer *l, const struct rlhf_parameter *e, struct rlhf_place *p)
{
    for (int s = 0; s < RLHF_SLOTS; s++) {
        const struct rlhf_product *w = rlhf_layer_product(l, (enum rlhf_slot)s);

        if (e->dims != 2 || e->offset < w->weight || e->offset >= w->weight + w->n * w->k)
            continue;
        p->slot = (enum rlhf_slot)s;
        p->transposed = w->transposed; /* such a matrix stands alone: from is 0 */
        p->from = (e->offset - w->weight) / w->k;
        p->k = w->k;
        p->n = e->count / w->k;
        return true;
    }
    return false;
}

/* The tensor's module and, unless it is none of a layer's products (p->n is 0 then), its place. False for what is no
 * matrix. */
static bool find_place(const struct rlhf_model *m, size_t tensor, struct rlhf_place *p)
{
    const struct rlhf_parameter *e = &m->table[tensor];
    size_t length = strlen(e->name), suffix = strlen(".weight");

    *p = (struct rlhf_place){ .tensor = tensor };
    if (e->dims != 2 || length <= suffix || length - suffix >= sizeof p->module
        || strcmp(e->name + length - suffix, ".weight") != 0)
        return false;
    memcpy(p->module, e->name, length - suffix);
    for (uint32_t i = 0; i < m->config.layers; i++)
        if (find_product(&m->layers[i], e, p)) {
            p->layer = i;
            break;
        }
    return true;
}

static int by_product(const void *a, const void *b)
{
    const struct rlhf_place *x = a, *y = b;

    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    if (x->slot != y->slot)
        return x->slot < y->slot ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

static int add_parameter(struct rlhf_adapter *a, const char *module, const char *what, size_t rows, size_t columns,
                         size_t *offset, struct rlhf_error *err)
{
    struct rlhf_parameter *e = &a->table[a->tensors++];
    size_t count, bytes;

    if (!rlhf_mul_size(rows, columns, &count) || !rlhf_add_size(a->floats, count, &bytes)
        || !rlhf_mul_size(bytes, sizeof *a->block, &bytes))
        return rlhf_fail(err, RLHF_REJECT, "%s: %zu x %zu is more than memory can address", module, rows, columns);
    *e = (struct rlhf_parameter){ .shape = { rows, columns }, .dims = 2, .offset = a->floats, .count = count, .decayed = 1 };
    if ((size_t)snprintf(e->name, sizeof e->name, "%s%s%s.weight", prefix, module, what) >= sizeof e->name)
        return rlhf_fail(err, RLHF_REJECT, "%s: its name is too long", module);
    *offset = a->floats;
    a->floats += count;
    return 0;
}

/* Offsets, names, and the block, zeroed. */
static int lay_out(struct rlhf_adapter *a, const struct rlhf_model *m, bool head, struct rlhf_error *err)
{
    size_t next = 0;

    qsort(a->places, a->count, sizeof *a->places, by_product);
    a->layers = m->config.layers;
    a->channels = m->config.channels;
    if (!(a->first = calloc((size_t)a->layers * RLHF_SLOTS + 1, sizeof *a->first))
        || !(a->table = calloc(2 * a->count + 1, sizeof *a->table)))
        return rlhf_fail(err, RLHF_FULL, "no memory for an adapter of %zu matrices", a->count);
    for (size_t product = 0; product <= (size_t)a->layers * RLHF_SLOTS; product++) {
        a->first[product] = next;
        while (next < a->count && a->places[next].layer * (size_t)RLHF_SLOTS + a->places[next].slot == product)
            next++;
    }
    for (size_t i = 0; i < a->count; i++) {
        struct rlhf_place *p = &a->places[i];

        if (add_parameter(a, p->module, ".lora_A", p->rank, p->k, &p->a, err) < 0
            || add_parameter(a, p->module, ".lora_B", p->n, p->rank, &p->b, err) < 0)
            return -1;
        a->widest = p->rank > a->widest ? p->rank : a->widest;
        a->longest = p->k > a->longest ? p->k : a->longest;
    }
    a->head = RLHF_NOWHERE;
    if (head && add_parameter(a, "score", "", 1, a->channels, &a->head, err) < 0)
        return -1;
    return (a->block = rlhf_aligned_new(a->floats, sizeof *a->block, err)) ? 0 : -1;
}

/* The adapter that c describes beside m, its parameters zero. */
static struct rlhf_adapter *plan(const struct rlhf_model *m, const struct rlhf_adapter_config *c, struct rlhf_error *err)
{
    struct rlhf_adapter *a = calloc(1, sizeof *a);
    bool head;

    if (!a || !(a->places = calloc(m->tensors, sizeof *a->places))) {
        rlhf_fail(err, RLHF_FULL, "no memory for an adapter");
        goto failed;
    }
    for (size_t i = 0; i < m->tensors; i++) {
        struct rlhf_place *p = &a->places[a->count];
        uint32_t rank;
        bool targeted;

        if (!find_place(m, i, p))
            continue;
        if (rlhf_adapter_config_module(c, p->module, p->layer, p->n > 0, &targeted, &rank, &p->scale, err) < 0)
            goto failed;
        p->rank = rank;
        a->count += targeted;
    }
    if (a->count == 0) {
        rlhf_fail(err, RLHF_REJECT, "target_modules: no product of the model's layers is targeted");
        goto failed;
    }
    if (rlhf_adapter_config_saved(c, m, &head, err) == 0 && lay_out(a, m, head, err) == 0)
        return a;
failed:
    rlhf_adapter_free(a);
    return NULL;
}

void rlhf_adapter_free(struct rlhf_adapter *a)
{
    if (!a)
        return;
    for (size_t i = 0; a->first && i < a->count; i++) {
        rlhf_packed_free(&a->places[i].down);
        rlhf_packed_free(&a->places[i].up);
        rlhf_packed_free(&a->places[i].back_down);
        rlhf_packed_free(&a->places[i].back_up);
    }
    rlhf_packed_free(&a->head_packed);
    rlhf_packed_free(&a->head_back);
    rlhf_bytes_free(&a->config);
    free(a->places);
    free(a->first);
    free(a->table);
    free(a->block);
    free(a);
}

/* ---- weights --------------------------------------------------------------------------------------- */

static int pack(struct rlhf_adapter *a, struct rlhf_pool *pool, struct rlhf_error *err)
{
    for (size_t i = 0; i < a->count; i++) {
        struct rlhf_place *p = &a->places[i];
        const float *down = a->block + p->a, *up = a->block + p->b;

        if (rlhf_pack(&p->down, down, p->rank, p->k, false, pool, err) < 0
            || rlhf_pack(&p->up, up, p->n, p->rank, false, pool, err) < 0
            || rlhf_pack(&p->back_down, down, p->k, p->rank, true, pool, err) < 0
            || rlhf_pack(&p->back_up, up, p->rank, p->n, true, pool, err) < 0)
            return -1;
    }
    if (a->head == RLHF_NOWHERE)
        return 0;
    return rlhf_pack(&a->head_packed, a->block + a->head, 1, a->channels, false, pool, err) < 0
                   || rlhf_pack(&a->head_back, a->block + a->head, a->channels, 1, true, pool, err) < 0
               ? -1
               : 0;
}

void rlhf_adapter_touch(struct rlhf_adapter *a, struct rlhf_pool *pool)
{
    RLHF_ASSERT(pack(a, pool, NULL) == 0); /* in the memory of the first time */
}

float *rlhf_adapter_parameters(struct rlhf_adapter *a, size_t *count)
{
    *count = a->floats;
    return a->block;
}

const struct rlhf_parameter *rlhf_adapter_table(const struct rlhf_adapter *a, size_t *count)
{
    *count = a->tensors;
    return a->table;
}

/* ---- a new one ------------------------------------------------------------------------------------- */

static int print_config(const struct rlhf_model *m, const struct rlhf_adapter_settings *s, struct rlhf_bytes *out,
                        struct rlhf_error *err)
{
    const char *between = "";
    int rc = rlhf_bytes_printf(out, err,
                               "{\n  \"base_model_name_or_path\": null,\n  \"bias\": \"none\",\n"
                               "  \"fan_in_fan_out\": %s,\n  \"inference_mode\": true,\n  \"init_lora_weights\": true,\n"
                               "  \"lora_alpha\": %.17g,\n  \"lora_dropout\": %.9g,\n  \"modules_to_save\": %s,\n"
                               "  \"peft_type\": \"LORA\",\n  \"r\": %u,\n  \"target_modules\": ",
                               m->layers[0].out.transposed ? "true" : "false", s->alpha, s->dropout,
                               m->config.head == RLHF_HEAD_SCALAR ? "[\"score\"]" : "null", s->rank);

    if (rc == 0 && s->target_count == 0)
        rc = rlhf_bytes_printf(out, err, "\"all-linear\"");
    for (size_t i = 0; rc == 0 && i < s->target_count; i++, between = ", ") {
        if (s->targets[i][strspn(s->targets[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")])
            return rlhf_fail(err, RLHF_REJECT, "targets: '%.40s' is no name of a module", s->targets[i]);
        rc = rlhf_bytes_printf(out, err, "%s\"%s\"", i ? between : "[", s->targets[i]);
    }
    return rc < 0 ? -1
                  : rlhf_bytes_printf(out, err, "%s,\n  \"task_type\": \"%s\",\n  \"use_dora\": false,\n"
                                      "  \"use_rslora\": %s\n}\n", s->target_count ? "]" : "",
                                      m->config.head == RLHF_HEAD_SCALAR ? "SEQ_CLS" : "CAUSAL_LM",
                                      s->rslora ? "true" : "false");
}

/* Every name given must be somewhere: a typing error would train less than was meant. */
static int check_targets(const struct rlhf_model *m, const struct rlhf_adapter_settings *s, struct rlhf_error *err)
{
    for (size_t t = 0; t < s->target_count; t++) {
        size_t length = strlen(s->targets[t]), found = 0;

        for (size_t i = 0; i < m->tensors; i++) {
            struct rlhf_place p;
            size_t whole = find_place(m, i, &p) ? strlen(p.module) : 0;

            found += whole >= length && strcmp(p.module + whole - length, s->targets[t]) == 0
                     && (whole == length || p.module[whole - length - 1] == '.');
        }
        if (found == 0)
            return rlhf_fail(err, RLHF_REJECT, "targets: the model has no '%.60s'; the first layer's products are "
                             "called as in %s", s->targets[t], m->table[1].name);
    }
    return 0;
}

struct rlhf_adapter *rlhf_adapter_new(const struct rlhf_model *m, const struct rlhf_adapter_settings *s, uint64_t seed,
                                      struct rlhf_error *err)
{
    struct rlhf_adapter_config *c = NULL;
    struct rlhf_adapter *a = NULL;
    struct rlhf_bytes text = { 0 };
    bool made = false;

    if (check_targets(m, s, err) < 0 || print_config(m, s, &text, err) < 0
        || !(c = rlhf_adapter_config_parse(text.data, text.size, err)) || !(a = plan(m, c, err)))
        goto out;
    a->config = text;
    text = (struct rlhf_bytes){ 0 };
    for (size_t i = 0; i < a->count; i++) {
        struct rlhf_place *p = &a->places[i];
        float bound = 1 / sqrtf((float)p->k); /* Kaiming's uniform with a = sqrt(5) */
        struct rlhf_random random;

        rlhf_random_init(&random, seed, RLHF_PURPOSE_INIT, (uint32_t)i, 1);
        for (size_t j = 0; j < p->rank * p->k; j++)
            a->block[p->a + j] = bound * (2 * rlhf_random_uniform(&random) - 1);
    }
    if (a->head != RLHF_NOWHERE)
        for (size_t i = 0; i < m->tensors; i++)
            if (m->table[i].offset == m->head.weight)
                rlhf_model_values(m, i, 0, a->channels, a->block + a->head);
    made = pack(a, NULL, err) == 0;
out:
    rlhf_adapter_config_free(c);
    rlhf_bytes_free(&text);
    if (made)
        return a;
    rlhf_adapter_free(a);
    return NULL;
}

/* ---- files ----------------------------------------------------------------------------------------- */

static int fill(struct rlhf_adapter *a, const struct rlhf_safetensors *file, struct rlhf_error *err)
{
    for (size_t i = 0; i < a->tensors; i++) {
        const struct rlhf_parameter *e = &a->table[i];
        const struct rlhf_safetensor *t = rlhf_safetensors_find(file, e->name);
        char shape[80];

        if (!t)
            return rlhf_fail(err, RLHF_REJECT, "there is no tensor %s", e->name);
        if (t->dims != 2 || t->shape[0] != e->shape[0] || t->shape[1] != e->shape[1])
            return rlhf_fail(err, RLHF_REJECT, "%s is %s, must be [%zu, %zu]", e->name,
                             rlhf_safetensor_shape(t, shape, sizeof shape), e->shape[0], e->shape[1]);
        if (rlhf_safetensor_floats(t, a->block + e->offset, err) < 0)
            return -1;
        if (!rlhf_weights_finite(a->block + e->offset, e->count))
            return rlhf_fail(err, RLHF_CORRUPT, "%s has values that are not finite", e->name);
    }
    for (size_t i = 0; i < file->count; i++) {
        size_t j = 0;

        while (j < a->tensors && strcmp(a->table[j].name, file->tensors[i].name) != 0)
            j++;
        if (j == a->tensors)
            return rlhf_fail(err, RLHF_REJECT, "%.100s is there, but adapter_config.json targets no such matrix",
                             file->tensors[i].name);
    }
    return 0;
}

struct rlhf_adapter *rlhf_adapter_read(const struct rlhf_model *m, const char *config, size_t config_size,
                                       const void *tensors, size_t tensors_size, struct rlhf_error *err)
{
    struct rlhf_safetensors file = { 0 };
    struct rlhf_adapter_config *c = NULL;
    struct rlhf_adapter *a = NULL;
    struct rlhf_error why = { 0 };
    const char *which = "adapter_config.json";
    bool read = false;

    if (!(c = rlhf_adapter_config_parse(config, config_size, &why)) || !(a = plan(m, c, &why)))
        goto out;
    which = "adapter_model.safetensors";
    read = rlhf_safetensors_parse(&file, tensors, tensors_size, &why) == 0 && fill(a, &file, &why) == 0
           && rlhf_bytes_append(&a->config, config, config_size, &why) == 0 && pack(a, NULL, &why) == 0;
out:
    rlhf_safetensors_free(&file);
    rlhf_adapter_config_free(c);
    if (read)
        return a;
    rlhf_fail(err, why.code, "%s: %s", which, why.text);
    rlhf_adapter_free(a);
    return NULL;
}

struct rlhf_adapter *rlhf_adapter_load(const struct rlhf_model *m, const char *dir, struct rlhf_error *err)
{
    struct rlhf_adapter *a = NULL;
    struct rlhf_bytes config = { 0 };
    struct rlhf_mapping map = { 0 };
    struct rlhf_error why = { 0 };
    char path[4096];

    if (rlhf_path(path, sizeof path, dir, "adapter_config.json", err) < 0
        || rlhf_read_file(&rlhf_system_io, path, CONFIG_LIMIT, &config, err) < 0
        || rlhf_path(path, sizeof path, dir, "adapter_model.safetensors", err) < 0 || rlhf_map_file(&map, path, err) < 0)
        goto out;
    if (!(a = rlhf_adapter_read(m, config.data, config.size, map.data, map.size, &why)))
        rlhf_fail(err, why.code, "%s: %s", dir, why.text);
    rlhf_unmap(&map);
out:
    rlhf_bytes_free(&config);
    return a;
}

int rlhf_adapter_write(const struct rlhf_adapter *a, struct rlhf_bytes *config, struct rlhf_bytes *tensors,
                       struct rlhf_error *err)
{
    struct rlhf_safetensor *list = calloc(a->tensors, sizeof *list);
    int rc = -1;

    if (!list)
        return rlhf_fail(err, RLHF_FULL, "no memory for an adapter's table");
    for (size_t i = 0; i < a->tensors; i++) {
        const struct rlhf_parameter *e = &a->table[i];

        if (!rlhf_weights_finite(a->block + e->offset, e->count)) {
            rlhf_fail(err, RLHF_FATAL, "%s has values that are not finite; they are not written", e->name);
            goto out;
        }
        list[i] = (struct rlhf_safetensor){ .name = e->name, .dtype = RLHF_DTYPE_F32, .dims = 2,
                                            .shape = { e->shape[0], e->shape[1] },
                                            .data = (const uint8_t *)(a->block + e->offset),
                                            .size = e->count * sizeof *a->block };
    }
    rc = rlhf_bytes_append(config, a->config.data, a->config.size, err) < 0
                 || rlhf_safetensors_write(list, a->tensors, tensors, err) < 0
             ? -1
             : 0;
out:
    free(list);
    return rc;
}

int rlhf_adapter_save(const struct rlhf_adapter *a, const char *dir, struct rlhf_error *err)
{
    struct rlhf_bytes config = { 0 }, tensors = { 0 };
    char path[4096];
    int rc = rlhf_adapter_write(a, &config, &tensors, err) < 0 || rlhf_make_dirs(&rlhf_system_io, dir, err) < 0
                     || rlhf_path(path, sizeof path, dir, "adapter_model.safetensors", err) < 0
                     || rlhf_write_file(&rlhf_system_io, path, tensors.data, tensors.size, err) < 0
                     || rlhf_path(path, sizeof path, dir, "adapter_config.json", err) < 0
                     || rlhf_write_file(&rlhf_system_io, path, config.data, config.size, err) < 0
                 ? -1
                 : 0;

    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    return rc;
}

/* ---- passes ---------------------------------------------------------------------------------------- */

static void scale_by(float *x, size_t count, float by)
{
    for (size_t i = 0; i < count; i++)
        x[i] *= by;
}

/* The places of one product. */
static const struct rlhf_place *places_of(const struct rlhf_adapter *a, uint32_t layer, enum rlhf_slot slot, size_t *count)
{
    size_t product = layer * (size_t)RLHF_SLOTS + slot;

    *count = a->first[product + 1] - a->first[product];
    return &a->places[a->first[product]];
}

/* D(x) of place p, with `less` D(x) - x. */
static const float *dropped(const struct rlhf_adapting *by, const struct rlhf_place *p, bool less, const float *x,
                            struct rlhf_pool *pool)
{
    rlhf_dropout_adapter(by->dropout, (size_t)(p - by->a->places), less, &by->batch, by->position, p->k, x, by->dropped, pool);
    return by->dropped;
}

/* With weights W' = W + s·(B·A)ᵀ that have the adapter merged, x·W + s·(D(x)·Aᵀ)·Bᵀ is x·W' + s·((D(x) - x)·Aᵀ)·Bᵀ. */
void rlhf_adapter_forward(const struct rlhf_adapting *by, uint32_t layer, enum rlhf_slot slot, const float *x, size_t t,
                          float *y, size_t stride, struct rlhf_pool *pool)
{
    size_t count;
    const struct rlhf_place *p = places_of(by->a, layer, slot, &count);
    float *u = by->room;

    for (size_t i = 0; i < count && (!by->merged || by->dropout); i++, p++) {
        const float *in = by->dropout ? dropped(by, p, by->merged, x, pool) : x;

        rlhf_linear(&p->down, in, p->k, t, NULL, false, u, p->rank, pool);
        scale_by(u, t * p->rank, p->scale);
        rlhf_linear(&p->up, u, p->rank, t, NULL, true, y + p->from, stride, pool);
    }
}

/* du·A goes to dx through what dropped its way in; where the adapter is merged, what was not dropped of it is there already. */
static void into_input(const struct rlhf_adapting *by, const struct rlhf_place *p, const float *du, size_t t, float *dx,
                       struct rlhf_pool *pool)
{
    if (!by->dropout) {
        if (!by->merged)
            rlhf_linear(&p->back_down, du, p->rank, t, NULL, true, dx, p->k, pool);
        return;
    }
    rlhf_linear(&p->back_down, du, p->rank, t, NULL, false, by->dropped, p->k, pool);
    rlhf_add(dropped(by, p, by->merged, by->dropped, pool), t * p->k, dx, pool);
}

/* With u = s·x·Aᵀ and y += u·Bᵀ: dB += dyᵀ·u, du = s·dy·B, dA += duᵀ·x, dx += du·A; x being what was left of it. */
void rlhf_adapter_backward(const struct rlhf_adapting *by, uint32_t layer, enum rlhf_slot slot, const float *dy,
                           size_t stride, const float *x, size_t t, float *dx, struct rlhf_pool *pool)
{
    size_t count;
    const struct rlhf_place *p = places_of(by->a, layer, slot, &count);

    for (size_t i = 0; i < count; i++, p++) {
        float *u = by->room, *du = by->room + t * p->rank;
        const float *in = x;

        rlhf_linear(&p->back_up, dy + p->from, stride, t, NULL, false, du, p->rank, pool);
        scale_by(du, t * p->rank, p->scale);
        if (dx)
            into_input(by, p, du, t, dx, pool);
        if (!by->grad)
            continue;
        if (by->dropout)
            in = dropped(by, p, false, x, pool);
        rlhf_linear(&p->down, in, p->k, t, NULL, false, u, p->rank, pool);
        scale_by(u, t * p->rank, p->scale);
        rlhf_linear_backward_weight(dy + p->from, stride, u, p->rank, t, p->n, p->rank, false, by->grad + p->b, NULL, pool);
        rlhf_linear_backward_weight(du, p->rank, in, p->k, t, p->rank, p->k, false, by->grad + p->a, NULL, pool);
    }
}

/* ---- merging --------------------------------------------------------------------------------------- */

enum { COLUMNS = 256 };

/* One row of W: to = from + s·(the row of B·A), whose elements are sums over the rank, in order. a is what the row has of
 * its own, [rank] a_stride floats apart; b [rank] rows, of which element (r, i) is b[r · b_row + i · b_column]. */
static void add_row(const struct rlhf_place *p, const float *a, size_t a_stride, const float *b, size_t b_row, size_t b_column,
                    size_t count, const float *from, float *to)
{
    float sum[COLUMNS];

    for (size_t at = 0; at < count; at += COLUMNS) {
        size_t n = count - at < COLUMNS ? count - at : COLUMNS;

        memset(sum, 0, n * sizeof *sum);
        for (size_t r = 0; r < p->rank; r++) {
            const float by = a[r * a_stride], *row = b + r * b_row + at * b_column;

            for (size_t i = 0; i < n; i++)
                sum[i] += by * row[i * b_column];
        }
        for (size_t i = 0; i < n; i++)
            to[at + i] = from[at + i] + p->scale * sum[i];
    }
}

static void add_product(const struct rlhf_adapter *a, const struct rlhf_place *p, const float *from, float *to)
{
    const float *down = a->block + p->a, *up = a->block + p->b;

    for (size_t n = 0; !p->transposed && n < p->n; n++)
        add_row(p, up + n * p->rank, 1, down, p->k, 1, p->k, from + n * p->k, to + n * p->k);
    for (size_t k = 0; p->transposed && k < p->k; k++)
        add_row(p, down + k, p->k, up, 1, p->rank, p->n, from + k * p->n, to + k * p->n);
}

struct apply {
    const struct rlhf_adapter *a;
    const float *base; /* NULL: the model's own */
    struct rlhf_model *m;
};

static void apply_one(void *ctx, size_t i)
{
    const struct apply *t = ctx;
    const struct rlhf_place *p = &t->a->places[i];
    float *w = t->m->block + t->m->table[p->tensor].offset;
    size_t at = 0;

    for (size_t j = 0; t->base && j < i; j++)
        at += t->a->places[j].n * t->a->places[j].k;
    add_product(t->a, p, t->base ? t->base + at : w, w);
}

static void apply(const struct rlhf_adapter *a, const float *base, struct rlhf_model *m, struct rlhf_pool *pool)
{
    struct apply t = { .a = a, .base = base, .m = m };

    RLHF_ASSERT(!m->frozen && a->layers == m->config.layers && a->channels == m->config.channels);
    rlhf_pool_for(pool, a->count, apply_one, &t);
    if (a->head != RLHF_NOWHERE)
        memcpy(m->block + m->head.weight, a->block + a->head, a->channels * sizeof *m->block);
    rlhf_model_touch(m, pool);
}

int rlhf_adapter_merge(const struct rlhf_adapter *a, struct rlhf_model *m, struct rlhf_error *err)
{
    if (rlhf_model_is_frozen(m))
        return rlhf_fail(err, RLHF_REJECT, "a model that was opened for inference cannot take up an adapter; load it");
    apply(a, NULL, m, NULL);
    for (size_t i = 0; i < a->count; i++) {
        const struct rlhf_parameter *e = &m->table[a->places[i].tensor];

        if (!rlhf_weights_finite(m->block + e->offset, e->count))
            return rlhf_fail(err, RLHF_REJECT, "%s is not finite any more with the adapter merged", e->name);
    }
    return 0;
}

float *rlhf_adapter_keep(const struct rlhf_adapter *a, const struct rlhf_model *m, struct rlhf_error *err)
{
    size_t floats = 0, at = 0;
    float *kept;

    for (size_t i = 0; i < a->count; i++)
        floats += a->places[i].n * a->places[i].k;
    if (!(kept = rlhf_aligned_new(floats, sizeof *kept, err)))
        return NULL;
    for (size_t i = 0; i < a->count; i++) {
        const struct rlhf_place *p = &a->places[i];

        rlhf_model_values(m, p->tensor, 0, p->n * p->k, kept + at);
        at += p->n * p->k;
    }
    return kept;
}

void rlhf_adapter_apply(const struct rlhf_adapter *a, const float *kept, struct rlhf_model *m, struct rlhf_pool *pool)
{
    apply(a, kept, m, pool);
}
