#include "learner/train_suites.h"

#include <stdlib.h>

#include "evaluation/report.h"
#include "evaluation/suite.h"

enum { BATCH = 2048 }; /* tokens in a pass; changes no figure */

struct learner_suites {
    const struct rlhf_run_suite *settings; /* [count] */
    struct rlhf_suite **suites;            /* [count] */
    size_t count;
};

struct learner_suites *learner_suites_read(const struct rlhf_config_list *list, struct rlhf_error *err)
{
    struct learner_suites *s = calloc(1, sizeof *s);

    if (!s || (list->count && !(s->suites = calloc(list->count, sizeof *s->suites)))) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu suites", list->count);
        learner_suites_free(s);
        return NULL;
    }
    s->settings = list->items;
    for (; s->count < list->count; s->count++) {
        const struct rlhf_run_suite *r = &s->settings[s->count];
        const struct rlhf_suite_settings settings = {.name = r->suite,
                                                     .file = r->file,
                                                     .companion = r->companion,
                                                     .limit = (size_t)r->count,
                                                     .shots = (size_t)r->shots,
                                                     .max_new_tokens = (uint32_t)r->max_new_tokens};
        if (!(s->suites[s->count] = rlhf_suite_read(&settings, err))) {
            learner_suites_free(s);
            return NULL;
        }
    }
    return s;
}

void learner_suites_free(struct learner_suites *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        rlhf_suite_free(s->suites[i]);
    free(s->suites);
    free(s);
}

struct watching {
    struct learner_work *w;
    const char *policy, *suite;
};

static int watch(void *ctx, uint64_t done, uint64_t total, struct rlhf_error *err)
{
    const struct watching *k = ctx;

    learner_progress(k->w, "%s %s %.0f %%", k->policy, k->suite, total ? 100 * (double)done / (double)total : 100.0);
    return learner_stopping(k->w) ? learner_stopped(err) : 0;
}

static int examine(const struct learner_suites *s, struct watching *k, struct rlhf_subject *subject, json_t *figures,
                   struct rlhf_error *err)
{
    rlhf_subject_watch(subject, &(struct rlhf_examination){.step = watch, .ctx = k});
    for (size_t i = 0; i < s->count; i++) {
        struct rlhf_figures f = {0};
        json_t *o = NULL;

        k->suite = s->settings[i].suite;
        if (rlhf_suite_examine(s->suites[i], subject, &f, err) < 0)
            rlhf_fail_prefix(err, "%s: %s", k->policy, k->suite);
        else if (!(o = rlhf_figures_json(&f)))
            rlhf_fail(err, RLHF_FULL, "out of memory for the figures of %s", k->suite);
        rlhf_figures_free(&f);
        if (!o || json_object_set_new(figures, k->suite, o) < 0)
            return -1;
    }
    return 0;
}

int learner_suites_measure(const struct learner_suites *s, struct learner_work *w, const struct rlhf_model *m,
                           const char *policy, json_t *metrics, struct rlhf_error *err)
{
    struct watching k = {.w = w, .policy = policy};
    struct rlhf_subject *subject;
    json_t *figures;
    int rc = -1;

    if (s->count == 0)
        return 0;
    if (!(subject = rlhf_subject_new(m, NULL, w->t->tokenizer, w->t->pool, BATCH, err)))
        return -1;
    if ((figures = json_object()))
        rc = examine(s, &k, subject, figures, err);
    else
        rlhf_fail(err, RLHF_FULL, "out of memory for the figures of %s", policy);
    if (rc == 0)
        json_object_set(metrics, "suites", figures);
    json_decref(figures);
    rlhf_subject_free(subject);
    return rc;
}
