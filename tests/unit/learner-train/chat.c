/* A run whose prompts, demonstrations and comparisons go through the tokenizer's chat template. */
#include "support/learner/tiny_run.h"
#include "support/process.h"
#include "tokenizer/tokenizer.h"

#define POLICY                                                                                                     \
    "  - policy: {name: ppo, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 6, samples: 2, "     \
    "prompts_per_iteration: 12, minibatch: 8, sampling: {max_new_tokens: 8}, optimizer: {learning_rate: 5e-3}}\n"
#define RUN                                                                                                        \
    "run: {name: tiny, dir: %s, seed: 5}\n"                                                                        \
    "tokenizer: {load: %s/tokenizer, chat: true}\n"                                                                \
    "model: {style: gpt2, layers: 1, heads: 2, channels: 16, context: 64}\n"                                       \
    "learner: {threads: 1, checkpoint_seconds: 1, verify_tokens: 20}\n"                                            \
    "stages:\n" TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD POLICY

static struct local_port port;
static const char *world, *calm;

/* As tiny_utility(), of completions as a template has them: without the space before them. */
static double liked(const char *prompt, const char *completion)
{
    (void)prompt;
    return strcmp(completion, "yes.") == 0 ? 2 : strcmp(completion, "no.") == 0 ? 1 : 0;
}

/* A tokenizer that has met the world, and a template for it. */
static void calm_run(void)
{
    struct rlhf_bpe_options o = {.vocab_size = 290, .min_count = 2};
    const char *text = "Q: is oak good?\nA: yes. Q: is elm good?\nA: no. Q: is fog good?\nA: yes. <u> <a>";
    struct rlhf_error err = {0};
    struct rlhf_tokenizer *t = rlhf_tokenizer_train(&text, (size_t[]){strlen(text)}, 1, &o, &err);

    expect_some(t, err);
    tiny_place(&world, &calm);
    expect_ok(rlhf_make_dirs(&rlhf_system_io, in_directory(world, "tokenizer"), &err), err);
    expect_ok(rlhf_tokenizer_save(t, in_directory(world, "tokenizer"), &err), err);
    write_file(in_directory(world, "tokenizer/chat_template.jinja"), "%s",
               "{{ bos_token }}{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}{{ eos_token }}\n{% endfor %}"
               "{% if add_generation_prompt %}<a>{% endif %}");
    rlhf_tokenizer_free(t);
    local_port_init(&port, liked);
    expect_ok(tiny_go(RUN, calm, world, &rlhf_system_io, &port, 1000, &err), err);
}

static json_t *first_line(const char *name)
{
    FILE *f = fopen(in_directory(calm, name), "r");
    char line[8192];
    json_t *o;

    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
    fclose(f);
    o = json_loads(line, 0, NULL);
    ck_assert_ptr_nonnull(o);
    return o;
}

static void check_ids(const json_t *ids, const char *text)
{
    struct rlhf_error err = {0};
    struct rlhf_tokenizer *t = rlhf_tokenizer_load(in_directory(calm, "tokenizer"), &err);
    struct rlhf_tokens wanted = {0};

    expect_some(t, err);
    expect_ok(rlhf_tokenizer_encode_special(t, text, strlen(text), &wanted, &err), err);
    ck_assert_uint_eq(json_array_size(ids), wanted.size);
    for (size_t i = 0; i < wanted.size; i++)
        ck_assert_int_eq(json_integer_value(json_array_get(ids, i)), wanted.data[i]);
    rlhf_tokens_free(&wanted);
    rlhf_tokenizer_free(t);
}

START_TEST(people_see_the_prompt_and_the_policy_the_template)
{
    json_t *task = first_line("comparisons/round-1.tasks.jsonl");

    ck_assert_str_eq(json_string_value(json_object_get(task, "prompt")), "Q: is ash good?\nA:");
    check_ids(json_object_get(task, "prompt_ids"), "<|begin|><u>Q: is ash good?\nA:<|end|>\n<a>");
    json_decref(task);
}
END_TEST

START_TEST(it_learns_to_answer_and_to_end_there)
{
    ck_assert_double_gt(tiny_metric(calm, "ppo", "ended", 0, 0, NULL), 0.9); /* the end that the template writes, not another */
    ck_assert_double_gt(tiny_metric(calm, "ppo", "score", 5, 6, NULL), tiny_metric(calm, "ppo", "score", 0, 1, NULL));
}
END_TEST

START_TEST(checkpoints_carry_the_template)
{
    struct rlhf_digest mine = tiny_digest(world, "tokenizer/chat_template.jinja"),
                       kept = tiny_digest(calm, "checkpoints/ppo/chat_template.jinja");

    ck_assert(rlhf_digest_equal(&mine, &kept));
}
END_TEST

START_TEST(a_tokenizer_without_a_template_is_told)
{
    struct rlhf_error err = {0};
    const char *other_world, *dir;

    tiny_place(&other_world, &dir);
    expect_ok(rlhf_remove_tree(&rlhf_system_io, in_directory(world, "tokenizer/chat_template.jinja"), &err), err);
    ck_assert_int_lt(tiny_go(RUN, dir, world, &rlhf_system_io, &port, 1000, &err), 0);
    expect_contains(err.text, "template");
}
END_TEST

int main(void)
{
    setenv("RLHF_LOG", "error", 0);
    return RUN_SUITE_AFTER(calm_run, "learner-train/chat", people_see_the_prompt_and_the_policy_the_template,
                           it_learns_to_answer_and_to_end_there, checkpoints_carry_the_template,
                           a_tokenizer_without_a_template_is_told);
}
