#include "support/reward_service.h"

#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_REQUESTS = 4096, MOST_BYTES = 1 << 20 };

struct reward_service {
    enum service_conduct (*conduct)(unsigned request);
    char url[64];
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    int clients[MOST_REQUESTS]; /* [accepted] -1: closed */
    pthread_t threads[MOST_REQUESTS];
    char *seen[MOST_REQUESTS];
    unsigned accepted, requests, active, most;
};

struct client {
    struct reward_service *service;
    unsigned index;
};

/* Head and body of a request; NULL where the connection ended first. */
static char *read_request(int fd)
{
    char *text = calloc(1, MOST_BYTES), *end;
    size_t used = 0, wanted = SIZE_MAX;

    while (used < wanted && used < MOST_BYTES - 1) {
        ssize_t n = recv(fd, text + used, MOST_BYTES - 1 - used, 0);

        if (n <= 0) {
            free(text);
            return NULL;
        }
        used += (size_t)n;
        if (wanted == SIZE_MAX && (end = strstr(text, "\r\n\r\n"))) {
            const char *length = strstr(text, "Content-Length: ");

            wanted = (size_t)(end + 4 - text) + (length ? strtoul(length + 16, NULL, 10) : 0);
        }
    }
    return text;
}

/* The answer's JSON: of a chat completion where the request is one. */
static char *good_answer(const char *request, enum service_conduct conduct)
{
    json_t *o = json_loads(strstr(request, "\r\n\r\n") + 4, 0, NULL), *list = json_object_get(o, "completions"), *out;
    char *text;

    if (json_object_get(o, "messages")) {
        json_t *messages = json_object_get(o, "messages");
        const char *question
            = json_string_value(json_object_get(json_array_get(messages, json_array_size(messages) - 1), "content"));
        char words[80];

        snprintf(words, sizeof words, conduct == SERVICE_MUMBLES ? "I would rather not say." : "{\"score\": %zu}",
                 strlen(question) % 11);
        out = json_pack("{s:[{s:{s:s, s:s}}]}", "choices", "message", "role", "assistant", "content", words);
    } else {
        size_t count = json_array_size(list) - (conduct == SERVICE_TOO_FEW);

        out = json_pack("{s:[]}", "rewards");
        for (size_t i = 0; i < count; i++)
            json_array_append_new(json_object_get(out, "rewards"),
                                  conduct == SERVICE_NULLS && i % 2
                                      ? json_null()
                                      : json_integer((json_int_t)json_string_length(json_array_get(list, i))));
    }
    text = json_dumps(out, JSON_COMPACT);
    json_decref(out);
    json_decref(o);
    return text;
}

static void answer(int fd, const char *status, const char *body, bool half)
{
    char head[200];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nRetry-After: 0\r\nConnection: close\r\n\r\n",
                     status, strlen(body));

    send(fd, head, (size_t)n, MSG_NOSIGNAL);
    send(fd, body, strlen(body) / (half ? 2 : 1), MSG_NOSIGNAL);
}

/* Until the other side has had enough. */
static void go_on_and_on(int fd, size_t size, useconds_t pause)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", zeros[1 << 16];
    ssize_t sent = send(fd, head, strlen(head), MSG_NOSIGNAL);

    while (sent > 0) {
        sent = send(fd, zeros, size, MSG_NOSIGNAL);
        usleep(pause);
    }
}

static void treat(int fd, const char *request, enum service_conduct conduct)
{
    char *good = good_answer(request, conduct), byte;

    switch (conduct) {
    case SERVICE_FAILS:
        answer(fd, "500 Internal Server Error", "out of order", false);
        break;
    case SERVICE_IS_BUSY:
        answer(fd, "429 Too Many Requests", "later", false);
        break;
    case SERVICE_REFUSES:
        answer(fd, "400 Bad Request", "no", false);
        break;
    case SERVICE_GARBAGE:
        answer(fd, "200 OK", "<html>welcome</html>", false);
        break;
    case SERVICE_CLOSES:
        break;
    case SERVICE_FLOODS:
        go_on_and_on(fd, 1 << 16, 0);
        break;
    case SERVICE_DRIPS:
        go_on_and_on(fd, 1, 1000);
        break;
    case SERVICE_HANGS:
        while (recv(fd, &byte, 1, 0) > 0) /* until the other side has had enough */
            ;
        break;
    default:
        answer(fd, "200 OK", good, conduct == SERVICE_TRUNCATES);
    }
    free(good);
}

static void *serve_one(void *ctx)
{
    struct client *c = ctx;
    struct reward_service *s = c->service;
    int fd = s->clients[c->index];
    char *request = read_request(fd);
    enum service_conduct conduct;
    unsigned number;

    pthread_mutex_lock(&s->lock);
    s->seen[c->index] = request;
    number = request ? s->requests++ : 0;
    s->active++;
    s->most = s->active > s->most ? s->active : s->most;
    pthread_cond_broadcast(&s->changed);
    conduct = request ? s->conduct(number) : SERVICE_CLOSES;
    while (conduct == SERVICE_IS_SLOW && !s->stopping && s->most < 2)
        pthread_cond_wait(&s->changed, &s->lock);
    s->active--; /* before the answer, which may bring the next request at once */
    pthread_mutex_unlock(&s->lock);
    if (request)
        treat(fd, request, conduct);
    pthread_mutex_lock(&s->lock);
    close(fd);
    s->clients[c->index] = -1;
    pthread_mutex_unlock(&s->lock);
    free(c);
    return NULL;
}

static void *serve(void *ctx)
{
    struct reward_service *s = ctx;

    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        struct client *c;

        pthread_mutex_lock(&s->lock);
        if (fd < 0 || s->stopping) {
            pthread_mutex_unlock(&s->lock);
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        ck_assert_uint_lt(s->accepted, MOST_REQUESTS);
        c = malloc(sizeof *c);
        *c = (struct client){ s, s->accepted };
        s->clients[s->accepted] = fd;
        ck_assert_int_eq(pthread_create(&s->threads[s->accepted++], NULL, serve_one, c), 0);
        pthread_mutex_unlock(&s->lock);
    }
}

struct reward_service *reward_service_new(enum service_conduct (*conduct)(unsigned request))
{
    struct reward_service *s = calloc(1, sizeof *s);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof at;

    s->conduct = conduct;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(s->fd, 128), 0);
    getsockname(s->fd, (struct sockaddr *)&at, &size);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u/rewards", ntohs(at.sin_port));
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, serve, s), 0);
    return s;
}

const char *reward_service_url(const struct reward_service *s)
{
    return s->url;
}

unsigned reward_service_requests(const struct reward_service *s)
{
    struct reward_service *own = (struct reward_service *)s;
    unsigned n;

    pthread_mutex_lock(&own->lock);
    n = s->requests;
    pthread_mutex_unlock(&own->lock);
    return n;
}

unsigned reward_service_most(const struct reward_service *s)
{
    return s->most;
}

bool reward_service_saw(const struct reward_service *s, const char *text)
{
    struct reward_service *own = (struct reward_service *)s;
    bool saw = false;

    pthread_mutex_lock(&own->lock);
    for (unsigned i = 0; i < s->accepted; i++)
        saw |= s->seen[i] && strstr(s->seen[i], text);
    pthread_mutex_unlock(&own->lock);
    return saw;
}

void reward_service_free(struct reward_service *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    for (unsigned i = 0; i < s->accepted; i++)
        if (s->clients[i] >= 0)
            shutdown(s->clients[i], SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    for (unsigned i = 0; i < s->accepted; i++) {
        pthread_join(s->threads[i], NULL);
        free(s->seen[i]);
    }
    close(s->fd);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s);
}
