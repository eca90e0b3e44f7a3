/* label - comparisons between files and a label-collector, over its HTTP API.
 *
 * Import is safe to repeat: a line without id is named by its content, so what is there already changes
 * nothing. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "data/data.h"
#include "rlhfctl/ctl.h"
#include "rlhfctl/labels_http.h"
#include "telemetry/progress.h"

enum {
    MAX_FILES = 64,
    PIECE = 4 << 20, /* bytes of a request; whole lines */
    WHOLE = 32 << 20, /* of a vendor's document: what the label-collector takes at once */
    SHOWN_ERRORS = 20,
    TRIES = 6,
};

struct options {
    struct http_where where;
    const char *round, *labeler, *format, *vendor, *out;
    const char *files[MAX_FILES];
    size_t file_count;
    bool import;
};

/* ---- import ------------------------------------------------------------------------------------------ */

struct import {
    struct http http;
    const char *file;
    size_t first_line; /* of the piece */
    unsigned long long lines, stored, known, revised, rejected, warned;
    unsigned shown;
};

static void count_answer(struct import *im, json_t *root)
{
    json_t *errors = json_object_get(root, "errors");

    im->lines += (unsigned long long)json_integer_value(json_object_get(root, "lines"));
    im->stored += (unsigned long long)json_integer_value(json_object_get(root, "stored"));
    im->known += (unsigned long long)json_integer_value(json_object_get(root, "known"));
    im->revised += (unsigned long long)json_integer_value(json_object_get(root, "revised"));
    im->rejected += (unsigned long long)json_integer_value(json_object_get(root, "rejected"));
    im->warned += (unsigned long long)json_integer_value(json_object_get(root, "warned"));
    for (size_t i = 0; i < json_array_size(errors); i++, im->shown++) {
        json_t *e = json_array_get(errors, i);
        const char *message = json_string_value(json_object_get(e, "detail"));
        if (message && strncmp(message, "line ", 5) == 0 && strstr(message, ": ")) /* counted in the piece */
            message = strstr(message, ": ") + 2;
        if (im->shown < SHOWN_ERRORS)
            fprintf(stderr, "%s:%llu: %s\n", im->file,
                    (unsigned long long)im->first_line +
                        (unsigned long long)json_integer_value(json_object_get(e, "line")) - 1,
                    message ? message : "");
        else if (im->shown == SHOWN_ERRORS)
            fprintf(stderr, "further lines at fault are counted only\n");
    }
}

/* Without an answer the same piece is sent again: its ids are its content, so nothing counts twice. */
static int send_piece(struct import *im, const char *url, const char *data, size_t size,
                      struct rlhf_error *err)
{
    struct timespec nap = {0, 200000000};
    json_t *root;
    long status = 0;

    for (int tries = 0;; tries++) {
        if (http_request(&im->http, url, "application/x-ndjson", data, size, &status, err) == 0) {
            if (status / 100 == 2 || status == 422)
                break;
            http_refused(&im->http, status, err);
        }
        if (err->code != RLHF_AGAIN || tries + 1 == TRIES)
            return -1;
        nanosleep(&nap, NULL);
        nap.tv_nsec = nap.tv_nsec < 500000000 ? nap.tv_nsec * 2 : 999999999;
    }
    *err = (struct rlhf_error){0};
    root = im->http.answer.data ? json_loadb(im->http.answer.data, im->http.answer.size, 0, NULL) : NULL;
    if (!json_is_object(root) || !json_object_get(root, "lines")) {
        json_decref(root);
        return status == 422
                   ? http_refused(&im->http, status, err)
                   : rlhf_fail(err, RLHF_REJECT, "%s: the answer is not a label-collector's", im->http.base);
    }
    count_answer(im, root);
    json_decref(root);
    return 0;
}

/* A vendor's document is one whole, whose records are not lines. */
static int import_document(struct import *im, const char *url, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};
    int result = rlhf_read_file(&rlhf_system_io, im->file, WHOLE, &text, err);

    im->first_line = 1;
    if (result == 0)
        result = send_piece(im, url, text.data, text.size, err);
    rlhf_bytes_free(&text);
    return result;
}

static int import_file(struct import *im, const char *url, struct rlhf_progress *progress, uint64_t before,
                       struct rlhf_error *err)
{
    FILE *f = fopen(im->file, "r");
    struct rlhf_bytes piece = {0};
    char *line = NULL;
    size_t capacity = 0, number = 0;
    uint64_t done = before;
    ssize_t size;
    int result = 0;

    if (!f)
        return rlhf_fail(err, RLHF_REJECT, "%s: %s", im->file, strerror(errno));
    im->first_line = 1;
    while (result == 0) {
        size = getline(&line, &capacity, f);
        if (piece.size > 0 && (size < 0 || piece.size + (size_t)size > PIECE)) {
            char detail[80];
            result = send_piece(im, url, piece.data, piece.size, err);
            done += piece.size;
            snprintf(detail, sizeof detail, "%llu stored, %llu rejected", im->stored, im->rejected);
            rlhf_progress_update(progress, done, detail);
            im->first_line = number + 1;
            rlhf_bytes_clear(&piece);
        }
        if (size < 0 || result < 0)
            break;
        number++;
        result = rlhf_bytes_append(&piece, line, (size_t)size, err);
    }
    if (result == 0 && ferror(f))
        result = rlhf_fail(err, RLHF_REJECT, "%s: cannot be read", im->file);
    free(line);
    fclose(f);
    rlhf_bytes_free(&piece);
    return result;
}

static int check_files(const struct options *o, uint64_t *total, struct rlhf_error *err)
{
    for (size_t i = 0; i < o->file_count; i++) {
        struct stat st;
        size_t length = strlen(o->files[i]);
        if (stat(o->files[i], &st) < 0)
            return rlhf_fail(err, RLHF_REJECT, "%s: %s", o->files[i], strerror(errno));
        if (length > 3 && strcmp(o->files[i] + length - 3, ".gz") == 0)
            return rlhf_fail(err, RLHF_REJECT, "%s is compressed; unpack it first (gunzip -k)", o->files[i]);
        *total += (uint64_t)st.st_size;
    }
    return 0;
}

static int run_import(const struct options *o, struct rlhf_error *err)
{
    struct import im = {0};
    struct rlhf_bytes url = {0};
    struct rlhf_progress *progress = NULL;
    uint64_t total = 0, before = 0;
    int result = 0;

    if (check_files(o, &total, err) < 0 || http_open(&im.http, &o->where, err) < 0 ||
        rlhf_bytes_printf(&url, err, "%s/api/v1/import", im.http.base) < 0 ||
        http_add_query(&im.http, &url, "round", o->round, err) < 0 ||
        http_add_query(&im.http, &url, "labeler", o->labeler, err) < 0 ||
        http_add_query(&im.http, &url, "format", o->vendor, err) < 0)
        result = -1;
    if (result == 0)
        progress = rlhf_progress_new(&rlhf_system_clock, "import", total, "bytes");
    for (size_t i = 0; result == 0 && i < o->file_count; i++) {
        struct stat st;
        im.file = o->files[i];
        result = o->vendor ? import_document(&im, url.data, err) : import_file(&im, url.data, progress, before, err);
        before += stat(im.file, &st) == 0 ? (uint64_t)st.st_size : 0;
    }
    rlhf_progress_end(progress);
    if (result == 0) {
        printf("%llu %s: %llu stored, %llu known already, %llu revised, %llu rejected\n", im.lines,
               o->vendor ? "records" : "lines", im.stored, im.known, im.revised, im.rejected);
        if (im.warned)
            fprintf(stderr, "rlhfctl: %llu lines have the lower score on what was chosen\n", im.warned);
        if (im.rejected && im.rejected == im.lines)
            result = rlhf_fail(err, RLHF_REJECT, "no line is a comparison");
    }
    http_close(&im.http);
    rlhf_bytes_free(&url);
    return result;
}

/* ---- check ---------------------------------------------------------------------------------- */

/* Digests of the comparisons, to count equal ones once, as the label-collector does. */
struct distinct {
    struct rlhf_digest *items;
    size_t count, capacity;
};

static int add_distinct(struct distinct *d, const struct rlhf_comparison *c, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};

    if (d->count == d->capacity) {
        size_t capacity = d->capacity ? 2 * d->capacity : 1024;
        void *grown = reallocarray(d->items, capacity, sizeof *d->items);
        if (!grown)
            return rlhf_fail(err, RLHF_FULL, "out of memory for %zu comparisons", capacity);
        d->items = grown;
        d->capacity = capacity;
    }
    if (rlhf_comparison_print(c, &text, err) < 0)
        return -1;
    d->items[d->count++] = rlhf_digest_of(text.data, text.size);
    rlhf_bytes_free(&text);
    return 0;
}

static int by_digest(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct rlhf_digest));
}

static size_t count_distinct(struct distinct *d)
{
    size_t distinct = 0;

    if (d->count)
        qsort(d->items, d->count, sizeof *d->items, by_digest);
    for (size_t i = 0; i < d->count; i++)
        distinct += i == 0 || by_digest(&d->items[i - 1], &d->items[i]) != 0;
    return distinct;
}

static int check_file(const char *file, struct distinct *good, size_t *bad, struct rlhf_error *err)
{
    FILE *f = fopen(file, "r");
    char *line = NULL, where[300];
    size_t capacity = 0, number = 0;
    ssize_t size;
    int result = 0;

    if (!f)
        return rlhf_fail(err, RLHF_REJECT, "%s: %s", file, strerror(errno));
    while (result == 0 && (size = getline(&line, &capacity, f)) >= 0) {
        struct rlhf_comparison c = {0};
        struct rlhf_error why = {0};
        number++;
        if (line[strspn(line, " \t\r\n")] == '\0')
            continue;
        snprintf(where, sizeof where, "%s:%zu", file, number);
        if (rlhf_comparison_parse(&c, line, (size_t)size, where, &why) == 0)
            result = add_distinct(good, &c, err);
        else if (++*bad <= SHOWN_ERRORS)
            fprintf(stderr, "%s\n", why.text);
        rlhf_comparison_free(&c);
    }
    free(line);
    fclose(f);
    return result;
}

static int run_check(const struct options *o, struct rlhf_error *err)
{
    struct distinct good = {0};
    uint64_t total = 0;
    size_t bad = 0;
    int result = check_files(o, &total, err);

    for (size_t i = 0; result == 0 && i < o->file_count; i++)
        result = check_file(o->files[i], &good, &bad, err);
    if (result == 0)
        printf("%zu comparisons, %zu lines at fault\n", count_distinct(&good), bad);
    if (result == 0 && good.count == 0)
        result = rlhf_fail(err, RLHF_REJECT, "no line is a comparison");
    free(good.items);
    return result;
}

/* ---- export ------------------------------------------------------------------------------------------ */

static int run_export(const struct options *o, struct rlhf_error *err)
{
    struct http h = {0};
    struct rlhf_bytes url = {0}, aside = {0};
    long status;
    int result = -1;

    if (http_open(&h, &o->where, err) == 0 && rlhf_bytes_printf(&url, err, "%s/api/v1/export", h.base) == 0 &&
        http_add_query(&h, &url, "format", o->format, err) == 0 &&
        http_add_query(&h, &url, "round", o->round, err) == 0 &&
        (!o->out || rlhf_bytes_printf(&aside, err, "%s.tmp", o->out) == 0)) {
        h.to = o->out ? fopen(aside.data, "w") : stdout;
        if (!h.to)
            rlhf_fail(err, RLHF_REJECT, "%s: %s", aside.data, strerror(errno));
        else if (http_request(&h, url.data, NULL, NULL, 0, &status, err) == 0)
            result = status / 100 == 2 ? 0 : http_refused(&h, status, err);
        if (h.to && (o->out ? fclose(h.to) : fflush(h.to)) != 0)
            result =
                rlhf_fail(err, RLHF_FULL, "%s: %s", o->out ? o->out : "standard output", strerror(errno));
        /* A file under its name is whole. */
        if (o->out && result == 0 && rename(aside.data, o->out) < 0)
            result = rlhf_fail(err, RLHF_FULL, "%s: %s", o->out, strerror(errno));
        if (o->out && result < 0)
            unlink(aside.data);
    }
    http_close(&h);
    rlhf_bytes_free(&url);
    rlhf_bytes_free(&aside);
    return result;
}

/* ---- the commands ------------------------------------------------------------------------------------ */

enum { KEY_LABELER = 256 };

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        if (state->child_inputs)
            http_where_init(&o->where, state);
        break;
    case 'r':
        o->round = text;
        break;
    case KEY_LABELER:
        o->labeler = text;
        break;
    case 'f':
        o->format = text; /* which there are, the label-collector knows */
        break;
    case 'v':
        o->vendor = text; /* which there are, the label-collector knows */
        break;
    case 'o':
        o->out = text;
        break;
    case ARGP_KEY_ARG:
        if (!o->import)
            argp_error(state, "'%s' is not expected here; --out names the file", text);
        if (o->file_count == MAX_FILES)
            argp_error(state, "at most %d files", MAX_FILES);
        o->files[o->file_count++] = text;
        break;
    case ARGP_KEY_END:
        if (o->import && o->file_count == 0)
            argp_error(state, "which files?");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

#define ROUND                                                                                                \
    {                                                                                                        \
        "round", 'r', "NAME", 0, "the round they belong to", 0                                               \
    }

static int import(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        ROUND,
        {"labeler", KEY_LABELER, "NAME", 0, "who judged, where a line does not say", 0},
        {"vendor", 'v', "NAME", 0, "files are exports of label_studio, labelbox, scale, surge or argilla", 0},
        {0}};
    static const struct argp parser = {
        options,
        parse,
        "FILE...",
        "Stores the comparisons of JSON-lines files: HH transcripts (chosen, rejected), prompt + chosen "
        "+ rejected, or K-way (prompt, responses, ranks). Repeating it changes nothing.",
        http_where_options,
        NULL,
        NULL};
    struct options o = {.import = true};

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    return run_import(&o, err);
}

static int check(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp parser = {
        NULL,
        parse,
        "FILE...",
        "Says how many different comparisons files hold, and which lines are none; stores nothing.",
        NULL,
        NULL,
        NULL};
    struct options o = {.import = true};

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    return run_check(&o, err);
}

static int export(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        ROUND,
        {"format", 'f', "NAME", 0,
         "kway (default), pairs, conversational, hh, label_studio, label_studio_min, label_studio_csv, labelbox, argilla", 0},
        {"out", 'o', "FILE", 0, "where to (default: standard output)", 0},
        {0}};
    static const struct argp parser = {
        options, parse, "",  "Writes the latest revision of every comparison: as JSON lines, or as a vendor's export.",
        http_where_options, NULL, NULL};
    struct options o = {0};

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    return run_export(&o, err);
}

int ctl_label(int argc, char **argv, struct rlhf_error *err)
{
    static const struct ctl_command commands[] = {
        {"import", "FILE...", "stores a file's comparisons", import},
        {"check", "FILE...", "counts a file's comparisons, stores nothing", check},
        {"export", "[--out FILE]", "writes all comparisons to a file", export},
        {"forget", "--labeler NAME", "takes a labeler's comparisons back", ctl_label_forget},
        {"vendors", "", "how dealing with vendors goes", ctl_label_vendors},
        {"push", "VENDOR [--round NAME]", "gives open tasks to a vendor", ctl_label_push},
        {"pull", "VENDOR", "looks at once for what is new there", ctl_label_pull},
        {0}};

    return ctl_dispatch("rlhfctl label", "Brings comparisons into the label-collector and out of it.",
                        commands, argc, argv, err);
}
