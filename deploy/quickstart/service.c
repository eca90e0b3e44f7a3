#include "service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/memory.h"
#include "judge.h"

enum { MAX_REQUEST = 16 << 20, LOOK_MS = 100 };

/* One answer's utility; null for a prompt that is not of this kingdom. */
static json_t *judge_one(const struct kingdom_world *w, const json_t *prompt, const json_t *completion)
{
    const char *asked = json_string_value(prompt), *said = json_string_value(completion);
    struct kingdom_prompt p;

    if (!asked || !said || !kingdom_prompt_parse(&p, w, asked, strlen(asked)))
        return json_null();
    return json_real(kingdom_judge(w, &p, said, strlen(said), true).utility); /* one that was cut off is malformed anyway */
}

/* The answer to a request; NULL where it is none. */
static char *judge_all(const struct kingdom_world *w, const struct rlhf_bytes *request)
{
    json_t *o = json_loadb(request->data, request->size, 0, NULL), *rewards = json_array(), *answer;
    const json_t *prompts = json_object_get(o, "prompts"), *completions = json_object_get(o, "completions");
    char *text = NULL;

    if (json_is_array(prompts) && json_is_array(completions) && json_array_size(prompts) == json_array_size(completions)) {
        for (size_t i = 0; i < json_array_size(prompts); i++)
            json_array_append_new(rewards, judge_one(w, json_array_get(prompts, i), json_array_get(completions, i)));
        if ((answer = json_pack("{s:O}", "rewards", rewards))) {
            text = json_dumps(answer, JSON_COMPACT);
            json_decref(answer);
        }
    }
    json_decref(rewards);
    json_decref(o);
    return text;
}

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *text)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result sent = r ? MHD_queue_response(connection, status, r) : MHD_NO;

    MHD_destroy_response(r);
    return sent;
}

/* Called for the head of a request, for each piece of its body, and at its end. */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *piece, size_t *size, void **request)
{
    struct rlhf_bytes *body = *request;
    enum MHD_Result sent;
    char *text;

    (void)url, (void)version;
    if (!body)
        return (*request = calloc(1, sizeof *body)) ? MHD_YES : MHD_NO;
    if (*size > 0) {
        if (body->size + *size > MAX_REQUEST || rlhf_bytes_append(body, piece, *size, NULL) < 0)
            return MHD_NO;
        *size = 0;
        return MHD_YES;
    }
    text = strcmp(method, "POST") == 0 ? judge_all(ctx, body) : NULL;
    sent = text ? reply(connection, MHD_HTTP_OK, text)
                : reply(connection, MHD_HTTP_BAD_REQUEST, "{\"error\": \"POST {\\\"prompts\\\": [...], \\\"completions\\\": [...]}\"}");
    free(text);
    return sent;
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **request, enum MHD_RequestTerminationCode code)
{
    (void)ctx, (void)connection, (void)code;
    if (*request)
        rlhf_bytes_free(*request);
    free(*request);
}

static int write_address(struct MHD_Daemon *d, const char *path, struct rlhf_error *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT);
    char text[64];
    int size;

    if (!path)
        return 0;
    if (!info)
        return rlhf_fail(err, RLHF_FATAL, "the judge does not know its port");
    size = snprintf(text, sizeof text, "http://127.0.0.1:%u\n", info->port);
    return rlhf_write_file(&rlhf_system_io, path, text, (size_t)size, err);
}

int kingdom_serve_judge(const struct kingdom_world *w, unsigned port, const char *address_file, const volatile int *stop,
                        struct rlhf_error *err)
{
    const struct timespec moment = {.tv_nsec = LOOK_MS * 1000000};
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct MHD_Daemon *d = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, (uint16_t)port, NULL, NULL, on_request, (void *)w,
                                            MHD_OPTION_SOCK_ADDR, &here, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                                            MHD_OPTION_END);
    int rc;

    if (!d)
        return rlhf_fail(err, RLHF_FATAL, "the judge cannot listen on 127.0.0.1:%u: %s", port, strerror(errno));
    rc = write_address(d, address_file, err);
    while (rc == 0 && !*stop)
        nanosleep(&moment, NULL);
    MHD_stop_daemon(d);
    return rc;
}
