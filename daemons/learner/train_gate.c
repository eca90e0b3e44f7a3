/* train_gate.c - promotes a policy or rolls it back: by its win rate against the incumbent, and by what it lost.
 *
 * What it decides by is in the files of its evaluate stage, so a gate that is asked again answers the same. A candidate that
 * is not promoted may be trained again with more pretraining text or a dearer KL, as STAGE.try-2, and measured again with the
 * draws of the first time, as EVALUATION.try-2: stages of their own, journaled and resumed as any other, under the record of
 * the gate. DIR/gates/STAGE.json says what was decided and by which numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_parts.h"
#include "rl/statistics.h"
#include "telemetry/log.h"

#define Z95 1.96

struct gate {
    struct learner_work *w;
    const struct rlhf_stage_gate *settings;
    const char *incumbent;
    unsigned number;                                        /* of the try, from 1 */
    char candidate[LEARNER_NAME], evaluation[LEARNER_NAME]; /* its names */
    json_t *tries;                                          /* array: what each was and what it was judged by */
    json_t *clauses;                                        /* of this one, borrowed from tries */
    char reason[160];                                       /* why it was not promoted: the first clause that failed */
};

void learner_try_name(char out[LEARNER_NAME], const char *stage, unsigned n)
{
    if (n == 1)
        snprintf(out, LEARNER_NAME, "%s", stage);
    else
        snprintf(out, LEARNER_NAME, "%s.try-%u", stage, n);
}

/* ---- clauses ----------------------------------------------------------------------------------------- */

/* One demand and whether it holds; the first that does not is the reason. Takes numbers. */
static int put_clause(struct gate *g, const char *clause, const char *metric, bool holds, const char *sentence,
                      json_t *numbers, struct rlhf_error *err)
{
    if (!numbers || json_object_set_new(numbers, "clause", json_string(clause)) < 0 ||
        json_object_set_new(numbers, "metric", json_string(metric)) < 0 ||
        json_object_set_new(numbers, "holds", json_boolean(holds)) < 0 || json_array_append_new(g->clauses, numbers) < 0)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a gate's clauses");
    rlhf_log(holds ? RLHF_LEVEL_INFO : RLHF_LEVEL_WARNING, "gate-clause stage=%s candidate=%s clause=%s holds=%s %s",
             g->w->name, g->candidate, clause, holds ? "yes" : "no", sentence);
    if (!holds && !g->reason[0])
        snprintf(g->reason, sizeof g->reason, "%s: %s", clause, sentence);
    return 0;
}

/* ---- who wins ---------------------------------------------------------------------------------------- */

/* kind: "" for completions, ".exact" for answers. */
static json_t *lines_of(const struct gate *g, const char *evaluation, const char *policy, const char *kind, struct rlhf_error *err)
{
    char path[LEARNER_PATH];

    if (learner_path(g->w->t, path, sizeof path, err, "evaluations/%s/%s%s.jsonl", evaluation, policy, kind) < 0)
        return NULL;
    return learner_read_lines(g->w->t, path, err);
}

static int read_both(const struct gate *g, const char *kind, json_t **candidate, json_t **incumbent, struct rlhf_error *err)
{
    *candidate = lines_of(g, g->evaluation, g->candidate, kind, err);
    *incumbent = *candidate ? lines_of(g, g->settings->evaluation, g->incumbent, kind, err) : NULL;
    if (*incumbent && json_array_size(*candidate) == json_array_size(*incumbent))
        return 0;
    if (*incumbent)
        rlhf_fail(err, RLHF_CORRUPT, "%s and %s completed different prompts in %s", g->candidate, g->incumbent, g->evaluation);
    json_decref(*candidate);
    json_decref(*incumbent);
    return -1;
}

static bool same_prompt(const json_t *a, const json_t *b)
{
    return json_equal(json_object_get(a, "set"), json_object_get(b, "set")) &&
           json_equal(json_object_get(a, "index"), json_object_get(b, "index")) &&
           json_equal(json_object_get(a, "sample"), json_object_get(b, "sample"));
}

/* What came of the same draws for the same prompts. */
struct matches {
    double *rate;   /* [prompts] of each one's samples that the candidate wins, a tie being half a win: they are not independent */
    size_t prompts;
    size_t count;   /* of samples */
};

/* Both lists are in the order of prompts and samples; a missing reward is no match. m->rate has room for all of them. */
static int match(const struct gate *g, const json_t *candidate, const json_t *incumbent, struct matches *m,
                 struct rlhf_error *err)
{
    double wins = 0, samples = 0; /* of the prompt at hand */

    for (size_t i = 0; i < json_array_size(candidate); i++) {
        const json_t *a = json_array_get(candidate, i), *b = json_array_get(incumbent, i);
        const json_t *x = json_object_get(a, "reward"), *y = json_object_get(b, "reward");

        if (!same_prompt(a, b))
            return rlhf_fail(err, RLHF_CORRUPT, "%s and %s completed different prompts in %s", g->candidate, g->incumbent,
                             g->evaluation);
        if (json_integer_value(json_object_get(a, "sample")) == 0)
            wins = samples = 0;
        if (!json_is_number(x) || !json_is_number(y))
            continue;
        m->count++;
        m->prompts += samples++ == 0;
        wins += json_number_value(x) > json_number_value(y) ? 1 : json_number_value(x) == json_number_value(y) ? 0.5 : 0;
        m->rate[m->prompts - 1] = wins / samples;
    }
    return m->prompts > 0 ? 0 : rlhf_fail(err, RLHF_REJECT, "no completion of %s in %s has a reward", g->candidate, g->evaluation);
}

static int judge_wins(struct gate *g, struct rlhf_error *err)
{
    json_t *candidate, *incumbent;
    double rate, bound = g->settings->win_rate;
    struct rlhf_interval i;
    struct matches m = {0};
    char sentence[160];
    int rc;

    if (read_both(g, "", &candidate, &incumbent, err) < 0)
        return -1;
    m.rate = calloc(json_array_size(candidate) + 1, sizeof *m.rate);
    rc = m.rate ? match(g, candidate, incumbent, &m, err)
                : rlhf_fail(err, RLHF_FULL, "out of memory for the matches of %s", g->candidate);
    json_decref(candidate);
    json_decref(incumbent);
    i = rlhf_wilson_mean(m.rate, m.prompts, Z95, &rate);
    free(m.rate);
    if (rc < 0)
        return -1;
    snprintf(sentence, sizeof sentence, "wins %.3f of %zu against %s, 95%% from %.3f, must be above %g", rate, m.count,
             g->incumbent, i.low, bound);
    return put_clause(g, "win_rate", "reward", i.low > bound, sentence,
                      json_pack("{s:f, s:f, s:f, s:I, s:f}", "candidate", rate, "low", i.low, "high", i.high, "count",
                                (json_int_t)m.count, "bound", bound),
                      err);
}

/* ---- what was lost ----------------------------------------------------------------------------------- */

/* What is at a dotted path below the policy's entry, of a suite's figure its value; NaN where that is no number. Keys may
 * have dots themselves (reward.NAME). */
static double metric_at(const json_t *model, const char *path)
{
    while (model && *path) {
        const json_t *rest = json_object_get(model, path);
        char key[200];
        size_t size = strcspn(path, ".");

        if (rest) {
            model = rest;
            break;
        }
        snprintf(key, sizeof key, "%.*s", (int)size, path);
        model = json_object_get(model, key);
        path += size + (path[size] == '.');
    }
    if (json_is_object(model))
        model = json_object_get(model, "value");
    return json_is_number(model) ? json_number_value(model) : NAN;
}

/* The mean of a clause's metrics for a policy. */
static int measure(const struct gate *g, const struct rlhf_run_clause *c, const char *evaluation, const char *policy,
                   double *out, struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    json_t *all;
    const json_t *model;
    int rc = 0;

    *out = 0;
    if (learner_path(g->w->t, path, sizeof path, err, "evaluations/%s/metrics.json", evaluation) < 0 ||
        !(all = learner_read_json(g->w->t, path, err)))
        return -1;
    model = json_object_get(json_object_get(all, "models"), policy);
    for (size_t i = 0; rc == 0 && i < c->metrics.count; i++) {
        double value = metric_at(model, c->metrics.items[i]);
        if (isnan(value))
            rc = rlhf_fail(err, RLHF_REJECT, "%s has no number %s for %s", path, c->metrics.items[i], policy);
        *out += value / (double)c->metrics.count;
    }
    json_decref(all);
    return rc;
}

/* The variance of the mean, over the questions of one file, of the candidate's right answers less the incumbent's. */
static double paired_variance(const json_t *candidate, const json_t *incumbent, const char *file)
{
    double sum = 0, squares = 0, n = 0;

    for (size_t i = 0; i < json_array_size(candidate); i++) {
        const json_t *a = json_array_get(candidate, i), *b = json_array_get(incumbent, i);
        const char *set = json_string_value(json_object_get(a, "set"));
        double d = json_is_true(json_object_get(a, "right")) - json_is_true(json_object_get(b, "right"));

        if (!set || strcmp(set, file) != 0)
            continue;
        sum += d;
        squares += d * d;
        n++;
    }
    return n > 1 ? (squares - sum * sum / n) / (n - 1) / n : 0;
}

/* The standard error of the difference of a clause's metric, all of them exact matches, which both answered question by question. */
static int standard_error(const struct gate *g, const struct rlhf_run_clause *c, double *out, struct rlhf_error *err)
{
    json_t *candidate, *incumbent;
    double variance = 0;

    if (read_both(g, ".exact", &candidate, &incumbent, err) < 0)
        return -1;
    for (size_t i = 0; i < c->metrics.count; i++)
        variance += paired_variance(candidate, incumbent, c->metrics.items[i] + strlen("exact."));
    *out = sqrt(variance) / (double)c->metrics.count;
    json_decref(candidate);
    json_decref(incumbent);
    return 0;
}

static int judge_clause(struct gate *g, const char *clause, const struct rlhf_run_clause *c, bool higher,
                        struct rlhf_error *err)
{
    char names[100] = "", sentence[160];
    double candidate, incumbent, bound, budget, error = 0;
    bool holds;

    if (measure(g, c, g->evaluation, g->candidate, &candidate, err) < 0 ||
        measure(g, c, g->settings->evaluation, g->incumbent, &incumbent, err) < 0 ||
        (c->standard_errors > 0 && standard_error(g, c, &error, err) < 0))
        return -1;
    for (size_t i = 0, n = 0; i < c->metrics.count && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? "," : "", c->metrics.items[i]);
    budget = (c->relative ? c->budget * fabs(incumbent) : c->budget) + c->standard_errors * error;
    bound = higher ? incumbent - budget : incumbent + budget;
    holds = higher ? candidate >= bound : candidate <= bound;
    snprintf(sentence, sizeof sentence, "%s %.4g, %s has %.4g, must be at %s %.4g", names, candidate, g->incumbent, incumbent,
             higher ? "least" : "most", bound);
    return put_clause(g, clause, names, holds, sentence,
                      json_pack("{s:f, s:f, s:f, s:f, s:f, s:s}", "candidate", candidate, "incumbent", incumbent, "bound", bound,
                                "budget", budget, "standard_error", error, "better", higher ? "higher" : "lower"),
                      err);
}

static int judge_list(struct gate *g, const char *clause, const struct rlhf_config_list *list, bool higher,
                      struct rlhf_error *err)
{
    const struct rlhf_run_clause *clauses = list->items;

    for (size_t i = 0; i < list->count; i++) {
        int better = clauses[i].better;
        if (judge_clause(g, clause, &clauses[i],
                         better == RLHF_RUN_BETTER_UNSAID ? higher : better == RLHF_RUN_BETTER_HIGHER, err) < 0)
            return -1;
    }
    return 0;
}

/* All clauses, also behind one that fails: who reads the decision wants to know everything that is wrong. */
static int judge(struct gate *g, struct rlhf_error *err)
{
    const struct rlhf_stage_gate *s = g->settings;

    g->reason[0] = '\0';
    return judge_wins(g, err) < 0 || judge_list(g, "truthfulness", &s->truthfulness, true, err) < 0 ||
                   judge_list(g, "toxicity", &s->toxicity, false, err) < 0 || judge_list(g, "tax", &s->tax, true, err) < 0
               ? -1
               : 0;
}

/* ---- trying again ------------------------------------------------------------------------------------ */

/* Does one stage of the try, unless it is done; its first try's place names its draws and its key its shuffles. */
static int again(struct gate *g, const char *of, const char *name, const struct rlhf_stage *stage, struct rlhf_error *err)
{
    struct learner_trainer *t = g->w->t;
    struct learner_work w = {.t = t,
                             .stage = stage,
                             .record = learner_record_of(t, name),
                             .name = name,
                             .index = (uint32_t)rlhf_run_find(t->run, of),
                             .key = rlhf_crc32c(0, of, strlen(of))};

    return w.record->done ? 0 : learner_work_do(&w, err);
}

static int try_again(struct gate *g, struct rlhf_error *err)
{
    const struct rlhf_stage_gate *s = g->settings;
    const struct rlhf_run *run = g->w->t->run;
    struct rlhf_stage_policy policy = *rlhf_run_stage(run, (size_t)rlhf_run_find(run, s->candidate))->policy;
    struct rlhf_stage_evaluate evaluation = *rlhf_run_stage(run, (size_t)rlhf_run_find(run, s->evaluation))->evaluate;
    char *name = g->candidate;

    policy.mix.weight *= pow(s->retry_mix, g->number - 1);
    if (s->retry_kl > 1)
        policy.kl_coefficient *= pow(s->retry_kl, g->number - 1);
    evaluation.policies = (struct rlhf_config_strings){&name, 1};
    rlhf_log(RLHF_LEVEL_INFO, "gate-retry stage=%s candidate=%s mix_weight=%g kl_coefficient=%g", g->w->name, name,
             policy.mix.weight, policy.kl_coefficient);
    return again(g, s->candidate, g->candidate, &(struct rlhf_stage){.policy = &policy}, err) < 0 ||
                   again(g, s->evaluation, g->evaluation, &(struct rlhf_stage){.evaluate = &evaluation}, err) < 0
               ? -1
               : 0;
}

/* *promoted: whether this one is. */
static int try_one(struct gate *g, bool *promoted, struct rlhf_error *err)
{
    json_t *o;

    learner_try_name(g->candidate, g->settings->candidate, g->number);
    learner_try_name(g->evaluation, g->settings->evaluation, g->number);
    g->clauses = json_array();
    o = json_pack("{s:s, s:s, s:o}", "candidate", g->candidate, "evaluation", g->evaluation, "clauses", g->clauses);
    if (!o || json_array_append_new(g->tries, o) < 0)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a gate's tries");
    if ((g->number > 1 && try_again(g, err) < 0) || judge(g, err) < 0)
        return -1;
    *promoted = !g->reason[0];
    json_object_set_new(o, "promoted", json_boolean(*promoted));
    return 0;
}

/* ---- the decision ------------------------------------------------------------------------------------ */

static int decide(struct gate *g, bool promoted, struct rlhf_error *err)
{
    const char *winner = promoted ? g->candidate : g->incumbent;
    const char *reaction = promoted ? "promoted" : g->settings->otherwise ? "go_on" : "stop";
    struct learner_record *r = g->w->record;
    char path[LEARNER_PATH];
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:O}", "gate", g->w->name, "incumbent", g->incumbent, "promoted", winner,
                          "reaction", reaction, "reason", g->reason, "tries", g->tries);
    int rc = o ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for a gate's decision");

    if (rc == 0)
        rc = learner_path(g->w->t, path, sizeof path, err, "gates/%s.json", g->w->name) < 0 ||
                     learner_write_json(g->w, path, o, err) < 0 ||
                     learner_journal(g->w, "decision", json_pack("{s:s, s:s}", "promoted", winner, "reaction", reaction),
                                     err) < 0
                 ? -1
                 : 0;
    json_decref(o);
    if (rc < 0)
        return -1;
    snprintf(r->promoted, sizeof r->promoted, "%s", winner);
    rlhf_log(promoted ? RLHF_LEVEL_INFO : RLHF_LEVEL_WARNING, "gate stage=%s candidate=%s incumbent=%s promoted=%s reaction=%s",
             g->w->name, g->candidate, g->incumbent, winner, reaction);
    if (promoted || g->settings->otherwise)
        return 0;
    return rlhf_fail(err, RLHF_REJECT, "%s is not promoted (%s). To go on with %s: `otherwise: go_on`, and start again",
                     g->candidate, g->reason, g->incumbent);
}

int learner_gate(struct learner_work *w, struct rlhf_error *err)
{
    struct gate g = {.w = w, .settings = w->stage->gate, .incumbent = rlhf_run_incumbent(w->t->run, w->index)};
    unsigned tries = 1 + (unsigned)g.settings->retries;
    bool promoted = false;
    int rc = 0;

    w->steps = tries;
    w->record->promoted[0] = '\0'; /* of an earlier life, which stopped here */
    if (!(g.tries = json_array()))
        return rlhf_fail(err, RLHF_FULL, "out of memory for a gate's tries");
    while (rc == 0 && !promoted && w->step < tries) {
        learner_progress(w, "deciding");
        if (learner_stopping(w))
            rc = learner_stopped(err);
        g.number = (unsigned)++w->step;
        if (rc == 0)
            rc = try_one(&g, &promoted, err);
    }
    if (rc == 0)
        rc = decide(&g, promoted, err);
    json_decref(g.tries);
    return rc;
}
