/* tokenizer - learns a byte-level BPE from text, applies a tokenizer to lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "data/data.h"
#include "rlhfctl/ctl.h"
#include "tokenizer/tokenizer.h"

enum { MAX_FILES = 256 };

struct options {
    const char *out, *dir;
    const char *files[MAX_FILES];
    size_t file_count;
    struct rlhf_bpe_options bpe;
    bool special;
    bool needs_files;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'o':
        o->out = text;
        break;
    case 'm':
        o->dir = text;
        break;
    case 'v':
        o->bpe.vocab_size = (size_t)ctl_integer(state, "--vocab-size", text, 259, 1 << 20);
        break;
    case 'c':
        o->bpe.min_count = (unsigned)ctl_integer(state, "--min-count", text, 1, 1 << 30);
        break;
    case 'd':
        o->bpe.digits_alone = 1;
        break;
    case 's':
        o->special = true;
        break;
    case ARGP_KEY_ARG:
        if (o->file_count == MAX_FILES)
            argp_error(state, "at most %d files", MAX_FILES);
        o->files[o->file_count++] = text;
        break;
    case ARGP_KEY_END:
        if (o->needs_files && !o->file_count)
            argp_error(state, "which files?");
        if (o->needs_files && !o->out)
            argp_error(state, "--out: which directory?");
        if (!o->needs_files && !o->dir)
            argp_error(state, "--tokenizer: which directory?");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int learn(const struct options *o, const struct rlhf_bytes *text, const size_t *sizes, size_t count,
                 struct rlhf_error *err)
{
    const char **texts = calloc(count ? count : 1, sizeof *texts);
    struct rlhf_tokenizer *t;
    size_t at = 0;
    int result = -1;

    if (!texts)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu texts", count);
    for (size_t i = 0; i < count; i++) {
        texts[i] = text->data + at;
        at += sizes[i];
    }
    if ((t = rlhf_tokenizer_train(texts, sizes, count, &o->bpe, err))) {
        result = rlhf_make_dirs(&rlhf_system_io, o->out, err) < 0 ? -1 : rlhf_tokenizer_save(t, o->out, err);
        if (result == 0)
            printf("%s: %zu tokens, learnt from %zu texts of %zu bytes\n", o->out, rlhf_tokenizer_vocab(t),
                   count, text->size);
    }
    rlhf_tokenizer_free(t);
    free(texts);
    return result;
}

static int train(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"out", 'o', "DIR", 0, "where tokenizer.json goes", 0},
        {"vocab-size", 'v', "N", 0, "special tokens, 256 bytes and merges (default 4096)", 0},
        {"min-count", 'c', "N", 0, "merge no pair seen less often (default 2)", 0},
        {"digits-alone", 'd', 0, 0, "one token a digit", 0},
        {0}};
    static const struct argp parser = {
        options,   parse,
        "FILE...", "Learns a byte-level BPE tokenizer from JSON lines with \"text\", or from .txt files.",
        NULL,      NULL,
        NULL};
    struct options o = {.bpe = {.vocab_size = 4096, .min_count = 2}, .needs_files = true};
    struct rlhf_bytes text = {0};
    size_t *sizes = NULL, count = 0;
    int result = 0;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    for (size_t i = 0; result == 0 && i < o.file_count; i++)
        result = rlhf_read_texts(o.files[i], &text, &sizes, &count, err);
    if (result == 0)
        result = learn(&o, &text, sizes, count, err);
    free(sizes);
    rlhf_bytes_free(&text);
    return result;
}

static const struct argp_option apply_options[] = {
    {"tokenizer", 'm', "DIR", 0, "the directory with tokenizer.json", 0},
    {"special", 's', 0, 0, "encode: special tokens' text becomes their id; decode: show special tokens", 0},
    {0}};

static int encode_line(const struct options *o, const struct rlhf_tokenizer *t, const char *line, size_t size,
                       size_t number, struct rlhf_error *err)
{
    struct rlhf_tokens ids = {0};
    int result;

    (void)number;
    result = o->special ? rlhf_tokenizer_encode_special(t, line, size, &ids, err)
                        : rlhf_tokenizer_encode(t, line, size, &ids, err);
    for (size_t i = 0; result == 0 && i < ids.size; i++)
        printf("%s%d", i ? " " : "", ids.data[i]);
    putchar('\n');
    rlhf_tokens_free(&ids);
    return result;
}

static int decode_line(const struct options *o, const struct rlhf_tokenizer *t, const char *line, size_t size,
                       size_t number, struct rlhf_error *err)
{
    struct rlhf_tokens ids = {0};
    struct rlhf_bytes text = {0};
    int result = 0;

    (void)size;
    for (const char *at = line; result == 0;) {
        char *end;
        long value;
        int32_t id;
        at += strspn(at, " \t\r");
        if (!*at)
            break;
        value = strtol(at, &end, 10);
        id = (int32_t)value;
        if (end == at || value != id)
            result = rlhf_fail(err, RLHF_REJECT, "line %zu: '%.20s' is not a token id", number, at);
        else
            result = rlhf_tokens_append(&ids, &id, 1, err);
        at = end;
    }
    if (result == 0 && (result = rlhf_tokenizer_decode(t, ids.data, ids.size, o->special, &text, err)) < 0)
        rlhf_fail_prefix(err, "line %zu", number);
    if (result == 0) {
        fwrite(text.data ? text.data : "", 1, text.size, stdout);
        putchar('\n');
    }
    rlhf_tokens_free(&ids);
    rlhf_bytes_free(&text);
    return result;
}

/* Applies each to the lines of the files, or of standard input. */
static int apply(const struct options *o,
                 int (*each)(const struct options *o, const struct rlhf_tokenizer *t, const char *line,
                             size_t size, size_t number, struct rlhf_error *err),
                 struct rlhf_error *err)
{
    struct rlhf_tokenizer *t = rlhf_tokenizer_load(o->dir, err);
    char *line = NULL;
    size_t capacity = 0;
    int result = t ? 0 : -1;

    for (size_t i = 0; result == 0 && i < (o->file_count ? o->file_count : 1); i++) {
        FILE *f = o->file_count ? fopen(o->files[i], "r") : stdin;
        size_t number = 0;
        ssize_t size;
        if (!f) {
            result = rlhf_fail(err, RLHF_REJECT, "%s: cannot be read", o->files[i]);
            break;
        }
        while (result == 0 && (size = getline(&line, &capacity, f)) >= 0) {
            if (size > 0 && line[size - 1] == '\n')
                line[--size] = '\0';
            result = each(o, t, line, (size_t)size, ++number, err);
        }
        if (f != stdin)
            fclose(f);
    }
    free(line);
    rlhf_tokenizer_free(t);
    return result;
}

static int encode(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp parser = {
        apply_options, parse, "[FILE...]", "Prints the token ids of each line of text.", NULL, NULL, NULL};
    struct options o = {0};

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    return apply(&o, encode_line, err);
}

static int decode(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp parser = {
        apply_options, parse, "[FILE...]", "Prints the text of each line of token ids.", NULL, NULL, NULL};
    struct options o = {0};

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    return apply(&o, decode_line, err);
}

int ctl_tokenizer(int argc, char **argv, struct rlhf_error *err)
{
    static const struct ctl_command commands[] = {
        {"train", "--out DIR FILE...", "learns a byte-level BPE from text", train},
        {"encode", "--tokenizer DIR [FILE]", "text to token ids, line by line", encode},
        {"decode", "--tokenizer DIR [FILE]", "token ids to text, line by line", decode},
        {0}};

    return ctl_dispatch("rlhfctl tokenizer", "Learns and applies tokenizers.", commands, argc, argv, err);
}
