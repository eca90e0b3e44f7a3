/* vendor_config.h - a vendor that the label-collector deals with, as configured: `vendors:`. */
#ifndef LABEL_COLLECTOR_VENDOR_CONFIG_H
#define LABEL_COLLECTOR_VENDOR_CONFIG_H

#include "config/config.h"

/* The first ones are servers that are given tasks; the others only call. */
enum collector_vendor_kind {
    COLLECTOR_LABEL_STUDIO,
    COLLECTOR_LABELBOX,
    COLLECTOR_SCALE,
    COLLECTOR_SURGE,
    COLLECTOR_SERVERS,
    COLLECTOR_ARGILLA = COLLECTOR_SERVERS,
    COLLECTOR_WEBHOOK,
};
extern const char *const collector_vendor_kinds[]; /* by enum, NULL-terminated */

enum collector_layout { COLLECTOR_PAIRS_ONLY, COLLECTOR_RANKINGS };
enum collector_likert { COLLECTOR_LIKERT_NONE, COLLECTOR_LIKERT_LOW, COLLECTOR_LIKERT_HIGH };

/* What no document of the vendors' says for sure. */
struct collector_guesses {
    struct rlhf_config_strings tie_words;
    int likert; /* enum collector_likert */
    int scale_auth; /* 0: bearer, 1: basic */
    bool test_answers;
    char *question, *prompt_variable, *responses_variable;
    double untouched_seconds;
};
extern const struct collector_guesses collector_default_guesses;

struct collector_vendor_config {
    char *name;
    int kind; /* enum collector_vendor_kind */
    char *url, *token_file;
    struct rlhf_config_strings secret_files;
    char *callback, *project, *title, *dataset, *instructions, *round;
    int layout; /* enum collector_layout */
    bool automatic;
    int64_t overlap, quota, batch, poll_seconds, sweep_seconds, settle_seconds, timeout_seconds, tolerance_seconds,
        hold_hours;
    double price;
    struct collector_guesses guesses;
};
extern const struct rlhf_config_schema collector_vendor_schema;

/* What a table cannot say: names that are unique, addresses and secrets where the kind needs them. where: the file. */
int collector_vendors_check(const struct rlhf_config_list *vendors, const char *where, struct rlhf_error *err);

#endif
