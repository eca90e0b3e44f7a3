#include "reward-scorer/sources.h"

#include <stdlib.h>
#include <string.h>

static struct rlhf_source_settings settings_of(const Rlhf__V1__RewardSource *m)
{
    return (struct rlhf_source_settings){
        .kind = (enum rlhf_source_kind)(m->kind - 1), /* both enums are one list; zero is refused by the check */
        .name = m->name,
        .expression = m->expression,
        .matched = m->matched,
        .unmatched = m->unmatched,
        .numbers = m->numbers,
        .unit = m->unit ? (enum rlhf_length_unit)(m->unit - 1) : RLHF_LENGTH_TOKENS,
        .low = m->low,
        .high = m->high,
        .per_unit = m->per_unit,
        .url = m->url,
        .credential = m->credential,
        .timeout_ms = m->timeout_ms,
        .attempts = m->attempts,
        .backoff_ms = m->backoff_ms,
        .batch = m->batch,
        .concurrency = m->concurrency,
        .model = m->model,
        .system = m->system,
        .question = m->question,
        .key = m->key,
        .max_tokens = m->max_tokens,
    };
}

const struct rlhf_source *scorer_source(struct scorer_sources *s, const Rlhf__V1__RewardSource *m, struct rlhf_error *err)
{
    struct rlhf_source_settings settings = settings_of(m);
    size_t size = rlhf__v1__reward_source__get_packed_size(m), at = s->count;
    void *packed = malloc(size + 1);

    if (!packed) {
        rlhf_fail(err, RLHF_FULL, "no memory for a source of rewards");
        return NULL;
    }
    rlhf__v1__reward_source__pack(m, packed);
    for (size_t i = 0; i < s->count; i++)
        if (s->size[i] == size && memcmp(s->packed[i], packed, size) == 0) {
            free(packed);
            return s->source[i];
        }
    if (at == SCORER_SOURCES)
        rlhf_fail(err, RLHF_FULL, "more than %d sources of rewards; start the scorer anew", SCORER_SOURCES);
    else if ((s->source[at] = rlhf_source_new(&settings, err))) {
        s->packed[at] = packed;
        s->size[at] = size;
        return s->source[s->count++];
    }
    free(packed);
    return NULL;
}

void scorer_sources_free(struct scorer_sources *s)
{
    while (s->count > 0) {
        rlhf_source_free(s->source[--s->count]);
        free(s->packed[s->count]);
    }
}
