/* store_standing.c - what counts: labels taken back, quarantine, quotas, and gold answers. */
#include "store_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agreement/labelers.h"
#include "telemetry/log.h"

int collector_store_audit(struct collector_store *s, const char *who, const char *what, const char *of_whom,
                          const char *why, struct rlhf_error *err)
{
    return RUN(s, err, ADD_AUDIT, "itttt", s->clock->wall_us(s->clock), who, what, of_whom, why) < 0 ? -1 : 0;
}

/* A chosen set of labels, as the statements take it. */
struct chosen {
    int64_t label; /* INT64_MIN = NULL */
    const char *labeler, *source;
};

static int exclude(struct collector_store *s, const struct chosen *c, const char *from, const char *to,
                   uint64_t *changed, struct rlhf_error *err)
{
    int64_t sequence, n;
    int64_t sign = *from ? *to ? 0 : 1 : -1; /* what the change does to how many labels count */

    if (collector_next_sequence(s, &sequence, err) < 0 ||
        RUN(s, err, UNCOUNT_ROUNDS, "ottti", c->label, c->labeler, c->source, from, sign) < 0 ||
        (n = RUN(s, err, EXCLUDE_REVISIONS, "otttiit", c->label, c->labeler, c->source, from, sequence - 1,
                 s->clock->wall_us(s->clock), to)) < 0 ||
        RUN(s, err, EXCLUDE_LABELS, "otttt", c->label, c->labeler, c->source, from, to) < 0 ||
        RUN(s, err, RECOUNT_TASKS, "otti", c->label, c->labeler, c->source, (int64_t)s->labels_per_task) <
            0 ||
        RUN(s, err, RECOUNT_OPEN, "ott", c->label, c->labeler, c->source) < 0)
        return -1;
    s->sequence = sequence - 1 + n;
    *changed = (uint64_t)n;
    return 0;
}

int collector_store_exclude(struct collector_store *s, const struct collector_choice *which, const char *from,
                            const char *to, uint64_t *changed, struct rlhf_error *err)
{
    struct chosen c = {.label = INT64_MIN};

    *changed = 0;
    if (collector_database_within(s->db, err) < 0)
        return -1;
    if (which->id) {
        struct collector_rows *st = QUERY(s, err, FIND_LABEL_NUMBER, "ttt", which->source, which->id, which->labeler);
        int rc = collector_rows_next(st, err);
        if (rc <= 0)
            return rc; /* nothing to exclude */
        c.label = collector_rows_integer(st, 0);
        collector_rows_done(st);
    } else {
        c.labeler = which->labeler;
        c.source = which->source;
    }
    return exclude(s, &c, from, to, changed, err);
}

/* ---- labelers and vendors ---------------------------------------------------------------------- */

struct found_standing {
    struct collector_standing standing;
    char quarantine[256];
    bool found;
};

static void copy_standing(void *ctx, const struct collector_standing *st)
{
    struct found_standing *f = ctx;

    f->found = true;
    f->standing = *st;
    if (st->quarantine)
        snprintf(f->quarantine, sizeof(f->quarantine), "%s", st->quarantine);
    f->standing.quarantine = st->quarantine ? f->quarantine : NULL;
}

/* How name stands; as somebody new does where nothing is known. */
static int find_standing(struct collector_store *s, const char *scope, const char *name,
                         struct found_standing *f, struct rlhf_error *err)
{
    *f = (struct found_standing){.standing = {.quota = -1, .weight = 1}};
    int rc = collector_store_standing(s, scope, name, NULL, 1, copy_standing, f, err);
    f->standing.scope = scope;
    f->standing.name = name;
    return rc;
}

static int set_standing(struct collector_store *s, const struct collector_standing *to,
                        struct rlhf_error *err)
{
    return RUN(s, err, SET_STANDING, "tttodi", to->scope, to->name, to->quarantine,
               to->quota < 0 ? INT64_MIN : to->quota, to->weight, (int64_t)to->weight_by_hand) < 0
               ? -1
               : 0;
}

int collector_store_set_standing(struct collector_store *s, const char *scope, const char *name,
                                 const struct collector_change *to, const char *who, struct rlhf_error *err)
{
    struct found_standing f;
    char text[96];

    if (collector_database_within(s->db, err) < 0 || find_standing(s, scope, name, &f, err) < 0)
        return -1;
    f.standing.quota = to->quota ? *to->quota : f.standing.quota;
    f.standing.weight = to->weight ? *to->weight : f.standing.weight;
    f.standing.weight_by_hand = to->by_hand ? *to->by_hand : f.standing.weight_by_hand;
    snprintf(text, sizeof(text), "quota %" PRId64 ", weight %.4f", f.standing.quota, f.standing.weight);
    return set_standing(s, &f.standing, err) < 0 ? -1 : collector_store_audit(s, who, "standing", name, text, err);
}

int collector_store_quarantine(struct collector_store *s, const char *scope, const char *name,
                               const char *why, const char *who, uint64_t *changed, struct rlhf_error *err)
{
    bool labeler = strcmp(scope, "labeler") == 0;
    struct chosen c = {.label = INT64_MIN, .labeler = labeler ? name : NULL, .source = labeler ? NULL : name};
    struct found_standing f;

    *changed = 0;
    if (collector_database_within(s->db, err) < 0 || find_standing(s, scope, name, &f, err) < 0)
        return -1;
    if (!f.standing.quarantine == !why)
        return 0; /* as it is */
    f.standing.quarantine = why;
    if (set_standing(s, &f.standing, err) < 0 ||
        exclude(s, &c, why ? "" : "quarantine", why ? "quarantine" : "", changed, err) < 0 ||
        collector_store_audit(s, who, why ? "quarantine" : "readmit", name, why ? why : "", err) < 0)
        return -1;
    rlhf_log(RLHF_LEVEL_WARNING, "%s scope=%s name=\"%s\" labels=%" PRIu64 " why=\"%s\"",
             why ? "quarantined" : "readmitted", scope, name, *changed, why ? why : "");
    return 0;
}

/* One gold answer of a labeler or a vendor, and what the running test makes of it. */
static int gold_answer(struct collector_store *s, const char *scope, const char *name, bool right,
                       struct rlhf_error *err)
{
    struct found_standing f;
    uint64_t changed;
    char why[128];

    if (find_standing(s, scope, name, &f, err) < 0)
        return -1;
    double ratio = f.standing.gold_ratio;
    enum rlhf_verdict verdict = rlhf_gold_test_step(&rlhf_gold_test_default, &ratio, right);
    if (RUN(s, err, GOLD_STANDING, "ttif", scope, name, (int64_t)right, ratio) < 0)
        return -1;
    if (verdict != RLHF_BAD || !s->auto_quarantine || f.standing.quarantine)
        return 0;
    snprintf(why, sizeof(why), "%" PRIu64 " of %" PRIu64 " gold answers right", f.standing.gold_right + right,
             f.standing.gold_seen + 1);
    return collector_store_quarantine(s, scope, name, why, "gold", &changed, err);
}

int collector_store_gold(struct collector_store *s, const struct collector_label *l, bool right,
                         struct rlhf_error *err)
{
    return gold_answer(s, "labeler", l->labeler, right, err) < 0 ||
                   gold_answer(s, "source", l->source, right, err) < 0
               ? -1
               : 0;
}

int collector_store_standing(struct collector_store *s, const char *scope, const char *name, const char *after, size_t limit,
                             void (*each)(void *ctx, const struct collector_standing *st), void *ctx,
                             struct rlhf_error *err)
{
    struct collector_rows *rows;
    int rc;

    if (*name && (limit == 0 || (after && strcmp(name, after) <= 0)))
        return 0;
    rows = *name ? QUERY(s, err, PERSON, "tt", scope, name) : QUERY(s, err, PEOPLE, "tti", scope, after, (int64_t)limit);
    while ((rc = collector_rows_next(rows, err)) > 0) {
        struct collector_standing st = {
            .scope = collector_rows_text(rows, 0),
            .name = collector_rows_text(rows, 1),
            .labels = (uint64_t)collector_rows_integer(rows, 2),
            .quota = collector_rows_null(rows, 3) ? -1 : collector_rows_integer(rows, 3),
            .gold_seen = (uint64_t)collector_rows_integer(rows, 4),
            .gold_right = (uint64_t)collector_rows_integer(rows, 5),
            .gold_ratio = collector_rows_real(rows, 6),
            .weight = collector_rows_real(rows, 7),
            .quarantine = collector_rows_text(rows, 8),
            .weight_by_hand = collector_rows_integer(rows, 9) != 0};
        each(ctx, &st);
    }
    return rc;
}
