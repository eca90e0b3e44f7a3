#include "model/config.h"

#include <string.h>

#include "support/shape.h"
#include "support/suite.h"

static struct rlhf_model_config sized(const char *style)
{
    return a_config(style, (struct shape){ 3, 4, 32, 512, 512, 128 });
}

static void expect_same(const struct rlhf_model_config *a, const struct rlhf_model_config *b)
{
    ck_assert_int_eq(a->norm, b->norm);
    ck_assert_int_eq(a->position, b->position);
    ck_assert_int_eq(a->family, b->family);
    ck_assert_int_eq(a->activation, b->activation);
    ck_assert_int_eq(a->activation_name, b->activation_name);
    ck_assert_int_eq(a->gated, b->gated);
    ck_assert_int_eq(a->head, b->head);
    ck_assert_int_eq(a->products, b->products);
    ck_assert_uint_eq(a->layers, b->layers);
    ck_assert_uint_eq(a->heads, b->heads);
    ck_assert_uint_eq(a->kv_heads, b->kv_heads);
    ck_assert_uint_eq(a->head_size, b->head_size);
    ck_assert_uint_eq(a->channels, b->channels);
    ck_assert_uint_eq(a->mlp_size, b->mlp_size);
    ck_assert_uint_eq(a->vocabulary, b->vocabulary);
    ck_assert_uint_eq(a->context, b->context);
    ck_assert(a->norm_epsilon == b->norm_epsilon && a->rope_theta == b->rope_theta);
    ck_assert(a->tied == b->tied && a->bias_qkv == b->bias_qkv && a->bias_out == b->bias_out
              && a->bias_mlp == b->bias_mlp && a->interleaved == b->interleaved && a->norm_offset == b->norm_offset
              && a->norm_qk == b->norm_qk && a->norm_post == b->norm_post && a->parallel == b->parallel
              && a->scale_by_layer == b->scale_by_layer && a->embedding_scaled == b->embedding_scaled);
    ck_assert(a->rope.type == b->rope.type && a->rope.factor == b->rope.factor && a->rope.original == b->rope.original
              && a->rope.low_frequency == b->rope.low_frequency && a->rope.high_frequency == b->rope.high_frequency
              && a->rope.beta_fast == b->rope.beta_fast && a->rope.beta_slow == b->rope.beta_slow
              && a->rope.whole == b->rope.whole && a->rope.amplitude == b->rope.amplitude
              && a->rotary_part == b->rotary_part);
    ck_assert(a->query_scalar == b->query_scalar && a->attention_cap == b->attention_cap
              && a->logit_cap == b->logit_cap && a->window == b->window);
    for (uint32_t i = 0; i < a->layers; i++)
        ck_assert_uint_eq(rlhf_model_config_window(a, i), rlhf_model_config_window(b, i));
    ck_assert_uint_eq(a->more_ends, b->more_ends);
    ck_assert_mem_eq(a->more_end_ids, b->more_end_ids, a->more_ends * sizeof *a->more_end_ids);
    ck_assert_int_eq(a->begin_id, b->begin_id);
    ck_assert_int_eq(a->end_id, b->end_id);
    ck_assert_int_eq(a->pad_id, b->pad_id);
}

START_TEST(a_config_that_was_printed_reads_back_the_same)
{
    static const char *const styles[] = { "gpt2", "llama" };

    for (int i = 0; i < 16; i++) {
        struct rlhf_model_config c = sized(styles[i & 1]), back;
        struct rlhf_error err = { 0 };
        struct rlhf_bytes json = { 0 };

        c.head = i & 2 ? RLHF_HEAD_SCALAR : RLHF_HEAD_LM;
        c.products = i & 8 ? RLHF_PRODUCTS_BF16 : RLHF_PRODUCTS_F32;
        c.tied = (i & 4) != 0;
        c.norm_epsilon = i & 8 ? 1e-6F : 0.00012345678F;
        if (i & 1) {
            c.rope_theta = i & 8 ? 500000 : 12345.678F;
            c.kv_heads = 2;
            c.head_size = 24;
        }
        if (i & 8) {
            c.begin_id = 1;
            c.end_id = 511;
            c.pad_id = 0;
        }
        expect_ok(rlhf_model_config_print(&c, &json, &err), err);
        expect_ok(rlhf_model_config_parse(&back, json.data, json.size, &err), err);
        expect_same(&c, &back);
        rlhf_bytes_free(&json);
    }
}
END_TEST

/* Every family with everything in it that may be otherwise. */
START_TEST(every_family_is_printed_with_all_that_may_differ)
{
    static const char *const styles[] = { "gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox", "gemma2" };
    static const struct rlhf_rope_scaling ropes[] = {
        { .type = RLHF_ROPE_PLAIN },
        { .type = RLHF_ROPE_LINEAR, .factor = 2.5 },
        { .type = RLHF_ROPE_DYNAMIC, .factor = 1.7, .original = 128 },
        { .type = RLHF_ROPE_YARN, .factor = 4, .original = 31, .beta_fast = 30, .beta_slow = 1.5, .whole = true,
          .amplitude = 1.1386294361119891 },
        { .type = RLHF_ROPE_YARN, .factor = 1.1, .original = 64, .beta_fast = 32, .beta_slow = 1, .amplitude = 1 },
        { .type = RLHF_ROPE_LLAMA3, .factor = 8, .original = 32, .low_frequency = 1, .high_frequency = 4.5 },
    };

    for (size_t style = 0; style < 7; style++)
        for (unsigned i = 0; i < 6; i++) {
            struct rlhf_model_config c = sized(styles[style]), back;
            struct rlhf_error err = { 0 };
            struct rlhf_bytes json = { 0 };

            ck_assert_str_eq(rlhf_model_config_name(&c), styles[style]);
            c.activation = (enum rlhf_activation)(i % RLHF_ACTIVATIONS);
            c.activation_name = (uint8_t)(i / RLHF_ACTIVATIONS);
            if (c.position == RLHF_POSITION_ROTARY)
                c.rope = ropes[i];
            else
                c.query_scalar = i & 1, c.scale_by_layer = i & 2;
            if (c.family == RLHF_LLAMA || c.family == RLHF_QWEN3 || c.family == RLHF_GPT_NEOX || c.family == RLHF_GEMMA2)
                c.bias_qkv = c.bias_out = i & 1;
            if (c.family == RLHF_LLAMA)
                c.bias_mlp = i & 2;
            if (c.family == RLHF_GPT_NEOX)
                c.rotary_part = i & 1 ? 0.25 : 1, c.parallel = i & 2;
            if (c.family == RLHF_GEMMA2)
                c.query_scalar = 17 + i, c.attention_cap = i & 1 ? 0 : 20.5F, c.logit_cap = i & 2 ? 0 : 3;
            if (c.family == RLHF_MISTRAL && i & 1)
                for (uint32_t l = c.window = 5 + i; l-- > 0;)
                    rlhf_model_config_set_window(&c, l, true);
            if (c.family == RLHF_QWEN2 || c.family == RLHF_QWEN3 || c.family == RLHF_GEMMA2)
                for (uint32_t l = 0; i & 1 && l < c.layers; l += 1 + i / 2)
                    rlhf_model_config_set_window(&c, l, (c.window = 5 + i));
            c.end_id = 3, c.more_ends = i, c.more_end_ids[0] = 7;
            expect_ok(rlhf_model_config_print(&c, &json, &err), err);
            expect_ok(rlhf_model_config_parse(&back, json.data, json.size, &err), err);
            expect_same(&c, &back);
            rlhf_bytes_free(&json);
        }
}
END_TEST

static int parse(const char *json, struct rlhf_model_config *c, struct rlhf_error *err)
{
    *err = (struct rlhf_error){ 0 };
    return rlhf_model_config_parse(c, json, strlen(json), err);
}

#define GPT2 "\"model_type\":\"gpt2\",\"n_embd\":48,\"n_layer\":2,\"n_head\":4,\"n_positions\":64,\"vocab_size\":199"
#define LLAMA                                                                                                \
    "\"model_type\":\"llama\",\"hidden_size\":48,\"num_hidden_layers\":2,\"num_attention_heads\":4,"          \
    "\"intermediate_size\":112,\"max_position_embeddings\":128,\"vocab_size\":432"

#define SIZES                                                                                                \
    "\"hidden_size\":48,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"intermediate_size\":112,"         \
    "\"max_position_embeddings\":128,\"vocab_size\":432"
#define MISTRAL "\"model_type\":\"mistral\",\"num_key_value_heads\":2," SIZES
#define QWEN "\"model_type\":\"qwen2\",\"num_key_value_heads\":2," SIZES
#define GEMMA "\"model_type\":\"gemma2\",\"num_key_value_heads\":2," SIZES
#define NEOX "\"model_type\":\"gpt_neox\",\"rotary_pct\":0.5," SIZES

START_TEST(the_other_families_have_the_defaults_of_transformers)
{
    struct rlhf_model_config c;
    struct rlhf_error err;

    expect_ok(parse("{" MISTRAL "}", &c, &err), err);
    ck_assert(c.window == 4096 && rlhf_model_config_window(&c, 1) == 4096 && c.head_size == 12);
    expect_ok(parse("{" MISTRAL ",\"sliding_window\":null}", &c, &err), err);
    ck_assert(c.window == 0 && rlhf_model_config_window(&c, 1) == 0);
    ck_assert_int_eq(parse("{\"model_type\":\"mistral\"," SIZES "}", &c, &err), -1); /* 8 key/value heads for 4 */
    expect_contains(err.text, "kv_heads");
    expect_ok(parse("{" QWEN ",\"sliding_window\":7}", &c, &err), err);
    ck_assert(c.window == 0 && c.bias_qkv && !c.bias_out && c.end_id == -1);
    expect_ok(parse("{" QWEN ",\"sliding_window\":7,\"use_sliding_window\":true,\"max_window_layers\":1}", &c, &err), err);
    ck_assert(rlhf_model_config_window(&c, 0) == 0 && rlhf_model_config_window(&c, 1) == 7);
    expect_ok(parse("{" QWEN ",\"use_sliding_window\":true,\"layer_types\":[\"sliding_attention\",\"full_attention\"]}", &c,
                    &err), err);
    ck_assert(rlhf_model_config_window(&c, 0) == 4096 && rlhf_model_config_window(&c, 1) == 0);
    expect_ok(parse("{\"model_type\":\"qwen3\",\"num_key_value_heads\":1," SIZES "}", &c, &err), err);
    ck_assert(c.norm_qk && c.head_size == 128 && !c.bias_qkv);
    expect_ok(parse("{" GEMMA "}", &c, &err), err);
    ck_assert(c.tied && c.head_size == 256 && c.query_scalar == 256 && c.attention_cap == 50 && c.logit_cap == 30);
    ck_assert(rlhf_model_config_window(&c, 0) == 4096 && rlhf_model_config_window(&c, 1) == 0 && c.pad_id == 0);
    expect_ok(parse("{" GEMMA ",\"attn_logit_softcapping\":null}", &c, &err), err);
    ck_assert(c.attention_cap == 0 && c.logit_cap == 30);
    expect_ok(parse("{" NEOX ",\"rotary_emb_base\":5000,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", &c, &err),
              err);
    ck_assert(c.parallel && c.bias_qkv && c.rope_theta == 5000 && c.rope.factor == 2);
}
END_TEST

START_TEST(what_a_config_leaves_out_is_what_transformers_assumes)
{
    struct rlhf_model_config c;
    struct rlhf_error err;

    expect_ok(parse("{" GPT2 "}", &c, &err), err);
    ck_assert_uint_eq(c.mlp_size, 4 * 48);
    ck_assert_uint_eq(c.head_size, 12);
    ck_assert(c.tied && c.bias_qkv && c.bias_out && c.bias_mlp && c.norm_epsilon == 1e-5F && c.head == RLHF_HEAD_LM);
    ck_assert_int_eq(c.end_id, -1); /* 50256 is not in a vocabulary of 199 */
    expect_ok(parse("{" LLAMA "}", &c, &err), err);
    ck_assert_uint_eq(c.kv_heads, 4);
    ck_assert(!c.tied && !c.bias_qkv && !c.bias_out && !c.bias_mlp && c.norm_epsilon == 1e-6F && c.rope_theta == 10000);
    ck_assert_int_eq(c.begin_id, 1);
    ck_assert_int_eq(c.end_id, 2);
    ck_assert_int_eq(c.pad_id, -1);
    expect_ok(parse("{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":5e5},"
                    "\"eos_token_id\":[7],\"bos_token_id\":null}", &c, &err), err);
    ck_assert(c.rope_theta == 500000);
    ck_assert_int_eq(c.end_id, 7);
    ck_assert_int_eq(c.begin_id, -1);
}
END_TEST

START_TEST(what_cannot_be_done_is_refused_by_its_key)
{
    static const struct {
        const char *json, *key;
    } cases[] = {
        { "[]", "object" },
        { "{", "line" },
        { "{\"a\":1,\"a\":2}", "line" },
        { "{}", "model_type" },
        { "{\"model_type\":\"mamba\"}", "mamba" },
        { "{" GPT2 ",\"surprise\":1}", "surprise" },
        { "{" LLAMA ",\"n_embd\":48}", "n_embd" },
        { "{" GPT2 ",\"activation_function\":\"relu\"}", "activation_function" },
        { "{" GPT2 ",\"scale_attn_weights\":0}", "scale_attn_weights" },
        { "{" GPT2 ",\"add_cross_attention\":true}", "add_cross_attention" },
        { "{" GPT2 ",\"architectures\":[\"GPT2DoubleHeadsModel\"]}", "architectures" },
        { "{" GPT2 ",\"architectures\":[\"LlamaForCausalLM\"]}", "architectures" },
        { "{" GPT2 ",\"architectures\":[\"GPT2ForSequenceClassification\"]}", "id2label" },
        { "{" GPT2 ",\"architectures\":[\"GPT2ForSequenceClassification\"],\"num_labels\":2}", "num_labels" },
        { "{" GPT2 ",\"architectures\":[\"GPT2ForSequenceClassification\"],\"id2label\":{\"0\":\"a\",\"1\":\"b\"}}",
          "id2label" },
        { "{" GPT2 ",\"n_inner\":-1}", "n_inner" },
        { "{" GPT2 ",\"n_inner\":1.5}", "n_inner" },
        { "{" GPT2 ",\"layer_norm_epsilon\":\"small\"}", "layer_norm_epsilon" },
        { "{" GPT2 ",\"layer_norm_epsilon\":1e400}", "line" },
        { "{" GPT2 ",\"layer_norm_epsilon\":1e39}", "layer_norm_epsilon" },
        { "{" GPT2 ",\"layer_norm_epsilon\":0}", "layer_norm_epsilon" },
        { "{" GPT2 ",\"eos_token_id\":199}", "eos_token_id" },
        { "{" GPT2 ",\"eos_token_id\":[1,\"2\"]}", "eos_token_id" },
        { "{" GPT2 ",\"tie_word_embeddings\":\"yes\"}", "tie_word_embeddings" },
        { "{" GPT2 ",\"dtype\":\"int8\"}", "dtype" },
        { "{" GPT2 ",\"quantization_config\":{\"bits\":4}}", "quantization_config" },
        { "{" LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\"}}", "rope_scaling" },
        { "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":2}}", "longrope" },
        { "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":0}}", "factor" },
        { "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2,\"beta_fast\":32}}", "beta_fast" },
        { "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2}}", "high_freq_factor" },
        { "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2,\"original_max_position_embeddings\":1.5}}",
          "original_max_position_embeddings" },
        { "{" LLAMA ",\"rope_parameters\":{\"rope_theta\":1e4,\"partial_rotary_factor\":0.5}}", "partial_rotary_factor" },
        { "{" LLAMA ",\"rope_parameters\":{\"full_attention\":{}}}", "full_attention" },
        { "{" LLAMA ",\"rope_parameters\":{\"rope_theta\":1e4},\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}",
          "rope_scaling" },
        { "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2,\"attention_factor\":-1}}", "attention_factor" },
        { "{" LLAMA ",\"rope_theta\":0.5}", "rope_theta" },
        { "{" MISTRAL ",\"sliding_window\":-1}", "sliding_window" },
        { "{" MISTRAL ",\"layer_types\":[\"sliding_attention\",\"full_attention\"]}", "window" },
        { "{" MISTRAL ",\"attention_bias\":false}", "attention_bias" },
        { "{" QWEN ",\"layer_types\":[\"sliding_attention\",\"full_attention\"]}", "layer_types" },
        { "{" QWEN ",\"layer_types\":[\"full_attention\"]}", "layer_types" },
        { "{" QWEN ",\"layer_types\":[\"chunked_attention\",\"full_attention\"]}", "layer_types" },
        { "{" QWEN ",\"use_mrope\":true}", "use_mrope" },
        { "{" GEMMA ",\"use_bidirectional_attention\":true}", "use_bidirectional_attention" },
        { "{" GEMMA ",\"final_logit_softcapping\":-2}", "final_logit_softcapping" },
        { "{" GEMMA ",\"query_pre_attn_scalar\":0}", "query_pre_attn_scalar" },
        { "{\"model_type\":\"gpt_neox\",\"rotary_pct\":0.3," SIZES "}", "rotary_pct" }, /* 3.6 of 12 dimensions: 3, which is odd */
        { "{\"model_type\":\"gpt_neox\",\"rotary_pct\":1.5," SIZES "}", "rotary_pct" },
        { "{" NEOX ",\"num_key_value_heads\":2}", "num_key_value_heads" },
        { "{" LLAMA ",\"attention_bias\":1}", "attention_bias" },
        { "{" LLAMA ",\"mlp_bias\":null}", "mlp_bias" },
        { "{" LLAMA ",\"pretraining_tp\":2}", "pretraining_tp" },
        { "{" LLAMA ",\"sliding_window\":5}", "sliding_window" },
        { "{" LLAMA ",\"num_key_value_heads\":3}", "num_key_value_heads" },
        { "{" LLAMA ",\"head_dim\":7}", "head_dim" },
        { "{" LLAMA ",\"num_hidden_layers\":1000000}", "line" }, /* twice */
        { "{\"model_type\":\"gpt2\",\"n_embd\":48,\"n_layer\":2,\"n_head\":5,\"n_positions\":64,\"vocab_size\":199}",
          "n_head" },
        { "{\"model_type\":\"gpt2\",\"n_embd\":48,\"n_layer\":2,\"n_head\":4,\"n_positions\":64}", "vocab_size" },
        { "{\"model_type\":\"gpt2\",\"n_embd\":48,\"n_layer\":100000,\"n_head\":4,\"n_positions\":64,\"vocab_size\":9}",
          "layers" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rlhf_model_config c = { .layers = 77 };
        struct rlhf_error err;

        ck_assert_msg(parse(cases[i].json, &c, &err) == -1, "accepted: %s", cases[i].json);
        expect_code(err, RLHF_REJECT);
        expect_contains(err.text, "config.json");
        ck_assert_msg(strstr(err.text, cases[i].key), "%s: \"%s\" does not name %s", cases[i].json, err.text,
                      cases[i].key);
        ck_assert_uint_eq(c.layers, 77);
    }
}
END_TEST

START_TEST(a_shape_that_is_no_family_is_refused_by_its_field)
{
    struct rlhf_error err = { 0 };
    struct rlhf_model_config c = sized("llama");

    expect_ok(rlhf_model_config_check(&c, &err), err);
    c.gated = false;
    ck_assert_int_eq(rlhf_model_config_check(&c, &err), -1);
    expect_contains(err.text, "gated");
    c = sized("llama");
    c.window = 5;
    ck_assert_int_eq(rlhf_model_config_check(&c, &err), -1);
    expect_contains(err.text, "window");
    c = sized("mistral");
    c.window = 5;
    rlhf_model_config_set_window(&c, 1, true);
    ck_assert_int_eq(rlhf_model_config_check(&c, &err), -1);
    expect_contains(err.text, "window");
    c = sized("gpt2");
    c.head_size = 31;
    ck_assert_int_eq(rlhf_model_config_check(&c, &err), -1);
    expect_contains(err.text, "channels");
    c = sized("gpt2");
    c.vocabulary = 0;
    ck_assert_int_eq(rlhf_model_config_check(&c, &err), -1);
    expect_contains(err.text, "vocabulary");
    ck_assert_int_eq(rlhf_model_config_style(&c, "bert", &err), -1);
    expect_contains(err.text, "bert");
}
END_TEST

int main(void)
{
    return RUN_SUITE("model/config", a_config_that_was_printed_reads_back_the_same,
                     every_family_is_printed_with_all_that_may_differ, the_other_families_have_the_defaults_of_transformers,
                     what_a_config_leaves_out_is_what_transformers_assumes, what_cannot_be_done_is_refused_by_its_key,
                     a_shape_that_is_no_family_is_refused_by_its_field);
}
