/* A cluster on a seed: one learner, three workers, two scorers, one label-collector with people, all real state machines
 * with real messages, under loss, duplication, delay, cuts and kills. Only the arithmetic is made up: a result is a
 * function of its job, so that the right answer is known.
 *
 * RLHF_SEEDS: how many (200). RLHF_SEED: just this one. A failing seed is printed and replays. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "label-collector/collector.h"
#include "learner/learner.h"
#include "model/config.h"
#include "net/weights.h"
#include "reward-scorer/scorer.h"
#include "rollout-worker/worker.h"
#include "support/simulation.h"
#include "support/suite.h"

enum {
    ROUNDS = 2,
    JOBS = 48,
    TASKS = 12,
    MAX_NEW = 6,
    END = 1,
    VOCABULARY = 50,
    ENGINE_JOBS = 256,
    WORKERS = 3,
    SCORERS = 2,
    PAYLOAD = RLHF_CHUNK_SIZE + 4321, /* two chunks */
};

/* ---- what a job's result is -------------------------------------------------------------------------- */

static uint32_t mix(const struct rlhf_digest *weights, uint32_t prompt, uint32_t sample, uint32_t position)
{
    uint32_t counter[4] = { prompt, sample, position, 7 }, key[2], out[4];

    memcpy(key, weights->bytes, sizeof key);
    rlhf_philox(counter, key, out);
    return out[0];
}

static size_t rollout_of(const struct rlhf_digest *weights, uint32_t prompt, uint32_t sample, int32_t *ids, float *logprob)
{
    size_t count = 1 + mix(weights, prompt, sample, 0) % MAX_NEW;

    for (size_t i = 0; i < count; i++) {
        ids[i] = 2 + (int32_t)(mix(weights, prompt, sample, (uint32_t)i + 1) % (VOCABULARY - 2));
        logprob[i] = -(float)(ids[i] % 10) / 8;
    }
    if (count < MAX_NEW)
        ids[count - 1] = END;
    return count;
}

static float reward_of(const struct rlhf_digest *weights, const int32_t *ids, size_t count)
{
    return (float)(mix(weights, (uint32_t)ids[0], (uint32_t)ids[count - 1], (uint32_t)count) % 1000) / 100;
}

static float reference_of(const struct rlhf_digest *weights, int32_t id)
{
    return -(float)(mix(weights, (uint32_t)id, 0, 0) % 100) / 10;
}

/* ---- the world of one seed --------------------------------------------------------------------------- */

struct world {
    struct simulation *simulation;
    uint64_t seed;
    struct rlhf_digest models[8]; /* known to be whole: what engines may be given */
    size_t model_count;
    char *config;
    char directory[64];
    struct rlhf_digest policy, reward_model; /* of the round under way */
    bool done;
    char failure[512];
};

static void broken(struct world *w, const char *what, uint64_t a, uint64_t b)
{
    if (!w->failure[0])
        snprintf(w->failure, sizeof w->failure, "%s (%llu, %llu)", what, (unsigned long long)a, (unsigned long long)b);
}

static bool known(const struct world *w, const struct rlhf_digest *digest)
{
    for (size_t i = 0; i < w->model_count; i++)
        if (rlhf_digest_equal(&w->models[i], digest))
            return true;
    return false;
}

/* ---- workers and scorers: real machines over engines that only pretend to compute ------------------------ */

struct pending {
    struct member_process *owner;
    bool used;
    uint64_t life, id;
    struct rlhf_digest policy, reward_model, reference;
    uint32_t prompt, sample, prompt_count, count;
    int32_t ids[64];
};

struct member_process {
    struct world *world;
    struct sim_process *process;
    struct rlhf_member_engine engine; /* found by address from the callbacks below */
    struct worker *worker;
    struct scorer *scorer;
    struct rlhf_node *node;
    struct rlhf_digest loaded[16];
    size_t loaded_count;
    struct pending pending[ENGINE_JOBS];
    char name[24];
};

#define OWNER(e) ((struct member_process *)((char *)(e) - offsetof(struct member_process, engine)))

static void engine_add(struct rlhf_member_engine *e, struct rlhf_weights *weights)
{
    struct member_process *m = OWNER(e);
    const struct rlhf_digest *digest = rlhf_weights_digest(weights);

    if (!known(m->world, digest) || rlhf_weights_payload(weights).size != PAYLOAD)
        broken(m->world, "weights arrived that nobody published", 0, 0);
    if (m->loaded_count < 16)
        m->loaded[m->loaded_count++] = *digest;
    rlhf_weights_free(weights);
}

static void engine_drop(struct rlhf_member_engine *e, const struct rlhf_digest *digest)
{
    struct member_process *m = OWNER(e);

    for (size_t i = 0; i < m->loaded_count; i++)
        if (rlhf_digest_equal(&m->loaded[i], digest))
            m->loaded[i--] = m->loaded[--m->loaded_count];
}

static void engine_needs(struct member_process *m, const struct rlhf_digest *digest)
{
    for (size_t i = 0; i < m->loaded_count; i++)
        if (rlhf_digest_equal(&m->loaded[i], digest))
            return;
    broken(m->world, "a job was begun without its weights", 0, 0);
}

static void compute_done(void *ctx)
{
    struct pending *p = ctx;
    struct member_process *m = p->owner;

    if (!p->used)
        return;
    p->used = false;
    if (m->worker) {
        int32_t ids[MAX_NEW];
        float logprob[MAX_NEW];
        size_t count = rollout_of(&p->policy, p->prompt, p->sample, ids, logprob);

        worker_finished(m->worker, p->life,
                        &(struct worker_result){ p->id, ids, logprob, logprob, count, ids[count - 1] == END });
    } else {
        float reference[64];

        for (uint32_t i = p->prompt_count; i < p->count; i++)
            reference[i - p->prompt_count] = reference_of(&p->reference, p->ids[i]);
        scorer_finished(m->scorer, p->life, p->id, reward_of(&p->reward_model, p->ids, p->count), reference,
                        p->count - p->prompt_count, NULL);
    }
}

static struct pending *compute_later(struct member_process *m, uint64_t life, uint64_t id)
{
    for (size_t i = 0; i < ENGINE_JOBS; i++) {
        struct pending *p = &m->pending[i];

        if (p->used)
            continue;
        *p = (struct pending){ .owner = m, .used = true, .life = life, .id = id };
        sim_after(m->process, 1000 + rlhf_random_below(sim_random(m->process), 400000), compute_done, p);
        return p;
    }
    broken(m->world, "a worker was given more jobs than its credit", id, 0);
    return NULL;
}

static void engine_cancel(struct rlhf_member_engine *e)
{
    struct member_process *m = OWNER(e);

    for (size_t i = 0; i < ENGINE_JOBS; i++)
        m->pending[i].used = false; /* (its timer finds it unused, or used by another: then that one is quick) */
}

static void worker_begin(struct rlhf_member_engine *e, uint64_t life, const struct rlhf_member_job *held)
{
    const struct worker_job *job = (const struct worker_job *)held;
    struct member_process *m = OWNER(e);
    struct pending *p = compute_later(m, life, held->id);

    engine_needs(m, &held->weights[0]);
    if (!p)
        return;
    p->policy = held->weights[0];
    p->prompt = job->key.prompt;
    p->sample = job->key.sample;
}

static void scorer_begin(struct rlhf_member_engine *e, uint64_t life, const struct rlhf_member_job *held)
{
    const struct scorer_job *job = (const struct scorer_job *)held;
    struct member_process *m = OWNER(e);
    struct pending *p = compute_later(m, life, held->id);

    engine_needs(m, &job->reward_model);
    engine_needs(m, &job->reference);
    if (!p)
        return;
    p->reward_model = job->reward_model;
    p->reference = job->reference;
    p->count = job->count;
    p->prompt_count = job->prompt_count;
    memcpy(p->ids, job->ids, job->count * sizeof *p->ids);
}

static int member_start(struct sim_process *p, void *ctx, Rlhf__V1__Role role)
{
    struct member_process *m = ctx;
    struct rlhf_member_config config = {
        .credit = 20, .max_weights_bytes = 64 << 20, .max_weights = 2, .host = m->name /* its own: chunks travel */,
        .flush_us = 5000
    };
    struct rlhf_node_config node = { .role = role, .software = "simulated", .host = m->name, .profile = "simulated",
                                     .heartbeat_ms = 1000, .liveness = 5, .max_peers = 8 };
    struct rlhf_error err = { 0 };
    struct rlhf_member *member = NULL;

    m->process = p;
    m->loaded_count = 0;
    memset(m->pending, 0, sizeof m->pending);
    m->engine = (struct rlhf_member_engine){ engine_add, engine_drop, NULL, engine_cancel };
    if (role == RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER) {
        m->engine.begin = worker_begin;
        m->worker = worker_new(&config, sim_env(p), &m->engine, &err);
        member = m->worker ? worker_member(m->worker) : NULL;
    } else {
        m->engine.begin = scorer_begin;
        m->scorer = scorer_new(&config, sim_env(p), &m->engine, &err);
        member = m->scorer ? scorer_member(m->scorer) : NULL;
    }
    if (!member || !(m->node = rlhf_node_new(&node, sim_env(p), rlhf_member_machine(member), &err)))
        return -1;
    rlhf_member_join(member, m->node);
    sim_set_node(p, m->node);
    return rlhf_node_link(m->node, sim_link(p, "learner"), RLHF__V1__ROLE__ROLE_LEARNER, &err);
}

static int worker_start(struct sim_process *p, void *ctx)
{
    return member_start(p, ctx, RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER);
}

static int scorer_start(struct sim_process *p, void *ctx)
{
    return member_start(p, ctx, RLHF__V1__ROLE__ROLE_REWARD_SCORER);
}

static void member_end(struct sim_process *p, void *ctx)
{
    struct member_process *m = ctx;

    (void)p;
    rlhf_node_free(m->node);
    worker_free(m->worker);
    scorer_free(m->scorer);
    m->worker = NULL;
    m->scorer = NULL;
}

/* ---- the label-collector and its people ------------------------------------------------------------------ */

struct collector_process {
    struct world *world;
    struct sim_process *process;
    struct collector_config config;
    struct collector *collector;
    struct rlhf_machine machine;
    struct rlhf_node *node;
};

struct judged {
    struct collector_process *process;
    char task[128];
    size_t count;
};

static bool note_task(void *ctx, const struct collector_offer *o)
{
    struct judged *j = ctx;

    snprintf(j->task, sizeof j->task, "%s", o->task.id);
    j->count = o->task.content.count;
    return true;
}

/* One judgement, submitted one to three times under one id. */
static void people_judge(void *ctx)
{
    struct collector_process *c = ctx;
    struct collector_store *store = c->collector->store;
    struct rlhf_random *random = sim_random(c->process);
    struct judged j = { .process = c };
    struct rlhf_error err = { 0 };

    sim_after(c->process, 20000 + rlhf_random_below(random, 200000), people_judge, c);
    if (collector_store_next(store, "ann", "", 1, note_task, &j, &err) < 0 || !j.task[0])
        return;
    for (uint32_t times = 1 + rlhf_random_below(random, 3); times > 0; times--) {
        struct collector_label label = { .id = j.task, .source = "api", .task = j.task, .labeler = "ann", .rank_count = j.count, .seconds = -1 };
        struct collector_receipt receipt;

        for (size_t i = 0; i < j.count; i++)
            label.rank[i] = (uint32_t)i + 1;
        if (collector_store_begin(store, &err) < 0
            || collector_store_put_label(store, &label, &receipt, &err) < 0
            || collector_store_commit(store, &err) < 0) {
            collector_store_rollback(store);
            broken(c->world, err.text, 0, 0);
        }
    }
}

static int collector_start(struct sim_process *p, void *ctx)
{
    struct collector_process *c = ctx;
    struct rlhf_node_config node = { .role = RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR, .software = "simulated", .run = "labels",
                                     .host = "collector", .profile = "", .heartbeat_ms = 1000, .liveness = 5,
                                     .max_peers = 8 };
    struct rlhf_error err = { 0 };

    c->process = p;
    if (!(c->collector = collector_new(sim_env(p), &c->config, &err))) {
        broken(c->world, err.text, 0, 0);
        return -1;
    }
    c->machine = collector_machine(c->collector);
    if (!(c->node = rlhf_node_new(&node, sim_env(p), &c->machine, &err)))
        return -1;
    collector_attach(c->collector, c->node);
    sim_set_node(p, c->node);
    people_judge(c);
    return 0;
}

static void collector_end(struct sim_process *p, void *ctx)
{
    struct collector_process *c = ctx;

    (void)p;
    rlhf_node_free(c->node);
    collector_free(c->collector);
}

/* ---- the learner, with a script in the trainer's place ---------------------------------------------------- */

enum step { PUBLISH_POLICY, PUBLISH_REWARD, SUBMIT, PULL, GENERATE, SCORE, STEPS };

struct learner_process {
    struct world *world;
    struct sim_process *process;
    struct learner *learner;
    struct rlhf_node *node;
    struct learner_action action;
    size_t life;
    /* durable: what a checkpoint would hold */
    size_t step; /* done, over all rounds */
    uint64_t cursor;
    int32_t ids[JOBS][MAX_NEW + 2];
    uint32_t counts[JOBS];
    bool seen[ROUNDS][TASKS];
    /* of this life */
    size_t at; /* the step under way: publications are repeated in a new life */
    uint64_t results_before; /* counted by the learner before this step */
    struct rlhf_bytes payload;
    struct learner_generate_job generate[JOBS];
    struct learner_score_job score[JOBS];
    struct learner_task tasks[TASKS];
    char task_ids[TASKS][64], round[40];
};

static const int32_t prompt_ids[2] = { 0, 5 };
static const char *const completions[3] = { "one", "two", "three" };

static void next_step(void *ctx);

static struct rlhf_weights *some_weights(struct learner_process *l, const char *name, size_t version)
{
    struct rlhf_error err = { 0 };
    struct rlhf_weights *w;
    char *payload = calloc(1, PAYLOAD);

    memcpy(payload, name, strlen(name));
    payload[PAYLOAD - 1] = (char)version;
    w = rlhf_weights_new(&(struct rlhf_weights_spec){ name, version, l->world->config, payload, PAYLOAD, NULL, NULL }, &err);
    free(payload);
    if (!w)
        broken(l->world, err.text, 0, 0);
    else if (!known(l->world, rlhf_weights_digest(w)))
        l->world->models[l->world->model_count++] = *rlhf_weights_digest(w);
    return w;
}

static void check_rollouts(struct learner_process *l, const struct learner_answer *answer)
{
    for (uint32_t i = 0; i < JOBS; i++) {
        const struct learner_rollout *r = &answer->rollouts[i];
        int32_t ids[MAX_NEW];
        float logprob[MAX_NEW];
        size_t count = rollout_of(&l->world->policy, i / 4, i % 4, ids, logprob);

        if (r->missing || r->count != count || memcmp(r->ids, ids, count * sizeof *ids) != 0
            || memcmp(r->logprob, logprob, count * sizeof *logprob) != 0)
            broken(l->world, "a rollout is not its job's", i, r->count);
        l->counts[i] = (uint32_t)count + 2;
        memcpy(l->ids[i], prompt_ids, sizeof prompt_ids);
        memcpy(l->ids[i] + 2, ids, count * sizeof *ids);
    }
}

static void check_scores(struct learner_process *l, const struct learner_answer *answer)
{
    for (size_t i = 0; i < JOBS; i++) {
        const struct learner_score *s = &answer->scores[i];

        if (s->missing || s->reward != reward_of(&l->world->reward_model, l->ids[i], l->counts[i]))
            broken(l->world, "a reward is not its job's", i, 0);
        for (uint32_t t = 2; t < l->counts[i] && !s->missing; t++)
            if (s->logprob_ref[t - 2] != reference_of(&l->world->policy, l->ids[i][t]))
                broken(l->world, "a reference log-prob is not its job's", i, t);
    }
}

static void check_comparisons(struct learner_process *l, const struct learner_answer *answer, size_t round)
{
    for (size_t i = 0; i < answer->count; i++) {
        const struct learner_comparison *c = &answer->comparisons[i];
        unsigned task_round = 99, task = 99;

        if (sscanf(c->task, "r%u/t%u", &task_round, &task) != 2 || task_round != round || task >= TASKS)
            broken(l->world, "a comparison of another round arrived", task_round, task);
        else if (l->seen[round][task])
            broken(l->world, "a comparison counted twice", round, task);
        else
            l->seen[round][task] = true;
    }
    if (answer->count != TASKS)
        broken(l->world, "comparisons were lost", answer->count, TASKS);
    l->cursor = answer->cursor;
}

static void on_answer(void *ctx, struct learner_answer *answer, const struct rlhf_error *err)
{
    struct learner_process *l = ctx;
    size_t round = l->at / STEPS;
    uint64_t results = learner_get_counters(l->learner).done - l->results_before;

    if (results != (l->at % STEPS >= GENERATE ? JOBS : 0))
        broken(l->world, "results counted for the jobs of a step", results, JOBS);
    if (err) {
        broken(l->world, err->text, l->at, 0);
    } else if (l->at % STEPS == PUBLISH_POLICY) {
        l->world->policy = answer->digest;
    } else if (l->at % STEPS == PUBLISH_REWARD) {
        l->world->reward_model = answer->digest;
    } else if (l->at == l->step) {
        if (l->at % STEPS == PULL)
            check_comparisons(l, answer, round);
        else if (l->at % STEPS == GENERATE)
            check_rollouts(l, answer);
        else if (l->at % STEPS == SCORE)
            check_scores(l, answer);
    }
    learner_answer_free(answer);
    if (l->at == l->step)
        l->step++; /* the checkpoint */
    /* a new life publishes again, then goes on where the last one was */
    l->at = l->at % STEPS == PUBLISH_REWARD && l->at < l->step ? l->step : l->at + 1;
    if (l->step == ROUNDS * STEPS)
        l->world->done = true;
    else
        sim_after(l->process, 100, next_step, l); /* the trainer computes */
}

static void next_step(void *ctx)
{
    struct learner_process *l = ctx;
    struct learner_action *a = &l->action;
    size_t round = l->at / STEPS;
    struct rlhf_error err = { 0 };

    *a = (struct learner_action){ .stage = (uint32_t)round, .round = l->round };
    snprintf(l->round, sizeof l->round, "round-%zu", round);
    switch ((enum step)(l->at % STEPS)) {
    case PUBLISH_POLICY:
    case PUBLISH_REWARD:
        a->kind = LEARNER_PUBLISH;
        a->name = l->at % STEPS == PUBLISH_POLICY ? "policy" : "reward_model";
        a->version = round + 1;
        if (!(a->weights = some_weights(l, a->name, a->version)))
            return;
        break;
    case SUBMIT:
        a->kind = LEARNER_SUBMIT;
        for (size_t i = 0; i < TASKS; i++) {
            snprintf(l->task_ids[i], sizeof l->task_ids[i], "r%zu/t%zu", round, i);
            l->tasks[i] = (struct learner_task){ l->task_ids[i], "a prompt", completions, 3 };
        }
        a->tasks = l->tasks;
        a->task_count = TASKS;
        break;
    case PULL:
        a->kind = LEARNER_PULL;
        a->cursor = l->cursor;
        a->want = TASKS;
        break;
    case GENERATE:
        a->kind = LEARNER_GENERATE;
        for (uint32_t i = 0; i < JOBS; i++)
            l->generate[i] = (struct learner_generate_job){ .step = 1, .prompt = i / 4, .sample = i % 4,
                                                            .key_prompt = i / 4, .key_sample = i % 4,
                                                            .weights = l->world->policy, .prompt_ids = prompt_ids,
                                                            .prompt_count = 2 };
        a->generate = l->generate;
        a->generate_count = JOBS;
        a->sampling = (struct rlhf_sampling){ .temperature = 1, .top_p = 1, .max_new_tokens = MAX_NEW };
        a->end_token = END;
        a->purpose = RLHF_PURPOSE_SAMPLE;
        break;
    case SCORE:
        a->kind = LEARNER_SCORE;
        for (size_t i = 0; i < JOBS; i++)
            l->score[i] = (struct learner_score_job){ .ids = l->ids[i], .count = l->counts[i], .prompt_count = 2 };
        a->score = l->score;
        a->score_count = JOBS;
        a->reward_model = l->world->reward_model;
        a->reference = l->world->policy;
        a->temperature = 1;
        break;
    case STEPS:
        abort();
    }
    l->results_before = learner_get_counters(l->learner).done;
    if (learner_act(l->learner, a, on_answer, l, &err) < 0)
        broken(l->world, err.text, l->at, 0);
}

static int learner_start(struct sim_process *p, void *ctx)
{
    struct learner_process *l = ctx;
    struct learner_options options = LEARNER_OPTIONS_DEFAULT;
    struct rlhf_node_config node = { .role = RLHF__V1__ROLE__ROLE_LEARNER, .software = "simulated", .run = "simulated",
                                     .host = "learner", .profile = "", .heartbeat_ms = 1000, .liveness = 5,
                                     .max_peers = 32 };
    struct rlhf_error err = { 0 };

    options.run = "simulated";
    options.host = "learner";
    options.max_attempts = 1000; /* kills are not the jobs' fault here */
    l->process = p;
    if (!(l->learner = learner_new(&options, sim_env(p), &err))
        || learner_declare_stage(l->learner, "first", "policy", &err) < 0
        || learner_declare_stage(l->learner, "second", "policy", &err) < 0
        || !(l->node = rlhf_node_new(&node, sim_env(p), learner_machine(l->learner), &err)))
        return -1;
    learner_join(l->learner, l->node);
    sim_set_node(p, l->node);
    l->at = l->step / STEPS * STEPS;
    sim_after(p, 1000, next_step, l);
    return rlhf_node_link(l->node, sim_link(p, "label-collector"), RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR, &err);
}

static void learner_end(struct sim_process *p, void *ctx)
{
    struct learner_process *l = ctx;

    (void)p;
    learner_abandon(l->learner);
    learner_free(l->learner);
    rlhf_node_free(l->node);
}

/* ---- a seed ------------------------------------------------------------------------------------------- */

static bool is_over(void *ctx)
{
    const struct world *w = ctx;

    return w->done || w->failure[0];
}

static void remove_database(const struct world *w)
{
    static const char *const suffixes[] = { "", "-wal", "-shm" };
    char path[128];

    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/labels.db%s", w->directory, suffixes[i]);
        unlink(path);
    }
    rmdir(w->directory);
}

static struct simulation_counters run_seed(uint64_t seed, const struct sim_faults *faults, char *failure, size_t size)
{
    static const struct sim_program learner = { "learner", true, learner_start, learner_end };
    static const struct sim_program collector = { "label-collector", true, collector_start, collector_end };
    static struct sim_program members[WORKERS + SCORERS];
    struct world w = { .seed = seed };
    struct learner_process l = { .world = &w };
    struct collector_process c = { .world = &w };
    struct member_process *m = calloc(WORKERS + SCORERS, sizeof *m);
    struct rlhf_model_config shape;
    struct rlhf_bytes config = { 0 };
    struct simulation_counters counters;
    struct rlhf_error err = { 0 };
    char database[96];

    ck_assert_int_eq(rlhf_model_config_style(&shape, "gpt2", &err), 0);
    shape.layers = shape.heads = shape.kv_heads = 1;
    shape.channels = shape.head_size = 4;
    shape.mlp_size = 16;
    shape.vocabulary = VOCABULARY;
    shape.context = 32;
    ck_assert_msg(rlhf_model_config_print(&shape, &config, &err) == 0, "%s", err.text);
    w.config = config.data;
    snprintf(w.directory, sizeof w.directory, "%s/rlhf-sim-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(w.directory));
    snprintf(database, sizeof database, "%s/labels.db", w.directory);
    c.config = (struct collector_config){ .database = database, .run = (char *)"labels", .labels_per_task = 1,
                                          .reservation_seconds = 5, .max_connections = 8, .request_seconds = 5 };
    w.simulation = simulation_new(seed, faults);
    simulation_add(w.simulation, &collector, &c);
    simulation_add(w.simulation, &learner, &l);
    for (size_t i = 0; i < WORKERS + SCORERS; i++) {
        m[i].world = &w;
        snprintf(m[i].name, sizeof m[i].name, "%s-%zu", i < WORKERS ? "worker" : "scorer", i);
        members[i] = (struct sim_program){ m[i].name, true, i < WORKERS ? worker_start : scorer_start, member_end };
        simulation_add(w.simulation, &members[i], &m[i]);
    }
    if (!simulation_run(w.simulation, is_over, &w, (int64_t)3600 * 1000000))
        broken(&w, "the run did not end within an hour of its time; step", l.step, l.at);
    counters = simulation_counters(w.simulation);
    snprintf(failure, size, "%s", w.failure);
    simulation_free(w.simulation);
    remove_database(&w);
    rlhf_bytes_free(&config);
    free(m);
    return counters;
}

START_TEST(every_job_counts_exactly_once_on_every_seed)
{
    const struct sim_faults faults = { .loss = 0.02, .duplication = 0.02, .delay_min_us = 100, .delay_max_us = 50000,
                                       .cuts_a_minute = 6, .cut_max_us = 12000000, .kills_a_minute = 6,
                                       .dead_max_us = 10000000 };
    const char *one = getenv("RLHF_SEED"), *many = getenv("RLHF_SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1, count = one ? 1 : many ? strtoull(many, NULL, 10) : 200;
    struct simulation_counters sum = { 0 };

    for (uint64_t seed = first; seed < first + count; seed++) {
        char failure[512];
        struct simulation_counters c = run_seed(seed, &faults, failure, sizeof failure);

        ck_assert_msg(!failure[0], "seed %llu: %s; replay with RLHF_SEED=%llu", (unsigned long long)seed, failure,
                      (unsigned long long)seed);
        sum.events += c.events;
        sum.messages += c.messages;
        sum.lost += c.lost;
        sum.duplicated += c.duplicated;
        sum.cuts += c.cuts;
        sum.kills += c.kills;
    }
    printf("%llu seeds: %llu events, %llu messages (%llu lost, %llu doubled), %llu cuts, %llu kills\n",
           (unsigned long long)count, (unsigned long long)sum.events, (unsigned long long)sum.messages,
           (unsigned long long)sum.lost, (unsigned long long)sum.duplicated, (unsigned long long)sum.cuts,
           (unsigned long long)sum.kills);
    if (count >= 20) /* the faults really happened */
        ck_assert(sum.lost > 0 && sum.duplicated > 0 && sum.cuts > 0 && sum.kills > 0);
}
END_TEST

START_TEST(a_calm_cluster_needs_seconds)
{
    const struct sim_faults calm = { .delay_min_us = 100, .delay_max_us = 1000 };
    char failure[512];
    struct simulation_counters c = run_seed(1, &calm, failure, sizeof failure);

    ck_assert_msg(!failure[0], "%s", failure);
    ck_assert_uint_eq(c.kills, 0);
    ck_assert_uint_eq(c.starts, 2 + WORKERS + SCORERS);
}
END_TEST

int main(void)
{
    setenv("RLHF_LOG", "error", 0);
    return RUN_SUITE("cluster", a_calm_cluster_needs_seconds, every_job_counts_exactly_once_on_every_seed);
}
