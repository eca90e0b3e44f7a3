#include "mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct collector_mailbox {
    pthread_mutex_t lock;
    struct collector_letters letters;
    bool closed;
    int fd;
};

void collector_letters_init(struct collector_letters *l)
{
    l->first = NULL;
    l->last = &l->first;
}

void collector_letters_add(struct collector_letters *l, struct collector_letter *letter)
{
    letter->next = NULL;
    *l->last = letter;
    l->last = &letter->next;
}

struct collector_mailbox *collector_mailbox_new(struct rlhf_error *err)
{
    struct collector_mailbox *m = calloc(1, sizeof(*m));

    if (!m || (m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) {
        rlhf_fail(err, RLHF_FATAL, "no mailbox: %s", strerror(errno));
        free(m);
        return NULL;
    }
    pthread_mutex_init(&m->lock, NULL);
    collector_letters_init(&m->letters);
    return m;
}

void collector_mailbox_free(struct collector_mailbox *m)
{
    if (!m)
        return;
    close(m->fd);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

int collector_mailbox_fd(const struct collector_mailbox *m)
{
    return m->fd;
}

static void ring(struct collector_mailbox *m)
{
    uint64_t one = 1;

    while (write(m->fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void collector_mailbox_put(struct collector_mailbox *m, struct collector_letters *l)
{
    if (!l->first)
        return;
    pthread_mutex_lock(&m->lock);
    bool was_empty = !m->letters.first; /* else it was rung for */
    *m->letters.last = l->first;
    m->letters.last = l->last;
    pthread_mutex_unlock(&m->lock);
    collector_letters_init(l);
    if (was_empty)
        ring(m);
}

struct collector_letter *collector_mailbox_take(struct collector_mailbox *m)
{
    uint64_t count;

    while (read(m->fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&m->lock);
    struct collector_letter *first = m->letters.first;
    collector_letters_init(&m->letters);
    pthread_mutex_unlock(&m->lock);
    return first;
}

bool collector_mailbox_empty(struct collector_mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    bool empty = !m->letters.first;
    pthread_mutex_unlock(&m->lock);
    return empty;
}

void collector_mailbox_close(struct collector_mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    m->closed = true;
    pthread_mutex_unlock(&m->lock);
    ring(m);
}

bool collector_mailbox_closed(struct collector_mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    bool closed = m->closed;
    pthread_mutex_unlock(&m->lock);
    return closed;
}
