/* faultproxy.h - a bad network: relays between a socket of its own and a daemon's, and cuts, truncates, delays and corrupts
 * by a seed.
 *
 * Bytes are corrupted where a connection begins (ZMTP's greeting and handshake), not in messages: what TCP's checksum lets
 * through there nobody would notice in the clear, and CURVE is for that. */
#ifndef SUPPORT_FAULTPROXY_H
#define SUPPORT_FAULTPROXY_H

#include <stdint.h>

struct faultproxy;

struct faultproxy_counters {
    unsigned connections, cuts, truncations, delays, corruptions;
};

/* Listens on the Unix socket `path`, connects to `target` for everyone who comes. */
struct faultproxy *faultproxy_new(const char *path, const char *target, uint64_t seed);
/* Closes everything. What happened. */
struct faultproxy_counters faultproxy_free(struct faultproxy *p);

#endif
