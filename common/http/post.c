#include "http/post.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/random.h"

enum {
    MAX_ANSWER = 16 << 20,
    MAX_PAUSE_MS = 60000,
    IDLE_MS = 60000, /* between looks at nothing */
};

/* One request, waiting or under way. */
struct request {
    struct rlhf_post post; /* texts are the request's own */
    struct rlhf_poster *poster;
    char *url, *body, *method; /* body NULL: none */
    struct curl_slist *headers;
    CURL *easy; /* NULL: waiting, until due_us */
    struct rlhf_bytes answer;
    bool too_long;
    char reason[CURL_ERROR_SIZE];
    uint32_t attempt; /* made, or under way */
    int64_t due_us;
    uint64_t era; /* when it was added */
    struct request *next;
};

struct rlhf_poster {
    struct rlhf_post_taker taker;
    pthread_t thread;
    bool started;
    CURLM *multi;
    atomic_bool stopping;
    struct rlhf_random jitter;
    struct request *requests; /* the thread's, in the order they came */
    pthread_mutex_t lock;     /* guards all below */
    struct request *added, **last;
    uint64_t era; /* requests of an earlier one are forgotten */
};

static int64_t now_us(void)
{
    return rlhf_now(&rlhf_system_clock);
}

static void request_free(struct request *r)
{
    if (!r)
        return;
    if (r->easy) {
        curl_multi_remove_handle(r->poster->multi, r->easy);
        curl_easy_cleanup(r->easy);
    }
    for (struct curl_slist *h = r->headers; h; h = h->next)
        rlhf_wipe(h->data, strlen(h->data)); /* the key */
    curl_slist_free_all(r->headers);
    rlhf_bytes_free(&r->answer);
    free(r->url);
    free(r->body);
    free(r->method);
    free(r);
}

/* ---- one request ------------------------------------------------------------------------------------- */

static size_t take_bytes(char *data, size_t one, size_t count, void *ctx)
{
    struct request *r = ctx;

    (void)one; /* is 1 */
    r->too_long = r->answer.size + count > MAX_ANSWER;
    return r->too_long || rlhf_bytes_append(&r->answer, data, count, NULL) < 0 ? 0 : count;
}

static bool begin(struct request *r)
{
    CURL *c = curl_easy_init();

    rlhf_bytes_clear(&r->answer);
    r->too_long = false;
    r->reason[0] = '\0';
    r->attempt++;
    if (!c)
        return false;
    curl_easy_setopt(c, CURLOPT_URL, r->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)r->post.timeout_ms);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, r->headers);
    if (r->body) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->post.size);
    }
    if (r->method)
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method);
    if (r->body && r->post.attempts == 1) /* on a connection that was open and dies, the library sends it again by itself */
        curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, r->reason);
    curl_easy_setopt(c, CURLOPT_PRIVATE, r);
    if (curl_multi_add_handle(r->poster->multi, c) != CURLM_OK) {
        curl_easy_cleanup(c);
        return false;
    }
    r->easy = c;
    return true;
}

/* Doubles with every attempt, halved at most by jitter, so that many clients do not come back at once. */
static int64_t pause_us(struct request *r, int64_t asked_s)
{
    double ms = (double)r->post.backoff_ms;

    for (uint32_t i = 1; i < r->attempt && ms < MAX_PAUSE_MS; i++)
        ms *= 2;
    ms *= 0.5 + 0.5 * (double)rlhf_random_uniform(&r->poster->jitter);
    if (ms < 1000 * (double)asked_s)
        ms = 1000 * (double)asked_s;
    return (int64_t)(1000 * (ms < MAX_PAUSE_MS ? ms : MAX_PAUSE_MS));
}

static bool may_pass(long status)
{
    return status == 408 || status == 425 || status == 429 || status >= 500;
}

/* What came of an attempt. True when the request is over. */
static bool finish(struct request *r, CURLcode code)
{
    struct rlhf_poster *p = r->poster;
    struct rlhf_error why = { 0 };
    bool again = true;
    curl_off_t asked = 0;
    long status = 0;

    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &asked);
    if (r->too_long)
        rlhf_fail(&why, RLHF_REJECT, "an answer of more than %d MiB", MAX_ANSWER >> 20);
    else if (code != CURLE_OK)
        rlhf_fail(&why, RLHF_AGAIN, "%.150s", r->reason[0] ? r->reason : curl_easy_strerror(code));
    else if (status != 200 && !(r->post.any_status && (!may_pass(status) || r->attempt == r->post.attempts))) {
        rlhf_fail(&why, RLHF_AGAIN, "HTTP status %ld", status);
        again = may_pass(status);
    } else if (p->taker.answered(
                   p->taker.ctx, r->post.tag,
                   &(struct rlhf_post_answer){ (unsigned)status, &r->answer, (int64_t)asked }, &why)
               == 0)
        return true;
    curl_multi_remove_handle(p->multi, r->easy);
    curl_easy_cleanup(r->easy);
    r->easy = NULL;
    if (again && r->attempt < r->post.attempts) {
        r->due_us = now_us() + pause_us(r, (int64_t)asked);
        return false;
    }
    rlhf_fail_prefix(&why, "after %u attempt%s", r->attempt, r->attempt == 1 ? "" : "s");
    p->taker.failed(p->taker.ctx, r->post.tag, &why);
    return true;
}

/* ---- the thread -------------------------------------------------------------------------------------- */

static uint32_t under_way(const struct rlhf_poster *p, const void *lane)
{
    uint32_t n = 0;

    for (const struct request *r = p->requests; r; r = r->next)
        n += r->easy && r->post.lane == lane;
    return n;
}

/* Takes what was added; drops what was forgotten, or all of it. */
static void collect(struct rlhf_poster *p, bool all)
{
    struct request **at = &p->requests;
    uint64_t era;

    while (*at)
        at = &(*at)->next;
    pthread_mutex_lock(&p->lock);
    *at = p->added;
    p->added = NULL;
    p->last = &p->added;
    era = p->era;
    pthread_mutex_unlock(&p->lock);
    for (at = &p->requests; *at;) {
        struct request *r = *at;

        if (!all && r->era == era) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        p->taker.failed(p->taker.ctx, r->post.tag, NULL);
        request_free(r);
    }
}

/* Begins what is due and has room in its lane. Returns for how long there is nothing else to do. */
static int begin_due(struct rlhf_poster *p)
{
    int64_t now = now_us(), rest = IDLE_MS * 1000;

    for (struct request *r = p->requests; r; r = r->next) {
        if (r->easy || under_way(p, r->post.lane) >= r->post.concurrency)
            continue;
        if (r->due_us <= now && !begin(r))
            r->due_us = now + pause_us(r, 1); /* out of memory or sockets */
        if (!r->easy && r->due_us - now < rest)
            rest = r->due_us - now;
    }
    return (int)((rest + 999) / 1000);
}

static void remove_request(struct rlhf_poster *p, struct request *gone)
{
    struct request **at = &p->requests;

    while (*at != gone)
        at = &(*at)->next;
    *at = gone->next;
    request_free(gone);
}

static void *serve(void *ctx)
{
    struct rlhf_poster *p = ctx;

    while (!atomic_load(&p->stopping)) {
        int running, left, wait;
        CURLMsg *m;

        collect(p, false);
        wait = begin_due(p);
        curl_multi_perform(p->multi, &running);
        while ((m = curl_multi_info_read(p->multi, &left))) {
            struct request *r;

            if (m->msg != CURLMSG_DONE)
                continue;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
            if (finish(r, m->data.result))
                remove_request(p, r);
            wait = 0; /* its place in the lane is free */
        }
        curl_multi_poll(p->multi, NULL, 0, wait, NULL);
    }
    collect(p, true);
    return NULL;
}

/* ---- from other threads ------------------------------------------------------------------------------ */

static int add_header(struct request *r, const char *name, const char *value)
{
    struct rlhf_bytes line = { 0 };
    struct curl_slist *more = NULL;

    if (rlhf_bytes_printf(&line, NULL, "%s%s", name, value) == 0 && (more = curl_slist_append(r->headers, line.data)))
        r->headers = more;
    if (line.data)
        rlhf_wipe(line.data, line.size);
    rlhf_bytes_free(&line);
    return more ? 0 : -1;
}

static int add_headers(struct request *r, const struct rlhf_post *post)
{
    bool typed = !post->body;

    for (size_t i = 0; i < post->header_count; i++) {
        typed = typed || strncasecmp(post->headers[i], "Content-Type:", 13) == 0;
        if (add_header(r, post->headers[i], "") < 0)
            return -1;
    }
    if (!typed && add_header(r, "Content-Type: application/json", "") < 0)
        return -1;
    if (add_header(r, "Expect:", "") < 0) /* no waiting for a 100 */
        return -1;
    return post->key ? add_header(r, "Authorization: Bearer ", post->key) : 0;
}

int rlhf_poster_add(struct rlhf_poster *p, const struct rlhf_post *post, struct rlhf_error *err)
{
    struct request *r = calloc(1, sizeof *r);

    if (!r || !(r->url = strdup(post->url)) || (post->body && !(r->body = malloc(post->size + 1)))
        || (post->method && !(r->method = strdup(post->method))) || add_headers(r, post) < 0) {
        request_free(r);
        return rlhf_fail(err, RLHF_FULL, "no memory for a request of %zu bytes", post->size);
    }
    r->poster = p;
    r->post = *post;
    r->post.url = r->post.key = r->post.body = r->post.method = NULL;
    r->post.headers = NULL;
    if (post->body)
        memcpy(r->body, post->body, post->size);
    pthread_mutex_lock(&p->lock);
    r->era = p->era;
    *p->last = r;
    p->last = &r->next;
    pthread_mutex_unlock(&p->lock);
    curl_multi_wakeup(p->multi);
    return 0;
}

void rlhf_poster_forget(struct rlhf_poster *p)
{
    pthread_mutex_lock(&p->lock);
    p->era++;
    pthread_mutex_unlock(&p->lock);
    curl_multi_wakeup(p->multi);
}

struct rlhf_poster *rlhf_poster_new(const struct rlhf_post_taker *taker, struct rlhf_error *err)
{
    struct rlhf_poster *p = calloc(1, sizeof *p);
    uint64_t seed = 0;
    ssize_t got = getrandom(&seed, sizeof seed, 0);

    (void)got; /* without it the pauses are those of others, too */
    if (!p || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(p);
        rlhf_fail(err, RLHF_FULL, "no memory for HTTP requests");
        return NULL;
    }
    p->taker = *taker;
    p->last = &p->added;
    rlhf_random_init(&p->jitter, seed, RLHF_PURPOSE_FAULT, 0, 0);
    pthread_mutex_init(&p->lock, NULL);
    p->multi = curl_multi_init();
    p->started = p->multi && pthread_create(&p->thread, NULL, serve, p) == 0;
    if (p->started)
        return p;
    rlhf_fail(err, RLHF_FULL, "no thread for HTTP requests");
    rlhf_poster_free(p);
    return NULL;
}

void rlhf_poster_stop(struct rlhf_poster *p)
{
    if (!p->started)
        return;
    p->started = false;
    atomic_store(&p->stopping, true);
    curl_multi_wakeup(p->multi);
    pthread_join(p->thread, NULL);
}

void rlhf_poster_free(struct rlhf_poster *p)
{
    if (!p)
        return;
    rlhf_poster_stop(p);
    collect(p, true);
    curl_multi_cleanup(p->multi);
    curl_global_cleanup();
    pthread_mutex_destroy(&p->lock);
    free(p);
}
