/* name.h - KERNEL(x) is this kernel set's x; KERNEL_ROWS the rows of its tallest micro-kernel. */
#ifndef RLHF_TENSOR_KERNEL_NAME_H
#define RLHF_TENSOR_KERNEL_NAME_H

#if defined(RLHF_KERNELS_AVX512)
#define KERNEL(x) rlhf_avx512_##x
#define KERNEL_SET "avx512"
#define KERNEL_ROWS 14
#elif defined(RLHF_KERNELS_AVX2)
#define KERNEL(x) rlhf_avx2_##x
#define KERNEL_SET "avx2"
#define KERNEL_ROWS 6
#else
#define KERNEL(x) rlhf_generic_##x
#define KERNEL_SET "generic"
#if defined(__aarch64__)
#define KERNEL_ROWS 6
#else
#define KERNEL_ROWS 3
#endif
#endif

#endif
