/* attention.c - softmax(QKᵀ/√D, causal)·V for a block of queries of one head, forwards and backwards.
 *
 * Scores are chains over d, outputs chains over keys in their order; a masked key has weight exactly 0 and adds nothing. So
 * a query's bits depend neither on the queries beside it nor on how many keys lie behind it. */
#include "tensor/kernel/lanes.h"
#include "tensor/kernel/name.h"
#include "tensor/kernel/set.h"

/* scores[keys] of one query become e^((score - max)·scale); keys from `visible` on become 0. Returns their sum. */
static float exponentials(float *scores, size_t visible, size_t keys, float scale, float *max)
{
    v16 largest = v16_set(-INFINITY), sum = v16_set(0), by = v16_set(scale), top;

    for (size_t i = 0; i < visible; i += 16) {
        v16 s = v16_load(scores + i);
        largest = v16_max(visible - i < 16 ? v16_first(s, visible - i, v16_set(-INFINITY)) : s, largest);
    }
    *max = v16_largest(largest) * scale;
    top = v16_set(*max);
    for (size_t i = 0; i < keys; i += 16) {
        v16 e = v16_set(0);
        if (i < visible) {
            e = v16_exp(v16_sub(v16_mul(v16_load(scores + i), by), top));
            if (visible - i < 16)
                e = v16_first(e, visible - i, v16_set(0));
            sum = v16_add(sum, e);
        }
        v16_store(scores + i, e);
    }
    return v16_sum(sum);
}

void KERNEL(attention)(const struct rlhf_attention_rows *a)
{
    size_t keys = rlhf_round16(a->before + a->rows);
    struct rlhf_product scores = { .a = a->q, .a_stride = a->q_stride, .b = a->keys, .b_stride = 16,
                                   .panel_size = a->panel_size, .y = a->scratch, .y_stride = keys };
    struct rlhf_product mix = { .a = a->scratch, .a_stride = keys, .b = a->values, .b_stride = a->value_stride,
                                .panel_size = 16, .y = a->out, .y_stride = a->out_stride };
    float sums[RLHF_ATTENTION_ROWS];

    KERNEL(product)(&scores, false, a->rows, keys, a->d);
    for (size_t r = 0; r < a->rows; r++) {
        float max;

        sums[r] = exponentials(a->scratch + r * keys, a->before + r + 1, keys, a->scale, &max);
        if (a->lse)
            a->lse[r] = max + lanes_log(sums[r]);
    }
    KERNEL(product)(&mix, false, a->rows, a->d, a->before + a->rows);
    for (size_t r = 0; r < a->rows; r++) {
        v16 by = v16_set(1 / sums[r]);
        float *out = a->out + r * a->out_stride;

        for (size_t i = 0; i < a->d; i += 16)
            if (a->d - i >= 16)
                v16_store(out + i, v16_mul(v16_load(out + i), by));
            else
                v16_store_part(out + i, v16_mul(v16_load_part(out + i, a->d - i), by), a->d - i);
    }
}

static float dot(const float *x, const float *y, size_t count)
{
    v16 sum = v16_set(0);

    for (size_t i = 0; i < count; i += 16)
        sum = count - i >= 16 ? v16_fma(v16_load(x + i), v16_load(y + i), sum)
                              : v16_fma(v16_load_part(x + i, count - i), v16_load_part(y + i, count - i), sum);
    return v16_sum(sum);
}

/* P = e^(S·scale - lse), dP = dO·Vᵀ, dS = P·(dP - Σ dO·O)·scale (Dao et al. 2022, appendix B). */
void KERNEL(attention_backward)(const struct rlhf_attention_rows_backward *a)
{
    size_t behind = a->before + a->rows, keys = rlhf_round16(behind);
    float *p = a->scratch, *ds = p + a->rows * keys;
    struct rlhf_product scores = { .a = a->q, .a_stride = a->q_stride, .b = a->keys, .b_stride = 16,
                                   .panel_size = a->panel_size, .y = p, .y_stride = keys };
    struct rlhf_product into = { .a = a->d_out, .a_stride = a->out_stride, .b = a->values, .b_stride = 16,
                                 .panel_size = a->panel_size, .y = ds, .y_stride = keys };
    struct rlhf_product d_q = { .a = ds, .a_stride = keys, .b = a->key_rows, .b_stride = a->key_stride,
                                .panel_size = 16, .y = a->d_q, .y_stride = a->d_q_stride };
    struct rlhf_product d_keys = { .a = ds, .a_stride = keys, .b = a->q_rows, .b_stride = a->q_rows_stride, .panel_size = 16,
                                   .start = a->d_keys, .start_stride = a->d_stride, .y = a->d_keys, .y_stride = a->d_stride };
    struct rlhf_product d_values = { .a = p, .a_stride = keys, .b = a->d_out_rows, .b_stride = a->d_out_rows_stride,
                                     .panel_size = 16, .start = a->d_values, .start_stride = a->d_stride,
                                     .y = a->d_values, .y_stride = a->d_stride };

    KERNEL(product)(&scores, false, a->rows, keys, a->d);
    KERNEL(product)(&into, false, a->rows, keys, a->d);
    for (size_t r = 0; r < a->rows; r++) {
        size_t visible = a->before + r + 1;
        v16 delta = v16_set(dot(a->d_out + r * a->out_stride, a->out + r * a->out_stride, a->d));
        v16 by = v16_set(a->scale), lse = v16_set(a->lse[r]);

        for (size_t i = 0; i < keys; i += 16) {
            float *at = p + r * keys + i, *d = ds + r * keys + i;
            v16 e = v16_exp(v16_sub(v16_mul(v16_load(at), by), lse));
            v16 g = v16_mul(v16_mul(e, v16_sub(v16_load(d), delta)), by);

            if (visible < i + 16) {
                size_t left = visible > i ? visible - i : 0;
                e = v16_first(e, left, v16_set(0));
                g = v16_first(g, left, v16_set(0));
            }
            v16_store(at, e);
            v16_store(d, g);
        }
    }
    KERNEL(product)(&d_q, false, a->rows, a->d, behind);
    KERNEL(product)(&d_keys, true, behind, a->d, a->rows);
    KERNEL(product)(&d_values, true, behind, a->d, a->rows);
}
