/* machine.c - which kernels this process runs. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/blas.h"
#include "tensor/kernels.h"

static _Atomic(const struct rlhf_kernels *) chosen;
static char profile[400];

/* Best first. */
static const struct rlhf_kernels *const sets[] = {
#if defined(__x86_64__)
    &rlhf_avx512_table,
    &rlhf_avx2_table,
#endif
    &rlhf_generic_table,
};
enum { SETS = sizeof sets / sizeof sets[0] };

static bool runs_here(const struct rlhf_kernels *k)
{
#if defined(__x86_64__)
    __builtin_cpu_init(); /* knows whether the system saves the wide registers, too */
    if (k == &rlhf_avx512_table)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
               && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
               && __builtin_cpu_supports("fma");
    if (k == &rlhf_avx2_table)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return k == &rlhf_generic_table;
}

bool rlhf_kernels_choose(const char *name)
{
    for (size_t i = 0; i < SETS; i++)
        if (strcmp(sets[i]->set, name) == 0 && runs_here(sets[i])) {
            atomic_store(&chosen, sets[i]);
            return true;
        }
    return false;
}

const struct rlhf_kernels *rlhf_kernels(void)
{
    const struct rlhf_kernels *k = atomic_load_explicit(&chosen, memory_order_acquire);

    for (size_t i = 0; !k; i++)
        if (runs_here(sets[i]))
            atomic_store(&chosen, k = sets[i]);
    return k;
}

int rlhf_tensor_start(struct rlhf_error *err)
{
    const char *wish = getenv("RLHF_ISA");

    if (profile[0])
        return 0;
    if (wish && *wish && !rlhf_kernels_choose(wish))
        return rlhf_fail(err, RLHF_FATAL, "RLHF_ISA=%s: this processor cannot run that kernel set or there is none of "
                         "that name; unset it, or use generic, avx2 or avx512", wish);
    if (rlhf_blas_load(err) < 0)
        return -1;
    snprintf(profile, sizeof profile, "kernels=%s core=%s wanted=%s (%s)", rlhf_kernels()->set, rlhf_blas.loaded,
             rlhf_blas.wanted ? rlhf_blas.wanted : "any", rlhf_blas.config);
    return 0;
}

const char *rlhf_tensor_profile(void)
{
    return profile[0] ? profile : "kernels=not-started";
}
