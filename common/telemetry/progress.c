#include "telemetry/progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "telemetry/log.h"
#include "telemetry/screen.h"

enum { DRAW_US = 100000 };      /* between two drawings of a bar            */
enum { LOG_US = 15 * 1000000 }; /* between two log lines, where they show it */
enum { WIDEST_BAR = 40, NARROWEST_BAR = 8, LONGEST_TEXT = 512 };

struct rlhf_progress {
    const struct rlhf_clock *clock;
    char what[64], unit[32], detail[256];
    uint64_t total, done;
    uint64_t done_before; /* at the first update: a resumed run has not done that now */
    int64_t started, shown, first_update;
    bool terminal;
};

struct rlhf_progress *rlhf_progress_new(const struct rlhf_clock *clock, const char *what, uint64_t total,
                                        const char *unit)
{
    struct rlhf_progress *p = calloc(1, sizeof *p);

    if (!p)
        return NULL; /* progress is a comfort: all functions take NULL */
    p->clock = clock;
    snprintf(p->what, sizeof p->what, "%s", what);
    snprintf(p->unit, sizeof p->unit, "%s", unit ? unit : "");
    p->total = total;
    p->started = rlhf_now(clock);
    p->shown = p->started;
    p->terminal = screen_is_terminal();
    return p;
}

/* 950, 12.3k, 4.56M: three digits and a letter. */
static void short_number(char *out, size_t size, double x)
{
    static const char letters[] = "\0kMGT";
    size_t i = 0;

    while (x >= 999.5 && i < 4) {
        x /= 1000;
        i++;
    }
    if (i == 0 && x >= 10)
        snprintf(out, size, "%.0f", x);
    else
        snprintf(out, size, "%.*f%c", x < 9.995 ? 2 : x < 99.95 ? 1 : 0, x, letters[i]);
}

/* 0:07, 12:34, 3:02:01 */
static void short_time(char *out, size_t size, double seconds)
{
    uint64_t s = seconds < 0 ? 0 : seconds > 1e9 ? 1000000000 : (uint64_t)(seconds + 0.5);

    if (s < 3600)
        snprintf(out, size, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
    else
        snprintf(out, size, "%u:%02u:%02u", (unsigned)(s / 3600), (unsigned)(s / 60 % 60), (unsigned)(s % 60));
}

/* Columns that text takes: one a code point, which holds for the text shown here. */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* Cuts text to columns, between characters. */
static void cut(char *text, size_t columns)
{
    for (; *text; text++) {
        if (((unsigned char)*text & 0xc0) == 0x80)
            continue;
        if (columns == 0) {
            *text = '\0';
            return;
        }
        columns--;
    }
}

/* Behind the bar: " 50%  12/s  0:10 left". rate in units a second, 0: not known. */
static void numbers(char *out, size_t size, uint64_t done, uint64_t total, double seconds, double rate,
                    const char *unit)
{
    bool named = unit && *unit;
    char amount[32], speed[32], time[32];

    short_number(speed, sizeof speed, rate);
    if (total == 0) {
        short_number(amount, sizeof amount, (double)done);
        short_time(time, sizeof time, seconds);
        snprintf(out, size, "%s%s%s  %s/s  %s", amount, named ? " " : "", named ? unit : "", speed, time);
        return;
    }
    int percent = (int)(100 * ((double)done / (double)total)); /* rounded down: 100 only when done */

    if (done >= total) {
        short_time(time, sizeof time, seconds);
        snprintf(out, size, "100%%  %s%s%s/s  in %s", speed, named ? " " : "", named ? unit : "", time);
    } else if (rate > 0) {
        short_time(time, sizeof time, (double)(total - done) / rate);
        snprintf(out, size, "%3d%%  %s%s%s/s  %s left", percent, speed, named ? " " : "", named ? unit : "", time);
    } else {
        snprintf(out, size, "%3d%%", percent);
    }
}

static size_t put_bar(char *out, size_t size, unsigned columns, const char *what, uint64_t done, uint64_t total,
                      double seconds, double rate, const char *unit, const char *detail)
{
    char behind[128], bar[WIDEST_BAR + 4] = "", text[LONGEST_TEXT];
    size_t fixed, room;

    if (size == 0)
        return 0;
    numbers(behind, sizeof behind, done, total, seconds, rate, unit);
    fixed = width_of(what) + 1 + width_of(behind) + (detail && *detail ? 2 + width_of(detail) : 0);
    room = columns > fixed ? columns - fixed : 0;
    if (total > 0 && room < NARROWEST_BAR + 3 && detail && *detail) { /* rather cut the detail than have no bar */
        fixed = width_of(what) + 1 + width_of(behind);
        room = columns > fixed ? columns - fixed : 0;
        room = room > NARROWEST_BAR + 3 ? NARROWEST_BAR + 3 : room;
    }
    if (total > 0 && room >= NARROWEST_BAR + 3) {
        size_t width = room - 3 < WIDEST_BAR ? room - 3 : WIDEST_BAR;
        double part = (double)done / (double)total;
        size_t filled = part >= 1 ? width : (size_t)(part * (double)width);

        bar[0] = '[';
        memset(bar + 1, '#', filled);
        memset(bar + 1 + filled, ' ', width - filled);
        memcpy(bar + 1 + width, "] ", 3);
    }
    snprintf(text, sizeof text, "%s %s%s%s%s", what, bar, behind, detail && *detail ? "  " : "", detail ? detail : "");
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    cut(text, columns);
    snprintf(out, size, "%s", text);
    return strlen(out);
}

size_t rlhf_progress_text(char *out, size_t size, unsigned columns, const char *what, uint64_t done,
                          uint64_t total, double seconds, const char *unit, const char *detail)
{
    return put_bar(out, size, columns, what, done, total, seconds, seconds > 0 ? (double)done / seconds : 0, unit,
                   detail);
}

static double seconds_of(const struct rlhf_progress *p)
{
    return (double)(rlhf_now(p->clock) - p->started) * 1e-6;
}

/* Units a second since the first update; of one update alone, since the start. */
static double rate_of(const struct rlhf_progress *p)
{
    double seconds = (double)(rlhf_now(p->clock) - p->first_update) * 1e-6;

    if (p->done > p->done_before && seconds > 0)
        return (double)(p->done - p->done_before) / seconds;
    return seconds_of(p) > 0 ? (double)p->done / seconds_of(p) : 0;
}

static void show(struct rlhf_progress *p, unsigned columns)
{
    char text[LONGEST_TEXT];

    if (p->terminal) {
        put_bar(text, sizeof text, columns, p->what, p->done, p->total, seconds_of(p), rate_of(p), p->unit, p->detail);
        screen_status(text);
    } else {
        numbers(text, sizeof text, p->done, p->total, seconds_of(p), rate_of(p), p->unit);
        rlhf_log(RLHF_LEVEL_INFO, "progress what=\"%s\" done=%llu total=%llu seconds=%.1f state=\"%s\"%s%s", p->what,
                 (unsigned long long)p->done, (unsigned long long)p->total, seconds_of(p), text,
                 *p->detail ? " " : "", p->detail);
    }
}

void rlhf_progress_update(struct rlhf_progress *p, uint64_t done, const char *detail)
{
    int64_t now;

    if (!p)
        return;
    now = rlhf_now(p->clock);
    if (!p->first_update) {
        p->first_update = now;
        p->done_before = done;
    }
    p->done = done;
    if (detail)
        snprintf(p->detail, sizeof p->detail, "%s", detail);
    if (now - p->shown < (p->terminal ? DRAW_US : LOG_US) && !(p->terminal && p->shown == p->started))
        return;
    p->shown = now > p->shown ? now : p->shown + 1;
    show(p, screen_columns() - 1);
}

void rlhf_progress_end(struct rlhf_progress *p)
{
    if (!p)
        return;
    show(p, screen_columns() - 1);
    if (p->terminal)
        screen_status(NULL);
    free(p);
}
