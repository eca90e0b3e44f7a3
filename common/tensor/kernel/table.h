/* table.h - declares this kernel set's functions; table.c lists them. */
#ifndef RLHF_TENSOR_KERNEL_TABLE_H
#define RLHF_TENSOR_KERNEL_TABLE_H

#include "tensor/kernel/name.h"
#include "tensor/kernels.h"

void KERNEL(tiles)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k);
void KERNEL(tiles_columns)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k);
void KERNEL(tiles_halves)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k);
void KERNEL(tiles_rounded)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k);
#if defined(RLHF_KERNELS_AMX)
void TILES_ROUNDED(const struct rlhf_operands *o, size_t m, size_t cols, size_t k);
#endif
void ROUNDING(round_rows)(const float *from, size_t stride, size_t rows, size_t cols, float *to);
void ROUNDING(round_columns)(const float *from, size_t stride, size_t rows, size_t cols, float *to);
void KERNEL(widen_bf16)(const void *from, size_t count, float *to);
void KERNEL(widen_f16)(const void *from, size_t count, float *to);
bool KERNEL(all_finite)(const float *x, size_t count);
void KERNEL(round_halves)(float *x, size_t count);
bool KERNEL(halve)(const float *from, size_t k, float *to);
void KERNEL(transpose_panel)(const float *from, size_t stride, size_t rows, size_t cols, float *to);
void KERNEL(layernorm)(const float *x, const float *gain, const float *shift, float epsilon, size_t t, size_t c,
                       float *y, float *mean, float *rstd);
void KERNEL(layernorm_backward)(const float *dy, const float *x, const float *gain, const float *mean,
                                const float *rstd, size_t t, size_t c, float *dx, float *d_gain, float *d_shift);
void KERNEL(rmsnorm)(const float *x, const float *gain, float offset, float epsilon, size_t t, size_t c,
                     float *y, float *rstd);
void KERNEL(rmsnorm_backward)(const float *dy, const float *x, const float *gain, float offset, const float *rstd,
                              size_t t, size_t c, float *dx, float *d_gain);
void KERNEL(activate)(enum rlhf_activation f, const float *x, size_t c, float *y);
void KERNEL(activate_backward)(enum rlhf_activation f, const float *dy, const float *x, size_t c, float *y, float *dx);
void KERNEL(gate)(enum rlhf_activation f, const float *gate_up, size_t t, size_t c, float *y);
void KERNEL(gate_backward)(enum rlhf_activation f, const float *dy, const float *gate_up, size_t t, size_t c, float *y,
                           float *d_gate_up);
void KERNEL(scale)(float *x, size_t c, float by);
void KERNEL(soft_cap)(float *x, size_t c, float cap);
void KERNEL(add)(const float *x, size_t c, float *y);
void KERNEL(rope)(float *x, size_t stride, size_t heads, size_t head_stride, size_t turning,
                  const uint32_t *position, size_t t, const float *cos_sin, bool backward);
void KERNEL(column_sums)(const float *x, size_t x_stride, size_t m, size_t c, float *sum);
void KERNEL(attention)(const struct rlhf_attention_task *a);
void KERNEL(attention_shared)(const struct rlhf_attention_task *a, size_t n, size_t shared);
void KERNEL(attention_backward)(const struct rlhf_attention_task *a);
void KERNEL(vocab_chunk)(const float *logits, size_t c, float scale, float mst[3]);
void KERNEL(vocab_join)(const float *mst, size_t chunks, float *most, float *log_sum, float *entropy);
void KERNEL(vocab_gradient)(float *logits, size_t c, float scale, float cap, float lse, float entropy, size_t target,
                            float d_logprob, float d_entropy);
void KERNEL(adamw)(const struct rlhf_adamw_factors *f, float *grad, float *m, float *v, float *param,
                   size_t c);
void KERNEL(vocab_weights)(const float *logits, size_t c, float scale, float most, float *weight);
size_t KERNEL(largest)(const float *x, size_t count);
double KERNEL(sum_squares)(const float *x, size_t count);

#endif
