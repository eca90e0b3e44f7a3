#include "telemetry/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "telemetry/screen.h"

enum { LONGEST_LINE = 2048 };

static const char *program = "rlhf";
static _Atomic(int) least; /* least level shown, 0: not looked up yet */

static int least_level(void)
{
    static const struct {
        const char *name;
        int level;
    } names[] = { { "debug", RLHF_LEVEL_DEBUG },
                  { "info", RLHF_LEVEL_INFO },
                  { "warning", RLHF_LEVEL_WARNING },
                  { "error", RLHF_LEVEL_ERROR } };
    int level = atomic_load_explicit(&least, memory_order_relaxed);
    const char *wish = level ? NULL : getenv("RLHF_LOG");

    if (level)
        return level;
    level = RLHF_LEVEL_INFO;
    for (size_t i = 0; wish && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(wish, names[i].name) == 0)
            level = names[i].level;
    atomic_store_explicit(&least, level, memory_order_relaxed);
    return level;
}

void rlhf_log_open(const char *daemon)
{
    program = daemon;
    atomic_store(&least, 0);
}

bool rlhf_log_shows(enum rlhf_level level)
{
    return (int)level <= least_level();
}

/* One event is one line, whatever a peer has put into a value. */
static void flatten(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

/* "<6>2026-01-31T12:00:00.123Z " for a journal or a file, "12:00:00 " for a person. */
static size_t put_time(char *line, size_t size, enum rlhf_level level, bool terminal)
{
    struct timespec now;
    struct tm parts;
    size_t used = 0;

    clock_gettime(CLOCK_REALTIME, &now); /* for display only: the seam's clock is for decisions */
    if (terminal) {
        localtime_r(&now.tv_sec, &parts);
        return strftime(line, size, "%H:%M:%S ", &parts);
    }
    gmtime_r(&now.tv_sec, &parts);
    used = (size_t)snprintf(line, size, "<%d>", (int)level);
    used += strftime(line + used, size - used, "%FT%T", &parts);
    return used + (size_t)snprintf(line + used, size - used, ".%03ldZ ", now.tv_nsec / 1000000);
}

static const char *mark_of(enum rlhf_level level)
{
    switch (level) {
    case RLHF_LEVEL_ERROR:
        return "error: ";
    case RLHF_LEVEL_WARNING:
        return "warning: ";
    default:
        return "";
    }
}

void rlhf_log(enum rlhf_level level, const char *fmt, ...)
{
    int saved = errno;
    bool terminal;
    char line[LONGEST_LINE];
    size_t used, room;
    va_list args;
    int wrote;

    if (!rlhf_log_shows(level))
        return;
    terminal = screen_is_terminal();
    used = put_time(line, sizeof line, level, terminal);
    used += (size_t)snprintf(line + used, sizeof line - used, "%.64s: %s", program, terminal ? mark_of(level) : "");
    room = sizeof line - 1 - used; /* the newline */
    va_start(args, fmt);
    wrote = vsnprintf(line + used, room, fmt, args);
    va_end(args);
    if (wrote < 0)
        wrote = 0;
    flatten(line + used);
    used += (size_t)wrote < room ? (size_t)wrote : room - 1;
    line[used++] = '\n';
    screen_line(line, used);
    errno = saved;
}

void rlhf_log_error(const char *event, const struct rlhf_error *err)
{
    rlhf_log(RLHF_LEVEL_ERROR, "%s code=%s reason=\"%s\"", event, rlhf_code_name(err->code), err->text);
}
