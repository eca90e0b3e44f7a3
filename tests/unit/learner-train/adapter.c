/* Stages that train a LoRA adapter: what they keep, and that killing them changes no bit. */
#include "model/adapter.h"

#include <stdlib.h>

#include "support/learner/tiny_run.h"

/* Longer than elsewhere: an adapter cannot mend embeddings that know nothing yet. */
#define PRETRAIN                                                                                             \
    "  - pretrain: {name: pre, data: [%s/documents.txt], steps: 30, batch: 4, window: 24, "                  \
    "optimizer: {learning_rate: 2e-2, schedule: cosine, warmup: 2}}\n"
#define SFT                                                                                                  \
    "  - sft: {name: sft, data: [%s/demonstrations.jsonl], steps: 40, batch: 8, "                            \
    "adapter: {rank: 4, alpha: 8, dropout: 0.1}, optimizer: {learning_rate: 3e-2, schedule: linear}, "                     \
    "mix: {data: [%s/documents.txt], weight: 0.1, windows: 1, window: 24}}\n"
#define POLICY                                                                                               \
    "  - policy: {name: ppo, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 4, "        \
    "prompts_per_iteration: 12, minibatch: 8, checkpoint_every: 1, sampling: {max_new_tokens: 8}, "          \
    "adapter: {rank: 2, alpha: 4, rslora: true, targets: [attn.c_attn, mlp.c_proj]}, "                       \
    "optimizer: {learning_rate: 5e-3}, value_optimizer: {learning_rate: 5e-3}}\n"
#define RUN TINY_HEAD PRETRAIN SFT TINY_COLLECT TINY_REWARD POLICY

static const char *const results[] = {
    "checkpoints/sft/model.safetensors",     "adapters/sft/adapter_model.safetensors", "checkpoints/rm/model.safetensors",
    "adapters/ppo/adapter_model.safetensors", "checkpoints/ppo/model.safetensors"};
enum { RESULTS = sizeof results / sizeof *results };

/* So little training gives no answers to compare; lengths differ always. */
static double longer(const char *prompt, const char *completion)
{
    (void)prompt;
    return (double)(strlen(completion) % 7);
}

static struct local_port port;
static const char *world, *calm;
static struct rlhf_digest expected[RESULTS];
static unsigned calm_asks;

static void calm_run(void)
{
    struct rlhf_error err = {0};

    tiny_place(&world, &calm);
    local_port_init(&port, longer);
    expect_ok(tiny_go(RUN, calm, world, &rlhf_system_io, &port, 200000, &err), err);
    calm_asks = port.asks;
    tiny_expect(calm, results, expected, RESULTS);
}

static struct rlhf_model *model_of(const char *name)
{
    struct rlhf_error err = {0};
    struct rlhf_model *m;

    expect_some(m = rlhf_model_load(in_directory(calm, name), &err), err);
    return m;
}

/* The checkpoint of a stage is its base with the stage's adapter merged, to the bit; and tensors that were not targeted
 * are the base's. */
static void expect_merged(const char *base, const char *adapter, const char *checkpoint, size_t tensors)
{
    struct rlhf_error err = {0};
    struct rlhf_model *m = model_of(base), *trained = model_of(checkpoint);
    struct rlhf_adapter *a;
    size_t count, n, changed = 0;
    const float *w = rlhf_model_parameters(m, &count), *v = rlhf_model_parameters(trained, &count);

    for (size_t i = 0; i < count; i++)
        changed += w[i] != v[i];
    ck_assert_uint_gt(changed, 100);
    expect_some(a = rlhf_adapter_load(m, in_directory(calm, adapter), &err), err);
    rlhf_adapter_table(a, &n);
    ck_assert_uint_eq(n, tensors);
    expect_ok(rlhf_adapter_merge(a, m, &err), err);
    ck_assert(memcmp(w, v, count * sizeof *w) == 0);
    rlhf_adapter_free(a);
    rlhf_model_free(m);
    rlhf_model_free(trained);
}

START_TEST(a_checkpoint_is_its_base_with_the_adapter_merged)
{
    expect_merged("checkpoints/pre", "adapters/sft", "checkpoints/sft", 8);
    expect_merged("checkpoints/sft", "adapters/ppo", "checkpoints/ppo", 4);
}
END_TEST

/* metrics.jsonl's loss of the sft stage, first and last. */
START_TEST(an_adapter_learns_the_demonstrations)
{
    FILE *f = fopen(in_directory(calm, "metrics.jsonl"), "r");
    char line[4096];
    double first = 0, last = 0;

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        const char *at = strstr(line, "\"loss_demonstrations\":");

        if (!at)
            continue;
        last = atof(strchr(at, ':') + 1);
        first = first > 0 ? first : last;
    }
    fclose(f);
    ck_assert_msg(last < 0.9 * first, "the loss went from %g to %g", first, last);
}
END_TEST

/* B is zero at first, and A gets no gradient: with a backward pass that does not see B change it never would. */
START_TEST(both_matrices_of_a_pair_are_trained)
{
    const struct rlhf_adapter_settings settings = {.rank = 4, .alpha = 8};
    struct rlhf_error err = {0};
    struct rlhf_model *m = model_of("checkpoints/pre");
    struct rlhf_adapter *begun = rlhf_adapter_new(m, &settings, 5 + rlhf_crc32c(0, "sft", 3), &err), *trained;
    const struct rlhf_parameter *table;
    const float *w, *v;
    size_t count, n;

    expect_some(begun, err);
    expect_some(trained = rlhf_adapter_load(m, in_directory(calm, "adapters/sft"), &err), err);
    table = rlhf_adapter_table(trained, &n);
    w = rlhf_adapter_parameters(begun, &count);
    v = rlhf_adapter_parameters(trained, &count);
    for (size_t i = 0; i < n; i++) {
        double moved = 0;

        for (size_t j = 0; j < table[i].count; j++)
            moved += fabs((double)v[table[i].offset + j] - (double)w[table[i].offset + j]) / (double)table[i].count;
        ck_assert_msg(moved > 1e-3 && moved < 1, "%s moved by %g", table[i].name, moved);
    }
    rlhf_adapter_free(begun);
    rlhf_adapter_free(trained);
    rlhf_model_free(m);
}
END_TEST

START_TEST(a_learner_killed_anywhere_ends_with_the_same_adapters)
{
    char base[400];

    snprintf(base, sizeof base, "%s/run", a_directory());
    for (unsigned n = 2; n <= calm_asks; n += calm_asks / 2 | 1) {
        char dir[600];

        snprintf(dir, sizeof dir, "%s-%u", base, n);
        local_port_free(&port);
        local_port_init(&port, longer);
        tiny_kill(RUN, dir, world, &port, 200000, n);
        tiny_same(dir, results, expected, RESULTS, "a kill at ask", n);
    }
}
END_TEST

START_TEST(a_learner_stopped_inside_the_stage_goes_on_with_the_same_bits)
{
    struct rlhf_error err = {0};
    char dir[400];

    snprintf(dir, sizeof dir, "%s/run", a_directory());
    local_port_free(&port);
    local_port_init(&port, longer);
    port.stop_at = 60; /* inside sft */
    ck_assert_int_lt(tiny_go(RUN, dir, world, &rlhf_system_io, &port, 200000, &err), 0);
    expect_code(err, RLHF_AGAIN);
    ck_assert(!rlhf_exists(&rlhf_system_io, in_directory(dir, "adapters/sft")));
    port.stop_at = 0;
    expect_ok(tiny_go(RUN, dir, world, &rlhf_system_io, &port, 200000, &err), err);
    for (size_t i = 0; i < RESULTS; i++) {
        struct rlhf_digest d = tiny_digest(dir, results[i]);

        ck_assert_msg(rlhf_digest_equal(&d, &expected[i]), "%s differs", results[i]);
    }
}
END_TEST

START_TEST(a_target_that_the_model_lacks_is_named)
{
    static const char text[] = TINY_HEAD TINY_PRETRAIN
        "  - sft: {name: sft, data: [%s/demonstrations.jsonl], steps: 2, adapter: {targets: [q_proj]}}\n";
    struct rlhf_error err = {0};
    char dir[400];

    snprintf(dir, sizeof dir, "%s/run", a_directory());
    local_port_free(&port);
    local_port_init(&port, longer);
    ck_assert_int_lt(tiny_go(text, dir, world, &rlhf_system_io, &port, 200000, &err), 0);
    expect_contains(err.text, "q_proj");
    expect_contains(err.text, "sft");
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(calm_run, "learner/adapter", a_checkpoint_is_its_base_with_the_adapter_merged,
                           an_adapter_learns_the_demonstrations,
                           both_matrices_of_a_pair_are_trained, a_learner_killed_anywhere_ends_with_the_same_adapters,
                           a_learner_stopped_inside_the_stage_goes_on_with_the_same_bits,
                           a_target_that_the_model_lacks_is_named);
}
