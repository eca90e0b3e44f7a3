/* judgement.h - tasks and labels as values: what they hold, what is valid, and their JSON forms (API.md).
 *
 * The structs borrow their text (from a JSON document, a database row, a message) for as long as the comment
 * of whoever filled them says. Nothing here touches the database. */
#ifndef LABEL_COLLECTOR_JUDGEMENT_H
#define LABEL_COLLECTOR_JUDGEMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "data/data.h"

enum {
    COLLECTOR_MAX_COMPLETIONS = 16,
    COLLECTOR_MAX_WANTED = 1000,     /* judgements of one task */
    COLLECTOR_MAX_NAME = 120,        /* bytes of task ids, rounds, labelers, sources */
    COLLECTOR_MAX_LABEL_ID = 250,    /* bytes; labeler@task fits, and the wire takes 256 */
    COLLECTOR_MAX_TEXT = 256 * 1024, /* bytes of a prompt or a completion */
    COLLECTOR_MAX_NOTE = 4096,       /* bytes of a note, and of the flags or ratings as JSON */
};

/* What a task asks for. */
enum collector_kind {
    COLLECTOR_RANKING,       /* ranks of K >= 2 completions, ties allowed; a pair is K = 2 */
    COLLECTOR_LIKERT,        /* ratings, 1 (bad) to 7 a completion */
    COLLECTOR_TOXICITY,      /* ratings, 0 (none) to 2 a completion */
    COLLECTOR_FLAGS,         /* flags, a list of them a completion, which may be empty */
    COLLECTOR_DEMONSTRATION, /* answer: what a person would have written; K = 0 */
    COLLECTOR_KINDS,
};
const char *collector_kind_name(enum collector_kind kind); /* "ranking", "likert", ... */
/* "comparison" is a ranking, too. -1 *err names the kinds there are. */
int collector_kind_parse(enum collector_kind *kind, const char *name, struct rlhf_error *err);

/* A prompt and its K completions. */
struct collector_content {
    const char *prompt;
    const char *completion[COLLECTOR_MAX_COMPLETIONS];
    size_t count; /* K; 0 = not given (a task's label) */
    const struct collector_made *made; /* of exactly this; NULL = not made yet */
};
/* What the store needs of content, and can be made before it is asked. */
struct collector_made {
    struct rlhf_digest digest;
    char *completions; /* as a JSON list, owned */
};

struct collector_task {
    const char *id;
    const char *round; /* "" = none */
    enum collector_kind kind;
    struct collector_content content;
    uint32_t wanted; /* judgements by different people; 0 = as configured */
    char *gold; /* the known answer as JSON, {"ranks": [1, 2]} or {"ratings": [1, 7]}, owned; NULL = none */
    char *policies; /* JSON list: which policy (and version) wrote each completion, owned; NULL = not known */
};

void collector_task_free(struct collector_task *t); /* leaves it zeroed */

struct collector_label {
    const char *id;     /* the submitter's, unique within source */
    const char *source; /* "page", "api", "import", a vendor */
    const char *labeler;
    const char *task;  /* Task id; NULL = free-standing, then content is given */
    const char *round; /* of a free-standing one; a task's label has the task's */
    struct collector_content content;
    uint32_t rank[COLLECTOR_MAX_COMPLETIONS]; /* 1 = best, equal = tie; competition form: 1 1 3 */
    size_t rank_count;                        /* 0: the task asks for something else */
    char *ratings;                            /* a JSON list of integers as text, owned; NULL = none */
    const char *answer;                       /* NULL = none */
    uint32_t revision;                        /* that the submitter takes this for; 0 = whatever is next */
    uint8_t presented[COLLECTOR_MAX_COMPLETIONS]; /* [i] = completion shown at position i */
    size_t presented_count;                       /* 0 = not known */
    double seconds; /* spent; negative = not known */
    bool has_strength;
    int strength;
    char *flags;      /* a JSON object or list as text, owned; NULL = none */
    const char *note; /* NULL = none */
};
void collector_label_free(struct collector_label *l); /* leaves it zeroed */

/* Whether the values obey API.md. RLHF_REJECT: the text begins with the field, "ranks[1] is ..." (fault.h). The label's check also brings the ranks into
 * competition form. */
int collector_task_check(const struct collector_task *t, struct rlhf_error *err);
int collector_label_check(struct collector_label *l, struct rlhf_error *err);
/* Whether a label answers what a task of this kind, with K completions, asks. */
int collector_label_fits(const struct collector_label *l, enum collector_kind kind, size_t k,
                         struct rlhf_error *err);
/* 1 when a label says what the gold answer says: pairs that gold orders are ordered so, ratings are one off
 * at most. 0 otherwise. */
bool collector_gold_right(const char *gold, const struct collector_label *l);
/* One name (id, round, labeler): length, UTF-8, no control characters. */
int collector_name_check(const char *field, const char *text, bool may_be_empty, struct rlhf_error *err);
/* A source: a name of letters, digits, '.', '_' and '-'. */
int collector_source_check(const char *text, struct rlhf_error *err);

/* From an API object; text is borrowed from json. No check of values beyond their types is made. id and
 * source stay NULL where absent. ranking: the field is "ranking" (best first) instead of "ranks". */
int collector_task_parse(struct collector_task *t, const json_t *json, struct rlhf_error *err);
int collector_label_parse(struct collector_label *l, const json_t *json, bool ranking,
                          struct rlhf_error *err);
/* The fields of a label other than content and ranks, as collector_label_parse() does. */
int collector_label_parse_extras(struct collector_label *l, const json_t *json, struct rlhf_error *err);
/* Content and ranks of a parsed comparison, borrowed. */
int collector_label_borrow(struct collector_label *l, const struct rlhf_comparison *c,
                           struct rlhf_error *err);

/* Fills *made, which c then points to. Its text is freed with collector_made_free(). */
int collector_content_make(struct collector_content *c, struct collector_made *made, struct rlhf_error *err);
void collector_made_free(struct collector_made *made); /* leaves it zeroed */
char *collector_completions_json(const struct collector_content *c); /* the caller's; NULL: out of memory */

/* Names content by its bytes: BLAKE2b-256 over K, prompt, completions. */
int collector_content_digest(const struct collector_content *c, struct rlhf_digest *digest,
                             struct rlhf_error *err);
/* Names the judgement: content, ranks, task, round, labeler, strength, flags, note. Not the time spent or the
 * order shown, which a retry may not repeat. */
int collector_label_digest(const struct collector_label *l, const struct rlhf_digest *content,
                           struct rlhf_digest *digest, struct rlhf_error *err);

/* Prompts in the form of HH transcripts begin so; completions follow "\n\nAssistant:". */
bool collector_is_transcript(const char *prompt);

#endif
