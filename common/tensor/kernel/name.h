/* name.h - KERNEL(x) is this kernel set's x. */
#ifndef RLHF_TENSOR_KERNEL_NAME_H
#define RLHF_TENSOR_KERNEL_NAME_H

#if defined(RLHF_KERNELS_AVX512)
#define KERNEL(x) rlhf_avx512_##x
#define KERNEL_SET "avx512"
#elif defined(RLHF_KERNELS_AVX2)
#define KERNEL(x) rlhf_avx2_##x
#define KERNEL_SET "avx2"
#else
#define KERNEL(x) rlhf_generic_##x
#define KERNEL_SET "generic"
#endif

#endif
