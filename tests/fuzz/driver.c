/* driver.c - runs a fuzz target where libFuzzer is not at hand: every file of the corpus as it is, then so
 * many mutations of them, the same for the same seed.
 *
 *     fuzz-NAME [-runs=N] [-seed=N] FILE-OR-DIRECTORY...
 *
 * An input that kills the process is in ./crash-NAME, the bytes to replay. Build with the sanitizers. */
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "fuzz.h"

enum { FILES = 256, LONGEST = 1 << 16 };

struct input {
    uint8_t data[LONGEST];
    size_t size;
};

static struct input corpus[FILES], now;
static size_t count;
static char crash_file[300];

static void save_crash(int signal_number)
{
    FILE *f = fopen(crash_file, "wb"); /* the process is lost: try what can be had */

    if (f) {
        fwrite(now.data, 1, now.size, f);
        fclose(f);
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void run_now(void)
{
    uint8_t *exact = malloc(now.size ? now.size : 1); /* so that a read behind the end is seen */

    memcpy(exact, now.data, now.size);
    LLVMFuzzerTestOneInput(exact, now.size);
    free(exact);
}

static void take_file(const char *path)
{
    FILE *f = fopen(path, "rb");

    if (!f || count == FILES) {
        fprintf(stderr, "%s: cannot be read, or is one too many\n", path);
        exit(2);
    }
    corpus[count].size = fread(corpus[count].data, 1, LONGEST, f);
    count++;
    fclose(f);
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static void take(const char *path)
{
    struct dirent **names;
    struct stat st;
    int n;

    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        take_file(path);
        return;
    }
    n = scandir(path, &names, visible, alphasort);
    for (int i = 0; i < n; i++) {
        char file[4096];

        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        take_file(file);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

/* Makes room for, or removes, n bytes at `at`. */
static void insert(size_t at, const void *data, size_t n)
{
    uint8_t copy[64];

    if (n > sizeof copy || now.size + n > LONGEST)
        return;
    memcpy(copy, data, n); /* data may lie in now */
    memmove(now.data + at + n, now.data + at, now.size - at);
    memcpy(now.data + at, copy, n);
    now.size += n;
}

static void cut(size_t at, size_t n)
{
    if (n > now.size - at)
        n = now.size - at;
    memmove(now.data + at, now.data + at + n, now.size - at - n);
    now.size -= n;
}

/* One change: a bit, a byte, a piece gone, doubled or taken from another file, a number made strange. */
static void mutate(struct rlhf_random *random)
{
    static const char *const strange[] = { "-1", "0", "4294967296", "9223372036854775807", "1e999", "null", "[]",
                                           "{}", "\"", "\\u0000", "\xff", "18446744073709551616" };
    size_t at = rlhf_random_below(random, (uint32_t)now.size + 1);
    uint32_t n = 1 + rlhf_random_below(random, 32);

    switch (rlhf_random_below(random, 7)) {
    case 0:
        if (at < now.size)
            now.data[at] ^= (uint8_t)(1u << rlhf_random_below(random, 8));
        break;
    case 1:
        if (at < now.size)
            now.data[at] = (uint8_t)rlhf_random_u32(random);
        break;
    case 2:
        cut(at, n);
        break;
    case 3:
        insert(at, now.data + at, n <= now.size - at ? n : now.size - at);
        break;
    case 4: {
        const struct input *other = &corpus[rlhf_random_below(random, (uint32_t)count)];
        size_t from = rlhf_random_below(random, (uint32_t)other->size + 1);

        insert(at, other->data + from, n <= other->size - from ? n : other->size - from);
        break;
    }
    case 5:
        cut(at, rlhf_random_below(random, 4));
        /* fall through */
    default: {
        const char *word = strange[rlhf_random_below(random, sizeof strange / sizeof strange[0])];

        insert(at, word, strlen(word));
    }
    }
}

int main(int argc, char **argv)
{
    unsigned long runs = 20000, seed = 1;
    const char *name = strrchr(argv[0], '/');

    for (int i = 1; i < argc; i++)
        if (sscanf(argv[i], "-runs=%lu", &runs) != 1 && sscanf(argv[i], "-seed=%lu", &seed) != 1)
            take(argv[i]);
    if (!count)
        count = 1; /* an empty input */
    snprintf(crash_file, sizeof crash_file, "crash-%s", name ? name + 1 : argv[0]);
    signal(SIGABRT, save_crash);
    signal(SIGSEGV, save_crash);
    for (size_t i = 0; i < count; i++) {
        now = corpus[i];
        run_now();
    }
    for (unsigned long i = 0; i < runs; i++) {
        struct rlhf_random random;

        rlhf_random_init(&random, seed, RLHF_PURPOSE_FAULT, (uint32_t)i, 0);
        now = corpus[rlhf_random_below(&random, (uint32_t)count)];
        for (uint32_t changes = 1 + rlhf_random_below(&random, 6); changes > 0; changes--)
            mutate(&random);
        run_now();
    }
    printf("%zu files and %lu mutations of them (seed %lu)\n", count, runs, seed);
    return 0;
}
