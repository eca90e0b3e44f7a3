/* The conversations "labels" and "control": real messages between a learner's node and the collector's, in
 * one process. */
#include <stdlib.h>
#include <string.h>

#include "label-collector/collector.h"
#include "proto/control.pb-c.h"
#include "proto/labels.pb-c.h"
#include "support/loopback.h"
#include "support/suite.h"

static struct loopback wire;
static struct collector *collector;
static struct collector_config config;
static struct rlhf_machine service;
static struct rlhf_error err;

/* ---- the asker: keeps what is answered --------------------------------------------------------- */

static struct rlhf_peer *peer;
static uint32_t answer_type;
static Rlhf__V1__TasksStored stored;
static Rlhf__V1__Error refusal;
static char refusal_text[512];
static uint64_t cursor;
static uint32_t open_tasks, total, gauges;
static size_t count;
static char ids[8192]; /* of the comparisons answered, "id.revision:ranks " */
static char weights[256]; /* and who is believed how far */
static char status_state[32];

static void on_up(void *machine, struct rlhf_peer *p)
{
    (void)machine;
    peer = p;
}

static int on_answer(void *machine, struct rlhf_peer *p, const struct rlhf_message *m, struct rlhf_error *e)
{
    (void)machine;
    (void)p;
    (void)e;
    answer_type = m->type;
    if (m->type == RLHF__V1__MESSAGE_TYPE__TASKS_STORED) {
        stored = *(const Rlhf__V1__TasksStored *)m->body;
    } else if (m->type == RLHF__V1__MESSAGE_TYPE__ERROR) {
        refusal = *(const Rlhf__V1__Error *)m->body;
        snprintf(refusal_text, sizeof(refusal_text), "%s", refusal.text);
    } else if (m->type == RLHF__V1__MESSAGE_TYPE__STATUS) {
        const Rlhf__V1__Status *s = (const Rlhf__V1__Status *)m->body;
        snprintf(status_state, sizeof(status_state), "%s", s->state);
        gauges = (uint32_t)s->n_gauges;
    } else {
        const Rlhf__V1__Comparisons *c = (const Rlhf__V1__Comparisons *)m->body;
        cursor = c->cursor;
        open_tasks = c->open_tasks;
        total = c->total;
        count = c->n_comparisons;
        ids[0] = '\0';
        for (size_t i = 0; i < count && strlen(ids) < sizeof(ids) - 300; ++i) {
            const Rlhf__V1__Comparison *one = c->comparisons[i];
            sprintf(ids + strlen(ids), "%s%s.%u:%u%u", i ? " " : "", one->id, one->revision, one->ranks[0],
                    one->ranks[1]);
        }
        *weights = '\0';
        for (size_t i = 0; i < c->n_weights; ++i)
            sprintf(weights + strlen(weights), "%s%s %.2f", i ? " " : "", c->weights[i]->labeler, 1 - c->weights[i]->distrust);
    }
    return 0;
}

#define FROM RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR)

static const struct rlhf_handler handlers[] = {
    { RLHF__V1__MESSAGE_TYPE__TASKS_STORED, &rlhf__v1__tasks_stored__descriptor, FROM, 64, 0, 0, NULL,
      on_answer },
    { RLHF__V1__MESSAGE_TYPE__COMPARISONS, &rlhf__v1__comparisons__descriptor, FROM, 64 << 20, 0, 0, NULL,
      on_answer },
    { RLHF__V1__MESSAGE_TYPE__STATUS, &rlhf__v1__status__descriptor, FROM, 1 << 16, 0, 0, NULL, on_answer },
    { RLHF__V1__MESSAGE_TYPE__ERROR, &rlhf__v1__error__descriptor, FROM, 4096, 0, 0, NULL, on_answer },
    { 0 },
};
static const struct rlhf_machine asker = { .handlers = handlers, .peer_up = on_up };

static void begin_as(Rlhf__V1__Role role)
{
    config = (struct collector_config){
        .database = (char *)":memory:", .run = (char *)"test", .labels_per_task = 1, .reservation_seconds = 60
    };
    loopback_init(&wire);
    collector = collector_new(&wire.service.env, &config, &err);
    expect_some(collector, err);
    service = collector_machine(collector);
    collector_attach(collector, loopback_service(&wire, RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR, &service));
    loopback_client(&wire, role, RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR, &asker);
    loopback_run(&wire, 1000000); /* the greeting */
    ck_assert_ptr_nonnull(peer);
}

static void setup(void)
{
    setenv("RLHF_LOG", "error", 1);
    begin_as(RLHF__V1__ROLE__ROLE_LEARNER);
}

static void teardown(void)
{
    loopback_end(&wire);
    collector_free(collector);
}

static void ask(uint32_t type, const ProtobufCMessage *body)
{
    static uint64_t request;

    answer_type = 0;
    expect_ok(rlhf_node_send(wire.client.node, peer,
                             &(struct rlhf_message){ .type = type, .request = ++request, .body = body },
                             &err),
              err);
    loopback_settle(&wire);
}

static void submit(const char *id, const char *prompt, const char *round, size_t copies)
{
    Rlhf__V1__TasksSubmit body = RLHF__V1__TASKS_SUBMIT__INIT;
    Rlhf__V1__Task task = RLHF__V1__TASK__INIT, *tasks[4] = { &task, &task, &task, &task };
    char *completions[] = { (char *)"x", (char *)"y" };

    task.id = (char *)id;
    task.prompt = (char *)prompt;
    task.round = (char *)round;
    task.completions = completions;
    task.n_completions = 2;
    body.tasks = tasks;
    body.n_tasks = copies;
    ask(RLHF__V1__MESSAGE_TYPE__TASKS_SUBMIT, &body.base);
}

static void pull(uint64_t from, uint32_t limit, const char *round)
{
    Rlhf__V1__ComparisonsPull body = RLHF__V1__COMPARISONS_PULL__INIT;

    body.cursor = from;
    body.limit = limit;
    body.round = (char *)round;
    ask(RLHF__V1__MESSAGE_TYPE__COMPARISONS_PULL, &body.base);
    ck_assert_uint_eq(answer_type, RLHF__V1__MESSAGE_TYPE__COMPARISONS);
}

static void judge(const char *id, const char *task, const char *prompt, const char *round, bool first)
{
    struct collector_label l = { .id = id,
                                 .source = "api",
                                 .labeler = "ada",
                                 .task = task,
                                 .round = round,
                                 .rank = { first ? 1 : 2, first ? 2 : 1 },
                                 .rank_count = 2,
                                 .seconds = -1 };
    struct collector_receipt r;

    if (prompt)
        l.content = (struct collector_content){ .prompt = prompt, .completion = { "x", "y" }, .count = 2 };
    expect_ok(collector_store_begin(collector->store, &err), err);
    expect_ok(collector_store_put_label(collector->store, &l, &r, &err), err);
    expect_ok(collector_store_commit(collector->store, &err), err);
}

START_TEST(tasks_are_stored_once_however_often_they_come)
{
    submit("t", "p", "r", 3);
    ck_assert_uint_eq(answer_type, RLHF__V1__MESSAGE_TYPE__TASKS_STORED);
    ck_assert_uint_eq(stored.stored, 1);
    ck_assert_uint_eq(stored.known, 2);
    submit("t", "p", "r", 1);
    ck_assert_uint_eq(stored.stored, 0);
    ck_assert_uint_eq(stored.known, 1);
}
END_TEST

START_TEST(a_task_that_changes_is_refused_and_nothing_stored)
{
    submit("t", "p", "r", 1);
    submit("t", "other", "r", 1);
    ck_assert_uint_eq(answer_type, RLHF__V1__MESSAGE_TYPE__ERROR);
    ck_assert_uint_eq(refusal.code, RLHF_REJECT);
    expect_contains(refusal_text, "stored already with another");
    submit("bad\nid", "p", "r", 1);
    ck_assert_uint_eq(answer_type, RLHF__V1__MESSAGE_TYPE__ERROR);
    pull(0, 10, "");
    ck_assert_uint_eq(open_tasks, 1);
}
END_TEST

START_TEST(comparisons_come_by_cursor_and_round)
{
    submit("t", "p", "r", 1);
    submit("u", "p", "r", 1);
    pull(0, 10, "r");
    ck_assert_uint_eq(count, 0);
    ck_assert_uint_eq(open_tasks, 2);
    judge("1", "t", NULL, "", true);
    judge("2", NULL, "free", "other", true);
    judge("1", "t", NULL, "", false); /* changed one's mind */
    judge("3", "u", NULL, "", true);
    pull(0, 10, "r");
    ck_assert_str_eq(ids, "1.1:12 1.2:21 3.1:12");
    ck_assert_uint_eq(cursor, 4);
    ck_assert_uint_eq(open_tasks, 0);
    ck_assert_uint_eq(total, 2);
    pull(1, 1, "");
    ck_assert_str_eq(ids, "2.1:12");
    ck_assert_uint_eq(cursor, 2);
    pull(cursor, 10, "other"); /* the cursor passes what other rounds hold */
    ck_assert_uint_eq(count, 0);
    ck_assert_uint_eq(cursor, 4);
    pull(99, 10, "");
    ck_assert_uint_eq(cursor, 99);
}
END_TEST

/* A pull behind everything, which asks for weights behind a name; "name weight" of each into ids. */
static void pull_weights(const char *round, const char *after)
{
    Rlhf__V1__ComparisonsPull body = RLHF__V1__COMPARISONS_PULL__INIT;

    body.cursor = 99;
    body.limit = 10;
    body.round = (char *)round;
    body.weights = true;
    body.labeler = (char *)after;
    ask(RLHF__V1__MESSAGE_TYPE__COMPARISONS_PULL, &body.base);
    ck_assert_uint_eq(answer_type, RLHF__V1__MESSAGE_TYPE__COMPARISONS);
    ck_assert_uint_eq(count, 0);
}

START_TEST(how_far_labelers_are_believed_is_told_as_it_is_now)
{
    static const double doubted = 0.25;

    submit("t", "p", "r", 1);
    judge("1", "t", NULL, "", true);
    judge("2", NULL, "free", "other", true);
    pull_weights("r", "");
    ck_assert_str_eq(weights, "ada 1.00");
    expect_ok(collector_store_begin(collector->store, &err), err);
    expect_ok(collector_store_set_standing(collector->store, "labeler", "ada",
                                           &(struct collector_change){ .weight = &doubted }, "test", &err), err);
    expect_ok(collector_store_commit(collector->store, &err), err);
    pull_weights("r", "");
    ck_assert_str_eq(weights, "ada 0.25");
    pull_weights("", "");
    ck_assert_str_eq(weights, "ada 0.25");
    pull_weights("r", "ada");
    ck_assert_str_eq(weights, "");
    pull_weights("nobody's", "");
    ck_assert_str_eq(weights, "");
    pull(0, 1, ""); /* not asked for */
    ck_assert_str_eq(weights, "");
}
END_TEST

START_TEST(large_answers_are_cut_into_pieces)
{
    enum { LABELS = 60, BYTES = 200000 };
    char *prompt = malloc(BYTES + 1), id[16];
    unsigned pulls = 0, seen = 0;

    for (int i = 0; i < LABELS; ++i) {
        memset(prompt, 'a' + i % 26, BYTES);
        prompt[BYTES] = '\0';
        sprintf(id, "%d", i);
        judge(id, NULL, prompt, "", true);
    }
    cursor = 0;
    do {
        pull(cursor, 1000, "");
        seen += (unsigned)count;
        ++pulls;
    } while (count > 0);
    ck_assert_uint_eq(seen, LABELS);
    ck_assert_uint_ge(pulls, 3); /* 12 MB in pieces of 4 MiB */
    free(prompt);
}
END_TEST

static int drained;

static void on_drain(void *ctx)
{
    (void)ctx;
    ++drained;
}

START_TEST(control_asks_for_the_state_and_for_the_end)
{
    Rlhf__V1__StatusRequest request = RLHF__V1__STATUS_REQUEST__INIT;
    Rlhf__V1__Drain drain = RLHF__V1__DRAIN__INIT;

    teardown();
    peer = NULL;
    begin_as(RLHF__V1__ROLE__ROLE_CONTROL);
    collector_on_end(collector, NULL, on_drain, NULL);
    ask(RLHF__V1__MESSAGE_TYPE__STATUS_REQUEST, &request.base);
    ck_assert_str_eq(status_state, "running");
    ck_assert_uint_ge(gauges, 5);
    submit("t", "p", "", 1); /* not its role */
    ck_assert_uint_eq(answer_type, RLHF__V1__MESSAGE_TYPE__ERROR);
    ask(RLHF__V1__MESSAGE_TYPE__DRAIN, &drain.base);
    ck_assert_str_eq(status_state, "draining");
    ck_assert_int_eq(drained, 1);
}
END_TEST

int main(void)
{
    return RUN_SUITE_WITH(
        "label-collector/machine", setup, teardown, tasks_are_stored_once_however_often_they_come,
        a_task_that_changes_is_refused_and_nothing_stored, comparisons_come_by_cursor_and_round, how_far_labelers_are_believed_is_told_as_it_is_now,
        large_answers_are_cut_into_pieces, control_asks_for_the_state_and_for_the_end);
}
