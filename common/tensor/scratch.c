/* scratch.c - memory that an operation needs beyond its results, kept for each thread. */
#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "tensor/kernels.h"

enum { OWN, SHARED, ROUNDED, SHARED_ROUNDED, SHARED_COLUMNS, KINDS };

struct block {
    float *floats;
    size_t count;
};

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread struct block blocks[KINDS];

static void free_blocks(void *of_thread)
{
    struct block *b = of_thread;
    for (size_t i = 0; i < KINDS; i++) {
        free(b[i].floats);
        b[i] = (struct block){ 0 };
    }
}

static void make_key(void)
{
    RLHF_ASSERT(pthread_key_create(&key, free_blocks) == 0);
}

static float *grow(struct block *b, size_t floats)
{
    if (floats > b->count) {
        pthread_once(&once, make_key);
        pthread_setspecific(key, blocks);
        free(b->floats);
        b->count = floats + floats / 4; /* so that growing batches do not allocate each time */
        b->floats = rlhf_aligned_new(b->count, sizeof *b->floats, NULL);
        RLHF_ASSERT(b->floats); /* operations cannot fail; these few MB are part of being able to run */
    }
    return b->floats;
}

float *rlhf_scratch(size_t floats)
{
    return grow(&blocks[OWN], floats);
}

float *rlhf_shared_scratch(size_t floats)
{
    return grow(&blocks[SHARED], floats);
}

float *rlhf_rounded_scratch(size_t floats)
{
    return grow(&blocks[ROUNDED], floats);
}

float *rlhf_shared_rounded_scratch(size_t floats)
{
    return grow(&blocks[SHARED_ROUNDED], floats);
}

float *rlhf_shared_columns_scratch(size_t floats)
{
    return grow(&blocks[SHARED_COLUMNS], floats);
}
