/* api_metrics.c - numbers for Prometheus (text format 0.0.4). */
#include <inttypes.h>

#include "api_parts.h"
#include "store_vendors.h"
#include "sync.h"

const int64_t collector_duration_bounds_us[COLLECTOR_DURATIONS - 1] = { 1000,   2000,   5000,   10000,   20000,
                                                                        50000,  100000, 200000, 500000,  1000000 };

void collector_count_duration(struct collector_counters *n, bool writes, int64_t us)
{
    size_t i = 0;

    while (i < COLLECTOR_DURATIONS - 1 && us > collector_duration_bounds_us[i])
        ++i;
    ++n->duration[writes][i];
    n->duration_us[writes] += us > 0 ? (uint64_t)us : 0;
}

static void metric(struct rlhf_bytes *out, const char *name, const char *type, const char *help)
{
    rlhf_bytes_printf(out, NULL, "# HELP rlhf_collector_%s %s\n# TYPE rlhf_collector_%s %s\n", name, help, name, type);
}

static void number(struct rlhf_bytes *out, const char *name, const char *type, const char *help, uint64_t value)
{
    metric(out, name, type, help);
    rlhf_bytes_printf(out, NULL, "rlhf_collector_%s %" PRIu64 "\n", name, value);
}

static void durations(struct rlhf_bytes *out, const struct collector_counters *n)
{
    static const char *const kinds[] = { "read", "write" };

    metric(out, "http_request_seconds", "histogram", "Time from a request's header to its answer.");
    for (size_t k = 0; k < 2; ++k) {
        uint64_t sum = 0;
        for (size_t i = 0; i < COLLECTOR_DURATIONS; ++i) {
            sum += n->duration[k][i];
            rlhf_bytes_printf(out, NULL, "rlhf_collector_http_request_seconds_bucket{kind=\"%s\",le=\"", kinds[k]);
            if (i < COLLECTOR_DURATIONS - 1)
                rlhf_bytes_printf(out, NULL, "%g", (double)collector_duration_bounds_us[i] / 1e6);
            else
                rlhf_bytes_printf(out, NULL, "+Inf");
            rlhf_bytes_printf(out, NULL, "\"} %" PRIu64 "\n", sum);
        }
        rlhf_bytes_printf(out, NULL,
                          "rlhf_collector_http_request_seconds_sum{kind=\"%s\"} %.6f\n"
                          "rlhf_collector_http_request_seconds_count{kind=\"%s\"} %" PRIu64 "\n",
                          kinds[k], (double)n->duration_us[k] / 1e6, kinds[k], sum);
    }
}

static const struct collector_accounts *accounts_of(const struct collector *c)
{
    static const struct collector_accounts none;

    return c->sync ? collector_sync_accounts(c->sync) : &none;
}

/* What each vendor was given, by state. */
static int vendor_tasks(struct rlhf_bytes *out, struct collector *c, struct rlhf_error *err)
{
    const struct collector_accounts *a = accounts_of(c);
    struct collector_given g;

    if (a->count)
        metric(out, "vendor_tasks", "gauge", "Tasks given to a vendor.");
    for (size_t i = 0; i < a->count; ++i) {
        const char *name = a->items[i].vendor->name;
        if (collector_vendor_counts(c->store, name, &g, err) < 0)
            return -1;
        const struct {
            const char *state;
            uint64_t count;
        } states[] = { { "queued", g.queued }, { "sending", g.sending }, { "sent", g.sent }, { "refused", g.refused },
                       { "gone", g.gone } };
        for (size_t k = 0; k < sizeof(states) / sizeof(states[0]); ++k)
            rlhf_bytes_printf(out, NULL, "rlhf_collector_vendor_tasks{vendor=\"%s\",state=\"%s\"} %" PRIu64 "\n", name,
                              states[k].state, states[k].count);
    }
    return 0;
}

/* One number of each vendor's. */
static void vendor_numbers(struct rlhf_bytes *out, struct collector *c, const char *name, const char *type, const char *help,
                           uint64_t (*of)(const struct collector_account *a))
{
    const struct collector_accounts *a = accounts_of(c);

    if (a->count)
        metric(out, name, type, help);
    for (size_t i = 0; i < a->count; ++i)
        rlhf_bytes_printf(out, NULL, "rlhf_collector_%s{vendor=\"%s\"} %" PRIu64 "\n", name, a->items[i].vendor->name,
                          of(&a->items[i]));
}

static uint64_t is_failing(const struct collector_account *a)
{
    return a->failures > 0;
}

static uint64_t requests_failed(const struct collector_account *a)
{
    return a->counters.failed;
}

static uint64_t callbacks_taken(const struct collector_account *a)
{
    return a->counters.callbacks;
}

static uint64_t callbacks_refused(const struct collector_account *a)
{
    return a->counters.refused;
}

static int vendors(struct rlhf_bytes *out, struct collector *c, struct rlhf_error *err)
{
    vendor_numbers(out, c, "vendor_failing", "gauge", "1 while requests to a vendor fail.", is_failing);
    vendor_numbers(out, c, "vendor_requests_failed_total", "counter", "Requests to a vendor that failed.", requests_failed);
    vendor_numbers(out, c, "vendor_callbacks_total", "counter", "Callbacks of a vendor taken.", callbacks_taken);
    vendor_numbers(out, c, "vendor_callbacks_refused_total", "counter", "Callbacks refused: forged, old, repeated.",
                   callbacks_refused);
    return vendor_tasks(out, c, err);
}

void collector_get_metrics(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    const struct collector_counters *n = &c->counters;
    struct rlhf_bytes *out = &r->body;
    struct collector_counts counts;
    struct rlhf_error err;

    (void)q;
    if (collector_store_counts(c->store, "", &counts, &err) < 0) {
        collector_respond_failure(r, &err);
        return;
    }
    number(out, "tasks", "gauge", "Tasks in the store.", counts.tasks);
    number(out, "open_tasks", "gauge", "Tasks that wait for judgements.", counts.open);
    number(out, "labels", "gauge", "Labels that count.", counts.labels);
    number(out, "revisions_total", "counter", "Revisions of labels, all that were ever stored.", counts.revisions);
    number(out, "skips", "gauge", "Tasks passed on.", counts.skips);
    number(out, "store_trouble", "gauge", "1 while the store refuses writes.", c->trouble.code != RLHF_OK);
    number(out, "http_connections", "gauge", "Connections now.", n->connections);
    metric(out, "http_requests_total", "counter", "Requests answered: done, refused (4xx), failed (5xx).");
    rlhf_bytes_printf(out, NULL,
                      "rlhf_collector_http_requests_total{outcome=\"done\"} %" PRIu64 "\n"
                      "rlhf_collector_http_requests_total{outcome=\"refused\"} %" PRIu64 "\n"
                      "rlhf_collector_http_requests_total{outcome=\"failed\"} %" PRIu64 "\n",
                      n->requests - n->refused - n->failed, n->refused, n->failed);
    number(out, "http_throttled_total", "counter", "Requests refused because there were too many (429).", n->throttled);
    number(out, "commits_total", "counter", "Commits for HTTP.", n->groups);
    number(out, "writes_total", "counter", "Requests in those commits.", n->grouped);
    durations(out, n);
    if (vendors(out, c, &err) < 0) {
        rlhf_bytes_free(out);
        collector_respond_failure(r, &err);
        return;
    }
    metric(out, "uptime_seconds", "gauge", "Since the start.");
    rlhf_bytes_printf(out, NULL, "rlhf_collector_uptime_seconds %.3f\n",
                      (double)(rlhf_now(c->env->clock) - c->started_us) / 1e6);
    metric(out, "build_info", "gauge", "The version that runs.");
    if (rlhf_bytes_printf(out, NULL, "rlhf_collector_build_info{version=\"%s\"} 1\n", RLHF_VERSION) < 0) {
        collector_respond(r, 503, NULL);
        return;
    }
    r->status = 200;
    r->content_type = "text/plain; version=0.0.4; charset=utf-8";
}
