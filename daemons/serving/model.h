/* model.h - what rollout-workers and reward-scorers share of the place where the machine side and the maths side meet. */
#ifndef SERVING_MODEL_H
#define SERVING_MODEL_H

#include "base/pool.h"
#include "model/model.h"
#include "net/weights.h"

/* A model for inference that reads its weights where they came in, in memory or in a file shared on this host, and keeps w
 * until it is freed; its products are packed already. Takes w, when it fails, too. NULL: the weights are no model. */
struct rlhf_model *serving_model(struct rlhf_weights *w, struct rlhf_pool *pool, struct rlhf_error *err);

#endif
