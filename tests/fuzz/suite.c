/* The first byte says which suite and which kind of file, the others are the file: what is accepted has questions that
 * can be asked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "evaluation/parts.h"
#include "fuzz.h"

static void check_question(const struct rlhf_question *q)
{
    RLHF_ASSERT(q->where && q->context);
    for (size_t i = 0; i < q->choices; i++)
        RLHF_ASSERT(q->choice[i] && strlen(q->choice[i]) < 1 << 24);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const endings[] = { "jsonl", "csv", "tsv", "txt" };
    char folder[] = "/tmp/rlhf-fuzz-XXXXXX", path[64];
    struct rlhf_suite_settings settings = { .file = path };
    struct rlhf_suite *s;
    FILE *f;

    if (size < 2 || !mkdtemp(folder))
        return 0;
    settings.name = rlhf_suite_names[data[0] % 8]; /* toxicity's own is its lexicon, too */
    settings.companion = strcmp(settings.name, "toxicity") == 0 ? path : NULL;
    snprintf(path, sizeof path, "%s/f.%s", folder, endings[data[0] / 8 % 4]);
    if ((f = fopen(path, "wb"))) {
        fwrite(data + 1, 1, size - 1, f);
        fclose(f);
        if ((s = rlhf_suite_read(&settings, NULL)))
            for (size_t i = 0; i < s->count; i++)
                check_question(&s->questions[i]);
        rlhf_suite_free(s);
    }
    unlink(path);
    rmdir(folder);
    return 0;
}
