/* api_people.c - what people take back, how they stand, and how far they agree. */
#include "api_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quality.h"
#include "vendor_config.h"
#include "weights.h"

enum { MOST_PEOPLE = 1000 };

/* A label of the page or the API has the id labeler@task unless its sender named it. */
void collector_post_undo(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    json_t *object = collector_read_object(q, r);
    const char *labeler = json_string_value(json_object_get(object, "labeler"));
    const char *source = json_string_value(json_object_get(object, "source"));
    const char *given = json_string_value(json_object_get(object, "id"));
    char *task = collector_path_id(q->path, "/api/v1/tasks/", "/undo"), id[2 * COLLECTOR_MAX_NAME + 2];
    struct rlhf_error err = {.code = RLHF_OK};
    uint64_t changed;

    if (object && !task) {
        collector_respond(r, 503, NULL);
    } else if (object && (collector_act_as(&q->who, &labeler, &source, &err) < 0
                          || collector_name_check("labeler", labeler, false, &err) < 0)) {
        collector_respond_verdict(r, COLLECTOR_INVALID, &err);
    } else if (object) {
        snprintf(id, sizeof(id), "%s@%s", labeler, task);
        struct collector_choice which = {
            .source = source, .id = given ? given : id, .labeler = labeler};
        if (collector_store_exclude(c->store, &which, "", "undone", &changed, &err) < 0)
            collector_respond_verdict(r, COLLECTOR_FAILED, &err);
        else if (changed == 0)
            collector_respond_error(r, 404, "not_found", "no label %s of %s is standing", which.id, labeler);
        else
            collector_respond(r, 200, json_pack("{s:s, s:s}", "id", which.id, "status", "undone"));
    }
    free(task);
    json_decref(object);
}

/* On whose word: the token's name; where there are no tokens, the body says. */
static const char *who_says(const struct collector_request *q, const json_t *object, struct collector_response *r)
{
    return q->who.token ? q->who.name : collector_object_name(object, "who", r);
}

/* ---- standing ---------------------------------------------------------------------------------- */

/* What a label of theirs costs: a vendor's as its settings say; a labeler's as
 * `prices` does, else `price`, also of a vendor's people, who may be given 0 there. */
static double price_of(const struct collector_config *config, const char *scope, const char *name)
{
    const struct collector_price *prices = config->prices.items;
    const struct collector_vendor_config *vendors = config->vendors.items;

    if (strcmp(scope, "source") == 0) {
        for (size_t i = 0; i < config->vendors.count; ++i)
            if (strcmp(vendors[i].name, name) == 0)
                return vendors[i].price;
        return 0;
    }
    for (size_t i = 0; i < config->prices.count; ++i)
        if (strcmp(prices[i].labeler, name) == 0)
            return prices[i].price;
    return config->price;
}

struct standings {
    const struct collector_config *config;
    struct collector_page page;
};

static void add_standing(void *ctx, const struct collector_standing *s)
{
    struct rlhf_interval i = collector_gold_interval(s);
    struct standings *list = ctx;
    double price = price_of(list->config, s->scope, s->name);

    collector_page_add(&list->page,
                       json_pack("{s:s, s:I, s:o, s:I, s:I, s:o, s:o, s:f, s:b, s:s?, s:f, s:f}", "name", s->name, "labels",
                                 (json_int_t)s->labels, "quota", s->quota < 0 ? json_null() : json_integer(s->quota),
                                 "gold_seen", (json_int_t)s->gold_seen, "gold_right", (json_int_t)s->gold_right,
                                 "gold_low", json_real(i.low), "gold_high", json_real(i.high), "weight", s->weight,
                                 "weight_by_hand", s->weight_by_hand, "quarantine", s->quarantine, "price", price, "cost", price * (double)s->labels),
                       0, s->name);
}

/* "labeler" or "source". NULL: the answer (422 or 400) says why not. */
static const char *scope_of(const char *text, unsigned status, struct collector_response *r)
{
    if (text && (strcmp(text, "labeler") == 0 || strcmp(text, "source") == 0))
        return text;
    collector_respond_error(r, status, "invalid", "%sscope must be labeler or source", status == 400 ? "query parameter " : "");
    return NULL;
}

void collector_get_standing(struct collector *c, const struct collector_request *q,
                            struct collector_response *r)
{
    const char *asked = q->query(q->ctx, "scope");
    const char *scope = scope_of(asked ? asked : "labeler", 400, r),
               *name = scope ? collector_query_name(q, "name", r) : NULL;
    struct standings list = {.config = c->config};
    struct collector_page *page = &list.page;
    struct rlhf_error err;

    if (!name || collector_query_page(q, COLLECTOR_LIST_STANDING, true, MOST_PEOPLE, page, r) < 0)
        return;
    if (collector_store_standing(c->store, scope, name, collector_page_name(page), page->limit, add_standing, &list, &err)
        == 0) {
        collector_page_respond(page, "standing", r);
        return;
    }
    collector_page_free(page);
    collector_respond_failure(r, &err);
}

void collector_post_standing(struct collector *c, const struct collector_request *q,
                             struct collector_response *r)
{
    json_t *object = collector_read_object(q, r), *quota = json_object_get(object, "quota"),
           *weight = json_object_get(object, "weight");
    const char *scope = object ? scope_of(json_string_value(json_object_get(object, "scope")), 422, r) : NULL;
    const char *name = scope ? collector_object_name(object, "name", r) : NULL,
               *who = name ? who_says(q, object, r) : NULL;
    int64_t new_quota = json_is_integer(quota) ? json_integer_value(quota) : -1;
    double new_weight = json_is_number(weight) ? json_number_value(weight) : 1;
    bool by_hand = json_is_number(weight);
    struct collector_change to = {.quota = quota ? &new_quota : NULL,
                                  .weight = by_hand ? &new_weight : NULL,
                                  .by_hand = weight ? &by_hand : NULL};
    struct rlhf_error err;

    if (who && quota && !json_is_null(quota) && new_quota < 0)
        collector_respond_error(r, 422, "invalid", "quota must be a whole number, or null: no limit");
    else if (who && weight && !json_is_null(weight) && (!by_hand || !(new_weight >= 0 && new_weight <= 1)))
        collector_respond_error(r, 422, "invalid", "weight must be a number, 0 to 1, or null: as it is measured");
    else if (who && collector_store_set_standing(c->store, scope, name, &to, who, &err) == 0)
        collector_respond(r, 200, json_pack("{s:s}", "status", "stored"));
    else if (who)
        collector_respond_verdict(r, COLLECTOR_FAILED, &err);
    json_decref(object);
}

void collector_post_quarantine(struct collector *c, const struct collector_request *q,
                               struct collector_response *r)
{
    json_t *object = collector_read_object(q, r);
    const char *scope = object ? scope_of(json_string_value(json_object_get(object, "scope")), 422, r) : NULL;
    const char *name = scope ? collector_object_name(object, "name", r) : NULL,
               *who = name ? who_says(q, object, r) : NULL;
    bool end = json_is_null(json_object_get(object, "why"));
    const char *why = who && !end ? collector_object_name(object, "why", r) : NULL;
    uint64_t changed;
    struct rlhf_error err;

    if (who && (why || end)) {
        if (collector_store_quarantine(c->store, scope, name, why, who, &changed, &err) == 0)
            collector_respond(r, 200,
                              json_pack("{s:s, s:I}", "status", end ? "readmitted" : "quarantined", "labels",
                                        (json_int_t)changed));
        else
            collector_respond_verdict(r, COLLECTOR_FAILED, &err);
    }
    json_decref(object);
}

/* ---- agreement --------------------------------------------------------------------------------- */

static json_t *number(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *estimate_json(const struct rlhf_estimate *e)
{
    return json_pack("{s:o, s:o, s:o}", "value", number(e->value), "low", number(e->low), "high",
                     number(e->high));
}

void collector_get_agreement(struct collector *c, const struct collector_request *q,
                             struct collector_response *r)
{
    const char *round = collector_query_name(q, "round", r);
    struct rlhf_error err;

    if (!round)
        return;
    const struct collector_agreement *a =
        collector_measured_agreement(c->measured, c->store, round, c->env->clock, &err);
    if (!a) {
        collector_respond_verdict(r, COLLECTOR_FAILED, &err);
        return;
    }
    json_t *people = json_array(), *cohen = estimate_json(&a->cohen);
    bool couple = a->one != a->other && a->one < a->people && a->other < a->people;
    json_object_set_new(cohen, "between", couple ? json_pack("[s, s]", a->person[a->one].name, a->person[a->other].name)
                                                 : json_null());
    for (size_t i = 0; i < a->people; ++i)
        json_array_append_new(people, json_pack("{s:s, s:I, s:o, s:f}", "labeler", a->person[i].name, "shared",
                                                (json_int_t)a->person[i].shared, "accuracy",
                                                number(a->person[i].accuracy), "weight", a->person[i].weight));
    collector_respond(r, 200,
                      json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "pairs", (json_int_t)a->pairs,
                                "answers", (json_int_t)a->answers, "raw", estimate_json(&a->raw), "cohen", cohen, "alpha",
                                estimate_json(&a->alpha), "fleiss", estimate_json(&a->fleiss),
                                "first_shown_chosen", estimate_json(&a->first_shown), "labelers", people));
}

/* What Dawid and Skene make of a round's labelers becomes what their labels weigh. */
void collector_post_weights(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    json_t *object = collector_read_object(q, r);
    const char *who = object ? who_says(q, object, r) : NULL;
    const char *round = who ? json_string_value(json_object_get(object, "round")) : NULL;
    struct rlhf_error err;
    size_t set;

    if (who && collector_weigh(c, round ? round : "", who, true, &set, &err) == 0)
        collector_respond(r, 200, json_pack("{s:s, s:I}", "status", "stored", "labelers", (json_int_t)set));
    else if (who)
        collector_respond_failure(r, &err);
    json_decref(object);
}
