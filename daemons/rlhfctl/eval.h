/* eval.h - what the parts of `rlhfctl eval` share. */
#ifndef RLHFCTL_EVAL_H
#define RLHFCTL_EVAL_H

#include "evaluation/suite.h"

struct eval_model {
    const char *dir, *adapter; /* adapter NULL: none */
    struct rlhf_figures *figures; /* [suites] */
};

/* A line a figure; with against its own and the difference, too, and what was compared: [count]. */
void eval_print_table(char *const *suites, size_t count, const struct eval_model *m, const struct eval_model *against,
                      const struct rlhf_figures *compared);

#endif
