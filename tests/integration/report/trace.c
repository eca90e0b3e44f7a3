/* What a checkpoint was made of, as the learner writes it down and rlhfctl follows it, over a run of every kind of stage. */
#include <stdlib.h>
#include <unistd.h>

#include "store/store.h"
#include "support/learner/tiny_run.h"

#define RUN                                                                                                            \
    TINY_RUN                                                                                                           \
    "  - direct: {name: dpo, from: sft, rounds: [round-1], epochs: 2, batch: 4, optimizer: {learning_rate: 1e-3}}\n"    \
    "  - best_of: {name: best, from: ppo, reward_model: rm, prompts: %s/prompts.jsonl, samples: 2,\n"                  \
    "      sampling: {max_new_tokens: 8}}\n"                                                                           \
    "  - sft: {name: sft-2, from: pre, best_of: [best], epochs: 1, batch: 4}\n"                                        \
    "  - gate: {name: gate, candidate: ppo, evaluation: report, win_rate: 0.999, retries: 1, otherwise: go_on}\n"

static const char *world, *dir;
static struct local_port port;

static void done_run(void)
{
    tiny_calm(RUN, &world, &dir, &port);
}

static json_t *lines_of(const char *name)
{
    FILE *f = fopen(in_directory(dir, name), "r");
    json_t *list = json_array();
    char line[1 << 16];

    ck_assert_msg(f != NULL, "no %s", name);
    while (fgets(line, sizeof line, f)) {
        json_t *o = json_loads(line, 0, NULL);
        ck_assert_msg(o != NULL, "%s: not JSON: %s", name, line);
        json_array_append_new(list, o);
    }
    fclose(f);
    return list;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    ck_assert_msg(text != NULL, "no %s", key);
    return text;
}

/* What `rlhfctl ARGUMENTS --json` prints, or NULL and its error. */
static json_t *ctl(const char *arguments, char *error, size_t size)
{
    char command[1200];
    json_t *o;
    FILE *out;

    snprintf(command, sizeof command, "'%s/daemons/rlhfctl' %s --run '%s' --json 2>'%s/err'", getenv("RLHF_BUILD"),
             arguments, dir, world);
    ck_assert_ptr_nonnull(out = popen(command, "r"));
    o = json_loadf(out, 0, NULL);
    pclose(out);
    if (error) {
        FILE *f = fopen(in_directory(world, "err"), "r");
        error[fread(error, 1, size - 1, f)] = '\0';
        fclose(f);
    }
    return o;
}

/* ---- the learner's part -------------------------------------------------------------------------------- */

START_TEST(every_label_of_a_round_is_behind_the_reward_model_with_its_labeler)
{
    json_t *round = lines_of("comparisons/round-1.jsonl"), *labels = lines_of("checkpoints/rm/labels.jsonl"), *label;
    size_t i, held_out = 0;

    json_array_foreach(labels, i, label)
    {
        ck_assert_int_eq(json_integer_value(json_object_get(label, "revision")), 1);
        ck_assert(strcmp(text_of(label, "labeler"), "ada") == 0 || strcmp(text_of(label, "labeler"), "bo") == 0);
        ck_assert_str_eq(text_of(label, "source"), "api");
        ck_assert_str_eq(text_of(label, "round"), "round-1");
        ck_assert_str_eq(text_of(label, "stage"), "rm");
        held_out += json_is_true(json_object_get(label, "held_out"));
    }
    ck_assert_uint_eq(json_array_size(labels), json_array_size(round));
    ck_assert_uint_gt(held_out, 0);
    json_decref(round), json_decref(labels);
}
END_TEST

/* Twenty epochs of batches of four: a label is in one update of each epoch (the last may be cut short), and an update is
 * made of four labels. */
START_TEST(updates_are_those_of_the_order_of_the_data)
{
    json_t *labels = lines_of("checkpoints/rm/labels.jsonl"), *label, *update;
    int in_step[400] = {0}, steps;
    size_t i, j, total = 0, trained = 0;

    json_array_foreach(labels, i, label)
    {
        json_t *updates = json_object_get(label, "updates");
        trained += updates != NULL;
        json_array_foreach(updates, j, update)
        {
            json_int_t step = json_integer_value(json_array_get(update, 0));
            ck_assert_int_eq(json_integer_value(json_array_get(update, 1)), (json_int_t)j + 1);
            ck_assert(step >= 1 && step < 400);
            in_step[step]++;
            total++;
        }
        ck_assert(!updates || json_array_size(updates) == 19 || json_array_size(updates) == 20);
    }
    tiny_metric(dir, "rm", "loss", 0, 0, &steps);
    ck_assert_uint_eq((size_t)steps, 20 * trained / 4);
    ck_assert_uint_eq(total, 4 * (size_t)steps);
    for (int s = 1; s <= steps; s++)
        ck_assert_int_eq(in_step[s], 4);
    json_decref(labels);
}
END_TEST

static size_t behind(const char *checkpoint, const char *stage)
{
    char name[100];
    json_t *labels, *label;
    size_t i, count = 0;

    snprintf(name, sizeof name, "checkpoints/%s/labels.jsonl", checkpoint);
    labels = lines_of(name);
    json_array_foreach(labels, i, label) count += strcmp(text_of(label, "stage"), stage) == 0;
    json_decref(labels);
    return count;
}

START_TEST(checkpoints_inherit_the_labels_of_what_they_were_made_of)
{
    size_t all = behind("rm", "rm");

    ck_assert_uint_gt(all, 10);
    ck_assert_uint_eq(behind("ppo", "rm"), all);
    ck_assert_uint_eq(behind("sft-2", "rm"), all); /* through ppo's samples and rm's choice among them */
    ck_assert_uint_gt(behind("dpo", "dpo"), 10);
    ck_assert_uint_eq(behind("dpo", "rm"), 0);
    ck_assert_int_ne(access(in_directory(dir, "checkpoints/sft/labels.jsonl"), F_OK), 0);
}
END_TEST

START_TEST(a_checkpoint_says_what_it_was_made_of)
{
    json_t *o = json_load_file(in_directory(dir, "checkpoints/ppo/provenance.json"), 0, NULL);
    struct rlhf_error err = {0};

    ck_assert_str_eq(text_of(o, "from"), "sft");
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(o, "reward_models"), 0)), "rm");
    ck_assert_uint_eq(strlen(text_of(json_object_get(o, "parents"), "sft")), 64);
    ck_assert_uint_eq(strlen(text_of(json_object_get(o, "parents"), "rm")), 64);
    ck_assert_uint_eq(strlen(text_of(json_object_get(o, "files"), in_directory(world, "prompts.jsonl"))), 64);
    ck_assert_uint_gt(json_integer_value(json_object_get(json_object_get(o, "labels"), "count")), 10);
    json_decref(o);
    expect_ok(rlhf_atomic_verify(&rlhf_system_io, in_directory(dir, "checkpoints/ppo"), &err), err);
}
END_TEST

/* ---- rlhfctl's part ------------------------------------------------------------------------------------ */

static json_t *affected_by(json_t *o, const char *stage)
{
    json_t *entry;
    size_t i;

    json_array_foreach(json_object_get(o, "affected"), i, entry)
    {
        if (strcmp(text_of(entry, "stage"), stage) == 0)
            return entry;
    }
    return NULL;
}

START_TEST(a_label_is_followed_to_its_updates_and_to_all_that_was_made_of_them)
{
    json_t *labels = lines_of("checkpoints/rm/labels.jsonl"), *label = json_array_get(labels, 0), *o, *found, *use;
    char command[300];

    ck_assert_ptr_nonnull(json_object_get(label, "updates"));
    snprintf(command, sizeof command, "trace label '%s'", text_of(label, "id"));
    ck_assert_ptr_nonnull(o = ctl(command, NULL, 0));
    ck_assert_uint_eq(json_array_size(json_object_get(o, "labels")), 1);
    found = json_array_get(json_object_get(o, "labels"), 0);
    ck_assert_str_eq(text_of(found, "labeler"), text_of(label, "labeler"));
    use = json_array_get(json_object_get(found, "uses"), 0);
    ck_assert_str_eq(text_of(use, "stage"), "rm");
    ck_assert(json_equal(json_object_get(use, "updates"), json_object_get(label, "updates")));
    ck_assert(json_is_true(json_object_get(affected_by(o, "rm"), "trained")));
    ck_assert(json_is_false(json_object_get(affected_by(o, "ppo"), "trained")));
    ck_assert(json_is_true(json_object_get(affected_by(o, "ppo.try-2"), "done")));
    ck_assert(json_equal(json_object_get(affected_by(o, "ppo.try-2"), "through"), json_object_get(affected_by(o, "ppo"), "through")));
    ck_assert_ptr_nonnull(affected_by(o, "report"));
    ck_assert_ptr_nonnull(affected_by(o, "sft-2"));
    ck_assert_ptr_null(affected_by(o, "sft"));
    ck_assert_ptr_null(affected_by(o, "pre"));
    json_decref(o), json_decref(labels);
}
END_TEST

START_TEST(a_label_that_is_nowhere_is_refused)
{
    char error[600];

    ck_assert_ptr_null(ctl("trace label nobody@nothing", error, sizeof error));
    expect_contains(error, "no label 'nobody@nothing'");
}
END_TEST

START_TEST(a_damaged_line_is_named_and_the_others_are_used)
{
    json_t *labels = lines_of("checkpoints/rm/labels.jsonl"), *o;
    char command[300];
    FILE *f;

    f = fopen(in_directory(dir, "comparisons/round-1.jsonl"), "a");
    fputs("{\"id\": \n", f);
    fclose(f);
    snprintf(command, sizeof command, "trace label '%s'", text_of(json_array_get(labels, 1), "id"));
    ck_assert_ptr_nonnull(o = ctl(command, NULL, 0));
    ck_assert_uint_eq(json_array_size(json_object_get(o, "labels")), 1);
    expect_contains(json_string_value(json_array_get(json_object_get(o, "problems"), 0)), "comparisons/round-1.jsonl:");
    json_decref(o), json_decref(labels);
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(done_run, "report/trace", every_label_of_a_round_is_behind_the_reward_model_with_its_labeler,
                           updates_are_those_of_the_order_of_the_data,
                           checkpoints_inherit_the_labels_of_what_they_were_made_of, a_checkpoint_says_what_it_was_made_of,
                           a_label_is_followed_to_its_updates_and_to_all_that_was_made_of_them,
                           a_label_that_is_nowhere_is_refused, a_damaged_line_is_named_and_the_others_are_used);
}
