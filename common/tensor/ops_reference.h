/* ops_reference.h - the plain twin of every operation in ops.h, in double, one loop a formula.
 *
 * Nothing here is fast, blocked or threaded: it is what the fast kernels are compared with, and what finite
 * differences are taken of. Arguments are those of ops.h with the weight as [n, k] (or [k, n]) in place of
 * its packed form and without the pool. Gradients are added to or overwritten as in ops.h. */
#ifndef RLHF_TENSOR_OPS_REFERENCE_H
#define RLHF_TENSOR_OPS_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/ops.h"

void rlhf_reference_linear(const double *w, const double *x, size_t x_stride, size_t m, size_t n, size_t k,
                           bool transposed, const double *bias, bool accumulate, double *y, size_t y_stride);
/* Of operands rounded to bfloat16, in float and in the order that ops.h tells of RLHF_PRODUCTS_BF16: the bits of rlhf_linear(). */
void rlhf_reference_linear_rounded(const float *w, const float *x, size_t x_stride, size_t m, size_t n, size_t k,
                                   bool transposed, const float *bias, bool accumulate, float *y, size_t y_stride);
void rlhf_reference_linear_backward_weight(const double *dy, size_t dy_stride, const double *x,
                                           size_t x_stride, size_t m, size_t n, size_t k, bool transposed,
                                           double *dw, double *db);

void rlhf_reference_embed(const double *table, const int32_t *token, const double *position_table,
                          const uint32_t *position, size_t t, size_t c, double *y);
void rlhf_reference_embed_backward(const double *dy, const int32_t *token, const uint32_t *position, size_t t,
                                   size_t c, double *d_table, double *d_position_table);
void rlhf_reference_layernorm(const double *x, const double *gain, const double *shift, double epsilon,
                              size_t t, size_t c, double *y, double *mean, double *rstd);
void rlhf_reference_layernorm_backward(const double *dy, const double *x, const double *gain,
                                       const double *mean, const double *rstd, size_t t, size_t c, double *dx,
                                       double *d_gain, double *d_shift);
void rlhf_reference_rmsnorm(const double *x, const double *gain, double offset, double epsilon, size_t t, size_t c,
                            double *y, double *rstd);
void rlhf_reference_rmsnorm_backward(const double *dy, const double *x, const double *gain, double offset,
                                     const double *rstd, size_t t, size_t c, double *dx, double *d_gain);
void rlhf_reference_head_norm(const double *x, size_t x_stride, const double *gain, double offset, double epsilon,
                              size_t t, size_t heads, size_t d, double *y, size_t y_stride, double *rstd);
void rlhf_reference_head_norm_backward(const double *x, size_t x_stride, const double *gain, double offset,
                                       const double *rstd, size_t t, size_t heads, size_t d, double *dy,
                                       size_t dy_stride, double *d_gain);
void rlhf_reference_activate(enum rlhf_activation f, const double *x, size_t count, double *y);
void rlhf_reference_activate_backward(enum rlhf_activation f, const double *dy, const double *x, size_t count,
                                      double *dx);
void rlhf_reference_gate(enum rlhf_activation f, const double *gate_up, size_t t, size_t m, double *y);
void rlhf_reference_gate_backward(enum rlhf_activation f, const double *dy, const double *gate_up, size_t t, size_t m,
                                  double *d_gate_up);
void rlhf_reference_soft_cap(double *x, size_t count, double cap);
void rlhf_reference_rope_table(double theta, const struct rlhf_rope_scaling *scaling, size_t length, size_t context,
                               size_t d, double *cos_sin);
void rlhf_reference_rope(double *x, size_t stride, size_t heads, size_t head_stride, size_t turning,
                         const uint32_t *position, size_t t, const double *cos_sin, bool backward);

void rlhf_reference_attention(const struct rlhf_attention_shape *s, const double *qkv, double *out,
                              double *lse);
void rlhf_reference_attention_backward(const struct rlhf_attention_shape *s, const double *d_out,
                                       const double *qkv, const double *out, const double *lse,
                                       double *d_qkv);

/* w is [v, c]. */
void rlhf_reference_vocab_logprobs(const double *w, const double *hidden, const int32_t *target, size_t n,
                                   size_t v, size_t c, double cap, double temperature,
                                   double *logprob, double *entropy,
                                   double *lse);
void rlhf_reference_vocab_logprobs_backward(const double *w, const double *hidden, const int32_t *target,
                                            size_t n, size_t v, size_t c, double cap, double temperature,
                                            const double *lse, const double *entropy, const double *d_logprob,
                                            const double *d_entropy, double *d_hidden, double *d_w);

void rlhf_reference_adamw_step(const struct rlhf_adamw *a, double grad_scale, bool decay, const double *grad,
                               double *m, double *v, double *param, size_t count);

#endif
