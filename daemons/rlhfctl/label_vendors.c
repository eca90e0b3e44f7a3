/* label vendors, push, pull - how the label-collector deals with vendors, and what it is asked to give to them or to look
 * for at once. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rlhfctl/ctl.h"
#include "rlhfctl/labels_http.h"

struct options {
    struct http_where where;
    const char *vendor, *round, *count;
    bool named, json;
};

/* "/api/v1/vendors/NAME/what": names have nothing in them that would have to be escaped. */
static int vendor_path(const struct options *o, const char *what, char path[200], struct rlhf_error *err)
{
    if (!o->vendor[0] || strlen(o->vendor) > 60 || strpbrk(o->vendor, "/?#% "))
        return rlhf_fail(err, RLHF_REJECT, "'%.60s' is no vendor's name: see rlhfctl label vendors", o->vendor);
    snprintf(path, 200, "/api/v1/vendors/%s/%s", o->vendor, what);
    return 0;
}

static long long number(const json_t *object, const char *map, const char *key)
{
    const json_t *inside = map ? json_object_get(object, map) : object;

    return (long long)json_integer_value(json_object_get(inside, key));
}

static void print_error(const char *what, const json_t *text)
{
    if (json_string_length(text))
        printf("  %s: %s\n", what, json_string_value(text));
}

static void print_vendor(const json_t *v)
{
    const json_t *tasks = json_object_get(v, "tasks"), *said = json_object_get(v, "said");
    double wait = json_real_value(json_object_get(v, "retry_seconds"));

    printf("%s (%s): %lld labels, cost %.2f\n", json_string_value(json_object_get(v, "name")),
           json_string_value(json_object_get(v, "kind")), number(v, NULL, "labels"), json_real_value(json_object_get(v, "cost")));
    printf("  tasks: %lld queued, %lld sending, %lld sent, %lld refused, %lld gone", number(v, "tasks", "queued"),
           number(v, "tasks", "sending"), number(v, "tasks", "sent"), number(v, "tasks", "refused"), number(v, "tasks", "gone"));
    if (number(v, "tasks", "owed"))
        printf("; %lld judgements owed, for which nobody else is asked", number(v, "tasks", "owed"));
    if (number(v, NULL, "quota"))
        printf("; quota %lld", number(v, NULL, "quota"));
    printf("\n  callbacks: %lld taken, %lld refused; requests: %lld made, %lld failed\n", number(v, "callbacks", "taken"),
           number(v, "callbacks", "refused"), number(v, "requests", "made"), number(v, "requests", "failed"));
    print_error("a task was refused", json_object_get(tasks, "error"));
    print_error("an answer makes no sense", json_object_get(said, "error"));
    print_error("error", json_object_get(v, "error"));
    if (wait > 0)
        printf("  next try in %.0f s\n", wait);
}

static int run_vendors(const struct options *o, struct rlhf_error *err)
{
    json_t *answer = http_ask(&o->where, "/api/v1/vendors", NULL, err), *list = json_object_get(answer, "vendors"), *v;
    size_t i;

    if (!answer)
        return -1;
    if (o->json) {
        json_dumpf(list, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (json_array_size(list) == 0) {
        printf("no vendors are configured (`vendors:` of label-collector)\n");
    }
    json_array_foreach(list, i, v)
    {
        if (!o->json)
            print_vendor(v);
    }
    json_decref(answer);
    return 0;
}

static int run_push(const struct options *o, struct rlhf_error *err)
{
    json_t *wish = json_object(), *answer;
    char path[200], *body = NULL, *end = NULL;
    long long count = o->count ? strtoll(o->count, &end, 10) : 1;

    if (o->count && (*end || count < 1)) {
        json_decref(wish);
        return rlhf_fail(err, RLHF_REJECT, "--count: '%s' is not a number of tasks", o->count);
    }
    if (o->count)
        json_object_set_new(wish, "count", json_integer(count));
    if (o->round)
        json_object_set_new(wish, "round", json_string(o->round));
    body = json_dumps(wish, JSON_COMPACT);
    answer = vendor_path(o, "push", path, err) == 0 && body ? http_ask(&o->where, path, body, err) : NULL;
    if (answer)
        printf("%lld tasks are queued for %s\n", number(answer, NULL, "tasks"), o->vendor);
    json_decref(answer);
    json_decref(wish);
    free(body);
    return answer ? 0 : -1;
}

static int run_pull(const struct options *o, struct rlhf_error *err)
{
    char path[200];
    json_t *answer = vendor_path(o, "pull", path, err) == 0 ? http_ask(&o->where, path, "", err) : NULL;

    if (answer)
        printf("looking at what %s has\n", o->vendor);
    json_decref(answer);
    return answer ? 0 : -1;
}

/* ---- the commands ---------------------------------------------------------------------------------------- */

enum { KEY_COUNT = 256, KEY_JSON };

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        http_where_init(&o->where, state);
        break;
    case 'r':
        o->round = text;
        break;
    case KEY_COUNT:
        o->count = text;
        break;
    case KEY_JSON:
        o->json = true;
        break;
    case ARGP_KEY_ARG:
        if (!o->named || o->vendor)
            argp_error(state, "'%s' is not expected here", text);
        o->vendor = text;
        break;
    case ARGP_KEY_END:
        if (o->named && !o->vendor)
            argp_error(state, "which vendor? (rlhfctl label vendors)");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int ctl_label_vendors(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = { { "json", KEY_JSON, 0, 0, "as JSON", 0 }, { 0 } };
    static const struct argp parser = {
        options, parse, "", "Shows what each vendor was given, what came back, and what went wrong.",
        http_where_options, NULL, NULL
    };
    struct options o = { 0 };

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    return run_vendors(&o, err);
}

int ctl_label_push(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = { { "round", 'r', "NAME", 0, "only tasks of this round", 0 },
                                                  { "count", KEY_COUNT, "N", 0, "so many at most", 0 },
                                                  { 0 } };
    static const struct argp parser = { options, parse, "VENDOR",
                                        "Gives open tasks to a vendor: those it was not given yet, within its quota.",
                                        http_where_options, NULL, NULL };
    struct options o = { .named = true };

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    return run_push(&o, err);
}

int ctl_label_pull(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp parser = { NULL, parse, "VENDOR", "Has the label-collector look at once for what is new at a vendor.",
                                        http_where_options, NULL, NULL };
    struct options o = { .named = true };

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    return run_pull(&o, err);
}
