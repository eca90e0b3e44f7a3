/* kernel_set.c - runs a test with one kernel set: kernel-set SET PROGRAM [ARGUMENT ...]. Skipped where this machine has no such set. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tensor/ops.h"

int main(int argc, char **argv)
{
    struct rlhf_error err = { 0 };

    if (argc < 3) {
        fprintf(stderr, "usage: %s SET PROGRAM [ARGUMENT ...]\n", argv[0]);
        return 2;
    }
    setenv("RLHF_ISA", argv[1], 1);
    if (rlhf_tensor_start(&err) < 0) {
        printf("skipped: %s\n", err.text);
        return 77;
    }
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return 1;
}
