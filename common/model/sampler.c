#include "model/sampler.h"

#include <math.h>

#include "tensor/ops.h"

int rlhf_sampling_check(const struct rlhf_sampling *s, struct rlhf_error *err)
{
    if (!(s->temperature == 0 || (s->temperature >= 1e-4F && isfinite(s->temperature))))
        return rlhf_fail(err, RLHF_REJECT, "temperature: %g is neither 0 (greedy) nor at least 0.0001",
                         (double)s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return rlhf_fail(err, RLHF_REJECT, "top_p: %g is not above 0 and at most 1 (off)", s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return rlhf_fail(err, RLHF_REJECT, "min_p: %g is not from 0 (off) to 1", (double)s->min_p);
    if (!(s->typical_p >= 0 && s->typical_p <= 1))
        return rlhf_fail(err, RLHF_REJECT, "typical_p: %g is not from 0 to 1 (both off)", (double)s->typical_p);
    if (!(s->repetition_penalty == 0 || (s->repetition_penalty >= 1e-4F && s->repetition_penalty <= 1e4F)))
        return rlhf_fail(err, RLHF_REJECT, "repetition_penalty: %g is neither 1 (off) nor from 0.0001 to 10000",
                         (double)s->repetition_penalty);
    if (s->max_new_tokens < 1)
        return rlhf_fail(err, RLHF_REJECT, "max_new_tokens: must be at least 1");
    if (s->min_new_tokens > s->max_new_tokens)
        return rlhf_fail(err, RLHF_REJECT, "min_new_tokens: %u is more than max_new_tokens, %u", s->min_new_tokens,
                         s->max_new_tokens);
    return 0;
}

bool rlhf_ends_has(const struct rlhf_ends *e, int32_t token)
{
    for (uint32_t i = 0; i < e->count; i++)
        if (e->id[i] == token)
            return true;
    return false;
}

static bool penalises(const struct rlhf_sampling *s)
{
    return (s->repetition_penalty != 0 && s->repetition_penalty != 1) || s->no_repeat_ngram > 0 || s->min_new_tokens > 0;
}

static bool removes(const struct rlhf_sampling *s)
{
    return s->top_k > 0 || s->top_p < 1 || s->min_p > 0 || (s->typical_p > 0 && s->typical_p < 1);
}

bool rlhf_sampling_whole(const struct rlhf_sampling *s)
{
    return s->temperature > 0 && !removes(s) && !penalises(s);
}

/* Finite logits, or -inf beside at least one finite one. */
static int check_logits(const float *logits, size_t v, struct rlhf_error *err)
{
    if (rlhf_weights_finite(logits, v))
        return 0;
    for (size_t i = 0; i < v; i++)
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return rlhf_fail(err, RLHF_CORRUPT, "logit %zu is %s: the weights are damaged or have diverged", i,
                             isnan(logits[i]) ? "not a number" : "infinite");
    if (logits[rlhf_vocab_largest(logits, v)] == -INFINITY)
        return rlhf_fail(err, RLHF_CORRUPT, "all %zu logits are -inf: no token can follow", v);
    return 0;
}

/* ---- what came before ------------------------------------------------------------------------------ */

static size_t length(const struct rlhf_history *h)
{
    return h->prompt_count + h->completion_count;
}

static int32_t token_at(const struct rlhf_history *h, size_t i)
{
    return i < h->prompt_count ? h->prompt[i] : h->completion[i - h->prompt_count];
}

/* A token seen often is penalised once: its score is made of the logit each time. */
static void penalise_repetition(const float *logits, size_t v, float penalty, const struct rlhf_history *h,
                                float *scores)
{
    for (size_t i = 0; i < length(h); i++) {
        size_t token = (size_t)token_at(h, i);

        if (token < v)
            scores[token] = logits[token] < 0 ? logits[token] * penalty : logits[token] / penalty;
    }
}

/* What followed the last n - 1 tokens where they stood before goes. */
static void remove_ngrams(size_t v, size_t n, const struct rlhf_history *h, float *scores)
{
    size_t count = length(h), suffix;

    if (count < n)
        return;
    suffix = count + 1 - n;
    for (size_t i = 0; i + n <= count; i++) {
        size_t same = 0, token = (size_t)token_at(h, i + n - 1);

        while (same + 1 < n && token_at(h, i + same) == token_at(h, suffix + same))
            same++;
        if (same + 1 == n && token < v)
            scores[token] = -INFINITY;
    }
}

static void remove_ends(size_t v, const struct rlhf_history *h, float *scores)
{
    for (size_t i = 0; i < h->end_count; i++)
        if ((size_t)h->ends[i] < v)
            scores[h->ends[i]] = -INFINITY;
}

/* Into scores. */
static int penalise(const float *logits, size_t v, const struct rlhf_sampling *s, const struct rlhf_history *h,
                    float *scores, struct rlhf_error *err)
{
    static const struct rlhf_history nothing;

    h = h ? h : &nothing;
    for (size_t i = 0; i < v; i++)
        scores[i] = logits[i];
    if (s->repetition_penalty != 0 && s->repetition_penalty != 1)
        penalise_repetition(logits, v, s->repetition_penalty, h, scores);
    if (s->no_repeat_ngram > 0)
        remove_ngrams(v, s->no_repeat_ngram, h, scores);
    if (h->completion_count < s->min_new_tokens)
        remove_ends(v, h, scores);
    if (scores[rlhf_vocab_largest(scores, v)] == -INFINITY)
        return rlhf_fail(err, RLHF_REJECT,
                         "no_repeat_ngram_size %u and min_new_tokens %u leave none of %zu tokens after %zu",
                         s->no_repeat_ngram, s->min_new_tokens, v, length(h));
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

/* ---- in order of rank ------------------------------------------------------------------------------ */

/* Tokens by falling score; or, for typical-p, by how far their surprise is from the entropy, nearest first. */
struct ranking {
    const float *scores;
    float most, log_sum, entropy; /* log p = score - most - log_sum */
    bool typical;
};

static float distance(const struct ranking *r, uint32_t token)
{
    return fabsf(-(r->scores[token] - r->most - r->log_sum) - r->entropy);
}

/* Of equal scores the higher index stands first: transformers sorts upwards, stably, and drops from below. Of
 * equal distances the lower. */
static bool before(const struct ranking *r, uint32_t a, uint32_t b)
{
    if (r->typical) {
        float da = distance(r, a), db = distance(r, b);

        return da < db || (da == db && a < b);
    }
    return r->scores[a] > r->scores[b] || (r->scores[a] == r->scores[b] && a > b);
}

/* Indices in memory lent as floats. */
typedef uint32_t __attribute__((may_alias)) heap_index;

static void sift(heap_index *heap, size_t n, size_t i, const struct ranking *r)
{
    uint32_t item = heap[i];

    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(r, heap[child + 1], heap[child]))
            child++;
        if (!before(r, heap[child], item))
            break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

/* The tokens that are left, as a heap; returns how many. */
static size_t heap_of(const struct ranking *r, size_t v, heap_index *heap)
{
    size_t n = 0;

    for (size_t i = 0; i < v; i++)
        if (r->scores[i] > -INFINITY)
            heap[n++] = (uint32_t)i;
    for (size_t i = n / 2; i-- > 0;)
        sift(heap, n, i, r);
    return n;
}

static uint32_t pop(heap_index *heap, size_t *n, const struct ranking *r)
{
    uint32_t first = heap[0];

    heap[0] = heap[--*n];
    sift(heap, *n, 0, r);
    return first;
}

static void remove_all(const heap_index *heap, size_t n, float *scores)
{
    for (size_t i = 0; i < n; i++)
        scores[heap[i]] = -INFINITY;
}

/* Softmax in fp32 as torch has it: e^(x - max) over the sum, both rounded. */
static float normaliser(const float *weight, size_t v)
{
    double sum = 0;

    for (size_t i = 0; i < v; i++)
        sum += (double)weight[i];
    return (float)sum;
}

static float probability(const float *scores, uint32_t token, float most, float sum)
{
    float weight;

    rlhf_vocab_weights_row(&scores[token], 1, 1, most, &weight);
    return weight / sum;
}

/* As TopPLogitsWarper: in rising order, tokens go while their probabilities sum to at most 1 - p; the most likely
 * always stay. Here from above, with a heap, since few stay: the sum up to a token is all less what is above it. */
static void keep_top_p(float *scores, size_t v, double p, uint32_t keep, float most, float *scratch)
{
    const struct ranking r = { .scores = scores };
    float sum, drop = (float)(1 - p);
    double below = 0;
    size_t n, kept = 0;

    rlhf_vocab_weights_row(scores, v, 1, most, scratch);
    sum = normaliser(scratch, v);
    for (size_t i = 0; i < v; i++)
        below += (double)(scratch[i] / sum);
    n = heap_of(&r, v, (heap_index *)scratch);
    while (n > 0 && (kept < keep || (float)below > drop)) {
        below -= (double)probability(scores, pop((heap_index *)scratch, &n, &r), most, sum);
        kept++;
    }
    remove_all((heap_index *)scratch, n, scores);
}

/* As MinPLogitsWarper. */
static void keep_min_p(float *scores, size_t v, float p, uint32_t keep, float most, float *scratch)
{
    const struct ranking r = { .scores = scores };
    float sum, least;
    size_t n;

    rlhf_vocab_weights_row(scores, v, 1, most, scratch);
    sum = normaliser(scratch, v);
    least = p * (1 / sum);
    if (keep <= 1) {
        for (size_t i = 0; i < v; i++)
            if (scratch[i] / sum < least)
                scores[i] = -INFINITY;
        return;
    }
    n = heap_of(&r, v, (heap_index *)scratch);
    for (size_t kept = 0; n > 0; kept++) {
        if (kept >= keep && probability(scores, ((heap_index *)scratch)[0], most, sum) < least)
            break;
        pop((heap_index *)scratch, &n, &r);
    }
    remove_all((heap_index *)scratch, n, scores);
}

/* As TypicalLogitsWarper: the tokens whose surprise is nearest to the entropy, until they hold p; all that are as
 * near as the last of them stay, too. */
static void keep_typical(float *scores, size_t v, float p, uint32_t keep, float *scratch)
{
    struct ranking r = { .scores = scores, .typical = true };
    heap_index *heap = (heap_index *)scratch;
    double held = 0;
    float sum, last;
    size_t n, kept = 0;

    rlhf_vocab_row(scores, v, 1, &r.most, &r.log_sum, &r.entropy);
    rlhf_vocab_weights_row(scores, v, 1, r.most, scratch);
    sum = normaliser(scratch, v);
    n = heap_of(&r, v, heap);
    do {
        uint32_t token = pop(heap, &n, &r);

        held += (double)probability(scores, token, r.most, sum);
        last = distance(&r, token);
        if ((float)held >= p) {
            kept++;
            break;
        }
        kept++;
    } while (n > 0);
    while (n > 0 && (kept < keep || distance(&r, heap[0]) <= last)) {
        pop(heap, &n, &r);
        kept++;
    }
    remove_all(heap, n, scores);
}

/* ---- sampling -------------------------------------------------------------------------------------- */

/* scores may be the logits themselves. */
static void filter(const float *logits, size_t v, const struct rlhf_sampling *s, float *scores, float *scratch)
{
    uint32_t keep = s->min_tokens_to_keep > 1 ? s->min_tokens_to_keep : 1;
    size_t best = rlhf_vocab_largest(logits, v);

    for (size_t i = 0; i < v; i++)
        scores[i] = logits[i] / s->temperature;
    if (s->top_k > 0)
        keep_top_k(scores, v, s->top_k > keep ? s->top_k : keep, scratch);
    if (s->top_p < 1)
        keep_top_p(scores, v, s->top_p, keep, scores[best], scratch);
    if (s->min_p > 0)
        keep_min_p(scores, v, s->min_p, keep, scores[best], scratch);
    if (s->typical_p > 0 && s->typical_p < 1)
        keep_typical(scores, v, s->typical_p, keep, scratch);
}

int rlhf_sampling_scores(const float *logits, size_t vocabulary, const struct rlhf_sampling *s,
                         const struct rlhf_history *h, float *scores, float *scratch, struct rlhf_error *err)
{
    const float *from = penalises(s) ? scores : logits;
    size_t best;

    if (check_logits(logits, vocabulary, err) < 0 || (penalises(s) && penalise(logits, vocabulary, s, h, scores, err) < 0))
        return -1;
    if (s->temperature > 0) {
        filter(from, vocabulary, s, scores, scratch);
        return 0;
    }
    best = rlhf_vocab_largest(from, vocabulary);
    for (size_t i = 0; i < vocabulary; i++)
        scores[i] = i == best ? 0 : -INFINITY;
    return 0;
}

/* from is scratch where they were penalised, else the logits. */
static void draw(const float *from, size_t v, const struct rlhf_sampling *s, float u, float *scratch, struct rlhf_sampled *out)
{
    if (from == scratch || removes(s)) {
        filter(from, v, s, scratch, scratch + v);
        out->token = (int32_t)rlhf_vocab_draw_row(scratch, v, 1, u, &out->logprob);
    } else {
        out->token = (int32_t)rlhf_vocab_draw_row(from, v, s->temperature, u, &out->logprob);
    }
}

int rlhf_sample_after(const float *logits, size_t vocabulary, const struct rlhf_sampling *s,
                      const struct rlhf_history *h, const struct rlhf_sample_key *key, uint32_t position,
                      float *scratch, struct rlhf_sampled *out, struct rlhf_error *err)
{
    const float *from = penalises(s) ? scratch : logits;

    if (check_logits(logits, vocabulary, err) < 0 || (penalises(s) && penalise(logits, vocabulary, s, h, scratch, err) < 0))
        return -1;
    if (s->temperature == 0) {
        out->token = (int32_t)rlhf_vocab_largest(from, vocabulary);
        out->logprob = 0;
    } else {
        draw(from, vocabulary, s,
             rlhf_draw(key->seed, key->purpose, key->prompt, key->sample, position), scratch, out);
        if (s->temperature == 1 && rlhf_sampling_whole(s)) {
            out->logprob_raw = out->logprob;
            return 0;
        }
    }
    out->logprob_raw = rlhf_vocab_logprob_row(logits, vocabulary, 1, out->token);
    return 0;
}

int rlhf_sample(const float *logits, size_t vocabulary, const struct rlhf_sampling *s,
                const struct rlhf_sample_key *key, uint32_t position, float *scratch, struct rlhf_sampled *out,
                struct rlhf_error *err)
{
    return rlhf_sample_after(logits, vocabulary, s, NULL, key, position, scratch, out, err);
}
