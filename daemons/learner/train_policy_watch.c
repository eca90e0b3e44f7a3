/* train_policy_watch.c - notices that a policy exploits its reward model, and pauses.
 *
 * A limit bounds one of the numbers that metrics.jsonl has of an iteration, averaged over the last ones, or how far it falls
 * below its best average or rises above its lowest. What was seen is part of the stage's state: a run that was killed trips
 * where one that was not does. A paused stage waits until it is told to go on, or is stopped and started again with
 * other limits; either is journaled. DIR/watch/STAGE.json says which limit tripped, with the completions of the largest
 * rewards: what the policy is paid for is what to look at. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "learner/train_policy.h"
#include "rl/statistics.h"
#include "telemetry/log.h"

enum { LOOK_AGAIN_MS = 50, NGRAM = 3, ID_BITS = 21 };

/* ---- what the numbers are ---------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The share of a completion's trigrams that stand in it before: 0 for text, near 1 for a loop. */
static float repetition(const int32_t *ids, size_t count, uint64_t *grams)
{
    size_t n = count < NGRAM ? 0 : count - NGRAM + 1, again = 0;

    for (size_t i = 0; i < n; i++) {
        grams[i] = 0;
        for (size_t k = 0; k < NGRAM; k++)
            grams[i] = grams[i] << ID_BITS | (uint32_t)ids[i + k];
    }
    qsort(grams, n, sizeof *grams, by_value);
    for (size_t i = 1; i < n; i++)
        again += grams[i] == grams[i - 1];
    return n ? (float)again / (float)n : 0;
}

int learner_watch_measure(struct learner_policy *p, json_t *metrics, struct rlhf_error *err)
{
    const struct learner_rollouts *r = &p->r;
    float *length = calloc(2 * r->count + 1, sizeof *length), *repeated = length ? length + r->count : NULL;
    uint64_t *grams = calloc(r->tokens + 1, sizeof *grams);
    double sum = 0;
    int rc = length && grams ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory to watch %zu completions", r->count);

    for (size_t i = 0; rc == 0 && i < r->count; i++) {
        size_t count = r->start[i + 1] - r->start[i];
        length[i] = (float)count;
        repeated[i] = repetition(r->items[i].ids + r->items[i].first, count, grams);
        sum += repeated[i];
    }
    if (rc == 0 && r->count > 0) {
        learner_metric(metrics, "repetition", sum / (double)r->count);
        learner_metric(metrics, "length_correlation", rlhf_correlation(length, r->score, r->count));
        learner_metric(metrics, "repetition_correlation", rlhf_correlation(repeated, r->score, r->count));
    }
    free(length);
    free(grams);
    return rc;
}

/* ---- what was seen ----------------------------------------------------------------------------------- */

static const struct rlhf_run_limit *limits(const struct learner_policy *p, size_t *count)
{
    *count = p->settings->watch.limits.count;
    return p->settings->watch.limits.items;
}

/* The record of a limit's metric, a new one where there is none yet. A limit may be changed, added or removed while the
 * stage is paused, so records belong to metrics. */
static struct learner_seen *seen_of(struct learner_policy *p, const char *metric)
{
    uint32_t key = rlhf_crc32c(0, metric, strlen(metric));
    size_t i = 0;

    while (i < RLHF_RUN_LIMITS && p->seen[i].count > 0 && p->seen[i].key != key)
        i++;
    if (i == RLHF_RUN_LIMITS) { /* full of what older limits watched */
        i = key % RLHF_RUN_LIMITS;
        p->seen[i] = (struct learner_seen){0};
    }
    p->seen[i].key = key;
    return &p->seen[i];
}

/* The mean of the last `over` values; NaN before there are so many. */
static double average(const struct learner_seen *s, size_t over)
{
    double sum = 0;

    if (s->count < over)
        return NAN;
    for (size_t i = 0; i < over; i++)
        sum += s->value[(s->count - 1 - i) % RLHF_RUN_WATCH_OVER];
    return sum / (double)over;
}

int learner_watch_see(struct learner_policy *p, const json_t *metrics, struct rlhf_error *err)
{
    size_t count, over = (size_t)p->settings->watch.over;
    const struct rlhf_run_limit *l = limits(p, &count);

    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(metrics, l[i].metric);
        struct learner_seen *s;
        double mean;
        bool twice = false;

        for (size_t j = 0; j < i; j++)
            twice = twice || strcmp(l[i].metric, l[j].metric) == 0;
        if (!value)
            return rlhf_fail(err, RLHF_REJECT, "watch.limits: this stage has no metric '%s'; metrics.jsonl has those there are",
                             l[i].metric);
        if (twice || !json_is_number(value))
            continue;
        s = seen_of(p, l[i].metric);
        s->value[s->count++ % RLHF_RUN_WATCH_OVER] = json_number_value(value);
        if (isnan(mean = average(s, over)))
            continue;
        s->highest = s->averaged ? fmax(s->highest, mean) : mean;
        s->lowest = s->averaged ? fmin(s->lowest, mean) : mean;
        s->averaged = 1;
    }
    return 0;
}

/* Whether what was seen is beyond the limit, and the sentence that says so. */
static bool beyond(struct learner_policy *p, const struct rlhf_run_limit *l, char why[LEARNER_WHY])
{
    const struct learner_seen *s = seen_of(p, l->metric);
    double mean = average(s, (size_t)p->settings->watch.over);

    if (isnan(mean) || s->released)
        return false;
    if (mean < l->at_least)
        snprintf(why, LEARNER_WHY, "%s %.4g is below %.4g", l->metric, mean, l->at_least);
    else if (mean > l->at_most)
        snprintf(why, LEARNER_WHY, "%s %.4g is above %.4g", l->metric, mean, l->at_most);
    else if (l->fall > 0 && s->highest - mean > l->fall)
        snprintf(why, LEARNER_WHY, "%s %.4g fell from %.4g, by more than %.4g", l->metric, mean, s->highest, l->fall);
    else if (l->rise > 0 && mean - s->lowest > l->rise)
        snprintf(why, LEARNER_WHY, "%s %.4g rose from %.4g, by more than %.4g", l->metric, mean, s->lowest, l->rise);
    else
        return false;
    return true;
}

const char *learner_watch_tripped(struct learner_policy *p, char why[LEARNER_WHY])
{
    size_t count;
    const struct rlhf_run_limit *l = limits(p, &count);

    for (size_t i = 0; i < count; i++)
        if (beyond(p, &l[i], why))
            return l[i].metric;
    return NULL;
}

/* ---- what is shown ----------------------------------------------------------------------------------- */

static json_t *completion_json(struct learner_policy *p, size_t i, struct rlhf_error *err)
{
    const struct learner_rollouts *r = &p->r;
    const struct learner_item *item = &r->items[i];
    struct rlhf_bytes prompt = {0}, completion = {0};
    json_t *o = NULL;

    if (learner_decode(p->w->t, item->ids, item->first, &prompt, err) == 0 &&
        learner_decode(p->w->t, item->ids + item->first, item->count - item->first, &completion, err) == 0 &&
        !(o = json_pack("{s:s, s:s, s:f, s:I, s:b}", "prompt", prompt.data ?: "", "completion", completion.data ?: "", "reward",
                        (double)r->score[i], "tokens", (json_int_t)(item->count - item->first), "ended", r->ended[i])))
        rlhf_fail(err, RLHF_FULL, "out of memory for samples");
    rlhf_bytes_free(&prompt);
    rlhf_bytes_free(&completion);
    return o;
}

/* The completions of the iteration's largest rewards, largest first. */
static json_t *top_samples(struct learner_policy *p, struct rlhf_error *err)
{
    const struct learner_rollouts *r = &p->r;
    size_t wanted = (size_t)p->settings->watch.samples;
    json_t *list = json_array();

    for (size_t i = 0; i < r->count; i++)
        p->keep[i] = true; /* not taken yet */
    while (json_array_size(list) < wanted && json_array_size(list) < r->count) {
        size_t best = r->count;
        json_t *o;
        for (size_t i = 0; i < r->count; i++)
            if (p->keep[i] && (best == r->count || r->score[i] > r->score[best]))
                best = i;
        p->keep[best] = false;
        if (!(o = completion_json(p, best, err)) || json_array_append_new(list, o) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

int learner_watch_write(struct learner_policy *p, const char *why, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    char path[LEARNER_PATH];
    json_t *samples, *o;
    int rc;

    if (p->settings->watch.limits.count == 0 || p->r.count == 0) /* started in a pause: what was written then stands */
        return 0;
    if (!(samples = top_samples(p, err)))
        return -1;
    o = json_pack("{s:s, s:I, s:b, s:s, s:o}", "stage", w->name, "iteration", (json_int_t)w->step, "paused", why != NULL, "why",
                  why ?: "", "samples", samples);
    rc = !o ? rlhf_fail(err, RLHF_FULL, "out of memory for the watch's report")
         : learner_path(w->t, path, sizeof path, err, "watch/%s.json", w->name) < 0 || learner_write_json(w, path, o, err) < 0
             ? -1
             : 0;
    json_decref(o);
    return rc;
}

/* ---- pausing ----------------------------------------------------------------------------------------- */

static int resume(struct learner_policy *p, const char *by, struct rlhf_error *err)
{
    struct learner_work *w = p->w;

    w->record->paused = false;
    rlhf_log(RLHF_LEVEL_WARNING, "watch-resumed stage=%s iteration=%llu by=\"%s\"", w->name, (unsigned long long)w->step, by);
    return learner_journal(w, "resumed", json_pack("{s:I, s:s}", "iteration", (json_int_t)w->step, "by", by), err);
}

/* Until somebody says go on, or the process is asked to stop. */
static int wait_for_word(struct learner_policy *p, const char *metric, const char *why, struct rlhf_error *err)
{
    const struct timespec moment = {.tv_nsec = LOOK_AGAIN_MS * 1000000};
    struct learner_work *w = p->w;
    struct learner_port *port = w->t->port;

    if (port->resumed)
        port->resumed(port); /* a word from before the pause */
    while (!port->resumed || !port->resumed(port)) {
        learner_progress(w, "paused: %s", why);
        if (learner_stopping(w))
            return learner_stopped(err);
        nanosleep(&moment, NULL);
    }
    seen_of(p, metric)->released = 1;
    return resume(p, "rlhfctl resume", err);
}

int learner_watch_pause(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    const char *metric;
    char why[LEARNER_WHY];

    if (!(metric = learner_watch_tripped(p, why)))
        return w->record->paused ? resume(p, "other limits", err) : 0;
    if (!w->record->paused) {
        rlhf_log(RLHF_LEVEL_WARNING, "watch-paused stage=%s iteration=%llu why=\"%s\"", w->name, (unsigned long long)w->step,
                 why);
        if (learner_watch_write(p, why, err) < 0 ||
            learner_journal(w, "paused", json_pack("{s:I, s:s}", "iteration", (json_int_t)w->step, "why", why), err) < 0)
            return -1;
        w->record->paused = true;
    }
    if (p->settings->watch.otherwise)
        return rlhf_fail(err, RLHF_REJECT,
                         "the watch stopped it after iteration %llu: %s. Look at watch/%s.json; to go on, change watch.limits and "
                         "start again",
                         (unsigned long long)w->step, why, w->name);
    return wait_for_word(p, metric, why, err);
}
