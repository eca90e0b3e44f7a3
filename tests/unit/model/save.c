/* Model directories that are written, in every kind of number and in shards. */
#include <unistd.h>

#include "base/io.h"
#include "model/checkpoint.h"
#include "model/save.h"
#include "tiny.h"

static const char *saved(const struct rlhf_model *m, const struct rlhf_save *how)
{
    static char path[8][300];
    static const char *base;
    static unsigned made;
    struct rlhf_error err = { 0 };
    char *dir = path[made % 8];

    base = base ? base : a_directory();
    snprintf(dir, sizeof path[0], "%s/%u", base, made++);
    expect_ok(rlhf_make_dirs(&rlhf_system_io, dir, &err), err);
    expect_ok(rlhf_model_save(m, dir, how, &err), err);
    return dir;
}

static void expect_same_parameters(struct rlhf_model *a, struct rlhf_model *b)
{
    size_t na, nb;
    const float *wa = rlhf_model_parameters(a, &na), *wb = rlhf_model_parameters(b, &nb);

    ck_assert_uint_eq(na, nb);
    ck_assert_mem_eq(wa, wb, na * sizeof *wa);
    ck_assert(rlhf_model_bias(a) == rlhf_model_bias(b));
}

static bool there(const char *dir, const char *name)
{
    return rlhf_exists(&rlhf_system_io, in_directory(dir, name));
}

static struct rlhf_bytes text_of(const char *dir, const char *name)
{
    struct rlhf_bytes b = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_read_file(&rlhf_system_io, in_directory(dir, name), 1 << 20, &b, &err), err);
    return b;
}

/* No file holds more bytes of tensors than wanted, but for one tensor alone; and two neighbours would not fit into one. */
static void expect_shards(const char *dir, size_t limit)
{
    struct rlhf_error err = { 0 };
    struct rlhf_checkpoint k;
    size_t last = 0;

    expect_ok(rlhf_checkpoint_open(&k, dir, &err), err);
    for (size_t i = 0; i < k.files; i++) {
        size_t bytes = 0;

        for (size_t j = 0; j < k.parts[i].count; j++)
            bytes += k.parts[i].tensors[j].size;
        ck_assert(bytes <= limit || k.parts[i].count == 1);
        ck_assert(i == 0 || last + bytes > limit);
        last = bytes;
    }
    rlhf_checkpoint_close(&k);
}

START_TEST(what_is_saved_loads_the_same_in_one_file_or_in_many)
{
    static const size_t sizes[] = { 0, 1, 400, 1000, 1 << 30 };

    for (int i = 0; i < 2 * VARIANTS; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            struct rlhf_model *m = tiny_model((enum variant)(i / 2), i % 2 ? RLHF_HEAD_SCALAR : RLHF_HEAD_LM), *back;
            struct rlhf_save how = { .shard_size = sizes[j] };
            const char *dir = saved(m, &how);
            struct rlhf_error err = { 0 };
            size_t tensors;

            if (sizes[j])
                expect_shards(dir, sizes[j]);
            ck_assert_int_eq(there(dir, "model.safetensors"), j == 0 || j == 4);
            ck_assert_int_eq(there(dir, "model.safetensors.index.json"), j > 0 && j < 4);
            rlhf_model_table(m, &tensors);
            if (j == 1) { /* every tensor is larger than a byte */
                char last[64];

                snprintf(last, sizeof last, "model-%05zu-of-%05zu.safetensors", tensors, tensors);
                ck_assert(there(dir, last));
            }
            back = rlhf_model_load(dir, &err);
            expect_some(back, err);
            expect_same_parameters(m, back);
            rlhf_model_free(back);
            rlhf_model_free(m);
        }
}
END_TEST

START_TEST(what_is_saved_is_rounded_once_and_says_so)
{
    static const enum rlhf_number numbers[] = { RLHF_NUMBER_F32, RLHF_NUMBER_BF16, RLHF_NUMBER_F16 };
    static const char *const torch[] = { "\"torch_dtype\": \"float32\"", "\"torch_dtype\": \"bfloat16\"",
                                         "\"torch_dtype\": \"float16\"" };

    for (int i = 0; i < 3; i++) {
        struct rlhf_model *m = tiny_model(LLAMA_TIED, RLHF_HEAD_LM), *back, *again, *opened;
        struct rlhf_error err = { 0 };
        const char *dir = saved(m, &(struct rlhf_save){ .number = numbers[i] }), *kept;
        struct rlhf_bytes config = text_of(dir, "config.json"), was, is;
        size_t count, tensors;
        float *w;
        uint8_t *room;

        expect_contains(config.data, torch[i]);
        back = rlhf_model_load(dir, &err);
        expect_some(back, err);
        w = rlhf_model_parameters(m, &count);
        room = malloc(count * 4);
        ck_assert_uint_eq(rlhf_narrow(numbers[i], w, count, room), count);
        rlhf_widen(numbers[i], room, count, w);
        expect_same_parameters(m, back);

        /* an opened model keeps its numbers: the same bytes again */
        opened = rlhf_model_open(dir, RLHF_PANELS_STORED, &err);
        expect_some(opened, err);
        rlhf_model_table(opened, &tensors);
        for (size_t t = 0; t < tensors; t++)
            ck_assert_int_eq(rlhf_model_number(opened, t), numbers[i]);
        kept = saved(opened, &(struct rlhf_save){ .as_stored = true });
        was = text_of(dir, "model.safetensors");
        is = text_of(kept, "model.safetensors");
        ck_assert_uint_eq(was.size, is.size);
        ck_assert_mem_eq(was.data, is.data, was.size);
        again = rlhf_model_load(kept, &err);
        expect_some(again, err);
        expect_same_parameters(again, back);

        rlhf_bytes_free(&config);
        rlhf_bytes_free(&was);
        rlhf_bytes_free(&is);
        free(room);
        rlhf_model_free(m);
        rlhf_model_free(back);
        rlhf_model_free(again);
        rlhf_model_free(opened);
    }
}
END_TEST

START_TEST(files_beside_the_weights_come_along_byte_for_byte)
{
    struct rlhf_model *m = tiny_model(GPT2, RLHF_HEAD_LM);
    const char *dir = saved(m, &(struct rlhf_save){ 0 }), *to;
    static const struct {
        const char *name, *text;
        bool carried;
    } files[] = {
        { "generation_config.json", "{ \"eos_token_id\": [1,  2] }", true },
        { "tokenizer.json", "{\"a\": \"\\u0000\"}\r\n", true },
        { "chat_template.jinja", "{{ x }}\n\n", true },
        { "LICENSE", "mine", true },
        { "pytorch_model.bin", "old", false },
        { "MANIFEST", "no longer true", false },
    };
    struct rlhf_error err = { 0 };

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        expect_ok(rlhf_write_file(&rlhf_system_io, in_directory(dir, files[i].name), files[i].text,
                                  strlen(files[i].text), &err), err);
    to = saved(m, &(struct rlhf_save){ .carry = dir });
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        ck_assert_int_eq(there(to, files[i].name), files[i].carried);
        if (files[i].carried) {
            struct rlhf_bytes b = text_of(to, files[i].name);

            ck_assert_str_eq(b.data, files[i].text);
            rlhf_bytes_free(&b);
        }
    }
    rlhf_model_free(m);
}
END_TEST

START_TEST(a_weight_that_cannot_be_written_is_named)
{
    static const struct {
        enum rlhf_number number;
        float weight;
        const char *why;
    } cases[] = {
        { RLHF_NUMBER_F16, 65520, "too large for F16" }, { RLHF_NUMBER_BF16, 3.4e38F, "too large for BF16" },
        { RLHF_NUMBER_F32, NAN, "no weight" },           { RLHF_NUMBER_BF16, INFINITY, "no weight" },
        { RLHF_NUMBER_F16, -NAN, "no weight" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);
        struct rlhf_error err = { 0 };
        char dir[300];
        size_t count;

        snprintf(dir, sizeof dir, "%s.part", saved(m, &(struct rlhf_save){ 0 }));
        expect_ok(rlhf_make_dirs(&rlhf_system_io, dir, &err), err);
        rlhf_model_parameters(m, &count)[5] = cases[i].weight;
        ck_assert_int_eq(rlhf_model_save(m, dir, &(struct rlhf_save){ .number = cases[i].number }, &err), -1);
        expect_code(err, RLHF_FATAL);
        expect_contains(err.text, "model.embed_tokens.weight: element 5");
        expect_contains(err.text, cases[i].why);
        rlhf_model_free(m);
    }
}
END_TEST

START_TEST(what_is_there_already_is_not_overwritten)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);
    struct rlhf_error err = { 0 };
    const char *dir = saved(m, &(struct rlhf_save){ 0 });

    ck_assert_int_eq(rlhf_model_save(m, dir, &(struct rlhf_save){ 0 }, &err), -1);
    expect_contains(err.text, "model.safetensors");
    rlhf_model_free(m);
}
END_TEST

int main(void)
{
    return RUN_SUITE("model/save", what_is_saved_loads_the_same_in_one_file_or_in_many,
                     what_is_saved_is_rounded_once_and_says_so, files_beside_the_weights_come_along_byte_for_byte,
                     a_weight_that_cannot_be_written_is_named, what_is_there_already_is_not_overwritten);
}
