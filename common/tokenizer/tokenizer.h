/* tokenizer.h - BPE and Unigram as Hugging Face's tokenizers computes them.
 *
 * Loaded from DIR/tokenizer.json or trained from text. Immutable after construction, so any number of
 * threads may use one. Encoding any bytes and decoding the ids gives the same bytes back. */
#ifndef RLHF_TOKENIZER_TOKENIZER_H
#define RLHF_TOKENIZER_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

struct rlhf_tokenizer;

struct rlhf_bpe_options {
    size_t vocab_size;    /* special tokens + 256 bytes + merges                                     */
    unsigned min_count;   /* a pair seen less often is not merged; 2 is usual                        */
    int digits_alone;     /* one token a digit                                                       */
    /* Names of the three special tokens, ids 0, 1, 2: begin of text, end of text, padding. NULL = the
     * defaults <|begin|>, <|end|>, <|pad|>. */
    const char *begin, *end, *pad;
};

/* NULL and *err naming file and key on failure. */
struct rlhf_tokenizer *rlhf_tokenizer_load(const char *dir, struct rlhf_error *err);

/* From the text of a tokenizer.json, and of a tokenizer_config.json (NULL: none); where: what errors begin with. */
struct rlhf_tokenizer *rlhf_tokenizer_parse(const char *json, size_t size, const char *config, size_t config_size,
                                            const char *where, struct rlhf_error *err);

/* Trains on count texts. Ties between pairs go to the smaller pair of ids, so the result is a function
 * of the text alone. Pre-tokenisation: GPT-2's pattern (words with their leading space). */
struct rlhf_tokenizer *rlhf_tokenizer_train(const char *const *texts, const size_t *sizes, size_t count,
                                            const struct rlhf_bpe_options *options, struct rlhf_error *err);

/* Writes DIR/tokenizer.json and DIR/tokenizer_config.json in Hugging Face's form. */
int rlhf_tokenizer_save(const struct rlhf_tokenizer *t, const char *dir, struct rlhf_error *err);

/* Appends the ids of text to *out. No special tokens are added; special-token text inside becomes its id
 * only through rlhf_tokenizer_encode_special(). */
int rlhf_tokenizer_encode(const struct rlhf_tokenizer *t, const char *text, size_t size,
                          struct rlhf_tokens *out, struct rlhf_error *err);
int rlhf_tokenizer_encode_special(const struct rlhf_tokenizer *t, const char *text, size_t size,
                                  struct rlhf_tokens *out, struct rlhf_error *err);
/* As rlhf_tokenizer_encode_special(), and for every id where in text the characters that it stands for are, as Hugging
 * Face's offsets: bytes [start, end). Characters that normalisation changed together count as one. */
struct rlhf_token_ranges {
    struct rlhf_token_range {
        size_t start, end;
    } *at;
    size_t size, capacity;
};
int rlhf_tokenizer_encode_ranges(const struct rlhf_tokenizer *t, const char *text, size_t size, struct rlhf_tokens *out,
                                 struct rlhf_token_ranges *ranges, struct rlhf_error *err);
void rlhf_token_ranges_free(struct rlhf_token_ranges *r);

/* The same with the tokens that the file's post-processor puts around a text (Hugging Face's
 * add_special_tokens=True). */
int rlhf_tokenizer_encode_wrapped(const struct rlhf_tokenizer *t, const char *text, size_t size,
                                  struct rlhf_tokens *out, struct rlhf_error *err);

/* Appends the bytes of ids to *out; special tokens are left out unless keep_special. Ids out of range are
 * an error (RLHF_REJECT). Bytes may be invalid UTF-8 when ids cut a character; that is the caller's to see. */
int rlhf_tokenizer_decode(const struct rlhf_tokenizer *t, const int32_t *ids, size_t count, int keep_special,
                          struct rlhf_bytes *out, struct rlhf_error *err);
/* For people: exactly the text that Hugging Face's decode() gives, always UTF-8 (what is not becomes U+FFFD),
 * ids out of range left out. */
int rlhf_tokenizer_decode_text(const struct rlhf_tokenizer *t, const int32_t *ids, size_t count, int keep_special,
                               struct rlhf_bytes *out, struct rlhf_error *err);

size_t rlhf_tokenizer_vocab(const struct rlhf_tokenizer *t); /* largest id + 1 */
int32_t rlhf_tokenizer_begin(const struct rlhf_tokenizer *t); /* -1 where there is none */
int32_t rlhf_tokenizer_end(const struct rlhf_tokenizer *t);
int32_t rlhf_tokenizer_pad(const struct rlhf_tokenizer *t);
int32_t rlhf_tokenizer_find(const struct rlhf_tokenizer *t, const char *token); /* id of "<|im_end|>"; -1 */

void rlhf_tokenizer_free(struct rlhf_tokenizer *t); /* NULL is fine */

#endif
