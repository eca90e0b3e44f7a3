/* blas.h - OpenBLAS, loaded at run time with the core type that this processor deserves. Private to the room. */
#ifndef RLHF_TENSOR_BLAS_H
#define RLHF_TENSOR_BLAS_H

#include <stdbool.h>

#include "base/error.h"

/* cblas_sgemm, row-major. NULL members until rlhf_blas_load(). */
struct rlhf_blas {
    void (*sgemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                  const float *b, int ldb, float beta, float *c, int ldc);
    const char *wanted; /* core type, or NULL when OpenBLAS is left to choose */
    const char *loaded; /* what openblas_get_corename() says                  */
    const char *config; /* version and build options                          */
};
extern struct rlhf_blas rlhf_blas;

enum { RLHF_BLAS_ROW_MAJOR = 101, RLHF_BLAS_PLAIN = 111, RLHF_BLAS_TRANSPOSED = 112 };

/* The core type that cpuid asks for. OpenBLAS 0.3.21 does not know newer processors and then runs kernels of 2004,
 * at a fifth of the speed (reliability.md section 6). NULL on processors that it tells apart well enough. */
const char *rlhf_blas_core_type(void);
/* Sets OPENBLAS_CORETYPE (unless it is set already) and OPENBLAS_NUM_THREADS, then loads the library: RLHF_FATAL
 * when there is none or it cannot be held to one thread a call. */
int rlhf_blas_load(struct rlhf_error *err);

#endif
