/* process.h - a daemon as a child process: started on a configuration, killed, waited for. */
#ifndef SUPPORT_PROCESS_H
#define SUPPORT_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

/* Starts $RLHF_BUILD/daemons/NAME --config CONFIG, its stderr appended to LOG. The child dies with the test. */
pid_t start_daemon(const char *name, const char *config, const char *log);
/* Waits until the file has content and reads it; fails the test when pid ends before, showing log. */
void wait_for_file(const char *path, char *text, size_t size, pid_t pid, const char *log);
/* kill and waitpid. Returns the wait status. */
int end_process(pid_t pid, int signal);
/* waitpid with a deadline: fails the test when it does not end. */
int wait_for_end(pid_t pid);
void write_file(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
