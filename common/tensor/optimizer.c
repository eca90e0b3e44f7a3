#include "tensor/kernels.h"

enum { BLOCK = 1 << 14 }; /* elements a task */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

struct update {
    const struct rlhf_adamw *a;
    float grad_scale;
    bool decay;
    const float *grad;
    float *m, *v, *param;
    size_t count;
};

static void update_block(void *ctx, size_t index)
{
    const struct update *u = ctx;
    size_t at = index * BLOCK;

    rlhf_kernels()->adamw(u->a, u->grad_scale, u->decay, u->grad + at, u->m + at, u->v + at, u->param + at,
                          smaller(BLOCK, u->count - at));
}

void rlhf_adamw_step(const struct rlhf_adamw *a, float grad_scale, bool decay, const float *grad, float *m, float *v,
                     float *param, size_t count, struct rlhf_pool *pool)
{
    struct update u = { a, grad_scale, decay, grad, m, v, param, count };

    rlhf_pool_for(count > BLOCK ? pool : NULL, (count + BLOCK - 1) / BLOCK, update_block, &u);
}

struct squares {
    const float *x;
    size_t count;
    double *sums;
};

static void sum_block(void *ctx, size_t index)
{
    const struct squares *s = ctx;
    size_t at = index * BLOCK;

    s->sums[index] = rlhf_kernels()->sum_squares(s->x + at, smaller(BLOCK, s->count - at));
}

double rlhf_sum_squares(const float *x, size_t count, struct rlhf_pool *pool)
{
    size_t blocks = (count + BLOCK - 1) / BLOCK;
    struct squares s = { x, count, (double *)rlhf_scratch(0, 2 * (blocks + 1)) };
    double sum = 0;

    rlhf_pool_for(blocks > 1 ? pool : NULL, blocks, sum_block, &s);
    for (size_t i = 0; i < blocks; i++)
        sum += s.sums[i];
    return sum;
}
