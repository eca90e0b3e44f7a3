#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void rlhf_assert_failed(const char *condition, const char *file, int line, const char *function)
{
    fprintf(stderr, "%s:%d: %s: invariant broken: %s\n", file, line, function, condition);
    abort();
}
