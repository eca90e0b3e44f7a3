/* export.h - comparisons as JSON, and as files in every common form (API.md, Files). */
#ifndef LABEL_COLLECTOR_EXPORT_H
#define LABEL_COLLECTOR_EXPORT_H

#include "base/memory.h"
#include "store.h"

enum collector_format {
    COLLECTOR_KWAY,
    COLLECTOR_PAIRS,
    COLLECTOR_CONVERSATIONAL,
    COLLECTOR_HH,
    COLLECTOR_TO_LABEL_STUDIO,
    COLLECTOR_TO_LABEL_STUDIO_MIN,
    COLLECTOR_TO_LABEL_STUDIO_CSV,
    COLLECTOR_TO_LABELBOX,
    COLLECTOR_TO_ARGILLA,
    COLLECTOR_FORMATS
};
#define COLLECTOR_FORMAT_NAMES \
    "kway, pairs, conversational, hh, label_studio, label_studio_min, label_studio_csv, labelbox or argilla"
/* -1: there is none of that name. */
int collector_format_find(enum collector_format *format, const char *name);
const char *collector_format_type(enum collector_format format); /* of its content */

/* An export that is read in pieces, as fast as its reader takes it. What is stored after its start is not in
 * it. */
struct collector_export;
struct collector_export *collector_export_new(struct collector_store *s, const char *round,
                                              enum collector_format format, struct rlhf_error *err);
/* Up to max bytes into out. 0 = the end. -1 *err. */
ptrdiff_t collector_export_read(struct collector_export *e, char *out, size_t max, struct rlhf_error *err);
void collector_export_free(struct collector_export *e); /* NULL is fine */

/* A stored revision as API JSON; NULL when out of memory. */
json_t *collector_row_json(const struct collector_row *row);
/* "2023-04-05T06:07:08.123456Z" */
void collector_time_text(int64_t wall_us, char out[32]);

#endif
