/* The body of a vendor's callback, properly signed, of a vendor chosen by the first byte: whatever it says, the answer is
 * JSON with a proper status, refusals store nothing, and the store agrees with itself. */
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/random.h"
#include "fuzz.h"
#include "label-collector/api.h"
#include "label-collector/sync.h"
#include "label-collector/vendor_config.h"

static const char secret[] = "a secret";
static const char *const names[] = { "label_studio", "labelbox", "scale", "surge", "argilla", "webhook" };
static const uint8_t *signed_body;
static size_t signed_size;

/* The headers of a vendor that knows the secret. */
static const char *header(void *ctx, const char *name)
{
    static char id[32], now[32], text[160];
    static unsigned calls;
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n;

    (void)ctx;
    if (strcmp(name, "X-Collector-Secret") == 0 || strcmp(name, "scale-callback-auth") == 0)
        return secret;
    if (strcmp(name, "X-Hub-Signature-256") == 0) {
        HMAC(EVP_sha256(), secret, sizeof secret - 1, signed_body, signed_size, mac, &n);
        memcpy(text, "sha256=", 7);
        sodium_bin2hex(text + 7, sizeof text - 7, mac, n);
        return text;
    }
    if (strcmp(name, "webhook-id") == 0) {
        snprintf(id, sizeof id, "m%u", calls / 2); /* some come twice; read twice a callback */
        return calls++, id;
    }
    if (strcmp(name, "webhook-timestamp") == 0) {
        snprintf(now, sizeof now, "%lld", (long long)(rlhf_system_clock.wall_us(&rlhf_system_clock) / 1000000));
        return now;
    }
    if (strcmp(name, "webhook-signature") == 0) {
        char *content = malloc(signed_size + 80);
        int used = sprintf(content, "%s.%s.", id, now);
        memcpy(content + used, signed_body, signed_size);
        HMAC(EVP_sha256(), secret, sizeof secret - 1, (unsigned char *)content, (size_t)used + signed_size, mac, &n);
        free(content);
        memcpy(text, "v1,", 3);
        sodium_bin2base64(text + 3, sizeof text - 3, mac, n, sodium_base64_VARIANT_ORIGINAL);
        return text;
    }
    return NULL;
}

static const char *query(void *ctx, const char *key)
{
    (void)ctx;
    (void)key;
    return NULL;
}

static char secret_file[] = "/tmp/rlhf-fuzz-XXXXXX";

static void remove_file(void)
{
    unlink(secret_file);
}

static struct collector *a_collector(void)
{
    static struct rlhf_random random;
    static const struct rlhf_env env = { .clock = &rlhf_system_clock, .io = &rlhf_system_io, .random = &random };
    static struct collector_vendor_config vendors[6];
    static char *files[] = { secret_file };
    static const struct collector_config config = { .database = (char *)":memory:", .labels_per_task = 1,
                                                    .reservation_seconds = 60, .vendors = { vendors, 6 } };

    if (!vendors[0].name) {
        int fd = mkstemp(secret_file);
        RLHF_ASSERT(fd >= 0 && write(fd, secret, sizeof secret - 1) == sizeof secret - 1);
        close(fd);
        atexit(remove_file);
    }
    for (int i = 0; i < 6; ++i)
        vendors[i] = (struct collector_vendor_config){ .name = (char *)(uintptr_t)names[i], .kind = i, .token_file = secret_file,
                                                       .secret_files = { files, 1 }, .tolerance_seconds = 300,
                                                       .guesses = collector_default_guesses };
    struct collector *c = collector_new(&env, &config, NULL);
    RLHF_ASSERT(c && collector_sync_new(c, NULL));
    return c;
}

static uint64_t stored(struct collector *c)
{
    struct collector_counts n;

    RLHF_ASSERT(collector_store_counts(c->store, "", &n, NULL) == 0);
    return n.revisions + n.skips + n.tasks;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct collector *c;
    static unsigned runs;
    char path[64];

    if (!size)
        return 0;
    if (runs++ % 500 == 0) { /* what is stored stays small */
        if (c)
            collector_sync_free(c->sync);
        collector_free(c);
        c = a_collector();
    }
    signed_body = data + 1;
    signed_size = size - 1;
    snprintf(path, sizeof path, "/hooks/%s/%s", names[data[0] % 6], secret);
    struct collector_exchange x = { .request = { .method = "POST", .path = path, .body = (const char *)signed_body,
                                                 .body_size = signed_size, .query = query, .header = header } };
    uint64_t before = stored(c);
    x.route = collector_route_find("POST", path, &x.response);
    RLHF_ASSERT(x.route);
    collector_api_write(c, &(struct collector_exchange *){ &x }, 1);

    unsigned status = x.response.status;
    RLHF_ASSERT(status == 200 || status == 400 || status == 409 || status == 422);
    RLHF_ASSERT(status == 200 || stored(c) == before);
    json_t *json = json_loadb(x.response.body.data, x.response.body.size, 0, NULL);
    RLHF_ASSERT(json_is_object(json));
    json_decref(json);
    collector_response_free(&x.response);
    return 0;
}
