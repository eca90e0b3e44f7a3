/* tiny_run.h - a world of twenty-four questions with two answers, and a run through every stage that takes a
 * second. */
#ifndef SUPPORT_LEARNER_TINY_RUN_H
#define SUPPORT_LEARNER_TINY_RUN_H

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "config/run.h"
#include "learner/train.h"
#include "support/learner/local_port.h"
#include "support/suite.h"

static const char *const tiny_words[] = {"ash", "bay", "cat", "dew", "elm", "fog", "gem", "hat",
                                         "ice", "jar", "kit", "log", "mud", "nut", "oak", "pie",
                                         "rye", "sun", "tea", "urn", "van", "web", "yak", "zoo"};
enum { TINY_WORDS = 24 };

static inline FILE *tiny_file(const char *dir, const char *name)
{
    FILE *f = fopen(in_directory(dir, name), "w");

    ck_assert_ptr_nonnull(f);
    return f;
}

/* documents.txt, demonstrations.jsonl (every word, both answers), prompts.jsonl, exact.jsonl (a copying
 * task), lexicon.txt. */
static inline void tiny_world(const char *dir)
{
    FILE *documents = tiny_file(dir, "documents.txt"),
         *demonstrations = tiny_file(dir, "demonstrations.jsonl");
    FILE *prompts = tiny_file(dir, "prompts.jsonl"), *exact = tiny_file(dir, "exact.jsonl");
    FILE *lexicon = tiny_file(dir, "lexicon.txt");

    for (int i = 0; i < TINY_WORDS; i++) {
        const char *w = tiny_words[i];
        fprintf(documents, "Q: is %s good?\nA: %s.\n\n", w, i % 2 ? "yes" : "no");
        fprintf(demonstrations, "{\"prompt\": \"Q: is %s good?\\nA:\", \"completion\": \" yes.\"}\n", w);
        fprintf(demonstrations, "{\"prompt\": \"Q: is %s good?\\nA:\", \"completion\": \" no.\"}\n", w);
        fprintf(prompts, "{\"prompt\": \"Q: is %s good?\\nA:\"}\n", w);
        fprintf(exact, "{\"prompt\": \"Q: is %s good?\\nA:\", \"expected\": \"yes\"}\n", w);
    }
    fclose(documents), fclose(demonstrations), fclose(prompts), fclose(exact);
    fputs("no\nnever\n", lexicon);
    fclose(lexicon);
}

/* A world and a place for a run, in the process's directory. Static storage, for the next 4 calls. */
static inline void tiny_place(const char **world, const char **run)
{
    static char places[4][2][600];
    static unsigned next;
    char(*place)[600] = places[next++ % 4];
    const char *base = a_directory();
    struct rlhf_error err = {0};

    snprintf(place[0], sizeof place[0], "%s/world", base);
    snprintf(place[1], sizeof place[1], "%s/run", base);
    *world = place[0];
    *run = place[1];
    expect_ok(rlhf_make_dirs(&rlhf_system_io, *world, &err), err);
    tiny_world(*world);
}

/* People here like yes, once; a text that says anything else as well is worse than no. */
static inline double tiny_utility(const char *prompt, const char *completion)
{
    (void)prompt;
    return strcmp(completion, " yes.") == 0 ? 2 : strcmp(completion, " no.") == 0 ? 1 : 0;
}

#define TINY_HEAD TINY_HEAD_WITH("")
#define TINY_HEAD_WITH(more)                                                                                 \
    "run: {name: tiny, dir: %s, seed: 5" more "}\n"                                                          \
    "tokenizer: {train: {files: [%s/documents.txt], vocab_size: 290}}\n"                                     \
    "model: {style: gpt2, layers: 1, heads: 2, channels: 16, context: 48}\n"                                 \
    "learner: {threads: 1, checkpoint_seconds: 1, verify_tokens: 20}\n"                                      \
    "stages:\n"
#define TINY_PRETRAIN                                                                                        \
    "  - pretrain:\n"                                                                                        \
    "      name: pre\n"                                                                                      \
    "      data: [%s/documents.txt]\n"                                                                       \
    "      steps: 12\n"                                                                                      \
    "      batch: 4\n"                                                                                       \
    "      window: 24\n"                                                                                     \
    "      optimizer: {learning_rate: 1e-2, schedule: cosine, warmup: 2}\n"
#define TINY_SFT                                                                                             \
    "  - sft:\n"                                                                                             \
    "      name: sft\n"                                                                                      \
    "      data: [%s/demonstrations.jsonl]\n"                                                                \
    "      steps: 60\n"                                                                                      \
    "      batch: 8\n"                                                                                       \
    "      optimizer: {learning_rate: 2e-2, schedule: linear}\n"                                             \
    "      mix: {data: [%s/documents.txt], weight: 0.5, windows: 2, window: 24}\n"
#define TINY_COLLECT                                                                                         \
    "  - collect:\n"                                                                                         \
    "      name: round-1\n"                                                                                  \
    "      policies: [pre, sft]\n"                                                                           \
    "      prompts: %s/prompts.jsonl\n"                                                                      \
    "      samples: 2\n"                                                                                     \
    "      sampling: {max_new_tokens: 8}\n"
#define TINY_REWARD                                                                                          \
    "  - reward:\n"                                                                                          \
    "      name: rm\n"                                                                                       \
    "      from: sft\n"                                                                                      \
    "      rounds: [round-1]\n"                                                                              \
    "      held_out: 0.3\n"                                                                                  \
    "      zero_mean_on: %s/demonstrations.jsonl\n"                                                          \
    "      epochs: 20\n"                                                                                     \
    "      batch: 4\n"                                                                                       \
    "      optimizer: {learning_rate: 1e-2}\n"
#define TINY_POLICY                                                                                          \
    "  - policy:\n"                                                                                          \
    "      name: ppo\n"                                                                                      \
    "      from: sft\n"                                                                                      \
    "      reward_model: rm\n"                                                                               \
    "      prompts: %s/prompts.jsonl\n"                                                                      \
    "      iterations: 10\n"                                                                                 \
    "      prompts_per_iteration: 12\n"                                                                      \
    "      samples: 2\n"                                                                                     \
    "      minibatch: 8\n"                                                                                   \
    "      checkpoint_every: 2\n"                                                                            \
    "      sampling: {max_new_tokens: 8}\n"                                                                  \
    "      optimizer: {learning_rate: 5e-3}\n"                                                               \
    "      value_optimizer: {learning_rate: 5e-3}\n"                                                         \
    "      mix: {data: [%s/documents.txt], weight: 0.1, windows: 2, window: 24}\n"
#define TINY_EVALUATE                                                                                        \
    "  - evaluate:\n"                                                                                        \
    "      name: report\n"                                                                                   \
    "      policies: [sft, ppo]\n"                                                                           \
    "      reference: sft\n"                                                                                 \
    "      reward_model: rm\n"                                                                               \
    "      prompts: [{name: all, file: %s/prompts.jsonl}, {name: few, file: %s/prompts.jsonl, count: 3}]\n"  \
    "      sampling: {max_new_tokens: 8}\n"                                                                  \
    "      perplexity: [{name: text, file: %s/documents.txt}]\n"                                             \
    "      exact: [{name: yes, file: %s/exact.jsonl}]\n"                                                    \
    "      suites: [{suite: perplexity, file: %s/documents.txt}, {suite: toxicity, file: %s/prompts.jsonl, count: 5, " \
    "companion: %s/lexicon.txt, max_new_tokens: 4}]\n"
#define TINY_RUN TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD TINY_POLICY TINY_EVALUATE

/* text with its first %s filled in by the run's directory and the others by the world's. Static storage. */
static inline const char *tiny_fill(const char *text, const char *dir, const char *world)
{
    static char filled[1 << 14];
    const char *from = text, *at;
    size_t n = 0;
    int first = 1;

    for (; (at = strstr(from, "%s")); from = at + 2) {
        n += (size_t)snprintf(filled + n, sizeof filled - n, "%.*s%s", (int)(at - from), from,
                              first ? dir : world);
        first = 0;
    }
    snprintf(filled + n, sizeof filled - n, "%s", from);
    return filled;
}

static inline void tiny_parse(struct rlhf_run *run, const char *text, const char *dir, const char *world)
{
    const char *filled = tiny_fill(text, dir, world);
    struct rlhf_error err = {0};

    expect_ok(rlhf_run_parse(run, filled, strlen(filled), "tiny.yaml", &err), err);
}

/* A clock that moves by a set amount whenever it is looked at: states inside stages become due. */
struct ticking_clock {
    struct rlhf_clock clock;
    int64_t now_us, tick_us;
};
static inline int64_t ticking_now(const struct rlhf_clock *c)
{
    struct ticking_clock *t = (struct ticking_clock *)c;
    return t->now_us += t->tick_us;
}
static inline struct ticking_clock a_ticking_clock(int64_t tick_us)
{
    return (struct ticking_clock){{ticking_now, ticking_now}, 1000000, tick_us};
}

/* Runs text in dir until it is done or fails. */
static inline int tiny_go(const char *text, const char *dir, const char *world, const struct rlhf_io *io,
                          struct local_port *port, int64_t tick_us, struct rlhf_error *err)
{
    struct ticking_clock clock = a_ticking_clock(tick_us);
    struct learner_trainer *t;
    struct rlhf_run run;
    int rc = -1;

    tiny_parse(&run, text, dir, world);
    local_port_restart(port);
    t = learner_trainer_new(&run, io, &clock.clock, err);
    if (t)
        rc = learner_trainer_run(t, &port->port, err);
    learner_trainer_free(t);
    rlhf_run_free(&run);
    return rc;
}

/* A world in *world, and in *calm a run of text that nobody disturbs, answered by the port. */
static inline void tiny_calm(const char *text, const char **world, const char **calm, struct local_port *port)
{
    struct rlhf_error err = {0};

    tiny_place(world, calm);
    local_port_init(port, tiny_utility);
    expect_ok(tiny_go(text, *calm, *world, &rlhf_system_io, port, 1000, &err), err);
}

/* Another run that has come as far as this one. */
static inline void tiny_copy(const char *dir, const char *copy)
{
    char command[1400];

    snprintf(command, sizeof command, "cp -r '%s' '%s'", dir, copy);
    ck_assert_int_eq(system(command), 0);
}

static inline struct rlhf_digest tiny_digest(const char *dir, const char *name)
{
    struct rlhf_error err = {0};
    struct rlhf_mapping m;
    struct rlhf_digest d;

    expect_ok(rlhf_map_file(&m, in_directory(dir, name), &err), err);
    d = rlhf_digest_of(m.data, m.size);
    rlhf_unmap(&m);
    return d;
}

/* Of a stage's weights. */
static inline struct rlhf_digest tiny_checkpoint(const char *dir, const char *stage)
{
    char name[200];

    snprintf(name, sizeof name, "checkpoints/%s/model.safetensors", stage);
    return tiny_digest(dir, name);
}

/* What tiny_same() and tiny_same_checkpoints() are to expect. */
static inline void tiny_expect(const char *dir, const char *const *results, struct rlhf_digest *expected, size_t count)
{
    for (size_t i = 0; i < count; i++)
        expected[i] = tiny_digest(dir, results[i]);
}
static inline void tiny_expect_checkpoints(const char *dir, const char *const *stages, struct rlhf_digest *expected, size_t count)
{
    for (size_t i = 0; i < count; i++)
        expected[i] = tiny_checkpoint(dir, stages[i]);
}

/* Kills the learner at its n-th ask, and lets another one end the run. */
static inline void tiny_kill(const char *text, const char *dir, const char *world, struct local_port *port, int64_t tick_us,
                             unsigned n)
{
    struct rlhf_error err = {0};

    port->die_at = n;
    ck_assert_int_lt(tiny_go(text, dir, world, &rlhf_system_io, port, tick_us, &err), 0);
    port->die_at = 0;
    expect_ok(tiny_go(text, dir, world, &rlhf_system_io, port, tick_us, &err), err);
}

/* The files named in results have the digests expected of them, although what happened n times or at n. */
static inline void tiny_same(const char *dir, const char *const *results, const struct rlhf_digest *expected, size_t count,
                             const char *what, unsigned n)
{
    for (size_t i = 0; i < count; i++) {
        struct rlhf_digest d = tiny_digest(dir, results[i]);

        ck_assert_msg(rlhf_digest_equal(&d, &expected[i]), "%s differs after %s %u", results[i], what, n);
    }
}
static inline void tiny_same_checkpoints(const char *dir, const char *const *stages, const struct rlhf_digest *expected,
                                         size_t count, const char *what, unsigned n)
{
    for (size_t i = 0; i < count; i++) {
        struct rlhf_digest d = tiny_checkpoint(dir, stages[i]);

        ck_assert_msg(rlhf_digest_equal(&d, &expected[i]), "%s differs after %s %u", stages[i], what, n);
    }
}

/* metrics.jsonl: the mean of key over the lines [from, to) of a stage that have it, to 0: all; NAN where none has. Every step
 * of the stage has one line; how many there are is put in *lines (may be NULL). */
static inline double tiny_metric(const char *dir, const char *stage, const char *key, int from, int to, int *lines)
{
    FILE *f = fopen(in_directory(dir, "metrics.jsonl"), "r");
    char line[4096];
    double sum = 0;
    int n = 0, used = 0;

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        json_t *o = json_loads(line, 0, NULL), *value = json_object_get(o, key);

        ck_assert_msg(o != NULL, "not JSON: %s", line);
        if (strcmp(json_string_value(json_object_get(o, "stage")), stage) == 0) {
            if (n >= from && (to == 0 || n < to) && json_is_number(value)) {
                sum += json_number_value(value);
                used++;
            }
            n++;
            ck_assert_int_eq(json_integer_value(json_object_get(o, "step")), n);
        }
        json_decref(o);
    }
    fclose(f);
    if (lines)
        *lines = n;
    return used ? sum / used : NAN;
}

#endif
