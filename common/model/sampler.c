#include "model/sampler.h"

#include <math.h>

#include "tensor/ops.h"

int rlhf_sampling_check(const struct rlhf_sampling *s, struct rlhf_error *err)
{
    if (!(s->temperature == 0 || (s->temperature >= 1e-4F && isfinite(s->temperature))))
        return rlhf_fail(err, RLHF_REJECT, "temperature: %g is neither 0 (greedy) nor at least 0.0001",
                         (double)s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return rlhf_fail(err, RLHF_REJECT, "top_p: %g is not above 0 and at most 1 (off)", (double)s->top_p);
    if (s->max_new_tokens < 1)
        return rlhf_fail(err, RLHF_REJECT, "max_new_tokens: must be at least 1");
    return 0;
}

/* Finite logits, or -inf beside at least one finite one. *best is the first of the largest. */
static int check_logits(const float *logits, size_t v, size_t *best, struct rlhf_error *err)
{
    *best = 0;
    for (size_t i = 0; i < v; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return rlhf_fail(err, RLHF_CORRUPT, "logit %zu is %s: the weights are damaged or have diverged", i,
                             isnan(logits[i]) ? "not a number" : "infinite");
        if (logits[i] > logits[*best])
            *best = i;
    }
    if (logits[*best] == -INFINITY)
        return rlhf_fail(err, RLHF_CORRUPT, "all %zu logits are -inf: no token can follow", v);
    return 0;
}

/* ---- top-k ----------------------------------------------------------------------------------------- */

/* The k-th largest of n floats, 1 <= k <= n; orders x on the way. Hoare's selection, middle of three as pivot;
 * no NaN. */
static float kth_largest(float *x, size_t n, size_t k)
{
    size_t low = 0, high = n - 1, wanted = k - 1;

    while (low < high) {
        float a = x[low], b = x[low + (high - low) / 2], c = x[high];
        float pivot = fmaxf(fminf(a, b), fminf(fmaxf(a, b), c));
        size_t i = low, j = high;

        for (;;) {
            while (x[i] > pivot)
                i++;
            while (x[j] < pivot)
                j--;
            if (i >= j)
                break;
            float swap = x[i];
            x[i++] = x[j];
            x[j--] = swap;
        }
        /* left of i nothing is below the pivot, right of j nothing above */
        if (i == j) {
            if (wanted == i)
                return x[i];
            if (wanted < i)
                high = i - 1;
            else
                low = i + 1;
        } else if (wanted <= j) {
            high = j;
        } else {
            low = i;
        }
    }
    return x[wanted];
}

/* As TopKLogitsWarper: what is below the k-th largest goes, so ties with it stay. */
static void keep_top_k(float *scores, size_t v, uint32_t k, float *scratch)
{
    float least;

    if (k == 0 || k >= v)
        return;
    for (size_t i = 0; i < v; i++)
        scratch[i] = scores[i];
    least = kth_largest(scratch, v, k);
    for (size_t i = 0; i < v; i++)
        if (scores[i] < least)
            scores[i] = -INFINITY;
}

/* ---- top-p ----------------------------------------------------------------------------------------- */

/* Indices in memory lent as floats. */
typedef uint32_t __attribute__((may_alias)) heap_index;

/* Of equal scores the higher index stands first: transformers sorts upwards, stably, and drops from below. */
static bool before(const float *scores, uint32_t a, uint32_t b)
{
    return scores[a] > scores[b] || (scores[a] == scores[b] && a > b);
}

static void sift(heap_index *heap, size_t n, size_t i, const float *scores)
{
    uint32_t item = heap[i];

    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(scores, heap[child + 1], heap[child]))
            child++;
        if (!before(scores, heap[child], item))
            break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

/* As TopPLogitsWarper: in rising order, tokens go while their probabilities sum to at most 1 - p; the most
 * likely one always stays. Here from above, with a heap, since few stay: a token goes when those above it
 * already hold p. */
static void keep_top_p(float *scores, size_t v, float p, float best, float *scratch)
{
    heap_index *heap = (heap_index *)scratch;
    size_t n = 0;
    double total = 0, held = 0;

    for (size_t i = 0; i < v; i++)
        if (scores[i] > -INFINITY) {
            total += exp((double)scores[i] - (double)best);
            heap[n++] = (uint32_t)i;
        }
    for (size_t i = n / 2; i-- > 0;)
        sift(heap, n, i, scores);
    while (n > 0 && held < (double)p * total) {
        held += exp((double)scores[heap[0]] - (double)best);
        heap[0] = heap[--n];
        sift(heap, n, 0, scores);
    }
    for (size_t i = 0; i < n; i++)
        scores[heap[i]] = -INFINITY;
}

/* ---- sampling -------------------------------------------------------------------------------------- */

static bool filters(const struct rlhf_sampling *s, size_t v)
{
    return (s->top_k > 0 && s->top_k < v) || s->top_p < 1;
}

static void filter(const float *logits, size_t v, const struct rlhf_sampling *s, size_t best, float *scores,
                   float *scratch)
{
    for (size_t i = 0; i < v; i++)
        scores[i] = logits[i] / s->temperature;
    keep_top_k(scores, v, s->top_k, scratch);
    if (s->top_p < 1)
        keep_top_p(scores, v, s->top_p, scores[best], scratch);
}

int rlhf_sampling_scores(const float *logits, size_t vocabulary, const struct rlhf_sampling *s, float *scores,
                         float *scratch, struct rlhf_error *err)
{
    size_t best;

    if (check_logits(logits, vocabulary, &best, err) < 0)
        return -1;
    if (s->temperature > 0) {
        filter(logits, vocabulary, s, best, scores, scratch);
        return 0;
    }
    for (size_t i = 0; i < vocabulary; i++)
        scores[i] = i == best ? 0 : -INFINITY;
    return 0;
}

/* The token below which a share u of the probability lies, in order of ids. Sums are in double: their error
 * is far below the 2^-24 of a draw. weight [V] takes the unnormalised probabilities. */
static size_t pick(const float *scores, size_t v, float temperature, float best, float u, float *weight)
{
    double total = 0, sum = 0, wanted;
    size_t last = 0;

    for (size_t i = 0; i < v; i++) {
        weight[i] = expf((scores[i] - best) / temperature);
        total += (double)weight[i];
    }
    wanted = (double)u * total;
    for (size_t i = 0; i < v; i++) {
        if (weight[i] > 0)
            last = i;
        sum += (double)weight[i];
        if (sum > wanted)
            break;
    }
    return last;
}

int rlhf_sample(const float *logits, size_t vocabulary, const struct rlhf_sampling *s,
                const struct rlhf_sample_key *key, uint32_t position, float *scratch, struct rlhf_sampled *out,
                struct rlhf_error *err)
{
    size_t best, token;
    float u;

    if (check_logits(logits, vocabulary, &best, err) < 0)
        return -1;
    if (s->temperature == 0) {
        out->token = (int32_t)best;
        out->logprob = 0;
        out->logprob_raw = rlhf_vocab_logprob_row(logits, vocabulary, 1, out->token);
        return 0;
    }
    u = rlhf_draw(key->seed, key->purpose, key->prompt, key->sample, position);
    if (filters(s, vocabulary)) {
        float *scores = scratch, *rest = scratch + vocabulary;

        filter(logits, vocabulary, s, best, scores, rest);
        token = pick(scores, vocabulary, 1, scores[best], u, rest);
        out->logprob = rlhf_vocab_logprob_row(scores, vocabulary, 1, (int32_t)token);
    } else {
        token = pick(logits, vocabulary, s->temperature, logits[best], u, scratch);
        out->logprob = rlhf_vocab_logprob_row(logits, vocabulary, s->temperature, (int32_t)token);
    }
    out->token = (int32_t)token;
    out->logprob_raw = s->temperature == 1 && !filters(s, vocabulary)
                           ? out->logprob : rlhf_vocab_logprob_row(logits, vocabulary, 1, (int32_t)token);
    return 0;
}
