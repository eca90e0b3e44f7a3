/* config.h - the shape of a decoder-only transformer, and config.json. */
#ifndef RLHF_MODEL_CONFIG_H
#define RLHF_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

enum rlhf_norm { RLHF_NORM_LAYER, RLHF_NORM_RMS };
enum rlhf_position { RLHF_POSITION_LEARNED, RLHF_POSITION_ROTARY };
enum rlhf_mlp { RLHF_MLP_GELU_TANH, RLHF_MLP_SWIGLU };
enum rlhf_head { RLHF_HEAD_LM, RLHF_HEAD_SCALAR }; /* scalar: reward models and value functions */

struct rlhf_model_config {
    enum rlhf_norm norm;
    enum rlhf_position position;
    enum rlhf_mlp mlp;
    enum rlhf_head head;
    uint32_t layers;     /* L */
    uint32_t heads;      /* H */
    uint32_t kv_heads;   /* = heads unless grouped-query */
    uint32_t head_size;  /* D */
    uint32_t channels;   /* C = hidden size */
    uint32_t mlp_size;   /* width of the feed-forward layer */
    uint32_t vocabulary; /* V */
    uint32_t context;    /* longest sequence */
    float norm_epsilon;
    float rope_theta;
    bool tied;           /* lm_head is the token embedding */
    bool bias;           /* biases in attention and feed-forward (GPT-2) */
    int32_t begin_id, end_id, pad_id; /* -1 = none */
};

/* "gpt2" or "llama" filled in with that family's choices; sizes must be set by the caller. */
int rlhf_model_config_style(struct rlhf_model_config *c, const char *style, struct rlhf_error *err);

/* Every rule that a usable shape obeys; the error names the field. */
int rlhf_model_config_check(const struct rlhf_model_config *c, struct rlhf_error *err);

/* Hugging Face config.json both ways (GPT2LMHeadModel, LlamaForCausalLM, and the
 * ...ForSequenceClassification of either with num_labels 1). An unknown or unsupported setting is an error
 * that names the key. */
int rlhf_model_config_parse(struct rlhf_model_config *c, const char *json, size_t size, struct rlhf_error *err);
int rlhf_model_config_print(const struct rlhf_model_config *c, struct rlhf_bytes *json, struct rlhf_error *err);

#endif
