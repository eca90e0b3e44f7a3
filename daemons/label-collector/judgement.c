#include "judgement.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static int text_check(const char *field, const char *text, size_t limit, struct rlhf_error *err)
{
    if (!text)
        return rlhf_fail(err, RLHF_REJECT, "%s is missing", field);
    size_t size = strlen(text);
    if (size > limit)
        return rlhf_fail(err, RLHF_REJECT, "%s has %zu bytes, %zu are allowed", field, size, limit);
    if (!rlhf_utf8_valid(text, size))
        return rlhf_fail(err, RLHF_REJECT, "%s is not UTF-8", field);
    return 0;
}

static int name_check(const char *field, const char *text, size_t limit, bool may_be_empty,
                      struct rlhf_error *err)
{
    if (text_check(field, text, limit, err) < 0)
        return -1;
    if (!*text && !may_be_empty)
        return rlhf_fail(err, RLHF_REJECT, "%s is empty", field);
    for (const char *c = text; *c; ++c)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            return rlhf_fail(err, RLHF_REJECT, "%s holds a control character (byte %zu)", field,
                             (size_t)(c - text));
    return 0;
}

int collector_name_check(const char *field, const char *text, bool may_be_empty, struct rlhf_error *err)
{
    return name_check(field, text, COLLECTOR_MAX_NAME, may_be_empty, err);
}

static const struct {
    const char *name;
    size_t least, most; /* completions */
} kinds[COLLECTOR_KINDS] = {
    [COLLECTOR_RANKING] = {"ranking", 2, COLLECTOR_MAX_COMPLETIONS},
    [COLLECTOR_LIKERT] = {"likert", 1, COLLECTOR_MAX_COMPLETIONS},
    [COLLECTOR_TOXICITY] = {"toxicity", 1, COLLECTOR_MAX_COMPLETIONS},
    [COLLECTOR_FLAGS] = {"flags", 1, COLLECTOR_MAX_COMPLETIONS},
    [COLLECTOR_DEMONSTRATION] = {"demonstration", 0, 0},
};

const char *collector_kind_name(enum collector_kind kind)
{
    return kinds[kind].name;
}

int collector_kind_parse(enum collector_kind *kind, const char *name, struct rlhf_error *err)
{
    if (strcmp(name, "comparison") == 0)
        name = kinds[COLLECTOR_RANKING].name;
    for (int i = 0; i < COLLECTOR_KINDS; ++i) {
        if (strcmp(kinds[i].name, name) == 0) {
            *kind = (enum collector_kind)i;
            return 0;
        }
    }
    return rlhf_fail(err, RLHF_REJECT,
                     "kind must be comparison, ranking, likert, toxicity, flags or demonstration");
}

static int content_check(const struct collector_content *c, enum collector_kind kind, struct rlhf_error *err)
{
    if (c->count < kinds[kind].least || c->count > kinds[kind].most)
        return rlhf_fail(err, RLHF_REJECT, "completions: %zu given, %zu to %zu are allowed", c->count,
                         kinds[kind].least, kinds[kind].most);
    if (text_check("prompt", c->prompt, COLLECTOR_MAX_TEXT, err) < 0)
        return -1;
    for (size_t i = 0; i < c->count; ++i) {
        char field[48];
        snprintf(field, sizeof(field), "completions[%zu]", i);
        if (text_check(field, c->completion[i], COLLECTOR_MAX_TEXT, err) < 0)
            return -1;
    }
    return 0;
}

static int gold_check(const struct collector_task *t, struct rlhf_error *err);

int collector_task_check(const struct collector_task *t, struct rlhf_error *err)
{
    if (collector_name_check("id", t->id, false, err) < 0 ||
        collector_name_check("round", t->round, true, err) < 0)
        return -1;
    if (t->wanted > COLLECTOR_MAX_WANTED)
        return rlhf_fail(err, RLHF_REJECT, "wanted is %u, must be 1 to %d", t->wanted, COLLECTOR_MAX_WANTED);
    if ((t->gold && text_check("gold", t->gold, COLLECTOR_MAX_NOTE, err) < 0) ||
        (t->policies && text_check("policies", t->policies, COLLECTOR_MAX_NOTE, err) < 0))
        return -1;
    return content_check(&t->content, t->kind, err) < 0 || (t->gold && gold_check(t, err) < 0) ? -1 : 0;
}

/* Ranks 1..K in any spelling become 1 + the number of better ones. */
static int ranks_normalise(struct collector_label *l, struct rlhf_error *err)
{
    uint32_t given[COLLECTOR_MAX_COMPLETIONS];
    size_t k = l->rank_count;

    if (k == 0 && l->task) /* whether its task asks for ranks is known to the store */
        return 0;
    if (k < 2 || k > COLLECTOR_MAX_COMPLETIONS)
        return rlhf_fail(err, RLHF_REJECT, "ranks: %zu given, 2 to %d are allowed", k,
                         COLLECTOR_MAX_COMPLETIONS);
    if (l->content.count && l->content.count != k)
        return rlhf_fail(err, RLHF_REJECT, "ranks: %zu given for %zu completions", k, l->content.count);
    for (size_t i = 0; i < k; ++i) {
        if (l->rank[i] < 1 || l->rank[i] > k)
            return rlhf_fail(err, RLHF_REJECT, "ranks[%zu] is %u, must be 1 (best) to %zu", i, l->rank[i], k);
        given[i] = l->rank[i];
    }
    for (size_t i = 0; i < k; ++i) {
        l->rank[i] = 1;
        for (size_t j = 0; j < k; ++j)
            l->rank[i] += given[j] < given[i];
    }
    return 0;
}

static int presented_check(const struct collector_label *l, struct rlhf_error *err)
{
    size_t k = l->presented_count, known = l->rank_count ? l->rank_count : l->content.count;
    uint32_t seen = 0;

    if (k && known && k != known)
        return rlhf_fail(err, RLHF_REJECT, "presented must list the %zu completions in the order shown", known);
    for (size_t i = 0; i < k; ++i) {
        if (l->presented[i] >= k || (seen & 1u << l->presented[i]))
            return rlhf_fail(err, RLHF_REJECT, "presented must hold each of 0 to %zu once", k - 1);
        seen |= 1u << l->presented[i];
    }
    return 0;
}

int collector_source_check(const char *text, struct rlhf_error *err)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    if (collector_name_check("source", text, false, err) < 0)
        return -1;
    return text[strspn(text, allowed)]
               ? rlhf_fail(err, RLHF_REJECT, "source may hold letters, digits, '.', '_' and '-' only")
               : 0;
}

int collector_label_check(struct collector_label *l, struct rlhf_error *err)
{
    if (name_check("id", l->id, COLLECTOR_MAX_LABEL_ID, false, err) < 0 ||
        collector_source_check(l->source, err) < 0 ||
        collector_name_check("labeler", l->labeler, false, err) < 0 ||
        (l->task && collector_name_check("task", l->task, false, err) < 0) ||
        (!l->task && collector_name_check("round", l->round, true, err) < 0) ||
        ((!l->task || l->content.count) && content_check(&l->content, COLLECTOR_RANKING, err) < 0) ||
        ranks_normalise(l, err) < 0 || presented_check(l, err) < 0 ||
        (l->flags && text_check("flags", l->flags, COLLECTOR_MAX_NOTE, err) < 0) ||
        (l->note && text_check("note", l->note, COLLECTOR_MAX_NOTE, err) < 0) ||
        (l->ratings && text_check("ratings", l->ratings, COLLECTOR_MAX_NOTE, err) < 0) ||
        (l->answer && text_check("answer", l->answer, COLLECTOR_MAX_TEXT, err) < 0))
        return -1;
    if (l->has_strength && (l->strength < -100 || l->strength > 100))
        return rlhf_fail(err, RLHF_REJECT, "strength is %d, must be -100 to 100", l->strength);
    if (!(l->seconds < 1e9)) /* NaN too; negative = not known */
        return rlhf_fail(err, RLHF_REJECT, "seconds must be below 1e9");
    return 0;
}

/* ---- what a task asks -------------------------------------------------------------------------- */

/* ratings: K integers, each from least to most. */
static int ratings_fit(const struct collector_label *l, size_t k, json_int_t least, json_int_t most,
                       struct rlhf_error *err)
{
    json_t *list = l->ratings ? json_loads(l->ratings, 0, NULL) : NULL;
    int rc = 0;

    if (json_array_size(list) != k)
        rc = rlhf_fail(err, RLHF_REJECT, "ratings: %zu given, the task has %zu completions",
                       json_array_size(list), k);
    for (size_t i = 0; rc == 0 && i < k; ++i) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most)
            rc = rlhf_fail(err, RLHF_REJECT, "ratings[%zu] must be an integer, %d to %d", i, (int)least,
                           (int)most);
    }
    json_decref(list);
    return rc;
}

static int flags_fit(const struct collector_label *l, size_t k, struct rlhf_error *err)
{
    json_t *list = l->flags ? json_loads(l->flags, 0, NULL) : NULL;
    size_t given = json_array_size(list);

    json_decref(list);
    return given == k
               ? 0
               : rlhf_fail(
                     err, RLHF_REJECT,
                     "flags must be a list with one entry (it may be empty) for each of the %zu completions",
                     k);
}

int collector_label_fits(const struct collector_label *l, enum collector_kind kind, size_t k,
                         struct rlhf_error *err)
{
    if (l->presented_count && l->presented_count != k)
        return rlhf_fail(err, RLHF_REJECT, "presented: %zu given, the task has %zu completions", l->presented_count, k);
    if (kind == COLLECTOR_RANKING) {
        if (l->rank_count != k)
            return rlhf_fail(err, RLHF_REJECT, "ranks: %zu given, the task has %zu completions",
                             l->rank_count, k);
        return l->ratings ? ratings_fit(l, k, 1, 7, err) : 0;
    }
    if (l->rank_count)
        return rlhf_fail(err, RLHF_REJECT, "ranks: the task asks for %s", kinds[kind].name);
    switch (kind) {
    case COLLECTOR_LIKERT:
        return ratings_fit(l, k, 1, 7, err);
    case COLLECTOR_TOXICITY:
        return ratings_fit(l, k, 0, 2, err);
    case COLLECTOR_FLAGS:
        return flags_fit(l, k, err);
    default:
        if (l->answer && l->answer[strspn(l->answer, " \t\r\n")])
            return 0;
        return rlhf_fail(err, RLHF_REJECT, "answer is empty: the task asks for one");
    }
}

bool collector_gold_right(const char *gold, const struct collector_label *l)
{
    json_t *json = json_loads(gold, 0, NULL), *given = l->ratings ? json_loads(l->ratings, 0, NULL) : NULL;
    const json_t *ranks = json_object_get(json, "ranks"), *ratings = json_object_get(json, "ratings");
    bool right = json_array_size(ranks) == l->rank_count &&
                 (!ratings || json_array_size(ratings) == json_array_size(given));

    for (size_t i = 0; right && i < json_array_size(ranks); ++i)
        for (size_t j = 0; j < json_array_size(ranks); ++j)
            if (json_integer_value(json_array_get(ranks, i)) < json_integer_value(json_array_get(ranks, j)))
                right = right && l->rank[i] < l->rank[j];
    for (size_t i = 0; right && i < json_array_size(ratings); ++i) {
        json_int_t off =
            json_integer_value(json_array_get(ratings, i)) - json_integer_value(json_array_get(given, i));
        right = off >= -1 && off <= 1;
    }
    json_decref(json);
    json_decref(given);
    return right;
}

void collector_label_free(struct collector_label *l)
{
    free(l->flags);
    free(l->ratings);
    *l = (struct collector_label){0};
}

/* ---- JSON -------------------------------------------------------------------------------------- */

/* Sets *text when key is there; null counts as absent. */
static int get_text(const json_t *json, const char *key, const char **text, struct rlhf_error *err)
{
    const json_t *value = json_object_get(json, key);

    if (!value || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return rlhf_fail(err, RLHF_REJECT, "%s must be a string", key);
    *text = json_string_value(value);
    return 0;
}

static int get_content(struct collector_content *c, const json_t *json, struct rlhf_error *err)
{
    const char *key = json_object_get(json, "completions") ? "completions" : "responses";
    const json_t *list = json_object_get(json, key);

    if (get_text(json, "prompt", &c->prompt, err) < 0)
        return -1;
    if (!list)
        return 0;
    if (!json_is_array(list) || json_array_size(list) > COLLECTOR_MAX_COMPLETIONS)
        return rlhf_fail(err, RLHF_REJECT, "%s must be a list of at most %d strings", key,
                         COLLECTOR_MAX_COMPLETIONS);
    for (size_t i = 0; i < json_array_size(list); ++i) {
        c->completion[i] = json_string_value(json_array_get(list, i));
        if (!c->completion[i])
            return rlhf_fail(err, RLHF_REJECT, "%s[%zu] must be a string", key, i);
    }
    c->count = json_array_size(list);
    return 0;
}

/* A part of the document, as text that the caller owns; null counts as absent. */
static int get_document(const json_t *json, const char *key, json_type type, char **text,
                        struct rlhf_error *err)
{
    const json_t *value = json_object_get(json, key);

    if (!value || json_is_null(value))
        return 0;
    if (json_typeof(value) != type)
        return rlhf_fail(err, RLHF_REJECT, "%s must be %s", key,
                         type == JSON_OBJECT ? "an object" : "a list");
    free(*text);
    *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
    return *text ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory");
}

void collector_task_free(struct collector_task *t)
{
    free(t->gold);
    free(t->policies);
    *t = (struct collector_task){0};
}

int collector_task_parse(struct collector_task *t, const json_t *json, struct rlhf_error *err)
{
    const json_t *wanted = json_object_get(json, "wanted");
    const char *kind = NULL;

    *t = (struct collector_task){.round = ""};
    if (!json_is_object(json))
        return rlhf_fail(err, RLHF_REJECT, "a task must be an object");
    if (get_text(json, "id", &t->id, err) < 0 || get_text(json, "round", &t->round, err) < 0 ||
        get_text(json, "kind", &kind, err) < 0 || (kind && collector_kind_parse(&t->kind, kind, err) < 0))
        return -1;
    if (wanted && !json_is_null(wanted)) {
        t->wanted = (uint32_t)json_integer_value(wanted);
        if (!json_is_integer(wanted) || json_integer_value(wanted) < 1 ||
            json_integer_value(wanted) > COLLECTOR_MAX_WANTED)
            return rlhf_fail(err, RLHF_REJECT, "wanted must be an integer, 1 to %d", COLLECTOR_MAX_WANTED);
    }
    if (get_document(json, "gold", JSON_OBJECT, &t->gold, err) < 0 ||
        get_document(json, "policies", JSON_ARRAY, &t->policies, err) < 0 ||
        get_content(&t->content, json, err) < 0) {
        collector_task_free(t);
        return -1;
    }
    return 0;
}

static int get_ranks(struct collector_label *l, const json_t *json, struct rlhf_error *err)
{
    const json_t *list = json_object_get(json, "ranks");
    size_t k = json_array_size(list);

    if (!json_is_array(list) || k < 2 || k > COLLECTOR_MAX_COMPLETIONS)
        return rlhf_fail(err, RLHF_REJECT, "ranks must be a list of 2 to %d integers, 1 = best",
                         COLLECTOR_MAX_COMPLETIONS);
    for (size_t i = 0; i < k; ++i) {
        const json_t *value = json_array_get(list, i);
        json_int_t rank = json_integer_value(value);
        if (!json_is_integer(value) || rank < 1 || rank > (json_int_t)k)
            return rlhf_fail(err, RLHF_REJECT, "ranks[%zu] must be an integer, 1 (best) to %zu", i, k);
        l->rank[i] = (uint32_t)rank;
    }
    l->rank_count = k;
    return 0;
}

/* Puts completion number value at rank. */
static int rank_one(struct collector_label *l, const json_t *value, uint32_t rank, struct rlhf_error *err)
{
    json_int_t index = json_integer_value(value);

    if (!json_is_integer(value) || index < 0 || index >= COLLECTOR_MAX_COMPLETIONS || l->rank[index])
        return rlhf_fail(err, RLHF_REJECT, "ranking must name each completion (0 to K - 1) once");
    l->rank[index] = rank;
    ++l->rank_count;
    return 0;
}

/* "ranking": [2, [0, 1]]: indices, best first, a list inside is a tie. */
static int get_ranking(struct collector_label *l, const json_t *json, struct rlhf_error *err)
{
    const json_t *list = json_object_get(json, "ranking");
    const json_t *place, *value;
    size_t i, j;

    if (!json_is_array(list))
        return rlhf_fail(err, RLHF_REJECT, "ranking must be a list of completions (0 to K - 1), best first");
    json_array_foreach(list, i, place)
    {
        uint32_t rank = (uint32_t)l->rank_count + 1;
        if (json_is_array(place)) {
            json_array_foreach(place, j, value)
            {
                if (rank_one(l, value, rank, err) < 0)
                    return -1;
            }
        } else if (rank_one(l, place, rank, err) < 0) {
            return -1;
        }
    }
    for (i = 0; i < l->rank_count; ++i)
        if (!l->rank[i])
            return rlhf_fail(err, RLHF_REJECT, "ranking leaves out completion %zu", i);
    return 0;
}

static int get_presented(struct collector_label *l, const json_t *json, struct rlhf_error *err)
{
    const json_t *list = json_object_get(json, "presented");

    size_t k = json_array_size(list);

    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || k > COLLECTOR_MAX_COMPLETIONS || (l->rank_count && k != l->rank_count))
        return rlhf_fail(err, RLHF_REJECT, "presented must list the %zu completions in the order shown", l->rank_count);
    for (size_t i = 0; i < k; ++i) {
        const json_t *value = json_array_get(list, i);
        json_int_t index = json_integer_value(value);
        if (!json_is_integer(value) || index < 0 || index >= (json_int_t)k)
            return rlhf_fail(err, RLHF_REJECT, "presented[%zu] must be an integer, 0 to %zu", i, k - 1);
        l->presented[i] = (uint8_t)index;
    }
    l->presented_count = k;
    return 0;
}

int collector_label_parse_extras(struct collector_label *l, const json_t *json, struct rlhf_error *err)
{
    const json_t *seconds = json_object_get(json, "seconds");
    const json_t *strength = json_object_get(json, "strength");
    const json_t *flags = json_object_get(json, "flags");
    const json_t *revision = json_object_get(json, "revision");

    if (get_text(json, "id", &l->id, err) < 0 || get_text(json, "source", &l->source, err) < 0 ||
        get_text(json, "labeler", &l->labeler, err) < 0 || get_text(json, "task", &l->task, err) < 0 ||
        get_text(json, "round", &l->round, err) < 0 || get_text(json, "note", &l->note, err) < 0 ||
        get_text(json, "answer", &l->answer, err) < 0 || get_presented(l, json, err) < 0)
        return -1;
    if (seconds && !json_is_null(seconds)) {
        l->seconds = json_number_value(seconds);
        if (!json_is_number(seconds) || !(l->seconds >= 0))
            return rlhf_fail(err, RLHF_REJECT, "seconds must be a number, 0 or more");
    }
    if (strength && !json_is_null(strength)) {
        json_int_t value = json_integer_value(strength);
        if (!json_is_integer(strength) || value < -100 || value > 100)
            return rlhf_fail(err, RLHF_REJECT, "strength must be an integer, -100 to 100");
        l->strength = (int)value;
        l->has_strength = true;
    }
    if (revision && !json_is_null(revision)) {
        json_int_t value = json_integer_value(revision);
        if (!json_is_integer(revision) || value < 1 || value > 1000000)
            return rlhf_fail(err, RLHF_REJECT, "revision must be an integer, 1 or more");
        l->revision = (uint32_t)value;
    }
    if (get_document(json, "ratings", JSON_ARRAY, &l->ratings, err) < 0)
        return -1;
    if (flags && !json_is_null(flags)) {
        if (!json_is_object(flags) && !json_is_array(flags))
            return rlhf_fail(err, RLHF_REJECT,
                             "flags must be an object, or a list with one entry a completion");
        free(l->flags);
        l->flags = json_dumps(flags, JSON_COMPACT | JSON_SORT_KEYS);
        if (!l->flags)
            return rlhf_fail(err, RLHF_FULL, "out of memory");
    }
    return 0;
}

/* "prompt", "chosen", "rejected": the pair in this order. */
static int get_pair(struct collector_label *l, const json_t *json, struct rlhf_error *err)
{
    const char **pair = l->content.completion;

    if (get_text(json, "chosen", &pair[0], err) < 0 || get_text(json, "rejected", &pair[1], err) < 0)
        return -1;
    if (!pair[0] || !pair[1])
        return rlhf_fail(err, RLHF_REJECT, "%s is missing beside %s", pair[0] ? "rejected" : "chosen",
                         pair[0] ? "chosen" : "rejected");
    if (strcmp(pair[0], pair[1]) == 0)
        return rlhf_fail(err, RLHF_REJECT,
                         "chosen and rejected are equal; a tie is given as completions and ranks");
    l->content.count = l->rank_count = 2;
    l->rank[0] = 1;
    l->rank[1] = 2;
    return 0;
}

int collector_label_parse(struct collector_label *l, const json_t *json, bool ranking, struct rlhf_error *err)
{
    *l = (struct collector_label){.round = "", .seconds = -1};
    if (!json_is_object(json))
        return rlhf_fail(err, RLHF_REJECT, "a label must be an object");
    bool pair = json_object_get(json, "chosen") || json_object_get(json, "rejected");
    if (get_content(&l->content, json, err) < 0)
        return -1;
    if (pair && l->content.count)
        return rlhf_fail(err, RLHF_REJECT, "give chosen and rejected, or completions and ranks, not both");
    bool other = !json_object_get(json, "ranks") &&
                 (json_object_get(json, "ratings") || json_object_get(json, "answer") ||
                  json_object_get(json, "flags"));
    if (pair      ? get_pair(l, json, err) < 0
        : ranking ? get_ranking(l, json, err) < 0
        : other   ? false
                  : get_ranks(l, json, err) < 0)
        return -1;
    if (collector_label_parse_extras(l, json, err) < 0) {
        collector_label_free(l);
        return -1;
    }
    return 0;
}

int collector_label_borrow(struct collector_label *l, const struct rlhf_comparison *c, struct rlhf_error *err)
{
    *l = (struct collector_label){.round = "", .seconds = -1, .content = {.prompt = c->prompt}};
    if (c->count < 2 || c->count > COLLECTOR_MAX_COMPLETIONS)
        return rlhf_fail(err, RLHF_REJECT, "completions: %zu given, 2 to %d are allowed", c->count,
                         COLLECTOR_MAX_COMPLETIONS);
    for (size_t i = 0; i < c->count; ++i) {
        l->content.completion[i] = c->completion[i];
        l->rank[i] = c->rank[i];
    }
    l->content.count = l->rank_count = c->count;
    return 0;
}

/* The known answer is one that a person could give. */
static int gold_check(const struct collector_task *t, struct rlhf_error *err)
{
    json_t *json = json_loads(t->gold, 0, NULL);
    struct collector_label l = {0};
    int rc = -1;

    if (t->kind == COLLECTOR_DEMONSTRATION || t->kind == COLLECTOR_FLAGS)
        rlhf_fail(err, RLHF_REJECT, "no answer to %s can be known in advance", kinds[t->kind].name);
    else if (collector_label_parse(&l, json, false, err) == 0)
        rc = collector_label_fits(&l, t->kind, t->content.count, err);
    collector_label_free(&l);
    json_decref(json);
    return rc < 0 ? rlhf_fail_prefix(err, "gold") : 0;
}

/* ---- names by content -------------------------------------------------------------------------- */

static void add_text(struct rlhf_hasher *h, const char *text)
{
    rlhf_hasher_add(h, text ? text : "", (text ? strlen(text) : 0) + 1); /* texts hold no NUL: it separates */
}

int collector_content_digest(const struct collector_content *c, struct rlhf_digest *digest,
                             struct rlhf_error *err)
{
    uint8_t k = (uint8_t)c->count;

    if (c->made) {
        *digest = c->made->digest;
        return 0;
    }
    struct rlhf_hasher *h = rlhf_hasher_new();
    if (!h)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    rlhf_hasher_add(h, &k, 1);
    add_text(h, c->prompt);
    for (size_t i = 0; i < c->count; ++i)
        add_text(h, c->completion[i]);
    *digest = rlhf_hasher_end(h);
    return 0;
}

char *collector_completions_json(const struct collector_content *c)
{
    json_t *list = json_array();
    char *text = NULL;

    for (size_t i = 0; i < c->count; ++i)
        if (json_array_append_new(list, json_string_nocheck(c->completion[i])) < 0)
            goto out;
    text = json_dumps(list, JSON_COMPACT);
out:
    json_decref(list);
    return text;
}

int collector_content_make(struct collector_content *c, struct collector_made *made, struct rlhf_error *err)
{
    if (collector_content_digest(c, &made->digest, err) < 0)
        return -1;
    if (!(made->completions = collector_completions_json(c)))
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    c->made = made;
    return 0;
}

void collector_made_free(struct collector_made *made)
{
    free(made->completions);
    *made = (struct collector_made){0};
}

int collector_label_digest(const struct collector_label *l, const struct rlhf_digest *content,
                           struct rlhf_digest *digest, struct rlhf_error *err)
{
    struct rlhf_hasher *h = rlhf_hasher_new();
    uint8_t bytes[COLLECTOR_MAX_COMPLETIONS + 3];
    size_t n = 0;

    if (!h)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    for (size_t i = 0; i < l->rank_count; ++i)
        bytes[n++] = (uint8_t)l->rank[i];
    bytes[n++] = 0;
    bytes[n++] = (uint8_t)l->has_strength;
    bytes[n++] = (uint8_t)(int8_t)l->strength;
    rlhf_hasher_add(h, content->bytes, sizeof(content->bytes));
    rlhf_hasher_add(h, bytes, n);
    add_text(h, l->task);
    add_text(h, l->round);
    add_text(h, l->labeler);
    add_text(h, l->flags);
    add_text(h, l->note);
    if (l->ratings || l->answer) { /* labels of before keep their digests */
        add_text(h, l->ratings);
        add_text(h, l->answer);
    }
    *digest = rlhf_hasher_end(h);
    return 0;
}

bool collector_is_transcript(const char *prompt)
{
    return rlhf_starts_with(prompt, "\n\nHuman:");
}
