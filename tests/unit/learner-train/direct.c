/* Stages that learn from comparisons without a reward model: every loss teaches what people prefer, and killing one
 * changes no bit. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/learner/tiny_run.h"

#define COLLECTED TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT
#define DIRECT(name, more)                                                                                    \
    "  - direct: {name: " name ", from: sft, rounds: [round-1], steps: 24, batch: 8, "                        \
    "optimizer: {learning_rate: 5e-3}, loss: " more "}\n"
#define RUN                                                                                                   \
    COLLECTED DIRECT("sigmoid", "sigmoid, label_smoothing: 0.05") DIRECT("sigmoid_norm", "sigmoid_norm, beta: 2")  \
    DIRECT("hinge", "hinge") DIRECT("ipo", "ipo, beta: 0.3, held_out: 0.3")                                                  \
    DIRECT("exo_pair", "exo_pair, label_smoothing: 0.01") DIRECT("robust", "robust, label_smoothing: 0.1")    \
    DIRECT("nca_pair", "nca_pair") DIRECT("bco_pair", "bco_pair") DIRECT("sppo_hard", "sppo_hard")            \
    DIRECT("apo_zero", "apo_zero") DIRECT("apo_down", "apo_down") DIRECT("discopop", "discopop")              \
    DIRECT("kto", "kto, undesirable: 1.2, held_out: 0.3") DIRECT("orpo", "orpo, beta: 1, held_out: 0.3")                                    \
    DIRECT("other", "sigmoid, reference: pre, divergence: js, tail: 0.5, sft_weight: 0.2, adapter: {rank: 4}")
#define MEASURED                                                                                              \
    "  - evaluate: {name: report, policies: [sft, sigmoid, sigmoid_norm, hinge, ipo, exo_pair, robust, "      \
    "nca_pair, bco_pair, sppo_hard, apo_zero, apo_down, discopop, kto, orpo, other], "                        \
    "sampling: {max_new_tokens: 8}, exact: [{name: yes, file: %s/exact.jsonl}]}\n"

static const char *const stages[] = {"sigmoid",  "sigmoid_norm", "hinge",    "ipo",      "exo_pair",
                                     "robust",   "nca_pair",     "bco_pair", "sppo_hard", "apo_zero",
                                     "apo_down", "discopop",     "kto",      "orpo",     "other"};
enum { STAGES = sizeof stages / sizeof *stages };

static struct local_port port;
static const char *world, *calm;
static struct rlhf_digest expected[STAGES];
static unsigned calm_writes;

/* ---- a disk that dies at a write ---------------------------------------------------------------------- */

static unsigned writes, die_at;

static ssize_t mortal_pwrite(const struct rlhf_io *io, int fd, const void *data, size_t size, off_t offset)
{
    (void)io;
    if (++writes >= die_at && die_at > 0) {
        errno = EIO;
        return -1;
    }
    return rlhf_system_io.pwrite(&rlhf_system_io, fd, data, size, offset);
}

static int go(const char *text, const char *dir, struct rlhf_error *err)
{
    struct rlhf_io mortal = rlhf_system_io;

    mortal.pwrite = mortal_pwrite;
    writes = 0;
    return tiny_go(text, dir, world, &mortal, &port, 200000, err);
}

static void calm_run(void)
{
    struct rlhf_error err = {0};

    tiny_place(&world, &calm);
    local_port_init(&port, tiny_utility);
    expect_ok(go(RUN MEASURED, calm, &err), err);
    calm_writes = writes;
    tiny_expect_checkpoints(calm, stages, expected, STAGES);
}

static const char *fresh(void)
{
    static char dir[600];

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    snprintf(dir, sizeof dir, "%s/run", a_directory());
    return dir;
}

static double metric(const char *dir, const char *stage, const char *key, int from, int to)
{
    return tiny_metric(dir, stage, key, from, to, NULL);
}

static double exact_in(const char *dir, const char *policy)
{
    json_t *o = json_load_file(in_directory(dir, "evaluations/report/metrics.json"), 0, NULL);
    json_t *one = json_object_get(json_object_get(json_object_get(o, "models"), policy), "exact");
    double value = json_number_value(json_object_get(one, "yes"));

    ck_assert_msg(json_is_number(json_object_get(one, "yes")), "no exact match of %s", policy);
    json_decref(o);
    return value;
}

static double exact(const char *policy)
{
    return exact_in(calm, policy);
}

START_TEST(every_loss_teaches_what_people_prefer)
{
    for (size_t i = 0; i < STAGES; i++) {
        ck_assert_msg(metric(calm, stages[i], "loss", 16, 24) < metric(calm, stages[i], "loss", 0, 4),
                      "%s: the loss went from %g to %g", stages[i], metric(calm, stages[i], "loss", 0, 4),
                      metric(calm, stages[i], "loss", 16, 24));
        ck_assert_msg(!(metric(calm, stages[i], "accuracy", 16, 24) < 0.8), "%s", stages[i]); /* kto has none */
        ck_assert_msg(metric(calm, stages[i], "chosen", 16, 24) > metric(calm, stages[i], "rejected", 16, 24), "%s",
                      stages[i]);
    }
}
END_TEST

/* Some lower what they do not like and more so what was chosen, as they were meant to; these do not. */
START_TEST(a_policy_so_taught_gives_the_preferred_answer)
{
    static const char *const sure[] = {"sigmoid", "ipo", "nca_pair", "kto", "orpo"};

    for (size_t i = 0; i < sizeof sure / sizeof *sure; i++)
        ck_assert_msg(exact(sure[i]) >= 0.9, "%s answers yes to %g", sure[i], exact(sure[i]));
}
END_TEST

/* The same prompts are held out of every stage, and of a reward model's; what was learned of others holds for them. */
START_TEST(prompts_that_were_held_out_are_ordered_as_people_did)
{
    static const char *const held[] = {"ipo", "kto", "orpo"};
    json_int_t pairs = 0;

    for (size_t i = 0; i < sizeof held / sizeof *held; i++) {
        char name[80];
        json_t *o;

        snprintf(name, sizeof name, "evaluations/%s/metrics.json", held[i]);
        ck_assert_ptr_nonnull(o = json_load_file(in_directory(calm, name), 0, NULL));
        ck_assert_msg(json_number_value(json_object_get(o, "accuracy")) >= 0.9, "%s: %g", held[i],
                      json_number_value(json_object_get(o, "accuracy")));
        ck_assert(json_number_value(json_object_get(o, "low")) < json_number_value(json_object_get(o, "high")));
        ck_assert_int_gt(json_integer_value(json_object_get(o, "pairs")), 0);
        ck_assert(pairs == 0 || pairs == json_integer_value(json_object_get(o, "pairs")));
        pairs = json_integer_value(json_object_get(o, "pairs"));
        json_decref(o);
    }
    ck_assert(access(in_directory(calm, "evaluations/hinge"), F_OK) < 0); /* which holds nothing out */
}
END_TEST

/* Online DPO (Guo et al. 2024): the policy's own completions to people, their comparisons back, a step from there, and again. */
START_TEST(rounds_of_asking_and_learning_take_turns)
{
#define TURN(n, from)                                                                                         \
    "  - collect: {name: turn-" n ", policies: [" from "], prompts: %s/prompts.jsonl, samples: 4, "            \
    "sampling: {max_new_tokens: 8}}\n"                                                                        \
    "  - direct: {name: dpo-" n ", from: " from ", rounds: [turn-" n "], steps: 6, batch: 8, "                 \
    "optimizer: {learning_rate: 2e-3}}\n"
    static const char *const turns[] = {"sft", "dpo-1", "dpo-2"};
    struct rlhf_error err = {0};
    const char *dir = fresh();
    double before = 0;

    expect_ok(go(TINY_HEAD TINY_PRETRAIN TINY_SFT TURN("1", "sft") TURN("2", "dpo-1") TURN("3", "dpo-2")
                 "  - evaluate: {name: report, policies: [sft, dpo-1, dpo-2, dpo-3], sampling: {max_new_tokens: 8, temperature: 0.01}, "
                 "exact: [{name: yes, file: %s/exact.jsonl}]}\n",
                 dir, &err),
              err);
    for (int i = 0; i < 3; i++) {
        char name[80];
        json_t *task;
        FILE *f;
        char line[8192];

        snprintf(name, sizeof name, "comparisons/turn-%d.tasks.jsonl", i + 1);
        ck_assert_ptr_nonnull(f = fopen(in_directory(dir, name), "r"));
        ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
        fclose(f);
        task = json_loads(line, 0, NULL);
        ck_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(task, "completions"), 0), "policy")),
                         turns[i]);
        json_decref(task);
        ck_assert_msg(exact_in(dir, turns[i]) >= before, "%s: %g after %g", turns[i], exact_in(dir, turns[i]), before);
        before = exact_in(dir, turns[i]);
    }
    ck_assert_double_gt(exact_in(dir, "dpo-3"), exact_in(dir, "sft") + 0.2);
}
END_TEST

START_TEST(a_policy_that_is_its_reference_has_log_ratios_of_zero)
{
    ck_assert_double_eq(metric(calm, "hinge", "chosen", 0, 1), 0);
    ck_assert_double_eq(metric(calm, "hinge", "rejected", 0, 1), 0);
    ck_assert_double_eq_tol(metric(calm, "hinge", "loss", 0, 1), 1, 1e-6);
    ck_assert_double_eq(metric(calm, "kto", "reference_point", 0, 1), 0);
    ck_assert_double_ne(metric(calm, "other", "chosen", 0, 1), 0); /* its reference is another */
}
END_TEST

START_TEST(every_loss_ends_with_a_policy_of_its_own)
{
    for (size_t i = 0; i < STAGES; i++)
        for (size_t j = 0; j < i; j++)
            ck_assert_msg(!rlhf_digest_equal(&expected[i], &expected[j]), "%s and %s", stages[i], stages[j]);
}
END_TEST

START_TEST(its_checkpoint_names_what_it_was_made_of_and_nothing_else_is_left)
{
    json_t *o = json_load_file(in_directory(calm, "checkpoints/other/provenance.json"), 0, NULL);

    ck_assert_ptr_nonnull(json_object_get(json_object_get(o, "parents"), "sft"));
    ck_assert_ptr_nonnull(json_object_get(json_object_get(o, "parents"), "pre"));
    ck_assert_int_gt(json_integer_value(json_object_get(json_object_get(o, "comparisons"), "round-1")), 0);
    json_decref(o);
    ck_assert(rlhf_exists(&rlhf_system_io, in_directory(calm, "adapters/other/adapter_model.safetensors")));
    ck_assert(!rlhf_exists(&rlhf_system_io, in_directory(calm, "state/other.reference")));
}
END_TEST

START_TEST(a_learner_killed_again_and_again_ends_with_the_same_bits)
{
    struct rlhf_error err = {0};
    const char *dir = fresh();
    unsigned lives = 1;

    for (die_at = calm_writes / 11; go(RUN, dir, &err) < 0; lives++)
        ck_assert_msg(lives < 100, "no end after %u lives: %s", lives, err.text);
    ck_assert_uint_gt(lives, 5);
    die_at = 0;
    tiny_same_checkpoints(dir, stages, expected, STAGES, "lives", lives);
}
END_TEST

/* More tokens than a pass takes at once: before the first update every log-ratio is 0, whatever piece it is in. */
START_TEST(a_batch_may_be_larger_than_a_pass)
{
#define LARGE(name, more)                                                                                     \
    "  - direct: {name: " name ", from: sft, rounds: [round-1], steps: 1, batch: 500, loss: " more "}\n"
    static const char text[] = COLLECTED LARGE("dpo", "sigmoid") LARGE("kto", "kto") LARGE("ipo", "ipo, beta: 0.25")
        LARGE("orpo", "orpo");
    struct rlhf_error err = {0};
    const char *dir = fresh();

    expect_ok(go(text, dir, &err), err);
    ck_assert_double_gt(metric(dir, "dpo", "tokens", 0, 1), 2 * 8192);
    ck_assert_double_eq_tol(metric(dir, "dpo", "chosen", 0, 1), 0, 1e-6);
    ck_assert_double_eq_tol(metric(dir, "dpo", "loss", 0, 1), log(2), 1e-6);
    ck_assert_double_eq_tol(metric(dir, "kto", "loss", 0, 1), 0.5, 1e-6);
    ck_assert_double_eq_tol(metric(dir, "kto", "reference_point", 0, 1), 0, 1e-6);
    ck_assert_double_eq_tol(metric(dir, "ipo", "loss", 0, 1), 4, 1e-6); /* (0 - 1 / (2 · 0.25))² */
    ck_assert_double_gt(metric(dir, "orpo", "loss", 0, 1), metric(dir, "orpo", "loss_chosen", 0, 1));
}
END_TEST

#define ONE COLLECTED DIRECT("sigmoid", "sigmoid, label_smoothing: 0.05")

START_TEST(the_reference_is_kept_while_a_stage_works_and_computed_again_when_damaged)
{
    struct rlhf_error err = {0};
    const char *dir = fresh();
    struct rlhf_digest before, after;
    int fd;

    port.stop_at = 60; /* while sft learns */
    ck_assert_int_lt(go(ONE, dir, &err), 0);
    ck_assert(!rlhf_exists(&rlhf_system_io, in_directory(dir, "state/sigmoid.reference")));
    port.stop_at = 0;
    expect_ok(go(COLLECTED, dir, &err), err);
    port.stop_at = 8;
    ck_assert_int_lt(go(ONE, dir, &err), 0);
    expect_code(err, RLHF_AGAIN);
    before = tiny_digest(dir, "state/sigmoid.reference");
    ck_assert_int_lt(go(ONE, dir, &err), 0); /* some steps more: from the kept one */
    after = tiny_digest(dir, "state/sigmoid.reference");
    ck_assert(rlhf_digest_equal(&before, &after));
    fd = open(in_directory(dir, "state/sigmoid.reference"), O_RDWR);
    ck_assert_int_eq(pwrite(fd, "damage", 6, 20), 6);
    close(fd);
    ck_assert_int_lt(go(ONE, dir, &err), 0);
    after = tiny_digest(dir, "state/sigmoid.reference");
    ck_assert(rlhf_digest_equal(&before, &after));
    port.stop_at = 0;
    expect_ok(go(ONE, dir, &err), err);
    after = tiny_checkpoint(dir, "sigmoid");
    ck_assert(rlhf_digest_equal(&after, &expected[0]));
}
END_TEST

START_TEST(files_of_comparisons_do_instead_of_rounds)
{
    static const char text[] = TINY_HEAD TINY_PRETRAIN TINY_SFT
        "  - direct: {name: d, data: [%s/preferences.jsonl], epochs: 8, batch: 6, loss: kto, "
        "optimizer: {learning_rate: 5e-3}}\n";
    struct rlhf_error err = {0};
    const char *dir = fresh();
    FILE *f = fopen(in_directory(world, "preferences.jsonl"), "w");

    for (int i = 0; i < TINY_WORDS; i++)
        fprintf(f, "{\"prompt\": \"Q: is %s good?\\nA:\", \"responses\": [\" no.\", \" yes.\", \" no yes.\"], "
                   "\"ranks\": [2, 1, 3]}\n", tiny_words[i]);
    fclose(f);
    expect_ok(go(text, dir, &err), err);
    /* The best and the worst of each are looked at: twice as many as there are prompts. */
    ck_assert(isnan(metric(dir, "d", "loss", 64, 70)));
    ck_assert(!isnan(metric(dir, "d", "loss", 63, 64)));
    ck_assert_double_gt(metric(dir, "d", "chosen", 56, 64), metric(dir, "d", "rejected", 56, 64));
}
END_TEST

static void nobody_is_believed(struct local_port *p, const struct learner_action *a, struct learner_answer *answer)
{
    (void)p;
    for (size_t i = 0; a->kind == LEARNER_PULL && i < answer->count; i++)
        answer->comparisons[i].distrust = 1;
}

START_TEST(labels_that_are_not_believed_teach_nothing)
{
    static const char text[] = COLLECTED DIRECT("dpo", "sigmoid, sft_weight: 0.2") DIRECT("kto", "kto");
    struct rlhf_error err = {0};
    const char *dir = fresh();

    port.spoil = nobody_is_believed;
    expect_ok(go(text, dir, &err), err);
    ck_assert_double_eq(tiny_metric(dir, "dpo", "grad_norm", 0, 24, NULL), 0);
    ck_assert_double_eq(tiny_metric(dir, "kto", "grad_norm", 0, 24, NULL), 0);
}
END_TEST

START_TEST(a_file_without_a_preference_is_refused)
{
    static const char text[] = TINY_HEAD TINY_PRETRAIN
        "  - direct: {name: d, data: [%s/preferences.jsonl], epochs: 8, max_tokens: 4}\n";
    struct rlhf_error err = {0};
    const char *dir = fresh();
    FILE *f = fopen(in_directory(world, "preferences.jsonl"), "w");

    fputs("{\"prompt\": \"Q: is it good?\\nA:\", \"chosen\": \" yes.\", \"rejected\": \" no.\"}\n", f);
    fclose(f);
    ck_assert_int_lt(go(text, dir, &err), 0);
    expect_contains(err.text, "no comparison");
    expect_contains(err.text, "4 tokens");
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(calm_run, "learner/direct", every_loss_teaches_what_people_prefer, prompts_that_were_held_out_are_ordered_as_people_did,
                           rounds_of_asking_and_learning_take_turns, a_policy_so_taught_gives_the_preferred_answer,
                           a_policy_that_is_its_reference_has_log_ratios_of_zero, every_loss_ends_with_a_policy_of_its_own,
                           its_checkpoint_names_what_it_was_made_of_and_nothing_else_is_left,
                           a_learner_killed_again_and_again_ends_with_the_same_bits,
                           a_batch_may_be_larger_than_a_pass,
                           the_reference_is_kept_while_a_stage_works_and_computed_again_when_damaged,
                           files_of_comparisons_do_instead_of_rounds, labels_that_are_not_believed_teach_nothing,
                           a_file_without_a_preference_is_refused);
}
