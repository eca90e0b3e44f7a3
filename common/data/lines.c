#include "data/lines.h"

#include <stdio.h>
#include <string.h>

int rlhf_lines_open(struct rlhf_lines *l, const char *path, struct rlhf_error *err)
{
    *l = (struct rlhf_lines){ .path = path };
    return rlhf_data_file_open(&l->file, path, err);
}

static bool is_blank(const char *line, size_t size)
{
    while (size > 0 && (line[size - 1] == ' ' || line[size - 1] == '\t'))
        size--;
    return size == 0;
}

int rlhf_lines_next(struct rlhf_lines *l, const char **line, size_t *size, struct rlhf_error *err)
{
    while (l->at < l->file.size) {
        const char *start = l->file.data + l->at;
        const char *end = memchr(start, '\n', l->file.size - l->at);
        size_t length = end ? (size_t)(end - start) : l->file.size - l->at;

        l->at += length + (end != NULL);
        l->number++;
        snprintf(l->where, sizeof l->where, "%s:%zu", l->path, l->number);
        if (length > 0 && start[length - 1] == '\r')
            length--;
        if (length > RLHF_LINE_MAX)
            return rlhf_fail(err, RLHF_REJECT, "%s: the line has %zu bytes, at most %d are read", l->where, length,
                             RLHF_LINE_MAX);
        if (!is_blank(start, length)) {
            *line = start;
            *size = length;
            return 1;
        }
    }
    return 0;
}

void rlhf_lines_close(struct rlhf_lines *l)
{
    rlhf_data_file_close(&l->file);
    l->at = 0;
}

json_t *rlhf_parse_object(const char *text, size_t size, const char *where, struct rlhf_error *err)
{
    json_error_t why;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why); /* refuses bad UTF-8 and \u0000 */
    int shown = (int)(size < 60 ? size : 60);

    if (!json) {
        rlhf_fail(err, RLHF_REJECT, "%s: not JSON: %s (column %d): %.*s%s", where, why.text, why.column, shown,
                  text, size > 60 ? "..." : "");
        return NULL;
    }
    if (!json_is_object(json)) {
        rlhf_fail(err, RLHF_REJECT, "%s: an object {...} is expected, found: %.*s", where, shown, text);
        json_decref(json);
        return NULL;
    }
    return json;
}

int rlhf_get_text(const json_t *object, const char *key, bool required, const char *where, const char **out,
                  struct rlhf_error *err)
{
    const json_t *value = json_object_get(object, key);

    *out = NULL;
    if (!value)
        return required ? rlhf_fail(err, RLHF_REJECT, "%s: key \"%s\" is missing", where, key) : 0;
    if (!json_is_string(value))
        return rlhf_fail(err, RLHF_REJECT, "%s: \"%s\" must be a string", where, key);
    *out = json_string_value(value);
    return 0;
}
