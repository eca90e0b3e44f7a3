/* vendors.h - what labeling vendors write, in the words of our own API.
 *
 * A vendor's record (one task with what people said of it) becomes a list of objects:
 *
 *     {"id", "labeler", "task", "prompt", "completions", "ranks", ...}   a judgement, as POST
 * /api/v1/comparisons takes it
 *     {"id", "labeler", "task", "skip": "reason"}                         somebody passed it on
 *     {"id", "error": "..."}                                              what was said cannot be understood
 *
 * and nothing at all for what nobody has judged, or was sent without a choice: that is never a tie. "task" is
 * our own id of it, where the vendor was given one; prompt and completions are there where the record has
 * them. Facts and guesses about each vendor are in API.md (Files). */
#ifndef LABEL_COLLECTOR_VENDORS_H
#define LABEL_COLLECTOR_VENDORS_H

#include <jansson.h>
#include <stddef.h>

#include "judgement.h"
#include "base/memory.h"
#include "vendor_config.h"

/* A record's task: our id of it, and the vendor's. */
struct collector_vendor_task {
    char uid[COLLECTOR_MAX_NAME + 1], remote[COLLECTOR_MAX_NAME + 1];
};

struct collector_vendor {
    const char *name; /* as in the query and as a label's source */
    const char *list; /* of a document, what holds its records; NULL = it is a list of them, or one, itself */
    /* Appends what a record says to list. RLHF_REJECT: it is no record of this vendor. */
    int (*judgements)(const json_t *record, const struct collector_guesses *g, json_t *list, struct rlhf_error *err);
    /* False where the record names no task of ours. */
    bool (*task)(const json_t *record, struct collector_vendor_task *t);
};
/* NULL when there is none of that name. */
const struct collector_vendor *collector_vendor_find(const char *name);

/* Ours again: a label that counts, as the vendor's export would have it. What its form has no words for stands beside, under
 * "rlhfd", where judgements() finds it: reading it back loses nothing but source and revision. Owned; NULL: out of memory. */
struct collector_row;
json_t *collector_label_studio_record(const struct collector_row *row);
json_t *collector_label_studio_flat(const struct collector_row *row); /* of JSON_MIN, and as a line of CSV: */
int collector_label_studio_line(const json_t *flat, struct rlhf_bytes *out, struct rlhf_error *err);
#define COLLECTOR_LABEL_STUDIO_COLUMNS                                                                                   \
    "\"annotation_id\",\"annotator\",\"answer1\",\"answer2\",\"comparison\",\"id\",\"items\",\"lead_time\",\"prompt\","  \
    "\"rank\",\"rlhfd\",\"uid\"\n"
json_t *collector_labelbox_record(const struct collector_row *row);
json_t *collector_argilla_record(const struct collector_row *row);

/* The records of a file: a JSON document of the vendor's, JSON lines, or (Label Studio) CSV. Owned. NULL and
 * *err. */
json_t *collector_vendor_records(const struct collector_vendor *v, const char *text, size_t size,
                                 struct rlhf_error *err);

/* ---- for the vendors' files ---------------------------------------------------------------------- */

/* A record is one judgement in the words of our own API. Not found by name: whoever speaks so needs no adapter. */
extern const struct collector_vendor collector_own_words;
extern const struct collector_vendor collector_label_studio, collector_labelbox, collector_scale,
    collector_surge, collector_argilla;

/* The last object of list: a new one with this id. */
json_t *collector_said(json_t *list, const char *id, const char *labeler);
/* Turns it into an error. Returns 0: the record is one, what it says is not. */
int collector_said_wrongly(json_t *said, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Our id of the task, where the vendor has one. */
void collector_said_task(json_t *said, const json_t *id);
/* Prompt and completions ("answer%d" counts from 1) that fields hold, where all are there. */
void collector_said_of(json_t *said, const json_t *fields, const char *completion_keys);
/* ranks of k completions from the best one's index; -1: a tie of all. */
void collector_said_best(json_t *said, size_t k, int best);
/* What a record of our own export says beside: id, labeler, task, round, ranks and all else, as it was. */
void collector_said_facts(json_t *said, const json_t *facts);
json_t *collector_facts_of(const struct collector_row *row); /* the way there */
/* Both ids; false when uid is none. */
bool collector_task_named(struct collector_vendor_task *t, const json_t *uid, const json_t *remote);
/* Whether an answer has one of the words for a tie in it. */
bool collector_means_tie(const struct collector_guesses *g, const char *answer);
/* Text of a string or a number, "" for anything else; in static storage for the next four calls. */
const char *collector_text_of(const json_t *value);

#endif
