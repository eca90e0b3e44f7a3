#include "support/http.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { HEAD_BYTES = 16384 };

void http_answer_free(struct http_answer *a)
{
    free(a->head);
    free(a->body);
    *a = (struct http_answer){ 0 };
}

int http_connect(const char *address)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval limit = { .tv_sec = 300 }; /* ends hangs; a machine may stand still for a minute */
    int on = 1;
    const char *colon = strrchr(address, ':');
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    to.sin_port = htons((uint16_t)atoi(colon + 1));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* heads and bodies go out apart */
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* A socket with a time limit is not waited on again by itself after a process stood still (signal(7)). */
static ssize_t receive(int fd, void *data, size_t size)
{
    ssize_t n;

    do {
        n = recv(fd, data, size, 0);
    } while (n < 0 && errno == EINTR);
    return n;
}

bool http_send(int fd, const void *data, size_t size)
{
    for (const char *p = data; size > 0;) {
        ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

static const char *find_header(const char *head, const char *name)
{
    const char *line = strcasestr(head, name);
    return line ? line + strlen(name) : NULL;
}

/* The rest of a body of known size, or until the end of the connection. */
static void read_body(int fd, struct http_answer *a, size_t size)
{
    size_t capacity = size == SIZE_MAX ? 65536 : size + 1;

    if (a->body_size >= size) /* it came with the head, and perhaps more */
        return;
    a->body = realloc(a->body, capacity);
    while (a->body_size < size) {
        if (a->body_size + 1 >= capacity)
            a->body = realloc(a->body, capacity *= 2);
        size_t room = capacity - 1 - a->body_size;
        ssize_t n = receive(fd, a->body + a->body_size, room);
        if (n <= 0)
            break;
        a->body_size += (size_t)n;
    }
    a->body[a->body_size] = '\0';
}

/* Takes the chunks' frames out. */
static void join_chunks(struct http_answer *a)
{
    char *from = a->body, *to = a->body, *end = a->body + a->body_size;

    for (;;) {
        char *text;
        size_t size = strtoul(from, &text, 16);
        if (text == from || !(text = strstr(text, "\r\n")) || text + 2 + size > end || size == 0)
            break;
        memmove(to, text + 2, size);
        to += size;
        from = text + 2 + size + 2;
    }
    a->body_size = (size_t)(to - a->body);
    *to = '\0';
}

struct http_answer http_read(int fd)
{
    struct http_answer a = { 0 };
    size_t used = 0;
    char *end = NULL;

    a.head = calloc(1, HEAD_BYTES);
    while (!end && used < HEAD_BYTES - 1) {
        ssize_t n = receive(fd, a.head + used, HEAD_BYTES - 1 - used);
        if (n <= 0)
            return a;
        used += (size_t)n;
        a.head[used] = '\0';
        end = strstr(a.head, "\r\n\r\n");
    }
    if (!end || sscanf(a.head, "HTTP/1.%*c %d", &a.status) != 1)
        return a;
    *end = '\0';
    a.body_size = used - (size_t)(end + 4 - a.head);
    a.body = malloc(a.body_size + 1);
    memcpy(a.body, end + 4, a.body_size);
    a.body[a.body_size] = '\0';
    const char *length = find_header(a.head, "\r\nContent-Length:");
    if (a.status == 100) {
        http_answer_free(&a);
        return http_read(fd);
    }
    read_body(fd, &a, length ? strtoul(length, NULL, 10) : SIZE_MAX);
    if (find_header(a.head, "\r\nTransfer-Encoding: chunked"))
        join_chunks(&a);
    return a;
}

struct http_answer http_request(const char *address, const char *method, const char *target,
                                const char *headers, const char *type, const void *body, size_t size)
{
    struct http_answer a = { 0 };
    char head[4096];
    int fd = http_connect(address);

    if (fd < 0)
        return a;
    int n = snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s%s%s%s",
                     method, target, address + 7, headers, type ? "Content-Type: " : "", type ? type : "",
                     type ? "\r\n" : "");
    if (type || size)
        n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Length: %zu\r\n", size);
    n += snprintf(head + n, sizeof(head) - (size_t)n, "\r\n");
    http_send(fd, head, (size_t)n);
    http_send(fd, body, size); /* may be cut short by an early answer */
    a = http_read(fd);
    close(fd);
    return a;
}

struct http_answer http_get(const char *address, const char *target)
{
    return http_request(address, "GET", target, "", NULL, NULL, 0);
}

struct http_answer http_post(const char *address, const char *target, const char *json)
{
    return http_request(address, "POST", target, "", "application/json", json, strlen(json));
}

struct http_answer http_post_on(int fd, const char *target, const char *json)
{
    char head[512];
    int n = snprintf(head, sizeof(head),
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                     "application/json\r\nContent-Length: %zu\r\n\r\n",
                     target, strlen(json));

    if (!http_send(fd, head, (size_t)n) || !http_send(fd, json, strlen(json)))
        return (struct http_answer){ 0 };
    return http_read(fd);
}
