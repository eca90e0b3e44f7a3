/* tokenizer - learns a byte-level BPE from text; applies a tokenizer or its chat template to JSON lines. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/text.h"
#include "chat/chat.h"
#include "data/data.h"
#include "rlhfctl/ctl.h"
#include "tokenizer/tokenizer.h"

enum { MAX_FILES = 256 };

struct options {
    const char *out, *dir;
    const char *files[MAX_FILES];
    size_t file_count;
    struct rlhf_bpe_options bpe;
    bool no_special;
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
    case 'n':
        o->no_special = true;
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
            argp_error(state, "--model: which directory?");
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

/* ---- JSON lines ------------------------------------------------------------------------------------ */

static const struct argp_option apply_options[] = {
    {"model", 'm', "DIR", 0, "the model's directory, with tokenizer.json", 0},
    {"tokenizer", 'm', 0, OPTION_ALIAS | OPTION_HIDDEN, NULL, 0},
    {"no-special", 'n', 0, 0, "encode: add no special tokens around a text; decode: leave special tokens out", 0},
    {0}};

/* What lines are applied to. */
struct applied {
    const struct rlhf_tokenizer *tokenizer;
    struct rlhf_chat *chat; /* for chat only */
    bool no_special;
};

/* One line's object to what is printed for it; NULL and *err where the line is bad. */
typedef json_t *(*apply_fn)(const struct applied *a, const json_t *line, struct rlhf_error *err);

static json_t *ids_of(const struct rlhf_tokens *ids)
{
    json_t *list = json_array();

    for (size_t i = 0; i < ids->size; i++)
        json_array_append_new(list, json_integer(ids->data[i]));
    return list;
}

static json_t *encode_line(const struct applied *a, const json_t *line, struct rlhf_error *err)
{
    const json_t *text = json_object_get(line, "text");
    struct rlhf_tokens ids = {0};
    json_t *out = NULL;
    int result;

    if (!json_is_string(text)) {
        rlhf_fail(err, RLHF_REJECT, "no \"text\"; a line is {\"text\": \"...\"}");
        return NULL;
    }
    result = (a->no_special ? rlhf_tokenizer_encode_special
                            : rlhf_tokenizer_encode_wrapped)(a->tokenizer, json_string_value(text),
                                                             json_string_length(text), &ids, err);
    if (result == 0)
        out = json_pack("{s:o}", "ids", ids_of(&ids));
    rlhf_tokens_free(&ids);
    return out;
}

static json_t *decode_line(const struct applied *a, const json_t *line, struct rlhf_error *err)
{
    const json_t *list = json_object_get(line, "ids");
    struct rlhf_tokens ids = {0};
    struct rlhf_bytes text = {0};
    json_t *out = NULL, *item;
    size_t i;
    int result = json_is_array(list) ? 0 : rlhf_fail(err, RLHF_REJECT, "no \"ids\"; a line is {\"ids\": [1, 2]}");

    json_array_foreach(list, i, item) {
        json_int_t value = json_integer_value(item);
        int32_t id = (int32_t)value;

        if (result == 0 && (!json_is_integer(item) || id != value || id < 0))
            result = rlhf_fail(err, RLHF_REJECT, "ids[%zu] is no token id", i);
        if (result == 0)
            result = rlhf_tokens_append(&ids, &id, 1, err);
    }
    if (result == 0 && rlhf_tokenizer_decode_text(a->tokenizer, ids.data, ids.size, !a->no_special, &text, err) == 0)
        out = json_pack("{s:o}", "text", json_stringn(text.data ? text.data : "", text.size));
    rlhf_tokens_free(&ids);
    rlhf_bytes_free(&text);
    return out;
}

static json_t *mask_of(const struct rlhf_rendered *rendered, const struct rlhf_token_ranges *ranges)
{
    uint8_t *mask = malloc(ranges->size + 1);
    json_t *list = json_array();

    if (mask)
        rlhf_chat_mask(rendered, ranges->at, ranges->size, mask);
    for (size_t i = 0; mask && i < ranges->size; i++)
        json_array_append_new(list, json_integer(mask[i]));
    free(mask);
    return list;
}

static json_t *chat_line(const struct applied *a, const json_t *line, struct rlhf_error *err)
{
    struct rlhf_rendered rendered = {0};
    struct rlhf_token_ranges ranges = {0};
    struct rlhf_tokens ids = {0};
    json_t *out = NULL;

    if (rlhf_chat_render(a->chat, line, time(NULL), &rendered, err) == 0 &&
        rlhf_tokenizer_encode_ranges(a->tokenizer, rendered.text.data, rendered.text.size, &ids, &ranges, err) == 0) {
        out = json_pack("{s:o, s:o}", "text", json_stringn(rendered.text.data, rendered.text.size), "ids", ids_of(&ids));
        if (rlhf_chat_marks(a->chat, line))
            json_object_set_new(out, "assistant_mask", mask_of(&rendered, &ranges));
    }
    rlhf_tokens_free(&ids);
    rlhf_token_ranges_free(&ranges);
    rlhf_rendered_free(&rendered);
    return out;
}

/* Prints what comes of one line; a bad one gives {"error"}, so that lines out stay in step with lines in. */
static int apply_line(const struct applied *a, apply_fn each, const char *text, size_t size, const char *file, size_t number,
                      struct rlhf_error *err)
{
    struct rlhf_error why = {0};
    json_error_t bad;
    json_t *line = json_loadb(text, size, JSON_ALLOW_NUL, &bad), *out = NULL;

    if (!line)
        rlhf_fail(&why, RLHF_REJECT, "not JSON: %s", bad.text);
    else if (!json_is_object(line))
        rlhf_fail(&why, RLHF_REJECT, "not a JSON object");
    else
        out = each(a, line, &why);
    bool good = out != NULL;
    if (!good) {
        fprintf(stderr, "rlhfctl: %s: line %zu: %s\n", file, number, why.text);
        out = json_pack("{s:s}", "error", rlhf_utf8_valid(why.text, strlen(why.text)) ? why.text : "the line is bad");
    }
    int result = out && json_dumpf(out, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) == 0 && putchar('\n') != EOF
                     ? 0
                     : rlhf_fail(err, RLHF_FATAL, "standard output: the result of line %zu cannot be written", number);
    json_decref(line);
    json_decref(out);
    return result < 0 ? -1 : good;
}

static int apply_file(const struct applied *a, apply_fn each, const char *name, size_t *bad, struct rlhf_error *err)
{
    FILE *f = name ? fopen(name, "r") : stdin;
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t size;
    int good = 0;

    if (!f)
        return rlhf_fail(err, RLHF_REJECT, "%s: cannot be read", name);
    while (good >= 0 && (size = getline(&line, &capacity, f)) >= 0) {
        number++;
        if (strspn(line, " \t\r\n") == (size_t)size)
            continue; /* an empty line is none */
        good = apply_line(a, each, line, (size_t)size, name ? name : "standard input", number, err);
        *bad += good == 0;
    }
    free(line);
    if (f != stdin)
        fclose(f);
    return good < 0 ? -1 : 0;
}

/* Applies each to the lines of the files, or of standard input. */
static int apply(int argc, char **argv, const char *about, apply_fn each, struct rlhf_error *err)
{
    const struct argp parser = {apply_options, parse, "[FILE...]", about, NULL, NULL, NULL};
    struct options o = {0};
    struct rlhf_tokenizer *t = NULL;
    struct applied a = {0};
    size_t bad = 0;
    int result;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    result = (t = rlhf_tokenizer_load(o.dir, err)) && (each != chat_line || (a.chat = rlhf_chat_load(o.dir, err))) ? 0 : -1;
    a.tokenizer = t;
    a.no_special = o.no_special;
    for (size_t i = 0; result == 0 && i < (o.file_count ? o.file_count : 1); i++)
        result = apply_file(&a, each, o.file_count ? o.files[i] : NULL, &bad, err);
    if (result == 0 && bad)
        result = rlhf_fail(err, RLHF_REJECT, "%zu line%s bad, see above; the other lines are done", bad,
                           bad == 1 ? " is" : "s are");
    rlhf_chat_free(a.chat);
    rlhf_tokenizer_free(t);
    return result;
}

static int encode(int argc, char **argv, struct rlhf_error *err)
{
    return apply(argc, argv, "For each line {\"text\"}, prints {\"ids\"}.", encode_line, err);
}

static int decode(int argc, char **argv, struct rlhf_error *err)
{
    return apply(argc, argv, "For each line {\"ids\"}, prints {\"text\"}.", decode_line, err);
}

static int chat(int argc, char **argv, struct rlhf_error *err)
{
    return apply(argc, argv, "For each line {\"messages\"}, prints what the model's chat template makes of it: {\"text\", "
                             "\"ids\"}. Further keys: tools, documents, add_generation_prompt, "
                             "continue_final_message, chat_template (the name of one); all others are variables of the "
                             "template.", chat_line, err);
}

int ctl_tokenizer(int argc, char **argv, struct rlhf_error *err)
{
    static const struct ctl_command commands[] = {
        {"train", "--out DIR FILE...", "learns a byte-level BPE from text", train},
        {"encode", "--model DIR [FILE]", "JSON lines with \"text\" to lines with \"ids\"", encode},
        {"decode", "--model DIR [FILE]", "JSON lines with \"ids\" to lines with \"text\"", decode},
        {"chat", "--model DIR [FILE]", "JSON lines with \"messages\" through the chat template", chat},
        {0}};

    return ctl_dispatch("rlhfctl tokenizer", "Learns and applies tokenizers.", commands, argc, argv, err);
}
