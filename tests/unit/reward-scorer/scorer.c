/* The scorer's state machine on an engine that computes when the test says so. What it shares with the rollout-worker
 * (net/member.h) is tested there. */
#include "reward-scorer/scorer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "net/checks.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"
#include "support/loopback.h"
#include "support/suite.h"

#define LEARNER RLHF__V1__ROLE__ROLE_LEARNER
#define SCORER RLHF__V1__ROLE__ROLE_REWARD_SCORER
#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
enum { SECOND = 1000000, MOST = 32 };

struct fake_engine {
    struct rlhf_member_engine interface; /* first */
    uint64_t id[MOST], life;
    size_t begun, models;
    const struct rlhf_source *source; /* of the last job */
    char prompt[40], completion[40], answer[40];
};

static void add_weights(struct rlhf_member_engine *e, struct rlhf_weights *w)
{
    ((struct fake_engine *)e)->models++;
    rlhf_weights_free(w);
}

static void drop_weights(struct rlhf_member_engine *e, const struct rlhf_digest *digest)
{
    (void)digest;
    ((struct fake_engine *)e)->models--;
}

static void begin(struct rlhf_member_engine *e, uint64_t life, const struct rlhf_member_job *held)
{
    const struct scorer_job *job = (const struct scorer_job *)held;
    struct fake_engine *f = (struct fake_engine *)e;

    ck_assert_uint_eq(job->count, 4);
    ck_assert_int_eq(job->ids[3], (int32_t)job->member.id);
    f->life = life;
    f->id[f->begun++] = job->member.id;
    if ((f->source = job->source)) {
        struct rlhf_source_text t = scorer_job_text(job);

        ck_assert_uint_eq(t.tokens, 2);
        strcpy(f->prompt, t.prompt);
        strcpy(f->completion, t.completion);
        strcpy(f->answer, t.answer ? t.answer : "none");
    }
}

static void cancel(struct rlhf_member_engine *e)
{
    ((struct fake_engine *)e)->begun = 0;
}

struct learner {
    struct loopback_peers peers; /* first */
    struct rlhf_weights_source *source;
    struct rlhf_node *node;
    uint32_t credit;
    unsigned messages, returned, done[MOST], missing[MOST];
    float reward[MOST];
    char named[40], reason[200];
};

static int on_credit(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    (void)peer;
    (void)err;
    ((struct learner *)state)->credit = ((const Rlhf__V1__Credit *)m->body)->jobs;
    return 0;
}

static int on_scores(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Scores *body = (const Rlhf__V1__Scores *)m->body;
    struct learner *l = state;

    (void)peer;
    (void)err;
    l->messages++;
    strcpy(l->named, body->source);
    strcpy(l->reason, body->reason);
    for (size_t i = 0; i < body->n_scores; i++) {
        l->done[body->scores[i]->id]++;
        l->reward[body->scores[i]->id] = body->scores[i]->reward;
        l->missing[body->scores[i]->id] += body->scores[i]->missing;
        ck_assert_uint_eq(body->scores[i]->logprobs, body->reference.len ? 2 : 0);
    }
    return 0;
}

static int on_returned(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    (void)peer;
    (void)err;
    ((struct learner *)state)->returned += (unsigned)((const Rlhf__V1__JobsReturned *)m->body)->n_ids;
    return 0;
}

static int on_request(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return rlhf_weights_source_on_request(((struct learner *)state)->source, ((struct learner *)state)->node, peer, m,
                                          err);
}

static int on_chunks(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return rlhf_weights_source_on_chunk_request(((struct learner *)state)->source, ((struct learner *)state)->node,
                                                peer, m, err);
}

static const struct rlhf_handler rows[] = {
    { TYPE(CREDIT), &rlhf__v1__credit__descriptor, RLHF_ROLE_BIT(SCORER), 64, 0, 0, rlhf_check_credit, on_credit },
    { TYPE(SCORES), &rlhf__v1__scores__descriptor, RLHF_ROLE_BIT(SCORER), 1 << 20, 1, 1 << 20, rlhf_check_scores,
      on_scores },
    { TYPE(JOBS_RETURNED), &rlhf__v1__jobs_returned__descriptor, RLHF_ROLE_BIT(SCORER), 1 << 16, 0, 0,
      rlhf_check_jobs_returned, on_returned },
    { TYPE(WEIGHTS_REQUEST), &rlhf__v1__weights_request__descriptor, RLHF_ROLE_BIT(SCORER), 256, 0, 0,
      rlhf_check_weights_request, on_request },
    { TYPE(CHUNK_REQUEST), &rlhf__v1__chunk_request__descriptor, RLHF_ROLE_BIT(SCORER), 512, 0, 0,
      rlhf_check_chunk_request, on_chunks },
    { 0 },
};

struct pair {
    struct loopback wire;
    struct learner learner;
    struct rlhf_machine learner_machine;
    struct fake_engine engine;
    struct scorer *scorer;
    struct rlhf_digest reward, reference;
};

static struct rlhf_digest publish(struct pair *p, const char *payload)
{
    struct rlhf_error err = { 0 };
    struct rlhf_digest digest;

    expect_ok(rlhf_weights_source_publish(
                  p->learner.source,
                  &(struct rlhf_weights_spec){ "weights", 1, "{}", payload, strlen(payload), NULL, NULL }, &digest, &err),
              err);
    return digest;
}

static void a_ready_pair(struct pair *p)
{
    struct rlhf_member_config o = { MOST, 1 << 20, 4, "another-host", 5000 };
    struct rlhf_error err = { 0 };

    memset(p, 0, sizeof *p);
    loopback_init(&p->wire);
    p->engine.interface = (struct rlhf_member_engine){ add_weights, drop_weights, begin, cancel };
    p->learner_machine = (struct rlhf_machine){
        .handlers = rows, .state = &p->learner, .peer_up = loopback_peer_up, .peer_lost = loopback_peer_lost
    };
    expect_some(p->learner.source = rlhf_weights_source_new("a-host", &err), err);
    expect_some(p->scorer = scorer_new(&o, &p->wire.client.env, &p->engine.interface, &err), err);
    p->learner.node = loopback_service(&p->wire, LEARNER, &p->learner_machine);
    rlhf_member_join(scorer_member(p->scorer),
                     loopback_client(&p->wire, SCORER, LEARNER, rlhf_member_machine(scorer_member(p->scorer))));
    loopback_run(&p->wire, SECOND);
    ck_assert_uint_eq(p->learner.credit, MOST);
    p->reward = publish(p, "reward");
    p->reference = publish(p, "reference");
}

static void end_pair(struct pair *p)
{
    scorer_free(p->scorer);
    loopback_end(&p->wire);
    rlhf_weights_source_free(p->learner.source);
}

/* Jobs of 4 tokens, 2 of them the prompt's, whose last token is their id; digests may be NULL. */
static void send_jobs(struct pair *p, uint64_t first, size_t count, const struct rlhf_digest *reward,
                      const struct rlhf_digest *reference)
{
    Rlhf__V1__ScoreJobs body = RLHF__V1__SCORE_JOBS__INIT;
    Rlhf__V1__ScoreJob job[MOST], *jobs[MOST];
    int32_t ids[4 * MOST] = { 0 };
    struct rlhf_error err = { 0 };

    for (size_t i = 0; i < count; i++) {
        rlhf__v1__score_job__init(&job[i]);
        job[i].id = first + i;
        job[i].attempt = 1;
        job[i].tokens = 4;
        job[i].prompt_tokens = 2;
        ids[4 * i + 3] = (int32_t)(first + i);
        jobs[i] = &job[i];
    }
    if (reward)
        body.reward_model = rlhf_digest_field(reward);
    if (reference)
        body.reference = rlhf_digest_field(reference);
    body.temperature = 1;
    body.jobs = jobs;
    body.n_jobs = count;
    expect_ok(rlhf_node_send(p->learner.node, p->learner.peers.peer,
                             &(struct rlhf_message){ .type = TYPE(SCORE_JOBS),
                                                     .body = &body.base,
                                                     .blobs = { { ids, count * 16 } },
                                                     .blob_count = 1 },
                             &err),
              err);
    loopback_settle(&p->wire);
}

static void finish(struct pair *p, uint64_t id, size_t logprobs)
{
    static const float logprob[] = { -1, -2 };

    scorer_finished(p->scorer, p->engine.life, id, (float)id / 2, logprob, logprobs, NULL);
}

START_TEST(a_job_waits_for_both_of_its_weights)
{
    struct pair p;

    a_ready_pair(&p);
    send_jobs(&p, 1, 3, &p.reward, &p.reference);
    ck_assert_uint_eq(p.engine.models, 2);
    ck_assert_uint_eq(p.engine.begun, 3);
    for (uint64_t id = 1; id <= 3; id++)
        finish(&p, id, 2);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.learner.messages, 1);
    for (unsigned id = 1; id <= 3; id++) {
        ck_assert_uint_eq(p.learner.done[id], 1);
        ck_assert(p.learner.reward[id] == (float)id / 2);
    }
    end_pair(&p);
}
END_TEST

START_TEST(scores_of_different_models_do_not_share_a_message)
{
    struct pair p;

    a_ready_pair(&p);
    send_jobs(&p, 1, 2, &p.reward, &p.reference);
    send_jobs(&p, 3, 2, &p.reward, NULL);
    finish(&p, 1, 2);
    finish(&p, 3, 0);
    finish(&p, 2, 2);
    finish(&p, 4, 0);
    loopback_run(&p.wire, SECOND);
    ck_assert_uint_eq(p.learner.messages, 4);
    for (unsigned id = 1; id <= 4; id++)
        ck_assert_uint_eq(p.learner.done[id], 1);
    end_pair(&p);
}
END_TEST

START_TEST(a_job_one_of_whose_weights_is_missing_is_handed_back)
{
    struct pair p;
    struct rlhf_digest nowhere = rlhf_digest_of("nowhere", 7);

    a_ready_pair(&p);
    send_jobs(&p, 1, 3, &p.reward, &nowhere);
    ck_assert_uint_eq(p.learner.returned, 3);
    ck_assert_uint_eq(p.engine.begun, 0);
    end_pair(&p);
}
END_TEST

START_TEST(a_drained_scorer_hands_back_what_is_not_done)
{
    struct pair p;

    a_ready_pair(&p);
    send_jobs(&p, 1, 5, &p.reward, NULL);
    finish(&p, 2, 0);
    rlhf_member_drain(scorer_member(p.scorer), "enough");
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.learner.done[2], 1);
    ck_assert_uint_eq(p.learner.returned, 4);
    ck_assert_uint_eq(p.learner.credit, 0);
    finish(&p, 3, 0); /* too late */
    loopback_run(&p.wire, SECOND);
    ck_assert_uint_eq(p.learner.done[3], 0);
    end_pair(&p);
}
END_TEST

/* One job, 1, of a source. */
static void send_source_job(struct pair *p, Rlhf__V1__RewardSource *source, uint64_t id, const char *texts, uint32_t prompt,
                            uint32_t completion, int answer)
{
    Rlhf__V1__ScoreJobs body = RLHF__V1__SCORE_JOBS__INIT;
    Rlhf__V1__ScoreJob job = RLHF__V1__SCORE_JOB__INIT, *jobs[] = { &job };
    int32_t ids[] = { 0, 0, 0, (int32_t)id };
    struct rlhf_error err = { 0 };

    job.id = id;
    job.attempt = 1;
    job.tokens = 4;
    job.prompt_tokens = 2;
    job.prompt_bytes = prompt;
    job.completion_bytes = completion;
    job.has_answer = answer >= 0;
    job.answer_bytes = answer >= 0 ? (uint32_t)answer : 0;
    body.source = source;
    body.jobs = jobs;
    body.n_jobs = 1;
    expect_ok(rlhf_node_send(p->learner.node, p->learner.peers.peer,
                             &(struct rlhf_message){ .type = TYPE(SCORE_JOBS),
                                                     .body = &body.base,
                                                     .blobs = { { ids, sizeof ids }, { texts, strlen(texts) } },
                                                     .blob_count = 2 },
                             &err),
              err);
    loopback_settle(&p->wire);
}

static Rlhf__V1__RewardSource a_pattern(const char *name, const char *expression)
{
    Rlhf__V1__RewardSource s = RLHF__V1__REWARD_SOURCE__INIT;

    s.kind = RLHF__V1__REWARD_KIND__REWARD_PATTERN;
    s.name = (char *)name;
    s.expression = (char *)expression;
    s.matched = 1;
    return s;
}

START_TEST(a_job_of_a_source_brings_its_texts_and_waits_for_no_weights)
{
    Rlhf__V1__RewardSource polite = a_pattern("polite", "please"), other = a_pattern("other", "x");
    const struct rlhf_source *first;
    struct pair p;

    a_ready_pair(&p);
    send_source_job(&p, &polite, 1, "askedanswered42", 5, 8, 2);
    ck_assert_uint_eq(p.engine.begun, 1);
    ck_assert_str_eq(p.engine.prompt, "asked");
    ck_assert_str_eq(p.engine.completion, "answered");
    ck_assert_str_eq(p.engine.answer, "42");
    ck_assert_str_eq(rlhf_source_settings(p.engine.source)->expression, "please");
    first = p.engine.source;
    send_source_job(&p, &polite, 2, "asked", 5, 0, -1);
    ck_assert_ptr_eq(p.engine.source, first); /* made once */
    ck_assert_str_eq(p.engine.completion, "");
    ck_assert_str_eq(p.engine.answer, "none");
    send_source_job(&p, &other, 3, "", 0, 0, 0);
    ck_assert_ptr_ne(p.engine.source, first);
    ck_assert_str_eq(p.engine.answer, "");
    ck_assert_uint_eq(p.engine.models, 0);
    end_pair(&p);
}
END_TEST

START_TEST(a_missing_reward_says_so_and_why_and_shares_no_message_with_another_source)
{
    Rlhf__V1__RewardSource polite = a_pattern("polite", "please"), other = a_pattern("other", "x");
    struct pair p;

    a_ready_pair(&p);
    send_source_job(&p, &polite, 1, "ab", 1, 1, -1);
    send_source_job(&p, &other, 2, "ab", 1, 1, -1);
    scorer_finished(p.scorer, p.engine.life, 1, NAN, NULL, 0, "the service\nis gone\xff");
    finish(&p, 2, 0);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.learner.messages, 2);
    ck_assert_uint_eq(p.learner.missing[1], 1);
    ck_assert_uint_eq(p.learner.missing[2], 0);
    ck_assert_double_eq(p.learner.reward[2], 1);
    ck_assert_str_eq(p.learner.named, "other");
    ck_assert_str_eq(p.learner.reason, "");
    send_source_job(&p, &polite, 3, "ab", 1, 1, -1);
    scorer_finished(p.scorer, p.engine.life, 3, NAN, NULL, 0, "the service\nis gone\xff");
    loopback_settle(&p.wire);
    ck_assert_str_eq(p.learner.named, "polite");
    ck_assert_str_eq(p.learner.reason, "the service is gone ");
    end_pair(&p);
}
END_TEST

START_TEST(a_source_that_makes_no_sense_is_refused_and_nothing_begun)
{
    Rlhf__V1__RewardSource bad = a_pattern("bad", "(");
    struct pair p;

    a_ready_pair(&p);
    send_source_job(&p, &bad, 1, "ab", 1, 1, -1);
    ck_assert_uint_eq(p.engine.begun, 0);
    end_pair(&p);
}
END_TEST

int main(void)
{
    return RUN_SUITE("reward-scorer/scorer", a_job_of_a_source_brings_its_texts_and_waits_for_no_weights,
                     a_missing_reward_says_so_and_why_and_shares_no_message_with_another_source,
                     a_source_that_makes_no_sense_is_refused_and_nothing_begun, a_job_waits_for_both_of_its_weights,
                     scores_of_different_models_do_not_share_a_message,
                     a_job_one_of_whose_weights_is_missing_is_handed_back, a_drained_scorer_hands_back_what_is_not_done);
}
