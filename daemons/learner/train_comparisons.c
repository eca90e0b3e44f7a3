/* train_comparisons.c - comparisons from rounds and files, as tokens. */
#include "learner/train_comparisons.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rl/statistics.h"
#include "telemetry/log.h"

void learner_comparisons_free(struct learner_comparisons *c)
{
    rlhf_sequences_free(&c->sequences);
    free(c->rank);
    free(c->first);
    free(c->prompt_size);
    free(c->weight);
    json_decref(c->sources);
    *c = (struct learner_comparisons){0};
}

void learner_label_key(const char *source, const char *id, char out[LEARNER_LABEL_KEY])
{
    snprintf(out, LEARNER_LABEL_KEY, "%s %s", source ? source : "", id ? id : "");
}

static int grow(struct learner_comparisons *c, size_t completions, struct rlhf_error *err)
{
    uint32_t *rank = reallocarray(c->rank, c->sequences.count + completions, sizeof *rank), *first, *prompt_size;
    float *weight;

    if (rank)
        c->rank = rank;
    first = reallocarray(c->first, c->count + 2, sizeof *first);
    if (first)
        c->first = first;
    prompt_size = reallocarray(c->prompt_size, c->count + 1, sizeof *prompt_size);
    if (prompt_size)
        c->prompt_size = prompt_size;
    weight = reallocarray(c->weight, c->count + 1, sizeof *weight);
    if (weight)
        c->weight = weight;
    if (!c->sources)
        c->sources = json_array();
    if (!rank || !first || !prompt_size || !weight || !c->sources)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu comparisons", c->count);
    if (c->count == 0)
        c->first[0] = 0;
    return 0;
}

static int append_ids(struct rlhf_tokens *to, const json_t *ids, struct rlhf_error *err)
{
    size_t i;
    json_t *id;

    json_array_foreach(ids, i, id)
    {
        int32_t value = (int32_t)json_integer_value(id);
        if (rlhf_tokens_append(to, &value, 1, err) < 0)
            return -1;
    }
    return 0;
}

int learner_comparisons_add(struct learner_comparisons *c, size_t limit, json_t *line, struct rlhf_error *err)
{
    json_t *list = json_object_get(line, "completions"), *ranks = json_object_get(line, "ranks"), *entry;
    size_t k = json_array_size(list), i;
    struct rlhf_tokens ids = {0};
    int rc = grow(c, k, err);

    if (k > LEARNER_COMPLETIONS) {
        c->skipped++;
        return rc;
    }
    json_array_foreach(list, i, entry)
    {
        size_t tokens = json_array_size(json_object_get(line, "prompt_ids")) +
                        json_array_size(json_object_get(entry, "ids"));
        if (tokens > limit || tokens == 0) {
            c->skipped++;
            return rc;
        }
    }
    for (i = 0; rc == 0 && i < k; i++) {
        rlhf_tokens_clear(&ids);
        c->rank[c->sequences.count] = (uint32_t)json_integer_value(json_array_get(ranks, i));
        rc = append_ids(&ids, json_object_get(line, "prompt_ids"), err) < 0 ||
                     append_ids(&ids, json_object_get(json_array_get(list, i), "ids"), err) < 0 ||
                     rlhf_sequences_append(&c->sequences, ids.data, ids.size, err) < 0
                 ? -1
                 : 0;
    }
    rlhf_tokens_free(&ids);
    if (rc == 0) {
        json_array_append(c->sources, line);
        json_t *weight = json_object_get(line, "weight"); /* files give none */
        c->weight[c->count] = weight ? (float)json_number_value(weight) : 1;
        c->prompt_size[c->count] = (uint32_t)json_array_size(json_object_get(line, "prompt_ids"));
        c->first[++c->count] = (uint32_t)c->sequences.count;
    }
    return rc;
}

bool learner_comparison_has_pair(const json_t *line)
{
    json_t *ranks = json_object_get(line, "ranks");

    for (size_t i = 1; i < json_array_size(ranks); i++)
        if (json_integer_value(json_array_get(ranks, i)) != json_integer_value(json_array_get(ranks, 0)))
            return true;
    return false;
}

bool learner_comparison_held_out(const json_t *line, double share)
{
    const char *prompt = json_string_value(json_object_get(line, "prompt"));

    return rlhf_crc32c(0, prompt, strlen(prompt)) < share * 4294967296.0;
}

void learner_put_agreement(json_t *o, const char *prefix, struct rlhf_agreement *a)
{
    struct rlhf_interval i = rlhf_wilson(a->right, (double)a->pairs, 1.96);
    char key[64];

    rlhf_agreement_end(a);
    snprintf(key, sizeof key, "%saccuracy", prefix);
    learner_metric(o, key, a->pairs ? a->right / (double)a->pairs : NAN);
    snprintf(key, sizeof key, "%slow", prefix);
    learner_metric(o, key, i.low);
    snprintf(key, sizeof key, "%shigh", prefix);
    learner_metric(o, key, i.high);
    if (*prefix)
        return;
    json_object_set_new(o, "pairs", json_integer((json_int_t)a->pairs));
    json_object_set_new(o, "ties", json_integer((json_int_t)a->ties));
    learner_metric(o, "margin_of_ties", a->margin);
    learner_metric(o, "margin_of_pairs", a->ordered_margin);
}

json_t *learner_comparisons_round(struct learner_work *w, const char *round, struct rlhf_error *err)
{
    json_t *counts = json_object_get(w->provenance, "comparisons"), *lines, *line;
    char path[LEARNER_PATH];
    size_t i;

    if (learner_path(w->t, path, sizeof path, err, "comparisons/%s.jsonl", round) < 0 ||
        !(lines = learner_read_lines(w->t, path, err)) || !(lines = learner_changes_apply(w, round, lines, err)))
        return NULL;
    if (!counts) {
        counts = json_object();
        json_object_set_new(w->provenance, "comparisons", counts);
    }
    json_object_set_new(counts, round, json_integer((json_int_t)json_array_size(lines)));
    json_array_foreach(lines, i, line) json_object_set_new(line, "round", json_string(round));
    return lines;
}

/* A comparison given as text, in the form of our own files. */
static json_t *tokenised(const struct learner_trainer *t, const struct rlhf_comparison *c,
                         struct rlhf_error *err)
{
    json_t *completions = json_array(), *ranks = json_array(), *prompt_ids;

    prompt_ids = learner_prompt_ids(t, c->prompt, err);
    for (size_t k = 0; prompt_ids && k < c->count; k++) {
        json_t *ids = learner_completion_ids(t, c->prompt, c->completion[k], err);
        if (!ids) {
            json_decref(prompt_ids);
            prompt_ids = NULL;
            break;
        }
        json_array_append_new(completions, json_pack("{s:s, s:o}", "text", c->completion[k], "ids", ids));
        json_array_append_new(ranks, json_integer(c->rank[k]));
    }
    if (!prompt_ids) {
        json_decref(completions);
        json_decref(ranks);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "prompt", c->prompt, "prompt_ids", prompt_ids, "completions",
                     completions, "ranks", ranks);
}

/* A line that is JSON but no comparison (published sets hold a few: equal completions, prompts that differ)
 * is said aloud and left out. */
static int add_text(struct learner_comparisons *to, struct learner_comparisons *held, double share, const struct learner_work *w,
                    size_t limit, const char *line, const char *where, size_t *refused, struct rlhf_error *err)
{
    struct rlhf_comparison c = {0};
    struct rlhf_error why = {0};
    json_t *o = json_loads(line, 0, NULL);
    int rc;

    if (!o)
        return rlhf_fail(err, RLHF_REJECT, "%s: not JSON", where);
    json_decref(o);
    if (rlhf_comparison_parse(&c, line, strlen(line), where, &why) < 0) {
        rlhf_log(RLHF_LEVEL_WARNING, "comparison-left-out stage=%s reason=\"%s\"", w->name, why.text);
        ++*refused;
        return 0;
    }
    o = tokenised(w->t, &c, err);
    rc = o ? learner_comparisons_add(held && learner_comparison_held_out(o, share) ? held : to, limit, o, err) : -1;
    json_decref(o);
    rlhf_comparison_free(&c);
    return rc;
}

int learner_comparisons_read(struct learner_comparisons *to, struct learner_comparisons *held, double share,
                             const struct learner_work *w, size_t limit, const char *path, struct rlhf_error *err)
{
    struct rlhf_bytes bytes = {0};
    size_t number = 0, lines = 0, refused = 0;
    char *at, *line, where[LEARNER_PATH];
    int rc = rlhf_read_file(w->t->io, path, LEARNER_FILE_LIMIT, &bytes, err);

    for (at = bytes.data; rc == 0 && at && (line = strsep(&at, "\n"));) {
        number++;
        if (!*line)
            continue;
        lines++;
        snprintf(where, sizeof where, "%s:%zu", path, number);
        rc = add_text(to, held, share, w, limit, line, where, &refused, err);
    }
    rlhf_bytes_free(&bytes);
    if (rc == 0 && refused == lines)
        rc = rlhf_fail(err, RLHF_REJECT, "%s: not one of its %zu lines is a comparison", path, lines);
    return rc;
}
