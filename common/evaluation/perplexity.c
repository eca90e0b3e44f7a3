/* perplexity.c - how well a text is predicted, by its words, bytes and tokens, as the harness' loglikelihood_rolling tasks.
 *
 * *.txt (*.txt.gz): the whole file is one text. Otherwise rows with "text", or with "page" as the WikiText of the harness has them: that
 * is turned into plain text first, and its words and bytes are those of the page as it was. */
#include "evaluation/parts.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/text.h"
#include "data/file.h"

/* ---- WikiText, as the harness' wikitext_detokenizer() -------------------------------------------------- */

/* In this order; with a pattern the replacement may use $1. */
static const struct {
    bool pattern;
    const char *from, *to;
} steps[] = {
    { false, "s '", "s'" },
    { true, "/' [0-9]/", "/'[0-9]/" },
    { false, " @-@ ", "-" },
    { false, " @,@ ", "," },
    { false, " @.@ ", "." },
    { false, " : ", ": " },
    { false, " ; ", "; " },
    { false, " . ", ". " },
    { false, " ! ", "! " },
    { false, " ? ", "? " },
    { false, " , ", ", " },
    { true, "\\(\\s*([^\\)]*?)\\s*\\)", "($1)" },
    { true, "\\[\\s*([^\\]]*?)\\s*\\]", "[$1]" },
    { true, "{\\s*([^}]*?)\\s*}", "{$1}" },
    { true, "\"\\s*([^\"]*?)\\s*\"", "\"$1\"" },
    { true, "'\\s*([^']*?)\\s*'", "'$1'" },
    { false, "= = = =", "====" },
    { false, "= = =", "===" },
    { false, "= =", "==" },
    { false, " \u00b0 ", "\u00b0" },
    { false, " \n", "\n" },
    { false, "\n ", "\n" },
    { false, " N ", " 1 " },
    { false, " 's", "'s" },
};

/* text with every match replaced, in *out. */
static int substitute(const struct rlhf_bytes *text, bool pattern, const char *from, const char *to, struct rlhf_bytes *out,
                      struct rlhf_error *err)
{
    const uint32_t options = PCRE2_UTF | (pattern ? PCRE2_UCP : PCRE2_LITERAL);
    const uint32_t how = PCRE2_SUBSTITUTE_GLOBAL | (pattern ? 0 : PCRE2_SUBSTITUTE_LITERAL);
    PCRE2_UCHAR why[120];
    int number, rc;
    PCRE2_SIZE at, size = 2 * text->size + 64; /* no replacement is longer than what it replaces */
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)from, PCRE2_ZERO_TERMINATED, options, &number, &at, NULL);

    if (!code)
        return rlhf_fail(err, RLHF_FULL, "no memory for a pattern");
    if ((rc = rlhf_bytes_reserve(out, size, err)) == 0) {
        rc = pcre2_substitute(code, (PCRE2_SPTR)(text->data ? text->data : ""), text->size, 0, how, NULL, NULL, (PCRE2_SPTR)to,
                              PCRE2_ZERO_TERMINATED, (PCRE2_UCHAR *)out->data, &size);
        out->size = rc < 0 ? 0 : size;
        if (rc < 0) {
            pcre2_get_error_message(rc, why, sizeof why);
            rlhf_fail(err, RLHF_REJECT, "cannot be turned into plain text: %s", (const char *)why);
        }
    }
    pcre2_code_free(code);
    return rc < 0 ? -1 : 0;
}

static int make_plain(const char *page, struct rlhf_bytes *out, struct rlhf_error *err)
{
    int rc = rlhf_bytes_append(out, page, strlen(page), err);

    for (size_t i = 0; rc == 0 && i < sizeof(steps) / sizeof(*steps); i++) {
        struct rlhf_bytes next = { 0 };

        rc = substitute(out, steps[i].pattern, steps[i].from, steps[i].to, &next, err);
        rlhf_bytes_free(out);
        *out = next;
    }
    return rc;
}

/* ---- reading ------------------------------------------------------------------------------------------ */

/* A text is a question without context, whose only choice it is; its group is what it was counted by. */
static int add_text(struct rlhf_suite *s, const char *where, const char *text, const char *counted, struct rlhf_error *err)
{
    struct rlhf_question q = { .where = where, .context = "", .choices = 1 };
    const char **choice = rlhf_suite_block(s, 1, sizeof *choice, err);

    if (!choice || !(choice[0] = rlhf_suite_text(s, text, err)))
        return -1;
    q.choice = choice;
    q.group = counted == text ? choice[0] : rlhf_suite_text(s, counted, err);
    return q.group ? rlhf_suite_add(s, &q, err) : -1;
}

static int read_row(struct rlhf_suite *s, const json_t *row, const char *where, struct rlhf_error *err)
{
    struct rlhf_bytes plain = { 0 };
    const char *text, *page;
    int rc;

    if (rlhf_get_text(row, "page", false, where, &page, err) < 0 || rlhf_get_text(row, "text", page == NULL, where, &text, err) < 0)
        return -1;
    if (!page)
        return add_text(s, where, text, text, err);
    if ((rc = make_plain(page, &plain, err)) < 0)
        rlhf_fail_prefix(err, "%s", where);
    else
        rc = add_text(s, where, plain.data, page, err);
    rlhf_bytes_free(&plain);
    return rc;
}

static int read_text(struct rlhf_suite *s, struct rlhf_error *err)
{
    struct rlhf_data_file f;
    int rc = -1;

    if (rlhf_data_file_open(&f, s->settings.file, err) < 0)
        return -1;
    if (f.size == 0)
        rlhf_fail(err, RLHF_REJECT, "%s: the file is empty", f.path);
    else if (!rlhf_utf8_valid(f.data, f.size) || memchr(f.data, 0, f.size))
        rlhf_fail(err, RLHF_REJECT, "%s: not UTF-8 text", f.path);
    else {
        char *text = strndup(f.data, f.size); /* a mapped file does not end with a NUL */

        rc = text ? add_text(s, s->settings.file, text, text, err) : rlhf_fail(err, RLHF_FULL, "%s: no memory for it", f.path);
        free(text);
        s->rows = 1;
    }
    rlhf_data_file_close(&f);
    return rc;
}

static int read_file(struct rlhf_suite *s, struct rlhf_error *err)
{
    const char *file = s->settings.file;

    return rlhf_ends_with(file, ".txt") || rlhf_ends_with(file, ".txt.gz") ? read_text(s, err) : rlhf_suite_rows(s, read_row, err);
}

/* ---- figures ------------------------------------------------------------------------------------------ */

/* len(re.split(r"\s+", text)) */
static size_t words(const char *text)
{
    size_t count = 1, n;
    bool space = false;

    for (; *text; text += n) {
        const bool now = rlhf_is_space(rlhf_char(text, &n));

        count += now && !space;
        space = now;
    }
    return count;
}

/* The windows of text i: [from, to) of all. Its words and bytes are shared out by their tokens. */
static int mark(const struct rlhf_question *q, const struct rlhf_request *window, const double *logprob, size_t count,
                struct rlhf_figure *figures, struct rlhf_error *err)
{
    const double all_words = (double)words(q->group), all_bytes = (double)strlen(q->group);
    size_t tokens = 0;

    for (size_t i = 0; i < count; i++)
        tokens += window[i].wanted;
    if (count == 0) /* nothing to predict, yet one word to the harness */
        return rlhf_figure_append(&figures[0], 0, all_words, err);
    for (size_t i = 0; i < count; i++) {
        const double share = (double)window[i].wanted / (double)tokens;

        if (rlhf_figure_append(&figures[0], -logprob[i], all_words * share, err) < 0
            || rlhf_figure_append(&figures[1], -logprob[i], all_bytes * share, err) < 0
            || rlhf_figure_append(&figures[2], -logprob[i], all_bytes * share, err) < 0
            || rlhf_figure_append(&figures[3], -logprob[i], (double)window[i].wanted, err) < 0)
            return -1;
    }
    return 0;
}

static int add_windows(const struct rlhf_suite *s, const struct rlhf_framing *f, struct rlhf_requests *r, size_t *end,
                       struct rlhf_error *err)
{
    for (size_t i = 0; i < s->count; i++) {
        const char *text = s->questions[i].choice[0];

        if (rlhf_requests_add_text(r, f, text, strlen(text), err) < 0)
            return rlhf_fail_prefix(err, "%s", s->questions[i].where);
        end[i] = r->count;
    }
    return r->count ? 0 : rlhf_fail(err, RLHF_REJECT, "%s: there is no text to predict in it", s->settings.file);
}

static int examine(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_figures *out, struct rlhf_error *err)
{
    const size_t first = out->count;
    struct rlhf_requests r = { 0 };
    size_t *end = calloc(s->count, sizeof *end);
    double *logprob = NULL;
    int rc = -1;

    if (!end)
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu texts", s->count);
    if (rlhf_figures_add(out, "word_perplexity", RLHF_PERPLEXITY, RLHF_LOWER, err)
        && rlhf_figures_add(out, "byte_perplexity", RLHF_PERPLEXITY, RLHF_LOWER, err)
        && rlhf_figures_add(out, "bits_per_byte", RLHF_BITS, RLHF_LOWER, err)
        && rlhf_figures_add(out, "token_perplexity", RLHF_PERPLEXITY, RLHF_LOWER, err)
        && add_windows(s, rlhf_subject_framing(subject), &r, end, err) == 0) {
        if (!(logprob = calloc(r.count, sizeof *logprob)))
            rlhf_fail(err, RLHF_FULL, "no memory for %zu windows", r.count);
        else
            rc = rlhf_subject_score(subject, &r, logprob, NULL, err);
    }
    for (size_t i = 0, from = 0; rc == 0 && i < s->count; from = end[i++])
        rc = mark(&s->questions[i], r.at + from, logprob + from, end[i] - from, &out->at[first], err);
    free(logprob);
    free(end);
    rlhf_requests_free(&r);
    return rc;
}

const struct rlhf_suite_kind rlhf_perplexity = {
    .name = "perplexity",
    .about = "how well a text is predicted: perplexity of words, bytes and tokens, bits of a byte",
    .folder = "tinyshakespeare",
    .files = (const char *const[]){ "input.txt", "wiki.test.jsonl", NULL },
    .delimiter = "",
    .whole = read_file,
    .examine = examine,
};
