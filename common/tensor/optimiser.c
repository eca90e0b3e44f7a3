/* optimiser.c - AdamW and the gradient's norm, in blocks. */
#include "tensor/ops.h"

#include <math.h>

#include "tensor/kernels.h"

enum { BLOCK = 1 << 15 };

static size_t block_size(size_t count, size_t index)
{
    size_t left = count - index * BLOCK;
    return left < BLOCK ? left : BLOCK;
}

struct adamw {
    struct rlhf_adamw_factors factors;
    float *grad, *m, *v, *param;
    size_t count;
};

static void adamw_part(void *ctx, size_t index)
{
    const struct adamw *a = ctx;
    size_t at = index * BLOCK;
    rlhf_kernels()->adamw(&a->factors, a->grad + at, a->m + at, a->v + at, a->param + at,
                          block_size(a->count, index));
}

/* Kingma, Ba 2015 with Loshchilov and Hutter's decay. PyTorch: lr/c1·m/(√(v/c2) + ε) with c = 1 - βᵗ. TF1 (Kingma and
 * Ba's "ε̂" at the end of section 2): lr·√c2/c1·m/(√v + ε). */
void rlhf_adamw_step(const struct rlhf_adamw *a, float grad_scale, bool decay, float *grad, float *m,
                     float *v, float *param, size_t count, struct rlhf_pool *pool)
{
    double lr = (double)a->lr, b1 = (double)a->beta1, b2 = (double)a->beta2;
    double c1 = 1 - pow(b1, (double)a->step), c2 = 1 - pow(b2, (double)a->step);
    struct adamw job = {
        .factors = { .grad_scale = grad_scale, .beta1 = a->beta1, .one_minus_beta1 = (float)(1 - b1),
                     .beta2 = a->beta2, .one_minus_beta2 = (float)(1 - b2),
                     .keep = decay ? (float)(1 - lr * (double)a->weight_decay) : 1.0f,
                     .rate = (float)(a->epsilon_inside_tf1 ? lr * sqrt(c2) / c1 : lr / c1),
                     .root_v_scale = a->epsilon_inside_tf1 ? 1.0f : (float)(1 / sqrt(c2)),
                     .epsilon = a->epsilon },
        .grad = grad, .m = m, .v = v, .param = param, .count = count,
    };
    rlhf_pool_for(count > BLOCK ? pool : NULL, (count + BLOCK - 1) / BLOCK, adamw_part, &job);
}

struct sum {
    const float *x;
    size_t count;
    double *block; /* [blocks] */
};

static void sum_part(void *ctx, size_t index)
{
    const struct sum *s = ctx;
    s->block[index] = rlhf_kernels()->sum_squares(s->x + index * BLOCK, block_size(s->count, index));
}

double rlhf_sum_squares(const float *x, size_t count, struct rlhf_pool *pool)
{
    size_t blocks = (count + BLOCK - 1) / BLOCK;
    struct sum s = { x, count, (double *)(void *)rlhf_shared_scratch(2 * blocks) };
    double sum = 0;

    rlhf_pool_for(count > BLOCK ? pool : NULL, blocks, sum_part, &s);
    for (size_t i = 0; i < blocks; i++)
        sum += s.block[i];
    return sum;
}
