/* trace - where a label went: the updates that it was in, and the checkpoints made of them. */
#include <stdio.h>
#include <string.h>

#include "rlhfctl/ctl.h"
#include "rlhfctl/lineage.h"

struct options {
    const char *id, *run;
    bool json;
};

static bool is_it(const json_t *label, const char *id)
{
    const char *its = json_string_value(json_object_get(label, "id"));

    return its && strcmp(its, id) == 0;
}

/* ---- as text ----------------------------------------------------------------------------------------- */

static void print_use(const struct rundir *run, const json_t *use)
{
    const char *stage = json_string_value(json_object_get(use, "stage"));
    json_t *updates = json_object_get(use, "updates"), *update;
    size_t i, count = json_array_size(updates);

    if (!updates) {
        printf("  %-16s held out: measured on, not trained on\n", stage);
        return;
    }
    printf("  %-16s trained on in %zu of %lld updates:", stage, count,
           (long long)json_integer_value(json_object_get(rundir_done(run, stage), "steps")));
    json_array_foreach(updates, i, update)
        printf("%s step %lld (epoch %lld)", i ? "," : "", (long long)json_integer_value(json_array_get(update, 0)),
               (long long)json_integer_value(json_array_get(update, 1)));
    putchar('\n');
}

static void print_label(const struct rundir *run, const json_t *label)
{
    json_t *uses = json_object_get(label, "uses"), *use;
    const char *labeler = json_string_value(json_object_get(label, "labeler"));
    const char *source = json_string_value(json_object_get(label, "source"));
    size_t i;

    printf("label %s, revision %lld, of round %s", json_string_value(json_object_get(label, "id")),
           (long long)json_integer_value(json_object_get(label, "revision")),
           json_string_value(json_object_get(label, "round")) ?: "?");
    if (labeler && *labeler)
        printf(", by %s", labeler);
    if (source && *source)
        printf(", through %s", source);
    putchar('\n');
    if (json_array_size(uses) == 0)
        puts("  in no checkpoint: no stage has trained on it");
    json_array_foreach(uses, i, use) print_use(run, use);
}

static void print_affected(const json_t *affected)
{
    json_t *stage, *names, *name;
    size_t i, j;

    json_array_foreach(affected, i, stage)
    {
        if (json_is_true(json_object_get(stage, "trained")))
            continue;
        printf("  %-16s %s, %s of", json_string_value(json_object_get(stage, "stage")),
               json_string_value(json_object_get(stage, "kind")),
               json_is_true(json_object_get(stage, "done")) ? "made" : "will be made");
        names = json_object_get(stage, "through");
        json_array_foreach(names, j, name) printf("%s %s", j ? "," : "", json_string_value(name));
        putchar('\n');
    }
}

static void print_text(const struct ctl_lineage *l, const json_t *affected)
{
    const char *key;
    json_t *label;

    json_object_foreach(l->labels, key, label) print_label(l->run, label);
    if (json_array_size(affected) > 0)
        puts("downstream of it:");
    print_affected(affected);
}

/* ---- the command ------------------------------------------------------------------------------------- */

static int print_json(const struct ctl_lineage *l, json_t *affected, struct rlhf_error *err)
{
    json_t *labels = json_array(), *label, *root;
    const char *key;
    int rc;

    json_object_foreach(l->labels, key, label) json_array_append(labels, label);
    root = json_pack("{s:o, s:O, s:O}", "labels", labels, "affected", affected, "problems", l->run->problems);
    rc = root ? json_dumpf(root, stdout, JSON_INDENT(1)) : -1;
    putchar('\n');
    json_decref(root);
    return rc == 0 ? 0 : rlhf_fail(err, RLHF_FULL, "cannot print where the label went");
}

static int trace(const struct options *o, struct rundir *run, struct rlhf_error *err)
{
    struct ctl_lineage l;
    json_t *affected;
    int rc = ctl_lineage_find(&l, run, is_it, o->id, err);

    if (rc == 0 && json_object_size(l.labels) == 0)
        rc = rlhf_fail(err, RLHF_REJECT, "%s has no label '%s': neither in a round that was pulled nor behind a checkpoint",
                       run->path, o->id);
    if (rc == 0) {
        affected = ctl_lineage_affected(&l);
        if (o->json) {
            rc = print_json(&l, affected, err);
        } else {
            rundir_warn(run);
            print_text(&l, affected);
        }
        json_decref(affected);
    }
    ctl_lineage_free(&l);
    return rc;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'r':
        o->run = text;
        break;
    case 'j':
        o->json = true;
        break;
    case ARGP_KEY_ARG:
        if (o->id)
            argp_error(state, "one label, not two: '%s'", text);
        o->id = text;
        break;
    case ARGP_KEY_END:
        if (!o->id)
            argp_error(state, "which label?");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int label(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"run", 'r', "DIR", 0, "the run's directory (default: the current one)", 0},
        {"json", 'j', 0, 0, "one JSON object instead of text", 0},
        {0}};
    static const struct argp parser = {
        options, parse, "ID", "Names the updates that a label was in, and the checkpoints that were made of them.",
        NULL,    NULL,  NULL};
    struct options o = {.run = "."};
    struct rundir run;
    int rc;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (rundir_open(&run, o.run, err) < 0)
        return -1;
    rc = trace(&o, &run, err);
    rundir_close(&run);
    return rc;
}

int ctl_trace(int argc, char **argv, struct rlhf_error *err)
{
    static const struct ctl_command commands[] = {{"label", "ID [--run DIR]", "where a label went", label}, {0}};

    return ctl_dispatch("rlhfctl trace", "Follows what a run was made of.", commands, argc, argv, err);
}
