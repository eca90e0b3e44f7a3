/* machine.c - which kernels this processor runs, and OpenBLAS with the core type that fits it. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tensor/kernels.h"

extern const struct rlhf_kernels rlhf_generic_kernels;
#if defined(__x86_64__)
extern const struct rlhf_kernels rlhf_avx2_kernels, rlhf_avx512_kernels;
#endif

rlhf_sgemm *rlhf_blas_sgemm;

static _Atomic(const struct rlhf_kernels *) in_use;
static char profile[256] = "not started";

/* ---- kernels --------------------------------------------------------------------------------------- */

const struct rlhf_kernels *rlhf_kernels_named(const char *name)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (strcmp(name, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
                       && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
                   ? &rlhf_avx512_kernels
                   : NULL;
    if (strcmp(name, "avx2") == 0)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &rlhf_avx2_kernels : NULL;
#endif
    return strcmp(name, "generic") == 0 ? &rlhf_generic_kernels : NULL;
}

static const struct rlhf_kernels *best(void)
{
    static const char *const names[] = { "avx512", "avx2", "generic" };
    const char *wish = getenv("RLHF_ISA");
    const struct rlhf_kernels *k = wish ? rlhf_kernels_named(wish) : NULL;

    for (size_t i = 0; !k; i++)
        k = rlhf_kernels_named(names[i]);
    return k;
}

const struct rlhf_kernels *rlhf_kernels(void)
{
    const struct rlhf_kernels *k = atomic_load_explicit(&in_use, memory_order_acquire);

    if (!k) {
        k = best();
        atomic_store_explicit(&in_use, k, memory_order_release);
    }
    return k;
}

void rlhf_kernels_use(const struct rlhf_kernels *k)
{
    atomic_store_explicit(&in_use, k, memory_order_release);
}

/* ---- OpenBLAS -------------------------------------------------------------------------------------- */

/* The core type whose kernels suit this processor, by what it can do rather than by its model: OpenBLAS 0.3.21 falls
 * back to Prescott on models it does not know, a fifth of the speed. NULL: leave the choice to it. */
static const char *core_type(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl"))
        return "SkylakeX"; /* its sgemm is SapphireRapids' too, and the latter's start needs what not all of them have */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return __builtin_cpu_is("amd") ? "Zen" : "Haswell";
#endif
    return NULL;
}

static int load_blas(const char *want, struct rlhf_error *err)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    const char *(*corename)(void), *(*config)(void);
    const char *core;

    if (!library)
        return rlhf_fail(err, RLHF_FATAL, "OpenBLAS cannot be loaded: %s; install libopenblas0-pthread", dlerror());
    *(void **)&rlhf_blas_sgemm = dlsym(library, "cblas_sgemm");
    *(void **)&corename = dlsym(library, "openblas_get_corename");
    *(void **)&config = dlsym(library, "openblas_get_config");
    if (!rlhf_blas_sgemm || !corename || !config)
        return rlhf_fail(err, RLHF_FATAL, "libopenblas.so.0 is not OpenBLAS: cblas_sgemm or openblas_get_corename is missing");
    core = corename();
    snprintf(profile, sizeof profile, "kernels=%s core=%s wanted=%s (%.80s)", rlhf_kernels()->name, core,
             want ? want : "any", config());
    if (want && strcasecmp(core, want) != 0)
        return rlhf_fail(err, RLHF_FATAL, "OpenBLAS runs its %s kernels where %s was asked for; is OPENBLAS_CORETYPE honoured "
                         "by this build?", core, want);
    return 0;
}

int rlhf_tensor_start(struct rlhf_error *err)
{
    const char *wish = getenv("RLHF_ISA"), *mine = getenv("OPENBLAS_CORETYPE");
    const char *want = mine ? mine : core_type();

    if (rlhf_blas_sgemm)
        return 0;
    if (wish && !rlhf_kernels_named(wish))
        return rlhf_fail(err, RLHF_REJECT, "RLHF_ISA=%s is unknown, or this processor cannot run it; use generic, avx2 or avx512",
                         wish);
    if (want)
        setenv("OPENBLAS_CORETYPE", want, 1);
    setenv("OPENBLAS_NUM_THREADS", "1", 1); /* our pool is the only one */
    setenv("OMP_NUM_THREADS", "1", 1);      /* an OpenMP build listens to this one only */
    return load_blas(want, err);
}

const char *rlhf_tensor_profile(void)
{
    return profile;
}
