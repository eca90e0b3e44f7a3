#include <stdlib.h>

#include "data/data.h"

int rlhf_sequences_append(struct rlhf_sequences *s, const int32_t *ids, size_t count, struct rlhf_error *err)
{
    if (s->count + 2 > s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 64;
        uint32_t *start = reallocarray(s->start, capacity, sizeof *start);

        if (!start)
            return rlhf_fail(err, RLHF_FULL, "no memory for %zu sequences", capacity);
        if (s->count == 0)
            start[0] = 0;
        s->start = start;
        s->capacity = capacity;
    }
    if (s->tokens.size + count > UINT32_MAX)
        return rlhf_fail(err, RLHF_FULL, "more than %u tokens in one set; split the files", UINT32_MAX);
    if (rlhf_tokens_append(&s->tokens, ids, count, err) < 0)
        return -1;
    s->start[++s->count] = (uint32_t)s->tokens.size;
    return 0;
}

void rlhf_sequences_free(struct rlhf_sequences *s)
{
    rlhf_tokens_free(&s->tokens);
    free(s->start);
    *s = (struct rlhf_sequences){ 0 };
}

int rlhf_cut_windows(const struct rlhf_sequences *documents, size_t size, struct rlhf_sequences *out,
                     struct rlhf_error *err)
{
    const struct rlhf_tokens *t = &documents->tokens;

    if (size < 2)
        return rlhf_fail(err, RLHF_REJECT, "a window of %zu tokens predicts nothing; use 2 or more", size);
    for (size_t at = 0; at < t->size; at += size)
        if (rlhf_sequences_append(out, t->data + at, t->size - at < size ? t->size - at : size, err) < 0)
            return -1;
    return 0;
}
