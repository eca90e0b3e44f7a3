#include "evaluation/rows.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* ---- tables ---------------------------------------------------------------------------------------- */

/* One field from *at on, which is moved to the separator or line end behind it. */
static int read_quoted(struct rlhf_rows *r, size_t *at, struct rlhf_bytes *field, struct rlhf_error *err)
{
    const char *text = r->lines.file.data;
    const size_t size = r->lines.file.size;

    for (++*at; *at < size; ++*at) {
        if (text[*at] == '"' && (*at + 1 == size || text[*at + 1] != '"'))
            break;
        *at += text[*at] == '"'; /* two of them are one */
        r->line += text[*at] == '\n';
        if (rlhf_bytes_append(field, text + *at, 1, err) < 0)
            return -1;
    }
    if (*at == size)
        return rlhf_fail(err, RLHF_REJECT, "%s: a quoted field does not end", r->where);
    if (++*at < size && text[*at] != r->separator && text[*at] != '\n' && text[*at] != '\r')
        return rlhf_fail(err, RLHF_REJECT, "%s: there is text behind the closing quote of a field", r->where);
    return 0;
}

static int read_field(struct rlhf_rows *r, size_t *at, struct rlhf_bytes *field, struct rlhf_error *err)
{
    const char *text = r->lines.file.data;
    const size_t size = r->lines.file.size, start = *at;

    rlhf_bytes_clear(field);
    if (*at < size && text[*at] == '"' && r->separator == ',')
        return read_quoted(r, at, field, err);
    while (*at < size && text[*at] != r->separator && text[*at] != '\n'
           && !(text[*at] == '\r' && (*at + 1 == size || text[*at + 1] == '\n')))
        ++*at;
    return rlhf_bytes_append(field, text + start, *at - start, err);
}

/* The fields of one line, as a list of strings; NULL on failure. */
static json_t *read_fields(struct rlhf_rows *r, struct rlhf_error *err)
{
    const char *text = r->lines.file.data;
    const size_t size = r->lines.file.size;
    struct rlhf_bytes field = { 0 };
    json_t *fields = json_array();
    size_t at = r->lines.at;

    do {
        at += json_array_size(fields) > 0; /* over the separator */
        if (read_field(r, &at, &field, err) < 0)
            goto failed;
        if (json_array_append_new(fields, json_stringn(field.data, field.size)) < 0 || memchr(field.data, 0, field.size)) {
            rlhf_fail(err, RLHF_REJECT, "%s: field %zu is not UTF-8 text", r->where, json_array_size(fields) + 1);
            goto failed;
        }
        if (json_array_size(fields) > RLHF_COLUMNS_MAX) {
            rlhf_fail(err, RLHF_REJECT, "%s: more than %d columns", r->where, RLHF_COLUMNS_MAX);
            goto failed;
        }
    } while (at < size && text[at] == r->separator);
    at += at < size && text[at] == '\r';
    r->line += at < size;
    r->lines.at = at + (at < size);
    rlhf_bytes_free(&field);
    return fields;
failed:
    rlhf_bytes_free(&field);
    json_decref(fields);
    return NULL;
}

static void name_line(struct rlhf_rows *r)
{
    snprintf(r->where, sizeof r->where, "%s:%zu", r->lines.path, r->line);
}

/* Empty lines are passed over, as Python's csv does. */
static bool more_lines(struct rlhf_rows *r)
{
    const struct rlhf_data_file *f = &r->lines.file;

    while (r->lines.at < f->size && (f->data[r->lines.at] == '\n' || f->data[r->lines.at] == '\r'))
        r->line += f->data[r->lines.at++] == '\n';
    name_line(r);
    return r->lines.at < f->size;
}

static int next_line(struct rlhf_rows *r, struct rlhf_error *err)
{
    json_t *fields = NULL;
    size_t columns = json_array_size(r->columns);

    if (!more_lines(r))
        return 0;
    if (!(fields = read_fields(r, err)))
        return -1;
    if (json_array_size(fields) != columns) {
        rlhf_fail(err, RLHF_REJECT, "%s: %zu fields, but the header names %zu", r->where, json_array_size(fields), columns);
        json_decref(fields);
        return -1;
    }
    r->row = json_object();
    for (size_t i = 0; i < columns; i++)
        json_object_set(r->row, json_string_value(json_array_get(r->columns, i)), json_array_get(fields, i));
    json_decref(fields);
    return 1;
}

static int read_header(struct rlhf_rows *r, struct rlhf_error *err)
{
    static const char mark[] = "\xef\xbb\xbf"; /* of byte order, as spreadsheets put it there */
    const struct rlhf_data_file *f = &r->lines.file;

    r->line = 1;
    if (f->size >= 3 && memcmp(f->data, mark, 3) == 0)
        r->lines.at = 3;
    if (!more_lines(r))
        return rlhf_fail(err, RLHF_REJECT, "%s: the table is empty; its first line names the columns", r->lines.path);
    if (!(r->columns = read_fields(r, err)))
        return -1;
    for (size_t i = 0; i < json_array_size(r->columns); i++)
        for (size_t j = 0; j < i; j++)
            if (json_equal(json_array_get(r->columns, i), json_array_get(r->columns, j)))
                return rlhf_fail(err, RLHF_REJECT, "%s: two columns are called \"%s\"", r->where,
                                 json_string_value(json_array_get(r->columns, i)));
    return 0;
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static bool is_list(const struct rlhf_data_file *f)
{
    size_t at = 0;

    while (at < f->size && (f->data[at] == ' ' || f->data[at] == '\n' || f->data[at] == '\r' || f->data[at] == '\t'))
        at++;
    return at < f->size && f->data[at] == '[';
}

static int read_list(struct rlhf_rows *r, struct rlhf_error *err)
{
    json_error_t why;

    r->list = json_loadb(r->lines.file.data, r->lines.file.size, JSON_REJECT_DUPLICATES, &why);
    return r->list ? 0 : rlhf_fail(err, RLHF_REJECT, "%s:%d: not JSON: %s", r->lines.path, why.line, why.text);
}

static int next_item(struct rlhf_rows *r, struct rlhf_error *err)
{
    if (r->next == json_array_size(r->list))
        return 0;
    r->row = json_incref(json_array_get(r->list, r->next++));
    snprintf(r->where, sizeof r->where, "%s: item %zu", r->lines.path, r->next);
    return json_is_object(r->row) ? 1 : rlhf_fail(err, RLHF_REJECT, "%s: an object {...} is expected", r->where);
}

static int next_object(struct rlhf_rows *r, struct rlhf_error *err)
{
    const char *line;
    size_t size;
    int more = rlhf_lines_next(&r->lines, &line, &size, err);

    if (more <= 0)
        return more;
    snprintf(r->where, sizeof r->where, "%s", r->lines.where);
    return (r->row = rlhf_parse_object(line, size, r->where, err)) ? 1 : -1;
}

/* ---- either ---------------------------------------------------------------------------------------- */

int rlhf_rows_open(struct rlhf_rows *r, const char *path, struct rlhf_error *err)
{
    int rc = 0;

    *r = (struct rlhf_rows){ 0 };
    if (rlhf_lines_open(&r->lines, path, err) < 0)
        return -1;
    if (rlhf_ends_with(path, ".csv") || rlhf_ends_with(path, ".csv.gz"))
        r->separator = ',';
    else if (rlhf_ends_with(path, ".tsv") || rlhf_ends_with(path, ".tsv.gz"))
        r->separator = '\t';
    if (r->separator)
        rc = read_header(r, err);
    else if (is_list(&r->lines.file))
        rc = read_list(r, err);
    if (rc < 0)
        rlhf_rows_close(r);
    return rc;
}

int rlhf_rows_next(struct rlhf_rows *r, const json_t **row, struct rlhf_error *err)
{
    int more;

    json_decref(r->row);
    r->row = NULL;
    more = r->separator ? next_line(r, err) : r->list ? next_item(r, err) : next_object(r, err);
    *row = r->row;
    return more;
}

void rlhf_rows_close(struct rlhf_rows *r)
{
    json_decref(r->row);
    json_decref(r->list);
    json_decref(r->columns);
    rlhf_lines_close(&r->lines);
    *r = (struct rlhf_rows){ 0 };
}
