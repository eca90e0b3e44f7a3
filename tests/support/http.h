/* http.h - the plainest HTTP client: it sends exactly the bytes it is given, so it can send wrong ones. */
#ifndef SUPPORT_HTTP_H
#define SUPPORT_HTTP_H

#include <stdbool.h>
#include <stddef.h>

struct http_answer {
    int status;        /* 0: none came (refused, cut off, or not HTTP) */
    char *head, *body; /* owned, NUL-terminated */
    size_t body_size;
};
void http_answer_free(struct http_answer *a);

/* "http://127.0.0.1:PORT" -> a connected socket, or -1. Reads and writes on it give up after 30 s. */
int http_connect(const char *address);
bool http_send(int fd, const void *data, size_t size); /* false: the other side has closed */
/* Reads one answer. */
struct http_answer http_read(int fd);

/* One request on a connection of its own. type NULL: none; headers: further lines, each with "\r\n", or "". */
struct http_answer http_request(const char *address, const char *method, const char *target,
                                const char *headers, const char *type, const void *body, size_t size);
struct http_answer http_get(const char *address, const char *target);
struct http_answer http_post(const char *address, const char *target, const char *json);
/* The same on a connection that stays open. */
struct http_answer http_post_on(int fd, const char *target, const char *json);

#endif
