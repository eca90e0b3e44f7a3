#include "learner/action.h"

#include <stdlib.h>

void learner_comparison_free(struct learner_comparison *c)
{
    free(c->id);
    free(c->task);
    free(c->prompt);
    free(c->labeler);
    free(c->source);
    for (size_t i = 0; c->completions && i < c->count; i++)
        free(c->completions[i]);
    free(c->completions);
    free(c->ranks);
    *c = (struct learner_comparison){ 0 };
}

void learner_answer_free(struct learner_answer *a)
{
    for (size_t i = 0; a->rollouts && i < a->count; i++) {
        free(a->rollouts[i].ids);
        free(a->rollouts[i].logprob);
        free(a->rollouts[i].logprob_raw);
    }
    for (size_t i = 0; a->scores && i < a->count; i++)
        free(a->scores[i].logprob_ref);
    for (size_t i = 0; a->comparisons && i < a->count; i++)
        learner_comparison_free(&a->comparisons[i]);
    for (size_t i = 0; i < a->weight_count; i++)
        free(a->weights[i].labeler);
    free(a->weights);
    free(a->rollouts);
    free(a->scores);
    free(a->comparisons);
    *a = (struct learner_answer){ 0 };
}
