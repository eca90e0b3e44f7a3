/* judge.h - a judge or a reward service as a run file describes it, for evaluations outside of runs.
 *
 * The file has one entry of `rewards:`, as
 *   judge: {name: helpful, url: 'https://api.example.org/v1/chat/completions', credential: judge-key, model: a-model,
 *           question: 'Rate the answer from 0 to 10 as {"score": N}. Question: {prompt} Answer: {completion}'} */
#ifndef RLHF_EVALUATION_JUDGE_H
#define RLHF_EVALUATION_JUDGE_H

#include "config/run.h"
#include "evaluation/rewarder.h"
#include "reward/source.h"

/* What an entry of `rewards:` asks for; kind as rlhf_run_source() has it, not that of a reward model. Borrows from s. */
struct rlhf_source_settings rlhf_judge_settings(const struct rlhf_run_source *s, int kind);

struct rlhf_judge;

/* credentials: the folder with the key that the source names; NULL: there is none. NULL and *err: RLHF_REJECT where path is no
 * such entry, or not one that is asked over HTTP. */
struct rlhf_judge *rlhf_judge_open(const char *path, const char *credentials, struct rlhf_error *err);
/* Waits for all answers. A completion without one is NaN; -1 where none can be asked for. Not for two threads at a time. */
struct rlhf_rewarder rlhf_judge_rewarder(struct rlhf_judge *j);
size_t rlhf_judge_missing(const struct rlhf_judge *j, const char **why); /* so far; *why: what kept the last one away */
void rlhf_judge_free(struct rlhf_judge *j); /* NULL is fine */

#endif
