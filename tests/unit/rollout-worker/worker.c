/* The worker's state machine on an engine that computes when the test says so. */
#include "rollout-worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/checks.h"
#include "proto/control.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"
#include "support/loopback.h"
#include "support/suite.h"

#define LEARNER RLHF__V1__ROLE__ROLE_LEARNER
#define WORKER RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER
#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
enum { SECOND = 1000000, CREDIT = 16, MOST = 64 };

/* ---- an engine ---------------------------------------------------------------------------------------- */

struct fake_engine {
    struct rlhf_member_engine interface; /* first */
    struct {
        uint64_t id, life;
        struct rlhf_digest weights;
    } begun[MOST];
    size_t begun_count, models, dropped, cancels;
};

static void add_weights(struct rlhf_member_engine *e, struct rlhf_weights *w)
{
    ((struct fake_engine *)e)->models++;
    rlhf_weights_free(w);
}

static void drop_weights(struct rlhf_member_engine *e, const struct rlhf_digest *digest)
{
    struct fake_engine *f = (struct fake_engine *)e;

    for (size_t i = 0; i < f->begun_count; i++) /* never while a job of theirs is under way */
        ck_assert(!rlhf_digest_equal(&f->begun[i].weights, digest));
    f->dropped++;
    f->models--;
}

static void begin(struct rlhf_member_engine *e, uint64_t life, const struct rlhf_member_job *held)
{
    const struct worker_job *job = (const struct worker_job *)held;
    struct fake_engine *f = (struct fake_engine *)e;

    for (size_t i = 0; i < f->begun_count; i++)
        ck_assert_uint_ne(f->begun[i].id, job->member.id);
    f->begun[f->begun_count].id = job->member.id;
    f->begun[f->begun_count].life = life;
    f->begun[f->begun_count++].weights = job->member.weights[0];
    ck_assert_int_eq(job->prompt[job->prompt_count - 1], (int32_t)job->member.id);
}

static void cancel(struct rlhf_member_engine *e)
{
    ((struct fake_engine *)e)->begun_count = 0;
    ((struct fake_engine *)e)->cancels++;
}

/* ---- a learner ---------------------------------------------------------------------------------------- */

struct learner {
    struct loopback_peers peers; /* first */
    struct rlhf_weights_source *source;
    struct rlhf_node *node;
    uint32_t credit;
    unsigned credits, rollout_messages, returned, requests;
    unsigned done[MOST]; /* times a result came for the id */
    uint32_t attempt[MOST];
    char reason[400];
    uint64_t held[MOST];
    size_t held_count;
};

static int on_credit(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner *l = state;

    (void)peer;
    (void)err;
    l->credits++;
    l->credit = ((const Rlhf__V1__Credit *)m->body)->jobs;
    return 0;
}

static int on_rollouts(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Rollouts *body = (const Rlhf__V1__Rollouts *)m->body;
    struct learner *l = state;

    (void)peer;
    (void)err;
    l->rollout_messages++;
    for (size_t i = 0; i < body->n_rollouts; i++) {
        l->done[body->rollouts[i]->id]++;
        l->attempt[body->rollouts[i]->id] = body->rollouts[i]->attempt;
    }
    return 0;
}

static int on_returned(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__JobsReturned *body = (const Rlhf__V1__JobsReturned *)m->body;
    struct learner *l = state;

    (void)peer;
    (void)err;
    l->returned += (unsigned)body->n_ids;
    strncpy(l->reason, body->reason, sizeof l->reason - 1);
    return 0;
}

static int on_request(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner *l = state;

    l->requests++;
    return rlhf_weights_source_on_request(l->source, l->node, peer, m, err);
}

static int on_chunks(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner *l = state;

    return rlhf_weights_source_on_chunk_request(l->source, l->node, peer, m, err);
}

static void on_heartbeat(void *state, struct rlhf_peer *peer, const uint64_t *ids, size_t count)
{
    struct learner *l = state;

    (void)peer;
    ck_assert_uint_le(count, MOST);
    l->held_count = count;
    for (size_t i = 0; i < count; i++)
        l->held[i] = ids[i];
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

/* ---- both --------------------------------------------------------------------------------------------- */

struct pair {
    struct loopback wire;
    struct learner learner;
    struct rlhf_machine learner_machine;
    struct fake_engine engine;
    struct worker *worker;
};

static void start_learner(struct pair *p)
{
    p->learner.node = loopback_service(&p->wire, LEARNER, &p->learner_machine);
}

static void a_pair_on(struct pair *p, const char *host)
{
    struct rlhf_member_config o = { CREDIT, 1 << 20, 2, host, 5000 };
    struct rlhf_error err = { 0 };

    memset(p, 0, sizeof *p);
    loopback_init(&p->wire);
    p->engine.interface = (struct rlhf_member_engine){ add_weights, drop_weights, begin, cancel };
    p->learner_machine = (struct rlhf_machine){ .handlers = rows,
                                                .state = &p->learner,
                                                .peer_up = loopback_peer_up,
                                                .peer_lost = loopback_peer_lost,
                                                .heartbeat = on_heartbeat };
    expect_some(p->learner.source = rlhf_weights_source_new("a-host", &err), err);
    expect_some(p->worker = worker_new(&o, &p->wire.client.env, &p->engine.interface, &err), err);
    start_learner(p);
    rlhf_member_join(worker_member(p->worker),
                     loopback_client(&p->wire, WORKER, LEARNER, rlhf_member_machine(worker_member(p->worker))));
}

static void a_pair(struct pair *p)
{
    a_pair_on(p, "another-host");
}

static void a_ready_pair(struct pair *p)
{
    a_pair(p);
    loopback_run(&p->wire, SECOND);
    ck_assert_uint_eq(p->learner.credit, CREDIT);
}

static void end_pair(struct pair *p)
{
    worker_free(p->worker);
    loopback_end(&p->wire);
    rlhf_weights_source_free(p->learner.source);
}

static struct rlhf_digest publish(struct pair *p, char version)
{
    struct rlhf_error err = { 0 };
    struct rlhf_digest digest;

    expect_ok(rlhf_weights_source_publish(p->learner.source,
                                          &(struct rlhf_weights_spec){ "policy", 1, "{}", &version, 1, NULL, NULL }, &digest,
                                          &err),
              err);
    return digest;
}

/* Sends jobs with ids first .. first + count - 1, whose prompts end with their id. */
static void post_jobs(struct pair *p, const struct rlhf_digest *weights, uint64_t first, size_t count, uint32_t attempt)
{
    Rlhf__V1__GenerateJobs body = RLHF__V1__GENERATE_JOBS__INIT;
    Rlhf__V1__GenerateJob job[MOST], *jobs[MOST];
    Rlhf__V1__Sampling sampling = RLHF__V1__SAMPLING__INIT, *samplings[] = { &sampling };
    Rlhf__V1__JobName name = RLHF__V1__JOB_NAME__INIT;
    ProtobufCBinaryData digest = rlhf_digest_field(weights);
    int32_t prompts[3 * MOST] = { 0 };
    struct rlhf_error err = { 0 };

    sampling.temperature = sampling.top_p = 1;
    sampling.max_new_tokens = 4;
    for (size_t i = 0; i < count; i++) {
        rlhf__v1__generate_job__init(&job[i]);
        job[i].id = first + i;
        job[i].attempt = attempt;
        job[i].name = &name;
        job[i].purpose = RLHF__V1__PURPOSE__PURPOSE_SAMPLE;
        job[i].prompt_tokens = 3;
        prompts[3 * i + 2] = (int32_t)(first + i);
        jobs[i] = &job[i];
    }
    body.weights = &digest;
    body.n_weights = 1;
    body.jobs = jobs;
    body.n_jobs = count;
    body.sampling = samplings;
    body.n_sampling = 1;
    expect_ok(rlhf_node_send(p->learner.node, p->learner.peers.peer,
                             &(struct rlhf_message){ .type = TYPE(GENERATE_JOBS),
                                                     .body = &body.base,
                                                     .blobs = { { prompts, count * 12 } },
                                                     .blob_count = 1 },
                             &err),
              err);
}

static void send_jobs(struct pair *p, const struct rlhf_digest *weights, uint64_t first, size_t count, uint32_t attempt)
{
    post_jobs(p, weights, first, count, attempt);
    loopback_settle(&p->wire);
}

/* The engine finishes its oldest job. */
static void finish_one(struct pair *p)
{
    static const int32_t ids[] = { 1, 2 };
    static const float logprob[] = { -1, -2 };
    struct worker_result r = { p->engine.begun[0].id, ids, logprob, logprob, 2, true };
    uint64_t life = p->engine.begun[0].life;

    memmove(p->engine.begun, p->engine.begun + 1, --p->engine.begun_count * sizeof p->engine.begun[0]);
    worker_finished(p->worker, life, &r);
}

START_TEST(jobs_wait_for_their_weights_and_results_travel_together)
{
    struct pair p;
    struct rlhf_digest digest;

    a_ready_pair(&p);
    digest = publish(&p, 'a');
    p.wire.drop_to_client = 0;
    send_jobs(&p, &digest, 1, CREDIT, 1);
    ck_assert_uint_eq(p.learner.requests, 1);
    ck_assert_uint_eq(p.engine.begun_count, CREDIT);
    for (unsigned i = 0; i < CREDIT - 1; i++)
        finish_one(&p);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.learner.rollout_messages, 0);
    loopback_run(&p.wire, 10000);
    ck_assert_uint_eq(p.learner.rollout_messages, 1);
    finish_one(&p); /* the last one waits for nobody */
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.learner.rollout_messages, 2);
    for (unsigned id = 1; id <= CREDIT; id++)
        ck_assert_uint_eq(p.learner.done[id], 1);
    end_pair(&p);
}
END_TEST

START_TEST(heartbeats_list_what_is_held_and_what_is_not_sent)
{
    struct pair p;
    struct rlhf_digest digest;

    a_ready_pair(&p);
    digest = publish(&p, 'a');
    send_jobs(&p, &digest, 1, 5, 1);
    loopback_run(&p.wire, 2 * SECOND);
    ck_assert_uint_eq(p.learner.held_count, 5);
    finish_one(&p);
    finish_one(&p);
    loopback_run(&p.wire, 2 * SECOND);
    ck_assert_uint_eq(p.learner.held_count, 3);
    for (size_t i = 0; i < 3; i++)
        ck_assert_uint_eq(p.learner.held[i], 3 + i);
    end_pair(&p);
}
END_TEST

START_TEST(a_job_that_comes_twice_is_done_once)
{
    struct pair p;
    struct rlhf_digest digest;

    a_ready_pair(&p);
    digest = publish(&p, 'a');
    send_jobs(&p, &digest, 1, 5, 1);
    send_jobs(&p, &digest, 3, 5, 2); /* 3, 4, 5 again (the lease ended), and 6, 7 */
    ck_assert_uint_eq(p.engine.begun_count, 7);
    while (p.engine.begun_count)
        finish_one(&p);
    loopback_run(&p.wire, SECOND);
    for (unsigned id = 1; id <= 7; id++)
        ck_assert_uint_eq(p.learner.done[id], 1);
    end_pair(&p);
}
END_TEST

START_TEST(a_learner_that_comes_back_gets_credit_and_no_old_results)
{
    struct pair p;
    struct rlhf_digest digest;
    struct { uint64_t id, life; } late;
    struct worker_result r;
    static const int32_t ids[] = { 1 };
    static const float logprob[] = { -1 };

    a_ready_pair(&p);
    digest = publish(&p, 'a');
    send_jobs(&p, &digest, 1, 5, 1);
    late.id = p.engine.begun[0].id;
    late.life = p.engine.begun[0].life;
    loopback_kill_service(&p.wire);
    p.learner.peers = (struct loopback_peers){ 0 };
    p.learner.credit = 0;
    start_learner(&p);
    loopback_run(&p.wire, 10 * SECOND);
    ck_assert_uint_eq(p.learner.credit, CREDIT);
    ck_assert_uint_ge(p.engine.cancels, 1);
    ck_assert_uint_eq(p.engine.begun_count, 0);
    send_jobs(&p, &digest, 1, 2, 1); /* the same ids mean other jobs now */
    r = (struct worker_result){ late.id, ids, logprob, logprob, 1, false };
    worker_finished(p.worker, late.life, &r); /* was under way when the old learner died */
    loopback_run(&p.wire, SECOND);
    ck_assert_uint_eq(p.learner.done[1], 0);
    ck_assert_uint_eq(p.learner.requests, 1); /* the weights are still there */
    finish_one(&p);
    finish_one(&p);
    loopback_run(&p.wire, SECOND);
    ck_assert_uint_eq(p.learner.done[1] + p.learner.done[2], 2);
    end_pair(&p);
}
END_TEST

START_TEST(a_lost_welcome_or_credit_costs_seconds)
{
    for (unsigned lost = 0; lost < 4; lost++) {
        struct pair p;

        a_pair(&p);
        p.wire.drop_to_client = lost & 1;
        while ((lost & 2) && p.wire.seen[TYPE(WELCOME)] == 0) { /* the credit is what answers the Welcome */
            if (p.wire.first && p.wire.first->type == TYPE(WELCOME))
                p.wire.drop_to_service = 1;
            if (!loopback_step(&p.wire))
                fake_clock_advance(&p.wire.clock, 1000);
        }
        loopback_run(&p.wire, 12 * SECOND);
        ck_assert_uint_eq(p.learner.credit, CREDIT);
        end_pair(&p);
    }
}
END_TEST

START_TEST(jobs_whose_weights_cannot_be_had_are_handed_back)
{
    struct pair p;
    struct rlhf_digest nowhere = rlhf_digest_of("nowhere", 7), digest;

    a_ready_pair(&p);
    digest = publish(&p, 'a');
    send_jobs(&p, &digest, 1, 2, 1);
    send_jobs(&p, &nowhere, 3, 4, 1);
    ck_assert_uint_eq(p.learner.returned, 4);
    expect_contains(p.learner.reason, "not published");
    ck_assert_uint_eq(p.engine.begun_count, 2);
    end_pair(&p);
}
END_TEST

START_TEST(what_was_made_of_mapped_weights_stays_until_they_are_verified)
{
    const char *dir = a_directory();

    for (int lies = 0; lies < 2; lies++) {
        char hex[RLHF_DIGEST_TEXT], path[600];
        struct rlhf_error err = { 0 };
        struct rlhf_digest digest;
        struct pair p;
        FILE *f;

        a_pair_on(&p, "a-host");
        loopback_run(&p.wire, SECOND);
        expect_ok(rlhf_weights_source_publish(p.learner.source,
                                              &(struct rlhf_weights_spec){ "policy", 1, "{}", "truth", 5, dir, NULL },
                                              &digest, &err), err);
        rlhf_digest_text(&digest, hex);
        snprintf(path, sizeof path, "%s/%s.weights", dir, hex);
        if (lies) {
            unlink(path);
            f = fopen(path, "w");
            fputs("a lie", f);
            fclose(f);
        }
        post_jobs(&p, &digest, 1, 2, 1);
        while (p.engine.begun_count < 2 && loopback_step(&p.wire))
            ;
        ck_assert_uint_eq(p.engine.begun_count, 2);
        finish_one(&p);
        finish_one(&p); /* the last one: both are to be sent */
        loopback_run(&p.wire, SECOND);
        ck_assert_uint_eq(p.learner.done[1] + p.learner.done[2], lies ? 0 : 2);
        ck_assert_uint_eq(p.learner.returned, lies ? 2 : 0);
        if (lies) {
            ck_assert_str_eq(p.learner.reason, "its weights proved false");
            send_jobs(&p, &digest, 1, 1, 2); /* what comes over the network is good */
            loopback_run(&p.wire, SECOND);
            finish_one(&p);
            loopback_run(&p.wire, SECOND);
            ck_assert_uint_eq(p.learner.done[1], 1);
        }
        end_pair(&p);
        unlink(path);
    }
}
END_TEST

START_TEST(a_job_that_fails_is_handed_back_with_its_reason_on_one_line)
{
    struct pair p;
    struct rlhf_digest digest;
    struct rlhf_error why;

    a_ready_pair(&p);
    digest = publish(&p, 'a');
    send_jobs(&p, &digest, 1, 2, 1);
    rlhf_fail(&why, RLHF_REJECT, "two\nlines");
    rlhf_member_failed(worker_member(p.worker), p.engine.begun[0].life, 1, &why);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.learner.returned, 1);
    ck_assert_str_eq(p.learner.reason, "two lines");
    rlhf_member_failed(worker_member(p.worker), p.engine.begun[0].life, 1, &why); /* once */
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.learner.returned, 1);
    end_pair(&p);
}
END_TEST

START_TEST(a_drained_worker_hands_back_and_takes_no_more)
{
    struct pair p;
    struct rlhf_digest digest;

    a_ready_pair(&p);
    digest = publish(&p, 'a');
    send_jobs(&p, &digest, 1, 6, 1);
    finish_one(&p);
    rlhf_member_drain(worker_member(p.worker), "enough");
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.learner.done[1], 1); /* what was done is not lost */
    ck_assert_uint_eq(p.learner.returned, 5);
    ck_assert_str_eq(p.learner.reason, "enough");
    ck_assert_uint_eq(p.learner.credit, 0);
    send_jobs(&p, &digest, 10, 2, 1);
    ck_assert_uint_eq(p.learner.returned, 7);
    end_pair(&p);
}
END_TEST

START_TEST(few_models_are_kept_and_none_that_a_job_needs_is_dropped)
{
    struct pair p;
    struct rlhf_digest digest[5];

    a_ready_pair(&p); /* keeps 2 */
    for (unsigned i = 0; i < 5; i++) {
        digest[i] = publish(&p, (char)('a' + i));
        send_jobs(&p, &digest[i], 1 + i, 1, 1);
    }
    ck_assert_uint_eq(p.engine.begun_count, 5); /* more than two where jobs need them */
    while (p.engine.begun_count)
        finish_one(&p);
    loopback_run(&p.wire, SECOND);
    send_jobs(&p, &digest[4], 20, 1, 1);
    ck_assert_uint_eq(p.learner.requests, 5); /* the newest is still there */
    finish_one(&p);
    send_jobs(&p, &digest[0], 21, 1, 1);
    while (p.engine.begun_count)
        finish_one(&p);
    {
        struct rlhf_digest more = publish(&p, 'z');

        send_jobs(&p, &more, 30, 1, 1);
        ck_assert_uint_le(p.engine.models, 2);
        finish_one(&p);
    }
    end_pair(&p);
}
END_TEST

START_TEST(dropped_weights_leave_once_no_job_names_them)
{
    struct pair p;
    struct rlhf_digest digest;
    struct rlhf_error err = { 0 };

    a_ready_pair(&p);
    digest = publish(&p, 'a');
    send_jobs(&p, &digest, 1, 1, 1);
    finish_one(&p);
    expect_ok(rlhf_weights_source_announce(p.learner.source, p.learner.node, p.learner.peers.peer, NULL, &digest, 1,
                                           &err),
              err);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.engine.models, 0);
    end_pair(&p);
}
END_TEST

int main(void)
{
    return RUN_SUITE("rollout-worker/worker", jobs_wait_for_their_weights_and_results_travel_together,
                     heartbeats_list_what_is_held_and_what_is_not_sent, a_job_that_comes_twice_is_done_once,
                     a_learner_that_comes_back_gets_credit_and_no_old_results, a_lost_welcome_or_credit_costs_seconds,
                     jobs_whose_weights_cannot_be_had_are_handed_back,
                     what_was_made_of_mapped_weights_stays_until_they_are_verified,
                     a_job_that_fails_is_handed_back_with_its_reason_on_one_line,
                     a_drained_worker_hands_back_and_takes_no_more,
                     few_models_are_kept_and_none_that_a_job_needs_is_dropped,
                     dropped_weights_leave_once_no_job_names_them);
}
