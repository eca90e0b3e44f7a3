#include "model/save.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "model/internal.h"

enum { CHUNK = 1 << 20 /* elements converted at once */, CARRIED = 256 << 20 /* bytes of a carried file, at most */ };

enum rlhf_number rlhf_model_number(const struct rlhf_model *m, size_t tensor)
{
    const struct rlhf_source *s = rlhf_model_source(m);

    return s ? s->number[tensor] : RLHF_NUMBER_F32;
}

static const struct {
    const char *name, *torch;
    enum rlhf_dtype dtype;
} numbers[] = {
    [RLHF_NUMBER_F32] = { "F32", "float32", RLHF_DTYPE_F32 },
    [RLHF_NUMBER_BF16] = { "BF16", "bfloat16", RLHF_DTYPE_BF16 },
    [RLHF_NUMBER_F16] = { "F16", "float16", RLHF_DTYPE_F16 },
};

const char *rlhf_number_name(enum rlhf_number n)
{
    return numbers[n].name;
}

static enum rlhf_number wanted(const struct rlhf_model *m, const struct rlhf_save *how, size_t tensor)
{
    return how->as_stored ? rlhf_model_number(m, tensor) : how->number;
}

/* ---- config.json ------------------------------------------------------------------------------------ */

/* rlhf_model_config_write() says float32, as the block is. */
static int write_config(const struct rlhf_model *m, const char *dir, const struct rlhf_save *how, struct rlhf_error *err)
{
    static const char says[] = "\"torch_dtype\": \"float32\"";
    struct rlhf_bytes plain = { 0 }, text = { 0 };
    char path[PATH_MAX];
    const char *at;
    int rc = -1;

    if (rlhf_path(path, sizeof path, dir, "config.json", err) == 0
        && rlhf_model_config_write(&m->config, m->bias, &plain, err) == 0) {
        at = strstr(plain.data, says);
        RLHF_ASSERT(at);
        if (rlhf_bytes_append(&text, plain.data, (size_t)(at - plain.data), err) == 0
            && rlhf_bytes_printf(&text, err, "\"torch_dtype\": \"%s\"%s", numbers[wanted(m, how, 0)].torch,
                                 at + sizeof says - 1) == 0)
            rc = rlhf_write_new(&rlhf_system_io, path, text.data, text.size, err);
    }
    rlhf_bytes_free(&plain);
    rlhf_bytes_free(&text);
    return rc;
}

/* ---- tensors ---------------------------------------------------------------------------------------- */

/* A file of the tensors from .. to - 1 of the table. */
struct part {
    size_t from, to;
    char name[64];
};

struct saving {
    const struct rlhf_model *m;
    const char *dir;
    const struct rlhf_save *how;
    struct rlhf_safetensor *list; /* [tensors] as they will be; without data */
    struct part *parts;
    size_t count;  /* of parts */
    float *floats; /* [CHUNK] */
    uint8_t *out;  /* [4 CHUNK] */
};

static int list_tensors(struct saving *s, struct rlhf_error *err)
{
    const struct rlhf_model *m = s->m;
    size_t bytes = 0;

    s->list = calloc(m->tensors, sizeof *s->list);
    s->parts = calloc(m->tensors, sizeof *s->parts);
    s->floats = rlhf_aligned_new(CHUNK, sizeof *s->floats, NULL);
    s->out = malloc(CHUNK * sizeof *s->floats);
    if (!s->list || !s->parts || !s->floats || !s->out)
        return rlhf_fail(err, RLHF_FULL, "no memory to write a model of %zu tensors", m->tensors);
    for (size_t i = 0; i < m->tensors; i++) {
        const struct rlhf_parameter *p = &m->table[i];
        enum rlhf_number n = wanted(m, s->how, i);
        struct rlhf_safetensor t = { .name = rlhf_model_file_name(&m->config, p->name),
                                     .dtype = numbers[n].dtype, .dims = p->dims,
                                     .shape = { p->shape[0], p->shape[1] }, .size = p->count * rlhf_number_size(n) };

        s->list[i] = t;
        if (i == 0 || (s->how->shard_size && bytes + t.size > s->how->shard_size)) {
            s->parts[s->count++].from = i;
            bytes = 0;
        }
        s->parts[s->count - 1].to = i + 1;
        bytes += t.size;
    }
    for (size_t i = 0; i < s->count; i++)
        if (s->count == 1)
            snprintf(s->parts[i].name, sizeof s->parts[i].name, "model.safetensors");
        else
            snprintf(s->parts[i].name, sizeof s->parts[i].name, "model-%05zu-of-%05zu.safetensors", i + 1, s->count);
    return 0;
}

static int put(int fd, const char *path, const void *data, size_t size, off_t *at, struct rlhf_error *err)
{
    if (rlhf_pwrite(&rlhf_system_io, fd, data, size, *at) < 0)
        return rlhf_fail_errno(err, errno, "cannot write %s", path);
    *at += (off_t)size;
    return 0;
}

static int put_tensor(struct saving *s, size_t tensor, int fd, const char *path, off_t *at, struct rlhf_error *err)
{
    const struct rlhf_parameter *p = &s->m->table[tensor];
    const struct rlhf_source *source = rlhf_model_source(s->m);
    enum rlhf_number n = wanted(s->m, s->how, tensor);

    for (size_t from = 0, count, fits; from < p->count; from += count) {
        count = p->count - from < CHUNK ? p->count - from : CHUNK;
        rlhf_model_values(s->m, tensor, from, count, s->floats);
        if ((fits = rlhf_narrow(n, s->floats, count, s->out)) < count)
            return rlhf_fail(err, RLHF_FATAL, "%s: element %zu is %g, %s", p->name, from + fits,
                             (double)s->floats[fits], rlhf_weights_finite(s->floats + fits, 1)
                             ? n == RLHF_NUMBER_F16 ? "too large for F16" : "too large for BF16" : "no weight");
        if (put(fd, path, s->out, count * rlhf_number_size(n), at, err) < 0)
            return -1;
    }
    if (source && source->of[tensor])
        rlhf_checkpoint_release(&source->files, source->of[tensor]);
    return 0;
}

static int write_part(struct saving *s, const struct part *p, struct rlhf_error *err)
{
    struct rlhf_bytes header = { 0 };
    char path[PATH_MAX];
    off_t at = 0;
    int rc, fd;

    if (rlhf_path(path, sizeof path, s->dir, p->name, err) < 0
        || (fd = rlhf_open(&rlhf_system_io, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644, err)) < 0)
        return -1;
    rc = rlhf_safetensors_header(s->list + p->from, p->to - p->from, &header, err);
    if (rc == 0)
        rc = put(fd, path, header.data, header.size, &at, err);
    for (size_t i = p->from; rc == 0 && i < p->to; i++)
        rc = put_tensor(s, i, fd, path, &at, err);
    if (rc == 0)
        rc = rlhf_fsync(&rlhf_system_io, fd, path, err);
    if (rlhf_system_io.close(&rlhf_system_io, fd) < 0 && rc == 0)
        rc = rlhf_fail_errno(err, errno, "cannot write %s", path);
    rlhf_bytes_free(&header);
    return rc;
}

static int write_index(const struct saving *s, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    char path[PATH_MAX];
    size_t total = 0;
    int rc;

    for (size_t i = 0; i < s->m->tensors; i++)
        total += s->list[i].size;
    rc = rlhf_bytes_printf(&text, err, "{\n  \"metadata\": {\n    \"total_parameters\": %zu,\n    \"total_size\": %zu\n  },\n"
                           "  \"weight_map\": {", s->m->count, total);
    for (size_t i = 0; i < s->count; i++)
        for (size_t j = s->parts[i].from; rc == 0 && j < s->parts[i].to; j++)
            rc = rlhf_bytes_printf(&text, err, "%s\n    \"%s\": \"%s\"", j ? "," : "", s->list[j].name, s->parts[i].name);
    if (rc == 0 && (rc = rlhf_bytes_printf(&text, err, "\n  }\n}\n")) == 0
        && (rc = rlhf_path(path, sizeof path, s->dir, "model.safetensors.index.json", err)) == 0)
        rc = rlhf_write_new(&rlhf_system_io, path, text.data, text.size, err);
    rlhf_bytes_free(&text);
    return rc;
}

/* ---- what comes along ------------------------------------------------------------------------------- */

static int carry(const char *from, const char *to, struct rlhf_error *err)
{
    static const char *const names[] = {
        "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
        "chat_template.jinja", "chat_template.json", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE",
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct rlhf_bytes bytes = { 0 };
        char source[PATH_MAX], target[PATH_MAX];
        int rc;

        if (rlhf_path(source, sizeof source, from, names[i], err) < 0
            || rlhf_path(target, sizeof target, to, names[i], err) < 0)
            return -1;
        if (!rlhf_exists(&rlhf_system_io, source))
            continue;
        rc = rlhf_read_file(&rlhf_system_io, source, CARRIED, &bytes, err);
        if (rc == 0)
            rc = rlhf_write_new(&rlhf_system_io, target, bytes.data, bytes.size, err);
        rlhf_bytes_free(&bytes);
        if (rc < 0)
            return -1;
    }
    return 0;
}

int rlhf_model_save(const struct rlhf_model *m, const char *dir, const struct rlhf_save *how, struct rlhf_error *err)
{
    struct saving s = { .m = m, .dir = dir, .how = how };
    int rc = list_tensors(&s, err);

    for (size_t i = 0; rc == 0 && i < s.count; i++)
        rc = write_part(&s, &s.parts[i], err);
    if (rc == 0 && s.count > 1)
        rc = write_index(&s, err);
    if (rc == 0)
        rc = write_config(m, dir, how, err);
    if (rc == 0 && how->carry)
        rc = carry(how->carry, dir, err);
    free(s.list);
    free(s.parts);
    free(s.floats);
    free(s.out);
    return rc;
}
