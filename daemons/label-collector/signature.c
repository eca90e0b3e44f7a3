#include "signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "judgement.h"

enum { MAX_KEY = 1024 };

/* Of two texts of any length, in a time that tells nothing of where they differ. */
static bool same(const char *a, const char *b)
{
    struct rlhf_digest da = rlhf_digest_of(a, strlen(a)), db = rlhf_digest_of(b, strlen(b));

    return sodium_memcmp(da.bytes, db.bytes, sizeof da.bytes) == 0;
}

bool collector_secret_known(const char *text, const struct rlhf_config_strings *secrets)
{
    bool known = false;

    for (size_t i = 0; text && i < secrets->count; ++i)
        known = same(text, secrets->items[i]) || known;
    return known;
}

bool collector_hub_signed(const char *given, const struct rlhf_config_strings *secrets, const void *body, size_t size)
{
    bool sha256 = given && rlhf_starts_with(given, "sha256="), signed_by_one = false;

    if (!sha256 && !(given && rlhf_starts_with(given, "sha1=")))
        return false;
    for (size_t i = 0; i < secrets->count; ++i) {
        unsigned char mac[EVP_MAX_MD_SIZE];
        char text[2 * EVP_MAX_MD_SIZE + 1];
        unsigned n = 0;

        if (HMAC(sha256 ? EVP_sha256() : EVP_sha1(), secrets->items[i], (int)strlen(secrets->items[i]), body, size, mac,
                 &n))
            signed_by_one = same(sodium_bin2hex(text, sizeof text, mac, n), given + (sha256 ? 7 : 5)) || signed_by_one;
    }
    return signed_by_one;
}

/* The signature that secret gives, in base64. False when the secret is no key. */
static bool sign(const char *secret, const struct rlhf_bytes *content, char text[64])
{
    unsigned char key[MAX_KEY], mac[EVP_MAX_MD_SIZE];
    size_t size = strlen(secret);
    unsigned n = 0;

    if (size > MAX_KEY)
        return false;
    if (!rlhf_starts_with(secret, "whsec_"))
        memcpy(key, secret, size);
    else if (sodium_base642bin(key, sizeof key, secret + 6, size - 6, NULL, &size, NULL, sodium_base64_VARIANT_ORIGINAL)
             != 0)
        return false;
    bool made =
        HMAC(EVP_sha256(), key, (int)size, (const unsigned char *)content->data, content->size, mac, &n) != NULL;
    rlhf_wipe(key, sizeof key);
    return made && sodium_bin2base64(text, 64, mac, n, sodium_base64_VARIANT_ORIGINAL);
}

/* Whether one of the signatures in the header is the one expected. */
static bool among(const char *header, const char *expected)
{
    bool found = false;

    for (const char *at = header; *at; at += strspn(at, " ")) {
        size_t size = strcspn(at, " ");
        char one[128];

        if (size < sizeof one && rlhf_starts_with(at, "v1,")) {
            memcpy(one, at + 3, size - 3);
            one[size - 3] = '\0';
            found = same(one, expected) || found;
        }
        at += size;
    }
    return found;
}

/* The headers make sense, and the time is now. */
static int check_headers(const struct collector_standard_webhook *w, int64_t now_s, int64_t tolerance_s,
                         struct rlhf_error *err)
{
    size_t digits = w->timestamp ? strspn(w->timestamp, "0123456789") : 0;

    if (!w->id || !w->timestamp || !w->signature)
        return rlhf_fail(err, RLHF_DENIED, "webhook-id, webhook-timestamp or webhook-signature is missing");
    if (collector_name_check("webhook-id", w->id, false, err) < 0)
        return rlhf_fail(err, RLHF_DENIED, "webhook-id must be 1 to %d characters", COLLECTOR_MAX_NAME);
    if (strchr(w->id, '.')) /* it separates what is signed */
        return rlhf_fail(err, RLHF_DENIED, "webhook-id must not have a full stop in it");
    if (digits == 0 || digits > 12 || w->timestamp[digits])
        return rlhf_fail(err, RLHF_DENIED, "webhook-timestamp must be seconds since 1970");
    int64_t age = now_s - strtoll(w->timestamp, NULL, 10);
    if (age > tolerance_s || age < -tolerance_s)
        return rlhf_fail(err, RLHF_DENIED, "webhook-timestamp is %lld s off this clock, %lld are tolerated",
                         (long long)age, (long long)tolerance_s);
    return 0;
}

int collector_standard_signed(const struct collector_standard_webhook *w, const struct rlhf_config_strings *secrets,
                              int64_t now_s, int64_t tolerance_s, struct rlhf_error *err)
{
    struct rlhf_bytes content = { 0 };
    bool good = false;

    if (check_headers(w, now_s, tolerance_s, err) < 0)
        return -1;
    if (rlhf_bytes_printf(&content, err, "%s.%s.", w->id, w->timestamp) < 0
        || rlhf_bytes_append(&content, w->body ? w->body : "", w->size, err) < 0) {
        rlhf_bytes_free(&content);
        return -1;
    }
    for (size_t i = 0; i < secrets->count; ++i) {
        char text[64];

        good = (sign(secrets->items[i], &content, text) && among(w->signature, text)) || good;
    }
    rlhf_bytes_free(&content);
    return good ? 0 : rlhf_fail(err, RLHF_DENIED, "webhook-signature is not the one that any of our secrets gives");
}
