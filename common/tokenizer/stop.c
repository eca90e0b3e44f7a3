#include "tokenizer/stop.h"

#include <string.h>

/* Looks for what ends behind `from`. */
static bool ends_behind(const struct rlhf_bytes *text, size_t from, const char *string)
{
    size_t size = strlen(string), at = from + 1 > size ? from + 1 - size : 0;

    for (; at + size <= text->size; at++)
        if (memcmp(text->data + at, string, size) == 0)
            return true;
    return false;
}

int rlhf_stop_reached(const struct rlhf_tokenizer *t, const int32_t *ids, size_t count, const char *const *strings,
                      size_t n, bool *reached, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 }, before = { 0 };
    size_t longest = 0, window, same = 0;
    int rc = -1;

    *reached = false;
    for (size_t i = 0; i < n; i++)
        longest = strlen(strings[i]) > longest ? strlen(strings[i]) : longest;
    if (count == 0 || longest == 0)
        return 0;
    /* A token has a byte or more, but decoders may take some from the first. */
    window = count < longest + 2 ? count : longest + 2;
    ids += count - window;
    if (rlhf_tokenizer_decode_text(t, ids, window, 1, &text, err) < 0
        || rlhf_tokenizer_decode_text(t, ids, window - 1, 1, &before, err) < 0)
        goto out;
    while (same < before.size && same < text.size && text.data[same] == before.data[same])
        same++;
    for (size_t i = 0; i < n && !*reached; i++)
        *reached = strings[i][0] && ends_behind(&text, same, strings[i]);
    rc = 0;
out:
    rlhf_bytes_free(&text);
    rlhf_bytes_free(&before);
    return rc;
}
