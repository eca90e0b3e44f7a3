/* signature.h - whether a callback comes from whom it says: shared secrets and HMACs over its exact bytes.
 *
 * Every check is done before the body is looked at, takes the same time wherever it fails, and accepts any of several
 * secrets, so that a secret is changed without a gap: the new one is added first, the old one removed later. */
#ifndef LABEL_COLLECTOR_SIGNATURE_H
#define LABEL_COLLECTOR_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"

/* Whether text is one of the secrets. text may be NULL. */
bool collector_secret_known(const char *text, const struct rlhf_config_strings *secrets);

/* "sha256=<hex>" or "sha1=<hex>", the HMAC of body (X-Hub-Signature-256, X-Hub-Signature). given may be NULL. */
bool collector_hub_signed(const char *given, const struct rlhf_config_strings *secrets, const void *body, size_t size);

/* Standard Webhooks: "v1,<base64>", one or more separated by spaces, the HMAC-SHA256 of "ID.TIMESTAMP.body". A secret
 * is "whsec_<base64 of the key>", or the key itself. */
struct collector_standard_webhook {
    const char *id, *timestamp, *signature; /* the headers; NULL where absent */
    const void *body;
    size_t size;
};
/* RLHF_DENIED says what is missing or wrong: a header, an age of more than tolerance_s, the signature. */
int collector_standard_signed(const struct collector_standard_webhook *w, const struct rlhf_config_strings *secrets,
                              int64_t now_s, int64_t tolerance_s, struct rlhf_error *err);

#endif
