/* Whole checkpoints: from and to directories and memory. */
#include <unistd.h>

#include "base/io.h"
#include "model/safetensors.h"
#include "tiny.h"

static void expect_same_model(struct rlhf_model *a, struct rlhf_model *b)
{
    size_t na, nb;
    const float *wa = rlhf_model_parameters(a, &na), *wb = rlhf_model_parameters(b, &nb);

    ck_assert_uint_eq(na, nb);
    ck_assert_mem_eq(wa, wb, na * sizeof *wa);
    ck_assert(rlhf_model_bias(a) == rlhf_model_bias(b));
}

/* The written files of a model, and the same taken apart for a test to change. */
struct files {
    struct rlhf_bytes config, tensors;
};

static struct files files_of(const struct rlhf_model *m)
{
    struct files f = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_model_write(m, &f.config, &f.tensors, &err), err);
    return f;
}

static struct rlhf_model *read_files(const struct files *f, struct rlhf_error *err)
{
    *err = (struct rlhf_error){ 0 };
    return rlhf_model_read(f->config.data, f->config.size, f->tensors.data, f->tensors.size, err);
}

static void free_files(struct files *f)
{
    rlhf_bytes_free(&f->config);
    rlhf_bytes_free(&f->tensors);
}

static const char *write_to(const char *dir, const struct files *f)
{
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_write_file(&rlhf_system_io, in_directory(dir, "config.json"), f->config.data, f->config.size, &err),
              err);
    expect_ok(rlhf_write_file(&rlhf_system_io, in_directory(dir, "model.safetensors"), f->tensors.data,
                              f->tensors.size, &err), err);
    return dir;
}

START_TEST(a_model_that_was_written_loads_the_same)
{
    const char *dir = a_directory();

    for (int i = 0; i < 2 * VARIANTS; i++) {
        struct rlhf_model *m = tiny_model((enum variant)(i / 2), i % 2 ? RLHF_HEAD_SCALAR : RLHF_HEAD_LM), *back;
        struct files f = files_of(m), again = files_of(m);
        struct rlhf_error err;

        ck_assert_uint_eq(f.tensors.size, again.tensors.size);
        ck_assert_mem_eq(f.tensors.data, again.tensors.data, f.tensors.size);
        ck_assert_str_eq(f.config.data, again.config.data);
        back = read_files(&f, &err);
        expect_some(back, err);
        expect_same_model(m, back);
        rlhf_model_free(back);
        back = rlhf_model_load(write_to(dir, &f), &err);
        expect_some(back, err);
        expect_same_model(m, back);
        rlhf_model_free(back);
        rlhf_model_free(m);
        free_files(&f);
        free_files(&again);
    }
}
END_TEST

START_TEST(a_tied_head_is_not_written_and_a_score_is)
{
    struct rlhf_model *tied = tiny_model(LLAMA_TIED, RLHF_HEAD_LM), *untied = tiny_model(LLAMA, RLHF_HEAD_LM);
    struct rlhf_model *reward = tiny_model(GPT2, RLHF_HEAD_SCALAR);
    struct files f[] = { files_of(tied), files_of(untied), files_of(reward) };
    static const char *const heads[] = { NULL, "lm_head.weight", "score.weight" };

    for (int i = 0; i < 3; i++) {
        struct rlhf_safetensors s;
        struct rlhf_error err = { 0 };

        expect_ok(rlhf_safetensors_parse(&s, f[i].tensors.data, f[i].tensors.size, &err), err);
        for (int j = 1; j < 3; j++)
            ck_assert_int_eq(rlhf_safetensors_find(&s, heads[j]) != NULL, i == j);
        rlhf_safetensors_free(&s);
        free_files(&f[i]);
    }
    rlhf_model_free(tied);
    rlhf_model_free(untied);
    rlhf_model_free(reward);
}
END_TEST

/* ---- files of others ------------------------------------------------------------------------------- */

enum { MOST = 80 };

/* Rewrites f's tensors after change() had the list in hand. */
static void rewrite(struct files *f, size_t (*change)(struct rlhf_safetensor *list, size_t count))
{
    struct rlhf_safetensors s;
    struct rlhf_safetensor list[MOST];
    struct rlhf_bytes out = { 0 };
    struct rlhf_error err = { 0 };
    size_t count;

    expect_ok(rlhf_safetensors_parse(&s, f->tensors.data, f->tensors.size, &err), err);
    memcpy(list, s.tensors, s.count * sizeof *list);
    count = change(list, s.count);
    expect_ok(rlhf_safetensors_write(list, count, &out, &err), err);
    rlhf_safetensors_free(&s);
    rlhf_bytes_free(&f->tensors);
    f->tensors = out;
}

static struct rlhf_safetensor *named(struct rlhf_safetensor *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    ck_abort_msg("no %s", name);
    return NULL;
}

static size_t spoil(struct rlhf_safetensor *list, size_t count)
{
    struct rlhf_safetensor *t = named(list, count, "transformer.ln_f.bias");

    t->name = "transformer.ln_f.shift"; /* one missing, one unexpected */
    t = named(list, count, "transformer.wpe.weight");
    t->shape[0] /= 2;
    t->shape[1] *= 2; /* the same size, another shape */
    return count;
}

START_TEST(all_that_does_not_fit_is_listed_in_one_error)
{
    struct rlhf_model *m = tiny_model(GPT2, RLHF_HEAD_LM);
    struct files f = files_of(m);
    struct rlhf_error err;

    rewrite(&f, spoil);
    ck_assert_ptr_null(read_files(&f, &err));
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, "model.safetensors: 3 tensors");
    expect_contains(err.text, "missing transformer.ln_f.bias");
    expect_contains(err.text, "unexpected transformer.ln_f.shift");
    expect_contains(err.text, "misshapen transformer.wpe.weight [20, 20], not [40, 10]");
    rlhf_model_free(m);
    free_files(&f);
}
END_TEST

static size_t half_gone(struct rlhf_safetensor *list, size_t count)
{
    (void)list;
    return count / 2;
}

START_TEST(a_long_list_of_missing_tensors_is_cut_and_counted)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);
    struct files f = files_of(m);
    struct rlhf_error err;

    rewrite(&f, half_gone);
    ck_assert_ptr_null(read_files(&f, &err));
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, ", ...");
    rlhf_model_free(m);
    free_files(&f);
}
END_TEST

/* The names of a bare GPT2Model, and the causal masks that old versions of transformers saved. */
static size_t make_bare(struct rlhf_safetensor *list, size_t count)
{
    static const float mask[4];

    for (size_t i = 0; i < count; i++)
        list[i].name = strncmp(list[i].name, "transformer.", 12) == 0 ? list[i].name + 12 : list[i].name;
    list[count++] = (struct rlhf_safetensor){ "h.0.attn.bias", RLHF_DTYPE_F32, 4, { 1, 1, 2, 2 },
                                              (const uint8_t *)mask, sizeof mask };
    list[count++] = (struct rlhf_safetensor){ "h.1.attn.masked_bias", RLHF_DTYPE_F32, 0, { 0 },
                                              (const uint8_t *)mask, 4 };
    return count;
}

START_TEST(bare_names_and_old_buffers_are_understood)
{
    struct rlhf_model *m = tiny_model(GPT2, RLHF_HEAD_LM), *back;
    struct files f = files_of(m);
    struct rlhf_error err;

    rewrite(&f, make_bare);
    back = read_files(&f, &err);
    expect_some(back, err);
    expect_same_model(m, back);
    rlhf_model_free(back);
    rlhf_model_free(m);
    free_files(&f);
}
END_TEST

static size_t repeat_head(struct rlhf_safetensor *list, size_t count)
{
    list[count] = *named(list, count, "model.embed_tokens.weight");
    list[count].name = "lm_head.weight";
    return count + 1;
}

static uint8_t other_head[19 * 9 * 4];

static size_t contradict_head(struct rlhf_safetensor *list, size_t count)
{
    count = repeat_head(list, count);
    memcpy(other_head, list[count - 1].data, sizeof other_head);
    other_head[100] ^= 1;
    list[count - 1].data = other_head;
    return count;
}

START_TEST(a_tied_head_may_be_repeated_but_not_contradicted)
{
    struct rlhf_model *m = tiny_model(LLAMA_TIED, RLHF_HEAD_LM), *back;
    struct files same = files_of(m), other = files_of(m);
    struct rlhf_error err;

    rewrite(&same, repeat_head);
    back = read_files(&same, &err);
    expect_some(back, err);
    expect_same_model(m, back);
    rewrite(&other, contradict_head);
    ck_assert_ptr_null(read_files(&other, &err));
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, "lm_head.weight");
    rlhf_model_free(back);
    rlhf_model_free(m);
    free_files(&same);
    free_files(&other);
}
END_TEST

static uint8_t narrow[64 * 1024];

/* Keeps the upper halves: what bfloat16 stores. */
static size_t make_narrow(struct rlhf_safetensor *list, size_t count)
{
    uint8_t *at = narrow;

    for (size_t i = 0; i < count; i++) {
        size_t n = list[i].size / 4;

        for (size_t j = 0; j < n; j++)
            memcpy(at + 2 * j, list[i].data + 4 * j + 2, 2);
        list[i].data = at;
        list[i].size = 2 * n;
        list[i].dtype = RLHF_DTYPE_BF16;
        at += 2 * n;
    }
    ck_assert(at <= narrow + sizeof narrow);
    return count;
}

START_TEST(bfloat16_weights_are_widened)
{
    struct rlhf_model *m = tiny_model(GPT2, RLHF_HEAD_LM), *back;
    struct files f = files_of(m);
    struct rlhf_error err;
    const float *is, *was;
    size_t count;

    rewrite(&f, make_narrow);
    back = read_files(&f, &err);
    expect_some(back, err);
    is = rlhf_model_parameters(back, &count);
    was = rlhf_model_parameters(m, &count);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;

        memcpy(&bits, &was[i], sizeof bits);
        bits &= 0xffff0000u;
        ck_assert_mem_eq(&is[i], &bits, sizeof bits);
    }
    rlhf_model_free(back);
    rlhf_model_free(m);
    free_files(&f);
}
END_TEST

/* ---- shards ---------------------------------------------------------------------------------------- */

static void write_part(const char *dir, const char *name, const struct rlhf_safetensor *list, size_t count)
{
    struct rlhf_bytes out = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_safetensors_write(list, count, &out, &err), err);
    expect_ok(rlhf_write_file(&rlhf_system_io, in_directory(dir, name), out.data, out.size, &err), err);
    rlhf_bytes_free(&out);
}

static void write_index_text(const char *dir, const char *text)
{
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_write_file(&rlhf_system_io, in_directory(dir, "model.safetensors.index.json"), text, strlen(text),
                              &err), err);
}

/* Says of the first `count` tensors that they are in `first`, of the others that they are in `second`. */
static void write_index(const char *dir, const struct rlhf_safetensors *s, size_t count, const char *first,
                        const char *second)
{
    struct rlhf_bytes text = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_bytes_printf(&text, &err, "{\"metadata\":{\"total_size\":1,\"odd\":[{},null,-1e3]},\"weight_map\":{"),
              err);
    for (size_t i = 0; i < s->count; i++)
        expect_ok(rlhf_bytes_printf(&text, &err, "%s\n\"%s\":\"%s\"", i ? "," : "", s->tensors[i].name,
                                    i < count ? first : second), err);
    expect_ok(rlhf_bytes_printf(&text, &err, "}}"), err);
    write_index_text(dir, text.data);
    rlhf_bytes_free(&text);
}

/* Neither way of getting at a directory's weights may differ in what it refuses. */
static void expect_refused(const char *dir, enum rlhf_code code, const char *why)
{
    struct rlhf_error err = { 0 };

    ck_assert_ptr_null(rlhf_model_load(dir, &err));
    expect_code(err, code);
    expect_contains(err.text, why);
    err = (struct rlhf_error){ 0 };
    ck_assert_ptr_null(rlhf_model_open(dir, RLHF_PANELS_STORED, &err));
    expect_code(err, code);
    expect_contains(err.text, why);
}

START_TEST(a_checkpoint_in_shards_loads_the_same)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM), *back;
    struct files f = files_of(m);
    const char *dir = write_to(a_directory(), &f);
    struct rlhf_safetensors s;
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_safetensors_parse(&s, f.tensors.data, f.tensors.size, &err), err);
    write_part(dir, "a.safetensors", s.tensors, 7);
    write_part(dir, "b.safetensors", s.tensors + 7, s.count - 7);
    ck_assert_int_eq(remove(in_directory(dir, "model.safetensors")), 0);
    expect_refused(dir, RLHF_REJECT, "index.json");
    write_index(dir, &s, 7, "a.safetensors", "b.safetensors");
    back = rlhf_model_load(dir, &err);
    expect_some(back, err);
    expect_same_model(m, back);
    rlhf_model_free(back);
    back = rlhf_model_open(dir, RLHF_PANELS_STORED, &err);
    expect_some(back, err);
    rlhf_model_free(back);
    rlhf_safetensors_free(&s);
    rlhf_model_free(m);
    free_files(&f);
}
END_TEST

START_TEST(an_index_that_lies_is_refused)
{
    static const struct {
        const char *text, *why;
    } texts[] = {
        { "", "expected {" },
        { "[]", "expected {" },
        { "{}", "expected a string" },
        { "{\"metadata\":{}}", "weight_map is missing" },
        { "{\"weight_map\":[]}", "expected {" },
        { "{\"weight_map\":{}}", "names 0 files" },
        { "{\"weight_map\":{\"x\":1}}", "expected a string" },
        { "{\"weight_map\":{\"x\":\"\"}}", "not in a file of this directory" },
        { "{\"weight_map\":{\"x\":\"../a.safetensors\"}}", "not in a file of this directory" },
        { "{\"weight_map\":{\"x\":\"/etc/passwd\"}}", "not in a file of this directory" },
        { "{\"weight_map\":{\"x\":\".\"}}", "not in a file of this directory" },
        { "{\"weight_map\":{\"x\":\"a.safe\\u002ftensors\"}}", "without escapes" },
        { "{\"weight_map\":{\"x\":\"nowhere.safetensors\"}}", "nowhere.safetensors" },
        { "{\"weight_map\":{\"x\":\"config.json\"}}", "config.json" },
        { "{\"weight_map\":{\"x\":\"a.safetensors\"}}", "x is missing in a.safetensors" },
        { "{\"weight_map\":{\"lm_head.weight\":\"a.safetensors\"}}", "missing model." },
        { "{\"weight_map\":{\"lm_head.weight\":\"a.safetensors\"},\"weight_map\":{}}", "twice" },
        { "{\"weight_map\":{\"lm_head.weight\":\"a.safetensors\"}} x", "nothing more" },
        { "{\"metadata\":[[[[[[[[[[[[[[[[[[[[[[[[1]]]", "less depth" },
        { "{\"metadata\":[}", "a value" },
    };
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);
    struct files f = files_of(m);
    const char *dir = write_to(a_directory(), &f);
    struct rlhf_safetensors s;
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_safetensors_parse(&s, f.tensors.data, f.tensors.size, &err), err);
    write_part(dir, "a.safetensors", s.tensors, 7);
    write_part(dir, "b.safetensors", s.tensors + 6, s.count - 6);
    ck_assert_int_eq(remove(in_directory(dir, "model.safetensors")), 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_index_text(dir, texts[i].text);
        expect_refused(dir, strstr(texts[i].text, "nowhere") ? RLHF_REJECT : RLHF_CORRUPT, texts[i].why);
    }
    write_index(dir, &s, 7, "a.safetensors", "b.safetensors"); /* the seventh is in both */
    expect_refused(dir, RLHF_CORRUPT, "stands in a.safetensors and in b.safetensors");
    ck_assert_int_eq(truncate(in_directory(dir, "b.safetensors"), 2000), 0);
    expect_refused(dir, RLHF_CORRUPT, "b.safetensors");
    rlhf_safetensors_free(&s);
    rlhf_model_free(m);
    free_files(&f);
}
END_TEST

/* ---- hostile input --------------------------------------------------------------------------------- */

START_TEST(a_config_of_a_giant_costs_no_memory_before_its_tensors_are_there)
{
    static const char config[] = "{\"model_type\":\"llama\",\"hidden_size\":65536,\"num_hidden_layers\":1000,"
        "\"num_attention_heads\":512,\"intermediate_size\":1000000,\"max_position_embeddings\":16000000,"
        "\"vocab_size\":16000000}";
    struct rlhf_bytes none = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_safetensors_write(NULL, 0, &none, &err), err);
    ck_assert_ptr_null(rlhf_model_read(config, sizeof config - 1, none.data, none.size, &err));
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, "missing");
    rlhf_bytes_free(&none);
}
END_TEST

START_TEST(a_damaged_checkpoint_is_refused_or_read_whole)
{
    struct rlhf_model *m = tiny_model(GPT2, RLHF_HEAD_SCALAR);
    struct files f = files_of(m);
    struct rlhf_random random;
    uint64_t header;

    memcpy(&header, f.tensors.data, sizeof header);
    rlhf_random_init(&random, 2, RLHF_PURPOSE_FAULT, 0, 0);
    for (int i = 0; i < 3000; i++) {
        struct rlhf_bytes *b = i % 2 ? &f.config : &f.tensors;
        uint32_t at = rlhf_random_below(&random, i % 2 ? (uint32_t)b->size : (uint32_t)header + 8);
        char was = b->data[at];
        struct rlhf_error err;

        b->data[at] = (char)rlhf_random_below(&random, 256);
        rlhf_model_free(read_files(&f, &err));
        b->data[at] = was;
    }
    for (size_t size = 0; size < f.config.size; size++) {
        struct rlhf_error err = { 0 };
        char *cut = malloc(size);

        memcpy(cut, f.config.data, size);
        if (size < f.config.size - 1) /* the last byte is a newline */
            ck_assert_ptr_null(rlhf_model_read(cut, size, f.tensors.data, f.tensors.size, &err));
        free(cut);
    }
    rlhf_model_free(m);
    free_files(&f);
}
END_TEST

START_TEST(what_is_not_there_is_named)
{
    struct rlhf_model *m = tiny_model(GPT2, RLHF_HEAD_LM);
    struct files f = files_of(m);
    const char *dir = write_to(a_directory(), &f);
    struct rlhf_error err = { 0 };

    ck_assert_ptr_null(rlhf_model_load("/nowhere/at/all", &err));
    expect_contains(err.text, "/nowhere/at/all");
    ck_assert_int_eq(truncate(in_directory(dir, "model.safetensors"), 3000), 0);
    ck_assert_ptr_null(rlhf_model_load(dir, &err));
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, dir);
    rlhf_model_free(m);
    free_files(&f);
}
END_TEST

/* ---- new models and heads -------------------------------------------------------------------------- */

START_TEST(new_weights_are_a_function_of_config_and_seed)
{
    const struct rlhf_model_config c = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_tensor_start(&err), err);
    ck_assert_ptr_null(rlhf_model_new(&c, 1, &err));
    expect_code(err, RLHF_REJECT);
    for (enum variant v = 0; v < VARIANTS; v++) {
        struct rlhf_model_config tiny = tiny_config(v, RLHF_HEAD_LM);
        struct rlhf_model *m[3];
        size_t count, tensors;
        const struct rlhf_parameter *table;
        const float *w[3];

        tiny.mlp_size = 300;
        for (int i = 0; i < 3; i++) {
            m[i] = rlhf_model_new(&tiny, i < 2 ? 5 : 6, &err);
            expect_some(m[i], err);
            w[i] = rlhf_model_parameters(m[i], &count);
        }
        ck_assert_mem_eq(w[0], w[1], count * sizeof **w);
        ck_assert_mem_ne(w[0], w[2], count * sizeof **w);
        table = rlhf_model_table(m[0], &tensors);
        for (size_t i = 0; i < tensors; i++) {
            bool residual = strstr(table[i].name, "c_proj.weight") || strstr(table[i].name, "o_proj")
                            || strstr(table[i].name, "down_proj") || strstr(table[i].name, "attention.dense.weight")
                            || strstr(table[i].name, "dense_4h_to_h.weight");
            bool bias = strstr(table[i].name, "bias");
            double sum = 0, square = 0, n = (double)table[i].count, sd = residual ? 0.01 : 0.02; /* 0.02 / sqrt(2 L) */

            ck_assert_int_eq(table[i].decayed, table[i].dims == 2);
            for (size_t j = 0; j < table[i].count; j++) {
                double x = (double)w[0][table[i].offset + j];

                sum += x;
                square += x * x;
            }
            if (table[i].dims == 1)
                ck_assert_msg(sum == (bias || tiny.norm_offset ? 0 : n), "%s", table[i].name);
            else
                ck_assert_msg(fabs(sqrt(square / n) - sd) < 4 * sd / sqrt(2 * n), "%s: sd %g", table[i].name,
                              sqrt(square / n));
        }
        for (int i = 0; i < 3; i++)
            rlhf_model_free(m[i]);
    }
}
END_TEST

START_TEST(a_clone_keeps_the_body_and_has_the_wanted_head)
{
    for (enum variant v = 0; v < VARIANTS; v++) {
        struct rlhf_model *lm = tiny_model(v, RLHF_HEAD_LM), *reward, *again, *back;
        struct rlhf_error err = { 0 };
        const struct rlhf_parameter *table;
        const float *from, *to;
        size_t count, tensors;

        reward = rlhf_model_clone(lm, RLHF_HEAD_SCALAR, 3, &err);
        expect_some(reward, err);
        ck_assert_int_eq(rlhf_model_get_config(reward)->head, RLHF_HEAD_SCALAR);
        ck_assert(rlhf_model_bias(reward) == 0);
        table = rlhf_model_table(reward, &tensors);
        from = rlhf_model_parameters(lm, &count);
        to = rlhf_model_parameters(reward, &count);
        ck_assert_str_eq(table[tensors - 1].name, "score.weight");
        ck_assert_mem_eq(from, to, table[tensors - 1].offset * sizeof *from);
        rlhf_model_set_bias(reward, 1.5F);
        again = rlhf_model_clone(reward, RLHF_HEAD_SCALAR, 99, &err);
        expect_some(again, err);
        expect_same_model(reward, again);
        back = rlhf_model_clone(reward, RLHF_HEAD_LM, 0, &err);
        if (rlhf_model_get_config(lm)->tied) {
            expect_some(back, err);
            expect_same_model(lm, back);
        } else {
            ck_assert_ptr_null(back);
            expect_code(err, RLHF_REJECT);
        }
        rlhf_model_free(lm);
        rlhf_model_free(reward);
        rlhf_model_free(again);
        rlhf_model_free(back);
    }
}
END_TEST

/* Stiennon et al. 2020; recipe.md: not 1/(C + 1), as another implementation has it. */
START_TEST(a_reward_models_head_starts_with_a_deviation_of_one_over_the_root_of_channels_and_one)
{
    struct rlhf_model *lm = tiny_model(0, RLHF_HEAD_LM);
    size_t channels = rlhf_model_get_config(lm)->channels, count, tensors;
    double sum = 0, squares = 0, n = 0;
    struct rlhf_error err = { 0 };

    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct rlhf_model *reward = rlhf_model_clone(lm, RLHF_HEAD_SCALAR, seed, &err);
        const struct rlhf_parameter *table = rlhf_model_table(reward, &tensors);
        const float *score = rlhf_model_parameters(reward, &count) + table[tensors - 1].offset;

        ck_assert(rlhf_model_bias(reward) == 0);
        for (size_t i = 0; i < channels; i++, n++) {
            sum += score[i];
            squares += (double)score[i] * score[i];
        }
        rlhf_model_free(reward);
    }
    ck_assert_double_eq_tol(sqrt(squares / n) * sqrt((double)channels + 1), 1, 4 / sqrt(2 * n)); /* 4 standard errors */
    ck_assert_double_eq_tol(sum / n * sqrt((double)channels + 1), 0, 4 / sqrt(n));
    rlhf_model_free(lm);
}
END_TEST

START_TEST(what_is_not_finite_is_neither_read_nor_written)
{
    struct rlhf_model *m = tiny_model(GPT2, RLHF_HEAD_SCALAR);
    struct files f = files_of(m);
    struct rlhf_bytes config = { 0 }, tensors = { 0 };
    struct rlhf_error err = { 0 };
    const float infinite = INFINITY;
    size_t count;
    float *w = rlhf_model_parameters(m, &count);

    memcpy(f.tensors.data + f.tensors.size - 4, &infinite, sizeof infinite);
    ck_assert_ptr_null(read_files(&f, &err));
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, "score.weight: element 9 is inf");
    w[12] = NAN;
    ck_assert_int_eq(rlhf_model_write(m, &config, &tensors, &err), -1);
    expect_code(err, RLHF_FATAL);
    expect_contains(err.text, "transformer.wte.weight: element 12");
    w[12] = 0;
    rlhf_model_set_bias(m, NAN);
    ck_assert_int_eq(rlhf_model_write(m, &config, &tensors, &err), -1);
    expect_code(err, RLHF_FATAL);
    ck_assert_uint_eq(config.size + tensors.size, 0);
    free_files(&f);
    rlhf_model_free(m);
}
END_TEST

int main(void)
{
    return RUN_SUITE("model/files", a_model_that_was_written_loads_the_same, a_tied_head_is_not_written_and_a_score_is,
                     all_that_does_not_fit_is_listed_in_one_error, a_long_list_of_missing_tensors_is_cut_and_counted,
                     bare_names_and_old_buffers_are_understood, a_tied_head_may_be_repeated_but_not_contradicted,
                     bfloat16_weights_are_widened, a_checkpoint_in_shards_loads_the_same, an_index_that_lies_is_refused,
                     a_config_of_a_giant_costs_no_memory_before_its_tensors_are_there,
                     a_damaged_checkpoint_is_refused_or_read_whole, what_is_not_there_is_named,
                     new_weights_are_a_function_of_config_and_seed, a_clone_keeps_the_body_and_has_the_wanted_head,
                     a_reward_models_head_starts_with_a_deviation_of_one_over_the_root_of_channels_and_one,
                     what_is_not_finite_is_neither_read_nor_written);
}
