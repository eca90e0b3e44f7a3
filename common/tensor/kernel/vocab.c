/* vocab.c - log-softmax over a vocabulary, a chunk of a row at a time. */
#include "tensor/kernel/rows.h"

void KERNEL(vocab_chunk)(const float *logits, size_t c, float scale, float mst[3])
{
    v16 least = v16_set(-INFINITY), most = least, zero = v16_set(0), by = v16_set(scale);
    v16 s = zero, t = zero;

    FOR_LANES(c)
    {
        v16 z = LOAD(logits);
        most = v16_max(most, j + 16 > c ? v16_first(z, c - j, least) : z);
    }
    float max = v16_largest(most) * scale;
    v16 top = v16_set(max);
    mst[0] = max;
    if (max == -INFINITY)
        top = v16_set(0); /* every one of them has probability 0, unless one is NaN: that must show in s */
    FOR_LANES(c)
    {
        v16 z = v16_sub(v16_mul(LOAD(logits), by), top); /* rounded as max was, so that z is 0 there */
        if (j + 16 > c)
            z = v16_first(z, c - j, least);
        v16 e = v16_exp(z);
        s = v16_add(s, e);
        /* Where e is 0, z may be -inf: 0·-inf is no part of an entropy. */
        t = v16_fma(e, v16_max(v16_set(-200.0f), z), t);
    }
    mst[1] = v16_sum(s);
    mst[2] = v16_sum(t);
}

void KERNEL(vocab_weights)(const float *logits, size_t c, float scale, float most, float *weight)
{
    v16 by = v16_set(scale), top = v16_set(most);

    FOR_LANES(c)
    {
        STORE(weight, v16_exp(v16_sub(v16_mul(LOAD(logits), by), top)));
    }
}

/* Moving a chunk's maximum by δ = m - max multiplies its sums by e^δ and adds δ·s to t first. */
void KERNEL(vocab_join)(const float *mst, size_t chunks, float *most, float *log_sum, float *entropy)
{
    float max = -INFINITY, s = 0, t = 0;

    for (size_t i = 0; i < chunks; i++)
        if (!(mst[3 * i] <= max))
            max = mst[3 * i];
    for (size_t i = 0; i < chunks; i++) {
        if (mst[3 * i] == -INFINITY && mst[3 * i + 1] == 0)
            continue;
        float delta = mst[3 * i] - max, by = v16_get(v16_exp(v16_set(delta)));
        s = s + by * mst[3 * i + 1];
        if (by > 0)
            t = t + by * (mst[3 * i + 2] + delta * mst[3 * i + 1]);
    }
    float log_s = lanes_log(s);
    *most = max;
    *log_sum = log_s;
    if (entropy)
        *entropy = log_s - t / s;
}

/* recipe of ops_reference.c: dz = d_logprob·([j = target] - p) - d_entropy·p·(log p + entropy), times scale, and where the
 * logits were capped, 1 - (logit/cap)². */
void KERNEL(vocab_gradient)(float *logits, size_t c, float scale, float cap, float lse, float entropy, size_t target,
                            float d_logprob, float d_entropy)
{
    v16 by = v16_set(scale), minus_lse = v16_set(-lse), h = v16_set(entropy), floor = v16_set(-200.0f);
    v16 dl = v16_set(d_logprob), de = v16_set(d_entropy), one = v16_set(1.0f);
    float inverse = cap > 0 ? 1.0f / cap : 0, slope = 1;

    if (cap > 0 && target < c)
        slope = 1.0f - logits[target] * inverse * (logits[target] * inverse);
    FOR_LANES(c)
    {
        v16 z = LOAD(logits), logp = v16_fma(z, by, minus_lse), p = v16_exp(logp);
        v16 g = v16_fma(de, v16_add(v16_max(floor, logp), h), dl);
        g = v16_mul(v16_fnma(p, g, v16_set(0)), by);
        if (cap > 0) {
            v16 tanh = v16_mul(z, v16_set(inverse));
            g = v16_mul(g, v16_fnma(tanh, tanh, one));
        }
        STORE(logits, g);
    }
    if (target < c)
        logits[target] = logits[target] + d_logprob * scale * slope;
}
