#include "serving/model.h"

#include <string.h>

static void release(void *w)
{
    rlhf_weights_free(w);
}

struct rlhf_model *serving_model(struct rlhf_weights *w, struct rlhf_pool *pool, struct rlhf_error *err)
{
    const char *config = rlhf_weights_config(w);
    struct rlhf_blob payload = rlhf_weights_payload(w);
    struct rlhf_model *m = rlhf_model_view(config, strlen(config), payload.data, payload.size, release, w, err);

    if (m && rlhf_model_ready(m, pool, err) < 0) {
        rlhf_model_free(m);
        return NULL;
    }
    return m;
}
