/* keys.h - who may speak with this process: our own pair of CURVE keys, and the list of those that we know.
 *
 * Two small text files. The key, which only its owner may read (0600; a systemd credential is found by its bare name):
 *
 *     # comment
 *     SECRET                                    Z85, 40 letters
 *
 * and the peers, one a line:
 *
 *     PUBLIC ROLE NAME [sessions=N]             rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7 rollout-worker node-17 sessions=4
 *
 * ROLE is learner, rollout-worker, reward-scorer, label-collector or rlhfctl: what a peer with that key may be, whatever it says.
 * sessions bounds how many may be open with the key at once (0, and left out: any number). */
#ifndef RLHF_DAEMON_KEYS_H
#define RLHF_DAEMON_KEYS_H

#include <stdbool.h>

#include "net/env.h"
#include "proto/common.pb-c.h"

enum { RLHF_KEY_TEXT = 41, RLHF_KEY_SIZE = 32 };

struct rlhf_keys;

/* Reads both. The error names file and line. */
struct rlhf_keys *rlhf_keys_open(const char *key_file, const char *peers_file, struct rlhf_error *err);
/* Reads the peers again; on failure those known before stay. */
int rlhf_keys_reload(struct rlhf_keys *k, struct rlhf_error *err);
const char *rlhf_keys_public(const struct rlhf_keys *k); /* our own, Z85 */
const char *rlhf_keys_secret(const struct rlhf_keys *k);
/* Who has this public key (Z85); NULL: nobody that we know. Valid until the next reload. */
const struct rlhf_sender *rlhf_keys_find(const struct rlhf_keys *k, const char *public_key);
/* Whether a peer of this name may be this. */
bool rlhf_keys_know(const struct rlhf_keys *k, const char *name, Rlhf__V1__Role role);
/* The public key of the one service of this role in the list. */
const char *rlhf_keys_of_service(const struct rlhf_keys *k, Rlhf__V1__Role role, struct rlhf_error *err);
void rlhf_keys_free(struct rlhf_keys *k); /* NULL is fine; wipes the secret */

/* A new pair, its secret in a file made for it, 0600; the public key is returned in text. */
int rlhf_keys_make(const char *key_file, char public_key[RLHF_KEY_TEXT], struct rlhf_error *err);

#endif
