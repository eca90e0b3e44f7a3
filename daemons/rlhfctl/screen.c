#include "rlhfctl/screen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "telemetry/log.h"
#include "telemetry/progress.h"

enum {
    DRAW_US = 200000,
    LOG_US = 5000000,
    RATE_US = 2000000,   /* over which tokens a second are measured, at least: until tokens arrive */
    STALE_US = 60000000, /* none arrived for so long: the rate is 0                                */
    MAX_LINES = 24,
    NAME_WIDTH = 16,
};

struct ctl_screen {
    bool tty;
    unsigned drawn; /* lines standing on the terminal */
    int64_t shown_us;
    size_t stage; /* the last one logged, + 1 */
    /* Tokens a second of the current stage. */
    size_t rate_stage;
    int64_t rate_us;
    uint64_t rate_tokens;
    double rate;
};

struct ctl_screen *ctl_screen_new(bool tty)
{
    struct ctl_screen *s = calloc(1, sizeof *s);

    if (s)
        s->tty = tty;
    return s;
}

void ctl_stage_line(char *out, size_t size, unsigned columns, const Rlhf__V1__StageStatus *stage,
                    bool current, double rate)
{
    char name[80], detail[160];
    const char *what = stage->name ? stage->name : "";

    snprintf(name, sizeof name, "  %-*.40s", NAME_WIDTH, what);
    if (stage->done) {
        snprintf(out, size, "%s done in %.0f s  %s", name, stage->seconds,
                 stage->detail ? stage->detail : "");
        if (strlen(out) > columns)
            out[columns] = '\0';
        return;
    }
    if (!current) {
        snprintf(out, size, "%s .", name);
        return;
    }
    if (rate > 0)
        snprintf(detail, sizeof detail, "%.0f tokens/s  %.100s", rate, stage->detail ? stage->detail : "");
    else
        snprintf(detail, sizeof detail, "%.100s", stage->detail ? stage->detail : "");
    rlhf_progress_text(out, size, columns, name, stage->step, stage->steps, stage->seconds, "", detail);
}

static unsigned columns_of_terminal(void)
{
    struct winsize w;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 40 ? w.ws_col : 80;
}

static void measure_rate(struct ctl_screen *s, const Rlhf__V1__Status *status, int64_t now)
{
    const Rlhf__V1__StageStatus *stage = status->stages[status->stage];

    if (s->rate_stage != status->stage + 1 || stage->tokens < s->rate_tokens) {
        s->rate_stage = status->stage + 1;
        s->rate_us = now;
        s->rate_tokens = stage->tokens;
        s->rate = 0;
    } else if (now - s->rate_us >= (stage->tokens > s->rate_tokens ? RATE_US : STALE_US)) {
        s->rate = (double)(stage->tokens - s->rate_tokens) / ((double)(now - s->rate_us) * 1e-6);
        s->rate_us = now;
        s->rate_tokens = stage->tokens;
    }
}

static void erase(struct ctl_screen *s)
{
    if (s->drawn)
        printf("\033[%uF\033[J", s->drawn);
    s->drawn = 0;
}

static void draw(struct ctl_screen *s, const Rlhf__V1__Status *status, const char *daemons)
{
    unsigned columns = columns_of_terminal() - 1;
    size_t count = status ? status->n_stages : 0, first = 0;
    char line[512];

    erase(s);
    if (count > MAX_LINES) /* the current one, and what is around it */
        first = status->stage > MAX_LINES / 2 ? status->stage - MAX_LINES / 2 : 0;
    for (size_t i = first; i < count && i < first + MAX_LINES; i++) {
        Rlhf__V1__StageStatus stage = *status->stages[i];
        stage.done |= i < status->stage; /* stages come one after the other */
        ctl_stage_line(line, sizeof line, columns, &stage, i == status->stage, s->rate);
        puts(line);
        s->drawn++;
    }
    printf("  %.*s\n", (int)columns - 2, daemons);
    s->drawn++;
    fflush(stdout);
}

static void log_stage(struct ctl_screen *s, const Rlhf__V1__Status *status, const char *daemons)
{
    const Rlhf__V1__StageStatus *stage = status->stages[status->stage];

    if (s->stage && s->stage != status->stage + 1 && s->stage <= status->n_stages) {
        const Rlhf__V1__StageStatus *before = status->stages[s->stage - 1];
        rlhf_log(RLHF_LEVEL_INFO, "stage_done name=%s seconds=%.1f tokens=%llu detail=\"%s\"", before->name,
                 before->seconds, (unsigned long long)before->tokens, before->detail);
    }
    s->stage = status->stage + 1;
    rlhf_log(
        RLHF_LEVEL_INFO,
        "progress stage=%s number=%u/%zu step=%llu/%llu tokens_per_second=%.0f detail=\"%s\" daemons=\"%s\"",
        stage->name, status->stage + 1, status->n_stages, (unsigned long long)stage->step,
        (unsigned long long)stage->steps, s->rate, stage->detail, daemons);
}

void ctl_screen_show(struct ctl_screen *s, const Rlhf__V1__Status *status, const char *daemons)
{
    int64_t now = rlhf_now(&rlhf_system_clock);
    bool has_stage;

    if (!s)
        return;
    has_stage = status && status->stage < status->n_stages;
    if (has_stage)
        measure_rate(s, status, now);
    if (s->tty) {
        if (now - s->shown_us >= DRAW_US) {
            s->shown_us = now;
            draw(s, status, daemons);
        }
    } else if (has_stage && (now - s->shown_us >= LOG_US || s->stage != status->stage + 1)) {
        s->shown_us = now;
        log_stage(s, status, daemons);
    }
}

void ctl_screen_finish(struct ctl_screen *s, const Rlhf__V1__Status *status, const char *daemons)
{
    if (s && s->tty)
        draw(s, status, daemons);
    else if (s)
        rlhf_log(RLHF_LEVEL_INFO, "done state=\"%s\"", daemons);
}

void ctl_screen_say(struct ctl_screen *s, const char *text)
{
    if (!s || !s->tty) {
        rlhf_log(RLHF_LEVEL_WARNING, "up said=\"%s\"", text);
        return;
    }
    erase(s);
    printf("rlhfctl: %s\n", text);
    fflush(stdout);
    s->shown_us = 0;
}

void ctl_screen_free(struct ctl_screen *s)
{
    free(s);
}
