/* Where in the given text each byte of what the steps make of it comes from. Kept only for callers who ask. */
#include "tokenizer/parts.h"

#include <string.h>

static int make_room(struct tk_origins *o, size_t count, struct rlhf_error *err)
{
    return tk_reserve((void **)&o->at, &o->capacity, count, sizeof(*o->at), err);
}

int tk_origins_begin(struct tk_origins *o, const char *text, size_t size, size_t base, struct rlhf_error *err)
{
    o->count = 0;
    if (make_room(o, size, err) < 0)
        return -1;
    for (size_t at = 0, n; at < size; at += n) {
        n = tk_utf8_size(text + at, size - at);
        for (size_t i = 0; i < n; i++)
            o->at[o->count++] = (struct tk_origin){ (uint32_t)(base + at), (uint32_t)(base + at + n) };
    }
    return 0;
}

int tk_origins_take(struct tk_origins *o, const struct tk_origins *from, size_t start, size_t size, struct rlhf_error *err)
{
    if (make_room(o, size, err) < 0)
        return -1;
    if (size)
        memcpy(o->at, from->at + start, size * sizeof(*o->at));
    o->count = size;
    return 0;
}

int tk_origins_keep(struct tk_scratch *s, size_t from, size_t size, struct rlhf_error *err)
{
    struct tk_origins *made = &s->made;

    if (!s->track || size == 0)
        return 0;
    if (make_room(made, made->count + size, err) < 0)
        return -1;
    memcpy(made->at + made->count, s->origins.at + from, size * sizeof(*made->at));
    made->count += size;
    return 0;
}

int tk_origins_note(struct tk_scratch *s, size_t made_size, size_t from, size_t to, struct rlhf_error *err)
{
    struct tk_origins *made = &s->made;

    if (!s->track || made_size <= made->count)
        return 0;
    if (make_room(made, made_size, err) < 0)
        return -1;
    struct tk_origin origin = { 0, 0 };
    if (from < to && to <= s->origins.count)
        origin = (struct tk_origin){ s->origins.at[from].start, s->origins.at[to - 1].end };
    while (made->count < made_size)
        made->at[made->count++] = origin;
    return 0;
}

void tk_origins_turn(struct tk_scratch *s)
{
    struct tk_origins swap = s->origins;

    s->origins = s->made;
    s->made = swap;
    s->made.count = 0;
}
