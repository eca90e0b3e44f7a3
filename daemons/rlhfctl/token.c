/* token - the tokens of a label-collector, which does it itself: only it knows its database. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "rlhfctl/ctl.h"

int ctl_token(int argc, char **argv, struct rlhf_error *err)
{
    enum { MAX_WORDS = 16 };
    char program[4096], *words[MAX_WORDS + 3] = {program, (char *)"token"};

    if (argc > MAX_WORDS)
        return rlhf_fail(err, RLHF_REJECT, "at most %d arguments", MAX_WORDS);
    memcpy(&words[2], &argv[1], (size_t)argc * sizeof *words); /* with the NULL at the end */
    ctl_find_program(program, sizeof program, "label-collector");
    execvp(program, words);
    return rlhf_fail(err, RLHF_FATAL, "%s: %s", program, strerror(errno));
}
