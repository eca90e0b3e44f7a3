/* name.h - KERNEL(x) is this kernel set's x; KERNEL_ROWS the rows of its tallest micro-kernel. Sets that differ in what
 * concerns bfloat16 alone borrow the rest of a table: ROUNDING(x) is this set's x where it rounds, TILES_ROUNDED its
 * micro-kernel of rounded operands. */
#ifndef RLHF_TENSOR_KERNEL_NAME_H
#define RLHF_TENSOR_KERNEL_NAME_H

#if defined(RLHF_KERNELS_AMX)
#define KERNEL(x) rlhf_avx512_##x
#define ROUNDING(x) rlhf_amx_##x
#define TILES_ROUNDED rlhf_amx_tiles_rounded
#define KERNEL_SET "amx"
#define KERNEL_ROWS 14
#elif defined(RLHF_KERNELS_AVX512_BF16)
#define KERNEL(x) rlhf_avx512_##x
#define ROUNDING(x) rlhf_avx512_bf16_##x
#define KERNEL_SET "avx512_bf16"
#define KERNEL_ROWS 14
#elif defined(RLHF_KERNELS_AVX512)
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

#ifndef ROUNDING
#define ROUNDING(x) KERNEL(x)
#endif
#ifndef TILES_ROUNDED
#define TILES_ROUNDED KERNEL(tiles_rounded)
#endif

#endif
