/* tokenizer-tool train TEXT VOCAB DIGITS DIR: for tokenizer_live.py, which has Hugging Face's tokenizers read DIR. */
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "tokenizer/tokenizer.h"

int main(int argc, char **argv)
{
    struct rlhf_error err = { 0 };
    struct rlhf_bytes text = { 0 };
    struct rlhf_tokenizer *t = NULL;

    if (argc == 5 && rlhf_read_file(&rlhf_system_io, argv[1], 1 << 28, &text, &err) == 0) {
        struct rlhf_bpe_options o = { .vocab_size = strtoul(argv[2], NULL, 10), .min_count = 2,
                                      .digits_alone = atoi(argv[3]) };
        t = rlhf_tokenizer_train((const char *const[]){ text.data }, &text.size, 1, &o, &err);
    }
    int result = t ? rlhf_tokenizer_save(t, argv[4], &err) : -1;
    if (result < 0)
        fprintf(stderr, "tokenizer-tool: %s\n", err.text);
    rlhf_tokenizer_free(t);
    rlhf_bytes_free(&text);
    return result < 0;
}
