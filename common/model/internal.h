/* internal.h - what the files of this room know of each other's structs. */
#ifndef RLHF_MODEL_INTERNAL_H
#define RLHF_MODEL_INTERNAL_H

#include "model/checkpoint.h"
#include "model/config.h"
#include "model/model.h"
#include "tensor/ops.h"

/* config.json together with the scalar head's bias, which is no part of the shape. */
int rlhf_model_config_read(struct rlhf_model_config *c, float *bias, const char *json, size_t size,
                           struct rlhf_error *err);
int rlhf_model_config_write(const struct rlhf_model_config *c, float bias, struct rlhf_bytes *json,
                            struct rlhf_error *err);

/* A matrix product y[n] = x[k] · w + bias: where its weights are in the block, and the packed copy. */
#define RLHF_NOWHERE SIZE_MAX
struct rlhf_product {
    size_t weight, bias; /* offsets; RLHF_NOWHERE = none */
    size_t n, k;
    bool transposed; /* stored [k, n] */
    struct rlhf_packed packed;
};

/* A norm: gain [C], and shift [C] unless RMS. Offsets into the block. */
struct rlhf_norm_place {
    size_t gain, shift;
};

struct rlhf_layer {
    struct rlhf_norm_place norm1, norm2;
    struct rlhf_norm_place post1, post2; /* norm_post: of what `out` and `down` give */
    struct rlhf_norm_place q, k;         /* norm_qk: gain [D] */
    struct rlhf_product qkv, out; /* qkv: the three matrices are neighbours in the block, and their biases */
    struct rlhf_product up, down; /* up: [gate | up] when gated, neighbours too */
    uint32_t index;
};

/* Where a model's weights are stored. */
struct rlhf_source {
    struct rlhf_checkpoint files;
    const struct rlhf_safetensor **of; /* [tensors] of the table */
    enum rlhf_number *number;          /* [tensors] */
    const struct rlhf_safetensor *tied; /* a head that repeats the embedding; NULL: there is none */
    const struct rlhf_safetensor **products; /* panel_file.c: products in panels, whose tensors `of` has not; NULL: all in rows */
    enum rlhf_panels panels;
    void (*release)(void *owner);      /* of the memory that the files are in; may be NULL */
    void *owner;
};

struct rlhf_model {
    struct rlhf_model_config config;
    struct rlhf_parameter *table;
    size_t tensors;    /* in the table */
    size_t count;      /* of floats */
    size_t body_count; /* of floats before the head */
    float *block;      /* [count]; when frozen, address space of which only the vectors are there */
    struct rlhf_frozen *frozen; /* the weights stay where they are stored; NULL: they are in the block */
    float bias;        /* of a scalar head */
    size_t embedding, positions; /* offsets; positions RLHF_NOWHERE when rotary */
    struct rlhf_layer *layers;   /* [L] */
    struct rlhf_norm_place norm;
    struct rlhf_product head; /* [V, C], or [1, C]; shares the embedding's weights when tied */
    uint64_t version; /* of the weights, unique in the process: changes with every touch */
    struct rlhf_packing *packing; /* which version is packed, and the lock of whoever packs */
};

/* All but the block: the table and the places. */
struct rlhf_model *rlhf_model_plan(const struct rlhf_model_config *c, struct rlhf_error *err);
/* The block, zeroed. */
int rlhf_model_allocate(struct rlhf_model *m, struct rlhf_error *err);

/* files.c. match: every tensor of the table has its place in the files, and they hold nothing else; the rest
 * follows it. fill: all of them into the block. bad: names the first element of a tensor that is not finite; 0 when there is
 * none. close leaves s empty. */
int rlhf_source_match(const struct rlhf_model *m, struct rlhf_source *s, struct rlhf_error *err);
int rlhf_source_fill(struct rlhf_model *m, const struct rlhf_source *s, struct rlhf_pool *pool, struct rlhf_error *err);
void rlhf_source_read(const struct rlhf_source *s, size_t tensor, size_t from, size_t count, float *out);
int rlhf_source_bad(const struct rlhf_model *m, const struct rlhf_source *s, size_t tensor, struct rlhf_error *err);
int rlhf_source_check_tied(const struct rlhf_model *m, const struct rlhf_source *s, struct rlhf_error *err);
void rlhf_source_close(struct rlhf_source *s);

/* panel_file.c: whether files hold panels; their match; panels for the model's products (s NULL: those lent are taken back); a
 * tensor's values out of them; a product in other panels, as rlhf_product_pack() gives them. */
bool rlhf_panels_present(const struct rlhf_checkpoint *k);
int rlhf_panels_match(const struct rlhf_model *m, struct rlhf_source *s, struct rlhf_error *err);
void rlhf_panels_lend(struct rlhf_model *m, const struct rlhf_source *s);
void rlhf_panels_values(const struct rlhf_model *m, size_t tensor, size_t from, size_t count, float *out);
int rlhf_panels_pack(const struct rlhf_model *m, const struct rlhf_product *p, bool back, struct rlhf_packed *to,
                     struct rlhf_pool *pool, struct rlhf_error *err);

/* files.c: NaN and infinity are never weights; RLHF_FATAL names the first. */
int rlhf_model_check_finite(const struct rlhf_model *m, struct rlhf_pool *pool, struct rlhf_error *err);

/* weights.c: a model whose weights stay in s, which it takes (s is empty then) unless it fails. */
int rlhf_model_freeze(struct rlhf_model *m, struct rlhf_source *s, struct rlhf_error *err);
const struct rlhf_source *rlhf_model_source(const struct rlhf_model *m); /* NULL unless frozen */
void rlhf_model_thaw(struct rlhf_model *m); /* gives back what freeze took; for rlhf_model_free() */

/* weights.c: how passes get at weights. Every pass begins with rlhf_model_ready(), which packs the products when the
 * weights have changed since; any thread may call it, and one packs while the others wait. */
struct rlhf_packing *rlhf_packing_new(struct rlhf_error *err);
void rlhf_packing_free(struct rlhf_packing *p); /* NULL is fine */
enum rlhf_products rlhf_product_products(const struct rlhf_model *m, const struct rlhf_product *p);
/* The weights of a product laid out for x·w, or for the product of its backward pass. */
int rlhf_product_pack(const struct rlhf_model *m, const struct rlhf_product *p, bool back, struct rlhf_packed *to,
                      struct rlhf_pool *pool, struct rlhf_error *err);
/* y[t] = the embedding's row of token[t], and where the model has learned positions that of position[t] added; rows of C. */
int rlhf_model_embed(const struct rlhf_model *m, const int32_t *token, const uint32_t *position, size_t t, float *y,
                     struct rlhf_pool *pool, struct rlhf_error *err);

/* What files of this family call a parameter, where that is another name than the parameter's. */
const char *rlhf_model_file_name(const struct rlhf_model_config *c, const char *parameter);

/* The activations of one layer, or of all layers in turn where nothing is kept for backward. Rows are T. What a
 * configuration does not have is NULL. All layers share norm1, norm2 and activated, a third of the memory, which backward
 * computes again: a hundredth of its time. */
struct rlhf_activations {
    float *x;               /* [T, C] the residual stream that enters                  */
    float *norm1;           /* [T, C]                                                  */
    float *mean1, *rstd1;   /* [T]                                                     */
    float *raw;             /* [T, (H + G) D] queries and keys before their norm; NULL when nothing is kept */
    float *rstd_q, *rstd_k; /* [T, H], [T, G]                                          */
    float *qkv;             /* [T, (H + 2G) D], normed and rotated                     */
    float *attention;       /* [T, H D]                                                */
    float *lse;             /* [H, T]; NULL when generating                            */
    float *post1;           /* [T, C] what attention gives, before its norm            */
    float *mean3, *rstd3;   /* [T]                                                     */
    float *middle;          /* [T, C] the residual stream after attention              */
    float *norm2;           /* [T, C]                                                  */
    float *mean2, *rstd2;   /* [T]                                                     */
    float *up;              /* [T, M] or [T, 2M]                                       */
    float *activated;       /* [T, M]                                                  */
    float *post2;           /* [T, C] what feed-forward gives, before its norm         */
    float *mean4, *rstd4;   /* [T]                                                     */
};
/* Takes them from arena, what layers share from `first` unless this is the first (NULL); -1 when it is full. lse and raw only
 * with keep. */
int rlhf_activations_get(struct rlhf_activations *a, const struct rlhf_model_config *c, size_t t, bool keep,
                         const struct rlhf_activations *first, struct rlhf_arena *arena);
/* activated from up. */
void rlhf_layer_activate(const struct rlhf_model_config *c, const struct rlhf_activations *a, size_t t,
                         struct rlhf_pool *pool);

/* What attention runs over: packed sequences, or rows behind a cache. */
struct rlhf_attending {
    const uint32_t *start; /* [B + 1] */
    size_t sequences;
    const uint32_t *prefix; /* [B], or NULL */
    const struct rlhf_attention_item *items; /* not NULL: generation */
    size_t count;
    const uint32_t *position; /* [T] */
    const float *cos_sin;     /* rotary table, or NULL */
    const struct rlhf_dropout *dropout; /* or NULL */
    const struct rlhf_adapting *adapting; /* or NULL */
};
/* The shape of one layer's attention: heads, scale, cap, window. */
struct rlhf_attention_shape rlhf_layer_attention(const struct rlhf_model_config *c, uint32_t layer,
                                                 const uint32_t *start, size_t sequences);
/* Turns queries and keys, or turns them back. */
void rlhf_layer_rotate(const struct rlhf_model_config *c, float *qkv, const uint32_t *position, size_t t,
                       const float *cos_sin, bool backward, struct rlhf_pool *pool);

/* One block of the transformer: a->x in, y out (y may be a->x). */
void rlhf_layer_forward(const struct rlhf_model *m, const struct rlhf_layer *l, const struct rlhf_activations *a,
                        const struct rlhf_attending *over, size_t t, float *y, struct rlhf_pool *pool);
void rlhf_norm_forward(const struct rlhf_model *m, const struct rlhf_norm_place *place, const float *x, size_t t,
                       float *y, float *mean, float *rstd, struct rlhf_pool *pool);
void rlhf_product_forward(const struct rlhf_model *m, const struct rlhf_product *p, const float *x, size_t t,
                          float *y, struct rlhf_pool *pool);

/* A rotary table; zero at first. Dynamic scaling: for sequences as long as `length`. */
struct rlhf_rope {
    float *cos_sin;
    size_t have, length;
};
/* Makes it of at least `length` positions (up to twice that); with dynamic scaling, of sequences so long. */
int rlhf_rope_grow(struct rlhf_rope *r, size_t length, const struct rlhf_model_config *c, struct rlhf_error *err);

#endif
