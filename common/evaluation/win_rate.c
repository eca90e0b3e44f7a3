/* win_rate.c - how often a model's completion of a prompt is judged better than another model's. Both are sampled with the same draws, each
 * once a prompt; a tie is half a win.
 *
 * Rows: prompts (rlhf_suite_prompt()). */
#include "evaluation/parts.h"

#include <math.h>
#include <string.h>

enum { USUAL_TOKENS = 128 };

static int check(struct rlhf_suite *s, struct rlhf_error *err)
{
    return s->settings.rewarder ? 0
                                : rlhf_fail(err, RLHF_REJECT, "win_rate: who judges? It needs a reward model or a judge");
}

static int examine(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_figures *out, struct rlhf_error *err)
{
    const struct rlhf_completing c = {
        .sampling = { .temperature = s->settings.temperature, .top_p = 1,
                      .max_new_tokens = s->settings.max_new_tokens ? s->settings.max_new_tokens : USUAL_TOKENS },
        .samples = 1, .seed = s->settings.seed, .answers = true };
    const size_t first = out->count;
    char **text;
    int rc;

    if (!rlhf_figures_add(out, "reward", RLHF_MEAN, RLHF_HIGHER, err)
        || !rlhf_figures_add(out, "length", RLHF_MEAN, RLHF_NEITHER, err)
        || !(text = rlhf_suite_complete(s, subject, "", &c, err)))
        return -1;
    rc = rlhf_suite_reward(s, text, &out->at[first], err);
    for (size_t i = 0; rc == 0 && i < s->count; i++)
        rc = rlhf_figure_append(&out->at[first + 1], (double)strlen(text[i]), 1, err);
    rlhf_suite_forget(s, text);
    return rc;
}

static int compare(const struct rlhf_figures *a, const struct rlhf_figures *b, struct rlhf_figures *out, struct rlhf_error *err)
{
    const struct rlhf_figure *x = rlhf_figures_find(a, "reward"), *y = rlhf_figures_find(b, "reward");
    struct rlhf_figure *wins = rlhf_figures_add(out, "win_rate", RLHF_RATE, RLHF_HIGHER, err);

    for (size_t i = 0; wins && i < x->count; i++)
        if (rlhf_figure_append(wins, isnan(x->value[i]) || isnan(y->value[i]) ? NAN : x->value[i] > y->value[i] ? 1 : x->value[i] == y->value[i] ? 0.5 : 0,
                               1, err) < 0)
            return -1;
    return wins ? 0 : -1;
}

const struct rlhf_suite_kind rlhf_win_rate = {
    .name = "win_rate",
    .about = "rewards of completions; against another model, how often they are the higher ones",
    .folder = "self-instruct",
    .files = (const char *const[]){ "prompts.jsonl", "user_oriented_instructions.jsonl", NULL },
    .delimiter = "",
    .row = rlhf_suite_prompt,
    .whole = check,
    .examine = examine,
    .compare = compare,
};
