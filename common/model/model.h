/* model.h - a decoder-only transformer: its parameters, its files, its passes.
 *
 * One block is configured into the styles of GPT-2, Llama, Mistral, Qwen 2 and 3, GPT-NeoX and Gemma 2 (config.h).
 * Everything is fp32, but products that the configuration says are of bfloat16. Sequences are packed, never
 * padded. The forward pass of training, of scoring and of generation is one implementation whose rows do
 * not depend on what else is in the batch, so their log-probs agree to the bit. */
#ifndef RLHF_MODEL_MODEL_H
#define RLHF_MODEL_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/pool.h"
#include "model/config.h"

struct rlhf_model;

/* Random initial weights: normal with standard deviation 0.02 (residual projections 0.02/sqrt(2L)), norms
 * one, biases zero; a scalar head is normal with sd 1/sqrt(C+1). A function of (config, seed) alone. */
struct rlhf_model *rlhf_model_new(const struct rlhf_model_config *c, uint64_t seed, struct rlhf_error *err);

/* A Hugging Face directory: config.json and model.safetensors (or its shards and their index), in fp32, fp16
 * or bf16. Missing, unexpected and misshapen
 * tensors are listed in the error. */
struct rlhf_model *rlhf_model_load(const char *dir, struct rlhf_error *err);
/* The same, converted by all threads of pool. */
struct rlhf_model *rlhf_model_load_parallel(const char *dir, struct rlhf_pool *pool, struct rlhf_error *err);

/* The same from memory: config.json's text and the bytes of model.safetensors. Copies. Either way weights that
 * are not finite are refused, RLHF_CORRUPT. */
struct rlhf_model *rlhf_model_read(const char *config, size_t config_size, const void *tensors,
                                   size_t tensors_size, struct rlhf_error *err);

/* The same directory for inference: the weights stay in the files, which are mapped, so that this takes as long as reading
 * their headers. The first pass packs the products, and gives the mapped pages back; rows of the embedding are
 * converted when they are looked up. Weights that are not finite are refused then, RLHF_CORRUPT. A model that was opened
 * has no parameters to write into, and shares its files with every process that opens them. `panels` says how
 * products are packed: STORED packs bfloat16 as bfloat16 (the bits of every result are those of fp32) and all else as fp32;
 * BF16 rounds what is not bfloat16, for half the memory and traffic. */
enum rlhf_panels { RLHF_PANELS_STORED, RLHF_PANELS_F32, RLHF_PANELS_BF16 };
struct rlhf_model *rlhf_model_open(const char *dir, enum rlhf_panels panels, struct rlhf_error *err);
/* The same from memory, of rows or of panels (panel_file.h), which must stay until release(owner) is called: by rlhf_model_free(), or when this fails. release may
 * be NULL. */
struct rlhf_model *rlhf_model_view(const char *config, size_t config_size, const void *tensors, size_t tensors_size,
                                   void (*release)(void *owner), void *owner, struct rlhf_error *err);
int rlhf_model_is_frozen(const struct rlhf_model *m); /* opened or viewed */
/* Does now what the first pass would do, with all threads of pool. */
int rlhf_model_ready(const struct rlhf_model *m, struct rlhf_pool *pool, struct rlhf_error *err);

/* The bytes of config.json and model.safetensors, equal for equal weights (tensors in table order). Weights
 * that are not finite are not written, RLHF_FATAL. */
int rlhf_model_write(const struct rlhf_model *m, struct rlhf_bytes *config, struct rlhf_bytes *tensors,
                     struct rlhf_error *err);

/* A copy that can be trained, with the wanted head: the same head is copied; another is dropped, and a scalar head starts at
 * N(0, 1/sqrt(C+1)) from seed with bias 0 (Stiennon et al. 2020; recipe.md). */
struct rlhf_model *rlhf_model_clone(const struct rlhf_model *m, enum rlhf_head head, uint64_t seed,
                                    struct rlhf_error *err);

/* How passes over m multiply, forwards and backwards: as its configuration says, fp32 or with both operands rounded to
 * bfloat16 (tensor/ops.h). Parameters and gradients stay fp32, and so do attention, adapters and a scalar head. Log-probs are
 * those of another policy, so whoever samples and whoever trains must agree: config.json says it, wherever weights go. */
void rlhf_model_set_products(struct rlhf_model *m, enum rlhf_products products);

const struct rlhf_model_config *rlhf_model_get_config(const struct rlhf_model *m);

/* All parameters as one block of count floats, in table order; not of a model that was opened. Whoever writes into it calls
 * rlhf_model_touch() before the next pass, which then packs the weights anew, with its own pool. */
float *rlhf_model_parameters(struct rlhf_model *m, size_t *count);
void rlhf_model_touch(struct rlhf_model *m, struct rlhf_pool *pool);

/* `count` floats of one of the table's tensors, from its element `from` on: of any model. */
void rlhf_model_values(const struct rlhf_model *m, size_t tensor, size_t from, size_t count, float *out);

/* The table: name as in Hugging Face files, shape, offset into the block; decayed is true for matrices
 * (weight decay applies), false for norms and biases. */
enum { RLHF_PARAMETER_NAME = 96 };
struct rlhf_parameter {
    char name[RLHF_PARAMETER_NAME];
    size_t shape[2], dims, offset, count;
    int decayed;
};
const struct rlhf_parameter *rlhf_model_table(const struct rlhf_model *m, size_t *count);

/* A scalar head's bias, part of reward = head·h + bias; kept in config.json as "rlhf_reward_bias". */
float rlhf_model_bias(const struct rlhf_model *m);
void rlhf_model_set_bias(struct rlhf_model *m, float bias);

void rlhf_model_free(struct rlhf_model *m); /* NULL is fine */

/* ---- a pass over packed sequences: forward, and backward where wanted ------------------------------ */

/* Sequence s is tokens[start[s]] .. tokens[start[s + 1] - 1]; positions count from 0 in each. With a prefix, which only passes
 * that do not train take, it has so many tokens before those, computed once for all who share them: the first ones of the last
 * sequence before it whose own prefix is 0. The bits are those of the sequence written out. */
struct rlhf_batch {
    const int32_t *tokens; /* [T]     */
    const uint32_t *start; /* [B + 1] */
    size_t sequences;      /* B       */
    const uint32_t *prefix; /* [B], or NULL: none has any */
};

/* Activations of one batch at a time. Borrows pool. With train, what backward needs is kept. */
struct rlhf_pass;
struct rlhf_pass *rlhf_pass_new(const struct rlhf_model_config *c, struct rlhf_pool *pool, int train,
                                struct rlhf_error *err);

/* Runs the body. Fails with RLHF_REJECT on a token id or a length outside the configuration. */
int rlhf_pass_forward(struct rlhf_pass *p, const struct rlhf_model *m, const struct rlhf_batch *b,
                      struct rlhf_error *err);

/* After forward, language-model head: for each position t with target[t] >= 0, logprob[t] is
 * log softmax(logits[t] / temperature)[target[t]] and entropy[t] (may be NULL) that distribution's entropy in
 * nats; elsewhere 0. Only those positions' logits are computed. */
int rlhf_pass_logprobs(struct rlhf_pass *p, const struct rlhf_model *m, const int32_t *target,
                       float temperature, float *logprob, float *entropy, struct rlhf_error *err);

/* After forward, scalar head: scalar[t] = head·h[t] + bias for every position [T]. */
int rlhf_pass_scalars(struct rlhf_pass *p, const struct rlhf_model *m, float *scalar, struct rlhf_error *err);

/* Logits of every position [T, V], capped where the model caps them; for tests and `model forward`. */
int rlhf_pass_logits(struct rlhf_pass *p, const struct rlhf_model *m, float *logits, struct rlhf_error *err);

/* After forward with train: the residual stream [T, C] that enters layer `layer`, or with layer L what the final norm gives. */
int rlhf_pass_hidden(struct rlhf_pass *p, const struct rlhf_model *m, uint32_t layer, float *hidden,
                     struct rlhf_error *err);

/* Adds the gradient of a loss to grad (the layout of rlhf_model_parameters; NULL: none wanted, adapter.h). d_logprob, d_entropy (may be NULL)
 * and d_scalar are the loss's derivatives by what the functions above returned. One of them follows a forward
 * (and logprobs with the same targets). The sum over tokens has a fixed order: the number of threads never
 * changes a bit. */
int rlhf_pass_backward_logprobs(struct rlhf_pass *p, const struct rlhf_model *m, const float *d_logprob,
                                const float *d_entropy, float *grad, struct rlhf_error *err);
int rlhf_pass_backward_scalars(struct rlhf_pass *p, const struct rlhf_model *m, const float *d_scalar,
                               float *grad, struct rlhf_error *err);
void rlhf_pass_free(struct rlhf_pass *p); /* NULL is fine */

/* ---- generation: KV cache -------------------------------------------------------------------------- */

/* Keys and values of up to `slots` sequences of up to `context` tokens. Borrows pool. */
struct rlhf_cache;
struct rlhf_cache *rlhf_cache_new(const struct rlhf_model_config *c, size_t slots, size_t context,
                                  struct rlhf_pool *pool, struct rlhf_error *err);
size_t rlhf_cache_length(const struct rlhf_cache *k, size_t slot);
void rlhf_cache_clear(struct rlhf_cache *k, size_t slot);
/* slot `to` becomes a copy of the first `length` tokens of slot `from`: a prompt shared by its samples. */
void rlhf_cache_fork(struct rlhf_cache *k, size_t from, size_t to, size_t length);

/* Appends tokens to slots: the prompt at first (prefill), then one token a step (decode), mixed as the
 * caller likes; a slot appears once a call. logits is [count, V]: those after each item's last token. */
struct rlhf_extend {
    size_t slot;
    const int32_t *tokens;
    size_t count; /* of tokens */
};
int rlhf_cache_extend(struct rlhf_cache *k, const struct rlhf_model *m, const struct rlhf_extend *items,
                      size_t count, float *logits, struct rlhf_error *err);
/* The same, but instead of logits log-probs: for each of the T tokens given, in the order of the items, whose target is not negative,
 * log softmax(logits after it)[target]; elsewhere 0. Bit for bit what rlhf_pass_logprobs() gives for the whole sequences, so
 * contexts that sequences share are computed once. target and logprob are [T]. */
int rlhf_cache_logprobs(struct rlhf_cache *k, const struct rlhf_model *m, const struct rlhf_extend *items,
                        size_t count, const int32_t *target, float *logprob, struct rlhf_error *err);
void rlhf_cache_free(struct rlhf_cache *k); /* NULL is fine */

#endif
