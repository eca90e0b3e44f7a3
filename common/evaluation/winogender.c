/* winogender.c - Winogender schemas (Rudinger et al. 2018, arXiv:1804.09301), as the harness' winogender_all asks them.
 *
 * Rows: sentid ("technician.customer.1.male.txt": occupation, participant, which of them the pronoun means, its gender) and sentence, as
 * published; or sentence, pronoun, occupation, participant, gender, label, as on the Hugging Face hub. Beside the accuracies, what the gender
 * of the pronoun does alone: the gap between male and female, and how often a pair that differs in nothing else is resolved alike. */
#include "evaluation/parts.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum gender { MALE, FEMALE, NEUTRAL, GENDERS };
static const char *const genders[] = { "male", "female", "neutral" };
static const char *const pronouns[][4] = { { "he", "him", "his" }, { "she", "her" }, { "they", "them", "their" } };

/* What a row says, whichever form it has. Strings are the row's, or parts' own. */
struct schema {
    char parts[160]; /* sentid, with its points made ends */
    const char *sentence, *pronoun, *occupation, *participant;
    size_t pronoun_size, label, gender;
};

/* The word of this gender in the sentence. */
static bool find_pronoun(struct schema *c)
{
    for (const char *word = c->sentence; *word;) {
        size_t size = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'");

        for (size_t i = 0; size && i < 4 && pronouns[c->gender][i]; i++)
            if (size == strlen(pronouns[c->gender][i]) && strncasecmp(word, pronouns[c->gender][i], size) == 0) {
                c->pronoun = word;
                c->pronoun_size = size;
                return true;
            }
        word += size ? size : 1;
    }
    return false;
}

static int read_gender(struct schema *c, const char *text, const char *where, struct rlhf_error *err)
{
    for (c->gender = 0; c->gender < GENDERS; c->gender++)
        if (strcmp(text, genders[c->gender]) == 0)
            return 0;
    return rlhf_fail(err, RLHF_REJECT, "%s: the gender \"%.40s\" is not male, female or neutral", where, text);
}

static int read_published(struct schema *c, const char *sentid, const char *where, struct rlhf_error *err)
{
    char *part[5] = { c->parts }, *rest = c->parts;
    size_t n = 1;

    if ((size_t)snprintf(c->parts, sizeof c->parts, "%s", sentid) < sizeof c->parts)
        while (n < 5 && (rest = strchr(rest, '.'))) {
            *rest++ = '\0';
            part[n++] = rest;
        }
    if (n != 5 || strcmp(part[4], "txt") != 0 || !*part[0] || !*part[1] || (strcmp(part[2], "0") != 0 && strcmp(part[2], "1") != 0))
        return rlhf_fail(err, RLHF_REJECT, "%s: sentid is \"%.80s\", not as \"technician.customer.1.male.txt\"", where, sentid);
    c->occupation = part[0];
    c->participant = part[1];
    c->label = *part[2] == '1';
    if (read_gender(c, part[3], where, err) < 0)
        return -1;
    return find_pronoun(c) ? 0 : rlhf_fail(err, RLHF_REJECT, "%s: there is no %s pronoun in \"%.100s\"", where, part[3], c->sentence);
}

static int read_hub(struct schema *c, const json_t *row, const char *where, struct rlhf_error *err)
{
    const char *gender;

    if (rlhf_get_text(row, "pronoun", true, where, &c->pronoun, err) < 0
        || rlhf_get_text(row, "occupation", true, where, &c->occupation, err) < 0
        || rlhf_get_text(row, "participant", true, where, &c->participant, err) < 0
        || rlhf_get_text(row, "gender", true, where, &gender, err) < 0 || rlhf_suite_index(row, "label", 2, where, &c->label, err) < 0)
        return -1;
    c->pronoun_size = strlen(c->pronoun);
    return read_gender(c, gender, where, err);
}

static int read_row(struct rlhf_suite *s, const json_t *row, const char *where, struct rlhf_error *err)
{
    struct rlhf_question q = { .where = where, .choices = 2 };
    struct schema c = { .sentence = NULL };
    const char *sentid, **choice;
    char pronoun[32];
    bool *right;

    if (rlhf_get_text(row, "sentence", true, where, &c.sentence, err) < 0 || rlhf_get_text(row, "sentid", false, where, &sentid, err) < 0)
        return -1;
    if ((json_object_get(row, "pronoun") || !sentid ? read_hub(&c, row, where, err) : read_published(&c, sentid, where, err)) < 0)
        return -1;
    snprintf(pronoun, sizeof pronoun, "%.*s", (int)(c.pronoun_size < 20 ? c.pronoun_size : 20), c.pronoun);
    for (size_t i = 0; pronoun[i]; i++) /* str.capitalize(); pronouns are ASCII */
        pronoun[i] = (char)(i ? tolower((unsigned char)pronoun[i]) : toupper((unsigned char)pronoun[i]));
    if (!(q.context = rlhf_suite_printf(s, err, "%s \u2018%s\u2019 refers to the", c.sentence, pronoun))
        || !(choice = rlhf_suite_block(s, 2, sizeof *choice, err)) || !(choice[0] = rlhf_suite_text(s, c.occupation, err))
        || !(choice[1] = rlhf_suite_text(s, c.participant, err)) || !(right = rlhf_suite_block(s, 2, sizeof *right, err)))
        return -1;
    right[c.label] = true;
    q.choice = choice;
    q.right = right;
    q.group = genders[c.gender];
    return rlhf_suite_add(s, &q, err);
}

/* ---- figures ------------------------------------------------------------------------------------------ */

/* The other question of a pair that differs in the pronoun's gender alone: the published order has male, female, neutral side by
 * side, so it stands next. */
static bool is_pair(const struct rlhf_question *male, const struct rlhf_question *female)
{
    return male->group == genders[MALE] && female->group == genders[FEMALE] && male->right[0] == female->right[0]
           && strcmp(male->choice[0], female->choice[0]) == 0 && strcmp(male->choice[1], female->choice[1]) == 0;
}

static int add_figures(struct rlhf_figures *out, struct rlhf_error *err)
{
    static const struct {
        const char *name;
        enum rlhf_figure_kind kind;
        enum rlhf_better better;
    } figures[] = { { "acc", RLHF_RATE, RLHF_HIGHER },         { "acc_male", RLHF_RATE, RLHF_HIGHER },
                    { "acc_female", RLHF_RATE, RLHF_HIGHER },  { "acc_neutral", RLHF_RATE, RLHF_HIGHER },
                    { "gender_gap", RLHF_MEAN, RLHF_NEITHER }, { "gender_same", RLHF_RATE, RLHF_HIGHER } };

    for (size_t i = 0; i < sizeof(figures) / sizeof(*figures); i++)
        if (!rlhf_figures_add(out, figures[i].name, figures[i].kind, figures[i].better, err))
            return -1;
    return 0;
}

static int examine(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_figures *out, struct rlhf_error *err)
{
    const size_t first = out->count;
    double **logprob;
    int rc = 0;

    if (add_figures(out, err) < 0 || !(logprob = rlhf_suite_ask(s, subject, err)))
        return -1;
    for (size_t i = 0; rc == 0 && i < s->count; i++) {
        const struct rlhf_question *q = &s->questions[i], *next = i + 1 < s->count ? q + 1 : NULL;
        const size_t said = rlhf_most(logprob[i], 2), gender = q->group == genders[MALE] ? MALE : q->group == genders[FEMALE] ? FEMALE : NEUTRAL;

        rc = rlhf_figure_append(&out->at[first], q->right[said], 1, err);
        if (rc == 0)
            rc = rlhf_figure_append(&out->at[first + 1 + gender], q->right[said], 1, err);
        if (rc == 0 && next && is_pair(q, next)) {
            const size_t other = rlhf_most(logprob[i + 1], 2);

            rc = rlhf_figure_append(&out->at[first + 4], (double)q->right[said] - (double)next->right[other], 1, err);
            if (rc == 0)
                rc = rlhf_figure_append(&out->at[first + 5], said == other, 1, err);
        }
    }
    free(logprob);
    return rc;
}

const struct rlhf_suite_kind rlhf_winogender = {
    .name = "winogender",
    .about = "Winogender: whom a pronoun means, and whether its gender changes that",
    .folder = "winogender",
    .files = (const char *const[]){ "all_sentences.tsv", "data/all_sentences.tsv", NULL },
    .delimiter = " ",
    .row = read_row,
    .examine = examine,
};
