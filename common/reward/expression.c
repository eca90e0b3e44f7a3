#include "reward/expression.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum {
    MATCH_LIMIT = 1000000, /* steps of one search: about 10 ms                  */
    HEAP_KIB = 8192,       /* and what it may remember of where it could go back */
};

struct rlhf_expression {
    pcre2_code *code;
    pcre2_match_context *limits;
};

struct rlhf_expression *rlhf_expression_new(const char *text, struct rlhf_error *err)
{
    struct rlhf_expression *e = calloc(1, sizeof *e);
    PCRE2_UCHAR message[120];
    PCRE2_SIZE at;
    int code;

    if (!e || !(e->limits = pcre2_match_context_create(NULL))) {
        rlhf_fail(err, RLHF_FULL, "no memory for an expression");
        rlhf_expression_free(e);
        return NULL;
    }
    pcre2_set_match_limit(e->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(e->limits, HEAP_KIB);
    /* \C would cut characters in two, and then there is no end to a search. */
    e->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at,
                            NULL);
    if (e->code)
        return e;
    pcre2_get_error_message(code, message, sizeof message);
    rlhf_fail(err, RLHF_REJECT, "expression: %s, at byte %zu", (const char *)message, (size_t)at);
    rlhf_expression_free(e);
    return NULL;
}

/* One search from `from` on. Returns 1 with the match in *m, 0, or -1. */
static int search(const struct rlhf_expression *e, const char *subject, size_t size, size_t from, uint32_t options,
                  pcre2_match_data *m, struct rlhf_error *err)
{
    int rc = pcre2_match(e->code, (PCRE2_SPTR)subject, size, from, options, m, e->limits);
    PCRE2_UCHAR message[120];

    if (rc > 0)
        return 1;
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    pcre2_get_error_message(rc, message, sizeof message);
    return rlhf_fail(err, RLHF_REJECT, "expression: %s", (const char *)message);
}

int rlhf_expression_last(const struct rlhf_expression *e, const char *subject, const char **at, size_t *size, bool *found,
                         struct rlhf_error *err)
{
    pcre2_match_data *m = pcre2_match_data_create_from_pattern(e->code, NULL);
    size_t length = strlen(subject), from = 0;
    uint32_t options = 0;
    int rc = -1;

    *found = false;
    if (!m)
        return rlhf_fail(err, RLHF_FULL, "no memory for a match");
    while (from <= length && (rc = search(e, subject, length, from, options, m, err)) > 0) {
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m);
        size_t group = pcre2_get_ovector_count(m) > 1 && v[2] != PCRE2_UNSET ? 1 : 0;

        if (v[0] > v[1]) /* \K in a lookahead */
            break;
        *found = true;
        *at = subject + v[2 * group];
        *size = v[2 * group + 1] - v[2 * group];
        options = PCRE2_NO_UTF_CHECK; /* the first search has looked */
        from = v[1];
        if (v[0] == v[1]) /* an empty match: on to the next character */
            for (from++; from < length && ((unsigned char)subject[from] & 0xC0) == 0x80;)
                from++;
    }
    pcre2_match_data_free(m);
    return rc < 0 ? -1 : 0;
}

void rlhf_expression_free(struct rlhf_expression *e)
{
    if (!e)
        return;
    pcre2_code_free(e->code);
    pcre2_match_context_free(e->limits);
    free(e);
}
