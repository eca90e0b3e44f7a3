#include "rl/policy.h"

#include <math.h>

#include "rl/sigmoid.h"

int rlhf_policy_loss_check(const struct rlhf_policy_loss *s, struct rlhf_error *err)
{
    bool cispo = s->surrogate == RLHF_SURROGATE_CISPO, sapo = s->surrogate == RLHF_SURROGATE_SAPO;

    if (!cispo && !sapo && !(s->clip_low > 0 && s->clip_low <= 1))
        return rlhf_fail(err, RLHF_REJECT, "clip_low is %g: it must be above 0 and at most 1", s->clip_low);
    if (!sapo && !(s->clip_high > 0))
        return rlhf_fail(err, RLHF_REJECT, "clip_high is %g: it must be above 0", s->clip_high);
    if (s->ratio_limit != 0 && !(s->ratio_limit > 1))
        return rlhf_fail(err, RLHF_REJECT, "ratio_limit is %g: it must be 0 (none) or above 1",
                         s->ratio_limit);
    if (sapo && !(s->temperature_positive > 0 && s->temperature_negative > 0))
        return rlhf_fail(err, RLHF_REJECT, "temperatures of sapo are %g and %g: they must be above 0",
                         s->temperature_positive, s->temperature_negative);
    if (!(s->beta >= 0) || isinf(s->beta))
        return rlhf_fail(err, RLHF_REJECT, "beta is %g: it must be 0 or more", s->beta);
    return 0;
}

static double at_least_one(double x)
{
    return x < 1 ? 1 : x;
}

void rlhf_policy_weights(enum rlhf_mean mean, const struct rlhf_ragged *completions, double limit,
                         double items, double accumulation, double *weight)
{
    double count = (double)completions->count;
    double tokens = at_least_one((double)rlhf_ragged_total(completions));

    for (size_t i = 0; i < completions->count; i++) {
        switch (mean) {
        case RLHF_MEAN_TOKENS:
            weight[i] = 1 / (tokens * accumulation);
            break;
        case RLHF_MEAN_COMPLETIONS:
            weight[i] = 1 / (count * at_least_one(rlhf_ragged_length(completions, i)) * accumulation);
            break;
        case RLHF_MEAN_LIMIT:
            weight[i] = 1 / (count * limit * accumulation);
            break;
        case RLHF_MEAN_ITEMS:
            weight[i] = 1 / at_least_one(items);
            break;
        }
    }
}

/* A function of the policy with its derivatives: through the ratio (by log r) and by the token's own
 * log-prob. */
struct term {
    double value, by_log_ratio, by_logprob;
};

static double limited(const struct rlhf_policy_loss *s, double r)
{
    return s->ratio_limit > 0 && r > s->ratio_limit ? s->ratio_limit : r;
}

static struct term clip(const struct rlhf_policy_loss *s, double r, double a)
{
    double low = 1 - s->clip_low, high = 1 + s->clip_high, kept = r < low ? low : r > high ? high : r;
    double plain = -a * limited(s, r), clipped = -a * kept;

    /* Where a branch's ratio was cut, it is constant. */
    if (clipped > plain)
        return (struct term){clipped, kept == r ? clipped : 0, 0};
    return (struct term){plain, limited(s, r) < r ? 0 : plain, 0};
}

static struct term cispo(const struct rlhf_policy_loss *s, double r, double a, double logprob)
{
    double factor = -a * (r > s->clip_high ? s->clip_high : r);

    return (struct term){factor * logprob, 0, factor};
}

static struct term sapo(const struct rlhf_policy_loss *s, double r, double a)
{
    double tau = a > 0 ? s->temperature_positive : s->temperature_negative;
    double gate = rlhf_sigmoid(tau * (r - 1));

    /* σ falls faster than r rises: their product is 0 where r is infinite. */
    return (struct term){-a * 4 / tau * gate, gate < 1 ? -a * 4 * gate * (1 - gate) * r : 0, 0};
}

static struct term surrogate(const struct rlhf_policy_loss *s, double r, double a, double logprob)
{
    switch (s->surrogate) {
    case RLHF_SURROGATE_CISPO:
        return cispo(s, r, a, logprob);
    case RLHF_SURROGATE_SAPO:
        return sapo(s, r, a);
    default:
        return clip(s, r, a);
    }
}

static void penalize(const struct rlhf_policy_loss *s, double r, double logprob, double logprob_ref,
                     struct term *t, struct rlhf_policy_statistics *sum)
{
    double factor = s->kl_corrected ? r : 1;
    double kl = rlhf_kl(s->kl, logprob, logprob_ref) * factor;

    t->value += s->beta * kl;
    t->by_logprob += s->beta * rlhf_kl_slope(s->kl, logprob, logprob_ref) * factor;
    t->by_log_ratio += s->kl_corrected ? s->beta * kl : 0;
    sum->kl += kl;
}

/* Infinite log-probs would hide behind a clip; they are to be seen. */
static double ratio_of(double log_ratio)
{
    return isfinite(log_ratio) ? exp(log_ratio) : NAN;
}

static void count_ratio(const struct rlhf_policy_loss *s, double r, double a,
                        struct rlhf_policy_statistics *sum)
{
    sum->ratios += 1;
    sum->ratio += r;
    r = limited(s, r);
    sum->clipped_low += r < 1 - s->clip_low && a < 0;
    sum->clipped_high += r > 1 + s->clip_high && a > 0;
}

static double log_ratio_of(const struct rlhf_policy_batch *b, size_t i)
{
    double sum = 0;

    for (uint32_t t = b->completions.start[i]; t < b->completions.start[i + 1]; t++)
        sum += (double)b->logprob_new[t] - b->logprob_old[t];
    return sum;
}

static void completion_loss(const struct rlhf_policy_loss *s, const struct rlhf_policy_batch *b, size_t i,
                            float *d_logprob, struct rlhf_policy_statistics *sum)
{
    uint32_t from = b->completions.start[i], to = b->completions.start[i + 1], n = to - from;
    bool shared = s->ratio != RLHF_RATIO_TOKEN;
    double w = b->weight[i], spread = s->ratio == RLHF_RATIO_MEAN && n ? 1 / (double)n : 1;
    double whole = shared ? ratio_of(log_ratio_of(b, i) * spread) : 1, through_whole = 0;
    double a = b->advantage ? b->advantage[i] : 0;

    if (shared)
        count_ratio(s, whole, a, sum);
    if (n == 0 && s->ratio == RLHF_RATIO_SEQUENCE)
        sum->loss += w * surrogate(s, whole, a, 0).value;
    for (uint32_t t = from; t < to; t++) {
        double now = b->logprob_new[t], d = now - b->logprob_old[t];
        double r = shared ? whole : ratio_of(d);
        double importance =
            (b->importance ? b->importance[i] : 1) * (b->importance_token ? b->importance_token[t] : 1);
        struct term e;

        if (b->advantage_token)
            a = b->advantage_token[t];
        if (!shared)
            count_ratio(s, r, a, sum);
        e = surrogate(s, r, a, now);
        e.value *= importance, e.by_log_ratio *= importance, e.by_logprob *= importance;
        if (s->beta != 0)
            penalize(s, r, now, b->logprob_ref[t], &e, sum);
        sum->loss += w * e.value;
        sum->kl_old_k1 -= d;
        sum->kl_old_k2 += 0.5 * d * d;
        sum->kl_old_k3 += expm1(d) - d;
        d_logprob[t] = (float)(w * (e.by_logprob + (shared ? 0 : e.by_log_ratio)));
        through_whole += w * e.by_log_ratio * spread;
    }
    for (uint32_t t = from; shared && t < to; t++)
        d_logprob[t] = (float)(d_logprob[t] + through_whole);
    sum->tokens += n;
}

void rlhf_policy_loss(const struct rlhf_policy_loss *s, const struct rlhf_policy_batch *b, float *d_logprob,
                      struct rlhf_policy_statistics *sum)
{
    for (size_t i = 0; i < b->completions.count; i++)
        completion_loss(s, b, i, d_logprob, sum);
}

static float bounded(enum rlhf_importance mode, double w, double low, double high)
{
    bool inside = w >= low && w <= high;

    if (mode == RLHF_IMPORTANCE_MASK)
        return inside ? (float)w : 0;
    return (float)(w < low ? low : w > high ? high : w);
}

void rlhf_importance(enum rlhf_importance mode, bool by_sequence, const struct rlhf_ragged *completions,
                     const float *logprob_old, const float *logprob_sampled, double low, double high,
                     float *weight)
{
    for (size_t i = 0; i < completions->count; i++) {
        double sum = 0;
        for (uint32_t t = completions->start[i]; t < completions->start[i + 1]; t++) {
            double d = (double)logprob_old[t] - logprob_sampled[t];
            if (isnan(d))
                d = 0;
            sum += d;
            if (!by_sequence)
                weight[t] = bounded(mode, exp(d), low, high);
        }
        if (by_sequence)
            weight[i] = bounded(mode, exp(sum), low, high);
    }
}
