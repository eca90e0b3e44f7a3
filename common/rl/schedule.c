#include "rl/schedule.h"

#include <math.h>

double rlhf_schedule_at(const struct rlhf_schedule_settings *s, uint64_t step)
{
    double done;

    if (step < s->warmup)
        return s->warmup_from + (1 - s->warmup_from) * (double)step / (double)s->warmup;
    if (s->kind == RLHF_SCHEDULE_CONSTANT)
        return 1;
    if (step >= s->total || s->total <= s->warmup)
        return s->final;
    done = (double)(step - s->warmup) / (double)(s->total - s->warmup);
    if (s->kind == RLHF_SCHEDULE_LINEAR)
        return s->final + (1 - s->final) * (1 - done);
    return s->final + (1 - s->final) * 0.5 * (1 + cos(M_PI * done));
}
