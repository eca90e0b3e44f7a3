/* set.h - this kernel set's functions, as kernels.h describes them. */
#ifndef RLHF_TENSOR_KERNEL_SET_H
#define RLHF_TENSOR_KERNEL_SET_H

#include "tensor/kernel/name.h"
#include "tensor/kernels.h"

void KERNEL(product)(const struct rlhf_product *p, bool by_columns, size_t m, size_t cols, size_t k);
void KERNEL(pack)(const float *w, size_t n, size_t k, bool transposed, size_t panel, float *out);
void KERNEL(layernorm)(const float *x, const float *gain, const float *shift, float epsilon, size_t t, size_t c, float *y,
                       float *mean, float *rstd);
void KERNEL(layernorm_backward)(const float *dy, const float *x, const float *gain, const float *mean, const float *rstd,
                                size_t t, size_t c, float *dx);
void KERNEL(norm_backward_gain)(const float *dy, const float *x, const float *mean, const float *rstd, size_t t, size_t c,
                                size_t from, size_t to, float *d_gain, float *d_shift);
void KERNEL(rmsnorm)(const float *x, const float *gain, float epsilon, size_t t, size_t c, float *y, float *rstd);
void KERNEL(rmsnorm_backward)(const float *dy, const float *x, const float *gain, const float *rstd, size_t t, size_t c,
                              float *dx);
void KERNEL(gelu)(const float *x, size_t count, float *y);
void KERNEL(gelu_backward)(const float *dy, const float *x, size_t count, float *dx);
void KERNEL(swiglu)(const float *gate_up, size_t t, size_t m, float *y);
void KERNEL(swiglu_backward)(const float *dy, const float *gate_up, size_t t, size_t m, float *d_gate_up);
void KERNEL(add)(const float *x, size_t count, float *y);
void KERNEL(column_sums)(const float *x, size_t x_stride, size_t t, size_t from, size_t to, float *sum);
void KERNEL(rope)(float *x, size_t stride, size_t heads, size_t d, const uint32_t *position, size_t t, const float *cos_sin,
                  bool backward);
void KERNEL(attention)(const struct rlhf_attention_rows *a);
void KERNEL(attention_backward)(const struct rlhf_attention_rows_backward *a);
void KERNEL(vocab_chunk)(const float *logits, size_t count, float scale, float *m, float *s, float *t);
void KERNEL(vocab_join)(const float *m, const float *s, const float *t, size_t chunks, float *max, float *log_sum,
                        float *entropy);
void KERNEL(vocab_gradient)(float *logits, size_t count, float scale, float lse, float entropy, size_t target,
                            float d_logprob, float d_entropy);
void KERNEL(adamw)(const struct rlhf_adamw *a, float grad_scale, bool decay, const float *grad, float *m, float *v,
                   float *param, size_t count);
double KERNEL(sum_squares)(const float *x, size_t count);

extern const struct rlhf_kernels KERNEL(kernels);

#endif
