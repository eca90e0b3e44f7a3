/* tokenizer.c - how fast text becomes ids. One JSON line a case.
 *
 *     bench-tokenizer [seconds a case, 1 by default] [case]
 *
 * The text is English of our own making: words by Zipf's law in sentences, with numbers, names and punctuation, a few MB of
 * it, so that as in real text most words are frequent and many are not. Tokenizers with 4,000 tokens are learnt from
 * it (so that most words are several tokens, as with published ones in other texts than their own), and then given the pre-tokenizer of published ones. A figure is MB (10^6 bytes) over the median time of a pass, on one thread;
 * documents have some 4 KB. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tokenizer/tokenizer.h"

enum { WORDS = 20000, DOCUMENTS = 600, DOCUMENT = 4096, VOCABULARY = 4000, PASSES = 2000 };

static double seconds_a_case = 1;
static const char *only;

static _Noreturn void fail(const struct rlhf_error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static double now(void)
{
    return (double)rlhf_now(&rlhf_system_clock) * 1e-6;
}

/* ---- the text -------------------------------------------------------------------------------------- */

static uint64_t state = 42;

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)((state >> 33) % below);
}

static void make_word(char *out)
{
    static const char *const onsets[] = { "b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "w", "th", "st", "ch", "sh", "pr", "" };
    static const char *const vowels[] = { "a", "e", "i", "o", "u", "ea", "ou", "ai" };
    static const char *const codas[] = { "", "", "n", "r", "s", "t", "l", "nd", "ng", "rs" };
    static const char *const endings[] = { "", "", "", "ing", "ed", "ly", "tion", "s", "er", "ness" };
    unsigned syllables = 1 + draw(2) + (draw(4) == 0);

    *out = '\0';
    for (unsigned i = 0; i < syllables; i++)
        sprintf(out + strlen(out), "%s%s%s", onsets[draw(20)], vowels[draw(8)], codas[draw(10)]);
    strcat(out, endings[draw(10)]);
}

/* Zipf: the chance of the n-th word falls as 1/n. */
static const char *pick_word(char (*words)[32])
{
    double u = (double)draw(1u << 30) / (1u << 30);

    return words[(size_t)(__builtin_exp(u * __builtin_log(WORDS)) - 1) % WORDS];
}

static void make_document(char (*words)[32], struct rlhf_bytes *out)
{
    while (out->size < DOCUMENT) {
        unsigned length = 5 + draw(20);

        for (unsigned i = 0; i < length; i++) {
            char word[40];

            snprintf(word, sizeof(word), "%s", pick_word(words));
            if (i == 0 || draw(25) == 0)
                word[0] = (char)(word[0] & ~32);
            if (draw(60) == 0)
                snprintf(word, sizeof(word), "%u", draw(3000));
            rlhf_bytes_printf(out, NULL, "%s%s%s", i ? " " : "", word,
                              i + 1 == length ? (draw(8) ? ". " : ".\n\n") : draw(12) ? "" : draw(10) ? "," : "'s");
        }
    }
}

/* ---- tokenizers ------------------------------------------------------------------------------------ */

static const char gpt2[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}";
static const char llama3[] =
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|"
    "\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}";

static json_t *file_of(const char *dir, const char *name)
{
    char path[300];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return json_load_file(path, 0, NULL);
}

static struct rlhf_tokenizer *from(json_t *json)
{
    struct rlhf_error err = { 0 };
    char *text = json_dumps(json, JSON_COMPACT);
    struct rlhf_tokenizer *t = rlhf_tokenizer_parse(text, strlen(text), NULL, 0, "bench", &err);

    if (!t)
        fail(&err);
    free(text);
    return t;
}

/* The learnt vocabulary as Llama 2 has its: spaces as characters of their own, and no splitting. */
static json_t *sentencepiece(const json_t *learnt, bool unigram)
{
    json_t *vocab = json_object(), *list = json_array(), *merges = json_array(), *item;
    const char *name;
    size_t i;

    json_object_foreach(json_object_get(json_object_get(learnt, "model"), "vocab"), name, item) {
        char text[300] = "";
        size_t size = 0;

        for (const char *c = name; *c && size < 290; c++) /* U+0120 stands for a space */
            if (!strncmp(c, "\xc4\xa0", 2)) {
                memcpy(text + size, "\xe2\x96\x81", 3);
                size += 3;
                c++;
            } else
                text[size++] = *c;
        if (json_object_get(vocab, text))
            continue;
        json_array_append_new(list, json_pack("[s, f]", text, -3.0 - (double)json_array_size(list) * 0.0005 - (size == 1 ? 4 : 0)));
        json_object_set_new(vocab, text, json_integer((json_int_t)json_object_size(vocab)));
    }
    json_array_foreach(json_object_get(json_object_get(learnt, "model"), "merges"), i, item) {
        char text[600] = "";
        size_t size = 0;
        const char *pair = json_string_value(item);
        char joined[600];

        if (json_is_array(item)) {
            snprintf(joined, sizeof(joined), "%s %s", json_string_value(json_array_get(item, 0)), json_string_value(json_array_get(item, 1)));
            pair = joined;
        }
        for (const char *c = pair; *c && size < 590; c++)
            if (!strncmp(c, "\xc4\xa0", 2)) {
                memcpy(text + size, "\xe2\x96\x81", 3);
                size += 3;
                c++;
            } else
                text[size++] = *c;
        json_array_append_new(merges, json_string(text));
    }
    json_t *model = unigram ? json_pack("{s:s, s:i, s:o}", "type", "Unigram", "unk_id", 0, "vocab", list)
                            : json_pack("{s:s, s:o, s:o}", "type", "BPE", "vocab", vocab, "merges", merges);
    json_t *metaspace = json_loads("{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\",\"split\":true}", 0, NULL);
    json_t *normalizer = json_loads("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"},"
                                    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]}", 0, NULL);
    return json_pack("{s:s, s:[], s:o, s:o, s:n, s:n, s:o}", "version", "1.0", "added_tokens", "normalizer",
                     unigram ? json_null() : normalizer, "pre_tokenizer", unigram ? metaspace : json_null(), "post_processor",
                     "decoder", "model", model);
}

/* ---- measuring ------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure(const char *name, const struct rlhf_tokenizer *t, const struct rlhf_bytes *documents)
{
    static double passes[PASSES];
    struct rlhf_tokens ids = { 0 };
    struct rlhf_error err = { 0 };
    size_t count = 0, bytes = 0;
    double start = now();

    if (only && strcmp(only, name) != 0)
        return;
    do {
        double before = now();

        bytes = 0;
        rlhf_tokens_clear(&ids);
        for (size_t i = 0; i < DOCUMENTS; i++) {
            if (rlhf_tokenizer_encode_special(t, documents[i].data, documents[i].size, &ids, &err) < 0)
                fail(&err);
            bytes += documents[i].size;
        }
        passes[count++] = now() - before;
    } while (count < PASSES && now() - start < seconds_a_case);
    qsort(passes, count, sizeof(*passes), by_value);
    printf("{\"case\":\"%s\",\"bytes\":%zu,\"bytes_a_token\":%.2f,\"threads\":1,\"value\":%.2f,\"best\":%.2f,\"unit\":\"MB/s\"}\n", name, bytes,
           (double)bytes / (double)ids.size, (double)bytes / passes[count / 2] * 1e-6, (double)bytes / passes[0] * 1e-6);
    fflush(stdout);
    rlhf_tokens_free(&ids);
}

int main(int argc, char **argv)
{
    static char words[WORDS][32];
    static struct rlhf_bytes documents[DOCUMENTS];
    static const char *texts[DOCUMENTS];
    static size_t sizes[DOCUMENTS];
    char dir[] = "/tmp/bench-tokenizer-XXXXXX", path[300];
    struct rlhf_bpe_options options = { .vocab_size = VOCABULARY, .min_count = 2 };
    struct rlhf_error err = { 0 };
    struct rlhf_tokenizer *t;

    seconds_a_case = argc > 1 ? atof(argv[1]) : 1;
    only = argc > 2 ? argv[2] : NULL;
    for (size_t i = 0; i < WORDS; i++)
        make_word(words[i]);
    for (size_t i = 0; i < DOCUMENTS; i++) {
        make_document(words, &documents[i]);
        texts[i] = documents[i].data;
        sizes[i] = documents[i].size;
    }
    if (!mkdtemp(dir) || !(t = rlhf_tokenizer_train(texts, sizes, DOCUMENTS, &options, &err)) || rlhf_tokenizer_save(t, dir, &err) < 0)
        fail(&err);
    rlhf_tokenizer_free(t);
    json_t *learnt = file_of(dir, "tokenizer.json");
    static const struct {
        const char *name, *pre;
    } cases[] = { { "tokenizer-gpt2", gpt2 }, { "tokenizer-llama3", llama3 } };
    for (size_t i = 0; i < 2; i++) {
        json_object_set_new(learnt, "pre_tokenizer", json_loads(cases[i].pre, 0, NULL));
        measure(cases[i].name, t = from(learnt), documents);
        rlhf_tokenizer_free(t);
    }
    for (int unigram = 0; unigram < 2; unigram++) {
        json_t *json = sentencepiece(learnt, unigram);

        measure(unigram ? "tokenizer-unigram" : "tokenizer-llama2", t = from(json), documents);
        rlhf_tokenizer_free(t);
        json_decref(json);
    }
    json_decref(learnt);
    for (size_t i = 0; i < DOCUMENTS; i++)
        rlhf_bytes_free(&documents[i]);
    static const char *const files[] = { "tokenizer.json", "tokenizer_config.json", "" };
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        remove(path);
    }
    return 0;
}
