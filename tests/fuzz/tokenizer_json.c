/* tokenizer.json: what loads encodes any bytes to ids of its own and decodes them, without a fault. Behind the last NUL
 * of the input stands a text to encode, whose bytes are ids to decode, too. */
#include <string.h>

#include "base/check.h"
#include "fuzz.h"
#include "tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = " The river's <s>Zyx\n\n42 \xc3\xa9\xe2\x96\x81\xff hi<|end|>  ";
    const uint8_t *end = memrchr(data, '\0', size), *more = end ? end + 1 : data;
    size_t json = end ? (size_t)(end - data) : size, rest = end ? size - json - 1 : size < 300 ? size : 300;
    struct rlhf_tokenizer *t = rlhf_tokenizer_parse((const char *)data, json, NULL, 0, "fuzz", NULL);
    struct rlhf_tokens ids = { 0 };
    struct rlhf_token_ranges ranges = { 0 };
    struct rlhf_bytes back = { 0 };

    if (!t)
        return 0;
    if (rlhf_tokenizer_encode_wrapped(t, text, sizeof(text) - 1, &ids, NULL) == 0 &&
        rlhf_tokenizer_encode(t, (const char *)more, rest, &ids, NULL) == 0) {
        for (size_t i = 0; i < ids.size; i++)
            RLHF_ASSERT(ids.data[i] >= 0 && (size_t)ids.data[i] < rlhf_tokenizer_vocab(t));
        rlhf_tokenizer_decode(t, ids.data, ids.size, 0, &back, NULL);
        rlhf_tokenizer_decode_text(t, ids.data, ids.size, 1, &back, NULL);
    }
    rlhf_tokens_clear(&ids);
    if (rlhf_tokenizer_encode_ranges(t, (const char *)more, rest, &ids, &ranges, NULL) == 0) {
        RLHF_ASSERT(ranges.size == ids.size);
        for (size_t i = 0; i < ranges.size; i++)
            RLHF_ASSERT(ranges.at[i].start <= ranges.at[i].end && ranges.at[i].end <= rest);
    }
    rlhf_tokens_clear(&ids);
    for (size_t i = 0; i < rest; i++)
        rlhf_tokens_append(&ids, &(int32_t){ more[i] }, 1, NULL);
    rlhf_tokenizer_decode_text(t, ids.data, ids.size, 0, &back, NULL);
    rlhf_tokens_free(&ids);
    rlhf_token_ranges_free(&ranges);
    rlhf_bytes_free(&back);
    rlhf_tokenizer_free(t);
    return 0;
}
