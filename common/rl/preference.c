#include "rl/preference.h"

#include <math.h>

#include "rl/sigmoid.h"

static size_t ordered_pairs(const uint32_t *rank, size_t k)
{
    size_t pairs = 0;

    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < i; j++)
            pairs += rank[i] != rank[j];
    return pairs;
}

double rlhf_pair_loss(const struct rlhf_preference *s, double chosen, double rejected, double margin,
                      double *d_chosen, double *d_rejected)
{
    double d = chosen - rejected - margin, sum = chosen + rejected, eps = s->label_smoothing;
    double slope = -(1 - eps) * rlhf_sigmoid(-d) + eps * rlhf_sigmoid(d), centering = 2 * s->center * sum;

    *d_chosen = slope + centering;
    *d_rejected = -slope + centering;
    return -(1 - eps) * rlhf_log_sigmoid(d) - eps * rlhf_log_sigmoid(-d) + s->center * sum * sum;
}

double rlhf_kway_loss(const struct rlhf_preference *s, const float *reward, const uint32_t *rank, size_t k,
                      double scale, float *d_reward, size_t *pairs)
{
    size_t count = ordered_pairs(rank, k);
    double sum = 0;

    if (pairs)
        *pairs = count;
    for (size_t i = 0; i < k; i++) {
        double slope = 0; /* of the pairs' sum by reward[i] */
        for (size_t j = 0; j < k; j++) {
            double mine, other;
            if (rank[i] < rank[j]) {
                sum +=
                    rlhf_pair_loss(s, reward[i], reward[j], s->margin * (rank[j] - rank[i]), &mine, &other);
                slope += mine;
            } else if (rank[j] < rank[i]) {
                rlhf_pair_loss(s, reward[j], reward[i], s->margin * (rank[i] - rank[j]), &other, &mine);
                slope += mine;
            }
        }
        if (count)
            d_reward[i] = (float)(d_reward[i] + scale * slope / (double)count);
    }
    return count ? sum / (double)count : 0;
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
