/* A body for one of the label-collector's writing routes, chosen by the first byte: whatever is sent, the answer is
 * proper JSON with a proper status, refusals store nothing, and the store agrees with itself. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fuzz.h"
#include "label-collector/api.h"

/* ctx: the format of an import, or NULL. */
static const char *query(void *ctx, const char *key)
{
    return strcmp(key, "format") == 0 ? ctx : NULL;
}

static struct collector *a_collector(void)
{
    static const struct rlhf_env env = { .clock = &rlhf_system_clock };
    static const struct collector_config config = {
        .database = (char *)":memory:", .labels_per_task = 1, .reservation_seconds = 60
    };
    struct collector *c = collector_new(&env, &config, NULL);

    RLHF_ASSERT(c);
    return c;
}

static struct collector_counts counts(struct collector *c)
{
    struct collector_counts n;

    RLHF_ASSERT(collector_store_counts(c->store, "", &n, NULL) == 0);
    return n;
}

static bool count_row(void *ctx, const struct collector_row *row)
{
    RLHF_ASSERT(row->label.rank_count == 0 || row->label.content.count == row->label.rank_count);
    for (size_t i = 0; i < row->label.rank_count; ++i)
        RLHF_ASSERT(row->label.rank[i] >= 1 && row->label.rank[i] <= row->label.rank_count);
    *(uint64_t *)ctx += row->excluded == NULL;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const paths[] = { "/api/v1/tasks", "/api/v1/tasks/t/label", "/api/v1/tasks/t/skip",
                                         "/api/v1/comparisons", "/api/v1/rankings", "/api/v1/import",
                                         "/api/v1/tasks/t/undo", "/api/v1/standing", "/api/v1/quarantine" };
    static const char *const more[] = { "/api/v1/session", "/api/v1/tokens", "/api/v1/weights", "/api/v1/vendors/v/push" };
    static const char *const formats[] = { NULL, "label_studio", "labelbox", "scale", "surge", "argilla" };
    static const enum collector_role roles[] = { COLLECTOR_OWNER, COLLECTOR_LABELER, COLLECTOR_VENDOR };
    static struct collector *c;
    static unsigned runs;
    uint64_t rows = 0;

    if (!size)
        return 0;
    if (runs++ % 500 == 0) { /* what is stored stays small */
        collector_free(c);
        c = a_collector();
    }
    const char *path = data[0] < 162 ? paths[data[0] % 9] : more[data[0] % 4];
    struct collector_exchange x = { .request = { .method = "POST",
                                                 .path = path,
                                                 .body = (const char *)data + 1,
                                                 .body_size = size - 1,
                                                 .who = { .role = roles[data[0] / 54 % 3], .name = "a" },
                                                 .address = "127.0.0.1",
                                                 .query = query,
                                                 .ctx = (char *)(uintptr_t)formats[data[0] / 9 % 6] } };
    struct collector_counts before = counts(c);
    x.route = collector_route_find("POST", path, &x.response);
    RLHF_ASSERT(x.route);
    collector_api_write(c, &(struct collector_exchange *){ &x }, 1);

    struct collector_counts after = counts(c);
    unsigned status = x.response.status;
    RLHF_ASSERT(status == 200 || status == 201 || (status >= 400 && status <= 404) || status == 409 || status == 422
                || status == 429);
    RLHF_ASSERT(status < 300 || memcmp(&before, &after, sizeof(before)) == 0);
    json_t *json = json_loadb(x.response.body.data, x.response.body.size, 0, NULL);
    RLHF_ASSERT(json_is_object(json) && (status < 300) == !json_object_get(json, "type"));
    json_decref(json);
    collector_response_free(&x.response);
    RLHF_ASSERT(collector_store_list(c->store,
                                     &(struct collector_range){
                                         .round = "", .last = UINT64_MAX, .limit = 100000, .latest = true },
                                     count_row, &rows, NULL)
                == 0);
    RLHF_ASSERT(rows == after.labels && after.open <= after.tasks);
    return 0;
}
