#include "labeler.h"

#include <curl/curl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/io.h"

/* ---- the judgement ----------------------------------------------------------------------------------- */

static double gumbel(struct rlhf_random *r)
{
    double u = ((double)rlhf_random_u32(r) + 0.5) / 4294967296.0;

    return -log(-log(u));
}

/* Keyed by content, so equal texts get equal noise and a second life of the labeler the same. */
static double perceive(const struct kingdom_world *w, uint64_t prompt, const char *completion, double utility,
                       bool noise)
{
    uint64_t key = kingdom_hash(prompt, completion, strlen(completion));
    struct rlhf_random r;

    if (!noise)
        return utility;
    rlhf_random_init(&r, w->seed ^ key, RLHF_PURPOSE_WORLD, KINGDOM_STREAM_LABELER, (uint32_t)(prompt >> 32));
    return utility + KINGDOM_LABELER_TAU * gumbel(&r);
}

static void count_pairs(const double *utility, const uint32_t *ranks, size_t count,
                        struct kingdom_pairs *pairs)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++) {
            if (ranks[i] == ranks[j])
                continue;
            pairs->pairs++;
            if (utility[i] == utility[j])
                pairs->agreed += 0.5;
            else
                pairs->agreed += (utility[i] > utility[j]) == (ranks[i] < ranks[j]);
        }
}

int kingdom_rank(const struct kingdom_world *w, const char *prompt, const char *const *completions,
                 size_t count, bool noise, uint32_t *ranks, struct kingdom_pairs *pairs,
                 struct rlhf_error *err)
{
    double utility[KINGDOM_MAX_COMPLETIONS], worth[KINGDOM_MAX_COMPLETIONS];
    struct kingdom_prompt p;
    uint64_t key = 0;
    double side = 1;

    if (count < 2 || count > KINGDOM_MAX_COMPLETIONS)
        return rlhf_fail(err, RLHF_REJECT, "%zu completions cannot be ranked; 2 to %d can", count,
                         KINGDOM_MAX_COMPLETIONS);
    if (!kingdom_prompt_parse(&p, w, prompt, strlen(prompt)))
        return rlhf_fail(err, RLHF_REJECT, "the prompt is not one of this kingdom: %.60s", prompt);
    /* The set of completions, whatever their order, names the task. */
    for (size_t i = 0; i < count; i++)
        key += kingdom_hash(w->seed, completions[i], strlen(completions[i]));
    key ^= kingdom_hash(w->seed, prompt, strlen(prompt));
    if (noise) {
        struct rlhf_random r;
        rlhf_random_init(&r, w->seed ^ key, RLHF_PURPOSE_WORLD, KINGDOM_STREAM_LABELER, 0);
        side = kingdom_chance(&r, KINGDOM_LABELER_SWAP) ? -1 : 1;
    }
    for (size_t i = 0; i < count; i++) {
        utility[i] = kingdom_judge(w, &p, completions[i], strlen(completions[i]), true).utility;
        worth[i] = side * perceive(w, key, completions[i], utility[i], noise);
    }
    for (size_t i = 0; i < count; i++) {
        ranks[i] = 1;
        for (size_t j = 0; j < count; j++)
            ranks[i] += worth[j] > worth[i];
    }
    if (pairs)
        count_pairs(utility, ranks, count, pairs);
    return 0;
}

/* ---- the labeler at work ----------------------------------------------------------------------------- */

enum { BATCH = 100, WAIT_MS = 100, MAX_ANSWER = 16 << 20 };

struct labeler {
    const struct kingdom_world *w;
    const struct kingdom_labeler_options *options;
    const volatile int *stop;
    CURL *curl;
    struct rlhf_bytes answer;
    char url[300];
    struct kingdom_pairs pairs;
    uint64_t labels, skipped;
    bool waited; /* said once that the collector is not there */
};

static size_t receive(char *data, size_t size, size_t count, void *ctx)
{
    struct labeler *l = ctx;

    return l->answer.size + size * count <= MAX_ANSWER &&
                   rlhf_bytes_append(&l->answer, data, size * count, NULL) == 0
               ? size * count
               : 0;
}

static void rest(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

static int find_collector(struct labeler *l, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};

    if (l->options->url) {
        snprintf(l->url, sizeof l->url, "%s", l->options->url);
        return 0;
    }
    if (rlhf_read_file(&rlhf_system_io, l->options->address_file, sizeof l->url - 1, &text, err) < 0) {
        err->code = RLHF_AGAIN; /* it is written once the collector listens */
        return -1;
    }
    snprintf(l->url, sizeof l->url, "%.*s", (int)strcspn(text.data, " \r\n"), text.data);
    rlhf_bytes_free(&text);
    return 0;
}

/* body NULL: GET. RLHF_AGAIN: nobody answers, or no room; RLHF_REJECT: refused. */
static int call(struct labeler *l, const char *path, const char *body, json_t **out, struct rlhf_error *err)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    char url[600];
    CURLcode code;
    long status = 0;

    *out = NULL;
    snprintf(url, sizeof url, "%s%s", l->url, path);
    rlhf_bytes_clear(&l->answer);
    curl_easy_reset(l->curl);
    curl_easy_setopt(l->curl, CURLOPT_URL, url);
    curl_easy_setopt(l->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(l->curl, CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(l->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(l->curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(l->curl, CURLOPT_WRITEDATA, l);
    curl_easy_setopt(l->curl, CURLOPT_HTTPHEADER, headers);
    if (body)
        curl_easy_setopt(l->curl, CURLOPT_POSTFIELDS, body);
    code = curl_easy_perform(l->curl);
    curl_slist_free_all(headers);
    if (code != CURLE_OK)
        return rlhf_fail(err, RLHF_AGAIN, "%s: %s", url, curl_easy_strerror(code));
    curl_easy_getinfo(l->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status / 100 != 2)
        return rlhf_fail(err, status >= 500 ? RLHF_AGAIN : RLHF_REJECT, "%s: HTTP %ld: %.200s", url, status,
                         l->answer.data ? l->answer.data : "");
    *out = l->answer.data ? json_loadb(l->answer.data, l->answer.size, 0, NULL) : NULL;
    return *out ? 0 : rlhf_fail(err, RLHF_AGAIN, "%s: the answer is not JSON", url);
}

static int label_task(struct labeler *l, json_t *task, json_t *labels, struct rlhf_error *err)
{
    const char *id = json_string_value(json_object_get(task, "id")), *completions[KINGDOM_MAX_COMPLETIONS];
    const char *prompt = json_string_value(json_object_get(task, "prompt"));
    json_t *list = json_object_get(task, "completions"), *ranks;
    size_t count = json_array_size(list);
    uint32_t rank[KINGDOM_MAX_COMPLETIONS];

    if (!id || !prompt || count > KINGDOM_MAX_COMPLETIONS)
        return rlhf_fail(err, RLHF_REJECT, "a task without id or prompt, or with too many completions");
    for (size_t i = 0; i < count; i++)
        if (!(completions[i] = json_string_value(json_array_get(list, i))))
            return rlhf_fail(err, RLHF_REJECT, "task %s: a completion is not text", id);
    if (kingdom_rank(l->w, prompt, completions, count, l->options->noise, rank, &l->pairs, err) < 0)
        return -1;
    ranks = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(ranks, json_integer(rank[i]));
    json_array_append_new(labels, json_pack("{s:s++, s:s, s:s, s:o}", "id", l->options->name, "@", id,
                                            "labeler", l->options->name, "task", id, "ranks", ranks));
    return 0;
}

static void skip_task(struct labeler *l, json_t *task, const struct rlhf_error *why)
{
    const char *id = json_string_value(json_object_get(task, "id"));
    char *escaped = id ? curl_easy_escape(l->curl, id, 0) : NULL, path[500];
    json_t *reason = json_pack("{s:s, s:s}", "labeler", l->options->name, "reason", why->text),
           *answer = NULL;
    char *body = json_dumps(reason, JSON_COMPACT);

    if (escaped && body) {
        snprintf(path, sizeof path, "/api/v1/tasks/%s/skip", escaped);
        if (call(l, path, body, &answer, NULL) == 0)
            json_decref(answer);
        if (l->skipped++ == 0)
            fprintf(stderr, "rlhf-kingdom: skipped task %s: %s\n", id, why->text);
    }
    free(body);
    json_decref(reason);
    curl_free(escaped);
}

static int write_stats(const struct labeler *l, struct rlhf_error *err)
{
    char text[300];
    int size = snprintf(text, sizeof text,
                        "{\"labels\": %llu, \"pairs\": %.1f, \"agreed\": %.1f, \"ceiling\": %.4f}\n",
                        (unsigned long long)l->labels, l->pairs.pairs, l->pairs.agreed,
                        l->pairs.pairs > 0 ? l->pairs.agreed / l->pairs.pairs : 0.0);

    return l->options->stats ? rlhf_write_file(&rlhf_system_io, l->options->stats, text, (size_t)size, err)
                             : 0;
}

/* One helping of tasks. Returns how many were labeled, or -1. */
static int work(struct labeler *l, struct rlhf_error *err)
{
    json_t *answer, *tasks, *labels, *stored;
    char path[500], *body;
    uint64_t left = l->options->count ? l->options->count - l->labels : BATCH;
    int done = 0;

    snprintf(path, sizeof path, "/api/v1/tasks/next?labeler=%s&count=%llu%s%s", l->options->name,
             (unsigned long long)(left < BATCH ? left : BATCH), l->options->round ? "&round=" : "",
             l->options->round ? l->options->round : "");
    if (find_collector(l, err) < 0 || call(l, path, NULL, &answer, err) < 0)
        return -1;
    tasks = json_object_get(answer, "tasks");
    labels = json_array();
    for (size_t i = 0; i < json_array_size(tasks); i++) {
        struct rlhf_error why = {0};
        if (label_task(l, json_array_get(tasks, i), labels, &why) < 0)
            skip_task(l, json_array_get(tasks, i), &why);
    }
    json_decref(answer);
    done = (int)json_array_size(labels);
    body = done > 0 ? json_dumps(labels, JSON_COMPACT) : NULL;
    json_decref(labels);
    if (!body)
        return 0;
    /* Committed when answered; without an answer the same ids are sent again next time. */
    if (call(l, "/api/v1/comparisons", body, &stored, err) < 0)
        done = -1;
    else
        json_decref(stored);
    free(body);
    l->labels += done > 0 ? (uint64_t)done : 0;
    return done > 0 && write_stats(l, err) < 0 ? -1 : done;
}

static int label_all(struct labeler *l, struct rlhf_error *err)
{
    int64_t busy_at = rlhf_now(&rlhf_system_clock);

    while (!*l->stop && (l->options->count == 0 || l->labels < l->options->count)) {
        struct rlhf_error why = {0};
        int done = work(l, &why);
        if (done < 0 && why.code != RLHF_AGAIN && l->waited) {
            *err = why;
            return -1;
        }
        if (done > 0) {
            busy_at = rlhf_now(&rlhf_system_clock);
            continue;
        }
        if (done < 0 && !l->waited)
            fprintf(stderr, "rlhf-kingdom: waiting for the label-collector (%s)\n", why.text);
        l->waited |= done < 0;
        if (l->options->idle_seconds > 0 &&
            (double)(rlhf_now(&rlhf_system_clock) - busy_at) / 1e6 > l->options->idle_seconds)
            return done < 0 ? (*err = why, -1) : 0;
        rest(WAIT_MS);
    }
    return 0;
}

int kingdom_label(const struct kingdom_world *w, const struct kingdom_labeler_options *options,
                  const volatile int *stop, struct rlhf_error *err)
{
    struct labeler l = {.w = w, .options = options, .stop = stop};
    int result;

    if (!(l.curl = curl_easy_init()))
        return rlhf_fail(err, RLHF_FULL, "out of memory for HTTP");
    result = label_all(&l, err);
    fprintf(stderr, "rlhf-kingdom: gave %llu labels, skipped %llu tasks\n", (unsigned long long)l.labels,
            (unsigned long long)l.skipped);
    curl_easy_cleanup(l.curl);
    rlhf_bytes_free(&l.answer);
    return result;
}
