/* bench.h - what the benches of whole models share: shapes, the clock, medians, the line that is printed. */
#ifndef RLHF_BENCH_BENCH_H
#define RLHF_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/config.h"

/* "quickstart" (GPT-2 style, 0.7 M parameters), "tiny" (Llama style, 5.9 M), "l100" (Llama style, 109.5 M, tied),
 * "gpt2" (GPT-2 124M). */
struct rlhf_model_config bench_shape(const char *name);

/* Multiplications and additions of one token's products, the head's with it: what the processor cannot avoid. */
double bench_flops_a_token(const struct rlhf_model_config *c);

/* GFLOP/s of OpenBLAS' sgemm (768 x 768 x 768) on `threads` threads at once, in this process, now. */
double bench_sgemm_rate(unsigned threads);

double bench_now(void);                           /* seconds */
double bench_median(double *times, size_t count); /* sorts */
_Noreturn void bench_fail(const struct rlhf_error *err);

/* One line; gemm_fraction is left out when it is 0. */
struct bench_line {
    const char *name, *model, *dtype, *unit; /* NULL: "f32", "tokens/s" */
    size_t batch;
    unsigned threads;
    double value, gemm_fraction;
};
void bench_print(const struct bench_line *line);

/* [seconds a case, 1 by default] [case] [threads], as the benches of whole models take them. Starts the tensor room. */
struct bench_arguments {
    double seconds;
    const char *only;     /* NULL or "": every case           */
    unsigned least, most; /* threads; without a wish 1 and 2 */
};
struct bench_arguments bench_start(int argc, char **argv);
bool bench_wanted(const struct bench_arguments *a, const char *name);
/* The case with these products is wanted: NAME, or NAME-bf16. dtype is what its line says. */
bool bench_wanted_products(const struct bench_arguments *a, const char *name, enum rlhf_products products, const char **dtype);

#endif
