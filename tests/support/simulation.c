#include "support/simulation.h"

#include <stdlib.h>
#include <string.h>
#include <stddef.h>

#include "support/fake_clock.h"

enum { MAX_PROCESSES = 64, MAX_CONNECTIONS = 256, MAX_FRAMES = 8 };

/* From a client (its link) to a service. `life` grows when the connection is made anew: frames of an earlier life
 * are lost. */
struct connection {
    struct sim_process *client;
    char service[32];
    uint64_t client_route, service_route; /* service_route 0: not connected */
    uint64_t life;
    int64_t last_us[2]; /* latest delivery towards client, service: keeps the order */
    int64_t cut_until_us;
};

struct sim_process {
    struct simulation *simulation;
    const struct sim_program *program;
    void *ctx;
    struct rlhf_transport transport;
    struct rlhf_env env;
    struct rlhf_random random;
    struct rlhf_node *node;
    uint64_t life;
    bool alive, doomed;
    int64_t dead_us;
};

enum event_kind { DELIVER, CALL, START, FAULT_KILL, FAULT_CUT };

struct event {
    int64_t at_us;
    uint64_t order; /* events of one instant happen in the order in which they were made */
    enum event_kind kind;
    struct sim_process *process;
    uint64_t process_life;
    struct connection *connection;
    uint64_t connection_life;
    bool to_service;
    size_t count;
    size_t size[MAX_FRAMES];
    char *bytes; /* frames, each at a multiple of 8 */
    void (*call)(void *ctx);
    void *ctx;
};

struct simulation {
    struct fake_clock clock;
    struct sim_faults faults;
    struct rlhf_random random;
    struct sim_process *processes[MAX_PROCESSES];
    size_t process_count;
    struct connection *connections[MAX_CONNECTIONS];
    size_t connection_count;
    struct event **heap;
    size_t heap_count, heap_capacity;
    uint64_t order, last_route;
    struct simulation_counters counters;
};

/* ---- events ---------------------------------------------------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void swap(struct simulation *s, size_t i, size_t j)
{
    struct event *e = s->heap[i];

    s->heap[i] = s->heap[j];
    s->heap[j] = e;
}

static struct event *schedule(struct simulation *s, int64_t at_us, enum event_kind kind)
{
    struct event *e = calloc(1, sizeof *e);
    size_t i = s->heap_count;

    if (s->heap_count == s->heap_capacity) {
        s->heap_capacity = s->heap_capacity ? 2 * s->heap_capacity : 1024;
        s->heap = realloc(s->heap, s->heap_capacity * sizeof *s->heap);
    }
    if (!e || !s->heap)
        abort();
    e->at_us = at_us;
    e->order = s->order++;
    e->kind = kind;
    s->heap[s->heap_count++] = e;
    for (; i > 0 && before(s->heap[i], s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(s, i, (i - 1) / 2);
    return e;
}

static struct event *next_event(struct simulation *s)
{
    struct event *first = s->heap[0];
    size_t i = 0, child;

    s->heap[0] = s->heap[--s->heap_count];
    while ((child = 2 * i + 1) < s->heap_count) {
        if (child + 1 < s->heap_count && before(s->heap[child + 1], s->heap[child]))
            child++;
        if (!before(s->heap[child], s->heap[i]))
            break;
        swap(s, i, child);
        i = child;
    }
    return first;
}

static void event_free(struct event *e)
{
    free(e->bytes);
    free(e);
}

static double chance(struct simulation *s)
{
    return rlhf_random_uniform(&s->random);
}

static int64_t between(struct simulation *s, int64_t low, int64_t high)
{
    return low + (int64_t)(chance(s) * (double)(high - low));
}

/* ---- network --------------------------------------------------------------------------------------- */

static struct sim_process *find(struct simulation *s, const char *name)
{
    for (size_t i = 0; i < s->process_count; i++)
        if (strcmp(s->processes[i]->program->name, name) == 0)
            return s->processes[i];
    return NULL;
}

static struct connection *by_route(struct sim_process *p, uint64_t route, bool *from_client)
{
    struct simulation *s = p->simulation;

    for (size_t i = 0; i < s->connection_count; i++) {
        struct connection *c = s->connections[i];

        *from_client = c->client == p && c->client_route == route;
        if (*from_client || (c->service_route == route && find(s, c->service) == p))
            return c;
    }
    return NULL;
}

static void disconnect(struct connection *c)
{
    c->service_route = 0;
    c->life++;
}

static void deliver_later(struct simulation *s, struct connection *c, bool to_service,
                          const struct rlhf_blob *frames, size_t count)
{
    struct event *e;
    int64_t at = s->clock.now_us + between(s, s->faults.delay_min_us, s->faults.delay_max_us);
    size_t bytes = 0;

    if (at < c->cut_until_us) /* held up, as TCP does, until the cut heals */
        at = c->cut_until_us;
    if (at < c->last_us[to_service])
        at = c->last_us[to_service];
    c->last_us[to_service] = at;
    e = schedule(s, at, DELIVER);
    e->connection = c;
    e->connection_life = c->life;
    e->to_service = to_service;
    e->count = count;
    for (size_t i = 0; i < count; i++)
        bytes += (frames[i].size + 7) / 8 * 8;
    e->bytes = malloc(bytes + 8);
    if (!e->bytes)
        abort();
    bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (frames[i].size)
            memcpy(e->bytes + bytes, frames[i].data, frames[i].size);
        e->size[i] = frames[i].size;
        bytes += (frames[i].size + 7) / 8 * 8;
    }
}

static struct sim_process *owner(struct rlhf_transport *t)
{
    return (struct sim_process *)((char *)t - offsetof(struct sim_process, transport));
}

static int transport_send(struct rlhf_transport *t, uint64_t route, const struct rlhf_blob *frames, size_t count,
                          struct rlhf_keeper *keeper, struct rlhf_error *err)
{
    struct sim_process *p = owner(t), *service;
    struct simulation *s = p->simulation;
    bool from_client;
    struct connection *c = by_route(p, route, &from_client);

    (void)keeper;
    if (!c || count > MAX_FRAMES)
        return rlhf_fail(err, RLHF_AGAIN, "no such route");
    service = find(s, c->service);
    if (from_client && c->service_route == 0) {
        if (!service || !service->alive)
            return rlhf_fail(err, RLHF_AGAIN, "not connected");
        c->service_route = ++s->last_route;
    }
    s->counters.messages++;
    if (chance(s) < s->faults.loss) {
        s->counters.lost++;
        return 0;
    }
    deliver_later(s, c, from_client, frames, count);
    if (chance(s) < s->faults.duplication) {
        s->counters.duplicated++;
        deliver_later(s, c, from_client, frames, count);
    }
    return 0;
}

static void transport_reset(struct rlhf_transport *t, uint64_t route)
{
    bool from_client;
    struct connection *c = by_route(owner(t), route, &from_client);

    if (c && from_client)
        disconnect(c); /* the next send connects anew */
}

static void deliver(struct simulation *s, struct event *e)
{
    struct connection *c = e->connection;
    struct sim_process *to = e->to_service ? find(s, c->service) : c->client;
    struct rlhf_blob frames[MAX_FRAMES];
    size_t at = 0;

    if (e->connection_life != c->life || !to || !to->alive)
        return;
    for (size_t i = 0; i < e->count; i++) {
        frames[i] = (struct rlhf_blob){ e->bytes + at, e->size[i] };
        at += (e->size[i] + 7) / 8 * 8;
    }
    rlhf_node_receive(to->node, e->to_service ? c->service_route : c->client_route, frames, e->count);
}

/* ---- life and death -------------------------------------------------------------------------------- */

static void start(struct sim_process *p)
{
    p->alive = true;
    p->doomed = false;
    p->life++;
    p->simulation->counters.starts++;
    rlhf_random_init(&p->random, rlhf_random_u32(&p->simulation->random), RLHF_PURPOSE_FAULT, (uint32_t)p->life, 0);
    if (p->program->start(p, p->ctx) < 0)
        abort();
}

static void end(struct sim_process *p)
{
    struct simulation *s = p->simulation;

    p->alive = false;
    p->life++;
    for (size_t i = 0; i < s->connection_count; i++) {
        struct connection *c = s->connections[i];

        if (c->client == p) { /* gone for good: its next life links again */
            disconnect(c);
            c->client = NULL;
            c->client_route = 0;
        } else if (strcmp(c->service, p->program->name) == 0) {
            disconnect(c);
        }
    }
    p->program->end(p, p->ctx);
    p->node = NULL;
}

static void bury_doomed(struct simulation *s)
{
    for (size_t i = 0; i < s->process_count; i++) {
        struct sim_process *p = s->processes[i];

        if (!p->doomed || !p->alive)
            continue;
        p->doomed = false;
        end(p);
        s->counters.kills++;
        schedule(s, s->clock.now_us + p->dead_us, START)->process = p;
    }
}

static void fault_later(struct simulation *s, enum event_kind kind, double a_minute)
{
    if (a_minute > 0)
        schedule(s, s->clock.now_us + 1 + (int64_t)(chance(s) * 2 * 60e6 / a_minute), kind);
}

static void kill_somebody(struct simulation *s)
{
    struct sim_process *victim = s->processes[rlhf_random_below(&s->random, (uint32_t)s->process_count)];

    if (s->faults.kills_a_minute > 0 && victim->alive && victim->program->mortal)
        sim_kill(victim, between(s, 1, s->faults.dead_max_us));
    fault_later(s, FAULT_KILL, s->faults.kills_a_minute);
}

static void cut_something(struct simulation *s)
{
    if (s->faults.cuts_a_minute > 0 && s->connection_count > 0) {
        struct connection *c = s->connections[rlhf_random_below(&s->random, (uint32_t)s->connection_count)];

        c->cut_until_us = s->clock.now_us + between(s, 1, s->faults.cut_max_us);
        s->counters.cuts++;
    }
    fault_later(s, FAULT_CUT, s->faults.cuts_a_minute);
}

/* ---- running --------------------------------------------------------------------------------------- */

static void happen(struct simulation *s, struct event *e)
{
    switch (e->kind) {
    case DELIVER:
        deliver(s, e);
        break;
    case CALL:
        if (e->process->alive && e->process->life == e->process_life)
            e->call(e->ctx);
        break;
    case START:
        start(e->process);
        break;
    case FAULT_KILL:
        kill_somebody(s);
        break;
    case FAULT_CUT:
        cut_something(s);
        break;
    }
}

static struct sim_process *next_timer(struct simulation *s, int64_t *at)
{
    struct sim_process *first = NULL;

    *at = INT64_MAX;
    for (size_t i = 0; i < s->process_count; i++) {
        struct sim_process *p = s->processes[i];
        int64_t deadline = p->alive ? rlhf_node_deadline(p->node) : INT64_MAX;

        if (deadline < *at) {
            *at = deadline;
            first = p;
        }
    }
    return first;
}

bool simulation_run(struct simulation *s, bool (*done)(void *ctx), void *ctx, int64_t limit_us)
{
    int64_t until = s->clock.now_us + limit_us;

    while (!done(ctx)) {
        int64_t timer_us;
        struct sim_process *timer = next_timer(s, &timer_us);

        if (s->heap_count > 0 && s->heap[0]->at_us <= timer_us) {
            struct event *e = next_event(s);

            if (e->at_us > until) {
                event_free(e);
                return false;
            }
            if (e->at_us > s->clock.now_us)
                s->clock.now_us = e->at_us;
            happen(s, e);
            event_free(e);
        } else if (timer && timer_us <= until) {
            if (timer_us > s->clock.now_us)
                s->clock.now_us = timer_us;
            rlhf_node_tick(timer->node);
            if (rlhf_node_deadline(timer->node) <= s->clock.now_us) /* a timer that stays due would stop time */
                s->clock.now_us++;
        } else {
            return false;
        }
        bury_doomed(s);
        s->counters.events++;
    }
    return true;
}

struct simulation *simulation_new(uint64_t seed, const struct sim_faults *faults)
{
    struct simulation *s = calloc(1, sizeof *s);

    if (!s)
        abort();
    fake_clock_init(&s->clock);
    s->faults = *faults;
    rlhf_random_init(&s->random, seed, RLHF_PURPOSE_FAULT, 0, 0);
    fault_later(s, FAULT_KILL, faults->kills_a_minute);
    fault_later(s, FAULT_CUT, faults->cuts_a_minute);
    return s;
}

struct sim_process *simulation_add(struct simulation *s, const struct sim_program *program, void *ctx)
{
    struct sim_process *p = calloc(1, sizeof *p);

    if (!p || s->process_count == MAX_PROCESSES)
        abort();
    p->simulation = s;
    p->program = program;
    p->ctx = ctx;
    p->transport = (struct rlhf_transport){ .send = transport_send, .reset = transport_reset };
    p->env = (struct rlhf_env){ .clock = &s->clock.clock,
                                .io = &rlhf_system_io,
                                .transport = &p->transport,
                                .random = &p->random };
    s->processes[s->process_count++] = p;
    start(p);
    return p;
}

void simulation_calm(struct simulation *s)
{
    s->faults.loss = s->faults.duplication = 0;
    s->faults.cuts_a_minute = s->faults.kills_a_minute = 0;
}

int64_t simulation_now(const struct simulation *s)
{
    return s->clock.now_us;
}

struct simulation_counters simulation_counters(const struct simulation *s)
{
    return s->counters;
}

void simulation_free(struct simulation *s)
{
    for (size_t i = 0; i < s->process_count; i++) {
        if (s->processes[i]->alive)
            end(s->processes[i]);
        free(s->processes[i]);
    }
    while (s->heap_count > 0)
        event_free(next_event(s));
    for (size_t i = 0; i < s->connection_count; i++)
        free(s->connections[i]);
    free(s->heap);
    free(s);
}

const struct rlhf_env *sim_env(struct sim_process *p)
{
    return &p->env;
}

struct rlhf_random *sim_random(struct sim_process *p)
{
    return &p->random;
}

void sim_set_node(struct sim_process *p, struct rlhf_node *n)
{
    p->node = n;
}

uint64_t sim_link(struct sim_process *p, const char *service)
{
    struct simulation *s = p->simulation;
    struct connection *c = NULL;

    for (size_t i = 0; i < s->connection_count && !c; i++)
        if (!s->connections[i]->client) /* of a life that ended */
            c = s->connections[i];
    if (!c) {
        if (s->connection_count == MAX_CONNECTIONS || !(c = calloc(1, sizeof *c)))
            abort();
        s->connections[s->connection_count++] = c;
    }
    c->client = p;
    c->client_route = ++s->last_route;
    c->service_route = 0;
    c->life++;
    c->cut_until_us = 0;
    memset(c->last_us, 0, sizeof c->last_us);
    strncpy(c->service, service, sizeof c->service - 1);
    return c->client_route;
}

void sim_after(struct sim_process *p, int64_t delay_us, void (*call)(void *ctx), void *ctx)
{
    struct event *e = schedule(p->simulation, p->simulation->clock.now_us + delay_us, CALL);

    e->process = p;
    e->process_life = p->life;
    e->call = call;
    e->ctx = ctx;
}

void sim_kill(struct sim_process *p, int64_t dead_us)
{
    p->doomed = true;
    p->dead_us = dead_us;
}
