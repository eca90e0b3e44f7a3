/* reward_service.h - a reward service and a judge on a port of this host, that misbehave as a test says.
 *
 * A real HTTP server on plain sockets: what a well-behaved library would not send is what has to be sent here. Rewards are
 * the completion's length in bytes; a judge's score is its length modulo 11. */
#ifndef SUPPORT_REWARD_SERVICE_H
#define SUPPORT_REWARD_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

enum service_conduct {
    SERVICE_GOOD,
    SERVICE_FAILS,       /* status 500                               */
    SERVICE_IS_BUSY,     /* status 429, Retry-After: 0               */
    SERVICE_REFUSES,     /* status 400                               */
    SERVICE_GARBAGE,     /* 200 and no JSON                          */
    SERVICE_TOO_FEW,     /* one reward less than asked for           */
    SERVICE_NULLS,       /* null for every other completion          */
    SERVICE_TRUNCATES,   /* half of the body, then closes            */
    SERVICE_CLOSES,      /* without a word                           */
    SERVICE_HANGS,       /* reads, and never answers                 */
    SERVICE_IS_SLOW,     /* waits until another request is here, too */
    SERVICE_MUMBLES,     /* a judge's answer without a score         */
    SERVICE_FLOODS,      /* an answer without end                    */
    SERVICE_DRIPS,       /* one byte at a time, without end          */
};

struct reward_service;

/* conduct(n): how the n-th request (from 0) is treated. */
struct reward_service *reward_service_new(enum service_conduct (*conduct)(unsigned request));
const char *reward_service_url(const struct reward_service *s);
unsigned reward_service_requests(const struct reward_service *s); /* so far */
unsigned reward_service_most(const struct reward_service *s);     /* under way at a time */
bool reward_service_saw(const struct reward_service *s, const char *text); /* in any request's head or body */
void reward_service_free(struct reward_service *s);

#endif
