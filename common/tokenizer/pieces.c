#include "tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

int tk_reserve(void **items, size_t *capacity, size_t want, size_t size, struct rlhf_error *err)
{
    size_t room = *capacity ? *capacity : 32, bytes;
    void *larger;

    if (want <= *capacity)
        return 0;
    while (room < want)
        if (!rlhf_mul_size(room, 2, &room))
            return rlhf_fail(err, RLHF_FULL, "a text is too long");
    if (!rlhf_mul_size(room, size, &bytes) || !(larger = realloc(*items, bytes)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu pieces of a text", want);
    *items = larger;
    *capacity = room;
    return 0;
}

static int cut(struct tk_pieces *p, size_t end, struct rlhf_error *err)
{
    if (p->count == p->capacity &&
        tk_reserve((void **)&p->end, &p->capacity, p->count + 1, sizeof(*p->end), err) < 0)
        return -1;
    p->end[p->count++] = end;
    return 0;
}

int tk_pieces_cut(struct tk_pieces *p, size_t end, struct rlhf_error *err)
{
    return end > tk_piece_start(p, p->count) ? cut(p, end, err) : 0;
}

int tk_pieces_append(struct tk_pieces *p, const char *text, size_t size, struct rlhf_error *err)
{
    return rlhf_bytes_append(&p->text, text, size, err) < 0 ? -1 : cut(p, p->text.size, err);
}

void tk_pieces_clear(struct tk_pieces *p)
{
    rlhf_bytes_clear(&p->text);
    p->count = 0;
}

void tk_pieces_free(struct tk_pieces *p)
{
    rlhf_bytes_free(&p->text);
    free(p->end);
    *p = (struct tk_pieces){ 0 };
}

int tk_scratch_init(struct tk_scratch *s, struct rlhf_error *err)
{
    *s = (struct tk_scratch){ .match = pcre2_match_data_create(1, NULL) };
    return s->match ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for matching a pattern");
}

int tk_cover(struct tk_scratch *s, size_t start, size_t end, struct rlhf_error *err)
{
    if (!s->track)
        return 0;
    if (tk_reserve((void **)&s->cover, &s->cover_capacity, s->covers + 1, sizeof(*s->cover), err) < 0)
        return -1;
    s->cover[s->covers++] = (struct tk_span){ start, end, false };
    return 0;
}

void tk_scratch_free(struct tk_scratch *s)
{
    pcre2_match_data_free(s->match);
    rlhf_bytes_free(&s->normal);
    rlhf_bytes_free(&s->spare);
    tk_pieces_free(&s->pieces);
    tk_pieces_free(&s->spare_pieces);
    free(s->span);
    free(s->symbol);
    free(s->heap);
    free(s->path);
    free(s->origins.at);
    free(s->made.at);
    free(s->cover);
    *s = (struct tk_scratch){ 0 };
}
