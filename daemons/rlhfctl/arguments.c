#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "model/model.h"
#include "rlhfctl/ctl.h"
#include "telemetry/log.h"

enum { MAX_COMMANDS = 16 };

static int print_commands(FILE *out, const char *what, const char *about, const struct ctl_command *commands)
{
    fprintf(out, "Usage: %s COMMAND [ARGUMENT...]\n\n%s\n\n", what, about);
    for (const struct ctl_command *c = commands; c->name; c++)
        fprintf(out, "  %-10s %-22s %s\n", c->name, c->arguments, c->does);
    fprintf(out, "\n`%s COMMAND --help` lists a command's options.\n", what);
    return 0;
}

int ctl_dispatch(const char *what, const char *about, const struct ctl_command *commands, int argc,
                 char **argv, struct rlhf_error *err)
{
    const char *names[MAX_COMMANDS + 1] = {NULL}, *meant;
    char name[80];
    size_t count = 0;

    if (argc < 2) {
        print_commands(stderr, what, about, commands);
        return rlhf_fail(err, RLHF_REJECT, "a command is missing");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 || strcmp(argv[1], "help") == 0)
        return print_commands(stdout, what, about, commands);
    for (const struct ctl_command *c = commands; c->name; c++) {
        if (strcmp(c->name, argv[1]) == 0) {
            snprintf(name, sizeof name, "%s %s", what, c->name);
            argv[1] = name;
            return c->run(argc - 1, argv + 1, err);
        }
        if (count < MAX_COMMANDS)
            names[count++] = c->name;
    }
    meant = rlhf_did_you_mean(argv[1], names);
    return rlhf_fail(err, RLHF_REJECT, "%s has no command '%s'%s%s%s; see `%s --help`", what, argv[1],
                     meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'" : "", what);
}

int64_t ctl_integer(struct argp_state *state, const char *option, const char *text, int64_t min, int64_t max)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < min || value > max)
        argp_error(state, "%s: '%s' is not a number from %lld to %lld", option, text, (long long)min,
                   (long long)max);
    return value;
}

double ctl_number(struct argp_state *state, const char *option, const char *text, double min, double max)
{
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    if (errno || end == text || *end || !(value >= min && value <= max))
        argp_error(state, "%s: '%s' is not a number from %g to %g", option, text, min, max);
    return value;
}

int ctl_set_products(struct rlhf_model *m, const char *name, struct rlhf_error *err)
{
    enum rlhf_products products;

    if (!name)
        return 0;
    if (!rlhf_products_named(name, &products))
        return rlhf_fail(err, RLHF_REJECT, "--products: '%s' is neither fp32 nor bf16", name);
    rlhf_model_set_products(m, products);
    return 0;
}

void ctl_log_level(const char *level)
{
    rlhf_log_open("rlhfctl");
    if (getenv("RLHF_LOG") || setenv("RLHF_LOG", level, 1) < 0)
        return;
    rlhf_log(RLHF_LEVEL_DEBUG, "level=%s", level); /* the first line decides for all */
    unsetenv("RLHF_LOG");
}

void ctl_find_program(char *out, size_t size, const char *name)
{
    char self[400];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    if (length > 0) {
        self[length] = '\0';
        if ((slash = strrchr(self, '/'))) {
            *slash = '\0';
            if ((size_t)snprintf(out, size, "%s/%s", self, name) < size && access(out, X_OK) == 0)
                return;
        }
    }
    snprintf(out, size, "%s", name); /* execvp looks in PATH, and its failure says what is missing */
}
