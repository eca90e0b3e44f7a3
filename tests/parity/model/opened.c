/* Every model of the fixtures, opened, converted and viewed: the bits of the one that was loaded. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "fixture.h"
#include "model/save.h"

enum { T = 37, SEQUENCES = 3 };

/* Logits, or scalars, of three sequences of random tokens. */
static float *run(const struct rlhf_model *m, struct rlhf_pool *pool, size_t *count)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(m);
    const uint32_t start[SEQUENCES + 1] = { 0, 1, 18, T };
    const struct rlhf_batch batch = { .tokens = (int32_t[T]){ 0 }, .start = start, .sequences = SEQUENCES };
    struct rlhf_random random;
    struct rlhf_error err = { 0 };
    struct rlhf_pass *p = rlhf_pass_new(c, pool, 0, &err);
    float *out;

    expect_some(p, err);
    *count = T * (c->head == RLHF_HEAD_LM ? c->vocabulary : 1);
    out = calloc(*count, sizeof *out);
    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    for (size_t i = 0; i < T; i++)
        ((int32_t *)batch.tokens)[i] = (int32_t)rlhf_random_below(&random, c->vocabulary);
    expect_ok(rlhf_pass_forward(p, m, &batch, &err), err);
    expect_ok(c->head == RLHF_HEAD_LM ? rlhf_pass_logits(p, m, out, &err) : rlhf_pass_scalars(p, m, out, &err), err);
    rlhf_pass_free(p);
    return out;
}

/* Takes m, which is to give these bits. */
static void expect_bits(struct rlhf_model *m, const char *what, const float *wanted, size_t count, struct rlhf_error *err)
{
    size_t n;
    float *is;

    ck_assert_msg(m != NULL, "%s: %s", what, err->text);
    is = run(m, NULL, &n);
    ck_assert_uint_eq(n, count);
    ck_assert_msg(memcmp(is, wanted, count * sizeof *is) == 0, "%s: other bits", what);
    free(is);
    rlhf_model_free(m);
}

static void remove_files(const char *dir)
{
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_remove_tree(&rlhf_system_io, dir, &err), err);
    expect_ok(rlhf_make_dirs(&rlhf_system_io, dir, &err), err);
}

static void check_model(const char *path, const char *room, struct rlhf_pool *pool)
{
    struct rlhf_error err = { 0 };
    struct rlhf_model *m = rlhf_model_load_parallel(path, pool, &err);
    size_t count;
    float *wanted;

    ck_assert_msg(m != NULL, "%s", err.text);
    if (rlhf_model_get_config(m)->context < T) {
        rlhf_model_free(m);
        return;
    }
    wanted = run(m, pool, &count);
    expect_bits(rlhf_model_open(path, RLHF_PANELS_STORED, &err), path, wanted, count, &err);
    expect_bits(rlhf_model_open(path, RLHF_PANELS_F32, &err), path, wanted, count, &err);
    rlhf_model_free(m);
    free(wanted);
    for (int n = 0; n <= RLHF_NUMBER_F16; n++) {
        const struct rlhf_save how = { .number = (enum rlhf_number)n, .shard_size = n ? 5000 : 0 };

        m = rlhf_model_open(path, RLHF_PANELS_STORED, &err);
        remove_files(room);
        expect_ok(rlhf_model_save(m, room, &how, &err), err);
        rlhf_model_free(m);
        m = rlhf_model_load(room, &err);
        ck_assert_msg(m != NULL, "%s as %s: %s", path, rlhf_number_name((enum rlhf_number)n), err.text);
        wanted = run(m, pool, &count);
        rlhf_model_free(m);
        expect_bits(rlhf_model_open(room, RLHF_PANELS_STORED, &err), path, wanted, count, &err);
        free(wanted);
    }
}

static char folder[PATH_MAX];

static void find_models(void)
{
    fixture_folder("models", folder);
}

START_TEST(opened_converted_and_sharded_models_give_the_bits_of_loaded_ones)
{
    char path[PATH_MAX], config[PATH_MAX], room[PATH_MAX];
    struct rlhf_error err = { 0 };
    struct rlhf_pool *pool = rlhf_pool_new(2, &err);
    struct dirent *entry;
    size_t models = 0;
    DIR *dir;

    expect_ok(rlhf_tensor_start(&err), err);
    snprintf(room, sizeof room, "%s/room", a_directory());
    expect_ok(rlhf_make_dirs(&rlhf_system_io, room, &err), err);
    dir = opendir(folder);
    ck_assert_msg(dir != NULL, "%s", folder);
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || rlhf_path(path, sizeof path, folder, entry->d_name, &err) < 0
            || rlhf_path(config, sizeof config, path, "config.json", &err) < 0 || !rlhf_exists(&rlhf_system_io, config))
            continue;
        check_model(path, room, pool);
        models++;
    }
    closedir(dir);
    ck_assert_uint_gt(models, 0);
    rlhf_pool_free(pool);
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(find_models, "parity/opened", opened_converted_and_sharded_models_give_the_bits_of_loaded_ones);
}
