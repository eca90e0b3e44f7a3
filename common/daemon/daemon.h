/* daemon.h - the life that all daemons share: arguments, configuration, log, signals, reactor, compute thread.
 *
 * Sockets and the state machine belong to the reactor thread, tensors to the compute thread; between them go
 * messages. Heartbeats therefore never wait for a gradient. */
#ifndef RLHF_DAEMON_DAEMON_H
#define RLHF_DAEMON_DAEMON_H

#include <stdbool.h>

#include "config/config.h"
#include "net/node.h"

struct rlhf_daemon;

struct rlhf_daemon_info {
    const char *name;                     /* "rollout-worker" */
    const char *summary;                  /* one line for --help */
    Rlhf__V1__Role role;
    const struct rlhf_config_schema *schema;
    size_t config_size;                   /* of the struct that the schema fills */
    /* Called after the configuration was read (also for --check): defaults that depend on other keys, and what a table
     * cannot check. where is the file's name, for the error; on failure config is freed. May be NULL. */
    int (*finish)(void *config, const char *where, struct rlhf_error *err);
};

/* Handles --config FILE, --check, --print-config, --version, --help (the last four print and exit), reads the
 * configuration into *config, starts log and signal handling. NULL and *err on failure. */
struct rlhf_daemon *rlhf_daemon_new(const struct rlhf_daemon_info *info, int argc, char **argv, void *config,
                                    struct rlhf_error *err);
const struct rlhf_env *rlhf_daemon_env(struct rlhf_daemon *d);

/* The node: made once, before serving and linking. run may be NULL. Borrows machine. */
struct rlhf_node *rlhf_daemon_node(struct rlhf_daemon *d, const struct rlhf_machine *machine, const char *run,
                                   const char *profile, struct rlhf_error *err);
/* Before serving and linking: TCP under CURVE with our key, for the peers of that list (daemon/keys.h). Both NULL: in the
 * clear; one without the other is an error. SIGHUP reads the list again: sessions of keys that left it end. */
int rlhf_daemon_keys(struct rlhf_daemon *d, const char *key_file, const char *peers_file, struct rlhf_error *err);
/* Binds a ROUTER ("tcp://127.0.0.1:5701", "ipc:///path"); port 0 or * picks one. Another address than loopback or
 * ipc is refused without keys, unless insecure. The error names the address, and who to look for when it is busy. */
int rlhf_daemon_serve(struct rlhf_daemon *d, const char *endpoint, bool insecure, struct rlhf_error *err);
/* The endpoint really bound by the last serve, for logs and tests. */
const char *rlhf_daemon_endpoint(const struct rlhf_daemon *d);
/* Connects a DEALER to a service and links it. */
int rlhf_daemon_link(struct rlhf_daemon *d, const char *endpoint, Rlhf__V1__Role service, struct rlhf_error *err);

/* A file descriptor to watch for reading on the reactor thread (the HTTP server's epoll fd). */
int rlhf_daemon_watch(struct rlhf_daemon *d, int fd, void (*ready)(void *ctx), void *ctx, struct rlhf_error *err);

/* Runs work(ctx) on the compute thread, after what was submitted before; then done(ctx) on the reactor thread.
 * done may be NULL. */
int rlhf_daemon_compute(struct rlhf_daemon *d, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx,
                        struct rlhf_error *err);
/* The compute thread is getting on with its work. Once a work has said so, the watchdog (systemd's WatchdogSec) is fed
 * only while it keeps saying so. Any thread; cheap. */
void rlhf_daemon_progress(struct rlhf_daemon *d);
/* Any thread: call(ctx) on the reactor thread soon. */
int rlhf_daemon_post(struct rlhf_daemon *d, void (*call)(void *ctx), void *ctx, struct rlhf_error *err);

/* Called when SIGTERM or SIGINT arrives the first time (a second one ends at once): stop taking work; call
 * rlhf_daemon_stop() when ready, within 10 s. Without it the loop just ends. */
void rlhf_daemon_on_drain(struct rlhf_daemon *d, void (*drain)(void *ctx), void *ctx);
/* Called when the loop has ended, however it did: make a work that still runs on the compute thread return soon.
 * rlhf_daemon_run() waits for it and makes the calls that it posted, so that afterwards everything can be freed. */
void rlhf_daemon_on_stop(struct rlhf_daemon *d, void (*stop)(void *ctx), void *ctx);
void rlhf_daemon_stop(struct rlhf_daemon *d);                                /* ends the loop: success */
void rlhf_daemon_fail(struct rlhf_daemon *d, const struct rlhf_error *err); /* ends the loop: failure  */

/* One line for people who ask the supervisor (`systemctl status`): what is being done. Reactor thread. */
void rlhf_daemon_status(struct rlhf_daemon *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The boot id of the kernel ("" where it cannot be read): equal on both sides means shared memory works. */
const char *rlhf_boot_id(void);

/* READY=1, watchdog; returns when stopped. 0, or -1 and *err. */
int rlhf_daemon_run(struct rlhf_daemon *d, struct rlhf_error *err);
void rlhf_daemon_free(struct rlhf_daemon *d); /* NULL is fine */

#endif
