/* error.h - one error type, owned by the caller, on the stack.
 *
 * The code names the reaction asked of whoever receives it; the text is for a person: what was wrong,
 * where, and what to do. */
#ifndef RLHF_BASE_ERROR_H
#define RLHF_BASE_ERROR_H

enum rlhf_code {
    RLHF_OK = 0,
    RLHF_AGAIN,   /* transient: keep the work, retry with backoff               */
    RLHF_REJECT,  /* the input is wrong: say so, drop it, count it              */
    RLHF_DENIED,  /* the peer may not ask this: same, and log its key           */
    RLHF_FULL,    /* no credit, memory or disk: stop reading until there is     */
    RLHF_CORRUPT, /* stored bytes fail their check: set aside, never overwrite  */
    RLHF_FATAL,   /* cannot go on truthfully: exit and be restarted             */
};

struct rlhf_error {
    enum rlhf_code code;
    char text[400];
};

/* Fills *err, which may be NULL, and returns -1: a failure is one line. */
int rlhf_fail(struct rlhf_error *err, enum rlhf_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of the text that *err holds already, keeping its code. Returns -1. */
int rlhf_fail_prefix(struct rlhf_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Fills *err with "what: reason" for the errno value number, and the code that it asks for: RLHF_FULL when memory,
 * disk or descriptors have run out, RLHF_REJECT when the name is wrong, RLHF_FATAL otherwise. Returns -1. */
int rlhf_fail_errno(struct rlhf_error *err, int number, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

const char *rlhf_code_name(enum rlhf_code code); /* "REJECT" and so on; static storage */

#endif
