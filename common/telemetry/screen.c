#include "telemetry/screen.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ERASE_LINE "\r\033[K"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char status[1024]; /* what stands on the status line; empty: nothing */

bool screen_is_terminal(void)
{
    const char *term = getenv("TERM");

    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

unsigned screen_columns(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* Telemetry that cannot be written is dropped: there is nobody left to tell. */
static void put(const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(STDERR_FILENO, data, size);

        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            return;
        }
    }
}

void screen_line(const char *line, size_t size)
{
    int saved = errno;

    pthread_mutex_lock(&lock);
    if (status[0])
        put(ERASE_LINE, strlen(ERASE_LINE));
    put(line, size);
    put(status, strlen(status));
    pthread_mutex_unlock(&lock);
    errno = saved;
}

void screen_status(const char *text)
{
    int saved = errno;

    pthread_mutex_lock(&lock);
    if (text) {
        put(ERASE_LINE, strlen(ERASE_LINE));
        snprintf(status, sizeof status, "%s", text);
        put(status, strlen(status));
    } else {
        if (status[0])
            put("\n", 1);
        status[0] = '\0';
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
}
