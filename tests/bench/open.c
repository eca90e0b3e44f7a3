/* open.c - how soon a checkpoint of some 500 MB is ready, what memory it takes, and how fast it then decodes. One JSON line a case.
 *
 *     bench-open [seconds a case, 1 by default] [case]
 *
 * Cases: open-f32, open-bf16 (the same number of bytes, so twice the parameters), open-f32-as-bf16 (rounded when it is packed),
 * load-f32 (into a block that can be trained). A checkpoint of random weights is made in a temporary folder and read once, so
 * that the disk is not what is measured. ready_ms is rlhf_model_open(), first_ms the first token, packing included;
 * resident_mb is what the process then has (anonymous memory and the files' pages that are mapped, VmRSS), peak_mb VmHWM. Each case is a
 * process of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/memory.h"
#include "model/save.h"

static double seconds_a_case = 1;

static _Noreturn void fail(const struct rlhf_error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static double now(void)
{
    return (double)rlhf_now(&rlhf_system_clock) * 1e-6;
}

/* Llama style: 125 M parameters with 10 layers, 250 M with 23. */
static struct rlhf_model_config shape(enum rlhf_number number)
{
    struct rlhf_model_config c;

    rlhf_model_config_style(&c, "llama", NULL);
    c.layers = number == RLHF_NUMBER_F32 ? 10 : 23;
    c.heads = c.kv_heads = 16;
    c.head_size = 64;
    c.channels = 1024;
    c.mlp_size = 2048;
    c.vocabulary = 20000;
    c.context = 512;
    c.tied = true;
    return c;
}

/* Field of /proc/self/status, in MB. */
static double memory(const char *field)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[200];
    double kb = 0;

    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0)
            kb = atof(line + strlen(field) + 1);
    if (f)
        fclose(f);
    return kb / 1024;
}

static void make(const char *dir, enum rlhf_number number)
{
    const struct rlhf_model_config c = shape(number);
    struct rlhf_error err = { 0 };
    struct rlhf_model *m = rlhf_model_new(&c, 1, &err);

    if (!m || rlhf_make_dirs(&rlhf_system_io, dir, &err) < 0
        || rlhf_model_save(m, dir, &(struct rlhf_save){ .number = number }, &err) < 0)
        fail(&err);
    rlhf_model_free(m);
}

/* What is in the page cache costs no disk. */
static double warm(const char *dir)
{
    struct rlhf_mapping map;
    struct rlhf_error err = { 0 };
    char path[400];
    volatile uint8_t sum = 0;
    double mb;

    if (rlhf_path(path, sizeof path, dir, "model.safetensors", &err) < 0 || rlhf_map_file(&map, path, &err) < 0)
        fail(&err);
    for (size_t i = 0; i < map.size; i += 4096)
        sum = (uint8_t)(sum + map.data[i]);
    mb = (double)map.size / 1e6;
    rlhf_unmap(&map);
    return mb;
}

static void measure(const char *name, const char *dir, bool load, enum rlhf_panels panels)
{
    struct rlhf_error err = { 0 };
    double mb = warm(dir), begin, ready, first, end;
    struct rlhf_extend item = { .tokens = (const int32_t[]){ 1, 2, 3 }, .count = 3 };
    const struct rlhf_model_config *c;
    struct rlhf_model *m;
    struct rlhf_cache *k;
    struct rlhf_pool *pool;
    size_t count = 0;
    float *logits;

    if (rlhf_tensor_start(&err) < 0 || !(pool = rlhf_pool_new(0, &err)))
        fail(&err);
    begin = now();
    m = load ? rlhf_model_load_parallel(dir, pool, &err) : rlhf_model_open(dir, panels, &err);
    if (!m)
        fail(&err);
    ready = now() - begin;
    c = rlhf_model_get_config(m);
    if (!(k = rlhf_cache_new(c, 1, 64, pool, &err)) || !(logits = rlhf_aligned_new(c->vocabulary, sizeof *logits, &err)))
        fail(&err);
    begin = now();
    if (rlhf_cache_extend(k, m, &item, 1, logits, &err) < 0)
        fail(&err);
    first = now() - begin;
    item.count = 1;
    begin = now();
    for (end = begin + seconds_a_case; now() < end; count++) {
        if (rlhf_cache_length(k, 0) == 64)
            rlhf_cache_clear(k, 0);
        if (rlhf_cache_extend(k, m, &item, 1, logits, &err) < 0)
            fail(&err);
    }
    printf("{\"case\":\"%s\",\"file_mb\":%.0f,\"ready_ms\":%.2f,\"first_ms\":%.0f,\"resident_mb\":%.0f,\"anonymous_mb\":%.0f,"
           "\"peak_mb\":%.0f,\"threads\":%u,\"decode\":%.1f,\"unit\":\"tokens/s\"}\n", name, mb, ready * 1e3, first * 1e3,
           memory("VmRSS:"), memory("RssAnon:"), memory("VmHWM:"), rlhf_pool_threads(pool),
           (double)count / (now() - begin));
    fflush(stdout);
    free(logits);
    rlhf_cache_free(k);
    rlhf_model_free(m);
    rlhf_pool_free(pool);
}

static bool in_child(void (*run)(void *ctx), void *ctx)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        run(ctx);
        exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct task {
    const char *name;
    enum rlhf_number number;
    bool load;
    enum rlhf_panels panels;
    char dir[300];
};

static void run_make(void *ctx)
{
    const struct task *t = ctx;

    make(t->dir, t->number);
}

static void run_measure(void *ctx)
{
    const struct task *t = ctx;

    measure(t->name, t->dir, t->load, t->panels);
}

int main(int argc, char **argv)
{
    struct task tasks[] = {
        { "open-f32", RLHF_NUMBER_F32, false, RLHF_PANELS_STORED, "" },
        { "open-f32-as-bf16", RLHF_NUMBER_F32, false, RLHF_PANELS_BF16, "" },
        { "load-f32", RLHF_NUMBER_F32, true, RLHF_PANELS_STORED, "" },
        { "open-bf16", RLHF_NUMBER_BF16, false, RLHF_PANELS_STORED, "" },
    };
    char base[] = "/tmp/rlhf-bench-open-XXXXXX";
    bool made[3] = { false }, good = true;

    if (argc > 1)
        seconds_a_case = atof(argv[1]);
    if (!mkdtemp(base)) {
        perror(base);
        return 1;
    }
    for (size_t i = 0; good && i < sizeof tasks / sizeof tasks[0]; i++) {
        struct task *t = &tasks[i];

        if (argc > 2 && strcmp(argv[2], t->name) != 0)
            continue;
        snprintf(t->dir, sizeof t->dir, "%s/%s", base, rlhf_number_name(t->number));
        good = (made[t->number] || in_child(run_make, t)) && in_child(run_measure, t);
        made[t->number] = true;
    }
    rlhf_remove_tree(&rlhf_system_io, base, NULL);
    return good ? 0 : 1;
}
