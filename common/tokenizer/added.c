#include "tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

int tk_matcher_add(struct tk_matcher *m, const struct tk_added *token, struct rlhf_error *err)
{
    struct tk_added *larger = reallocarray(m->token, m->count + 1, sizeof(*larger));
    char *text = malloc(token->size + 1);

    if (larger)
        m->token = larger;
    if (!larger || !text) {
        free(text);
        return rlhf_fail(err, RLHF_FULL, "out of memory for added tokens");
    }
    memcpy(text, token->text, token->size);
    text[token->size] = '\0';
    m->token[m->count] = *token;
    m->token[m->count++].text = text;
    if (token->size)
        m->first[(uint8_t)text[0]] = true;
    return 0;
}

static int by_text(const void *left, const void *right)
{
    const struct tk_added *a = left, *b = right;
    int order = memcmp(a->text, b->text, a->size < b->size ? a->size : b->size);

    if (order == 0 && a->size != b->size)
        order = a->size < b->size ? -1 : 1;
    return order ? order : (a->id > b->id) - (a->id < b->id);
}

void tk_matcher_sort(struct tk_matcher *m)
{
    if (m->count)
        qsort(m->token, m->count, sizeof(*m->token), by_text);
}

/* The first token of [low, high) whose byte at depth is at least byte; all are longer than depth. */
static size_t lower_bound(const struct tk_matcher *m, size_t low, size_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if ((uint8_t)m->token[middle].text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct tk_added *longest_at(const struct tk_matcher *m, const char *text, size_t size)
{
    const struct tk_added *best = NULL;
    size_t low = 0, high = m->count;

    for (size_t depth = 0; low < high; depth++) { /* [low, high) share their first depth bytes with text */
        while (low < high && m->token[low].size == depth) {
            if (depth && (!best || best->size < depth))
                best = &m->token[low];
            low++;
        }
        if (depth == size)
            break;
        unsigned byte = (uint8_t)text[depth];
        low = lower_bound(m, low, high, depth, byte);
        high = lower_bound(m, low, high, depth, byte + 1);
    }
    return best;
}

const struct tk_added *tk_matcher_next(const struct tk_matcher *m, const char *text, size_t size, size_t *at)
{
    if (m->count == 0)
        return NULL;
    for (; *at < size; ++*at)
        if (m->first[(uint8_t)text[*at]]) {
            const struct tk_added *token = longest_at(m, text + *at, size - *at);

            if (token)
                return token;
        }
    return NULL;
}

void tk_matcher_free(struct tk_matcher *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->token[i].text);
    free(m->token);
    *m = (struct tk_matcher){ 0 };
}
