#include "bench.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/memory.h"
#include "support/shape.h"
#include "tensor/blas.h"
#include "tensor/ops.h"

struct rlhf_model_config bench_shape(const char *name)
{
    static const struct {
        const char *name, *style;
        struct shape shape;
    } shapes[] = {
        { "quickstart", "gpt2", { 3, 4, 32, 512, 512, 128 } },
        { "tiny", "llama", { 6, 4, 64, 704, 4096, 512 } },
        { "l100", "llama", { 12, 12, 64, 2048, 32000, 1024 } },
        { "gpt2", "gpt2", { 12, 12, 64, 3072, 50257, 1024 } },
    };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (strcmp(shapes[i].name, name) == 0) {
            struct rlhf_model_config c = a_config(shapes[i].style, shapes[i].shape);

            c.tied = true;
            return c;
        }
    fprintf(stderr, "there is no shape '%s'\n", name);
    exit(2);
}

double bench_flops_a_token(const struct rlhf_model_config *c)
{
    double q = (double)c->heads * c->head_size, kv = (double)c->kv_heads * c->head_size;
    double up = (c->gated ? 2.0 : 1.0) * c->mlp_size;
    double layer = (double)c->channels * (q + 2 * kv) + q * c->channels + c->channels * up
                   + (double)c->mlp_size * c->channels;

    return 2 * (c->layers * layer + (double)c->channels * c->vocabulary);
}

double bench_now(void)
{
    return (double)rlhf_now(&rlhf_system_clock) * 1e-6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(double *times, size_t count)
{
    qsort(times, count, sizeof *times, by_value);
    return times[count / 2];
}

_Noreturn void bench_fail(const struct rlhf_error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

/* ---- sgemm alone ----------------------------------------------------------------------------------- */

enum { SIDE = 768, SGEMMS = 8 };

static void *sgemms(void *rate)
{
    struct rlhf_error err = { 0 };
    float *a = rlhf_aligned_new(SIDE * SIDE, sizeof *a, &err), *b = rlhf_aligned_new(SIDE * SIDE, sizeof *b, &err);
    float *y = rlhf_aligned_new(SIDE * SIDE, sizeof *y, &err);
    double times[SGEMMS];

    if (!a || !b || !y)
        bench_fail(&err);
    for (size_t i = 0; i < SGEMMS; i++) {
        double begin = bench_now();

        rlhf_blas.sgemm(RLHF_BLAS_ROW_MAJOR, RLHF_BLAS_PLAIN, RLHF_BLAS_PLAIN, SIDE, SIDE, SIDE, 1, a, SIDE, b, SIDE, 0,
                        y, SIDE);
        times[i] = bench_now() - begin;
    }
    *(double *)rate = 2.0 * SIDE * SIDE * SIDE / bench_median(times, SGEMMS) * 1e-9;
    free(a);
    free(b);
    free(y);
    return NULL;
}

double bench_sgemm_rate(unsigned threads)
{
    pthread_t ids[64];
    double rates[64], sum = 0;

    if (!rlhf_blas.sgemm || threads > 64)
        return 0;
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, sgemms, &rates[i]) != 0)
            exit(1);
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum += rates[i];
    }
    return sum;
}

/* ---- lines ----------------------------------------------------------------------------------------- */

void bench_print(const struct bench_line *l)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    printf("{\"case\":\"%s\",\"model\":\"%s\",\"batch\":%zu,\"threads\":%u,\"dtype\":\"%s\",\"value\":%.5g,\"unit\":\"%s\"",
           l->name, l->model, l->batch, l->threads, l->dtype ? l->dtype : "f32", l->value, l->unit ? l->unit : "tokens/s");
    if (l->gemm_fraction > 0)
        printf(",\"gemm_fraction\":%.3f", l->gemm_fraction);
    printf(",\"peak_rss_mb\":%ld}\n", usage.ru_maxrss / 1024);
    fflush(stdout);
}

struct bench_arguments bench_start(int argc, char **argv)
{
    struct rlhf_error err = { 0 };

    if (rlhf_tensor_start(&err) < 0)
        bench_fail(&err);
    fprintf(stderr, "%s\n", rlhf_tensor_profile());
    unsigned threads = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
    return (struct bench_arguments){ .seconds = argc > 1 ? atof(argv[1]) : 1, .only = argc > 2 ? argv[2] : NULL,
                                     .least = threads ? threads : 1, .most = threads ? threads : 2 };
}

bool bench_wanted(const struct bench_arguments *a, const char *name)
{
    return !a->only || !*a->only || strcmp(a->only, name) == 0;
}

bool bench_wanted_products(const struct bench_arguments *a, const char *name, enum rlhf_products products, const char **dtype)
{
    char full[64];

    *dtype = products == RLHF_PRODUCTS_BF16 ? "bf16" : "f32";
    snprintf(full, sizeof full, "%s%s", name, products == RLHF_PRODUCTS_BF16 ? "-bf16" : "");
    return bench_wanted(a, full);
}
