/* attention.c - causal attention of one key/value head of one sequence.
 *
 * The scores of a block of queries are held whole, so that a row's softmax has one order (16 lanes over the keys, then the
 * fixed fold) wherever its block begins. A score is one chain over d, an output one chain over the keys in
 * order; keys behind a query have probability exactly 0 and change nothing. */
#include "tensor/kernel/rows.h"

/* In place: scores become exp(score·scale - max), 0 from `keys` to width. Returns the sum and *max. */
INLINE float softmax_row(float *score, size_t keys, size_t width, float scale, float *max)
{
    v16 least = v16_set(-INFINITY), most = least, by = v16_set(scale), zero = v16_set(0), sum = zero;
    size_t whole = keys / 16 * 16, j;

    for (j = 0; j < whole; j += 16)
        most = v16_max(most, v16_load(score + j));
    if (j < keys)
        most = v16_max(most, v16_first(v16_load(score + j), keys - j, least));
    *max = v16_largest(most) * scale;
    v16 top = v16_set(*max); /* rounded as the scaled scores are */
    for (j = 0; j < whole; j += 16) {
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

void KERNEL(attention)(const struct rlhf_attention_task *a)
{
    size_t c = a->d;
    float scale = 1.0f / sqrtf((float)a->d), *score = a->scratch;

    for (size_t h = 0; h < a->group; h++)
        for (size_t from = a->from, rows; from < a->to; from += rows) {
            rows = a->to - from < RLHF_ATTENTION_ROWS ? a->to - from : RLHF_ATTENTION_ROWS;
            size_t keys = from + rows, width = (keys + 15) / 16 * 16, at = from - a->from;
            float *out = a->out + at * a->out_stride + h * a->d;
            struct rlhf_operands scores = { .a = a->q + at * a->q_stride + h * a->d, .a_stride = a->q_stride,
                                            .b = a->keys, .b_stride = 16, .panel_size = a->keys_panel,
                                            .y = score, .y_stride = width };
            struct rlhf_operands mix = { .a = score, .a_stride = width, .b = a->values,
                                         .b_stride = a->values_stride, .panel_size = 16, .y = out,
                                         .y_stride = a->out_stride };
            float inverse[RLHF_ATTENTION_ROWS];

            KERNEL(tiles)(&scores, rows, width, a->d);
            for (size_t r = 0; r < rows; r++) {
                float max, sum = softmax_row(score + r * width, from + r + 1, width, scale, &max);
                inverse[r] = 1.0f / sum;
                if (a->lse)
                    a->lse[h * a->lse_stride + at + r] = max + lanes_log(sum);
            }
            KERNEL(tiles)(&mix, rows, a->d, keys);
            for (size_t r = 0; r < rows; r++) {
                float *y = out + r * a->out_stride;
                v16 by = v16_set(inverse[r]);
                FOR_LANES(c) STORE(y, v16_mul(LOAD(y), by));
            }
        }
}

/* Scores become P = exp(score·scale - lse), dp becomes dS = P·(dP - delta)·scale; 0 from `keys` to width. */
INLINE void gradient_row(float *score, float *dp, size_t keys, size_t width, float scale, float lse, float delta)
{
    v16 by = v16_set(scale), minus_lse = v16_set(-lse), minus_delta = v16_set(-delta), zero = v16_set(0);

    for (size_t j = 0; j < width; j += 16) {
        v16 p = zero, ds = zero;
        if (j < keys) {
            p = v16_exp(v16_fma(v16_load(score + j), by, minus_lse));
            ds = v16_mul(v16_mul(p, v16_add(v16_load(dp + j), minus_delta)), by);
        }
        if (j < keys && j + 16 > keys) {
            p = v16_first(p, keys - j, zero);
            ds = v16_first(ds, keys - j, zero);
        }
        v16_store(score + j, p);
        v16_store(dp + j, ds);
    }
}

void KERNEL(attention_backward)(const struct rlhf_attention_task *a)
{
    size_t c = a->d;
    float scale = 1.0f / sqrtf((float)a->d);

    for (size_t from = 0, rows; from < a->to; from += rows) {
        rows = a->to - from < RLHF_ATTENTION_ROWS ? a->to - from : RLHF_ATTENTION_ROWS;
        size_t keys = from + rows, width = (keys + 15) / 16 * 16;
        float *p = a->scratch, *ds = p + rows * width;
        const float *q = a->q + from * a->q_stride, *dy = a->d_out + from * a->out_stride;
        struct rlhf_operands scores = { .a = q, .a_stride = a->q_stride, .b = a->keys, .b_stride = 16,
                                        .panel_size = a->keys_panel, .y = p, .y_stride = width };
        struct rlhf_operands dp = { .a = dy, .a_stride = a->out_stride, .b = a->value_panels, .b_stride = 16,
                                    .panel_size = a->keys_panel, .y = ds, .y_stride = width };

        KERNEL(tiles)(&scores, rows, width, a->d);
        KERNEL(tiles)(&dp, rows, width, a->d);
        for (size_t r = 0; r < rows; r++) {
            const float *g = dy + r * a->out_stride, *o = a->y + (from + r) * a->y_stride;
            v16 delta = v16_set(0);
            FOR_LANES(c) delta = v16_fma(LOAD(g), LOAD(o), delta);
            gradient_row(p + r * width, ds + r * width, from + r + 1, width, scale, a->logsum[from + r],
                         v16_sum(delta));
        }
        struct rlhf_operands d_q = { .a = ds, .a_stride = width, .b = a->key_rows, .b_stride = a->values_stride,
                                     .panel_size = 16, .y = a->d_q + from * a->d_stride,
                                     .y_stride = a->d_stride };
        struct rlhf_operands d_k = { .a = ds, .a_stride = width, .b = q, .b_stride = a->q_stride,
                                     .panel_size = 16, .start = a->d_k, .start_stride = a->d_stride,
                                     .y = a->d_k, .y_stride = a->d_stride };
        struct rlhf_operands d_v = { .a = p, .a_stride = width, .b = dy, .b_stride = a->out_stride,
                                     .panel_size = 16, .start = a->d_v, .start_stride = a->d_stride,
                                     .y = a->d_v, .y_stride = a->d_stride };
        KERNEL(tiles)(&d_q, rows, a->d, keys);
        KERNEL(tiles_columns)(&d_k, keys, a->d, rows);
        KERNEL(tiles_columns)(&d_v, keys, a->d, rows);
    }
}
