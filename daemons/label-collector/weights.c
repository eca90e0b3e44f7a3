#include "weights.h"

#include <inttypes.h>
#include <math.h>

#include "quality.h"
#include "telemetry/log.h"

static const double moved = 0.01; /* less is noise, and would fill the audit */

struct present {
    double weight;
    bool by_hand;
};

static void look(void *ctx, const struct collector_standing *s)
{
    *(struct present *)ctx = (struct present){s->weight, s->weight_by_hand};
}

int collector_weigh(struct collector *c, const char *round, const char *who, bool all, size_t *set,
                    struct rlhf_error *err)
{
    struct collector_agreement a;
    int rc;

    *set = 0;
    if (collector_measure_weights(c->store, round, &a, err) < 0)
        return -1;
    rc = 0;
    for (size_t i = 0; rc == 0 && i < a.people; ++i) {
        const struct collector_person *p = &a.person[i];
        struct present now = {.weight = 1};
        rc = collector_store_standing(c->store, "labeler", p->name, NULL, 1, look, &now, err);
        if (rc < 0 || (now.by_hand && !all) || fabs(now.weight - p->weight) < moved)
            continue;
        rc = collector_store_set_standing(c->store, "labeler", p->name,
                                          &(struct collector_change){.weight = &p->weight}, who, err);
        *set += rc == 0;
    }
    collector_agreement_free(&a);
    return rc < 0 ? -1 : 0;
}

static int weigh_alone(struct collector *c, size_t *set, struct rlhf_error *err)
{
    if (collector_store_begin(c->store, err) < 0)
        return -1;
    if (collector_weigh(c, "", "measured", false, set, err) < 0) {
        collector_store_rollback(c->store);
        return -1;
    }
    return collector_store_commit(c->store, err);
}

void collector_weigh_when_due(struct collector *c)
{
    int64_t now = rlhf_now(c->env->clock), every = c->config->weights_seconds * 1000000;
    struct collector_counts n;
    struct rlhf_error err = {.code = RLHF_OK};
    size_t set;

    if (every == 0 || now < c->weigh_at_us || c->draining || c->trouble.code != RLHF_OK)
        return;
    c->weigh_at_us = now + every;
    if (collector_store_counts(c->store, "", &n, &err) == 0) {
        if (n.sequence < c->weighed + (uint64_t)c->config->weights_labels)
            return;
        if (weigh_alone(c, &set, &err) == 0) {
            c->weighed = n.sequence;
            if (set > 0)
                rlhf_log(RLHF_LEVEL_INFO, "weights labelers=%zu sequence=%" PRIu64, set, n.sequence);
            return;
        }
    }
    collector_wrote(c, &err);
}
