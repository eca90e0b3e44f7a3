/* samples.c - the same prompts answered by several policies, side by side, with what differs marked. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/completions.h"

enum { POLICIES = 6, PROMPTS = 12, WORDS = 300, OFFERED = 5000 };

struct words {
    const char *at[WORDS];
    size_t size[WORDS], count;
    const char *end; /* behind the last one */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Completions begin with the space before their first word. */
static const char *trimmed(const char *text)
{
    while (is_space(*text))
        text++;
    return text;
}

static void split(struct words *w, const char *text)
{
    w->count = 0;
    while (*text && w->count < WORDS) {
        const char *from = text;
        while (is_space(*text))
            text++;
        while (*text && !is_space(*text))
            text++;
        w->at[w->count] = from; /* with the space before it, which makes no difference */
        w->size[w->count++] = (size_t)(text - from);
    }
    w->end = text;
}

static bool same_word(const struct words *a, size_t i, const struct words *b, size_t j)
{
    const char *x = a->at[i], *y = b->at[j];
    size_t n = a->size[i], m = b->size[j];

    while (n > 0 && is_space(*x))
        x++, n--;
    while (m > 0 && is_space(*y))
        y++, m--;
    return n == m && memcmp(x, y, n) == 0;
}

/* common[j]: word j of b is in the longest common subsequence with a. */
static void compare(const struct words *a, const struct words *b, bool *common)
{
    static uint16_t longest[WORDS + 1][WORDS + 1]; /* of the words from i and from j on; one thread makes reports */
    size_t i, j;

    memset(common, 0, b->count * sizeof *common);
    for (i = 0; i <= a->count; i++)
        longest[i][b->count] = 0;
    for (j = 0; j <= b->count; j++)
        longest[a->count][j] = 0;
    for (i = a->count; i-- > 0;)
        for (j = b->count; j-- > 0;)
            longest[i][j] = same_word(a, i, b, j)                   ? (uint16_t)(longest[i + 1][j + 1] + 1)
                            : longest[i + 1][j] > longest[i][j + 1] ? longest[i + 1][j]
                                                                    : longest[i][j + 1];
    for (i = j = 0; i < a->count && j < b->count;) {
        if (same_word(a, i, b, j)) {
            common[j++] = true;
            i++;
        } else if (longest[i + 1][j] >= longest[i][j + 1]) {
            i++;
        } else {
            j++;
        }
    }
}

static void put_marked(struct markup *m, const char *first, const char *text)
{
    struct words a, b;
    bool common[WORDS];

    split(&a, first);
    split(&b, text);
    compare(&a, &b, common);
    for (size_t i = 0; i < b.count; i++) {
        const char *word = trimmed(b.at[i]);
        size_t space = (size_t)(word - b.at[i]);
        space = space < b.size[i] ? space : b.size[i];
        if (i > 0 && !common[i] && common[i - 1])
            markup_text_size(m, b.at[i], space);
        markup_put(m, "%s", !common[i] && (i == 0 || common[i - 1]) ? "<mark>" : "");
        if (i > 0 && (common[i] || !common[i - 1]))
            markup_text_size(m, b.at[i], space);
        markup_text_size(m, b.at[i] + space, b.size[i] - space);
        markup_put(m, "%s", !common[i] && (i + 1 == b.count || common[i + 1]) ? "</mark>" : "");
    }
    markup_text(m, b.end);
}

/* ---- prompts ------------------------------------------------------------------------------------------- */

static bool same_place(const json_t *a, const json_t *b)
{
    return completions_number(a, "index") == completions_number(b, "index") &&
           strcmp(completions_text(a, "set"), completions_text(b, "set")) == 0 &&
           strcmp(completions_text(a, "prompt"), completions_text(b, "prompt")) == 0;
}

static bool is_first(const json_t *line)
{
    double sample = completions_number(line, "sample");

    return isnan(sample) || sample == 0;
}

/* The line about the same prompt; files of one evaluation have one order, so it is near `hint`. */
static const json_t *counterpart(const struct completions *c, const json_t *line, size_t hint)
{
    const json_t *there = json_array_get(c->lines, hint), *other;
    size_t i;

    if (there && same_place(there, line) && is_first(there))
        return there;
    json_array_foreach(c->lines, i, other)
    {
        if (same_place(other, line) && is_first(other))
            return other;
    }
    return NULL;
}

/* What the others are compared with: the reference of the evaluation, where it has one that it measured. */
static size_t base_of(const struct report *r, const struct completions *policies, size_t count)
{
    int index = rlhf_run_find(&r->run->run, policies[0].stage);
    const char *reference = rlhf_run_stage(&r->run->run, (size_t)index)->evaluate->reference;

    for (size_t i = 0; reference && i < count; i++)
        if (strcmp(policies[i].policy, reference) == 0)
            return i;
    return 0;
}

static void put_answer(struct report *r, const struct completions *c, const json_t *line, const json_t *first)
{
    struct markup *m = &r->page;
    double reward = completions_number(line, "reward");

    markup_put(m, "<div class=\"answer\"><h4>");
    markup_text(m, c->policy);
    if (isfinite(reward)) {
        markup_put(m, " <span>reward ");
        markup_number(m, reward);
        markup_put(m, "</span>");
    }
    markup_put(m, "</h4><p class=\"text\">");
    if (!line)
        markup_put(m, "<i>no completion</i>");
    else if (line == first)
        markup_text(m, trimmed(completions_text(line, "completion")));
    else
        put_marked(m, completions_text(first, "completion"), completions_text(line, "completion"));
    if (line && json_is_false(json_object_get(line, "ended")))
        markup_put(m, "<span class=\"cut\" title=\"it did not end within max_new_tokens\"> \u2026</span>");
    markup_put(m, "</p></div>");
}

static void put_prompt(struct report *r, const struct completions *policies, size_t count, size_t base, size_t at)
{
    const json_t *first = json_array_get(policies[base].lines, at);

    markup_put(&r->page, "<article class=\"sample\"><p class=\"text prompt\">");
    markup_text(&r->page, completions_text(first, "prompt"));
    markup_put(&r->page, "</p><div class=\"answers\">");
    for (size_t i = 0; i < count; i++)
        put_answer(r, &policies[i], i == base ? first : counterpart(&policies[i], first, at), first);
    markup_put(&r->page, "</div></article>\n");
}

bool report_samples(struct report *r)
{
    struct completions policies[POLICIES];
    size_t count = completions_read(r, policies, POLICIES), offered[OFFERED], prompts = 0, base;

    if (count == 0)
        return report_missing(r, "No evaluate stage has completed prompts yet.");
    base = base_of(r, policies, count);
    for (size_t i = 0; i < json_array_size(policies[base].lines) && prompts < OFFERED; i++)
        if (is_first(json_array_get(policies[base].lines, i)))
            offered[prompts++] = i;
    for (size_t i = 0; i < PROMPTS && i < prompts; i++)
        put_prompt(r, policies, count, base, offered[prompts <= PROMPTS ? i : i * prompts / PROMPTS]);
    completions_free(policies, count);
    return true;
}
