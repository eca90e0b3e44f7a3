/* Whose callbacks are believed, for every vendor: a forged, truncated, replayed, old or re-encoded one stores nothing. Where
 * a vendor signs nothing but shows a secret, who knows that is the vendor, and what it repeats is known. */
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "label-collector/api.h"
#include "label-collector/sync.h"
#include "label-collector/vendor_config.h"
#include "support/fake_clock.h"
#include "support/suite.h"

#define SECRET "a secret"
enum { NOW_S = 1800000000, TOLERANCE_S = 300 };

static struct fake_clock fake;
static struct collector *collector;

/* ---- vendors --------------------------------------------------------------------------------------- */

static const struct vendor {
    const char *name; /* also its kind */
    bool signs, dates, numbers; /* its body, its time, its deliveries */
    bool tells; /* its callback is what is stored; else it makes us look */
    const char *body;
} vendors[] = {
    { "label_studio", false, false, false, true,
      "{\"action\": \"ANNOTATION_CREATED\", \"annotation\": {\"id\": 7, \"task\": 5, \"completed_by\": 3, \"result\": [{\"from_name\": "
      "\"comparison\", \"type\": \"pairwise\", \"value\": {\"selected\": \"left\"}}]}, \"task\": {\"id\": 5, \"data\": {\"uid\": \"u\", "
      "\"prompt\": \"p\", \"answer1\": \"x\", \"answer2\": \"y\"}}}" },
    { "labelbox", true, false, true, false, "{\"id\": \"lbl-1\", \"dataRow\": {\"id\": \"row-1\"}}" },
    { "scale", false, false, false, true,
      "{\"task\": {\"task_id\": \"t1\", \"status\": \"completed\", \"metadata\": {}, \"threads\": [{\"turns\": [{\"messages\": [{\"role\": "
      "\"user\", \"content\": {\"text\": \"p\"}}, {\"role\": \"assistant\", \"source_id\": \"a\", \"content\": {\"text\": \"x\"}}, {\"role\": "
      "\"assistant\", \"source_id\": \"b\", \"content\": {\"text\": \"y\"}}], \"annotations\": [{\"key\": \"selected_model_id\", \"value\": "
      "\"b\"}]}]}]}}" },
    { "surge", false, false, false, false, "{\"task_id\": \"t-1\", \"status\": \"completed\"}" },
    { "argilla", true, true, true, true,
      "{\"type\": \"response.created\", \"version\": 1, \"data\": {\"user_id\": \"u1\", \"status\": \"submitted\", \"values\": {\"best\": "
      "{\"value\": \"response1\"}}, \"record\": {\"id\": \"r1\", \"fields\": {\"prompt\": \"p\", \"response1\": \"x\", \"response2\": "
      "\"y\"}}}}" },
    { "webhook", true, true, true, true,
      "{\"type\": \"label.created\", \"data\": {\"id\": \"w1\", \"labeler\": \"ann\", \"prompt\": \"p\", \"completions\": [\"x\", \"y\"], "
      "\"ranks\": [1, 2]}}" },
};
enum { VENDORS = sizeof vendors / sizeof vendors[0] };

/* ---- a callback and its headers -------------------------------------------------------------------- */

struct callback {
    const struct vendor *vendor;
    const char *body;
    char path[64], secret[160], hub[160], id[32], time[32], signature[160];
};

/* With the secret, an id and a time, as the vendor sends it. */
static struct callback made(const struct vendor *v, const char *body, const char *secret, const char *id, int64_t time_s)
{
    struct callback k = { .vendor = v, .body = body };
    unsigned char mac[EVP_MAX_MD_SIZE];
    char content[4096];
    unsigned n;

    snprintf(k.path, sizeof k.path, "/hooks/%s%s%s", v->name, strcmp(v->name, "surge") == 0 ? "/" : "",
             strcmp(v->name, "surge") == 0 ? secret : "");
    snprintf(k.secret, sizeof k.secret, "%s", secret);
    snprintf(k.id, sizeof k.id, "%s", id);
    snprintf(k.time, sizeof k.time, "%lld", (long long)time_s);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)body, strlen(body), mac, &n);
    memcpy(k.hub, "sha256=", 7);
    sodium_bin2hex(k.hub + 7, sizeof k.hub - 7, mac, n);
    int size = snprintf(content, sizeof content, "%s.%s.%s", k.id, k.time, body);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)content, (size_t)size, mac, &n);
    memcpy(k.signature, "v1,", 3);
    sodium_bin2base64(k.signature + 3, sizeof k.signature - 3, mac, n, sodium_base64_VARIANT_ORIGINAL);
    return k;
}

static struct callback good(const struct vendor *v, const char *body)
{
    return made(v, body, SECRET, "delivery-1", NOW_S);
}

static const char *header(void *ctx, const char *name)
{
    const struct callback *k = ctx;
    const struct {
        const char *vendor, *name, *value;
    } headers[] = { { "label_studio", "X-Collector-Secret", k->secret }, { "labelbox", "X-Hub-Signature-256", k->hub },
                    { "labelbox", "X-Labelbox-Id", k->id },              { "scale", "scale-callback-auth", k->secret },
                    { "argilla", "webhook-id", k->id },                  { "argilla", "webhook-timestamp", k->time },
                    { "argilla", "webhook-signature", k->signature },    { "webhook", "webhook-id", k->id },
                    { "webhook", "webhook-timestamp", k->time },         { "webhook", "webhook-signature", k->signature } };

    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; ++i)
        if (strcmp(headers[i].vendor, k->vendor->name) == 0 && strcmp(headers[i].name, name) == 0)
            return *headers[i].value ? headers[i].value : NULL;
    return NULL;
}

static const char *query(void *ctx, const char *key)
{
    (void)ctx;
    (void)key;
    return NULL;
}

static unsigned sent(struct callback k)
{
    struct collector_exchange x = { .request = { .method = "POST", .path = k.path, .body = k.body, .body_size = strlen(k.body),
                                                 .query = query, .header = header, .ctx = &k } };

    x.route = collector_route_find("POST", k.path, &x.response);
    ck_assert_ptr_nonnull(x.route);
    collector_api_write(collector, &(struct collector_exchange *){ &x }, 1);
    unsigned status = x.response.status;
    collector_response_free(&x.response);
    return status;
}

/* Of everything that there is. */
static uint64_t stored(void)
{
    struct collector_counts n;

    ck_assert_int_eq(collector_store_counts(collector->store, "", &n, NULL), 0);
    return n.revisions + n.skips + n.tasks;
}

static void refused(const char *what, struct callback k, unsigned status)
{
    uint64_t before = stored();
    unsigned got = sent(k);

    ck_assert_msg(got == status, "%s, %s: answered with %u, not %u", k.vendor->name, what, got, status);
    ck_assert_msg(stored() == before, "%s, %s: something was stored", k.vendor->name, what);
}

/* ---- a collector ----------------------------------------------------------------------------------- */

static void open_collector(void)
{
    static struct rlhf_random random;
    static struct rlhf_env env;
    static struct collector_vendor_config configs[VENDORS];
    static char path[300];
    static char *files[] = { path };
    static struct collector_config config;
    struct rlhf_error err;

    setenv("RLHF_LOG", "error", 1);
    fake_clock_init(&fake);
    fake_clock_advance(&fake, (int64_t)NOW_S * 1000000 - fake.clock.wall_us(&fake.clock));
    env = (struct rlhf_env){ .clock = &fake.clock, .io = &rlhf_system_io, .random = &random };
    if (!*path) {
        snprintf(path, sizeof path, "%s/secret", a_directory());
        FILE *f = fopen(path, "w");
        fputs(SECRET "\n", f);
        fclose(f);
    }
    for (int i = 0; i < VENDORS; ++i)
        configs[i] = (struct collector_vendor_config){ .name = (char *)(uintptr_t)vendors[i].name, .kind = i, .token_file = path,
                                                       .url = (char *)"http://127.0.0.1:1", .secret_files = { files, 1 },
                                                       .tolerance_seconds = TOLERANCE_S, .guesses = collector_default_guesses };
    config = (struct collector_config){ .database = (char *)":memory:", .labels_per_task = 1, .reservation_seconds = 60,
                                        .vendors = { configs, VENDORS } };
    expect_some(collector = collector_new(&env, &config, &err), err);
    expect_some(collector_sync_new(collector, &err), err);
}

/* ---- tests ----------------------------------------------------------------------------------------- */

/* Each vendor with a collector of its own. */
static void each(void (*check)(const struct vendor *v))
{
    for (size_t i = 0; i < VENDORS; ++i) {
        open_collector();
        check(&vendors[i]);
        collector_sync_free(collector->sync);
        collector_free(collector);
    }
}

static void check_forged(const struct vendor *v)
{
    struct callback bare = good(v, v->body);

    refused("another's secret", made(v, v->body, "another's", "d", NOW_S), 401);
    refused("a part of the secret", made(v, v->body, "a secre", "d", NOW_S), 401);
    refused("more than the secret", made(v, v->body, SECRET "!", "d", NOW_S), 401);
    *bare.secret = *bare.hub = *bare.signature = '\0';
    snprintf(bare.path, sizeof bare.path, "/hooks/%s", v->name);
    refused("no secret", bare, 401);
}

START_TEST(a_forged_callback_stores_nothing)
{
    each(check_forged);
}
END_TEST

static void check_truncated(const struct vendor *v)
{
    for (size_t size = strlen(v->body); size-- > 0;) {
        char *part = strndup(v->body, size);
        struct callback k = good(v, v->body);
        k.body = part;
        refused("cut short", k, v->signs ? 401 : 400);
        free(part);
    }
}

START_TEST(a_truncated_callback_stores_nothing)
{
    each(check_truncated);
}
END_TEST

static void check_re_encoded(const struct vendor *v)
{
    json_t *json = json_loads(v->body, 0, NULL);
    char *again = json_dumps(json, JSON_INDENT(1)), spaced[2048];
    struct callback k = good(v, v->body), s = k;

    snprintf(spaced, sizeof spaced, "%s ", v->body);
    k.body = again;
    s.body = spaced;
    if (v->signs) {
        refused("re-encoded", k, 401);
        refused("with a space behind it", s, 401);
    } else {
        ck_assert_uint_eq(sent(good(v, v->body)), 200);
        refused("re-encoded", k, 200);
        refused("with a space behind it", s, 200);
    }
    json_decref(json);
    free(again);
}

START_TEST(a_re_encoded_callback_is_refused_where_it_is_signed_and_known_where_not)
{
    each(check_re_encoded);
}
END_TEST

static void check_replayed(const struct vendor *v)
{
    uint64_t before = stored();

    ck_assert_uint_eq(sent(good(v, v->body)), 200);
    ck_assert(!v->tells || stored() > before);
    refused("replayed", good(v, v->body), v->numbers ? 409 : 200);
    fake_clock_advance(&fake, (int64_t)TOLERANCE_S * 1000000);
    refused("replayed as late as it may come", good(v, v->body), v->numbers ? 409 : 200);
}

START_TEST(a_replayed_callback_stores_nothing_more)
{
    each(check_replayed);
}
END_TEST

static void check_old(const struct vendor *v)
{
    if (v->dates) {
        refused("old", made(v, v->body, SECRET, "d", NOW_S - TOLERANCE_S - 1), 401);
        refused("of the future", made(v, v->body, SECRET, "d", NOW_S + TOLERANCE_S + 1), 401);
        struct callback k = made(v, v->body, SECRET, "d", NOW_S - TOLERANCE_S - 1);
        snprintf(k.time, sizeof k.time, "%d", NOW_S);
        refused("old with a new date", k, 401);
        return;
    }
    ck_assert_uint_eq(sent(good(v, v->body)), 200);
    fake_clock_advance(&fake, (int64_t)86400 * 1000000);
    refused("a day late", made(v, v->body, SECRET, "delivery-1", NOW_S), v->numbers ? 409 : 200);
}

START_TEST(an_old_callback_is_refused_where_it_is_dated_and_known_where_not)
{
    each(check_old);
}
END_TEST

static void check_no_object(const struct vendor *v)
{
    static const char *const bodies[] = { "", "null", "[]", "7", "\"x\"", "{\"a\": 1, \"a\": 2}", "{}{}", "{\"a\": \"\\ud800\"}" };

    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; ++i)
        refused(bodies[i], good(v, bodies[i]), 400);
}

START_TEST(what_is_no_object_stores_nothing)
{
    each(check_no_object);
}
END_TEST

int main(void)
{
    return RUN_SUITE("label-collector/callbacks", a_forged_callback_stores_nothing, a_truncated_callback_stores_nothing,
                     a_re_encoded_callback_is_refused_where_it_is_signed_and_known_where_not,
                     a_replayed_callback_stores_nothing_more,
                     an_old_callback_is_refused_where_it_is_dated_and_known_where_not, what_is_no_object_stores_nothing);
}
