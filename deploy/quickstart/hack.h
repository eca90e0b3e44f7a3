/* hack.h - what the demonstration of reward hacking left: the reward model's score, the judge's beside it, and the watch. */
#ifndef QUICKSTART_HACK_H
#define QUICKSTART_HACK_H

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"

/* Prints it from DIR/metrics.jsonl and DIR/watch/hack.json. With check, an error where the score did not rise while the
 * judge's utility fell, or the watch did not stop it. */
int kingdom_hack_print(const char *run, bool check, FILE *out, struct rlhf_error *err);

#endif
