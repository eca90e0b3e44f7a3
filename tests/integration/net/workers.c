/* Real rollout-workers and reward-scorers, over real sockets, with this test as their learner. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "daemon/daemon.h"
#include "daemon/sockets.h"
#include "model/model.h"
#include "net/checks.h"
#include "net/codec.h"
#include "net/weights.h"
#include "proto/control.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"
#include "reward-scorer/marker.h"
#include "rollout-worker/generator.h"
#include "support/loopback.h"
#include "support/shape.h"
#include "support/suite.h"

#define LEARNER RLHF__V1__ROLE__ROLE_LEARNER
#define CONTROL RLHF__V1__ROLE__ROLE_CONTROL
#define WORKER RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER
#define SCORER RLHF__V1__ROLE__ROLE_REWARD_SCORER
#define BIT(role) RLHF_ROLE_BIT(role)
#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
enum { SECOND = 1000000, JOBS = 24, CONTEXT = 32, VOCABULARY = 53 };

/* ---- a node on real sockets -------------------------------------------------------------------------- */

struct completion {
    unsigned done;
    size_t count;
    int32_t ids[CONTEXT];
    float logprob[CONTEXT], logprob_raw[CONTEXT];
};

/* The learner, or rlhfctl. */
struct party {
    struct loopback_peers peers; /* first */
    struct rlhf_sockets *sockets;
    struct rlhf_keys *keys; /* NULL: in the clear */
    struct rlhf_random random;
    struct rlhf_env env;
    struct rlhf_machine machine;
    struct rlhf_node *node;
    struct rlhf_weights_source *source;
    uint64_t route; /* that was heard last */
    bool deaf;      /* leaves requests for weights unanswered */
    uint32_t credit;
    unsigned results, returned, requests, statuses, chunks, errors;
    uint64_t refused; /* request of the last Error */
    char reason[500];
    struct completion completions[JOBS];
};

static int on_credit(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    (void)peer;
    (void)err;
    ((struct party *)state)->credit = ((const Rlhf__V1__Credit *)m->body)->jobs;
    return 0;
}

static int on_rollouts(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Rollouts *body = (const Rlhf__V1__Rollouts *)m->body;
    struct party *p = state;
    size_t at = 0;

    (void)peer;
    (void)err;
    for (size_t i = 0; i < body->n_rollouts; i++) {
        const Rlhf__V1__Rollout *r = body->rollouts[i];
        struct completion *c = &p->completions[r->id - 1];

        ck_assert_uint_le(r->id, JOBS);
        c->done++;
        c->count = r->tokens;
        memcpy(c->ids, (const int32_t *)m->blobs[0].data + at, r->tokens * 4);
        memcpy(c->logprob, (const float *)m->blobs[1].data + at, r->tokens * 4);
        memcpy(c->logprob_raw, (const float *)m->blobs[2].data + at, r->tokens * 4);
        at += r->tokens;
        p->results++;
    }
    return 0;
}

static int on_scores(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Scores *body = (const Rlhf__V1__Scores *)m->body;
    struct party *p = state;
    size_t at = 0;

    (void)peer;
    (void)err;
    for (size_t i = 0; i < body->n_scores; i++) {
        struct completion *c = &p->completions[body->scores[i]->id - 1];

        c->done++;
        c->count = body->scores[i]->logprobs;
        c->logprob_raw[0] = body->scores[i]->reward;
        memcpy(c->logprob, (const float *)m->blobs[0].data + at, c->count * 4);
        at += c->count;
        p->results++;
    }
    return 0;
}

static int on_returned(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__JobsReturned *body = (const Rlhf__V1__JobsReturned *)m->body;
    struct party *p = state;

    (void)peer;
    (void)err;
    p->returned += (unsigned)body->n_ids;
    snprintf(p->reason, sizeof p->reason, "%s", body->reason);
    return 0;
}

static int on_request(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct party *p = state;

    p->requests++;
    if (p->deaf)
        return 0;
    return rlhf_weights_source_on_request(p->source, p->node, peer, m, err);
}

static int on_chunks(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct party *p = state;

    p->chunks++;
    return rlhf_weights_source_on_chunk_request(p->source, p->node, peer, m, err);
}

static int on_status(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    (void)peer;
    (void)err;
    ck_assert_str_eq(((const Rlhf__V1__Status *)m->body)->daemon, "rollout-worker");
    ((struct party *)state)->statuses++;
    return 0;
}

static int on_error(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct party *p = state;

    (void)peer;
    (void)err;
    p->errors++;
    p->refused = ((const Rlhf__V1__Error *)m->body)->request;
    return 0;
}

static const struct rlhf_handler rows[] = {
    { TYPE(CREDIT), &rlhf__v1__credit__descriptor, BIT(WORKER) | BIT(SCORER), 64, 0, 0, rlhf_check_credit, on_credit },
    { TYPE(ROLLOUTS), &rlhf__v1__rollouts__descriptor, BIT(WORKER), 1 << 20, 3, 1 << 20, rlhf_check_rollouts,
      on_rollouts },
    { TYPE(SCORES), &rlhf__v1__scores__descriptor, BIT(SCORER), 1 << 20, 1, 1 << 20, rlhf_check_scores, on_scores },
    { TYPE(JOBS_RETURNED), &rlhf__v1__jobs_returned__descriptor, BIT(WORKER) | BIT(SCORER), 1 << 16, 0, 0,
      rlhf_check_jobs_returned, on_returned },
    { TYPE(WEIGHTS_REQUEST), &rlhf__v1__weights_request__descriptor, BIT(WORKER) | BIT(SCORER), 256, 0, 0,
      rlhf_check_weights_request, on_request },
    { TYPE(CHUNK_REQUEST), &rlhf__v1__chunk_request__descriptor, BIT(WORKER) | BIT(SCORER), 512, 0, 0,
      rlhf_check_chunk_request, on_chunks },
    { TYPE(STATUS), &rlhf__v1__status__descriptor, BIT(WORKER), 1 << 16, 0, 0, rlhf_check_status, on_status },
    { TYPE(ERROR), &rlhf__v1__error__descriptor, ~0u, 4096, 0, 0, rlhf_check_error, on_error },
    { 0 },
};

/* Heartbeats that a peer may miss. Many, but where they are the matter: a machine under load and sanitizers lets a process
 * wait for longer than the usual five, and jobs that are lost with a session are not given out again here. */
static uint32_t liveness = 60;

static void a_party(struct party *p, Rlhf__V1__Role role)
{
    struct rlhf_node_config c = { .role = role,
                                  .run = role == LEARNER ? "a-run" : NULL,
                                  .host = rlhf_boot_id(),
                                  .heartbeat_ms = 1000,
                                  .liveness = liveness };
    struct rlhf_error err = { 0 };

    memset(p, 0, sizeof *p);
    expect_some(p->sockets = rlhf_sockets_new(&err), err);
    rlhf_random_init(&p->random, (uint64_t)getpid(), RLHF_PURPOSE_FAULT, role, 0);
    p->env = (struct rlhf_env){ &rlhf_system_clock, &rlhf_system_io, rlhf_sockets_transport(p->sockets), &p->random };
    p->machine = (struct rlhf_machine){
        .handlers = rows, .state = p, .peer_up = loopback_peer_up, .peer_lost = loopback_peer_lost
    };
    expect_some(p->node = rlhf_node_new(&c, &p->env, &p->machine, &err), err);
    expect_some(p->source = rlhf_weights_source_new(rlhf_boot_id(), &err), err);
}

static void a_learner(struct party *p, const char *endpoint)
{
    struct rlhf_error err = { 0 };

    a_party(p, LEARNER);
    expect_ok(rlhf_sockets_serve(p->sockets, endpoint, false, &err), err);
}

static void a_control(struct party *p, const char *endpoint)
{
    struct rlhf_error err = { 0 };
    uint64_t route;

    a_party(p, CONTROL);
    expect_ok(rlhf_sockets_link(p->sockets, endpoint, WORKER, &route, &err), err);
    expect_ok(rlhf_node_link(p->node, route, WORKER, &err), err);
}

static void end_party(struct party *p)
{
    rlhf_node_free(p->node);
    rlhf_sockets_free(p->sockets);
    rlhf_keys_free(p->keys);
    rlhf_weights_source_free(p->source);
}

static void receive(void *ctx, uint64_t route, const struct rlhf_blob *frames, size_t count)
{
    struct party *p = ctx;

    p->route = route;
    rlhf_node_receive(p->node, route, frames, count);
}

/* Lets p live until the condition holds; fails after a generous while. */
#define AWAIT(p, condition)                                                                                  \
    do {                                                                                                     \
        int64_t until_us = rlhf_now(&rlhf_system_clock) + 120ll * SECOND;                                    \
        while (!(condition)) {                                                                               \
            ck_assert_msg(rlhf_now(&rlhf_system_clock) < until_us, "%s never came", #condition);             \
            live(p);                                                                                         \
        }                                                                                                    \
    } while (0)

static void live(struct party *p)
{
    zmq_pollitem_t items[2]; /* under keys the second one is asked who may connect */
    size_t count = rlhf_sockets_count(p->sockets);

    for (size_t i = 0; i < count; i++)
        items[i] = (zmq_pollitem_t){ .socket = rlhf_sockets_handle(p->sockets, i), .events = ZMQ_POLLIN };
    zmq_poll(items, (int)count, 20);
    for (size_t i = 0; i < count; i++)
        rlhf_sockets_receive(p->sockets, i, 1000, receive, p);
    rlhf_node_tick(p->node);
}

/* ---- daemons as processes ---------------------------------------------------------------------------- */

static const char *dir;

/* Starts a daemon with these settings; its log is NAME.log in the directory. */
static pid_t start(const char *name, const char *config)
{
    char path[512], yaml[512], log[512];
    FILE *f;
    pid_t pid;
    int fd;

    snprintf(path, sizeof path, "%s/daemons/%s", getenv("RLHF_BUILD"), name);
    snprintf(yaml, sizeof yaml, "%s/%s.yaml", dir, name);
    snprintf(log, sizeof log, "%s/%s.log", dir, name);
    ck_assert_msg(access(path, X_OK) == 0, "no program %s: set RLHF_BUILD to the build directory", path);
    ck_assert_ptr_nonnull(f = fopen(yaml, "w"));
    fputs(config, f);
    fclose(f);
    fflush(NULL);
    if ((pid = fork()) == 0) {
        fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, STDERR_FILENO);
        setenv("RLHF_LOG", "info", 1);
        execl(path, name, "--config", yaml, (char *)NULL);
        _exit(127);
    }
    ck_assert_int_gt(pid, 0);
    return pid;
}

static const char *log_of(const char *name)
{
    static char text[1 << 16];
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s.log", dir, name);
    text[0] = 0;
    if ((f = fopen(path, "r"))) {
        text[fread(text, 1, sizeof text - 1, f)] = 0;
        fclose(f);
    }
    return text;
}

/* Its exit status, which must come by itself. Killed by a signal, its log says why. */
static int wait_for(pid_t pid, const char *name)
{
    struct timespec pause = { 0, 10000000 };
    int status;

    for (int i = 0; i < 6000; i++, nanosleep(&pause, NULL))
        if (waitpid(pid, &status, WNOHANG) == pid) {
            ck_assert_msg(WIFEXITED(status), "signal %d: %s", WTERMSIG(status), log_of(name));
            return WEXITSTATUS(status);
        }
    ck_abort_msg("it never ends");
    return -1;
}

static const char *ipc(const char *name)
{
    static char text[4][300];
    static unsigned next;
    char *out = text[next++ % 4];

    snprintf(out, sizeof text[0], "ipc://%s/%s", dir, name);
    return out;
}

static pid_t start_worker(const char *learner)
{
    char config[1024];

    snprintf(config, sizeof config, "learner: \"%s\"\ncontrol: \"%s\"\nthreads: 1\nslots: 8\n", learner, ipc("control"));
    return start("rollout-worker", config);
}

/* ---- weights and jobs -------------------------------------------------------------------------------- */

static struct rlhf_model *a_model(uint64_t seed, enum rlhf_head head)
{
    struct rlhf_model_config c = a_config("gpt2", (struct shape){ 2, 2, 8, 32, VOCABULARY, CONTEXT });
    struct rlhf_error err = { 0 };
    struct rlhf_model *m;

    c.head = head;
    expect_some(m = rlhf_model_new(&c, seed, &err), err);
    return m;
}

/* Takes m. */
static struct rlhf_digest publish(struct party *p, struct rlhf_model *m, const char *shared_dir)
{
    struct rlhf_bytes config = { 0 }, tensors = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_digest digest;

    expect_ok(rlhf_model_write(m, &config, &tensors, &err), err);
    expect_ok(rlhf_weights_source_publish(p->source,
                                          &(struct rlhf_weights_spec){ "policy", 1, config.data, tensors.data,
                                                                       tensors.size, shared_dir, NULL },
                                          &digest, &err),
              err);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    rlhf_model_free(m);
    return digest;
}

static struct generator_job a_job(unsigned i, int32_t *prompt)
{
    struct generator_job job = { .tag = i,
                                 .sampling = { .temperature = 1, .top_p = 1, .max_new_tokens = 4 + i % 20 },
                                 .key = { 7, RLHF_PURPOSE_SAMPLE, i / 3, i % 3 },
                                 .end_token = 2,
                                 .prompt = prompt,
                                 .prompt_count = 2 + i / 3 };

    for (size_t t = 0; t < job.prompt_count; t++)
        prompt[t] = (int32_t)((i / 3 * 5 + t * 3) % VOCABULARY);
    return job;
}

static void send_jobs(struct party *p, const struct rlhf_digest *weights)
{
    Rlhf__V1__GenerateJobs body = RLHF__V1__GENERATE_JOBS__INIT;
    Rlhf__V1__GenerateJob job[JOBS], *jobs[JOBS];
    Rlhf__V1__Sampling sampling[JOBS], *samplings[JOBS];
    Rlhf__V1__JobName name = RLHF__V1__JOB_NAME__INIT;
    ProtobufCBinaryData digest = rlhf_digest_field(weights);
    int32_t prompts[JOBS * CONTEXT];
    struct rlhf_error err = { 0 };
    size_t tokens = 0;

    for (unsigned i = 0; i < JOBS; i++) {
        struct generator_job j = a_job(i, prompts + tokens);

        rlhf__v1__generate_job__init(&job[i]);
        rlhf__v1__sampling__init(&sampling[i]);
        sampling[i].temperature = j.sampling.temperature;
        sampling[i].top_p = (float)j.sampling.top_p;
        sampling[i].max_new_tokens = j.sampling.max_new_tokens;
        sampling[i].end_token = j.end_token;
        job[i].id = i + 1;
        job[i].attempt = 1;
        job[i].name = &name;
        job[i].purpose = RLHF__V1__PURPOSE__PURPOSE_SAMPLE;
        job[i].seed = j.key.seed;
        job[i].key_prompt = j.key.prompt;
        job[i].key_sample = j.key.sample;
        job[i].sampling = i;
        job[i].prompt_tokens = (uint32_t)j.prompt_count;
        tokens += j.prompt_count;
        jobs[i] = &job[i];
        samplings[i] = &sampling[i];
    }
    body.weights = &digest;
    body.n_weights = 1;
    body.jobs = jobs;
    body.sampling = samplings;
    body.n_jobs = body.n_sampling = JOBS;
    memset(p->completions, 0, sizeof p->completions);
    p->results = 0;
    expect_ok(rlhf_node_send(p->node, p->peers.peer,
                             &(struct rlhf_message){ .type = TYPE(GENERATE_JOBS),
                                                     .body = &body.base,
                                                     .blobs = { { prompts, tokens * 4 } },
                                                     .blob_count = 1 },
                             &err),
              err);
}

static struct completion expected[JOBS];

static void keep_expected(void *ctx, const struct generator_result *r)
{
    struct completion *c = &expected[r->tag];

    (void)ctx;
    c->count = r->count;
    memcpy(c->ids, r->ids, r->count * 4);
    memcpy(c->logprob, r->logprob, r->count * 4);
    memcpy(c->logprob_raw, r->logprob_raw, r->count * 4);
}

/* What came over the wire is what one slot computes in this process. Takes m. */
static void expect_rollouts(const struct party *p, struct rlhf_model *m)
{
    struct rlhf_error err = { 0 };
    struct generator *g = generator_new(1, 100, NULL, keep_expected, NULL, &err);
    struct rlhf_digest digest = rlhf_digest_of("x", 1);

    expect_ok(generator_add_model(g, &digest, m, &err), err);
    for (unsigned i = 0; i < JOBS; i++) {
        int32_t prompt[CONTEXT];
        struct generator_job job = a_job(i, prompt);

        job.weights = digest;
        expect_ok(generator_add(g, &job, &err), err);
        while (generator_step(g))
            ;
        ck_assert_uint_eq(p->completions[i].done, 1);
        expected[i].done = 1;
        ck_assert_msg(memcmp(&p->completions[i], &expected[i], sizeof expected[i]) == 0, "job %u", i);
    }
    generator_free(g);
}

/* ---- the tests --------------------------------------------------------------------------------------- */

START_TEST(a_worker_started_before_its_learner_does_its_jobs_to_the_bit)
{
    for (unsigned way = 0; way < 2; way++) { /* over a mapped file, and chunk by chunk */
        struct party learner;
        struct rlhf_digest digest;
        pid_t pid;

        dir = way ? dir : a_directory();
        pid = start_worker(ipc("learner"));
        a_learner(&learner, ipc("learner"));
        AWAIT(&learner, learner.credit > 0);
        digest = publish(&learner, a_model(3, RLHF_HEAD_LM), way ? NULL : dir);
        send_jobs(&learner, &digest);
        AWAIT(&learner, learner.results == JOBS);
        expect_rollouts(&learner, a_model(3, RLHF_HEAD_LM));
        ck_assert_int_eq(learner.chunks > 0, way);
        kill(pid, SIGTERM);
        AWAIT(&learner, learner.peers.lost == 1); /* it says Goodbye */
        ck_assert_int_eq(wait_for(pid, "rollout-worker"), 0);
        end_party(&learner);
    }
}
END_TEST

/* Makes the keys of a learner and a worker, and lists both. */
static void make_keys(const char *peers)
{
    static const char *const names[] = { "learner", "rollout-worker" };
    char public_key[RLHF_KEY_TEXT];
    struct rlhf_error err = { 0 };
    FILE *f = fopen(peers, "w");

    ck_assert_ptr_nonnull(f);
    for (size_t i = 0; i < 2; i++) {
        expect_ok(rlhf_keys_make(in_directory(dir, names[i]), public_key, &err), err);
        fprintf(f, "%s %s %s\n", public_key, names[i], names[i]);
    }
    fclose(f);
}

START_TEST(a_worker_under_curve_does_its_jobs_until_its_key_is_revoked)
{
    struct party learner;
    struct rlhf_digest digest;
    struct rlhf_error err = { 0 };
    char config[1024], peers[512];
    pid_t pid;

    dir = a_directory();
    snprintf(peers, sizeof peers, "%s/peers", dir);
    make_keys(peers);
    a_party(&learner, LEARNER);
    expect_some(learner.keys = rlhf_keys_open(in_directory(dir, "learner"), peers, &err), err);
    expect_ok(rlhf_sockets_protect(learner.sockets, learner.keys, &err), err);
    expect_ok(rlhf_sockets_serve(learner.sockets, "tcp://127.0.0.1:0", false, &err), err);
    snprintf(config, sizeof config, "learner: \"%s\"\nkey: %s/rollout-worker\npeers: %s\nthreads: 1\nslots: 8\n",
             rlhf_sockets_endpoint(learner.sockets), dir, peers);
    pid = start("rollout-worker", config);
    AWAIT(&learner, learner.credit > 0);
    digest = publish(&learner, a_model(3, RLHF_HEAD_LM), NULL); /* chunk by chunk */
    send_jobs(&learner, &digest);
    AWAIT(&learner, learner.results == JOBS);
    expect_rollouts(&learner, a_model(3, RLHF_HEAD_LM));

    kill(pid, SIGHUP); /* reads its list again, and goes on */
    for (int i = 0; !strstr(log_of("rollout-worker"), "peers_reloaded"); i++) {
        ck_assert_int_lt(i, 6000);
        live(&learner);
    }
    ck_assert_uint_eq(learner.peers.lost, 0);
    fclose(fopen(peers, "w"));
    expect_ok(rlhf_keys_reload(learner.keys, &err), err);
    AWAIT(&learner, learner.peers.lost == 1); /* with its next heartbeat */
    kill(pid, SIGTERM);
    ck_assert_int_eq(wait_for(pid, "rollout-worker"), 0);
    end_party(&learner);
}
END_TEST

START_TEST(a_scorer_gives_the_scores_that_are_computed_here)
{
    struct party learner;
    Rlhf__V1__ScoreJobs body = RLHF__V1__SCORE_JOBS__INIT;
    Rlhf__V1__ScoreJob job = RLHF__V1__SCORE_JOB__INIT, *jobs[] = { &job };
    struct rlhf_model *reward = a_model(5, RLHF_HEAD_SCALAR), *reference = a_model(6, RLHF_HEAD_LM);
    struct rlhf_digest reward_digest, reference_digest;
    struct rlhf_error err = { 0 };
    int32_t ids[] = { 1, 2, 3, 4, 5 }, target[] = { -1, 3, 4, 5, -1 };
    uint32_t start_at[] = { 0, 5 };
    struct rlhf_batch batch = { .tokens = ids, .start = start_at, .sequences = 1 };
    float scalar[5], logprob[5];
    struct rlhf_pass *pass;
    char config[1024];
    pid_t pid;

    dir = a_directory();
    snprintf(config, sizeof config, "learner: \"%s\"\nthreads: 1\n", ipc("learner"));
    pid = start("reward-scorer", config);
    a_learner(&learner, ipc("learner"));
    AWAIT(&learner, learner.credit > 0);
    reward_digest = publish(&learner, a_model(5, RLHF_HEAD_SCALAR), dir);
    reference_digest = publish(&learner, a_model(6, RLHF_HEAD_LM), dir);
    job.id = job.attempt = 1;
    job.tokens = 5;
    job.prompt_tokens = 2;
    body.reward_model = rlhf_digest_field(&reward_digest);
    body.reference = rlhf_digest_field(&reference_digest);
    body.temperature = 0.5f;
    body.jobs = jobs;
    body.n_jobs = 1;
    expect_ok(rlhf_node_send(learner.node, learner.peers.peer,
                             &(struct rlhf_message){ .type = TYPE(SCORE_JOBS),
                                                     .body = &body.base,
                                                     .blobs = { { ids, sizeof ids } },
                                                     .blob_count = 1 },
                             &err),
              err);
    AWAIT(&learner, learner.results == 1);
    pass = rlhf_pass_new(rlhf_model_get_config(reward), NULL, 0, &err);
    expect_ok(rlhf_pass_forward(pass, reward, &batch, &err), err);
    expect_ok(rlhf_pass_scalars(pass, reward, scalar, &err), err);
    rlhf_pass_free(pass);
    pass = rlhf_pass_new(rlhf_model_get_config(reference), NULL, 0, &err);
    expect_ok(rlhf_pass_forward(pass, reference, &batch, &err), err);
    expect_ok(rlhf_pass_logprobs(pass, reference, target, 0.5f, logprob, NULL, &err), err);
    rlhf_pass_free(pass);
    ck_assert(memcmp(&learner.completions[0].logprob_raw[0], &scalar[4], 4) == 0);
    ck_assert_uint_eq(learner.completions[0].count, 3);
    ck_assert(memcmp(learner.completions[0].logprob, logprob + 1, 12) == 0);
    kill(pid, SIGTERM);
    ck_assert_int_eq(wait_for(pid, "reward-scorer"), 0);
    rlhf_model_free(reward);
    rlhf_model_free(reference);
    end_party(&learner);
}
END_TEST

START_TEST(weights_that_are_no_model_come_back_with_the_reason)
{
    struct party learner;
    struct rlhf_digest digest;
    struct rlhf_error err = { 0 };
    pid_t pid;

    dir = a_directory();
    pid = start_worker(ipc("learner"));
    a_learner(&learner, ipc("learner"));
    AWAIT(&learner, learner.credit > 0);
    expect_ok(rlhf_weights_source_publish(
                  learner.source, &(struct rlhf_weights_spec){ "policy", 1, "{\"a\": \"b\nc\"}", "junk", 4, NULL, NULL }, &digest,
                  &err),
              err);
    send_jobs(&learner, &digest);
    AWAIT(&learner, learner.returned == JOBS);
    ck_assert_uint_gt(strlen(learner.reason), 0);
    learner.returned = 0;
    digest = rlhf_digest_of("nowhere", 7);
    send_jobs(&learner, &digest);
    AWAIT(&learner, learner.returned == JOBS);
    expect_contains(learner.reason, "not published");
    kill(pid, SIGTERM);
    ck_assert_int_eq(wait_for(pid, "rollout-worker"), 0);
    end_party(&learner);
}
END_TEST

START_TEST(a_worker_survives_its_learners_death_and_works_for_the_next_one)
{
    struct party learner;
    struct rlhf_digest digest;
    pid_t pid;

    dir = a_directory();
    pid = start_worker(ipc("learner"));
    for (unsigned life = 0; life < 3; life++) {
        a_learner(&learner, ipc("learner"));
        AWAIT(&learner, learner.credit > 0);
        digest = publish(&learner, a_model(life, RLHF_HEAD_LM), dir);
        send_jobs(&learner, &digest);
        AWAIT(&learner, learner.results >= (life < 2 ? 1 : JOBS)); /* twice it dies with jobs given out */
        if (life == 2)
            expect_rollouts(&learner, a_model(life, RLHF_HEAD_LM));
        end_party(&learner);
    }
    kill(pid, SIGTERM);
    ck_assert_int_eq(wait_for(pid, "rollout-worker"), 0);
}
END_TEST

START_TEST(a_stopped_worker_hands_its_jobs_back)
{
    struct party learner;
    struct rlhf_digest digest = rlhf_digest_of("weights that never come", 5);
    pid_t pid;

    dir = a_directory();
    pid = start_worker(ipc("learner"));
    a_learner(&learner, ipc("learner"));
    AWAIT(&learner, learner.credit > 0);
    learner.deaf = true;
    send_jobs(&learner, &digest);
    AWAIT(&learner, learner.requests > 0); /* they have arrived: it asks for their weights */
    kill(pid, SIGTERM);
    AWAIT(&learner, learner.peers.lost == 1);
    ck_assert_uint_eq(learner.returned, JOBS);
    expect_contains(learner.reason, "stop");
    ck_assert_int_eq(wait_for(pid, "rollout-worker"), 0);
    end_party(&learner);
}
END_TEST

START_TEST(a_killed_worker_is_missed_within_six_seconds)
{
    struct party learner;
    int64_t killed;
    pid_t pid;

    liveness = 5;
    dir = a_directory();
    pid = start_worker(ipc("learner"));
    a_learner(&learner, ipc("learner"));
    AWAIT(&learner, learner.credit > 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    killed = rlhf_now(&rlhf_system_clock);
    AWAIT(&learner, learner.peers.lost == 1);
    printf("missed after %.1f s\n", (double)(rlhf_now(&rlhf_system_clock) - killed) / SECOND);
    end_party(&learner);
}
END_TEST

/* Frames of every kind from a DEALER, then bytes of every kind from a TCP socket. */
static void throw_garbage(const char *endpoint, unsigned seed)
{
    struct rlhf_random random;
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER);
    int linger = 0, wait = 2000;
    unsigned port;

    rlhf_random_init(&random, seed, RLHF_PURPOSE_FAULT, 0, 0);
    zmq_setsockopt(dealer, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(dealer, ZMQ_SNDTIMEO, &wait, sizeof wait);
    ck_assert_int_eq(zmq_connect(dealer, endpoint), 0);
    for (unsigned i = 0; i < 3000; i++) {
        size_t count = 1 + rlhf_random_below(&random, 9);

        for (size_t f = 0; f < count; f++) {
            uint8_t bytes[300];
            size_t size = rlhf_random_below(&random, i % 100 ? 40 : 300);

            for (size_t b = 0; b < size; b++)
                bytes[b] = (uint8_t)rlhf_random_u32(&random);
            if (f == 0 && i % 2) {
                memcpy(bytes, (const uint8_t[]){ 0x08, 1, 0x10, (uint8_t)rlhf_random_below(&random, 70) }, 4);
                size = 4;
            }
            if (zmq_send(dealer, bytes, size, f + 1 < count ? ZMQ_SNDMORE : 0) < 0)
                break;
        }
    }
    zmq_close(dealer);
    zmq_ctx_term(context);
    if (sscanf(endpoint, "tcp://127.0.0.1:%u", &port) != 1)
        return;
    for (unsigned i = 0; i < 50; i++) {
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_port = htons((uint16_t)port),
                                       .sin_addr = { htonl(INADDR_LOOPBACK) } };
        /* ZMTP's signature, and then nonsense, half of the time */
        uint8_t bytes[512] = { 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0 };
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        for (size_t b = i % 2 ? 12 : 0; b < sizeof bytes; b++)
            bytes[b] = (uint8_t)rlhf_random_u32(&random);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
            ck_assert(send(fd, bytes, 1 + rlhf_random_below(&random, sizeof bytes), MSG_NOSIGNAL) != 0);
        close(fd);
    }
}

START_TEST(garbage_on_a_service_harms_nobody)
{
    struct party control;
    Rlhf__V1__StatusRequest body = RLHF__V1__STATUS_REQUEST__INIT;
    struct rlhf_error err = { 0 };
    char config[1024], endpoint[128];
    const char *said;
    pid_t pid, thrower;
    int status;

    dir = a_directory();
    snprintf(config, sizeof config, "learner: \"%s\"\ncontrol: \"tcp://127.0.0.1:0\"\nthreads: 1\n", ipc("learner"));
    pid = start("rollout-worker", config);
    for (int i = 0; !(said = strstr(log_of("rollout-worker"), "listening endpoint=")); i++) {
        struct timespec pause = { 0, 10000000 };

        ck_assert_int_lt(i, 6000);
        nanosleep(&pause, NULL);
    }
    ck_assert_int_eq(sscanf(said, "listening endpoint=%127s", endpoint), 1);
    a_control(&control, endpoint);
    AWAIT(&control, control.peers.peer);
    if ((thrower = fork()) == 0) { /* on its own, so that this process goes on being heard */
        throw_garbage(endpoint, 1);
        _exit(0);
    }
    AWAIT(&control, waitpid(thrower, &status, WNOHANG) == thrower);
    ck_assert_int_eq(status, 0);
    for (unsigned n = 1; n <= 3; n++) {
        expect_ok(rlhf_node_send(control.node, control.peers.peer,
                                 &(struct rlhf_message){ .type = TYPE(STATUS_REQUEST), .body = &body.base }, &err),
                  err);
        AWAIT(&control, control.statuses == n);
    }
    ck_assert_uint_eq(control.peers.lost, 0);
    kill(pid, SIGTERM);
    ck_assert_int_eq(wait_for(pid, "rollout-worker"), 0);
    end_party(&control);
}
END_TEST

/* Returns when the worker has heard all that was sent before, and is greeted: it answers in order, and only whom it knows.
 * Some garbage is a Goodbye, after which it greets anew and is deaf until then. */
static void catch_up(struct party *p)
{
    enum { MARK = 99 };
    const uint8_t header[] = { 8, 1, 16, 127, 24, MARK, 34, 5, 'a', '-', 'r', 'u', 'n' }; /* of no known type */
    struct rlhf_blob frames[] = { { header, sizeof header }, { header, 0 } };
    int64_t until_us = rlhf_now(&rlhf_system_clock) + 120ll * SECOND;

    while (p->refused != MARK) {
        ck_assert_msg(rlhf_now(&rlhf_system_clock) < until_us, "the worker does not come back");
        p->env.transport->send(p->env.transport, p->route, frames, 2, NULL, NULL);
        live(p);
    }
}

START_TEST(garbage_from_the_learner_harms_no_worker)
{
    struct party learner;
    struct rlhf_random random;
    struct rlhf_digest digest;
    pid_t pid;

    dir = a_directory();
    pid = start_worker(ipc("learner"));
    a_learner(&learner, ipc("learner"));
    AWAIT(&learner, learner.credit > 0);
    rlhf_random_init(&random, 4, RLHF_PURPOSE_FAULT, 0, 0);
    for (unsigned i = 0; i < 3000; i++) {
        uint8_t bytes[6][64];
        struct rlhf_blob frames[6];
        size_t count = 1 + rlhf_random_below(&random, 6);

        for (size_t f = 0; f < count; f++) {
            frames[f] = (struct rlhf_blob){ bytes[f], rlhf_random_below(&random, 64) };
            for (size_t b = 0; b < sizeof bytes[f]; b++)
                bytes[f][b] = (uint8_t)rlhf_random_u32(&random);
        }
        if (i % 2) {
            memcpy(bytes[0], (const uint8_t[]){ 8, 1, 16, (uint8_t)(i % 70), 34, 5, 'a', '-', 'r', 'u', 'n' }, 11);
            frames[0].size = 11;
        }
        learner.env.transport->send(learner.env.transport, learner.route, frames, count, NULL, NULL);
        if (i % 20 == 0 && (i < 1000 || i >= 2000)) /* and for a while its refusals are left unread */
            live(&learner);
    }
    catch_up(&learner);
    digest = publish(&learner, a_model(3, RLHF_HEAD_LM), dir);
    send_jobs(&learner, &digest);
    AWAIT(&learner, learner.results == JOBS);
    expect_rollouts(&learner, a_model(3, RLHF_HEAD_LM));
    ck_assert_uint_gt(learner.errors, 100);
    kill(pid, SIGTERM);
    ck_assert_int_eq(wait_for(pid, "rollout-worker"), 0);
    end_party(&learner);
}
END_TEST

START_TEST(a_busy_endpoint_is_named)
{
    struct party other;
    char config[1024];

    dir = a_directory();
    for (unsigned way = 0; way < 2; way++) {
        const char *endpoint = way ? ipc("taken") : "tcp://127.0.0.1:0";
        pid_t pid;

        a_learner(&other, endpoint);
        endpoint = rlhf_sockets_endpoint(other.sockets);
        snprintf(config, sizeof config, "learner: \"%s\"\ncontrol: \"%s\"\nthreads: 1\n", ipc("learner"), endpoint);
        pid = start("rollout-worker", config);
        ck_assert_int_eq(wait_for(pid, "rollout-worker"), 1);
        expect_contains(log_of("rollout-worker"), endpoint);
        expect_contains(log_of("rollout-worker"), "in use by another process");
        end_party(&other);
    }
}
END_TEST

START_TEST(an_open_address_is_refused_unless_it_is_wanted)
{
    pid_t pid;

    dir = a_directory();
    pid = start("rollout-worker", "learner: \"tcp://127.0.0.1:1\"\ncontrol: \"tcp://0.0.0.0:0\"\nthreads: 1\n");
    ck_assert_int_eq(wait_for(pid, "rollout-worker"), 1);
    expect_contains(log_of("rollout-worker"), "not loopback");
    pid = start("rollout-worker",
                "learner: \"tcp://127.0.0.1:1\"\ncontrol: \"tcp://0.0.0.0:0\"\ninsecure: true\nthreads: 1\n");
    for (int i = 0; !strstr(log_of("rollout-worker"), "ready"); i++) {
        struct timespec pause = { 0, 10000000 };

        ck_assert_int_lt(i, 6000);
        nanosleep(&pause, NULL);
    }
    kill(pid, SIGTERM);
    ck_assert_int_eq(wait_for(pid, "rollout-worker"), 0);
}
END_TEST

int main(void)
{
    return RUN_SUITE("net/workers", a_worker_started_before_its_learner_does_its_jobs_to_the_bit,
                     a_worker_under_curve_does_its_jobs_until_its_key_is_revoked,
                     a_scorer_gives_the_scores_that_are_computed_here,
                     weights_that_are_no_model_come_back_with_the_reason,
                     a_worker_survives_its_learners_death_and_works_for_the_next_one,
                     a_stopped_worker_hands_its_jobs_back, a_killed_worker_is_missed_within_six_seconds,
                     garbage_on_a_service_harms_nobody, garbage_from_the_learner_harms_no_worker,
                     a_busy_endpoint_is_named, an_open_address_is_refused_unless_it_is_wanted);
}
