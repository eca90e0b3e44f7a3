/* From click to gradient: a person judges in a real Chromium what the policy wrote, while the learner waits for it; the reward
 * model that comes out prefers what the person preferred. Two runs of one seed differ in nothing but the clicks. */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "model/model.h"
#include "support/browser.h"
#include "support/collector.h"
#include "support/learner/tiny_run.h"
#include "support/process.h"

enum { LEARNER, WORKER, PROCESSES };
enum { GIVE_UP_S = 240, POLL_MS = 20, LEAST_TASKS = 8, CONTEXT = 48 };

static const char *const programs[PROCESSES] = { "learner", "rollout-worker" };

#define RUN                                                                                                  \
    TINY_HEAD TINY_PRETRAIN TINY_SFT                                                                         \
        "  - collect: {name: round-1, policies: [sft], prompts: %s/prompts.jsonl, samples: 2, sampling: {max_new_tokens: 8}}\n" \
        "  - reward: {name: rm, from: sft, rounds: [round-1], held_out: 0, epochs: 20, batch: 4, optimizer: {learning_rate: 1e-2}}\n"

/* A run, and what the person in it likes. */
struct run {
    char dir[300];
    pid_t pid[PROCESSES];
    bool contrary; /* likes what the other run's person does not */
    unsigned clicks;
};

static const char *config_of(const struct run *r, int which)
{
    static const char *const names[PROCESSES] = { "run.yaml", "worker.yaml" };

    return in_directory(r->dir, names[which]);
}

static void begin(struct run *r, const char *world)
{
    ck_assert_int_eq(mkdir(r->dir, 0700), 0);
    collector_place(r->dir, NULL);
    collector_start("");
    write_file(config_of(r, LEARNER), "%s", tiny_fill(RUN, r->dir, world));
    write_file(config_of(r, WORKER), "learner: ipc://%s/learner.sock\nthreads: 1\n", r->dir);
    for (int i = 0; i < PROCESSES; i++)
        r->pid[i] = start_daemon(programs[i], config_of(r, i), in_directory(r->dir, "log"));
}

static void pause_a_little(time_t begun)
{
    ck_assert_msg(time(NULL) - begun < GIVE_UP_S, "the run does not end");
    nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000 }, NULL);
}

/* True when the learner has ended; anything but success fails the test. */
static bool is_done(struct run *r)
{
    int status;

    if (waitpid(r->pid[LEARNER], &status, WNOHANG) == 0)
        return false;
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the learner failed; see %s/log", r->dir);
    return true;
}

static bool tasks_are_there(void)
{
    struct http_answer a = http_get(collector_address, "/api/v1/stats");
    json_t *json = a.status == 200 ? json_loads(a.body, 0, NULL) : NULL;
    bool there = json_integer_value(json_object_get(json, "open")) > 0;

    json_decref(json);
    http_answer_free(&a);
    return there;
}

/* ---- the person -------------------------------------------------------------------------------------- */

/* Whether a person would rather have one than the other: yes before no before anything else; then by the letter. */
static bool better(const struct run *r, const char *one, const char *other)
{
    double a = tiny_utility("", one), b = tiny_utility("", other);

    return (a != b ? a > b : strcmp(one, other) > 0) != r->contrary;
}

static char *script_text(const char *script)
{
    json_t *value = browser_script(script);
    char *text = strdup(json_is_string(value) ? json_string_value(value) : "");

    json_decref(value);
    return text;
}

/* One judgement, if there is something to judge: a click on the better side, and the next task or none is awaited. */
static void judge(struct run *r)
{
    char condition[512];

    if (!browser_holds("document.querySelectorAll('.answer .text').length === 2 && document.querySelector('#choose-a')"))
        return;
    char *prompt = script_text("return document.querySelector('#prompt').innerText");
    char *left = script_text("return document.querySelectorAll('.answer .text')[0].textContent");
    char *right = script_text("return document.querySelectorAll('.answer .text')[1].textContent");
    json_decref(browser_script(better(r, left, right) ? "document.querySelector('#choose-a').click()"
                                                      : "document.querySelector('#choose-b').click()"));
    json_t *quoted = json_string(prompt);
    char *name = json_dumps(quoted, JSON_ENCODE_ANY);
    snprintf(condition, sizeof condition,
             "document.querySelector('#prompt').innerText !== %s || !document.querySelector('#rest').hidden", name);
    browser_wait_until(condition);
    r->clicks++;
    json_decref(quoted);
    free(name);
    free(prompt);
    free(left);
    free(right);
}

static void go(struct run *r, const char *world)
{
    char url[200];
    time_t begun = time(NULL);

    begin(r, world);
    while (!tasks_are_there()) {
        ck_assert_msg(!is_done(r), "the learner did not wait for anybody");
        pause_a_little(begun);
    }
    snprintf(url, sizeof url, "%s/?labeler=ada", collector_address);
    browser_start(r->dir);
    browser_open(url);
    browser_wait_until("document.querySelectorAll('.answer .text').length === 2");
    browser_screenshot(r->contrary ? "click-contrary" : "click");
    while (!is_done(r)) {
        judge(r);
        pause_a_little(begun);
    }
    browser_stop();
    collector_stop();
    end_process(r->pid[WORKER], SIGTERM);
}

/* ---- what came of it ----------------------------------------------------------------------------------- */

static void append_ids(struct rlhf_tokens *tokens, const json_t *ids)
{
    struct rlhf_error err = { 0 };

    for (size_t i = 0; i < json_array_size(ids); i++) {
        int32_t id = (int32_t)json_integer_value(json_array_get(ids, i));
        expect_ok(rlhf_tokens_append(tokens, &id, 1, &err), err);
    }
}

static float reward_of(const struct rlhf_model *m, const json_t *prompt_ids, const json_t *completion_ids)
{
    struct rlhf_tokens tokens = { 0 };
    struct rlhf_error err = { 0 };
    float values[CONTEXT];

    append_ids(&tokens, prompt_ids);
    append_ids(&tokens, completion_ids);
    ck_assert(tokens.size > 0 && tokens.size <= CONTEXT);
    const uint32_t start[] = { 0, (uint32_t)tokens.size };
    const struct rlhf_batch batch = { .tokens = tokens.data, .start = start, .sequences = 1 };
    struct rlhf_pass *pass = rlhf_pass_new(rlhf_model_get_config(m), NULL, 0, &err);
    expect_some(pass, err);
    expect_ok(rlhf_pass_forward(pass, m, &batch, &err), err);
    expect_ok(rlhf_pass_scalars(pass, m, values, &err), err);
    float reward = values[tokens.size - 1];
    rlhf_pass_free(pass);
    rlhf_tokens_free(&tokens);
    return reward;
}

/* How much more the run's reward model gives to what the first run's person preferred: a mean over that run's labels. */
static double margin(const struct run *r, const struct run *first, unsigned *count)
{
    struct rlhf_error err = { 0 };
    double sum = 0;
    json_t *line;

    struct rlhf_model *m = rlhf_model_load(in_directory(r->dir, "checkpoints/rm"), &err);
    expect_some(m, err);
    FILE *f = fopen(in_directory(first->dir, "comparisons/round-1.jsonl"), "r");
    ck_assert_ptr_nonnull(f);
    for (*count = 0; (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)); ++*count) {
        const json_t *prompt = json_object_get(line, "prompt_ids"), *completions = json_object_get(line, "completions");
        const json_t *ranks = json_object_get(line, "ranks");
        size_t best = json_integer_value(json_array_get(ranks, 1)) < json_integer_value(json_array_get(ranks, 0));
        sum += reward_of(m, prompt, json_object_get(json_array_get(completions, best), "ids"))
               - reward_of(m, prompt, json_object_get(json_array_get(completions, 1 - best), "ids"));
        json_decref(line);
    }
    fclose(f);
    rlhf_model_free(m);
    return sum / *count;
}

START_TEST(what_a_person_clicks_moves_the_reward_model)
{
    static struct run one, contrary = { .contrary = true };
    const char *base = a_directory();
    char world[320];
    unsigned count, others;

    snprintf(world, sizeof world, "%s/world", base);
    snprintf(one.dir, sizeof one.dir, "%s/one", base);
    snprintf(contrary.dir, sizeof contrary.dir, "%s/contrary", base);
    ck_assert_int_eq(mkdir(world, 0700), 0);
    tiny_world(world);
    go(&one, world);
    go(&contrary, world);

    struct rlhf_digest a = tiny_checkpoint(one.dir, "sft"), b = tiny_checkpoint(contrary.dir, "sft");
    ck_assert(rlhf_digest_equal(&a, &b)); /* the same until somebody clicked */
    double with = margin(&one, &one, &count), against = margin(&contrary, &one, &others);
    printf("%u clicks: what was preferred is worth %+.3f more; %+.3f after %u clicks on the other side\n", one.clicks, with,
           against, contrary.clicks);
    ck_assert_uint_ge(count, LEAST_TASKS);
    ck_assert_uint_eq(count, others);
    ck_assert_uint_eq(one.clicks, count);
    ck_assert_uint_eq(contrary.clicks, count);
    ck_assert_double_gt(with, 0);
    ck_assert_double_lt(against, 0);
}
END_TEST

int main(void)
{
    browser_or_skip();
    return RUN_SUITE("learner/click", what_a_person_clicks_moves_the_reward_model);
}
