/* api_parts.h - what the files of the API share. Private to api*.c. */
#ifndef LABEL_COLLECTOR_API_PARTS_H
#define LABEL_COLLECTOR_API_PARTS_H

#include "api.h"

/* Takes json; NULL means that memory ran out while it was made. */
void collector_respond(struct collector_response *r, unsigned status, json_t *json);
/* The status that a failure of the store asks for, and its text. */
void collector_respond_verdict(struct collector_response *r, enum collector_outcome outcome,
                               const struct rlhf_error *err);

/* A name from the query; "" where absent. NULL and the answer (400) when it is none. */
const char *collector_query_name(const struct collector_request *q, const char *key,
                                 struct collector_response *r);
int collector_query_number(const struct collector_request *q, const char *key, uint64_t def, uint64_t max,
                           uint64_t *value, struct collector_response *r);
/* The body as JSON: *list becomes a new array of the object or objects sent. */
int collector_read_elements(const struct collector_request *q, json_t **list, bool *single,
                            struct collector_response *r);
/* The {id} of a path that matched "before{id}after"; the caller's. NULL: out of memory. */
char *collector_path_id(const char *path, const char *before, const char *after);

/* api_people.c: what people take back, how they stand, how far they agree. */
void collector_post_undo(struct collector *c, const struct collector_request *q,
                         struct collector_response *r);
void collector_get_standing(struct collector *c, const struct collector_request *q,
                            struct collector_response *r);
void collector_post_standing(struct collector *c, const struct collector_request *q,
                             struct collector_response *r);
void collector_post_quarantine(struct collector *c, const struct collector_request *q,
                               struct collector_response *r);
void collector_get_agreement(struct collector *c, const struct collector_request *q,
                             struct collector_response *r);
void collector_post_weights(struct collector *c, const struct collector_request *q, struct collector_response *r);

#endif
