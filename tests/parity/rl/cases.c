/* Every case of a folder of rl fixtures against the numbers of TRL and of PyTorch's autograd. What a case is
 * follows from its `algo` and its `params` alone; an algorithm, a parameter or an output that is not
 * understood fails. Our own folder (parity/fixtures/rl) always; and $RLHF_FIXTURES/rl, or else
 * $RLHF_SHARED/fixtures/rl. */
#include "case.h"

#include "rl/advantage.h"
#include "rl/algorithm.h"
#include "rl/direct.h"
#include "rl/kl.h"
#include "rl/ppo.h"
#include "rl/preference.h"
#include "rl/reward.h"
#include "support/suite.h"

static bool named(const char *text, const char *name)
{
    return strcmp(text, name) == 0;
}

static void logprob_entropy(struct test_case *c)
{
    double temperature = case_number(c, "temperature", 1), sum = 0, sum_entropy = 0;
    float *token, *ones, *zeros;
    int32_t *target;
    struct logits at_temperature, at_one;
    size_t n;

    case_mask(c, "in.mask", 0);
    n = case_tokens(c);
    token = case_packed(c, "in.tokens");
    target = case_memory(c, n, sizeof *target);
    ones = case_floats(c, n), zeros = case_floats(c, n);
    for (size_t t = 0; t < n; t++)
        target[t] = (int32_t)token[t], ones[t] = 1;
    at_temperature = logits_of(c, "logits", c->at, target, n, temperature);
    at_one = logits_of(c, "logits", c->at, target, n, 1);
    for (size_t t = 0; t < n; t++) {
        sum += at_temperature.logprob[t];
        sum_entropy += at_one.entropy[t];
    }
    case_same_packed(c, "out.logprobs", at_temperature.logprob);
    case_same_packed(c, "out.entropy", at_one.entropy);
    case_same(c, "out.loss_sum_logprobs", sum);
    case_same(c, "out.loss_sum_entropy", sum_entropy);
    logits_same(c, "grad_sum_logprobs", &at_temperature, ones, NULL);
    logits_same(c, "grad_sum_entropy", &at_one, zeros, ones);
    logits_free(&at_temperature), logits_free(&at_one);
}

/* ---- reward models ------------------------------------------------------------------------------------- */

static void reward_model(struct test_case *c)
{
    size_t rows, pairs;
    float *reward = case_all(c, "in.rewards", &rows), *margin = case_all(c, "in.margin", NULL);
    double *slope = case_doubles(c, rows), loss = 0, right = 0, gap = 0;
    struct rlhf_preference s = {.center = case_number(c, "center_rewards_coefficient", 0),
                                .label_smoothing = case_number(c, "label_smoothing", 0)};
    bool margins = case_flag(c, "margin");

    pairs = rows / 2;
    for (size_t i = 0; i < pairs; i++) {
        const float *chosen = &reward[i], *rejected = &reward[pairs + i];
        loss +=
            rlhf_pair_loss(&s, *chosen, *rejected, margins ? margin[i] : 0, &slope[i], &slope[pairs + i]) /
            (double)pairs;
        right += *chosen > *rejected;
        gap += (double)*chosen - *rejected;
    }
    for (size_t i = 0; i < rows; i++)
        slope[i] /= (double)pairs;
    case_same(c, "out.loss", loss);
    case_same_doubles(c, "grad.rewards", slope, rows);
    case_same(c, "out.accuracy", right / (double)pairs);
    case_same(c, "out.mean_margin", gap / (double)pairs);
}

/* One prompt's completions that are there; returns the mean loss of its pairs, and adds to d (as wide as the
 * fixture). */
static double one_prompt(const struct rlhf_preference *s, const double *reward, const double *rank, size_t k,
                         double scale, float *d, size_t *pairs)
{
    float r[64], slope[64] = {0};
    uint32_t order[64];
    size_t column[64], n = 0;
    double loss;

    ck_assert_uint_le(k, 64);
    for (size_t j = 0; j < k; j++)
        if (rank[j] >= 0) {
            r[n] = (float)reward[j];
            order[n] = (uint32_t)rank[j];
            column[n++] = j;
        }
    loss = rlhf_kway_loss(s, r, order, n, scale, slope, pairs);
    for (size_t j = 0; j < n; j++)
        d[column[j]] += slope[j];
    return loss;
}

static void reward_model_kway(struct test_case *c)
{
    size_t rows, k, *pairs, all_pairs = 0, prompts = 0;
    double *reward = case_tensor(c, "in.rewards", &rows, &k), *rank = case_tensor(c, "in.rank", NULL, NULL);
    float *ignored = case_floats(c, rows * k), *by_prompt = case_floats(c, rows * k),
          *by_pair = case_floats(c, rows * k);
    const struct rlhf_preference s = {.label_smoothing = case_number(c, "label_smoothing", 0),
                                      .center = case_number(c, "center", 0),
                                      .margin = case_number(c, "margin_per_rank", 0)};
    double loss = 0, pair_loss = 0;

    case_number(c, "K", 0); /* the width says it too */
    pairs = case_memory(c, rows, sizeof *pairs);
    for (size_t i = 0; i < rows; i++) {
        one_prompt(&s, reward + i * k, rank + i * k, k, 1, ignored + i * k, &pairs[i]);
        prompts += pairs[i] > 0;
        all_pairs += pairs[i];
    }
    for (size_t i = 0; i < rows; i++) {
        double share = (double)pairs[i] / (double)all_pairs;
        double mean =
            one_prompt(&s, reward + i * k, rank + i * k, k, 1 / (double)prompts, by_prompt + i * k, NULL);
        one_prompt(&s, reward + i * k, rank + i * k, k, share, by_pair + i * k, NULL);
        loss += mean / (double)prompts;
        pair_loss += mean * share;
    }
    case_same(c, "out.n_pairs", (double)all_pairs);
    case_same(c, "out.loss_per_prompt_mean", loss);
    case_same(c, "out.loss_global_pair_mean", pair_loss);
    case_same_all(c, "grad_per_prompt_mean.rewards", by_prompt, rows * k);
    case_same_all(c, "grad_global_pair_mean.rewards", by_pair, rows * k);
}

/* ---- KL, GAE ------------------------------------------------------------------------------------------- */

static void kl(struct test_case *c)
{
    float *now, *ref, *value, *slope;
    size_t n;

    case_mask(c, "in.mask", 0);
    n = case_tokens(c);
    now = case_packed(c, "in.logprobs"), ref = case_packed(c, "in.ref_logprobs");
    value = case_floats(c, n), slope = case_floats(c, n);
    for (enum rlhf_kl_estimator e = RLHF_KL_K1; e <= RLHF_KL_K3; e++) {
        char name[40];
        double mean = 0;
        for (size_t t = 0; t < n; t++) {
            double x = rlhf_kl(e, now[t], ref[t]);
            value[t] = (float)x;
            mean += x / (double)n;
            slope[t] = (float)(rlhf_kl_slope(e, now[t], ref[t]) / (double)n);
        }
        snprintf(name, sizeof name, "out.k%d", e + 1);
        case_same_packed(c, name, value);
        snprintf(name, sizeof name, "out.loss_k%d_mean", e + 1);
        case_same(c, name, mean);
        snprintf(name, sizeof name, "grad_k%d_mean.logprobs", e + 1);
        case_same_packed(c, name, slope);
    }
}

static enum rlhf_kl_estimator estimator(struct test_case *c)
{
    const char *name = case_text(c, "estimator", "k1");

    if (!(name[0] == 'k' && name[1] >= '1' && name[1] <= '3' && !name[2]))
        case_fail(c, "estimator %s is not known", name);
    return (enum rlhf_kl_estimator)(name[1] - '1');
}

static void kl_rewards(struct test_case *c)
{
    double beta = case_number(c, "kl_coef", 0), clip = case_number(c, "clip_score", INFINITY), *sum;
    float *now, *ref, *score, *reward;

    case_mask(c, "in.mask", 0);
    now = case_packed(c, "in.logprobs"), ref = case_packed(c, "in.ref_logprobs");
    score = case_all(c, "in.scores", NULL);
    reward = case_floats(c, case_tokens(c)), sum = case_doubles(c, c->rows);
    rlhf_reward_clip(score, c->rows, -clip, clip);
    rlhf_kl_rewards(estimator(c), &c->pack, now, ref, score, beta, reward, sum);
    case_same_packed(c, "out.rewards", reward);
    case_same_doubles(c, "out.kl_sum", sum, c->rows);
    for (size_t i = 0; i < c->rows; i++)
        sum[i] *= -beta;
    case_same_doubles(c, "out.nonscore_sum", sum, c->rows);
}

static void gae(struct test_case *c)
{
    double discount = case_number(c, "gamma", 1), lambda = case_number(c, "lam", 1), tokens;
    float *reward, *value, *advantage, *ret, *kept;
    struct rlhf_moments m;
    size_t n;

    case_mask(c, "in.mask", 0);
    n = case_tokens(c);
    tokens = (double)n;
    reward = case_packed(c, "in.rewards"), value = case_packed(c, "in.values");
    advantage = case_floats(c, n), ret = case_floats(c, n), kept = case_floats(c, n);
    rlhf_gae(&c->pack, reward, value, discount, lambda, advantage, ret);
    case_same_packed(c, "out.advantages", advantage);
    case_same_packed(c, "out.returns", ret);
    m = rlhf_moments(advantage, n);
    case_same(c, "out.mean", m.mean);
    case_same(c, "out.var_unbiased", m.variance);
    case_same(c, "out.var_biased", m.variance * (tokens - 1) / tokens);
    memcpy(kept, advantage, n * sizeof *kept);
    rlhf_whiten(advantage, n, false);
    case_same_packed(c, "out.advantages_whitened", advantage);
    rlhf_whiten(kept, n, true);
    case_same_packed(c, "out.advantages_whitened_keep_mean", kept);
    rlhf_whiten(reward, n, true);
    case_same_packed(c, "out.rewards_whitened_keep_mean", reward);
}

/* ---- PPO ----------------------------------------------------------------------------------------------- */

static struct logits policy_logits(struct test_case *c)
{
    float *token = case_packed(c, "in.tokens");
    int32_t *target = case_memory(c, case_tokens(c), sizeof *target);

    for (size_t t = 0; t < case_tokens(c); t++)
        target[t] = (int32_t)token[t];
    return logits_of(c, "logits", c->at, target, case_tokens(c), 1);
}

static float *scaled(struct test_case *c, const float *x, size_t n, double by)
{
    float *out = case_floats(c, n);

    for (size_t t = 0; t < n; t++)
        out[t] = (float)(by * x[t]);
    return out;
}

/* Policy, value and entropy, by the logits and the values. */
static void ppo_step(struct test_case *c, double clip)
{
    size_t n = case_tokens(c);
    double w = 1 / (double)n, clip_value = case_number(c, "clip_value", 0), vf = case_number(c, "vf_coef", 0),
           ent = case_number(c, "ent_coef", 0), entropy = 0;
    float *old = case_packed(c, "in.old_logprobs"), *advantage = case_packed(c, "in.advantages"),
          *value = case_packed(c, "in.values"), *value_old = case_packed(c, "in.old_values"),
          *ret = case_packed(c, "in.returns"), *d = case_floats(c, n), *d_value = case_floats(c, n),
          *zeros = case_floats(c, n), *each = case_floats(c, n);
    struct logits l = policy_logits(c);
    struct rlhf_ppo_statistics s = {0}, sv = {0};

    rlhf_ppo_policy(l.logprob, old, advantage, n, clip, w, d, &s);
    rlhf_ppo_value(value, value_old, ret, n, clip_value, w, d_value, &sv);
    for (size_t t = 0; t < n; t++) {
        entropy += w * l.entropy[t];
        each[t] = (float)w;
    }
    case_same_packed(c, "out.logprobs", l.logprob);
    case_same(c, "out.loss_policy", s.loss);
    case_same(c, "out.loss_value", sv.loss);
    case_same(c, "out.loss_entropy", entropy);
    case_same(c, "out.loss", s.loss + vf * sv.loss - ent * entropy);
    case_same(c, "out.clipfrac", s.clip_fraction);
    case_same(c, "out.vf_clipfrac", sv.clip_fraction);
    case_same(c, "out.approxkl_k1", s.kl_k1);
    case_same(c, "out.approxkl_k2", s.kl_k2);
    case_same(c, "out.approxkl_k3", s.kl_k3);
    case_same(c, "out.ratio_mean", s.ratio);
    logits_same(c, "grad_policy", &l, d, NULL);
    logits_same(c, "grad_entropy", &l, zeros, each);
    logits_same(c, "grad", &l, d, scaled(c, each, n, -ent));
    case_same_packed(c, "grad_value.values", d_value);
    case_same_packed(c, "grad.values", scaled(c, d_value, n, vf));
    case_all_zero(c, "grad_policy.values");
    case_all_zero(c, "grad_entropy.values");
    case_all_zero(c, "grad_value.logits");
    logits_free(&l);
}

/* The policy part alone, by log-probs, in two reductions. */
static void ppo_means(struct test_case *c, double clip)
{
    const struct {
        const char *name;
        enum rlhf_mean mean;
    } means[] = {{"token_mean", RLHF_MEAN_TOKENS}, {"seq_mean", RLHF_MEAN_COMPLETIONS}};
    struct rlhf_policy_loss loss = rlhf_algorithm_named("ppo")->loss;
    double *weight = case_doubles(c, c->rows);
    float *d = case_floats(c, case_tokens(c));
    struct rlhf_policy_batch batch = {
        .completions = c->pack,
        .logprob_new = case_packed(c, "in.logprobs"),
        .logprob_old = case_packed(c, "in.old_logprobs"),
        .advantage_token = case_packed(c, "in.advantages"),
        .weight = weight,
    };

    loss.clip_low = loss.clip_high = clip;
    for (size_t i = 0; i < 2; i++) {
        struct rlhf_policy_statistics s = {0};
        char name[40];

        rlhf_policy_weights(means[i].mean, &c->pack, 0, 0, 1, weight);
        rlhf_policy_loss(&loss, &batch, d, &s);
        snprintf(name, sizeof name, "out.loss_%s", means[i].name);
        case_same(c, name, s.loss);
        snprintf(name, sizeof name, "grad_%s.logprobs", means[i].name);
        case_same_packed(c, name, d);
    }
}

static void ppo(struct test_case *c)
{
    case_mask(c, "in.mask", 0);
    if (case_has(c, "in.logits"))
        ppo_step(c, case_number(c, "clip", 0));
    else
        ppo_means(c, case_number(c, "clip", 0));
}

/* The tokens t + 1 that a row's labels ask for (not negative), and where their logits stand. */
static size_t shifted(const double *label, size_t rows, size_t columns, uint32_t *at, int32_t *token)
{
    size_t n = 0;

    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j + 1 < columns; j++)
            if (label[i * columns + j + 1] >= 0) {
                at[n] = (uint32_t)(i * columns + j);
                token[n++] = (int32_t)label[i * columns + j + 1];
            }
    return n;
}

static void ppo_ptx(struct test_case *c)
{
    double clip = case_number(c, "clip", 0), gamma = case_number(c, "ptx_coef", 0), w, *label, loss = 0;
    size_t rows, columns, n;
    uint32_t *at;
    int32_t *token;
    float *d, *d_ptx;
    struct logits l, ptx;
    struct rlhf_ppo_statistics s = {0};

    case_mask(c, "in.mask", 0);
    l = policy_logits(c);
    d = case_floats(c, case_tokens(c));
    rlhf_ppo_policy(l.logprob, case_packed(c, "in.old_logprobs"), case_packed(c, "in.advantages"),
                    case_tokens(c), clip, 1 / (double)case_tokens(c), d, &s);
    label = case_tensor(c, "in.ptx_labels", &rows, &columns);
    at = case_memory(c, rows * columns, sizeof *at), token = case_memory(c, rows * columns, sizeof *token);
    n = shifted(label, rows, columns, at, token);
    ptx = logits_of(c, "ptx_logits", at, token, n, 1);
    w = 1 / (double)n;
    d_ptx = case_floats(c, n);
    for (size_t t = 0; t < n; t++) {
        loss -= w * ptx.logprob[t];
        d_ptx[t] = (float)-w;
    }
    case_same(c, "out.loss_policy", s.loss);
    case_same(c, "out.loss_ptx", loss);
    case_same(c, "out.loss", s.loss + gamma * loss);
    logits_same(c, "grad_policy", &l, d, NULL);
    logits_same(c, "grad", &l, d, NULL);
    logits_same(c, "grad_ptx", &ptx, d_ptx, NULL);
    logits_same(c, "grad", &ptx, scaled(c, d_ptx, n, gamma), NULL);
    case_all_zero(c, "grad_policy.ptx_logits");
    case_all_zero(c, "grad_ptx.logits");
    logits_free(&l), logits_free(&ptx);
}

/* ---- groups -------------------------------------------------------------------------------------------- */

static struct rlhf_ragged groups_of(struct test_case *c, size_t count)
{
    size_t size = (size_t)case_number(c, "G", 1);
    uint32_t *start = case_memory(c, count / size + 1, sizeof *start);

    for (size_t p = 0; p <= count / size; p++)
        start[p] = (uint32_t)(p * size);
    return (struct rlhf_ragged){start, count / size};
}

static double *by_member(struct test_case *c, const struct rlhf_ragged *groups, const double *x)
{
    double *out = case_doubles(c, rlhf_ragged_total(groups));

    for (size_t p = 0; p < groups->count; p++)
        for (uint32_t i = groups->start[p]; i < groups->start[p + 1]; i++)
            out[i] = x[p];
    return out;
}

static void grpo_advantages(struct test_case *c)
{
    static const char *const scales[] = {
        [RLHF_SCALE_NONE] = "none", [RLHF_SCALE_GROUP] = "group", [RLHF_SCALE_BATCH] = "batch"};
    const char *name = case_text(c, "scale_rewards", "group");
    enum rlhf_scale scale = RLHF_SCALE_NONE;
    struct rlhf_error err = {0};
    size_t n;
    float *reward = case_all(c, "in.rewards", &n), *advantage = case_floats(c, n);
    struct rlhf_ragged groups = groups_of(c, n);
    double *mean = case_doubles(c, groups.count), *deviation = case_doubles(c, groups.count);

    while (scale < RLHF_SCALE_BATCH && !named(scales[scale], name))
        scale++;
    if (!named(scales[scale], name))
        case_fail(c, "scale_rewards %s is not known", name);
    expect_ok(
        rlhf_group_advantages(&groups, reward, RLHF_BASELINE_MEAN, scale, advantage, mean, deviation, &err),
        err);
    case_same_all(c, "out.advantages", advantage, n);
    case_same_doubles(c, "out.mean", by_member(c, &groups, mean), n);
    if (scale == RLHF_SCALE_BATCH) { /* the deviation of all, seen as one group */
        const uint32_t start[] = {0, (uint32_t)n};
        const struct rlhf_ragged one = {start, 1};
        expect_ok(
            rlhf_group_advantages(&one, reward, RLHF_BASELINE_MEAN, scale, advantage, mean, deviation, &err),
            err);
        for (size_t p = 1; p < groups.count; p++)
            deviation[p] = deviation[0];
    }
    case_same_doubles(c, "out.std", by_member(c, &groups, deviation), n);
}

/* Advantages and importance weights: one a completion or one a token. */
static const float *per_completion(struct test_case *c, const char *name)
{
    size_t n;
    float *x;

    if (!case_has(c, name))
        return NULL;
    x = case_all(c, name, &n);
    return n == c->rows ? x : NULL;
}
static const float *per_token(struct test_case *c, const char *name)
{
    return case_has(c, name) && !per_completion(c, name) ? case_packed(c, name) : NULL;
}

static void grpo_loss(struct test_case *c)
{
    const char *type = case_text(c, "loss_type", "grpo"),
               *level = case_text(c, "importance_sampling_level", "token");
    const struct rlhf_algorithm *algorithm = rlhf_algorithm_named(type);
    struct rlhf_policy_loss s;
    struct rlhf_policy_statistics sum = {0};
    struct rlhf_policy_batch b = {0};
    struct rlhf_error err = {0};
    double *weight, items;
    float *d;

    if (!algorithm)
        case_fail(c, "loss_type %s is not known", type);
    if (!named(level, "token") && !named(level, "sequence"))
        case_fail(c, "importance_sampling_level %s is not known", level);
    case_mask(c, "in.mask", 0);
    s = algorithm->loss;
    if (named(level, "sequence"))
        s.ratio = RLHF_RATIO_MEAN;
    s.beta = case_number(c, "beta", 0);
    s.clip_low = case_number(c, "epsilon_low", 0.2);
    s.clip_high = case_number(c, "epsilon_high", 0.2);
    s.ratio_limit = case_number(c, "delta", 0);
    s.kl_corrected = case_flag(c, "use_bias_correction_kl");
    s.temperature_positive = case_number(c, "sapo_temperature_pos", s.temperature_positive);
    s.temperature_negative = case_number(c, "sapo_temperature_neg", s.temperature_negative);
    expect_ok(rlhf_policy_loss_check(&s, &err), err);
    weight = case_doubles(c, c->rows);
    items = (double)case_tokens(c) * case_number(c, "items_factor", 1);
    rlhf_policy_weights(s.mean, &c->pack, case_number(c, "max_completion_length", 0), items,
                        case_number(c, "grad_accum", 1), weight);
    b = (struct rlhf_policy_batch){
        .completions = c->pack,
        .logprob_new = case_packed(c, "in.logprobs"),
        .logprob_old = case_packed(c, "in.old_logprobs"),
        .logprob_ref = case_packed(c, "in.ref_logprobs"),
        .advantage = per_completion(c, "in.advantages"),
        .advantage_token = per_token(c, "in.advantages"),
        .weight = weight,
    };
    if (case_flag(c, "tis")) {
        b.importance = per_completion(c, "in.is_ratio");
        b.importance_token = per_token(c, "in.is_ratio");
    }
    d = case_floats(c, case_tokens(c));
    rlhf_policy_loss(&s, &b, d, &sum);
    case_same(c, "out.loss", sum.loss);
    case_same_packed(c, "grad.logprobs", d);
    if (case_wants(c, "out.metric_kl"))
        case_same(c, "out.metric_kl", sum.kl / sum.tokens);
    if (case_wants(c, "out.metric_clip_ratio_region_mean")) {
        case_same(c, "out.metric_clip_ratio_low_mean", sum.clipped_low / sum.ratios);
        case_same(c, "out.metric_clip_ratio_high_mean", sum.clipped_high / sum.ratios);
        case_same(c, "out.metric_clip_ratio_region_mean", (sum.clipped_low + sum.clipped_high) / sum.ratios);
    }
}

static void importance_sampling(struct test_case *c)
{
    const char *mode = case_text(c, "mode", "");
    double low = case_number(c, "clip_min", 0), high = case_number(c, "clip_max", INFINITY);
    bool sequence = strncmp(mode, "sequence_", 9) == 0, mask = strstr(mode, "_mask") != NULL;
    float *old, *sampled, *weight;

    if (!(sequence || strncmp(mode, "token_", 6) == 0) || !(mask || strstr(mode, "_truncate")))
        case_fail(c, "mode %s is not known", mode);
    case_mask(c, "in.mask", 0);
    old = case_packed(c, "in.old_logprobs"), sampled = case_packed(c, "in.sampling_logprobs");
    weight = case_floats(c, case_tokens(c) + c->rows);
    rlhf_importance(mask ? RLHF_IMPORTANCE_MASK : RLHF_IMPORTANCE_TRUNCATE, sequence, &c->pack, old, sampled,
                    low, high, weight);
    if (sequence)
        case_same_all(c, "out.ratio", weight, c->rows);
    else
        case_same_packed(c, "out.ratio", weight);
}

static void rloo_advantages(struct test_case *c)
{
    const struct rlhf_algorithm *rloo = rlhf_algorithm_named("rloo");
    struct rlhf_error err = {0};
    size_t n;
    float *reward = case_all(c, "in.rewards", &n), *old, *ref, *by_token, *advantage = case_floats(c, n);
    double beta = case_number(c, "beta", 0), *sum;
    json_t *range = case_param(c, "clip_range");
    bool whitened = case_flag(c, "normalize");
    struct rlhf_ragged groups = groups_of(c, n);

    case_mask(c, "in.mask", 0);
    old = case_packed(c, "in.old_logprobs"), ref = case_packed(c, "in.ref_logprobs");
    by_token = case_floats(c, case_tokens(c)), sum = case_doubles(c, c->rows);
    if (range)
        rlhf_reward_clip(reward, n, json_number_value(json_array_get(range, 0)),
                         json_number_value(json_array_get(range, 1)));
    rlhf_kl_rewards(RLHF_KL_K1, &c->pack, old, ref, reward, beta, by_token, sum);
    for (size_t i = 0; i < n; i++)
        reward[i] = (float)(reward[i] - beta * sum[i]);
    expect_ok(rlhf_group_advantages(&groups, reward, rloo->baseline,
                                    whitened ? RLHF_SCALE_WHITEN : rloo->scale, advantage, NULL, NULL, &err),
              err);
    case_same_all(c, "out.rewards_after_kl", reward, n);
    case_same_all(c, "out.advantages", advantage, n);
}

static void rloo_loss(struct test_case *c)
{
    struct rlhf_policy_loss s = rlhf_algorithm_named("rloo")->loss;
    struct rlhf_policy_statistics sum = {0};
    double *weight;
    float *d;

    s.clip_low = case_number(c, "epsilon_low", 0.2);
    s.clip_high = case_number(c, "epsilon_high", 0.2);
    case_mask(c, "in.mask", 0);
    weight = case_doubles(c, c->rows);
    d = case_floats(c, case_tokens(c));
    rlhf_policy_weights(s.mean, &c->pack, 0, 0, 1, weight);
    const struct rlhf_policy_batch b = {
        .completions = c->pack,
        .logprob_new = case_packed(c, "in.logprobs"),
        .logprob_old = case_packed(c, "in.old_logprobs"),
        .advantage = case_all(c, "in.advantages", NULL),
        .weight = weight,
    };
    rlhf_policy_loss(&s, &b, d, &sum);
    case_same(c, "out.loss", sum.loss);
    case_same_packed(c, "grad.logprobs", d);
    case_same(c, "out.clip_region", (sum.clipped_low + sum.clipped_high) / sum.ratios);
}

static void reinforce_plus_plus(struct test_case *c)
{
    const struct rlhf_algorithm *algorithm = rlhf_algorithm_named(
        case_flag(c, "baseline") ? "reinforce_plus_plus_baseline" : "reinforce_plus_plus");
    struct rlhf_policy_loss s = algorithm->loss;
    struct rlhf_policy_statistics sum = {0};
    struct rlhf_error err = {0};
    size_t n, tokens;
    float *score = case_all(c, "in.rewards", &n), *old, *ref, *ret, *d;
    struct rlhf_ragged groups = groups_of(c, n);
    double *weight;

    case_mask(c, "in.mask", 0);
    tokens = case_tokens(c);
    old = case_packed(c, "in.old_logprobs"), ref = case_packed(c, "in.ref_logprobs");
    ret = case_floats(c, tokens), d = case_floats(c, tokens), weight = case_doubles(c, c->rows);
    expect_ok(
        rlhf_group_advantages(&groups, score, algorithm->baseline, algorithm->scale, score, NULL, NULL, &err),
        err);
    rlhf_kl_rewards(RLHF_KL_K1, &c->pack, old, ref, score, case_number(c, "beta", 0), ret, NULL);
    rlhf_returns(&c->pack, ret, case_number(c, "gamma", 1), ret);
    case_same_packed(c, "out.returns", ret);
    rlhf_normalize(ret, tokens);
    case_same_packed(c, "out.advantages", ret);
    s.clip_low = s.clip_high = case_number(c, "clip", 0.2);
    rlhf_policy_weights(s.mean, &c->pack, 0, 0, 1, weight);
    const struct rlhf_policy_batch b = {
        .completions = c->pack,
        .logprob_new = case_packed(c, "in.logprobs"),
        .logprob_old = old,
        .advantage_token = ret,
        .weight = weight,
    };
    rlhf_policy_loss(&s, &b, d, &sum);
    case_same(c, "out.loss", sum.loss);
    case_same_packed(c, "grad.logprobs", d);
}

/* ---- preferences --------------------------------------------------------------------------------------- */

/* log-prob[t] is of token t + 1. */
static void mask_completions(struct test_case *c)
{
    case_mask(c, "in.completion_mask", 1);
}

static enum rlhf_divergence divergence(struct test_case *c)
{
    static const char *const names[] = {[RLHF_DIVERGENCE_REVERSE_KL] = "reverse_kl",
                                        [RLHF_DIVERGENCE_FORWARD_KL] = "forward_kl",
                                        [RLHF_DIVERGENCE_JS] = "js_divergence",
                                        [RLHF_DIVERGENCE_ALPHA] = "alpha_divergence"};
    const char *name = case_text(c, "f_divergence_type", "reverse_kl");
    enum rlhf_divergence d = RLHF_DIVERGENCE_REVERSE_KL;

    while (d < RLHF_DIVERGENCE_ALPHA && !named(names[d], name))
        d++;
    if (!named(names[d], name))
        case_fail(c, "f_divergence_type %s is not known", name);
    return d;
}

/* Without loss_types: the sigmoid with label smoothing. TRL's own "sigmoid" ignores the smoothing of its
 * losses. */
static size_t dpo_terms(struct test_case *c, struct rlhf_dpo_term terms[8])
{
    json_t *types = case_param(c, "loss_types"), *weights = case_param(c, "loss_weights");
    double smoothing = case_number(c, "label_smoothing", 0);
    size_t count = types ? json_array_size(types) : 1;

    ck_assert_uint_le(count, 8);
    for (size_t i = 0; i < count; i++) {
        const char *name = types ? json_string_value(json_array_get(types, i)) : "sigmoid";
        int kind = rlhf_dpo_kind_named(name);

        if (kind < 0)
            case_fail(c, "loss_type %s is not known", name);
        terms[i] = (struct rlhf_dpo_term){
            .kind = (enum rlhf_dpo_kind)kind,
            .weight = weights ? json_number_value(json_array_get(weights, i)) : 1,
            .label_smoothing = types && kind == RLHF_DPO_SIGMOID ? 0 : smoothing,
        };
    }
    return count;
}

static void dpo(struct test_case *c)
{
    struct rlhf_dpo_term terms[8];
    struct rlhf_dpo s = {.terms = terms};
    struct rlhf_pairs_statistics sum = {0};
    struct rlhf_error err = {0};
    double *reference;
    float *d;

    mask_completions(c);
    s.count = dpo_terms(c, terms);
    s.beta = case_number(c, "beta", 0.1);
    s.divergence = divergence(c);
    s.alpha = case_number(c, "f_alpha", 0.5);
    s.desensitized = case_param(c, "ld_alpha") != NULL;
    s.tail = case_number(c, "ld_alpha", 1);
    expect_ok(rlhf_dpo_check(&s, &err), err);
    reference = case_doubles(c, c->rows);
    rlhf_ragged_sums(&c->pack, case_packed(c, "in.ref_logprobs"), reference);
    if (case_flag(c, "ld_alpha_reference"))
        rlhf_pair_sums(&s, &c->pack, case_packed(c, "in.ref_logprobs"), reference);
    const struct rlhf_pairs b = {
        .completions = c->pack, .logprob = case_packed(c, "in.logprobs"), .reference = reference};
    d = case_floats(c, case_tokens(c));
    rlhf_dpo_loss(&s, &b, d, &sum);
    case_same(c, "out.loss", sum.loss);
    case_same_packed(c, "grad.logprobs", d);
    if (case_wants(c, "out.margin")) {
        case_same(c, "out.chosen_reward_mean", sum.chosen / sum.pairs);
        case_same(c, "out.rejected_reward_mean", sum.rejected / sum.pairs);
        case_same(c, "out.accuracy", sum.right / sum.pairs);
        case_same(c, "out.margin", (sum.chosen - sum.rejected) / sum.pairs);
    }
}

static void kto(struct test_case *c)
{
    const char *type = case_text(c, "loss_type", "kto");
    struct rlhf_kto s = {case_number(c, "beta", 0.1), case_number(c, "desirable_weight", 1),
                         case_number(c, "undesirable_weight", 1)};
    struct rlhf_kto_statistics sum = {0};
    size_t n;
    float *label = case_all(c, "in.label", &n), *d;
    double reference_point = 0, *reference = case_doubles(c, n);
    bool *good = case_memory(c, n, sizeof *good);

    if (!named(type, "kto") && !named(type, "apo_zero_unpaired"))
        case_fail(c, "loss_type %s is not known", type);
    mask_completions(c);
    for (size_t i = 0; i < n; i++)
        good[i] = label[i] != 0;
    rlhf_ragged_sums(&c->pack, case_packed(c, "in.ref_logprobs"), reference);
    if (named(type, "kto"))
        reference_point =
            rlhf_kto_kl(case_all(c, "in.KL_logps", NULL), case_all(c, "in.ref_KL_logps", NULL), n);
    d = case_floats(c, case_tokens(c));
    rlhf_kto_loss(&s, &c->pack, case_packed(c, "in.logprobs"), reference, good, NULL, reference_point, 0, d, &sum);
    case_same(c, "out.loss", sum.loss);
    case_same(c, "out.kl", reference_point);
    case_same_packed(c, "grad.logprobs", d);
}

static void orpo(struct test_case *c)
{
    double beta = case_number(c, "beta", 0.1), log_odds = 0, nll = 0, w, *mean;
    struct rlhf_pairs_statistics sum = {0};
    size_t rows, columns, n, chosen = 0, pairs, completion_tokens;
    double *attention = case_tensor(c, "in.attention_mask", &rows, &columns);
    double *label = case_tensor(c, "in.input_ids", NULL, NULL);
    double *completion = case_tensor(c, "in.completion_mask", NULL, NULL);
    uint32_t *at = case_memory(c, rows * columns, sizeof *at);
    int32_t *token = case_memory(c, rows * columns, sizeof *token);
    float *logprob = case_floats(c, rows * columns), *slope = case_floats(c, rows * columns), *d_nll,
          *d_ratio, *d;
    struct logits l;

    for (size_t i = 0; i < rows * columns; i++)
        if (attention[i] == 0)
            label[i] = -1;
    n = shifted(label, rows, columns, at, token);
    l = logits_of(c, "logits", at, token, n, 1);
    mask_completions(c);
    pairs = c->rows / 2, completion_tokens = case_tokens(c);
    d_nll = case_floats(c, n), d_ratio = case_floats(c, n), d = case_floats(c, n);
    for (size_t t = 0, k = 0; t < n;
         t++) { /* `at` counts columns of the logits, one more than those of the mask */
        chosen += at[t] / columns < pairs;
        if (completion[at[t] + 1] != 0)
            logprob[k++] = l.logprob[t];
    }
    const struct rlhf_pairs b = {.completions = c->pack, .logprob = logprob};
    rlhf_orpo_loss(beta, &b, slope, &sum, &log_odds);
    w = 1 / (double)chosen;
    for (size_t t = 0, k = 0; t < n; t++) {
        if (at[t] / columns < pairs) {
            nll -= w * l.logprob[t];
            d_nll[t] = (float)-w;
        }
        if (completion[at[t] + 1] != 0)
            d_ratio[t] = slope[k++];
        d[t] = d_nll[t] + d_ratio[t];
    }
    ck_assert_uint_le(completion_tokens, n);
    mean = case_doubles(c, c->rows);
    rlhf_ragged_sums(&c->pack, logprob, mean);
    for (size_t i = 0; i < c->rows; i++)
        mean[i] /= rlhf_ragged_length(&c->pack, i) ? rlhf_ragged_length(&c->pack, i) : 1;
    case_same_doubles(c, "out.chosen_avg_logps", mean, pairs);
    case_same_doubles(c, "out.rejected_avg_logps", mean + pairs, pairs);
    case_same(c, "out.log_odds_mean", log_odds / sum.pairs);
    case_same(c, "out.loss_ratio", sum.loss);
    case_same(c, "out.loss_nll", nll);
    case_same(c, "out.loss", nll + sum.loss);
    logits_same(c, "grad_ratio", &l, d_ratio, NULL);
    logits_same(c, "grad_nll", &l, d_nll, NULL);
    logits_same(c, "grad", &l, d, NULL);
    logits_free(&l);
}

/* ---- the walk ------------------------------------------------------------------------------------------ */

static const struct {
    const char *algo;
    void (*check)(struct test_case *c);
} algorithms[] = {
    {"logprob/entropy", logprob_entropy},
    {"reward_model", reward_model},
    {"reward_model_kway", reward_model_kway},
    {"kl", kl},
    {"kl_rewards", kl_rewards},
    {"gae", gae},
    {"ppo", ppo},
    {"ppo_ptx", ppo_ptx},
    {"grpo_advantages", grpo_advantages},
    {"grpo_loss", grpo_loss},
    {"importance_sampling", importance_sampling},
    {"rloo_advantages", rloo_advantages},
    {"rloo_loss", rloo_loss},
    {"reinforce_plus_plus", reinforce_plus_plus},
    {"dpo", dpo},
    {"kto", kto},
    {"orpo", orpo},
};

static char folder[1000];
static json_t *entries;

START_TEST(numbers_equal_those_of_the_reference_implementations)
{
    struct test_case c = {0};
    json_t *entry = json_array_get(entries, (size_t)_i);
    const char *algo = json_string_value(json_object_get(entry, "algo"));
    size_t i = 0, count = sizeof algorithms / sizeof *algorithms;

    while (i < count && !named(algorithms[i].algo, algo))
        i++;
    case_open(&c, entry, folder);
    if (i == count)
        case_fail(&c, "algorithm %s is not known", algo);
    algorithms[i].check(&c);
    case_close(&c);
}
END_TEST

/* The number of failures, or -1 where the folder has no cases. */
static int walk(void)
{
    char path[1100];
    Suite *suite = suite_create(folder);
    TCase *tc = tcase_create("cases");
    SRunner *runner = srunner_create(suite);
    int failed = -1;

    suite_add_tcase(suite, tc);
    snprintf(path, sizeof path, "%s/cases.json", folder);
    entries = json_load_file(path, 0, NULL);
    if (entries && json_array_size(entries) > 0) {
        tcase_add_loop_test(tc, numbers_equal_those_of_the_reference_implementations, 0,
                            (int)json_array_size(entries));
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
    }
    srunner_free(runner);
    json_decref(entries);
    return failed;
}

int main(void)
{
    const char *shared = getenv("RLHF_SHARED"), *fixtures = getenv("RLHF_FIXTURES"),
               *source = getenv("RLHF_SOURCE");
    int ours, theirs;

    snprintf(folder, sizeof folder, "%s/tests/parity/fixtures/rl", source ? source : ".");
    ours = walk();
    if (ours < 0)
        printf("no cases of our own in %s (set RLHF_SOURCE)\n", folder);
    snprintf(folder, sizeof folder, "%s%s/rl",
             fixtures ? fixtures
             : shared ? shared
                      : ".",
             fixtures ? "" : "/fixtures");
    theirs = walk();
    if (theirs < 0)
        printf("skipped: no golden fixtures in %s (set RLHF_SHARED or RLHF_FIXTURES)\n", folder);
    if (ours > 0 || theirs > 0)
        return EXIT_FAILURE;
    return theirs < 0 ? 77 : EXIT_SUCCESS;
}
