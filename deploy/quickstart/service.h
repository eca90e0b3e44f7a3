/* service.h - the judge as a reward service (common/reward/remote.h): what each answer is worth, without a labeler's noise.
 *
 * No stage of the quickstart learns from it. It is the gold that a watch holds a reward model against. */
#ifndef QUICKSTART_SERVICE_H
#define QUICKSTART_SERVICE_H

#include "base/error.h"
#include "world.h"

/* Answers POSTs on 127.0.0.1:port (0: any free one) until *stop, and writes http://ADDRESS:PORT into address_file where that is
 * not NULL. */
int kingdom_serve_judge(const struct kingdom_world *w, unsigned port, const char *address_file, const volatile int *stop,
                        struct rlhf_error *err);

#endif
