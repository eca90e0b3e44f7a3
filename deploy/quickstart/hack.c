#include "hack.h"

#include <jansson.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"

enum { MAX_FILE = 64 << 20, ROWS = 12, SHOWN = 4, AVERAGED = 5 };
#define STAGE "hack"

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

/* The lines of the stage, an array. */
static json_t *read_iterations(const char *run, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};
    json_t *list = json_array();
    char path[500], *at, *line;

    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    if (rlhf_read_file(&rlhf_system_io, path, MAX_FILE, &text, err) < 0) {
        json_decref(list);
        return NULL;
    }
    for (at = text.data; at && (line = strsep(&at, "\n"));) {
        json_t *o = *line ? json_loads(line, 0, NULL) : NULL;
        const char *stage = json_string_value(json_object_get(o, "stage"));
        if (stage && strcmp(stage, STAGE) == 0)
            json_array_append(list, o);
        json_decref(o);
    }
    rlhf_bytes_free(&text);
    if (json_array_size(list) == 0) {
        rlhf_fail(err, RLHF_REJECT, "%s: stage " STAGE " has not run there; deploy/quickstart.sh --hack makes such a run", path);
        json_decref(list);
        return NULL;
    }
    return list;
}

static void print_row(const json_t *o, FILE *out)
{
    fprintf(out, "%11.0f%13.2f%19.2f%8.2f%10.3f%9.1f\n", number(o, "step"), number(o, "reward"), number(o, "reward.gold"),
            number(o, "kl"), number(o, "entropy"), number(o, "length"));
}

static void print_iterations(const json_t *list, FILE *out)
{
    size_t count = json_array_size(list);

    fprintf(out, "\n  iteration        score  judge's utility      KL   entropy   length\n");
    for (size_t row = 0; row < ROWS && row < count; row++) {
        size_t rows = count < ROWS ? count : ROWS;
        print_row(json_array_get(list, rows > 1 ? row * (count - 1) / (rows - 1) : 0), out);
    }
}

static void print_watch(const json_t *watch, FILE *out)
{
    const json_t *samples = json_object_get(watch, "samples");

    fprintf(out, "\nThe watch stopped it after iteration %.0f: %s.\nWhat was scored highest then:\n", number(watch, "iteration"),
            json_string_value(json_object_get(watch, "why")));
    for (size_t i = 0; i < json_array_size(samples) && i < SHOWN; i++) {
        const json_t *s = json_array_get(samples, i);
        fprintf(out, "  %6.2f  %s%s\n", number(s, "reward"), json_string_value(json_object_get(s, "prompt")),
                json_string_value(json_object_get(s, "completion")));
    }
}

static double mean(const json_t *list, const char *key, size_t from)
{
    double sum = 0;
    size_t n = 0;

    for (; n < AVERAGED && from + n < json_array_size(list); n++)
        sum += number(json_array_get(list, from + n), key);
    return n ? sum / (double)n : 0;
}

/* From where the judge was pleased most to the end: the score rose, the judge's utility fell. */
static bool shows_hacking(const json_t *list)
{
    size_t count = json_array_size(list), best = 0, last = count > AVERAGED ? count - AVERAGED : 0;

    for (size_t i = 0; i <= last; i++)
        if (mean(list, "reward.gold", i) > mean(list, "reward.gold", best))
            best = i;
    return mean(list, "reward", last) > mean(list, "reward", best) &&
           mean(list, "reward.gold", last) < mean(list, "reward.gold", best);
}

int kingdom_hack_print(const char *run, bool check, FILE *out, struct rlhf_error *err)
{
    json_t *list = read_iterations(run, err), *watch;
    char path[500];
    bool stopped;
    int rc = 0;

    if (!list)
        return -1;
    snprintf(path, sizeof path, "%s/watch/" STAGE ".json", run);
    watch = json_load_file(path, 0, NULL);
    stopped = json_is_true(json_object_get(watch, "paused"));
    print_iterations(list, out);
    if (stopped)
        print_watch(watch, out);
    if (check && (!stopped || !shows_hacking(list)))
        rc = rlhf_fail(err, RLHF_REJECT, "%s", stopped ? "the score did not rise while the judge's utility fell"
                                                       : "the watch did not stop it");
    json_decref(watch);
    json_decref(list);
    return rc;
}
