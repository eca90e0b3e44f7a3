#include "tensor/blas.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

struct rlhf_blas rlhf_blas;

const char *rlhf_blas_core_type(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
                  && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");

    if (avx512 && __builtin_cpu_supports("avx512bf16"))
        return "Cooperlake"; /* Debian's build has no SapphireRapids; asked for that, it runs these too */
    if (avx512)
        return "SkylakeX";
    if (avx2)
        return __builtin_cpu_is("amd") ? "Zen" : "Haswell";
#endif
    return NULL;
}

int rlhf_blas_load(struct rlhf_error *err)
{
    struct rlhf_blas b = { .wanted = getenv("OPENBLAS_CORETYPE") };
    void *library;
    union {
        void *symbol;
        char *(*text)(void);
        int (*number)(void);
        __typeof__(b.sgemm) sgemm;
    } corename, config, threads, sgemm;

    if (!b.wanted && (b.wanted = rlhf_blas_core_type()))
        setenv("OPENBLAS_CORETYPE", b.wanted, 1);
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    if (!(library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL)))
        return rlhf_fail(err, RLHF_FATAL, "cannot load OpenBLAS: %s; install libopenblas0-pthread", dlerror());
    corename.symbol = dlsym(library, "openblas_get_corename");
    config.symbol = dlsym(library, "openblas_get_config");
    threads.symbol = dlsym(library, "openblas_get_num_threads");
    sgemm.symbol = dlsym(library, "cblas_sgemm");
    if (!corename.symbol || !config.symbol || !threads.symbol || !sgemm.symbol)
        return rlhf_fail(err, RLHF_FATAL, "libopenblas.so.0 is not OpenBLAS: it lacks one of cblas_sgemm, "
                         "openblas_get_corename, openblas_get_config, openblas_get_num_threads; install "
                         "libopenblas0-pthread");
    if (threads.number() != 1)
        return rlhf_fail(err, RLHF_FATAL, "OpenBLAS wants %d threads a call although OPENBLAS_NUM_THREADS is 1 (an "
                         "OpenMP build?); install libopenblas0-pthread", threads.number());
    b.sgemm = sgemm.sgemm;
    b.loaded = corename.text();
    b.config = config.text();
    rlhf_blas = b;
    return 0;
}
