/* up.json adds up over lives, and a stage's line says what a person wants to know. */
#include <jansson.h>
#include <string.h>

#include "rlhfctl/screen.h"
#include "rlhfctl/summary.h"
#include "support/suite.h"

static void fill(Rlhf__V1__Status *status, Rlhf__V1__StageStatus *stage, Rlhf__V1__StageStatus **list,
                 double seconds, uint64_t steps)
{
    rlhf__v1__status__init(status);
    rlhf__v1__stage_status__init(stage);
    stage->name = (char *)"sft";
    stage->kind = (char *)"sft";
    stage->detail = (char *)"loss 0.5";
    stage->seconds = seconds;
    stage->step = steps;
    stage->steps = 100;
    stage->tokens = 10 * steps;
    list[0] = stage;
    status->n_stages = 1;
    status->stages = list;
}

START_TEST(lives_add_up_and_a_life_that_did_nothing_forgets_nothing)
{
    const char *path = in_directory(a_directory(), "up.json");
    Rlhf__V1__StageStatus stage, *list[1];
    Rlhf__V1__Status status;
    struct rlhf_error err = {0};
    json_t *root, *it;

    fill(&status, &stage, list, 12, 100);
    expect_ok(ctl_summary_write(path, &status, 20, 1, false, &err), err);
    fill(&status, &stage, list, 0, 0);
    expect_ok(ctl_summary_write(path, &status, 2, 0, true, &err), err);
    root = json_load_file(path, 0, NULL);
    ck_assert_double_eq_tol(json_number_value(json_object_get(root, "seconds")), 22, 1e-6);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "restarts")), 1);
    ck_assert(json_is_true(json_object_get(root, "done")));
    it = json_array_get(json_object_get(root, "stages"), 0);
    ck_assert_double_eq_tol(json_number_value(json_object_get(it, "seconds")), 12, 1e-6);
    ck_assert_int_eq(json_integer_value(json_object_get(it, "steps")), 100);
    ck_assert_int_eq(json_integer_value(json_object_get(it, "tokens")), 1000);
    json_decref(root);
}
END_TEST

START_TEST(a_stages_line_shows_bar_rate_and_detail_and_fits)
{
    Rlhf__V1__StageStatus stage, *list[1];
    Rlhf__V1__Status status;
    char line[400];

    fill(&status, &stage, list, 10, 50);
    for (unsigned columns = 40; columns < 160; columns += 7) {
        ctl_stage_line(line, sizeof line, columns, &stage, true, 1234);
        ck_assert_uint_le(strlen(line), columns);
        expect_contains(line, "sft");
    }
    expect_contains(line, "50%");
    expect_contains(line, "1234 tokens/s");
    stage.done = 1;
    ctl_stage_line(line, sizeof line, 80, &stage, true, 0);
    expect_contains(line, "done in 10 s");
    stage.done = 0;
    ctl_stage_line(line, sizeof line, 80, &stage, false, 0);
    ck_assert_ptr_eq(strstr(line, "%"), NULL);
}
END_TEST

int main(void)
{
    return RUN_SUITE("rlhfctl/summary", lives_add_up_and_a_life_that_did_nothing_forgets_nothing,
                     a_stages_line_shows_bar_rate_and_detail_and_fits);
}
