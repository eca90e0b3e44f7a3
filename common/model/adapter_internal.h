/* adapter_internal.h - what adapter.c, its configuration and the passes know of an adapter. */
#ifndef RLHF_MODEL_ADAPTER_INTERNAL_H
#define RLHF_MODEL_ADAPTER_INTERNAL_H

#include "model/adapter.h"
#include "model/dropout.h"
#include "model/internal.h"

enum rlhf_slot { RLHF_SLOT_QKV, RLHF_SLOT_OUT, RLHF_SLOT_UP, RLHF_SLOT_DOWN, RLHF_SLOTS };

static inline const struct rlhf_product *rlhf_layer_product(const struct rlhf_layer *l, enum rlhf_slot slot)
{
    return slot == RLHF_SLOT_QKV ? &l->qkv : slot == RLHF_SLOT_OUT ? &l->out : slot == RLHF_SLOT_UP ? &l->up : &l->down;
}

/* One targeted matrix: columns from .. from + n - 1 of what its product gives. */
struct rlhf_place {
    char module[80]; /* "model.layers.0.self_attn.q_proj" */
    uint32_t layer;
    enum rlhf_slot slot;
    size_t tensor; /* of the model's table */
    size_t from, n, k, rank;
    bool transposed; /* the model stores [k, n] */
    float scale;
    size_t a, b; /* offsets: A [rank, k], B [n, rank] */
    struct rlhf_packed down, up, back_down, back_up; /* x·Aᵀ, u·Bᵀ; their backward products */
};

struct rlhf_adapter {
    struct rlhf_place *places; /* by layer and slot */
    size_t count;
    size_t *first;             /* [L · SLOTS + 1] of each product's */
    uint32_t layers;
    struct rlhf_parameter *table; /* [tensors] */
    size_t tensors, floats;
    float *block;              /* [floats] */
    size_t widest;             /* rank */
    size_t longest;            /* k */
    size_t head;               /* offset of score.weight [1, C]; RLHF_NOWHERE: the model's counts */
    size_t channels;
    struct rlhf_packed head_packed, head_back;
    struct rlhf_bytes config;  /* adapter_config.json */
};

/* What adapter_config.json says of a module: whether it is targeted, its rank and scale. */
struct rlhf_adapter_config;
struct rlhf_adapter_config *rlhf_adapter_config_parse(const char *json, size_t size, struct rlhf_error *err);
int rlhf_adapter_config_module(const struct rlhf_adapter_config *c, const char *module, uint32_t layer, bool product,
                               bool *targeted, uint32_t *rank, float *scale, struct rlhf_error *err);
/* Whether score is saved beside; a module that is saved beside and cannot be is an error. */
int rlhf_adapter_config_saved(const struct rlhf_adapter_config *c, const struct rlhf_model *m, bool *head,
                              struct rlhf_error *err);
void rlhf_adapter_config_free(struct rlhf_adapter_config *c); /* NULL is fine */

/* How a pass runs with an adapter. */
struct rlhf_adapting {
    const struct rlhf_adapter *a;
    bool merged;                /* the model's weights have it already: forward adds what dropping changes of it, alone */
    float *grad;                /* of its parameters; NULL: not wanted */
    float *room;                /* [2, T, a->widest] */
    const struct rlhf_dropout *dropout; /* of what goes into its matrices; NULL: none */
    struct rlhf_batch batch;            /* of which rows, with dropout */
    const uint32_t *position;           /* [T] */
    float *dropped;                     /* [T, a->longest] */
};

/* y [t, stride] of a product plus what the adapter adds to it. */
void rlhf_adapter_forward(const struct rlhf_adapting *by, uint32_t layer, enum rlhf_slot slot, const float *x, size_t t,
                          float *y, size_t stride, struct rlhf_pool *pool);
/* Adds to dx [t, k] (NULL: not wanted) and to by->grad. */
void rlhf_adapter_backward(const struct rlhf_adapting *by, uint32_t layer, enum rlhf_slot slot, const float *dy,
                           size_t stride, const float *x, size_t t, float *dx, struct rlhf_pool *pool);

#endif
