/* arithmetic.c - sums as GPT-3's authors published them (Brown et al. 2020, arXiv:2005.14165), as the harness' arithmetic: right when greedy
 * decoding gives the answer, token for token.
 *
 * Rows: context ("Q: What is 98 plus 45?\n\nA:"), completion (" 143"). */
#include "evaluation/parts.h"

#include <stdlib.h>
#include <string.h>

#include "chat/template.h"

/* The harness' process_docs(). */
static const char template[] = "{{ context.strip().replace('\\n\\n', '\\n').replace('Q:', 'Question:').replace('A:', 'Answer:') }}";

static int read_row(struct rlhf_suite *s, const json_t *row, const char *where, struct rlhf_error *err)
{
    struct rlhf_question q = { .where = where, .choices = 1 };
    struct rlhf_template *t = NULL;
    struct rlhf_rendered r = { 0 };
    const char *context, *completion, **choice;
    int rc = -1;

    if (rlhf_get_text(row, "context", true, where, &context, err) < 0
        || rlhf_get_text(row, "completion", true, where, &completion, err) < 0)
        return -1;
    if (!*completion)
        return rlhf_fail(err, RLHF_REJECT, "%s: \"completion\" is empty", where);
    if ((t = rlhf_template_new(template, sizeof template - 1, "arithmetic", err)) && rlhf_template_render(t, row, 0, &r, err) == 0
        && (q.context = rlhf_suite_text(s, r.text.data ? r.text.data : "", err))
        && (choice = rlhf_suite_block(s, 1, sizeof *choice, err)) && (choice[0] = rlhf_suite_text(s, completion, err))) {
        q.choice = choice;
        rc = rlhf_suite_add(s, &q, err);
    }
    rlhf_rendered_free(&r);
    rlhf_template_free(t);
    return rc;
}

static int examine(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_figures *out, struct rlhf_error *err)
{
    struct rlhf_figure *acc = rlhf_figures_add(out, "acc", RLHF_RATE, RLHF_HIGHER, err);
    struct rlhf_requests r = { 0 };
    bool *greedy = calloc(s->count, sizeof *greedy);
    int rc = greedy ? 0 : rlhf_fail(err, RLHF_FULL, "no memory for %zu sums", s->count);

    for (size_t i = 0; acc && rc == 0 && i < s->count; i++)
        if ((rc = rlhf_requests_add(&r, rlhf_subject_framing(subject), s->questions[i].context, s->questions[i].choice[0], err)) < 0)
            rlhf_fail_prefix(err, "%s", s->questions[i].where);
    if (!acc || (rc == 0 && rlhf_subject_score(subject, &r, NULL, greedy, err) < 0))
        rc = -1;
    for (size_t i = 0; rc == 0 && i < s->count; i++)
        rc = rlhf_figure_append(acc, greedy[i], 1, err);
    rlhf_requests_free(&r);
    free(greedy);
    return rc;
}

const struct rlhf_suite_kind rlhf_arithmetic = {
    .name = "arithmetic",
    .about = "sums in GPT-3's format, right when greedy decoding gives the answer",
    .folder = "arithmetic",
    .files = (const char *const[]){ "two_digit_addition.jsonl", "data/two_digit_addition.jsonl", NULL },
    .delimiter = "",
    .row = read_row,
    .examine = examine,
};
