/* api_parts.h - what the files of the API share. Private to api*.c. */
#ifndef LABEL_COLLECTOR_API_PARTS_H
#define LABEL_COLLECTOR_API_PARTS_H

#include "api.h"

/* ---- api_answer.c: answers and refusals ---------------------------------------------------------- */

/* Takes json; NULL means that memory ran out while it was made. */
void collector_respond(struct collector_response *r, unsigned status, json_t *json);
/* JSON as it was once answered. */
void collector_respond_text(struct collector_response *r, unsigned status, const char *json);
/* The status that a failure of the store asks for, and its text. */
void collector_respond_verdict(struct collector_response *r, enum collector_outcome outcome,
                               const struct rlhf_error *err);

/* How a refusal or failure is told. */
struct collector_verdict {
    unsigned status;
    const char *code;
};
struct collector_verdict collector_verdict_of(enum collector_outcome outcome, const struct rlhf_error *err);
/* An answer of RFC 9457 with the field at fault, where the text names one (fault.h): its errors. */
json_t *collector_problem(unsigned status, const char *code, const char *detail);
void collector_respond_problem(struct collector_response *r, json_t *problem); /* takes it; status is in it */
#define COLLECTOR_PROBLEM "application/problem+json"
const char *collector_outcome_name(enum collector_outcome outcome); /* of what was stored */

/* What is wrong with which element of a request; the first one decides the status. */
struct collector_complaints {
    bool lines; /* places are lines of a file, else elements of an array */
    json_t *list;
    size_t count;
    struct rlhf_error first;
    enum collector_outcome outcome; /* of the first */
};
/* The sender's fault, not the store's. */
bool collector_is_refusal(const struct rlhf_error *err);
void collector_complain(struct collector_complaints *c, size_t place, enum collector_outcome outcome,
                        const struct rlhf_error *err);
/* Answers with the complaints; takes their list. */
void collector_respond_complaints(struct collector_response *r, struct collector_complaints *c, bool single);

/* ---- api_answer.c: what a request says ----------------------------------------------------------- */

/* A name from the query; "" where absent. NULL and the answer (400) when it is none. */
const char *collector_query_name(const struct collector_request *q, const char *key,
                                 struct collector_response *r);
int collector_query_number(const struct collector_request *q, const char *key, uint64_t def, uint64_t max,
                           uint64_t *value, struct collector_response *r);
/* The body as JSON: *list becomes a new array of the object or objects sent. */
int collector_read_elements(const struct collector_request *q, json_t **list, bool *single,
                            struct collector_response *r);
/* The one object that the body must be; the caller's. NULL: the answer says why not. */
json_t *collector_read_object(const struct collector_request *q, struct collector_response *r);
/* The name under key, borrowed. NULL: the answer (422) says why not. */
const char *collector_object_name(const json_t *object, const char *key, struct collector_response *r);
/* On whose word: the token's name, or "owner" where there are no tokens. */
const char *collector_asker(const struct collector_request *q);
/* The {id} of a path that matched "before{id}after"; the caller's. NULL: out of memory. */
char *collector_path_id(const char *path, const char *before, const char *after);

/* ---- api_page.c: lists in pieces ----------------------------------------------------------------- */

enum {
    COLLECTOR_LIST_AUDIT = 'a',
    COLLECTOR_LIST_COMPARISONS = 'c',
    COLLECTOR_LIST_LABELERS = 'l',
    COLLECTOR_LIST_ROUNDS = 'r',
    COLLECTOR_LIST_STANDING = 's',
    COLLECTOR_LIST_TASKS = 'q',
    COLLECTOR_LIST_TOKENS = 't',
};
/* What is asked of a list, and what has been gathered of it. */
struct collector_page {
    char list;  /* its letter: a cursor of another list is refused */
    bool names; /* it is in the order of names, else of numbers */
    uint64_t limit, number; /* behind which it begins; then of the last element */
    char name[COLLECTOR_MAX_NAME + 1];
    bool begun;         /* there is a name behind which it begins */
    json_t *items;      /* gathered */
    bool cut, failed;   /* by size; by lack of memory */
    char text[2 * COLLECTOR_MAX_NAME];
};
/* From the query's cursor and limit (default 100 or most). -1: the answer (400) says why not. */
int collector_query_page(const struct collector_request *q, char list, bool names, size_t most, struct collector_page *p,
                         struct collector_response *r);
/* NULL: from the beginning. */
const char *collector_page_name(const struct collector_page *p);
/* Takes item (NULL: no memory). name NULL: the list is one of numbers. */
void collector_page_add(struct collector_page *p, json_t *item, uint64_t number, const char *name);
const char *collector_page_cursor(struct collector_page *p); /* of what was added last */
/* The cursor of GET comparisons behind that sequence number. */
const char *collector_comparisons_cursor(struct collector_page *p, uint64_t sequence);
/* {key: [...], "cursor": "...", "more": false} */
void collector_page_respond(struct collector_page *p, const char *key, struct collector_response *r);
void collector_page_free(struct collector_page *p); /* where it is not answered */

/* ---- api_repeat.c: writes sent again ------------------------------------------------------------- */

struct collector_repeat {
    bool wanted; /* the sender named the request by a key */
    struct rlhf_digest digest;
};
/* 1: the answer is that of the first time, or a refusal; 0: it is to be handled; -1 *err. */
int collector_repeat_find(struct collector *c, const struct collector_request *q, struct collector_repeat *repeat,
                          struct collector_response *r, struct rlhf_error *err);
/* Keeps what was answered for the next time; nothing where it was a refusal, or holds a secret. */
int collector_repeat_keep(struct collector *c, const struct collector_request *q, const struct collector_repeat *repeat,
                          const struct collector_response *r, struct rlhf_error *err);

/* ---- the handlers ------------------------------------------------------------------------------- */

/* api_tasks.c */
collector_handle collector_post_tasks, collector_get_next, collector_post_skip;
/* api_labels.c */
collector_handle collector_post_label, collector_post_comparisons, collector_post_rankings,
    collector_get_comparisons;
/* api_files.c */
collector_handle collector_post_import, collector_get_export;
/* api_people.c: what people take back, how they stand, how far they agree */
collector_handle collector_post_undo, collector_get_standing, collector_post_standing,
    collector_post_quarantine, collector_get_agreement, collector_post_weights;
/* api_access.c */
collector_handle collector_get_tokens, collector_post_tokens, collector_delete_token, collector_get_session,
    collector_post_session, collector_delete_session;
/* api_vendors.c: how dealing with vendors goes, and tasks given to them */
collector_handle collector_get_vendors, collector_post_push, collector_post_pull;
/* hooks.c: callbacks of vendors */
collector_handle collector_post_hook;
/* api_owner.c: what the owner looks at */
collector_handle collector_get_tasks, collector_get_audit, collector_get_throughput, collector_get_settings;
/* api_metrics.c */
collector_handle collector_get_metrics;
/* api_watch.c */
collector_handle collector_get_stats, collector_get_rounds, collector_get_labelers, collector_get_health, collector_get_page;

#endif
