/* events - TensorBoard's event files as JSON. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "events/events.h"
#include "rlhfctl/ctl.h"

struct told {
    json_t *version, *first, *scalars, *records;
};

static void on_version(void *ctx, double wall_time, const char *version)
{
    struct told *t = ctx;

    if (t->version)
        return;
    t->version = json_string(version);
    t->first = json_real(wall_time);
}

/* JSON has no word for these. */
static json_t *number(double value)
{
    if (isfinite(value))
        return json_real(value);
    return json_string(isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
}

static void on_scalar(void *ctx, const struct rlhf_event_scalar *s)
{
    struct told *t = ctx;

    json_array_append_new(t->scalars,
                          json_pack("{s:s, s:I, s:o, s:o, s:s}", "tag", s->tag, "step", (json_int_t)s->step, "wall_time",
                                    number(s->wall_time), "value", number(s->value), "encoding",
                                    s->tensor ? "tensor" : "simple_value"));
}

static void add_record(struct told *t, const struct rlhf_event_record *r)
{
    char length[16], data[16];

    snprintf(length, sizeof length, "0x%08x", r->length_crc);
    snprintf(data, sizeof data, "0x%08x", r->data_crc);
    json_array_append_new(t->records, json_pack("{s:I, s:I, s:s, s:s}", "offset", (json_int_t)r->offset, "length",
                                                (json_int_t)r->length, "masked_crc_length", length, "masked_crc_data",
                                                data));
}

static int read_all(struct told *t, const struct rlhf_mapping *file, struct rlhf_error *err)
{
    const struct rlhf_event_reader reader = {.version = on_version, .scalar = on_scalar, .ctx = t};
    struct rlhf_event_record r;
    uint64_t offset = 0;
    int more;

    while ((more = rlhf_event_record(file->data, file->size, &offset, &r, err)) > 0) {
        add_record(t, &r);
        if (rlhf_event_read(&r, &reader, err) < 0)
            return -1;
    }
    return more;
}

static int print(const struct told *t, const char *path)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    json_t *root = json_pack("{s:s, s:O*, s:O*, s:I, s:O, s:O}", "file", name, "file_version", t->version,
                             "first_wall_time", t->first, "n_records", (json_int_t)json_array_size(t->records), "scalars",
                             t->scalars, "records", t->records);
    int rc = root ? json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : -1;

    putchar('\n');
    json_decref(root);
    return rc;
}

int ctl_events(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp parser = {
        NULL, NULL, "FILE",
        "Prints a TensorBoard event file as JSON: every scalar, and every record with its place and checks. What is whole "
        "is printed, also where the file is damaged or ends within a record, which is then an error.",
        NULL, NULL, NULL};
    struct told t = {.scalars = json_array(), .records = json_array()};
    struct rlhf_mapping file;
    int at, rc = -1;

    argp_parse(&parser, argc, argv, 0, &at, NULL);
    if (at + 1 != argc)
        rlhf_fail(err, RLHF_REJECT, "which file? (one of RUN/tensorboard)");
    else if (rlhf_map_file(&file, argv[at], err) == 0) {
        rc = read_all(&t, &file, err) < 0 ? rlhf_fail_prefix(err, "%s", argv[at]) : 0;
        if (print(&t, argv[at]) < 0 && rc == 0)
            rc = rlhf_fail(err, RLHF_FULL, "cannot print the events of %s", argv[at]);
        rlhf_unmap(&file);
    }
    json_decref(t.version);
    json_decref(t.first);
    json_decref(t.scalars);
    json_decref(t.records);
    return rc;
}
