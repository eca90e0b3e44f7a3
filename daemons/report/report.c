#include "report/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "report/sections.h"
#include "report/style.h"

static const struct section {
    const char *id, *title, *says;
    bool (*put)(struct report *r);
} sections[] = {
    {"front", "Reward against KL", "What a policy gains by moving away from its reference, iteration by iteration. Where the front "
     "bends down, more reward is bought by nothing but distance.", report_front},
    {"tax", "Alignment tax", "What each policy lost or gained beside the reward, against the reference of its evaluation.", report_tax},
    {"gate", "Gate", "Who was promoted, and every clause that was judged.", report_gates},
    {"figures", "Evaluations", "Every number that the evaluations measured, with 95\u202f% intervals where they are known.", report_figures},
    {"calibration", "Calibration of the reward model", "Held-out pairs: how sure the model was, and how often people agreed.",
     report_calibration},
    {"samples", "Completions side by side", "The same prompts, answered by each policy with the same random numbers. What "
     "the reference does not say is marked.", report_samples},
    {"watch", "What the reward model likes best", "The completions with the highest rewards: this is where a policy that games its "
     "reward model shows.", report_watch},
    {"length", "Reward against length", "A reward that grows with length alone is no preference.", report_length},
    {"curves", "Learning curves", "Every stage, step by step.", report_curves},
    {"staleness", "Staleness", "Policy versions between sampling and training.", report_staleness},
    {"stages", "Time and origin", "How long the stages took, what they were made of, and the settings.", report_stages},
};
enum { SECTIONS = sizeof sections / sizeof *sections };

/* ---- what the sections share --------------------------------------------------------------------------- */

bool report_missing(struct report *r, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    markup_put(&r->page, "<p class=\"missing\">");
    markup_text(&r->page, text);
    markup_put(&r->page, "</p>\n");
    return false;
}

size_t report_next(const struct report *r, size_t from, enum rlhf_stage_kind kind)
{
    size_t count = rlhf_run_stages(&r->run->run);

    while (from < count && rlhf_stage_kind(rlhf_run_stage(&r->run->run, from)) != kind)
        from++;
    return from;
}

const char *report_stage_name(const struct report *r, size_t index)
{
    return rlhf_stage_name(rlhf_run_stage(&r->run->run, index));
}

const struct rlhf_config_strings *report_policies(const struct report *r, size_t index)
{
    return &rlhf_run_stage(&r->run->run, index)->evaluate->policies;
}

/* ---- the page ------------------------------------------------------------------------------------------ */

static void put_tile(struct markup *m, const char *value, const char *name)
{
    markup_put(m, "<div class=\"tile\"><b>");
    markup_text(m, value);
    markup_put(m, "</b><span>");
    markup_text(m, name);
    markup_put(m, "</span></div>");
}

static void duration(double seconds, char out[MARKUP_NUMBER])
{
    if (seconds < 100)
        snprintf(out, MARKUP_NUMBER, "%.1f s", seconds);
    else if (seconds < 5400)
        snprintf(out, MARKUP_NUMBER, "%.0f min", seconds / 60);
    else
        snprintf(out, MARKUP_NUMBER, "%.1f h", seconds / 3600);
}

static void put_tiles(struct report *r)
{
    size_t stages = rlhf_run_stages(&r->run->run), done = 0, last = stages;
    double seconds = 0, labels = 0;
    char text[MARKUP_NUMBER];
    const json_t *entry;
    json_t *measured;

    for (size_t i = 0; i < stages; i++)
        if ((entry = rundir_done(r->run, report_stage_name(r, i)))) {
            done++;
            seconds += json_number_value(json_object_get(entry, "seconds"));
            if (rlhf_run_stage(&r->run->run, i)->collect)
                labels += json_number_value(json_object_get(entry, "steps"));
            if (rlhf_run_stage(&r->run->run, i)->reward)
                last = i;
        }
    markup_put(&r->page, "<div class=\"tiles\">");
    snprintf(text, sizeof text, "%zu of %zu", done, stages);
    put_tile(&r->page, text, "stages done");
    duration(seconds, text);
    put_tile(&r->page, text, "at work");
    if (labels > 0)
        put_tile(&r->page, markup_format(text, labels), "comparisons by people");
    if (last < stages && (measured = rundir_json(r->run, "evaluations/%s/metrics.json", report_stage_name(r, last)))) {
        if (json_is_number(json_object_get(measured, "accuracy"))) {
            snprintf(text, sizeof text, "%.1f\u202f%%", 100 * json_number_value(json_object_get(measured, "accuracy")));
            put_tile(&r->page, text, "held-out pairs ordered as people did");
        }
        json_decref(measured);
    }
    markup_put(&r->page, "</div>\n");
}

static void put_head(struct report *r)
{
    struct markup *m = &r->page;
    char date[64];
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &utc);
    markup_put(m, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
                  "<meta name=\"color-scheme\" content=\"light dark\"><title>");
    markup_text(m, r->run->run.run.name);
    markup_put(m, " \u2013 rlhfd report</title><style>");
    for (size_t i = 0; i < sizeof report_style / sizeof *report_style; i++)
        markup_put(m, "%s", report_style[i]);
    markup_put(m, "</style></head>\n<body><header><p class=\"kind\">rlhfd report</p><h1>");
    markup_text(m, r->run->run.run.name);
    markup_put(m, "</h1><p class=\"sub\">seed %lld \u00b7 made %s \u00b7 rlhfd %s</p>", (long long)r->run->run.run.seed, date,
               RLHF_VERSION);
    put_tiles(r);
    markup_put(m, "<nav aria-label=\"Sections\">");
    for (size_t i = 0; i < SECTIONS; i++)
        markup_put(m, "<a href=\"#%s\">%s</a>", sections[i].id, sections[i].title);
    markup_put(m, "</nav></header>\n<main>\n");
}

static void put_problems(struct report *r, size_t at)
{
    struct markup said = {0};
    json_t *text;
    size_t i;

    if (json_array_size(r->run->problems) == 0)
        return;
    markup_put(&said, "<section class=\"problems\" id=\"problems\"><h2>Left out</h2><ul>");
    json_array_foreach(r->run->problems, i, text)
    {
        markup_put(&said, "<li>");
        markup_text(&said, json_string_value(text));
        markup_put(&said, "</li>");
    }
    markup_put(&said, "</ul></section>\n");
    if (r->page.err.code == RLHF_OK && said.err.code == RLHF_OK &&
        rlhf_bytes_reserve(&r->page.bytes, said.bytes.size, &r->page.err) == 0) { /* known only now, read first */
        char *place = r->page.bytes.data + at;
        memmove(place + said.bytes.size, place, r->page.bytes.size - at + 1);
        memcpy(place, said.bytes.data, said.bytes.size);
        r->page.bytes.size += said.bytes.size;
    }
    rlhf_bytes_free(&said.bytes);
}

int report_page(struct rundir *run, struct rlhf_bytes *out, struct rlhf_error *err)
{
    struct report r = {.run = run};
    size_t main_at;
    int rc = report_metrics_read(&r.metrics, run, err);

    if (rc == 0) {
        put_head(&r);
        main_at = r.page.bytes.size;
        for (size_t i = 0; i < SECTIONS; i++) {
            markup_put(&r.page, "<section id=\"%s\"><h2>%s</h2><p class=\"says\">%s</p>\n", sections[i].id, sections[i].title,
                       sections[i].says);
            sections[i].put(&r);
            markup_put(&r.page, "</section>\n");
        }
        put_problems(&r, main_at);
        markup_put(&r.page, "</main>\n<footer>Made by <code>rlhfctl report</code> from the run's own files; nothing on this page "
                            "is loaded from anywhere.</footer></body></html>\n");
        if (r.page.err.code != RLHF_OK) {
            *err = r.page.err;
            rc = -1;
        } else {
            rc = rlhf_bytes_append(out, r.page.bytes.data, r.page.bytes.size, err);
        }
    }
    report_metrics_free(&r.metrics);
    rlhf_bytes_free(&r.page.bytes);
    return rc;
}
