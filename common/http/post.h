/* post.h - HTTP requests that are tried again until they are answered, or their attempts are used up.
 *
 * All of it happens on a thread of its own (libcurl's multi interface): nobody waits for a network. What may pass is tried
 * again, after a pause that doubles, with jitter, and is never shorter than the server asks for (Retry-After): no
 * connection, one that breaks, silence beyond the timeout, statuses 408, 425, 429 and 5xx, an answer that the taker cannot
 * read. Requests of one lane share a limit on how many are under way. TLS is checked against the system's certificates;
 * redirections are not followed, so that a key goes where it was meant to go and nowhere else. */
#ifndef RLHF_HTTP_POST_H
#define RLHF_HTTP_POST_H

#include <stdbool.h>

#include "base/error.h"
#include "base/memory.h"

struct rlhf_post {
    const void *lane; /* only compared */
    uint32_t concurrency;
    const char *url, *key; /* key: sent as a bearer token; NULL: none */
    const char *method;    /* NULL: POST */
    const char *const *headers; /* [header_count] further ones, "Name: value" */
    size_t header_count;
    const char *body; /* JSON, unless a header says otherwise; NULL: none */
    size_t size;
    bool any_status; /* an answer of any status is the taker's once the attempts are used up; otherwise only 200 is */
    uint32_t timeout_ms, attempts, backoff_ms; /* attempts 1: what has a body is never sent twice, not even by the library */
    void *tag; /* the taker's */
};

struct rlhf_post_answer {
    unsigned status;
    const struct rlhf_bytes *body;
    int64_t retry_after_s; /* as the server asks; 0: it does not */
};

/* Both are called on the thread of the requests, and end with the tag. */
struct rlhf_post_taker {
    /* 0: taken. -1 and *err: an answer that cannot be read, which is tried again. */
    int (*answered)(void *ctx, void *tag, const struct rlhf_post_answer *answer, struct rlhf_error *err);
    /* The attempts are used up, or there is no use in others; why NULL: the poster is stopped or was told to forget. */
    void (*failed)(void *ctx, void *tag, const struct rlhf_error *why);
    void *ctx;
};

struct rlhf_poster;

/* Starts the thread. */
struct rlhf_poster *rlhf_poster_new(const struct rlhf_post_taker *taker, struct rlhf_error *err);
/* Copies p. Any thread. */
int rlhf_poster_add(struct rlhf_poster *poster, const struct rlhf_post *p, struct rlhf_error *err);
/* Forgets all requests added before; those under way are cut off. Any thread; failed() follows for each. */
void rlhf_poster_forget(struct rlhf_poster *poster);
/* Forgets, and joins the thread: nothing is answered from now on, and what is added only kept for rlhf_poster_free(). */
void rlhf_poster_stop(struct rlhf_poster *poster);
void rlhf_poster_free(struct rlhf_poster *poster); /* stops, and forgets what was added since; NULL is fine */

#endif
