#include "model/dropout.h"

#include "base/random.h"

enum { ROWS_A_TASK = 16, WORDS = 4 };
static const uint32_t adapters = 1U << 31; /* places of their own, behind those of all blocks */

struct task {
    const struct rlhf_dropout *d;
    float rate;
    bool less;
    uint32_t place;
    const struct rlhf_batch *b;
    const uint32_t *position;
    size_t t, channels;
    const float *x;
    float *y;
};

void rlhf_dropout_key(uint64_t seed, uint32_t stage, uint64_t step, uint32_t key[2])
{
    const uint32_t counter[4] = { (uint32_t)step, (uint32_t)(step >> 32), stage, RLHF_PURPOSE_DROPOUT };
    const uint32_t from[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    uint32_t out[4];

    rlhf_philox(counter, from, out);
    key[0] = out[0];
    key[1] = out[1];
}

static uint32_t sequence_of(const struct rlhf_batch *b, size_t row)
{
    size_t low = 0, high = b->sequences - 1; /* the last whose start is not behind row, and is not empty */

    while (low < high) {
        size_t middle = (low + high + 1) / 2;

        if (b->start[middle] <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return (uint32_t)low;
}

static void drop_row(const struct task *k, size_t row)
{
    const float keep = 1 / (1 - k->rate);
    const uint32_t limit = (uint32_t)((double)k->rate * 4294967296.0);
    const float *x = k->x + row * k->channels;
    float *y = k->y + row * k->channels;
    uint32_t counter[4] = { 0, k->position[row], k->d->sequence + sequence_of(k->b, row), k->place }, word[WORDS];

    for (size_t c = 0; c < k->channels; c++) {
        if (c % WORDS == 0) {
            counter[0] = (uint32_t)(c / WORDS);
            rlhf_philox(counter, k->d->key, word);
        }
        float kept = word[c % WORDS] < limit ? 0 : x[c] * keep;

        y[c] = k->less ? kept - x[c] : kept;
    }
}

static void drop_rows(void *ctx, size_t index)
{
    const struct task *k = ctx;
    size_t from = index * ROWS_A_TASK, to = from + ROWS_A_TASK < k->t ? from + ROWS_A_TASK : k->t;

    for (size_t row = from; row < to; row++)
        drop_row(k, row);
}

static void drop(struct task *k, struct rlhf_pool *pool)
{
    k->t = k->b->start[k->b->sequences];
    rlhf_pool_for(pool, (k->t + ROWS_A_TASK - 1) / ROWS_A_TASK, drop_rows, k);
}

void rlhf_dropout_apply(const struct rlhf_dropout *d, uint32_t place, const struct rlhf_batch *b, const uint32_t *position,
                        size_t channels, const float *x, float *y, struct rlhf_pool *pool)
{
    drop(&(struct task){ .d = d, .rate = d->rate, .place = place, .b = b, .position = position, .channels = channels, .x = x,
                         .y = y }, pool);
}

void rlhf_dropout_adapter(const struct rlhf_dropout *d, size_t pair, bool less, const struct rlhf_batch *b,
                          const uint32_t *position, size_t channels, const float *x, float *y, struct rlhf_pool *pool)
{
    drop(&(struct task){ .d = d, .rate = d->adapter_rate, .less = less, .place = adapters + (uint32_t)pair, .b = b,
                         .position = position, .channels = channels, .x = x, .y = y }, pool);
}
