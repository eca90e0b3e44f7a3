/* statistics.h - the numbers beside the losses. */
#ifndef RLHF_RL_STATISTICS_H
#define RLHF_RL_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>

bool rlhf_all_finite(const float *x, size_t count);

/* 1 - Var(ret - value) / Var(ret): 1 is a perfect critic, 0 one that knows the mean only. 0 where ret does
 * not vary. */
double rlhf_explained_variance(const float *value, const float *ret, size_t count);

/* Pearson's correlation of x and y; 0 where one of them does not vary. */
double rlhf_correlation(const float *x, const float *y, size_t count);

/* Wilson's score interval (1927) of a rate seen as `successes` of `trials`, z = 1.96 for 95 %. It stays
 * inside [0, 1] and is right for small counts. [0, 1] when trials is 0. */
struct rlhf_interval {
    double low, high;
};
struct rlhf_interval rlhf_wilson(double successes, double trials, double z);
/* The same of the mean of count values in [0, 1] that are independent of each other and need not be 0 or 1: shares of wins, ties. Of as
 * many trials as would have their standard error (Kish's effective sample size; Korn and Graubard 1998), of count where they do not
 * vary. Puts their mean in *mean. */
struct rlhf_interval rlhf_wilson_mean(const double *value, size_t count, double z, double *mean);

#endif
