/* file.h - the bytes of a data file; one that is compressed (gzip, by its first bytes, not by its name) is unpacked. */
#ifndef RLHF_DATA_FILE_H
#define RLHF_DATA_FILE_H

#include "base/io.h"

enum { RLHF_UNPACKED_MAX = 1 << 30 }; /* bytes */

struct rlhf_data_file {
    const char *path; /* borrowed */
    const char *data;
    size_t size;
    struct rlhf_mapping map;
    struct rlhf_bytes unpacked;
};

/* Damaged and incomplete gzip, and what unpacks to more than RLHF_UNPACKED_MAX, is an error. */
int rlhf_data_file_open(struct rlhf_data_file *f, const char *path, struct rlhf_error *err);
void rlhf_data_file_close(struct rlhf_data_file *f); /* a zeroed one is fine */

#endif
