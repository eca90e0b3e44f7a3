#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "support/suite.h"

/* A table with a key of every type. */
struct optimizer {
    double rate;
    int64_t warmup;
};
struct stage {
    char *name;
    struct optimizer optimizer;
    struct optimizer *second;
};
struct run {
    bool quick;
    int64_t seed, threads;
    double clip;
    char *dir, *title;
    int style, schedule;
    struct rlhf_config_strings data, tags;
    struct optimizer optimizer;
    struct optimizer *extra;
    struct rlhf_config_list stages;
};

static const char *const styles[] = { "gpt2", "llama", NULL };
static const struct rlhf_config_key optimizer_keys[] = {
    { .key = "learning_rate", .type = RLHF_CONFIG_NUMBER, .offset = offsetof(struct optimizer, rate), .def = "1e-4",
      .min = 0, .max = 10, .help = "Peak rate." },
    { .key = "warmup", .type = RLHF_CONFIG_INTEGER, .offset = offsetof(struct optimizer, warmup), .def = "100",
      .max = 1e15, .help = "Steps." },
    { 0 },
};
static const struct rlhf_config_schema optimizer_schema = { "optimizer", optimizer_keys, sizeof(struct optimizer) };
static const struct rlhf_config_key stage_keys[] = {
    { .key = "name", .type = RLHF_CONFIG_STRING, .offset = offsetof(struct stage, name), .required = true, .min = 1,
      .max = 20, .help = "Its name." },
    { .key = "optimizer", .type = RLHF_CONFIG_MAP, .offset = offsetof(struct stage, optimizer),
      .sub = &optimizer_schema, .help = "AdamW." },
    { .key = "second", .type = RLHF_CONFIG_OPTION, .offset = offsetof(struct stage, second),
      .sub = &optimizer_schema, .help = "Another." },
    { 0 },
};
static const struct rlhf_config_schema stage_schema = { "stage", stage_keys, sizeof(struct stage) };
static const struct rlhf_config_key run_keys[] = {
    { .key = "quick", .type = RLHF_CONFIG_BOOL, .offset = offsetof(struct run, quick), .def = "true", .help = "Hurry." },
    { .key = "seed", .type = RLHF_CONFIG_INTEGER, .offset = offsetof(struct run, seed), .def = "-5", .help = "Any." },
    { .key = "threads", .type = RLHF_CONFIG_INTEGER, .offset = offsetof(struct run, threads), .min = 1, .max = 64,
      .def = "2", .help = "Of compute." },
    { .key = "clip", .type = RLHF_CONFIG_NUMBER, .offset = offsetof(struct run, clip), .min = -1, .max = 1,
      .help = "No default." },
    { .key = "dir", .type = RLHF_CONFIG_STRING, .offset = offsetof(struct run, dir), .def = "runs/x: y",
      .help = "Where." },
    { .key = "title", .type = RLHF_CONFIG_STRING, .offset = offsetof(struct run, title), .help = "No default." },
    { .key = "style", .type = RLHF_CONFIG_CHOICE, .offset = offsetof(struct run, style), .choices = styles,
      .def = "llama", .help = "Family." },
    { .key = "data", .type = RLHF_CONFIG_STRINGS, .offset = offsetof(struct run, data), .max = 3, .help = "Files." },
    { .key = "tags", .type = RLHF_CONFIG_STRINGS, .offset = offsetof(struct run, tags), .def = "[a, \"b c\"]",
      .help = "Words." },
    { .key = "optimizer", .type = RLHF_CONFIG_MAP, .offset = offsetof(struct run, optimizer),
      .sub = &optimizer_schema, .help = "AdamW." },
    { .key = "extra", .type = RLHF_CONFIG_OPTION, .offset = offsetof(struct run, extra), .sub = &optimizer_schema,
      .help = "Maybe." },
    { .key = "stages", .type = RLHF_CONFIG_LIST, .offset = offsetof(struct run, stages), .sub = &stage_schema,
      .required = true, .min = 1, .max = 3, .help = "What is done." },
    { 0 },
};
static const struct rlhf_config_schema schema = { "run", run_keys, sizeof(struct run) };

static struct rlhf_error err;

static int parse(struct run *run, const char *text)
{
    return rlhf_config_parse(&schema, text, strlen(text), "a.yaml", run, &err);
}

/* What text is refused with, the whole sentence. */
static void expect_refusal(const char *text, const char *reason)
{
    static const struct run zero;
    struct run run;

    memset(&err, 0, sizeof err);
    ck_assert_msg(parse(&run, text) < 0, "accepted: %s", text);
    expect_code(err, RLHF_REJECT);
    ck_assert_msg(strcmp(err.text, reason) == 0, "\n got: %s\nwant: %s", err.text, reason);
    ck_assert_mem_eq(&run, &zero, sizeof run);
}

START_TEST(every_type_is_read)
{
    struct run run;
    const struct stage *stage;

    expect_ok(parse(&run, "quick: false\n"
                          "seed: -9007199254740993\n"
                          "threads: 64\n"
                          "clip: -2.5e-1\n"
                          "dir: \"quoted \\\" \\n text é\"\n"
                          "title: it's plain - 12\n"
                          "style: gpt2\n"
                          "data: [one, 'two 2', 3]\n"
                          "tags: []\n"
                          "optimizer: {learning_rate: 3e-3}\n"
                          "extra:\n"
                          "  warmup: 7\n"
                          "stages:\n"
                          "  - name: first\n"
                          "    second: {}\n"
                          "  - {name: \"true\", optimizer: {warmup: 0}}\n"),
              err);
    ck_assert(!run.quick);
    ck_assert_int_eq(run.seed, INT64_C(-9007199254740993));
    ck_assert_int_eq(run.threads, 64);
    ck_assert(run.clip == -0.25);
    ck_assert_str_eq(run.dir, "quoted \" \n text é");
    ck_assert_str_eq(run.title, "it's plain - 12");
    ck_assert_int_eq(run.style, 0);
    ck_assert_uint_eq(run.data.count, 3);
    ck_assert_str_eq(run.data.items[1], "two 2");
    ck_assert_str_eq(run.data.items[2], "3");
    ck_assert_uint_eq(run.tags.count, 0);
    ck_assert(run.optimizer.rate == 3e-3);
    ck_assert_int_eq(run.optimizer.warmup, 100);
    ck_assert_ptr_nonnull(run.extra);
    ck_assert_int_eq(run.extra->warmup, 7);
    ck_assert(run.extra->rate == 1e-4);
    ck_assert_uint_eq(run.stages.count, 2);
    stage = run.stages.items;
    ck_assert_str_eq(stage[0].name, "first");
    ck_assert_int_eq(stage[0].optimizer.warmup, 100);
    ck_assert_ptr_nonnull(stage[0].second);
    ck_assert_int_eq(stage[0].second->warmup, 100);
    ck_assert_str_eq(stage[1].name, "true");
    ck_assert_int_eq(stage[1].optimizer.warmup, 0);
    ck_assert_ptr_null(stage[1].second);
    rlhf_config_free(&schema, &run);
    ck_assert_ptr_null(run.dir);
}
END_TEST

START_TEST(what_is_left_out_has_its_default)
{
    struct run run;

    expect_ok(parse(&run, "stages: [{name: x}]"), err);
    ck_assert(run.quick);
    ck_assert_int_eq(run.seed, -5);
    ck_assert_int_eq(run.threads, 2);
    ck_assert(run.clip == 0);
    ck_assert_str_eq(run.dir, "runs/x: y");
    ck_assert_ptr_null(run.title);
    ck_assert_int_eq(run.style, 1);
    ck_assert_uint_eq(run.data.count, 0);
    ck_assert_uint_eq(run.tags.count, 2);
    ck_assert_str_eq(run.tags.items[1], "b c");
    ck_assert(run.optimizer.rate == 1e-4);
    ck_assert_ptr_null(run.extra);
    rlhf_config_free(&schema, &run);
}
END_TEST

START_TEST(a_map_with_all_keys_commented_out_is_the_defaults)
{
    struct run run;

    expect_ok(parse(&run, "optimizer:\n  # warmup: 3\nstages: [{name: x}]"), err);
    ck_assert_int_eq(run.optimizer.warmup, 100);
    rlhf_config_free(&schema, &run);
}
END_TEST

START_TEST(typos_are_named_with_file_line_and_key)
{
    expect_refusal("seed: 1\nthread: 2\n", "a.yaml:2: thread: unknown key; did you mean threads?");
    expect_refusal("stages:\n  - name: a\n  - name: b\n    optimizer:\n      learning_rat: 1\n",
                   "a.yaml:5: stages[1].optimizer.learning_rat: unknown key; did you mean learning_rate?");
    expect_refusal("stages:\n  - name: a\n    zebra: 1\n",
                   "a.yaml:3: stages[0].zebra: unknown key; here may stand: name, optimizer, second");
    expect_refusal("stages: [{name: a}]\nstyle: lama\n", "a.yaml:2: style: \"lama\" is not a choice; did you mean llama?");
    expect_refusal("style: bert", "a.yaml:1: style: one of gpt2, llama expected, found \"bert\"");
}
END_TEST

START_TEST(wrong_types_are_named)
{
    expect_refusal("\n\nseed: many", "a.yaml:3: seed: an integer expected, found \"many\"");
    expect_refusal("seed: \"1\"", "a.yaml:1: seed: an integer expected, found the text \"1\"");
    expect_refusal("seed: 1.5", "a.yaml:1: seed: an integer expected, found \"1.5\"");
    expect_refusal("seed: 010", "a.yaml:1: seed: an integer expected, found \"010\""); /* not eight */
    expect_refusal("seed: 99999999999999999999", "a.yaml:1: seed: an integer expected, found \"99999999999999999999\"");
    expect_refusal("seed: [1]", "a.yaml:1: seed: an integer expected, found a list");
    expect_refusal("seed:", "a.yaml:1: seed: an integer expected, found nothing");
    expect_refusal("quick: yes", "a.yaml:1: quick: true or false expected, found \"yes\"");
    expect_refusal("clip: 0x1", "a.yaml:1: clip: a number from -1 to 1 expected, found \"0x1\"");
    expect_refusal("clip: .nan", "a.yaml:1: clip: a number from -1 to 1 expected, found \".nan\"");
    expect_refusal("optimizer: {learning_rate: 1e999}",
                   "a.yaml:1: optimizer.learning_rate: a number from 0 to 10 expected, found \"1e999\"");
    expect_refusal("dir: {a: b}", "a.yaml:1: dir: a text expected, found a map");
    expect_refusal("dir: ~", "a.yaml:1: dir: a text expected, found \"~\"");
    expect_refusal("dir: \"a\\0b\"", "a.yaml:1: dir: a text without NUL bytes expected");
    expect_refusal("data: one.txt",
                   "a.yaml:1: data: a list of texts, 0 to 3 of them expected, found \"one.txt\"; write it in brackets: [one.txt]");
    expect_refusal("data: [a, [b]]", "a.yaml:1: data[1]: a text expected, found a list");
    expect_refusal("optimizer: 5", "a.yaml:1: optimizer: a map expected, found \"5\"");
    expect_refusal("stages: {name: x}", "a.yaml:1: stages: a list of maps, 1 to 3 of them expected, found a map");
    expect_refusal("stages: [x]", "a.yaml:1: stages[0]: a map expected, found \"x\"");
    expect_refusal("just words", "a.yaml:1: a map expected, found \"just words\"");
    expect_refusal("- a", "a.yaml:1: a map expected, found a list");
}
END_TEST

START_TEST(ranges_hold)
{
    expect_refusal("threads: 0", "a.yaml:1: threads: an integer from 1 to 64 expected, found \"0\"");
    expect_refusal("threads: 65", "a.yaml:1: threads: an integer from 1 to 64 expected, found \"65\"");
    expect_refusal("clip: 1.0001", "a.yaml:1: clip: a number from -1 to 1 expected, found \"1.0001\"");
    expect_refusal("optimizer: {warmup: -1}", "a.yaml:1: optimizer.warmup: an integer, 0 or more expected, found \"-1\"");
    expect_refusal("data: [a, b, c, d]", "a.yaml:1: data: 0 to 3 entries expected, found 4");
    expect_refusal("stages: []", "a.yaml:1: stages: 1 to 3 entries expected, found 0");
    expect_refusal("stages: [{name: ''}]",
                   "a.yaml:1: stages[0].name: a text of 1 to 20 bytes expected, found the text \"\"");
    expect_refusal("stages: [{name: aaaaaaaaaaaaaaaaaaaaa}]", "a.yaml:1: stages[0].name: a text of 1 to 20 bytes "
                                                              "expected, found \"aaaaaaaaaaaaaaaaaaaaa\"");
}
END_TEST

START_TEST(missing_keys_are_named_where_they_belong)
{
    expect_refusal("", "a.yaml:1: stages is missing: What is done.");
    expect_refusal("# only a comment\n", "a.yaml:1: stages is missing: What is done.");
    expect_refusal("seed: 1\nstages:\n  - name: a\n  - optimizer: {}\n", "a.yaml:4: stages[1]: name is missing: Its name.");
    expect_refusal("stages:\n  -\n", "a.yaml:2: stages[0]: name is missing: Its name.");
}
END_TEST

START_TEST(a_key_stands_once)
{
    expect_refusal("seed: 1\nquick: true\nseed: 2\n", "a.yaml:3: seed: this key stands in line 1 already");
    expect_refusal("optimizer: {warmup: 1, warmup: 1}", "a.yaml:1: warmup: this key stands in line 1 already");
}
END_TEST

START_TEST(broken_yaml_is_named_with_its_line)
{
    struct run run;
    static const struct {
        const char *text, *part;
    } broken[] = {
        { "seed: 1\ndir: \"open\n", "a.yaml:3: not YAML: found unexpected end of stream" },
        { "seed: 1\n\tquick: true\n", "a.yaml:2: not YAML: found a tab character" },
        { "data: [a, b\nseed: 1\n", "a.yaml:" },
        { "a: b: c\n", "a.yaml:1: not YAML: mapping values are not allowed" },
        { "seed: 1\n\nstyle: \xff\xfe\n", "a.yaml:3: not UTF-8 text" },
        { "seed: 1\n---\nseed: 2\n", "a.yaml:2: a second document begins here" },
        { "{a: b", "a.yaml:2: not YAML" },
        { "? [a]\n: b\n", "a.yaml:1: a key must be a plain word" },
        { "%YAML 9.9\n---\n", "a.yaml:1: not YAML" },
    };

    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        ck_assert_msg(parse(&run, broken[i].text) < 0, "%s", broken[i].text);
        expect_code(err, RLHF_REJECT);
        expect_contains(err.text, broken[i].part);
    }
    ck_assert_int_eq(rlhf_config_parse(&schema, "a\0b", 3, "a.yaml", &run, &err), -1);
}
END_TEST

START_TEST(anchors_aliases_and_tags_are_refused)
{
    static const char *const reason = "anchors, aliases and tags (&, *, !) are not used here: write the value out";
    static const char *const texts[] = { "seed: &a 1", "seed: *a", "dir: !!str 1", "optimizer: &o {}",
                                         "data: !include x", "stages: !t [a]" };
    char expected[200];

    snprintf(expected, sizeof expected, "a.yaml:1: %s", reason);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        expect_refusal(texts[i], expected);
    /* A billion laughs. */
    expect_refusal("data: [a]\nb: &b [*a,*a,*a]\n", "a.yaml:2: anchors, aliases and tags (&, *, !) are not used here: "
                                                    "write the value out");
}
END_TEST

START_TEST(depth_and_size_are_limited)
{
    struct run run;
    size_t size = 5 << 20;
    char *text = malloc(size + 1);

    memset(text, '[', size);
    memcpy(text, "data: ", 6);
    text[100000] = '\0';
    expect_refusal(text, "a.yaml:1: nested too deeply");
    text[100000] = '[';
    text[size] = '\0';
    ck_assert_int_eq(parse(&run, text), -1);
    expect_contains(err.text, "larger than");
    memset(text, 'x', 4 << 20);
    for (size_t i = 1; i < 4 << 20; i += 2)
        text[i] = ',';
    memcpy(text, "data: [ ", 8);
    text[4 << 20] = '\0';
    ck_assert_int_eq(parse(&run, text), -1);
    expect_contains(err.text, "too many entries");
    free(text);
}
END_TEST

static void expect_same(const struct run *a, const struct run *b)
{
    const struct stage *sa = a->stages.items, *sb = b->stages.items;

    ck_assert(a->quick == b->quick && a->seed == b->seed && a->clip == b->clip && a->style == b->style);
    ck_assert_pstr_eq(a->dir, b->dir);
    ck_assert_pstr_eq(a->title, b->title);
    ck_assert_uint_eq(a->data.count, b->data.count);
    for (size_t i = 0; i < a->data.count; i++)
        ck_assert_str_eq(a->data.items[i], b->data.items[i]);
    ck_assert_int_eq(!a->extra, !b->extra);
    ck_assert(a->optimizer.rate == b->optimizer.rate);
    ck_assert_uint_eq(a->stages.count, b->stages.count);
    for (size_t i = 0; i < a->stages.count; i++) {
        ck_assert_str_eq(sa[i].name, sb[i].name);
        ck_assert(sa[i].optimizer.rate == sb[i].optimizer.rate);
        ck_assert_int_eq(!sa[i].second, !sb[i].second);
    }
}

START_TEST(what_is_printed_is_read_back_the_same)
{
    static const char *const texts[] = {
        "stages: [{name: x}]",
        "title: 'no'\ndir: 'a: b # c'\nclip: 0.1\ndata: [yes, '', ' x ', \"\\t\\\"\", 'ü', '12', '[a]', '- b', '&c']\n"
        "extra: {learning_rate: 0.30000000000000004}\nstages: [{name: '~'}, {name: n, second: {}}, {name: 'a:'}]",
    };
    struct rlhf_bytes out = { 0 };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct rlhf_config_key loose[sizeof run_keys / sizeof run_keys[0]];
        struct rlhf_config_schema s = { "run", loose, sizeof(struct run) };
        struct run before, after;

        memcpy(loose, run_keys, sizeof run_keys);
        for (size_t k = 0; loose[k].key; k++)
            if (loose[k].type == RLHF_CONFIG_STRINGS)
                loose[k].max = 100;
        expect_ok(rlhf_config_parse(&s, texts[i], strlen(texts[i]), "a.yaml", &before, &err), err);
        rlhf_bytes_clear(&out);
        expect_ok(rlhf_config_print(&s, &before, &out, &err), err);
        expect_ok(rlhf_config_parse(&s, out.data, out.size, "printed", &after, &err), err);
        expect_same(&before, &after);
        rlhf_config_free(&s, &before);
        rlhf_config_free(&s, &after);
    }
    rlhf_bytes_free(&out);
}
END_TEST

START_TEST(the_defaults_are_printed_with_help)
{
    struct rlhf_bytes out = { 0 };

    expect_ok(rlhf_config_print(&schema, NULL, &out, &err), err);
    expect_contains(out.data, "quick: true                             # Hurry.\n");
    expect_contains(out.data, "threads: 2                              # Of compute. (an integer from 1 to 64)\n");
    expect_contains(out.data, "dir: \"runs/x: y\"                        # Where. (a text)\n");
    expect_contains(out.data, "# title:                                # No default. (a text)\n");
    expect_contains(out.data, "optimizer:                              # AdamW.\n"
                              "  learning_rate: 1e-4                   # Peak rate. (a number from 0 to 10)\n");
    expect_contains(out.data, "stages: []                              # What is done. (a list of maps, 1 to 3 of them)\n");
    ck_assert_ptr_null(strstr(out.data, "extra"));
    rlhf_bytes_free(&out);
}
END_TEST

START_TEST(the_manual_has_every_key_once)
{
    struct rlhf_bytes out = { 0 };

    expect_ok(rlhf_config_man(&schema, &out, &err), err);
    expect_contains(out.data, ".SH CONFIGURATION\n");
    expect_contains(out.data, ".TP\n.B threads\nOf compute.\nAn integer from 1 to 64; default 2.\n");
    expect_contains(out.data, "default \\-5");
    expect_contains(out.data, "Its keys are those of\n.B optimizer\nabove.\n");
    for (const char *at = out.data; (at = strchr(at, '\n')) != NULL; at++)
        ck_assert(at[1] != '\'');
    rlhf_bytes_free(&out);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_named)
{
    const char *dir = a_directory(), *path = in_directory(dir, "c.yaml");
    struct run run;

    ck_assert_int_eq(rlhf_config_read(&schema, path, &run, &err), -1);
    expect_contains(err.text, "c.yaml");
    expect_contains(err.text, "No such file");
    expect_ok(rlhf_write_file(&rlhf_system_io, path, "stages: [{name: x}]\nsede: 1\n", 28, &err), err);
    ck_assert_int_eq(rlhf_config_read(&schema, path, &run, &err), -1);
    expect_contains(err.text, "c.yaml:2: sede: unknown key; did you mean seed?");
    expect_ok(rlhf_write_file(&rlhf_system_io, path, "stages: [{name: x}]\n", 20, &err), err);
    expect_ok(rlhf_config_read(&schema, path, &run, &err), err);
    rlhf_config_free(&schema, &run);
}
END_TEST

int main(void)
{
    return RUN_SUITE("config/config", every_type_is_read, what_is_left_out_has_its_default,
                     a_map_with_all_keys_commented_out_is_the_defaults, typos_are_named_with_file_line_and_key,
                     wrong_types_are_named, ranges_hold, missing_keys_are_named_where_they_belong, a_key_stands_once,
                     broken_yaml_is_named_with_its_line, anchors_aliases_and_tags_are_refused,
                     depth_and_size_are_limited, what_is_printed_is_read_back_the_same,
                     the_defaults_are_printed_with_help, the_manual_has_every_key_once,
                     a_file_that_cannot_be_read_is_named);
}
