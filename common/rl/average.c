#include "rl/average.h"

void rlhf_average_update(float *average, const float *weight, size_t count, double decay)
{
    for (size_t i = 0; i < count; i++)
        average[i] = (float)(decay * average[i] + (1 - decay) * weight[i]);
}
