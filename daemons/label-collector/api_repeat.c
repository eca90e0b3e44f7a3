/* api_repeat.c - writes sent again under the same Idempotency-Key get the answer that the first one got.
 *
 * The answer is stored in the transaction that holds the effect: both are there, or neither. */
#include "api_parts.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_KEY = 250 };

static struct rlhf_digest digest_of(const struct collector_request *q, bool *made)
{
    const char *const parts[] = { q->method, q->path };
    struct rlhf_hasher *h = rlhf_hasher_new();

    *made = h != NULL;
    if (!h)
        return (struct rlhf_digest){ { 0 } };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); ++i)
        rlhf_hasher_add(h, parts[i], strlen(parts[i]) + 1);
    rlhf_hasher_add(h, &q->query_size, sizeof(q->query_size));
    rlhf_hasher_add(h, q->query_text ? q->query_text : "", q->query_size);
    rlhf_hasher_add(h, q->body ? q->body : "", q->body_size);
    return rlhf_hasher_end(h);
}

/* Keys are the sender's own: two tokens may use the same ones. */
static const char *scope_of(const struct collector_request *q, char *text, size_t size)
{
    snprintf(text, size, "%s:%s", q->who.token ? collector_role_name(q->who.role) : "", q->who.name);
    return text;
}

static bool is_key(const char *key)
{
    size_t size = strlen(key);

    for (size_t i = 0; i < size; ++i)
        if (key[i] < 0x21 || key[i] > 0x7E)
            return false;
    return size > 0 && size <= MAX_KEY;
}

int collector_repeat_find(struct collector *c, const struct collector_request *q, struct collector_repeat *repeat,
                          struct collector_response *r, struct rlhf_error *err)
{
    char scope[COLLECTOR_MAX_NAME + 16], *body = NULL;
    struct rlhf_digest first;
    unsigned status;
    bool made;

    repeat->wanted = q->idempotency_key && q->who.role; /* a public route knows repeats in its own way */
    if (!repeat->wanted)
        return 0;
    if (!is_key(q->idempotency_key)) {
        collector_respond_error(r, 400, "bad_request", "header Idempotency-Key must be 1 to %d visible ASCII characters",
                                MAX_KEY);
        return 1;
    }
    repeat->digest = digest_of(q, &made);
    if (!made)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    int found = collector_store_find_reply(c->store, scope_of(q, scope, sizeof(scope)), q->idempotency_key, &first,
                                           &status, &body, err);
    if (found <= 0)
        return found;
    if (rlhf_digest_equal(&first, &repeat->digest)) {
        collector_respond_text(r, status, body);
        r->repeated = true;
    } else {
        collector_respond_error(r, 422, "idempotency_key",
                                "header Idempotency-Key: this key was used for another request; take a new one");
    }
    free(body);
    return 1;
}

int collector_repeat_keep(struct collector *c, const struct collector_request *q, const struct collector_repeat *repeat,
                          const struct collector_response *r, struct rlhf_error *err)
{
    char scope[COLLECTOR_MAX_NAME + 16];

    if (!repeat->wanted || r->status >= 300 || r->secret)
        return 0;
    return collector_store_put_reply(c->store, scope_of(q, scope, sizeof(scope)), q->idempotency_key, &repeat->digest,
                                     r->status, r->body.data, err);
}
