/* small.h - a tokenizer of bytes and a small random model that knows its tokens. */
#ifndef TESTS_UNIT_EVALUATION_SMALL_H
#define TESTS_UNIT_EVALUATION_SMALL_H

#include <string.h>

#include "base/random.h"
#include "evaluation/subject.h"
#include "support/process.h"
#include "support/shape.h"
#include "support/suite.h"
#include "tensor/ops.h"

enum { BEGIN, END, PAD, BYTES };

/* Ids are BYTES + byte; a text begins with BEGIN. */
static inline struct rlhf_tokenizer *a_tokenizer(void)
{
    struct rlhf_bpe_options o = { .vocab_size = 259 };
    struct rlhf_error err = { 0 };
    struct rlhf_tokenizer *t = rlhf_tokenizer_train(NULL, NULL, 0, &o, &err);

    expect_some(t, err);
    return t;
}

static inline struct rlhf_model *a_model(const char *style, uint32_t context)
{
    const struct rlhf_model_config c = a_config(style, (struct shape){ 2, 2, 8, 24, 259, context });
    struct rlhf_error err = { 0 };
    struct rlhf_random random;
    struct rlhf_model *m;
    size_t count;
    float *w;

    expect_ok(rlhf_tensor_start(&err), err);
    m = rlhf_model_new(&c, 5, &err);
    expect_some(m, err);
    w = rlhf_model_parameters(m, &count);
    rlhf_random_init(&random, 6, RLHF_PURPOSE_FAULT, 1, 1);
    for (size_t i = 0; i < count; i++)
        w[i] += 0.2F * rlhf_random_normal(&random);
    rlhf_model_touch(m, NULL);
    return m;
}

/* A file with this content, in the test's directory. */
static inline const char *with(const char *name, const char *content)
{
    static const char *directory;

    if (!directory)
        directory = a_directory();
    const char *path = in_directory(directory, name);
    write_file(path, "%s", content);
    return path;
}

#endif
