/* rope.c - cosines, sines and frequencies of rotary positions as transformers makes them, over rope_tables.json: a list of
 * settings as config.json has them, read by the same reader. */
#include "fixture.h"

static char folder[PATH_MAX];

/* The settings in a config.json of their own. */
static struct rlhf_model_config config_of(const json_t *entry)
{
    struct rlhf_model_config c;
    struct rlhf_error err = { 0 };
    const json_int_t d = json_integer_value(json_object_get(entry, "head_dim"));
    char *rope = json_dumps(json_object_get(entry, "rope"), JSON_COMPACT), text[2000];

    snprintf(text, sizeof text, "{\"model_type\":\"llama\",\"hidden_size\":%d,\"num_hidden_layers\":1,"
             "\"num_attention_heads\":1,\"head_dim\":%d,\"intermediate_size\":1,\"vocab_size\":9,"
             "\"max_position_embeddings\":%d,\"rope_parameters\":%s}", (int)d, (int)d,
             (int)json_integer_value(json_object_get(entry, "max_position_embeddings")), rope);
    ck_assert_msg(rlhf_model_config_parse(&c, text, strlen(text), &err) == 0, "%s: %s", text, err.text);
    free(rope);
    return c;
}

static void compare_table(const struct golden *g, const json_t *entry)
{
    const struct rlhf_model_config c = config_of(entry);
    const char *name = json_string_value(json_object_get(entry, "name"));
    const size_t length = (size_t)json_integer_value(json_object_get(entry, "seq_len")), d = c.head_size;
    const double amplitude = json_number_value(json_object_get(entry, "attention_scaling"));
    const struct rlhf_safetensor *cosine = expected(g, name, ".cos"), *sine = expected(g, name, ".sin");
    const struct rlhf_safetensor *turn = expected(g, name, ".inv_freq");
    struct comparison tables = { 0 }, turns = { 0 };
    float *table = calloc(length * d, sizeof *table);

    ck_assert(rlhf_safetensor_elements(cosine) == length * d && rlhf_safetensor_elements(sine) == length * d);
    rlhf_rope_table(c.rope_theta, &c.rope, length, length, d, table);
    for (size_t p = 0; p < length; p++)
        for (size_t i = 0; i < d; i++) { /* halves are repeated there; a frequency may be an ulp away, 2^-23 of itself */
            const double tolerance = 1e-6 + (double)p * 1.2e-7;

            compare(&tables, (double)table[p * d + i % (d / 2)], (double)f32(cosine, p * d + i), tolerance, 0);
            compare(&tables, (double)table[p * d + d / 2 + i % (d / 2)], (double)f32(sine, p * d + i), tolerance, 0);
        }
    for (size_t i = 0; i < d / 2 && length > 1; i++)
        compare(&turns, atan2((double)table[d + d / 2 + i], (double)table[d + i]), (double)f32(turn, i), 3e-7, 0);
    compare(&turns, (double)table[0], amplitude, 1e-6, 0);
    expect_agreement(&tables, name, "a cosine or sine");
    expect_agreement(&turns, name, "a frequency or the amplitude");
    free(table);
}

START_TEST(rotary_tables_are_those_of_transformers)
{
    json_t *entries = json_at(folder, "rope_tables.json"), *entry;
    struct golden g;
    size_t i;

    snprintf(g.path, sizeof g.path, "%s/rope_tables.safetensors", folder);
    open_golden(&g);
    ck_assert(json_array_size(entries) > 0);
    json_array_foreach(entries, i, entry)
        compare_table(&g, entry);
    close_golden(&g);
    json_decref(entries);
}
END_TEST

int main(void)
{
    char path[FIXTURE_PATH];

    fixture_folder("models", folder);
    snprintf(path, sizeof path, "%s/rope_tables.json", folder);
    if (!rlhf_exists(&rlhf_system_io, path))
        skip("%s is not there", path);
    return RUN_SUITE("parity/rope", rotary_tables_are_those_of_transformers);
}
