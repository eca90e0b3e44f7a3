/* fleet.c - real rollout-workers on this host, with this program as their learner, on l100. JSON lines a case.
 *
 *     bench-fleet [seconds a case, 1 by default] [case]
 *
 *   start     a rollout-worker's cold start, on 2 threads: from exec to the learner's greeting, and to the first token of a prompt
 *             of 8; the weights were published before
 *   swap-N    a new version while N completions of the one before are generated, on 2 threads: how long the learner lays it out and
 *             hashes it; from when it is published to the first token that it generated (a prompt of 8), and to the learner's
 *             having that, for which the file must be verified; the longest time between two tokens of the completions under
 *             way in the second from then on; the median of those times before
 *   scaling   tokens a second of one worker with one thread, of two, and the ratio
 *
 * Weights are published in a directory of $RLHF_MEMORY, or of /dev/shm.
 *
 * The workers of start and swap are this program anew, running the daemon's program.c, so that their steps can be timed (the
 * linker wraps two functions); those of scaling are the daemon, looked for in ../daemons. */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "base/io.h"
#include "bench.h"
#include "daemon/engine.h"
#include "daemon/sockets.h"
#include "model/panel_file.h"
#include "net/checks.h"
#include "net/weights.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"
#include "rollout-worker/generator.h"
#include "rollout-worker/program.h"

#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
#define LEARNER RLHF__V1__ROLE__ROLE_LEARNER
#define WORKER RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER
enum { MOST_JOBS = 256, WORKERS = 2, SHORT = 8, PROMPT = 64, ROUNDS = 32, STEPS = 1 << 16 };

static struct bench_arguments arguments;
static char dir[64], daemon_path[4096];

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- the learner ------------------------------------------------------------------------------------- */

struct learner {
    struct rlhf_sockets *sockets;
    struct rlhf_random random;
    struct rlhf_env env;
    struct rlhf_machine machine;
    struct rlhf_node *node;
    struct rlhf_weights_source *source;
    struct rlhf_peer *ready[WORKERS]; /* have said their credit */
    size_t ready_count, results;
    double done[MOST_JOBS];           /* when the result of job id came */
    struct rlhf_pool *pool;
};

static int on_credit(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner *l = state;
    size_t i = 0;

    (void)m;
    (void)err;
    while (i < l->ready_count && l->ready[i] != peer)
        i++;
    if (i == l->ready_count && i < WORKERS)
        l->ready[l->ready_count++] = peer;
    return 0;
}

static int on_rollouts(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Rollouts *body = (const Rlhf__V1__Rollouts *)m->body;
    struct learner *l = state;

    (void)peer;
    (void)err;
    for (size_t i = 0; i < body->n_rollouts; i++)
        l->done[body->rollouts[i]->id % MOST_JOBS] = bench_now();
    l->results += body->n_rollouts;
    return 0;
}

static int on_returned(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    (void)state;
    (void)peer;
    (void)err;
    fprintf(stderr, "jobs came back: %s\n", ((const Rlhf__V1__JobsReturned *)m->body)->reason);
    exit(1);
}

static int on_request(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner *l = state;

    return rlhf_weights_source_on_request(l->source, l->node, peer, m, err);
}

static int on_chunks(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner *l = state;

    return rlhf_weights_source_on_chunk_request(l->source, l->node, peer, m, err);
}

static void peer_lost(void *state, struct rlhf_peer *peer)
{
    struct learner *l = state;

    for (size_t i = 0; i < l->ready_count; i++)
        if (l->ready[i] == peer)
            l->ready[i--] = l->ready[--l->ready_count];
}

static const struct rlhf_handler rows[] = {
    { TYPE(CREDIT), &rlhf__v1__credit__descriptor, RLHF_ROLE_BIT(WORKER), 64, 0, 0, rlhf_check_credit, on_credit },
    { TYPE(ROLLOUTS), &rlhf__v1__rollouts__descriptor, RLHF_ROLE_BIT(WORKER), 1 << 20, 3, 1 << 20, rlhf_check_rollouts,
      on_rollouts },
    { TYPE(JOBS_RETURNED), &rlhf__v1__jobs_returned__descriptor, RLHF_ROLE_BIT(WORKER), 1 << 16, 0, 0,
      rlhf_check_jobs_returned, on_returned },
    { TYPE(WEIGHTS_REQUEST), &rlhf__v1__weights_request__descriptor, RLHF_ROLE_BIT(WORKER), 256, 0, 0,
      rlhf_check_weights_request, on_request },
    { TYPE(CHUNK_REQUEST), &rlhf__v1__chunk_request__descriptor, RLHF_ROLE_BIT(WORKER), 512, 0, 0,
      rlhf_check_chunk_request, on_chunks },
    { 0 },
};

static const char *in_dir(const char *name, const char *prefix)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s%s/%s", prefix, dir, name);
    return path;
}

static void open_learner(struct learner *l)
{
    struct rlhf_node_config c = { .role = LEARNER, .run = "bench", .host = rlhf_boot_id(), .heartbeat_ms = 1000, .liveness = 60 };
    struct rlhf_error err = { 0 };

    *l = (struct learner){ 0 };
    rlhf_random_init(&l->random, (uint64_t)getpid(), RLHF_PURPOSE_FAULT, LEARNER, 0);
    if (!(l->sockets = rlhf_sockets_new(&err)) || !(l->pool = rlhf_pool_new(2, &err)))
        bench_fail(&err);
    l->env = (struct rlhf_env){ &rlhf_system_clock, &rlhf_system_io, rlhf_sockets_transport(l->sockets), &l->random };
    l->machine = (struct rlhf_machine){ .handlers = rows, .state = l, .peer_lost = peer_lost };
    if (!(l->node = rlhf_node_new(&c, &l->env, &l->machine, &err))
        || !(l->source = rlhf_weights_source_new(rlhf_boot_id(), &err))
        || rlhf_sockets_serve(l->sockets, in_dir("learner", "ipc://"), false, &err) < 0)
        bench_fail(&err);
}

static void close_learner(struct learner *l)
{
    rlhf_node_free(l->node);
    rlhf_weights_source_free(l->source);
    rlhf_sockets_free(l->sockets);
    rlhf_pool_free(l->pool);
}

static void receive(void *ctx, uint64_t route, const struct rlhf_blob *frames, size_t count)
{
    rlhf_node_receive(((struct learner *)ctx)->node, route, frames, count);
}

static void live(struct learner *l)
{
    zmq_pollitem_t item = { .socket = rlhf_sockets_handle(l->sockets, 0), .events = ZMQ_POLLIN };

    zmq_poll(&item, 1, 20);
    while (rlhf_sockets_receive(l->sockets, 0, 128, receive, l))
        ;
    rlhf_node_tick(l->node);
}

/* As daemons/learner/port.c publishes. Seconds that it took; the version before is dropped. */
static double publish(struct learner *l, const struct rlhf_model *m, struct rlhf_digest *digest)
{
    struct rlhf_digest before = *digest;
    struct rlhf_error err = { 0 };
    struct rlhf_panel_file file;
    struct rlhf_weights *w;
    double begin = bench_now();
    void *to;

    if (rlhf_panel_file_plan(&file, m, &err) < 0
        || !(w = rlhf_weights_room(&(struct rlhf_weights_spec){ .name = "policy", .version = 1, .config = file.config.data,
                                                                .size = file.size, .shared_dir = dir }, &to, &err))
        || rlhf_panel_file_write(&file, m, to, l->pool, &err) < 0 || rlhf_weights_seal(w, l->pool, &err) < 0)
        bench_fail(&err);
    *digest = *rlhf_weights_digest(w);
    rlhf_panel_file_free(&file);
    if (rlhf_weights_source_add(l->source, w, &err) < 0)
        bench_fail(&err);
    begin = bench_now() - begin;
    for (size_t i = 0; i < l->ready_count; i++)
        if (rlhf_weights_source_announce(l->source, l->node, l->ready[i], digest, &before, !rlhf_digest_is_zero(&before), &err) < 0)
            bench_fail(&err);
    return begin;
}

static void send_jobs(struct learner *l, struct rlhf_peer *to, const struct rlhf_digest *weights, uint64_t first, size_t count,
                      size_t prompt, uint32_t tokens)
{
    Rlhf__V1__GenerateJobs body = RLHF__V1__GENERATE_JOBS__INIT;
    Rlhf__V1__GenerateJob job[MOST_JOBS], *jobs[MOST_JOBS];
    Rlhf__V1__Sampling sampling = RLHF__V1__SAMPLING__INIT, *samplings[] = { &sampling };
    Rlhf__V1__JobName name = RLHF__V1__JOB_NAME__INIT;
    ProtobufCBinaryData digest = rlhf_digest_field(weights);
    static int32_t prompts[MOST_JOBS * PROMPT];
    struct rlhf_error err = { 0 };

    sampling.temperature = sampling.top_p = 1;
    sampling.max_new_tokens = tokens;
    sampling.end_token = -1;
    for (size_t i = 0; i < count; i++) {
        rlhf__v1__generate_job__init(&job[i]);
        job[i].id = first + i;
        job[i].attempt = 1;
        job[i].name = &name;
        job[i].purpose = RLHF__V1__PURPOSE__PURPOSE_SAMPLE;
        job[i].key_prompt = (uint32_t)(first + i);
        job[i].prompt_tokens = (uint32_t)prompt;
        jobs[i] = &job[i];
        for (size_t t = 0; t < prompt; t++)
            prompts[i * prompt + t] = (int32_t)((first + i) * 7919 % 4000 + t * 31 % 97);
    }
    body.weights = &digest;
    body.n_weights = 1;
    body.jobs = jobs;
    body.n_jobs = count;
    body.sampling = samplings;
    body.n_sampling = 1;
    if (rlhf_node_send(l->node, to, &(struct rlhf_message){ .type = TYPE(GENERATE_JOBS), .body = &body.base,
                                                            .blobs = { { prompts, count * prompt * sizeof *prompts } },
                                                            .blob_count = 1 }, &err) < 0)
        bench_fail(&err);
}

/* ---- workers ----------------------------------------------------------------------------------------- */

/* When steps of a timed worker ended, and when it had the result of job id; in memory that it shares with the learner. */
static struct {
    _Atomic(uint32_t) count;
    double end[STEPS], done[MOST_JOBS];
} *steps;

static void map_steps(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, sizeof *steps) < 0
        || (steps = mmap(NULL, sizeof *steps, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        fail(path);
    close(fd);
}

void __real_rlhf_engine_send(struct rlhf_engine_result *r);
void __wrap_rlhf_engine_send(struct rlhf_engine_result *r);
void __wrap_rlhf_engine_send(struct rlhf_engine_result *r)
{
    if (steps)
        steps->done[r->id % MOST_JOBS] = bench_now();
    __real_rlhf_engine_send(r);
}

bool __real_generator_step(struct generator *g);
bool __wrap_generator_step(struct generator *g);
bool __wrap_generator_step(struct generator *g)
{
    bool more = __real_generator_step(g);
    uint32_t at = steps ? atomic_load(&steps->count) : STEPS;

    if (more && at < STEPS) {
        steps->end[at] = bench_now();
        atomic_store(&steps->count, at + 1);
    }
    return more;
}

static int be_worker(char *config_file)
{
    return rollout_worker_main(3, (char *[]){ (char *)"rollout-worker", (char *)"--config", config_file, NULL });
}

static pid_t start_worker(unsigned threads, bool timed)
{
    const char *yaml = in_dir("worker.yaml", "");
    FILE *f = fopen(yaml, "w");
    pid_t pid;

    if (!f)
        fail(yaml);
    fprintf(f, "learner: \"%s\"\nthreads: %u\nslots: 64\n", in_dir("learner", "ipc://"), threads);
    fclose(f);
    setenv("RLHF_LOG", "warning", 0);
    if ((pid = fork()) == 0) {
        if (timed)
            execl("/proc/self/exe", "bench-fleet", "--worker", yaml, in_dir("steps", ""), (char *)NULL);
        execl(daemon_path, "rollout-worker", "--config", yaml, (char *)NULL);
        perror(daemon_path);
        _exit(127);
    }
    if (pid < 0)
        fail("fork");
    return pid;
}

static void stop_worker(struct learner *l, pid_t pid)
{
    kill(pid, SIGTERM);
    while (waitpid(pid, NULL, WNOHANG) == 0)
        live(l);
    while (l->ready_count > 0) /* until it has said that it leaves */
        live(l);
}

static void print(const char *name, size_t batch, unsigned threads, double value, const char *unit)
{
    bench_print(&(struct bench_line){ .name = name, .model = "l100", .batch = batch, .threads = threads, .value = value, .unit = unit });
}

/* ---- cases ------------------------------------------------------------------------------------------- */

static struct rlhf_model *a_model(uint64_t seed)
{
    const struct rlhf_model_config c = bench_shape("l100");
    struct rlhf_error err = { 0 };
    struct rlhf_model *m = rlhf_model_new(&c, seed, &err);

    if (!m)
        bench_fail(&err);
    return m;
}

static void bench_start_up(void)
{
    double ready[ROUNDS], first[ROUNDS], until;
    struct rlhf_digest digest = { 0 };
    struct rlhf_model *m = a_model(1);
    struct learner l;
    size_t rounds = 0;

    open_learner(&l);
    publish(&l, m, &digest);
    for (until = bench_now() + arguments.seconds; rounds < ROUNDS && (rounds < 5 || bench_now() < until); rounds++) {
        double begin = bench_now();
        pid_t pid = start_worker(2, true);

        while (l.ready_count == 0)
            live(&l);
        ready[rounds] = bench_now() - begin;
        l.results = 0;
        send_jobs(&l, l.ready[0], &digest, 1, 1, SHORT, 1);
        while (l.results == 0)
            live(&l);
        first[rounds] = steps->done[1] - begin;
        stop_worker(&l, pid);
    }
    print("start-greeted", 1, 2, bench_median(ready, rounds) * 1e3, "ms");
    print("start", 1, 2, bench_median(first, rounds) * 1e3, "ms");
    close_learner(&l);
    rlhf_model_free(m);
}

/* The longest time between two tokens from the step before `from` on, until `to`. */
static double longest(double from, double to)
{
    double most = 0;

    for (uint32_t i = 1; i < atomic_load(&steps->count); i++)
        if (steps->end[i] > from && steps->end[i - 1] < to && steps->end[i] - steps->end[i - 1] > most)
            most = steps->end[i] - steps->end[i - 1];
    return most;
}

static void bench_swap(size_t running)
{
    enum { SOME = 20, LEN = 120 };
    double laid[ROUNDS], used[ROUNDS], sent[ROUNDS], gap[ROUNDS], usual[ROUNDS], until;
    struct rlhf_model *m = a_model(1);
    struct rlhf_digest digest = { 0 };
    struct learner l;
    size_t rounds = 0, count;
    pid_t pid;

    open_learner(&l);
    pid = start_worker(2, true);
    while (l.ready_count == 0)
        live(&l);
    publish(&l, m, &digest);
    for (until = bench_now() + arguments.seconds; rounds < ROUNDS && (rounds < 3 || bench_now() < until); rounds++) {
        double times[SOME], published;

        l.results = 0;
        atomic_store(&steps->count, 0);
        send_jobs(&l, l.ready[0], &digest, 1, running, PROMPT, LEN);
        while (atomic_load(&steps->count) < SOME + 2)
            live(&l);
        for (size_t i = 0; i < SOME; i++)
            times[i] = steps->end[i + 2] - steps->end[i + 1];
        usual[rounds] = bench_median(times, SOME);
        rlhf_model_parameters(m, &count)[0] += 0.001F; /* weights that nobody has yet */
        rlhf_model_touch(m, NULL);
        laid[rounds] = publish(&l, m, &digest);
        published = bench_now();
        send_jobs(&l, l.ready[0], &digest, 1 + running, 1, SHORT, 1);
        while (l.results == 0)
            live(&l);
        sent[rounds] = l.done[1 + running] - published;
        used[rounds] = steps->done[1 + running] - published;
        while (l.results <= running)
            live(&l);
        gap[rounds] = longest(published, published + 1);
    }
    print("swap-laid-out", running, 2, bench_median(laid, rounds) * 1e3, "ms");
    print("swap-first-token", running, 2, bench_median(used, rounds) * 1e3, "ms");
    print("swap-delivered", running, 2, bench_median(sent, rounds) * 1e3, "ms");
    print("swap-longest-gap", running, 2, bench_median(gap, rounds) * 1e3, "ms");
    print("swap-usual-gap", running, 2, bench_median(usual, rounds) * 1e3, "ms");
    stop_worker(&l, pid);
    close_learner(&l);
    rlhf_model_free(m);
}

/* Tokens a second over so many workers that are there, as many jobs for each. */
static double generate(struct learner *l, const struct rlhf_digest *digest, size_t workers)
{
    enum { EACH = 16, NEW = 32 };
    double begin = bench_now();

    l->results = 0;
    for (size_t i = 0; i < workers; i++)
        send_jobs(l, l->ready[i], digest, 1 + i * EACH, EACH, PROMPT, NEW);
    while (l->results < workers * EACH)
        live(l);
    return (double)(workers * EACH * NEW) / (bench_now() - begin);
}

static void bench_scaling(void)
{
    double one[ROUNDS], two[ROUNDS], ratio[ROUNDS], until;
    struct rlhf_digest digest = { 0 };
    struct rlhf_model *m = a_model(1);
    pid_t pids[WORKERS];
    struct learner l;
    size_t rounds = 0;

    open_learner(&l);
    publish(&l, m, &digest);
    for (size_t i = 0; i < WORKERS; i++)
        pids[i] = start_worker(1, false);
    while (l.ready_count < WORKERS)
        live(&l);
    generate(&l, &digest, WORKERS); /* maps the weights */
    for (until = bench_now() + arguments.seconds; rounds < ROUNDS && (rounds < 3 || bench_now() < until); rounds++) {
        one[rounds] = generate(&l, &digest, 1);
        two[rounds] = generate(&l, &digest, WORKERS);
        ratio[rounds] = two[rounds] / one[rounds];
    }
    print("scaling-1", 16, 1, bench_median(one, rounds), NULL);
    print("scaling-2", 32, 1, bench_median(two, rounds), NULL);
    print("scaling", 32, 1, bench_median(ratio, rounds), "ratio");
    for (size_t i = 0; i < WORKERS; i++)
        kill(pids[i], SIGTERM);
    for (size_t i = 0; i < WORKERS; i++)
        stop_worker(&l, pids[i]);
    close_learner(&l);
    rlhf_model_free(m);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *memory = getenv("RLHF_MEMORY");

    if (argc == 4 && strcmp(argv[1], "--worker") == 0) {
        map_steps(argv[3]);
        return be_worker(argv[2]);
    }
    arguments = bench_start(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    snprintf(daemon_path, sizeof daemon_path, "%.*s/../daemons/rollout-worker", slash ? (int)(slash - argv[0]) : 1,
             slash ? argv[0] : ".");
    snprintf(dir, sizeof dir, "%s/rlhfd-bench-XXXXXX", memory ? memory : "/dev/shm");
    if (!mkdtemp(dir))
        fail(dir);
    map_steps(in_dir("steps", ""));
    if (bench_wanted(&arguments, "start"))
        bench_start_up();
    if (bench_wanted(&arguments, "swap-1"))
        bench_swap(1);
    if (bench_wanted(&arguments, "swap-8"))
        bench_swap(8);
    if (bench_wanted(&arguments, "scaling"))
        bench_scaling();
    rlhf_remove_tree(&rlhf_system_io, dir, NULL);
    return 0;
}
