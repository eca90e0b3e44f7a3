#include "daemon/options.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_CHECK = 256, KEY_PRINT_CONFIG, KEY_MAN };

struct options {
    const char *config;
    bool check, print_config, man;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'c':
        o->config = arg;
        return 0;
    case KEY_CHECK:
        o->check = true;
        return 0;
    case KEY_PRINT_CONFIG:
        o->print_config = true;
        return 0;
    case KEY_MAN:
        o->man = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option: settings stand in the file given with --config", arg);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int read_config(const struct rlhf_daemon_info *info, const char *path, void *config, struct rlhf_error *err)
{
    const char *where = path ? path : "defaults (no --config)";

    if ((path ? rlhf_config_read(info->schema, path, config, err)
              : rlhf_config_parse(info->schema, "", 0, where, config, err))
        < 0)
        return -1;
    return info->finish ? info->finish(config, where, err) : 0;
}

/* For the switches that print and exit. */
_Noreturn static void finish(const struct rlhf_daemon_info *info, const struct options *o, void *config,
                             struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    int status = EXIT_FAILURE;
    bool defaults = o->print_config && !o->config; /* even where a setting is required */

    if ((!defaults && read_config(info, o->config, config, err) < 0)
        || (o->print_config && rlhf_config_print(info->schema, defaults ? NULL : config, &text, err) < 0)) {
        fprintf(stderr, "%s: %s\n", info->name, err->text);
    } else {
        if (o->print_config)
            fwrite(text.data, 1, text.size, stdout);
        else
            printf("%s: %s is fine\n", info->name, o->config ? o->config : "the default configuration");
        status = EXIT_SUCCESS;
    }
    rlhf_bytes_free(&text);
    rlhf_config_free(info->schema, config);
    exit(fflush(stdout) == 0 ? status : EXIT_FAILURE);
}

static const struct argp_option table[] = {
    { "config", 'c', "FILE", 0, "read the settings from FILE (YAML)", 0 },
    { "check", KEY_CHECK, NULL, 0, "read the settings, say what is wrong with file, line and key, exit", 0 },
    { "print-config", KEY_PRINT_CONFIG, NULL, 0, "print the settings with every default filled in, exit", 0 },
    { "man", KEY_MAN, NULL, OPTION_HIDDEN, "print the manual page in troff, exit", 0 },
    { 0 },
};

/* The manual page: made from the tables, so that it cannot drift. */
_Noreturn static void print_manual(const struct rlhf_daemon_info *info)
{
    struct rlhf_bytes text = { 0 };
    struct rlhf_error err = { 0 };
    int result = rlhf_bytes_printf(&text, &err,
                                   ".TH %s 8 \"\" \"rlhfd " RLHF_VERSION "\" \"rlhfd\"\n"
                                   ".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n[\\-\\-config FILE]\n.SH OPTIONS\n",
                                   info->name, info->name, info->summary, info->name);

    for (const struct argp_option *o = table; result == 0 && o->name; o++)
        if (!(o->flags & OPTION_HIDDEN))
            result = rlhf_bytes_printf(&text, &err, ".TP\n.B \\-\\-%s%s%s\n%c%s.\n", o->name, o->arg ? " " : "",
                                       o->arg ? o->arg : "", o->doc[0] - 'a' + 'A', o->doc + 1);
    if (result < 0 || rlhf_config_man(info->schema, &text, &err) < 0) {
        fprintf(stderr, "%s: %s\n", info->name, err.text);
        exit(EXIT_FAILURE);
    }
    fwrite(text.data, 1, text.size, stdout);
    rlhf_bytes_free(&text);
    exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

int rlhf_options_read(const struct rlhf_daemon_info *info, int argc, char **argv, void *config,
                      struct rlhf_error *err)
{
    struct argp argp = { .options = table, .parser = parse, .doc = info->summary };
    struct options o = { 0 };
    static char version[128];

    snprintf(version, sizeof version, "%s %s", info->name, RLHF_VERSION);
    argp_program_version = version;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.man)
        print_manual(info);
    if (o.check || o.print_config)
        finish(info, &o, config, err);
    return read_config(info, o.config, config, err);
}
