/* A collect stage that chooses its tasks marks the random share, takes the most informative of the others, and chooses the same
 * whoever was killed. */
#include "support/learner/tiny_run.h"

enum { EVERY_CALL_US = 200000, COUNT = 12 };

#define MORE_REWARD                                                                                          \
    "  - reward: {name: rm-2, from: pre, rounds: [round-1], epochs: 6, batch: 4, optimizer: {learning_rate: 1e-2}}\n"
#define SELECT(count, shares)                                                                                      \
    TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD MORE_REWARD                                    \
        "  - collect:\n"                                                                                     \
        "      name: round-2\n"                                                                              \
        "      policies: [pre, sft]\n"                                                                       \
        "      prompts: %s/prompts.jsonl\n"                                                                  \
        "      count: " count "\n"                                                                           \
        "      samples: 2\n"                                                                                 \
        "      select: {" shares ", reward_models: [rm, rm-2], reference: sft}\n"                            \
        "      sampling: {max_new_tokens: 8}\n"
#define MIXED SELECT("12", "random: 0.5, disagreement: 0.25, reward_kl: 0.25")

static const char *world, *dir;
static struct local_port port;

static void set_up(void)
{
    tiny_place(&world, &dir);
    local_port_init(&port, tiny_utility);
}

static int go(const char *text, struct rlhf_error *err)
{
    *err = (struct rlhf_error){0};
    return tiny_go(text, dir, world, &rlhf_system_io, &port, EVERY_CALL_US, err);
}

/* How many lines of a file say that they were chosen by this rule. */
static unsigned chosen_by(const char *name, const char *rule)
{
    FILE *f = fopen(in_directory(dir, name), "r");
    char line[1 << 14];
    unsigned n = 0;

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        json_t *o = json_loads(line, 0, NULL);
        const char *by = json_string_value(json_object_get(o, "chosen_by"));
        ck_assert_msg(by != NULL, "%s", line);
        n += strcmp(by, rule) == 0;
        json_decref(o);
    }
    fclose(f);
    return n;
}

START_TEST(each_rule_chooses_its_share_and_every_line_says_which)
{
    static const char *const files[] = {"comparisons/round-2.tasks.jsonl", "comparisons/round-2.jsonl"};
    struct rlhf_error err;

    set_up();
    expect_ok(go(MIXED, &err), err);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_uint_eq(chosen_by(files[i], "random"), COUNT / 2);
        ck_assert_uint_eq(chosen_by(files[i], "disagreement"), COUNT / 4);
        ck_assert_uint_eq(chosen_by(files[i], "reward_kl"), COUNT / 4);
    }
}
END_TEST

/* The sixth completion is what exploits: no other has its reward, nor its KL. */
static int32_t exploit[64];
static uint32_t exploit_count;
static void spoil(struct local_port *p, const struct learner_action *a, struct learner_answer *answer)
{
    const struct learner_score_job *job = &a->score[5];

    (void)p;
    if (a->kind != LEARNER_SCORE || !answer->scores[5].logprob_ref)
        return;
    answer->scores[5].reward = 1000;
    answer->scores[5].logprob_ref[0] = -1000;
    exploit_count = job->count - job->prompt_count;
    memcpy(exploit, job->ids + job->prompt_count, exploit_count * sizeof *exploit);
}

START_TEST(a_completion_far_from_the_reference_with_a_large_reward_is_asked_about)
{
    struct rlhf_error err;
    json_t *o, *entry;
    unsigned found = 0;
    size_t i;

    set_up();
    port.spoil = spoil;
    expect_ok(go(SELECT("1", "random: 0, reward_kl: 1"), &err), err);
    o = json_load_file(in_directory(dir, "comparisons/round-2.tasks.jsonl"), 0, NULL); /* one line */
    ck_assert_ptr_nonnull(o);
    json_array_foreach(json_object_get(o, "completions"), i, entry)
    {
        const json_t *ids = json_object_get(entry, "ids");
        bool same = json_array_size(ids) == exploit_count;
        for (uint32_t t = 0; same && t < exploit_count; t++)
            same = json_integer_value(json_array_get(ids, t)) == exploit[t];
        found += same;
    }
    ck_assert_uint_eq(found, 1);
    json_decref(o);
}
END_TEST

START_TEST(who_was_killed_chooses_the_same)
{
    struct rlhf_error err;
    struct rlhf_digest expected;
    unsigned asks;

    set_up();
    expect_ok(go(MIXED, &err), err);
    asks = port.asks;
    expected = tiny_digest(dir, "comparisons/round-2.jsonl");
    for (unsigned back = 1; back < 9; back++) {
        static char path[600];
        struct rlhf_digest d;
        snprintf(path, sizeof path, "%.500s-%u", world, back);
        dir = path;
        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        tiny_kill(MIXED, dir, world, &port, EVERY_CALL_US, asks - back);
        d = tiny_digest(dir, "comparisons/round-2.jsonl");
        ck_assert_msg(rlhf_digest_equal(&d, &expected), "another choice after a kill at ask %u", asks - back);
    }
}
END_TEST

int main(void)
{
    return RUN_SUITE("learner/choose", each_rule_chooses_its_share_and_every_line_says_which,
                     a_completion_far_from_the_reference_with_a_large_reward_is_asked_about,
                     who_was_killed_chooses_the_same);
}
