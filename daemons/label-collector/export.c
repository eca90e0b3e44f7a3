#include "export.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/transcript.h"
#include "vendors.h"

enum {
    EXPORT_ROWS = 256,      /* read from the store at a time ... */
    EXPORT_BYTES = 1 << 20, /* ... or until so much text is waiting to be sent */
};

/* ---- rows as JSON ------------------------------------------------------------------------------ */

void collector_time_text(int64_t wall_us, char out[32])
{
    time_t seconds = wall_us / 1000000;
    struct tm tm;
    size_t used;

    gmtime_r(&seconds, &tm);
    used = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + used, 32 - used, ".%06dZ", (int)(wall_us % 1000000));
}

static json_t *strings_json(const struct collector_content *c)
{
    json_t *list = json_array();

    for (size_t k = 0; k < c->count; ++k)
        json_array_append_new(list, json_string(c->completion[k]));
    return list;
}

static json_t *ranks_json(const struct collector_label *l)
{
    json_t *ranks = json_array();

    for (size_t k = 0; k < l->rank_count; ++k)
        json_array_append_new(ranks, json_integer(l->rank[k]));
    return ranks;
}

/* Everything about a label but prompt, completions and ranks. */
static json_t *facts_json(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;
    json_t *presented = l->presented_count ? json_array() : json_null();
    char time[32];

    for (size_t k = 0; k < l->presented_count; ++k)
        json_array_append_new(presented, json_integer(l->presented[k]));
    collector_time_text(row->stored_us, time);
    return json_pack("{s:s, s:s, s:s?, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:s?, s:s, s:s, s:o, s:s?, s:s?, s:o}", "id",
                     l->id, "source", l->source, "task", l->task, "round", l->round, "labeler", l->labeler, "revision",
                     (json_int_t)row->revision, "presented", presented, "seconds",
                     l->seconds < 0 ? json_null() : json_real(l->seconds), "strength",
                     l->has_strength ? json_integer(l->strength) : json_null(), "flags",
                     l->flags ? json_loads(l->flags, 0, NULL) : json_null(), "note", l->note, "stored_at", time, "kind",
                     collector_kind_name(row->kind), "ratings",
                     l->ratings ? json_loads(l->ratings, 0, NULL) : json_null(), "answer", l->answer, "excluded",
                     row->excluded, "policies", row->policies ? json_loads(row->policies, 0, NULL) : json_null());
}

/* first and then the facts, in one object; takes first. */
static json_t *with_facts(json_t *first, const struct collector_row *row)
{
    json_t *facts = facts_json(row);

    if (!first || !facts || json_object_update(first, facts) < 0) {
        json_decref(first);
        first = NULL;
    }
    json_decref(facts);
    return first;
}

json_t *collector_row_json(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;

    return with_facts(json_pack("{s:I, s:s, s:o, s:o}", "sequence", (json_int_t)row->sequence, "prompt",
                                l->content.prompt, "completions", strings_json(&l->content), "ranks", ranks_json(l)),
                      row);
}

/* ---- export ------------------------------------------------------------------------------------ */

/* Of a file: what stands before the first record, between two, behind the last. */
static const struct form {
    const char *name, *type, *before, *between, *after;
    json_t *(*vendor)(const struct collector_row *row); /* a vendor's record */
} forms[COLLECTOR_FORMATS] = {
    [COLLECTOR_KWAY] = { "kway", "application/x-ndjson", "", "\n", "\n", NULL },
    [COLLECTOR_PAIRS] = { "pairs", "application/x-ndjson", "", "\n", "\n", NULL },
    [COLLECTOR_CONVERSATIONAL] = { "conversational", "application/x-ndjson", "", "\n", "\n", NULL },
    [COLLECTOR_HH] = { "hh", "application/x-ndjson", "", "\n", "\n", NULL },
    [COLLECTOR_TO_LABEL_STUDIO] = { "label_studio", "application/json", "[\n", ",\n", "\n]\n",
                                    collector_label_studio_record },
    [COLLECTOR_TO_LABEL_STUDIO_MIN] = { "label_studio_min", "application/json", "[\n", ",\n", "\n]\n",
                                        collector_label_studio_flat },
    [COLLECTOR_TO_LABEL_STUDIO_CSV] = { "label_studio_csv", "text/csv", COLLECTOR_LABEL_STUDIO_COLUMNS, "\n", "\n",
                                        collector_label_studio_flat },
    [COLLECTOR_TO_LABELBOX] = { "labelbox", "application/x-ndjson", "", "\n", "\n", collector_labelbox_record },
    [COLLECTOR_TO_ARGILLA] = { "argilla", "application/json", "{\"items\": [\n", ",\n", "\n]}\n",
                               collector_argilla_record },
};

int collector_format_find(enum collector_format *format, const char *name)
{
    for (int i = 0; i < COLLECTOR_FORMATS; ++i) {
        if (strcmp(forms[i].name, name) == 0) {
            *format = (enum collector_format)i;
            return 0;
        }
    }
    return -1;
}

const char *collector_format_type(enum collector_format format)
{
    return forms[format].type;
}

struct collector_export {
    struct collector_store *store;
    char *round;
    enum collector_format format;
    size_t records;
    bool ended;
    uint64_t cursor, last;
    struct rlhf_bytes text; /* lines not read yet, from taken on */
    size_t taken;
    struct rlhf_error err; /* of writing a line */
};

/* Takes json. */
static int write_json(struct collector_export *e, json_t *json)
{
    const struct form *form = &forms[e->format];
    char *line = json ? json_dumps(json, JSON_COMPACT) : NULL;
    int rc = line ? rlhf_bytes_printf(&e->text, &e->err, "%s", e->records++ ? form->between : form->before)
                  : rlhf_fail(&e->err, RLHF_FULL, "out of memory");

    if (rc == 0)
        rc = e->format == COLLECTOR_TO_LABEL_STUDIO_CSV ? collector_label_studio_line(json, &e->text, &e->err)
                                                        : rlhf_bytes_printf(&e->text, &e->err, "%s", line);
    free(line);
    json_decref(json);
    return rc;
}

/* An empty file is still one: of no lines, or an empty list. */
static int write_end(struct collector_export *e)
{
    const struct form *form = &forms[e->format];
    bool lines = !form->before[0];

    e->ended = true;
    if (lines && !e->records)
        return 0;
    return rlhf_bytes_printf(&e->text, &e->err, "%s%s", e->records ? "" : form->before, form->after);
}

static json_t *kway_json(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;

    return with_facts(json_pack("{s:s, s:o, s:o}", "prompt", l->content.prompt, "responses", strings_json(&l->content),
                                "ranks", ranks_json(l)),
                      row);
}

/* prompt and completion as one transcript. */
static json_t *transcript_json(const char *prompt, const char *completion)
{
    bool spaced = *completion == ' ' || *completion == '\n';

    return collector_is_transcript(prompt)
               ? json_sprintf("%s%s", prompt, completion)
               : json_sprintf("\n\nHuman: %s\n\nAssistant:%s%s", prompt, spaced ? "" : " ", completion);
}

/* A prompt as turns, without the assistant's that is to come. */
static json_t *prompt_turns(const char *prompt)
{
    json_t *turns = rlhf_transcript_turns(prompt), *last = json_array_get(turns, json_array_size(turns) - 1);

    if (json_array_size(turns) > 1 && json_string_length(json_object_get(last, "content")) == 0
        && strcmp(json_string_value(json_object_get(last, "role")), "assistant") == 0)
        json_array_remove(turns, json_array_size(turns) - 1);
    return turns;
}

/* In a transcript a completion begins with the space behind the colon. */
static const char *spoken(const char *completion)
{
    return completion + (*completion == ' ');
}

/* A pair of a ranking is named by its places in it. */
static json_t *pair_id(const struct collector_label *l, size_t chosen, size_t rejected)
{
    return l->content.count == 2 ? json_string(l->id) : json_sprintf("%s/%zu-%zu", l->id, chosen, rejected);
}

static json_t *pair_json(const struct collector_export *e, const struct collector_label *l, size_t chosen,
                         size_t rejected)
{
    const struct collector_content *c = &l->content;
    const char *best = c->completion[chosen], *worse = c->completion[rejected];

    if (e->format == COLLECTOR_HH)
        return json_pack("{s:o, s:o}", "chosen", transcript_json(c->prompt, best), "rejected",
                         transcript_json(c->prompt, worse));
    if (e->format == COLLECTOR_CONVERSATIONAL)
        return json_pack("{s:o, s:[{s:s, s:s}], s:[{s:s, s:s}], s:o, s:s, s:s}", "prompt", prompt_turns(c->prompt),
                         "chosen", "role", "assistant", "content", spoken(best), "rejected", "role", "assistant",
                         "content", spoken(worse), "id", pair_id(l, chosen, rejected), "labeler", l->labeler, "round",
                         l->round);
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "prompt", c->prompt, "chosen", best, "rejected", worse, "id",
                     pair_id(l, chosen, rejected), "labeler", l->labeler, "round", l->round);
}

static int write_pairs(struct collector_export *e, const struct collector_label *l)
{
    for (size_t i = 0; i < l->rank_count; ++i)
        for (size_t j = 0; j < l->rank_count; ++j)
            if (l->rank[i] < l->rank[j] && strcmp(l->content.completion[i], l->content.completion[j]) != 0
                && write_json(e, pair_json(e, l, i, j)) < 0)
                return -1;
    return 0;
}

static bool export_row(void *ctx, const struct collector_row *row)
{
    struct collector_export *e = ctx;
    int rc = 0;

    if (!row->excluded) /* what does not count is nobody's training data */
        rc = e->format == COLLECTOR_KWAY  ? write_json(e, kway_json(row))
             : !forms[e->format].vendor   ? write_pairs(e, &row->label)
             : row->label.rank_count >= 2 ? write_json(e, forms[e->format].vendor(row))
                                          : 0;
    e->cursor = row->sequence;
    return rc == 0 && e->text.size < EXPORT_BYTES;
}

struct collector_export *collector_export_new(struct collector_store *s, const char *round,
                                              enum collector_format format, struct rlhf_error *err)
{
    struct collector_export *e = calloc(1, sizeof(*e));
    struct collector_counts counts;

    if (!e || !(e->round = strdup(round))) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        goto failed;
    }
    if (collector_store_counts(s, "", &counts, err) < 0)
        goto failed;
    e->store = s;
    e->format = format;
    e->last = counts.sequence;
    return e;
failed:
    collector_export_free(e);
    return NULL;
}

ptrdiff_t collector_export_read(struct collector_export *e, char *out, size_t max, struct rlhf_error *err)
{
    while (e->taken == e->text.size && e->cursor < e->last) {
        uint64_t before = e->cursor;
        struct collector_range range = {
            .round = e->round, .cursor = before, .last = e->last, .limit = EXPORT_ROWS, .latest = true
        };
        rlhf_bytes_clear(&e->text);
        e->taken = 0;
        if (collector_store_list(e->store, &range, export_row, e, err) < 0)
            return -1;
        if (e->err.code != RLHF_OK) {
            if (err)
                *err = e->err;
            return -1;
        }
        if (e->cursor == before)
            e->cursor = e->last;
    }
    if (e->taken == e->text.size && !e->ended) {
        rlhf_bytes_clear(&e->text);
        e->taken = 0;
        if (write_end(e) < 0) {
            if (err)
                *err = e->err;
            return -1;
        }
    }
    size_t size = e->text.size - e->taken;
    size = size < max ? size : max;
    if (size) /* the buffer may not exist */
        memcpy(out, e->text.data + e->taken, size);
    e->taken += size;
    return (ptrdiff_t)size;
}

void collector_export_free(struct collector_export *e)
{
    if (!e)
        return;
    rlhf_bytes_free(&e->text);
    free(e->round);
    free(e);
}
