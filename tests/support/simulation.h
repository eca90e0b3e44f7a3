/* simulation.h - a whole cluster in one process, on one seed.
 *
 * Real state machines, real nodes, real bytes; clock, network and deaths are made up. Time jumps from event to
 * event, so minutes of cluster life cost milliseconds, and a seed that fails replays exactly.
 *
 * The network behaves as ZeroMQ over TCP does, and worse: a connection delivers in order, or loses messages,
 * delivers them twice, is late, or is cut for a while; a client's connection survives its service's death and
 * finds the next life of it; a service knows a new connection only by a new route. */
#ifndef SUPPORT_SIMULATION_H
#define SUPPORT_SIMULATION_H

#include <stdbool.h>

#include "net/env.h"
#include "net/node.h"

struct simulation;
struct sim_process;

struct sim_faults {
    double loss, duplication; /* probability a message                                     */
    int64_t delay_min_us, delay_max_us;
    double cuts_a_minute;     /* a random connection is cut ...                             */
    int64_t cut_max_us;       /* ... for up to this                                         */
    double kills_a_minute;    /* a random process that may be killed dies (kill -9) ...     */
    int64_t dead_max_us;      /* ... and is started again within this                       */
};

/* What a process is. start makes the state machine and its node from env (links through sim_link()) and returns 0; end
 * frees what start made: called when the process is killed and at the end. What must survive a kill (a disk) lives
 * in ctx. */
struct sim_program {
    const char *name;
    bool mortal; /* faults may kill it */
    int (*start)(struct sim_process *p, void *ctx);
    void (*end)(struct sim_process *p, void *ctx);
};

struct simulation *simulation_new(uint64_t seed, const struct sim_faults *faults);
/* Started at once. Borrows program and ctx. */
struct sim_process *simulation_add(struct simulation *s, const struct sim_program *program, void *ctx);
/* Runs until done(ctx) or until `limit_us` of simulated time have passed; false in the latter case. */
bool simulation_run(struct simulation *s, bool (*done)(void *ctx), void *ctx, int64_t limit_us);
/* From now on no faults but delays. */
void simulation_calm(struct simulation *s);
int64_t simulation_now(const struct simulation *s);

struct simulation_counters {
    uint64_t events, messages, lost, duplicated, cuts, kills, starts;
};
struct simulation_counters simulation_counters(const struct simulation *s);
void simulation_free(struct simulation *s);

/* For programs. */
const struct rlhf_env *sim_env(struct sim_process *p);
struct rlhf_random *sim_random(struct sim_process *p);
void sim_set_node(struct sim_process *p, struct rlhf_node *n); /* borrowed until end */
/* A connection from p to the process so named (which may not be there yet); the route for rlhf_node_link(). */
uint64_t sim_link(struct sim_process *p, const char *service);
/* call(ctx) after delay_us, unless p dies before. */
void sim_after(struct sim_process *p, int64_t delay_us, void (*call)(void *ctx), void *ctx);
/* kill -9 now (from inside an event of p it happens when that event is over), started again after dead_us. */
void sim_kill(struct sim_process *p, int64_t dead_us);

#endif
