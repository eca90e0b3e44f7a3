/* resume - tells the learner of a run to go on with a stage that its watch paused. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "config/run.h"
#include "rlhfctl/ctl.h"
#include "rlhfctl/link.h"

enum { TURN_MS = 50, PATIENCE_US = 3000000 };

static error_t parse(int key, char *text, struct argp_state *state)
{
    const char **file = state->input;

    switch (key) {
    case ARGP_KEY_ARG:
        if (*file)
            argp_error(state, "one run file at a time");
        *file = text;
        break;
    case ARGP_KEY_END:
        if (!*file)
            argp_error(state, "which run file?");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* What the learner does at the moment, which begins with "paused: " while it is. */
static const char *detail(const Rlhf__V1__Status *s)
{
    return s && s->stage < s->n_stages ? s->stages[s->stage]->detail : "";
}

static int tell(struct ctl_link *link, const char *endpoint, struct rlhf_error *err)
{
    int64_t until = rlhf_now(&rlhf_system_clock) + PATIENCE_US;
    bool told = false;

    while (rlhf_now(&rlhf_system_clock) < until && !ctl_link_resumed(link)) {
        const Rlhf__V1__Status *s = ctl_link_status(link);

        if (s && !told && !rlhf_starts_with(detail(s), "paused: "))
            return rlhf_fail(err, RLHF_REJECT, "run %s is not paused; it is %s", s->run, s->state);
        if (s && !told) {
            printf("%s %s\n", s->stages[s->stage]->name, detail(s));
            ctl_link_resume(link);
            told = true;
        }
        ctl_links_wait(&link, 1, TURN_MS);
    }
    if (!ctl_link_resumed(link))
        return rlhf_fail(err, RLHF_AGAIN, "the learner at %s did not answer; is the run up?", endpoint);
    puts("It goes on; this limit is off for the rest of the stage.");
    return 0;
}

int ctl_resume(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp parser = {NULL, parse, "FILE", "Tells the learner of a run file to go on with a stage that its watch paused.",
                                       NULL, NULL,  NULL};
    const char *file = NULL;
    struct ctl_link *link;
    struct rlhf_run run;
    int rc = -1;

    argp_parse(&parser, argc, argv, 0, NULL, &file);
    ctl_log_level("error");
    if (rlhf_run_read(&run, file, err) < 0)
        return -1;
    if ((link = ctl_link_new(run.learner.listen, RLHF__V1__ROLE__ROLE_LEARNER, NULL, err)))
        rc = tell(link, run.learner.listen, err);
    ctl_link_free(link);
    rlhf_run_free(&run);
    return rc;
}
