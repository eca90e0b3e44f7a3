#include "tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a with a last mix, seeded by the size. Keys come from a file that its user chose, and probing is
 * bounded by the load of one half, so a keyed hash would buy nothing. */
static uint32_t hash_of(const char *key, size_t size)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ size;

    for (; size >= 8; key += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, key, sizeof(word));
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    for (; size > 0; key++, size--)
        h = (h ^ (uint8_t)*key) * UINT64_C(0x100000001b3);
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(h >> 32);
}

static int allocate(struct tk_table *t, size_t slots, struct rlhf_error *err)
{
    size_t bytes;

    if (!rlhf_mul_size(slots, sizeof(*t->slots), &bytes) || !(t->slots = malloc(bytes)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for a vocabulary of %zu slots", slots);
    memset(t->slots, 0xff, bytes);
    t->mask = slots - 1;
    return 0;
}

int tk_table_init(struct tk_table *t, size_t expected, struct rlhf_error *err)
{
    size_t slots = 64;

    while (slots < 2 * expected)
        slots *= 2;
    return allocate(t, slots, err);
}

static struct tk_slot *find(const struct tk_table *t, uint32_t hash, const char *key, size_t size)
{
    for (size_t i = hash & t->mask;; i = (i + 1) & t->mask) {
        struct tk_slot *s = &t->slots[i];

        if (s->id == TK_NONE || (s->hash == hash && s->size == size && !memcmp(t->text.data + s->start, key, size)))
            return s;
    }
}

static int grow(struct tk_table *t, struct rlhf_error *err)
{
    struct tk_table larger = { .count = t->count };

    if (allocate(&larger, 2 * (t->mask + 1), err) < 0)
        return -1;
    for (size_t i = 0; i <= t->mask; i++)
        if (t->slots[i].id != TK_NONE) {
            size_t at = t->slots[i].hash & larger.mask;

            while (larger.slots[at].id != TK_NONE)
                at = (at + 1) & larger.mask;
            larger.slots[at] = t->slots[i];
        }
    free(t->slots);
    t->slots = larger.slots;
    t->mask = larger.mask;
    return 0;
}

int tk_table_put(struct tk_table *t, const char *key, size_t size, uint32_t id, struct rlhf_error *err)
{
    uint32_t hash = hash_of(key, size);

    if (size >= 1 << 24)
        return rlhf_fail(err, RLHF_REJECT, "a token of %zu bytes is too long", size);
    if (2 * (t->count + 1) > t->mask && grow(t, err) < 0)
        return -1;
    struct tk_slot *s = find(t, hash, key, size);
    if (s->id == TK_NONE) {
        size_t start = t->text.size;

        if (rlhf_bytes_append(&t->text, key, size, err) < 0)
            return -1;
        *s = (struct tk_slot){ .hash = hash, .start = start & 0xffffffffffu, .size = size & 0xffffffu };
        t->count++;
    }
    s->id = id;
    return 0;
}

uint32_t tk_table_get(const struct tk_table *t, const char *key, size_t size)
{
    return t->slots && size < 1 << 24 ? find(t, hash_of(key, size), key, size)->id : TK_NONE;
}

void tk_table_free(struct tk_table *t)
{
    free(t->slots);
    rlhf_bytes_free(&t->text);
    *t = (struct tk_table){ 0 };
}
