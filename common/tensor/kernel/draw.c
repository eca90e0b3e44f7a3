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

double KERNEL(sum)(const float *x, size_t count)
{
    double lanes[16] = { 0 }, rest = 0;
    size_t i = 0;

    for (; i + 16 <= count; i += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] += (double)x[i + l];
    for (; i < count; i++)
        rest += (double)x[i];
    for (size_t width = 8; width > 0; width /= 2)
        for (size_t l = 0; l < width; l++)
            lanes[l] += lanes[l + width];
    return lanes[0] + rest;
}
