/* publish.c - weights for workers and scorers: served until dropped, announced to whoever is there or comes. */
#include "learner/fleet.h"

#include <string.h>

#include "base/check.h"
#include "model/config.h"
#include "net/checks.h"
#include "telemetry/log.h"

const struct learner_published *learner_find_published(const struct learner *l, const void *digest)
{
    for (size_t i = 0; i < l->published_count; i++)
        if (memcmp(l->published[i].digest.bytes, digest, RLHF_DIGEST_SIZE) == 0)
            return &l->published[i];
    return NULL;
}

static bool fetches_weights(const struct rlhf_peer *peer)
{
    return peer->role == RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER || peer->role == RLHF__V1__ROLE__ROLE_REWARD_SCORER;
}

/* Announcements are hints (a job names what it needs), so a failed one is only worth a debug line. */
static void announce(struct learner *l, struct rlhf_peer *peer, const struct rlhf_digest *digest,
                     const struct rlhf_digest *drop, size_t drop_count)
{
    struct rlhf_error err = { 0 };

    if (rlhf_weights_source_announce(l->weights, l->node, peer, digest, drop, drop_count, &err) < 0)
        rlhf_log(RLHF_LEVEL_DEBUG, "not-announced peer=%llu why=\"%s\"", (unsigned long long)peer->id, err.text);
}

void learner_announce(struct learner *l, struct rlhf_peer *peer)
{
    for (size_t i = 0; i < l->published_count; i++)
        announce(l, peer, &l->published[i].digest, NULL, 0);
}

static struct rlhf_weights *withdraw(struct learner *l, const struct rlhf_digest *digest)
{
    for (size_t i = 0; i < l->published_count; i++)
        if (rlhf_digest_equal(&l->published[i].digest, digest))
            l->published[i--] = l->published[--l->published_count];
    return rlhf_weights_source_take(l->weights, digest);
}

static int serve(struct learner *l, struct rlhf_weights **before, struct rlhf_error *err)
{
    const struct learner_action *a = l->action;
    const struct rlhf_digest digest = *rlhf_weights_digest(a->weights);
    const char *config = rlhf_weights_config(a->weights);
    struct rlhf_model_config shape;
    char text[RLHF_DIGEST_TEXT];

    if (rlhf_model_config_parse(&shape, config, strlen(config), err) < 0) {
        rlhf_weights_free(a->weights);
        return -1;
    }
    for (size_t i = 0; i < a->drop_count; i++)
        if (!rlhf_digest_equal(&a->drop[i], &digest))
            before[i] = withdraw(l, &a->drop[i]);
    if (!learner_find_published(l, digest.bytes) && l->published_count == LEARNER_MAX_PUBLISHED) {
        rlhf_weights_free(a->weights);
        return rlhf_fail(err, RLHF_FULL, "%d weights are published already; drop some first", LEARNER_MAX_PUBLISHED);
    }
    if (rlhf_weights_source_add(l->weights, a->weights, err) < 0)
        return -1;
    if (!learner_find_published(l, digest.bytes))
        l->published[l->published_count++] = (struct learner_published){
            .digest = digest, .vocabulary = shape.head == RLHF_HEAD_LM ? shape.vocabulary : 0
        };
    for (struct rlhf_peer *p = rlhf_node_peers(l->node, NULL); p; p = rlhf_node_peers(l->node, p))
        if (fetches_weights(p))
            announce(l, p, &digest, a->drop, a->drop_count);
    rlhf_digest_text(&digest, text);
    rlhf_log(RLHF_LEVEL_DEBUG, "published name=%s version=%llu digest=%.16s", a->name,
             (unsigned long long)a->version, text);
    l->answer.digest = digest;
    learner_finish(l, NULL);
    return 0;
}

int learner_serve_weights(struct learner *l, struct rlhf_error *err)
{
    struct rlhf_weights *before[RLHF_MAX_DIGESTS] = { NULL };
    size_t count = l->action->drop_count;
    int rc;

    RLHF_ASSERT(count <= RLHF_MAX_DIGESTS);
    rc = serve(l, before, err);
    for (size_t i = 0; i < count; i++) /* now that everybody knows the new ones: 60 ms for 440 MB */
        rlhf_weights_free(before[i]);
    return rc;
}
