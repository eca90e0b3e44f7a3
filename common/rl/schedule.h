/* schedule.h - how a learning rate moves over the steps of a stage. */
#ifndef RLHF_RL_SCHEDULE_H
#define RLHF_RL_SCHEDULE_H

#include <stdint.h>

enum rlhf_schedule { RLHF_SCHEDULE_CONSTANT, RLHF_SCHEDULE_LINEAR, RLHF_SCHEDULE_COSINE };

struct rlhf_schedule_settings {
    enum rlhf_schedule kind;
    uint64_t warmup;    /* steps of linear rise from warmup_from to 1                         */
    uint64_t total;     /* steps in all: the fall ends there, at final                        */
    double warmup_from; /* multiplier at step 0 when there is a warm-up; InstructGPT: 0.1     */
    double final;       /* multiplier at step `total`; InstructGPT's SFT and RM: 0.1          */
};

/* The multiplier of the peak rate at step (0, 1, ...), in [0, 1]. With warmup_from 0 and final 0 these are
 * the schedules of transformers (get_constant_schedule_with_warmup, get_linear_..., get_cosine_...), except
 * that beyond `total` the cosine stays at final where theirs rises again. */
double rlhf_schedule_at(const struct rlhf_schedule_settings *s, uint64_t step);

#endif
