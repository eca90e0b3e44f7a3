/* data.h - what runs are fed with, read from files and turned into tokens.
 *
 * Files are JSON lines (one object a line, UTF-8) or plain text, as they are or compressed with gzip. A
 * line that is not what it should be is an error that names file, line and key. How prompts and completions become tokens
 * says form.h. */
#ifndef RLHF_DATA_DATA_H
#define RLHF_DATA_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "data/form.h"
#include "tokenizer/tokenizer.h"

/* Many token sequences in one block: item i is tokens.data[start[i]] .. [start[i + 1]). */
struct rlhf_sequences {
    struct rlhf_tokens tokens;
    uint32_t *start; /* [count + 1] */
    size_t count, capacity;
};
int rlhf_sequences_append(struct rlhf_sequences *s, const int32_t *ids, size_t count, struct rlhf_error *err);
void rlhf_sequences_free(struct rlhf_sequences *s);

/* Pretraining text: JSON lines {"text"} (or a transcript in "chosen") or, for *.txt (*.txt.gz), documents separated by blank lines. Each becomes
 * [begin] text [end]. */
int rlhf_read_documents(const char *path, const struct rlhf_tokenizer *t, struct rlhf_sequences *out,
                        struct rlhf_error *err);
/* The texts alone (for training a tokenizer): each appended to *text, its size to *sizes. */
int rlhf_read_texts(const char *path, struct rlhf_bytes *text, size_t **sizes, size_t *count,
                    struct rlhf_error *err);

/* Documents laid end to end and cut into windows of `size` tokens (the last one may be shorter). */
int rlhf_cut_windows(const struct rlhf_sequences *documents, size_t size, struct rlhf_sequences *out,
                     struct rlhf_error *err);

/* Demonstrations and prompts: {"prompt", "completion"}, strings or role/content lists; {"messages"}; HH transcripts
 * {"chosen"} count as well. Dialogues become "\n\nHuman: ...\n\nAssistant: ..." transcripts, and the prompt is what goes
 * up to and includes the last "\n\nAssistant:". A sequence is the prompt's tokens and the completion's; prompt_size[i] is the
 * number of the former. For prompts the completion is left out; "expected", or else "answer", is kept where present (exact-match
 * tasks), and "question" may stand for "prompt", as in gsm8k. Over max_tokens: left out and counted in *skipped. */
struct rlhf_demonstrations {
    struct rlhf_sequences sequences;
    uint32_t *prompt_size; /* [count] */
    char **text;           /* [count] prompt text, owned */
    char **expected;       /* [count] owned, NULL where absent */
    size_t skipped;
};
int rlhf_read_demonstrations(const char *path, const struct rlhf_form *form, size_t max_tokens,
                             struct rlhf_demonstrations *out, struct rlhf_error *err);
int rlhf_read_prompts(const char *path, const struct rlhf_form *form, size_t max_tokens,
                      struct rlhf_demonstrations *out, struct rlhf_error *err);
void rlhf_demonstrations_free(struct rlhf_demonstrations *d);

/* Preferences as text, whatever form they came in: HH transcripts {"chosen", "rejected"}, explicit {"prompt", "chosen",
 * "rejected"} (strings or role/content lists), K-way {"prompt", "responses", "ranks"} (1 = best, equal = tie). Equal
 * completions and differing prompts are errors. See label_vendors.md section 6. */
struct rlhf_comparison {
    char *prompt;
    char **completion; /* [K] */
    uint32_t *rank;    /* [K], 1 = best */
    size_t count;      /* K >= 2 */
};
/* Parses one JSON object (not a file); what says where it came from ("file:line") for the error. */
int rlhf_comparison_parse(struct rlhf_comparison *c, const char *json, size_t size, const char *where,
                          struct rlhf_error *err);
/* The K-way form on one line, with newline. */
int rlhf_comparison_print(const struct rlhf_comparison *c, struct rlhf_bytes *out, struct rlhf_error *err);
void rlhf_comparison_free(struct rlhf_comparison *c);

#endif
