/* sigmoid.h - σ and log σ without overflow and with their linear tails. */
#ifndef RLHF_RL_SIGMOID_H
#define RLHF_RL_SIGMOID_H

#include <math.h>

static inline double rlhf_sigmoid(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static inline double rlhf_log_sigmoid(double x)
{
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

#endif
