/* report - what came of a run, as one HTML page. */
#include "report/report.h"

#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "rlhfctl/ctl.h"

struct options {
    const char *run, *out;
};

static int write_page(const struct options *o, struct rundir *run, struct rlhf_error *err)
{
    struct rlhf_bytes page = {0};
    char path[1200];
    int rc = report_page(run, &page, err);

    if (rc == 0 && o->out && strcmp(o->out, "-") == 0) {
        if (fwrite(page.data, 1, page.size, stdout) != page.size || fflush(stdout) != 0)
            rc = rlhf_fail(err, RLHF_FULL, "the report cannot be written to standard output");
    } else if (rc == 0) {
        snprintf(path, sizeof path, "%s/report.html", o->run);
        rc = rlhf_write_file(&rlhf_system_io, o->out ? o->out : path, page.data, page.size, err);
        if (rc == 0)
            printf("%s\n", o->out ? o->out : path);
    }
    rlhf_bytes_free(&page);
    return rc;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'o':
        o->out = text;
        break;
    case ARGP_KEY_ARG:
        if (o->run)
            argp_error(state, "one directory, not two: '%s'", text);
        o->run = text;
        break;
    case ARGP_KEY_END:
        if (!o->run)
            argp_error(state, "which run's directory?");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int ctl_report(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"output", 'o', "FILE", 0, "where to (default: DIR/report.html; -: standard output)", 0}, {0}};
    static const struct argp parser = {
        options, parse, "DIR",
        "Writes what came of the run in the directory DIR, or has so far, as one HTML page that needs nothing else.",
        NULL,    NULL,  NULL};
    struct options o = {0};
    struct rundir run;
    int rc;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (rundir_open(&run, o.run, err) < 0)
        return -1;
    rc = write_page(&o, &run, err);
    rundir_warn(&run);
    rundir_close(&run);
    return rc;
}
