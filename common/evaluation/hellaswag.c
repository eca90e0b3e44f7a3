/* hellaswag.c - the endings of HellaSwag (Zellers et al. 2019, arXiv:1905.07830), and multiple choice in its format, as the harness'
 * hellaswag.
 *
 * Rows: activity_label, ctx_a, ctx_b, endings, label (the right ending, from 0). */
#include "evaluation/parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "chat/template.h"

/* What Python's str methods do is left to the templates, which know them. " [title]" and the brackets come from WikiHow. */
static const char source[] = "{{ (activity_label ~ ': ' ~ ctx_a ~ ' ' ~ ctx_b.capitalize()).strip() }}";
static const char strip[] = "{{ ending.strip() }}";

static int render(const char *template, const json_t *row, const char *where, struct rlhf_bytes *out, struct rlhf_error *err)
{
    struct rlhf_template *t = rlhf_template_new(template, strlen(template), "hellaswag", err);
    struct rlhf_rendered r = { 0 };
    int rc = t ? rlhf_template_render(t, row, 0, &r, err) : -1;

    rlhf_bytes_free(out);
    if (rc < 0)
        rlhf_fail_prefix(err, "%s", where);
    *out = r.text;
    r.text = (struct rlhf_bytes){ 0 };
    rlhf_rendered_free(&r);
    rlhf_template_free(t);
    return rc;
}

/* What to replace `from` by, of text in place: to is not longer. */
static void replace(char *text, const char *from, const char *to)
{
    const size_t from_size = strlen(from), to_size = strlen(to);
    char *put = text;

    while (*text)
        if (strncmp(text, from, from_size) == 0) {
            memcpy(put, to, to_size);
            put += to_size;
            text += from_size;
        } else {
            *put++ = *text++;
        }
    *put = '\0';
}

/* re.sub("\\[.*?\\]", "", text): from a bracket to the next closing one in the same line. */
static void remove_brackets(char *text)
{
    char *put = text;

    while (*text) {
        size_t inside = *text == '[' ? strcspn(text, "]\n") : 0;

        if (*text == '[' && text[inside] == ']')
            text += inside + 1;
        else
            *put++ = *text++;
    }
    *put = '\0';
}

static void clean(char *text)
{
    replace(text, " [title]", ". ");
    remove_brackets(text);
    replace(text, "  ", " ");
}

static char *cleaned(struct rlhf_suite *s, const char *template, const json_t *row, const char *where, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    char *copy = NULL;

    if (render(template, row, where, &text, err) == 0 && (copy = rlhf_suite_text(s, text.data ? text.data : "", err)))
        clean(copy);
    rlhf_bytes_free(&text);
    return copy;
}

static int read_endings(struct rlhf_suite *s, const json_t *row, struct rlhf_question *q, struct rlhf_error *err)
{
    const json_t *endings = json_object_get(row, "endings");
    const char **choice;

    q->choices = json_array_size(endings);
    if (q->choices < 1)
        return rlhf_fail(err, RLHF_REJECT, "%s: \"endings\" must be a list of strings", q->where);
    if (!(choice = rlhf_suite_block(s, q->choices, sizeof *choice, err)))
        return -1;
    for (size_t i = 0; i < q->choices; i++) {
        json_t *ending = json_pack("{s:O}", "ending", json_array_get(endings, i));

        if (!json_is_string(json_array_get(endings, i)))
            rlhf_fail(err, RLHF_REJECT, "%s: endings[%zu] must be a string", q->where, i);
        else
            choice[i] = cleaned(s, strip, ending, q->where, err);
        json_decref(ending);
        if (!choice[i])
            return -1;
    }
    q->choice = choice;
    return 0;
}

static int read_row(struct rlhf_suite *s, const json_t *row, const char *where, struct rlhf_error *err)
{
    static const char *const keys[] = { "activity_label", "ctx_a", "ctx_b" };
    struct rlhf_question q = { .where = where };
    const char *text;
    size_t label;
    bool *right;

    for (size_t i = 0; i < 3; i++)
        if (rlhf_get_text(row, keys[i], true, where, &text, err) < 0)
            return -1;
    if (read_endings(s, row, &q, err) < 0 || rlhf_suite_index(row, "label", q.choices, where, &label, err) < 0
        || !(q.context = cleaned(s, source, row, where, err)) || !(right = rlhf_suite_block(s, q.choices, sizeof *right, err)))
        return -1;
    right[label] = true;
    q.right = right;
    return rlhf_suite_add(s, &q, err);
}

static size_t characters(const char *text)
{
    size_t count = 0;

    for (size_t n; *text; text += n, count++)
        rlhf_char(text, &n);
    return count;
}

static int examine(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_figures *out, struct rlhf_error *err)
{
    const size_t first = out->count;
    double **logprob;
    int rc = 0;

    if (!rlhf_figures_add(out, "acc", RLHF_RATE, RLHF_HIGHER, err)
        || !rlhf_figures_add(out, "acc_norm", RLHF_RATE, RLHF_HIGHER, err) || !(logprob = rlhf_suite_ask(s, subject, err)))
        return -1;
    for (size_t i = 0; rc == 0 && i < s->count; i++) {
        const struct rlhf_question *q = &s->questions[i];

        rc = rlhf_figure_append(&out->at[first], q->right[rlhf_most(logprob[i], q->choices)], 1, err);
        for (size_t c = 0; c < q->choices; c++)
            logprob[i][c] /= (double)characters(q->choice[c]);
        if (rc == 0)
            rc = rlhf_figure_append(&out->at[first + 1], q->right[rlhf_most(logprob[i], q->choices)], 1, err);
    }
    free(logprob);
    return rc;
}

const struct rlhf_suite_kind rlhf_hellaswag = {
    .name = "hellaswag",
    .about = "HellaSwag and multiple choice in its format: the likeliest ending, as it is (acc) and a character (acc_norm)",
    .folder = "hellaswag",
    .files = (const char *const[]){ "hellaswag_val.jsonl", "data/hellaswag_val.jsonl", NULL },
    .delimiter = " ",
    .row = read_row,
    .examine = examine,
};
