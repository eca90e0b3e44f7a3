/* draw.c - what drawing a token from a row of logits asks of the whole row. */
#include "tensor/kernel/lanes.h"
#include "tensor/kernel/table.h"

enum { BLOCK = 512 };

size_t KERNEL(largest)(const float *x, size_t count)
{
    size_t best = 0, at = 0, whole = count / 16 * 16;

    for (size_t from = 0, to; from < whole; from = to) {
        v16 most = v16_load(x + from);

        to = whole - from < BLOCK ? whole : from + BLOCK;
        for (size_t i = from + 16; i < to; i += 16)
            most = v16_max(most, v16_load(x + i));
        if (v16_largest(most) > x[best]) {
            for (at = from; !(x[at] > x[best]); at++)
                ;
            for (best = at++; at < to; at++)
                best = x[at] > x[best] ? at : best;
        }
    }
    for (size_t i = whole; i < count; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}
