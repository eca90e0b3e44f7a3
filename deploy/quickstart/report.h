/* report.h - what a run in the kingdom came to: judged answers, the tax, the reward model's accuracy.
 *
 * Read are, in RUN/evaluations/report/, the answers of every model to the evaluation prompts (MODEL.jsonl)
 * and metrics.json; in RUN/evaluations/validation/, answers with the rewards they got; RUN/gates/; RUN/up.json,
 * which `rlhfctl up` leaves (seconds of each stage). All numbers in the table are the judge's, never the reward
 * model's. */
#ifndef KINGDOM_REPORT_H
#define KINGDOM_REPORT_H

#include <stdio.h>

#include "judge.h"

enum kingdom_model { KINGDOM_PRETRAINED, KINGDOM_SFT, KINGDOM_ROUND_1, KINGDOM_PPO, KINGDOM_PPO_PTX, KINGDOM_MODELS };
extern const char *const kingdom_model_stages[KINGDOM_MODELS]; /* their stages' names in quickstart.yaml */
extern const char *const kingdom_model_keys[KINGDOM_MODELS];   /* their names in report.json             */

/* Rates are 0 to 1 over the prompts of one part: all, about seen towns, about held-out towns and names. */
enum kingdom_part { KINGDOM_ALL, KINGDOM_SEEN, KINGDOM_HELD_OUT_PART, KINGDOM_PARTS };
struct kingdom_scores {
    bool there;
    struct kingdom_rates {
        double prompts, truthful, toxic, follows, courteous, well_formed, utility;
        double win; /* against SFT, one sample each, ties half */
    } part[KINGDOM_PARTS];
    double win_round_1; /* against round 1's policy */
    double honest_unknown, refuses_known;
    double kl;         /* nats a response, to SFT */
    double perplexity; /* without the forum       */
    double perplexity_all;
    double arithmetic, copy, recall; /* accuracy, greedy   */
    double asked;                    /* facts asked for in one word, held-out towns' too: accuracy, greedy */
    bool gated, promoted;            /* what gates/gate-STAGE.json says of it, if there is one */
    char reason[160];                /* why it was not promoted */
};

/* Of the last reward model, on pairs of answers to prompts that no model was trained on. */
struct kingdom_accuracy {
    double noise_free, noisy, ceiling; /* ceiling: a perfect judge against the noisy labels */
    double pairs;
};

struct kingdom_report {
    struct kingdom_scores models[KINGDOM_MODELS];
    struct kingdom_accuracy reward_model;
    double seconds;
    struct kingdom_stage {
        char name[64];
        double seconds, steps, tokens;
    } stages[32];
    size_t stage_count;
    struct kingdom_sample {
        struct kingdom_text prompt, before, after;
    } samples[3];
    size_t sample_count;
};

/* Reads and judges. */
int kingdom_report_make(struct kingdom_report *report, const struct kingdom_world *w, const char *run,
                        struct rlhf_error *err);
/* The table and what belongs to it, for a person. */
void kingdom_report_print(const struct kingdom_report *report, const char *run, FILE *out);
/* RUN/report.json, and RUN/report_details.json with the parts and the rates that have no place there. */
int kingdom_report_write(const struct kingdom_report *report, const char *run, struct rlhf_error *err);

/* What the recipe promises of any seed ("What a test may demand"). Returns how many clauses fail, and prints
 * each. */
unsigned kingdom_report_check(const struct kingdom_report *report, FILE *out);

#endif
