/* sources.h - the sources of rewards that jobs have named, each made once.
 *
 * A learner names few; they are kept until the scorer ends, so threads may borrow them. Belongs to the reactor thread. */
#ifndef REWARD_SCORER_SOURCES_H
#define REWARD_SCORER_SOURCES_H

#include "proto/work.pb-c.h"
#include "reward/source.h"

enum { SCORER_SOURCES = 256 }; /* at most */

struct scorer_sources {
    struct rlhf_source *source[SCORER_SOURCES];
    void *packed[SCORER_SOURCES]; /* the message it was made of: how it is found again */
    size_t size[SCORER_SOURCES];
    size_t count;
};

/* The source that the message describes; NULL and *err where it makes no sense, or is one too many. */
const struct rlhf_source *scorer_source(struct scorer_sources *s, const Rlhf__V1__RewardSource *m, struct rlhf_error *err);
void scorer_sources_free(struct scorer_sources *s);

#endif
