/* The promises of ops.h about bits: batches, threads, kernel sets and caches change none. */
#include "unit/tensor/compare.h"

static struct rlhf_packed packed(const float *w, size_t n, size_t k)
{
    struct rlhf_packed p = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_pack(&p, w, n, k, false, NULL, &err), err);
    return p;
}

static void expect_linear_invariant(size_t n, size_t k)
{
    enum { M = 64 };
    struct both w = some(n * k, 1), x = some(M * k, 1), bias = some(n, 1), y = nothing(M * n);
    struct rlhf_packed p = packed(w.f, n, k);
    float *alone = calloc(M * n, sizeof *alone);

    for (size_t i = 0; i < M; i++)
        rlhf_linear(&p, x.f + i * k, k, 1, bias.f, false, alone + i * n, n, NULL);
    for (size_t m = 1; m <= M; m++) {
        rlhf_linear(&p, x.f, k, m, bias.f, false, y.f, n, NULL);
        expect_same_bits(y.f, alone, m * n);
    }
    rlhf_packed_free(&p);
    free(alone);
    done(&w), done(&x), done(&bias), done(&y);
}

START_TEST(a_row_alone_is_the_row_in_any_batch)
{
    WITH_EVERY_SET({
        expect_linear_invariant(96, 128);
        expect_linear_invariant(101, 300);
    })
}
END_TEST

START_TEST(a_log_prob_alone_is_the_log_prob_in_any_batch)
{
    enum { N = 64, V = 600, C = 48 };
    struct both w = some(V * C, 1), hidden = some(N * C, 2), logprob = nothing(N), entropy = nothing(N), lse = nothing(N);
    int32_t target[N];

    for (size_t i = 0; i < N; i++)
        target[i] = (int32_t)noise_below(V);
    WITH_EVERY_SET({
        struct rlhf_packed p = packed(w.f, V, C);
        for (size_t n = 1; n <= N; n += 21) {
            rlhf_vocab_logprobs(&p, hidden.f, target, n, 0, 0.9f, logprob.f, entropy.f, lse.f, NULL, NULL);
            for (size_t i = 0; i < n; i++) {
                float one[3];
                rlhf_vocab_logprobs(&p, hidden.f + i * C, target + i, 1, 0, 0.9f, &one[0], &one[1], &one[2], NULL, NULL);
                expect_same_bits(&one[0], &logprob.f[i], 1);
                expect_same_bits(&one[1], &entropy.f[i], 1);
                expect_same_bits(&one[2], &lse.f[i], 1);
            }
        }
        rlhf_packed_free(&p);
    })
    done(&w), done(&hidden), done(&logprob), done(&entropy), done(&lse);
}
END_TEST

/* ---- threads and kernel sets: one run of everything, written into one array -------------------------- */

enum { T = 300, C = 96, N = 224, V = 1100, H = 4, G = 2, D = 24, ROW = (H + 2 * G) * D };

struct everything {
    float *at;
    size_t size;
};

static float *take(struct everything *e, size_t count)
{
    e->at = realloc(e->at, (e->size + count) * sizeof *e->at);
    memset(e->at + e->size, 0, count * sizeof *e->at);
    e->size += count;
    return e->at + e->size - count;
}

static struct everything run_everything(struct rlhf_pool *pool)
{
    struct everything e = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_packed p = { 0 }, back = { 0 }, head = { 0 }, head_back = { 0 };
    static const uint32_t start[] = { 0, 17, 18, 150, T };
    struct rlhf_attention_shape s = { .start = start, .sequences = 4, .heads = H, .kv_heads = G, .d = D };
    struct rlhf_adamw adamw = { 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 3, false };
    float *y, *mean, *rstd, *out, *lse, *dx, *d_gain, *logprob, *entropy;
    int32_t token[T];
    double sum;

    noise_state = 42;
    struct both w = some(N * C, 1), x = some(T * C, 1), dy = some(T * N, 1), gain = some(N, 1), qkv = some(T * ROW, 1),
                d_out = some(T * H * D, 1), vocab = some(V * C, 1), big = some(100000, 1);
    for (size_t i = 0; i < T; i++)
        token[i] = (int32_t)noise_below(V);
    expect_ok(rlhf_pack(&p, w.f, N, C, false, pool, &err), err);
    expect_ok(rlhf_pack(&back, w.f, C, N, true, pool, &err), err);
    expect_ok(rlhf_pack(&head, vocab.f, V, C, false, pool, &err), err);
    expect_ok(rlhf_pack(&head_back, vocab.f, C, V, true, pool, &err), err);

    rlhf_linear(&p, x.f, C, T, gain.f, false, take(&e, T * N), N, pool);
    rlhf_linear(&back, dy.f, N, T, NULL, false, take(&e, T * C), C, pool);
    y = take(&e, N * C + N);
    rlhf_linear_backward_weight(dy.f, N, x.f, C, T, N, C, false, y, y + N * C, pool);
    y = take(&e, T * N + 2 * T), mean = y + T * N, rstd = mean + T;
    rlhf_layernorm(dy.f, gain.f, gain.f, 1e-5f, T, N, y, mean, rstd, pool);
    dx = take(&e, T * N + 2 * N), d_gain = dx + T * N;
    y = e.at + e.size - (T * N + 2 * N) - (T * N + 2 * T), mean = y + T * N, rstd = mean + T;
    rlhf_layernorm_backward(y, dy.f, gain.f, mean, rstd, T, N, dx, d_gain, d_gain + N, pool);
    y = take(&e, T * N + T), rstd = y + T * N;
    rlhf_rmsnorm(dy.f, gain.f, 0, 1e-5f, T, N, y, rstd, pool);
    for (enum rlhf_activation f = 0; f < RLHF_ACTIVATIONS; f++) {
        rlhf_activate(f, dy.f, T * N, take(&e, T * N), pool);
        y = take(&e, 2 * T * N);
        rlhf_activate_backward(f, dy.f, dy.f, T * N, y, y + T * N, pool);
        rlhf_gate(f, dy.f, T, N / 2, take(&e, T * N / 2), pool);
        y = take(&e, 3 * T * C);
        rlhf_gate_backward(f, x.f, dy.f, T, N / 2 < C ? N / 2 : C, y, y + T * C, pool);
    }
    float *capped = take(&e, T * N);
    memcpy(capped, dy.f, T * N * sizeof *capped);
    rlhf_soft_cap(capped, T * N, 0.7f, pool);
    rlhf_embed_backward(x.f, token, NULL, T, C, take(&e, V * C), NULL, pool);
    out = take(&e, T * H * D + H * T + T * ROW), lse = out + T * H * D;
    rlhf_attention(&s, qkv.f, out, lse, pool);
    rlhf_attention_backward(&s, d_out.f, qkv.f, out, lse, lse + H * T, pool);
    s.cap = 3, s.window = 21;
    out = take(&e, T * H * D + H * T + T * ROW), lse = out + T * H * D;
    rlhf_attention(&s, qkv.f, out, lse, pool);
    rlhf_attention_backward(&s, d_out.f, qkv.f, out, lse, lse + H * T, pool);
    out = take(&e, 2 * T * H * D + T * H + D), rstd = out + T * H * D;
    rlhf_head_norm(qkv.f, ROW, gain.f, 0, 1e-5f, T, H, D, out, H * D, rstd, pool);
    memcpy(rstd + T * H, d_out.f, T * H * D * sizeof *rstd);
    rlhf_head_norm_backward(qkv.f, ROW, gain.f, 0, rstd, T, H, D, rstd + T * H, H * D, rstd + T * H + T * H * D, pool);
    logprob = take(&e, 3 * T + T * C + V * C), entropy = logprob + T, lse = entropy + T;
    rlhf_vocab_logprobs(&head, x.f, token, T, 2, 0.8f, logprob, entropy, lse, NULL, pool);
    rlhf_vocab_logprobs_backward(&head, &head_back, x.f, token, T, 2, 0.8f, lse, entropy, x.f, dy.f, NULL, lse + T,
                                 lse + T + T * C, pool);
    y = take(&e, 3);
    rlhf_vocab_row(big.f, 1601, 0.8f, y, y + 1, y + 2);
    rlhf_vocab_weights_row(big.f, 1601, 0.8f, 1.25f, take(&e, 1601));
    y = take(&e, 3 * 100000);
    sum = rlhf_sum_squares(big.f, 100000, pool);
    rlhf_adamw_step(&adamw, 0.3f, true, big.f, y, y + 100000, y + 200000, 100000, pool);
    memcpy(take(&e, 2), &sum, sizeof sum);

    rlhf_packed_free(&p), rlhf_packed_free(&back), rlhf_packed_free(&head), rlhf_packed_free(&head_back);
    done(&w), done(&x), done(&dy), done(&gain), done(&qkv), done(&d_out), done(&vocab), done(&big);
    return e;
}

START_TEST(one_two_or_three_threads_give_the_same_bits)
{
    WITH_EVERY_SET({
        struct everything alone = run_everything(NULL);
        for (unsigned threads = 1; threads <= 3; threads++) {
            struct rlhf_error err = { 0 };
            struct rlhf_pool *pool = rlhf_pool_new(threads, &err);
            expect_some(pool, err);
            struct everything e = run_everything(pool);
            ck_assert_uint_eq(e.size, alone.size);
            expect_same_bits(e.at, alone.at, e.size);
            free(e.at);
            rlhf_pool_free(pool);
        }
        free(alone.at);
    })
}
END_TEST

START_TEST(all_kernel_sets_with_fma_give_the_same_bits)
{
    struct everything a, b;

    if (!rlhf_kernels_choose("avx512"))
        skip("this machine has no AVX-512 to compare AVX2 with");
    a = run_everything(NULL);
    ck_assert(rlhf_kernels_choose("avx2"));
    b = run_everything(NULL);
    ck_assert_uint_eq(a.size, b.size);
    expect_same_bits(a.at, b.at, a.size);
    free(a.at), free(b.at);
}
END_TEST

/* ---- attention behind a cache ------------------------------------------------------------------------ */

/* Three sequences extended in the given pieces, all at once a step, must give what attention over them whole gives. The last two
 * begin with the same COMMON tokens, which are said to be shared when both have them. */
static void expect_extend_equal_in(struct rlhf_attention_shape s, size_t piece)
{
    static const uint32_t start[] = { 0, 5, 70, 111 };
    enum { SEQUENCES = 3, ROOM = 80, TOKENS = 111, COMMON = 37 };
    size_t row = (s.heads + 2 * s.kv_heads) * s.d, width = s.heads * s.d;
    struct both qkv = some(TOKENS * row, 2);
    float *whole = calloc(TOKENS * width, sizeof *whole), *pieces = calloc(TOKENS * width, sizeof *pieces);
    float *rows = calloc(TOKENS * row, sizeof *rows), *out = calloc(TOKENS * width, sizeof *out);
    struct rlhf_attention_item cache[SEQUENCES];

    s.start = start;
    s.sequences = SEQUENCES;
    memcpy(qkv.f + start[2] * row, qkv.f + start[1] * row, COMMON * row * sizeof *qkv.f);
    if (s.halves)
        rlhf_round_halves(qkv.f, row, TOKENS, row, NULL);
    rlhf_attention(&s, qkv.f, whole, NULL, NULL);
    for (size_t i = 0; i < SEQUENCES; i++) {
        size_t size = rlhf_attention_block(&s, ROOM) * sizeof(float);
        cache[i] = (struct rlhf_attention_item){ .keys = malloc(size), .values = malloc(size), .room = ROOM };
        memset(cache[i].keys, 0xff, size); /* NaN: what a cache held before */
        memset(cache[i].values, 0xff, size);
    }
    for (bool more = true; more;) {
        size_t packed_rows = 0;
        for (size_t i = 0; i < SEQUENCES; i++) {
            size_t left = start[i + 1] - start[i] - cache[i].length;
            cache[i].count = left < piece ? left : piece;
            memcpy(rows + packed_rows * row, qkv.f + (start[i] + cache[i].length) * row,
                   cache[i].count * row * sizeof *rows);
            packed_rows += cache[i].count;
        }
        cache[2].shared = cache[1].length >= COMMON && cache[2].length >= COMMON ? COMMON : 0;
        rlhf_attention_extend(&s, cache, SEQUENCES, rows, out, NULL);
        more = packed_rows > 0;
        packed_rows = 0;
        for (size_t i = 0; i < SEQUENCES; i++) {
            memcpy(pieces + (start[i] + cache[i].length) * width, out + packed_rows * width,
                   cache[i].count * width * sizeof *out);
            packed_rows += cache[i].count;
            cache[i].length += cache[i].count;
        }
    }
    expect_same_bits(pieces, whole, TOKENS * width);
    for (size_t i = 0; i < SEQUENCES; i++)
        free(cache[i].keys), free(cache[i].values);
    free(whole), free(pieces), free(rows), free(out);
    done(&qkv);
}

static void expect_extend_equal(struct rlhf_attention_shape s, size_t piece)
{
    expect_extend_equal_in(s, piece);
    s.halves = true;
    expect_extend_equal_in(s, piece);
}

START_TEST(attention_behind_a_cache_is_attention_whatever_the_pieces)
{
    static const size_t pieces[] = { 1, 7, 16, 33, 100 };

    WITH_EVERY_SET({
        for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
            expect_extend_equal((struct rlhf_attention_shape){ .heads = 4, .kv_heads = 4, .d = 32 }, pieces[i]);
            expect_extend_equal((struct rlhf_attention_shape){ .heads = 4, .kv_heads = 2, .d = 64 }, pieces[i]);
            expect_extend_equal((struct rlhf_attention_shape){ .heads = 3, .kv_heads = 1, .d = 20 }, pieces[i]);
            expect_extend_equal((struct rlhf_attention_shape){ .heads = 2, .kv_heads = 2, .d = 7 }, pieces[i]);
            for (size_t window = 1; window < 60; window += 9)
                expect_extend_equal((struct rlhf_attention_shape){ .heads = 4, .kv_heads = window % 2 ? 4 : 2, .d = 20,
                                                                   .scale = 0.3f, .cap = 4, .window = window,
                                                                   .interleaved = window % 2 }, pieces[i]);
        }
    })
}
END_TEST

int main(void)
{
    return RUN_SUITE("tensor/sameness", a_row_alone_is_the_row_in_any_batch,
                     a_log_prob_alone_is_the_log_prob_in_any_batch, one_two_or_three_threads_give_the_same_bits,
                     all_kernel_sets_with_fma_give_the_same_bits,
                     attention_behind_a_cache_is_attention_whatever_the_pieces);
}
