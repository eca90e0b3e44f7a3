/* table.c - this kernel set as a table. */
#include "tensor/kernel/table.h"

#define ROW(name) .name = KERNEL(name)

const struct rlhf_kernels ROUNDING(table) = {
    .set = KERNEL_SET,
    .rows_a_tile = KERNEL_ROWS,
    ROW(tiles),
    ROW(tiles_columns),
    ROW(tiles_halves),
    .tiles_rounded = TILES_ROUNDED,
    .round_rows = ROUNDING(round_rows),
    .round_columns = ROUNDING(round_columns),
#if defined(RLHF_KERNELS_AMX)
    .tiles_parts = rlhf_amx_tiles_parts,
    .part_rows = rlhf_amx_part_rows,
    .part_columns = rlhf_amx_part_columns,
#endif
    ROW(transpose_panel),
    ROW(widen_bf16),
    ROW(widen_f16),
    ROW(all_finite),
    ROW(round_halves),
    ROW(halve),
    ROW(layernorm),
    ROW(layernorm_backward),
    ROW(rmsnorm),
    ROW(rmsnorm_backward),
    ROW(activate),
    ROW(activate_backward),
    ROW(gate),
    ROW(gate_backward),
    ROW(scale),
    ROW(soft_cap),
    ROW(add),
    ROW(rope),
    ROW(column_sums),
    ROW(attention),
    ROW(attention_backward),
    ROW(vocab_chunk),
    ROW(vocab_join),
    ROW(vocab_gradient),
    ROW(vocab_weights),
    ROW(largest),
    ROW(adamw),
    ROW(sum_squares),
};
