#include "collector.h"
#include "vendor_config.h"

#define KEY(name) .key = #name, .offset = offsetof(struct collector_config, name)

#define TOLD(kind) { .key = #kind, .offset = offsetof(struct collector_instructions, kind), .type = RLHF_CONFIG_STRING, \
                     .max = 20000, .help = "for tasks of this kind" }
static const struct rlhf_config_key instructions_keys[] = { TOLD(ranking), TOLD(likert), TOLD(toxicity), TOLD(flags),
                                                            TOLD(demonstration), { 0 } };
static const struct rlhf_config_schema instructions_schema = { .name = "instructions", .keys = instructions_keys,
                                                               .size = sizeof(struct collector_instructions) };

static const struct rlhf_config_key price_keys[] = {
    { .key = "labeler", .offset = offsetof(struct collector_price, labeler), .type = RLHF_CONFIG_STRING, .required = true,
      .min = 1, .max = 120, .help = "who" },
    { .key = "price", .offset = offsetof(struct collector_price, price), .type = RLHF_CONFIG_NUMBER, .required = true,
      .min = 0, .max = 1e6, .help = "of a label" },
    { 0 },
};
static const struct rlhf_config_schema price_schema = { .name = "price", .keys = price_keys,
                                                        .size = sizeof(struct collector_price) };

static const struct rlhf_config_key keys[] = {
    { KEY(listen), .type = RLHF_CONFIG_STRING, .def = "tcp://127.0.0.1:5703",
      .help =
          "ZeroMQ endpoint for the learner and rlhfctl: ipc:///path, or tcp://127.0.0.1:PORT (0 picks one)" },
    { KEY(http), .type = RLHF_CONFIG_STRING, .def = "127.0.0.1:8477",
      .help = "address of the HTTP API and the labeling page (port 0 picks one)" },
    { KEY(http_address_file), .type = RLHF_CONFIG_STRING,
      .help = "file that gets the http://address:port really bound" },
    { KEY(database), .type = RLHF_CONFIG_STRING, .def = "labels.db",
      .help = "holds tasks and labels: an SQLite file, made when it is not there, or postgresql://user@host/name" },
    { KEY(run), .type = RLHF_CONFIG_STRING, .def = "labels", .min = 1, .max = 64,
      .help = "run id announced to peers" },
    { KEY(labels_per_task), .type = RLHF_CONFIG_INTEGER, .def = "1", .min = 1, .max = 1000,
      .help = "judgements by different people that a task waits for" },
    { KEY(reservation_seconds), .type = RLHF_CONFIG_INTEGER, .def = "300", .min = 1, .max = 86400,
      .help = "how long a task handed out is kept for that labeler" },
    { KEY(weights_seconds), .type = RLHF_CONFIG_INTEGER, .def = "600", .min = 0, .max = 604800,
      .help = "how often, at most, what each labeler's comparisons weigh in training is measured anew; 0: only when asked for" },
    { KEY(weights_labels), .type = RLHF_CONFIG_INTEGER, .def = "50", .min = 1, .max = 1000000,
      .help = "... and after how many new labels, at least" },
    { KEY(gold_share), .type = RLHF_CONFIG_NUMBER, .def = "0.05", .min = 0, .max = 0.5,
      .help = "share of gold items (tasks whose answer is known) among the tasks handed out, while there are some" },
    { KEY(auto_quarantine), .type = RLHF_CONFIG_BOOL, .def = "true",
      .help = "quarantine a labeler or vendor whose gold answers are as wrong as a coin's" },
    { KEY(public_url), .type = RLHF_CONFIG_STRING,
      .help = "address under which people and vendors reach a proxy in front of `http`, https://labels.example.org; with https "
              "cookies are Secure, and the proxy may listen for `http` beyond loopback" },
    { KEY(session_hours), .type = RLHF_CONFIG_INTEGER, .def = "24", .min = 1, .max = 720,
      .help = "how long somebody stays signed in on the page" },
    { KEY(requests_per_second), .type = RLHF_CONFIG_NUMBER, .def = "1000", .min = 0, .max = 1000000,
      .help = "requests that one token, or one address without, may make (twice as many at once); 0: no limit. Without any token there is none" },
    { KEY(instructions), .type = RLHF_CONFIG_MAP, .sub = &instructions_schema,
      .help = "what people are told about each kind of task: plain text, an empty line begins a paragraph; where none is given the page has words of its own" },
    { KEY(currency), .type = RLHF_CONFIG_STRING, .def = "EUR", .max = 8, .help = "of prices, as the owner's page shows it" },
    { KEY(price), .type = RLHF_CONFIG_NUMBER, .def = "0", .min = 0, .max = 1e6,
      .help = "of a label by whoever is not in `prices`, for the cost shown (vendors have prices of their own)" },
    { KEY(prices), .type = RLHF_CONFIG_LIST, .sub = &price_schema, .max = 1000, .help = "other prices, by labeler; 0 for people whose vendor is paid" },
    { KEY(insecure), .type = RLHF_CONFIG_BOOL, .def = "false",
      .help = "allow addresses other than loopback and ipc without encryption (HTTP still needs a token)" },
    { KEY(key), .type = RLHF_CONFIG_STRING,
      .help = "file with this daemon's secret key (rlhfctl keys new), or a credential's name: TCP of `listen` is under CURVE then" },
    { KEY(peers), .type = RLHF_CONFIG_STRING,
      .help = "file of the known public keys, a line each: KEY ROLE NAME [sessions=N]; SIGHUP reads it again" },
    { KEY(hosts), .type = RLHF_CONFIG_STRINGS,
      .help = "further host names under which browsers reach the page (behind a proxy)" },
    { KEY(max_connections), .type = RLHF_CONFIG_INTEGER, .def = "1024", .min = 16, .max = 65536,
      .help = "HTTP connections at once; beyond it the longest idle one is closed" },
    { KEY(request_seconds), .type = RLHF_CONFIG_INTEGER, .def = "60", .min = 1, .max = 3600,
      .help = "an HTTP client that has not completed a request for so long is disconnected" },
    { KEY(vendors), .type = RLHF_CONFIG_LIST, .sub = &collector_vendor_schema, .max = 64,
      .help = "labeling vendors that are given tasks, or that call (API.md, Vendors)" },
    { 0 },
};

const struct rlhf_config_schema collector_config_schema = {
    .name = "label-collector",
    .keys = keys,
    .size = sizeof(struct collector_config),
};
