/* What changes in a round after it was pulled: a stage that begins afterwards is not trained on what was taken back, goes by
 * what was judged anew and by how far people are believed by then; one that was at work goes on by what it was told. */
#include <stdlib.h>

#include "support/learner/tiny_run.h"

#define COLLECTED TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT
#define REWARDED COLLECTED TINY_REWARD

static const char *world, *dir;
static struct local_port port;
/* Labelers: whose comparisons are taken back, who has judged all anew, and who is doubted; NULL: nobody. */
static const char *forgotten, *flipped, *doubted;
static unsigned asked;

/* The other way round, of the completions as they were pulled. */
static void flip(const struct local_task *t, struct learner_comparison *c)
{
    c->completions = calloc(t->count, sizeof *c->completions);
    c->ranks = calloc(t->count, sizeof *c->ranks);
    for (c->count = 0; c->count < t->count; c->count++) {
        c->completions[c->count] = strdup(t->completions[t->count - 1 - c->count]);
        c->ranks[c->count] = (uint32_t)c->count + 1;
    }
}

/* Behind what was pulled come revisions of a labeler's comparisons, and weights. */
static void change(struct local_port *p, const struct learner_action *a, struct learner_answer *answer)
{
    const char *whose = forgotten ? forgotten : flipped;

    if (a->kind != LEARNER_PULL || a->want > 0)
        return;
    asked++;
    ck_assert_uint_eq(a->cursor, p->task_count); /* where the collect stage ended */
    ck_assert(a->weigh);
    answer->comparisons = realloc(answer->comparisons, p->task_count * sizeof *answer->comparisons);
    for (size_t i = 0; whose && i < p->task_count; i++) {
        if (strcmp(whose, i % 3 ? "ada" : "bo") != 0)
            continue;
        struct learner_comparison *c = &answer->comparisons[answer->count++];
        *c = (struct learner_comparison){.sequence = p->task_count + i + 1, .id = strdup(p->tasks[i].id),
                                         .task = strdup(p->tasks[i].id), .source = strdup("api"), .labeler = strdup(whose),
                                         .prompt = strdup(""), .revision = 2, .excluded = forgotten != NULL};
        if (!forgotten)
            flip(&p->tasks[i], c);
    }
    answer->weights = calloc(2, sizeof *answer->weights);
    for (; answer->weight_count < 2; answer->weight_count++) {
        const char *name = answer->weight_count ? "bo" : "ada";
        answer->weights[answer->weight_count] = (struct learner_weight){
            .labeler = strdup(name), .distrust = doubted && strcmp(name, doubted) == 0 ? 0.75f : 0};
    }
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
    port.spoil = change;
    forgotten = flipped = doubted = NULL;
    asked = 0;
    expect_ok(go(COLLECTED, &err), err);
}

/* Labels of rm by labeler, of a revision (0: any). */
static size_t labels_of(const char *labeler, unsigned revision)
{
    FILE *f = fopen(in_directory(dir, "checkpoints/rm/labels.jsonl"), "r");
    char line[1 << 14], part[60], number[40];
    size_t count = 0;

    ck_assert_ptr_nonnull(f);
    snprintf(part, sizeof part, "\"labeler\":\"%s\"", labeler);
    snprintf(number, sizeof number, "\"revision\":%u,", revision);
    while (fgets(line, sizeof line, f))
        count += strstr(line, part) && (!revision || strstr(line, number));
    fclose(f);
    return count;
}

static size_t labels_by(const char *labeler)
{
    return labels_of(labeler, 0);
}

/* Of round-1, as rm's checkpoint counts it. */
static int counted(const char *what)
{
    json_t *o = json_load_file(in_directory(dir, "checkpoints/rm/provenance.json"), 0, NULL);
    int count = (int)json_integer_value(json_object_get(json_object_get(o, what), "round-1"));

    json_decref(o);
    return count;
}

START_TEST(a_stage_that_begins_afterwards_is_not_trained_on_them)
{
    struct rlhf_error err = {0};

    a_collected_round();
    forgotten = "bo";
    expect_ok(go(REWARDED, &err), err);
    ck_assert_uint_eq(asked, 1);
    ck_assert_uint_eq(labels_by("bo"), 0);
    ck_assert_uint_eq(labels_by("ada"), 16); /* two of three of 24 */
    ck_assert_int_eq(counted("excluded"), 8);
    ck_assert_int_eq(counted("revised") + counted("weighed_anew"), 0);
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

START_TEST(comparisons_count_as_they_were_judged_last_and_as_far_as_people_are_believed)
{
    struct rlhf_error err = {0};

    a_collected_round();
    flipped = "bo";
    doubted = "ada";
    expect_ok(go(REWARDED, &err), err);
    ck_assert_int_eq(counted("excluded"), 0);
    ck_assert_int_eq(counted("revised"), 8);
    ck_assert_int_eq(counted("weighed_anew"), 16);
    ck_assert_uint_eq(labels_of("bo", 2), 8);
    ck_assert_uint_eq(labels_of("ada", 1), 16);
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
    return RUN_SUITE("learner/changes", a_stage_that_begins_afterwards_is_not_trained_on_them,
                     what_a_round_holds_is_left_as_it_was_pulled,
                     comparisons_count_as_they_were_judged_last_and_as_far_as_people_are_believed,
                     a_stage_that_goes_on_leaves_out_the_same_ones);
}
