/* generation_config.json: what is read, what is let pass, what is refused by name. */
#include "model/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/suite.h"

static struct rlhf_generation g;

static void read_ok(const char *json)
{
    struct rlhf_error err = { 0 };

    g = rlhf_generation_default;
    expect_ok(rlhf_generation_read(&g, json, strlen(json), &err), err);
}

static void refused(const char *json, const char *key)
{
    struct rlhf_generation before = g = rlhf_generation_default;
    struct rlhf_error err = { 0 };

    ck_assert_msg(rlhf_generation_read(&g, json, strlen(json), &err) == -1, "%s was accepted", json);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, key);
    ck_assert(memcmp(&before, &g, sizeof g) == 0);
}

START_TEST(what_is_not_said_is_as_in_transformers)
{
    read_ok("{}");
    ck_assert(!g.do_sample && g.sampling.temperature == 1 && g.sampling.top_k == 50 && g.sampling.top_p == 1);
    ck_assert(g.ends.count == 0 && g.pad == -1 && g.stop_count == 0);
}
END_TEST

START_TEST(settings_are_read_by_their_names)
{
    read_ok("{\"do_sample\": true, \"temperature\": 0.6, \"top_k\": 20, \"top_p\": 0.95, \"min_p\": 0.1, \"typical_p\": 0.9,"
            " \"repetition_penalty\": 1.05, \"no_repeat_ngram_size\": 3, \"min_new_tokens\": 2, \"max_new_tokens\": 9,"
            " \"eos_token_id\": [128001, 128008], \"pad_token_id\": 5, \"stop_strings\": [\"a\", \"bc\"],"
            " \"transformers_version\": \"5.23.0\", \"bos_token_id\": 1, \"_from_model_config\": true, \"num_beams\": 1,"
            " \"suppress_tokens\": null, \"epsilon_cutoff\": 0.0, \"cache_implementation\": \"hybrid\"}");
    ck_assert(g.do_sample && g.sampling.temperature == 0.6F && g.sampling.top_k == 20 && g.sampling.top_p == 0.95);
    ck_assert(g.sampling.min_p == 0.1F && g.sampling.typical_p == 0.9F && g.sampling.repetition_penalty == 1.05F);
    ck_assert(g.sampling.no_repeat_ngram == 3 && g.sampling.min_new_tokens == 2 && g.sampling.max_new_tokens == 9);
    ck_assert(g.ends.count == 2 && rlhf_ends_has(&g.ends, 128008) && !rlhf_ends_has(&g.ends, 5) && g.pad == 5);
    ck_assert(g.stop_count == 2 && strcmp(g.stops[1], "bc") == 0);
    read_ok("{\"eos_token_id\": 7}");
    ck_assert(g.ends.count == 1 && g.ends.id[0] == 7 && g.pad == 7);
}
END_TEST

START_TEST(what_would_change_a_completion_is_refused_by_name)
{
    refused("{\"num_beams\": 4}", "num_beams");
    refused("{\"suppress_tokens\": [1]}", "suppress_tokens");
    refused("{\"forced_eos_token_id\": 2}", "forced_eos_token_id");
    refused("{\"guidance_scale\": 1.5}", "guidance_scale");
    refused("{\"epsilon_cutoff\": 0.01}", "epsilon_cutoff");
    refused("{\"watermarking_config\": {}}", "watermarking_config");
    refused("{\"of_my_own\": 1}", "of_my_own");
    refused("{\"prompt_length\": 1}", "prompt_length");
}
END_TEST

START_TEST(values_of_the_wrong_kind_are_refused_by_name)
{
    refused("{\"temperature\": 0}", "temperature");
    refused("{\"temperature\": \"hot\"}", "temperature");
    refused("{\"top_p\": 1.5}", "top_p");
    refused("{\"top_k\": -1}", "top_k");
    refused("{\"top_k\": 1.5}", "top_k");
    refused("{\"do_sample\": 1}", "do_sample");
    refused("{\"eos_token_id\": [1, \"2\"]}", "eos_token_id");
    refused("{\"eos_token_id\": -1}", "eos_token_id");
    refused("{\"pad_token_id\": 1e3}", "pad_token_id");
    refused("{\"stop_strings\": [\"\"]}", "stop_strings");
    refused("[]", "object");
    refused("{", "line 1");
    refused("{\"top_k\": 1, \"top_k\": 2}", "line 1");
}
END_TEST

START_TEST(lists_have_a_limit)
{
    char ends[400] = "{\"eos_token_id\": [0", stops[400] = "{\"stop_strings\": [\"a\"";

    for (int i = 0; i < 32; i++)
        strcat(ends, ", 7");
    for (int i = 0; i < 16; i++)
        strcat(stops, ", \"b\"");
    refused(strcat(ends, "]}"), "33");
    refused(strcat(stops, "]}"), "16");
}
END_TEST

START_TEST(parameters_of_one_filtering_are_off_unless_given)
{
    struct rlhf_error err = { 0 };
    const char *text = "{\"min_new_tokens\": 4, \"eos\": [5, 7], \"prompt_length\": 10, \"min_tokens_to_keep\": 2, \"top_p\": 0}";
    int64_t length;

    expect_ok(rlhf_generation_params(&g, &length, "{}", 2, &err), err);
    ck_assert(rlhf_sampling_whole(&g.sampling) && length == -1);
    expect_ok(rlhf_generation_params(&g, &length, text, strlen(text), &err), err);
    ck_assert(length == 10 && g.ends.count == 2 && g.sampling.min_tokens_to_keep == 2 && g.sampling.top_p > 0);
    ck_assert_int_eq(rlhf_generation_params(&g, &length, "{\"k\": 1}", 8, &err), -1);
    expect_contains(err.text, "k: ");
}
END_TEST

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[300];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    fputs(text, f);
    fclose(f);
}

START_TEST(without_its_file_the_model_configuration_names_the_ends)
{
    char dir[] = "/tmp/rlhf-generation-XXXXXX";
    struct rlhf_error err = { 0 };

    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(rlhf_generation_load(&g, dir, &err), -1);
    expect_contains(err.text, "config.json");
    write_file(dir, "config.json", "{\"eos_token_id\": [3, 4], \"num_beams\": 5}");
    expect_ok(rlhf_generation_load(&g, dir, &err), err);
    ck_assert(g.ends.count == 2 && g.pad == 3);
    write_file(dir, "generation_config.json", "{\"pad_token_id\": 9}");
    expect_ok(rlhf_generation_load(&g, dir, &err), err);
    ck_assert(g.ends.count == 0 && g.pad == 9);
    write_file(dir, "generation_config.json", "{\"num_beams\": 5}");
    ck_assert_int_eq(rlhf_generation_load(&g, dir, &err), -1);
    expect_contains(err.text, "generation_config.json");
    expect_contains(err.text, "num_beams");
}
END_TEST

int main(void)
{
    return RUN_SUITE("model/generation", what_is_not_said_is_as_in_transformers, settings_are_read_by_their_names,
                     what_would_change_a_completion_is_refused_by_name, values_of_the_wrong_kind_are_refused_by_name,
                     lists_have_a_limit, parameters_of_one_filtering_are_off_unless_given,
                     without_its_file_the_model_configuration_names_the_ends);
}
