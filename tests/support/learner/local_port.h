/* local_port.h - the fleet in one function: an answerer for the training side that generates, scores and
 * labels in this process, and that can die at the n-th question. */
#ifndef SUPPORT_LEARNER_LOCAL_PORT_H
#define SUPPORT_LEARNER_LOCAL_PORT_H

#include "learner/action.h"
#include "model/model.h"

enum { LOCAL_MODELS = 16, LOCAL_TASKS = 4096 };

struct local_task {
    char *id, *prompt, *round, **completions;
    size_t count;
};

struct local_port {
    struct learner_port port; /* first */
    /* How much people like a completion: higher is better, equal is a tie. */
    double (*utility)(const char *prompt, const char *completion);
    /* Called before an answer goes back: a test may spoil it. May be NULL. */
    void (*spoil)(struct local_port *p, const struct learner_action *a, struct learner_answer *answer);
    /* What services and judges say of a text, NAN: nothing; NULL: none answers. */
    float (*say)(struct local_port *p, const struct rlhf_source_settings *s, const struct rlhf_source_text *t);
    unsigned said;    /* score actions that services and judges answered, over all lives         */
    unsigned asks;    /* so far                                                       */
    bool begun;       /* begin() was called, and neither finish() nor drop() */
    struct learner_answer later; /* of begin() */
    unsigned overlapped; /* answers that were there before they were waited for */
    unsigned die_at;  /* the ask of this number fails as kill -9 would; 0: never      */
    unsigned stop_at; /* stopping() is true from this number of calls on; 0: never    */
    unsigned stop_calls;
    uint64_t progress; /* calls                                                        */
    uint64_t published, dropped, submitted;
    struct {
        struct rlhf_digest digest;
        struct rlhf_model *model;
    } models[LOCAL_MODELS];
    struct local_task tasks[LOCAL_TASKS]; /* the label-collector's memory: survives the learner */
    size_t task_count;
};

void local_port_init(struct local_port *p, double (*utility)(const char *prompt, const char *completion));
/* Forgets the models, keeps the tasks: the learner was started again. */
void local_port_restart(struct local_port *p);
void local_port_free(struct local_port *p);

#endif
