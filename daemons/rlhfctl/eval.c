/* eval - what a model knows and does, by published sets of questions; beside another model if wanted. */
#include "rlhfctl/eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "evaluation/checkpoint_form.h"
#include "evaluation/judge.h"
#include "evaluation/report.h"
#include "rlhfctl/ctl.h"
#include "telemetry/progress.h"
#include "tensor/ops.h"

enum { MAX_SUITES = 32, MAX_PATH = 4096, USUAL_BATCH = 2048, SHOTS_NOT_GIVEN = -1 };

struct options {
    const char *suites[MAX_SUITES]; /* NAME or NAME=FILE */
    size_t suite_count;
    const char *data, *json, *lexicon, *reward_model, *judge, *toxicity_model, *toxicity_judge, *credentials;
    size_t limit, batch;
    int64_t shots;
    uint32_t max_new_tokens;
    double temperature;
    uint64_t seed;
    unsigned threads;
    bool chat;
};

/* A reward model, or somebody behind HTTP, that a suite asks. */
struct judging {
    struct rlhf_tokenizer *tokenizer;
    struct rlhf_form form;
    struct rlhf_model *model;
    struct rlhf_reward_model *rewards;
    struct rlhf_judge *judge;
    struct rlhf_rewarder rewarder; /* reward NULL: nobody */
};

struct command {
    struct options o;
    struct eval_model models[2]; /* the second: --against */
    size_t model_count;
    struct rlhf_suite *suites[MAX_SUITES];
    char *names[MAX_SUITES], *files[MAX_SUITES];
    struct rlhf_figures compared[MAX_SUITES]; /* what the models say of each other */
    struct judging reward, toxicity;
    struct rlhf_pool *pool;
};

/* ---- suites ------------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Where the suite's questions are: as said, or in the folder, or the file that --data is. */
static int find_questions(const struct command *k, const char *name, const char *given, char *out, struct rlhf_error *err)
{
    const char *data = given ? given : k->o.data;

    if (!data)
        return rlhf_fail(err, RLHF_REJECT, "--suite %s: where are its questions? --data DIR (or FILE), or --suite %s=FILE", name, name);
    if (!is_folder(data))
        return (size_t)snprintf(out, MAX_PATH, "%s", data) < MAX_PATH ? 0 : rlhf_fail(err, RLHF_REJECT, "%s: the path is too long", data);
    if (rlhf_suite_find(name, data, false, out, MAX_PATH, err) < 0)
        return -1;
    return *out ? 0 : rlhf_fail(err, RLHF_REJECT, "%s: there is no file of the suite %s in it; name it: --suite %s=FILE", data, name, name);
}

/* The file that goes with the questions is in the folder, or beside them. */
static int find_companion(const struct command *k, const char *name, const char *file, char *out, struct rlhf_error *err)
{
    char beside[MAX_PATH];
    char *slash;

    *out = '\0';
    if (k->o.lexicon && strcmp(name, "toxicity") == 0)
        return (size_t)snprintf(out, MAX_PATH, "%s", k->o.lexicon) < MAX_PATH
                   ? 0 : rlhf_fail(err, RLHF_REJECT, "%s: the path is too long", k->o.lexicon);
    if (k->o.data && is_folder(k->o.data) && rlhf_suite_find(name, k->o.data, true, out, MAX_PATH, err) < 0)
        return -1;
    snprintf(beside, sizeof beside, "%s", file);
    if ((slash = strrchr(beside, '/')))
        *slash = '\0';
    return *out ? 0 : rlhf_suite_find(name, slash ? beside : ".", true, out, MAX_PATH, err);
}

static int read_suite(struct command *k, size_t i, struct rlhf_error *err)
{
    const char *given = strchr(k->o.suites[i], '=');
    char file[MAX_PATH], companion[MAX_PATH];
    struct rlhf_suite_settings s = { .file = file, .limit = k->o.limit, .max_new_tokens = k->o.max_new_tokens,
                                     .temperature = (float)k->o.temperature, .seed = k->o.seed };

    k->names[i] = given ? strndup(k->o.suites[i], (size_t)(given - k->o.suites[i])) : strdup(k->o.suites[i]);
    if (!k->names[i])
        return rlhf_fail(err, RLHF_FULL, "no memory for a suite's name");
    for (size_t j = 0; j < i; j++)
        if (strcmp(k->names[i], k->names[j]) == 0)
            return rlhf_fail(err, RLHF_REJECT, "--suite %s is given twice", k->names[i]);
    s.name = k->names[i];
    if (find_questions(k, s.name, given ? given + 1 : NULL, file, err) < 0 || find_companion(k, s.name, file, companion, err) < 0)
        return -1;
    s.companion = *companion ? companion : NULL;
    if (strcmp(s.name, "win_rate") == 0)
        s.rewarder = k->reward.rewarder.reward ? &k->reward.rewarder : NULL;
    else if (strcmp(s.name, "toxicity") == 0)
        s.rewarder = k->toxicity.rewarder.reward ? &k->toxicity.rewarder : NULL;
    s.shots = k->o.shots == SHOTS_NOT_GIVEN ? rlhf_suite_usual_shots(s.name) : (size_t)k->o.shots;
    if (!(k->files[i] = strdup(file)))
        return rlhf_fail(err, RLHF_FULL, "no memory for a suite's file");
    return (k->suites[i] = rlhf_suite_read(&s, err)) ? 0 : -1;
}

/* ---- judges ------------------------------------------------------------------------------------------- */

/* The model in dir, or who the file describes; both NULL: nobody. */
static int open_judge(struct judging *j, const char *dir, const char *file, const struct command *k, struct rlhf_error *err)
{
    if (file && dir)
        return rlhf_fail(err, RLHF_REJECT, "%s and %s: two who judge; keep one", dir, file);
    if (file) {
        if (!(j->judge = rlhf_judge_open(file, k->o.credentials, err)))
            return -1;
        j->rewarder = rlhf_judge_rewarder(j->judge);
    }
    if (!dir)
        return 0;
    if (!(j->tokenizer = rlhf_tokenizer_load(dir, err)) || rlhf_checkpoint_form(&j->form, dir, j->tokenizer, k->o.chat, err) < 0
        || !(j->model = rlhf_model_open(dir, RLHF_PANELS_STORED, err)))
        return -1;
    if (!(j->rewards = rlhf_reward_model_new(j->model, &j->form, k->pool, k->o.batch, err)))
        return rlhf_fail_prefix(err, "%s", dir);
    j->rewarder = rlhf_reward_model_rewarder(j->rewards);
    return 0;
}

/* What was asked for in vain is left out of the figures, and said. */
static void tell_missing(const struct judging *j, const char *file)
{
    const char *why;
    size_t missing = j->judge ? rlhf_judge_missing(j->judge, &why) : 0;

    if (missing > 0)
        fprintf(stderr, "rlhfctl: %s: %zu completions got no score and are left out; the last: %s\n", file, missing, why);
}

static void close_judge(struct judging *j)
{
    rlhf_judge_free(j->judge);
    rlhf_reward_model_free(j->rewards);
    rlhf_model_free(j->model);
    rlhf_chat_free(j->form.chat);
    rlhf_tokenizer_free(j->tokenizer);
}

/* ---- a model ------------------------------------------------------------------------------------------ */

struct watching {
    const char *name;
    struct rlhf_progress *progress;
};

static int show(void *ctx, uint64_t done, uint64_t total, struct rlhf_error *err)
{
    struct watching *w = ctx;

    (void)err;
    if (!w->progress)
        w->progress = rlhf_progress_new(&rlhf_system_clock, w->name, total, "requests");
    rlhf_progress_update(w->progress, done, NULL);
    return 0;
}

static int examine(const struct command *k, struct eval_model *m, struct rlhf_subject *subject, struct rlhf_error *err)
{
    for (size_t i = 0; i < k->o.suite_count; i++) {
        struct watching w = { .name = k->names[i] };
        int rc;

        rlhf_subject_watch(subject, &(struct rlhf_examination){ show, &w });
        rc = rlhf_suite_examine(k->suites[i], subject, &m->figures[i], err);
        rlhf_progress_end(w.progress);
        if (rc < 0)
            return rlhf_fail_prefix(err, "%s: %s", m->dir, k->names[i]);
    }
    return 0;
}

/* One model is in memory at a time. */
static int load_and_examine(const struct command *k, struct eval_model *m, struct rlhf_error *err)
{
    struct rlhf_tokenizer *tokenizer = NULL;
    struct rlhf_adapter *adapter = NULL;
    struct rlhf_subject *subject = NULL;
    struct rlhf_model *model = NULL;
    struct rlhf_generation generation;
    struct rlhf_form form = { 0 };
    int rc = -1;

    if (!(m->figures = calloc(k->o.suite_count, sizeof *m->figures)))
        return rlhf_fail(err, RLHF_FULL, "no memory for the figures of %zu suites", k->o.suite_count);
    if ((tokenizer = rlhf_tokenizer_load(m->dir, err)) && rlhf_checkpoint_form(&form, m->dir, tokenizer, k->o.chat, err) == 0
        && (model = rlhf_model_open(m->dir, RLHF_PANELS_STORED, err))
        && (!m->adapter || (adapter = rlhf_adapter_load(model, m->adapter, err)))) {
        if (!(subject = rlhf_subject_new(model, adapter, tokenizer, k->pool, k->o.batch, err)))
            rlhf_fail_prefix(err, "%s", m->dir);
        else if (rlhf_generation_load(&generation, m->dir, err) == 0 && rlhf_subject_settle(subject, &generation, err) == 0) {
            rlhf_subject_answer(subject, &form);
            rc = examine(k, m, subject, err);
        }
    }
    rlhf_subject_free(subject);
    rlhf_adapter_free(adapter);
    rlhf_model_free(model);
    rlhf_chat_free(form.chat);
    rlhf_tokenizer_free(tokenizer);
    return rc;
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

static json_t *json_of_model(const struct command *k, const struct eval_model *m)
{
    json_t *suites = json_object(), *o = json_pack("{s:s, s:s?, s:o}", "model", m->dir, "adapter", m->adapter, "suites", suites);

    for (size_t i = 0; o && i < k->o.suite_count; i++)
        json_object_set_new(suites, k->names[i], rlhf_figures_json(&m->figures[i]));
    return o;
}

static json_t *json_of_all(const struct command *k)
{
    json_t *o = json_of_model(k, &k->models[0]), *files = json_object(), *differences = json_object(), *compared = json_object();

    for (size_t i = 0; i < k->o.suite_count; i++) {
        json_object_set_new(files, k->names[i], json_pack("{s:s, s:I}", "file", k->files[i], "questions",
                                                          (json_int_t)rlhf_suite_size(k->suites[i])));
        if (k->model_count == 2)
            json_object_set_new(differences, k->names[i],
                                rlhf_differences_json(&k->models[0].figures[i], &k->models[1].figures[i]));
        if (k->compared[i].count)
            json_object_set_new(compared, k->names[i], rlhf_figures_json(&k->compared[i]));
    }
    json_object_set(o, "data", files);
    if (k->model_count == 2) {
        json_object_set_new(o, "against", json_of_model(k, &k->models[1]));
        json_object_set(o, "difference", differences);
        json_object_set(o, "comparison", compared);
    }
    json_decref(files);
    json_decref(differences);
    json_decref(compared);
    return o;
}

static int write_json(const struct command *k, struct rlhf_error *err)
{
    json_t *o = json_of_all(k);
    char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    int rc = 0;

    json_decref(o);
    if (!text)
        return rlhf_fail(err, RLHF_FULL, "the figures cannot be written as JSON");
    if (strcmp(k->o.json, "-") == 0)
        puts(text);
    else
        rc = rlhf_write_file(&rlhf_system_io, k->o.json, text, strlen(text), err);
    free(text);
    return rc;
}

/* ---- the command -------------------------------------------------------------------------------------- */

enum { AGAINST = 256, AGAINST_ADAPTER, SHOTS, LEXICON, REWARD_MODEL, JUDGE, TOXICITY_MODEL, TOXICITY_JUDGE, CREDENTIALS, SEED, CHAT };

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct command *k = state->input;
    struct options *o = &k->o;

    switch (key) {
    case 'm':
        k->models[0].dir = text;
        break;
    case 'a':
        k->models[0].adapter = text;
        break;
    case AGAINST:
        k->models[1].dir = text;
        break;
    case AGAINST_ADAPTER:
        k->models[1].adapter = text;
        break;
    case 's':
        if (o->suite_count == MAX_SUITES)
            argp_error(state, "--suite: at most %d", MAX_SUITES);
        o->suites[o->suite_count++] = text;
        break;
    case 'd':
        o->data = text;
        break;
    case 'J':
        o->json = text;
        break;
    case 'l':
        o->limit = (size_t)ctl_integer(state, "--limit", text, 1, INT64_MAX);
        break;
    case SHOTS:
        o->shots = ctl_integer(state, "--shots", text, 0, 100);
        break;
    case 'n':
        o->max_new_tokens = (uint32_t)ctl_integer(state, "--max-new-tokens", text, 1, 1 << 20);
        break;
    case 't':
        o->temperature = ctl_number(state, "--temperature", text, 0, 100);
        break;
    case SEED:
        o->seed = (uint64_t)ctl_integer(state, "--seed", text, 0, INT64_MAX);
        break;
    case LEXICON:
        o->lexicon = text;
        break;
    case REWARD_MODEL:
        o->reward_model = text;
        break;
    case JUDGE:
        o->judge = text;
        break;
    case TOXICITY_MODEL:
        o->toxicity_model = text;
        break;
    case TOXICITY_JUDGE:
        o->toxicity_judge = text;
        break;
    case CREDENTIALS:
        o->credentials = text;
        break;
    case CHAT:
        o->chat = true;
        break;
    case 'b':
        o->batch = (size_t)ctl_integer(state, "--batch", text, 1, 1 << 20);
        break;
    case 'j':
        o->threads = (unsigned)ctl_integer(state, "--threads", text, 0, 1024);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "what is '%s'? Suites are given by --suite", text);
        break;
    case ARGP_KEY_END:
        if (!k->models[0].dir)
            argp_error(state, "--model: which directory?");
        if (o->suite_count == 0)
            argp_error(state, "--suite: which?");
        if (k->models[1].adapter && !k->models[1].dir)
            k->models[1].dir = k->models[0].dir;
        k->model_count = k->models[1].dir ? 2 : 1;
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* The suites there are, behind the options. */
static char *help(int key, const char *text, void *input)
{
    char *list = NULL;
    size_t size;
    FILE *f;

    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC || !(f = open_memstream(&list, &size)))
        return (char *)text;
    fputs("Suites:\n", f);
    for (const char *const *name = rlhf_suite_names; *name; name++)
        fprintf(f, "  %-12s %s\n", *name, rlhf_suite_about(*name));
    fputs("\nTheir prompts, tokens and formulas are those of lm-evaluation-harness.", f);
    fclose(f);
    return list;
}

static int run(struct command *k, struct rlhf_error *err)
{
    if (rlhf_tensor_start(err) < 0 || !(k->pool = rlhf_pool_new(k->o.threads, err))
        || open_judge(&k->reward, k->o.reward_model, k->o.judge, k, err) < 0
        || open_judge(&k->toxicity, k->o.toxicity_model, k->o.toxicity_judge, k, err) < 0)
        return -1;
    for (size_t i = 0; i < k->o.suite_count; i++)
        if (read_suite(k, i, err) < 0)
            return -1;
    for (size_t i = 0; i < k->model_count; i++)
        if (load_and_examine(k, &k->models[i], err) < 0)
            return -1;
    tell_missing(&k->reward, k->o.judge);
    tell_missing(&k->toxicity, k->o.toxicity_judge);
    for (size_t i = 0; k->model_count == 2 && i < k->o.suite_count; i++)
        if (rlhf_suite_compare(k->suites[i], &k->models[0].figures[i], &k->models[1].figures[i], &k->compared[i], err) < 0)
            return -1;
    if (!k->o.json || strcmp(k->o.json, "-") != 0)
        eval_print_table(k->names, k->o.suite_count, &k->models[0], k->model_count == 2 ? &k->models[1] : NULL, k->compared);
    return k->o.json ? write_json(k, err) : 0;
}

int ctl_eval(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"model", 'm', "DIR", 0, "a checkpoint: config.json, model.safetensors, tokenizer.json", 0},
        {"adapter", 'a', "DIR", 0, "with the LoRA adapter in DIR", 0},
        {"against", AGAINST, "DIR", 0, "another model; differences are paired, question by question", 0},
        {"against-adapter", AGAINST_ADAPTER, "DIR", 0, "with an adapter; without --against on the same model", 0},
        {"suite", 's', "NAME[=FILE]", 0, "questions to ask; may be given again", 0},
        {"data", 'd', "DIR", 0, "a folder in which the suites' files are looked for, or a file", 0},
        {"limit", 'l', "N", 0, "only the first N questions of each suite", 0},
        {"shots", SHOTS, "N", 0, "examples before each question of suites that have some (gsm8k: 5)", 0},
        {"max-new-tokens", 'n', "N", 0, "of an answer, where one is written (gsm8k: 256, win_rate: 128, toxicity: 20)", 0},
        {"reward-model", REWARD_MODEL, "DIR", 0, "win_rate: the model that judges", 0},
        {"judge", JUDGE, "FILE", 0, "win_rate: a judge or reward service behind HTTP, as an entry of `rewards:` of a run file", 0},
        {"temperature", 't', "T", 0, "win_rate: completions are sampled with (default 1; 0: greedily)", 0},
        {"seed", SEED, "N", 0, "win_rate: of the draws, the same for both models (default 1)", 0},
        {"lexicon", LEXICON, "FILE", 0, "toxicity: a term a line (default: ldnoobw/en.txt of --data)", 0},
        {"toxicity-model", TOXICITY_MODEL, "DIR", 0, "toxicity: a reward model that says how toxic a text is", 0},
        {"toxicity-judge", TOXICITY_JUDGE, "FILE", 0, "toxicity: somebody behind HTTP who says so, as --judge", 0},
        {"credentials", CREDENTIALS, "DIR", 0, "where the keys are that judges' `credential` names", 0},
        {"chat", CHAT, NULL, 0, "win_rate's prompts, and what reward models read, go through the models' chat templates; what a run made says so itself", 0},
        {"json", 'J', "FILE", 0, "also write the figures to FILE (-: to standard output, without the table)", 0},
        {"batch", 'b', "TOKENS", 0, "in one pass, about (default 2048); changes no figure", 0},
        {"threads", 'j', "N", 0, "0: one a core (default)", 0},
        {0}};
    static const struct argp parser = {
        options, parse, "", "Says how well a model does on published sets of questions, with 95 % intervals.\v", NULL, help, NULL};
    struct command k = {.o = {.batch = USUAL_BATCH, .shots = SHOTS_NOT_GIVEN, .temperature = 1, .seed = 1}};
    int rc;

    argp_parse(&parser, argc, argv, 0, NULL, &k);
    rc = run(&k, err);
    for (size_t i = 0; i < k.o.suite_count; i++) {
        for (size_t m = 0; m < 2 && k.models[m].figures; m++)
            rlhf_figures_free(&k.models[m].figures[i]);
        rlhf_figures_free(&k.compared[i]);
        rlhf_suite_free(k.suites[i]);
        free(k.names[i]);
        free(k.files[i]);
    }
    free(k.models[0].figures);
    free(k.models[1].figures);
    close_judge(&k.reward);
    close_judge(&k.toxicity);
    rlhf_pool_free(k.pool);
    return rc;
}
