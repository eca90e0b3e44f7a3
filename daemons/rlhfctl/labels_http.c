#include "rlhfctl/labels_http.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

enum { MAX_ANSWER = 64 << 20 };

static size_t receive(char *data, size_t size, size_t count, void *ctx)
{
    struct http *h = ctx;
    long status = 0;

    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    if (h->to && status / 100 == 2)
        return fwrite(data, size, count, h->to);
    return h->answer.size + size * count <= MAX_ANSWER &&
                   rlhf_bytes_append(&h->answer, data, size * count, NULL) == 0
               ? size * count
               : 0;
}

enum { KEY_ADDRESS_FILE = 0x2000 }; /* apart from those of commands */

static error_t parse_where(int key, char *text, struct argp_state *state)
{
    struct http_where *w = state->input;

    if (key == 'u')
        w->url = text;
    else if (key == KEY_ADDRESS_FILE)
        w->address_file = text;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static const struct argp_option where_options[] = {
    {"url", 'u', "URL", 0, "the label-collector (default http://127.0.0.1:8477)", 0},
    {"address-file", KEY_ADDRESS_FILE, "FILE", 0, "read the URL from FILE (RUN/labels.http)", 0},
    {0}};
static const struct argp where_parser = {where_options, parse_where, NULL, NULL, NULL, NULL, NULL};
const struct argp_child http_where_options[] = {{&where_parser, 0, NULL, 0}, {0}};

void http_where_init(struct http_where *w, struct argp_state *state)
{
    w->url = "http://127.0.0.1:8477";
    state->child_inputs[0] = w;
}

int http_open(struct http *h, const struct http_where *where, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};

    if (where->address_file) {
        if (rlhf_read_file(&rlhf_system_io, where->address_file, sizeof h->base - 1, &text, err) < 0)
            return -1;
        snprintf(h->base, sizeof h->base, "%.*s", (int)strcspn(text.data, " \r\n"), text.data);
        rlhf_bytes_free(&text);
    } else {
        snprintf(h->base, sizeof h->base, "%s", where->url);
    }
    if (h->base[0] && h->base[strlen(h->base) - 1] == '/')
        h->base[strlen(h->base) - 1] = '\0';
    return (h->curl = curl_easy_init()) ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for HTTP");
}

void http_close(struct http *h)
{
    if (h->curl)
        curl_easy_cleanup(h->curl);
    rlhf_bytes_free(&h->answer);
}

int http_add_query(struct http *h, struct rlhf_bytes *url, const char *key, const char *value,
                     struct rlhf_error *err)
{
    char *escaped;
    int result;

    if (!value)
        return 0;
    if (!(escaped = curl_easy_escape(h->curl, value, 0)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for a query");
    result = rlhf_bytes_printf(url, err, "%s%s=%s", strchr(url->data, '?') ? "&" : "?", key, escaped);
    curl_free(escaped);
    return result;
}

int http_request(struct http *h, const char *url, const char *type, const char *body, size_t size, long *status,
                 struct rlhf_error *err)
{
    struct curl_slist *headers = NULL;
    const char *token = getenv("RLHF_TOKEN"); /* not an argument: those are seen by all */
    char header[120];
    CURLcode code;

    if (body) {
        snprintf(header, sizeof header, "Content-Type: %s", type);
        headers = curl_slist_append(NULL, header);
    }
    if (token && *token) {
        snprintf(header, sizeof header, "Authorization: Bearer %s", token);
        headers = curl_slist_append(headers, header);
    }

    rlhf_bytes_clear(&h->answer);
    curl_easy_reset(h->curl);
    curl_easy_setopt(h->curl, CURLOPT_URL, url);
    curl_easy_setopt(h->curl, CURLOPT_NOPROXY, "127.0.0.1,localhost");
    curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(h->curl, CURLOPT_TIMEOUT, 600L);
    curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, h);
    curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
    if (body) {
        curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
        curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, body);
    }
    code = curl_easy_perform(h->curl);
    curl_slist_free_all(headers);
    *status = 0;
    if (code != CURLE_OK)
        return rlhf_fail(err, RLHF_AGAIN, "%s: %s; is the label-collector running there (--url)?", h->base,
                         curl_easy_strerror(code));
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, status);
    return 0;
}

int http_refused(const struct http *h, long status, struct rlhf_error *err)
{
    json_t *root = h->answer.data ? json_loadb(h->answer.data, h->answer.size, 0, NULL) : NULL;
    const char *message = json_string_value(json_object_get(root, "detail"));

    rlhf_fail(err, status >= 500 ? RLHF_AGAIN : RLHF_REJECT, "%s: HTTP %ld: %s", h->base, status,
              message ? message : "no reason given");
    json_decref(root);
    return -1;
}

json_t *http_ask(const struct http_where *where, const char *path, const char *body, struct rlhf_error *err)
{
    struct http h = {0};
    char url[600];
    json_t *answer = NULL;
    long status;

    if (http_open(&h, where, err) == 0) {
        snprintf(url, sizeof url, "%s%s", h.base, path);
        if (http_request(&h, url, "application/json", body, body ? strlen(body) : 0, &status, err) == 0) {
            if (status / 100 != 2)
                http_refused(&h, status, err);
            else if (!(answer = json_loadb(h.answer.data ? h.answer.data : "", h.answer.size, 0, NULL)))
                rlhf_fail(err, RLHF_REJECT, "%s: its answer is not JSON", h.base);
        }
    }
    http_close(&h);
    return answer;
}
