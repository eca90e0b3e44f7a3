/* rows.h - the rows of a published data set, as JSON objects, whatever the form of the file.
 *
 * By name: *.csv (RFC 4180: quotes, a header) and *.tsv (no quotes, a header) give objects of strings. All else is JSON: a list of
 * objects, or an object a line. Any of them may be compressed with gzip (*.csv.gz). */
#ifndef RLHF_EVALUATION_ROWS_H
#define RLHF_EVALUATION_ROWS_H

#include "data/lines.h"

enum { RLHF_COLUMNS_MAX = 256 };

struct rlhf_rows {
    struct rlhf_lines lines;
    char separator;     /* of a table; 0: JSON */
    json_t *list, *row; /* JSON: the list, or NULL; the row given last */
    size_t next;        /* of the list */
    json_t *columns;    /* table: the header */
    size_t line;        /* table: the one that begins at lines.at */
    char where[320];    /* "path:line", or "path: item n", of the row given last */
};

/* Borrows path. */
int rlhf_rows_open(struct rlhf_rows *r, const char *path, struct rlhf_error *err);
/* 1 and the next row, which stays valid until the next call; 0 at the end; -1 for what is no row. */
int rlhf_rows_next(struct rlhf_rows *r, const json_t **row, struct rlhf_error *err);
void rlhf_rows_close(struct rlhf_rows *r);

#endif
