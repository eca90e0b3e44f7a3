/* Lists in pieces, against the real daemon: every element once, whatever is added meanwhile. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/collector.h"
#include "support/suite.h"

static void setup(void)
{
    collector_start("");
}

static void teardown(void)
{
    collector_stop();
}

/* A labeler, a round and a comparison of this name. */
static void add(const char *name)
{
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "id", name, "labeler", name, "round", name, "prompt", "p",
                             "chosen", "x", "rejected", "y");
    char *text = json_dumps(json, 0);

    collector_expect(200, NULL, "POST", "/api/v1/comparisons", text);
    free(text);
    json_decref(json);
}

static const char *const names[] = {"ada", "bob", "eve", "gil", "\xC3\xA5sa", "m n/o?&=%", "zoe"};
enum { NAMES = sizeof(names) / sizeof(names[0]) };

/* Walks a list by twos, adding something behind each page; what it gives under key, each followed by "|". */
static void walk(const char *target, const char *list, const char *key, char *seen, bool add_more)
{
    char at[512], cursor[300] = "", name[32];
    bool more = true;

    *seen = '\0';
    for (int pages = 0; more; ++pages) {
        snprintf(at, sizeof(at), "%s%slimit=2%s%s", target, strchr(target, '?') ? "&" : "?", *cursor ? "&cursor=" : "",
                 cursor);
        json_t *page = json_loads(collector_expect(200, NULL, "GET", at, NULL), 0, NULL), *item;
        size_t i;
        json_array_foreach(json_object_get(page, list), i, item)
            sprintf(seen + strlen(seen), "%s|", json_string_value(json_object_get(item, key)));
        snprintf(cursor, sizeof(cursor), "%s", json_string_value(json_object_get(page, "cursor")));
        more = json_is_true(json_object_get(page, "more"));
        json_decref(page);
        snprintf(name, sizeof(name), "a%c%d", list[0], pages); /* before what has been seen of names, behind it of numbers */
        if (add_more && pages < 3)
            add(name);
        ck_assert_int_lt(pages, 100);
    }
}

static void expect_each_once(const char *seen)
{
    char word[64];

    for (int i = 0; i < NAMES; ++i) {
        snprintf(word, sizeof(word), "%s|", names[i]);
        const char *found = strstr(seen, word);
        ck_assert_msg(found && !strstr(found + 1, word), "%s: not once in %s", word, seen);
    }
}

START_TEST(every_list_gives_each_element_once_while_it_grows)
{
    static const struct {
        const char *target, *list, *key;
    } lists[] = {{"/api/v1/comparisons", "comparisons", "id"},
                 {"/api/v1/labelers", "labelers", "labeler"},
                 {"/api/v1/rounds", "rounds", "round"},
                 {"/api/v1/standing?scope=labeler", "standing", "name"}};
    char seen[4096];

    for (int i = 0; i < NAMES; ++i)
        add(names[i]);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); ++i) {
        walk(lists[i].target, lists[i].list, lists[i].key, seen, true);
        expect_each_once(seen);
    }
    walk("/api/v1/comparisons?round=ada", "comparisons", "id", seen, false);
    ck_assert_str_eq(seen, "ada|");
}
END_TEST

START_TEST(tokens_are_listed_in_pieces)
{
    const char *owner = collector_token("add --role owner n0");
    char target[128] = "/api/v1/tokens?limit=2", cursor[64];

    for (int i = 1; i < 5; ++i)
        collector_token("add --role labeler nn");
    collector_stop();
    collector_start_again("127.0.0.1:0", "");
    for (int i = 0; i < 3; ++i) {
        json_t *page = json_loads(collector_expect(200, owner, "GET", target, NULL), 0, NULL);
        ck_assert_uint_eq(json_array_size(json_object_get(page, "tokens")), i < 2 ? 2 : 1);
        ck_assert(json_is_true(json_object_get(page, "more")) == (i < 2));
        snprintf(cursor, sizeof(cursor), "%s", json_string_value(json_object_get(page, "cursor")));
        snprintf(target, sizeof(target), "/api/v1/tokens?limit=2&cursor=%s", cursor);
        json_decref(page);
    }
}
END_TEST

START_TEST(cursors_of_other_lists_and_inventions_are_refused)
{
    static const char *const bad[] = {"", "1", "c", "x1", "cx", "c-1", "l!!!!", "c1%20", "l%00", "lYQ=="};
    char target[128];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        snprintf(target, sizeof(target), "/api/v1/comparisons?cursor=%s", bad[i]);
        expect_contains(collector_expect(400, NULL, "GET", target, NULL), "\"parameter\":\"cursor\"");
        snprintf(target, sizeof(target), "/api/v1/labelers?cursor=%s", bad[i]);
        if (strcmp(bad[i], "l%00") != 0) /* ends there: the beginning */
            collector_expect(400, NULL, "GET", target, NULL);
    }
    collector_expect(400, NULL, "GET", "/api/v1/comparisons?limit=1001", NULL);
}
END_TEST

int main(void)
{
    return RUN_SUITE_WITH("label-collector/lists", setup, teardown, every_list_gives_each_element_once_while_it_grows,
                          tokens_are_listed_in_pieces, cursors_of_other_lists_and_inventions_are_refused);
}
