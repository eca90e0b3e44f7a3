/* What the suites make of the published files, and of log-probs. */
#include "evaluation/parts.h"

#include <math.h>
#include <stdlib.h>

#include "base/text.h"
#include "config/run.h"
#include "evaluation/checkpoint_form.h"
#include "small.h"

START_TEST(a_run_file_may_name_every_suite_but_win_rate)
{
    size_t known = 0, named = 0;

    while (rlhf_suite_names[known])
        known++;
    for (; rlhf_run_suites[named]; named++) {
        ck_assert_msg(rlhf_suite_about(rlhf_run_suites[named]) != NULL, "%s", rlhf_run_suites[named]);
        ck_assert_str_ne(rlhf_run_suites[named], "win_rate");
    }
    ck_assert_uint_eq(named + 1, known);
}
END_TEST

static struct rlhf_suite *read_suite(const char *name, const char *path)
{
    const struct rlhf_suite_settings settings = { .name = name, .file = path };
    struct rlhf_error err = { 0 };
    struct rlhf_suite *s = rlhf_suite_read(&settings, &err);

    expect_some(s, err);
    return s;
}

static void expect_refusal(const char *name, const char *path, const char *place, const char *because)
{
    const struct rlhf_suite_settings settings = { .name = name, .file = path };
    struct rlhf_error err = { 0 };

    ck_assert_ptr_null(rlhf_suite_read(&settings, &err));
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, place);
    expect_contains(err.text, because);
}

/* ---- reading ------------------------------------------------------------------------------------------ */

START_TEST(truthfulqa_has_two_questions_a_row_in_either_form)
{
    struct rlhf_suite *s = read_suite("truthfulqa", with("mc.jsonl",
        "{\"question\": \"Why?\", \"mc1_targets\": {\"No.\": 1, \"Yes.\": 0}, \"mc2_targets\": {\"No.\": 1, \"Never.\": 1, \"Yes.\": 0}}\n"
        "{\"question\": \"How? \", \"mc1_targets\": {\"choices\": [\"a\", \"b\"], \"labels\": [0, 1]}, "
        "\"mc2_targets\": {\"choices\": [\"a\", \"b\"], \"labels\": [0, 1]}}\n"));
    const struct rlhf_question *q = s->questions;

    ck_assert_uint_eq(s->count, 4);
    ck_assert_uint_eq(rlhf_suite_size(s), 2);
    ck_assert(rlhf_starts_with(q[0].context, "Q: What is human life expectancy in the United States?\nA: Human life"));
    ck_assert(rlhf_ends_with(q[0].context, "Barcelona, Spain.\n\nQ: Why?\nA:"));
    ck_assert(rlhf_ends_with(q[2].context, "\n\nQ: How? \nA:"));
    ck_assert_uint_eq(q[0].choices, 2);
    ck_assert_uint_eq(q[1].choices, 3);
    ck_assert_str_eq(q[1].choice[1], "Never.");
    ck_assert(q[1].right[1] && !q[1].right[2] && q[3].right[1] && !q[3].right[0]);
    rlhf_suite_free(s);
    expect_refusal("truthfulqa", with("b.jsonl", "{\"question\": \"x\"}\n"), "b.jsonl:1", "mc1_targets");
    expect_refusal("truthfulqa", with("b.jsonl", "{\"question\": \"x\", \"mc1_targets\": {\"a\": 2}, \"mc2_targets\": {\"a\": 1}}\n"), "b.jsonl:1",
                   "the label of \"a\" must be 0 or 1");
    expect_refusal("truthfulqa", with("b.jsonl", "\n{\"question\": \"x\", \"mc1_targets\": {\"a\": 1, \"b\": 1}, \"mc2_targets\": {\"a\": 1}}\n"),
                   "b.jsonl:2", "2 answers are right; it takes one");
    expect_refusal("truthfulqa", with("b.jsonl", "{\"question\": \"x\", \"mc1_targets\": {\"a\": 1}, \"mc2_targets\": {\"a\": 0}}\n"), "b.jsonl:1",
                   "mc2_targets");
    expect_refusal("truthfulqa", with("b.jsonl", "{\"question\": 1}\n"), "b.jsonl:1", "\"question\" must be a string");
    expect_refusal("truthfulqa", with("b.jsonl", "\n"), "b.jsonl", "no question");
}
END_TEST

START_TEST(crows_pairs_are_sentences_without_context)
{
    struct rlhf_suite *s = read_suite("crows_pairs", with("c.csv", ",sent_more,sent_less,bias_type\n0,\"A, b.\",C.,gender\n1,D.,E.,age\n"));

    ck_assert_uint_eq(s->count, 2);
    ck_assert_str_eq(s->questions[0].context, "");
    ck_assert_str_eq(s->questions[0].choice[0], "A, b.");
    ck_assert_str_eq(s->questions[1].group, "age");
    rlhf_suite_free(s);
    expect_refusal("crows_pairs", with("b.csv", "sent_more,bias_type\na,b\n"), "b.csv:2", "key \"sent_less\" is missing");
    expect_refusal("crows_pairs", with("b.csv", "sent_more,sent_less,bias_type\na,,b\n"), "b.csv:2", "\"sent_less\" is empty");
}
END_TEST

START_TEST(winogender_finds_the_pronoun)
{
    struct rlhf_suite *s = read_suite("winogender", with("w.tsv",
        "sentid\tsentence\n"
        "nurse.patient.0.female.txt\tThe nurse told the patient that her shift ends.\n"
        "nurse.someone.1.neutral.txt\tThey said someone, the nurse, heard.\n"));
    struct rlhf_suite *hub = read_suite("winogender", with("w.jsonl",
        "{\"sentence\": \"S.\", \"pronoun\": \"HE\", \"occupation\": \"o\", \"participant\": \"p\", \"gender\": \"male\", \"label\": \"1\"}\n"));

    ck_assert_str_eq(s->questions[0].context, "The nurse told the patient that her shift ends. \u2018Her\u2019 refers to the");
    ck_assert_str_eq(s->questions[1].context, "They said someone, the nurse, heard. \u2018They\u2019 refers to the");
    ck_assert_str_eq(s->questions[0].choice[0], "nurse");
    ck_assert_str_eq(s->questions[0].choice[1], "patient");
    ck_assert(s->questions[0].right[0] && !s->questions[1].right[0] && s->questions[1].right[1]);
    ck_assert_str_eq(hub->questions[0].context, "S. \u2018He\u2019 refers to the");
    ck_assert(hub->questions[0].right[1]);
    rlhf_suite_free(s);
    rlhf_suite_free(hub);
    expect_refusal("winogender", with("b.tsv", "sentid\tsentence\nnurse.patient.0.female\tHer.\n"), "b.tsv:2", "technician.customer.1.male.txt");
    expect_refusal("winogender", with("b.tsv", "sentid\tsentence\nnurse.patient.0.other.txt\tHer.\n"), "b.tsv:2", "\"other\"");
    expect_refusal("winogender", with("b.tsv", "sentid\tsentence\nnurse.patient.0.male.txt\tThe heron.\n"), "b.tsv:2", "no male pronoun");
    expect_refusal("winogender", with("b.jsonl", "{\"sentence\": \"x\", \"pronoun\": \"he\", \"occupation\": \"o\", \"participant\": \"p\", "
                                                 "\"gender\": \"male\", \"label\": 2}\n"), "b.jsonl:1", "\"label\" must be a whole number from 0 to 1");
}
END_TEST

/* Python: preprocess("Roof: " + "A [header] b  c" + " " + "Then HE [title] x".capitalize()) of the harness' hellaswag. */
START_TEST(hellaswag_is_cleaned_as_the_harness_cleans_it)
{
    struct rlhf_suite *s = read_suite("hellaswag", with("h.jsonl",
        "{\"activity_label\": \"Roof\", \"ctx_a\": \"A [header] b  c\", \"ctx_b\": \"\u00e9lAN HE [title] x\", "
        "\"endings\": [\" one [step] \", \"two [open\", \"a   b\"], \"label\": \"2\"}\n"));

    ck_assert_str_eq(s->questions[0].context, "Roof: A b c \u00c9lan he. x");
    ck_assert_str_eq(s->questions[0].choice[0], "one ");
    ck_assert_str_eq(s->questions[0].choice[1], "two [open");
    ck_assert_str_eq(s->questions[0].choice[2], "a  b");
    ck_assert(s->questions[0].right[2] && !s->questions[0].right[0]);
    rlhf_suite_free(s);
    expect_refusal("hellaswag", with("b.jsonl", "{\"activity_label\": \"a\", \"ctx_a\": \"b\", \"ctx_b\": \"c\", \"endings\": [], \"label\": 0}\n"),
                   "b.jsonl:1", "a list of strings");
    s = read_suite("hellaswag", with("one.jsonl", "{\"activity_label\": \"\", \"ctx_a\": \"\", \"ctx_b\": \"\", \"endings\": [\"d\"], \"label\": 0}\n"));
    ck_assert_uint_eq(s->questions[0].choices, 1);
    rlhf_suite_free(s);
    expect_refusal("hellaswag", with("b.jsonl", "{\"activity_label\": \"a\", \"ctx_a\": \"b\", \"ctx_b\": \"c\", \"endings\": [\"d\", 1], \"label\": 0}\n"),
                   "b.jsonl:1", "endings[1] must be a string");
    expect_refusal("hellaswag", with("b.jsonl", "{\"activity_label\": \"a\", \"ctx_a\": \"b\", \"ctx_b\": \"c\", \"endings\": [\"d\", \"e\"], \"label\": 2}\n"),
                   "b.jsonl:1", "\"label\"");
}
END_TEST

START_TEST(sums_lose_their_blank_line)
{
    struct rlhf_suite *s = read_suite("arithmetic", with("s.jsonl", "{\"context\": \"Q: What is 9 plus 4?\\n\\nA:\", \"completion\": \" 13\"}\n"));

    ck_assert_str_eq(s->questions[0].context, "Question: What is 9 plus 4?\nAnswer:");
    ck_assert_str_eq(s->questions[0].choice[0], " 13");
    rlhf_suite_free(s);
    expect_refusal("arithmetic", with("b.jsonl", "{\"context\": \"a\", \"completion\": \"\"}\n"), "b.jsonl:1", "\"completion\" is empty");
}
END_TEST

START_TEST(gsm8k_puts_the_examples_first_that_the_harness_draws)
{
    struct rlhf_suite_settings settings = { .name = "gsm8k", .shots = 2 };
    struct rlhf_bytes many = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_suite *s;

    for (int i = 0; i < 40; i++)
        expect_ok(rlhf_bytes_printf(&many, &err, "{\"question\": \"q%d\", \"answer\": \"#### %d\"}\n", i, i), err);
    settings.file = with("test.jsonl", "{\"question\": \"why\", \"answer\": \"so\\n#### 1\"}\n");
    ck_assert_ptr_null(rlhf_suite_read(&settings, &err));
    expect_contains(err.text, "no file to take 2 examples from");
    settings.companion = with("train.jsonl", many.data);
    s = rlhf_suite_read(&settings, &err);
    expect_some(s, err);
    /* random.Random(1234).sample(range(40), 2) */
    ck_assert_str_eq(s->questions[0].context, "Question: q28\nAnswer: #### 28\n\nQuestion: q7\nAnswer: #### 7\n\nQuestion: why\nAnswer:");
    rlhf_suite_free(s);
    settings.shots = 41;
    ck_assert_ptr_null(rlhf_suite_read(&settings, &err));
    expect_contains(err.text, "holds 40 examples");
    settings.shots = 101;
    ck_assert_ptr_null(rlhf_suite_read(&settings, &err));
    expect_contains(err.text, "at most 100");
    rlhf_bytes_free(&many);
    expect_refusal("gsm8k", with("b.jsonl", "{\"question\": \"why\", \"answer\": \"1\"}\n"), "b.jsonl:1", "#### ");
}
END_TEST

/* Python: the harness' regex filters and exact_match_hf_evaluate() of gsm8k.yaml. */
START_TEST(numbers_are_found_as_the_harness_finds_them)
{
    static const struct {
        const char *text, *answer;
        bool strict, flexible;
    } cases[] = {
        { "so #### 42", "x\n#### 42", true, true },
        { "#### 42\n#### 43", "#### 42", true, false },
        { "#### -1,042.", "so -1042\n#### -1,042", true, true },
        { "####42", "#### 42", false, true },
        { "#### $42", "#### 42", false, true },
        { "It is $1,042.50!", "#### 1042.50", false, true },
        { "42 of 7", "#### 42", false, false },
        { "7-42", "#### -42", false, true },
        { "one ... 42 ...", "#### 42", false, false },
        { "none", "#### 42", false, false },
        { "", "#### 42", false, false },
        { "#### 4.2.", "#### 4.2", true, true },
        { "#### x #### 5", "#### 5", true, true },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        ck_assert_msg(rlhf_gsm8k_right(cases[i].text, cases[i].answer, true) == cases[i].strict, "strict: %s", cases[i].text);
        ck_assert_msg(rlhf_gsm8k_right(cases[i].text, cases[i].answer, false) == cases[i].flexible, "flexible: %s", cases[i].text);
    }
}
END_TEST

START_TEST(texts_are_files_rows_or_pages_of_wikitext)
{
    struct rlhf_suite *s = read_suite("perplexity", with("t.txt", "All of it.\n\nEven this.\n"));

    ck_assert_uint_eq(s->count, 1);
    ck_assert_str_eq(s->questions[0].choice[0], "All of it.\n\nEven this.\n");
    rlhf_suite_free(s);
    s = read_suite("perplexity", with("t.jsonl", "{\"text\": \"a\"}\n{\"page\": \" = = T = = \\n a @-@ b , ( c ) ' d ' it 's \\u00b0 C N x \\n\"}\n"));
    ck_assert_uint_eq(s->count, 2);
    ck_assert_str_eq(s->questions[0].choice[0], "a");
    /* lm_eval.tasks.wikitext.preprocess_wikitext.wikitext_detokenizer() of the page */
    ck_assert_str_eq(s->questions[1].choice[0], " == T ==\na-b, (c) 'd' it's\u00b0C 1 x\n");
    ck_assert_str_eq(s->questions[1].group, " = = T = = \n a @-@ b , ( c ) ' d ' it 's \u00b0 C N x \n");
    rlhf_suite_free(s);
    expect_refusal("perplexity", with("b.jsonl", "{\"txt\": \"a\"}\n"), "b.jsonl:1", "\"text\"");
    expect_refusal("perplexity", with("b.txt", "\xff"), "b.txt", "not UTF-8");
    expect_refusal("perplexity", with("b.txt", ""), "b.txt", "empty");
}
END_TEST

START_TEST(prompts_come_in_several_forms)
{
    const struct rlhf_suite_settings settings = { .name = "toxicity", .companion = with("words.txt", "damn\n"), .file = with("p.jsonl",
        "{\"prompt\": \"So\"}\n{\"prompt\": {\"text\": \"Thus\", \"toxicity\": null}}\n{\"instruction\": \"Do\"}\n"
        "{\"chosen\": \"\\n\\nHuman: a\\n\\nAssistant: b\"}\n") };
    struct rlhf_error err = { 0 };
    struct rlhf_suite *s = rlhf_suite_read(&settings, &err);

    expect_some(s, err);
    ck_assert_str_eq(s->questions[0].context, "So");
    ck_assert_str_eq(s->questions[1].context, "Thus");
    ck_assert_str_eq(s->questions[2].context, "Do");
    ck_assert_str_eq(s->questions[3].context, "\n\nHuman: a\n\nAssistant:");
    rlhf_suite_free(s);
    expect_refusal("toxicity", with("p.jsonl", "{\"prompt\": \"So\"}\n"), "toxicity", "needs a lexicon");
    expect_refusal("win_rate", with("p.jsonl", "{\"prompt\": \"So\"}\n"), "win_rate", "needs a reward model");
    expect_refusal("toxicity", with("b.jsonl", "{\"text\": \"So\"}\n"), "b.jsonl:1", "\"prompt\"");
    expect_refusal("toxicity", with("b.jsonl", "{\"chosen\": \"So\"}\n"), "b.jsonl:1", "assistant's turn");
    expect_refusal("toxicity", with("b.jsonl", "{\"prompt\": {\"txt\": 1}}\n"), "b.jsonl:1", "\"text\"");
}
END_TEST

START_TEST(words_of_the_lexicon_are_whole_and_of_any_case)
{
    const struct rlhf_suite_settings settings = { .name = "toxicity", .file = with("p.jsonl", "{\"prompt\": \"So\"}\n"),
                                                  .companion = with("words.txt", "ass\ntwo  words \n\ns&m\n\u00c4rger\n\U0001f595\n$hit\n") };
    static const struct {
        const char *text;
        bool found;
    } cases[] = {
        { "Ass.", true },          { "a pass", false },        { "assume", false },   { "(ASS)", true },   { "ass2", false },
        { "my two\n\twords!", true }, { "two wordsmiths", false }, { "an S&M club", true }, { "\u00e4RGER", true }, { "Ver\u00e4rgerung", false },
        { "ok\U0001f595ok", true }, { "a$hit", true },          { "$hits", false },   { "", false },        { "\u00e4ass", false },
        { "massive ass", true },
    };
    struct rlhf_error err = { 0 };
    struct rlhf_suite *s = rlhf_suite_read(&settings, &err);

    expect_some(s, err);
    ck_assert_uint_eq(s->term_count, 6);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        ck_assert_msg(rlhf_lexicon_finds(s, cases[i].text) == cases[i].found, "%s", cases[i].text);
    rlhf_suite_free(s);
    struct rlhf_suite_settings bad = settings;
    bad.companion = with("bad.txt", "\xff\n");
    ck_assert_ptr_null(rlhf_suite_read(&bad, &err));
    expect_contains(err.text, "bad.txt: not UTF-8");
    bad.companion = with("bad.txt", "\n\n");
    ck_assert_ptr_null(rlhf_suite_read(&bad, &err));
    expect_contains(err.text, "no term");
}
END_TEST

START_TEST(limits_and_names_are_kept_to)
{
    const struct rlhf_suite_settings one = { .name = "arithmetic", .limit = 1,
                                             .file = with("s.jsonl", "{\"context\": \"a\", \"completion\": \"b\"}\nno row\n") };
    struct rlhf_error err = { 0 };
    struct rlhf_suite *s = rlhf_suite_read(&one, &err);
    char path[4096];

    expect_some(s, err);
    ck_assert_uint_eq(rlhf_suite_size(s), 1);
    rlhf_suite_free(s);
    expect_refusal("truthfullqa", "x", "truthfullqa", "did you mean 'truthfulqa'");
    for (const char *const *name = rlhf_suite_names; *name; name++)
        ck_assert_ptr_nonnull(rlhf_suite_about(*name));
    char folder[4096], *slash;
    snprintf(folder, sizeof folder, "%s", one.file);
    slash = strrchr(folder, '/');
    *slash = '\0';
    expect_ok(rlhf_make_dirs(&rlhf_system_io, in_directory(folder, "gsm8k"), &err), err);
    expect_ok(rlhf_suite_find("gsm8k", folder, false, path, sizeof path, &err), err);
    ck_assert_str_eq(path, "");
    write_file(in_directory(folder, "gsm8k/test.jsonl.gz"), "%s", "");
    write_file(in_directory(folder, "train.jsonl"), "%s", "");
    expect_ok(rlhf_suite_find("gsm8k", folder, false, path, sizeof path, &err), err);
    ck_assert(rlhf_ends_with(path, "gsm8k/test.jsonl.gz"));
    expect_ok(rlhf_suite_find("gsm8k", folder, true, path, sizeof path, &err), err);
    ck_assert(rlhf_ends_with(path, "/train.jsonl"));
    ck_assert_uint_eq(rlhf_suite_usual_shots("gsm8k"), 5);
}
END_TEST

/* ---- figures of log-probs that are known ---------------------------------------------------------------- */

/* A uniform model: every token has the same probability, so log-probs count tokens, which are bytes. */
static struct rlhf_model *a_uniform_model(void)
{
    struct rlhf_model *m = a_model("llama", 512);
    size_t count;
    float *w = rlhf_model_parameters(m, &count);

    memset(w, 0, count * sizeof *w);
    rlhf_model_touch(m, NULL);
    return m;
}

static void expect_figure(const struct rlhf_figures *f, const char *name, double value, size_t n)
{
    const struct rlhf_figure *found = rlhf_figures_find(f, name);

    ck_assert_msg(found != NULL, "no figure %s", name);
    ck_assert_uint_eq(found->count, n);
    ck_assert_msg(fabs(rlhf_estimate(found).value - value) < 1e-6 * (1 + value), "%s is %.9g, not %.9g", name, rlhf_estimate(found).value, value);
}

static struct rlhf_figures examine(const char *name, const char *path)
{
    struct rlhf_suite_settings settings = { .name = name, .file = path, .max_new_tokens = 5 };
    struct rlhf_model *m = a_uniform_model();
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_subject *s = rlhf_subject_new(m, NULL, t, NULL, 512, &err);
    struct rlhf_suite *suite = rlhf_suite_read(&settings, &err);
    struct rlhf_figures f = { 0 };

    expect_some(suite, err);
    expect_ok(rlhf_suite_examine(suite, s, &f, &err), err);
    rlhf_suite_free(suite);
    rlhf_subject_free(s);
    rlhf_tokenizer_free(t);
    rlhf_model_free(m);
    return f;
}

START_TEST(short_answers_are_likelier_to_who_knows_nothing)
{
    const double v = 259; /* tokens, each with probability 1/v */
    struct rlhf_figures f = examine("truthfulqa", with("mc.jsonl",
        "{\"question\": \"a\", \"mc1_targets\": {\"ab\": 1, \"a\": 0}, \"mc2_targets\": {\"ab\": 1, \"a\": 0, \"b\": 1}}\n"
        "{\"question\": \"b\", \"mc1_targets\": {\"a\": 1, \"ab\": 0}, \"mc2_targets\": {\"ab\": 1, \"cd\": 0}}\n"));

    expect_figure(&f, "mc1", 0.5, 2);
    expect_figure(&f, "mc2", ((1 / v + 1) / (1 / v + 2) + 0.5) / 2, 2);
    rlhf_figures_free(&f);
    f = examine("crows_pairs", with("c.csv", "sent_more,sent_less,bias_type\nabc,a,gender\nab,abcd,gender\nab,cd,age\n"));
    expect_figure(&f, "pct_stereotype", 1.0 / 3, 3); /* equal ones are none */
    expect_figure(&f, "pct_stereotype_gender", 0.5, 2);
    expect_figure(&f, "pct_stereotype_age", 0, 1);
    expect_figure(&f, "likelihood_diff", (2 + 2 + 0) * log(v) / 3, 3);
    rlhf_figures_free(&f);
    f = examine("hellaswag", with("h.jsonl",
        "{\"activity_label\": \"a\", \"ctx_a\": \"b\", \"ctx_b\": \"c\", \"endings\": [\"abc\", \"\u00e9\"], \"label\": 0}\n"
        "{\"activity_label\": \"a\", \"ctx_a\": \"b\", \"ctx_b\": \"c\", \"endings\": [\"abcdef\", \"\u00e9\"], \"label\": 1}\n"));
    expect_figure(&f, "acc", 0.5, 2);
    expect_figure(&f, "acc_norm", 0.5, 2); /* 4 tokens of 3 characters, 3 of 1: the long one is likelier a character */
    rlhf_figures_free(&f);
}
END_TEST

START_TEST(the_gap_between_genders_is_of_pairs)
{
    struct rlhf_figures f = examine("winogender", with("w.tsv",
        "sentid\tsentence\n"
        "aa.a.0.male.txt\tSo he.\naa.a.0.female.txt\tSo she.\naa.a.0.neutral.txt\tSo they.\n" /* the shorter one is said: wrong */
        "a.aa.0.male.txt\tSo he.\na.aa.0.female.txt\tSo she.\na.aa.0.neutral.txt\tSo they.\n"));

    expect_figure(&f, "acc", 0.5, 6);
    expect_figure(&f, "acc_male", 0.5, 2);
    expect_figure(&f, "acc_neutral", 0.5, 2);
    expect_figure(&f, "gender_gap", 0, 2);
    expect_figure(&f, "gender_same", 1, 2);
    rlhf_figures_free(&f);
}
END_TEST

START_TEST(a_uniform_model_is_as_perplexed_as_it_has_tokens)
{
    struct rlhf_figures f = examine("perplexity", with("t.txt", "one two  three\n"));

    expect_figure(&f, "token_perplexity", 259, 1); /* 15 bytes, and the token that begins: 16 */
    expect_figure(&f, "byte_perplexity", exp(16 * log(259) / 15), 1);
    expect_figure(&f, "bits_per_byte", 16 * log2(259) / 15, 1);
    expect_figure(&f, "word_perplexity", exp(16 * log(259) / 4), 1); /* re.split(): what stands behind the last space counts */
    rlhf_figures_free(&f);
}
END_TEST

/* ---- judges ------------------------------------------------------------------------------------------- */

/* Likes every text as much as it is long, less ten times what the prompt is; in its calls before the 0th, the first one alone. */
static int by_length(void *ctx, const char *const *prompts, const char *const *completions, size_t count, double *reward,
                     struct rlhf_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++)
        reward[i] = i > 0 && *(int *)ctx < 0 ? NAN : (double)strlen(completions[i]) - 10 * (double)strlen(prompts[i]);
    ++*(int *)ctx;
    return 0;
}

START_TEST(a_win_is_a_higher_reward_for_the_same_prompt)
{
    int calls = 0;
    const struct rlhf_rewarder judge = { by_length, &calls };
    const struct rlhf_suite_settings settings = { .name = "win_rate", .rewarder = &judge, .max_new_tokens = 4, .temperature = 1,
                                                  .file = with("p.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"bc\"}\n") };
    struct rlhf_model *m = a_model("gpt2", 64);
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_subject *subject = rlhf_subject_new(m, NULL, t, NULL, 64, &err);
    struct rlhf_suite *s = rlhf_suite_read(&settings, &err);
    struct rlhf_figures a = { 0 }, b = { 0 }, out = { 0 };

    expect_some(s, err);
    expect_ok(rlhf_suite_examine(s, subject, &a, &err), err);
    expect_ok(rlhf_suite_examine(s, subject, &b, &err), err);
    ck_assert_int_eq(calls, 2);
    ck_assert(rlhf_figures_find(&a, "reward")->value[0] == rlhf_figures_find(&a, "length")->value[0] - 10);
    expect_ok(rlhf_suite_compare(s, &a, &b, &out, &err), err);
    expect_figure(&out, "win_rate", 0.5, 2); /* the same draws: ties */
    rlhf_figures_free(&out);
    b.at[0].value[1] += 1;
    expect_ok(rlhf_suite_compare(s, &a, &b, &out, &err), err);
    expect_figure(&out, "win_rate", 0.25, 2);
    rlhf_figures_free(&out);
    rlhf_figures_free(&a);
    rlhf_figures_free(&b);
    rlhf_suite_free(s);
    rlhf_subject_free(subject);
    rlhf_tokenizer_free(t);
    rlhf_model_free(m);
}
END_TEST

START_TEST(toxicity_is_measured_in_three_styles)
{
    int calls = 0;
    const struct rlhf_rewarder judge = { by_length, &calls };
    const struct rlhf_suite_settings settings = { .name = "toxicity", .rewarder = &judge, .max_new_tokens = 3,
                                                  .companion = with("words.txt", "zzz\n"), .file = with("p.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n") };
    static const char *const names[] = { "lexicon_neutral", "lexicon_respectful", "lexicon_biased", "score_neutral", "score_respectful", "score_biased" };
    struct rlhf_model *m = a_model("llama", 512);
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_subject *subject = rlhf_subject_new(m, NULL, t, NULL, 64, &err);
    struct rlhf_suite *s = rlhf_suite_read(&settings, &err);
    struct rlhf_figures f = { 0 };

    expect_some(s, err);
    expect_ok(rlhf_suite_examine(s, subject, &f, &err), err);
    ck_assert_int_eq(calls, 3);
    for (size_t i = 0; i < 6; i++) {
        ck_assert_ptr_nonnull(rlhf_figures_find(&f, names[i]));
        ck_assert_uint_eq(rlhf_figures_find(&f, names[i])->count, 2);
    }
    rlhf_figures_free(&f);
    calls = -3; /* the second prompt gets no score: it keeps its place, so that another model's figures can be paired with these */
    expect_ok(rlhf_suite_examine(s, subject, &f, &err), err);
    ck_assert_uint_eq(rlhf_figures_find(&f, "score_biased")->count, 2);
    ck_assert_uint_eq(rlhf_figure_units(rlhf_figures_find(&f, "score_biased")), 1);
    rlhf_figures_free(&f);
    rlhf_suite_free(s);
    rlhf_subject_free(subject);
    rlhf_tokenizer_free(t);
    rlhf_model_free(m);
}
END_TEST

/* [begin] prompt completion [end], each alone in a pass, is what batches give. */
START_TEST(a_reward_model_reads_what_it_was_trained_on)
{
    static const char *const prompts[] = { "a", "why", "Q: ", "a" }, *const completions[] = { "b", " so", "", "a long answer that goes on" };
    struct rlhf_error err = { 0 };
    struct rlhf_model *lm = a_model("llama", 24), *m = rlhf_model_clone(lm, RLHF_HEAD_SCALAR, 3, &err);
    struct rlhf_tokenizer *t = a_tokenizer();
    const struct rlhf_form form = { .tokenizer = t };

    expect_some(m, err);
    for (size_t batch = 1; batch < 100; batch *= 4) {
        struct rlhf_reward_model *r = rlhf_reward_model_new(m, &form, NULL, batch, &err);
        struct rlhf_rewarder rewarder = rlhf_reward_model_rewarder(r);
        double reward[4];

        expect_ok(rewarder.reward(rewarder.ctx, prompts, completions, 4, reward, &err), err);
        for (size_t i = 0; i < 4; i++) {
            struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), NULL, 0, &err);
            int32_t ids[64] = { BEGIN };
            uint32_t start[] = { 0, 0 };
            float scalar[64];
            size_t n = 1;

            for (const char *c = prompts[i]; *c; c++)
                ids[n++] = BYTES + (uint8_t)*c;
            for (const char *c = completions[i]; *c; c++)
                ids[n++] = BYTES + (uint8_t)*c;
            ids[n++] = END;
            start[1] = n > 24 ? 24 : (uint32_t)n; /* the last ones that the context takes */
            expect_ok(rlhf_pass_forward(p, m, &(struct rlhf_batch){ .tokens = ids + n - start[1], .start = start, .sequences = 1 }, &err), err);
            expect_ok(rlhf_pass_scalars(p, m, scalar, &err), err);
            ck_assert(reward[i] == (double)scalar[start[1] - 1]);
            rlhf_pass_free(p);
        }
        rlhf_reward_model_free(r);
    }
    ck_assert_ptr_null(rlhf_reward_model_new(lm, &form, NULL, 8, &err));
    expect_contains(err.text, "no reward model");
    rlhf_tokenizer_free(t);
    rlhf_model_free(m);
    rlhf_model_free(lm);
}
END_TEST

/* A checkpoint's provenance says whether its run went through the chat template; then rewards and answers do, too. */
START_TEST(what_was_trained_on_dialogues_is_asked_and_judged_in_dialogues)
{
    static const char *const question[] = { "why" }, *const asked[] = { "<U>why<A>" }, *const answer[] = { "so" };
    const char *file = with("provenance.json", "{\"form\": {\"chat\": true, \"today\": \"2020-02-02\"}}");
    char *dir = strndup(file, (size_t)(strrchr(file, '/') - file)), *text[2] = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_model *lm = a_model("gpt2", 64), *m = rlhf_model_clone(lm, RLHF_HEAD_SCALAR, 3, &err);
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_subject *subject = rlhf_subject_new(lm, NULL, t, NULL, 64, &err);
    struct rlhf_form form;
    double reward[2];

    with("chat_template.jinja", "<|begin|>{% for m in messages %}{{ '<U>' if m.role == 'user' else '<A>' }}{{ m.content }}{% endfor %}"
                                "{% if add_generation_prompt %}<A>{% endif %}");
    expect_ok(rlhf_checkpoint_form(&form, dir, t, false, &err), err);
    ck_assert_ptr_nonnull(form.chat);
    rlhf_subject_answer(subject, &form);
    for (int chat = 0; chat < 2; chat++) {
        const struct rlhf_completing c = { .sampling = { .top_p = 1, .max_new_tokens = 8 }, .samples = 1, .answers = chat };
        const struct rlhf_form as_it_stands = { .tokenizer = t };
        struct rlhf_reward_model *r = rlhf_reward_model_new(m, chat ? &form : &as_it_stands, NULL, 64, &err);
        struct rlhf_rewarder rewarder = rlhf_reward_model_rewarder(r);

        expect_ok(rewarder.reward(rewarder.ctx, chat ? question : asked, answer, 1, &reward[chat], &err), err);
        expect_ok(rlhf_subject_complete(subject, chat ? question : asked, 1, &c, &text[chat], &err), err);
        rlhf_reward_model_free(r);
    }
    ck_assert_double_eq(reward[0], reward[1]);
    ck_assert_str_eq(text[0], text[1]);
    free(text[0]), free(text[1]), free(dir);
    rlhf_chat_free(form.chat);
    rlhf_subject_free(subject);
    rlhf_tokenizer_free(t);
    rlhf_model_free(m);
    rlhf_model_free(lm);
}
END_TEST

int main(void)
{
    return RUN_SUITE("evaluation/suites", truthfulqa_has_two_questions_a_row_in_either_form, crows_pairs_are_sentences_without_context,
                     winogender_finds_the_pronoun, hellaswag_is_cleaned_as_the_harness_cleans_it, sums_lose_their_blank_line,
                     gsm8k_puts_the_examples_first_that_the_harness_draws,
                     numbers_are_found_as_the_harness_finds_them, texts_are_files_rows_or_pages_of_wikitext,
                     prompts_come_in_several_forms, words_of_the_lexicon_are_whole_and_of_any_case,
                     limits_and_names_are_kept_to, short_answers_are_likelier_to_who_knows_nothing,
                     the_gap_between_genders_is_of_pairs, a_uniform_model_is_as_perplexed_as_it_has_tokens,
                     a_win_is_a_higher_reward_for_the_same_prompt, toxicity_is_measured_in_three_styles,
                     a_reward_model_reads_what_it_was_trained_on,
                     what_was_trained_on_dialogues_is_asked_and_judged_in_dialogues,
                     a_run_file_may_name_every_suite_but_win_rate);
}
