/* coordinator.c - what a job costs the learner's fleet side, with few workers and with many. One JSON line a case.
 *
 *     bench-coordinator [seconds a case, 1 by default] [case]
 *
 *   workers-10, workers-100, workers-1000
 *
 * The learner's state machine on its socket, over TCP loopback, gives out jobs (prompts of 64 tokens) to so many workers, which answer
 * each message of jobs at once with completions of 128 tokens. The workers are DEALER sockets of one other process. The learner's
 * process, libzmq's thread with it, runs on one core, the workers on the others.
 *
 *   served   seconds from the moment when all workers connect until all are greeted and as many jobs as there are workers are done
 *   jobs/s   by the clock, which waits for the simulated workers, too; and jobs a second of the learner's processor time */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "bench.h"
#include "daemon/sockets.h"
#include "learner/learner.h"
#include "net/checks.h"
#include "net/codec.h"
#include "net/weights.h"
#include "proto/work.pb-c.h"

#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
enum { PROMPT = 64, NEW = 128, CREDIT = 16, JOBS = 20000, MAX_TURNS = 64 };

static struct bench_arguments arguments;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, zmq_strerror(errno));
    exit(1);
}

static void print(const char *name, size_t workers, double value, const char *unit)
{
    printf("{\"case\":\"%s-%zu\",\"value\":%.5g,\"unit\":\"%s\"}\n", name, workers, value, unit);
    fflush(stdout);
}

/* This process on the first core it may use, or on all but that. */
static void pin(bool first)
{
    cpu_set_t all, mine;
    bool seen = false;

    sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&mine);
    for (int c = 0; c < CPU_SETSIZE; c++)
        if (CPU_ISSET(c, &all)) {
            if (first != seen)
                CPU_SET(c, &mine);
            seen = true;
        }
    if (CPU_COUNT(&mine) > 0)
        sched_setaffinity(0, sizeof mine, &mine);
}

/* ---- the workers ------------------------------------------------------------------------------------- */

static struct rlhf_bytes packed;

static void send_message(void *dealer, const char *run, const struct rlhf_message *m)
{
    struct rlhf_header header = { .protocol = RLHF_PROTOCOL };
    struct rlhf_blob frames[RLHF_MAX_FRAMES];
    struct rlhf_error err = { 0 };
    int count;

    strcpy(header.run, run);
    if ((count = rlhf_pack_message(&packed, &header, m, frames, &err)) < 0)
        bench_fail(&err);
    for (int i = 0; i < count; i++)
        if (zmq_send(dealer, frames[i].data, frames[i].size, i + 1 < count ? ZMQ_SNDMORE : 0) < 0)
            fail("a worker's send");
}

static void greet(void *dealer, uint64_t epoch)
{
    Rlhf__V1__Hello body = RLHF__V1__HELLO__INIT;

    body.protocol = RLHF_PROTOCOL;
    body.role = RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER;
    body.epoch = epoch;
    body.software = (char *)"simulated";
    send_message(dealer, "", &(struct rlhf_message){ .type = TYPE(HELLO), .request = epoch, .body = &body.base });
}

static void do_jobs(void *dealer, struct rlhf_budget *budget, const zmq_msg_t *frame)
{
    static int32_t ids[256 * NEW];
    static float logprob[256 * NEW];
    Rlhf__V1__Rollout rollout[256], *list[256];
    Rlhf__V1__Rollouts body = RLHF__V1__ROLLOUTS__INIT;
    struct rlhf_error err = { 0 };
    const Rlhf__V1__GenerateJobs *jobs = (const Rlhf__V1__GenerateJobs *)rlhf_unpack(
        budget, &rlhf__v1__generate_jobs__descriptor, zmq_msg_data((zmq_msg_t *)frame), zmq_msg_size(frame), &err);

    if (!jobs)
        bench_fail(&err);
    for (size_t i = 0; i < jobs->n_jobs; i++) {
        rlhf__v1__rollout__init(&rollout[i]);
        rollout[i].id = jobs->jobs[i]->id;
        rollout[i].attempt = jobs->jobs[i]->attempt;
        rollout[i].weights = jobs->weights[0];
        rollout[i].finish = RLHF__V1__FINISH_REASON__FINISH_LENGTH;
        rollout[i].tokens = NEW;
        list[i] = &rollout[i];
    }
    body.rollouts = list;
    body.n_rollouts = jobs->n_jobs;
    send_message(dealer, "bench",
                 &(struct rlhf_message){ .type = TYPE(ROLLOUTS),
                                         .body = &body.base,
                                         .blobs = { { ids, jobs->n_jobs * NEW * 4 },
                                                    { logprob, jobs->n_jobs * NEW * 4 },
                                                    { logprob, jobs->n_jobs * NEW * 4 } },
                                         .blob_count = 3 });
}

/* One message; false when there is none. */
static bool answer(void *dealer, struct rlhf_budget *budget)
{
    zmq_msg_t frames[RLHF_MAX_FRAMES];
    Rlhf__V1__Credit credit = RLHF__V1__CREDIT__INIT;
    struct rlhf_header header;
    struct rlhf_error err = { 0 };
    size_t count = 0;

    do {
        zmq_msg_init(&frames[count]);
        if (zmq_msg_recv(&frames[count], dealer, count ? 0 : ZMQ_DONTWAIT) < 0)
            return false;
    } while (zmq_msg_more(&frames[count++]));
    rlhf_budget_reset(budget, 1 << 20);
    if (rlhf_header_read(&header, budget, &(struct rlhf_blob){ zmq_msg_data(&frames[0]), zmq_msg_size(&frames[0]) }, &err) < 0)
        bench_fail(&err);
    if (header.type == TYPE(WELCOME)) {
        credit.jobs = CREDIT;
        send_message(dealer, "bench", &(struct rlhf_message){ .type = TYPE(CREDIT), .body = &credit.base });
    } else if (header.type == TYPE(GENERATE_JOBS)) {
        do_jobs(dealer, budget, &frames[1]);
    }
    for (size_t i = 0; i < count; i++)
        zmq_msg_close(&frames[i]);
    return true;
}

/* Until it is killed. */
static _Noreturn void simulate(const char *endpoint, size_t workers)
{
    void *context = zmq_ctx_new();
    zmq_pollitem_t *items = calloc(workers, sizeof *items);
    struct rlhf_error err = { 0 };
    struct rlhf_budget *budget = rlhf_budget_new(&err);

    pin(false);
    zmq_ctx_set(context, ZMQ_MAX_SOCKETS, (int)workers + 8);
    for (size_t i = 0; i < workers; i++) {
        items[i] = (zmq_pollitem_t){ .socket = zmq_socket(context, ZMQ_DEALER), .events = ZMQ_POLLIN };
        if (!items[i].socket || zmq_connect(items[i].socket, endpoint) < 0)
            fail("a worker's socket");
        greet(items[i].socket, i + 1);
    }
    for (;;) {
        zmq_poll(items, (int)workers, -1);
        for (size_t i = 0; i < workers; i++)
            if (items[i].revents)
                while (answer(items[i].socket, budget))
                    ;
    }
}

/* ---- the learner ------------------------------------------------------------------------------------- */

struct coordinator {
    struct rlhf_sockets *sockets;
    struct rlhf_random random;
    struct rlhf_env env;
    struct learner *learner;
    struct rlhf_node *node;
    struct rlhf_digest policy;
    struct learner_generate_job jobs[JOBS];
    bool answered;
};

static void on_answered(void *ctx, struct learner_answer *a, const struct rlhf_error *err)
{
    struct coordinator *c = ctx;

    if (err)
        bench_fail(err);
    c->policy = rlhf_digest_is_zero(&a->digest) ? c->policy : a->digest;
    c->answered = true;
    learner_answer_free(a);
}

static void receive(void *ctx, uint64_t route, const struct rlhf_blob *frames, size_t count)
{
    rlhf_node_receive(((struct coordinator *)ctx)->node, route, frames, count);
}

/* Carries out an action, as daemon/daemon.c would. */
static void act(struct coordinator *c, const struct learner_action *a)
{
    struct rlhf_error err = { 0 };

    c->answered = false;
    if (learner_act(c->learner, a, on_answered, c, &err) < 0)
        bench_fail(&err);
    while (!c->answered) {
        zmq_pollitem_t item = { .socket = rlhf_sockets_handle(c->sockets, 0), .events = ZMQ_POLLIN };

        zmq_poll(&item, 1, 100);
        rlhf_sockets_receive(c->sockets, 0, 128, receive, c);
        rlhf_node_tick(c->node);
    }
}

static void generate(struct coordinator *c, size_t count)
{
    act(c, &(struct learner_action){ .kind = LEARNER_GENERATE,
                                     .generate = c->jobs,
                                     .generate_count = count,
                                     .sampling = { .temperature = 1, .top_p = 1, .max_new_tokens = NEW },
                                     .end_token = -1,
                                     .purpose = RLHF_PURPOSE_SAMPLE });
}

static void publish(struct coordinator *c)
{
    static const char config[] = "{\"model_type\": \"gpt2\", \"architectures\": [\"GPT2LMHeadModel\"], \"n_layer\": 1, \"n_head\": 2, "
                                 "\"n_embd\": 8, \"n_inner\": 32, \"n_positions\": 256, \"vocab_size\": 64}";
    struct rlhf_error err = { 0 };
    struct rlhf_weights *w = rlhf_weights_new(
        &(struct rlhf_weights_spec){ .name = "policy", .version = 1, .config = config, .payload = "weights", .size = 7 }, &err);

    if (!w)
        bench_fail(&err);
    act(c, &(struct learner_action){ .kind = LEARNER_PUBLISH, .name = "policy", .version = 1, .weights = w });
}

static void open_coordinator(struct coordinator *c)
{
    static int32_t prompt[PROMPT];
    struct learner_options options = LEARNER_OPTIONS_DEFAULT;
    struct rlhf_node_config node = { .role = RLHF__V1__ROLE__ROLE_LEARNER, .run = "bench", .host = "", .liveness = 60 };
    struct rlhf_error err = { 0 };

    *c = (struct coordinator){ 0 };
    options.run = "bench";
    options.host = "";
    options.lease_us = 600000000; /* the simulated workers hold no list of jobs */
    rlhf_random_init(&c->random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    if (!(c->sockets = rlhf_sockets_new(&err)))
        bench_fail(&err);
    rlhf_sockets_limit(c->sockets, 64 << 20);
    c->env = (struct rlhf_env){ &rlhf_system_clock, &rlhf_system_io, rlhf_sockets_transport(c->sockets), &c->random };
    if (!(c->learner = learner_new(&options, &c->env, &err))
        || !(c->node = rlhf_node_new(&node, &c->env, learner_machine(c->learner), &err))
        || rlhf_sockets_serve(c->sockets, "tcp://127.0.0.1:0", false, &err) < 0)
        bench_fail(&err);
    learner_join(c->learner, c->node);
    publish(c);
    for (uint32_t i = 0; i < JOBS; i++)
        c->jobs[i] = (struct learner_generate_job){ .prompt = i, .key_prompt = i, .weights = c->policy, .prompt_ids = prompt,
                                                    .prompt_count = PROMPT };
}

static void close_coordinator(struct coordinator *c)
{
    learner_free(c->learner);
    rlhf_node_free(c->node);
    rlhf_sockets_free(c->sockets);
}

static size_t greeted(struct coordinator *c)
{
    size_t count = 0;

    for (struct rlhf_peer *p = rlhf_node_peers(c->node, NULL); p; p = rlhf_node_peers(c->node, p))
        count++;
    return count;
}

static double processor_time(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void measure(size_t workers)
{
    static struct coordinator c;
    double wall[MAX_TURNS], cpu[MAX_TURNS], begin, end;
    size_t turns = 0;
    pid_t pid;

    open_coordinator(&c);
    begin = bench_now();
    if ((pid = fork()) < 0)
        fail("fork");
    if (pid == 0)
        simulate(rlhf_sockets_endpoint(c.sockets), workers);
    do
        generate(&c, workers);
    while (greeted(&c) < workers);
    print("served", workers, bench_now() - begin, "s");
    end = bench_now() + arguments.seconds;
    while (turns < MAX_TURNS && (turns < 3 || bench_now() < end)) {
        double from = bench_now(), used = processor_time();

        generate(&c, JOBS);
        cpu[turns] = processor_time() - used;
        wall[turns++] = bench_now() - from;
    }
    print("jobs-by-the-clock", workers, JOBS / bench_median(wall, turns), "jobs/s");
    print("jobs", workers, JOBS / bench_median(cpu, turns), "jobs/s of a core");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close_coordinator(&c);
}

int main(int argc, char **argv)
{
    static const size_t workers[] = { 10, 100, 1000 };
    struct rlimit files;

    arguments = bench_start(argc, argv);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    pin(true);
    for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++) {
        char name[32];

        snprintf(name, sizeof name, "workers-%zu", workers[i]);
        if (bench_wanted(&arguments, name))
            measure(workers[i]);
    }
    return 0;
}
