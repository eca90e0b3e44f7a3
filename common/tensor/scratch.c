#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "tensor/kernels.h"

enum { SLOTS = 4 };

struct scratch {
    float *memory[SLOTS];
    size_t count[SLOTS];
};

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void let_go(void *p)
{
    struct scratch *s = p;

    for (unsigned i = 0; i < SLOTS; i++)
        free(s->memory[i]);
    free(s);
}

static void make_key(void)
{
    if (pthread_key_create(&key, let_go) != 0)
        abort();
}

_Noreturn static void no_memory(size_t count)
{
    fprintf(stderr, "no memory for %zu floats of scratch\n", count);
    abort();
}

float *rlhf_scratch(unsigned slot, size_t count)
{
    struct scratch *s;

    pthread_once(&once, make_key);
    if (!(s = pthread_getspecific(key))) {
        if (!(s = calloc(1, sizeof *s)) || pthread_setspecific(key, s) != 0)
            no_memory(count);
    }
    if (s->count[slot] < count) {
        free(s->memory[slot]);
        count += count / 4; /* so that slowly growing sequences do not allocate each time */
        if (!(s->memory[slot] = rlhf_aligned_new(count, sizeof(float), NULL)))
            no_memory(count);
        s->count[slot] = count;
    }
    return s->memory[slot];
}
