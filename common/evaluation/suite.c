#include "evaluation/parts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/text.h"
#include "data/transcript.h"

static const struct rlhf_suite_kind *const kinds[] = { &rlhf_truthfulqa, &rlhf_crows_pairs, &rlhf_winogender,
                                                       &rlhf_hellaswag,  &rlhf_arithmetic,  &rlhf_gsm8k,
                                                       &rlhf_perplexity, &rlhf_toxicity,    &rlhf_win_rate };
enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

const char *const rlhf_suite_names[] = { "truthfulqa", "crows_pairs", "winogender", "hellaswag",
                                         "arithmetic", "gsm8k",       "perplexity", "toxicity",   "win_rate", NULL };

static const struct rlhf_suite_kind *find(const char *name, struct rlhf_error *err)
{
    const char *meant = rlhf_did_you_mean(name, rlhf_suite_names);

    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    rlhf_fail(err, RLHF_REJECT, "there is no suite '%s'%s%s%s", name, meant ? "; did you mean '" : "", meant ? meant : "",
              meant ? "'?" : "");
    return NULL;
}

const char *rlhf_suite_about(const char *name)
{
    const struct rlhf_suite_kind *kind = find(name, NULL);

    return kind ? kind->about : NULL;
}

size_t rlhf_suite_usual_shots(const char *name)
{
    const struct rlhf_suite_kind *kind = find(name, NULL);

    return kind ? kind->shots : 0;
}

int rlhf_suite_find(const char *name, const char *dir, bool companion, char *out, size_t size, struct rlhf_error *err)
{
    static const char *const endings[] = { "", ".gz" };
    const struct rlhf_suite_kind *kind = find(name, err);
    const char *const *files, *folder;

    if (!kind)
        return -1;
    files = companion ? kind->companions : kind->files;
    folder = companion && kind->companion_folder ? kind->companion_folder : kind->folder;
    for (; files && *files; files++)
        for (size_t i = 0; i < 4; i++) {
            if ((size_t)snprintf(out, size, "%s/%s%s%s%s", dir, i < 2 ? folder : "", i < 2 ? "/" : "", *files,
                                 endings[i % 2]) >= size)
                return rlhf_fail(err, RLHF_REJECT, "%s: the path is too long", dir);
            if (access(out, F_OK) == 0)
                return 0;
        }
    *out = '\0';
    return 0;
}

/* ---- a suite ------------------------------------------------------------------------------------------ */

void *rlhf_suite_block(struct rlhf_suite *s, size_t count, size_t size, struct rlhf_error *err)
{
    void *block = rlhf_arena_zero(s->arena, count, size);

    if (!block)
        rlhf_fail(err, RLHF_FULL, "no memory for the questions of %s", s->settings.name);
    return block;
}

char *rlhf_suite_text(struct rlhf_suite *s, const char *text, struct rlhf_error *err)
{
    const size_t size = strlen(text) + 1;
    char *copy = rlhf_suite_block(s, size, 1, err);

    return copy ? memcpy(copy, text, size) : NULL;
}

char *rlhf_suite_printf(struct rlhf_suite *s, struct rlhf_error *err, const char *fmt, ...)
{
    va_list args, again;
    char *text;
    int size;

    va_start(args, fmt);
    va_copy(again, args);
    size = vsnprintf(NULL, 0, fmt, args);
    RLHF_ASSERT(size >= 0);
    if ((text = rlhf_suite_block(s, (size_t)size + 1, 1, err)))
        vsnprintf(text, (size_t)size + 1, fmt, again);
    va_end(again);
    va_end(args);
    return text;
}

int rlhf_suite_add(struct rlhf_suite *s, const struct rlhf_question *q, struct rlhf_error *err)
{
    if (s->count == s->capacity) {
        size_t more = s->capacity ? 2 * s->capacity : 64;
        struct rlhf_question *grown = reallocarray(s->questions, more, sizeof *grown);

        if (!grown)
            return rlhf_fail(err, RLHF_FULL, "no memory for %zu questions", more);
        s->questions = grown;
        s->capacity = more;
    }
    s->questions[s->count++] = *q;
    return 0;
}

const char *const *rlhf_suite_texts(struct rlhf_suite *s, const json_t *list, const char *key, const char *where,
                                    struct rlhf_error *err)
{
    const size_t count = json_array_size(list);
    const char **texts;

    if (count == 0) {
        rlhf_fail(err, RLHF_REJECT, "%s: \"%s\" must be a list of strings", where, key);
        return NULL;
    }
    if (!(texts = rlhf_suite_block(s, count, sizeof *texts, err)))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, i));

        if (!text) {
            rlhf_fail(err, RLHF_REJECT, "%s: %s[%zu] must be a string", where, key, i);
            return NULL;
        }
        if (!(texts[i] = rlhf_suite_text(s, text, err)))
            return NULL;
    }
    return texts;
}

int rlhf_suite_index(const json_t *row, const char *key, size_t most, const char *where, size_t *out, struct rlhf_error *err)
{
    const json_t *value = json_object_get(row, key);
    const char *text = json_string_value(value);
    long long number = json_is_integer(value) ? (long long)json_integer_value(value) : -1;
    char *end;

    if (text && *text >= '0' && *text <= '9') {
        number = strtoll(text, &end, 10);
        number = *end ? -1 : number;
    }
    if (number < 0 || (unsigned long long)number >= most)
        return rlhf_fail(err, RLHF_REJECT, "%s: \"%s\" must be a whole number from 0 to %zu", where, key, most - 1);
    *out = (size_t)number;
    return 0;
}

int rlhf_suite_rows(struct rlhf_suite *s, rlhf_suite_row *take, struct rlhf_error *err)
{
    struct rlhf_rows rows;
    const json_t *row;
    int more, rc = rlhf_rows_open(&rows, s->settings.file, err);

    if (rc < 0)
        return -1;
    while (rc == 0 && (s->settings.limit == 0 || s->rows < s->settings.limit)
           && (more = rlhf_rows_next(&rows, &row, err)) != 0) {
        const char *where = more < 0 ? NULL : rlhf_suite_text(s, rows.where, err);

        rc = where ? take(s, row, where, err) : -1;
        s->rows++;
    }
    rlhf_rows_close(&rows);
    if (rc == 0 && s->rows == 0)
        return rlhf_fail(err, RLHF_REJECT, "%s: there is no question in it", s->settings.file);
    return rc;
}

struct rlhf_suite *rlhf_suite_read(const struct rlhf_suite_settings *settings, struct rlhf_error *err)
{
    const struct rlhf_suite_kind *kind = find(settings->name, err);
    struct rlhf_suite *s = kind ? calloc(1, sizeof *s) : NULL;

    if (!s) {
        if (kind)
            rlhf_fail(err, RLHF_FULL, "no memory for a suite");
        return NULL;
    }
    s->kind = kind;
    s->settings = *settings;
    s->settings.name = kind->name;
    if ((s->arena = rlhf_arena_new(0, err)) && (s->settings.file = rlhf_suite_text(s, settings->file, err))
        && (!settings->companion || (s->settings.companion = rlhf_suite_text(s, settings->companion, err)))
        && (!kind->row || rlhf_suite_rows(s, kind->row, err) == 0) && (!kind->whole || kind->whole(s, err) == 0))
        return s;
    rlhf_suite_free(s);
    return NULL;
}

size_t rlhf_suite_size(const struct rlhf_suite *s)
{
    return s->rows;
}

int rlhf_suite_examine(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_figures *out,
                       struct rlhf_error *err)
{
    return s->kind->examine(s, subject, out, err);
}

int rlhf_suite_compare(const struct rlhf_suite *s, const struct rlhf_figures *a, const struct rlhf_figures *b,
                       struct rlhf_figures *out, struct rlhf_error *err)
{
    return s->kind->compare ? s->kind->compare(a, b, out, err) : 0;
}

void rlhf_suite_free(struct rlhf_suite *s)
{
    if (!s)
        return;
    rlhf_arena_free(s->arena);
    free(s->questions);
    free(s);
}

/* ---- asking ------------------------------------------------------------------------------------------- */

/* Context and choice, and which choice it is, in the words of an error. */
static int add_requests(const struct rlhf_suite *s, const struct rlhf_framing *f, struct rlhf_requests *r, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < s->count; i++)
        for (size_t c = 0; rc == 0 && c < s->questions[i].choices; c++) {
            rlhf_bytes_clear(&text);
            rc = rlhf_bytes_printf(&text, err, "%s%s", s->kind->delimiter, s->questions[i].choice[c]);
            if (rc == 0 && (rc = rlhf_requests_add(r, f, s->questions[i].context, text.data, err)) < 0)
                rlhf_fail_prefix(err, "%s", s->questions[i].where);
        }
    rlhf_bytes_free(&text);
    return rc;
}

/* One block: the pointers, and behind them what they point to. */
static double **make_table(const struct rlhf_suite *s, size_t values, struct rlhf_error *err)
{
    double **table = malloc(s->count * sizeof *table + values * sizeof **table);
    double *at = (double *)(table + s->count);

    if (!table) {
        rlhf_fail(err, RLHF_FULL, "no memory for %zu log-probs", values);
        return NULL;
    }
    for (size_t i = 0; i < s->count; at += s->questions[i++].choices)
        table[i] = at;
    return table;
}

double **rlhf_suite_ask(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_error *err)
{
    struct rlhf_requests r = { 0 };
    double **table = NULL;

    if (add_requests(s, rlhf_subject_framing(subject), &r, err) == 0 && (table = make_table(s, r.count, err))
        && rlhf_subject_score(subject, &r, table[0], NULL, err) < 0) {
        free(table);
        table = NULL;
    }
    rlhf_requests_free(&r);
    return table;
}

size_t rlhf_most(const double *values, size_t count)
{
    size_t most = 0;

    for (size_t i = 1; i < count; i++)
        if (values[i] > values[most])
            most = i;
    return most;
}

/* ---- completing --------------------------------------------------------------------------------------- */

int rlhf_suite_prompt(struct rlhf_suite *s, const json_t *row, const char *where, struct rlhf_error *err)
{
    const json_t *prompt = json_object_get(row, "prompt");
    struct rlhf_question q = { .where = where };
    const char *text;
    size_t size;

    if (json_is_object(prompt)) {
        if (rlhf_get_text(prompt, "text", true, where, &text, err) < 0)
            return -1;
    } else if (prompt || json_object_get(row, "instruction")) {
        if (rlhf_get_text(row, prompt ? "prompt" : "instruction", true, where, &text, err) < 0)
            return -1;
    } else if (rlhf_get_text(row, "chosen", false, where, &text, err) < 0) {
        return -1;
    } else if (!text) {
        return rlhf_fail(err, RLHF_REJECT, "%s: there is no \"prompt\", \"instruction\" or \"chosen\"", where);
    } else if ((size = rlhf_transcript_prompt(text, strlen(text))) == 0) {
        return rlhf_fail(err, RLHF_REJECT, "%s: \"chosen\" has no assistant's turn", where);
    } else {
        return (q.context = rlhf_suite_printf(s, err, "%.*s", (int)size, text)) ? rlhf_suite_add(s, &q, err) : -1;
    }
    return (q.context = rlhf_suite_text(s, text, err)) ? rlhf_suite_add(s, &q, err) : -1;
}

void rlhf_suite_forget(const struct rlhf_suite *s, char **text)
{
    for (size_t i = 0; text && i < s->count; i++)
        free(text[i]);
    free(text);
}

char **rlhf_suite_complete(const struct rlhf_suite *s, struct rlhf_subject *subject, const char *before,
                           const struct rlhf_completing *c, struct rlhf_error *err)
{
    char **prompts = calloc(s->count, sizeof *prompts), **text = calloc(s->count, sizeof *text);
    int rc = prompts && text ? 0 : rlhf_fail(err, RLHF_FULL, "no memory for %zu completions", s->count);

    for (size_t i = 0; rc == 0 && i < s->count; i++)
        if (asprintf(&prompts[i], "%s%s", before, s->questions[i].context) < 0) {
            prompts[i] = NULL;
            rc = rlhf_fail(err, RLHF_FULL, "no memory for %zu prompts", s->count);
        }
    if (rc == 0)
        rc = rlhf_subject_complete(subject, (const char *const *)prompts, s->count, c, text, err);
    rlhf_suite_forget(s, prompts);
    if (rc == 0)
        return text;
    rlhf_suite_forget(s, text);
    return NULL;
}

int rlhf_suite_reward(const struct rlhf_suite *s, char *const *text, struct rlhf_figure *rewards, struct rlhf_error *err)
{
    const struct rlhf_rewarder *r = s->settings.rewarder;
    double *reward = calloc(s->count, sizeof *reward);
    const char **prompts = calloc(s->count, sizeof *prompts);
    int rc = reward && prompts ? 0 : rlhf_fail(err, RLHF_FULL, "no memory for %zu rewards", s->count);

    for (size_t i = 0; rc == 0 && i < s->count; i++)
        prompts[i] = s->questions[i].context;
    if (rc == 0)
        rc = r->reward(r->ctx, prompts, (const char *const *)text, s->count, reward, err);
    for (size_t i = 0; rc == 0 && i < s->count; i++)
        rc = rlhf_figure_append(rewards, reward[i], 1, err);
    if (rc == 0 && rlhf_figure_units(rewards) == 0)
        rc = rlhf_fail(err, RLHF_REJECT, "no completion got a reward");
    free(reward);
    free(prompts);
    return rc;
}
