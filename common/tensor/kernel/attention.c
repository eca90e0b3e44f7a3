/* attention.c - causal attention of one key/value head of one sequence.
 *
 * The scores of a block of queries are held whole, so that a row's softmax has one order (16 lanes over the keys, then the
 * fixed fold) wherever its block begins. A score is one chain over d, an output one chain over the keys in
 * order; keys behind a query or before its window have probability exactly 0 and change nothing. Panels of keys that no
 * query of the block sees are not touched. */
#include "tensor/kernel/rows.h"

/* cap·tanh(score·scale / cap), in place. */
INLINE void cap_row(float *score, size_t width, float scale, float cap)
{
    v16 most = v16_set(cap), by = v16_set(scale / cap);

    for (size_t j = 0; j < width; j += 16)
        v16_store(score + j, v16_mul(most, v16_tanh(v16_mul(v16_load(score + j), by))));
}

/* In place: scores become exp(score·scale - max), 0 before `first` and from `keys` to width. Returns the sum and *max. */
INLINE float softmax_row(float *score, size_t first, size_t keys, size_t width, float scale, float *max)
{
    v16 least = v16_set(-INFINITY), most = least, by = v16_set(scale), zero = v16_set(0), sum = zero;
    size_t none = first / 16 * 16, whole = keys / 16 * 16, j;

    for (j = 0; j < none; j += 16)
        v16_store(score + j, zero);
    if (first > none) /* in this panel only those from `first` on count */
        v16_store(score + none, v16_first(least, first - none, v16_load(score + none)));
    for (j = none; j < whole; j += 16)
        most = v16_max(most, v16_load(score + j));
    if (j < keys)
        most = v16_max(most, v16_first(v16_load(score + j), keys - j, least));
    *max = v16_largest(most) * scale;
    v16 top = v16_set(*max); /* rounded as the scaled scores are */
    for (j = none; j < whole; j += 16) {
        v16 e = v16_exp(v16_sub(v16_mul(v16_load(score + j), by), top));
        sum = v16_add(sum, e);
        v16_store(score + j, e);
    }
    if (j < keys) {
        v16 e = v16_first(v16_exp(v16_sub(v16_mul(v16_load(score + j), by), top)), keys - j, zero);
        sum = v16_add(sum, e);
        v16_store(score + j, e);
        j += 16;
    }
    for (; j < width; j += 16)
        v16_store(score + j, zero);
    return v16_sum(sum);
}

/* The first key that the query at position p sees, and, in whole panels, where the keys of a block begin whose first query
 * it is: so a key's lane never depends on the block. */
INLINE size_t first_key(const struct rlhf_attention_task *a, size_t p)
{
    return a->window && p + 1 > a->window ? p + 1 - a->window : 0;
}

INLINE size_t first_panel(const struct rlhf_attention_task *a, size_t p)
{
    return first_key(a, p) / 16 * 16;
}

INLINE void multiply(const struct rlhf_attention_task *a, const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    (a->halves ? KERNEL(tiles_halves) : KERNEL(tiles))(o, m, cols, k);
}

/* A query's scores, keys from `first` to `keys` - 1, become weights of sum 1 times what is returned. */
INLINE float weigh(const struct rlhf_attention_task *a, float *score, size_t first, size_t keys, size_t width, float *max)
{
    if (a->cap > 0)
        cap_row(score, width, a->scale, a->cap);
    return softmax_row(score, first, keys, width, a->cap > 0 ? 1 : a->scale, max);
}

INLINE void scale_row(float *y, size_t c, float by)
{
    v16 factor = v16_set(by);

    FOR_LANES(c) STORE(y, v16_mul(LOAD(y), factor));
}

void KERNEL(attention)(const struct rlhf_attention_task *a)
{
    float *score = a->scratch;

    for (size_t h = 0; h < a->group; h++)
        for (size_t from = a->from, rows; from < a->to; from += rows) {
            rows = a->to - from < RLHF_ATTENTION_ROWS ? a->to - from : RLHF_ATTENTION_ROWS;
            size_t low = first_panel(a, from), keys = from + rows - low, width = (keys + 15) / 16 * 16;
            size_t at = from - a->from;
            float *out = a->out + at * a->out_stride + h * a->d;
            struct rlhf_operands scores = { .a = a->q + at * a->q_stride + h * a->d, .a_stride = a->q_stride,
                                            .b = a->keys + low / 16 * a->keys_panel, .b_stride = 16,
                                            .panel_size = a->keys_panel, .y = score, .y_stride = width,
                                            .next = a->to == a->from + 1 ? a->values - a->keys : 0 };
            struct rlhf_operands mix = { .a = score, .a_stride = width,
                                         .b = a->values + (a->halves ? low / 2 : low) * a->values_stride,
                                         .b_stride = a->values_stride, .panel_size = 16, .y = out,
                                         .y_stride = a->out_stride, .next = a->to_next };
            float inverse[RLHF_ATTENTION_ROWS];

            multiply(a, &scores, rows, width, a->d);
            for (size_t r = 0; r < rows; r++) {
                float max, sum = weigh(a, score + r * width, first_key(a, from + r) - low, from + r + 1 - low, width, &max);
                inverse[r] = 1.0f / sum;
                if (a->lse)
                    a->lse[h * a->lse_stride + at + r] = max + lanes_log(sum);
            }
            multiply(a, &mix, rows, a->d, keys);
            for (size_t r = 0; r < rows; r++)
                scale_row(out + r * a->out_stride, a->d, inverse[r]);
        }
}

/* Scores, and sums of values, of the keys that all share come from one product of n rows; each query then goes on with its own. */
void KERNEL(attention_shared)(const struct rlhf_attention_task *a, size_t n, size_t shared)
{
    const size_t own_keys = shared / 16 * a->keys_panel, own_values = (a->halves ? shared / 2 : shared) * a->values_stride;
    float inverse[RLHF_ATTENTION_ROWS], *score = a->scratch;
    size_t width = 0;

    for (size_t i = 0; i < n; i++)
        width = a[i].to > width ? a[i].to : width;
    width = (width + 15) / 16 * 16;
    for (size_t h = 0; h < a->group; h++) {
        const struct rlhf_operands scores = { .a = a->q + h * a->d, .a_stride = a->q_stride, .b = a->keys, .b_stride = 16,
                                              .panel_size = a->keys_panel, .y = score, .y_stride = width };
        const struct rlhf_operands mix = { .a = score, .a_stride = width, .b = a->values, .b_stride = a->values_stride,
                                           .panel_size = 16, .y = a->out + h * a->d, .y_stride = a->out_stride };

        multiply(a, &scores, n, shared, a->d);
        for (size_t i = 0; i < n; i++) {
            const size_t own = (a[i].to + 15) / 16 * 16;
            struct rlhf_operands rest = scores;
            float max;

            rest.a += i * a->q_stride;
            rest.b = a[i].keys + own_keys;
            rest.y += i * width + shared;
            rest.next = a[i].values + own_values - rest.b;
            multiply(a, &rest, 1, own - shared, a->d);
            inverse[i] = 1.0f / weigh(a, score + i * width, 0, a[i].to, own, &max);
        }
        multiply(a, &mix, n, a->d, shared);
        for (size_t i = 0; i < n; i++) {
            struct rlhf_operands rest = mix;

            rest.a += i * width + shared;
            rest.b = a[i].values + own_values;
            rest.start = rest.y = mix.y + i * mix.y_stride;
            rest.start_stride = rest.y_stride;
            rest.next = a[i].to_next;
            multiply(a, &rest, 1, a->d, a[i].to - shared);
            scale_row(rest.y, a->d, inverse[i]);
        }
    }
}

/* Scores become P = exp(score·scale - lse), dp becomes dS = P·(dP - delta)·scale; 0 before `first` and from `keys` to
 * width. With a cap, score·scale is cap·tanh(u) and dS has a factor 1 - tanh² u. */
INLINE void gradient_row(float *score, float *dp, size_t first, size_t keys, size_t width, float scale, float cap,
                         float lse, float delta)
{
    v16 by = v16_set(scale), minus_lse = v16_set(-lse), minus_delta = v16_set(-delta), zero = v16_set(0);
    v16 most = v16_set(cap), steep = v16_set(cap > 0 ? scale / cap : 0), one = v16_set(1.0f);
    size_t none = first / 16 * 16;

    for (size_t j = 0; j < width; j += 16) {
        v16 p = zero, ds = zero;
        if (j >= none && j < keys) {
            v16 s = v16_load(score + j), slope = by;
            if (cap > 0) {
                v16 t = v16_tanh(v16_mul(s, steep));
                p = v16_exp(v16_fma(t, most, minus_lse));
                slope = v16_mul(by, v16_fnma(t, t, one));
            } else {
                p = v16_exp(v16_fma(s, by, minus_lse));
            }
            ds = v16_mul(v16_mul(p, v16_add(v16_load(dp + j), minus_delta)), slope);
        }
        if (j < keys && j + 16 > keys) {
            p = v16_first(p, keys - j, zero);
            ds = v16_first(ds, keys - j, zero);
        }
        if (j < first && j + 16 > first) {
            p = v16_first(zero, first - j, p);
            ds = v16_first(zero, first - j, ds);
        }
        v16_store(score + j, p);
        v16_store(dp + j, ds);
    }
}

void KERNEL(attention_backward)(const struct rlhf_attention_task *a)
{
    size_t c = a->d;

    for (size_t from = 0, rows; from < a->to; from += rows) {
        rows = a->to - from < RLHF_ATTENTION_ROWS ? a->to - from : RLHF_ATTENTION_ROWS;
        size_t low = first_panel(a, from), keys = from + rows - low, width = (keys + 15) / 16 * 16;
        float *p = a->scratch, *ds = p + rows * width;
        const float *q = a->q + from * a->q_stride, *dy = a->d_out + from * a->out_stride;
        struct rlhf_operands scores = { .a = q, .a_stride = a->q_stride, .b = a->keys + low / 16 * a->keys_panel,
                                        .b_stride = 16, .panel_size = a->keys_panel, .y = p, .y_stride = width };
        struct rlhf_operands dp = { .a = dy, .a_stride = a->out_stride,
                                    .b = a->value_panels + low / 16 * a->keys_panel, .b_stride = 16,
                                    .panel_size = a->keys_panel, .y = ds, .y_stride = width };

        KERNEL(tiles)(&scores, rows, width, a->d);
        KERNEL(tiles)(&dp, rows, width, a->d);
        for (size_t r = 0; r < rows; r++) {
            const float *g = dy + r * a->out_stride, *o = a->y + (from + r) * a->y_stride;
            v16 delta = v16_set(0);
            FOR_LANES(c) delta = v16_fma(LOAD(g), LOAD(o), delta);
            gradient_row(p + r * width, ds + r * width, first_key(a, from + r) - low, from + r + 1 - low, width,
                         a->scale, a->cap, a->logsum[from + r], v16_sum(delta));
        }
        struct rlhf_operands d_q = { .a = ds, .a_stride = width, .b = a->key_rows + low * a->values_stride,
                                     .b_stride = a->values_stride, .panel_size = 16,
                                     .y = a->d_q + from * a->d_stride, .y_stride = a->d_stride };
        struct rlhf_operands d_k = { .a = ds, .a_stride = width, .b = q, .b_stride = a->q_stride,
                                     .panel_size = 16, .start = a->d_k + low * a->d_stride,
                                     .start_stride = a->d_stride, .y = a->d_k + low * a->d_stride,
                                     .y_stride = a->d_stride };
        struct rlhf_operands d_v = { .a = p, .a_stride = width, .b = dy, .b_stride = a->out_stride,
                                     .panel_size = 16, .start = a->d_v + low * a->d_stride,
                                     .start_stride = a->d_stride, .y = a->d_v + low * a->d_stride,
                                     .y_stride = a->d_stride };
        KERNEL(tiles)(&d_q, rows, a->d, keys);
        KERNEL(tiles_columns)(&d_k, keys, a->d, rows);
        KERNEL(tiles_columns)(&d_v, keys, a->d, rows);
    }
}
