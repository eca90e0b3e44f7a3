#include "rl/statistics.h"

#include <math.h>

bool rlhf_all_finite(const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

double rlhf_explained_variance(const float *value, const float *ret, size_t count)
{
    double mean = 0, mean_error = 0, variance = 0, unexplained = 0;

    if (count == 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        mean += ret[i] / (double)count;
        mean_error += ((double)ret[i] - value[i]) / (double)count;
    }
    for (size_t i = 0; i < count; i++) {
        double error = (double)ret[i] - value[i] - mean_error;
        variance += (ret[i] - mean) * (ret[i] - mean);
        unexplained += error * error;
    }
    return variance > 0 ? 1 - unexplained / variance : 0;
}

double rlhf_correlation(const float *x, const float *y, size_t count)
{
    double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;

    for (size_t i = 0; i < count; i++) {
        mean_x += x[i] / (double)count;
        mean_y += y[i] / (double)count;
    }
    for (size_t i = 0; i < count; i++) {
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        yy += (y[i] - mean_y) * (y[i] - mean_y);
        xy += (x[i] - mean_x) * (y[i] - mean_y);
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

struct rlhf_interval rlhf_wilson(double successes, double trials, double z)
{
    struct rlhf_interval all = {0, 1};
    double p, z2 = z * z, center, half;

    if (trials <= 0)
        return all;
    p = successes / trials;
    center = (p + z2 / (2 * trials)) / (1 + z2 / trials);
    half = z / (1 + z2 / trials) * sqrt(p * (1 - p) / trials + z2 / (4 * trials * trials));
    return (struct rlhf_interval){fmax(0, center - half), fmin(1, center + half)};
}

struct rlhf_interval rlhf_wilson_mean(const double *value, size_t count, double z, double *mean)
{
    double n = (double)count, sum = 0, squares = 0, trials = n;

    for (size_t i = 0; i < count; i++)
        sum += value[i];
    *mean = count ? sum / n : 0;
    for (size_t i = 0; i < count; i++)
        squares += (value[i] - *mean) * (value[i] - *mean);
    if (squares > 0) /* so there are two at least */
        trials = *mean * (1 - *mean) / (squares / (n - 1) / n);
    return rlhf_wilson(*mean * trials, trials, z);
}
