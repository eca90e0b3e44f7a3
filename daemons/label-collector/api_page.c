/* api_page.c - lists in pieces: where one ended, the next goes on, whatever was added meanwhile.
 *
 * A cursor is the place of the last element seen in the list's own order, which never changes for an element: a number
 * ("c91") or a name (base64), with the list's letter in front. To clients it is a word without meaning. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_parts.h"

static int number_of(const char *text, uint64_t *number)
{
    if (!*text || strlen(text) > 18 || text[strspn(text, "0123456789")])
        return -1;
    *number = strtoull(text, NULL, 10);
    return 0;
}

static int name_of(const char *text, char name[COLLECTOR_MAX_NAME + 1])
{
    const char *end;
    size_t size;

    if (sodium_base642bin((unsigned char *)name, COLLECTOR_MAX_NAME, text, strlen(text), NULL, &size, &end,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0
        || *end)
        return -1;
    name[size] = '\0';
    return collector_name_check("cursor", name, true, NULL);
}

int collector_query_page(const struct collector_request *q, char list, bool names, size_t most, struct collector_page *p,
                         struct collector_response *r)
{
    const char *cursor = q->query(q->ctx, "cursor");

    *p = (struct collector_page){ .list = list, .names = names };
    if (collector_query_number(q, "limit", most < 100 ? most : 100, most, &p->limit, r) < 0)
        return -1;
    p->begun = cursor != NULL;
    if (!cursor || (cursor[0] == list && (names ? name_of(cursor + 1, p->name) : number_of(cursor + 1, &p->number)) == 0))
        return 0;
    collector_respond_error(r, 400, "bad_request",
                            "query parameter cursor must be one that this list gave, or be left out to begin");
    return -1;
}

const char *collector_page_cursor(struct collector_page *p)
{
    p->text[0] = p->list;
    if (p->names)
        sodium_bin2base64(p->text + 1, sizeof(p->text) - 1, (const unsigned char *)p->name, strlen(p->name),
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    else
        snprintf(p->text + 1, sizeof(p->text) - 1, "%llu", (unsigned long long)p->number);
    return p->text;
}

const char *collector_page_name(const struct collector_page *p)
{
    return p->begun ? p->name : NULL;
}

const char *collector_comparisons_cursor(struct collector_page *p, uint64_t sequence)
{
    *p = (struct collector_page){ .list = COLLECTOR_LIST_COMPARISONS, .number = sequence };
    return collector_page_cursor(p);
}

void collector_page_add(struct collector_page *p, json_t *item, uint64_t number, const char *name)
{
    if (!p->items)
        p->items = json_array();
    p->failed = json_array_append_new(p->items, item) < 0 || p->failed;
    p->number = number;
    if (name)
        snprintf(p->name, sizeof(p->name), "%s", name);
}

void collector_page_respond(struct collector_page *p, const char *key, struct collector_response *r)
{
    bool more = p->cut || (p->limit && json_array_size(p->items) == p->limit);
    json_t *json = json_pack("{s:o, s:s, s:b}", key, p->items ? p->items : json_array(), "cursor",
                             collector_page_cursor(p), "more", more);

    p->items = NULL;
    if (p->failed) {
        json_decref(json);
        json = NULL;
    }
    collector_respond(r, 200, json);
}

void collector_page_free(struct collector_page *p)
{
    json_decref(p->items);
    p->items = NULL;
}
