#include "rl/ragged.h"

void rlhf_ragged_sums(const struct rlhf_ragged *r, const float *x, double *sum)
{
    for (size_t i = 0; i < r->count; i++) {
        sum[i] = 0;
        for (uint32_t t = r->start[i]; t < r->start[i + 1]; t++)
            sum[i] += x[t];
    }
}
