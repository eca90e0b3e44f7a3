/* kill -9 of every kind of daemon, or a bad network between them, while a whole run goes on, over real sockets: it completes,
 * and ends with the very weights of a run that nobody disturbed. */
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "support/faultproxy.h"
#include "support/http.h"
#include "support/learner/tiny_run.h"
#include "support/process.h"
#include "support/reward_service.h"

enum { COLLECTOR, LEARNER, WORKER_1, WORKER_2, SCORER, PROCESSES };
enum { LEARNER_KILLS = 5, PAUSE_MS = 150, GIVE_UP_S = 240 };

static const char *const programs[PROCESSES] = { "label-collector", "learner", "rollout-worker", "rollout-worker",
                                                 "reward-scorer" };

#define HEAD                                                                                                 \
    "run: {name: tiny, dir: %s, seed: 5}\n"                                                                  \
    "tokenizer: {train: {files: [%s/documents.txt], vocab_size: 290}}\n"                                     \
    "model: {style: gpt2, layers: 1, heads: 2, channels: 16, context: 48}\n"                                 \
    "learner: {threads: 1, checkpoint_seconds: 1, verify_tokens: 20, lease_ms: 3000}\n"                      \
    "stages:\n"
/* With all that waits for others: batches begun ahead, a rule, and a service that fails now and then. */
#define LAGGED                                                                                               \
    "  - policy: {name: lagged, from: sft, reward_model: rm, prompts: %s/exact.jsonl, iterations: 6, prompts_per_iteration: 8, " \
    "samples: 2, minibatch: 8, lag: 1, algorithm: grpo, sampling: {max_new_tokens: 8}, optimizer: {learning_rate: 2e-3}, "     \
    "rewards: [{exact: {name: right, expression: '[a-z]+'}}, {service: {name: length, weight: -0.1, batch: 5, attempts: 50, " \
    "backoff_ms: 1, url: '" SERVICE "'}}]}\n"
#define SERVICE "http://127.0.0.1:00000/rewards" /* the port is filled in */

struct cluster {
    char dir[300];
    struct reward_service *service;
    pid_t pid[PROCESSES];
    unsigned kills[PROCESSES];
    pthread_t people;
    atomic_bool stop;
};

static const char *config_of(const struct cluster *c, int which)
{
    static const char *const names[PROCESSES] = { "collector.yaml", "run.yaml", "worker-1.yaml", "worker-2.yaml",
                                                  "scorer.yaml" };

    return in_directory(c->dir, names[which]);
}

static void start(struct cluster *c, int which)
{
    c->pid[which] = start_daemon(programs[which], config_of(c, which), in_directory(c->dir, "log"));
}

/* A task's completions ranked as everybody in the tiny world likes them. */
static void judge(const char *address, json_t *task)
{
    json_t *completions = json_object_get(task, "completions"), *ranks = json_array(), *label;
    struct http_answer answer;
    char *body;

    for (size_t i = 0; i < json_array_size(completions); i++) {
        int rank = 1;

        for (size_t j = 0; j < json_array_size(completions); j++)
            rank += tiny_utility("", json_string_value(json_array_get(completions, j)))
                    > tiny_utility("", json_string_value(json_array_get(completions, i)));
        json_array_append_new(ranks, json_integer(rank));
    }
    label = json_pack("{s:O, s:s, s:O, s:o}", "id", json_object_get(task, "id"), "labeler", "ann", "task",
                      json_object_get(task, "id"), "ranks", ranks);
    body = json_dumps(label, JSON_COMPACT);
    answer = http_post(address, "/api/v1/comparisons", body);
    http_answer_free(&answer);
    free(body);
    json_decref(label);
}

static void read_address(const struct cluster *c, char *text, size_t size)
{
    char path[320];
    FILE *f;

    snprintf(path, sizeof path, "%s/address", c->dir);
    f = fopen(path, "r");
    if (!f || !fgets(text, (int)size, f))
        text[0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (f)
        fclose(f);
}

static void *label(void *ctx)
{
    struct cluster *c = ctx;

    while (!c->stop) {
        char address[128];
        struct http_answer answer;
        json_t *json, *tasks;

        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL); /* people are not in a hurry */
        read_address(c, address, sizeof address);
        if (!address[0])
            continue;
        answer = http_get(address, "/api/v1/tasks/next?labeler=ann&count=50");
        json = answer.status == 200 ? json_loads(answer.body, 0, NULL) : NULL;
        tasks = json_object_get(json, "tasks");
        for (size_t i = 0; i < json_array_size(tasks) && !c->stop; i++)
            judge(address, json_array_get(tasks, i));
        json_decref(json);
        http_answer_free(&answer);
    }
    return NULL;
}

static enum service_conduct now_and_then(unsigned request)
{
    return request % 4 == 1 ? SERVICE_FAILS : request % 7 == 3 ? SERVICE_CLOSES : request % 11 == 5 ? SERVICE_GARBAGE : SERVICE_GOOD;
}

/* The run file's text, with the port of the service in place of zeros. */
static const char *run_text(const struct cluster *c, const char *world)
{
    const char *text = tiny_fill(HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD TINY_POLICY LAGGED TINY_EVALUATE, c->dir, world);
    char *at = strstr(text, SERVICE) + strlen("http://127.0.0.1:"), port[8];

    snprintf(port, sizeof port, "%05d", atoi(strrchr(reward_service_url(c->service), ':') + 1));
    memcpy(at, port, 5);
    return text;
}

static void begin(struct cluster *c, const char *world, const char *dir, const char *learner)
{
    static const int members[] = { WORKER_1, WORKER_2, SCORER };

    strcpy(c->dir, dir);
    c->service = reward_service_new(now_and_then);
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    write_file(config_of(c, COLLECTOR),
               "listen: ipc://%s/labels.sock\nhttp: 127.0.0.1:0\nhttp_address_file: %s/address\ndatabase: %s/labels.db\n",
               c->dir, c->dir, c->dir);
    write_file(config_of(c, LEARNER), "%s", run_text(c, world));
    for (size_t i = 0; i < 3; i++)
        write_file(config_of(c, members[i]), "learner: ipc://%s/%s\nthreads: 1\n", c->dir, learner);
    for (int i = 0; i < PROCESSES; i++)
        start(c, i);
    ck_assert_int_eq(pthread_create(&c->people, NULL, label, c), 0);
}

static void finish(struct cluster *c)
{
    c->stop = true;
    pthread_join(c->people, NULL);
    for (int i = 0; i < PROCESSES; i++)
        if (c->pid[i] > 0)
            end_process(c->pid[i], SIGTERM);
    ck_assert_uint_gt(reward_service_requests(c->service), 6 * 16 / 5); /* it was asked, and again where it failed */
    reward_service_free(c->service);
}

/* True when the learner has ended; anything but success fails the test. */
static bool is_done(struct cluster *c)
{
    int status;

    if (waitpid(c->pid[LEARNER], &status, WNOHANG) == 0)
        return false;
    c->pid[LEARNER] = 0;
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the learner failed; see the log above");
    return true;
}

static void kill_one(struct cluster *c, struct rlhf_random *random)
{
    int victim = (int)rlhf_random_below(random, PROCESSES);

    if (victim == LEARNER && c->kills[LEARNER] >= LEARNER_KILLS)
        victim = WORKER_1;
    end_process(c->pid[victim], SIGKILL);
    c->kills[victim]++;
    start(c, victim);
}

/* learner: the socket where workers and scorers look for it. */
static void run(struct cluster *c, const char *world, const char *dir, const char *learner, bool kill)
{
    struct rlhf_random random;
    time_t begun = time(NULL);

    rlhf_random_init(&random, 3, RLHF_PURPOSE_FAULT, 0, 0);
    begin(c, world, dir, learner);
    while (!is_done(c)) {
        ck_assert_msg(time(NULL) - begun < GIVE_UP_S, "the run does not end");
        nanosleep(&(struct timespec){ .tv_nsec = PAUSE_MS * 1000000 }, NULL); /* how often somebody is killed */
        if (kill && !is_done(c))
            kill_one(c, &random);
        else if (c->pid[LEARNER] == 0)
            break;
    }
    finish(c);
}

/* ---- the tests --------------------------------------------------------------------------------------- */

static char world[300];
static struct cluster calm;

static void calm_run(void)
{
    const char *base = a_directory();
    char dir[300];

    strcpy(world, in_directory(base, "world"));
    ck_assert_int_eq(mkdir(world, 0700), 0);
    tiny_world(world);
    strcpy(dir, in_directory(base, "calm"));
    run(&calm, world, dir, "learner.sock", false);
}

static void expect_same_bits(const struct cluster *c)
{
    static const char *const files[] = { "checkpoints/pre/model.safetensors", "checkpoints/sft/model.safetensors",
                                         "checkpoints/rm/model.safetensors", "checkpoints/ppo/model.safetensors",
                                         "checkpoints/lagged/model.safetensors",
                                         "evaluations/report/ppo.jsonl" };

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct rlhf_digest a = tiny_digest(calm.dir, files[i]), b = tiny_digest(c->dir, files[i]);

        ck_assert_msg(rlhf_digest_equal(&a, &b), "%s is not that of the calm run", files[i]);
    }
}

START_TEST(a_run_whose_daemons_are_killed_ends_with_the_same_bits)
{
    static struct cluster killed;
    char dir[300];

    strcpy(dir, in_directory(a_directory(), "killed"));
    run(&killed, world, dir, "learner.sock", true);
    expect_same_bits(&killed);
    printf("kills: %u label-collector, %u learner, %u + %u rollout-worker, %u reward-scorer\n", killed.kills[COLLECTOR],
           killed.kills[LEARNER], killed.kills[WORKER_1], killed.kills[WORKER_2], killed.kills[SCORER]);
    ck_assert_uint_ge(killed.kills[LEARNER], 1);
    ck_assert_uint_ge(killed.kills[WORKER_1] + killed.kills[WORKER_2], 1);
}
END_TEST

START_TEST(a_run_over_a_bad_network_ends_with_the_same_bits)
{
    static struct cluster shaken;
    const char *base = a_directory();
    struct faultproxy_counters n;
    struct faultproxy *proxy;
    char dir[300], path[320], target[340];

    strcpy(dir, in_directory(base, "shaken"));
    snprintf(path, sizeof path, "%s/learner.sock", dir);
    snprintf(target, sizeof target, "%s", in_directory(base, "network.sock"));
    proxy = faultproxy_new(target, path, 11);
    run(&shaken, world, dir, "../network.sock", false);
    n = faultproxy_free(proxy);
    expect_same_bits(&shaken);
    printf("network: %u connections, %u cut, %u truncated, %u corrupted, %u delays\n", n.connections, n.cuts,
           n.truncations, n.corruptions, n.delays);
    ck_assert_msg(n.connections > 3 && n.cuts + n.truncations > 0 && n.delays > 0, "the network was good");
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(calm_run, "cluster", a_run_whose_daemons_are_killed_ends_with_the_same_bits,
                           a_run_over_a_bad_network_ends_with_the_same_bits);
}
