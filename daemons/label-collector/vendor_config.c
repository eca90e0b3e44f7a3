#include "vendor_config.h"

#include <string.h>

#include "base/text.h"
#include "judgement.h"

const char *const collector_vendor_kinds[] = { "label_studio", "labelbox", "scale", "surge", "argilla", "webhook", NULL };

static const char *const layouts[] = { "pairs", "rankings", NULL };
static const char *const schemes[] = { "bearer", "basic", NULL };
static const char *const ends[] = { "none", "low", "high", NULL };

#define KEY(name) .key = #name, .offset = offsetof(struct collector_guesses, name)

static const struct rlhf_config_key guess_keys[] = {
    { KEY(tie_words), .type = RLHF_CONFIG_STRINGS, .def = "[tie, same, equal, both]",
      .help = "Labelbox, Surge: an answer with one of these words in it is a tie (a guess)" },
    { KEY(likert), .type = RLHF_CONFIG_CHOICE, .def = "none", .choices = ends,
      .help = "Scale: which end of likert_value prefers the first response; none: it is kept as strength and decides nothing "
              "(a guess: the direction is each project's own)" },
    { KEY(scale_auth), .type = RLHF_CONFIG_CHOICE, .def = "bearer", .choices = schemes,
      .help = "Scale: how the key is shown (a guess: the documents of version 2 say bearer, the library basic)" },
    { KEY(test_answers), .type = RLHF_CONFIG_BOOL, .def = "false",
      .help = "Scale: take the answers of a test key, which no human gave" },
    { KEY(question), .type = RLHF_CONFIG_STRING, .def = "Which response is better?",
      .help = "Labelbox, Surge: the question that the preference answers (a guess: projects word it themselves)" },
    { KEY(prompt_variable), .type = RLHF_CONFIG_STRING, .def = "prompt",
      .help = "Scale: the template variable that takes the prompt (a guess: agreed upon for each project)" },
    { KEY(responses_variable), .type = RLHF_CONFIG_STRING, .def = "responses",
      .help = "Scale: the template variable that takes the completions (a guess, as above)" },
    { KEY(untouched_seconds), .type = RLHF_CONFIG_NUMBER, .def = "5", .max = 3600,
      .help = "Label Studio: a ranking that is the order shown, given in less, is flagged untouched? (a guess: it stores that "
              "order as if it were a judgement when nobody has moved anything)" },
    { 0 },
};
static const struct rlhf_config_schema guesses = { .name = "guesses", .keys = guess_keys,
                                                   .size = sizeof(struct collector_guesses) };

const struct collector_guesses collector_default_guesses = {
    .tie_words = { .items = (char *[]){ (char *)"tie", (char *)"same", (char *)"equal", (char *)"both" }, .count = 4 },
    .likert = COLLECTOR_LIKERT_NONE,
    .question = (char *)"Which response is better?",
    .prompt_variable = (char *)"prompt",
    .responses_variable = (char *)"responses",
    .untouched_seconds = 5,
};

#undef KEY
#define KEY(name) .key = #name, .offset = offsetof(struct collector_vendor_config, name)

static const struct rlhf_config_key keys[] = {
    { KEY(name), .type = RLHF_CONFIG_STRING, .required = true, .min = 1, .max = 60,
      .help = "the source of this vendor's labels, and part of its callbacks' address; never changes" },
    { KEY(kind), .type = RLHF_CONFIG_CHOICE, .required = true, .choices = collector_vendor_kinds,
      .help = "whose interface it speaks; argilla and webhook only call (Standard Webhooks)" },
    { KEY(url), .type = RLHF_CONFIG_STRING,
      .help = "address of its server's API; default: the one of its documents, which Label Studio has not" },
    { KEY(token_file), .type = RLHF_CONFIG_STRING, .help = "file whose first line is our key for its API" },
    { KEY(secret_files), .type = RLHF_CONFIG_STRINGS,
      .help = "files whose first lines are secrets of its callbacks; the first is the one told to the vendor, the others are "
              "still accepted" },
    { KEY(callback), .type = RLHF_CONFIG_STRING,
      .help = "address under which the vendor reaches this API (https://labels.example.org); without it no callback is "
              "asked for, and polling brings everything" },
    { KEY(project), .type = RLHF_CONFIG_STRING, .help = "the project's id at the vendor; without it one is made" },
    { KEY(title), .type = RLHF_CONFIG_STRING, .def = "rlhfd comparisons", .min = 3, .max = 50,
      .help = "name of the project, and by which ours is found again" },
    { KEY(dataset), .type = RLHF_CONFIG_STRING, .help = "Labelbox: id of the dataset that takes the data rows" },
    { KEY(instructions), .type = RLHF_CONFIG_STRING, .def = "Which response is better?",
      .help = "what people read before they judge" },
    { KEY(layout), .type = RLHF_CONFIG_CHOICE, .def = "pairs", .choices = layouts,
      .help = "which tasks it is given: pairs (two completions), or rankings (three and more)" },
    { KEY(round), .type = RLHF_CONFIG_STRING, .help = "only tasks of this round are given to it" },
    { .key = "auto", .offset = offsetof(struct collector_vendor_config, automatic), .type = RLHF_CONFIG_BOOL,
      .def = "false", .help = "give it every open task as it comes, without rlhfctl label push" },
    { KEY(overlap), .type = RLHF_CONFIG_INTEGER, .def = "1", .min = 1, .max = 100, .help = "people of its for each task" },
    { KEY(hold_hours), .type = RLHF_CONFIG_INTEGER, .def = "168", .max = 8760,
      .help = "how long judgements of a task given to it are nobody else's to give, here on the page or at another vendor; 0: "
              "the task stays on offer" },
    { KEY(quota), .type = RLHF_CONFIG_INTEGER, .def = "0", .max = 1e9,
      .help = "tasks that it is given at most; 0: no limit" },
    { KEY(price), .type = RLHF_CONFIG_NUMBER, .def = "0", .max = 1e6, .help = "of a label, for the cost shown" },
    { KEY(batch), .type = RLHF_CONFIG_INTEGER, .def = "100", .min = 1, .max = 1000, .help = "tasks sent at once" },
    { KEY(poll_seconds), .type = RLHF_CONFIG_INTEGER, .def = "60", .min = 1, .max = 86400,
      .help = "pause between looks for what callbacks have missed" },
    { KEY(sweep_seconds), .type = RLHF_CONFIG_INTEGER, .def = "3600", .min = 1, .max = 604800,
      .help = "pause between looks at everything there is, which find deletions and lost tasks" },
    { KEY(settle_seconds), .type = RLHF_CONFIG_INTEGER, .def = "60", .min = 1, .max = 86400,
      .help = "how long after a request without an answer its tasks may still appear at the vendor; only then are they "
              "looked for, and sent again if they are not there" },
    { KEY(timeout_seconds), .type = RLHF_CONFIG_INTEGER, .def = "30", .min = 1, .max = 600, .help = "of one request" },
    { KEY(tolerance_seconds), .type = RLHF_CONFIG_INTEGER, .def = "300", .min = 1, .max = 86400,
      .help = "Standard Webhooks: how far a callback's time may be off ours" },
    { KEY(guesses), .type = RLHF_CONFIG_MAP, .sub = &guesses, .help = "what no document of the vendors says for sure" },
    { 0 },
};

const struct rlhf_config_schema collector_vendor_schema = { .name = "vendor", .keys = keys,
                                                            .size = sizeof(struct collector_vendor_config) };

static bool is_name(const char *text)
{
    return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == '\0';
}

static int check_vendor(const struct collector_vendor_config *v, struct rlhf_error *err)
{
    bool server = v->kind < COLLECTOR_SERVERS;

    if (!is_name(v->name))
        return rlhf_fail(err, RLHF_REJECT, "name: only letters, digits, '.', '_' and '-'");
    if (v->kind == COLLECTOR_LABEL_STUDIO && !v->url)
        return rlhf_fail(err, RLHF_REJECT, "url: missing: where is its Label Studio?");
    if (v->url && !rlhf_starts_with(v->url, "http://") && !rlhf_starts_with(v->url, "https://"))
        return rlhf_fail(err, RLHF_REJECT, "url: must begin with http:// or https://");
    if (server && !v->token_file)
        return rlhf_fail(err, RLHF_REJECT, "token_file: missing: its server wants a key");
    if (v->kind == COLLECTOR_LABELBOX && (!v->project || !v->dataset))
        return rlhf_fail(err, RLHF_REJECT, "project and dataset: Labelbox needs both: make them there");
    if (v->kind == COLLECTOR_SCALE && !v->project)
        return rlhf_fail(err, RLHF_REJECT, "project: Scale sets up a project with you: its name goes here");
    if ((v->callback || !server) && v->secret_files.count == 0)
        return rlhf_fail(err, RLHF_REJECT, "secret_files: missing: callbacks that nobody signs are not taken");
    if (v->layout == COLLECTOR_RANKINGS && (v->kind == COLLECTOR_LABELBOX || v->kind == COLLECTOR_SURGE))
        return rlhf_fail(err, RLHF_REJECT, "layout: %s is given pairs only", collector_vendor_kinds[v->kind]);
    return 0;
}

int collector_vendors_check(const struct rlhf_config_list *vendors, const char *where, struct rlhf_error *err)
{
    const struct collector_vendor_config *v = vendors->items;

    for (size_t i = 0; i < vendors->count; ++i) {
        for (size_t j = 0; j < i; ++j)
            if (strcmp(v[i].name, v[j].name) == 0)
                return rlhf_fail(err, RLHF_REJECT, "%s: vendors[%zu].name: %s is another vendor's", where, i, v[i].name);
        if (check_vendor(&v[i], err) < 0)
            return rlhf_fail_prefix(err, "%s: vendors[%zu]", where, i);
    }
    return 0;
}
