/* gsm8k.c - grade-school mathematics (Cobbe et al. 2021, arXiv:2110.14168), as the harness' gsm8k: examples first, greedy decoding, and the number
 * that the text ends with.
 *
 * Rows: question, answer (whose number stands behind "#### "). */
#include "evaluation/parts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "evaluation/examples.h"

enum { USUAL_TOKENS = 256, SEED = 1234 /* the harness' fewshot_random_seed */ };

static const char *const stops[] = { "Question:", "</s>", "<|im_end|>" };

static int check_row(const json_t *row, const char *where, const char **question, const char **answer, struct rlhf_error *err)
{
    return rlhf_get_text(row, "question", true, where, question, err) < 0 || rlhf_get_text(row, "answer", true, where, answer, err) < 0
               ? -1
               : 0;
}

static int read_row(struct rlhf_suite *s, const json_t *row, const char *where, struct rlhf_error *err)
{
    struct rlhf_question q = { .where = where, .choices = 1 };
    const char *question, *answer, **choice;

    if (check_row(row, where, &question, &answer, err) < 0)
        return -1;
    if (!strstr(answer, "#### "))
        return rlhf_fail(err, RLHF_REJECT, "%s: \"answer\" has no \"#### \" with the number behind it", where);
    if (!(q.context = rlhf_suite_printf(s, err, "Question: %s\nAnswer:", question))
        || !(choice = rlhf_suite_block(s, 1, sizeof *choice, err)) || !(choice[0] = rlhf_suite_text(s, answer, err)))
        return -1;
    q.choice = choice;
    return rlhf_suite_add(s, &q, err);
}

/* ---- examples ----------------------------------------------------------------------------------------- */

struct shots {
    char **text; /* [count] question and answer; owned */
    size_t count, capacity;
};

static int add_shot(struct shots *t, const char *question, const char *answer, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };

    if (t->count == t->capacity) {
        size_t more = t->capacity ? 2 * t->capacity : 1024;
        char **grown = reallocarray(t->text, more, sizeof *grown);

        if (!grown)
            return rlhf_fail(err, RLHF_FULL, "no memory for %zu examples", more);
        t->text = grown;
        t->capacity = more;
    }
    if (rlhf_bytes_printf(&text, err, "Question: %s\nAnswer: %s\n\n", question, answer) < 0) {
        rlhf_bytes_free(&text);
        return -1;
    }
    t->text[t->count++] = text.data;
    return 0;
}

static int read_shots(const char *path, struct shots *t, struct rlhf_error *err)
{
    const char *question, *answer;
    struct rlhf_rows rows;
    const json_t *row;
    int more, rc = rlhf_rows_open(&rows, path, err);

    if (rc < 0)
        return -1;
    while (rc == 0 && (more = rlhf_rows_next(&rows, &row, err)) != 0)
        rc = more < 0 || check_row(row, rows.where, &question, &answer, err) < 0 ? -1 : add_shot(t, question, answer, err);
    rlhf_rows_close(&rows);
    return rc;
}

/* Every question gets the examples that the harness draws for it, which depend on how many there are to draw from. */
static int add_examples(struct rlhf_suite *s, struct rlhf_error *err)
{
    const size_t wanted = s->settings.shots;
    size_t drawn[RLHF_EXAMPLES_MAX];
    struct rlhf_bytes context = { 0 };
    struct rlhf_examples draws;
    struct shots t = { 0 };
    int rc = 0;

    if (wanted == 0)
        return 0;
    if (wanted > RLHF_EXAMPLES_MAX)
        return rlhf_fail(err, RLHF_REJECT, "gsm8k: at most %d examples can stand before a question, not %zu", RLHF_EXAMPLES_MAX, wanted);
    if (!s->settings.companion)
        return rlhf_fail(err, RLHF_REJECT, "gsm8k: there is no file to take %zu examples from (train.jsonl beside %s); "
                                           "ask without examples, or name it", wanted, s->settings.file);
    if ((rc = read_shots(s->settings.companion, &t, err)) == 0 && t.count < wanted)
        rc = rlhf_fail(err, RLHF_REJECT, "%s: holds %zu examples, not the %zu wanted", s->settings.companion, t.count, wanted);
    rlhf_examples_init(&draws, SEED);
    for (size_t i = 0; rc == 0 && i < s->count; i++) {
        rlhf_examples_draw(&draws, t.count, wanted, drawn);
        rlhf_bytes_clear(&context);
        for (size_t j = 0; rc == 0 && j < wanted; j++)
            rc = rlhf_bytes_append(&context, t.text[drawn[j]], strlen(t.text[drawn[j]]), err);
        if (rc == 0 && !(s->questions[i].context = rlhf_suite_printf(s, err, "%s%s", context.data, s->questions[i].context)))
            rc = -1;
    }
    for (size_t i = 0; i < t.count; i++)
        free(t.text[i]);
    free(t.text);
    rlhf_bytes_free(&context);
    return rc;
}

/* ---- answers ------------------------------------------------------------------------------------------ */

/* "#### (\-?[0-9\.\,]+)", its first match; NULL: none. */
static const char *find_strict(const char *text, size_t *size)
{
    for (const char *at = text; (at = strstr(at, "#### ")); at++) {
        const char *number = at + 5;
        const size_t sign = *number == '-', digits = strspn(number + sign, "0123456789.,");

        if (digits > 0) {
            *size = sign + digits;
            return number;
        }
    }
    return NULL;
}

/* "(-?[$0-9.,]{2,})|(-?[0-9]+)", its last match; NULL: none. */
static const char *find_flexible(const char *text, size_t *size)
{
    const char *last = NULL;

    while (*text) {
        const size_t sign = *text == '-', some = strspn(text + sign, "$0123456789.,"), digits = strspn(text + sign, "0123456789");
        const size_t match = some >= 2 ? sign + some : digits > 0 ? sign + digits : 0;

        if (match) {
            last = text;
            *size = match;
        }
        text += match ? match : 1;
    }
    return last;
}

/* What exact_match compares: without what stands up to the last "#### ", commas, dollars and a point at the end; in lower case. */
static char *plain(const char *text, size_t size)
{
    char *out = strndup(text, size), *put = out, *last = NULL;

    if (!out)
        return NULL;
    for (const char *at = out; *at; at++)
        if (*at != ',' && *at != '$')
            *put++ = (char)tolower((unsigned char)*at);
    *put = '\0';
    for (char *at = out; (at = strstr(at, "#### ")); at += 5)
        last = at + 5;
    if (last)
        memmove(out, last, strlen(last) + 1);
    size = strlen(out);
    if (size && out[size - 1] == '.')
        out[size - 1] = '\0';
    else if (size > 1 && out[size - 1] == '\n' && out[size - 2] == '.')
        memcpy(out + size - 2, "\n", 2);
    return out;
}

bool rlhf_gsm8k_right(const char *text, const char *answer, bool strict)
{
    size_t size = 0;
    const char *found = strict ? find_strict(text, &size) : find_flexible(text, &size);
    char *a = found ? plain(found, size) : NULL, *b = plain(answer, strlen(answer));
    const bool same = a && b && strcmp(a, b) == 0;

    free(a);
    free(b);
    return same;
}

static int mark(const struct rlhf_suite *s, char **text, struct rlhf_figures *out, struct rlhf_error *err)
{
    const size_t first = out->count;

    if (!rlhf_figures_add(out, "strict", RLHF_RATE, RLHF_HIGHER, err) || !rlhf_figures_add(out, "flexible", RLHF_RATE, RLHF_HIGHER, err))
        return -1;
    for (size_t i = 0; i < s->count; i++) {
        const char *answer = s->questions[i].choice[0];

        if (rlhf_figure_append(&out->at[first], rlhf_gsm8k_right(text[i], answer, true), 1, err) < 0
            || rlhf_figure_append(&out->at[first + 1], rlhf_gsm8k_right(text[i], answer, false), 1, err) < 0)
            return -1;
    }
    return 0;
}

static int examine(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_figures *out, struct rlhf_error *err)
{
    const struct rlhf_completing c = {
        .sampling = { .temperature = 0, .top_p = 1, .max_new_tokens = s->settings.max_new_tokens ? s->settings.max_new_tokens : USUAL_TOKENS },
        .stops = stops, .stop_count = sizeof(stops) / sizeof(*stops), .samples = 1 };
    char **text = rlhf_suite_complete(s, subject, "", &c, err);
    int rc = text ? mark(s, text, out, err) : -1;

    rlhf_suite_forget(s, text);
    return rc;
}

const struct rlhf_suite_kind rlhf_gsm8k = {
    .name = "gsm8k",
    .about = "grade-school mathematics: the number behind \"####\" (strict), the last number (flexible)",
    .folder = "gsm8k",
    .files = (const char *const[]){ "test.jsonl", NULL },
    .companions = (const char *const[]){ "train.jsonl", NULL },
    .shots = 5,
    .delimiter = " ",
    .row = read_row,
    .whole = add_examples,
    .examine = examine,
};
