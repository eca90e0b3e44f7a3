/* Every case of the golden fixtures in rl/ whose algorithm is implemented, against the numbers of TRL and of
 * PyTorch's autograd. The fixtures are padded, ours are packed: the tests pack by the mask. What is not
 * implemented is named. */
#include <check.h>
#include <math.h>

#include "fixture.h"
#include "rl/advantage.h"
#include "rl/kl.h"
#include "rl/ppo.h"
#include "rl/preference.h"

/* fixtures/README.md: rl outputs and gradients 1e-5 + 1e-5·|expected|; the issue asks losses 1e-5, gradients
 * 1e-4. */
#define NEAR(got, want) ck_assert_double_eq_tol(got, want, 1e-5 + 1e-5 * fabs(want))

static json_t *cases;
static char folder[1000];

/* A case's tensors, packed by its mask. */
struct packed {
    struct fixture f;
    json_t *params;
    double *mask;
    size_t rows, columns, tokens;
    uint32_t *start; /* [rows + 1] */
};

static struct packed open_case(json_t *c)
{
    struct packed p = {0};
    char path[1200];

    snprintf(path, sizeof path, "%s/%s", folder, json_string_value(json_object_get(c, "file")));
    p.f = fixture_open(path);
    p.params = json_object_get(c, "params");
    p.mask = fixture_get(&p.f, "in.mask", &p.rows, &p.columns);
    if (p.mask) {
        p.start = calloc(p.rows + 1, sizeof *p.start);
        for (size_t i = 0; i < p.rows; i++) {
            for (size_t j = 0; j < p.columns; j++)
                p.tokens += p.mask[i * p.columns + j] != 0;
            p.start[i + 1] = (uint32_t)p.tokens;
        }
    }
    return p;
}

static void close_case(struct packed *p)
{
    free(p->mask);
    free(p->start);
    fixture_close(&p->f);
}

static double param(const struct packed *p, const char *key)
{
    return json_number_value(json_object_get(p->params, key));
}

static float *get(const struct packed *p, const char *name)
{
    double *x = fixture_get(&p->f, name, NULL, NULL);
    float *out = calloc(p->tokens + 1, sizeof *out);
    size_t n = 0;

    if (!x)
        fixture_die("no tensor", name);
    for (size_t i = 0; i < p->rows * p->columns; i++)
        if (p->mask[i] != 0)
            out[n++] = (float)x[i];
    free(x);
    return out;
}

static double scalar(const struct packed *p, const char *name)
{
    double *x = fixture_get(&p->f, name, NULL, NULL), value;

    if (!x)
        fixture_die("no tensor", name);
    value = x[0];
    free(x);
    return value;
}

static void same(const struct packed *p, const char *name, const float *got)
{
    float *want = get(p, name);

    for (size_t t = 0; t < p->tokens; t++)
        NEAR(got[t], want[t]);
    free(want);
}

static void check_pairs(json_t *c)
{
    struct packed p = open_case(c);
    size_t rows;
    double *reward = fixture_get(&p.f, "in.rewards", &rows, NULL),
           *margin = fixture_get(&p.f, "in.margin", NULL, NULL);
    double *slope = fixture_get(&p.f, "grad.rewards", NULL, NULL), loss = 0, right = 0;
    double center = param(&p, "center_rewards_coefficient");
    int margins = json_is_true(json_object_get(p.params, "margin"));
    size_t b = rows / 2;

    for (size_t i = 0; i < b; i++) {
        double chosen, rejected;
        loss +=
            rlhf_pair_loss(reward[i], reward[b + i], margins ? margin[i] : 0, center, &chosen, &rejected) /
            (double)b;
        NEAR(chosen / (double)b, slope[i]);
        NEAR(rejected / (double)b, slope[b + i]);
        right += reward[i] > reward[b + i];
    }
    NEAR(loss, scalar(&p, "out.loss"));
    NEAR(right / (double)b, scalar(&p, "out.accuracy"));
    free(reward), free(margin), free(slope);
    close_case(&p);
}

static void check_kway(json_t *c)
{
    struct packed p = open_case(c);
    size_t rows, k;
    double *reward = fixture_get(&p.f, "in.rewards", &rows, &k),
           *rank = fixture_get(&p.f, "in.rank", NULL, NULL);
    double *per_prompt = fixture_get(&p.f, "grad_per_prompt_mean.rewards", NULL, NULL);
    double *global = fixture_get(&p.f, "grad_global_pair_mean.rewards", NULL, NULL);
    double total = scalar(&p, "out.n_pairs"), loss = 0, global_loss = 0, prompts = 0;
    float r[16], d[16], dg[16];
    uint32_t order[16];
    size_t pairs, counted = 0;

    ck_assert_uint_le(k, 16);
    for (size_t i = 0; i < rows; i++) { /* prompts with a pair at all */
        for (size_t j = 0, n = 0; j < k; j++)
            if (rank[i * k + j] >= 0)
                order[n++] = (uint32_t)rank[i * k + j], counted = n;
        for (size_t j = 0; j < counted; j++)
            r[j] = d[j] = 0;
        rlhf_kway_loss(r, order, counted, 1, d, &pairs);
        prompts += pairs > 0;
    }
    for (size_t i = 0; i < rows; i++) {
        size_t n = 0;
        double mean;
        for (size_t j = 0; j < k; j++)
            if (rank[i * k + j] >= 0) {
                r[n] = (float)reward[i * k + j];
                d[n] = dg[n] = 0;
                order[n++] = (uint32_t)rank[i * k + j];
            }
        mean = rlhf_kway_loss(r, order, n, 1 / prompts, d, &pairs);
        rlhf_kway_loss(r, order, n, (double)pairs / total, dg, NULL);
        loss += mean / prompts;
        global_loss += mean * (double)pairs / total;
        for (size_t j = 0; j < n; j++) {
            NEAR(d[j], per_prompt[i * k + j]);
            NEAR(dg[j], global[i * k + j]);
        }
    }
    NEAR(loss, scalar(&p, "out.loss_per_prompt_mean"));
    NEAR(global_loss, scalar(&p, "out.loss_global_pair_mean"));
    free(reward), free(rank), free(per_prompt), free(global);
    close_case(&p);
}

static void check_kl(json_t *c)
{
    static const char *const names[] = {"k1", "k2", "k3"};
    struct packed p = open_case(c);
    float *lp = get(&p, "in.logprobs"), *ref = get(&p, "in.ref_logprobs");
    float *value = calloc(p.tokens, sizeof *value), *slope = calloc(p.tokens, sizeof *slope);

    for (enum rlhf_kl_estimator e = RLHF_KL_K1; e <= RLHF_KL_K3; e++) {
        char name[40];
        double mean = 0;
        for (size_t t = 0; t < p.tokens; t++) {
            double kl = rlhf_kl(e, lp[t], ref[t]);
            value[t] = (float)kl;
            mean += kl / (double)p.tokens;
            slope[t] = (float)(rlhf_kl_slope(e, lp[t], ref[t]) / (double)p.tokens);
        }
        snprintf(name, sizeof name, "out.%s", names[e]);
        same(&p, name, value);
        snprintf(name, sizeof name, "out.loss_%s_mean", names[e]);
        NEAR(mean, scalar(&p, name));
        snprintf(name, sizeof name, "grad_%s_mean.logprobs", names[e]);
        same(&p, name, slope);
    }
    free(lp), free(ref), free(value), free(slope);
    close_case(&p);
}

static void check_kl_rewards(json_t *c)
{
    struct packed p = open_case(c);
    float *lp = get(&p, "in.logprobs"), *ref = get(&p, "in.ref_logprobs"),
          *reward = calloc(p.tokens, sizeof *reward);
    double *score = fixture_get(&p.f, "in.scores", NULL, NULL),
           *sum = fixture_get(&p.f, "out.kl_sum", NULL, NULL);
    double *got = calloc(p.rows, sizeof *got), clip = param(&p, "clip_score");
    float *clipped = calloc(p.rows, sizeof *clipped);
    int k3 = strcmp(json_string_value(json_object_get(p.params, "estimator")), "k3") == 0;

    for (size_t i = 0; i < p.rows; i++)
        clipped[i] = (float)(clip > 0 ? fmax(-clip, fmin(clip, score[i])) : score[i]);
    rlhf_kl_rewards(k3 ? RLHF_KL_K3 : RLHF_KL_K1, p.start, p.rows, lp, ref, clipped, param(&p, "kl_coef"),
                    reward, got);
    same(&p, "out.rewards", reward);
    for (size_t i = 0; i < p.rows; i++)
        NEAR(got[i], sum[i]);
    free(lp), free(ref), free(reward), free(score), free(sum), free(got), free(clipped);
    close_case(&p);
}

static void check_gae(json_t *c)
{
    struct packed p = open_case(c);
    float *reward = get(&p, "in.rewards"), *value = get(&p, "in.values");
    float *advantage = calloc(p.tokens, sizeof *advantage), *ret = calloc(p.tokens, sizeof *ret);
    float *kept = calloc(p.tokens, sizeof *kept);
    struct rlhf_moments m;

    rlhf_gae(p.start, p.rows, reward, value, param(&p, "gamma"), param(&p, "lam"), advantage, ret);
    same(&p, "out.advantages", advantage);
    same(&p, "out.returns", ret);
    m = rlhf_moments(advantage, p.tokens);
    NEAR(m.mean, scalar(&p, "out.mean"));
    NEAR(m.variance, scalar(&p, "out.var_unbiased"));
    memcpy(kept, advantage, p.tokens * sizeof *kept);
    rlhf_whiten(advantage, p.tokens, false);
    same(&p, "out.advantages_whitened", advantage);
    rlhf_whiten(kept, p.tokens, true);
    same(&p, "out.advantages_whitened_keep_mean", kept);
    rlhf_whiten(reward, p.tokens, true);
    same(&p, "out.rewards_whitened_keep_mean", reward);
    free(reward), free(value), free(advantage), free(ret), free(kept);
    close_case(&p);
}

/* log softmax of the fixture's logits at its tokens; p_of is where the softmax goes ([tokens, V]), for the
 * chain rule. */
static float *logprobs_of(const struct packed *p, double **softmax, uint32_t **token, size_t *vocabulary)
{
    double *logits = fixture_get(&p->f, "in.logits", NULL, vocabulary),
           *ids = fixture_get(&p->f, "in.tokens", NULL, NULL);
    float *lp = calloc(p->tokens, sizeof *lp);
    size_t v = *vocabulary, n = 0;

    *softmax = calloc(p->tokens * v, sizeof **softmax);
    *token = calloc(p->tokens, sizeof **token);
    for (size_t i = 0; i < p->rows * p->columns; i++) {
        double sum = 0;
        if (p->mask[i] == 0)
            continue;
        for (size_t j = 0; j < v; j++)
            sum += exp(logits[i * v + j]);
        for (size_t j = 0; j < v; j++)
            (*softmax)[n * v + j] = exp(logits[i * v + j]) / sum;
        (*token)[n] = (uint32_t)ids[i];
        lp[n] = (float)log((*softmax)[n * v + (*token)[n]]);
        n++;
    }
    free(logits), free(ids);
    return lp;
}

/* d_logprob through d logprob / d logits = onehot - softmax, against the fixture's gradient of the logits. */
static void same_logits(const struct packed *p, const char *name, const float *d_logprob,
                        const double *softmax, const uint32_t *token, size_t v)
{
    double *want = fixture_get(&p->f, name, NULL, NULL);
    size_t n = 0;

    for (size_t i = 0; i < p->rows * p->columns; i++) {
        if (p->mask[i] == 0)
            continue;
        for (size_t j = 0; j < v; j++)
            NEAR(d_logprob[n] * ((j == token[n]) - softmax[n * v + j]), want[i * v + j]);
        n++;
    }
    free(want);
}

static void check_ppo_step(struct packed *p)
{
    uint32_t *token;
    double *softmax, weight = 1 / (double)p->tokens;
    size_t v;
    float *lp = logprobs_of(p, &softmax, &token, &v), *old = get(p, "in.old_logprobs"),
          *adv = get(p, "in.advantages");
    float *d = calloc(p->tokens, sizeof *d);
    struct rlhf_ppo_statistics s = {0}, sv = {0};

    rlhf_ppo_policy(lp, old, adv, p->tokens, param(p, "clip"), &weight, 0, d, &s);
    NEAR(s.loss, scalar(p, "out.loss_policy"));
    same_logits(p, "grad_policy.logits", d, softmax, token, v);
    if (json_object_get(p->params, "clip_value")) {
        float *value = get(p, "in.values"), *value_old = get(p, "in.old_values"), *ret = get(p, "in.returns");
        NEAR(s.clip_fraction, scalar(p, "out.clipfrac"));
        NEAR(s.kl_k1, scalar(p, "out.approxkl_k1"));
        NEAR(s.kl_k2, scalar(p, "out.approxkl_k2"));
        NEAR(s.kl_k3, scalar(p, "out.approxkl_k3"));
        NEAR(s.ratio, scalar(p, "out.ratio_mean"));
        rlhf_ppo_value(value, value_old, ret, p->tokens, param(p, "clip_value"), &weight, 0, d, &sv);
        NEAR(sv.loss, scalar(p, "out.loss_value"));
        NEAR(sv.clip_fraction, scalar(p, "out.vf_clipfrac"));
        same(p, "grad_value.values", d);
        NEAR(s.loss + param(p, "vf_coef") * sv.loss - param(p, "ent_coef") * scalar(p, "out.loss_entropy"),
             scalar(p, "out.loss"));
        free(value), free(value_old), free(ret);
    }
    free(lp), free(old), free(adv), free(d), free(softmax), free(token);
}

static void check_ppo(json_t *c)
{
    struct packed p = open_case(c);
    double *logits = fixture_get(&p.f, "in.logits", NULL, NULL);

    if (logits) {
        check_ppo_step(&p);
    } else { /* by per-token log-probs, in two reductions */
        float *lp = get(&p, "in.logprobs"), *old = get(&p, "in.old_logprobs"),
              *adv = get(&p, "in.advantages");
        float *d = calloc(p.tokens, sizeof *d);
        double token_mean = 1 / (double)p.tokens, *sequence_mean = calloc(p.tokens, sizeof *sequence_mean);
        struct rlhf_ppo_statistics s = {0}, q = {0};

        for (size_t i = 0; i < p.rows; i++)
            for (uint32_t t = p.start[i]; t < p.start[i + 1]; t++)
                sequence_mean[t] = 1 / (double)p.rows / (p.start[i + 1] - p.start[i]);
        rlhf_ppo_policy(lp, old, adv, p.tokens, param(&p, "clip"), &token_mean, 0, d, &s);
        NEAR(s.loss, scalar(&p, "out.loss_token_mean"));
        same(&p, "grad_token_mean.logprobs", d);
        rlhf_ppo_policy(lp, old, adv, p.tokens, param(&p, "clip"), sequence_mean, 1, d, &q);
        NEAR(q.loss, scalar(&p, "out.loss_seq_mean"));
        same(&p, "grad_seq_mean.logprobs", d);
        free(lp), free(old), free(adv), free(d), free(sequence_mean);
    }
    free(logits);
    close_case(&p);
}

/* The policy part by ppo's rule, the pretraining part as gamma · mean(-log p of the labels): InstructGPT
 * eq. 2. */
static void check_ptx(json_t *c)
{
    struct packed p = open_case(c);
    size_t rows, v, columns;
    double *logits = fixture_get(&p.f, "in.ptx_logits", &rows, &v),
           *labels = fixture_get(&p.f, "in.ptx_labels", NULL, &columns);
    double *want = fixture_get(&p.f, "grad.ptx_logits", NULL, NULL), loss = 0, gamma = param(&p, "ptx_coef"),
           n = 0;

    check_ppo_step(&p);
    for (size_t t = 0; t < rows; t++)
        n += (t + 1) % columns != 0 && labels[t + 1] >= 0;
    for (size_t t = 0; t < rows; t++) {
        double sum = 0;
        if ((t + 1) % columns == 0 || labels[t + 1] < 0)
            continue;
        for (size_t j = 0; j < v; j++)
            sum += exp(logits[t * v + j]);
        for (size_t j = 0; j < v; j++)
            NEAR(-gamma / n * ((j == (size_t)labels[t + 1]) - exp(logits[t * v + j]) / sum), want[t * v + j]);
        loss -= log(exp(logits[t * v + (size_t)labels[t + 1]]) / sum) / n;
    }
    NEAR(loss, scalar(&p, "out.loss_ptx"));
    NEAR(scalar(&p, "out.loss_policy") + gamma * loss, scalar(&p, "out.loss"));
    free(logits), free(labels), free(want);
    close_case(&p);
}

static const struct kind {
    const char *algo;
    void (*check)(json_t *c);
} kinds[] = {
    {"reward_model", check_pairs},
    {"reward_model_kway", check_kway},
    {"kl", check_kl},
    {"kl_rewards", check_kl_rewards},
    {"gae", check_gae},
    {"ppo", check_ppo},
    {"ppo_ptx", check_ptx},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

START_TEST(numbers_equal_those_of_the_reference_implementations)
{
    const struct kind *kind = &kinds[_i];
    size_t index, run = 0;
    json_t *c;

    json_array_foreach(cases, index, c)
    {
        if (strcmp(json_string_value(json_object_get(c, "algo")), kind->algo) != 0)
            continue;
        printf("%s\n", json_string_value(json_object_get(c, "file")));
        kind->check(c);
        run++;
    }
    ck_assert_uint_gt(run, 0);
}
END_TEST

static void name_what_is_skipped(void)
{
    size_t index;
    json_t *c;

    json_array_foreach(cases, index, c)
    {
        const char *algo = json_string_value(json_object_get(c, "algo"));
        int known = 0;
        for (size_t k = 0; k < KINDS; k++)
            known |= strcmp(algo, kinds[k].algo) == 0;
        if (!known)
            printf("skipped %s: algorithm %s is %s\n", json_string_value(json_object_get(c, "file")), algo,
                   strcmp(algo, "logprob/entropy") == 0 ? "the tensor room's" : "not implemented");
    }
}

int main(void)
{
    const char *shared = getenv("RLHF_SHARED"), *fixtures = getenv("RLHF_FIXTURES");
    char path[1100];
    json_t *document;
    Suite *suite = suite_create("rl cases");
    TCase *tc = tcase_create("cases");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    snprintf(folder, sizeof folder, "%s%s/rl",
             fixtures ? fixtures
             : shared ? shared
                      : ".",
             fixtures ? "" : "/fixtures");
    snprintf(path, sizeof path, "%s/cases.json", folder);
    document = json_load_file(path, 0, NULL);
    if (!document) {
        printf("skipped: no golden fixtures at %s (set RLHF_SHARED or RLHF_FIXTURES)\n", path);
        srunner_free(runner);
        return 77;
    }
    cases = json_is_array(document) ? document : json_object_get(document, "cases");
    name_what_is_skipped();
    tcase_add_loop_test(tc, numbers_equal_those_of_the_reference_implementations, 0, KINDS);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    json_decref(document);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
