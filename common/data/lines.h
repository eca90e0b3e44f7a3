/* lines.h - a file of JSON lines, one object at a time; for rooms that read data files. */
#ifndef RLHF_DATA_LINES_H
#define RLHF_DATA_LINES_H

#include <jansson.h>

#include "data/file.h"

enum { RLHF_LINE_MAX = 16 << 20 };

struct rlhf_lines {
    const char *path;
    struct rlhf_data_file file;
    size_t at;
    size_t number; /* of the line read last, from 1 */
    char where[320]; /* "path:number" */
};

/* Borrows path. */
int rlhf_lines_open(struct rlhf_lines *l, const char *path, struct rlhf_error *err);
/* The next line that is not empty, without its end: 1; 0 at the end of the file; -1 when it is too long. */
int rlhf_lines_next(struct rlhf_lines *l, const char **line, size_t *size, struct rlhf_error *err);
void rlhf_lines_close(struct rlhf_lines *l);

/* A JSON object from a line; the error shows where and what was found. The caller decrefs. */
json_t *rlhf_parse_object(const char *text, size_t size, const char *where, struct rlhf_error *err);
/* A string member: required ones fail naming key and what is there instead; others may be NULL. Borrowed. 0 or -1. */
int rlhf_get_text(const json_t *object, const char *key, bool required, const char *where, const char **out,
                  struct rlhf_error *err);

#endif
