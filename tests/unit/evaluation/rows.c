#include "evaluation/rows.h"

#include <string.h>

#include "support/process.h"
#include "support/suite.h"

static const char *with(const char *name, const char *content)
{
    static const char *directory;

    if (!directory)
        directory = a_directory();
    const char *path = in_directory(directory, name);
    write_file(path, "%s", content);
    return path;
}

/* All rows as one line of JSON each. */
static void expect_rows(const char *path, const char *expected)
{
    struct rlhf_bytes all = { 0 };
    struct rlhf_rows r;
    struct rlhf_error err = { 0 };
    const json_t *row;
    int more;

    expect_ok(rlhf_rows_open(&r, path, &err), err);
    while ((more = rlhf_rows_next(&r, &row, &err)) == 1) {
        char *text = json_dumps(row, JSON_COMPACT);

        expect_ok(rlhf_bytes_printf(&all, &err, "%s\n", text), err);
        free(text);
    }
    ck_assert_msg(more == 0, "%s", err.text);
    ck_assert_str_eq(all.data ? all.data : "", expected);
    rlhf_rows_close(&r);
    rlhf_bytes_free(&all);
}

static void expect_refusal(const char *path, const char *place, const char *because)
{
    struct rlhf_rows r;
    struct rlhf_error err = { 0 };
    const json_t *row;

    if (rlhf_rows_open(&r, path, &err) == 0) {
        while (rlhf_rows_next(&r, &row, &err) == 1)
            ;
        rlhf_rows_close(&r);
    }
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, place);
    expect_contains(err.text, because);
}

START_TEST(tables_are_rows_by_the_names_of_their_columns)
{
    expect_rows(with("a.csv", "\xef\xbb\xbf,a,b\r\n0,x,\"y, \"\"z\"\"\nw\"\r\n\n1,\"\",it's \"so\"\n"),
                "{\"\":\"0\",\"a\":\"x\",\"b\":\"y, \\\"z\\\"\\nw\"}\n{\"\":\"1\",\"a\":\"\",\"b\":\"it's \\\"so\\\"\"}\n");
    expect_rows(with("a.tsv", "a\tb\n\"x\t y, \nz\t"), "{\"a\":\"\\\"x\",\"b\":\" y, \"}\n{\"a\":\"z\",\"b\":\"\"}\n");
}
END_TEST

START_TEST(json_is_a_list_or_an_object_a_line)
{
    expect_rows(with("a.json", " [{\"a\": 1},\n{\"b\": [\"c\"]}]\n"), "{\"a\":1}\n{\"b\":[\"c\"]}\n");
    expect_rows(with("a.jsonl", "{\"a\": 1}\n\n{\"b\": 2}"), "{\"a\":1}\n{\"b\":2}\n");
    expect_rows(with("none.jsonl", ""), "");
    expect_rows(with("none.json", "[]"), "");
}
END_TEST

START_TEST(what_is_no_row_is_named_by_its_place)
{
    expect_refusal(with("b.csv", "a,b\n1,2\n1,2,3\n"), "b.csv:3", "3 fields, but the header names 2");
    expect_refusal(with("b.csv", "a,b\n\"1\n\n"), "b.csv:2", "does not end");
    expect_refusal(with("b.csv", "a,b\n\"1\"2,3\n"), "b.csv:2", "behind the closing quote");
    expect_refusal(with("b.csv", "a,b\n\"\n\n\",2\n1\n"), "b.csv:5", "1 fields");
    expect_refusal(with("b.csv", "a,a\n1,2\n"), "b.csv:1", "two columns are called \"a\"");
    expect_refusal(with("b.csv", "a\n\xff\n"), "b.csv:2", "UTF-8");
    expect_refusal(with("b.csv", ""), "b.csv", "empty");
    expect_refusal(with("b.tsv", "a\tb\n1,2\n"), "b.tsv:2", "1 fields");
    expect_refusal(with("b.json", "[{\"a\": 1},\n 2]"), "b.json: item 2", "object");
    expect_refusal(with("b.json", "[{\"a\": 1},\n"), "b.json:2", "not JSON");
    expect_refusal(with("b.jsonl", "{\"a\": 1}\n{\"a\": 1\n"), "b.jsonl:2", "not JSON");
    expect_refusal(with("b.jsonl", "{}\n3\n"), "b.jsonl:2", "expected");
    expect_refusal("nowhere.csv", "nowhere.csv", "");
}
END_TEST

int main(void)
{
    return RUN_SUITE("evaluation/rows", tables_are_rows_by_the_names_of_their_columns, json_is_a_list_or_an_object_a_line,
                     what_is_no_row_is_named_by_its_place);
}
