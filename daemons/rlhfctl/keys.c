/* keys - makes and shows the keys that daemons on different hosts know each other by. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/keys.h"
#include "net/codec.h"
#include "rlhfctl/ctl.h"

struct new_options {
    const char *file, *role, *name;
};

static error_t parse_new(int key, char *text, struct argp_state *state)
{
    struct new_options *o = state->input;

    switch (key) {
    case 'r':
        o->role = text;
        break;
    case 'n':
        o->name = text;
        break;
    case ARGP_KEY_ARG:
        if (o->file)
            argp_error(state, "one file at a time");
        o->file = text;
        break;
    case ARGP_KEY_END:
        if (!o->file || !o->role)
            argp_error(state, "a FILE and a --role are needed");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static bool is_role(const char *text)
{
    for (Rlhf__V1__Role r = RLHF__V1__ROLE__ROLE_LEARNER; r <= RLHF__V1__ROLE__ROLE_CONTROL; r++)
        if (strcmp(text, rlhf_role_name(r)) == 0)
            return true;
    return false;
}

static int keys_new(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"role", 'r', "ROLE", 0, "learner, rollout-worker, reward-scorer, label-collector or rlhfctl", 0},
        {"name", 'n', "NAME", 0, "what logs call it (default: this host's name and the role)", 0},
        {0}};
    static const struct argp parser = {
        options, parse_new, "FILE",
        "Makes a pair of CURVE keys. The secret goes into FILE, which only you can read; what is printed is the line for "
        "the peers file of those who are to know it.",
        NULL, NULL, NULL};
    char public_key[RLHF_KEY_TEXT], host[64] = "here";
    struct new_options o = {0};

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (!is_role(o.role))
        return rlhf_fail(err, RLHF_REJECT, "'%.40s' is no role: learner, rollout-worker, reward-scorer, label-collector or rlhfctl",
                         o.role);
    if (rlhf_keys_make(o.file, public_key, err) < 0)
        return -1;
    gethostname(host, sizeof host - 1);
    if (o.name)
        printf("%s %s %s\n", public_key, o.role, o.name);
    else
        printf("%s %s %s-%s\n", public_key, o.role, host, o.role);
    return 0;
}

static int keys_public(int argc, char **argv, struct rlhf_error *err)
{
    struct rlhf_keys *k;

    if (argc != 2)
        return rlhf_fail(err, RLHF_REJECT, "usage: rlhfctl keys public FILE");
    if (!(k = rlhf_keys_open(argv[1], "/dev/null", err)))
        return -1;
    puts(rlhf_keys_public(k));
    rlhf_keys_free(k);
    return 0;
}

int ctl_keys(int argc, char **argv, struct rlhf_error *err)
{
    static const struct ctl_command commands[] = {
        {"new", "--role ROLE FILE", "makes a pair; prints its line for peers files", keys_new},
        {"public", "FILE", "the public key of a secret one", keys_public},
        {0}};

    return ctl_dispatch("rlhfctl keys", "Makes and shows keys.", commands, argc, argv, err);
}
