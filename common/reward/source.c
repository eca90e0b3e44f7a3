#include "reward/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "reward/expression.h"

enum { TEXTS = 8, NAME_MOST = 60, MOST_ATTEMPTS = 100 };

struct rlhf_source {
    struct rlhf_source_settings settings;
    struct rlhf_expression *expression; /* NULL: none */
    char *texts[TEXTS];
};

bool rlhf_source_is_remote(enum rlhf_source_kind kind)
{
    return kind == RLHF_SOURCE_SERVICE || kind == RLHF_SOURCE_JUDGE;
}

static bool good_name(const char *name)
{
    static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    return name[0] && name[0] != '.' && strlen(name) <= NAME_MOST && strspn(name, ok) == strlen(name);
}

/* A key must not travel in the clear beyond this host. */
static bool on_this_host(const char *url)
{
    static const char *const hosts[] = { "http://127.0.0.1", "http://localhost", "http://[::1]" };

    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (rlhf_starts_with(url, hosts[i]) && strchr(":/", url[strlen(hosts[i])]))
            return true;
    return false;
}

static int check_remote(const struct rlhf_source_settings *s, struct rlhf_error *err)
{
    bool secure = rlhf_starts_with(s->url, "https://");

    if (!secure && !rlhf_starts_with(s->url, "http://"))
        return rlhf_fail(err, RLHF_REJECT, "url: '%.100s' begins with neither https:// nor http://", s->url);
    if (strpbrk(s->url, " \r\n"))
        return rlhf_fail(err, RLHF_REJECT, "url: a space or line break in it");
    if (s->credential[0] && !good_name(s->credential))
        return rlhf_fail(err, RLHF_REJECT, "credential: '%.60s' cannot name a file", s->credential);
    if (s->credential[0] && !secure && !on_this_host(s->url))
        return rlhf_fail(err, RLHF_REJECT, "url: the credential would travel in the clear; use https://");
    if (s->timeout_ms == 0 || s->attempts == 0 || s->attempts > MOST_ATTEMPTS || s->concurrency == 0 || s->batch == 0)
        return rlhf_fail(err, RLHF_REJECT,
                         "timeout_ms, attempts, batch and concurrency must be 1 or more, attempts up to %d", MOST_ATTEMPTS);
    if (s->kind == RLHF_SOURCE_JUDGE && (!s->model[0] || !strstr(s->question, "{completion}")))
        return rlhf_fail(err, RLHF_REJECT, s->model[0] ? "question: does not show the {completion}" : "model: missing");
    return 0;
}

static int check(const struct rlhf_source_settings *s, struct rlhf_error *err)
{
    if (!good_name(s->name))
        return rlhf_fail(err, RLHF_REJECT, "name: '%.60s': use letters, digits, '-', '_' and '.'", s->name);
    if (s->kind == RLHF_SOURCE_PATTERN && !s->expression[0])
        return rlhf_fail(err, RLHF_REJECT, "expression: missing");
    if (!isfinite(s->matched) || !isfinite(s->unmatched) || !isfinite(s->per_unit) || isnan(s->low) || isnan(s->high))
        return rlhf_fail(err, RLHF_REJECT, "a number is not finite");
    if ((s->kind == RLHF_SOURCE_LENGTH || s->kind == RLHF_SOURCE_JUDGE) && !(s->low <= s->high))
        return rlhf_fail(err, RLHF_REJECT, "the range from %g to %g is empty", s->low, s->high);
    return rlhf_source_is_remote(s->kind) ? check_remote(s, err) : 0;
}

struct rlhf_source *rlhf_source_new(const struct rlhf_source_settings *from, struct rlhf_error *err)
{
    struct rlhf_source *s = calloc(1, sizeof *s);
    struct rlhf_source_settings *own;

    if (!s) {
        rlhf_fail(err, RLHF_FULL, "no memory for a source of rewards");
        return NULL;
    }
    own = &s->settings;
    *own = *from;
    const char **const texts[TEXTS] = { &own->name,  &own->expression, &own->url,      &own->credential,
                                        &own->model, &own->system,     &own->question, &own->key };
    for (size_t i = 0; i < TEXTS; i++) {
        if (!(s->texts[i] = strdup(*texts[i] ? *texts[i] : ""))) {
            rlhf_fail(err, RLHF_FULL, "no memory for a source of rewards");
            goto fail;
        }
        *texts[i] = s->texts[i];
    }
    if (check(own, err) < 0 || (own->expression[0] && !(s->expression = rlhf_expression_new(own->expression, err)))) {
        rlhf_fail_prefix(err, "source of rewards '%.60s'", own->name);
        goto fail;
    }
    return s;
fail:
    rlhf_source_free(s);
    return NULL;
}

const struct rlhf_source_settings *rlhf_source_settings(const struct rlhf_source *s)
{
    return &s->settings;
}

int rlhf_source_find(const struct rlhf_source *s, const char *text, const char **at, size_t *size, bool *found,
                     struct rlhf_error *err)
{
    return rlhf_expression_last(s->expression, text, at, size, found, err);
}

void rlhf_source_free(struct rlhf_source *s)
{
    if (!s)
        return;
    rlhf_expression_free(s->expression);
    for (size_t i = 0; i < TEXTS; i++)
        free(s->texts[i]);
    free(s);
}
