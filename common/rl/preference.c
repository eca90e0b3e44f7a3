#include "rl/preference.h"

#include <math.h>

double rlhf_log_sigmoid(double x)
{
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

static double sigmoid(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static size_t ordered_pairs(const uint32_t *rank, size_t k)
{
    size_t pairs = 0;

    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < i; j++)
            pairs += rank[i] != rank[j];
    return pairs;
}

double rlhf_kway_loss(const float *reward, const uint32_t *rank, size_t k, double scale, float *d_reward,
                      size_t *pairs)
{
    size_t count = ordered_pairs(rank, k);
    double sum = 0;

    if (pairs)
        *pairs = count;
    for (size_t i = 0; i < k; i++) {
        double slope = 0; /* of the pairs' sum by reward[i] */
        for (size_t j = 0; j < k; j++) {
            if (rank[i] < rank[j]) {
                double d = (double)reward[i] - reward[j];
                sum -= rlhf_log_sigmoid(d);
                slope -= sigmoid(-d);
            } else if (rank[j] < rank[i]) {
                slope += sigmoid((double)reward[i] - reward[j]);
            }
        }
        if (count)
            d_reward[i] = (float)(d_reward[i] + scale * slope / (double)count);
    }
    return count ? sum / (double)count : 0;
}

double rlhf_pair_loss(double chosen, double rejected, double margin, double center, double *d_chosen,
                      double *d_rejected)
{
    double d = chosen - rejected - margin, sum = chosen + rejected;

    *d_chosen = -sigmoid(-d) + 2 * center * sum;
    *d_rejected = sigmoid(-d) + 2 * center * sum;
    return -rlhf_log_sigmoid(d) + center * sum * sum;
}

void rlhf_agreement_add(struct rlhf_agreement *a, const float *score, const uint32_t *rank, size_t k)
{
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < i; j++) {
            double d = (double)score[i] - score[j];
            if (rank[i] == rank[j]) {
                a->ties++;
                a->margin += fabs(d);
                continue;
            }
            a->pairs++;
            a->ordered_margin += fabs(d);
            a->right += d == 0 ? 0.5 : (d > 0) == (rank[i] < rank[j]);
        }
}

void rlhf_agreement_end(struct rlhf_agreement *a)
{
    if (a->ties)
        a->margin /= (double)a->ties;
    if (a->pairs)
        a->ordered_margin /= (double)a->pairs;
}
