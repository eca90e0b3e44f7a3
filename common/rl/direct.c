#include "rl/direct.h"

#include <math.h>
#include <string.h>

#include "rl/sigmoid.h"

static const double discopop_temperature = 0.05;

/* What a loss sees of a pair, and its derivatives by that. */
struct pair {
    double u, v;       /* log-ratios                            */
    double h, h_mean;  /* beta · differences of scores          */
    double by_u, by_v; /* filled by the loss: what goes past h  */
    double by_h, by_h_mean;
};

/* ---- the losses, one a kind --------------------------------------------------------------------------- */

static double sigmoid_loss(double beta, double eps, struct pair *p)
{
    (void)beta;
    p->by_h = -(1 - eps) * rlhf_sigmoid(-p->h) + eps * rlhf_sigmoid(p->h);
    return -(1 - eps) * rlhf_log_sigmoid(p->h) - eps * rlhf_log_sigmoid(-p->h);
}

static double sigmoid_norm_loss(double beta, double eps, struct pair *p)
{
    (void)beta, (void)eps;
    p->by_h_mean = -rlhf_sigmoid(-p->h_mean);
    return -rlhf_log_sigmoid(p->h_mean);
}

static double hinge_loss(double beta, double eps, struct pair *p)
{
    (void)beta, (void)eps;
    p->by_h = p->h >= 1 ? 0 : -1;
    return p->h >= 1 ? 0 : 1 - p->h;
}

static double ipo_loss(double beta, double eps, struct pair *p)
{
    double error = p->h_mean / beta - 1 / (2 * beta);

    (void)eps;
    p->by_h_mean = 2 * error / beta;
    return error * error;
}

static double exo_loss(double beta, double eps, struct pair *p)
{
    double q = rlhf_sigmoid(p->h), other = rlhf_sigmoid(-p->h);
    double log_p = log1p(-eps), log_other = log(eps);

    (void)beta;
    p->by_h = q * other * (p->h - log_p + log_other);
    return q * (rlhf_log_sigmoid(p->h) - log_p) + other * (rlhf_log_sigmoid(-p->h) - log_other);
}

static double robust_loss(double beta, double eps, struct pair *p)
{
    (void)beta;
    p->by_h = (-(1 - eps) * rlhf_sigmoid(-p->h) - eps * rlhf_sigmoid(p->h)) / (1 - 2 * eps);
    return (-(1 - eps) * rlhf_log_sigmoid(p->h) + eps * rlhf_log_sigmoid(-p->h)) / (1 - 2 * eps);
}

static double nca_loss(double beta, double eps, struct pair *p)
{
    double c = beta * p->u, r = beta * p->v;

    (void)eps;
    p->by_u = beta * (-rlhf_sigmoid(-c) + 0.5 * rlhf_sigmoid(c));
    p->by_v = beta * 0.5 * rlhf_sigmoid(r);
    return -rlhf_log_sigmoid(c) - 0.5 * rlhf_log_sigmoid(-c) - 0.5 * rlhf_log_sigmoid(-r);
}

static double bco_loss(double beta, double eps, struct pair *p)
{
    double c = beta * p->u, r = beta * p->v;

    (void)eps;
    p->by_u = -beta * rlhf_sigmoid(-c);
    p->by_v = beta * rlhf_sigmoid(r);
    return -rlhf_log_sigmoid(c) - rlhf_log_sigmoid(-r);
}

static double sppo_loss(double beta, double eps, struct pair *p)
{
    double won = p->u - 0.5 / beta, lost = p->v + 0.5 / beta;

    (void)eps;
    p->by_u = 2 * won;
    p->by_v = 2 * lost;
    return won * won + lost * lost;
}

/* σ' */
static double bell(double x)
{
    return rlhf_sigmoid(x) * rlhf_sigmoid(-x);
}

static double apo_zero_loss(double beta, double eps, struct pair *p)
{
    (void)eps;
    p->by_u = -beta * bell(beta * p->u);
    p->by_v = beta * bell(beta * p->v);
    return rlhf_sigmoid(-beta * p->u) + rlhf_sigmoid(beta * p->v);
}

static double apo_down_loss(double beta, double eps, struct pair *p)
{
    double gap = beta * (p->u - p->v);

    (void)eps;
    p->by_u = beta * (bell(beta * p->u) - bell(gap));
    p->by_v = beta * bell(gap);
    return rlhf_sigmoid(beta * p->u) + rlhf_sigmoid(-gap);
}

static double discopop_loss(double beta, double eps, struct pair *p)
{
    double z = p->h / discopop_temperature, slope = bell(z) / discopop_temperature;
    double exponential = exp(rlhf_log_sigmoid(z) - p->h); /* exp(-h) · m, which does not overflow */
    double rest = rlhf_sigmoid(-z);

    (void)beta, (void)eps;
    p->by_h = -rlhf_sigmoid(-p->h) * rest + rlhf_log_sigmoid(p->h) * slope - exponential +
              exponential * rest / discopop_temperature;
    return -rlhf_log_sigmoid(p->h) * rest + exponential;
}

static const struct kind {
    const char *name;
    double (*loss)(double beta, double eps, struct pair *p); /* NULL: not of pairs but of tokens */
} kinds[] = {
    [RLHF_DPO_SIGMOID] = {"sigmoid", sigmoid_loss},
    [RLHF_DPO_SIGMOID_NORM] = {"sigmoid_norm", sigmoid_norm_loss},
    [RLHF_DPO_HINGE] = {"hinge", hinge_loss},
    [RLHF_DPO_IPO] = {"ipo", ipo_loss},
    [RLHF_DPO_EXO_PAIR] = {"exo_pair", exo_loss},
    [RLHF_DPO_ROBUST] = {"robust", robust_loss},
    [RLHF_DPO_NCA_PAIR] = {"nca_pair", nca_loss},
    [RLHF_DPO_BCO_PAIR] = {"bco_pair", bco_loss},
    [RLHF_DPO_SPPO_HARD] = {"sppo_hard", sppo_loss},
    [RLHF_DPO_APO_ZERO] = {"apo_zero", apo_zero_loss},
    [RLHF_DPO_APO_DOWN] = {"apo_down", apo_down_loss},
    [RLHF_DPO_DISCOPOP] = {"discopop", discopop_loss},
    [RLHF_DPO_SFT] = {"sft", NULL},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

int rlhf_dpo_kind_named(const char *name)
{
    for (int i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return i;
    return -1;
}

int rlhf_dpo_check(const struct rlhf_dpo *s, struct rlhf_error *err)
{
    if (!(s->beta > 0) || isinf(s->beta))
        return rlhf_fail(err, RLHF_REJECT, "beta is %g: it must be above 0", s->beta);
    if (s->desensitized && !(s->tail >= 0 && s->tail <= 1))
        return rlhf_fail(err, RLHF_REJECT, "tail is %g: it must be between 0 and 1", s->tail);
    if (s->count == 0)
        return rlhf_fail(err, RLHF_REJECT, "no loss is named: there must be one at least");
    for (size_t i = 0; i < s->count; i++) {
        const struct rlhf_dpo_term *t = &s->terms[i];
        const char *name = kinds[t->kind].name;
        if (!isfinite(t->weight))
            return rlhf_fail(err, RLHF_REJECT, "%s: weight is %g: it must be finite", name, t->weight);
        if (!(t->label_smoothing >= 0 && t->label_smoothing < 0.5))
            return rlhf_fail(err, RLHF_REJECT, "%s: label_smoothing is %g: it must be from 0 to below 0.5",
                             name, t->label_smoothing);
        if (t->kind == RLHF_DPO_EXO_PAIR && t->label_smoothing == 0)
            return rlhf_fail(err, RLHF_REJECT,
                             "exo_pair: label_smoothing is 0: it must be above (try 0.001)");
    }
    return 0;
}

/* ---- log-ratios --------------------------------------------------------------------------------------- */

/* Log-probs that are not finite would hide in the flat ends of a loss; they are to be seen. */
static double seen(double x)
{
    return isfinite(x) ? x : NAN;
}

static double token_weight(const struct rlhf_dpo *s, const struct rlhf_ragged *c, size_t row, uint32_t t)
{
    size_t pairs = c->count / 2, other = row < pairs ? row + pairs : row - pairs;

    return s->desensitized && t - c->start[row] >= rlhf_ragged_length(c, other) ? s->tail : 1;
}

static double row_sum(const struct rlhf_dpo *s, const struct rlhf_ragged *c, const float *x, size_t row)
{
    double sum = 0;

    for (uint32_t t = c->start[row]; t < c->start[row + 1]; t++)
        sum += token_weight(s, c, row, t) * x[t];
    return sum;
}

void rlhf_pair_sums(const struct rlhf_dpo *s, const struct rlhf_ragged *completions, const float *x,
                    double *sum)
{
    for (size_t i = 0; i < completions->count; i++)
        sum[i] = row_sum(s, completions, x, i);
}

static double log_ratio(const struct rlhf_dpo *s, const struct rlhf_pairs *b, size_t row)
{
    return seen(row_sum(s, &b->completions, b->logprob, row) - (b->reference ? b->reference[row] : 0));
}

static double score(const struct rlhf_dpo *s, double u, double *slope)
{
    double a = s->alpha - 1;

    *slope = 1;
    switch (s->divergence) {
    case RLHF_DIVERGENCE_FORWARD_KL:
        *slope = exp(-u);
        return -expm1(-u);
    case RLHF_DIVERGENCE_JS:
        *slope = rlhf_sigmoid(-u);
        return log(2) + rlhf_log_sigmoid(u);
    case RLHF_DIVERGENCE_ALPHA:
        if (fabs(a) < 1e-6)
            return u;
        *slope = exp(a * u);
        return expm1(a * u) / a;
    default:
        return u;
    }
}

static double length(const struct rlhf_ragged *c, size_t row)
{
    uint32_t n = rlhf_ragged_length(c, row);

    return n ? n : 1;
}

static void add_slope(const struct rlhf_dpo *s, const struct rlhf_ragged *c, size_t row, double slope,
                      float *d)
{
    for (uint32_t t = c->start[row]; t < c->start[row + 1]; t++)
        d[t] = (float)(slope * token_weight(s, c, row, t));
}

static double counts_for(const float *weight, size_t i)
{
    return weight ? weight[i] : 1;
}

static void add_sft(double weight, const struct rlhf_pairs *b, float *d_logprob,
                    struct rlhf_pairs_statistics *sum)
{
    const struct rlhf_ragged *c = &b->completions;
    size_t pairs = c->count / 2, tokens = b->of_tokens ? b->of_tokens : c->start[pairs] - c->start[0];

    for (size_t i = 0; i < pairs; i++)
        for (uint32_t t = c->start[i]; t < c->start[i + 1]; t++) {
            double w = counts_for(b->weight, i) * weight / (double)tokens;

            sum->loss -= w * seen(b->logprob[t]);
            d_logprob[t] = (float)(d_logprob[t] - w);
        }
}

void rlhf_dpo_loss(const struct rlhf_dpo *s, const struct rlhf_pairs *b, float *d_logprob,
                   struct rlhf_pairs_statistics *sum)
{
    const struct rlhf_ragged *c = &b->completions;
    size_t pairs = c->count / 2;
    double part = 1 / (double)(b->of_pairs ? b->of_pairs : pairs);

    for (size_t i = 0; i < pairs; i++) {
        struct pair p = {.u = log_ratio(s, b, i), .v = log_ratio(s, b, pairs + i)};
        double slope_u, slope_v, by_u = 0, by_v = 0;
        double su = score(s, p.u, &slope_u), sv = score(s, p.v, &slope_v);
        double nu = length(c, i), nv = length(c, pairs + i);

        p.h = s->beta * (su - sv);
        p.h_mean = s->beta * (su / nu - sv / nv);
        for (size_t k = 0; k < s->count; k++) {
            const struct rlhf_dpo_term *term = &s->terms[k];
            double w = part * counts_for(b->weight, i) * term->weight;
            if (!kinds[term->kind].loss)
                continue;
            p.by_u = p.by_v = p.by_h = p.by_h_mean = 0;
            sum->loss += w * kinds[term->kind].loss(s->beta, term->label_smoothing, &p);
            by_u += w * (p.by_u + s->beta * slope_u * (p.by_h + p.by_h_mean / nu));
            by_v += w * (p.by_v - s->beta * slope_v * (p.by_h + p.by_h_mean / nv));
        }
        add_slope(s, c, i, by_u, d_logprob);
        add_slope(s, c, pairs + i, by_v, d_logprob);
        sum->chosen += s->beta * p.u;
        sum->rejected += s->beta * p.v;
        sum->right += p.u > p.v;
    }
    for (size_t k = 0; k < s->count; k++)
        if (!kinds[s->terms[k].kind].loss)
            add_sft(s->terms[k].weight, b, d_logprob, sum);
    sum->pairs += (double)pairs;
}

/* ---- odds ratios -------------------------------------------------------------------------------------- */

/* log(p / (1 - p)) for log p = x, and its derivative by x. */
static double log_odds_of(double x, double *slope)
{
    x = x > -1e-12 ? -1e-12 : x;
    *slope = -1 / expm1(x);
    return x - log(-expm1(x));
}

static double mean_logprob(const struct rlhf_pairs *b, size_t row)
{
    double sum = 0;

    for (uint32_t t = b->completions.start[row]; t < b->completions.start[row + 1]; t++)
        sum += b->logprob[t];
    return seen(sum / length(&b->completions, row));
}

void rlhf_orpo_loss(double beta, const struct rlhf_pairs *b, float *d_logprob,
                    struct rlhf_pairs_statistics *sum, double *log_odds)
{
    static const struct rlhf_dpo plain = {0};
    const struct rlhf_ragged *c = &b->completions;
    size_t pairs = c->count / 2;
    double part = beta / (double)(b->of_pairs ? b->of_pairs : pairs);

    for (size_t i = 0; i < pairs; i++) {
        double slope_u, slope_v, u = mean_logprob(b, i), v = mean_logprob(b, pairs + i);
        double h = log_odds_of(u, &slope_u) - log_odds_of(v, &slope_v);
        double w = part * counts_for(b->weight, i), by_h = -w * rlhf_sigmoid(-h);

        sum->loss -= w * rlhf_log_sigmoid(h);
        add_slope(&plain, c, i, by_h * slope_u / length(c, i), d_logprob);
        add_slope(&plain, c, pairs + i, -by_h * slope_v / length(c, pairs + i), d_logprob);
        sum->chosen += u;
        sum->rejected += v;
        sum->right += u > v;
        if (log_odds)
            *log_odds += h;
    }
    sum->pairs += (double)pairs;
}

/* ---- single completions ------------------------------------------------------------------------------- */

double rlhf_kto_kl(const float *logprob, const float *logprob_ref, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)logprob[i] - logprob_ref[i];
    return n == 0 || sum < 0 ? 0 : sum / (double)n;
}

void rlhf_kto_loss(const struct rlhf_kto *s, const struct rlhf_ragged *completions, const float *logprob,
                   const double *reference, const bool *good, const float *weight, double kl, size_t of, float *d_logprob,
                   struct rlhf_kto_statistics *sum)
{
    static const struct rlhf_dpo plain = {0};
    double part = 1 / (double)(of ? of : completions->count);

    for (size_t i = 0; i < completions->count; i++) {
        double u = seen(row_sum(&plain, completions, logprob, i) - reference[i]);
        double sign = good[i] ? 1 : -1, w = part * counts_for(weight, i) * (good[i] ? s->desirable : s->undesirable);
        double x = sign * s->beta * (u - kl);

        sum->loss += w * rlhf_sigmoid(-x);
        add_slope(&plain, completions, i, -w * sign * s->beta * bell(x), d_logprob);
        *(good[i] ? &sum->good : &sum->bad) += 1;
        *(good[i] ? &sum->good_reward : &sum->bad_reward) += s->beta * u;
    }
}
