/* average.h - the exponential moving average of a policy's weights. */
#ifndef RLHF_RL_AVERAGE_H
#define RLHF_RL_AVERAGE_H

#include <stddef.h>

/* average = decay · average + (1 - decay) · weight, after each update; InstructGPT's decay is 0.992 (app. C). It
 * starts as a copy of the weights, which needs no correction of bias. Rounded once from double. */
void rlhf_average_update(float *average, const float *weight, size_t count, double decay);

#endif
