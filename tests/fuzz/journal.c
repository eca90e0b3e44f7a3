/* Any bytes as a journal: refused or read, and when read, an append to it is there at the next opening. */
#include <stdlib.h>

#include "base/check.h"
#include "fuzz.h"
#include "store/store.h"
#include "support/fake_disk.h"

static int count(void *ctx, const void *record, size_t size, struct rlhf_error *err)
{
    (void)record;
    (void)size;
    (void)err;
    ++*(size_t *)ctx;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t before = 0, after = 0;
    struct rlhf_journal *j;
    struct fake_disk disk;

    setenv("RLHF_LOG", "error", 1);
    fake_disk_init(&disk, FAKE_NOTHING, 0);
    RLHF_ASSERT(rlhf_write_file(&disk.io, "journal", data, size, NULL) == 0);
    j = rlhf_journal_open(&disk.io, "journal", count, &before, NULL);
    if (j) {
        RLHF_ASSERT(rlhf_journal_append(j, data, size, NULL) == 0);
        fake_disk_reboot(&disk);
        rlhf_journal_close(j);
        j = rlhf_journal_open(&disk.io, "journal", count, &after, NULL);
        RLHF_ASSERT(j && after == before + 1);
        rlhf_journal_close(j);
    }
    fake_disk_free(&disk);
    return 0;
}
