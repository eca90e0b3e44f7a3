/* rows.h - walking over c floats in sixteens, the last ones in part. Expects the length to be called c. */
#ifndef RLHF_TENSOR_KERNEL_ROWS_H
#define RLHF_TENSOR_KERNEL_ROWS_H

#include "tensor/kernel/lanes.h"
#include "tensor/kernel/name.h"
#include "tensor/kernel/table.h"

#define FOR_LANES(c) for (size_t j = 0; j < (c); j += 16)
#define LOAD(p) (j + 16 <= c ? v16_load((p) + j) : v16_load_part((p) + j, c - j))
#define STORE(p, value) \
    do { \
        if (j + 16 <= c) \
            v16_store((p) + j, value); \
        else \
            v16_store_part((p) + j, value, c - j); \
    } while (0)

#endif
