/* train.c - the sequence of stages, the run's directory, the journal. */
#include "learner/train.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "learner/train_parts.h"
#include "telemetry/log.h"
#include "tensor/ops.h"

static const size_t file_limit = (size_t)1 << 36; /* 64 GiB: no file of a run is larger */

/* ---- files ------------------------------------------------------------------------------------------- */

int learner_path(const struct learner_trainer *t, char *out, size_t size, struct rlhf_error *err, const char *fmt, ...)
{
    char below[LEARNER_PATH];
    va_list ap;
    int length;

    va_start(ap, fmt);
    length = vsnprintf(below, sizeof below, fmt, ap);
    va_end(ap);
    if (length < 0 || (size_t)length >= sizeof below)
        return rlhf_fail(err, RLHF_REJECT, "run directory %s: a path below it is too long", t->run->run.dir);
    return rlhf_path(out, size, t->run->run.dir, below, err);
}

int learner_append_json(struct rlhf_bytes *out, const json_t *value, struct rlhf_error *err)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9) | JSON_ENSURE_ASCII);
    int rc;

    if (!text)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a line of JSON");
    rc = rlhf_bytes_append(out, text, strlen(text), err) < 0 || rlhf_bytes_append(out, "\n", 1, err) < 0 ? -1 : 0;
    free(text);
    return rc;
}

int learner_write_json(const struct learner_trainer *t, const char *path, const json_t *value, struct rlhf_error *err)
{
    char *text = json_dumps(value, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    int rc;

    if (!text)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %s", path);
    rc = rlhf_write_file(t->io, path, text, strlen(text), err);
    free(text);
    return rc;
}

json_t *learner_read_lines(const struct learner_trainer *t, const char *path, struct rlhf_error *err)
{
    struct rlhf_bytes bytes = {0};
    json_t *list = json_array();
    char *line, *at;
    size_t number = 0;

    if (rlhf_read_file(t->io, path, file_limit, &bytes, err) < 0) {
        json_decref(list);
        return NULL;
    }
    for (at = bytes.data; at && (line = strsep(&at, "\n"));) {
        json_t *o;
        number++;
        if (!*line)
            continue;
        if (!(o = json_loads(line, 0, NULL)) || json_array_append_new(list, o) < 0) {
            rlhf_fail(err, RLHF_CORRUPT, "%s:%zu: not JSON; remove the file, it is made again", path, number);
            json_decref(list);
            list = NULL;
            break;
        }
    }
    rlhf_bytes_free(&bytes);
    return list;
}

/* ---- journal ----------------------------------------------------------------------------------------- */

/* Every event names its stage; what it says beyond that is in the records' fields. */
static int replay(void *ctx, const void *record, size_t size, struct rlhf_error *err)
{
    struct learner_trainer *t = ctx;
    json_t *o = json_loadb(record, size, 0, NULL);
    const char *event = json_string_value(json_object_get(o, "event"));
    const char *name = json_string_value(json_object_get(o, "stage"));
    int index = name ? rlhf_run_find(t->run, name) : -1;
    struct learner_record *r;

    if (!event || !name) {
        json_decref(o);
        return rlhf_fail(err, RLHF_CORRUPT, "journal of %s: a record has no event or stage", t->run->run.dir);
    }
    if (index < 0) {
        rlhf_log(RLHF_LEVEL_WARNING, "stage-not-in-file stage=%s its results in %s are kept and not used", name,
                 t->run->run.dir);
        json_decref(o);
        return 0;
    }
    r = &t->records[index];
    if (strcmp(event, "started") == 0) {
        r->started = true;
        r->done = false;
        r->iterations = 0;
        snprintf(r->hash, sizeof r->hash, "%s", json_string_value(json_object_get(o, "hash")) ?: "");
        snprintf(r->inputs, sizeof r->inputs, "%s", json_string_value(json_object_get(o, "inputs")) ?: "");
        r->metrics = (uint64_t)json_integer_value(json_object_get(o, "metrics"));
    } else if (strcmp(event, "done") == 0) {
        r->done = true;
        r->steps = (uint64_t)json_integer_value(json_object_get(o, "steps"));
        r->tokens = (uint64_t)json_integer_value(json_object_get(o, "tokens"));
        r->seconds = json_number_value(json_object_get(o, "seconds"));
    } else if (strcmp(event, "iteration") == 0) {
        const char *digest = json_string_value(json_object_get(o, "digest"));
        uint64_t n = (uint64_t)json_integer_value(json_object_get(o, "iteration"));
        struct rlhf_digest *grown = realloc(r->consumed, (r->iterations + 1) * sizeof *grown);
        if (!grown) {
            json_decref(o);
            return rlhf_fail(err, RLHF_FULL, "out of memory for the journal");
        }
        r->consumed = grown;
        if (n == r->iterations && digest && rlhf_digest_parse(&grown[n], digest))
            r->iterations++;
    }
    json_decref(o);
    return 0;
}

int learner_journal(struct learner_work *w, const char *event, json_t *details, struct rlhf_error *err)
{
    json_t *o = json_pack("{s:s, s:s}", "event", event, "stage", w->name);
    char *text = NULL;
    int rc = -1;

    if (o && details)
        json_object_update(o, details);
    json_decref(details);
    if (o && (text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9))))
        rc = rlhf_journal_append(w->t->journal, text, strlen(text), err);
    else
        rlhf_fail(err, RLHF_FULL, "out of memory for the journal");
    free(text);
    json_decref(o);
    return rc;
}

/* ---- metrics ----------------------------------------------------------------------------------------- */

json_t *learner_metrics_new(const struct learner_work *w)
{
    return json_pack("{s:s, s:I}", "stage", w->name, "step", (json_int_t)(w->step + 1));
}

void learner_metric(json_t *metrics, const char *key, double value)
{
    json_object_set_new(metrics, key, json_real(value) ?: json_null());
}

int learner_metrics_write(struct learner_work *w, json_t *metrics, struct rlhf_error *err)
{
    struct learner_trainer *t = w->t;
    struct rlhf_bytes line = {0};
    int rc;

    json_object_set_new(metrics, "tokens", json_integer((json_int_t)w->tokens));
    learner_metric(metrics, "seconds", learner_seconds(w));
    rc = learner_append_json(&line, metrics, err);
    json_decref(metrics);
    for (size_t done = 0; rc == 0 && done < line.size;) {
        ssize_t n = t->io->pwrite(t->io, t->metrics_fd, line.data + done, line.size - done, (off_t)(t->metrics_size + done));
        if (n < 0 && errno == ENOSPC) { /* numbers for screens: the run is worth more */
            rlhf_log(RLHF_LEVEL_WARNING, "metrics-lost path=%s/metrics.jsonl reason=\"disk full\"", t->run->run.dir);
            rlhf_bytes_clear(&line);
            break;
        }
        if (n < 0 && errno != EINTR)
            rc = rlhf_fail(err, RLHF_FATAL, "cannot write %s/metrics.jsonl: %s", t->run->run.dir, strerror(errno));
        done += n > 0 ? (size_t)n : 0;
    }
    if (rc == 0)
        t->metrics_size += line.size;
    rlhf_bytes_free(&line);
    return rc;
}

int learner_metrics_cut(struct learner_trainer *t, uint64_t size, struct rlhf_error *err)
{
    if (size >= t->metrics_size)
        return 0;
    if (t->io->ftruncate(t->io, t->metrics_fd, (off_t)size) < 0)
        return rlhf_fail(err, RLHF_FATAL, "cannot cut %s/metrics.jsonl to %llu bytes: %s", t->run->run.dir,
                         (unsigned long long)size, strerror(errno));
    t->metrics_size = size;
    return 0;
}

static int open_metrics(struct learner_trainer *t, struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    struct stat st;

    if (learner_path(t, path, sizeof path, err, "metrics.jsonl") < 0)
        return -1;
    t->metrics_fd = t->io->open(t->io, path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (t->metrics_fd < 0 || t->io->fstat(t->io, t->metrics_fd, &st) < 0)
        return rlhf_fail(err, RLHF_FATAL, "cannot open %s: %s", path, strerror(errno));
    t->metrics_size = (uint64_t)st.st_size;
    return 0;
}

/* ---- what a stage is made from: detected when it changes --------------------------------------------- */

static int stage_hash(const struct learner_trainer *t, size_t index, char text[RLHF_DIGEST_TEXT], struct rlhf_error *err)
{
    struct rlhf_stage one = *rlhf_run_stage(t->run, index);
    struct rlhf_run part = {.tokenizer = t->run->tokenizer, .model = t->run->model, .stages = {&one, 1}};
    struct rlhf_bytes printed = {0};
    struct rlhf_digest d;

    part.run.name = t->run->run.name;
    part.run.seed = t->run->run.seed;
    if (rlhf_config_print(&rlhf_run_schema, &part, &printed, err) < 0)
        return -1;
    d = rlhf_digest_of(printed.data, printed.size);
    rlhf_digest_text(&d, text);
    rlhf_bytes_free(&printed);
    return 0;
}

static int add_input(struct rlhf_hasher *h, json_t *files, const char *path, struct rlhf_error *err)
{
    struct rlhf_mapping m;
    struct rlhf_digest d;
    char text[RLHF_DIGEST_TEXT];

    if (!path)
        return 0;
    if (rlhf_map_file(&m, path, err) < 0)
        return -1;
    d = rlhf_digest_of(m.data, m.size);
    rlhf_unmap(&m);
    rlhf_digest_text(&d, text);
    rlhf_hasher_add(h, d.bytes, sizeof d.bytes);
    json_object_set_new(files, path, json_string(text));
    return 0;
}

static int add_inputs(struct rlhf_hasher *h, json_t *files, const struct rlhf_config_strings *paths, struct rlhf_error *err)
{
    for (size_t i = 0; i < paths->count; i++)
        if (add_input(h, files, paths->items[i], err) < 0)
            return -1;
    return 0;
}

static int add_named(struct rlhf_hasher *h, json_t *files, const struct rlhf_config_list *list, struct rlhf_error *err)
{
    const struct rlhf_run_file *f = list->items;

    for (size_t i = 0; i < list->count; i++)
        if (add_input(h, files, f[i].file, err) < 0)
            return -1;
    return 0;
}

/* The files that w's stage reads: one digest over them, and each with its own in the provenance. */
static int stage_inputs(struct learner_work *w, char text[RLHF_DIGEST_TEXT], struct rlhf_error *err)
{
    const struct rlhf_stage *s = w->stage;
    struct rlhf_hasher *h = rlhf_hasher_new();
    json_t *files = json_object();
    struct rlhf_digest d;
    int rc = 0;

    if (!h || !files) {
        json_decref(files);
        if (h)
            rlhf_hasher_end(h);
        return rlhf_fail(err, RLHF_FULL, "out of memory for the digests of data files");
    }
    switch (rlhf_stage_kind(s)) {
    case RLHF_STAGE_PRETRAIN:
        rc = add_inputs(h, files, &s->pretrain->data, err);
        break;
    case RLHF_STAGE_SFT:
        rc = add_inputs(h, files, &s->sft->data, err) < 0 || add_inputs(h, files, &s->sft->mix.data, err) < 0 ? -1 : 0;
        break;
    case RLHF_STAGE_COLLECT:
        rc = add_input(h, files, s->collect->prompts, err);
        break;
    case RLHF_STAGE_REWARD:
        rc = add_inputs(h, files, &s->reward->validation, err) < 0 || add_input(h, files, s->reward->zero_mean_on, err) < 0
                 ? -1
                 : 0;
        break;
    case RLHF_STAGE_POLICY:
        rc = add_input(h, files, s->policy->prompts, err) < 0 || add_inputs(h, files, &s->policy->mix.data, err) < 0 ? -1
                                                                                                                     : 0;
        break;
    default:
        rc = add_named(h, files, &s->evaluate->prompts, err) < 0 || add_named(h, files, &s->evaluate->perplexity, err) < 0
                     || add_named(h, files, &s->evaluate->exact, err) < 0
                 ? -1
                 : 0;
    }
    d = rlhf_hasher_end(h);
    rlhf_digest_text(&d, text);
    json_object_set_new(w->provenance, "files", files);
    return rc;
}

/* Where a finished stage's result is; evaluate and collect leave plain files that appear at once. */
static bool makes_checkpoint(const struct rlhf_stage *s)
{
    enum rlhf_stage_kind k = rlhf_stage_kind(s);
    return k != RLHF_STAGE_COLLECT && k != RLHF_STAGE_EVALUATE;
}

/* Stages that are done are checked against the run file and against their manifests. */
static int check_done(struct learner_trainer *t, struct rlhf_error *err)
{
    for (size_t i = 0; i < rlhf_run_stages(t->run); i++) {
        struct learner_record *r = &t->records[i];
        const struct rlhf_stage *s = rlhf_run_stage(t->run, i);
        char hash[RLHF_DIGEST_TEXT], path[LEARNER_PATH];
        struct rlhf_error damage = {0};

        if (!r->started)
            continue;
        if (stage_hash(t, i, hash, err) < 0)
            return -1;
        if (strcmp(hash, r->hash) != 0)
            return rlhf_fail(err, RLHF_REJECT,
                             "stage %s was %s with other settings (its own, the model's, the tokenizer's or the seed); put "
                             "them back, or give the changed run another run.dir",
                             rlhf_stage_name(s), r->done ? "done" : "started");
        if (!r->done || !makes_checkpoint(s))
            continue;
        if (learner_path(t, path, sizeof path, err, "checkpoints/%s", rlhf_stage_name(s)) < 0)
            return -1;
        if (rlhf_atomic_verify(t->io, path, &damage) < 0) {
            rlhf_log(RLHF_LEVEL_WARNING, "checkpoint-damaged stage=%s reason=\"%s\" the stage is done again",
                     rlhf_stage_name(s), damage.text);
            if (damage.code == RLHF_CORRUPT && rlhf_set_aside(t->io, path, err) < 0)
                return -1;
            r->done = r->started = false;
            r->iterations = 0;
        }
    }
    return 0;
}

/* ---- tokenizer --------------------------------------------------------------------------------------- */

static struct rlhf_tokenizer *train_tokenizer(const struct learner_trainer *t, struct rlhf_error *err)
{
    const struct rlhf_config_strings *files = &t->run->tokenizer.train.files;
    struct rlhf_bpe_options options = {.vocab_size = (size_t)t->run->tokenizer.train.vocab_size,
                                       .min_count = 2,
                                       .digits_alone = t->run->tokenizer.train.digits_alone};
    struct rlhf_tokenizer *tokenizer = NULL;
    struct rlhf_bytes text = {0};
    size_t *sizes = NULL, count = 0, offset = 0;
    const char **texts = NULL;

    for (size_t i = 0; i < files->count; i++)
        if (rlhf_read_texts(files->items[i], &text, &sizes, &count, err) < 0)
            goto out;
    if (count == 0) {
        rlhf_fail(err, RLHF_REJECT, "tokenizer.train.files hold no text");
        goto out;
    }
    if (!(texts = calloc(count, sizeof *texts))) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu texts", count);
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        texts[i] = text.data + offset;
        offset += sizes[i];
    }
    tokenizer = rlhf_tokenizer_train(texts, sizes, count, &options, err);
out:
    free(texts);
    free(sizes);
    rlhf_bytes_free(&text);
    return tokenizer;
}

/* Puts DIR/tokenizer in place from the files in source. */
static int keep_tokenizer(const struct learner_trainer *t, const char *source, const char *target, struct rlhf_error *err)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    struct rlhf_atomic_dir *dir = rlhf_atomic_begin(t->io, target, err);

    for (size_t i = 0; dir && i < 2; i++) {
        char path[LEARNER_PATH];
        struct rlhf_bytes bytes = {0};
        int rc;

        if (rlhf_path(path, sizeof path, source, names[i], err) < 0) {
            rlhf_atomic_abort(dir);
            return -1;
        }
        if (i == 1 && !rlhf_exists(t->io, path)) /* not every tokenizer has one */
            continue;
        rc = rlhf_read_file(t->io, path, file_limit, &bytes, err) < 0
                     || rlhf_atomic_put(dir, names[i], bytes.data, bytes.size, err) < 0
                 ? -1
                 : 0;
        rlhf_bytes_free(&bytes);
        if (rc < 0) {
            rlhf_atomic_abort(dir);
            return -1;
        }
    }
    return dir ? rlhf_atomic_commit(dir, err) : -1;
}

static int make_tokenizer(struct learner_trainer *t, const char *target, struct rlhf_error *err)
{
    const char *load = t->run->tokenizer.train.files.count ? NULL : t->run->tokenizer.load ?: t->run->model.load;
    struct rlhf_tokenizer *made;
    char fresh[LEARNER_PATH];
    int rc;

    if (load)
        return keep_tokenizer(t, load, target, err);
    if (learner_path(t, fresh, sizeof fresh, err, "tokenizer.new") < 0 || !(made = train_tokenizer(t, err)))
        return -1;
    rc = rlhf_make_dirs(t->io, fresh, err) < 0 || rlhf_tokenizer_save(made, fresh, err) < 0
                 || keep_tokenizer(t, fresh, target, err) < 0 || rlhf_remove_tree(t->io, fresh, err) < 0
             ? -1
             : 0;
    rlhf_tokenizer_free(made);
    return rc;
}

static int open_tokenizer(struct learner_trainer *t, struct rlhf_error *err)
{
    char dir[LEARNER_PATH], path[LEARNER_PATH];
    struct rlhf_error damage = {0};

    if (learner_path(t, dir, sizeof dir, err, "tokenizer") < 0)
        return -1;
    if (rlhf_atomic_verify(t->io, dir, &damage) < 0) {
        if (damage.code == RLHF_CORRUPT && rlhf_set_aside(t->io, dir, err) < 0)
            return -1;
        if (make_tokenizer(t, dir, err) < 0)
            return -1;
    }
    if (!(t->tokenizer = rlhf_tokenizer_load(dir, err)) || rlhf_path(path, sizeof path, dir, "tokenizer.json", err) < 0
        || rlhf_read_file(t->io, path, file_limit, &t->tokenizer_json, err) < 0
        || rlhf_path(path, sizeof path, dir, "tokenizer_config.json", err) < 0)
        return -1;
    return rlhf_exists(t->io, path) ? rlhf_read_file(t->io, path, file_limit, &t->tokenizer_config, err) : 0;
}

/* ---- models ------------------------------------------------------------------------------------------ */

static struct rlhf_model *first_model(struct learner_work *w, struct rlhf_error *err)
{
    const struct rlhf_run *run = w->t->run;
    struct rlhf_model_config c = {0};

    if (run->model.load)
        return rlhf_model_load(run->model.load, err);
    if (rlhf_model_config_style(&c, rlhf_run_model_style(run), err) < 0)
        return NULL;
    c.layers = (uint32_t)run->model.layers;
    c.heads = (uint32_t)run->model.heads;
    c.kv_heads = (uint32_t)(run->model.kv_heads ? run->model.kv_heads : run->model.heads);
    c.channels = (uint32_t)run->model.channels;
    c.head_size = c.channels / c.heads;
    if (run->model.mlp_size)
        c.mlp_size = (uint32_t)run->model.mlp_size;
    else if (c.mlp == RLHF_MLP_SWIGLU)
        c.mlp_size = (c.channels * 8 / 3 + 31) / 32 * 32;
    else
        c.mlp_size = 4 * c.channels;
    c.context = (uint32_t)run->model.context;
    c.tied = run->model.tied;
    c.vocabulary = (uint32_t)rlhf_tokenizer_vocab(w->t->tokenizer);
    c.begin_id = rlhf_tokenizer_begin(w->t->tokenizer);
    c.end_id = rlhf_tokenizer_end(w->t->tokenizer);
    c.pad_id = rlhf_tokenizer_pad(w->t->tokenizer);
    c.head = RLHF_HEAD_LM;
    return rlhf_model_new(&c, (uint64_t)run->run.seed, err);
}

static struct rlhf_model *read_model(struct learner_work *w, const char *stage, struct rlhf_error *err)
{
    char dir[LEARNER_PATH], path[LEARNER_PATH], text[RLHF_DIGEST_TEXT];
    struct rlhf_bytes config = {0}, tensors = {0};
    struct rlhf_model *m = NULL;
    struct rlhf_digest d;

    if (learner_path(w->t, dir, sizeof dir, err, "checkpoints/%s", stage) == 0
        && rlhf_atomic_verify(w->t->io, dir, err) == 0 && rlhf_path(path, sizeof path, dir, "config.json", err) == 0
        && rlhf_read_file(w->t->io, path, file_limit, &config, err) == 0
        && rlhf_path(path, sizeof path, dir, "model.safetensors", err) == 0
        && rlhf_read_file(w->t->io, path, file_limit, &tensors, err) == 0)
        m = rlhf_model_read(config.data, config.size, tensors.data, tensors.size, err);
    if (m) {
        d = rlhf_digest_of(tensors.data, tensors.size);
        rlhf_digest_text(&d, text);
        json_object_set_new(json_object_get(w->provenance, "parents"), stage, json_string(text));
    }
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    return m;
}

struct rlhf_model *learner_load_model(struct learner_work *w, const char *stage, enum rlhf_head head,
                                      struct rlhf_error *err)
{
    struct rlhf_model *m = stage ? read_model(w, stage, err) : first_model(w, err), *other;

    if (!m) {
        rlhf_fail_prefix(err, "model of %s", stage ? stage : "the run");
        return NULL;
    }
    if (rlhf_model_get_config(m)->vocabulary < rlhf_tokenizer_vocab(w->t->tokenizer)) {
        rlhf_fail(err, RLHF_REJECT, "the tokenizer has %zu tokens, the model of %s only %u; they do not belong together",
                  rlhf_tokenizer_vocab(w->t->tokenizer), stage ? stage : "the run", rlhf_model_get_config(m)->vocabulary);
        rlhf_model_free(m);
        return NULL;
    }
    if (rlhf_model_get_config(m)->head == head)
        return m;
    other = rlhf_model_clone(m, head, (uint64_t)w->t->run->run.seed + w->key, err);
    rlhf_model_free(m);
    return other;
}

static int put_model(struct learner_work *w, const struct rlhf_model *m, struct rlhf_error *err)
{
    struct learner_trainer *t = w->t;
    struct rlhf_bytes config = {0}, tensors = {0};
    struct rlhf_atomic_dir *dir = NULL;
    char path[LEARNER_PATH], *provenance = json_dumps(w->provenance, JSON_INDENT(1) | JSON_SORT_KEYS);
    int rc = -1;

    if (provenance && rlhf_model_write(m, &config, &tensors, err) == 0
        && learner_path(t, path, sizeof path, err, "checkpoints/%s", w->name) == 0
        && (dir = rlhf_atomic_begin(t->io, path, err)) && rlhf_atomic_put(dir, "config.json", config.data, config.size, err) == 0
        && rlhf_atomic_put(dir, "model.safetensors", tensors.data, tensors.size, err) == 0
        && rlhf_atomic_put(dir, "tokenizer.json", t->tokenizer_json.data, t->tokenizer_json.size, err) == 0
        && (t->tokenizer_config.size == 0
            || rlhf_atomic_put(dir, "tokenizer_config.json", t->tokenizer_config.data, t->tokenizer_config.size, err) == 0)
        && rlhf_atomic_put(dir, "provenance.json", provenance, strlen(provenance), err) == 0)
        rc = 0;
    if (rc == 0)
        rc = rlhf_atomic_commit(dir, err);
    else
        rlhf_atomic_abort(dir);
    free(provenance);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    return rc;
}

int learner_save_model(struct learner_work *w, const struct rlhf_model *m, struct rlhf_error *err)
{
    const struct timespec second = {.tv_sec = 1};
    struct rlhf_error full = {0};

    while (put_model(w, m, &full) < 0) {
        if (full.code != RLHF_FULL) {
            if (err)
                *err = full;
            return -1;
        }
        if (learner_stopping(w))
            return learner_stopped(err);
        rlhf_log(RLHF_LEVEL_WARNING, "checkpoint-waits stage=%s reason=\"%s\"", w->name, full.text);
        learner_progress(w, "waiting for room on disk");
        nanosleep(&second, NULL);
    }
    return 0;
}

/* ---- small things every stage uses ------------------------------------------------------------------- */

double learner_seconds(const struct learner_work *w)
{
    return w->seconds + (double)(rlhf_now(w->t->clock) - w->since_us) / 1e6;
}

void learner_progress(struct learner_work *w, const char *fmt, ...)
{
    char detail[160];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    if (w->t->port->progress)
        w->t->port->progress(w->t->port, w->index, w->step, w->steps, w->tokens, detail);
}

bool learner_stopping(const struct learner_work *w)
{
    return w->t->port->stopping && w->t->port->stopping(w->t->port);
}

int learner_stopped(struct rlhf_error *err)
{
    return rlhf_fail(err, RLHF_AGAIN, "asked to stop; start again to go on");
}

/* ---- the run ----------------------------------------------------------------------------------------- */

static int write_stages(const struct learner_trainer *t, struct rlhf_error *err)
{
    json_t *list = json_array();
    char path[LEARNER_PATH];
    int rc;

    for (size_t i = 0; i < rlhf_run_stages(t->run); i++) {
        const struct learner_record *r = &t->records[i];
        const struct rlhf_stage *s = rlhf_run_stage(t->run, i);
        if (r->done)
            json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:I, s:I}", "name", rlhf_stage_name(s), "kind",
                                                  rlhf_stage_kind_name(rlhf_stage_kind(s)), "seconds", r->seconds, "steps",
                                                  (json_int_t)r->steps, "tokens", (json_int_t)r->tokens));
    }
    rc = learner_path(t, path, sizeof path, err, "stages.json") < 0 || learner_write_json(t, path, list, err) < 0 ? -1 : 0;
    json_decref(list);
    return rc;
}

static int start_stage(struct learner_work *w, struct rlhf_error *err)
{
    struct learner_record *r = w->record;
    char hash[RLHF_DIGEST_TEXT], inputs[RLHF_DIGEST_TEXT];

    if (stage_hash(w->t, w->index, hash, err) < 0 || stage_inputs(w, inputs, err) < 0)
        return -1;
    json_object_set_new(w->provenance, "settings", json_string(hash));
    if (r->started) {
        if (strcmp(inputs, r->inputs) != 0)
            return rlhf_fail(err, RLHF_REJECT,
                             "a data file changed after the stage was started; put it back, or give the run another run.dir");
        return 0;
    }
    r->started = true;
    r->metrics = w->t->metrics_size;
    memcpy(r->hash, hash, sizeof hash);
    memcpy(r->inputs, inputs, sizeof inputs);
    return learner_journal(w, "started",
                           json_pack("{s:s, s:s, s:I, s:s}", "hash", hash, "inputs", inputs, "metrics",
                                     (json_int_t)r->metrics, "profile", rlhf_tensor_profile()),
                           err);
}

static int finish_stage(struct learner_work *w, struct rlhf_error *err)
{
    struct learner_record *r = w->record;

    r->steps = w->step;
    r->tokens = w->tokens;
    r->seconds = learner_seconds(w);
    if (learner_journal(w, "done",
                        json_pack("{s:I, s:I, s:f}", "steps", (json_int_t)r->steps, "tokens", (json_int_t)r->tokens,
                                  "seconds", r->seconds),
                        err) < 0)
        return -1;
    r->done = true;
    rlhf_log(RLHF_LEVEL_INFO, "stage-done stage=%s steps=%llu tokens=%llu seconds=%.1f", w->name,
             (unsigned long long)r->steps, (unsigned long long)r->tokens, r->seconds);
    return learner_state_remove(w, 0, err) < 0 || write_stages(w->t, err) < 0 ? -1 : 0;
}

static int run_stage(struct learner_trainer *t, size_t index, struct rlhf_error *err)
{
    static int (*const stages[RLHF_STAGE_KINDS])(struct learner_work *, struct rlhf_error *) = {
        [RLHF_STAGE_PRETRAIN] = learner_pretrain, [RLHF_STAGE_SFT] = learner_sft,
        [RLHF_STAGE_COLLECT] = learner_collect,   [RLHF_STAGE_REWARD] = learner_reward,
        [RLHF_STAGE_POLICY] = learner_policy,     [RLHF_STAGE_EVALUATE] = learner_evaluate,
    };
    const struct rlhf_stage *s = rlhf_run_stage(t->run, index);
    enum rlhf_stage_kind kind = rlhf_stage_kind(s);
    struct learner_work w = {
        .t = t, .stage = s, .record = &t->records[index], .name = rlhf_stage_name(s), .index = (uint32_t)index,
        .since_us = rlhf_now(t->clock), .saved_us = rlhf_now(t->clock),
    };
    int rc;

    w.key = rlhf_crc32c(0, w.name, strlen(w.name));
    w.provenance = json_pack("{s:s, s:s, s:s, s:I, s:{}, s:s}", "run", t->run->run.name, "stage", w.name, "kind",
                             rlhf_stage_kind_name(kind), "seed", (json_int_t)t->run->run.seed, "parents", "profile",
                             rlhf_tensor_profile());
    if (!w.provenance)
        return rlhf_fail(err, RLHF_FULL, "out of memory for the stage's provenance");
    rlhf_log(RLHF_LEVEL_INFO, "stage-%s stage=%s kind=%s", w.record->started ? "resumed" : "started", w.name,
             rlhf_stage_kind_name(kind));
    rc = start_stage(&w, err) < 0 || stages[kind](&w, err) < 0 || finish_stage(&w, err) < 0 ? -1 : 0;
    json_decref(w.provenance);
    return rc < 0 ? rlhf_fail_prefix(err, "stage %s", rlhf_stage_name(s)) : 0;
}

int learner_trainer_run(struct learner_trainer *t, struct learner_port *port, struct rlhf_error *err)
{
    t->port = port;
    for (size_t i = 0; i < rlhf_run_stages(t->run); i++) {
        if (t->records[i].done)
            continue;
        if (port->stopping && port->stopping(port))
            return learner_stopped(err);
        if (run_stage(t, i, err) < 0)
            return -1;
    }
    return 0;
}

size_t learner_trainer_done(const struct learner_trainer *t)
{
    size_t done = 0;

    for (size_t i = 0; i < rlhf_run_stages(t->run); i++)
        done += t->records[i].done;
    return done;
}

struct learner_trainer *learner_trainer_new(const struct rlhf_run *run, const struct rlhf_io *io,
                                            const struct rlhf_clock *clock, struct rlhf_error *err)
{
    static const char *const folders[] = {"checkpoints", "state", "comparisons", "evaluations"};
    struct learner_trainer *t = calloc(1, sizeof *t);
    char path[LEARNER_PATH];

    if (!t || !(t->records = calloc(rlhf_run_stages(run), sizeof *t->records))) {
        rlhf_fail(err, RLHF_FULL, "out of memory for the trainer");
        learner_trainer_free(t);
        return NULL;
    }
    t->run = run;
    t->io = io;
    t->clock = clock;
    t->metrics_fd = -1;
    if (rlhf_tensor_start(err) < 0 || !(t->pool = rlhf_pool_new((unsigned)run->learner.threads, err)))
        goto failed;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (learner_path(t, path, sizeof path, err, "%s", folders[i]) < 0 || rlhf_make_dirs(io, path, err) < 0)
            goto failed;
    if (learner_path(t, path, sizeof path, err, "journal") < 0
        || !(t->journal = rlhf_journal_open(io, path, replay, t, err)) || open_metrics(t, err) < 0 || check_done(t, err) < 0
        || open_tokenizer(t, err) < 0)
        goto failed;
    return t;
failed:
    rlhf_fail_prefix(err, "run directory %s", run->run.dir);
    learner_trainer_free(t);
    return NULL;
}

void learner_trainer_free(struct learner_trainer *t)
{
    if (!t)
        return;
    if (t->metrics_fd >= 0)
        t->io->close(t->io, t->metrics_fd);
    rlhf_journal_close(t->journal);
    for (size_t i = 0; t->records && i < rlhf_run_stages(t->run); i++)
        free(t->records[i].consumed);
    free(t->records);
    rlhf_bytes_free(&t->tokenizer_json);
    rlhf_bytes_free(&t->tokenizer_config);
    rlhf_tokenizer_free(t->tokenizer);
    rlhf_pool_free(t->pool);
    free(t);
}
