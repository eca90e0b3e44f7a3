/* compare.h - what the tensor suites share: arrays of noise, comparison with the twins, every kernel set. */
#ifndef UNIT_TENSOR_COMPARE_H
#define UNIT_TENSOR_COMPARE_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/suite.h"
#include "tensor/kernels.h"
#include "tensor/ops.h"
#include "tensor/ops_reference.h"

static const char *const kernel_sets[] = { "generic", "avx2", "avx512" };

/* Runs the statement with each kernel set that this machine has. */
#define WITH_EVERY_SET(statement)                                                                            \
    for (size_t set = 0; set < 3; set++)                                                                     \
        if (rlhf_kernels_choose(kernel_sets[set])) {                                                         \
            statement;                                                                                       \
        }

static uint64_t noise_state = 1;

static inline double noise(void) /* uniform in [-1, 1) */
{
    noise_state = noise_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(noise_state >> 11) / (double)(1ull << 52) - 1;
}

static inline size_t noise_below(size_t n)
{
    return (size_t)((noise() + 1) / 2 * (double)n) % n;
}

/* An array of noise as float, and the very same numbers as double. One float more than asked for stands behind. */
struct both {
    float *f;
    double *d;
    size_t count;
};

static inline struct both some(size_t count, double scale)
{
    struct both b = { malloc((count + 1) * sizeof(float)), malloc((count + 1) * sizeof(double)), count };

    for (size_t i = 0; i <= count; i++)
        b.d[i] = b.f[i] = (float)(scale * noise());
    return b;
}

static inline struct both nothing(size_t count)
{
    return some(count, 0);
}

static inline void done(struct both *b)
{
    free(b->f);
    free(b->d);
}

/* |f - d| <= tolerance·(1 + |d|) everywhere, and nothing written behind the end. */
#define expect_close(b, tolerance) expect_close_((b), (tolerance), #b, __LINE__)
static inline void expect_close_(const struct both *b, double tolerance, const char *what, int line)
{
    for (size_t i = 0; i < b->count; i++)
        if (!(fabs((double)b->f[i] - b->d[i]) <= tolerance * (1 + fabs(b->d[i]))))
            ck_abort_msg("%s kernels: %s[%zu of %zu] at line %d is %.9g, its twin's %.9g", rlhf_kernels()->set, what, i, b->count,
                         line, (double)b->f[i], b->d[i]);
    ck_assert_msg(b->f[b->count] == (float)b->d[b->count], "%s kernels: %s written behind its end at line %d",
                  rlhf_kernels()->set, what, line);
}

#define expect_same_bits(a, b, count) expect_same_bits_((a), (b), (count), __LINE__)
static inline void expect_same_bits_(const float *a, const float *b, size_t count, int line)
{
    if (memcmp(a, b, count * sizeof *a) == 0)
        return;
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(memcmp(&a[i], &b[i], sizeof *a) == 0, "%s kernels: element %zu of %zu at line %d is %.9g and %.9g",
                      rlhf_kernels()->set, i, count, line, (double)a[i], (double)b[i]);
}

#endif
