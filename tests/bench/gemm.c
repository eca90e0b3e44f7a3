/* gemm.c - the learner's products, attention and vocabulary, alone. One JSON line a case.
 *
 *     bench-gemm [seconds a case, 1 by default] [case]
 *
 * Cases: gemm-forward, gemm-input, gemm-weight (the three products of a training step, at every shape of a model; then with
 * dtype bf16, of rounded operands), gemm-rows-1 to gemm-rows-64 (the products of so many sequences' next tokens, vocabulary
 * included: weights come from memory), gemm-sgemm (a
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
static enum rlhf_products products; /* of the case that runs */
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
    (products == RLHF_PRODUCTS_BF16 ? rlhf_linear_backward_weight_rounded : rlhf_linear_backward_weight)(
        o->y, o->n, o->x, o->k, o->m, o->n, o->k, false, o->dw, NULL, pool);
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
    printf("{\"case\":\"%s\",\"model\":\"%s\",\"threads\":%u,\"dtype\":\"%s\",\"value\":%.1f,\"unit\":\"GFLOP/s\"}\n", name,
           model, threads, products == RLHF_PRODUCTS_BF16 ? "bf16" : "f32", gflops);
    fflush(stdout);
}

static bool wanted(const char *name)
{
    return !only || strcmp(only, name) == 0 || (strcmp(only, "gemm") == 0 && strncmp(name, "gemm", 4) == 0);
}

static void pack_both(struct operands *o)
{
    int (*pack)(struct rlhf_packed *, const float *, size_t, size_t, bool, struct rlhf_pool *, struct rlhf_error *)
        = products == RLHF_PRODUCTS_BF16 ? rlhf_pack_rounded : rlhf_pack;
    struct rlhf_error err = { 0 };

    if (pack(&o->w, o->dw, o->n, o->k, false, pool, &err) < 0
        || pack(&o->back, o->dw, o->k, o->n, true, pool, &err) < 0)
        fail(&err);
}

static void bench_products(const char *name, const struct model *m, void (*run)(const struct operands *o))
{
    const size_t shapes[4][2] = { { m->qkv, m->c }, { m->c, m->c }, { m->up, m->c }, { m->c, m->down } };
    double work = 0, time = 0;

    if (!wanted(name))
        return;
    for (size_t i = 0; i < 4; i++) {
        size_t n = shapes[i][0], k = shapes[i][1];
        struct operands o = { .x = noise(m->t * k), .y = noise(m->t * n), .dw = noise(n * k), .m = m->t, .n = n, .k = k };

        pack_both(&o);
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

/* As one step of generation reads them: all weights of all layers in turn, so that they come from where they would. */
static void bench_rows(const struct model *m, size_t rows)
{
    enum { LAYERS = 12, PRODUCTS = 4 * LAYERS + 1 };
    const size_t shapes[4][2] = { { m->qkv, m->c }, { m->c, m->c }, { m->up, m->c }, { m->c, m->down } };
    struct operands o[PRODUCTS];
    double work = 0, best = 1e9, end;
    char name[32];

    snprintf(name, sizeof name, "gemm-rows-%zu", rows);
    if (!wanted(name))
        return;
    for (size_t i = 0; i < PRODUCTS; i++) {
        size_t n = i + 1 < PRODUCTS ? shapes[i % 4][0] : m->v, k = i + 1 < PRODUCTS ? shapes[i % 4][1] : m->c;

        o[i] = (struct operands){ .x = noise(rows * k), .y = noise(rows * n), .dw = noise(n * k), .m = rows, .n = n, .k = k };
        pack_both(&o[i]);
        rlhf_packed_free(&o[i].back);
        free(o[i].dw);
        work += 2e-9 * (double)rows * (double)n * (double)k;
    }
    end = now() + seconds_a_case;
    while (now() < end) {
        double begin = now(), took;

        for (size_t i = 0; i < PRODUCTS; i++)
            forward(&o[i]);
        took = now() - begin;
        best = took < best ? took : best;
    }
    print(name, m->name, work / best);
    for (size_t i = 0; i < PRODUCTS; i++) {
        rlhf_packed_free(&o[i].w);
        free(o[i].x);
        free(o[i].y);
    }
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
    float *table = noise(m->v * m->c), *hidden = noise(m->t * m->c), *d_hidden = noise(m->t * m->c), *d_w = noise(m->v * m->c),
          *logprob = noise(m->t), *lse = noise(m->t);
    int32_t *target = calloc(m->t, sizeof *target);
    double forward_time = 1e9, backward_time = 1e9, end, work = 2e-9 * (double)m->t * (double)m->v * (double)m->c;

    struct operands o = { .dw = table, .n = m->v, .k = m->c };

    pack_both(&o);
    end = now() + seconds_a_case;
    for (int i = 0; i < 2 || now() < end; i++) {
        double begin = now(), middle, after;

        rlhf_vocab_logprobs(&o.w, hidden, target, m->t, 0, 1, logprob, NULL, lse, NULL, pool);
        middle = now();
        rlhf_vocab_logprobs_backward(&o.w, &o.back, hidden, target, m->t, 0, 1, lse, NULL, logprob, NULL, NULL, d_hidden, d_w,
                                     pool);
        after = now();
        forward_time = middle - begin < forward_time ? middle - begin : forward_time;
        backward_time = after - middle < backward_time ? after - middle : backward_time;
    }
    print("vocab", m->name, work / forward_time);
    print("vocab-backward", m->name, 3 * work / backward_time); /* logits again, d_hidden, d_w */
    rlhf_packed_free(&o.w);
    rlhf_packed_free(&o.back);
    free(table);
    free(hidden);
    free(d_hidden);
    free(d_w);
    free(logprob);
    free(lse);
    free(target);
}

static void bench_model(const struct model *m)
{
    static const size_t rows[] = { 1, 8, 32, 64 };

    for (products = RLHF_PRODUCTS_F32; products <= RLHF_PRODUCTS_BF16; products++) {
        bench_products("gemm-forward", m, forward);
        bench_products("gemm-input", m, input);
        bench_products("gemm-weight", m, weight);
        for (size_t i = 0; m->c == 768 && i < sizeof rows / sizeof rows[0]; i++)
            bench_rows(m, rows[i]);
        if (wanted("vocab"))
            bench_vocab(m);
    }
    products = RLHF_PRODUCTS_F32;
    if (threads == 1)
        bench_products("gemm-sgemm", m, plain);
    if (wanted("attention"))
        bench_attention(m);
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
        for (size_t i = 0; i < MODELS; i++)
            bench_model(&models[i]);
        rlhf_pool_free(pool);
    }
    return 0;
}
