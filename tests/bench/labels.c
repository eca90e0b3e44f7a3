/* labels.c - what a label costs the label-collector, beside what its rows cost SQLite alone. One JSON line a measurement.
 *
 *     bench-labels [seconds a case, 1 by default] [case]
 *
 *   singles   64 and 256 connections, one label a request, the next one when the last was acknowledged
 *   arrays    16 connections, 100 labels a request
 *   paced     500 labels/s over 64 connections, whether or not the last ones were answered, while others ask for the page, for
 *             the statistics and for tasks: p50 and p99 from the moment when a request was due
 *   million   a million labels of 500,000 tasks, brought straight into the database: the slowest of several answers of every
 *             route that reads, and the daemon's memory
 *
 * singles and arrays are followed by SQLite alone: one thread, set as the collector sets it (WAL, synchronous=FULL), rows of the
 * same size, as many in a transaction as the collector could have had. Three times: one row a label; the rows that a label leaves
 * in the collector's tables, counters for every label; and counters once a transaction, as the collector writes them. RLHF_SYNC_US makes every sync of the disk take that much longer, in all of them (slow_sync.c). */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "slow_sync.h"

enum {
    TEXT = 1000, /* bytes of a label's prompt and completions */
    MAX_CLIENTS = 512,
    MAX_LATENCIES = 1 << 20,
    REQUEST = 512 << 10,
    ASKS = 7, /* times that a route of a full store is asked */
};

static struct bench_arguments arguments;
static char programs[400], directory[] = "/var/tmp/rlhf-labels-XXXXXX"; /* a disk: /tmp may be memory */

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void print(const char *name, double value, const char *unit)
{
    printf("{\"case\":\"labels\",\"of\":\"%s\",\"value\":%.5g,\"unit\":\"%s\"}\n", name, value, unit);
    fflush(stdout);
}

static double quantile(double *times, size_t count, double q)
{
    bench_median(times, count); /* sorts */
    return times[(size_t)(q * (double)(count - 1) + 0.5)];
}

/* ---- the daemon ------------------------------------------------------------------------------------ */

static pid_t daemon_pid;
static struct sockaddr_in address;
static char host[128];

static char *in(const char *name)
{
    static char path[2][500];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", directory, name);
    return path[turn];
}

static bool read_address(void)
{
    char text[128] = "";
    FILE *f = fopen(in("address"), "r");
    bool there = f && fgets(text, sizeof text, f) && strrchr(text, ':');

    if (f)
        fclose(f);
    if (!there)
        return false;
    snprintf(host, sizeof host, "%s", text + 7);
    address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                    .sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1)) };
    return true;
}

static void start_daemon(void)
{
    FILE *f = fopen(in("collector.yaml"), "w");
    char program[500];

    unlink(in("address"));
    if (!f)
        fail(in("collector.yaml"));
    fprintf(f, "listen: ipc://%s/socket\nhttp: 127.0.0.1:0\nhttp_address_file: %s/address\ndatabase: %s/labels.db\n", directory,
            directory, directory);
    fclose(f);
    snprintf(program, sizeof program, "%s/../daemons/label-collector", programs);
    if ((daemon_pid = fork()) < 0)
        fail("fork");
    if (daemon_pid == 0) {
        int log = open(in("log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(log, STDERR_FILENO);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getenv("RLHF_SYNC_US"))
            setenv("LD_PRELOAD", slow_sync_library(), 1);
        execl(program, program, "--config", in("collector.yaml"), (char *)NULL);
        _exit(127);
    }
    while (!read_address()) {
        if (waitpid(daemon_pid, NULL, WNOHANG) != 0) {
            fprintf(stderr, "%s did not start: see %s\n", program, in("log"));
            exit(1);
        }
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
}

/* VmHWM, the most that it ever had, or VmRSS; in MiB. */
static double daemon_memory(const char *what)
{
    char path[64], line[256];
    double kilobytes = 0;

    snprintf(path, sizeof path, "/proc/%d/status", (int)daemon_pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, what, strlen(what)) == 0)
            kilobytes = atof(line + strlen(what) + 1);
    if (f)
        fclose(f);
    return kilobytes / 1024;
}

/* Seconds of a core that its threads have used. */
static double daemon_seconds(void)
{
    char path[300];
    double sum = 0, nanoseconds;
    struct dirent *task;

    snprintf(path, sizeof path, "/proc/%d/task", (int)daemon_pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        fail(path);
    while ((task = readdir(tasks))) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)daemon_pid, task->d_name);
        FILE *f = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (f && fscanf(f, "%lf", &nanoseconds) == 1)
            sum += nanoseconds * 1e-9;
        if (f)
            fclose(f);
    }
    closedir(tasks);
    return sum;
}

static void stop_daemon(void)
{
    kill(daemon_pid, SIGTERM);
    waitpid(daemon_pid, NULL, 0);
}

static void remove_database(void)
{
    unlink(in("labels.db"));
    unlink(in("labels.db-wal"));
    unlink(in("labels.db-shm"));
}

/* ---- connections ----------------------------------------------------------------------------------- */

/* A connection with at most one request on its way. */
struct client {
    int fd;
    const char *out;
    size_t size, sent;
    char head[16384];
    size_t head_size, left; /* left: of the body, once the head is there */
    bool waiting, have_head;
    double since; /* when its request was due */
    int kind;
    bool full; /* more is to be sent when the socket takes it */
    char *own; /* room for its request */
};

static int poller;

static void client_open(struct client *c)
{
    int on = 1;

    *c = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .own = malloc(REQUEST) };
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 || !c->own)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){ .events = EPOLLIN, .data.ptr = c });
}

static void client_close(struct client *c)
{
    close(c->fd);
    free(c->own);
}

static void client_flush(struct client *c)
{
    while (c->sent < c->size) {
        ssize_t n = send(c->fd, c->out + c->sent, c->size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            fail("send");
        c->sent += (size_t)n;
    }
    if (c->full == (c->sent < c->size))
        return;
    c->full = !c->full;
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &(struct epoll_event){ .events = EPOLLIN | (c->full ? EPOLLOUT : 0), .data.ptr = c });
}

static void client_send(struct client *c, const char *text, size_t size, double since)
{
    c->out = text;
    c->size = size;
    c->sent = c->head_size = c->left = 0;
    c->waiting = true;
    c->have_head = false;
    c->since = since;
    client_flush(c);
}

/* The head is whole: how much of the body is left behind what came with it. */
static void read_head(struct client *c, const char *end)
{
    const char *length = strcasestr(c->head, "\r\nContent-Length:");

    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 || !length) {
        fprintf(stderr, "not the answer that was expected: %s\n", c->head);
        exit(1);
    }
    c->have_head = true;
    c->left = strtoul(length + 17, NULL, 10) - (c->head_size - (size_t)(end + 4 - c->head));
}

/* True when the answer has come, whole. */
static bool client_receive(struct client *c)
{
    static char nowhere[256 << 10];

    for (;;) {
        char *to = c->have_head ? nowhere : c->head + c->head_size;
        size_t room = c->have_head ? (c->left < sizeof nowhere ? c->left : sizeof nowhere) : sizeof c->head - 1 - c->head_size;
        ssize_t n = recv(c->fd, to, room, 0);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0)
            fail("the collector has closed a connection");
        if (c->have_head) {
            c->left -= (size_t)n;
        } else {
            c->head[c->head_size += (size_t)n] = '\0';
            const char *end = strstr(c->head, "\r\n\r\n");
            if (end)
                read_head(c, end);
        }
        if (c->have_head && c->left == 0) {
            c->waiting = false;
            return true;
        }
    }
}

/* Waits for events, at most so many milliseconds; answered() hears of every answer. */
static void turn(int ms, void (*answered)(void *ctx, struct client *c), void *ctx)
{
    struct epoll_event events[256];
    int count = epoll_wait(poller, events, 256, ms);

    for (int i = 0; i < count; i++) {
        struct client *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            client_flush(c);
        if ((events[i].events & ~(unsigned)EPOLLOUT) && client_receive(c))
            answered(ctx, c);
    }
}

static size_t print_request(char *to, const char *method, const char *target, const char *body)
{
    size_t n = (size_t)sprintf(to, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, host);

    if (body)
        n += (size_t)sprintf(to + n, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    return n + (size_t)sprintf(to + n, "\r\n%s", body ? body : "");
}

/* ---- labels ---------------------------------------------------------------------------------------- */

enum { PEOPLE = 50 };

static unsigned labels_made;

/* Labels with texts of their own, as an array or alone. */
static size_t print_labels(char *to, unsigned count)
{
    static char body[REQUEST];
    char *p = body;

    for (unsigned i = 0; i < count; i++) {
        unsigned n = labels_made++;
        p += sprintf(p, "%s{\"id\":\"%u\",\"labeler\":\"l%u\",\"prompt\":\"%0*u\",\"chosen\":\"%0*u\",\"rejected\":\"%0*u\"}",
                     i ? "," : count > 1 ? "[" : "", n, n % PEOPLE, TEXT / 2, n, TEXT / 4, n, TEXT / 4, n + 1);
    }
    strcpy(p, count > 1 ? "]" : "");
    return print_request(to, "POST", "/api/v1/comparisons", body);
}

struct load {
    unsigned a_request;
    double end, *latency;
    size_t answered;
};

static void next_labels(void *ctx, struct client *c)
{
    struct load *l = ctx;
    double now = bench_now();

    if (l->answered < MAX_LATENCIES)
        l->latency[l->answered] = now - c->since;
    l->answered++;
    if (now < l->end)
        client_send(c, c->own, print_labels(c->own, l->a_request), now);
}

static uint64_t ask_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st = NULL;
    uint64_t value = 0;

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        value = (uint64_t)sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return value;
}

static void run_sql(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
        exit(1);
    }
}

/* SQLite alone: what is put for a label, ?1 its number, ?2 a digest, ?3 and ?4 its text; and what is added to counters, ?1 whose
 * (of PEOPLE), ?2 how much: for every label, or once a transaction for each of the people in it. */
struct bare {
    const char *name, *tables, *puts[4], *counts[5]; /* tables NULL: the collector's own */
    bool once;
};
static const struct bare bare_row = { .name = "a-row-a-label",
                                      .tables = "CREATE TABLE rows (id INTEGER PRIMARY KEY, prompt TEXT, completions TEXT)",
                                      .puts = { "INSERT INTO rows (id, prompt, completions) VALUES (?1, ?3, ?4)" } };
/* As the collector keeps it (label-collector/schema.h), in its own tables with all their indices. */
#define ROWS                                                                                                               \
    .puts = { "INSERT INTO items (item, digest, prompt, completions, k) VALUES (?1, ?2, ?3, ?4, 2)",                       \
              "INSERT INTO labels (label, source, id, round, labeler, sequence)"                                           \
              " VALUES (?1, 'api', CAST(?1 AS TEXT), '', 'l' || (?1 % 50), ?1)",                                           \
              "INSERT INTO revisions (sequence, label, revision, digest, item, round, ranks, stored_us)"                   \
              " VALUES (?1, ?1, 1, ?2, ?1, '', '[1,2]', 1700000000000000 + ?1)" },                                         \
    .counts = { "INSERT INTO rounds (round, labels) VALUES ('', ?2) ON CONFLICT (round) DO UPDATE SET labels = labels + ?2", \
                "INSERT INTO standing (scope, name, labels) VALUES ('source', 'api', ?2)"                                  \
                " ON CONFLICT (scope, name) DO UPDATE SET labels = labels + ?2",                                           \
                "INSERT INTO labelers (labeler, round, labels, last_us) VALUES ('l' || ?1, '', ?2, 1700000000000000)"      \
                " ON CONFLICT (labeler, round) DO UPDATE SET labels = labels + ?2, last_us = last_us + 1",                 \
                "INSERT INTO standing (scope, name, labels) VALUES ('labeler', 'l' || ?1, ?2)"                             \
                " ON CONFLICT (scope, name) DO UPDATE SET labels = labels + ?2" }
static const struct bare bare_label = { .name = "the-rows-of-a-label", ROWS };
static const struct bare bare_group = { .name = "the-rows-of-a-label, counters once a transaction", ROWS, .once = true };

struct bare_statements {
    sqlite3_stmt *puts[4], *counts[5];
};

static void prepare_bare(sqlite3 *db, const char *const *texts, sqlite3_stmt **statements)
{
    for (; *texts; texts++, statements++)
        if (sqlite3_prepare_v3(db, *texts, -1, SQLITE_PREPARE_PERSISTENT, statements, NULL) != SQLITE_OK)
            fail(sqlite3_errmsg(db));
}

static void run_bare(sqlite3_stmt *statement)
{
    if (sqlite3_step(statement) != SQLITE_DONE)
        fail("SQLite");
    sqlite3_reset(statement);
}

static void put_bare(sqlite3_stmt **puts, sqlite3_int64 number)
{
    char prompt[TEXT / 2 + 1], completions[TEXT / 2 + 1];
    uint64_t digest[4] = { (uint64_t)number * 0x9E3779B97F4A7C15u };

    snprintf(prompt, sizeof prompt, "%0*lld", TEXT / 2, (long long)number);
    snprintf(completions, sizeof completions, "[\"%0*lld\"]", TEXT / 2 - 4, (long long)number);
    for (; *puts; puts++) {
        sqlite3_bind_int64(*puts, 1, number);
        if (sqlite3_bind_parameter_count(*puts) > 1)
            sqlite3_bind_blob(*puts, 2, digest, sizeof digest, SQLITE_STATIC);
        if (sqlite3_bind_parameter_count(*puts) > 2) {
            sqlite3_bind_text(*puts, 3, prompt, TEXT / 2, SQLITE_STATIC);
            sqlite3_bind_text(*puts, 4, completions, TEXT / 2, SQLITE_STATIC);
        }
        run_bare(*puts);
    }
}

/* more for everybody (the first two), more for this one of the people (the others). */
static void count_bare(sqlite3_stmt **counts, int first, int last, sqlite3_int64 person, unsigned more)
{
    for (int i = first; i < last && counts[i]; i++) {
        sqlite3_bind_int64(counts[i], 1, person);
        sqlite3_bind_int64(counts[i], 2, more);
        run_bare(counts[i]);
    }
}

static void bare_transaction(sqlite3 *db, const struct bare *b, struct bare_statements *s, sqlite3_int64 *done, unsigned group)
{
    run_sql(db, "BEGIN IMMEDIATE");
    for (unsigned i = 0; i < group; i++) {
        put_bare(s->puts, ++*done);
        if (!b->once)
            count_bare(s->counts, 0, 4, *done % PEOPLE, 1);
    }
    if (b->once) {
        count_bare(s->counts, 0, 2, 0, group);
        for (unsigned i = 0; i < PEOPLE && i < group; i++)
            count_bare(s->counts, 2, 4, (*done + i) % PEOPLE, group / PEOPLE + (i < group % PEOPLE));
    }
    run_sql(db, "COMMIT");
}

/* As the collector sets its connection (sqlite.c). */
static sqlite3 *open_bare(const struct bare *b)
{
    sqlite3 *db;

    remove_database();
    if (!b->tables) {
        start_daemon(); /* makes the tables */
        stop_daemon();
    }
    if (sqlite3_open_v2(in("labels.db"), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        fail(in("labels.db"));
    run_sql(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-65536;"
                "PRAGMA wal_autocheckpoint=2048; PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON");
    if (b->tables)
        run_sql(db, b->tables);
    return db;
}

/* Labels a second, so many a transaction. */
static double bare_rate(const struct bare *b, unsigned group)
{
    sqlite3 *db = open_bare(b);
    struct bare_statements s = { .puts = { NULL } };
    sqlite3_int64 done = 0;
    double begin, end;

    prepare_bare(db, b->puts, s.puts);
    prepare_bare(db, b->counts, s.counts);
    begin = bench_now();
    do {
        bare_transaction(db, b, &s, &done, group);
        end = bench_now();
    } while (end - begin < arguments.seconds);
    for (size_t i = 0; s.puts[i]; i++)
        sqlite3_finalize(s.puts[i]);
    for (size_t i = 0; s.counts[i]; i++)
        sqlite3_finalize(s.counts[i]);
    sqlite3_close(db);
    return (double)done / (end - begin);
}

/* What the collector has done with its labels. */
struct speed {
    double rate, p99, core, group; /* labels a second; of a request, seconds; seconds of a core for a label; labels a commit */
};

static void answered_once(void *ctx, struct client *c)
{
    *(bool *)ctx = !c->waiting;
}

static void ask(struct client *c, const char *target)
{
    bool there = false;

    client_send(c, c->own, print_request(c->own, "GET", target, NULL), bench_now());
    while (!there)
        turn(1000, answered_once, &there);
}

/* Requests that write in a commit, so far. */
static double group_size(void)
{
    struct client c;
    double commits = 1, writes = 0;

    client_open(&c);
    ask(&c, "/metrics");
    const char *text = strstr(c.head, "\nrlhf_collector_commits_total "), *more = strstr(c.head, "\nrlhf_collector_writes_total ");
    if (!text || !more || sscanf(text, "%*s %lf", &commits) != 1 || sscanf(more, "%*s %lf", &writes) != 1)
        fail("no commits in /metrics");
    client_close(&c);
    return writes / commits;
}

/* Each of so many connections sends its next request when the last one was answered. */
static struct speed collector_speed(unsigned connections, unsigned a_request)
{
    static struct client clients[MAX_CLIENTS];
    static double latency[MAX_LATENCIES];
    struct load load = { .a_request = a_request, .latency = latency };
    double begin;

    remove_database();
    start_daemon();
    for (unsigned i = 0; i < connections; i++)
        client_open(&clients[i]);
    begin = bench_now();
    load.end = begin + arguments.seconds;
    for (unsigned i = 0; i < connections; i++)
        client_send(&clients[i], clients[i].own, print_labels(clients[i].own, a_request), begin);
    while (bench_now() < load.end)
        turn(10, next_labels, &load);
    double labels = (double)(load.answered * a_request);
    struct speed speed = { .rate = labels / (bench_now() - begin),
                           .p99 = quantile(latency, load.answered, 0.99),
                           .core = daemon_seconds() / labels };
    for (unsigned i = 0; i < connections; i++)
        client_close(&clients[i]);
    speed.group = group_size() * a_request;
    stop_daemon();
    return speed;
}

static void compare(const char *name, unsigned connections, unsigned a_request)
{
    static const struct bare *const bares[] = { &bare_row, &bare_label, &bare_group };
    char line[96];
    struct speed speed = collector_speed(connections, a_request);

    snprintf(line, sizeof line, "%s-%u", name, connections);
    print(line, speed.rate, "labels/s");
    snprintf(line, sizeof line, "%s-%u p99", name, connections);
    print(line, 1000 * speed.p99, "ms");
    snprintf(line, sizeof line, "%s-%u processor", name, connections);
    print(line, 1e6 * speed.core, "us/label");
    snprintf(line, sizeof line, "%s-%u group", name, connections);
    print(line, speed.group, "labels/commit");
    for (size_t i = 0; i < sizeof bares / sizeof bares[0]; i++) {
        double bare = bare_rate(bares[i], connections * a_request);
        snprintf(line, sizeof line, "sqlite %s, groups of %u", bares[i]->name, connections * a_request);
        print(line, bare, "labels/s");
        snprintf(line, sizeof line, "%s-%u of it", name, connections);
        print(line, speed.rate / bare, "");
    }
}

/* ---- 500 labels a second, and others who look on ------------------------------------------------------ */

enum { PACE = 500, LABELERS = 64 };

/* What is asked for again and again while labels come, so many times a second. */
static const struct watcher {
    const char *name, *method, *target;
    unsigned a_second;
} watchers[] = {
    { "label", "POST", NULL, PACE },
    { "page", "GET", "/", 20 },
    { "page.js", "GET", "/page.js", 20 },
    { "healthz", "GET", "/healthz", 20 },
    { "stats", "GET", "/api/v1/stats", 20 },
    { "tasks/next", "GET", "/api/v1/tasks/next?labeler=somebody", 20 },
    { "standing", "GET", "/api/v1/standing", 10 },
    { "agreement", "GET", "/api/v1/agreement", 1 },
};
enum { WATCHERS = sizeof watchers / sizeof watchers[0] };

struct pace {
    double *latency[WATCHERS];
    size_t count[WATCHERS], late;
};

static void note(void *ctx, struct client *c)
{
    struct pace *p = ctx;

    p->latency[c->kind][p->count[c->kind]++] = bench_now() - c->since;
}

static struct client *idle_client(struct client *clients, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!clients[i].waiting)
            return &clients[i];
    return NULL;
}

/* Whatever is due is sent on a connection that is free; what finds none stays due. */
static void send_due(struct pace *p, struct client *labelers, struct client *watching, double *due, double now)
{
    for (int k = 0; k < WATCHERS; k++) {
        while (due[k] <= now) {
            struct client *c = k == 0 ? idle_client(labelers, LABELERS) : watching[k].waiting ? NULL : &watching[k];
            if (!c) {
                p->late++;
                break;
            }
            c->kind = k;
            client_send(c, c->own,
                        k == 0 ? print_labels(c->own, 1) : print_request(c->own, watchers[k].method, watchers[k].target, NULL),
                        due[k]);
            due[k] += 1.0 / watchers[k].a_second;
        }
    }
}

static void measure_paced(void)
{
    static struct client labelers[LABELERS], watching[WATCHERS];
    struct pace p = { .late = 0 };
    double due[WATCHERS], begin, seconds = arguments.seconds < 5 ? 5 : arguments.seconds;
    char line[96];

    remove_database();
    start_daemon();
    for (int i = 0; i < LABELERS; i++)
        client_open(&labelers[i]);
    for (int k = 1; k < WATCHERS; k++)
        client_open(&watching[k]);
    begin = bench_now();
    for (int k = 0; k < WATCHERS; k++) {
        p.latency[k] = calloc((size_t)((seconds + 10) * watchers[k].a_second) + 64, sizeof(double));
        due[k] = begin;
    }
    for (double now; (now = bench_now()) < begin + seconds;) {
        send_due(&p, labelers, watching, due, now);
        turn(1, note, &p);
    }
    for (int k = 0; k < WATCHERS; k++) {
        snprintf(line, sizeof line, "paced %s p50", watchers[k].name);
        print(line, 1000 * quantile(p.latency[k], p.count[k], 0.5), "ms");
        snprintf(line, sizeof line, "paced %s p99", watchers[k].name);
        print(line, 1000 * quantile(p.latency[k], p.count[k], 0.99), "ms");
        free(p.latency[k]);
    }
    print("paced labels", (double)p.count[0] / seconds, "labels/s");
    print("paced memory", daemon_memory("VmHWM"), "MiB");
    for (int i = 0; i < LABELERS; i++)
        client_close(&labelers[i]);
    for (int k = 1; k < WATCHERS; k++)
        client_close(&watching[k]);
    stop_daemon();
}

/* ---- a million labels -------------------------------------------------------------------------------- */

/* Of row i: six of the tasks are a round of their own. */
#define ROUND "CASE WHEN i % 100000 = 77 THEN 'rare' ELSE 'r' || (i % 5) END"

/* 500,000 tasks of five rounds, each judged by two of 200 labelers of two vendors, and 50,000 that nobody has judged. */
static void fill(void)
{
    sqlite3 *db;

    if (sqlite3_open(in("labels.db"), &db) != SQLITE_OK)
        fail(in("labels.db"));
    run_sql(db, "PRAGMA synchronous=OFF; PRAGMA cache_size=-400000; BEGIN;"
                "CREATE TEMP TABLE n AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 550000)"
                " SELECT i FROM c;"
                "INSERT INTO items (item, digest, prompt, completions, k) SELECT i, randomblob(32), printf('%0200d', i),"
                " printf('[\"%0150d\",\"%0150d\"]', i, i + 1), 2 FROM n;"
                "INSERT INTO tasks (task, id, item, round, created_us, labels, kind, wanted, missing, gold)"
                " SELECT i, 't' || i, i, " ROUND ", 1700000000000000 + i, 2 * (i <= 500000), 'ranking', 2,"
                " CASE WHEN i <= 500000 OR i % 50 = 0 THEN 0 ELSE 2 END,"
                " CASE WHEN i % 50 = 0 THEN '{\"ranks\":[1,2]}' END FROM n;");
    run_sql(db, "INSERT INTO labels (label, source, id, task, round, labeler, sequence)"
                " SELECT 2 * i + j - 1, 'vendor' || (i % 2), 'x' || i || '-' || j, i, " ROUND ","
                " 'l' || ((i + j * (1 + i % 97)) % 200), 2 * i + j - 1 FROM n, (SELECT 0 AS j UNION SELECT 1) WHERE i <= 500000;"
                "INSERT INTO revisions (sequence, label, revision, digest, item, round, ranks, presented, seconds, stored_us)"
                " SELECT label, label, 1, randomblob(32), task, round, CASE WHEN label % 5 = 0 THEN '[2,1]' ELSE '[1,2]' END,"
                " CASE WHEN label % 2 THEN '[1,0]' ELSE '[0,1]' END, 12.5, 1700000000000000 + label FROM labels;");
    run_sql(db, "INSERT INTO rounds (round, tasks, open, labels) SELECT round, count(*), sum(missing > 0), sum(labels) FROM tasks"
                " GROUP BY round;"
                "INSERT INTO labelers (labeler, round, labels, skips, seconds, last_us) SELECT labeler, round, count(*), 0,"
                " 12.5 * count(*), 1700000001000000 FROM labels GROUP BY labeler, round;"
                "INSERT INTO standing (scope, name, labels, gold_seen, gold_right) SELECT 'labeler', labeler, count(*), 100, 85"
                " FROM labels GROUP BY labeler;"
                "INSERT INTO standing (scope, name, labels) SELECT 'source', source, count(*) FROM labels GROUP BY source;"
                "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    if (ask_number(db, "SELECT count(*) FROM labels") != 1000000)
        fail("a million labels");
    sqlite3_close(db);
}

/* The slowest of several. */
static double ask_route(struct client *c, const char *target)
{
    double worst = 0;

    for (int i = 0; i < ASKS; i++) {
        double begin = bench_now();
        ask(c, target);
        worst = bench_now() - begin > worst ? bench_now() - begin : worst;
    }
    return worst;
}

static void measure_million(void)
{
    static const char *const targets[] = {
        "/", "/page.js", "/page.css", "/healthz", "/api/v1/stats", "/api/v1/stats?round=r3",
        "/api/v1/tasks/next?labeler=l7", "/api/v1/tasks/next?labeler=l7&round=r3&count=50",
        "/api/v1/tasks/next?labeler=nobody&count=500", "/api/v1/tasks/next?labeler=l7&round=rare", "/api/v1/tasks?round=rare",
        "/api/v1/tasks?open=1&limit=1000", "/api/v1/tasks?open=1&round=r3", "/api/v1/tasks?open=1&round=rare", "/api/v1/standing", "/api/v1/standing?scope=source",
        "/api/v1/standing?name=l7", "/api/v1/agreement", "/api/v1/agreement?round=r3", "/api/v1/comparisons?limit=1000",
        "/api/v1/comparisons?limit=1000&cursor=c900000", "/api/v1/comparisons?limit=100&round=r3&cursor=c500000",
    };
    struct client c;
    char line[128];
    double worst = 0;

    remove_database();
    start_daemon(); /* makes the tables */
    stop_daemon();
    fill();
    double begin = bench_now();
    start_daemon();
    print("million start", bench_now() - begin, "s");
    client_open(&c);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        double slowest = ask_route(&c, targets[i]);
        worst = slowest > worst ? slowest : worst;
        snprintf(line, sizeof line, "million %s", targets[i]);
        print(line, 1000 * slowest, "ms");
    }
    print("million slowest", 1000 * worst, "ms");
    print("million memory", daemon_memory("VmHWM"), "MiB");
    client_close(&c);
    stop_daemon();
}

static void tidy(void)
{
    static const char *const names[] = { "address", "collector.yaml", "log", "socket" };

    remove_database();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(in(names[i]));
    rmdir(directory);
}

int main(int argc, char **argv)
{
    char *slash;

    arguments = bench_start(argc, argv);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* as the collector has it */
    snprintf(programs, sizeof programs, "%s", argv[0]);
    if (!(slash = strrchr(programs, '/')) || !mkdtemp(directory))
        fail("a directory");
    *slash = '\0';
    poller = epoll_create1(EPOLL_CLOEXEC);
    atexit(tidy);
    if (bench_wanted(&arguments, "singles")) {
        compare("singles", 64, 1);
        compare("singles", 256, 1);
    }
    if (bench_wanted(&arguments, "arrays"))
        compare("arrays", 16, 100);
    if (bench_wanted(&arguments, "paced"))
        measure_paced();
    if (bench_wanted(&arguments, "million"))
        measure_million();
    return 0;
}
