/* mailbox.h - what one thread hands over to another: a list, and a descriptor that says when something is in it.
 *
 * Whoever has put an item must not look at it any more until it comes back; whoever takes it owns it. That is all that the
 * threads share, so nothing else needs a lock. */
#ifndef LABEL_COLLECTOR_MAILBOX_H
#define LABEL_COLLECTOR_MAILBOX_H

#include <stdbool.h>

#include "base/error.h"

/* The first member of whatever is handed over. */
struct collector_letter {
    struct collector_letter *next;
};
struct collector_letters {
    struct collector_letter *first, **last; /* begin with collector_letters_init() */
};
void collector_letters_init(struct collector_letters *l);
void collector_letters_add(struct collector_letters *l, struct collector_letter *letter);

struct collector_mailbox;

struct collector_mailbox *collector_mailbox_new(struct rlhf_error *err);
void collector_mailbox_free(struct collector_mailbox *m); /* NULL is fine; letters are not its own */
/* Readable: there is something to take, or it was closed. */
int collector_mailbox_fd(const struct collector_mailbox *m);
/* All letters of the list, in their order; the list is empty afterwards. */
void collector_mailbox_put(struct collector_mailbox *m, struct collector_letters *l);
/* All that are there, in their order, the last with next NULL. */
struct collector_letter *collector_mailbox_take(struct collector_mailbox *m);
bool collector_mailbox_empty(struct collector_mailbox *m);
/* Nothing more will come. */
void collector_mailbox_close(struct collector_mailbox *m);
bool collector_mailbox_closed(struct collector_mailbox *m);

#endif
