#include "tensor/amx.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tensor/kernels.h"

/* Of arch_prctl(2), and the number of the tiles' state: see the kernel's Documentation/arch/x86/xstate.rst. */
enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

enum { ROWS = 48, COLS = 160, STEPS = 128 }; /* of the products tried: complete tiles and others */

struct trial {
    float x[ROWS / 16 * STEPS * 8], w[COLS / 16 * STEPS * 8], y[ROWS * COLS];
};

bool rlhf_amx_announced(void)
{
    enum { BF16 = 1 << 22, TILES = 1 << 24 };
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & BF16) && (d & TILES);
}

static bool permitted(void)
{
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Words of bfloat16 of all sizes between 2^-63 and 2^64, from a generator of Marsaglia's. */
static void fill(float *words, size_t count, uint32_t *state)
{
    for (size_t i = 0; i < count; i++) {
        *state ^= *state << 13, *state ^= *state >> 17, *state ^= *state << 5;
        uint32_t word = (*state & 0xbfffbfffu) + 0x20002000u;
        memcpy(words + i, &word, sizeof word);
    }
}

static void try_product(struct trial *t, const struct rlhf_kernels *kernels, size_t rows, size_t cols)
{
    struct rlhf_operands o = { .a = t->x, .a_stride = STEPS * 8, .b = t->w, .panel_size = STEPS * 8, .y = t->y,
                               .y_stride = COLS };

    kernels->tiles_rounded(&o, rows, cols, STEPS);
}

/* In the child, which may be killed at any instruction. */
static int same_bits(void)
{
    static struct trial tiles, fmas; /* copies of the parent's, of zeros */
    uint32_t state = 2463534242u;

    fill(tiles.x, sizeof tiles.x / sizeof *tiles.x, &state);
    fill(tiles.w, sizeof tiles.w / sizeof *tiles.w, &state);
    fmas = tiles;
    try_product(&tiles, &rlhf_amx_table, ROWS - 3, COLS - 5);
    try_product(&fmas, &rlhf_avx512_table, ROWS - 3, COLS - 5);
    return memcmp(tiles.y, fmas.y, sizeof tiles.y) == 0;
}

enum { WORKS, DENIED, DIFFERS };

static _Noreturn void child(void)
{
    static const int deadly[] = { SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGSYS, SIGTRAP };
    const struct rlimit no_core = { 0 };

    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
        signal(deadly[i], SIG_DFL);
    setrlimit(RLIMIT_CORE, &no_core);
    _exit(!permitted() ? DENIED : same_bits() ? WORKS : DIFFERS);
}

static const char *refusal;

static void look(void)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        child();
    refusal = "no process to try them in";
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return;
    if (WIFSIGNALED(status))
        refusal = "a process that used them was killed";
    else if (WEXITSTATUS(status) == DENIED)
        refusal = "the system does not permit them";
    else if (WEXITSTATUS(status) != WORKS)
        refusal = "they round in another order";
    else
        refusal = permitted() ? NULL : "the system does not permit them here";
}

const char *rlhf_amx_refused(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, look);
    return refusal;
}

static int64_t best_time(struct trial *t, const struct rlhf_kernels *kernels)
{
    int64_t best = INT64_MAX;

    for (int round = 0; round < 5; round++) {
        int64_t begin = rlhf_now(&rlhf_system_clock), took;

        for (int i = 0; i < 8; i++)
            try_product(t, kernels, ROWS, COLS);
        took = rlhf_now(&rlhf_system_clock) - begin;
        best = took < best ? took : best;
    }
    return best;
}

bool rlhf_amx_pays(void)
{
    static struct trial t; /* zeros */

    return best_time(&t, &rlhf_amx_table) < best_time(&t, &rlhf_avx512_table);
}

#endif
