/* log.h - one event a line on stderr: <level>time daemon: event key=value ...
 *
 * With the syslog level in front when stderr is not a terminal (journald reads it); for a person at a terminal with the
 * local time and "error:" or "warning:" instead. A line holds 2 kB at most, and control characters in it become spaces.
 * Never a secret; never a prompt
 * or a completion above debug level. RLHF_LOG=debug|info|warning|error sets the least level shown. */
#ifndef RLHF_TELEMETRY_LOG_H
#define RLHF_TELEMETRY_LOG_H

#include <stdbool.h>

#include "base/error.h"

enum rlhf_level { RLHF_LEVEL_ERROR = 3, RLHF_LEVEL_WARNING = 4, RLHF_LEVEL_INFO = 6, RLHF_LEVEL_DEBUG = 7 };

void rlhf_log_open(const char *daemon); /* before the first line; borrows */
/* fmt makes "event key=value key=value". Any thread. */
void rlhf_log(enum rlhf_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool rlhf_log_shows(enum rlhf_level level); /* for what is dear to compute */
void rlhf_log_error(const char *event, const struct rlhf_error *err);

#endif
