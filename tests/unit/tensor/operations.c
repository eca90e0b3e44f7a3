/* Every operation against its plain twin, over odd shapes, with every kernel set. */
#include "unit/tensor/compare.h"

static const size_t odd[] = { 0, 1, 2, 3, 7, 16, 33, 131 };
enum { ODD = sizeof odd / sizeof odd[0] };

static struct rlhf_packed packed(const float *w, size_t n, size_t k, bool transposed)
{
    struct rlhf_packed p = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_pack(&p, w, n, k, transposed, NULL, &err), err);
    return p;
}

static void compare_linear(size_t m, size_t n, size_t k, bool transposed, bool accumulate, bool biased)
{
    struct both w = some(n * k, 1), x = some(m * (k + 3), 1), bias = some(n, 1), y = some(m * (n + 5), 1);
    struct rlhf_packed p = packed(w.f, n, k, transposed);

    rlhf_linear(&p, x.f, k + 3, m, biased ? bias.f : NULL, accumulate, y.f, n + 5, NULL);
    rlhf_reference_linear(w.d, x.d, k + 3, m, n, k, transposed, biased ? bias.d : NULL, accumulate, y.d, n + 5);
    expect_close(&y, k < 200 ? 1e-5 : 5e-5); /* the rounding of a chain of k sums in float */
    rlhf_packed_free(&p);
    done(&w), done(&x), done(&bias), done(&y);
}

START_TEST(linear_is_its_twin)
{
    WITH_EVERY_SET({
        for (size_t m = 0; m < ODD; m++)
            for (size_t n = 0; n < ODD; n++)
                for (size_t k = 0; k < ODD; k++)
                    compare_linear(odd[m], odd[n], odd[k], (m + n + k) % 2, n % 2, k % 3);
        compare_linear(129, 200, 700, false, false, true);
        compare_linear(9, 1000, 513, true, true, false);
    })
}
END_TEST

static void compare_gradient(size_t m, size_t n, size_t k, bool transposed, bool biased)
{
    struct both dy = some(m * (n + 2), 1), x = some(m * (k + 1), 1), dw = some(n * k, 1), db = some(n, 1);

    rlhf_linear_backward_weight(dy.f, n + 2, x.f, k + 1, m, n, k, transposed, dw.f, biased ? db.f : NULL, NULL);
    rlhf_reference_linear_backward_weight(dy.d, n + 2, x.d, k + 1, m, n, k, transposed, dw.d, biased ? db.d : NULL);
    expect_close(&dw, 1e-5);
    expect_close(&db, 1e-5);
    done(&dy), done(&x), done(&dw), done(&db);
}

START_TEST(the_gradient_of_a_weight_is_its_twin)
{
    WITH_EVERY_SET({
        for (size_t m = 0; m < ODD; m++)
            for (size_t n = 0; n < ODD; n++)
                for (size_t k = 0; k < ODD; k++)
                    compare_gradient(odd[m], odd[n], odd[k], (m + n + k) % 2, n % 2);
        compare_gradient(600, 130, 140, false, true);
    })
}
END_TEST

START_TEST(the_gradient_of_a_weight_through_openblas_is_its_twin)
{
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_tensor_start(&err), err);
    for (size_t m = 4; m < ODD; m++)
        for (size_t n = 4; n < ODD; n++)
            for (size_t k = 4; k < ODD; k++)
                compare_gradient(odd[m], odd[n], odd[k], (m + n + k) % 2, n % 2);
    compare_gradient(600, 130, 240, false, true);
    compare_gradient(70, 400, 33, true, true);
}
END_TEST

static void compare_rows(size_t t, size_t c)
{
    struct both x = some(t * c, 2), gain = some(c, 1), shift = some(c, 1), y = nothing(t * c), mean = nothing(t),
                rstd = nothing(t), dy = some(t * c, 1), dx = some(t * c, 1), d_gain = some(c, 1), d_shift = some(c, 1);

    rlhf_layernorm(x.f, gain.f, shift.f, 1e-5f, t, c, y.f, mean.f, rstd.f, NULL);
    rlhf_reference_layernorm(x.d, gain.d, shift.d, (double)1e-5f, t, c, y.d, mean.d, rstd.d);
    /* With few channels rstd is up to 300, and so is the rounding of x - mean. */
    expect_close(&y, c < 4 ? 1e-3 : 1e-5), expect_close(&mean, 1e-6), expect_close(&rstd, c < 4 ? 1e-3 : 1e-5);
    rlhf_layernorm_backward(dy.f, x.f, gain.f, mean.f, rstd.f, t, c, dx.f, d_gain.f, d_shift.f, NULL);
    rlhf_reference_layernorm_backward(dy.d, x.d, gain.d, mean.d, rstd.d, t, c, dx.d, d_gain.d, d_shift.d);
    expect_close(&dx, c < 4 ? 1e-2 : 2e-5), expect_close(&d_gain, c < 4 ? 1e-3 : 2e-5), expect_close(&d_shift, 1e-5);
    for (int offset = 0; offset < 2; offset++) {
        rlhf_rmsnorm(x.f, gain.f, (float)offset, 1e-5f, t, c, y.f, rstd.f, NULL);
        rlhf_reference_rmsnorm(x.d, gain.d, offset, (double)1e-5f, t, c, y.d, rstd.d);
        expect_close(&y, 1e-5), expect_close(&rstd, 1e-5);
        rlhf_rmsnorm_backward(dy.f, x.f, gain.f, (float)offset, rstd.f, t, c, dx.f, d_gain.f, NULL);
        rlhf_reference_rmsnorm_backward(dy.d, x.d, gain.d, offset, rstd.d, t, c, dx.d, d_gain.d);
        expect_close(&dx, c < 4 ? 1e-2 : 2e-5), expect_close(&d_gain, c < 4 ? 1e-3 : 2e-5);
    }
    done(&x), done(&gain), done(&shift), done(&y), done(&mean), done(&rstd), done(&dy), done(&dx), done(&d_gain),
        done(&d_shift);
}

START_TEST(norms_are_their_twins)
{
    WITH_EVERY_SET({
        for (size_t t = 0; t < ODD; t++)
            for (size_t c = 1; c < ODD; c++)
                compare_rows(odd[t], odd[c]);
    })
}
END_TEST

/* Heads that are a part of a row, of an input as wide and of one that is narrower. */
static void compare_head_norm(size_t t, size_t heads, size_t d, float offset)
{
    size_t stride = heads * d + 5, narrow = heads * d;
    struct both x = some(t * narrow, 2), gain = some(d, 1), y = some(t * stride, 1), rstd = nothing(t * heads),
                dy = some(t * stride, 1), d_gain = some(d, 1);

    rlhf_head_norm(x.f, narrow, gain.f, offset, 1e-3f, t, heads, d, y.f, stride, rstd.f, NULL);
    rlhf_reference_head_norm(x.d, narrow, gain.d, (double)offset, (double)1e-3f, t, heads, d, y.d, stride, rstd.d);
    expect_close(&y, 1e-5), expect_close(&rstd, 1e-5);
    rlhf_head_norm_backward(x.f, narrow, gain.f, offset, rstd.f, t, heads, d, dy.f, stride, d_gain.f, NULL);
    rlhf_reference_head_norm_backward(x.d, narrow, gain.d, (double)offset, rstd.d, t, heads, d, dy.d, stride, d_gain.d);
    expect_close(&dy, 1e-4), expect_close(&d_gain, 1e-4);
    rlhf_head_norm(y.f, stride, gain.f, offset, 1e-3f, t, heads, d, y.f, stride, rstd.f, NULL); /* in place */
    rlhf_reference_head_norm(y.d, stride, gain.d, (double)offset, (double)1e-3f, t, heads, d, y.d, stride, rstd.d);
    expect_close(&y, 1e-4);
    done(&x), done(&gain), done(&y), done(&rstd), done(&dy), done(&d_gain);
}

START_TEST(norms_of_heads_are_their_twins)
{
    WITH_EVERY_SET({
        for (size_t t = 0; t < ODD; t++)
            for (size_t d = 1; d < ODD; d++)
                compare_head_norm(odd[t], 1 + d % 3, odd[d], (float)(t % 2));
    })
}
END_TEST

static void compare_caps(size_t count, double scale, float cap)
{
    struct both x = some(count, scale);

    rlhf_soft_cap(x.f, count, cap, NULL);
    rlhf_reference_soft_cap(x.d, count, (double)cap);
    for (size_t i = 0; i < count; i++) /* of itself: small scores keep their digits */
        ck_assert_msg(fabs((double)x.f[i] - x.d[i]) <= 4e-7 * fabs(x.d[i]), "%.9g, its twin's %.9g", (double)x.f[i], x.d[i]);
    rlhf_scale(x.f, count, 0.3f, NULL);
    for (size_t i = 0; i < count; i++)
        x.d[i] *= (double)0.3f;
    expect_close(&x, 1e-5);
    done(&x);
}

START_TEST(soft_caps_are_their_twins_near_nothing_and_far_away)
{
    WITH_EVERY_SET({
        for (size_t i = 0; i < ODD; i++) {
            compare_caps(odd[i], 1e-3, 5);
            compare_caps(odd[i], 20, 7);
            compare_caps(odd[i], 1e6, 30);
        }
        float strange[4] = { NAN };
        strange[1] = INFINITY;
        strange[2] = -INFINITY;
        rlhf_soft_cap(strange, 4, 30, NULL);
        ck_assert(isnan(strange[0]) && strange[1] == 30 && strange[2] == -30 && strange[3] == 0);
    })
}
END_TEST

static void compare_activations(size_t t, size_t c, double scale)
{
    struct both x = some(t * 2 * c, scale), y = nothing(t * c), dy = some(t * 2 * c, 1), dx = nothing(t * 2 * c),
                z = nothing(2 * t * c);

    for (unsigned i = 0; i < RLHF_ACTIVATIONS; i++) {
        enum rlhf_activation f = (enum rlhf_activation)i;
        rlhf_activate(f, x.f, 2 * t * c, z.f, NULL);
        rlhf_reference_activate(f, x.d, 2 * t * c, z.d);
        expect_close(&z, 2e-6);
        memset(z.f, 0, 2 * t * c * sizeof *z.f);
        rlhf_activate_backward(f, dy.f, x.f, 2 * t * c, z.f, dx.f, NULL);
        expect_close(&z, 2e-6);
        rlhf_reference_activate_backward(f, dy.d, x.d, 2 * t * c, dx.d);
        expect_close(&dx, 2e-6);
        rlhf_gate(f, x.f, t, c, y.f, NULL);
        rlhf_reference_gate(f, x.d, t, c, y.d);
        expect_close(&y, 2e-6);
        memset(y.f, 0, t * c * sizeof *y.f);
        rlhf_gate_backward(f, dy.f, x.f, t, c, y.f, dx.f, NULL);
        expect_close(&y, 2e-6);
        rlhf_reference_gate_backward(f, dy.d, x.d, t, c, dx.d);
        expect_close(&dx, scale > 10 ? 1e-4 : 2e-6);
    }
    rlhf_add(dy.f, 2 * t * c, x.f, NULL);
    for (size_t i = 0; i < 2 * t * c; i++)
        x.d[i] += dy.d[i];
    expect_close(&x, 1e-7);
    done(&x), done(&y), done(&dy), done(&dx), done(&z);
}

START_TEST(activations_are_their_twins_at_every_size_of_input)
{
    WITH_EVERY_SET({
        for (size_t t = 0; t < ODD; t++)
            for (size_t c = 1; c < ODD; c++)
                compare_activations(odd[t], odd[c], c % 3 == 0 ? 200 : 4);
    })
}
END_TEST

static void compare_embedding(size_t t, size_t c)
{
    enum { V = 11, P = 5 };
    struct both table = some(V * c, 1), places = some(P * c, 1), y = nothing(t * c), dy = some(t * c, 1),
                d_table = some(V * c, 1), d_places = some(P * c, 1);
    int32_t token[131];
    uint32_t position[131];

    for (size_t i = 0; i < t; i++) {
        token[i] = (int32_t)noise_below(V);
        position[i] = (uint32_t)noise_below(P);
    }
    for (int with = 0; with < 2; with++) {
        rlhf_embed(table.f, token, with ? places.f : NULL, position, t, c, y.f, NULL);
        rlhf_reference_embed(table.d, token, with ? places.d : NULL, position, t, c, y.d);
        expect_close(&y, 1e-7);
        rlhf_embed_backward(dy.f, token, position, t, c, d_table.f, with ? d_places.f : NULL, NULL);
        rlhf_reference_embed_backward(dy.d, token, position, t, c, d_table.d, with ? d_places.d : NULL);
        expect_close(&d_table, 1e-5), expect_close(&d_places, 1e-5);
    }
    done(&table), done(&places), done(&y), done(&dy), done(&d_table), done(&d_places);
}

START_TEST(embedding_is_its_twin)
{
    WITH_EVERY_SET({
        for (size_t t = 0; t < ODD; t++)
            for (size_t c = 1; c < ODD; c++)
                compare_embedding(odd[t], odd[c]);
    })
}
END_TEST

/* The first `turning` dimensions of heads that may stand apart. */
static void compare_rope(size_t t, size_t heads, size_t d, size_t turning, size_t head_stride,
                         const struct rlhf_rope_scaling *scaling, size_t length)
{
    size_t stride = heads * head_stride + 3;
    struct both x = some(t * stride, 1), table = nothing(200 * turning);
    float *before = malloc((x.count + 1) * sizeof *before);
    uint32_t position[131];

    ck_assert(turning <= d && d <= head_stride);
    memcpy(before, x.f, x.count * sizeof *before);
    for (size_t i = 0; i < t; i++)
        position[i] = (uint32_t)noise_below(200);
    rlhf_rope_table(10000, scaling, length, 200, turning, table.f);
    rlhf_reference_rope_table(10000, scaling, length, 200, turning, table.d);
    expect_close(&table, 1e-7);
    rlhf_rope(x.f, stride, heads, head_stride, turning, position, t, table.f, false, NULL);
    rlhf_reference_rope(x.d, stride, heads, head_stride, turning, position, t, table.d, false);
    expect_close(&x, 1e-6);
    rlhf_rope(x.f, stride, heads, head_stride, turning, position, t, table.f, true, NULL);
    for (size_t i = 0; i < x.count && !(scaling && scaling->amplitude > 0); i++)
        ck_assert_float_eq_tol(x.f[i], before[i], 1e-6f);
    free(before);
    done(&x), done(&table);
}

START_TEST(rotation_is_its_twin_and_backward_undoes_it)
{
    WITH_EVERY_SET({
        for (size_t t = 0; t < ODD; t++) {
            compare_rope(odd[t], 3, 32, 32, 32, NULL, 0);
            compare_rope(odd[t], 1, 6, 6, 6, NULL, 0);
            compare_rope(odd[t], 2, 2, 2, 2, NULL, 0);
            compare_rope(odd[t], 2, 40, 10, 120, NULL, 0); /* a part of interleaved heads */
        }
    })
}
END_TEST

static void compare_attention_of(const struct rlhf_attention_shape *s)
{
    size_t t = s->start[s->sequences], row = (s->heads + 2 * s->kv_heads) * s->d, width = s->heads * s->d;
    struct both qkv = some(t * row, 2), out = nothing(t * width), lse = nothing(t * s->heads), d_out = some(t * width, 1),
                d_qkv = some(t * row, 1);

    rlhf_attention(s, qkv.f, out.f, lse.f, NULL);
    rlhf_reference_attention(s, qkv.d, out.d, lse.d);
    expect_close(&out, 3e-6), expect_close(&lse, 2e-6);
    rlhf_attention_backward(s, d_out.f, qkv.f, out.f, lse.f, d_qkv.f, NULL);
    rlhf_reference_attention_backward(s, d_out.d, qkv.d, out.d, lse.d, d_qkv.d);
    expect_close(&d_qkv, 3e-5);
    done(&qkv), done(&out), done(&lse), done(&d_out), done(&d_qkv);
}

START_TEST(stretched_rotations_are_their_twins)
{
    const struct rlhf_rope_scaling kinds[] = {
        { .type = RLHF_ROPE_LINEAR, .factor = 4 },
        { .type = RLHF_ROPE_DYNAMIC, .factor = 2, .original = 50 },
        { .type = RLHF_ROPE_YARN, .factor = 4, .original = 32, .beta_fast = 32, .beta_slow = 1, .whole = true,
          .amplitude = 1.138629436 },
        { .type = RLHF_ROPE_YARN, .factor = 3, .original = 500, .beta_fast = 8, .beta_slow = 2, .amplitude = 0.5 },
        { .type = RLHF_ROPE_YARN, .factor = 8, .original = 1, .beta_fast = 2, .beta_slow = 1, .whole = true },
        { .type = RLHF_ROPE_LLAMA3, .factor = 8, .original = 32, .low_frequency = 1, .high_frequency = 4 },
        { .type = RLHF_ROPE_LLAMA3, .factor = 2.5, .original = 8192, .low_frequency = 0.5, .high_frequency = 3 },
    };

    WITH_EVERY_SET({
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
            compare_rope(7, 2, 16, 16, 16, &kinds[i], 40);
            compare_rope(33, 3, 34, 34, 34, &kinds[i], 131);
            compare_rope(5, 1, 64, 24, 64, &kinds[i], 51);
        }
    })
}
END_TEST

static void compare_attention(const uint32_t *start, size_t sequences, size_t heads, size_t kv_heads, size_t d)
{
    compare_attention_of(&(struct rlhf_attention_shape){ .start = start, .sequences = sequences, .heads = heads,
                                                         .kv_heads = kv_heads, .d = d });
}

START_TEST(attention_is_its_twin)
{
    static const uint32_t start[] = { 0, 1, 3, 3, 10, 26, 55, 56, 120 }, one[] = { 0, 131 }, none[] = { 0, 0 };

    WITH_EVERY_SET({
        compare_attention(start, 8, 4, 4, 32);
        compare_attention(start, 8, 4, 2, 64);
        compare_attention(start, 8, 3, 1, 7);
        compare_attention(start, 8, 1, 1, 1);
        compare_attention(start, 8, 2, 2, 20);
        compare_attention(one, 1, 6, 2, 16);
        compare_attention(none, 1, 2, 1, 16);
        compare_attention(none, 0, 2, 1, 16);
    })
}
END_TEST

static void compare_form(const uint32_t *start, size_t sequences, size_t window, unsigned form)
{
    compare_attention_of(&(struct rlhf_attention_shape){
        .start = start, .sequences = sequences, .heads = 4, .kv_heads = form & 1 ? 4 : 2, .d = window % 2 ? 20 : 16,
        .scale = form & 2 ? 0.35f : 0, .cap = form & 2 ? 1.5f : 0, .window = window, .interleaved = form & 1 });
}

/* Windows shorter than a panel, around its size, around a block of queries, longer than any sequence. */
START_TEST(attention_with_windows_caps_scales_and_interleaved_heads_is_its_twin)
{
    static const uint32_t start[] = { 0, 1, 3, 3, 10, 26, 55, 56, 120, 251 };
    static const size_t windows[] = { 0, 1, 2, 5, 15, 16, 17, 28, 44, 100, 1000 };

    WITH_EVERY_SET({
        for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++)
            for (unsigned form = 0; form < 4; form++)
                compare_form(start, 9, windows[i], form);
    })
}
END_TEST

static void compare_vocabulary(size_t n, size_t v, size_t c, float cap, float temperature, bool with_entropy)
{
    struct both w = some(v * c, 1), hidden = some(n * c, 1), logprob = nothing(n), entropy = nothing(n),
                lse = nothing(n), d_logprob = some(n, 1), d_entropy = some(n, 1), d_hidden = some(n * c, 1),
                d_w = some(v * c, 1);
    struct both kept_hidden = nothing(n * c), kept_w = some(v * c, 1);
    struct rlhf_packed p = packed(w.f, v, c, false), back = packed(w.f, c, v, true);
    int32_t *target = malloc((n + 1) * sizeof *target);
    float *kept = malloc((n * v + 1) * sizeof *kept), *again = malloc((2 * n + 1) * sizeof *again);
    float *logits = malloc(v * sizeof *logits);

    for (size_t i = 0; i < n; i++)
        target[i] = (int32_t)noise_below(v);
    rlhf_vocab_logprobs(&p, hidden.f, target, n, cap, temperature, logprob.f, with_entropy ? entropy.f : NULL, lse.f, NULL, NULL);
    rlhf_reference_vocab_logprobs(w.d, hidden.d, target, n, v, c, (double)cap, (double)temperature, logprob.d,
                                  with_entropy ? entropy.d : NULL, lse.d);
    expect_close(&logprob, 5e-6), expect_close(&entropy, 1e-5), expect_close(&lse, 5e-6);
    for (size_t i = 0; i < n; i++) {
        rlhf_linear(&p, hidden.f + i * c, c, 1, NULL, false, logits, v, NULL);
        if (cap > 0)
            rlhf_soft_cap(logits, v, cap, NULL);
        float one = rlhf_vocab_logprob_row(logits, v, temperature, target[i]);
        expect_same_bits(&one, &logprob.f[i], 1);
    }
    memcpy(kept_w.f, d_w.f, v * c * sizeof *kept_w.f);
    rlhf_vocab_logprobs_backward(&p, &back, hidden.f, target, n, cap, temperature, lse.f, with_entropy ? entropy.f : NULL,
                                 d_logprob.f, with_entropy ? d_entropy.f : NULL, NULL, d_hidden.f, d_w.f, NULL);
    rlhf_vocab_logprobs(&p, hidden.f, target, n, cap, temperature, again, NULL, again + n, kept, NULL);
    expect_same_bits(again, logprob.f, n);
    rlhf_vocab_logprobs_backward(NULL, &back, hidden.f, target, n, cap, temperature, lse.f, with_entropy ? entropy.f : NULL,
                                 d_logprob.f, with_entropy ? d_entropy.f : NULL, kept, kept_hidden.f, kept_w.f, NULL);
    expect_same_bits(kept_hidden.f, d_hidden.f, n * c);
    rlhf_reference_vocab_logprobs_backward(w.d, hidden.d, target, n, v, c, (double)cap, (double)temperature, lse.d,
                                           with_entropy ? entropy.d : NULL, d_logprob.d,
                                           with_entropy ? d_entropy.d : NULL, d_hidden.d, d_w.d);
    expect_close(&d_hidden, 2e-5), expect_close(&d_w, 2e-5);
    memcpy(kept_w.d, d_w.d, v * c * sizeof *kept_w.d);
    expect_close(&kept_w, 2e-5);
    rlhf_packed_free(&p), rlhf_packed_free(&back);
    free(target), free(logits), free(kept), free(again), done(&kept_hidden), done(&kept_w);
    done(&w), done(&hidden), done(&logprob), done(&entropy), done(&lse), done(&d_logprob), done(&d_entropy),
        done(&d_hidden), done(&d_w);
}

START_TEST(log_probs_over_a_vocabulary_are_their_twins)
{
    WITH_EVERY_SET({
        compare_vocabulary(0, 7, 3, 0, 1, true);
        compare_vocabulary(1, 1, 1, 0, 1, true);
        compare_vocabulary(33, 2, 7, 0, 1, true);
        compare_vocabulary(7, 33, 16, 0, 0.7f, true);
        compare_vocabulary(131, 512, 33, 0, 1, false);
        compare_vocabulary(3, 513, 33, 0, 2, true);
        compare_vocabulary(40, 1601, 65, 0, 0.5f, true);
        compare_vocabulary(40, 1601, 65, 2, 0.5f, true);
        compare_vocabulary(7, 33, 16, 30, 1, false);
    })
}
END_TEST

START_TEST(an_impossible_token_has_no_share_in_the_log_prob)
{
    WITH_EVERY_SET({
        float logits[700];
        for (size_t i = 0; i < 700; i++)
            logits[i] = i == 3 || i == 600 ? (float)i / 600 : -INFINITY;
        ck_assert_float_eq_tol(rlhf_vocab_logprob_row(logits, 700, 1, 3), 0.005f - logf(expf(0.005f) + expf(1)), 1e-6f);
        ck_assert(rlhf_vocab_logprob_row(logits, 700, 1, 4) == -INFINITY);
        logits[3] = NAN;
        ck_assert(isnan(rlhf_vocab_logprob_row(logits, 700, 1, 600)));
    })
}
END_TEST

/* A softmax in parts: e^(x/T - most), and what it sums to. */
static void compare_weights(size_t v)
{
    struct both x = some(v, 8), weight = nothing(v);
    float most, log_sum, entropy;
    double sum = 0, wanted = 0;

    if (v > 2)
        x.f[v / 2] = -INFINITY;
    rlhf_vocab_row(x.f, v, 0.7f, &most, &log_sum, &entropy);
    rlhf_vocab_weights_row(x.f, v, 0.7f, most, weight.f);
    for (size_t i = 0; i < v; i++) {
        double e = exp((double)x.f[i] / (double)0.7f - (double)most);

        ck_assert_double_le(fabs((double)weight.f[i] - e), 3e-6 * e);
        sum += e;
    }
    for (size_t i = 0; i < v; i++) {
        double z = (double)x.f[i] / (double)0.7f - (double)most - log(sum);

        wanted -= isinf(z) ? 0 : exp(z) * z;
    }
    ck_assert_double_le(fabs((double)log_sum - log(sum)), 1e-5);
    ck_assert_double_le(fabs((double)entropy - wanted), 1e-4);
    done(&x), done(&weight);
}

START_TEST(a_row_of_weights_is_its_exponentials)
{
    static const size_t sizes[] = { 1, 2, 3, 7, 16, 33, 512, 513, 1601 };

    WITH_EVERY_SET({
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            compare_weights(sizes[i]);
    })
}
END_TEST

static void compare_adamw(size_t count, uint64_t step, bool tf1, bool decay)
{
    struct rlhf_adamw a = { .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.95f, .epsilon = 1e-5f, .weight_decay = 0.1f, .step = step,
                            .epsilon_inside_tf1 = tf1 };
    struct both grad = some(count, 1), m = some(count, 1), v = some(count, 1), param = some(count, 1);

    for (size_t i = 0; i < count; i++)
        v.d[i] = v.f[i] = fabsf(v.f[i]);
    rlhf_adamw_step(&a, 0.5f, decay, grad.f, m.f, v.f, param.f, count, NULL);
    rlhf_reference_adamw_step(&a, 0.5, decay, grad.d, m.d, v.d, param.d, count);
    expect_close(&m, 1e-6), expect_close(&v, 1e-6), expect_close(&param, 1e-6);
    for (size_t i = 0; i < count; i++)
        ck_assert_float_eq(grad.f[i], 0);
    done(&grad), done(&m), done(&v), done(&param);
}

/* The twin sums in double from the first token on; a draw may be off by its own step, 2^-24, and as much again. */
static void compare_draws(size_t v)
{
    struct both x = some(v, 8), share = nothing(v);
    double total = 0;

    for (size_t i = 0; i < v; i += 5)
        x.f[i] = v > 5 ? -INFINITY : x.f[i];
    for (size_t i = 0; i < v; i++)
        share.d[i] = total += exp((double)x.f[i] / (double)0.7f);
    for (unsigned step = 0; step <= 60; step++) {
        const float u = step < 60 ? (float)step / 60 : 1 - 0x1p-24f;
        float logprob;
        size_t token = rlhf_vocab_draw_row(x.f, v, 0.7f, u, &logprob);

        ck_assert_uint_lt(token, v);
        ck_assert(x.f[token] > -INFINITY);
        ck_assert_double_lt((double)u - share.d[token] / total, 0x1p-23);
        ck_assert_double_le((token ? share.d[token - 1] / total : 0) - (double)u, 0x1p-23);
        ck_assert(logprob == rlhf_vocab_logprob_row(x.f, v, 0.7f, (int32_t)token));
    }
    done(&x), done(&share);
}

START_TEST(a_draw_is_the_token_that_its_share_falls_on)
{
    static const size_t sizes[] = { 1, 2, 3, 7, 16, 33, 512, 513, 1601, 32001 };

    WITH_EVERY_SET({
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            compare_draws(sizes[i]);
    })
}
END_TEST

/* Where all but one chunk's logits underflow or are -inf, that chunk is drawn from. */
START_TEST(a_draw_passes_over_what_is_impossible)
{
    WITH_EVERY_SET({
        float logits[2000];
        float logprob;

        for (size_t i = 0; i < 2000; i++)
            logits[i] = i < 700 ? -INFINITY : i == 1100 ? 50 : -1e30f;
        ck_assert_uint_eq(rlhf_vocab_draw_row(logits, 2000, 1, 0, &logprob), 1100);
        ck_assert_uint_eq(rlhf_vocab_draw_row(logits, 2000, 1, 1 - 0x1p-24f, &logprob), 1100);
        ck_assert(logprob == 0);
    })
}
END_TEST

START_TEST(the_largest_of_a_row_is_the_first)
{
    static const size_t counts[] = { 1, 15, 16, 17, 511, 512, 513, 4097 };

    WITH_EVERY_SET({
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            struct both x = some(counts[c], 1);
            size_t largest = 0;

            x.f[counts[c] / 3] = x.f[counts[c] / 2] = x.f[counts[c] - 1] = 7; /* alike */
            for (size_t i = 0; i < counts[c]; i++)
                largest = x.f[i] > x.f[largest] ? i : largest;
            ck_assert_uint_eq(rlhf_vocab_largest(x.f, counts[c]), largest);
            x.f[counts[c] - 1] = 8;
            for (size_t i = 0; i < counts[c] - 1; i++)
                x.f[i] = -INFINITY;
            ck_assert_uint_eq(rlhf_vocab_largest(x.f, counts[c]), counts[c] - 1);
            done(&x);
        }
    })
}
END_TEST

START_TEST(adamw_is_its_twin_in_both_forms)
{
    WITH_EVERY_SET({
        for (size_t i = 0; i < ODD; i++)
            for (unsigned form = 0; form < 4; form++)
                compare_adamw(odd[i], form == 0 ? 1 : 1000, form % 2, form / 2);
        compare_adamw(40000, 7, false, true);
    })
}
END_TEST

START_TEST(the_sum_of_squares_is_exact_and_shows_what_is_not_finite)
{
    WITH_EVERY_SET({
        float x[1000];
        double sum = 0;
        ck_assert(rlhf_sum_squares(x, 0, NULL) == 0);
        for (size_t i = 0; i < 1000; i++) {
            x[i] = (float)i;
            sum += (double)i * (double)i;
            ck_assert(rlhf_sum_squares(x, i + 1, NULL) == sum);
        }
        x[417] = INFINITY;
        ck_assert(isinf(rlhf_sum_squares(x, 1000, NULL)));
        x[999] = NAN;
        ck_assert(isnan(rlhf_sum_squares(x, 1000, NULL)));
    })
}
END_TEST

START_TEST(the_machine_is_named)
{
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_tensor_start(&err), err);
    expect_ok(rlhf_tensor_start(&err), err);
    expect_contains(rlhf_tensor_profile(), "kernels=");
    expect_contains(rlhf_tensor_profile(), "OpenBLAS");
}
END_TEST

START_TEST(a_kernel_set_that_is_not_there_is_refused)
{
    struct rlhf_error err = { 0 };

    setenv("RLHF_ISA", "altivec", 1);
    ck_assert_int_eq(rlhf_tensor_start(&err), -1);
    expect_code(err, RLHF_FATAL);
    expect_contains(err.text, "altivec");
}
END_TEST

int main(void)
{
    return RUN_SUITE("tensor/operations", linear_is_its_twin, the_gradient_of_a_weight_is_its_twin,
                     the_gradient_of_a_weight_through_openblas_is_its_twin, norms_are_their_twins,
                     activations_are_their_twins_at_every_size_of_input, embedding_is_its_twin,
                     norms_of_heads_are_their_twins, soft_caps_are_their_twins_near_nothing_and_far_away,
                     rotation_is_its_twin_and_backward_undoes_it, stretched_rotations_are_their_twins,
                     attention_is_its_twin, attention_with_windows_caps_scales_and_interleaved_heads_is_its_twin,
                     log_probs_over_a_vocabulary_are_their_twins, an_impossible_token_has_no_share_in_the_log_prob,
                     a_row_of_weights_is_its_exponentials,
                     the_largest_of_a_row_is_the_first, a_draw_is_the_token_that_its_share_falls_on,
                     a_draw_passes_over_what_is_impossible,
                     adamw_is_its_twin_in_both_forms, the_sum_of_squares_is_exact_and_shows_what_is_not_finite,
                     the_machine_is_named, a_kernel_set_that_is_not_there_is_refused);
}
