/* run.c - the table of the run file, and the rules between its keys. */
#include "config/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const char *const schedules[] = {"constant", "linear", "cosine", NULL};
static const char *const algorithms[] = {
    "ppo",   "grpo", "bnpo", "dr_grpo", "dapo", "gspo",
    "cispo", "sapo", "rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline", NULL};
_Static_assert(sizeof algorithms / sizeof *algorithms == RLHF_RUN_ALGORITHMS + 1, "one name each");
static const char *const estimators[] = {"own", "k1", "k2", "k3", NULL};
static const char *const means[] = {"own", "tokens", "completions", "limit", "items", NULL};
static const char *const scales[] = {"own", "none", "group", "batch", "whiten", NULL};
static const char *const direct_losses[] = {"sigmoid",   "sigmoid_norm", "hinge",    "ipo",      "exo_pair", "robust", "nca_pair", "bco_pair",
                                           "sppo_hard", "apo_zero",     "apo_down", "discopop", "kto",      "orpo",   NULL};
static const char *const divergences[] = {"reverse_kl", "forward_kl", "js", "alpha", NULL};
static const char *const off_policies[] = {"decoupled", "ratio", NULL};
static const char *const importances[] = {"truncate", "mask", NULL};
static const char *const styles[] = {"gpt2", "llama", NULL};
static const char *const products[] = {"fp32", "bf16", NULL};
static const char *const directions[] = {"unsaid", "higher", "lower", NULL};
static const char *const watch_reactions[] = {"pause", "stop", NULL};
static const char *const reactions[] = {"stop", "go_on", NULL};
static const char *const normalizations[] = {"none", "first", "running", NULL};
static const char *const when_missing[] = {"leave_out", "stop", NULL};
static const char *const units[] = {"tokens", "words", "characters", NULL}; /* as enum rlhf_length_unit of reward/source.h */

/* One row. The macros keep a row on a line: key, where it lives, default, range, help. */
#define BOOL(k, s, f, d, h)                                                                                  \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_BOOL, .offset = offsetof(s, f), .def = d, .help = h                    \
    }
#define INT(k, s, f, d, lo, hi, h)                                                                           \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_INTEGER, .offset = offsetof(s, f), .def = d, .min = lo, .max = hi,     \
        .help = h                                                                                            \
    }
#define NUM(k, s, f, d, lo, hi, h)                                                                           \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_NUMBER, .offset = offsetof(s, f), .def = d, .min = lo, .max = hi,      \
        .help = h                                                                                            \
    }
#define STR(k, s, f, d, h)                                                                                   \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_STRING, .offset = offsetof(s, f), .def = d, .help = h                  \
    }
#define NEED(k, s, f, h)                                                                                     \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_STRING, .offset = offsetof(s, f), .required = true, .min = 1,          \
        .max = 200, .help = h                                                                                \
    }
#define STRS(k, s, f, h)                                                                                     \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_STRINGS, .offset = offsetof(s, f), .help = h                           \
    }
#define NEEDS(k, s, f, h)                                                                                    \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_STRINGS, .offset = offsetof(s, f), .required = true, .min = 1,         \
        .max = 1000, .help = h                                                                               \
    }
#define CHOICE(k, s, f, d, c, h)                                                                             \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_CHOICE, .offset = offsetof(s, f), .def = d, .choices = c, .help = h    \
    }
#define MAP(k, s, f, sch, h)                                                                                 \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_MAP, .offset = offsetof(s, f), .sub = &sch, .help = h                  \
    }
#define LIST(k, s, f, sch, h)                                                                                \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_LIST, .offset = offsetof(s, f), .sub = &sch, .help = h                 \
    }
#define OPTION(k, s, f, sch, h)                                                                              \
    {                                                                                                        \
        .key = k, .type = RLHF_CONFIG_OPTION, .offset = offsetof(s, f), .sub = &sch, .help = h               \
    }

#define LARGE 1e15 /* a limit for numbers that have no natural one */

#define OPT struct rlhf_run_optimizer
static const struct rlhf_config_key optimizer_keys[] = {
    NUM("learning_rate", OPT, learning_rate, "1e-4", 0, 10, "Peak learning rate."),
    CHOICE("schedule", OPT, schedule, "constant", schedules, "How the rate falls after the warm-up."),
    NUM("final_rate", OPT, final_rate, "0.1", 0, 1,
        "Rate at the last step, as a fraction of the peak (linear, cosine)."),
    INT("warmup", OPT, warmup, "0", 0, LARGE,
        "Steps over which the rate rises (in a policy stage: iterations)."),
    NUM("warmup_from", OPT, warmup_from, "0.1", 0, 1,
        "Rate at the first step of the warm-up, as a fraction of the peak."),
    NUM("weight_decay", OPT, weight_decay, "0", 0, 10, "Decoupled weight decay of matrices."),
    NUM("beta1", OPT, beta1, "0.9", 0, 0.999999, "Decay of the first moment."),
    NUM("beta2", OPT, beta2, "0.95", 0, 0.999999, "Decay of the second moment."),
    NUM("epsilon", OPT, epsilon, "1e-8", 1e-16, 1, "Added to the square root of the second moment."),
    BOOL("epsilon_inside", OPT, epsilon_inside, "false",
         "Place epsilon before the bias correction, as TF1's Adam does."),
    NUM("clip_norm", OPT, clip_norm, "1", 0, LARGE, "Largest norm of the gradient; 0 switches clipping off."),
    {0}};
static const struct rlhf_config_schema optimizer_schema = {"optimizer", optimizer_keys, sizeof(OPT)};

#define SAM struct rlhf_run_sampling
static const struct rlhf_config_key sampling_keys[] = {
    NUM("temperature", SAM, temperature, "1", 0, 100, "Divides the logits; 0 is greedy."),
    INT("top_k", SAM, top_k, "0", 0, 1e9, "Keep the k likeliest tokens; 0 switches it off."),
    NUM("top_p", SAM, top_p, "1", 1e-6, 1,
        "Keep the likeliest tokens up to this probability; 1 switches it off."),
    NUM("min_p", SAM, min_p, "0", 0, 1,
        "Keep tokens that have at least this share of the likeliest one's probability; 0 switches it off."),
    NUM("typical_p", SAM, typical_p, "1", 1e-6, 1,
        "Keep the tokens whose surprise is nearest to the entropy, up to this probability; 1 switches it off."),
    NUM("repetition_penalty", SAM, repetition_penalty, "1", 1e-4, 1e4,
        "Divides the logits of tokens seen (multiplies negative ones); 1 switches it off."),
    INT("no_repeat_ngram_size", SAM, no_repeat_ngram, "0", 0, 1e6,
        "No n tokens come a second time in prompt and completion; 0 switches it off."),
    INT("min_new_tokens", SAM, min_new_tokens, "0", 0, 1e6, "No end token before so many others."),
    STRS("end_tokens", SAM, end_tokens, "Tokens that end a completion besides the tokenizer's own, as <|eot_id|>."),
    STRS("stop", SAM, stop, "Texts that end a completion; they stay part of it."),
    INT("max_new_tokens", SAM, max_new_tokens, "64", 1, 1e6, "Longest completion, in tokens."),
    {0}};
static const struct rlhf_config_schema sampling_schema = {"sampling", sampling_keys, sizeof(SAM)};

#define ADA struct rlhf_run_adapter
static const struct rlhf_config_key adapter_keys[] = {
    INT("rank", ADA, rank, "8", 1, 4096, "Columns of each pair of matrices."),
    NUM("alpha", ADA, alpha, "16", 1e-6, 1e6, "What they add is multiplied by alpha / rank."),
    BOOL("rslora", ADA, rslora, "false", "Multiply by alpha / sqrt(rank) instead."),
    STRS("targets", ADA, targets,
         "Names of the modules adapted, as q_proj or attn.c_proj; none: every product of the layers."),
    {0}};
static const struct rlhf_config_schema adapter_schema = {"adapter", adapter_keys, sizeof(ADA)};

#define MIX struct rlhf_run_mix
static const struct rlhf_config_key mix_keys[] = {
    STRS("data", MIX, data, "Files of documents."),
    NUM("weight", MIX, weight, "0", 0, 1e6, "Factor of their language-model loss; 0 leaves it out."),
    INT("windows", MIX, windows, "8", 1, 1e6,
        "Windows of documents a step (in a policy stage: a minibatch)."),
    INT("window", MIX, window, "64", 2, 1e6, "Tokens of a window."),
    {0}};
static const struct rlhf_config_schema mix_schema = {"mix", mix_keys, sizeof(MIX)};

#define FILE_ struct rlhf_run_file
static const struct rlhf_config_key file_keys[] = {
    NEED("name", FILE_, name, "What it is called in the results."),
    NEED("file", FILE_, file, "The file."),
    INT("count", FILE_, count, "0", 0, 1e9, "How many of its lines are used; 0 means all."),
    {0}};
static const struct rlhf_config_schema file_schema = {"file", file_keys, sizeof(FILE_)};

#define SRC struct rlhf_run_source
#define SOURCE_WEIGHT                                                                                        \
    NUM("weight", SRC, weight, "1", -LARGE, LARGE, "What its reward is multiplied with before all are added."), \
        CHOICE("normalize", SRC, normalize, "none", normalizations,                                          \
               "Make its mean 0 and its standard deviation 1: of the stage's first iteration, which samples the policy that it " \
               "starts from, or of all rewards so far (running)."),                                              \
        NUM("clip", SRC, clip, "0", 0, LARGE, "Keep it between minus this and this, after that; 0: as it is.")
#define SOURCE_NAME NEED("name", SRC, name, "What it is called in the metrics, as reward.NAME."), SOURCE_WEIGHT
#define SOURCE_MATCH                                                                                         \
    NUM("matched", SRC, matched, "1", -LARGE, LARGE, "The reward where it does."),                           \
        NUM("unmatched", SRC, unmatched, "0", -LARGE, LARGE, "The reward where it does not.")
#define SOURCE_NETWORK                                                                                       \
    NEED("url", SRC, url, "Where to POST; https://, or http:// where no key goes with it beyond this host."), \
        STR("credential", SRC, credential, "",                                                               \
            "Name of the key that goes with it as a bearer token: a file in the reward-scorers' folder credentials."), \
        INT("timeout_ms", SRC, timeout_ms, "30000", 1, 3600000, "Longest wait for an answer."),              \
        INT("attempts", SRC, attempts, "5", 1, 100,                                                          \
            "How often a request is made; pauses between double, with jitter. Then its rewards are missing."), \
        INT("backoff_ms", SRC, backoff_ms, "500", 1, 600000, "The first pause."),                            \
        INT("concurrency", SRC, concurrency, "4", 1, 256, "Requests under way at a time, of each reward-scorer."), \
        CHOICE("when_missing", SRC, when_missing, "leave_out", when_missing,                                    \
               "What a reward that did not come after all attempts does: leave its completion out, or stop the run.")

static const struct rlhf_config_key model_source_keys[] = {SOURCE_WEIGHT, {0}};
static const struct rlhf_config_schema model_source_schema = {"reward_model", model_source_keys, sizeof(SRC)};

static const struct rlhf_config_key pattern_keys[] = {
    SOURCE_NAME,
    {.key = "expression",
     .type = RLHF_CONFIG_STRING,
     .offset = offsetof(SRC, expression),
     .required = true,
     .min = 1,
     .max = 4000,
     .help = "Regular expression (PCRE2) that the completion matches somewhere."},
    SOURCE_MATCH,
    {0}};
static const struct rlhf_config_schema pattern_schema = {"pattern", pattern_keys, sizeof(SRC)};

static const struct rlhf_config_key length_keys[] = {
    SOURCE_NAME,
    CHOICE("unit", SRC, unit, "tokens", units, "What is counted."),
    NUM("at_least", SRC, low, "0", 0, LARGE, "Fewer of them,"),
    NUM("at_most", SRC, high, "1e15", 0, LARGE, "or more,"),
    NUM("per_unit", SRC, per_unit, "1", -LARGE, LARGE, "cost this much each; between both the reward is 0."),
    {0}};
static const struct rlhf_config_schema length_schema = {"length", length_keys, sizeof(SRC)};

static const struct rlhf_config_key exact_keys[] = {
    SOURCE_NAME,
    STR("expression", SRC, expression, "",
        "Regular expression that finds the answer in the completion and in the prompt's \"answer\" (or \"expected\"): the last "
        "match's first group, or all of it; default: the whole text."),
    BOOL("numbers", SRC, numbers, "false", "Compare numbers as such: $1,000.50 is 1000.5."),
    SOURCE_MATCH,
    {0}};
static const struct rlhf_config_schema exact_schema = {"exact", exact_keys, sizeof(SRC)};

static const struct rlhf_config_key service_keys[] = {
    SOURCE_NAME,
    SOURCE_NETWORK,
    INT("batch", SRC, batch, "32", 1, 4096, "Completions of one request."),
    {0}};
static const struct rlhf_config_schema service_schema = {"service", service_keys, sizeof(SRC)};

static const struct rlhf_config_key judge_keys[] = {
    SOURCE_NAME,
    SOURCE_NETWORK,
    NEED("model", SRC, model, "The model that is asked, as the API calls it."),
    STR("system", SRC, system, "", "The system's turn: the rubric."),
    {.key = "question",
     .type = RLHF_CONFIG_STRING,
     .offset = offsetof(SRC, question),
     .required = true,
     .min = 1,
     .max = 100000,
     .help = "The user's turn; {prompt}, {completion} and {answer} are filled in."},
    STR("key", SRC, key, "score", "The score's key in the JSON object that the judge answers with, or"),
    STR("expression", SRC, expression, "", "regular expression whose last match's first group is the score."),
    NUM("at_least", SRC, low, "0", -LARGE, LARGE, "Scores below are no answer;"),
    NUM("at_most", SRC, high, "10", -LARGE, LARGE, "nor are those above."),
    INT("max_tokens", SRC, max_tokens, "256", 1, 1e6, "Longest answer."),
    {0}};
static const struct rlhf_config_schema judge_schema = {"judge", judge_keys, sizeof(SRC)};

#define RWD struct rlhf_run_reward
static const struct rlhf_config_key reward_source_keys[] = {
    OPTION("reward_model", RWD, reward_model, model_source_schema,
           "The stage's reward_model (and ensemble); not named here, its weight is 1."),
    OPTION("pattern", RWD, pattern, pattern_schema, "Does a regular expression match?"),
    OPTION("length", RWD, length, length_schema, "Is the completion too short, or too long?"),
    OPTION("exact", RWD, exact, exact_schema, "Is its answer the prompt's?"),
    OPTION("service", RWD, service, service_schema,
           "A reward service: POST of {\"prompts\", \"completions\", \"answers\"}, answered by {\"rewards\"}."),
    OPTION("judge", RWD, judge, judge_schema, "A language model behind an OpenAI-compatible chat API, at temperature 0."),
    {0}};
static const struct rlhf_config_schema reward_source_schema = {"rewards", reward_source_keys, sizeof(RWD)};
#define REWARDS_HELP "Sources of rewards beside reward_model, or in its place: weighted, and added."

#define PRE struct rlhf_stage_pretrain
static const struct rlhf_config_key pretrain_keys[] = {
    NEED("name", PRE, name, "The stage's name, unique in the run; its model is kept under it."),
    STR("from", PRE, from, NULL, "The stage whose model this one starts from; default: the run's model."),
    NEEDS("data", PRE, data, "Files of documents (JSON lines with \"text\", or .txt)."),
    INT("steps", PRE, steps, "0", 0, LARGE, "How long: in steps, or"),
    INT("epochs", PRE, epochs, "0", 0, 1e6, "in passes over the data, or"),
    INT("tokens", PRE, tokens, "0", 0, LARGE, "in tokens."),
    INT("batch", PRE, batch, "16", 1, 1e6, "Windows a step."),
    INT("window", PRE, window, "128", 2, 1e6, "Tokens of a window."),
    MAP("optimizer", PRE, optimizer, optimizer_schema, "AdamW."),
    {0}};
static const struct rlhf_config_schema pretrain_schema = {"pretrain", pretrain_keys, sizeof(PRE)};

#define SEL struct rlhf_run_select
static const struct rlhf_config_key select_keys[] = {
    STR("reward_model", SEL, reward_model, NULL,
        "Reward stage whose model's mean reward on prompts decides, as in InstructGPT; without it, the loss on validation does."),
    STR("prompts", SEL, prompts, NULL, "File of prompts."),
    INT("count", SEL, count, "0", 0, 1e9, "How many of its prompts; 0 means all."),
    INT("samples", SEL, samples, "1", 1, 1024, "Completions of a prompt, by the same draws each time."),
    MAP("sampling", SEL, sampling, sampling_schema, "How completions are sampled."),
    STRS("validation", SEL, validation, "Files of demonstrations; their loss is measured, whatever decides."),
    INT("every", SEL, every, "0", 0, LARGE, "Steps between two measurements; 0: a pass over the data."),
    {0}};
static const struct rlhf_config_schema select_schema = {"select", select_keys, sizeof(SEL)};

#define SFT struct rlhf_stage_sft
static const struct rlhf_config_key sft_keys[] = {
    NEED("name", SFT, name, "The stage's name, unique in the run; its model is kept under it."),
    STR("from", SFT, from, NULL,
        "The stage whose model this one starts from; default: the last that made a policy."),
    STRS("data", SFT, data, "Files of demonstrations, and"),
    STRS("best_of", SFT, best_of, "best_of stages whose best completions are demonstrations; one of both at least."),
    INT("steps", SFT, steps, "0", 0, LARGE, "How long: in steps, or"),
    INT("epochs", SFT, epochs, "0", 0, 1e6, "in passes over the data."),
    INT("batch", SFT, batch, "32", 1, 1e6, "Demonstrations a step."),
    INT("max_tokens", SFT, max_tokens, "0", 0, 1e6,
        "Longer demonstrations are left out; 0: the model's context."),
    NUM("dropout", SFT, dropout, "0", 0, 0.9,
        "Share of what the blocks add to the residual stream that is dropped in training (InstructGPT: 0.2); 0: none."),
    MAP("optimizer", SFT, optimizer, optimizer_schema, "AdamW."),
    OPTION("adapter", SFT, adapter, adapter_schema,
           "Train a LoRA adapter in place of the whole model; it is kept in adapters/STAGE, too."),
    MAP("mix", SFT, mix, mix_schema, "Pretraining text mixed in (the paper's 10 %)."),
    OPTION("select", SFT, select, select_schema, "End with the best policy that was measured, not with the last."),
    {0}};
static const struct rlhf_config_schema sft_schema = {"sft", sft_keys, sizeof(SFT)};

#define CHO struct rlhf_run_choice
static const struct rlhf_config_key choice_keys[] = {
    NUM("random", CHO, random, "0.5", 0, 1, "Share of count chosen by chance, of all candidates: what is measured on it has no bias."),
    NUM("disagreement", CHO, disagreement, "0", 0, 1, "Share where the reward models disagree most; needs two of them."),
    NUM("reward_kl", CHO, reward_kl, "0", 0, 1, "Share where a completion has the largest reward and KL; needs reference."),
    STRS("reward_models", CHO, reward_models, "Reward stages whose models say so."),
    STR("reference", CHO, reference, NULL, "Stage of the policy that KL refers to."),
    INT("candidates", CHO, candidates, "0", 0, 1e9, "Prompts that are completed and chosen from; 0 means all of the file."),
    {0}};
static const struct rlhf_config_schema choice_schema = {"select", choice_keys, sizeof(CHO)};

#define COL struct rlhf_stage_collect
static const struct rlhf_config_key collect_keys[] = {
    NEED("name", COL, name, "The stage's and the round's name, unique in the run."),
    STRS("policies", COL, policies,
         "Stages whose policies write the completions; empty: comparisons come by import."),
    STR("prompts", COL, prompts, NULL, "File of prompts."),
    INT("count", COL, count, "0", 0, 1e9, "How many of its prompts; 0 means all."),
    OPTION("select", COL, select, choice_schema, "Choose the count prompts out of more: by chance and by what tells most."),
    INT("samples", COL, samples, "4", 1, 64, "Completions of each policy for each prompt."),
    MAP("sampling", COL, sampling, sampling_schema, "How completions are sampled."),
    INT("want", COL, want, "0", 0, 1e9, "Comparisons to wait for; 0: one for every task submitted."),
    INT("patience_seconds", COL, patience_seconds, "3600", 0, 1e9,
        "The stage fails when no task is open and no comparison came for so long; 0: it waits for ever."),
    {0}};
static const struct rlhf_config_schema collect_schema = {"collect", collect_keys, sizeof(COL)};

#define REW struct rlhf_stage_reward
static const struct rlhf_config_key reward_keys[] = {
    NEED("name", REW, name, "The stage's name, unique in the run; its model is kept under it."),
    STR("from", REW, from, NULL,
        "The stage whose body it starts from; default: the last that made a policy."),
    NEEDS("rounds", REW, rounds, "Collect stages whose comparisons it learns from."),
    STRS("validation", REW, validation, "Files of comparisons for the held-out accuracy."),
    NUM("held_out", REW, held_out, "0.1", 0, 0.9, "Without validation files: fraction of prompts held out."),
    STR("zero_mean_on", REW, zero_mean_on, NULL, "Demonstrations whose mean reward the bias makes 0."),
    INT("zero_mean_count", REW, zero_mean_count, "200", 1, 1e6, "How many of them."),
    BOOL("unit_deviation", REW, unit_deviation, "false",
         "Scale the rewards, too, so that theirs have standard deviation 1 (Ziegler et al. 2019)."),
    NUM("label_smoothing", REW, label_smoothing, "0", 0, 0.499, "Share of comparisons thought wrong."),
    NUM("center", REW, center, "0", 0, 1000, "Factor of a penalty that keeps the rewards of a pair around 0 (TRL: 0.01)."),
    NUM("margin", REW, margin, "0", 0, 1000, "What one step of rank asks between two rewards (Llama 2)."),
    INT("epochs", REW, epochs, "1", 1, 1e6, "Passes over the comparisons."),
    INT("batch", REW, batch, "16", 1, 1e6, "Prompts a step, each with all its pairs."),
    INT("max_tokens", REW, max_tokens, "0", 0, 1e6,
        "Longer completions are left out; 0: the model's context."),
    MAP("optimizer", REW, optimizer, optimizer_schema, "AdamW."),
    {0}};
static const struct rlhf_config_schema reward_schema = {"reward", reward_keys, sizeof(REW)};

#define LIM struct rlhf_run_limit
static const struct rlhf_config_key limit_keys[] = {
    NEED("metric", LIM, metric, "A number that metrics.jsonl has of each iteration, as kl, entropy, repetition, length_correlation."),
    NUM("at_least", LIM, at_least, "-1e15", -LARGE, LARGE, "Its average may not be below."),
    NUM("at_most", LIM, at_most, "1e15", -LARGE, LARGE, "Its average may not be above."),
    NUM("fall", LIM, fall, "0", 0, LARGE, "Its average may not fall so far below its highest; 0: it may."),
    NUM("rise", LIM, rise, "0", 0, LARGE, "Its average may not rise so far above its lowest; 0: it may."),
    {0}};
static const struct rlhf_config_schema limit_schema = {"limit", limit_keys, sizeof(LIM)};

#define WAT struct rlhf_run_watch
static const struct rlhf_config_key watch_keys[] = {
    INT("over", WAT, over, "5", 1, RLHF_RUN_WATCH_OVER, "Iterations that a limit looks at the average of."),
    LIST("limits", WAT, limits, limit_schema, "What may not happen."),
    CHOICE("otherwise", WAT, otherwise, "pause", watch_reactions,
           "When it does: pause, until `rlhfctl resume` or a start with other limits, or stop the run."),
    INT("samples", WAT, samples, "8", 0, 1000, "Completions of the largest rewards kept in watch/STAGE.json."),
    {0}};
static const struct rlhf_config_schema watch_schema = {"watch", watch_keys, sizeof(WAT)};

#define POL struct rlhf_stage_policy
static const struct rlhf_config_key policy_keys[] = {
    NEED("name", POL, name, "The stage's name, unique in the run; its model is kept under it."),
    STR("from", POL, from, NULL, "The stage whose policy it starts from; default: the last that made one."),
    STR("reference", POL, reference, NULL,
        "The policy that the KL penalty refers to; default: where it starts from."),
    STR("reward_model", POL, reward_model, NULL,
        "The reward stage whose model gives rewards and starts ppo's critic; others may do with rewards alone."),
    STRS("ensemble", POL, ensemble,
         "Further reward stages: the reward is the mean of all models less ensemble_deviations times their standard "
         "deviation."),
    NUM("ensemble_deviations", POL, ensemble_deviations, "0", 0, 1000,
        "How much their disagreement costs (Coste et al. 2023); needs ensemble."),
    LIST("rewards", POL, rewards, reward_source_schema, REWARDS_HELP),
    NEED("prompts", POL, prompts, "File of prompts."),
    CHOICE("algorithm", POL, algorithm, "ppo", algorithms,
           "How rewards become updates; only ppo has a critic. Keys that are -1 or own keep what the algorithm's "
           "paper has."),
    INT("iterations", POL, iterations, "100", 1, 1e9, "How often: generate, score, update."),
    INT("prompts_per_iteration", POL, prompts_per_iteration, "64", 1, 1e6, "Prompts of an iteration."),
    INT("samples", POL, samples, "1", 1, 1024,
        "Completions of a prompt: the group, 2 or more for algorithms that compare them."),
    INT("lag", POL, lag, "0", 0, RLHF_RUN_LAG,
        "Batch n is sampled by the policy of iteration n - lag, always, while others are trained on; 0: by the present one."),
    CHOICE("off_policy", POL, off_policy, "decoupled", off_policies,
           "With lag: ratios are to the policy at hand, and tokens weigh what it gives them over what the one that sampled did "
           "(decoupled PPO; Hilton et al. 2021), or ratios are to the one that sampled (ratio)."),
    CHOICE("importance", POL, importance, "truncate", importances,
           "Those weights are kept in their range, or tokens outside of it dropped (decoupled)."),
    BOOL("importance_by_completion", POL, importance_by_completion, "false", "One weight a completion: the product of its tokens'."),
    NUM("importance_low", POL, importance_low, "0", 0, 1, "That range, from here"),
    NUM("importance_high", POL, importance_high, "2", 1, LARGE, "to here."),
    INT("inner_epochs", POL, inner_epochs, "1", 1, 100, "Passes over an iteration's completions."),
    INT("minibatch", POL, minibatch, "32", 1, 1e6, "Completions of one update."),
    NUM("kl_coefficient", POL, kl_coefficient, "-1", -1, 1000,
        "Beta: factor of the per-token KL penalty, in the rewards (ppo, rloo, reinforce_plus_plus) or in the loss; "
        "-1: 0.05 in rewards, in the loss 0.04 for grpo and 0 for the others."),
    NUM("kl_target", POL, kl_target, "0", 0, LARGE,
        "Nats a completion to which the coefficient adapts itself (Ziegler et al. 2019; theirs 6); 0: it stays."),
    NUM("kl_horizon", POL, kl_horizon, "10000", 1, LARGE, "Completions over which it does."),
    CHOICE("kl_estimator", POL, kl_estimator, "own", estimators,
           "Estimator of that penalty; own: k1 in rewards, k3 in the loss."),
    BOOL("kl_corrected", POL, kl_corrected, "false",
         "Multiply a penalty in the loss by the ratio, which unbiases its gradient."),
    NUM("gae_lambda", POL, gae_lambda, "0.95", 0, 1, "Lambda of generalised advantage estimation (ppo)."),
    NUM("discount", POL, discount, "1", 0, 1, "Gamma of the returns (ppo, reinforce_plus_plus)."),
    NUM("clip", POL, clip, "-1", -1, 10, "Clip range of the probability ratio, both sides; -1: the algorithm's."),
    NUM("clip_low", POL, clip_low, "-1", -1, 1, "The ratio is kept above 1 less this; -1: as clip."),
    NUM("clip_high", POL, clip_high, "-1", -1, 1000,
        "The ratio is kept below 1 plus this (cispo: below this); -1: as clip."),
    NUM("ratio_limit", POL, ratio_limit, "0", 0, 1000,
        "Cuts the ratio from above where the advantage is negative, too (dual clip, delta): above 1; 0: off."),
    NUM("temperature_positive", POL, temperature_positive, "-1", -1, 1000,
        "Steepness of sapo's gate for positive advantages; -1: 1."),
    NUM("temperature_negative", POL, temperature_negative, "-1", -1, 1000, "And for others; -1: 1.05."),
    CHOICE("loss_mean", POL, loss_mean, "own", means,
           "What the loss is a mean over: the minibatch's tokens, completions (each the mean of its tokens), completions "
           "divided by max_new_tokens (limit), or items (the tokens of the whole update)."),
    CHOICE("advantage_scale", POL, advantage_scale, "own", scales,
           "What divides the advantages of a prompt's completions: nothing, the standard deviation of the group's or of "
           "all rewards, or of all advantages, which lose their mean (whiten)."),
    NUM("value_clip", POL, value_clip, "0", 0, 1000, "Clip range of value updates (ppo); 0 switches it off."),
    INT("dynamic_sampling", POL, dynamic_sampling, "0", 0, 1000,
        "DAPO's: prompts whose completions all got one reward are left out, and others sampled in their place, in at "
        "most so many rounds of prompts_per_iteration; 0: off."),
    NUM("dynamic_sampling_spread", POL, dynamic_sampling_spread, "0", 0, LARGE,
        "Rewards that differ by no more than this are one reward."),
    INT("overlong_cache", POL, overlong_cache, "0", 0, 1e6,
        "DAPO's: over the last so many tokens before max_new_tokens a penalty on the reward grows from 0 to "
        "overlong_penalty; 0: off."),
    NUM("overlong_penalty", POL, overlong_penalty, "1", 0, LARGE, "How much is taken off at max_new_tokens."),
    BOOL("overlong_filter", POL, overlong_filter, "false",
         "Completions that did not end are compared with, and not learnt from."),
    BOOL("penalize_missing_end", POL, penalize_missing_end, "false",
         "Completions that did not end get missing_end_reward in place of the reward model's."),
    NUM("missing_end_reward", POL, missing_end_reward, "-1", -LARGE, LARGE, "That reward."),
    BOOL("whiten_rewards", POL, whiten_rewards, "false", "Scale token rewards to variance 1 (mean kept; ppo)."),
    BOOL("whiten_advantages", POL, whiten_advantages, "true",
         "Shift and scale advantages over the iteration's tokens (ppo)."),
    BOOL("whiten_minibatches", POL, whiten_minibatches, "false",
         "Over each minibatch's tokens instead, as lm-human-preferences does."),
    NUM("average", POL, average, "0", 0, 0.999999,
        "Decay, an update, of the moving average of the weights that the stage ends with (InstructGPT: 0.992); 0: off."),
    NUM("stop_at_kl", POL, stop_at_kl, "0", 0, LARGE,
        "Stop the run when the KL per completion passes this; 0: never."),
    MAP("watch", POL, watch, watch_schema,
        "Limits on what a policy that exploits its reward model does; they may be changed while the stage is paused."),
    INT("checkpoint_every", POL, checkpoint_every, "10", 0, 1e9,
        "Iterations between training checkpoints; 0: by time."),
    MAP("sampling", POL, sampling, sampling_schema, "How completions are sampled."),
    MAP("optimizer", POL, optimizer, optimizer_schema, "AdamW of the policy."),
    OPTION("adapter", POL, adapter, adapter_schema,
           "Train a LoRA adapter in place of the whole model; it is kept in adapters/STAGE, too."),
    MAP("value_optimizer", POL, value_optimizer, optimizer_schema, "AdamW of the critic (ppo)."),
    MAP("mix", POL, mix, mix_schema, "PPO-ptx: pretraining text whose gradient each minibatch adds."),
    {0}};
static const struct rlhf_config_schema policy_schema = {"policy", policy_keys, sizeof(POL)};

#define DIR struct rlhf_stage_direct
static const struct rlhf_config_key direct_keys[] = {
    NEED("name", DIR, name, "The stage's name, unique in the run; its model is kept under it."),
    STR("from", DIR, from, NULL, "The stage whose policy it starts from; default: the last that made one."),
    STR("reference", DIR, reference, NULL, "The policy that log-ratios refer to; default: where it starts from."),
    STRS("rounds", DIR, rounds, "Collect and best_of stages whose comparisons it learns from, and"),
    STRS("data", DIR, data, "files of comparisons; one of both at least."),
    CHOICE("loss", DIR, loss, "sigmoid", direct_losses,
           "DPO (sigmoid) in its kinds; kto on the best and worst completions alone; orpo, which has no reference."),
    NUM("beta", DIR, beta, "0.1", 1e-9, 1000, "Factor of log-ratios; of orpo's preference part."),
    NUM("label_smoothing", DIR, label_smoothing, "0", 0, 0.499,
        "Share of comparisons thought wrong (sigmoid, robust, exo_pair, which needs it above 0)."),
    CHOICE("divergence", DIR, divergence, "reverse_kl", divergences, "Between policy and reference; DPO has reverse_kl."),
    NUM("alpha", DIR, alpha, "0.5", -1000, 1000, "Of divergence alpha."),
    NUM("tail", DIR, tail, "1", 0, 1,
        "What the tokens of a completion beyond the length of its pair's shorter one weigh (LD-DPO); 1: as all others."),
    NUM("sft_weight", DIR, sft_weight, "0", 0, 1000, "Factor of the chosen completions' mean -log-prob, added to DPO's loss."),
    NUM("desirable", DIR, desirable, "1", 0, 1000, "Weight of good completions (kto)."),
    NUM("undesirable", DIR, undesirable, "1", 0, 1000, "Weight of bad completions (kto)."),
    INT("steps", DIR, steps, "0", 0, LARGE, "How long: in steps, or"),
    INT("epochs", DIR, epochs, "0", 0, 1e6, "in passes over the pairs (kto: completions)."),
    INT("batch", DIR, batch, "32", 1, 1e6, "Pairs a step (kto: completions)."),
    INT("max_tokens", DIR, max_tokens, "0", 0, 1e6, "Longer completions are left out; 0: the model's context."),
    MAP("optimizer", DIR, optimizer, optimizer_schema, "AdamW."),
    OPTION("adapter", DIR, adapter, adapter_schema,
           "Train a LoRA adapter in place of the whole model; it is kept in adapters/STAGE, too."),
    {0}};
static const struct rlhf_config_schema direct_schema = {"direct", direct_keys, sizeof(DIR)};

#define BES struct rlhf_stage_best
static const struct rlhf_config_key best_keys[] = {
    NEED("name", BES, name, "The stage's name, unique in the run, and that of the round of its best and worst."),
    STR("from", BES, from, NULL, "The stage whose policy writes the completions; default: the last that made one."),
    STR("reward_model", BES, reward_model, NULL, "The reward stage whose model says which is best, and"),
    LIST("rewards", BES, rewards, reward_source_schema, REWARDS_HELP),
    NEED("prompts", BES, prompts, "File of prompts."),
    INT("count", BES, count, "0", 0, 1e9, "How many of its prompts; 0 means all."),
    INT("samples", BES, samples, "16", 2, 1024, "Completions of each prompt."),
    NUM("at_least", BES, at_least, "-1e15", -LARGE, LARGE, "Best completions of a smaller reward are no demonstrations."),
    MAP("sampling", BES, sampling, sampling_schema, "How completions are sampled."),
    {0}};
static const struct rlhf_config_schema best_schema = {"best_of", best_keys, sizeof(BES)};

/* As evaluation/suite.h has them, but for win_rate, which a gate finds out. */
static const char *const suites[] = {"truthfulqa", "crows_pairs", "winogender", "hellaswag", "arithmetic", "gsm8k", "perplexity", "toxicity", NULL};

#define SUI struct rlhf_run_suite
static const struct rlhf_config_key suite_keys[] = {
    NEED("suite", SUI, suite, "truthfulqa, crows_pairs, winogender, hellaswag, arithmetic, gsm8k, perplexity or toxicity."),
    NEED("file", SUI, file, "Its questions, as published (`rlhfctl eval --help`)."),
    STR("companion", SUI, companion, NULL, "The file that goes with them: gsm8k's examples, toxicity's lexicon."),
    INT("count", SUI, count, "0", 0, 1e9, "How many of its questions; 0 means all."),
    INT("shots", SUI, shots, "0", 0, 100, "gsm8k: examples before each question."),
    INT("max_new_tokens", SUI, max_new_tokens, "0", 0, 1e6, "Of an answer; 0: as is usual for the suite."),
    {0}};
static const struct rlhf_config_schema suite_schema = {"suite", suite_keys, sizeof(SUI)};

#define EVA struct rlhf_stage_evaluate
static const struct rlhf_config_key evaluate_keys[] = {
    NEED("name", EVA, name, "The stage's name, unique in the run."),
    NEEDS("policies", EVA, policies, "Stages whose policies are evaluated."),
    STR("reference", EVA, reference, NULL, "Stage of the policy that KL refers to."),
    STR("reward_model", EVA, reward_model, NULL, "Stage of the reward model that scores."),
    LIST("rewards", EVA, rewards, reward_source_schema, REWARDS_HELP),
    LIST("prompts", EVA, prompts, file_schema, "Files of prompts to complete."),
    INT("samples", EVA, samples, "1", 1, 1024, "Completions of a prompt."),
    MAP("sampling", EVA, sampling, sampling_schema,
        "How completions are sampled; the same draws for every policy."),
    LIST("perplexity", EVA, perplexity, file_schema, "Files of documents."),
    LIST("exact", EVA, exact, file_schema, "Files of {\"prompt\", \"expected\"}, completed greedily."),
    LIST("suites", EVA, suites, suite_schema, "Published questions, scored as `rlhfctl eval` does."),
    {0}};
static const struct rlhf_config_schema evaluate_schema = {"evaluate", evaluate_keys, sizeof(EVA)};

#define CLA struct rlhf_run_clause
static const struct rlhf_config_key clause_keys[] = {
    NEEDS("metrics", CLA, metrics,
          "Of the evaluation's metrics.json, below the policy's name, as exact.sums; of several the mean."),
    CHOICE("better", CLA, better, "unsaid", directions,
           "Which way is better; unsaid: higher for truthfulness, lower for toxicity."),
    NUM("budget", CLA, budget, "0", 0, LARGE, "What the candidate may lose."),
    BOOL("relative", CLA, relative, "false", "The budget is a fraction of the incumbent's value."),
    {0}};
static const struct rlhf_config_schema clause_schema = {"clause", clause_keys, sizeof(CLA)};

#define GAT struct rlhf_stage_gate
static const struct rlhf_config_key gate_keys[] = {
    NEED("name", GAT, name, "The stage's name, unique in the run; to later stages, the policy that it promoted."),
    NEED("candidate", GAT, candidate, "The stage whose policy is to be promoted."),
    STR("incumbent", GAT, incumbent, NULL,
        "The stage, or gate, whose policy stays if it is not; default: what the candidate started from."),
    NEED("evaluation", GAT, evaluation, "The evaluate stage that measured both, with a reward_model."),
    NUM("win_rate", GAT, win_rate, "0.5", 0, 1,
        "What the lower end of the 95 % interval of the candidate's win rate must be above (by the evaluation's rewards "
        "for the same prompts, ties half)."),
    LIST("truthfulness", GAT, truthfulness, clause_schema, "What may not fall."),
    LIST("toxicity", GAT, toxicity, clause_schema, "What may not rise."),
    LIST("tax", GAT, tax, clause_schema, "What may not lose more than its budget."),
    INT("retries", GAT, retries, "0", 0, RLHF_RUN_RETRIES,
        "A candidate that is not promoted is trained again so often at most, with"),
    NUM("retry_mix", GAT, retry_mix, "2", 1, 1000, "mix.weight times this, each time, and"),
    NUM("retry_kl", GAT, retry_kl, "1", 1, 1000, "kl_coefficient times this."),
    CHOICE("otherwise", GAT, otherwise, "stop", reactions,
           "When it is not promoted in the end: stop the run, or go_on with the incumbent."),
    {0}};
static const struct rlhf_config_schema gate_schema = {"gate", gate_keys, sizeof(GAT)};

#define STG struct rlhf_stage
static const struct rlhf_config_key stage_keys[] = {
    OPTION("pretrain", STG, pretrain, pretrain_schema, "Language-model training on documents."),
    OPTION("sft", STG, sft, sft_schema, "Supervised fine-tuning on demonstrations."),
    OPTION("collect", STG, collect, collect_schema,
           "Completions for people to compare, and their comparisons."),
    OPTION("reward", STG, reward, reward_schema, "A reward model from comparisons."),
    OPTION("policy", STG, policy, policy_schema, "PPO, GRPO and the like against a reward model."),
    OPTION("direct", STG, direct, direct_schema, "DPO, KTO or ORPO: a policy from comparisons, without a reward model."),
    OPTION("best_of", STG, best_of, best_schema, "The best of n completions by a reward model: demonstrations for sft."),
    OPTION("evaluate", STG, evaluate, evaluate_schema, "Measurements of policies."),
    OPTION("gate", STG, gate, gate_schema, "Promotes a policy that won and kept its skills, or rolls it back."),
    {0}};
static const struct rlhf_config_schema stage_schema = {"stage", stage_keys, sizeof(STG)};

#define RUN struct rlhf_run
#define PART(name) __typeof__(((struct rlhf_run *)0)->name)
static const struct rlhf_config_key run_run_keys[] = {
    {.key = "name",
     .type = RLHF_CONFIG_STRING,
     .offset = offsetof(PART(run), name),
     .def = "run",
     .min = 1,
     .max = 60,
     .help = "The run's name."},
    STR("dir", PART(run), dir, NULL, "The run directory; default: runs/NAME."),
    INT("seed", PART(run), seed, "1", 0, 9e15, "Of all randomness."),
    CHOICE("products", PART(run), products, "fp32", products,
           "How models multiply, in training, sampling and scoring alike: in fp32, or bf16: both operands rounded to "
           "bfloat16, sums in fp32; weights, gradients and optimiser stay fp32. Faster by far where the processor has "
           "matrix tiles (AMX)."),
    {0}};
static const struct rlhf_config_schema run_run_schema = {"run", run_run_keys, sizeof(PART(run))};

static const struct rlhf_config_key tokenizer_train_keys[] = {
    STRS("files", PART(tokenizer.train), files, "Files of text to learn it from."),
    INT("vocab_size", PART(tokenizer.train), vocab_size, "4096", 259, 1e6,
        "Special tokens, bytes and merges."),
    BOOL("digits_alone", PART(tokenizer.train), digits_alone, "false", "One token a digit."),
    {0}};
static const struct rlhf_config_schema tokenizer_train_schema = {"train", tokenizer_train_keys,
                                                                 sizeof(PART(tokenizer.train))};
static const struct rlhf_config_key tokenizer_keys[] = {
    STR("load", PART(tokenizer), load, NULL, "A directory with tokenizer.json; default: model.load."),
    MAP("train", PART(tokenizer), train, tokenizer_train_schema, "Learn it from text."),
    {0}};
static const struct rlhf_config_schema tokenizer_schema = {"tokenizer", tokenizer_keys,
                                                           sizeof(PART(tokenizer))};

static const struct rlhf_config_key model_keys[] = {
    STR("load", PART(model), load, NULL, "A Hugging Face directory; the keys below are then not used."),
    CHOICE("style", PART(model), style, "gpt2", styles, "The family whose block is built."),
    INT("layers", PART(model), layers, "4", 1, 1000, "Layers."),
    INT("heads", PART(model), heads, "4", 1, 1000, "Attention heads."),
    INT("kv_heads", PART(model), kv_heads, "0", 0, 1000, "Key/value heads; 0: as many as heads."),
    INT("channels", PART(model), channels, "128", 8, 65536, "Hidden size."),
    INT("mlp_size", PART(model), mlp_size, "0", 0, 1e6,
        "Width of the feed-forward layer; 0: the style's (4 or 8/3 times channels)."),
    INT("context", PART(model), context, "256", 8, 1e6, "Longest sequence, in tokens."),
    BOOL("tied", PART(model), tied, "true", "The output projection is the token embedding."),
    {0}};
static const struct rlhf_config_schema model_schema = {"model", model_keys, sizeof(PART(model))};

static const struct rlhf_config_key learner_keys[] = {
    STR("listen", PART(learner), listen, NULL,
        "Endpoint for workers, scorers and rlhfctl; default: ipc://DIR/learner.sock."),
    STR("remote", PART(learner), remote, NULL,
        "A second endpoint, for workers and scorers of other hosts, such as tcp://0.0.0.0:5701; absent: none."),
    BOOL("insecure", PART(learner), insecure, "false",
         "Allow an endpoint beyond this host without encryption."),
    STR("key", PART(learner), key, NULL,
        "File with the learner's secret key (rlhfctl keys new), or a credential's name: TCP is under CURVE then."),
    STR("peers", PART(learner), peers, NULL,
        "File of the known public keys, a line each: KEY ROLE NAME [sessions=N]. SIGHUP reads it again."),
    INT("threads", PART(learner), threads, "0", 0, 4096, "Compute threads; 0: as many as there are cores."),
    INT("lease_ms", PART(learner), lease_ms, "10000", 100, 1e7, "Life of a job's lease without a heartbeat."),
    INT("checkpoint_seconds", PART(learner), checkpoint_seconds, "60", 1, 1e6,
        "Time between training checkpoints."),
    INT("verify_tokens", PART(learner), verify_tokens, "256", 0, 1e6,
        "Tokens of every iteration whose log-probs are recomputed and compared with the sampler's."),
    {0}};
static const struct rlhf_config_schema learner_schema = {"learner", learner_keys, sizeof(PART(learner))};

static const struct rlhf_config_key collector_keys[] = {
    BOOL("start", PART(up.label_collector), start, "true", "Start a label-collector with the run."),
    STR("http", PART(up.label_collector), http, "127.0.0.1:8080", "Address and port of its page and API."),
    STR("database", PART(up.label_collector), database, NULL, "Its database; default: DIR/labels.db."),
    {0}};
static const struct rlhf_config_schema collector_schema = {"label_collector", collector_keys,
                                                           sizeof(PART(up.label_collector))};
static const struct rlhf_config_key up_keys[] = {
    INT("rollout_workers", PART(up), rollout_workers, "1", 0, 1000, "How many to start on this host."),
    INT("reward_scorers", PART(up), reward_scorers, "1", 0, 1000, "How many to start on this host."),
    INT("worker_threads", PART(up), worker_threads, "1", 0, 4096,
        "Compute threads of each; 0: as many as cores."),
    INT("scorer_threads", PART(up), scorer_threads, "1", 0, 4096,
        "Compute threads of each; 0: as many as cores."),
    MAP("label_collector", PART(up), label_collector, collector_schema, "The label-collector of this run."),
    {0}};
static const struct rlhf_config_schema up_schema = {"up", up_keys, sizeof(PART(up))};

static const struct rlhf_config_key run_keys[] = {
    MAP("run", RUN, run, run_run_schema, "Name, place, seed."),
    MAP("tokenizer", RUN, tokenizer, tokenizer_schema, "Text to tokens."),
    MAP("model", RUN, model, model_schema, "What the first stage starts from."),
    MAP("learner", RUN, learner, learner_schema, "The learner process."),
    STR("labels", RUN, labels, NULL,
        "The label-collector's endpoint for the learner; default: ipc://DIR/labels.sock."),
    MAP("up", RUN, up, up_schema, "What `rlhfctl up` starts on this host."),
    {.key = "stages",
     .type = RLHF_CONFIG_LIST,
     .offset = offsetof(RUN, stages),
     .required = true,
     .min = 1,
     .max = 1000,
     .sub = &stage_schema,
     .help = "What is done, in order."},
    {0}};
const struct rlhf_config_schema rlhf_run_schema = {"run file", run_keys, sizeof(RUN)};

/* ---- stages ------------------------------------------------------------------------------------------ */

size_t rlhf_run_stages(const struct rlhf_run *run)
{
    return run->stages.count;
}

const struct rlhf_stage *rlhf_run_stage(const struct rlhf_run *run, size_t index)
{
    return (const struct rlhf_stage *)run->stages.items + index;
}

enum rlhf_stage_kind rlhf_stage_kind(const struct rlhf_stage *s)
{
    return s->pretrain  ? RLHF_STAGE_PRETRAIN
           : s->sft     ? RLHF_STAGE_SFT
           : s->collect ? RLHF_STAGE_COLLECT
           : s->reward  ? RLHF_STAGE_REWARD
           : s->policy  ? RLHF_STAGE_POLICY
           : s->direct  ? RLHF_STAGE_DIRECT
           : s->best_of ? RLHF_STAGE_BEST_OF
           : s->gate    ? RLHF_STAGE_GATE
                        : RLHF_STAGE_EVALUATE;
}

const char *rlhf_stage_kind_name(enum rlhf_stage_kind kind)
{
    static const char *const names[] = {"pretrain", "sft",     "collect",  "reward", "policy",
                                        "direct",   "best_of", "evaluate", "gate"};
    return names[kind];
}

const char *rlhf_stage_name(const struct rlhf_stage *s)
{
    return s->pretrain  ? s->pretrain->name
           : s->sft     ? s->sft->name
           : s->collect ? s->collect->name
           : s->reward  ? s->reward->name
           : s->policy  ? s->policy->name
           : s->direct  ? s->direct->name
           : s->best_of ? s->best_of->name
           : s->gate    ? s->gate->name
                        : s->evaluate->name;
}

int rlhf_run_find(const struct rlhf_run *run, const char *name)
{
    for (size_t i = 0; i < run->stages.count; i++)
        if (strcmp(rlhf_stage_name(rlhf_run_stage(run, i)), name) == 0)
            return (int)i;
    return -1;
}

static bool makes_policy(enum rlhf_stage_kind kind)
{
    return kind == RLHF_STAGE_PRETRAIN || kind == RLHF_STAGE_SFT || kind == RLHF_STAGE_POLICY ||
           kind == RLHF_STAGE_DIRECT || kind == RLHF_STAGE_GATE;
}

const char *rlhf_stage_from(const struct rlhf_run *run, size_t index)
{
    const struct rlhf_stage *s = rlhf_run_stage(run, index);

    switch (rlhf_stage_kind(s)) {
    case RLHF_STAGE_PRETRAIN:
        return s->pretrain->from;
    case RLHF_STAGE_SFT:
        if (s->sft->from)
            return s->sft->from;
        break;
    case RLHF_STAGE_REWARD:
        if (s->reward->from)
            return s->reward->from;
        break;
    case RLHF_STAGE_POLICY:
        if (s->policy->from)
            return s->policy->from;
        break;
    case RLHF_STAGE_DIRECT:
        if (s->direct->from)
            return s->direct->from;
        break;
    case RLHF_STAGE_BEST_OF:
        if (s->best_of->from)
            return s->best_of->from;
        break;
    default:
        return NULL;
    }
    while (index-- > 0)
        if (makes_policy(rlhf_stage_kind(rlhf_run_stage(run, index))))
            return rlhf_stage_name(rlhf_run_stage(run, index));
    return NULL;
}

/* ---- what a stage is made of --------------------------------------------------------------------------- */

static void mark(const struct rlhf_run *run, const char *name, bool *marks)
{
    int i = name ? rlhf_run_find(run, name) : -1;

    if (i >= 0)
        marks[i] = true;
}

static void mark_all(const struct rlhf_run *run, const struct rlhf_config_strings *names, bool *marks)
{
    for (size_t i = 0; i < names->count; i++)
        mark(run, names->items[i], marks);
}

static void mark_inputs(const struct rlhf_run *run, size_t index, bool *marks)
{
    const struct rlhf_stage *s = rlhf_run_stage(run, index);

    mark(run, rlhf_stage_from(run, index), marks);
    switch (rlhf_stage_kind(s)) {
    case RLHF_STAGE_PRETRAIN:
    case RLHF_STAGE_KINDS:
        break;
    case RLHF_STAGE_SFT:
        mark_all(run, &s->sft->best_of, marks);
        mark(run, s->sft->select ? s->sft->select->reward_model : NULL, marks);
        break;
    case RLHF_STAGE_COLLECT:
        mark_all(run, &s->collect->policies, marks);
        if (s->collect->select) {
            mark_all(run, &s->collect->select->reward_models, marks);
            mark(run, s->collect->select->reference, marks);
        }
        break;
    case RLHF_STAGE_REWARD:
        mark_all(run, &s->reward->rounds, marks);
        break;
    case RLHF_STAGE_POLICY:
        mark(run, s->policy->reference, marks);
        mark(run, s->policy->reward_model, marks);
        mark_all(run, &s->policy->ensemble, marks);
        break;
    case RLHF_STAGE_DIRECT:
        mark(run, s->direct->reference, marks);
        mark_all(run, &s->direct->rounds, marks);
        break;
    case RLHF_STAGE_BEST_OF:
        mark(run, s->best_of->reward_model, marks);
        break;
    case RLHF_STAGE_EVALUATE:
        mark_all(run, &s->evaluate->policies, marks);
        mark(run, s->evaluate->reference, marks);
        mark(run, s->evaluate->reward_model, marks);
        break;
    case RLHF_STAGE_GATE:
        mark(run, s->gate->candidate, marks);
        mark(run, rlhf_run_incumbent(run, index), marks);
        mark(run, s->gate->evaluation, marks);
    }
}

void rlhf_run_made_of(const struct rlhf_run *run, size_t index, bool all, bool *made_of)
{
    for (size_t i = 0; i < run->stages.count; i++)
        made_of[i] = false;
    mark_inputs(run, index, made_of);
    for (size_t i = index; all && i-- > 0;) /* stages refer to earlier ones only */
        if (made_of[i])
            mark_inputs(run, i, made_of);
}

const char *rlhf_run_incumbent(const struct rlhf_run *run, size_t index)
{
    const struct rlhf_stage_gate *g = rlhf_run_stage(run, index)->gate;
    int candidate = rlhf_run_find(run, g->candidate);

    return g->incumbent ?: candidate >= 0 ? rlhf_stage_from(run, (size_t)candidate) : NULL;
}

const struct rlhf_run_source *rlhf_run_source(const struct rlhf_run_reward *r, int *kind)
{
    struct rlhf_run_source *const all[] = {r->reward_model, r->pattern, r->length, r->exact, r->service, r->judge};

    for (*kind = 0; *kind < 5 && !all[*kind]; ++*kind)
        ;
    return all[*kind];
}

const char *rlhf_run_algorithm(const struct rlhf_stage_policy *s)
{
    return algorithms[s->algorithm];
}

const char *rlhf_run_direct_loss(const struct rlhf_stage_direct *s)
{
    return direct_losses[s->loss];
}

bool rlhf_run_algorithm_has_critic(int algorithm)
{
    return algorithm == RLHF_RUN_PPO;
}

bool rlhf_run_algorithm_compares(int algorithm)
{
    return algorithm != RLHF_RUN_PPO && algorithm != RLHF_RUN_REINFORCE_PLUS_PLUS;
}

bool rlhf_run_algorithm_kl_in_loss(int algorithm)
{
    return algorithm > RLHF_RUN_PPO && algorithm < RLHF_RUN_RLOO;
}

const char *rlhf_run_products(const struct rlhf_run *run)
{
    return products[run->run.products];
}

const char *rlhf_run_model_style(const struct rlhf_run *run)
{
    return styles[run->model.style];
}

/* ---- rules between keys ------------------------------------------------------------------------------ */

struct check {
    const struct rlhf_run *run;
    const char *where;
    size_t index;
    const struct rlhf_stage *stage;
    struct rlhf_error *err;
};

static int __attribute__((format(printf, 3, 4)))
complain(const struct check *c, const char *key, const char *fmt, ...)
{
    char what[240];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return rlhf_fail(c->err, RLHF_REJECT, "%s: stage %zu (%s): %s: %s", c->where, c->index + 1,
                     rlhf_stage_kind_name(rlhf_stage_kind(c->stage)), key, what);
}

/* name must be an earlier stage that makes what is wanted. NULL passes. */
static int refer(const struct check *c, const char *key, const char *name, bool policy,
                 enum rlhf_stage_kind kind)
{
    if (!name)
        return 0;
    for (size_t i = 0; i < c->index; i++) {
        const struct rlhf_stage *s = rlhf_run_stage(c->run, i);
        if (strcmp(rlhf_stage_name(s), name) != 0)
            continue;
        if (policy ? makes_policy(rlhf_stage_kind(s)) : rlhf_stage_kind(s) == kind)
            return 0;
        if (!policy && kind == RLHF_STAGE_COLLECT && c->stage->direct && s->best_of) /* it made comparisons, too */
            return 0;
        return complain(c, key, "'%s' is a %s stage; name %s", name, rlhf_stage_kind_name(rlhf_stage_kind(s)),
                        policy                      ? "one that makes a policy (pretrain, sft, policy, direct, gate)"
                        : kind == RLHF_STAGE_REWARD ? "a reward stage"
                        : kind == RLHF_STAGE_BEST_OF ? "a best_of stage"
                        : kind == RLHF_STAGE_EVALUATE ? "an evaluate stage"
                                                      : "a collect stage");
    }
    return complain(c, key, "no earlier stage is called '%s'", name);
}

static int refer_all(const struct check *c, const char *key, const struct rlhf_config_strings *names,
                     bool policy, enum rlhf_stage_kind kind)
{
    for (size_t i = 0; i < names->count; i++)
        if (refer(c, key, names->items[i], policy, kind) < 0)
            return -1;
    return 0;
}

static int one_of(const struct check *c, const char *keys, bool a, bool b, bool d)
{
    return a + b + d == 1 ? 0 : complain(c, keys, "exactly one of them says how long the stage is");
}

static int check_mix(const struct check *c, const struct rlhf_run_mix *mix)
{
    if (mix->weight > 0 && mix->data.count == 0)
        return complain(c, "mix.data", "missing, but mix.weight is not 0; name files of documents");
    if (mix->weight <= 0 && mix->data.count > 0)
        return complain(c, "mix.weight", "is 0, so mix.data would not be used; set it or remove mix");
    return 0;
}

static int check_files(const struct check *c, const char *key, const struct rlhf_config_list *files)
{
    const struct rlhf_run_file *f = files->items;

    for (size_t i = 0; i < files->count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(f[i].name, f[j].name) == 0)
                return complain(c, key, "two files are called '%s'", f[i].name);
    return 0;
}

enum { MAX_END_TOKENS = 31, MAX_STOPS = 16, MAX_STOP = 99 }; /* as model/sampler.h and model/generation.h */

static int check_sampling(const struct check *c, const struct rlhf_run_sampling *s)
{
    if (s->min_new_tokens > s->max_new_tokens)
        return complain(c, "sampling.min_new_tokens", "%lld is more than max_new_tokens, %lld",
                        (long long)s->min_new_tokens, (long long)s->max_new_tokens);
    if (s->end_tokens.count > MAX_END_TOKENS)
        return complain(c, "sampling.end_tokens", "%zu tokens; at most %d are allowed", s->end_tokens.count,
                        MAX_END_TOKENS);
    if (s->stop.count > MAX_STOPS)
        return complain(c, "sampling.stop", "%zu texts; at most %d are allowed", s->stop.count, MAX_STOPS);
    for (size_t i = 0; i < s->stop.count; i++)
        if (s->stop.items[i][0] == '\0' || strlen(s->stop.items[i]) > MAX_STOP)
            return complain(c, "sampling.stop", "text %zu is empty or longer than %d bytes", i + 1, MAX_STOP);
    return 0;
}

static int check_rewards(const struct check *c, const struct rlhf_config_list *list, const char *reward_model)
{
    const struct rlhf_run_reward *r = list->items;
    bool model = false;
    int kind;

    if (list->count > RLHF_RUN_REWARDS)
        return complain(c, "rewards", "%zu sources; at most %d are allowed", list->count, RLHF_RUN_REWARDS);
    for (size_t i = 0; i < list->count; i++) {
        const struct rlhf_run_source *s = rlhf_run_source(&r[i], &kind);
        int kinds = (r[i].reward_model != NULL) + (r[i].pattern != NULL) + (r[i].length != NULL) + (r[i].exact != NULL) +
                    (r[i].service != NULL) + (r[i].judge != NULL);

        if (kinds != 1)
            return complain(c, "rewards", "source %zu has exactly one key, its kind (reward_model, pattern, length, exact, "
                            "service or judge), this one has %d", i + 1, kinds);
        if (kind == 0 && (!reward_model || model))
            return complain(c, "rewards", reward_model ? "two sources are the reward_model" : "the stage has no reward_model");
        model |= kind == 0;
        if (c->stage->evaluate && s->normalize)
            return complain(c, "rewards", "normalize would measure each policy with another scale; only policy and best_of stages "
                            "have it");
        if (kind > 0 && strcmp(s->name, "reward_model") == 0)
            return complain(c, "rewards", "'reward_model' is what the reward_model's own is called");
        for (size_t j = 0; kind > 0 && j < i; j++) {
            const char *other = rlhf_run_source(&r[j], &(int){0})->name;
            if (other && strcmp(other, s->name) == 0)
                return complain(c, "rewards", "two sources are called '%s'", s->name);
        }
    }
    if (!reward_model && list->count == 0 && !c->stage->evaluate)
        return complain(c, "reward_model, rewards", "both missing; there are no rewards");
    return 0;
}

static int check_select(const struct check *c, const struct rlhf_run_select *s)
{
    if (refer(c, "select.reward_model", s->reward_model, false, RLHF_STAGE_REWARD) < 0)
        return -1;
    if (!s->reward_model != !s->prompts)
        return complain(c, s->prompts ? "select.reward_model" : "select.prompts", "missing; a reward model scores completions of prompts");
    if (!s->reward_model && s->validation.count == 0)
        return complain(c, "select", "by what? name a reward_model and prompts, or validation files");
    return check_sampling(c, &s->sampling);
}

/* -1 stands for the algorithm's own; nothing else below 0 means anything. */
static int check_own(const struct check *c, const char *key, double value, bool may_be_zero)
{
    if (value == RLHF_RUN_OWN || value > 0 || (value == 0 && may_be_zero))
        return 0;
    return complain(c, key, "%g: give %s, or -1 for the algorithm's own", value,
                    may_be_zero ? "0 or more" : "more than 0");
}

/* A key that the algorithm would not look at was meant for another one. */
static int unused(const struct check *c, const char *key, const char *who)
{
    return complain(c, key, "%s has no use for it; it is for %s: remove it or change algorithm",
                    rlhf_run_algorithm(c->stage->policy), who);
}

static int check_unused(const struct check *c)
{
    const struct rlhf_stage_policy *p = c->stage->policy;
    bool critic = rlhf_run_algorithm_has_critic(p->algorithm), sapo = p->algorithm == RLHF_RUN_SAPO;
    bool group = p->algorithm != RLHF_RUN_REINFORCE_PLUS_PLUS_BASELINE && rlhf_run_algorithm_compares(p->algorithm);
    bool low = p->clip_low != RLHF_RUN_OWN, high = p->clip_high != RLHF_RUN_OWN, both = p->clip != RLHF_RUN_OWN;

    if (p->value_clip > 0 && !critic)
        return unused(c, "value_clip", "ppo, which has a critic");
    if (p->whiten_minibatches && !critic)
        return unused(c, "whiten_minibatches", "ppo");
    if (p->whiten_rewards && !critic)
        return unused(c, "whiten_rewards", "ppo");
    if (p->discount < 1 && group)
        return unused(c, "discount", "algorithms with an advantage a token (ppo, reinforce_plus_plus)");
    if (p->advantage_scale && !group)
        return unused(c, "advantage_scale", "algorithms with an advantage a completion (grpo and its kin, rloo)");
    if (p->kl_corrected && !rlhf_run_algorithm_kl_in_loss(p->algorithm))
        return unused(c, "kl_corrected", "algorithms with the KL penalty in the loss (grpo and its kin)");
    if ((low || both || high) && sapo)
        return unused(c, low ? "clip_low" : high ? "clip_high" : "clip", "algorithms that clip the ratio");
    if ((low || both) && p->algorithm == RLHF_RUN_CISPO)
        return unused(c, low ? "clip_low" : "clip", "algorithms that clip on both sides; cispo has clip_high");
    if ((p->temperature_positive != RLHF_RUN_OWN || p->temperature_negative != RLHF_RUN_OWN) && !sapo)
        return unused(c, "temperature_positive, temperature_negative", "sapo");
    if (p->ratio_limit > 0 && (sapo || p->algorithm == RLHF_RUN_CISPO))
        return unused(c, "ratio_limit", "algorithms that clip on both sides");
    return 0;
}

static int check_watch(const struct check *c, const struct rlhf_run_watch *watch)
{
    const struct rlhf_run_limit *l = watch->limits.items;

    if (watch->limits.count > RLHF_RUN_LIMITS)
        return complain(c, "watch.limits", "%zu limits; at most %d are allowed", watch->limits.count, RLHF_RUN_LIMITS);
    for (size_t i = 0; i < watch->limits.count; i++)
        if (l[i].at_least <= -LARGE && l[i].at_most >= LARGE && l[i].fall <= 0 && l[i].rise <= 0)
            return complain(c, "watch.limits", "%s has no limit: give at_least, at_most, fall or rise", l[i].metric);
    return 0;
}

static int check_algorithm(const struct check *c)
{
    const struct rlhf_stage_policy *p = c->stage->policy;

    if (refer_all(c, "ensemble", &p->ensemble, false, RLHF_STAGE_REWARD) < 0)
        return -1;
    if (p->ensemble.count >= RLHF_RUN_ENSEMBLE)
        return complain(c, "ensemble", "%zu stages; at most %d besides reward_model are allowed", p->ensemble.count,
                        RLHF_RUN_ENSEMBLE - 1);
    if (p->ensemble.count > 0 && !p->reward_model)
        return complain(c, "ensemble", "beside no reward_model; name the first one there");
    if (!p->reward_model && rlhf_run_algorithm_has_critic(p->algorithm))
        return complain(c, "reward_model", "missing; the critic of %s starts from it", rlhf_run_algorithm(p));
    for (size_t i = 0; i < p->ensemble.count; i++)
        if (strcmp(p->ensemble.items[i], p->reward_model) == 0)
            return complain(c, "ensemble", "'%s' is the reward_model already", p->reward_model);
    if (p->ensemble_deviations > 0 && p->ensemble.count == 0)
        return complain(c, "ensemble_deviations", "one model has no deviation; name others in ensemble");
    if (rlhf_run_algorithm_compares(p->algorithm) && p->samples < 2)
        return complain(c, "samples", "%s compares the completions of a prompt: ask for 2 or more", rlhf_run_algorithm(p));
    if (check_unused(c) < 0 || check_own(c, "kl_coefficient", p->kl_coefficient, true) < 0 ||
        check_own(c, "clip", p->clip, false) < 0 || check_own(c, "clip_low", p->clip_low, false) < 0 ||
        check_own(c, "clip_high", p->clip_high, false) < 0 ||
        check_own(c, "temperature_positive", p->temperature_positive, false) < 0 ||
        check_own(c, "temperature_negative", p->temperature_negative, false) < 0)
        return -1;
    if (p->clip > 1 && p->clip_low == RLHF_RUN_OWN)
        return complain(c, "clip", "%g: below 1 it can be no wider than 1; name clip_low and clip_high", p->clip);
    if (p->ratio_limit > 0 && p->ratio_limit <= 1)
        return complain(c, "ratio_limit", "%g: must be above 1, or 0 for none", p->ratio_limit);
    if (p->kl_target > 0 &&
        (p->kl_coefficient == 0 || (p->kl_coefficient < 0 && rlhf_run_algorithm_kl_in_loss(p->algorithm) &&
                                    p->algorithm != RLHF_RUN_GRPO)))
        return complain(c, "kl_target", "nothing adapts from a kl_coefficient of 0; set it above");
    if (p->lag == 0 && (p->off_policy || p->importance || p->importance_by_completion))
        return complain(c, p->off_policy ? "off_policy" : "importance", "is not used: lag is 0, and no batch is off policy");
    if (p->off_policy == RLHF_RUN_RATIO && (p->importance || p->importance_by_completion))
        return complain(c, "importance", "is not used: off_policy ratio has no such weights");
    if (p->dynamic_sampling > 0 && p->samples < 2)
        return complain(c, "dynamic_sampling", "one completion of a prompt cannot differ; set samples to 2 or more");
    if (p->dynamic_sampling_spread > 0 && p->dynamic_sampling == 0)
        return complain(c, "dynamic_sampling_spread", "is not used: dynamic_sampling is 0");
    if (p->overlong_cache > p->sampling.max_new_tokens)
        return complain(c, "overlong_cache", "%lld is more than sampling.max_new_tokens, %lld", (long long)p->overlong_cache,
                        (long long)p->sampling.max_new_tokens);
    return 0;
}

static int check_direct(const struct check *c)
{
    const struct rlhf_stage_direct *d = c->stage->direct;
    const char *loss = direct_losses[d->loss];
    bool dpo = d->loss < RLHF_RUN_DIRECT_DPO_KINDS, kto = d->loss == RLHF_RUN_KTO;

    if (refer(c, "from", d->from, true, 0) < 0 || refer(c, "reference", d->reference, true, 0) < 0 ||
        refer_all(c, "rounds", &d->rounds, false, RLHF_STAGE_COLLECT) < 0 ||
        one_of(c, "steps, epochs", d->steps > 0, d->epochs > 0, false) < 0)
        return -1;
    if (d->rounds.count + d->data.count == 0)
        return complain(c, "rounds, data", "both missing; name collect stages or files of comparisons");
    if (d->label_smoothing > 0 && strcmp(loss, "sigmoid") != 0 && strcmp(loss, "robust") != 0 &&
        strcmp(loss, "exo_pair") != 0)
        return complain(c, "label_smoothing", "%s has no use for it; it is for sigmoid, robust and exo_pair", loss);
    if (d->label_smoothing <= 0 && strcmp(loss, "exo_pair") == 0)
        return complain(c, "label_smoothing", "exo_pair needs it above 0 (try 0.001)");
    if ((d->divergence || d->tail < 1 || d->sft_weight > 0) && !dpo)
        return complain(c, d->divergence ? "divergence" : d->tail < 1 ? "tail" : "sft_weight",
                        "%s has no use for it; it is for the kinds of DPO", loss);
    if ((d->desirable != 1 || d->undesirable != 1) && !kto)
        return complain(c, "desirable, undesirable", "%s has no use for them; they are for kto", loss);
    if (d->reference && d->loss == RLHF_RUN_ORPO)
        return complain(c, "reference", "orpo has none; remove it");
    return 0;
}

static int check_choice(const struct check *c, const struct rlhf_stage_collect *k)
{
    const struct rlhf_run_choice *s = k->select;
    double all = s ? s->random + s->disagreement + s->reward_kl : 1;

    if (!s)
        return 0;
    if (k->policies.count == 0)
        return complain(c, "select", "nothing is generated; name policies, or remove it");
    if (k->count == 0)
        return complain(c, "count", "missing; say how many of the candidates are submitted");
    if (s->candidates > 0 && s->candidates < k->count)
        return complain(c, "select.candidates", "%lld are fewer than count, %lld", (long long)s->candidates, (long long)k->count);
    if (all < 0.999 || all > 1.001)
        return complain(c, "select", "random, disagreement and reward_kl add up to %g, not to 1", all);
    if (s->reward_models.count > RLHF_RUN_ENSEMBLE)
        return complain(c, "select.reward_models", "%zu stages; at most %d are allowed", s->reward_models.count,
                        RLHF_RUN_ENSEMBLE);
    if (s->disagreement > 0 && s->reward_models.count < 2)
        return complain(c, "select.reward_models", "two or more must be named that can disagree");
    if (s->reward_kl > 0 && (s->reward_models.count == 0 || !s->reference))
        return complain(c, s->reference ? "select.reward_models" : "select.reference", "missing, and reward_kl needs it");
    return refer_all(c, "select.reward_models", &s->reward_models, false, RLHF_STAGE_REWARD) < 0 ||
                   refer(c, "select.reference", s->reference, true, 0) < 0
               ? -1
               : 0;
}

static bool among(const struct rlhf_config_strings *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i], name) == 0)
            return true;
    return false;
}

/* Suites are there, and each once: their names are those of the results. */
static int check_suites(const struct check *c, const struct rlhf_stage_evaluate *e)
{
    const struct rlhf_run_suite *s = e->suites.items;

    for (size_t i = 0; i < e->suites.count; i++) {
        size_t known = 0;

        while (suites[known] && strcmp(suites[known], s[i].suite) != 0)
            known++;
        if (!suites[known]) {
            const char *meant = rlhf_did_you_mean(s[i].suite, suites);
            return complain(c, "suites", "there is no suite '%s'%s%s%s", s[i].suite, meant ? "; did you mean '" : "",
                            meant ? meant : "", meant ? "'?" : "");
        }
        for (size_t j = 0; j < i; j++)
            if (strcmp(s[i].suite, s[j].suite) == 0)
                return complain(c, "suites", "%s is there twice", s[i].suite);
        if (strcmp(s[i].suite, "toxicity") == 0 && !s[i].companion)
            return complain(c, "suites", "toxicity needs its lexicon: companion");
        if (s[i].shots > 0 && !s[i].companion)
            return complain(c, "suites", "%s needs the file of its examples: companion", s[i].suite);
    }
    return 0;
}

static bool has_suite(const struct rlhf_stage_evaluate *e, const char *name, size_t size)
{
    const struct rlhf_run_suite *s = e->suites.items;

    for (size_t i = 0; i < e->suites.count; i++)
        if (strlen(s[i].suite) == size && strncmp(s[i].suite, name, size) == 0)
            return true;
    return false;
}

/* Of the metrics that a run file names, those whose names are in it, too, can be checked now. */
static int check_metric(const struct check *c, const char *key, const char *metric, const struct rlhf_stage_evaluate *e)
{
    const struct rlhf_config_list *files = strncmp(metric, "exact.", 6) == 0        ? &e->exact
                                           : strncmp(metric, "perplexity.", 11) == 0 ? &e->perplexity
                                                                                     : NULL;
    const struct rlhf_run_file *f = files ? files->items : NULL;
    const bool suite = strncmp(metric, "suites.", 7) == 0;

    if (suite && has_suite(e, metric + 7, strcspn(metric + 7, ".")))
        return 0;
    for (size_t i = 0; files && i < files->count; i++)
        if (strcmp(f[i].name, strchr(metric, '.') + 1) == 0)
            return 0;
    return files || suite ? complain(c, key, "stage %s measures no %s", e->name, metric) : 0;
}

static int check_clauses(const struct check *c, const char *key, const struct rlhf_config_list *list, bool says_which,
                         const struct rlhf_stage_evaluate *e)
{
    const struct rlhf_run_clause *clauses = list->items;

    for (size_t i = 0; i < list->count; i++) {
        if (says_which && clauses[i].better == RLHF_RUN_BETTER_UNSAID)
            return complain(c, key, "%s: is higher or lower better? say it in `better`", clauses[i].metrics.items[0]);
        for (size_t m = 0; m < clauses[i].metrics.count; m++)
            if (check_metric(c, key, clauses[i].metrics.items[m], e) < 0)
                return -1;
    }
    return 0;
}

static int check_retries(const struct check *c, const struct rlhf_stage_policy *candidate)
{
    const struct rlhf_stage_gate *g = c->stage->gate;

    if (g->retries == 0)
        return 0;
    if (!candidate)
        return complain(c, "retries", "'%s' is not a policy stage; only those are tried again", g->candidate);
    if (g->retry_mix <= 1 && g->retry_kl <= 1)
        return complain(c, "retry_mix, retry_kl", "with both 1 a retry would be the same again");
    if (g->retry_kl > 1 && candidate->kl_coefficient <= 0)
        return complain(c, "retry_kl", "%s sets no kl_coefficient above 0 that could be raised", candidate->name);
    if (candidate->mix.weight <= 0 && g->retry_kl <= 1)
        return complain(c, "retry_mix", "%s has no mix whose weight could be raised; give it one, or set retry_kl",
                        candidate->name);
    return 0;
}

static int check_gate(const struct check *c)
{
    const struct rlhf_stage_gate *g = c->stage->gate;
    const struct rlhf_stage_evaluate *e;
    const char *incumbent;

    if (refer(c, "candidate", g->candidate, true, 0) < 0 || refer(c, "incumbent", g->incumbent, true, 0) < 0 ||
        refer(c, "evaluation", g->evaluation, false, RLHF_STAGE_EVALUATE) < 0)
        return -1;
    e = rlhf_run_stage(c->run, (size_t)rlhf_run_find(c->run, g->evaluation))->evaluate;
    if (!(incumbent = rlhf_run_incumbent(c->run, c->index)))
        return complain(c, "incumbent", "missing, and the candidate started from no earlier stage");
    if (strcmp(incumbent, g->candidate) == 0)
        return complain(c, "incumbent", "'%s' is the candidate", incumbent);
    if (!among(&e->policies, g->candidate) || !among(&e->policies, incumbent))
        return complain(c, "evaluation", "%s must measure both %s and %s: name them in its policies", e->name, g->candidate,
                        incumbent);
    if (!e->reward_model || e->prompts.count == 0)
        return complain(c, "evaluation", "%s has no %s, so nobody can win", e->name,
                        e->reward_model ? "prompts" : "reward_model");
    if (check_clauses(c, "truthfulness", &g->truthfulness, false, e) < 0 ||
        check_clauses(c, "toxicity", &g->toxicity, false, e) < 0 || check_clauses(c, "tax", &g->tax, true, e) < 0)
        return -1;
    return check_retries(c, rlhf_run_stage(c->run, (size_t)rlhf_run_find(c->run, g->candidate))->policy);
}

static int check_kind(const struct check *c)
{
    const struct rlhf_stage *s = c->stage;

    switch (rlhf_stage_kind(s)) {
    case RLHF_STAGE_PRETRAIN:
        if (refer(c, "from", s->pretrain->from, true, 0) < 0)
            return -1;
        return one_of(c, "steps, epochs, tokens", s->pretrain->steps > 0, s->pretrain->epochs > 0,
                      s->pretrain->tokens > 0);
    case RLHF_STAGE_SFT:
        if (refer(c, "from", s->sft->from, true, 0) < 0 || check_mix(c, &s->sft->mix) < 0 ||
            refer_all(c, "best_of", &s->sft->best_of, false, RLHF_STAGE_BEST_OF) < 0)
            return -1;
        if (s->sft->data.count + s->sft->best_of.count == 0)
            return complain(c, "data, best_of", "both missing; name files of demonstrations or best_of stages");
        if (s->sft->select && check_select(c, s->sft->select) < 0)
            return -1;
        return one_of(c, "steps, epochs", s->sft->steps > 0, s->sft->epochs > 0, false);
    case RLHF_STAGE_COLLECT: {
        const struct rlhf_stage_collect *k = s->collect;
        if (refer_all(c, "policies", &k->policies, true, 0) < 0)
            return -1;
        if (k->policies.count > 0 && !k->prompts)
            return complain(c, "prompts", "missing; the policies need something to complete");
        if (k->policies.count > 0 && k->policies.count * (size_t)k->samples < 2)
            return complain(c, "samples", "one completion of a prompt cannot be compared; ask for 2 or more");
        if (k->policies.count == 0 && (k->prompts || k->want == 0))
            return complain(c, k->prompts ? "policies" : "want",
                            k->prompts ? "missing; name the stages whose policies complete the prompts"
                                       : "missing; say how many imported comparisons to wait for");
        return check_choice(c, k) < 0 ? -1 : check_sampling(c, &k->sampling);
    }
    case RLHF_STAGE_REWARD:
        if (refer(c, "from", s->reward->from, true, 0) < 0)
            return -1;
        if (s->reward->unit_deviation && !s->reward->zero_mean_on)
            return complain(c, "unit_deviation", "of what? name demonstrations in zero_mean_on");
        return refer_all(c, "rounds", &s->reward->rounds, false, RLHF_STAGE_COLLECT);
    case RLHF_STAGE_POLICY: {
        const struct rlhf_stage_policy *p = s->policy;
        if (refer(c, "from", p->from, true, 0) < 0 || refer(c, "reference", p->reference, true, 0) < 0 ||
            refer(c, "reward_model", p->reward_model, false, RLHF_STAGE_REWARD) < 0 ||
            check_rewards(c, &p->rewards, p->reward_model) < 0 || check_mix(c, &p->mix) < 0)
            return -1;
        if (p->sampling.temperature <= 0)
            return complain(c, "sampling.temperature",
                            "must be above 0: there must be a distribution to sample from");
        return check_algorithm(c) < 0 || check_watch(c, &p->watch) < 0 ? -1 : check_sampling(c, &p->sampling);
    }
    case RLHF_STAGE_DIRECT:
        return check_direct(c);
    case RLHF_STAGE_BEST_OF:
        if (refer(c, "from", s->best_of->from, true, 0) < 0 ||
            refer(c, "reward_model", s->best_of->reward_model, false, RLHF_STAGE_REWARD) < 0 ||
            check_rewards(c, &s->best_of->rewards, s->best_of->reward_model) < 0)
            return -1;
        if (s->best_of->sampling.temperature <= 0)
            return complain(c, "sampling.temperature", "must be above 0: greedy completions of a prompt are all equal");
        return check_sampling(c, &s->best_of->sampling);
    case RLHF_STAGE_GATE:
        return check_gate(c);
    default: {
        const struct rlhf_stage_evaluate *e = s->evaluate;
        if (refer_all(c, "policies", &e->policies, true, 0) < 0 ||
            refer(c, "reference", e->reference, true, 0) < 0 ||
            refer(c, "reward_model", e->reward_model, false, RLHF_STAGE_REWARD) < 0 ||
            check_rewards(c, &e->rewards, e->reward_model) < 0 || check_files(c, "prompts", &e->prompts) < 0 || check_files(c, "perplexity", &e->perplexity) < 0 ||
            check_files(c, "exact", &e->exact) < 0 || check_suites(c, e) < 0 || check_sampling(c, &e->sampling) < 0)
            return -1;
        if (e->prompts.count + e->perplexity.count + e->exact.count + e->suites.count == 0)
            return complain(c, "prompts, perplexity, exact, suites", "all missing; there is nothing to measure");
        return 0;
    }
    }
}

/* Names become names of directories. */
static bool good_name(const char *name)
{
    static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return name[0] && name[0] != '.' && strlen(name) <= 60 && strspn(name, ok) == strlen(name);
}

static int check_stage(const struct check *c)
{
    const struct rlhf_stage *s = c->stage;
    int kinds = (s->pretrain != NULL) + (s->sft != NULL) + (s->collect != NULL) + (s->reward != NULL) +
                (s->policy != NULL) + (s->direct != NULL) + (s->best_of != NULL) +
                (s->evaluate != NULL) + (s->gate != NULL);

    if (kinds != 1)
        return rlhf_fail(
            c->err, RLHF_REJECT,
            "%s: stage %zu: a stage has exactly one key, its kind (pretrain, sft, collect, reward, policy, "
            "direct, best_of, evaluate or gate), this one has %d",
            c->where, c->index + 1, kinds);
    if (!good_name(rlhf_stage_name(s)))
        return complain(c, "name", "'%s' cannot name a directory; use letters, digits, '-', '_' and '.'",
                        rlhf_stage_name(s));
    if (strstr(rlhf_stage_name(s), ".try-"))
        return complain(c, "name", "'%s': '.try-' stands in the names of what a gate tries again", rlhf_stage_name(s));
    if ((size_t)rlhf_run_find(c->run, rlhf_stage_name(s)) != c->index)
        return complain(c, "name", "an earlier stage is called '%s' too", rlhf_stage_name(s));
    return check_kind(c);
}

static int check_run(const struct rlhf_run *run, const char *where, struct rlhf_error *err)
{
    if (!good_name(run->run.name))
        return rlhf_fail(err, RLHF_REJECT,
                         "%s: run.name: '%s' cannot name a directory; use letters, digits, '-', '_' and '.'",
                         where, run->run.name);
    if (run->tokenizer.load && run->tokenizer.train.files.count)
        return rlhf_fail(err, RLHF_REJECT, "%s: tokenizer: has both load and train.files; keep one", where);
    if (!run->tokenizer.load && !run->tokenizer.train.files.count && !run->model.load)
        return rlhf_fail(
            err, RLHF_REJECT,
            "%s: tokenizer: needs load (a directory) or train.files (text), since there is no model.load",
            where);
    if (!run->model.load && run->model.channels % run->model.heads != 0)
        return rlhf_fail(err, RLHF_REJECT, "%s: model.channels: %lld is not a multiple of model.heads %lld",
                         where, (long long)run->model.channels, (long long)run->model.heads);
    for (size_t i = 0; i < run->stages.count; i++) {
        struct check c = {run, where, i, rlhf_run_stage(run, i), err};
        if (check_stage(&c) < 0)
            return -1;
    }
    return 0;
}

/* Defaults that are made of other keys. */
static int __attribute__((format(printf, 3, 4)))
fill(char **field, struct rlhf_error *err, const char *fmt, ...)
{
    va_list ap;
    int length;

    if (*field)
        return 0;
    va_start(ap, fmt);
    length = vasprintf(field, fmt, ap);
    va_end(ap);
    if (length < 0) {
        *field = NULL;
        return rlhf_fail(err, RLHF_FULL, "out of memory for the run file's defaults");
    }
    return 0;
}

int rlhf_run_finish(void *config, const char *where, struct rlhf_error *err)
{
    struct rlhf_run *run = config;

    if (fill(&run->run.dir, err, "runs/%s", run->run.name) < 0 ||
        fill(&run->learner.listen, err, "ipc://%s/learner.sock", run->run.dir) < 0 ||
        fill(&run->labels, err, "ipc://%s/labels.sock", run->run.dir) < 0 ||
        fill(&run->up.label_collector.database, err, "%s/labels.db", run->run.dir) < 0 ||
        check_run(run, where, err) < 0) {
        rlhf_run_free(run);
        return -1;
    }
    return 0;
}

int rlhf_run_read(struct rlhf_run *run, const char *path, struct rlhf_error *err)
{
    return rlhf_config_read(&rlhf_run_schema, path, run, err) < 0 ? -1 : rlhf_run_finish(run, path, err);
}

int rlhf_run_parse(struct rlhf_run *run, const char *text, size_t size, const char *where,
                   struct rlhf_error *err)
{
    return rlhf_config_parse(&rlhf_run_schema, text, size, where, run, err) < 0
               ? -1
               : rlhf_run_finish(run, where, err);
}

void rlhf_run_free(struct rlhf_run *run)
{
    rlhf_config_free(&rlhf_run_schema, run);
}
