/* machine.c - which kernels this process runs. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/amx.h"
#include "tensor/blas.h"
#include "tensor/kernels.h"

static _Atomic(const struct rlhf_kernels *) chosen;
static char profile[500];

/* Best first. */
static const struct rlhf_kernels *const sets[] = {
#if defined(__x86_64__)
    &rlhf_amx_table,
    &rlhf_avx512_bf16_table,
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
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
                  && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
                  && __builtin_cpu_supports("fma");

    if (k == &rlhf_amx_table)
        return avx512 && __builtin_cpu_supports("avx512bf16") && rlhf_amx_announced() && !rlhf_amx_refused();
    if (k == &rlhf_avx512_bf16_table)
        return avx512 && __builtin_cpu_supports("avx512bf16");
    if (k == &rlhf_avx512_table)
        return avx512;
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

#if defined(__x86_64__)
/* Why a processor that has matrix tiles does not use them; "" when it does, or has none. */
static const char *amx_refused(void)
{
    const char *refusal = rlhf_amx_announced() ? rlhf_amx_refused() : NULL;

    return refusal ? refusal : "";
}

static void leave_tiles_that_do_not_pay(void)
{
    if (rlhf_kernels() == &rlhf_amx_table && !rlhf_amx_pays())
        rlhf_kernels_choose(rlhf_avx512_bf16_table.set);
}
#else
static const char *amx_refused(void) { return ""; }
static void leave_tiles_that_do_not_pay(void) { }
#endif

int rlhf_tensor_start(struct rlhf_error *err)
{
    const char *wish = getenv("RLHF_ISA");

    if (profile[0])
        return 0;
    if (wish && *wish && !rlhf_kernels_choose(wish))
        return rlhf_fail(err, RLHF_FATAL, "RLHF_ISA=%s: this processor cannot run that kernel set or there is none of "
                         "that name%s%s; unset it, or use generic, avx2, avx512, avx512_bf16 or amx", wish,
                         *amx_refused() ? ", and matrix tiles are not used here: " : "", amx_refused());
    if (rlhf_blas_load(err) < 0)
        return -1;
    if (!wish || !*wish)
        leave_tiles_that_do_not_pay();
    snprintf(profile, sizeof profile, "kernels=%s%s%s%s core=%s wanted=%s (%s)", rlhf_kernels()->set,
             *amx_refused() ? " (no matrix tiles: " : "", amx_refused(), *amx_refused() ? ")" : "", rlhf_blas.loaded,
             rlhf_blas.wanted ? rlhf_blas.wanted : "any", rlhf_blas.config);
    return 0;
}

const char *rlhf_tensor_profile(void)
{
    return profile[0] ? profile : "kernels=not-started";
}
