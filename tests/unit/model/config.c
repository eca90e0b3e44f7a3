#include "model/config.h"

#include <string.h>

#include "support/suite.h"

static struct rlhf_model_config sized(const char *style)
{
    struct rlhf_model_config c;
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_model_config_style(&c, style, &err), err);
    c.layers = 3;
    c.heads = c.kv_heads = 4;
    c.head_size = 32;
    c.channels = 128;
    c.mlp_size = 512;
    c.vocabulary = 512;
    c.context = 128;
    return c;
}

static void expect_same(const struct rlhf_model_config *a, const struct rlhf_model_config *b)
{
    ck_assert_int_eq(a->norm, b->norm);
    ck_assert_int_eq(a->position, b->position);
    ck_assert_int_eq(a->mlp, b->mlp);
    ck_assert_int_eq(a->head, b->head);
    ck_assert_uint_eq(a->layers, b->layers);
    ck_assert_uint_eq(a->heads, b->heads);
    ck_assert_uint_eq(a->kv_heads, b->kv_heads);
    ck_assert_uint_eq(a->head_size, b->head_size);
    ck_assert_uint_eq(a->channels, b->channels);
    ck_assert_uint_eq(a->mlp_size, b->mlp_size);
    ck_assert_uint_eq(a->vocabulary, b->vocabulary);
    ck_assert_uint_eq(a->context, b->context);
    ck_assert(a->norm_epsilon == b->norm_epsilon && a->rope_theta == b->rope_theta);
    ck_assert(a->tied == b->tied && a->bias == b->bias);
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

static int parse(const char *json, struct rlhf_model_config *c, struct rlhf_error *err)
{
    *err = (struct rlhf_error){ 0 };
    return rlhf_model_config_parse(c, json, strlen(json), err);
}

#define GPT2 "\"model_type\":\"gpt2\",\"n_embd\":48,\"n_layer\":2,\"n_head\":4,\"n_positions\":64,\"vocab_size\":199"
#define LLAMA                                                                                                \
    "\"model_type\":\"llama\",\"hidden_size\":48,\"num_hidden_layers\":2,\"num_attention_heads\":4,"          \
    "\"intermediate_size\":112,\"max_position_embeddings\":128,\"vocab_size\":432"

START_TEST(what_a_config_leaves_out_is_what_transformers_assumes)
{
    struct rlhf_model_config c;
    struct rlhf_error err;

    expect_ok(parse("{" GPT2 "}", &c, &err), err);
    ck_assert_uint_eq(c.mlp_size, 4 * 48);
    ck_assert_uint_eq(c.head_size, 12);
    ck_assert(c.tied && c.bias && c.norm_epsilon == 1e-5F && c.head == RLHF_HEAD_LM);
    ck_assert_int_eq(c.end_id, -1); /* 50256 is not in a vocabulary of 199 */
    expect_ok(parse("{" LLAMA "}", &c, &err), err);
    ck_assert_uint_eq(c.kv_heads, 4);
    ck_assert(!c.tied && !c.bias && c.norm_epsilon == 1e-6F && c.rope_theta == 10000);
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
        { "{" GPT2 ",\"activation_function\":\"gelu\"}", "activation_function" },
        { "{" GPT2 ",\"scale_attn_weights\":false}", "scale_attn_weights" },
        { "{" GPT2 ",\"scale_attn_by_inverse_layer_idx\":true}", "scale_attn_by_inverse_layer_idx" },
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
        { "{" GPT2 ",\"layer_norm_epsilon\":0}", "norm_epsilon" },
        { "{" GPT2 ",\"eos_token_id\":199}", "end_id" },
        { "{" GPT2 ",\"eos_token_id\":[1,2]}", "eos_token_id" },
        { "{" GPT2 ",\"tie_word_embeddings\":\"yes\"}", "tie_word_embeddings" },
        { "{" GPT2 ",\"dtype\":\"int8\"}", "dtype" },
        { "{" GPT2 ",\"quantization_config\":{\"bits\":4}}", "quantization_config" },
        { "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2}}", "rope_scaling" },
        { "{" LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\"}}", "rope_scaling" },
        { "{" LLAMA ",\"rope_theta\":0.5}", "rope_theta" },
        { "{" LLAMA ",\"hidden_act\":\"gelu\"}", "hidden_act" },
        { "{" LLAMA ",\"attention_bias\":true}", "attention_bias" },
        { "{" LLAMA ",\"mlp_bias\":true}", "mlp_bias" },
        { "{" LLAMA ",\"pretraining_tp\":2}", "pretraining_tp" },
        { "{" LLAMA ",\"sliding_window\":5}", "sliding_window" },
        { "{" LLAMA ",\"num_key_value_heads\":3}", "kv_heads" },
        { "{" LLAMA ",\"head_dim\":7}", "head_size" },
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
    c.mlp = RLHF_MLP_GELU_TANH;
    ck_assert_int_eq(rlhf_model_config_check(&c, &err), -1);
    expect_contains(err.text, "mlp");
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
                     what_a_config_leaves_out_is_what_transformers_assumes, what_cannot_be_done_is_refused_by_its_key,
                     a_shape_that_is_no_family_is_refused_by_its_field);
}
