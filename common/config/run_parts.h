/* run_parts.h - what the parts of the run file share: its table (run_keys.c), its rules (run_check.c), and the asking (run.c). */
#ifndef RLHF_CONFIG_RUN_PARTS_H
#define RLHF_CONFIG_RUN_PARTS_H

#include "config/run.h"

/* The words of choices that others name, too; each ends with NULL. */
extern const char *const rlhf_run_algorithms[];     /* by enum rlhf_run_algorithm */
extern const char *const rlhf_run_direct_losses[];
extern const char *const rlhf_run_products_names[]; /* of run.products */
extern const char *const rlhf_run_styles[];         /* of model.style  */

#define RLHF_RUN_LARGE 1e15 /* a limit for numbers that have no natural one */

extern const struct rlhf_config_schema rlhf_run_reward_schema; /* an entry of `rewards:` */

#define RLHF_RUN_REWARD_KINDS "reward_model, pattern, length, exact, service or judge"
/* How many keys it has: exactly one, its kind, is right. */
int rlhf_run_reward_kinds(const struct rlhf_run_reward *r);

bool rlhf_stage_makes_policy(enum rlhf_stage_kind kind);

/* -1: RLHF_REJECT, err says which key of which stage goes against which rule. where names the file. */
int rlhf_run_check(const struct rlhf_run *run, const char *where, struct rlhf_error *err);

#endif
