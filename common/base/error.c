#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int rlhf_fail(struct rlhf_error *err, enum rlhf_code code, const char *fmt, ...)
{
    if (err) {
        va_list args;

        err->code = code;
        va_start(args, fmt);
        vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
    }
    return -1;
}

int rlhf_fail_prefix(struct rlhf_error *err, const char *fmt, ...)
{
    if (err) {
        char text[sizeof err->text];
        va_list args;
        size_t size;

        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        size = strlen(text);
        snprintf(text + size, sizeof text - size, ": %s", err->text);
        memcpy(err->text, text, sizeof text);
    }
    return -1;
}

const char *rlhf_code_name(enum rlhf_code code)
{
    static const char *const names[] = { "OK", "AGAIN", "REJECT", "DENIED", "FULL", "CORRUPT", "FATAL" };

    return (unsigned)code < sizeof names / sizeof names[0] ? names[code] : "UNKNOWN";
}
