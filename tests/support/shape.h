/* shape.h - small model configurations, said in one line. */
#ifndef SUPPORT_SHAPE_H
#define SUPPORT_SHAPE_H

#include "base/check.h"
#include "model/config.h"

struct shape {
    uint32_t layers, heads, head_size, mlp_size, vocabulary, context;
};

/* As many key heads as heads, heads * head_size channels. */
static inline struct rlhf_model_config a_config(const char *style, struct shape s)
{
    struct rlhf_model_config c;

    RLHF_ASSERT(rlhf_model_config_style(&c, style, NULL) == 0);
    c.layers = s.layers;
    c.heads = c.kv_heads = s.heads;
    c.head_size = s.head_size;
    c.channels = s.heads * s.head_size;
    c.mlp_size = s.mlp_size;
    c.vocabulary = s.vocabulary;
    c.context = s.context;
    return c;
}

#endif
