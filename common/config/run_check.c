/* run_check.c - the rules between keys of a run file, which its table cannot say. */
#include "config/run_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"

struct check {
    const struct rlhf_run *run;
    const char *where;
    size_t index;
    const struct rlhf_stage *stage;
    struct rlhf_error *err;
};

static int __attribute__((format(printf, 3, 4)))
complain(const struct check *c, const char *key, const char *fmt, ...)
{
    char what[240];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return rlhf_fail(c->err, RLHF_REJECT, "%s: stage %zu (%s): %s: %s", c->where, c->index + 1,
                     rlhf_stage_kind_name(rlhf_stage_kind(c->stage)), key, what);
}

/* name must be an earlier stage that makes what is wanted. NULL passes. */
static int refer(const struct check *c, const char *key, const char *name, bool policy,
                 enum rlhf_stage_kind kind)
{
    if (!name)
        return 0;
    for (size_t i = 0; i < c->index; i++) {
        const struct rlhf_stage *s = rlhf_run_stage(c->run, i);
        if (strcmp(rlhf_stage_name(s), name) != 0)
            continue;
        if (policy ? rlhf_stage_makes_policy(rlhf_stage_kind(s)) : rlhf_stage_kind(s) == kind)
            return 0;
        if (!policy && kind == RLHF_STAGE_COLLECT && c->stage->direct && s->best_of) /* it made comparisons, too */
            return 0;
        return complain(c, key, "'%s' is a %s stage; name %s", name, rlhf_stage_kind_name(rlhf_stage_kind(s)),
                        policy                      ? "one that makes a policy (pretrain, sft, policy, direct, gate)"
                        : kind == RLHF_STAGE_REWARD ? "a reward stage"
                        : kind == RLHF_STAGE_BEST_OF ? "a best_of stage"
                        : kind == RLHF_STAGE_EVALUATE ? "an evaluate stage"
                                                      : "a collect stage");
    }
    return complain(c, key, "no earlier stage is called '%s'", name);
}

static int refer_all(const struct check *c, const char *key, const struct rlhf_config_strings *names,
                     bool policy, enum rlhf_stage_kind kind)
{
    for (size_t i = 0; i < names->count; i++)
        if (refer(c, key, names->items[i], policy, kind) < 0)
            return -1;
    return 0;
}

static int one_of(const struct check *c, const char *keys, bool a, bool b, bool d)
{
    return a + b + d == 1 ? 0 : complain(c, keys, "exactly one of them says how long the stage is");
}

static int check_mix(const struct check *c, const struct rlhf_run_mix *mix)
{
    if (mix->weight > 0 && mix->data.count == 0)
        return complain(c, "mix.data", "missing, but mix.weight is not 0; name files of documents");
    if (mix->weight <= 0 && mix->data.count > 0)
        return complain(c, "mix.weight", "is 0, so mix.data would not be used; set it or remove mix");
    return 0;
}

static int check_files(const struct check *c, const char *key, const struct rlhf_config_list *files)
{
    const struct rlhf_run_file *f = files->items;

    for (size_t i = 0; i < files->count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(f[i].name, f[j].name) == 0)
                return complain(c, key, "two files are called '%s'", f[i].name);
    return 0;
}

enum { MAX_END_TOKENS = 31, MAX_STOPS = 16, MAX_STOP = 99 }; /* as model/sampler.h and model/generation.h */

static int check_sampling(const struct check *c, const struct rlhf_run_sampling *s)
{
    if (s->min_new_tokens > s->max_new_tokens)
        return complain(c, "sampling.min_new_tokens", "%lld is more than max_new_tokens, %lld",
                        (long long)s->min_new_tokens, (long long)s->max_new_tokens);
    if (s->end_tokens.count > MAX_END_TOKENS)
        return complain(c, "sampling.end_tokens", "%zu tokens; at most %d are allowed", s->end_tokens.count,
                        MAX_END_TOKENS);
    if (s->stop.count > MAX_STOPS)
        return complain(c, "sampling.stop", "%zu texts; at most %d are allowed", s->stop.count, MAX_STOPS);
    for (size_t i = 0; i < s->stop.count; i++)
        if (s->stop.items[i][0] == '\0' || strlen(s->stop.items[i]) > MAX_STOP)
            return complain(c, "sampling.stop", "text %zu is empty or longer than %d bytes", i + 1, MAX_STOP);
    if (s->stop_after > 0 && s->stop.count == 0)
        return complain(c, "sampling.stop_after", "is not used: stop names no text");
    if (s->stop_after > 0 && s->stop_after >= s->max_new_tokens)
        return complain(c, "sampling.stop_after", "%lld is not below max_new_tokens, %lld", (long long)s->stop_after,
                        (long long)s->max_new_tokens);
    return 0;
}

static int check_rewards(const struct check *c, const struct rlhf_config_list *list, const char *reward_model)
{
    const struct rlhf_run_reward *r = list->items;
    bool model = false;
    int kind;

    if (list->count > RLHF_RUN_REWARDS)
        return complain(c, "rewards", "%zu sources; at most %d are allowed", list->count, RLHF_RUN_REWARDS);
    for (size_t i = 0; i < list->count; i++) {
        const struct rlhf_run_source *s = rlhf_run_source(&r[i], &kind);
        int kinds = rlhf_run_reward_kinds(&r[i]);

        if (kinds != 1)
            return complain(c, "rewards", "source %zu has exactly one key, its kind (" RLHF_RUN_REWARD_KINDS "), this one has %d",
                            i + 1, kinds);
        if (kind == 0 && (!reward_model || model))
            return complain(c, "rewards", reward_model ? "two sources are the reward_model" : "the stage has no reward_model");
        model |= kind == 0;
        if (c->stage->evaluate && s->normalize)
            return complain(c, "rewards", "normalize would measure each policy with another scale; only policy and best_of stages "
                            "have it");
        if (kind > 0 && strcmp(s->name, "reward_model") == 0)
            return complain(c, "rewards", "'reward_model' is what the reward_model's own is called");
        for (size_t j = 0; kind > 0 && j < i; j++) {
            const char *other = rlhf_run_source(&r[j], &(int){0})->name;
            if (other && strcmp(other, s->name) == 0)
                return complain(c, "rewards", "two sources are called '%s'", s->name);
        }
    }
    if (!reward_model && list->count == 0 && !c->stage->evaluate)
        return complain(c, "reward_model, rewards", "both missing; there are no rewards");
    return 0;
}

static int check_select(const struct check *c, const struct rlhf_run_select *s)
{
    if (refer(c, "select.reward_model", s->reward_model, false, RLHF_STAGE_REWARD) < 0)
        return -1;
    if (!s->reward_model != !s->prompts)
        return complain(c, s->prompts ? "select.reward_model" : "select.prompts", "missing; a reward model scores completions of prompts");
    if (!s->reward_model && s->validation.count == 0)
        return complain(c, "select", "by what? name a reward_model and prompts, or validation files");
    return check_sampling(c, &s->sampling);
}

/* -1 stands for the algorithm's own; nothing else below 0 means anything. */
static int check_own(const struct check *c, const char *key, double value, bool may_be_zero)
{
    if (value == RLHF_RUN_OWN || value > 0 || (value == 0 && may_be_zero))
        return 0;
    return complain(c, key, "%g: give %s, or -1 for the algorithm's own", value,
                    may_be_zero ? "0 or more" : "more than 0");
}

/* A key that the algorithm would not look at was meant for another one. */
static int unused(const struct check *c, const char *key, const char *who)
{
    return complain(c, key, "%s has no use for it; it is for %s: remove it or change algorithm",
                    rlhf_run_algorithm(c->stage->policy), who);
}

static int check_unused(const struct check *c)
{
    const struct rlhf_stage_policy *p = c->stage->policy;
    bool critic = rlhf_run_algorithm_has_critic(p->algorithm), sapo = p->algorithm == RLHF_RUN_SAPO;
    bool group = p->algorithm != RLHF_RUN_REINFORCE_PLUS_PLUS_BASELINE && rlhf_run_algorithm_compares(p->algorithm);
    bool low = p->clip_low != RLHF_RUN_OWN, high = p->clip_high != RLHF_RUN_OWN, both = p->clip != RLHF_RUN_OWN;

    if (p->value_clip > 0 && !critic)
        return unused(c, "value_clip", "ppo, which has a critic");
    if (p->whiten_minibatches && !critic)
        return unused(c, "whiten_minibatches", "ppo");
    if (p->whiten_rewards && !critic)
        return unused(c, "whiten_rewards", "ppo");
    if (p->discount < 1 && group)
        return unused(c, "discount", "algorithms with an advantage a token (ppo, reinforce_plus_plus)");
    if (p->advantage_scale && !group)
        return unused(c, "advantage_scale", "algorithms with an advantage a completion (grpo and its kin, rloo)");
    if (p->kl_corrected && !rlhf_run_algorithm_kl_in_loss(p->algorithm))
        return unused(c, "kl_corrected", "algorithms with the KL penalty in the loss (grpo and its kin)");
    if ((low || both || high) && sapo)
        return unused(c, low ? "clip_low" : high ? "clip_high" : "clip", "algorithms that clip the ratio");
    if ((low || both) && p->algorithm == RLHF_RUN_CISPO)
        return unused(c, low ? "clip_low" : "clip", "algorithms that clip on both sides; cispo has clip_high");
    if ((p->temperature_positive != RLHF_RUN_OWN || p->temperature_negative != RLHF_RUN_OWN) && !sapo)
        return unused(c, "temperature_positive, temperature_negative", "sapo");
    if (p->ratio_limit > 0 && (sapo || p->algorithm == RLHF_RUN_CISPO))
        return unused(c, "ratio_limit", "algorithms that clip on both sides");
    return 0;
}

static int check_watch(const struct check *c, const struct rlhf_run_watch *watch)
{
    const struct rlhf_run_limit *l = watch->limits.items;

    if (watch->limits.count > RLHF_RUN_LIMITS)
        return complain(c, "watch.limits", "%zu limits; at most %d are allowed", watch->limits.count, RLHF_RUN_LIMITS);
    for (size_t i = 0; i < watch->limits.count; i++)
        if (l[i].at_least <= -RLHF_RUN_LARGE && l[i].at_most >= RLHF_RUN_LARGE && l[i].fall <= 0 && l[i].rise <= 0)
            return complain(c, "watch.limits", "%s has no limit: give at_least, at_most, fall or rise", l[i].metric);
    return 0;
}

/* As everywhere in this field: ratios compare with the policy that sampled, which drops nothing. */
static int check_adapter(const struct check *c, const struct rlhf_run_adapter *a)
{
    return a && a->dropout > 0
               ? complain(c, "adapter.dropout", "is for sft stages; others compare log-probs, which dropout would change")
               : 0;
}

static int check_algorithm(const struct check *c)
{
    const struct rlhf_stage_policy *p = c->stage->policy;

    if (refer_all(c, "ensemble", &p->ensemble, false, RLHF_STAGE_REWARD) < 0)
        return -1;
    if (p->ensemble.count >= RLHF_RUN_ENSEMBLE)
        return complain(c, "ensemble", "%zu stages; at most %d besides reward_model are allowed", p->ensemble.count,
                        RLHF_RUN_ENSEMBLE - 1);
    if (p->ensemble.count > 0 && !p->reward_model)
        return complain(c, "ensemble", "beside no reward_model; name the first one there");
    if (!p->reward_model && rlhf_run_algorithm_has_critic(p->algorithm))
        return complain(c, "reward_model", "missing; the critic of %s starts from it", rlhf_run_algorithm(p));
    for (size_t i = 0; i < p->ensemble.count; i++)
        if (strcmp(p->ensemble.items[i], p->reward_model) == 0)
            return complain(c, "ensemble", "'%s' is the reward_model already", p->reward_model);
    if (p->ensemble_deviations > 0 && p->ensemble.count == 0)
        return complain(c, "ensemble_deviations", "one model has no deviation; name others in ensemble");
    if (rlhf_run_algorithm_compares(p->algorithm) && p->samples < 2)
        return complain(c, "samples", "%s compares the completions of a prompt: ask for 2 or more", rlhf_run_algorithm(p));
    if (check_unused(c) < 0 || check_own(c, "kl_coefficient", p->kl_coefficient, true) < 0 ||
        check_own(c, "clip", p->clip, false) < 0 || check_own(c, "clip_low", p->clip_low, false) < 0 ||
        check_own(c, "clip_high", p->clip_high, false) < 0 ||
        check_own(c, "temperature_positive", p->temperature_positive, false) < 0 ||
        check_own(c, "temperature_negative", p->temperature_negative, false) < 0)
        return -1;
    if (p->clip > 1 && p->clip_low == RLHF_RUN_OWN)
        return complain(c, "clip", "%g: below 1 it can be no wider than 1; name clip_low and clip_high", p->clip);
    if (p->ratio_limit > 0 && p->ratio_limit <= 1)
        return complain(c, "ratio_limit", "%g: must be above 1, or 0 for none", p->ratio_limit);
    if (p->kl_target > 0 &&
        (p->kl_coefficient == 0 || (p->kl_coefficient < 0 && rlhf_run_algorithm_kl_in_loss(p->algorithm) &&
                                    p->algorithm != RLHF_RUN_GRPO)))
        return complain(c, "kl_target", "nothing adapts from a kl_coefficient of 0; set it above");
    if (p->lag == 0 && (p->off_policy || p->importance || p->importance_by_completion))
        return complain(c, p->off_policy ? "off_policy" : "importance", "is not used: lag is 0, and no batch is off policy");
    if (p->off_policy == RLHF_RUN_RATIO && (p->importance || p->importance_by_completion))
        return complain(c, "importance", "is not used: off_policy ratio has no such weights");
    if (p->dynamic_sampling > 0 && p->samples < 2)
        return complain(c, "dynamic_sampling", "one completion of a prompt cannot differ; set samples to 2 or more");
    if (p->dynamic_sampling_spread > 0 && p->dynamic_sampling == 0)
        return complain(c, "dynamic_sampling_spread", "is not used: dynamic_sampling is 0");
    if (p->overlong_cache > p->sampling.max_new_tokens)
        return complain(c, "overlong_cache", "%lld is more than sampling.max_new_tokens, %lld", (long long)p->overlong_cache,
                        (long long)p->sampling.max_new_tokens);
    return 0;
}

static int check_direct(const struct check *c)
{
    const struct rlhf_stage_direct *d = c->stage->direct;
    const char *loss = rlhf_run_direct_loss(d);
    bool dpo = d->loss < RLHF_RUN_DIRECT_DPO_KINDS, kto = d->loss == RLHF_RUN_KTO;

    if (refer(c, "from", d->from, true, 0) < 0 || refer(c, "reference", d->reference, true, 0) < 0 ||
        refer_all(c, "rounds", &d->rounds, false, RLHF_STAGE_COLLECT) < 0 ||
        one_of(c, "steps, epochs", d->steps > 0, d->epochs > 0, false) < 0 || check_adapter(c, d->adapter) < 0)
        return -1;
    if (d->rounds.count + d->data.count == 0)
        return complain(c, "rounds, data", "both missing; name collect stages or files of comparisons");
    if (d->label_smoothing > 0 && strcmp(loss, "sigmoid") != 0 && strcmp(loss, "robust") != 0 &&
        strcmp(loss, "exo_pair") != 0)
        return complain(c, "label_smoothing", "%s has no use for it; it is for sigmoid, robust and exo_pair", loss);
    if (d->label_smoothing <= 0 && strcmp(loss, "exo_pair") == 0)
        return complain(c, "label_smoothing", "exo_pair needs it above 0 (try 0.001)");
    if ((d->divergence || d->tail < 1 || d->sft_weight > 0) && !dpo)
        return complain(c, d->divergence ? "divergence" : d->tail < 1 ? "tail" : "sft_weight",
                        "%s has no use for it; it is for the kinds of DPO", loss);
    if ((d->desirable != 1 || d->undesirable != 1) && !kto)
        return complain(c, "desirable, undesirable", "%s has no use for them; they are for kto", loss);
    if (d->reference && d->loss == RLHF_RUN_ORPO)
        return complain(c, "reference", "orpo has none; remove it");
    return 0;
}

static int check_waiting(const struct check *c, const struct rlhf_stage_collect *k)
{
    if (k->deadline_seconds > 0 && k->at_least == 0)
        return complain(c, "at_least", "missing; say how many comparisons suffice after deadline_seconds");
    if (k->want > 0 && k->at_least > k->want)
        return complain(c, "at_least", "%lld are more than want, %lld", (long long)k->at_least, (long long)k->want);
    return 0;
}

static int check_choice(const struct check *c, const struct rlhf_stage_collect *k)
{
    const struct rlhf_run_choice *s = k->select;
    double all = s ? s->random + s->disagreement + s->reward_kl : 1;

    if (!s)
        return 0;
    if (k->policies.count == 0)
        return complain(c, "select", "nothing is generated; name policies, or remove it");
    if (k->count == 0)
        return complain(c, "count", "missing; say how many of the candidates are submitted");
    if (s->candidates > 0 && s->candidates < k->count)
        return complain(c, "select.candidates", "%lld are fewer than count, %lld", (long long)s->candidates, (long long)k->count);
    if (all < 0.999 || all > 1.001)
        return complain(c, "select", "random, disagreement and reward_kl add up to %g, not to 1", all);
    if (s->reward_models.count > RLHF_RUN_ENSEMBLE)
        return complain(c, "select.reward_models", "%zu stages; at most %d are allowed", s->reward_models.count,
                        RLHF_RUN_ENSEMBLE);
    if (s->disagreement > 0 && s->reward_models.count < 2)
        return complain(c, "select.reward_models", "two or more must be named that can disagree");
    if (s->reward_kl > 0 && (s->reward_models.count == 0 || !s->reference))
        return complain(c, s->reference ? "select.reward_models" : "select.reference", "missing, and reward_kl needs it");
    return refer_all(c, "select.reward_models", &s->reward_models, false, RLHF_STAGE_REWARD) < 0 ||
                   refer(c, "select.reference", s->reference, true, 0) < 0
               ? -1
               : 0;
}

static bool among(const struct rlhf_config_strings *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i], name) == 0)
            return true;
    return false;
}

/* All but win_rate, which a gate finds out. */
const char *const rlhf_run_suites[] = {"truthfulqa", "crows_pairs", "winogender", "hellaswag", "arithmetic", "gsm8k", "perplexity", "toxicity", NULL};

/* Suites are there, and each once: their names are those of the results. */
static int check_suites(const struct check *c, const struct rlhf_stage_evaluate *e)
{
    const struct rlhf_run_suite *s = e->suites.items;

    for (size_t i = 0; i < e->suites.count; i++) {
        size_t known = 0;

        while (rlhf_run_suites[known] && strcmp(rlhf_run_suites[known], s[i].suite) != 0)
            known++;
        if (!rlhf_run_suites[known]) {
            const char *meant = rlhf_did_you_mean(s[i].suite, rlhf_run_suites);
            return complain(c, "suites", "there is no suite '%s'%s%s%s", s[i].suite, meant ? "; did you mean '" : "",
                            meant ? meant : "", meant ? "'?" : "");
        }
        for (size_t j = 0; j < i; j++)
            if (strcmp(s[i].suite, s[j].suite) == 0)
                return complain(c, "suites", "%s is there twice", s[i].suite);
        if (strcmp(s[i].suite, "toxicity") == 0 && !s[i].companion)
            return complain(c, "suites", "toxicity needs its lexicon: companion");
        if (s[i].shots > 0 && !s[i].companion)
            return complain(c, "suites", "%s needs the file of its examples: companion", s[i].suite);
    }
    return 0;
}

static bool has_suite(const struct rlhf_stage_evaluate *e, const char *name, size_t size)
{
    const struct rlhf_run_suite *s = e->suites.items;

    for (size_t i = 0; i < e->suites.count; i++)
        if (strlen(s[i].suite) == size && strncmp(s[i].suite, name, size) == 0)
            return true;
    return false;
}

/* Of the metrics that a run file names, those whose names are in it, too, can be checked now. */
static int check_metric(const struct check *c, const char *key, const char *metric, const struct rlhf_stage_evaluate *e)
{
    const struct rlhf_config_list *files = strncmp(metric, "exact.", 6) == 0        ? &e->exact
                                           : strncmp(metric, "perplexity.", 11) == 0 ? &e->perplexity
                                                                                     : NULL;
    const struct rlhf_run_file *f = files ? files->items : NULL;
    const bool suite = strncmp(metric, "suites.", 7) == 0;

    if (suite && has_suite(e, metric + 7, strcspn(metric + 7, ".")))
        return 0;
    for (size_t i = 0; files && i < files->count; i++)
        if (strcmp(f[i].name, strchr(metric, '.') + 1) == 0)
            return 0;
    return files || suite ? complain(c, key, "stage %s measures no %s", e->name, metric) : 0;
}

static int check_clauses(const struct check *c, const char *key, const struct rlhf_config_list *list, bool says_which,
                         const struct rlhf_stage_evaluate *e)
{
    const struct rlhf_run_clause *clauses = list->items;

    for (size_t i = 0; i < list->count; i++) {
        if (says_which && clauses[i].better == RLHF_RUN_BETTER_UNSAID)
            return complain(c, key, "%s: is higher or lower better? say it in `better`", clauses[i].metrics.items[0]);
        for (size_t m = 0; m < clauses[i].metrics.count; m++) {
            const char *metric = clauses[i].metrics.items[m];

            if (check_metric(c, key, metric, e) < 0)
                return -1;
            if (clauses[i].standard_errors > 0 && strncmp(metric, "exact.", 6) != 0)
                return complain(c, key, "%s: standard_errors are known of exact.* alone", metric);
        }
    }
    return 0;
}

static int check_retries(const struct check *c, const struct rlhf_stage_policy *candidate)
{
    const struct rlhf_stage_gate *g = c->stage->gate;

    if (g->retries == 0)
        return 0;
    if (!candidate)
        return complain(c, "retries", "'%s' is not a policy stage; only those are tried again", g->candidate);
    if (g->retry_mix <= 1 && g->retry_kl <= 1)
        return complain(c, "retry_mix, retry_kl", "with both 1 a retry would be the same again");
    if (g->retry_kl > 1 && candidate->kl_coefficient <= 0)
        return complain(c, "retry_kl", "%s sets no kl_coefficient above 0 that could be raised", candidate->name);
    if (candidate->mix.weight <= 0 && g->retry_kl <= 1)
        return complain(c, "retry_mix", "%s has no mix whose weight could be raised; give it one, or set retry_kl",
                        candidate->name);
    return 0;
}

static int check_gate(const struct check *c)
{
    const struct rlhf_stage_gate *g = c->stage->gate;
    const struct rlhf_stage_evaluate *e;
    const char *incumbent;

    if (refer(c, "candidate", g->candidate, true, 0) < 0 || refer(c, "incumbent", g->incumbent, true, 0) < 0 ||
        refer(c, "evaluation", g->evaluation, false, RLHF_STAGE_EVALUATE) < 0)
        return -1;
    e = rlhf_run_stage(c->run, (size_t)rlhf_run_find(c->run, g->evaluation))->evaluate;
    if (!(incumbent = rlhf_run_incumbent(c->run, c->index)))
        return complain(c, "incumbent", "missing, and the candidate started from no earlier stage");
    if (strcmp(incumbent, g->candidate) == 0)
        return complain(c, "incumbent", "'%s' is the candidate", incumbent);
    if (!among(&e->policies, g->candidate) || !among(&e->policies, incumbent))
        return complain(c, "evaluation", "%s must measure both %s and %s: name them in its policies", e->name, g->candidate,
                        incumbent);
    if (!e->reward_model || e->prompts.count == 0)
        return complain(c, "evaluation", "%s has no %s, so nobody can win", e->name,
                        e->reward_model ? "prompts" : "reward_model");
    if (check_clauses(c, "truthfulness", &g->truthfulness, false, e) < 0 ||
        check_clauses(c, "toxicity", &g->toxicity, false, e) < 0 || check_clauses(c, "tax", &g->tax, true, e) < 0)
        return -1;
    return check_retries(c, rlhf_run_stage(c->run, (size_t)rlhf_run_find(c->run, g->candidate))->policy);
}

/* A model of a size of its own. */
static int check_shape(const struct check *c, const struct rlhf_stage_pretrain *s)
{
    const struct rlhf_run_shape *own = &s->shape;
    int64_t channels = own->channels ? own->channels : c->run->model.channels;
    int64_t heads = own->heads ? own->heads : c->run->model.heads;

    if (!own->layers && !own->heads && !own->channels && !own->mlp_size)
        return 0;
    if (s->from || c->run->model.load)
        return complain(c, "shape", "is not used: the model comes from %s", s->from ? s->from : c->run->model.load);
    if (channels % heads != 0)
        return complain(c, "shape.channels", "%lld is not a multiple of heads %lld", (long long)channels, (long long)heads);
    return 0;
}

static int check_kind(const struct check *c)
{
    const struct rlhf_stage *s = c->stage;

    switch (rlhf_stage_kind(s)) {
    case RLHF_STAGE_PRETRAIN:
        if (refer(c, "from", s->pretrain->from, true, 0) < 0 || check_shape(c, s->pretrain) < 0)
            return -1;
        return one_of(c, "steps, epochs, tokens", s->pretrain->steps > 0, s->pretrain->epochs > 0,
                      s->pretrain->tokens > 0);
    case RLHF_STAGE_SFT:
        if (refer(c, "from", s->sft->from, true, 0) < 0 || check_mix(c, &s->sft->mix) < 0 ||
            refer_all(c, "best_of", &s->sft->best_of, false, RLHF_STAGE_BEST_OF) < 0)
            return -1;
        if (s->sft->data.count + s->sft->best_of.count == 0)
            return complain(c, "data, best_of", "both missing; name files of demonstrations or best_of stages");
        if (s->sft->select && check_select(c, s->sft->select) < 0)
            return -1;
        return one_of(c, "steps, epochs", s->sft->steps > 0, s->sft->epochs > 0, false);
    case RLHF_STAGE_COLLECT: {
        const struct rlhf_stage_collect *k = s->collect;
        if (refer_all(c, "policies", &k->policies, true, 0) < 0)
            return -1;
        if (k->policies.count > 0 && !k->prompts)
            return complain(c, "prompts", "missing; the policies need something to complete");
        if (k->policies.count > 0 && k->policies.count * (size_t)k->samples < 2)
            return complain(c, "samples", "one completion of a prompt cannot be compared; ask for 2 or more");
        if (k->policies.count == 0 && (k->prompts || k->want == 0))
            return complain(c, k->prompts ? "policies" : "want",
                            k->prompts ? "missing; name the stages whose policies complete the prompts"
                                       : "missing; say how many imported comparisons to wait for");
        return check_choice(c, k) < 0 || check_waiting(c, k) < 0 ? -1 : check_sampling(c, &k->sampling);
    }
    case RLHF_STAGE_REWARD:
        if (refer(c, "from", s->reward->from, true, 0) < 0)
            return -1;
        if (s->reward->unit_deviation && !s->reward->zero_mean_on)
            return complain(c, "unit_deviation", "of what? name demonstrations in zero_mean_on");
        return refer_all(c, "rounds", &s->reward->rounds, false, RLHF_STAGE_COLLECT);
    case RLHF_STAGE_POLICY: {
        const struct rlhf_stage_policy *p = s->policy;
        if (refer(c, "from", p->from, true, 0) < 0 || refer(c, "reference", p->reference, true, 0) < 0 ||
            refer(c, "reward_model", p->reward_model, false, RLHF_STAGE_REWARD) < 0 ||
            check_rewards(c, &p->rewards, p->reward_model) < 0 || check_mix(c, &p->mix) < 0)
            return -1;
        if (p->sampling.temperature <= 0)
            return complain(c, "sampling.temperature",
                            "must be above 0: there must be a distribution to sample from");
        return check_algorithm(c) < 0 || check_adapter(c, p->adapter) < 0 || check_watch(c, &p->watch) < 0
                   ? -1
                   : check_sampling(c, &p->sampling);
    }
    case RLHF_STAGE_DIRECT:
        return check_direct(c);
    case RLHF_STAGE_BEST_OF:
        if (refer(c, "from", s->best_of->from, true, 0) < 0 ||
            refer(c, "reward_model", s->best_of->reward_model, false, RLHF_STAGE_REWARD) < 0 ||
            check_rewards(c, &s->best_of->rewards, s->best_of->reward_model) < 0)
            return -1;
        if (s->best_of->sampling.temperature <= 0)
            return complain(c, "sampling.temperature", "must be above 0: greedy completions of a prompt are all equal");
        return check_sampling(c, &s->best_of->sampling);
    case RLHF_STAGE_GATE:
        return check_gate(c);
    default: {
        const struct rlhf_stage_evaluate *e = s->evaluate;
        if (refer_all(c, "policies", &e->policies, true, 0) < 0 ||
            refer(c, "reference", e->reference, true, 0) < 0 ||
            refer(c, "reward_model", e->reward_model, false, RLHF_STAGE_REWARD) < 0 ||
            check_rewards(c, &e->rewards, e->reward_model) < 0 || check_files(c, "prompts", &e->prompts) < 0 || check_files(c, "perplexity", &e->perplexity) < 0 ||
            check_files(c, "exact", &e->exact) < 0 || check_suites(c, e) < 0 || check_sampling(c, &e->sampling) < 0)
            return -1;
        if (e->prompts.count + e->perplexity.count + e->exact.count + e->suites.count == 0)
            return complain(c, "prompts, perplexity, exact, suites", "all missing; there is nothing to measure");
        return 0;
    }
    }
}

/* Names become names of directories. */
static bool good_name(const char *name)
{
    static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return name[0] && name[0] != '.' && strlen(name) <= 60 && strspn(name, ok) == strlen(name);
}

static bool good_day(const char *text)
{
    struct tm day = {0};
    const char *end = strptime(text, "%Y-%m-%d", &day);

    return end && !*end;
}

static int check_stage(const struct check *c)
{
    const struct rlhf_stage *s = c->stage;
    int kinds = (s->pretrain != NULL) + (s->sft != NULL) + (s->collect != NULL) + (s->reward != NULL) +
                (s->policy != NULL) + (s->direct != NULL) + (s->best_of != NULL) +
                (s->evaluate != NULL) + (s->gate != NULL);

    if (kinds != 1)
        return rlhf_fail(
            c->err, RLHF_REJECT,
            "%s: stage %zu: a stage has exactly one key, its kind (pretrain, sft, collect, reward, policy, "
            "direct, best_of, evaluate or gate), this one has %d",
            c->where, c->index + 1, kinds);
    if (!good_name(rlhf_stage_name(s)))
        return complain(c, "name", "'%s' cannot name a directory; use letters, digits, '-', '_' and '.'",
                        rlhf_stage_name(s));
    if (strstr(rlhf_stage_name(s), ".try-"))
        return complain(c, "name", "'%s': '.try-' stands in the names of what a gate tries again", rlhf_stage_name(s));
    if ((size_t)rlhf_run_find(c->run, rlhf_stage_name(s)) != c->index)
        return complain(c, "name", "an earlier stage is called '%s' too", rlhf_stage_name(s));
    return check_kind(c);
}

int rlhf_run_check(const struct rlhf_run *run, const char *where, struct rlhf_error *err)
{
    if (!good_name(run->run.name))
        return rlhf_fail(err, RLHF_REJECT,
                         "%s: run.name: '%s' cannot name a directory; use letters, digits, '-', '_' and '.'",
                         where, run->run.name);
    if (run->tokenizer.load && run->tokenizer.train.files.count)
        return rlhf_fail(err, RLHF_REJECT, "%s: tokenizer: has both load and train.files; keep one", where);
    if (run->tokenizer.chat && run->tokenizer.train.files.count)
        return rlhf_fail(err, RLHF_REJECT, "%s: tokenizer.chat: a tokenizer that is learned from text has no chat template", where);
    if (!good_day(run->tokenizer.today))
        return rlhf_fail(err, RLHF_REJECT, "%s: tokenizer.today: '%s' is no day; write it as 2024-07-26", where,
                         run->tokenizer.today);
    if (!run->tokenizer.load && !run->tokenizer.train.files.count && !run->model.load)
        return rlhf_fail(
            err, RLHF_REJECT,
            "%s: tokenizer: needs load (a directory) or train.files (text), since there is no model.load",
            where);
    if (!run->model.load && run->model.channels % run->model.heads != 0)
        return rlhf_fail(err, RLHF_REJECT, "%s: model.channels: %lld is not a multiple of model.heads %lld",
                         where, (long long)run->model.channels, (long long)run->model.heads);
    for (size_t i = 0; i < run->stages.count; i++) {
        struct check c = {run, where, i, rlhf_run_stage(run, i), err};
        if (check_stage(&c) < 0)
            return -1;
    }
    return 0;
}
