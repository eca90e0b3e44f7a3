/* config.h - the shape of a decoder-only transformer, and config.json. */
#ifndef RLHF_MODEL_CONFIG_H
#define RLHF_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#include "tensor/ops.h"

enum { RLHF_MODEL_LAYERS = 1024, RLHF_MODEL_ENDS = 15 };

/* Whose names a model's tensors and settings have in files. No pass looks at it: what differs in what is computed is
 * said by the fields below. */
enum rlhf_family {
    RLHF_GPT2, RLHF_LLAMA, RLHF_MISTRAL, RLHF_QWEN2, RLHF_QWEN3, RLHF_GPT_NEOX, RLHF_GEMMA2, RLHF_FAMILIES
};

enum rlhf_norm { RLHF_NORM_LAYER, RLHF_NORM_RMS };
enum rlhf_position { RLHF_POSITION_LEARNED, RLHF_POSITION_ROTARY };
enum rlhf_head { RLHF_HEAD_LM, RLHF_HEAD_SCALAR }; /* scalar: reward models and value functions */

struct rlhf_model_config {
    enum rlhf_family family;
    enum rlhf_norm norm;
    enum rlhf_position position;
    enum rlhf_activation activation; /* of the feed-forward layer */
    uint8_t activation_name; /* which of its names config.json gives it: transformers rounds them differently */
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
    struct rlhf_rope_scaling rope; /* zero: none */
    double rotary_part;  /* of a head's dimensions that turn, the first ones; 1 unless partial */
    bool tied;           /* lm_head is the token embedding */
    bool gated;          /* feed-forward: f(gate) * up, rather than f(up) */
    bool bias_qkv, bias_out, bias_mlp; /* which products have biases */
    bool interleaved;    /* q, k, v stand head by head in one matrix, [H, 3, D] */
    bool norm_offset;    /* norms multiply by 1 + gain */
    bool norm_qk;        /* RMSNorm over D of each query and key head, before it turns */
    bool norm_post;      /* further norms of what attention and feed-forward give, before it is added */
    bool parallel;       /* feed-forward reads what attention reads; both are added together */
    bool scale_by_layer; /* scores are divided by the layer's number, from 1 */
    bool embedding_scaled; /* token embeddings times sqrt(C) */
    uint32_t query_scalar; /* scores are q * k / sqrt(query_scalar); 0: of the head size */
    float attention_cap, logit_cap; /* x becomes cap * tanh(x / cap) of scores and logits; 0: no cap */
    uint32_t window;     /* a token attends to the last `window` tokens, itself one of them; 0: to all */
    uint8_t windowed[RLHF_MODEL_LAYERS / 8]; /* in these layers: one bit each */
    enum rlhf_products products; /* how passes multiply: kept in config.json as "rlhf_products" where it is not fp32 */
    int32_t begin_id, end_id, pad_id; /* -1 = none */
    uint32_t more_ends;  /* further ids that end a text, as in eos_token_id: [2, 7] */
    int32_t more_end_ids[RLHF_MODEL_ENDS];
};

/* The model_type of a family ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox", "gemma2") filled in with that
 * family's choices; sizes must be set by the caller. */
int rlhf_model_config_style(struct rlhf_model_config *c, const char *style, struct rlhf_error *err);
/* The same name, of a configuration. */
const char *rlhf_model_config_name(const struct rlhf_model_config *c);

/* Dimensions of a head that turn: an even number, or what check refuses. */
uint32_t rlhf_model_config_rotary(const struct rlhf_model_config *c);
/* The window of a layer; 0: none. */
uint32_t rlhf_model_config_window(const struct rlhf_model_config *c, uint32_t layer);
void rlhf_model_config_set_window(struct rlhf_model_config *c, uint32_t layer, bool windowed);

/* Every rule that a usable shape obeys; the error names the field. */
int rlhf_model_config_check(const struct rlhf_model_config *c, struct rlhf_error *err);

/* Hugging Face config.json both ways (GPT2LMHeadModel, LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM,
 * Qwen3ForCausalLM, GPTNeoXForCausalLM, Gemma2ForCausalLM, and the ...ForSequenceClassification of each with num_labels
 * 1). Read as versions 4 and 5 of transformers write it, written so that both read it. An unknown or unsupported setting
 * is an error that names the key. */
int rlhf_model_config_parse(struct rlhf_model_config *c, const char *json, size_t size, struct rlhf_error *err);
int rlhf_model_config_print(const struct rlhf_model_config *c, struct rlhf_bytes *json, struct rlhf_error *err);

#endif
