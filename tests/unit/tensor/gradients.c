/* The twins' backward forms against finite differences of their forward forms, in double. With operations.c, where fast
 * backward forms equal the twins', this checks every gradient. */
#include "unit/tensor/compare.h"

enum { T = 5, C = 6 };

/* A scalar function of all inputs: Σ weight·output. */
struct check {
    double *x;       /* what is varied */
    size_t count;
    double *gradient; /* claimed */
    double (*loss)(void *ctx);
    void *ctx;
};

static void expect_gradient(const struct check *c, const char *what)
{
    for (size_t i = 0; i < c->count; i++) {
        double x = c->x[i], h = 1e-5, up, down, slope;
        c->x[i] = x + h;
        up = c->loss(c->ctx);
        c->x[i] = x - h;
        down = c->loss(c->ctx);
        c->x[i] = x;
        slope = (up - down) / (2 * h);
        ck_assert_msg(fabs(slope - c->gradient[i]) <= 1e-7 * (1 + fabs(slope)), "%s[%zu]: claimed %.12g, measured %.12g",
                      what, i, c->gradient[i], slope);
    }
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double *numbers(size_t count)
{
    double *x = malloc(count * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = noise();
    return x;
}

static double *zeros(size_t count)
{
    return calloc(count, sizeof(double));
}

static double *x, *dy, *gain, *shift, *y, *mean, *rstd, *w, *bias;

enum norm { LAYER, RMS, RMS_OFFSET, HEADS };

static double norm_loss(void *ctx)
{
    const enum norm kind = *(enum norm *)ctx;

    if (kind == LAYER)
        rlhf_reference_layernorm(x, gain, shift, 1e-3, T, C, y, mean, rstd);
    else if (kind == HEADS) /* two heads of C/2, and between their rows nothing */
        rlhf_reference_head_norm(x, C, gain, 0.5, 1e-3, T, 2, C / 2, y, C, rstd);
    else
        rlhf_reference_rmsnorm(x, gain, kind == RMS_OFFSET, 1e-3, T, C, y, rstd);
    return dot(y, dy, T * C);
}

START_TEST(norms_have_the_gradients_that_differences_show)
{
    for (enum norm kind = LAYER; kind <= HEADS; kind++) {
        double *dx = zeros(T * C), *d_gain = zeros(C), *d_shift = zeros(C);

        x = numbers(T * C), dy = numbers(T * C), gain = numbers(C), shift = numbers(C), y = zeros(T * C), mean = zeros(T),
        rstd = zeros(2 * T);
        norm_loss(&kind);
        if (kind == LAYER) {
            rlhf_reference_layernorm_backward(dy, x, gain, mean, rstd, T, C, dx, d_gain, d_shift);
        } else if (kind == HEADS) {
            memcpy(dx, dy, T * C * sizeof *dx);
            rlhf_reference_head_norm_backward(x, C, gain, 0.5, rstd, T, 2, C / 2, dx, C, d_gain);
        } else {
            rlhf_reference_rmsnorm_backward(dy, x, gain, kind == RMS_OFFSET, rstd, T, C, dx, d_gain);
        }
        expect_gradient(&(struct check){ x, T * C, dx, norm_loss, &kind }, "dx");
        expect_gradient(&(struct check){ gain, kind == HEADS ? C / 2 : C, d_gain, norm_loss, &kind }, "d_gain");
        if (kind == LAYER)
            expect_gradient(&(struct check){ shift, C, d_shift, norm_loss, &kind }, "d_shift");
        free(dx), free(d_gain), free(d_shift);
        free(x), free(dy), free(gain), free(shift), free(y), free(mean), free(rstd);
    }
}
END_TEST

static double activation_loss(void *f)
{
    rlhf_reference_activate(*(enum rlhf_activation *)f, x, T * C, y);
    return dot(y, dy, T * C);
}

static double gate_loss(void *f)
{
    rlhf_reference_gate(*(enum rlhf_activation *)f, x, T, C / 2, y);
    return dot(y, dy, T * C / 2);
}

START_TEST(activations_have_the_gradients_that_differences_show)
{
    double *dx = zeros(T * C);

    x = numbers(T * C), dy = numbers(T * C), y = zeros(T * C);
    for (enum rlhf_activation f = 0; f < RLHF_ACTIVATIONS; f++) {
        rlhf_reference_activate_backward(f, dy, x, T * C, dx);
        expect_gradient(&(struct check){ x, T * C, dx, activation_loss, &f }, "an activation's dx");
        rlhf_reference_gate_backward(f, dy, x, T, C / 2, dx);
        expect_gradient(&(struct check){ x, T * C, dx, gate_loss, &f }, "a gate's dx");
    }
    free(dx), free(x), free(dy), free(y);
}
END_TEST

enum { N = 4 };

static double linear_loss(void *transposed)
{
    rlhf_reference_linear(w, x, C, T, N, C, transposed != NULL, bias, false, y, N);
    return dot(y, dy, T * N);
}

START_TEST(a_product_has_the_gradients_that_differences_show)
{
    for (int transposed = 0; transposed < 2; transposed++) {
        double *dw = zeros(N * C), *db = zeros(N), *dx = zeros(T * C);
        void *ctx = transposed ? dw : NULL;

        w = numbers(N * C), x = numbers(T * C), bias = numbers(N), dy = numbers(T * N), y = zeros(T * N);
        rlhf_reference_linear_backward_weight(dy, N, x, C, T, N, C, transposed, dw, db);
        rlhf_reference_linear(w, dy, N, T, C, N, !transposed, NULL, false, dx, C);
        expect_gradient(&(struct check){ w, N * C, dw, linear_loss, ctx }, "dw");
        expect_gradient(&(struct check){ bias, N, db, linear_loss, ctx }, "db");
        expect_gradient(&(struct check){ x, T * C, dx, linear_loss, ctx }, "dx");
        free(dw), free(db), free(dx), free(w), free(x), free(bias), free(dy), free(y);
    }
}
END_TEST

enum { H = 4, G = 2, D = 3, TOKENS = 9 };
static const uint32_t start[] = { 0, 4, 4, 9 };
static double *lse;

static double attention_loss(void *shape)
{
    rlhf_reference_attention(shape, x, y, lse);
    return dot(y, dy, TOKENS * H * D);
}

static void check_attention(const struct rlhf_attention_shape *shape)
{
    size_t row = (shape->heads + 2 * shape->kv_heads) * D;
    double *dx = zeros(TOKENS * row);

    x = numbers(TOKENS * row), dy = numbers(TOKENS * H * D), y = zeros(TOKENS * H * D), lse = zeros(H * TOKENS);
    attention_loss((void *)shape);
    rlhf_reference_attention_backward(shape, dy, x, y, lse, dx);
    expect_gradient(&(struct check){ x, TOKENS * row, dx, attention_loss, (void *)shape }, "d_qkv");
    free(dx), free(x), free(dy), free(y), free(lse);
}

START_TEST(attention_has_the_gradients_that_differences_show)
{
    check_attention(&(struct rlhf_attention_shape){ .start = start, .sequences = 3, .heads = H, .kv_heads = G, .d = D });
    check_attention(&(struct rlhf_attention_shape){ .start = start, .sequences = 3, .heads = H, .kv_heads = G, .d = D,
                                                    .scale = 0.4f, .cap = 0.5f, .window = 3 });
    check_attention(&(struct rlhf_attention_shape){ .start = start, .sequences = 3, .heads = H, .kv_heads = H, .d = D,
                                                    .interleaved = true, .window = 2 });
}
END_TEST

enum { V = 7 };
static const int32_t target[T] = { 0, 6, 3, 3, 1 };
static double *logprob, *entropy, *d_logprob, *d_entropy;

static double vocab_loss(void *cap)
{
    rlhf_reference_vocab_logprobs(w, x, target, T, V, C, *(double *)cap, 0.7, logprob, entropy, lse);
    return dot(logprob, d_logprob, T) + dot(entropy, d_entropy, T);
}

START_TEST(log_probs_and_entropy_have_the_gradients_that_differences_show)
{
    for (double cap = 0; cap < 2; cap += 0.8) {
        double *d_hidden = zeros(T * C), *d_w = zeros(V * C);

        x = numbers(T * C), w = numbers(V * C), logprob = zeros(T), entropy = zeros(T), lse = zeros(T);
        d_logprob = numbers(T), d_entropy = numbers(T);
        vocab_loss(&cap);
        rlhf_reference_vocab_logprobs_backward(w, x, target, T, V, C, cap, 0.7, lse, entropy, d_logprob, d_entropy,
                                               d_hidden, d_w);
        expect_gradient(&(struct check){ x, T * C, d_hidden, vocab_loss, &cap }, "d_hidden");
        expect_gradient(&(struct check){ w, V * C, d_w, vocab_loss, &cap }, "d_w");
        free(d_hidden), free(d_w), free(x), free(w), free(logprob), free(entropy), free(lse), free(d_logprob),
            free(d_entropy);
    }
}
END_TEST

static const uint32_t position[T] = { 0, 1, 2, 0, 1 };

static double rope_loss(void *table)
{
    memcpy(y, x, T * C * sizeof *y);
    rlhf_reference_rope(y, C, 1, C, C - 2, position, T, table, false); /* two dimensions stay */
    return dot(y, dy, T * C);
}

START_TEST(rotation_has_the_gradient_that_differences_show)
{
    double *dx = numbers(T * C), *table = zeros(3 * C);

    x = numbers(T * C), dy = dx, y = zeros(T * C);
    rlhf_reference_rope_table(100, &(struct rlhf_rope_scaling){ .amplitude = 1.2 }, 0, 3, C - 2, table);
    dy = numbers(T * C);
    memcpy(dx, dy, T * C * sizeof *dx);
    rlhf_reference_rope(dx, C, 1, C, C - 2, position, T, table, true);
    expect_gradient(&(struct check){ x, T * C, dx, rope_loss, table }, "dx");
    free(dx), free(table), free(x), free(dy), free(y);
}
END_TEST

static const int32_t token[T] = { 2, 0, 2, 1, 2 };

static double embed_loss(void *ctx)
{
    (void)ctx;
    rlhf_reference_embed(w, token, bias, position, T, C, y);
    return dot(y, dy, T * C);
}

START_TEST(embedding_has_the_gradients_that_differences_show)
{
    double *d_table = zeros(3 * C), *d_place = zeros(3 * C);

    w = numbers(3 * C), bias = numbers(3 * C), dy = numbers(T * C), y = zeros(T * C);
    rlhf_reference_embed_backward(dy, token, position, T, C, d_table, d_place);
    expect_gradient(&(struct check){ w, 3 * C, d_table, embed_loss, NULL }, "d_table");
    expect_gradient(&(struct check){ bias, 3 * C, d_place, embed_loss, NULL }, "d_position_table");
    free(d_table), free(d_place), free(w), free(bias), free(dy), free(y);
}
END_TEST

int main(void)
{
    return RUN_SUITE("tensor/gradients", norms_have_the_gradients_that_differences_show,
                     activations_have_the_gradients_that_differences_show,
                     a_product_has_the_gradients_that_differences_show, attention_has_the_gradients_that_differences_show,
                     log_probs_and_entropy_have_the_gradients_that_differences_show,
                     rotation_has_the_gradient_that_differences_show, embedding_has_the_gradients_that_differences_show);
}
