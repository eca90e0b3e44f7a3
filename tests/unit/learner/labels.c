/* The learner and a label-collector's words: how it waits for comparisons, and when it gives up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learner/fleet.h"
#include "net/checks.h"
#include "support/loopback.h"
#include "support/suite.h"

#define LEARNER RLHF__V1__ROLE__ROLE_LEARNER
#define COLLECTOR RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR
#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
enum { SECOND = 1000000, PATIENCE_S = 600 };

struct collector {
    struct loopback_peers peers; /* first */
    struct rlhf_node *node;
    uint64_t stored; /* comparisons there are */
    uint32_t open;   /* tasks */
    unsigned pulls;
    unsigned labelers; /* that there are weights of */
};

static int on_pull(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    static const uint32_t ranks[] = { 1, 2 };
    const Rlhf__V1__ComparisonsPull *body = (const Rlhf__V1__ComparisonsPull *)m->body;
    struct collector *c = state;
    Rlhf__V1__Comparison one = RLHF__V1__COMPARISON__INIT, *list[1] = { &one };
    Rlhf__V1__Comparisons answer = RLHF__V1__COMPARISONS__INIT;
    Rlhf__V1__LabelerWeight weight = RLHF__V1__LABELER_WEIGHT__INIT, *weights[1] = { &weight };
    char name[32], id[32], *completions[] = { (char *)"yes", (char *)"no" };

    c->pulls++;
    answer.cursor = body->cursor;
    answer.open_tasks = c->open;
    if (body->cursor < c->stored) { /* one at a time */
        snprintf(id, sizeof id, "label-%llu", (unsigned long long)body->cursor);
        one.sequence = answer.cursor = body->cursor + 1;
        one.id = id;
        one.prompt = (char *)"good?";
        one.completions = completions;
        one.ranks = (uint32_t *)ranks;
        one.n_completions = one.n_ranks = 2;
        one.source = (char *)"api";
        one.revision = 1;
        answer.comparisons = list;
        answer.n_comparisons = 1;
    }
    unsigned after = *body->labeler ? (unsigned)(body->labeler[1] - '0') + 1 : 0;
    if (body->weights && body->cursor >= c->stored && after < c->labelers) { /* one at a time, too */
        snprintf(name, sizeof name, "w%u", after);
        weight.labeler = name;
        weight.distrust = (float)after / 8;
        answer.weights = weights;
        answer.n_weights = 1;
    }
    return rlhf_node_send(c->node, peer,
                          &(struct rlhf_message){ .type = TYPE(COMPARISONS), .request = m->request, .body = &answer.base },
                          err);
}

static const struct rlhf_handler rows[] = {
    { TYPE(COMPARISONS_PULL), &rlhf__v1__comparisons_pull__descriptor, RLHF_ROLE_BIT(LEARNER), 256, 0, 0,
      rlhf_check_comparisons_pull, on_pull },
    { 0 },
};

struct pair {
    struct loopback wire;
    struct collector collector;
    struct rlhf_machine machine;
    struct learner *learner;
    struct learner_action action;
    size_t came, weights;
    bool answered;
};

static void on_answered(void *ctx, struct learner_answer *answer, const struct rlhf_error *err)
{
    struct pair *p = ctx;

    ck_assert_msg(!err, "%s", err ? err->text : "");
    p->answered = true;
    p->came = answer->count;
    p->weights = answer->weight_count;
    for (size_t i = 0; i < answer->weight_count; i++) {
        ck_assert_uint_eq((size_t)(answer->weights[i].labeler[1] - '0'), i);
        ck_assert_float_eq(answer->weights[i].distrust, (float)i / 8);
    }
    learner_answer_free(answer);
}

/* A learner that has 3 comparisons and waits for 4 more. */
static void a_waiting_learner(struct pair *p, uint64_t stored, uint32_t open)
{
    struct learner_options o = LEARNER_OPTIONS_DEFAULT;
    struct rlhf_error err = { 0 };

    memset(p, 0, sizeof *p);
    loopback_init(&p->wire);
    p->collector.stored = stored;
    p->collector.open = open;
    p->machine = (struct rlhf_machine){
        .handlers = rows, .state = &p->collector, .peer_up = loopback_peer_up, .peer_lost = loopback_peer_lost
    };
    p->collector.node = loopback_service(&p->wire, COLLECTOR, &p->machine);
    o.run = "run";
    expect_some(p->learner = learner_new(&o, &p->wire.client.env, &err), err);
    expect_ok(learner_declare_stage(p->learner, "round-1", "collect", &err), err);
    learner_join(p->learner, loopback_client(&p->wire, LEARNER, COLLECTOR, learner_machine(p->learner)));
    loopback_run(&p->wire, SECOND);
    p->action = (struct learner_action){ .kind = LEARNER_PULL, .round = "round-1", .want = 4, .have = 3,
                                         .patience_us = (int64_t)PATIENCE_S * SECOND };
    expect_ok(learner_act(p->learner, &p->action, on_answered, p, &err), err);
    loopback_settle(&p->wire);
}

static void end(struct pair *p)
{
    learner_abandon(p->learner);
    learner_free(p->learner);
    loopback_end(&p->wire);
}

/* The same again: fewer than it wants suffice after an hour, if there are at_least. */
static void until_a_deadline(struct pair *p, size_t at_least)
{
    struct rlhf_error err = { 0 };

    learner_abandon(p->learner);
    p->action.at_least = at_least;
    p->action.deadline_us = (int64_t)3600 * SECOND;
    expect_ok(learner_act(p->learner, &p->action, on_answered, p, &err), err);
    loopback_settle(&p->wire);
}

START_TEST(what_is_there_is_pulled_at_once)
{
    struct pair p;

    a_waiting_learner(&p, 9, 0);
    ck_assert(p.answered);
    ck_assert_uint_eq(p.came, 4);
    end(&p);
}
END_TEST

START_TEST(with_a_task_open_it_waits_for_ever)
{
    struct pair p;

    a_waiting_learner(&p, 1, 2);
    loopback_run(&p.wire, (int64_t)5 * PATIENCE_S * SECOND);
    ck_assert(!p.answered);
    p.collector.stored = 4;
    loopback_run(&p.wire, SECOND);
    ck_assert(p.answered);
    ck_assert_uint_eq(p.came, 4);
    end(&p);
}
END_TEST

START_TEST(without_an_open_task_it_gives_up_after_its_patience)
{
    struct pair p;

    a_waiting_learner(&p, 1, 0);
    loopback_run(&p.wire, (int64_t)(PATIENCE_S - 10) * SECOND);
    ck_assert(!p.answered);
    p.collector.stored = 2; /* an import: patience begins anew */
    loopback_run(&p.wire, (int64_t)(PATIENCE_S - 10) * SECOND);
    ck_assert(!p.answered);
    loopback_run(&p.wire, (int64_t)20 * SECOND);
    ck_assert(p.answered);
    ck_assert_uint_eq(p.came, 2);
    end(&p);
}
END_TEST

START_TEST(time_without_the_collector_is_not_counted)
{
    struct pair p;

    a_waiting_learner(&p, 1, 0);
    loopback_kill_service(&p.wire);
    loopback_run(&p.wire, (int64_t)5 * PATIENCE_S * SECOND);
    p.collector.node = loopback_service(&p.wire, COLLECTOR, &p.machine);
    loopback_run(&p.wire, (int64_t)60 * SECOND);
    ck_assert(!p.answered);
    loopback_run(&p.wire, (int64_t)PATIENCE_S * SECOND);
    ck_assert(p.answered);
    end(&p);
}
END_TEST

START_TEST(after_the_deadline_it_makes_do_with_what_came)
{
    struct pair p;

    a_waiting_learner(&p, 1, 2);
    until_a_deadline(&p, 4);
    loopback_run(&p.wire, (int64_t)3500 * SECOND);
    ck_assert(!p.answered);
    loopback_run(&p.wire, (int64_t)200 * SECOND);
    ck_assert(p.answered);
    ck_assert_uint_eq(p.came, 1);
    end(&p);
}
END_TEST

START_TEST(a_deadline_with_too_few_waits_for_enough)
{
    struct pair p;

    a_waiting_learner(&p, 1, 2);
    until_a_deadline(&p, 5);
    loopback_run(&p.wire, (int64_t)5000 * SECOND);
    ck_assert(!p.answered);
    p.collector.stored = 2;
    loopback_run(&p.wire, (int64_t)5 * SECOND);
    ck_assert(p.answered);
    ck_assert_uint_eq(p.came, 2);
    end(&p);
}
END_TEST

START_TEST(nobody_is_an_answer_to_what_was_taken_back)
{
    struct rlhf_error err = { 0 };
    struct pair p;

    a_waiting_learner(&p, 9, 0);
    p.answered = false;
    loopback_kill_service(&p.wire);
    loopback_run(&p.wire, (int64_t)60 * SECOND);
    p.action = (struct learner_action){ .kind = LEARNER_PULL, .round = "round-1", .patience_us = (int64_t)20 * SECOND };
    expect_ok(learner_act(p.learner, &p.action, on_answered, &p, &err), err);
    loopback_run(&p.wire, (int64_t)19 * SECOND);
    ck_assert(!p.answered);
    loopback_run(&p.wire, (int64_t)2 * SECOND);
    ck_assert(p.answered);
    ck_assert_uint_eq(p.came, 0);
    end(&p);
}
END_TEST

START_TEST(all_that_there_is_now_is_pulled_without_waiting)
{
    struct rlhf_error err = { 0 };
    struct pair p;

    a_waiting_learner(&p, 9, 3);
    p.answered = false;
    p.action = (struct learner_action){ .kind = LEARNER_PULL, .round = "round-1", .cursor = 4,
                                        .patience_us = (int64_t)20 * SECOND };
    expect_ok(learner_act(p.learner, &p.action, on_answered, &p, &err), err);
    loopback_settle(&p.wire);
    ck_assert(p.answered);
    ck_assert_uint_eq(p.came, 5);
    end(&p);
}
END_TEST

START_TEST(weights_are_asked_for_until_none_is_left)
{
    struct rlhf_error err = { 0 };
    struct pair p;

    a_waiting_learner(&p, 9, 0);
    p.answered = false;
    p.collector.labelers = 5;
    p.action = (struct learner_action){ .kind = LEARNER_PULL, .round = "round-1", .cursor = 4, .weigh = true,
                                        .patience_us = (int64_t)20 * SECOND };
    expect_ok(learner_act(p.learner, &p.action, on_answered, &p, &err), err);
    loopback_settle(&p.wire);
    ck_assert(p.answered);
    ck_assert_uint_eq(p.came, 5);
    ck_assert_uint_eq(p.weights, 5);
    end(&p);
}
END_TEST

START_TEST(progress_shows_all_that_came_not_the_last_pulls)
{
    struct pair p;

    a_waiting_learner(&p, 2, 5);
    expect_contains(p.learner->stages[0].detail, "5 of 7 comparisons, 5 tasks open");
    end(&p);
}
END_TEST

int main(void)
{
    setenv("RLHF_LOG", "error", 0);
    return RUN_SUITE("learner/labels", what_is_there_is_pulled_at_once, with_a_task_open_it_waits_for_ever,
                     without_an_open_task_it_gives_up_after_its_patience, time_without_the_collector_is_not_counted,
                     after_the_deadline_it_makes_do_with_what_came, a_deadline_with_too_few_waits_for_enough,
                     nobody_is_an_answer_to_what_was_taken_back, all_that_there_is_now_is_pulled_without_waiting,
                     weights_are_asked_for_until_none_is_left,
                     progress_shows_all_that_came_not_the_last_pulls);
}
