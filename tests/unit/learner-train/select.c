/* SFT ends with the epoch that a reward model, or the loss on validation, likes best. */
#include <math.h>

#include "support/learner/tiny_run.h"

/* Rates so high that the policy is soon worse than it was, and documents of which it then says nothing. */
#define SFT(name, more)                                                                                       \
    "  - sft: {name: " name ", from: sft, data: [%s/demonstrations.jsonl], epochs: 4, batch: 8, optimizer: {learning_rate: 6e-2}, " \
    more "}\n"
#define RUN                                                                                                   \
    TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD                                                 \
    SFT("reward", "select: {reward_model: rm, prompts: %s/prompts.jsonl, count: 12, samples: 2, sampling: {max_new_tokens: 8}, "   \
                  "validation: [%s/demonstrations.jsonl]}")                                                     \
    SFT("loss", "select: {validation: [%s/demonstrations.jsonl], every: 5}, adapter: {rank: 4}, dropout: 0.2") SFT("last", "dropout: 0.2, mix: "   \
    "{data: [%s/documents.txt], weight: 0.1, windows: 2, window: 24}")

static const char *const stages[] = {"reward", "loss", "last"};
enum { STAGES = sizeof stages / sizeof *stages, STEPS = 24, EPOCH = 6 };

static struct local_port port;
static const char *world, *calm;
static struct rlhf_digest expected[STAGES];
static unsigned calm_asks;

static void calm_run(void)
{
    tiny_calm(RUN, &world, &calm, &port);
    calm_asks = port.asks;
    tiny_expect_checkpoints(calm, stages, expected, STAGES);
}

static double metric(const char *stage, const char *key, int step)
{
    return tiny_metric(calm, stage, key, step - 1, step, NULL);
}

static int selected(const char *stage)
{
    char name[100];
    json_t *o;
    int step;

    snprintf(name, sizeof name, "checkpoints/%s/provenance.json", stage);
    o = json_load_file(in_directory(calm, name), 0, NULL);
    step = (int)json_integer_value(json_object_get(o, "selected_step"));
    json_decref(o);
    return step;
}

START_TEST(the_epoch_with_the_largest_reward_is_kept_whatever_its_loss)
{
    int best = selected("reward");

    ck_assert_int_eq(best % EPOCH, 0);
    for (int step = 1; step <= STEPS; step++) {
        bool measured = step % EPOCH == 0;

        ck_assert_int_eq(isnan(metric("reward", "validation_reward", step)), !measured);
        ck_assert_int_eq(isnan(metric("reward", "validation_loss", step)), !measured);
        if (measured)
            ck_assert_double_le(metric("reward", "validation_reward", step), metric("reward", "validation_reward", best));
    }
}
END_TEST

START_TEST(without_a_reward_model_the_smallest_loss_is_kept)
{
    int best = selected("loss");

    ck_assert(best == STEPS || best % 5 == 0);
    for (int step = 5; step <= STEPS; step += step == 20 ? 4 : 5) /* and the last */
        ck_assert_double_ge(metric("loss", "validation_loss", step), metric("loss", "validation_loss", best));
    ck_assert(isnan(metric("loss", "validation_reward", STEPS)));
}
END_TEST

START_TEST(without_either_the_last_is_kept)
{
    ck_assert_int_eq(selected("last"), 0);
    ck_assert(isnan(metric("last", "validation_loss", STEPS)));
}
END_TEST

START_TEST(a_learner_killed_while_it_measures_keeps_the_same)
{
    const char *base = a_directory();

    for (unsigned n = calm_asks - 10; n <= calm_asks; n += 5) {
        char dir[600];

        snprintf(dir, sizeof dir, "%s/run-%u", base, n);
        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        tiny_kill(RUN, dir, world, &port, 30000, n); /* states become due inside the stages */
        tiny_same_checkpoints(dir, stages, expected, STAGES, "a kill at ask", n);
    }
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(calm_run, "learner-train/select", the_epoch_with_the_largest_reward_is_kept_whatever_its_loss,
                           without_a_reward_model_the_smallest_loss_is_kept, without_either_the_last_is_kept,
                           a_learner_killed_while_it_measures_keeps_the_same);
}
