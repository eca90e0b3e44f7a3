#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define RLHF_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RLHF_ASAN 1
#endif
#endif
#ifdef RLHF_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

enum { ALIGNMENT = 64 };
enum { HUGE_PAGE = 2 << 20 };
enum { LEAST_BLOCK = 64 << 10 };

bool rlhf_mul_size(size_t a, size_t b, size_t *out)
{
    size_t product;

    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

bool rlhf_add_size(size_t a, size_t b, size_t *out)
{
    size_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

/* count * size rounded up to the alignment. */
static bool aligned_size(size_t count, size_t size, size_t *out)
{
    size_t total;

    if (!rlhf_mul_size(count, size, &total) || !rlhf_add_size(total, ALIGNMENT - 1, &total))
        return false;
    *out = total & ~(size_t)(ALIGNMENT - 1);
    return true;
}

static void *aligned_block(size_t size)
{
    void *block;

    if (size < 2 * HUGE_PAGE)
        return aligned_alloc(ALIGNMENT, size ? size : ALIGNMENT);
    if (posix_memalign(&block, HUGE_PAGE, size) != 0)
        return NULL;
    (void)madvise(block, size & ~(size_t)(HUGE_PAGE - 1), MADV_HUGEPAGE); /* only a wish */
    return block;
}

void *rlhf_block_new(size_t size, struct rlhf_error *err)
{
    size_t total;
    void *block = aligned_size(1, size, &total) ? aligned_block(total) : NULL;

    if (!block)
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu bytes", size);
    return block;
}

/* Address space that begins a huge page; what was mapped too much around it is given back. */
void *rlhf_pages_new(size_t size, struct rlhf_error *err)
{
    char *map = MAP_FAILED, *pages;
    size_t total;

    if (rlhf_add_size(size, HUGE_PAGE, &total))
        map = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu bytes", size);
        return NULL;
    }
    pages = (char *)(((uintptr_t)map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    if (pages > map)
        munmap(map, (size_t)(pages - map));
    (void)madvise(pages, size, MADV_HUGEPAGE); /* only a wish */
    return pages;
}

void rlhf_pages_free(void *pages, size_t size)
{
    if (pages)
        munmap(pages, size);
}

void *rlhf_aligned_new(size_t count, size_t size, struct rlhf_error *err)
{
    size_t total;
    void *block = NULL;

    if (aligned_size(count, size, &total))
        block = aligned_block(total);
    if (!block) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu elements of %zu bytes", count, size);
        return NULL;
    }
    return memset(block, 0, total);
}

/* Arena: a chain of blocks. A position counts bytes from the start of the first block, so a mark is one number; what a
 * block leaves unused at its end is skipped. */
struct block {
    struct block *next;
    size_t start; /* position of its first byte */
    size_t size;
    char *data;
};

struct rlhf_arena {
    struct block *first, *last, *current;
    size_t used;     /* of the current block */
    size_t given;    /* bytes given out, against the limit; after a reset, the mark at most */
    size_t limit;    /* SIZE_MAX: none */
    size_t wanted;   /* size of the first block, learned from earlier rounds */
};

struct rlhf_arena *rlhf_arena_new(size_t limit, struct rlhf_error *err)
{
    struct rlhf_arena *a = calloc(1, sizeof *a);

    if (!a) {
        rlhf_fail(err, RLHF_FULL, "out of memory for an arena");
        return NULL;
    }
    a->limit = limit ? limit : SIZE_MAX;
    a->wanted = LEAST_BLOCK;
    return a;
}

static void free_blocks(struct rlhf_arena *a)
{
    for (struct block *b = a->first, *next; b; b = next) {
        next = b->next;
        ASAN_UNPOISON_MEMORY_REGION(b->data, b->size);
        free(b->data);
        free(b);
    }
    a->first = a->last = a->current = NULL;
    a->used = 0;
}

/* Appends a block for at least size bytes: as much again as there is, within what the limit still allows. */
static struct block *add_block(struct rlhf_arena *a, size_t size)
{
    size_t end = a->last ? a->last->start + a->last->size : 0;
    size_t room = a->limit - a->given;
    size_t wish = end > a->wanted ? end : a->wanted;
    struct block *b;

    if (wish > room)
        wish = room & ~(size_t)(ALIGNMENT - 1);
    if (wish < size)
        wish = size;
    b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->data = aligned_block(wish);
    if (!b->data && wish > size)
        b->data = aligned_block(wish = size);
    if (!b->data) {
        free(b);
        return NULL;
    }
    b->size = wish;
    b->start = end;
    ASAN_POISON_MEMORY_REGION(b->data, b->size);
    if (a->last)
        a->last->next = b;
    else
        a->first = b;
    a->last = b;
    return b;
}

void *rlhf_arena_get(struct rlhf_arena *a, size_t count, size_t size)
{
    struct block *b = a->current;
    size_t total;
    char *data;

    if (!aligned_size(count, size, &total) || total > a->limit - a->given)
        return NULL;
    if (total == 0)
        total = ALIGNMENT; /* distinct, and one past nothing */
    if (!b || total > b->size - a->used) {
        for (b = b ? b->next : a->first; b && total > b->size; b = b->next)
            ;
        if (!b && !(b = add_block(a, total)))
            return NULL;
        a->current = b;
        a->used = 0;
    }
    data = b->data + a->used;
    a->used += total;
    a->given += total;
    ASAN_UNPOISON_MEMORY_REGION(data, total);
    return data;
}

void *rlhf_arena_zero(struct rlhf_arena *a, size_t count, size_t size)
{
    void *data = rlhf_arena_get(a, count, size);

    if (data)
        memset(data, 0, count * size);
    return data;
}

size_t rlhf_arena_mark(const struct rlhf_arena *a)
{
    return a->current ? a->current->start + a->used : 0;
}

void rlhf_arena_reset(struct rlhf_arena *a, size_t mark)
{
    RLHF_ASSERT(mark <= rlhf_arena_mark(a));
    if (mark == 0 && a->first && a->first->next) {
        /* Several blocks were needed: next time one will do. */
        a->wanted = a->last->start + a->last->size;
        free_blocks(a);
        a->given = 0;
        return;
    }
    for (struct block *b = a->first; b; b = b->next) {
        size_t keep = mark > b->start ? mark - b->start : 0;

        if (keep < b->size)
            ASAN_POISON_MEMORY_REGION(b->data + keep, b->size - keep);
        if (b == a->first || keep > 0) {
            a->current = b;
            a->used = keep < b->size ? keep : b->size;
        }
    }
    if (a->given > mark)
        a->given = mark;
}

void rlhf_arena_free(struct rlhf_arena *a)
{
    if (!a)
        return;
    free_blocks(a);
    free(a);
}

/* Makes room for more elements behind size, growing by half. */
static int grow(void **data, size_t *capacity, size_t size, size_t more, size_t element, struct rlhf_error *err)
{
    size_t need, wish, bytes;
    void *bigger = NULL;

    if (rlhf_add_size(size, more, &need)) {
        if (need <= *capacity)
            return 0;
        if (!rlhf_add_size(need, need / 2, &wish))
            wish = need;
        if (rlhf_mul_size(wish, element, &bytes))
            bigger = realloc(*data, bytes);
    }
    if (!bigger)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu more elements of %zu bytes", more, element);
    *data = bigger;
    *capacity = wish;
    return 0;
}

int rlhf_bytes_reserve(struct rlhf_bytes *b, size_t more, struct rlhf_error *err)
{
    void *data = b->data;
    size_t with_end;

    if (!rlhf_add_size(more, 1, &with_end))
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu more bytes", more);
    if (grow(&data, &b->capacity, b->size, with_end, 1, err) < 0)
        return -1;
    b->data = data;
    return 0;
}

int rlhf_bytes_append(struct rlhf_bytes *b, const void *data, size_t size, struct rlhf_error *err)
{
    if (rlhf_bytes_reserve(b, size, err) < 0)
        return -1;
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
    b->data[b->size] = '\0';
    return 0;
}

int rlhf_bytes_printf(struct rlhf_bytes *b, struct rlhf_error *err, const char *fmt, ...)
{
    va_list args, again;
    int size, result = -1;

    va_start(args, fmt);
    va_copy(again, args);
    size = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (size < 0) {
        rlhf_fail(err, RLHF_FATAL, "cannot format \"%s\"", fmt);
    } else if (rlhf_bytes_reserve(b, (size_t)size, err) == 0) {
        vsnprintf(b->data + b->size, (size_t)size + 1, fmt, again);
        b->size += (size_t)size;
        result = 0;
    }
    va_end(again);
    return result;
}

void rlhf_bytes_clear(struct rlhf_bytes *b)
{
    b->size = 0;
    if (b->data)
        b->data[0] = '\0';
}

void rlhf_bytes_free(struct rlhf_bytes *b)
{
    free(b->data);
    *b = (struct rlhf_bytes){ 0 };
}

int rlhf_tokens_append(struct rlhf_tokens *t, const int32_t *ids, size_t count, struct rlhf_error *err)
{
    void *data = t->data;

    if (grow(&data, &t->capacity, t->size, count, sizeof *t->data, err) < 0)
        return -1;
    t->data = data;
    if (count)
        memcpy(t->data + t->size, ids, count * sizeof *ids);
    t->size += count;
    return 0;
}

void rlhf_tokens_clear(struct rlhf_tokens *t)
{
    t->size = 0;
}

void rlhf_tokens_free(struct rlhf_tokens *t)
{
    free(t->data);
    *t = (struct rlhf_tokens){ 0 };
}

void rlhf_wipe(void *p, size_t size)
{
    if (size)
        explicit_bzero(p, size);
}
