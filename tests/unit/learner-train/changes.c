/* Comparisons that are taken back after their round was pulled: no stage that begins afterwards is trained on them, and one
 * that was at work leaves out the same ones when it goes on. */
#include <stdlib.h>

#include "support/learner/tiny_run.h"

#define COLLECTED TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT
#define REWARDED COLLECTED TINY_REWARD

static const char *world, *dir;
static struct local_port port;
static const char *forgotten; /* labeler */
static unsigned asked;

/* Behind what was pulled come the revisions that take a labeler's comparisons back. */
static void take_back(struct local_port *p, const struct learner_action *a, struct learner_answer *answer)
{
    if (a->kind != LEARNER_PULL || a->want > 0)
        return;
    asked++;
    ck_assert_uint_eq(a->cursor, p->task_count); /* where the collect stage ended */
    answer->comparisons = realloc(answer->comparisons, p->task_count * sizeof *answer->comparisons);
    for (size_t i = 0; forgotten && i < p->task_count; i++)
        if (strcmp(forgotten, i % 3 ? "ada" : "bo") == 0)
            answer->comparisons[answer->count++] = (struct learner_comparison){
                .sequence = p->task_count + i + 1, .id = strdup(p->tasks[i].id), .task = strdup(p->tasks[i].id),
                .source = strdup("api"), .labeler = strdup(forgotten), .prompt = strdup(""), .revision = 2, .excluded = true};
}

static int go(const char *text, struct rlhf_error *err)
{
    return tiny_go(text, dir, world, &rlhf_system_io, &port, 200000, err);
}

/* In a directory of its own. */
static void a_collected_round(void)
{
    static char place[2][700];
    static unsigned runs;
    struct rlhf_error err = {0};

    if (runs == 0)
        tiny_place(&world, &dir);
    snprintf(place[runs], sizeof place[0], "%s-%u", dir, runs);
    dir = place[runs++];
    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    port.spoil = take_back;
    forgotten = NULL;
    asked = 0;
    expect_ok(go(COLLECTED, &err), err);
}

/* Labels of rm by labeler. */
static size_t labels_by(const char *labeler)
{
    FILE *f = fopen(in_directory(dir, "checkpoints/rm/labels.jsonl"), "r");
    char line[1 << 14], part[60];
    size_t count = 0;

    ck_assert_ptr_nonnull(f);
    snprintf(part, sizeof part, "\"labeler\":\"%s\"", labeler);
    while (fgets(line, sizeof line, f))
        count += strstr(line, part) != NULL;
    fclose(f);
    return count;
}

START_TEST(a_stage_that_begins_afterwards_is_not_trained_on_them)
{
    struct rlhf_error err = {0};
    json_t *o;

    a_collected_round();
    forgotten = "bo";
    expect_ok(go(REWARDED, &err), err);
    ck_assert_uint_eq(asked, 1);
    ck_assert_uint_eq(labels_by("bo"), 0);
    ck_assert_uint_eq(labels_by("ada"), 16); /* two of three of 24 */
    o = json_load_file(in_directory(dir, "checkpoints/rm/provenance.json"), 0, NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(o, "excluded"), "round-1")), 8);
    json_decref(o);
}
END_TEST

START_TEST(what_a_round_holds_is_left_as_it_was_pulled)
{
    struct rlhf_error err = {0};
    struct rlhf_digest before;

    a_collected_round();
    before = tiny_digest(dir, "comparisons/round-1.jsonl");
    forgotten = "ada";
    expect_ok(go(REWARDED, &err), err);
    struct rlhf_digest after = tiny_digest(dir, "comparisons/round-1.jsonl");
    ck_assert(rlhf_digest_equal(&before, &after));
    ck_assert_uint_eq(labels_by("ada"), 0);
}
END_TEST

START_TEST(a_stage_that_goes_on_leaves_out_the_same_ones)
{
    struct rlhf_error err = {0};
    struct rlhf_digest calm, stopped;

    a_collected_round();
    forgotten = "bo";
    expect_ok(go(REWARDED, &err), err);
    calm = tiny_digest(dir, "checkpoints/rm/model.safetensors");

    a_collected_round();
    forgotten = "bo";
    port.stop_calls = 0;
    port.stop_at = 20; /* inside rm */
    ck_assert_int_lt(go(REWARDED, &err), 0);
    expect_code(err, RLHF_AGAIN);
    port.stop_at = 0;
    forgotten = "ada"; /* too late for this stage */
    expect_ok(go(REWARDED, &err), err);
    ck_assert_uint_eq(asked, 1);
    stopped = tiny_digest(dir, "checkpoints/rm/model.safetensors");
    ck_assert(rlhf_digest_equal(&calm, &stopped));
}
END_TEST

int main(void)
{
    return RUN_SUITE("learner/excluded", a_stage_that_begins_afterwards_is_not_trained_on_them,
                     what_a_round_holds_is_left_as_it_was_pulled, a_stage_that_goes_on_leaves_out_the_same_ones);
}
