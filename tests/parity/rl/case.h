/* case.h - one case of a folder of rl fixtures: its parameters, its tensors packed by their mask, and whether
 * all of both were used. The fixtures are padded, the rl room is packed (rl/ragged.h).
 *
 * How near: |got - want| <= 1e-5 + 1e-5·|want| for values, as fixtures/README.md advises (1e-4 + 1e-5·|want|
 * for sums over all tokens); for gradients 1e-4·|want| beside the fixtures' own rounding, 2e-6 of their
 * tensor's largest. Where cases.json says that the reference itself came no nearer to its float64 run, as
 * with long sums, that is the limit. */
#ifndef TESTS_PARITY_RL_CASE_H
#define TESTS_PARITY_RL_CASE_H

#include <check.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>

#include "fixture.h"
#include "rl/ragged.h"
#include "tensor/ops.h"

struct test_case {
    const char *file;
    json_t *params, *left_params; /* the second loses what is asked for */
    json_t *left_outputs;         /* and this one what is compared      */
    double rounding;              /* fp32_vs_fp64_maxabs, or 0          */
    struct fixture fixture;
    size_t rows, columns;    /* of the mask                                                  */
    struct rlhf_ragged pack; /* rows of the mask: their entries that are not 0, T in all     */
    uint32_t *at;            /* [T] where a packed entry stands: row · columns + column      */
    void *kept[200];
    size_t kept_count;
};

static inline void case_fail(const struct test_case *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static inline void case_fail(const struct test_case *c, const char *fmt, ...)
{
    char text[300];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ck_abort_msg("%s: %s", c->file, text);
}

static inline void *case_keep(struct test_case *c, void *memory)
{
    ck_assert_uint_lt(c->kept_count, sizeof c->kept / sizeof *c->kept);
    c->kept[c->kept_count++] = memory;
    return memory;
}

/* Zeroed, until the case is closed. */
static inline void *case_memory(struct test_case *c, size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);

    ck_assert_ptr_nonnull(memory);
    return case_keep(c, memory);
}
static inline float *case_floats(struct test_case *c, size_t count)
{
    return case_memory(c, count, sizeof(float));
}
static inline double *case_doubles(struct test_case *c, size_t count)
{
    return case_memory(c, count, sizeof(double));
}

static inline void case_open(struct test_case *c, json_t *entry, const char *folder)
{
    char path[1200];
    size_t i;
    json_t *name;

    c->file = json_string_value(json_object_get(entry, "file"));
    c->params = json_object_get(entry, "params");
    c->left_params = json_copy(c->params);
    c->rounding = json_number_value(json_object_get(entry, "fp32_vs_fp64_maxabs"));
    c->left_outputs = json_object();
    json_array_foreach(json_object_get(entry, "outputs"), i, name)
        json_object_set_new(c->left_outputs, json_string_value(name), json_true());
    snprintf(path, sizeof path, "%s/%s", folder, c->file);
    c->fixture = fixture_open(path);
}

static inline void case_close(struct test_case *c)
{
    void *key = json_object_iter(c->left_params);

    if (key)
        case_fail(c, "parameter %s is not understood", json_object_iter_key(key));
    key = json_object_iter(c->left_outputs);
    if (key)
        case_fail(c, "output %s was not compared", json_object_iter_key(key));
    json_decref(c->left_params);
    json_decref(c->left_outputs);
    for (size_t i = 0; i < c->kept_count; i++)
        free(c->kept[i]);
    fixture_close(&c->fixture);
}

/* ---- parameters; absent and null ones are the default -------------------------------------------------- */

static inline json_t *case_param(struct test_case *c, const char *key)
{
    json_t *value = json_object_get(c->params, key);

    json_object_del(c->left_params, key);
    return json_is_null(value) ? NULL : value;
}
static inline double case_number(struct test_case *c, const char *key, double otherwise)
{
    json_t *value = case_param(c, key);

    return value ? json_number_value(value) : otherwise;
}
static inline bool case_flag(struct test_case *c, const char *key)
{
    return json_is_true(case_param(c, key));
}
static inline const char *case_text(struct test_case *c, const char *key, const char *otherwise)
{
    json_t *value = case_param(c, key);

    return value ? json_string_value(value) : otherwise;
}

/* ---- inputs -------------------------------------------------------------------------------------------- */

/* All of a tensor as doubles; a missing one ends the test. */
static inline double *case_tensor(struct test_case *c, const char *name, size_t *rows, size_t *columns)
{
    double *x = fixture_get(&c->fixture, name, rows, columns);

    if (!x)
        case_fail(c, "there is no tensor %s", name);
    return case_keep(c, x);
}
static inline bool case_has(struct test_case *c, const char *name)
{
    return json_object_get(c->fixture.header, name) != NULL;
}
static inline float *case_all(struct test_case *c, const char *name, size_t *count)
{
    size_t rows, columns;
    double *x = case_tensor(c, name, &rows, &columns);
    float *out = case_floats(c, rows * columns);

    for (size_t i = 0; i < rows * columns; i++)
        out[i] = (float)x[i];
    if (count)
        *count = rows * columns;
    return out;
}

/* What is packed from now on: the entries [row][column] whose mask[row][column + shift] is not 0. */
static inline void case_mask(struct test_case *c, const char *name, size_t shift)
{
    size_t rows, columns, n = 0;
    double *mask = case_tensor(c, name, &rows, &columns);
    uint32_t *start = case_memory(c, rows + 1, sizeof *start);

    c->rows = rows;
    c->columns = columns - shift;
    c->at = case_memory(c, rows * columns, sizeof *c->at);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < c->columns; j++)
            if (mask[i * columns + j + shift] != 0)
                c->at[n++] = (uint32_t)(i * c->columns + j);
        start[i + 1] = (uint32_t)n;
    }
    c->pack = (struct rlhf_ragged){start, rows};
}
static inline size_t case_tokens(const struct test_case *c)
{
    return rlhf_ragged_total(&c->pack);
}
static inline float *case_packed(struct test_case *c, const char *name)
{
    float *all = case_all(c, name, NULL), *out = case_floats(c, case_tokens(c));

    for (size_t t = 0; t < case_tokens(c); t++)
        out[t] = all[c->at[t]];
    return out;
}

/* ---- outputs ------------------------------------------------------------------------------------------- */

static inline bool case_wants(const struct test_case *c, const char *name)
{
    return json_object_get(c->left_outputs, name) != NULL;
}

struct wanted {
    const double *x;
    size_t count;
    double absolute, relative;
    const char *name;
};

static inline struct wanted case_wanted(struct test_case *c, const char *name)
{
    size_t rows, columns;
    struct wanted w = {.absolute = 1e-5, .relative = 1e-5, .name = name};
    double most = 0;

    w.x = case_tensor(c, name, &rows, &columns);
    w.count = rows * columns;
    for (size_t i = 0; i < w.count; i++)
        most = fmax(most, fabs(w.x[i]));
    if (strncmp(name, "grad", 4) == 0)
        w.absolute = 2e-6 * most, w.relative = 1e-4;
    if (strstr(name, "loss_sum"))
        w.absolute = 1e-4;
    if (c->rounding > 1e-5) /* only long sums come that far */
        w.absolute = fmax(w.absolute, c->rounding);
    json_object_del(c->left_outputs, name);
    return w;
}
static inline void case_near(const struct test_case *c, const struct wanted *w, size_t i, double got)
{
    double want = w->x[i];

    if (!(fabs(got - want) <= w->absolute + w->relative * fabs(want)) && !(isnan(got) && isnan(want)))
        case_fail(c, "%s[%zu] is %.9g, wanted %.9g", w->name, i, got, want);
}
static inline void case_same(struct test_case *c, const char *name, double got)
{
    struct wanted w = case_wanted(c, name);

    case_near(c, &w, 0, got);
}
static inline void case_same_doubles(struct test_case *c, const char *name, const double *got, size_t count)
{
    struct wanted w = case_wanted(c, name);

    if (w.count != count)
        case_fail(c, "%s has %zu entries, not %zu", name, w.count, count);
    for (size_t i = 0; i < count; i++)
        case_near(c, &w, i, got[i]);
}
static inline void case_same_all(struct test_case *c, const char *name, const float *got, size_t count)
{
    double *wide = case_doubles(c, count);

    for (size_t i = 0; i < count; i++)
        wide[i] = got[i];
    case_same_doubles(c, name, wide, count);
}
/* Under the mask. What is stored elsewhere means nothing. */
static inline void case_same_packed(struct test_case *c, const char *name, const float *got)
{
    struct wanted w = case_wanted(c, name);

    for (size_t t = 0; t < case_tokens(c); t++)
        case_near(c, &w, c->at[t], got[t]);
}
static inline void case_all_zero(struct test_case *c, const char *name)
{
    struct wanted w = case_wanted(c, name);

    for (size_t i = 0; i < w.count; i++)
        case_near(c, &w, i, 0);
}

/* ---- logits: through the operations that the learner uses, the matrix before them being the identity --- */

struct logits {
    const char *name;
    size_t count, vocabulary;
    const uint32_t *at;   /* [count] row of the fixture's tensor */
    const int32_t *token; /* [count]                             */
    float *x;             /* [count, vocabulary]                 */
    float temperature;
    float *logprob, *entropy, *lse; /* [count]                   */
    struct rlhf_packed identity;    /* its own transpose         */
};

/* Log-probs of token[count] under the rows at[count] of in.NAME. Ended by logits_free(). */
static inline struct logits logits_of(struct test_case *c, const char *name, const uint32_t *at,
                                      const int32_t *token, size_t count, double temperature)
{
    struct logits l = {
        .name = name, .count = count, .at = at, .token = token, .temperature = (float)temperature};
    struct rlhf_error err = {0};
    char input[60];
    double *all;
    float *one;

    snprintf(input, sizeof input, "in.%s", name);
    all = case_tensor(c, input, NULL, &l.vocabulary);
    l.x = case_floats(c, count * l.vocabulary);
    l.logprob = case_floats(c, count), l.entropy = case_floats(c, count), l.lse = case_floats(c, count);
    one = case_floats(c, l.vocabulary * l.vocabulary);
    for (size_t j = 0; j < l.vocabulary; j++)
        one[j * l.vocabulary + j] = 1;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < l.vocabulary; j++)
            l.x[i * l.vocabulary + j] = (float)all[at[i] * l.vocabulary + j];
    ck_assert_int_eq(rlhf_pack(&l.identity, one, l.vocabulary, l.vocabulary, false, NULL, &err), 0);
    rlhf_vocab_logprobs(&l.identity, l.x, token, count, 0, l.temperature, l.logprob, l.entropy, l.lse, NULL, NULL);
    return l;
}
static inline void logits_free(struct logits *l)
{
    rlhf_packed_free(&l->identity);
}
/* PREFIX.NAME against the derivative by the logits; d_entropy may be NULL. Rows not in `at` are to be 0. */
static inline void logits_same(struct test_case *c, const char *prefix, const struct logits *l,
                               const float *d_logprob, const float *d_entropy)
{
    size_t v = l->vocabulary, *row;
    float *d_x = case_floats(c, l->count * v), *d_w = case_floats(c, v * v);
    char name[80];
    struct wanted w;

    snprintf(name, sizeof name, "%s.%s", prefix, l->name);
    w = case_wanted(c, name);
    rlhf_vocab_logprobs_backward(&l->identity, &l->identity, l->x, l->token, l->count, 0, l->temperature,
                                 l->lse, l->entropy, d_logprob, d_entropy, NULL, d_x, d_w, NULL);
    row = case_memory(c, w.count / v, sizeof *row);
    for (size_t i = 0; i < l->count; i++)
        row[l->at[i]] = i + 1;
    for (size_t i = 0; i < w.count; i++)
        case_near(c, &w, i, row[i / v] ? d_x[(row[i / v] - 1) * v + i % v] : 0);
}

#endif
