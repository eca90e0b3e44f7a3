/* label forget - takes a labeler's comparisons back, and says what has to be made again without them.
 *
 * The label-collector keeps them, each with one more revision that does not count; learners hear of it when they begin the
 * next stage that is trained on their rounds. What was trained on them before is in the run's own files. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rlhfctl/ctl.h"
#include "rlhfctl/labels_http.h"
#include "rlhfctl/lineage.h"

struct options {
    struct http_where where;
    const char *labeler, *why, *who, *run;
    bool dry;
};

static bool is_by(const json_t *label, const char *labeler)
{
    const char *its = json_string_value(json_object_get(label, "labeler"));

    return its && strcmp(its, labeler) == 0;
}

/* ---- the label-collector's part ------------------------------------------------------------------------ */

static int take_back(const struct options *o, struct rlhf_error *err)
{
    json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "scope", "labeler", "name", o->labeler, "why", o->why, "who", o->who);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_t *answer = NULL;
    int rc;

    if (!text)
        rlhf_fail(err, RLHF_REJECT, "--labeler, --why and --who must be UTF-8");
    else if ((answer = http_ask(&o->where, "/api/v1/quarantine", text, err)))
        printf("%lld labels of %s are taken back; what %s still sends does not count\n",
               (long long)json_integer_value(json_object_get(answer, "labels")), o->labeler, o->labeler);
    rc = answer ? 0 : -1;
    json_decref(body);
    json_decref(answer);
    free(text);
    return rc;
}

/* ---- the run's part ------------------------------------------------------------------------------------ */

/* How many of them the stage was trained on. */
static size_t trained_on(const struct ctl_lineage *l, const char *stage)
{
    json_t *label, *use;
    const char *key;
    size_t i, count = 0;

    json_object_foreach(l->labels, key, label)
        json_array_foreach(json_object_get(label, "uses"), i, use)
            count += json_object_get(use, "updates") &&
                     strcmp(json_string_value(json_object_get(use, "stage")), stage) == 0;
    return count;
}

static void print_stage(const struct ctl_lineage *l, const json_t *entry)
{
    const char *stage = json_string_value(json_object_get(entry, "stage"));
    json_t *name;
    size_t i;

    printf("  %-16s %s, ", stage, json_string_value(json_object_get(entry, "kind")));
    if (json_is_true(json_object_get(entry, "trained")))
        printf("trained on %zu of them", trained_on(l, stage));
    else
        printf("made of");
    json_array_foreach(json_object_get(entry, "through"), i, name)
        printf("%s %s", i ? "," : json_is_true(json_object_get(entry, "trained")) ? ", made of" : "", json_string_value(name));
    putchar('\n');
}

static void print_rebuild(const struct ctl_lineage *l)
{
    json_t *affected = ctl_lineage_affected(l), *entry;
    size_t i, done = 0;

    json_array_foreach(affected, i, entry) done += json_is_true(json_object_get(entry, "done"));
    printf("%s: %zu labels of theirs were pulled; %s\n", l->run->path, json_object_size(l->labels),
           done ? "to be made again, in this order:" : "no stage that is done was made of them");
    json_array_foreach(affected, i, entry)
    {
        if (json_is_true(json_object_get(entry, "done")))
            print_stage(l, entry);
    }
    if (done)
        printf("Stop the run, remove these stages' directories from %s/checkpoints, and start it again; or give the run file another "
               "run.dir.\nStages that have not begun leave the labels out by themselves.\n",
               l->run->path);
    json_decref(affected);
}

static int say_what_to_rebuild(const struct options *o, struct rlhf_error *err)
{
    struct rundir run;
    struct ctl_lineage l = {0};
    int rc = rundir_open(&run, o->run, err);

    if (rc < 0)
        return -1;
    rc = ctl_lineage_find(&l, &run, is_by, o->labeler, err);
    rundir_warn(&run);
    if (rc == 0)
        print_rebuild(&l);
    ctl_lineage_free(&l);
    rundir_close(&run);
    return rc;
}

/* ---- the command ---------------------------------------------------------------------------------------- */

enum { KEY_LABELER = 256, KEY_WHY, KEY_WHO };

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        http_where_init(&o->where, state);
        break;
    case KEY_LABELER:
        o->labeler = text;
        break;
    case KEY_WHY:
        o->why = text;
        break;
    case KEY_WHO:
        o->who = text;
        break;
    case 'r':
        o->run = text;
        break;
    case 'n':
        o->dry = true;
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected here; --labeler names whose labels", text);
        break;
    case ARGP_KEY_END:
        if (!o->labeler)
            argp_error(state, "whose labels? (--labeler)");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int ctl_label_forget(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"labeler", KEY_LABELER, "NAME", 0, "whose labels", 0},
        {"run", 'r', "DIR", 0, "a run's directory: says what was made of them there, and has to be made again", 0},
        {"why", KEY_WHY, "TEXT", 0, "the reason, kept with the labels (default: forgotten)", 0},
        {"who", KEY_WHO, "NAME", 0, "on whose word (default: the user)", 0},
        {"dry-run", 'n', 0, 0, "takes nothing back, only says what would have to be made again", 0},
        {0}};
    static const struct argp parser = {
        options, parse, "--labeler NAME",
        "Takes a labeler's comparisons back: the label-collector keeps them, but they do not count any more, nor does what the "
        "labeler still sends. Runs leave them out of every stage that begins afterwards.",
        http_where_options, NULL, NULL};
    struct options o = {.why = "forgotten", .who = getenv("USER") ?: "rlhfctl"};

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (!o.dry && take_back(&o, err) < 0)
        return -1;
    return o.run ? say_what_to_rebuild(&o, err) : 0;
}
