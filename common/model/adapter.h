/* adapter.h - LoRA (Hu et al. 2021, arXiv:2106.09685): small trained matrices beside the frozen products of a model.
 *
 * A targeted product y = x·W becomes y = x·W + s·(x·Aᵀ)·Bᵀ with A [r, k], B [n, r] and s = alpha/r, or alpha/sqrt(r) with
 * rsLoRA (Kalajdzievski 2023, arXiv:2312.03732). Names, files and meanings are those of PEFT. The model is never
 * written to, except by rlhf_adapter_merge(), so any number of adapters may share one, and one that was opened for
 * inference (model.h) will do, for training as well. A row's result depends on that row alone, as everywhere. */
#ifndef RLHF_MODEL_ADAPTER_H
#define RLHF_MODEL_ADAPTER_H

#include <stdbool.h>

#include "model/model.h"

enum { RLHF_ADAPTER_RANK = 4096 }; /* the largest */

struct rlhf_adapter;

struct rlhf_adapter_settings {
    uint32_t rank;
    double alpha;
    bool rslora;
    double dropout; /* lora_dropout: written down; passes drop when they are told to (dropout.h) */
    /* Last parts of modules' names ("q_proj", "attn.c_proj"); none: every product of the layers. */
    const char *const *targets;
    size_t target_count;
};

/* An adapter to train: A uniform in ±1/sqrt(k), as PEFT begins, from seed; B zero, so that at first nothing changes. With a
 * scalar head that head is trained too, from m's (PEFT's modules_to_save: ["score"]). NULL and RLHF_REJECT when a target is
 * nowhere in the model, or is none of its products. */
struct rlhf_adapter *rlhf_adapter_new(const struct rlhf_model *m, const struct rlhf_adapter_settings *s, uint64_t seed,
                                      struct rlhf_error *err);

/* DIR/adapter_config.json and DIR/adapter_model.safetensors, made for a model of m's shape. A setting that is not known
 * or not supported is an error that names the key; lora_dropout, which is for training, is not looked at. Missing,
 * unexpected and misshapen tensors are named, RLHF_REJECT; values that are not finite, RLHF_CORRUPT. */
struct rlhf_adapter *rlhf_adapter_load(const struct rlhf_model *m, const char *dir, struct rlhf_error *err);
struct rlhf_adapter *rlhf_adapter_read(const struct rlhf_model *m, const char *config, size_t config_size,
                                       const void *tensors, size_t tensors_size, struct rlhf_error *err);

/* The bytes of both files; the configuration of an adapter that was read is what it was. */
int rlhf_adapter_write(const struct rlhf_adapter *a, struct rlhf_bytes *config, struct rlhf_bytes *tensors,
                       struct rlhf_error *err);
int rlhf_adapter_save(const struct rlhf_adapter *a, const char *dir, struct rlhf_error *err); /* makes dir */

/* All parameters as one block, and their table, as of a model. Whoever writes into the block calls touch before the next
 * pass. */
float *rlhf_adapter_parameters(struct rlhf_adapter *a, size_t *count);
const struct rlhf_parameter *rlhf_adapter_table(const struct rlhf_adapter *a, size_t *count);
void rlhf_adapter_touch(struct rlhf_adapter *a, struct rlhf_pool *pool);

/* W += s·B·A in m, of whose shape a is, and which must not be frozen; with a head of its own, m's becomes that. When it
 * fails (weights that overflow) m is of no use any more. */
int rlhf_adapter_merge(const struct rlhf_adapter *a, struct rlhf_model *m, struct rlhf_error *err);

/* Training on merged weights, which workers can be sent and whose log-probs are theirs to the bit: keep copies what a
 * targets of m (free it with free()), apply makes them what was kept plus s·B·A, and touches m, but not a. */
float *rlhf_adapter_keep(const struct rlhf_adapter *a, const struct rlhf_model *m, struct rlhf_error *err);
void rlhf_adapter_apply(const struct rlhf_adapter *a, const float *kept, struct rlhf_model *m, struct rlhf_pool *pool);

void rlhf_adapter_free(struct rlhf_adapter *a); /* NULL is fine */

/* From the next forward on passes run with a (NULL: without), borrowed. Backward adds the gradient of its parameters to
 * grad (NULL: none wanted), and the model's own gradient may be NULL then: it stays frozen. */
void rlhf_pass_adapt(struct rlhf_pass *p, const struct rlhf_adapter *a, float *grad);
/* The same for models that a is applied to already: forward is theirs (but for what dropout drops), backward adds to grad. */
void rlhf_pass_adapt_merged(struct rlhf_pass *p, const struct rlhf_adapter *a, float *grad);
/* Generation with a; what is cached already stays as it is. */
void rlhf_cache_adapt(struct rlhf_cache *k, const struct rlhf_adapter *a);

#endif
