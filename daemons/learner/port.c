#include "learner/port.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/io.h"
#include "learner/train.h"
#include "model/panel_file.h"
#include "net/weights.h"
#include "telemetry/log.h"

struct learner_bridge {
    struct learner_port port; /* first: the trainer's handle */
    struct rlhf_daemon *daemon;
    struct learner *learner;
    const struct rlhf_run *run;
    char weights_dir[PATH_MAX]; /* compute thread's, as is the next */
    char memory_dir[PATH_MAX];  /* on a file system in memory; "" where there is none */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    bool stopping, resumed;
    struct learner_action asked;
    const struct learner_action *action; /* asked for, not begun */
    bool answered, dropping;
    struct learner_answer answer;
    struct rlhf_error answer_error;
    struct {
        uint32_t stage;
        uint64_t step, steps, tokens;
        char detail[160];
        bool posted; /* a call that will show it is on its way */
    } progress;
    uint32_t stage_told; /* to the supervisor, counted from 1 */

    struct rlhf_error result; /* of the trainer: compute thread, then reactor thread once it is done */
};

/* ---- reactor thread -------------------------------------------------------------------------------- */

static void on_answered(void *ctx, struct learner_answer *answer, const struct rlhf_error *err)
{
    struct learner_bridge *b = ctx;

    pthread_mutex_lock(&b->lock);
    b->answer = *answer;
    b->answer_error = err ? *err : (struct rlhf_error){ 0 };
    b->answered = true;
    pthread_cond_signal(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void begin(void *ctx)
{
    struct learner_bridge *b = ctx;
    const struct learner_action *action;
    struct rlhf_error err = { 0 };
    bool stopping;

    pthread_mutex_lock(&b->lock);
    action = b->action;
    stopping = b->stopping;
    b->action = NULL;
    pthread_mutex_unlock(&b->lock);
    if (!stopping && action && learner_act(b->learner, action, on_answered, b, &err) < 0)
        on_answered(b, &(struct learner_answer){ 0 }, &err);
}

/* Nobody wants the answer of what was asked last. */
static void forget(void *ctx)
{
    struct learner_bridge *b = ctx;

    pthread_mutex_lock(&b->lock);
    b->action = NULL;
    learner_abandon(b->learner);
    b->dropping = false;
    pthread_cond_signal(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

/* Drain, or the end of the loop: whatever the trainer waits for will not come. */
static void stop(void *ctx)
{
    struct learner_bridge *b = ctx;

    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    learner_abandon(b->learner);
    pthread_cond_signal(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void drain(void *ctx)
{
    struct learner_bridge *b = ctx;

    learner_set_state(b->learner, "draining", NULL);
    stop(b);
}

static void resume(void *ctx)
{
    struct learner_bridge *b = ctx;

    pthread_mutex_lock(&b->lock);
    b->resumed = true;
    pthread_mutex_unlock(&b->lock);
}

static void show_progress(void *ctx)
{
    struct learner_bridge *b = ctx;

    pthread_mutex_lock(&b->lock);
    b->progress.posted = false;
    if (b->stage_told != b->progress.stage + 1) {
        b->stage_told = b->progress.stage + 1;
        rlhf_daemon_status(b->daemon, "stage %s, %u of %zu",
                           rlhf_stage_name(rlhf_run_stage(b->run, b->progress.stage)), b->stage_told,
                           rlhf_run_stages(b->run));
    }
    learner_set_progress(b->learner, b->progress.stage, b->progress.step, b->progress.steps, b->progress.tokens,
                         b->progress.detail);
    pthread_mutex_unlock(&b->lock);
}

static void on_trained(void *ctx)
{
    struct learner_bridge *b = ctx;

    if (b->result.code == RLHF_OK || b->result.code == RLHF_AGAIN) {
        learner_set_state(b->learner, b->result.code == RLHF_OK ? "done" : "draining", NULL);
        rlhf_daemon_stop(b->daemon);
    } else {
        learner_set_state(b->learner, "failed", b->result.text);
        rlhf_daemon_fail(b->daemon, &b->result);
    }
}

/* ---- compute thread -------------------------------------------------------------------------------- */

static struct learner_bridge *bridge(struct learner_port *p)
{
    return (struct learner_bridge *)p;
}

static int start(struct learner_port *p, const struct learner_action *wanted, struct rlhf_error *err)
{
    struct learner_bridge *b = bridge(p);
    int rc = 0;

    pthread_mutex_lock(&b->lock);
    b->asked = *wanted;
    b->answered = false;
    b->action = &b->asked;
    if (!b->stopping && rlhf_daemon_post(b->daemon, begin, b, err) < 0) {
        b->action = NULL;
        rc = -1;
    }
    pthread_mutex_unlock(&b->lock);
    return rc;
}

static int finish(struct learner_port *p, struct learner_answer *out, struct rlhf_error *err)
{
    struct learner_bridge *b = bridge(p);
    int rc = 0;

    *out = (struct learner_answer){ 0 };
    pthread_mutex_lock(&b->lock);
    while (!b->answered && !b->stopping)
        pthread_cond_wait(&b->changed, &b->lock);
    if (!b->answered) {
        if (b->action) /* never begun, so still ours */
            rlhf_weights_free(b->asked.weights);
        b->action = NULL;
        rc = rlhf_fail(err, RLHF_AGAIN, "the learner is asked to stop");
    } else if (b->answer_error.code != RLHF_OK) {
        *err = b->answer_error;
        rc = -1;
    } else {
        *out = b->answer;
    }
    b->answer = (struct learner_answer){ 0 };
    pthread_mutex_unlock(&b->lock);
    return rc;
}

static void drop(struct learner_port *p)
{
    struct learner_bridge *b = bridge(p);

    pthread_mutex_lock(&b->lock);
    b->dropping = !b->stopping && rlhf_daemon_post(b->daemon, forget, b, NULL) == 0;
    while (b->dropping && !b->stopping)
        pthread_cond_wait(&b->changed, &b->lock);
    learner_answer_free(&b->answer);
    pthread_mutex_unlock(&b->lock);
}

/* Room for the version before, this one, and as much to spare: what fills the memory of a host ends programs there. */
static const char *shared_dir(const struct learner_bridge *b, size_t size)
{
    struct statvfs fs;

    return b->memory_dir[0] && statvfs(b->memory_dir, &fs) == 0 && (size_t)fs.f_bavail * fs.f_frsize / 3 > size
               ? b->memory_dir
               : b->weights_dir;
}

/* The model's weights laid out where workers of this host will map them: packed once for all of them. */
static struct rlhf_weights *lay_out(const struct learner_bridge *b, const struct learner_action *a, struct rlhf_error *err)
{
    struct rlhf_panel_file file;
    struct rlhf_weights *w;
    void *to;

    if (rlhf_panel_file_plan(&file, a->model, err) < 0)
        return NULL;
    w = rlhf_weights_room(&(struct rlhf_weights_spec){ .name = a->name,
                                                       .version = a->version,
                                                       .config = file.config.data,
                                                       .size = file.size,
                                                       .shared_dir = shared_dir(b, file.size) },
                          &to, err);
    if (w && (rlhf_panel_file_write(&file, a->model, to, a->pool, err) < 0 || rlhf_weights_seal(w, a->pool, err) < 0)) {
        rlhf_weights_free(w);
        w = NULL;
    }
    rlhf_panel_file_free(&file);
    return w;
}

static int ask(struct learner_port *p, const struct learner_action *wanted, struct learner_answer *out,
               struct rlhf_error *err)
{
    struct learner_bridge *b = bridge(p);
    struct learner_action action = *wanted;

    *out = (struct learner_answer){ 0 };
    if (action.kind == LEARNER_PUBLISH && !(action.weights = lay_out(b, &action, err)))
        return -1;
    if (start(p, &action, err) == 0)
        return finish(p, out, err);
    rlhf_weights_free(action.weights);
    return -1;
}

static void progress(struct learner_port *p, uint32_t stage, uint64_t step, uint64_t steps, uint64_t tokens,
                     const char *detail)
{
    struct learner_bridge *b = bridge(p);
    size_t size = detail ? strnlen(detail, sizeof b->progress.detail - 1) : 0;

    rlhf_daemon_progress(b->daemon);
    pthread_mutex_lock(&b->lock);
    b->progress.stage = stage;
    b->progress.step = step;
    b->progress.steps = steps;
    b->progress.tokens = tokens;
    memcpy(b->progress.detail, detail ? detail : "", size);
    b->progress.detail[size] = '\0';
    if (!b->progress.posted && !b->stopping)
        b->progress.posted = rlhf_daemon_post(b->daemon, show_progress, b, NULL) == 0;
    pthread_mutex_unlock(&b->lock);
}

static bool stopping(struct learner_port *p)
{
    struct learner_bridge *b = bridge(p);
    bool yes;

    pthread_mutex_lock(&b->lock);
    yes = b->stopping;
    pthread_mutex_unlock(&b->lock);
    return yes;
}

static bool resumed(struct learner_port *p)
{
    struct learner_bridge *b = bridge(p);
    bool yes;

    pthread_mutex_lock(&b->lock);
    yes = b->resumed;
    b->resumed = false;
    pthread_mutex_unlock(&b->lock);
    return yes;
}

/* In memory no disk is waited for: every version is 4 bytes a parameter. The name hangs on the run's directory, so that the next
 * life finds what a killed one left. A directory of somebody else's is not used, nor is one that others may write to. */
static void open_memory_dir(struct learner_bridge *b)
{
    struct rlhf_digest run = rlhf_digest_of(b->weights_dir, strlen(b->weights_dir));
    char text[RLHF_DIGEST_TEXT], name[sizeof "rlhfd-" + 16], memory[PATH_MAX] = "";
    struct stat st;

    rlhf_digest_text(&run, text);
    snprintf(name, sizeof name, "rlhfd-%.16s", text);
    if (!realpath(b->run->learner.memory, memory) || rlhf_path(b->memory_dir, sizeof b->memory_dir, memory, name, NULL) < 0)
        b->memory_dir[0] = '\0';
    else if (lstat(b->memory_dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
        rlhf_remove_tree(&rlhf_system_io, b->memory_dir, NULL);
    if (!b->memory_dir[0] || mkdir(b->memory_dir, 0700) < 0) {
        rlhf_log(RLHF_LEVEL_WARNING, "no_memory dir=%s why=\"%s\" weights=%s", b->run->learner.memory, strerror(errno), b->weights_dir);
        b->memory_dir[0] = '\0';
    }
}

/* Where published weights lie for workers of this host, as an absolute path: theirs is another directory. A new life
 * serves weights of its own, so what a killed one left there is of no use. */
static int clear_weights_dir(const struct rlhf_run *run, char dir[PATH_MAX], struct rlhf_error *err)
{
    char name[PATH_MAX];

    if (rlhf_path(name, sizeof name, run->run.dir, "weights", err) < 0
        || (rlhf_exists(&rlhf_system_io, name) && rlhf_remove_tree(&rlhf_system_io, name, err) < 0)
        || rlhf_make_dirs(&rlhf_system_io, name, err) < 0)
        return -1;
    if (!realpath(name, dir))
        return rlhf_fail(err, RLHF_FATAL, "%s cannot be resolved: %s", name, strerror(errno));
    return 0;
}

static void train(void *ctx)
{
    struct learner_bridge *b = ctx;
    const struct rlhf_env *env = rlhf_daemon_env(b->daemon);
    struct learner_trainer *t = learner_trainer_new(b->run, env->io, env->clock, &b->result); /* locks the directory */

    if (t && clear_weights_dir(b->run, b->weights_dir, &b->result) == 0) {
        open_memory_dir(b);
        learner_trainer_run(t, &b->port, &b->result);
    }
    learner_trainer_free(t);
}

/* ---- life ------------------------------------------------------------------------------------------ */

struct learner_bridge *learner_bridge_new(struct rlhf_daemon *d, struct learner *l, const struct rlhf_run *run,
                                          struct rlhf_error *err)
{
    struct learner_bridge *b = calloc(1, sizeof *b);

    if (!b) {
        rlhf_fail(err, RLHF_FULL, "no memory for the trainer's port");
        return NULL;
    }
    b->port = (struct learner_port){ .ask = ask,
                                      .begin = start,
                                      .finish = finish,
                                      .drop = drop,
                                      .progress = progress,
                                      .stopping = stopping,
                                      .resumed = resumed };
    b->daemon = d;
    b->learner = l;
    b->run = run;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    rlhf_daemon_on_drain(d, drain, b);
    rlhf_daemon_on_stop(d, stop, b);
    learner_on_drain(l, drain, b);
    learner_on_resume(l, resume, b);
    return b;
}

int learner_bridge_start(struct learner_bridge *b, struct rlhf_error *err)
{
    learner_set_state(b->learner, "running", NULL);
    return rlhf_daemon_compute(b->daemon, train, on_trained, b, err);
}

void learner_bridge_free(struct learner_bridge *b)
{
    if (!b)
        return;
    if (b->memory_dir[0])
        rmdir(b->memory_dir); /* the weights in it went with the learner */
    learner_answer_free(&b->answer);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
}
