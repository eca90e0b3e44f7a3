/* panel.h - where a weight lies among panels, for whoever keeps them elsewhere than in memory of this process. */
#ifndef RLHF_TENSOR_PANEL_H
#define RLHF_TENSOR_PANEL_H

#include <stdbool.h>
#include <stddef.h>

/* Columns of a panel: [panel][k][16] floats, or with halves [panel][k/2][16] words of two bfloat16, the even step of k in the
 * low half, zeros up to a multiple of 32 steps. The same for all kernel sets. */
enum { RLHF_PANEL_LANES = 16 };

size_t rlhf_panel_count(size_t n);              /* panels of n columns */
size_t rlhf_panel_words(size_t k, bool halves); /* of 4 bytes, of one panel */
/* `count` weights of column n, from step `from` of its k on. */
void rlhf_panel_read(const void *panels, size_t k, bool halves, size_t n, size_t from, size_t count, float *out);

#endif
