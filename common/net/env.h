/* env.h - everything outside of a daemon's state machine: time, randomness, files, outgoing frames.
 *
 * State machines never call the system; they are told of events and act through this struct. So a whole
 * cluster runs in one process on a seed (tests/support/simulation.h), with faults injected. */
#ifndef RLHF_NET_ENV_H
#define RLHF_NET_ENV_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/io.h"
#include "base/random.h"

/* Bytes that travel as one frame. Borrowed by whoever is handed it, for the call only. */
struct rlhf_blob {
    const void *data;
    size_t size;
};

/* Whoever keeps the bytes of blobs alive. Counted: what was kept is released once, by any thread. */
struct rlhf_keeper {
    void (*keep)(struct rlhf_keeper *k);
    void (*release)(struct rlhf_keeper *k);
};

/* Who a connection has proved to be. */
struct rlhf_sender {
    const char *name; /* of its key */
    unsigned roles;   /* RLHF_ROLE_BIT()s of what it may be; 0: nobody that we know (any more) */
    size_t sessions;  /* how many may be open under the name at once; 0: any number */
};

/* Where frames go. A route is a connection: to a service (our link) or from a client of our service. */
struct rlhf_transport {
    /* Queues [frames] on route. RLHF_AGAIN: the peer is gone or has no room; nothing was queued. The blobs (frames 2 and
     * up) may be kept by the keeper until they are sent; without one (NULL) they are copied, as the first two are. */
    int (*send)(struct rlhf_transport *t, uint64_t route, const struct rlhf_blob *frames, size_t count,
                struct rlhf_keeper *keeper, struct rlhf_error *err);
    /* Forgets a client's route, or closes a link's connection and opens a new one (reconnecting with a
     * growing, jittered interval is the transport's business). */
    void (*reset)(struct rlhf_transport *t, uint64_t route);
    /* Of the message that is being received. NULL, and a transport without it: this connection proves nothing, because
     * who may make one is decided elsewhere (file permissions, a trusted network). */
    const struct rlhf_sender *(*sender)(struct rlhf_transport *t);
};

struct rlhf_env {
    const struct rlhf_clock *clock;
    const struct rlhf_io *io;
    struct rlhf_transport *transport;
    struct rlhf_random *random; /* epochs, jitter: never anything that results depend on */
};

#endif
