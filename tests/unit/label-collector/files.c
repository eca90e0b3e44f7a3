/* What goes out in a form and comes in again is what it was, whatever people and models have written. */
#include <stdlib.h>
#include <string.h>

#include "label-collector/export.h"
#include "label-collector/transfer.h"
#include "label-collector/vendors.h"
#include "support/fake_clock.h"
#include "support/suite.h"

static struct fake_clock fake;
static struct rlhf_error err;

static struct collector_store *a_store(void)
{
    fake_clock_init(&fake);
    struct collector_store *s = collector_store_open(
        &(struct collector_store_config){ .database = ":memory:", .labels_per_task = 1 }, &fake.clock, &err);

    expect_some(s, err);
    return s;
}

static const char *const texts[] = {
    "plain",
    "\"quoted\", with, commas",
    "two\nlines\r\nand a return\rin them",
    "  spaces around  ",
    "\xf0\x9f\xa6\x96 \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d \xe2\x80\xae" "detrever",
    "[1, 2]",
    "5",
    "null",
    "{\"selected\":\"left\"}",
    "back\\slash \\n \\u0000 \x1b[31m",
    "<script>alert(1)</script>' OR 1=1 --",
    "=cmd|' /C calc'!A0",
    "",
    "\xef\xbb\xbf" "a mark in front",
    "\t\"\"\t\"\"\"\n\"",
};
enum { TEXTS = sizeof texts / sizeof texts[0] };

/* What is no comparison, of a task each; and a ranking of one that says whose its completions are. */
static void put_other_kinds(struct collector_store *s)
{
    static const struct {
        enum collector_kind kind;
        const char *ratings, *flags, *answer;
    } kinds[] = { { COLLECTOR_LIKERT, "[1,7]", NULL, NULL },
                  { COLLECTOR_TOXICITY, "[0,2]", NULL, NULL },
                  { COLLECTOR_FLAGS, NULL, "[[\"harmful\",\"\\\"\"],[]]", NULL },
                  { COLLECTOR_DEMONSTRATION, NULL, NULL, "written\nby \"hand\"" },
                  { COLLECTOR_RANKING, NULL, NULL, NULL } };

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
        const char *kind = collector_kind_name(kinds[i].kind);
        struct collector_task t = { .id = kind, .round = "k", .kind = kinds[i].kind, .policies = (char *)"[\"a@1\",\"b@2\"]",
                                    .content = { .prompt = "p", .completion = { texts[1], texts[2] }, .count = 2 } };
        struct collector_label l = { .id = kind, .source = "page", .labeler = "ada", .task = kind, .round = "k", .seconds = 2,
                                     .ratings = (char *)(uintptr_t)kinds[i].ratings,
                                     .flags = (char *)(uintptr_t)kinds[i].flags, .answer = kinds[i].answer };
        struct collector_receipt r;

        if (kinds[i].kind == COLLECTOR_DEMONSTRATION) {
            t.content.count = 0;
            t.policies = NULL;
        } else {
            l.presented[0] = 1;
            l.presented_count = 2;
        }
        if (kinds[i].kind == COLLECTOR_RANKING) {
            l.rank[0] = 2;
            l.rank[1] = 1;
            l.rank_count = 2;
        }
        expect_ok(collector_store_put_task(s, &t, &r, &err), err);
        expect_ok(collector_store_put_label(s, &l, &r, &err), err);
    }
}

/* Labels of every shape: pairs and rankings, ties, tasks' and free-standing ones, with and without all that is optional. */
static struct collector_store *a_full_store(void)
{
    static const uint32_t ranks[][4] = { { 1, 2 }, { 2, 1 }, { 1, 1 }, { 2, 1, 3 }, { 1, 1, 3 }, { 1, 3, 1, 4 }, { 1, 1, 1, 1 } };
    static const size_t counts[] = { 2, 2, 2, 3, 3, 4, 4 };
    struct collector_store *s = a_store();

    expect_ok(collector_store_begin(s, &err), err);
    for (size_t i = 0; i < 4 * TEXTS; ++i) {
        size_t shape = i % 7;
        char id[64], task[64], prompt[600];
        struct collector_receipt r;
        struct collector_label l = { .id = id, .source = "page", .labeler = i % 3 ? "ada \xf0\x9f\xa6\x96 \"a\", b" : "bob",
                                     .task = i % 2 ? task : NULL, .round = "r \"1\"", .rank_count = counts[shape],
                                     .seconds = i % 4 ? (double)i / 7 : -1, .has_strength = i % 5 == 0,
                                     .strength = -(int)(i % 7), .note = i % 6 ? NULL : texts[(i + 5) % TEXTS],
                                     .presented_count = i % 3 == 1 ? counts[shape] : 0 };

        snprintf(id, sizeof id, "label,%zu\"", i);
        snprintf(task, sizeof task, "task,%zu\"", i);
        snprintf(prompt, sizeof prompt, "%s %zu", texts[i % TEXTS], i);
        l.content = (struct collector_content){ .prompt = prompt, .count = l.rank_count };
        for (size_t k = 0; k < l.rank_count; ++k) {
            l.content.completion[k] = texts[(i + 3 * k + 1) % TEXTS];
            l.rank[k] = ranks[shape][k];
            l.presented[k] = (uint8_t)(l.rank_count - 1 - k);
        }
        l.flags = i % 5 == 1 ? strdup("{\"unsafe\":true,\"why\":\"\\\"\"}") : NULL;
        if (l.note && !*l.note)
            l.note = NULL;
        expect_ok(collector_label_check(&l, &err), err);
        expect_ok(collector_store_put_label(s, &l, &r, &err), err);
        collector_label_free(&l);
    }
    put_other_kinds(s);
    expect_ok(collector_store_commit(s, &err), err);
    return s;
}

/* In pieces of a few bytes. */
static struct rlhf_bytes export(struct collector_store *s, enum collector_format format)
{
    struct collector_export *e = collector_export_new(s, "", format, &err);
    struct rlhf_bytes text = { 0 };
    char piece[37];
    ptrdiff_t n;

    expect_some(e, err);
    while ((n = collector_export_read(e, piece, sizeof piece, &err)) > 0)
        rlhf_bytes_append(&text, piece, (size_t)n, NULL);
    ck_assert_msg(n == 0, "%s", err.text);
    collector_export_free(e);
    return text;
}

static void complain(void *ctx, size_t line, const char *why)
{
    (void)ctx;
    ck_abort_msg("record %zu was refused: %s", line, why);
}

static struct collector_store *import(const struct rlhf_bytes *text, const char *vendor)
{
    struct collector_store *s = a_store();
    struct collector_import i = { .round = "", .labeler = "import", .source = "import", .refused = complain };

    expect_ok(collector_store_begin(s, &err), err);
    if (vendor)
        expect_ok(collector_import_vendor(s, collector_vendor_find(vendor), text->data, text->size, &i, &err), err);
    else
        expect_ok(collector_import(s, text->data, text->size, &i, &err), err);
    expect_ok(collector_store_commit(s, &err), err);
    return s;
}

struct listing {
    struct rlhf_bytes text;
    bool source;
};

static bool add_row(void *ctx, const struct collector_row *row)
{
    struct listing *l = ctx;

    if (!l->source && strcmp(row->label.round, "k") == 0) /* vendors' forms are for comparisons, and have no policies */
        return true;
    json_t *json = collector_row_json(row);

    json_object_del(json, "stored_at");
    json_object_del(json, "sequence");
    if (!l->source)
        json_object_del(json, "source");
    char *line = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    rlhf_bytes_printf(&l->text, NULL, "%s\n", line);
    free(line);
    json_decref(json);
    return true;
}

/* Everything about every label; a vendor's form has no place for the source. */
static char *all_of(struct collector_store *s, bool source)
{
    struct listing l = { .source = source };
    struct collector_range range = { .round = "", .last = UINT64_MAX, .limit = 1000, .latest = true };

    expect_ok(collector_store_list(s, &range, add_row, &l, &err), err);
    return l.text.data;
}

static void expect_same(const char *before, const char *after)
{
    size_t at = 0;

    while (before[at] && before[at] == after[at])
        ++at;
    ck_assert_msg(before[at] == after[at], "\"%.120s\" has become \"%.120s\"", before + (at > 60 ? at - 60 : 0),
                  after + (at > 60 ? at - 60 : 0));
}

static void comes_back(enum collector_format format, const char *vendor)
{
    struct collector_store *s = a_full_store();
    struct rlhf_bytes text = export(s, format);
    struct collector_store *back = import(&text, vendor);
    char *before = all_of(s, !vendor), *after = all_of(back, !vendor);

    expect_same(before, after);
    free(before);
    free(after);
    rlhf_bytes_free(&text);
    collector_store_close(s);
    collector_store_close(back);
}

START_TEST(rankings_come_back_whole)
{
    comes_back(COLLECTOR_KWAY, NULL);
}
END_TEST

START_TEST(label_studios_json_comes_back_whole)
{
    comes_back(COLLECTOR_TO_LABEL_STUDIO, "label_studio");
}
END_TEST

START_TEST(label_studios_small_json_comes_back_whole)
{
    comes_back(COLLECTOR_TO_LABEL_STUDIO_MIN, "label_studio");
}
END_TEST

START_TEST(label_studios_csv_comes_back_whole)
{
    comes_back(COLLECTOR_TO_LABEL_STUDIO_CSV, "label_studio");
}
END_TEST

START_TEST(labelboxes_rows_come_back_whole)
{
    comes_back(COLLECTOR_TO_LABELBOX, "labelbox");
}
END_TEST

START_TEST(argillas_records_come_back_whole)
{
    comes_back(COLLECTOR_TO_ARGILLA, "argilla");
}
END_TEST

/* Forms of pairs hold what a pair is; what comes back goes out the same again. */
static void is_the_same_again(enum collector_format format)
{
    struct collector_store *s = a_full_store(), *back;
    struct rlhf_bytes first = export(s, format), second;

    back = import(&first, NULL);
    second = export(back, format);
    ck_assert_uint_gt(first.size, 1000);
    expect_same(first.data, second.data);
    collector_store_close(s);
    collector_store_close(back);
    rlhf_bytes_free(&first);
    rlhf_bytes_free(&second);
}

START_TEST(pairs_go_out_the_same_again)
{
    is_the_same_again(COLLECTOR_PAIRS);
}
END_TEST

START_TEST(conversations_go_out_the_same_again)
{
    is_the_same_again(COLLECTOR_CONVERSATIONAL);
}
END_TEST

START_TEST(transcripts_go_out_the_same_again)
{
    is_the_same_again(COLLECTOR_HH);
}
END_TEST

START_TEST(an_empty_store_makes_files_that_are_whole)
{
    static const char *const empty[COLLECTOR_FORMATS] = { "", "", "", "", "[\n\n]\n", "[\n\n]\n", COLLECTOR_LABEL_STUDIO_COLUMNS "\n",
                                                          "", "{\"items\": [\n\n]}\n" };
    struct collector_store *s = a_store();

    for (int f = 0; f < COLLECTOR_FORMATS; ++f) {
        struct rlhf_bytes text = export(s, (enum collector_format)f);
        ck_assert_str_eq(text.data ? text.data : "", empty[f]);
        rlhf_bytes_free(&text);
    }
    collector_store_close(s);
}
END_TEST

static size_t refusals;

static void count_refusal(void *ctx, size_t line, const char *why)
{
    (void)ctx;
    (void)line;
    ck_assert_ptr_nonnull(why);
    ++refusals;
}

START_TEST(a_nul_is_refused_in_every_form)
{
    static const char csv[] = "\"annotation_id\",\"annotator\",\"answer1\",\"answer2\",\"comparison\",\"prompt\"\n"
                              "1,1,\"a\0b\",\"c\",\"[{\"\"selected\"\":\"\"left\"\"}]\",\"p\"\n";
    static const char json[] = "[{\"annotation_id\":1,\"answer1\":\"a\\u0000b\",\"answer2\":\"c\",\"prompt\":\"p\","
                               "\"comparison\":[{\"selected\":\"left\"}]}]";
    static const char line[] = "{\"prompt\":\"p\",\"chosen\":\"a\\u0000b\",\"rejected\":\"c\"}";
    struct collector_store *s = a_store();
    struct collector_import i = { .round = "", .labeler = "x", .source = "x", .refused = count_refusal };

    expect_ok(collector_store_begin(s, &err), err);
    expect_ok(collector_import_vendor(s, &collector_label_studio, csv, sizeof csv - 1, &i, &err), err);
    expect_ok(collector_import_vendor(s, &collector_label_studio, json, sizeof json - 1, &i, &err), err);
    expect_ok(collector_import(s, line, sizeof line - 1, &i, &err), err);
    ck_assert_uint_eq(refusals, 3);
    collector_store_close(s);
}
END_TEST

START_TEST(a_ranked_list_is_a_label_with_its_texts)
{
    static const char json[] = "[{\"id\":3,\"data\":{\"prompt\":\"p\",\"items\":[{\"id\":\"r0\",\"body\":\"x\"},{\"id\":\"r1\","
                               "\"body\":\"y\"},{\"id\":\"r2\",\"body\":\"z\"}]},\"annotations\":[{\"id\":9,\"completed_by\":1,"
                               "\"result\":[{\"type\":\"ranker\",\"value\":{\"ranker\":{\"rank\":[\"r2\",\"r0\",\"r1\"]}}}]}]}]";
    struct rlhf_bytes text = { .data = (char *)(uintptr_t)json, .size = sizeof json - 1 };
    struct collector_store *s = import(&text, "label_studio");
    char *all = all_of(s, true);

    ck_assert_msg(strstr(all, "\"completions\":[\"x\",\"y\",\"z\"]") && strstr(all, "\"ranks\":[2,3,1]"), "%s", all);
    free(all);
    collector_store_close(s);
}
END_TEST

START_TEST(what_the_field_calls_otherwise_is_taken_over)
{
    static const char lines[] =
        "{\"prompt\":\"river?\",\"responses\":[\"Nile\",\"Danube\",\"Chair\"],\"ranks\":[1,1,3],\"likert\":[6,6,1],\"flags\":[[],[],"
        "[\"fails_instruction\"]],\"worker\":\"W1\"}\n"
        "{\"prompt\":[{\"role\":\"user\",\"content\":\"tides\"}],\"chosen\":[{\"role\":\"assistant\",\"content\":\"Moon.\"}],"
        "\"rejected\":[{\"role\":\"assistant\",\"content\":\"Fish.\"}],\"score_chosen\":6.5,\"score_rejected\":1.0,\"id\":\"s1\"}\n"
        "{\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\",\"score_chosen\":1,\"score_rejected\":2,\"id\":\"s2\"}\n";
    struct collector_store *s = a_store();
    struct collector_import i = { .round = "", .labeler = "import", .source = "import", .refused = complain };

    expect_ok(collector_store_begin(s, &err), err);
    expect_ok(collector_import(s, lines, sizeof lines - 1, &i, &err), err);
    expect_ok(collector_store_commit(s, &err), err);
    ck_assert_uint_eq(i.stored, 3);
    ck_assert_uint_eq(i.warned, 1);
    char *all = all_of(s, true);
    expect_contains(all, "\"labeler\":\"W1\"");
    expect_contains(all, "\"ratings\":[6,6,1]");
    free(all);
    collector_store_close(s);
}
END_TEST

static void rank_is(struct collector_store *s, const char *lines, const char *ranks)
{
    struct collector_import i = { .round = "", .labeler = "x", .source = "labelbox", .refused = complain };

    expect_ok(collector_store_begin(s, &err), err);
    expect_ok(collector_import_vendor(s, &collector_labelbox, lines, strlen(lines), &i, &err), err);
    expect_ok(collector_store_commit(s, &err), err);
    ck_assert_uint_eq(i.stored, 1);
    char *all = all_of(s, true), *last = strrchr(all, '{');
    ck_assert_msg(strstr(last ? last : all, ranks) != NULL, "%s is not in %s", ranks, all);
    free(all);
}

START_TEST(messages_are_ranked_by_whose_they_are)
{
    struct collector_store *s = a_store();
    struct collector_task t = { .id = "row-5", .round = "", .policies = (char *)"[\"policy-a\",\"policy-b\",\"policy-c\"]",
                                .content = { .prompt = "p", .completion = { "x", "y", "z" }, .count = 3 } };
    struct collector_receipt r;

    expect_ok(collector_store_begin(s, &err), err);
    expect_ok(collector_store_put_task(s, &t, &r, &err), err);
    expect_ok(collector_store_commit(s, &err), err);
    rank_is(s, "{\"dataRow\": {\"id\": \"row-5\"}, \"uuid\": \"u1\", \"name\": \"ranking\", \"messageEvaluationTask\": {\"format\":"
               " \"message-ranking\", \"data\": {\"parentMessageId\": \"m0\", \"rankedMessages\": ["
               "{\"messageId\": \"m2\", \"modelConfigName\": \"policy-b\", \"order\": 1},"
               "{\"messageId\": \"m1\", \"modelConfigName\": \"policy-a\", \"order\": 2},"
               "{\"messageId\": \"m3\", \"modelConfigName\": \"policy-c\", \"order\": 3}]}}}\n",
            "\"ranks\":[2,1,3]");
    rank_is(s, "{\"dataRow\": {\"globalKey\": \"row-5\"}, \"uuid\": \"u2\", \"name\": \"best\", \"messageEvaluationTask\": {\"format\":"
               " \"message-single-selection\", \"data\": {\"messageId\": \"m8\", \"parentMessageId\": \"m7\","
               " \"modelConfigName\": \"policy-c\"}}}\n",
            "\"ranks\":[2,2,1]");
    collector_store_close(s);
}
END_TEST

int main(void)
{
    return RUN_SUITE("label-collector/files", rankings_come_back_whole, label_studios_json_comes_back_whole,
                     label_studios_small_json_comes_back_whole, label_studios_csv_comes_back_whole,
                     labelboxes_rows_come_back_whole, argillas_records_come_back_whole, pairs_go_out_the_same_again,
                     conversations_go_out_the_same_again, transcripts_go_out_the_same_again,
                     an_empty_store_makes_files_that_are_whole, a_nul_is_refused_in_every_form,
                     messages_are_ranked_by_whose_they_are, a_ranked_list_is_a_label_with_its_texts,
                     what_the_field_calls_otherwise_is_taken_over);
}
