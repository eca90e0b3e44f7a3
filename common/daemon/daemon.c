#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>

#include "base/check.h"
#include "daemon/compute.h"
#include "daemon/keys.h"
#include "daemon/options.h"
#include "daemon/sockets.h"
#include "daemon/supervisor.h"
#include "telemetry/log.h"

enum {
    MAX_WATCHED = 8,
    MAX_ITEMS = 2 + MAX_WATCHED + 16, /* signals, posts, watched, sockets */
    RECEIVE_AT_ONCE = 128,            /* messages of one socket before the others and the clock are looked at */
    BUSY_TURNS = 16,                  /* between ticks while there is more to receive */
    DRAIN_US = 10000000,              /* from the first SIGTERM to the end, at most */
    MIN_FRAME = 64 << 10,             /* limits below this would refuse what the node itself takes */
};

struct watched {
    int fd;
    void (*ready)(void *ctx);
    void *ctx;
};
struct hook {
    void (*call)(void *ctx);
    void *ctx;
};

struct rlhf_daemon {
    const struct rlhf_daemon_info *info;
    void *config;
    char software[64];
    struct rlhf_random random;
    struct rlhf_env env;
    struct rlhf_keys *keys; /* NULL: none */
    struct rlhf_sockets *sockets;
    struct rlhf_compute *compute;
    struct rlhf_node *node;
    int signals;
    struct watched watched[MAX_WATCHED];
    size_t watched_count;
    struct hook drain, on_stop;
    bool stopped, draining;
    int64_t drain_until_us;
    struct rlhf_error failure; /* why the loop ends, when it is not on purpose */
    int64_t watchdog_us, fed_us;
};

const char *rlhf_boot_id(void)
{
    static char id[64];
    int fd;

    if (!id[0] && (fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)) >= 0) {
        ssize_t size = read(fd, id, sizeof id - 1);

        id[size > 0 ? size : 0] = 0;
        id[strcspn(id, "\n")] = 0;
        close(fd);
    }
    return id;
}

/* ---- beginning ------------------------------------------------------------------------------------- */

/* Blocked before any thread is made, so that they come to the reactor's descriptor alone. */
static int catch_signals(struct rlhf_daemon *d, struct rlhf_error *err)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0
        || (d->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        return rlhf_fail(err, RLHF_FATAL, "cannot catch signals: %s", strerror(errno));
    return 0;
}

static int seed_random(struct rlhf_daemon *d, struct rlhf_error *err)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        return rlhf_fail(err, RLHF_FATAL, "no random bytes: %s", strerror(errno));
    rlhf_random_init(&d->random, seed, RLHF_PURPOSE_FAULT, 0, 0);
    return 0;
}

struct rlhf_daemon *rlhf_daemon_new(const struct rlhf_daemon_info *info, int argc, char **argv, void *config,
                                    struct rlhf_error *err)
{
    struct rlhf_daemon *d = calloc(1, sizeof *d);

    rlhf_log_open(info->name);
    RLHF_ASSERT(info->config_size == info->schema->size);
    if (!d) {
        rlhf_fail(err, RLHF_FULL, "no memory for a daemon");
        return NULL;
    }
    d->info = info;
    d->signals = -1;
    if (rlhf_options_read(info, argc, argv, config, err) < 0) {
        rlhf_daemon_free(d);
        return NULL;
    }
    d->config = config;
    snprintf(d->software, sizeof d->software, "%s %s", info->name, RLHF_VERSION);
    if (catch_signals(d, err) < 0 || seed_random(d, err) < 0 || !(d->sockets = rlhf_sockets_new(err))
        || !(d->compute = rlhf_compute_new(err))) {
        rlhf_daemon_free(d);
        return NULL;
    }
    d->env = (struct rlhf_env){
        .clock = &rlhf_system_clock,
        .io = &rlhf_system_io,
        .transport = rlhf_sockets_transport(d->sockets),
        .random = &d->random,
    };
    d->watchdog_us = rlhf_supervisor_watchdog_us();
    return d;
}

const struct rlhf_env *rlhf_daemon_env(struct rlhf_daemon *d)
{
    return &d->env;
}

struct rlhf_node *rlhf_daemon_node(struct rlhf_daemon *d, const struct rlhf_machine *machine, const char *run,
                                   const char *profile, struct rlhf_error *err)
{
    struct rlhf_node_config c = {
        .role = d->info->role,
        .software = d->software,
        .run = run,
        .host = rlhf_boot_id(),
        .profile = profile,
    };
    size_t largest = MIN_FRAME;

    RLHF_ASSERT(!d->node);
    for (const struct rlhf_handler *row = machine->handlers; row->type != 0; row++) {
        largest = row->max_bytes > largest ? row->max_bytes : largest;
        largest = row->max_blob_bytes > largest ? row->max_blob_bytes : largest;
    }
    rlhf_sockets_limit(d->sockets, largest);
    return d->node = rlhf_node_new(&c, &d->env, machine, err);
}

int rlhf_daemon_keys(struct rlhf_daemon *d, const char *key_file, const char *peers_file, struct rlhf_error *err)
{
    RLHF_ASSERT(!d->keys);
    if (!key_file && !peers_file)
        return 0;
    if (!key_file || !peers_file)
        return rlhf_fail(err, RLHF_REJECT, "`key` and `peers` belong together: set %s, too", key_file ? "`peers`" : "`key`");
    if (!(d->keys = rlhf_keys_open(key_file, peers_file, err)) || rlhf_sockets_protect(d->sockets, d->keys, err) < 0)
        return -1;
    rlhf_log(RLHF_LEVEL_INFO, "curve public_key=\"%s\" peers=%s", rlhf_keys_public(d->keys), peers_file);
    return 0;
}

int rlhf_daemon_serve(struct rlhf_daemon *d, const char *endpoint, bool insecure, struct rlhf_error *err)
{
    RLHF_ASSERT(d->node);
    if (rlhf_sockets_serve(d->sockets, endpoint, insecure, err) < 0)
        return -1;
    rlhf_log(RLHF_LEVEL_INFO, "listening endpoint=%s insecure=%d", rlhf_sockets_endpoint(d->sockets), insecure);
    return 0;
}

const char *rlhf_daemon_endpoint(const struct rlhf_daemon *d)
{
    return rlhf_sockets_endpoint(d->sockets);
}

int rlhf_daemon_link(struct rlhf_daemon *d, const char *endpoint, Rlhf__V1__Role service, struct rlhf_error *err)
{
    uint64_t route;

    RLHF_ASSERT(d->node);
    if (rlhf_sockets_link(d->sockets, endpoint, service, &route, err) < 0)
        return -1;
    rlhf_log(RLHF_LEVEL_INFO, "connecting endpoint=%s", endpoint);
    return rlhf_node_link(d->node, route, service, err);
}

int rlhf_daemon_watch(struct rlhf_daemon *d, int fd, void (*ready)(void *ctx), void *ctx, struct rlhf_error *err)
{
    if (d->watched_count == MAX_WATCHED)
        return rlhf_fail(err, RLHF_FULL, "more than %d file descriptors to watch", MAX_WATCHED);
    d->watched[d->watched_count++] = (struct watched){ fd, ready, ctx };
    return 0;
}

/* ---- threads --------------------------------------------------------------------------------------- */

int rlhf_daemon_compute(struct rlhf_daemon *d, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx,
                        struct rlhf_error *err)
{
    return rlhf_compute_submit(d->compute, work, done, ctx, err);
}

void rlhf_daemon_progress(struct rlhf_daemon *d)
{
    rlhf_compute_progress(d->compute);
}

int rlhf_daemon_post(struct rlhf_daemon *d, void (*call)(void *ctx), void *ctx, struct rlhf_error *err)
{
    return rlhf_compute_post(d->compute, call, ctx, err);
}

/* ---- ending ---------------------------------------------------------------------------------------- */

void rlhf_daemon_on_drain(struct rlhf_daemon *d, void (*drain)(void *ctx), void *ctx)
{
    d->drain = (struct hook){ drain, ctx };
}

void rlhf_daemon_on_stop(struct rlhf_daemon *d, void (*stop)(void *ctx), void *ctx)
{
    d->on_stop = (struct hook){ stop, ctx };
}

void rlhf_daemon_stop(struct rlhf_daemon *d)
{
    d->stopped = true;
}

void rlhf_daemon_fail(struct rlhf_daemon *d, const struct rlhf_error *err)
{
    if (d->failure.code == RLHF_OK)
        d->failure = *err;
    d->stopped = true;
}

/* Lines of sd_notify's protocol end with a newline: there is none in a status. */
static void tell_status(const char *more, const char *status)
{
    char text[400];

    snprintf(text, sizeof text, "%sSTATUS=%s", more, status);
    for (char *at = text + strlen(more); (at = strchr(at, '\n')); at++)
        *at = ' ';
    rlhf_supervisor_tell(text);
}

void rlhf_daemon_status(struct rlhf_daemon *d, const char *fmt, ...)
{
    char text[300];
    va_list args;

    if (d->draining) /* that is what is being done */
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    tell_status("", text);
}

static void drain(struct rlhf_daemon *d)
{
    if (d->draining)
        return;
    d->draining = true;
    d->drain_until_us = rlhf_now(d->env.clock) + DRAIN_US;
    if (d->drain.call)
        d->drain.call(d->drain.ctx);
    else
        d->stopped = true;
}

static bool still_known(void *keys, const char *key, Rlhf__V1__Role role)
{
    return rlhf_keys_know(keys, key, role);
}

static void reload(struct rlhf_daemon *d)
{
    struct rlhf_error err = { 0 };

    if (!d->keys) {
        rlhf_log(RLHF_LEVEL_INFO, "nothing_to_reload signal=HUP");
    } else if (rlhf_keys_reload(d->keys, &err) < 0) {
        rlhf_log_error("peers-not-reloaded", &err); /* those of before stay */
    } else {
        rlhf_log(RLHF_LEVEL_INFO, "peers_reloaded");
        if (d->node)
            rlhf_node_revoke(d->node, still_known, d->keys);
    }
}

static void take_signal(struct rlhf_daemon *d)
{
    struct signalfd_siginfo info;
    sigset_t set;

    if (read(d->signals, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGHUP) {
        reload(d);
        return;
    }
    /* A parent that is killed has us told once for each of its threads that dies (prctl(2)); that is one order, and
     * more of it must not be taken for the second. What came before now is heard with the first. */
    prctl(PR_SET_PDEATHSIG, 0);
    while (read(d->signals, &(struct signalfd_siginfo){ 0 }, sizeof info) > 0)
        ;
    rlhf_log(RLHF_LEVEL_INFO, "stopping signal=%s", info.ssi_signo == SIGTERM ? "TERM" : "INT");
    tell_status("STOPPING=1\n", "finishing what is under way");
    /* The second one ends at once, whatever this thread is doing then. */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    drain(d);
}

/* ---- the loop -------------------------------------------------------------------------------------- */

static void receive(void *ctx, uint64_t route, const struct rlhf_blob *frames, size_t count)
{
    rlhf_node_receive(((struct rlhf_daemon *)ctx)->node, route, frames, count);
}

static void feed_watchdog(struct rlhf_daemon *d, int64_t now)
{
    if (!d->watchdog_us || now - d->fed_us < d->watchdog_us)
        return;
    d->fed_us = now;
    if (rlhf_compute_alive(d->compute))
        rlhf_supervisor_tell("WATCHDOG=1");
    else
        rlhf_log(RLHF_LEVEL_WARNING, "compute_stalled");
}

/* Milliseconds to wait: rounded up, so that the loop does not spin before a deadline. */
static long wait_ms(const struct rlhf_daemon *d, bool more)
{
    int64_t at = d->node ? rlhf_node_deadline(d->node) : INT64_MAX, now = rlhf_now(d->env.clock);

    if (d->watchdog_us && d->fed_us + d->watchdog_us < at)
        at = d->fed_us + d->watchdog_us;
    if (d->draining && d->drain_until_us < at)
        at = d->drain_until_us;
    if (more || at <= now)
        return 0;
    return at == INT64_MAX ? -1 : (long)((at - now + 999) / 1000 < 60000 ? (at - now + 999) / 1000 : 60000);
}

/* Waits for something to happen and does it; true when sockets hold more than was taken. */
static bool turn(struct rlhf_daemon *d, bool more)
{
    zmq_pollitem_t items[MAX_ITEMS];
    size_t sockets = rlhf_sockets_count(d->sockets), at = 0, first_socket;

    items[at++] = (zmq_pollitem_t){ .fd = d->signals, .events = ZMQ_POLLIN };
    items[at++] = (zmq_pollitem_t){ .fd = rlhf_compute_fd(d->compute), .events = ZMQ_POLLIN };
    for (size_t i = 0; i < d->watched_count; i++)
        items[at++] = (zmq_pollitem_t){ .fd = d->watched[i].fd, .events = ZMQ_POLLIN };
    first_socket = at;
    for (size_t i = 0; i < sockets; i++)
        items[at++] =
            (zmq_pollitem_t){ .socket = rlhf_sockets_handle(d->sockets, i), .events = ZMQ_POLLIN };

    if (zmq_poll(items, (int)at, wait_ms(d, more)) < 0) {
        if (errno != EINTR) {
            struct rlhf_error err;

            rlhf_fail(&err, RLHF_FATAL, "cannot wait for events: %s", zmq_strerror(errno));
            rlhf_daemon_fail(d, &err);
        }
        return false;
    }
    if (items[0].revents)
        take_signal(d);
    if (items[1].revents)
        rlhf_compute_posted(d->compute);
    for (size_t i = 0; i < d->watched_count && 2 + i < first_socket; i++)
        if (items[2 + i].revents)
            d->watched[i].ready(d->watched[i].ctx);
    more = false;
    for (size_t i = 0; i < sockets; i++)
        if (items[first_socket + i].revents)
            more |= rlhf_sockets_receive(d->sockets, i, RECEIVE_AT_ONCE, receive, d);
    return more;
}

int rlhf_daemon_run(struct rlhf_daemon *d, struct rlhf_error *err)
{
    bool more = false;
    unsigned busy_turns = 0;

    tell_status("READY=1\n", "at work");
    rlhf_log(RLHF_LEVEL_INFO, "ready version=%s", RLHF_VERSION);
    while (!d->stopped) {
        int64_t now;

        more = turn(d, more);
        /* What has come is heard before anybody is taken for silent; but a flood does not stop the clock. */
        busy_turns = more ? busy_turns + 1 : 0;
        if (d->node && busy_turns % BUSY_TURNS == 0)
            rlhf_node_tick(d->node);
        now = rlhf_now(d->env.clock);
        feed_watchdog(d, now);
        if (d->draining && now >= d->drain_until_us) {
            rlhf_log(RLHF_LEVEL_WARNING, "drain_took_too_long seconds=%d", DRAIN_US / 1000000);
            d->stopped = true;
        }
    }
    if (d->failure.code != RLHF_OK)
        tell_status("STOPPING=1\n", d->failure.text);
    else if (!d->draining)
        rlhf_supervisor_tell("STOPPING=1");
    if (d->node)
        rlhf_node_leave(d->node);
    if (d->on_stop.call)
        d->on_stop.call(d->on_stop.ctx);
    if (!rlhf_compute_stop(d->compute, d->draining ? d->drain_until_us : rlhf_now(d->env.clock) + DRAIN_US)) {
        /* It still uses what would be freed next; everything durable is safe whenever the process ends. */
        rlhf_log(RLHF_LEVEL_ERROR, "compute_does_not_stop");
        _exit(EXIT_FAILURE);
    }
    rlhf_compute_posted(d->compute); /* what it said last */
    if (d->failure.code != RLHF_OK) {
        *err = d->failure;
        return -1;
    }
    rlhf_log(RLHF_LEVEL_INFO, "stopped");
    return 0;
}

void rlhf_daemon_free(struct rlhf_daemon *d)
{
    if (!d)
        return;
    if (d->compute && !rlhf_compute_stop(d->compute, rlhf_now(&rlhf_system_clock) + DRAIN_US))
        _exit(EXIT_FAILURE); /* it uses what would be freed next */
    rlhf_node_free(d->node);
    rlhf_sockets_free(d->sockets);
    rlhf_keys_free(d->keys);
    rlhf_compute_free(d->compute);
    if (d->signals >= 0)
        close(d->signals);
    if (d->config)
        rlhf_config_free(d->info->schema, d->config);
    free(d);
}
