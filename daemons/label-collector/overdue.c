#include "overdue.h"

#include "store_vendors.h"
#include "telemetry/log.h"

enum { EVERY_US = 60 * 1000000, AT_ONCE = 1000 };

static int free_some(struct collector *c, size_t *freed, struct rlhf_error *err)
{
    if (collector_store_begin(c->store, err) < 0)
        return -1;
    if (collector_vendor_free_overdue(c->store, AT_ONCE, freed, err) < 0) {
        collector_store_rollback(c->store);
        return -1;
    }
    return collector_store_commit(c->store, err);
}

void collector_free_overdue(struct collector *c)
{
    int64_t now = rlhf_now(c->env->clock);
    struct rlhf_error err = { .code = RLHF_OK };
    size_t freed = 0;

    if (now < c->overdue_at_us || c->draining || c->trouble.code != RLHF_OK)
        return;
    if (free_some(c, &freed, &err) < 0)
        collector_wrote(c, &err);
    else if (freed)
        rlhf_log(RLHF_LEVEL_INFO, "offered-again tasks=%zu: their vendors had them for hold_hours", freed);
    c->overdue_at_us = freed == AT_ONCE ? now : now + EVERY_US;
}
