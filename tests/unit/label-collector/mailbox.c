/* What one thread hands over to another. */
#include "label-collector/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "support/suite.h"

enum { LETTERS = 20000 };

struct numbered {
    struct collector_letter letter;
    int number;
};

static struct numbered letters[LETTERS];

/* In lists of 1, 2, 3 ... */
static void *send_all(void *mailbox)
{
    struct collector_letters list;
    int sent = 0;

    for (int size = 1; sent < LETTERS; size = size % 7 + 1) {
        collector_letters_init(&list);
        for (int i = 0; i < size && sent < LETTERS; ++i, ++sent) {
            letters[sent].number = sent;
            collector_letters_add(&list, &letters[sent].letter);
        }
        collector_mailbox_put(mailbox, &list);
        ck_assert_ptr_null(list.first);
    }
    collector_mailbox_close(mailbox);
    return NULL;
}

static bool readable(const struct collector_mailbox *m, int ms)
{
    return poll(&(struct pollfd){ .fd = collector_mailbox_fd(m), .events = POLLIN }, 1, ms) == 1;
}

START_TEST(letters_arrive_once_and_in_order)
{
    struct rlhf_error err;
    struct collector_mailbox *m = collector_mailbox_new(&err);
    pthread_t sender;
    int received = 0;

    expect_some(m, err);
    ck_assert(!readable(m, 0) && !collector_mailbox_take(m));
    ck_assert_int_eq(pthread_create(&sender, NULL, send_all, m), 0);
    while (received < LETTERS) {
        ck_assert_msg(readable(m, 10000), "nothing rang after %d letters", received);
        for (struct collector_letter *l = collector_mailbox_take(m); l; l = l->next)
            ck_assert_int_eq(((struct numbered *)l)->number, received++);
    }
    pthread_join(sender, NULL);
    ck_assert(collector_mailbox_closed(m) && !collector_mailbox_take(m));
    collector_mailbox_free(m);
}
END_TEST

START_TEST(an_empty_list_rings_for_nothing)
{
    struct rlhf_error err;
    struct collector_mailbox *m = collector_mailbox_new(&err);
    struct collector_letters list;

    expect_some(m, err);
    collector_letters_init(&list);
    collector_mailbox_put(m, &list);
    ck_assert(!readable(m, 0));
    collector_mailbox_close(m);
    ck_assert(readable(m, 0));
    collector_mailbox_free(m);
}
END_TEST

int main(void)
{
    return RUN_SUITE("label-collector/mailbox", letters_arrive_once_and_in_order, an_empty_list_rings_for_nothing);
}
