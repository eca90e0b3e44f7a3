/* run.c - reading a run file, and asking it. */
#include "config/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/run_parts.h"

/* Defaults that are made of other keys. */
static int __attribute__((format(printf, 3, 4)))
fill(char **field, struct rlhf_error *err, const char *fmt, ...)
{
    va_list ap;
    int length;

    if (*field)
        return 0;
    va_start(ap, fmt);
    length = vasprintf(field, fmt, ap);
    va_end(ap);
    if (length < 0) {
        *field = NULL;
        return rlhf_fail(err, RLHF_FULL, "out of memory for the run file's defaults");
    }
    return 0;
}

int rlhf_run_finish(void *config, const char *where, struct rlhf_error *err)
{
    struct rlhf_run *run = config;

    if (fill(&run->run.dir, err, "runs/%s", run->run.name) < 0 ||
        fill(&run->learner.listen, err, "ipc://%s/learner.sock", run->run.dir) < 0 ||
        fill(&run->labels, err, "ipc://%s/labels.sock", run->run.dir) < 0 ||
        fill(&run->up.label_collector.database, err, "%s/labels.db", run->run.dir) < 0 ||
        rlhf_run_check(run, where, err) < 0) {
        rlhf_run_free(run);
        return -1;
    }
    return 0;
}

int rlhf_run_read(struct rlhf_run *run, const char *path, struct rlhf_error *err)
{
    return rlhf_config_read(&rlhf_run_schema, path, run, err) < 0 ? -1 : rlhf_run_finish(run, path, err);
}

int rlhf_run_parse(struct rlhf_run *run, const char *text, size_t size, const char *where,
                   struct rlhf_error *err)
{
    return rlhf_config_parse(&rlhf_run_schema, text, size, where, run, err) < 0
               ? -1
               : rlhf_run_finish(run, where, err);
}

void rlhf_run_free(struct rlhf_run *run)
{
    rlhf_config_free(&rlhf_run_schema, run);
}

/* ---- stages ------------------------------------------------------------------------------------------ */

size_t rlhf_run_stages(const struct rlhf_run *run)
{
    return run->stages.count;
}

const struct rlhf_stage *rlhf_run_stage(const struct rlhf_run *run, size_t index)
{
    return (const struct rlhf_stage *)run->stages.items + index;
}

enum rlhf_stage_kind rlhf_stage_kind(const struct rlhf_stage *s)
{
    return s->pretrain  ? RLHF_STAGE_PRETRAIN
           : s->sft     ? RLHF_STAGE_SFT
           : s->collect ? RLHF_STAGE_COLLECT
           : s->reward  ? RLHF_STAGE_REWARD
           : s->policy  ? RLHF_STAGE_POLICY
           : s->direct  ? RLHF_STAGE_DIRECT
           : s->best_of ? RLHF_STAGE_BEST_OF
           : s->gate    ? RLHF_STAGE_GATE
                        : RLHF_STAGE_EVALUATE;
}

const char *rlhf_stage_kind_name(enum rlhf_stage_kind kind)
{
    static const char *const names[] = {"pretrain", "sft",     "collect",  "reward", "policy",
                                        "direct",   "best_of", "evaluate", "gate"};
    return names[kind];
}

const char *rlhf_stage_name(const struct rlhf_stage *s)
{
    return s->pretrain  ? s->pretrain->name
           : s->sft     ? s->sft->name
           : s->collect ? s->collect->name
           : s->reward  ? s->reward->name
           : s->policy  ? s->policy->name
           : s->direct  ? s->direct->name
           : s->best_of ? s->best_of->name
           : s->gate    ? s->gate->name
                        : s->evaluate->name;
}

int rlhf_run_find(const struct rlhf_run *run, const char *name)
{
    for (size_t i = 0; i < run->stages.count; i++)
        if (strcmp(rlhf_stage_name(rlhf_run_stage(run, i)), name) == 0)
            return (int)i;
    return -1;
}

bool rlhf_stage_makes_policy(enum rlhf_stage_kind kind)
{
    return kind == RLHF_STAGE_PRETRAIN || kind == RLHF_STAGE_SFT || kind == RLHF_STAGE_POLICY ||
           kind == RLHF_STAGE_DIRECT || kind == RLHF_STAGE_GATE;
}

const char *rlhf_stage_from(const struct rlhf_run *run, size_t index)
{
    const struct rlhf_stage *s = rlhf_run_stage(run, index);

    switch (rlhf_stage_kind(s)) {
    case RLHF_STAGE_PRETRAIN:
        return s->pretrain->from;
    case RLHF_STAGE_SFT:
        if (s->sft->from)
            return s->sft->from;
        break;
    case RLHF_STAGE_REWARD:
        if (s->reward->from)
            return s->reward->from;
        break;
    case RLHF_STAGE_POLICY:
        if (s->policy->from)
            return s->policy->from;
        break;
    case RLHF_STAGE_DIRECT:
        if (s->direct->from)
            return s->direct->from;
        break;
    case RLHF_STAGE_BEST_OF:
        if (s->best_of->from)
            return s->best_of->from;
        break;
    default:
        return NULL;
    }
    while (index-- > 0)
        if (rlhf_stage_makes_policy(rlhf_stage_kind(rlhf_run_stage(run, index))))
            return rlhf_stage_name(rlhf_run_stage(run, index));
    return NULL;
}

/* ---- what a stage is made of --------------------------------------------------------------------------- */

static void mark(const struct rlhf_run *run, const char *name, bool *marks)
{
    int i = name ? rlhf_run_find(run, name) : -1;

    if (i >= 0)
        marks[i] = true;
}

static void mark_all(const struct rlhf_run *run, const struct rlhf_config_strings *names, bool *marks)
{
    for (size_t i = 0; i < names->count; i++)
        mark(run, names->items[i], marks);
}

static void mark_inputs(const struct rlhf_run *run, size_t index, bool *marks)
{
    const struct rlhf_stage *s = rlhf_run_stage(run, index);

    mark(run, rlhf_stage_from(run, index), marks);
    switch (rlhf_stage_kind(s)) {
    case RLHF_STAGE_PRETRAIN:
    case RLHF_STAGE_KINDS:
        break;
    case RLHF_STAGE_SFT:
        mark_all(run, &s->sft->best_of, marks);
        mark(run, s->sft->select ? s->sft->select->reward_model : NULL, marks);
        break;
    case RLHF_STAGE_COLLECT:
        mark_all(run, &s->collect->policies, marks);
        if (s->collect->select) {
            mark_all(run, &s->collect->select->reward_models, marks);
            mark(run, s->collect->select->reference, marks);
        }
        break;
    case RLHF_STAGE_REWARD:
        mark_all(run, &s->reward->rounds, marks);
        break;
    case RLHF_STAGE_POLICY:
        mark(run, s->policy->reference, marks);
        mark(run, s->policy->reward_model, marks);
        mark_all(run, &s->policy->ensemble, marks);
        break;
    case RLHF_STAGE_DIRECT:
        mark(run, s->direct->reference, marks);
        mark_all(run, &s->direct->rounds, marks);
        break;
    case RLHF_STAGE_BEST_OF:
        mark(run, s->best_of->reward_model, marks);
        break;
    case RLHF_STAGE_EVALUATE:
        mark_all(run, &s->evaluate->policies, marks);
        mark(run, s->evaluate->reference, marks);
        mark(run, s->evaluate->reward_model, marks);
        break;
    case RLHF_STAGE_GATE:
        mark(run, s->gate->candidate, marks);
        mark(run, rlhf_run_incumbent(run, index), marks);
        mark(run, s->gate->evaluation, marks);
    }
}

void rlhf_run_made_of(const struct rlhf_run *run, size_t index, bool all, bool *made_of)
{
    for (size_t i = 0; i < run->stages.count; i++)
        made_of[i] = false;
    mark_inputs(run, index, made_of);
    for (size_t i = index; all && i-- > 0;) /* stages refer to earlier ones only */
        if (made_of[i])
            mark_inputs(run, i, made_of);
}

const char *rlhf_run_incumbent(const struct rlhf_run *run, size_t index)
{
    const struct rlhf_stage_gate *g = rlhf_run_stage(run, index)->gate;
    int candidate = rlhf_run_find(run, g->candidate);

    return g->incumbent ?: candidate >= 0 ? rlhf_stage_from(run, (size_t)candidate) : NULL;
}

const struct rlhf_run_source *rlhf_run_source(const struct rlhf_run_reward *r, int *kind)
{
    struct rlhf_run_source *const all[] = {r->reward_model, r->pattern, r->length, r->exact, r->service, r->judge};

    for (*kind = 0; *kind < 5 && !all[*kind]; ++*kind)
        ;
    return all[*kind];
}

int rlhf_run_reward_kinds(const struct rlhf_run_reward *r)
{
    return (r->reward_model != NULL) + (r->pattern != NULL) + (r->length != NULL) + (r->exact != NULL) + (r->service != NULL) +
           (r->judge != NULL);
}

int rlhf_run_reward_read(struct rlhf_run_reward *r, const char *path, struct rlhf_error *err)
{
    int kinds;

    if (rlhf_config_read(&rlhf_run_reward_schema, path, r, err) < 0)
        return -1;
    if ((kinds = rlhf_run_reward_kinds(r)) == 1)
        return 0;
    rlhf_run_reward_free(r);
    return rlhf_fail(err, RLHF_REJECT, "%s: a source of rewards has exactly one key, its kind (" RLHF_RUN_REWARD_KINDS "), "
                     "this one has %d", path, kinds);
}

void rlhf_run_reward_free(struct rlhf_run_reward *r)
{
    rlhf_config_free(&rlhf_run_reward_schema, r);
}

const char *rlhf_run_algorithm(const struct rlhf_stage_policy *s)
{
    return rlhf_run_algorithms[s->algorithm];
}

const char *rlhf_run_direct_loss(const struct rlhf_stage_direct *s)
{
    return rlhf_run_direct_losses[s->loss];
}

bool rlhf_run_algorithm_has_critic(int algorithm)
{
    return algorithm == RLHF_RUN_PPO;
}

bool rlhf_run_algorithm_compares(int algorithm)
{
    return algorithm != RLHF_RUN_PPO && algorithm != RLHF_RUN_REINFORCE_PLUS_PLUS;
}

bool rlhf_run_algorithm_kl_in_loss(int algorithm)
{
    return algorithm > RLHF_RUN_PPO && algorithm < RLHF_RUN_RLOO;
}

const char *rlhf_run_products(const struct rlhf_run *run)
{
    return rlhf_run_products_names[run->run.products];
}

const char *rlhf_run_model_style(const struct rlhf_run *run)
{
    return rlhf_run_styles[run->model.style];
}
