/* stages.c - how long everything took, and where it came from. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "report/completions.h"

enum { MOST = 40, LIMIT = 1 << 24 };

static void put_times(struct report *r)
{
    struct plot_bar bars[MOST];
    char notes[MOST][MARKUP_NUMBER + 8], number[MARKUP_NUMBER];
    size_t count = 0;

    for (size_t i = 0; i < rlhf_run_stages(&r->run->run) && count < MOST; i++) {
        const json_t *done = rundir_done(r->run, report_stage_name(r, i));
        double seconds = completions_number(done, "seconds");
        if (!done)
            continue;
        snprintf(notes[count], sizeof notes[count], "%s s", markup_format(number, seconds < 100 ? round(10 * seconds) / 10 : round(seconds)));
        bars[count] = (struct plot_bar){.name = report_stage_name(r, i), .note = notes[count], .value = seconds, .low = 1,
                                        .high = 0, .colour = (unsigned)rlhf_stage_kind(rlhf_run_stage(&r->run->run, i))};
        count++;
    }
    if (count > 0)
        plot_put_bars(&r->page, &(struct plot_bars){.title = "Time at work", .x = "seconds", .bars = bars, .count = count, .wide = true});
    else
        report_missing(r, "No stage is done yet.");
}

/* The digest of a checkpoint's weights, from its MANIFEST: lines of digest, size, name. */
static void put_digest(struct report *r, const char *stage)
{
    char path[1200], *line, *at;
    struct rlhf_bytes text = {0};

    snprintf(path, sizeof path, "%s/checkpoints/%s/MANIFEST", r->run->path, stage);
    if (rlhf_exists(&rlhf_system_io, path) && rlhf_read_file(&rlhf_system_io, path, LIMIT, &text, NULL) == 0)
        for (at = text.data; at && (line = strsep(&at, "\n"));) {
            size_t size = strlen(line);
            if (size > 80 && strcmp(line + size - strlen(" model.safetensors"), " model.safetensors") == 0)
                markup_text_size(&r->page, line, 16);
        }
    rlhf_bytes_free(&text);
}

static void put_list(struct markup *m, const json_t *names)
{
    json_t *name;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)names, i, name)
    {
        markup_put(m, "%s", i ? ", " : "");
        markup_text(m, json_string_value(name) ?: "");
    }
}

static void put_row(struct report *r, size_t index)
{
    struct markup *m = &r->page;
    const char *name = report_stage_name(r, index);
    const json_t *done = rundir_done(r->run, name);
    json_t *origin = rundir_json(r->run, "checkpoints/%s/provenance.json", name);

    markup_put(m, "<tr><th scope=\"row\">");
    markup_text(m, name);
    markup_put(m, "</th><td class=\"text\">%s</td><td class=\"text\">%s</td><td>",
               rlhf_stage_kind_name(rlhf_stage_kind(rlhf_run_stage(&r->run->run, index))), done ? "done" : "to come");
    markup_number(m, completions_number(done, "steps"));
    markup_put(m, "</td><td>");
    markup_number(m, completions_number(done, "tokens"));
    markup_put(m, "</td><td>");
    markup_number(m, round(completions_number(done, "tokens") / completions_number(done, "seconds")));
    markup_put(m, "</td><td class=\"text\">");
    put_list(m, json_object_get(origin, "made_of"));
    markup_put(m, "</td><td>");
    markup_number(m, completions_number(json_object_get(origin, "labels"), "count"));
    markup_put(m, "</td><td><code>");
    put_digest(r, name);
    markup_put(m, "</code></td></tr>");
    json_decref(origin);
}

static void put_table(struct report *r)
{
    markup_put(&r->page, "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">stage</th><th scope=\"col\">kind</th><th scope=\"col\"></th>"
                         "<th scope=\"col\">steps</th><th scope=\"col\">tokens</th><th scope=\"col\">tokens/s</th><th scope=\"col\">made of</th>"
                         "<th scope=\"col\">labels behind it</th><th scope=\"col\">weights (BLAKE2b)</th></tr></thead><tbody>");
    for (size_t i = 0; i < rlhf_run_stages(&r->run->run); i++)
        put_row(r, i);
    markup_put(&r->page, "</tbody></table></div>\n");
}

/* Every data file that a checkpoint read, once, with its hash; and on which processors the run computed. */
static void collect(struct report *r, json_t *files, json_t *profiles)
{
    for (size_t i = 0; i < rlhf_run_stages(&r->run->run); i++) {
        json_t *origin = rundir_json(r->run, "checkpoints/%s/provenance.json", report_stage_name(r, i));
        const char *profile = json_string_value(json_object_get(origin, "profile"));
        json_object_update(files, json_object_get(origin, "files"));
        if (profile)
            json_object_set_new(profiles, profile, json_true());
        json_decref(origin);
    }
}

static void put_origin(struct report *r)
{
    json_t *files = json_object(), *profiles = json_object(), *value;
    struct markup *m = &r->page;
    const char *name;

    collect(r, files, profiles);
    if (json_object_size(profiles) > 0)
        markup_put(m, "<h3>Numeric profile</h3>");
    json_object_foreach(profiles, name, value)
    {
        markup_put(m, "<p><code>");
        markup_text(m, name);
        markup_put(m, "</code></p>");
    }
    if (json_object_size(files) > 0) {
        markup_put(m, "<details><summary><b>Data files</b> <span>%zu, with their BLAKE2b</span></summary><div class=\"scroll\"><table><tbody>",
                   json_object_size(files));
        json_object_foreach(files, name, value)
        {
            markup_put(m, "<tr><th scope=\"row\">");
            markup_text(m, name);
            markup_put(m, "</th><td><code>");
            markup_text(m, json_string_value(value) ?: "");
            markup_put(m, "</code></td></tr>");
        }
        markup_put(m, "</tbody></table></div></details>\n");
    }
    json_decref(files);
    json_decref(profiles);
}

/* Without the help that stands in it as comments. */
static void put_settings(struct report *r)
{
    char path[1200], *line, *at;
    struct rlhf_bytes text = {0};

    snprintf(path, sizeof path, "%s/settings.yaml", r->run->path);
    if (rlhf_read_file(&rlhf_system_io, path, LIMIT, &text, NULL) < 0)
        return;
    markup_put(&r->page, "<details><summary><b>Settings</b> <span>as the learner understood them</span></summary><pre>");
    for (at = text.data; at && (line = strsep(&at, "\n"));) {
        if (line[strspn(line, " ")] == '#' || !*line)
            continue;
        markup_text(&r->page, line);
        markup_put(&r->page, "\n");
    }
    markup_put(&r->page, "</pre></details>\n");
    rlhf_bytes_free(&text);
}

bool report_stages(struct report *r)
{
    put_times(r);
    put_table(r);
    put_origin(r);
    put_settings(r);
    return true;
}
