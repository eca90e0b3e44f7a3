/* A policy stage whose watch sees a limit passed pauses with everything saved, says why, and goes on when it is told to; what
 * it ends with is what it would have ended with. */
#include "support/learner/tiny_run.h"

#define BASE TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD
#define WATCH(more) BASE TINY_POLICY "      watch: {over: 3, " more "}\n"
#define STRICT(more) WATCH("samples: 4, limits: [{metric: entropy, at_least: 50}]" more)
#define LOOSE WATCH("limits: [{metric: entropy, at_least: 0}, {metric: repetition, at_most: 1}]")

static const char *world, *base, *dir; /* base: a run that has come as far as its policy stage */
static struct local_port port;
static struct rlhf_digest calm; /* of the policy that nobody watched */

static void copy_to(const char *place, const char *name)
{
    static char path[700];

    snprintf(path, sizeof path, "%s%s", place, name);
    tiny_copy(base, path);
    dir = path;
}

static void calm_run(void)
{
    struct rlhf_error err = {0};

    tiny_calm(BASE, &world, &base, &port);
    copy_to(base, "-watched");
    expect_ok(tiny_go(BASE TINY_POLICY, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    calm = tiny_checkpoint(dir, "ppo");
}

static int go(const char *text, struct rlhf_error *err)
{
    enum { EVERY_CALL_US = 200000 }; /* a state between any two iterations */

    *err = (struct rlhf_error){0};
    return tiny_go(text, dir, world, &rlhf_system_io, &port, EVERY_CALL_US, err);
}

static void fresh(void)
{
    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    copy_to(a_directory(), "/run");
}

static void ended_as_calm(void)
{
    struct rlhf_digest d = tiny_checkpoint(dir, "ppo");

    ck_assert(rlhf_digest_equal(&d, &calm));
    ck_assert(tiny_metric(dir, "ppo", "repetition", 0, 0, NULL) >= 0);
}

static unsigned told;
static bool say_go_on(struct learner_port *p)
{
    (void)p;
    return ++told == 3; /* the first look is for a word from before the pause, and one in vain */
}

START_TEST(a_limit_that_is_passed_pauses_until_somebody_says_go_on)
{
    struct rlhf_error err = {0};

    fresh();
    port.port.resumed = say_go_on;
    expect_ok(go(STRICT(""), &err), err);
    ck_assert_uint_eq(told, 3); /* and not again */
    ended_as_calm();
}
END_TEST

START_TEST(a_paused_run_that_is_stopped_pauses_again_and_goes_on_under_other_limits)
{
    struct rlhf_error err = {0};
    json_t *o;

    fresh();
    port.stop_at = 20; /* as a person would, looking at the screen */
    for (int n = 0; n < 2; n++) {
        ck_assert_int_lt(go(STRICT(""), &err), 0);
        ck_assert_int_eq(err.code, RLHF_AGAIN);
    }
    ck_assert(isfinite(tiny_metric(dir, "ppo", "entropy", 0, 0, NULL)));
    o = json_load_file(in_directory(dir, "watch/ppo.json"), 0, NULL);
    ck_assert(json_is_true(json_object_get(o, "paused")));
    ck_assert_int_eq(json_integer_value(json_object_get(o, "iteration")), 3);
    ck_assert_msg(strstr(json_string_value(json_object_get(o, "why")), "is below 50") != NULL, "%s",
                  json_string_value(json_object_get(o, "why")));
    ck_assert_uint_eq(json_array_size(json_object_get(o, "samples")), 4);
    ck_assert(json_number_value(json_object_get(json_array_get(json_object_get(o, "samples"), 0), "reward")) >=
              json_number_value(json_object_get(json_array_get(json_object_get(o, "samples"), 3), "reward")));
    json_decref(o);
    port.stop_at = 0;
    expect_ok(go(LOOSE, &err), err);
    ended_as_calm();
}
END_TEST

START_TEST(a_run_that_nobody_looks_at_may_be_stopped_instead)
{
    struct rlhf_error err = {0};

    fresh();
    ck_assert_int_lt(go(STRICT(", otherwise: stop"), &err), 0);
    ck_assert_int_eq(err.code, RLHF_REJECT);
    ck_assert_msg(strstr(err.text, "after iteration 3: entropy") && strstr(err.text, "watch.limits"), "%s", err.text);
    expect_ok(go(LOOSE, &err), err);
    ended_as_calm();
}
END_TEST

START_TEST(a_fall_from_the_best_average_trips_though_no_bound_is_passed)
{
    struct rlhf_error err = {0};

    fresh();
    ck_assert_int_lt(go(WATCH("limits: [{metric: score, rise: 0.01}], otherwise: stop"), &err), 0);
    ck_assert_msg(strstr(err.text, "score") && strstr(err.text, "rose from"), "%s", err.text);
}
END_TEST

START_TEST(a_limit_on_what_is_not_measured_is_refused)
{
    struct rlhf_error err = {0};

    fresh();
    ck_assert_int_lt(go(WATCH("limits: [{metric: disagreement, at_most: 1}]"), &err), 0);
    ck_assert_msg(strstr(err.text, "no metric 'disagreement'") != NULL, "%s", err.text);
}
END_TEST

START_TEST(a_watched_run_that_is_killed_pauses_where_it_would_have)
{
    struct rlhf_error err = {0};

    fresh();
    for (unsigned n = 3; n < 14; n += 2) {
        port.die_at = n;
        go(STRICT(", otherwise: stop"), &err);
        port.die_at = 0;
    }
    ck_assert_int_lt(go(STRICT(", otherwise: stop"), &err), 0);
    ck_assert_msg(strstr(err.text, "after iteration 3: entropy") != NULL, "%s", err.text);
    expect_ok(go(LOOSE, &err), err);
    ended_as_calm();
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(calm_run, "learner/watch", a_limit_that_is_passed_pauses_until_somebody_says_go_on,
                           a_paused_run_that_is_stopped_pauses_again_and_goes_on_under_other_limits,
                           a_run_that_nobody_looks_at_may_be_stopped_instead,
                           a_fall_from_the_best_average_trips_though_no_bound_is_passed,
                           a_limit_on_what_is_not_measured_is_refused,
                           a_watched_run_that_is_killed_pauses_where_it_would_have);
}
