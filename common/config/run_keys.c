/* run_keys.c - the table of the run file: every key, where it lives, its default, range and help. */
#include "config/run_parts.h"

static const char *const schedules[] = {"constant", "linear", "cosine", NULL};
const char *const rlhf_run_algorithms[] = {
    "ppo",   "grpo", "bnpo", "dr_grpo", "dapo", "gspo",
    "cispo", "sapo", "rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline", NULL};
_Static_assert(sizeof rlhf_run_algorithms / sizeof *rlhf_run_algorithms == RLHF_RUN_ALGORITHMS + 1, "one name each");
static const char *const estimators[] = {"own", "k1", "k2", "k3", NULL};
static const char *const means[] = {"own", "tokens", "completions", "limit", "items", NULL};
static const char *const scales[] = {"own", "none", "group", "batch", "whiten", NULL};
const char *const rlhf_run_direct_losses[] = {"sigmoid",  "sigmoid_norm", "hinge",    "ipo",      "exo_pair",
                                              "robust",   "nca_pair",     "bco_pair", "sppo_hard", "apo_zero",
                                              "apo_down", "discopop",     "kto",      "orpo",      NULL};
static const char *const divergences[] = {"reverse_kl", "forward_kl", "js", "alpha", NULL};
static const char *const off_policies[] = {"decoupled", "ratio", NULL};
static const char *const importances[] = {"truncate", "mask", NULL};
const char *const rlhf_run_styles[] = {"gpt2", "llama", NULL};
const char *const rlhf_run_products_names[] = {"fp32", "bf16", NULL};
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

#define OPT struct rlhf_run_optimizer
static const struct rlhf_config_key optimizer_keys[] = {
    NUM("learning_rate", OPT, learning_rate, "1e-4", 0, 10, "Peak learning rate."),
    CHOICE("schedule", OPT, schedule, "constant", schedules, "How the rate falls after the warm-up."),
    NUM("final_rate", OPT, final_rate, "0.1", 0, 1,
        "Rate at the last step, as a fraction of the peak (linear, cosine)."),
    INT("warmup", OPT, warmup, "0", 0, RLHF_RUN_LARGE,
        "Steps over which the rate rises (in a policy stage: iterations)."),
    NUM("warmup_from", OPT, warmup_from, "0.1", 0, 1,
        "Rate at the first step of the warm-up, as a fraction of the peak."),
    NUM("weight_decay", OPT, weight_decay, "0", 0, 10, "Decoupled weight decay of matrices."),
    NUM("beta1", OPT, beta1, "0.9", 0, 0.999999, "Decay of the first moment."),
    NUM("beta2", OPT, beta2, "0.95", 0, 0.999999, "Decay of the second moment."),
    NUM("epsilon", OPT, epsilon, "1e-8", 1e-16, 1, "Added to the square root of the second moment."),
    BOOL("epsilon_inside", OPT, epsilon_inside, "false",
         "Place epsilon before the bias correction, as TF1's Adam does."),
    NUM("clip_norm", OPT, clip_norm, "1", 0, RLHF_RUN_LARGE, "Largest norm of the gradient; 0 switches clipping off."),
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
    INT("stop_after", SAM, stop_after, "0", 0, 1e6,
        "So many tokens come before one that may complete a text of stop (Ziegler et al. 2019: 16 of 24, 55 of 75)."),
    INT("max_new_tokens", SAM, max_new_tokens, "64", 1, 1e6, "Longest completion, in tokens."),
    {0}};
static const struct rlhf_config_schema sampling_schema = {"sampling", sampling_keys, sizeof(SAM)};

#define ADA struct rlhf_run_adapter
static const struct rlhf_config_key adapter_keys[] = {
    INT("rank", ADA, rank, "8", 1, 4096, "Columns of each pair of matrices."),
    NUM("alpha", ADA, alpha, "16", 1e-6, 1e6, "What they add is multiplied by alpha / rank."),
    BOOL("rslora", ADA, rslora, "false", "Multiply by alpha / sqrt(rank) instead."),
    NUM("dropout", ADA, dropout, "0", 0, 0.9,
        "Share of what goes into the matrices that is dropped in training (lora_dropout; sft stages); 0: none."),
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
    NUM("weight", SRC, weight, "1", -RLHF_RUN_LARGE, RLHF_RUN_LARGE, "What its reward is multiplied with before all are added."), \
        CHOICE("normalize", SRC, normalize, "none", normalizations,                                          \
               "Make its mean 0 and its standard deviation 1: of the stage's first iteration, which samples the policy that it " \
               "starts from, or of all rewards so far (running)."),                                              \
        NUM("clip", SRC, clip, "0", 0, RLHF_RUN_LARGE, "Keep it between minus this and this, after that; 0: as it is.")
#define SOURCE_NAME NEED("name", SRC, name, "What it is called in the metrics, as reward.NAME."), SOURCE_WEIGHT
#define SOURCE_MATCH                                                                                         \
    NUM("matched", SRC, matched, "1", -RLHF_RUN_LARGE, RLHF_RUN_LARGE, "The reward where it does."),                           \
        NUM("unmatched", SRC, unmatched, "0", -RLHF_RUN_LARGE, RLHF_RUN_LARGE, "The reward where it does not.")
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
    NUM("at_least", SRC, low, "0", 0, RLHF_RUN_LARGE, "Fewer of them,"),
    NUM("at_most", SRC, high, "1e15", 0, RLHF_RUN_LARGE, "or more,"),
    NUM("per_unit", SRC, per_unit, "1", -RLHF_RUN_LARGE, RLHF_RUN_LARGE, "cost this much each; between both the reward is 0."),
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
    NUM("at_least", SRC, low, "0", -RLHF_RUN_LARGE, RLHF_RUN_LARGE, "Scores below are no answer;"),
    NUM("at_most", SRC, high, "10", -RLHF_RUN_LARGE, RLHF_RUN_LARGE, "nor are those above."),
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
const struct rlhf_config_schema rlhf_run_reward_schema = {"rewards", reward_source_keys, sizeof(RWD)};
#define REWARDS_HELP "Sources of rewards beside reward_model, or in its place: weighted, and added."

#define SHA struct rlhf_run_shape
static const struct rlhf_config_key shape_keys[] = {
    INT("layers", SHA, layers, "0", 0, 1000, "Layers."),
    INT("heads", SHA, heads, "0", 0, 1000, "Attention heads, and as many key/value heads."),
    INT("channels", SHA, channels, "0", 0, 65536, "Hidden size."),
    INT("mlp_size", SHA, mlp_size, "0", 0, 1e6, "Width of the feed-forward layer; 0: the style's, if channels is set."),
    {0}};
static const struct rlhf_config_schema shape_schema = {"shape", shape_keys, sizeof(SHA)};

#define PRE struct rlhf_stage_pretrain
static const struct rlhf_config_key pretrain_keys[] = {
    NEED("name", PRE, name, "The stage's name, unique in the run; its model is kept under it."),
    STR("from", PRE, from, NULL, "The stage whose model this one starts from; default: the run's model."),
    MAP("shape", PRE, shape, shape_schema,
        "Without from: a model of the run's style and context, but of this size; 0 or absent: as the run's."),
    NEEDS("data", PRE, data, "Files of documents (JSON lines with \"text\", or .txt)."),
    INT("steps", PRE, steps, "0", 0, RLHF_RUN_LARGE, "How long: in steps, or"),
    INT("epochs", PRE, epochs, "0", 0, 1e6, "in passes over the data, or"),
    INT("tokens", PRE, tokens, "0", 0, RLHF_RUN_LARGE, "in tokens."),
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
    INT("every", SEL, every, "0", 0, RLHF_RUN_LARGE, "Steps between two measurements; 0: a pass over the data."),
    {0}};
static const struct rlhf_config_schema select_schema = {"select", select_keys, sizeof(SEL)};

#define SFT struct rlhf_stage_sft
static const struct rlhf_config_key sft_keys[] = {
    NEED("name", SFT, name, "The stage's name, unique in the run; its model is kept under it."),
    STR("from", SFT, from, NULL,
        "The stage whose model this one starts from; default: the last that made a policy."),
    STRS("data", SFT, data, "Files of demonstrations, and"),
    STRS("best_of", SFT, best_of, "best_of stages whose best completions are demonstrations; one of both at least."),
    INT("steps", SFT, steps, "0", 0, RLHF_RUN_LARGE, "How long: in steps, or"),
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
    INT("deadline_seconds", COL, deadline_seconds, "0", 0, 1e9,
        "So long after its tasks were submitted, at_least comparisons suffice; 0: no deadline."),
    INT("at_least", COL, at_least, "0", 0, 1e9,
        "Comparisons that suffice when the deadline has passed, or where the stage would fail; 0: want."),
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
    NUM("at_least", LIM, at_least, "-1e15", -RLHF_RUN_LARGE, RLHF_RUN_LARGE, "Its average may not be below."),
    NUM("at_most", LIM, at_most, "1e15", -RLHF_RUN_LARGE, RLHF_RUN_LARGE, "Its average may not be above."),
    NUM("fall", LIM, fall, "0", 0, RLHF_RUN_LARGE, "Its average may not fall so far below its highest; 0: it may."),
    NUM("rise", LIM, rise, "0", 0, RLHF_RUN_LARGE, "Its average may not rise so far above its lowest; 0: it may."),
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
    LIST("rewards", POL, rewards, rlhf_run_reward_schema, REWARDS_HELP),
    NEED("prompts", POL, prompts, "File of prompts."),
    CHOICE("algorithm", POL, algorithm, "ppo", rlhf_run_algorithms,
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
    NUM("importance_high", POL, importance_high, "2", 1, RLHF_RUN_LARGE, "to here."),
    INT("inner_epochs", POL, inner_epochs, "1", 1, 100, "Passes over an iteration's completions."),
    INT("minibatch", POL, minibatch, "32", 1, 1e6, "Completions of one update."),
    NUM("kl_coefficient", POL, kl_coefficient, "-1", -1, 1000,
        "Beta: factor of the per-token KL penalty, in the rewards (ppo, rloo, reinforce_plus_plus) or in the loss; "
        "-1: 0.05 in rewards, in the loss 0.04 for grpo and 0 for the others."),
    NUM("kl_target", POL, kl_target, "0", 0, RLHF_RUN_LARGE,
        "Nats a completion to which the coefficient adapts itself (Ziegler et al. 2019; theirs 6); 0: it stays."),
    NUM("kl_horizon", POL, kl_horizon, "10000", 1, RLHF_RUN_LARGE, "Completions over which it does."),
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
    NUM("dynamic_sampling_spread", POL, dynamic_sampling_spread, "0", 0, RLHF_RUN_LARGE,
        "Rewards that differ by no more than this are one reward."),
    INT("overlong_cache", POL, overlong_cache, "0", 0, 1e6,
        "DAPO's: over the last so many tokens before max_new_tokens a penalty on the reward grows from 0 to "
        "overlong_penalty; 0: off."),
    NUM("overlong_penalty", POL, overlong_penalty, "1", 0, RLHF_RUN_LARGE, "How much is taken off at max_new_tokens."),
    BOOL("overlong_filter", POL, overlong_filter, "false",
         "Completions that did not end are compared with, and not learnt from."),
    BOOL("penalize_missing_end", POL, penalize_missing_end, "false",
         "Completions that did not end get missing_end_reward in place of the reward model's."),
    NUM("missing_end_reward", POL, missing_end_reward, "-1", -RLHF_RUN_LARGE, RLHF_RUN_LARGE, "That reward."),
    BOOL("whiten_rewards", POL, whiten_rewards, "false", "Scale token rewards to variance 1 (mean kept; ppo)."),
    BOOL("whiten_advantages", POL, whiten_advantages, "true",
         "Shift and scale advantages over the iteration's tokens (ppo)."),
    BOOL("whiten_minibatches", POL, whiten_minibatches, "false",
         "Over each minibatch's tokens instead, as lm-human-preferences does."),
    NUM("average", POL, average, "0", 0, 0.999999,
        "Decay, an update, of the moving average of the weights that the stage ends with (InstructGPT: 0.992); 0: off."),
    NUM("stop_at_kl", POL, stop_at_kl, "0", 0, RLHF_RUN_LARGE,
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
    STRS("validation", DIR, validation, "Files of comparisons for the held-out accuracy."),
    NUM("held_out", DIR, held_out, "0", 0, 0.9, "Without validation files: fraction of prompts held out."),
    CHOICE("loss", DIR, loss, "sigmoid", rlhf_run_direct_losses,
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
    INT("steps", DIR, steps, "0", 0, RLHF_RUN_LARGE, "How long: in steps, or"),
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
    LIST("rewards", BES, rewards, rlhf_run_reward_schema, REWARDS_HELP),
    NEED("prompts", BES, prompts, "File of prompts."),
    INT("count", BES, count, "0", 0, 1e9, "How many of its prompts; 0 means all."),
    INT("samples", BES, samples, "16", 2, 1024, "Completions of each prompt."),
    NUM("at_least", BES, at_least, "-1e15", -RLHF_RUN_LARGE, RLHF_RUN_LARGE, "Best completions of a smaller reward are no demonstrations."),
    MAP("sampling", BES, sampling, sampling_schema, "How completions are sampled."),
    {0}};
static const struct rlhf_config_schema best_schema = {"best_of", best_keys, sizeof(BES)};

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
    LIST("rewards", EVA, rewards, rlhf_run_reward_schema, REWARDS_HELP),
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
          "Of the evaluation's metrics.json, below the policy's name, as exact.sums or reward.NAME of a source; of several "
          "the mean."),
    CHOICE("better", CLA, better, "unsaid", directions,
           "Which way is better; unsaid: higher for truthfulness, lower for toxicity."),
    NUM("budget", CLA, budget, "0", 0, RLHF_RUN_LARGE, "What the candidate may lose."),
    BOOL("relative", CLA, relative, "false", "The budget is a fraction of the incumbent's value."),
    NUM("standard_errors", CLA, standard_errors, "0", 0, 100,
        "And, of exact.* alone, so many standard errors of the difference, question by question: what chance may take."),
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
    CHOICE("products", PART(run), products, "fp32", rlhf_run_products_names,
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
    BOOL("chat", PART(tokenizer), chat, "false",
         "Prompts, demonstrations and comparisons become tokens as its chat template has dialogues; otherwise as their text stands."),
    STR("today", PART(tokenizer), today, "2024-07-26",
        "What the template takes for today, YYYY-MM-DD: the same whenever the run is run."),
    MAP("train", PART(tokenizer), train, tokenizer_train_schema, "Learn it from text."),
    {0}};
static const struct rlhf_config_schema tokenizer_schema = {"tokenizer", tokenizer_keys,
                                                           sizeof(PART(tokenizer))};

static const struct rlhf_config_key model_keys[] = {
    STR("load", PART(model), load, NULL, "A Hugging Face directory; the keys below are then not used."),
    CHOICE("style", PART(model), style, "gpt2", rlhf_run_styles, "The family whose block is built."),
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
    STR("memory", PART(learner), memory, "/dev/shm",
        "A directory in memory where published weights lie for this host's workers. Mounted with huge=within_size, they change versions "
        "without a pause."),
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
