#include "base/error.h"

#include <errno.h>
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
        for (const char *rest = ": "; *rest && size < sizeof text - 1; rest++)
            text[size++] = *rest;
        for (const char *rest = err->text; *rest && size < sizeof text - 1; rest++)
            text[size++] = *rest;
        text[size] = '\0';
        memcpy(err->text, text, size + 1);
    }
    return -1;
}

static enum rlhf_code code_of_errno(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
    case ENAMETOOLONG:
        return RLHF_REJECT;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return RLHF_FULL;
    case EAGAIN:
    case EBUSY:
        return RLHF_AGAIN;
    default:
        return RLHF_FATAL;
    }
}

int rlhf_fail_errno(struct rlhf_error *err, int number, const char *fmt, ...)
{
    char what[sizeof err->text];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return rlhf_fail(err, code_of_errno(number), "%s: %s", what, strerrordesc_np(number));
}

const char *rlhf_code_name(enum rlhf_code code)
{
    static const char *const names[] = { "OK", "AGAIN", "REJECT", "DENIED", "FULL", "CORRUPT", "FATAL" };

    return (unsigned)code < sizeof names / sizeof names[0] ? names[code] : "UNKNOWN";
}
