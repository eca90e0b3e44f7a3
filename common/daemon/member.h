/* member.h - what the programs rollout-worker and reward-scorer have in common: settings, and how their machine, their
 * engine and the daemon live together. */
#ifndef RLHF_DAEMON_MEMBER_H
#define RLHF_DAEMON_MEMBER_H

#include "daemon/daemon.h"
#include "daemon/engine.h"
#include "net/member.h"

struct rlhf_member_settings {
    char *learner; /* endpoint */
    char *control; /* endpoint to bind for rlhfctl; NULL: none */
    bool insecure;
    char *key, *peers; /* files: daemon/keys.h */
    int64_t threads, max_models, max_model_mb;
};

/* Their rows in the table of a struct whose first member is a struct rlhf_member_settings. */
#define RLHF_MEMBER_KEYS(models, least_models)                                                                          \
    { .key = "learner", .type = RLHF_CONFIG_STRING, .offset = offsetof(struct rlhf_member_settings, learner),           \
      .required = true,                                                                                                 \
      .help = "Endpoint of the learner, such as tcp://10.0.0.5:5701 or ipc:///run/rlhfd/learner.sock." },               \
    { .key = "control", .type = RLHF_CONFIG_STRING, .offset = offsetof(struct rlhf_member_settings, control),           \
      .help = "Endpoint to bind for rlhfctl status; absent: none." },                                                   \
    { .key = "key", .type = RLHF_CONFIG_STRING, .offset = offsetof(struct rlhf_member_settings, key),                   \
      .help = "File with this daemon's secret key (rlhfctl keys new), or a credential's name: TCP is under CURVE then." }, \
    { .key = "peers", .type = RLHF_CONFIG_STRING, .offset = offsetof(struct rlhf_member_settings, peers),               \
      .help = "File of the known public keys, a line each: KEY ROLE NAME [sessions=N]. SIGHUP reads it again." },       \
    { .key = "insecure", .type = RLHF_CONFIG_BOOL, .offset = offsetof(struct rlhf_member_settings, insecure),           \
      .def = "false", .help = "Allow control on an address that is neither loopback nor ipc://, in the clear." },       \
    { .key = "threads", .type = RLHF_CONFIG_INTEGER, .offset = offsetof(struct rlhf_member_settings, threads),          \
      .def = "0", .min = 0, .max = 1024, .help = "Threads that compute; 0 is one a core." },                            \
    { .key = "max_models", .type = RLHF_CONFIG_INTEGER, .offset = offsetof(struct rlhf_member_settings, max_models),    \
      .def = models, .min = least_models, .max = 64,                                                                    \
      .help = "Models kept in memory; the least recently used one leaves." },                                           \
    { .key = "max_model_mb", .type = RLHF_CONFIG_INTEGER,                                                               \
      .offset = offsetof(struct rlhf_member_settings, max_model_mb), .def = "16384", .min = 1, .max = 1 << 20,          \
      .help = "Larger weights are refused." }

/* For rlhf_member_new(). */
struct rlhf_member_config rlhf_member_config_of(const struct rlhf_member_settings *s, uint32_t credit);
/* Makes the node, joins all, binds, connects, and runs until the end. 0, or -1 and *err. */
int rlhf_member_run(struct rlhf_daemon *d, const struct rlhf_member_settings *s, const char *profile,
                    struct rlhf_member *m, struct rlhf_engine *e, struct rlhf_error *err);

#endif
