/* amx.h - may this process use the processor's matrix tiles, and does it pay? Private to the room. */
#ifndef RLHF_TENSOR_AMX_H
#define RLHF_TENSOR_AMX_H

#include <stdbool.h>

/* The processor has them, with bfloat16. */
bool rlhf_amx_announced(void);

/* NULL: the system lets this process use matrix tiles, and in a child process they gave the bits that they must. Otherwise a
 * few words that say why not; static storage. Only where they are announced. Looks once, costs about a millisecond. */
const char *rlhf_amx_refused(void);

/* A product of a layer's size took less time with matrix tiles than with FMAs. Only when they are not refused. */
bool rlhf_amx_pays(void);

#endif
