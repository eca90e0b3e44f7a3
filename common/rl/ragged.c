#include "rl/ragged.h"

#include <math.h>

void rlhf_ragged_sums(const struct rlhf_ragged *r, const float *x, double *sum)
{
    for (size_t i = 0; i < r->count; i++) {
        sum[i] = 0;
        for (uint32_t t = r->start[i]; t < r->start[i + 1]; t++)
            sum[i] += x[t];
    }
}

int rlhf_ragged_finite(const struct rlhf_ragged *r, const float *x, const char *what, struct rlhf_error *err)
{
    for (uint32_t t = r->start[0]; t < r->start[r->count]; t++)
        if (!isfinite(x[t]))
            return rlhf_fail(err, RLHF_REJECT, "%s[%u] is %g: it must be finite", what, t, (double)x[t]);
    return 0;
}
