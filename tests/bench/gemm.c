/* gemm.c - the learner's products, attention and vocabulary, alone. One JSON line a case.
 *
 *     bench-gemm [seconds a case, 1 by default] [case]
 *
 * Cases: gemm-forward, gemm-input, gemm-weight (the three products of a training step, at every shape of a model), gemm-sgemm (a
 * plain cblas_sgemm of the forward shapes in the same run), gemm-sgemm-wrong-core (the same in a child whose OpenBLAS was told
 * to run Prescott kernels, which is what it picks by itself on processors that it does not know), attention, vocab.
 * Values are GFLOP/s summed over a model's shapes: all work over the sum of the best times. With one thread the clock
 * is the thread's own processor time, so that a busy machine disturbs little. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/pool.h"
#include "tensor/ops.h"

static double seconds_a_case = 1;
static const char *only;
static unsigned threads;
static struct rlhf_pool *pool;

static _Noreturn void fail(const struct rlhf_error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The products of a model: tokens a step, channels, width of qkv, width of the feed-forward layer's input and output,
 * vocabulary, heads, sequences. */
struct model {
    const char *name;
    size_t t, c, qkv, up, down, v, heads, sequences;
};
static const struct model models[] = {
    { "quickstart", 1024, 128, 384, 512, 512, 512, 4, 32 },
    { "tiny", 2048, 256, 768, 1408, 704, 4096, 4, 16 },
    { "l100", 1024, 768, 2304, 4096, 2048, 32000, 12, 4 },
};
enum { MODELS = sizeof models / sizeof models[0] };

typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                      const float *b, int ldb, float beta, float *c, int ldc);
static sgemm_fn *sgemm;

struct operands {
    struct rlhf_packed w, back;
    float *x, *y, *dw;
    size_t m, n, k;
};

static void forward(const struct operands *o)
{
    rlhf_linear(&o->w, o->x, o->k, o->m, NULL, false, o->y, o->n, pool);
}

static void input(const struct operands *o)
{
    rlhf_linear(&o->back, o->y, o->n, o->m, NULL, false, o->x, o->k, pool);
}

static void weight(const struct operands *o)
{
    rlhf_linear_backward_weight(o->y, o->n, o->x, o->k, o->m, o->n, o->k, false, o->dw, NULL, pool);
}

static void plain(const struct operands *o)
{
    sgemm(101, 111, 112, (int)o->m, (int)o->n, (int)o->k, 1, o->x, (int)o->k, o->dw, (int)o->k, 0, o->y, (int)o->n);
}

static float *noise(size_t count)
{
    struct rlhf_error err = { 0 };
    float *x = rlhf_aligned_new(count, sizeof *x, &err);

    if (!x)
        fail(&err);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(i * 2654435761u % 1000) * 1e-3F - 0.5F;
    return x;
}

static double best_time(void (*run)(const struct operands *o), const struct operands *o, double seconds)
{
    double best = 1e9, end = now() + seconds;

    for (int i = 0; i < 3 || now() < end; i++) {
        double begin = now(), took;

        run(o);
        took = now() - begin;
        best = took < best ? took : best;
    }
    return best;
}

static void print(const char *name, const char *model, double gflops)
{
    printf("{\"case\":\"%s\",\"model\":\"%s\",\"threads\":%u,\"dtype\":\"f32\",\"value\":%.1f,\"unit\":\"GFLOP/s\"}\n", name,
           model, threads, gflops);
    fflush(stdout);
}

static bool wanted(const char *name)
{
    return !only || strcmp(only, name) == 0 || (strcmp(only, "gemm") == 0 && strncmp(name, "gemm", 4) == 0);
}

static void bench_products(const char *name, const struct model *m, void (*run)(const struct operands *o))
{
    const size_t shapes[4][2] = { { m->qkv, m->c }, { m->c, m->c }, { m->up, m->c }, { m->c, m->down } };
    double work = 0, time = 0;

    if (!wanted(name))
        return;
    for (size_t i = 0; i < 4; i++) {
        struct rlhf_error err = { 0 };
        size_t n = shapes[i][0], k = shapes[i][1];
        struct operands o = { .x = noise(m->t * k), .y = noise(m->t * n), .dw = noise(n * k), .m = m->t, .n = n, .k = k };

        if (rlhf_pack(&o.w, o.dw, n, k, false, pool, &err) < 0 || rlhf_pack(&o.back, o.dw, k, n, true, pool, &err) < 0)
            fail(&err);
        time += best_time(run, &o, seconds_a_case / 4);
        work += 2e-9 * (double)m->t * (double)n * (double)k;
        rlhf_packed_free(&o.w);
        rlhf_packed_free(&o.back);
        free(o.x);
        free(o.y);
        free(o.dw);
    }
    print(name, m->name, work / time);
}

static void load_sgemm(void)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW);

    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    *(void **)&sgemm = dlsym(library, "cblas_sgemm");
}

/* The core type is read once, when the library loads: so in a process of its own, before rlhf_tensor_start(). */
static void bench_wrong_core(void)
{
    pid_t child = fork();

    if (child == 0) {
        threads = 1;
        setenv("OPENBLAS_CORETYPE", "Prescott", 1);
        setenv("OPENBLAS_NUM_THREADS", "1", 1);
        load_sgemm();
        for (size_t i = 0; i < MODELS; i++)
            bench_products("gemm-sgemm-wrong-core", &models[i], plain);
        exit(0);
    }
    waitpid(child, NULL, 0);
}

/* The arithmetic that causality leaves: half of QKᵀ and of PV; backward five products to their two. */
static void bench_attention(const struct model *m)
{
    size_t d = m->c / m->heads, length = m->t / m->sequences, row = 3 * m->c;
    float *qkv = noise(m->t * row), *out = noise(m->t * m->c), *lse = noise(m->t * m->heads), *d_qkv = noise(m->t * row),
          *d_out = noise(m->t * m->c);
    uint32_t start[65];
    double forward_time = 1e9, backward_time = 1e9, end, work = 2e-9 * (double)m->t * (double)length * (double)m->c;

    for (size_t i = 0; i <= m->sequences; i++)
        start[i] = (uint32_t)(i * length);
    struct rlhf_attention_shape s = { .start = start, .sequences = m->sequences, .heads = m->heads, .kv_heads = m->heads, .d = d };
    end = now() + seconds_a_case;
    for (int i = 0; i < 3 || now() < end; i++) {
        double begin = now(), middle, after;

        rlhf_attention(&s, qkv, out, lse, pool);
        middle = now();
        rlhf_attention_backward(&s, d_out, qkv, out, lse, d_qkv, pool);
        after = now();
        forward_time = middle - begin < forward_time ? middle - begin : forward_time;
        backward_time = after - middle < backward_time ? after - middle : backward_time;
    }
    print("attention", m->name, work / forward_time);
    print("attention-backward", m->name, work * 2.5 / backward_time);
    free(qkv);
    free(out);
    free(lse);
    free(d_qkv);
    free(d_out);
}

static void bench_vocab(const struct model *m)
{
    struct rlhf_error err = { 0 };
    struct rlhf_packed w = { 0 }, back = { 0 };
    float *table = noise(m->v * m->c), *hidden = noise(m->t * m->c), *d_hidden = noise(m->t * m->c), *d_w = noise(m->v * m->c),
          *logprob = noise(m->t), *lse = noise(m->t);
    int32_t *target = calloc(m->t, sizeof *target);
    double forward_time = 1e9, backward_time = 1e9, end, work = 2e-9 * (double)m->t * (double)m->v * (double)m->c;

    if (rlhf_pack(&w, table, m->v, m->c, false, pool, &err) < 0 || rlhf_pack(&back, table, m->c, m->v, true, pool, &err) < 0)
        fail(&err);
    end = now() + seconds_a_case;
    for (int i = 0; i < 2 || now() < end; i++) {
        double begin = now(), middle, after;

        rlhf_vocab_logprobs(&w, hidden, target, m->t, 0, 1, logprob, NULL, lse, pool);
        middle = now();
        rlhf_vocab_logprobs_backward(&w, &back, hidden, target, m->t, 0, 1, lse, NULL, logprob, NULL, d_hidden, d_w, pool);
        after = now();
        forward_time = middle - begin < forward_time ? middle - begin : forward_time;
        backward_time = after - middle < backward_time ? after - middle : backward_time;
    }
    print("vocab", m->name, work / forward_time);
    print("vocab-backward", m->name, 3 * work / backward_time); /* logits again, d_hidden, d_w */
    rlhf_packed_free(&w);
    rlhf_packed_free(&back);
    free(table);
    free(hidden);
    free(d_hidden);
    free(d_w);
    free(logprob);
    free(lse);
    free(target);
}

int main(int argc, char **argv)
{
    struct rlhf_error err = { 0 };

    if (argc > 1)
        seconds_a_case = strtod(argv[1], NULL);
    if (argc > 2)
        only = argv[2];
    bench_wrong_core();
    if (rlhf_tensor_start(&err) < 0)
        fail(&err);
    fprintf(stderr, "%s\n", rlhf_tensor_profile());
    load_sgemm();
    for (threads = 1; threads <= 2 && threads <= rlhf_available_cores(); threads++) {
        if (!(pool = rlhf_pool_new(threads, &err)))
            fail(&err);
        for (size_t i = 0; i < MODELS; i++) {
            bench_products("gemm-forward", &models[i], forward);
            bench_products("gemm-input", &models[i], input);
            bench_products("gemm-weight", &models[i], weight);
            if (threads == 1)
                bench_products("gemm-sgemm", &models[i], plain);
            if (wanted("attention"))
                bench_attention(&models[i]);
            if (wanted("vocab"))
                bench_vocab(&models[i]);
        }
        rlhf_pool_free(pool);
    }
    return 0;
}
