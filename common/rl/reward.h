/* reward.h - what happens to scores between the reward model and the policy's loss. Arrays [B], one a completion.
 *
 * NaN is a missing score, a state: it stays missing through all of these and is never taken for 0. */
#ifndef RLHF_RL_REWARD_H
#define RLHF_RL_REWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- scales ------------------------------------------------------------------------------------------- */

struct rlhf_reward_scale {
    double gain, bias; /* score' = gain · score + bias */
};

/* So that these scores, of samples of the reference policy, get mean and standard deviation (over n - 1) as given:
 * N(0, 1) in lm-human-preferences (256 samples, before and after training). Scores that do not vary, or one alone,
 * keep gain 1. Missing scores are left out; with none at all the scale is 1 and 0. */
struct rlhf_reward_scale rlhf_reward_scale_fit(const float *score, size_t count, double mean, double deviation);
/* Gain 1: only the mean is moved, to 0 for InstructGPT's "labeler demonstrations achieve a mean score of 0" (app. C). */
struct rlhf_reward_scale rlhf_reward_bias_fit(const float *score, size_t count, double mean);
void rlhf_reward_scale_apply(const struct rlhf_reward_scale *s, float *score, size_t count);

/* score = clip(score, low, high). */
void rlhf_reward_clip(float *score, size_t count, double low, double high);

/* ---- several sources ---------------------------------------------------------------------------------- */

/* out[B] = mean - k · standard deviation (over M - 1; 0 for one) of the scores of M models, score[m][B]: a
 * conservative reward (Coste et al. 2023 have the variance). Missing models are left out; none: missing. */
void rlhf_reward_ensemble(const float *const *score, size_t models, size_t count, double k, float *out);

/* out[B] = sum of weight[s] · score[s][B] over S sources; missing where a source whose weight is not 0 is missing. */
void rlhf_reward_mix(const float *const *score, const double *weight, size_t sources, size_t count, float *out);

/* ---- ends of completions ------------------------------------------------------------------------------ */

/* The EOS trick: the score of a completion that is not finished is `penalty`, -1 in lm-human-preferences and
 * summarize_from_feedback_details, whatever the model said. */
void rlhf_eos_penalty(float *score, const bool *finished, size_t count, double penalty);

/* DAPO's soft overlong punishment (Yu et al. 2025, eq. 13), to be added to the score of a completion of `length` tokens:
 * 0 up to limit - cache, falling to -1 at limit, -1 beyond. Its other way, overlong filtering, is to make an unfinished
 * completion an empty row before its batch's weights are taken. */
double rlhf_overlong_penalty(size_t length, size_t limit, size_t cache);

#endif
