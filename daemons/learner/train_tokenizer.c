/* train_tokenizer.c - the run's tokenizer: loaded or learnt once, then kept in DIR/tokenizer. */
#include <stdlib.h>

#include "learner/train_parts.h"

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

const char *const learner_tokenizer_files[LEARNER_TOKENIZER_FILES] = {"tokenizer.json", "tokenizer_config.json",
                                                                      "chat_template.jinja"};

/* Puts DIR/tokenizer in place from the files in source. */
static int keep_tokenizer(const struct learner_trainer *t, const char *source, const char *target,
                          struct rlhf_error *err)
{
    const char *const *names = learner_tokenizer_files;
    struct rlhf_atomic_dir *dir = rlhf_atomic_begin(t->io, target, err);

    for (size_t i = 0; dir && i < LEARNER_TOKENIZER_FILES; i++) {
        char path[LEARNER_PATH];
        struct rlhf_bytes bytes = {0};
        int rc;

        if (rlhf_path(path, sizeof path, source, names[i], err) < 0) {
            rlhf_atomic_abort(dir);
            return -1;
        }
        if (i > 0 && !rlhf_exists(t->io, path)) /* not every tokenizer has them */
            continue;
        rc = rlhf_read_file(t->io, path, LEARNER_FILE_LIMIT, &bytes, err) < 0 ||
                     rlhf_atomic_put(dir, names[i], bytes.data, bytes.size, err) < 0
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
    rc = rlhf_make_dirs(t->io, fresh, err) < 0 || rlhf_tokenizer_save(made, fresh, err) < 0 ||
                 keep_tokenizer(t, fresh, target, err) < 0 || rlhf_remove_tree(t->io, fresh, err) < 0
             ? -1
             : 0;
    rlhf_tokenizer_free(made);
    return rc;
}

/* Reads what checkpoints carry, and how text becomes tokens. */
static int read_tokenizer(struct learner_trainer *t, const char *dir, struct rlhf_error *err)
{
    char path[LEARNER_PATH];

    for (size_t i = 0; i < LEARNER_TOKENIZER_FILES; i++)
        if (rlhf_path(path, sizeof path, dir, learner_tokenizer_files[i], err) < 0 ||
            ((i == 0 || rlhf_exists(t->io, path)) &&
             rlhf_read_file(t->io, path, LEARNER_FILE_LIMIT, &t->tokenizer_files[i], err) < 0))
            return -1;
    if (!(t->tokenizer = rlhf_tokenizer_load(dir, err)))
        return -1;
    t->form = (struct rlhf_form){.tokenizer = t->tokenizer, .today = rlhf_form_day(t->run->tokenizer.today)};
    return !t->run->tokenizer.chat || (t->form.chat = rlhf_chat_load(dir, err)) ? 0 : -1;
}

int learner_tokenizer_open(struct learner_trainer *t, struct rlhf_error *err)
{
    char dir[LEARNER_PATH];
    struct rlhf_error damage = {0};

    if (learner_path(t, dir, sizeof dir, err, "tokenizer") < 0)
        return -1;
    if (rlhf_atomic_verify(t->io, dir, &damage) < 0) {
        if (damage.code == RLHF_CORRUPT && rlhf_set_aside(t->io, dir, err) < 0)
            return -1;
        if (make_tokenizer(t, dir, err) < 0)
            return -1;
    }
    return read_tokenizer(t, dir, err);
}
