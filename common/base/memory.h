/* memory.h - sizes that cannot overflow, aligned blocks, arenas, growing byte buffers. */
#ifndef RLHF_BASE_MEMORY_H
#define RLHF_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* True when a*b (a+b) fits; *out is set only then. */
bool rlhf_mul_size(size_t a, size_t b, size_t *out);
bool rlhf_add_size(size_t a, size_t b, size_t *out);

/* A zeroed block aligned to 64 bytes, for count elements of size each. NULL on failure (*err RLHF_FULL).
 * Freed with free(). */
void *rlhf_aligned_new(size_t count, size_t size, struct rlhf_error *err);
/* The same in bytes and not zeroed. Large ones lie on huge pages where the kernel gives them: with small pages the address
 * translation shows when they are walked, and the page faults when they are first filled. */
void *rlhf_block_new(size_t size, struct rlhf_error *err);
/* Zeroed without being touched: for a large block of which little may be used, memory comes as it is written. Aligned as the
 * large ones are. Freed by rlhf_pages_free() with its size; NULL is fine. */
void *rlhf_pages_new(size_t size, struct rlhf_error *err);
void rlhf_pages_free(void *pages, size_t size);

/* Arena: allocations live until the arena is reset to a mark or freed. Blocks are aligned to 64 bytes.
 * Freed space is poisoned under ASan. An arena never moves what it has given out. */
struct rlhf_arena;
struct rlhf_arena *rlhf_arena_new(size_t limit, struct rlhf_error *err); /* limit: bytes given out, 0 = none */
void *rlhf_arena_get(struct rlhf_arena *a, size_t count, size_t size); /* NULL when over the limit; not zeroed */
void *rlhf_arena_zero(struct rlhf_arena *a, size_t count, size_t size); /* zeroed */
size_t rlhf_arena_mark(const struct rlhf_arena *a);
void rlhf_arena_reset(struct rlhf_arena *a, size_t mark); /* mark 0 = everything; keeps the memory */
void rlhf_arena_free(struct rlhf_arena *a);               /* NULL is fine */

/* A growing byte buffer, always NUL-terminated behind size. Zero-initialise it; free with
 * rlhf_bytes_free(), which leaves it zero-initialised. */
struct rlhf_bytes {
    char *data;
    size_t size, capacity;
};
int rlhf_bytes_append(struct rlhf_bytes *b, const void *data, size_t size, struct rlhf_error *err);
int rlhf_bytes_printf(struct rlhf_bytes *b, struct rlhf_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int rlhf_bytes_reserve(struct rlhf_bytes *b, size_t more, struct rlhf_error *err); /* room behind size, and the NUL */
void rlhf_bytes_clear(struct rlhf_bytes *b); /* size 0, keeps the memory */
void rlhf_bytes_free(struct rlhf_bytes *b);

/* A growing array of token ids; the same habits. */
struct rlhf_tokens {
    int32_t *data;
    size_t size, capacity;
};
int rlhf_tokens_append(struct rlhf_tokens *t, const int32_t *ids, size_t count, struct rlhf_error *err);
void rlhf_tokens_clear(struct rlhf_tokens *t);
void rlhf_tokens_free(struct rlhf_tokens *t);

void rlhf_wipe(void *p, size_t size); /* not optimised away */

#endif
