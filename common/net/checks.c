#include "net/checks.h"

#include <string.h>

#include "base/text.h"
#include "net/codec.h"
#include "net/weights.h"
#include "net/wire.h"
#include "proto/control.pb-c.h"
#include "proto/labels.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"

enum { MAX_NAME = 64, MAX_ID = 256, MAX_STAGES = 1024, MAX_RUN_VOCABULARY = 1 << 24, MAX_MORE_ENDS = 31 };

#define REJECT(...) return rlhf_fail(err, RLHF_REJECT, __VA_ARGS__)

struct rlhf_digest rlhf_digest_of_field(const ProtobufCBinaryData *field)
{
    struct rlhf_digest d;

    memcpy(d.bytes, field->data, sizeof d.bytes);
    return d;
}

ProtobufCBinaryData rlhf_digest_field(const struct rlhf_digest *d)
{
    return (ProtobufCBinaryData){ .len = sizeof d->bytes, .data = (uint8_t *)d->bytes };
}

/* ---- what several messages share ------------------------------------------------------------------- */

static int check_digest(const ProtobufCBinaryData *field, const char *what, struct rlhf_error *err)
{
    if (field->len != RLHF_DIGEST_SIZE)
        REJECT("%s has %zu bytes; a digest has %d", what, field->len, RLHF_DIGEST_SIZE);
    return 0;
}

static int check_digests(const ProtobufCBinaryData *fields, size_t count, size_t max, const char *what,
                         struct rlhf_error *err)
{
    if (count > max)
        REJECT("%zu of %s; at most %zu are allowed", count, what, max);
    for (size_t i = 0; i < count; i++)
        if (check_digest(&fields[i], what, err) < 0)
            return -1;
    return 0;
}

static int check_count(size_t count, size_t min, size_t max, const char *what, struct rlhf_error *err)
{
    if (count < min || count > max)
        REJECT("%zu %s; %zu to %zu are allowed", count, what, min, max);
    return 0;
}

/* One line of printable ASCII: it goes into logs. */
static int check_label(const char *text, size_t max, const char *what, struct rlhf_error *err)
{
    size_t size = strlen(text);

    if (size > max)
        REJECT("%s has %zu bytes; at most %zu are allowed", what, size, max);
    for (size_t i = 0; i < size; i++)
        if (text[i] < ' ' || text[i] > '~' || text[i] == '"')
            REJECT("%s has a character that is not printable ASCII", what);
    return 0;
}

/* A sentence for a person: one line. */
static int check_sentence(const char *text, const char *what, struct rlhf_error *err)
{
    const size_t max = sizeof err->text - 1;

    if (strlen(text) > max)
        REJECT("%s has %zu bytes; at most %zu are allowed", what, strlen(text), max);
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            REJECT("%s has control characters", what);
    return 0;
}

static int check_length(const char *text, size_t min, size_t max, const char *what, struct rlhf_error *err)
{
    size_t size = strlen(text);

    if (size < min || size > max)
        REJECT("%s has %zu bytes; %zu to %zu are allowed", what, size, min, max);
    return 0;
}

/* Blob `index` holds `count` values of 4 bytes. */
static int check_blob(const struct rlhf_message *m, size_t index, uint64_t count, const char *what,
                      struct rlhf_error *err)
{
    if (m->blobs[index].size != count * 4)
        REJECT("the blob of %s has %zu bytes; the body describes %llu", what, m->blobs[index].size,
               (unsigned long long)count * 4);
    return 0;
}

static int check_blob_count(const struct rlhf_message *m, size_t count, struct rlhf_error *err)
{
    if (m->blob_count != count)
        REJECT("%zu blobs; a %s has %zu", m->blob_count, rlhf_message_name(m->type), count);
    return 0;
}

/* Ids below 0 or above any vocabulary; the model's own size is checked by who has the model. */
static int check_tokens(const struct rlhf_message *m, size_t index, struct rlhf_error *err)
{
    const int32_t *ids = m->blobs[index].data;

    for (size_t i = 0; i < m->blobs[index].size / 4; i++)
        if (ids[i] < 0 || ids[i] >= MAX_RUN_VOCABULARY)
            REJECT("token %zu has the id %d", i, ids[i]);
    return 0;
}

/* Natural logs of probabilities: finite and not above 0 (rounding allowed for). */
static int check_logprobs(const struct rlhf_message *m, size_t index, struct rlhf_error *err)
{
    const float *logprob = m->blobs[index].data;

    for (size_t i = 0; i < m->blobs[index].size / 4; i++)
        if (!(logprob[i] <= 1e-3f && logprob[i] >= -1e30f))
            REJECT("log-prob %zu is %g", i, (double)logprob[i]);
    return 0;
}

/* Ids and attempts begin at 1. */
static int check_job(uint64_t id, uint32_t attempt, struct rlhf_error *err)
{
    if (id == 0 || attempt == 0)
        REJECT("job %llu, attempt %u: both begin at 1", (unsigned long long)id, attempt);
    return 0;
}

/* ---- common ---------------------------------------------------------------------------------------- */

int rlhf_check_hello(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Hello *hello = (const Rlhf__V1__Hello *)m->body;

    if (hello->role == RLHF__V1__ROLE__ROLE_UNSPECIFIED)
        REJECT("a Hello without a role");
    if (hello->epoch == 0)
        REJECT("a Hello without an epoch");
    return check_length(hello->software, 1, MAX_NAME, "software", err) < 0
                   || check_label(hello->software, MAX_NAME, "software", err) < 0
                   || check_label(hello->host, MAX_NAME, "host", err) < 0
                   || check_label(hello->profile, MAX_ID, "profile", err) < 0
               ? -1
               : 0;
}

int rlhf_check_welcome(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Welcome *welcome = (const Rlhf__V1__Welcome *)m->body;

    if (welcome->heartbeat_ms < 10 || welcome->heartbeat_ms > 60000)
        REJECT("a heartbeat every %u ms; 10 to 60000 are allowed", welcome->heartbeat_ms);
    if (welcome->liveness < 2 || welcome->liveness > 100)
        REJECT("a liveness of %u heartbeats; 2 to 100 are allowed", welcome->liveness);
    return check_label(welcome->run, RLHF_RUN_MAX - 1, "run", err) < 0
                   || check_label(welcome->host, MAX_NAME, "host", err) < 0
               ? -1
               : 0;
}

int rlhf_check_heartbeat(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Heartbeat *beat = (const Rlhf__V1__Heartbeat *)m->body;

    return check_count(beat->n_jobs, 0, RLHF_MAX_JOBS, "jobs held", err);
}

int rlhf_check_error(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Error *said = (const Rlhf__V1__Error *)m->body;

    if (said->code == RLHF_OK || said->code > RLHF_FATAL)
        REJECT("an Error with the code %u", said->code);
    return check_sentence(said->text, "text", err);
}

/* ---- work ------------------------------------------------------------------------------------------ */

int rlhf_check_credit(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Credit *credit = (const Rlhf__V1__Credit *)m->body;

    return check_count(credit->jobs, 0, RLHF_MAX_JOBS, "jobs of credit", err);
}

static int check_sampling(const Rlhf__V1__Sampling *s, struct rlhf_error *err)
{
    if (!(s->temperature >= 0 && s->temperature <= 100))
        REJECT("a temperature of %g; 0 to 100 are allowed", (double)s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        REJECT("a top_p of %g; more than 0 and up to 1 are allowed", (double)s->top_p);
    if (s->max_new_tokens == 0 || s->max_new_tokens > RLHF_MAX_JOB_TOKENS)
        REJECT("%u new tokens; 1 to %d are allowed", s->max_new_tokens, RLHF_MAX_JOB_TOKENS);
    if (s->end_token < -1 || s->end_token >= MAX_RUN_VOCABULARY)
        REJECT("end token %d", s->end_token);
    if (!(s->top_p_exact >= 0 && s->top_p_exact <= 1))
        REJECT("a top_p_exact of %g; 0 to 1 are allowed", s->top_p_exact);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        REJECT("a min_p of %g; 0 to 1 are allowed", (double)s->min_p);
    if (!(s->typical_p >= 0 && s->typical_p <= 1))
        REJECT("a typical_p of %g; 0 to 1 are allowed", (double)s->typical_p);
    if (!(s->repetition_penalty == 0 || (s->repetition_penalty >= 1e-4F && s->repetition_penalty <= 1e4F)))
        REJECT("a repetition_penalty of %g; 0, or 0.0001 to 10000 are allowed", (double)s->repetition_penalty);
    if (s->no_repeat_ngram > RLHF_MAX_JOB_TOKENS)
        REJECT("no_repeat_ngram of %u; 0 to %d are allowed", s->no_repeat_ngram, RLHF_MAX_JOB_TOKENS);
    if (s->min_new_tokens > s->max_new_tokens)
        REJECT("at least %u new tokens, and at most %u", s->min_new_tokens, s->max_new_tokens);
    if (check_count(s->n_more_ends, 0, MAX_MORE_ENDS, "more end tokens", err) < 0)
        return -1;
    for (size_t i = 0; i < s->n_more_ends; i++)
        if (s->more_ends[i] < 0 || s->more_ends[i] >= MAX_RUN_VOCABULARY)
            REJECT("end token %d", s->more_ends[i]);
    return 0;
}

static int check_generate_job(const Rlhf__V1__GenerateJobs *jobs, const Rlhf__V1__GenerateJob *j,
                              struct rlhf_error *err)
{
    if (check_job(j->id, j->attempt, err) < 0)
        return -1;
    if (!j->name || j->purpose == RLHF__V1__PURPOSE__PURPOSE_UNSPECIFIED)
        REJECT("job %llu has no name or no purpose", (unsigned long long)j->id);
    if (j->model >= jobs->n_weights || j->sampling >= jobs->n_sampling)
        REJECT("job %llu names weights %u of %zu and sampling %u of %zu", (unsigned long long)j->id, j->model,
               jobs->n_weights, j->sampling, jobs->n_sampling);
    if (j->prompt_tokens == 0 || j->prompt_tokens > RLHF_MAX_JOB_TOKENS)
        REJECT("job %llu has a prompt of %u tokens; 1 to %d are allowed", (unsigned long long)j->id,
               j->prompt_tokens, RLHF_MAX_JOB_TOKENS);
    return 0;
}

int rlhf_check_generate_jobs(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__GenerateJobs *jobs = (const Rlhf__V1__GenerateJobs *)m->body;
    uint64_t tokens = 0;

    if (check_blob_count(m, 1, err) < 0 || check_count(jobs->n_jobs, 1, RLHF_MAX_JOBS, "jobs", err) < 0
        || check_digests(jobs->weights, jobs->n_weights, RLHF_MAX_DIGESTS, "weights", err) < 0
        || check_count(jobs->n_sampling, 1, RLHF_MAX_DIGESTS, "sampling settings", err) < 0)
        return -1;
    for (size_t i = 0; i < jobs->n_sampling; i++)
        if (check_sampling(jobs->sampling[i], err) < 0)
            return -1;
    for (size_t i = 0; i < jobs->n_jobs; i++) {
        if (check_generate_job(jobs, jobs->jobs[i], err) < 0)
            return -1;
        tokens += jobs->jobs[i]->prompt_tokens;
    }
    return check_blob(m, 0, tokens, "prompts", err) < 0 || check_tokens(m, 0, err) < 0 ? -1 : 0;
}

int rlhf_check_rollouts(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Rollouts *body = (const Rlhf__V1__Rollouts *)m->body;
    uint64_t tokens = 0;

    if (check_blob_count(m, 3, err) < 0 || check_count(body->n_rollouts, 1, RLHF_MAX_JOBS, "rollouts", err) < 0)
        return -1;
    for (size_t i = 0; i < body->n_rollouts; i++) {
        const Rlhf__V1__Rollout *r = body->rollouts[i];

        if (check_job(r->id, r->attempt, err) < 0 || check_digest(&r->weights, "weights", err) < 0)
            return -1;
        if (r->finish == RLHF__V1__FINISH_REASON__FINISH_REASON_UNSPECIFIED)
            REJECT("rollout %llu does not say why it ended", (unsigned long long)r->id);
        if (r->tokens == 0 || r->tokens > RLHF_MAX_JOB_TOKENS)
            REJECT("rollout %llu has %u tokens; 1 to %d are allowed", (unsigned long long)r->id, r->tokens,
                   RLHF_MAX_JOB_TOKENS);
        tokens += r->tokens;
    }
    return check_blob(m, 0, tokens, "completions", err) < 0 || check_blob(m, 1, tokens, "log-probs", err) < 0
                   || check_blob(m, 2, tokens, "untempered log-probs", err) < 0 || check_tokens(m, 0, err) < 0
                   || check_logprobs(m, 1, err) < 0 || check_logprobs(m, 2, err) < 0
               ? -1
               : 0;
}

/* Empty, or a digest. */
static int check_optional_digest(const ProtobufCBinaryData *field, const char *what, struct rlhf_error *err)
{
    return field->len == 0 ? 0 : check_digest(field, what, err);
}

static int check_source(const Rlhf__V1__RewardSource *s, struct rlhf_error *err)
{
    if (s->kind == RLHF__V1__REWARD_KIND__REWARD_KIND_UNSPECIFIED)
        REJECT("a source of rewards of no kind");
    if (s->kind == RLHF__V1__REWARD_KIND__REWARD_LENGTH && s->unit == RLHF__V1__LENGTH_UNIT__LENGTH_UNIT_UNSPECIFIED)
        REJECT("a source of rewards that measures lengths in no unit");
    if (!s->name[0])
        REJECT("a source of rewards without a name");
    return 0; /* the rest is said by rlhf_source_new() */
}

/* Blob 1: texts without NUL that are UTF-8 each, so that every one of them can be cut out. */
static int check_texts(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__ScoreJobs *jobs = (const Rlhf__V1__ScoreJobs *)m->body;
    const char *text = m->blobs[1].data;
    uint64_t bytes = 0;

    for (size_t i = 0; i < jobs->n_jobs; i++) {
        const Rlhf__V1__ScoreJob *j = jobs->jobs[i];

        bytes += (uint64_t)j->prompt_bytes + j->completion_bytes + j->answer_bytes;
        if (j->answer_bytes && !j->has_answer)
            REJECT("job %llu has an answer and says that it has none", (unsigned long long)j->id);
    }
    if (m->blobs[1].size != bytes)
        REJECT("the blob of texts has %zu bytes, the jobs say %llu", m->blobs[1].size, (unsigned long long)bytes);
    if (bytes && memchr(text, 0, bytes))
        REJECT("a text with a NUL byte");
    for (size_t i = 0; i < jobs->n_jobs; i++) {
        const uint32_t sizes[] = { jobs->jobs[i]->prompt_bytes, jobs->jobs[i]->completion_bytes, jobs->jobs[i]->answer_bytes };

        for (size_t k = 0; k < 3; text += sizes[k++])
            if (!rlhf_utf8_valid(text, sizes[k]))
                REJECT("job %llu has a text that is not UTF-8", (unsigned long long)jobs->jobs[i]->id);
    }
    return 0;
}

int rlhf_check_score_jobs(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__ScoreJobs *jobs = (const Rlhf__V1__ScoreJobs *)m->body;
    uint64_t tokens = 0;

    if (check_blob_count(m, jobs->source ? 2 : 1, err) < 0 || check_count(jobs->n_jobs, 1, RLHF_MAX_JOBS, "jobs", err) < 0
        || check_optional_digest(&jobs->reward_model, "reward_model", err) < 0
        || check_optional_digest(&jobs->reference, "reference", err) < 0
        || (jobs->source && check_source(jobs->source, err) < 0))
        return -1;
    if (!jobs->source && jobs->reward_model.len == 0 && jobs->reference.len == 0)
        REJECT("score jobs that name neither a reward model nor a reference nor a source");
    if (jobs->source && (jobs->reward_model.len || jobs->reference.len))
        REJECT("score jobs that name a source beside a model");
    if (jobs->reference.len && !(jobs->temperature > 0 && jobs->temperature <= 100))
        REJECT("a temperature of %g; more than 0 and up to 100 are allowed", (double)jobs->temperature);
    for (size_t i = 0; i < jobs->n_jobs; i++) {
        const Rlhf__V1__ScoreJob *j = jobs->jobs[i];

        if (check_job(j->id, j->attempt, err) < 0)
            return -1;
        if (j->tokens == 0 || j->tokens > RLHF_MAX_JOB_TOKENS || j->prompt_tokens == 0
            || j->prompt_tokens > j->tokens)
            REJECT("job %llu has %u tokens, %u of them the prompt's", (unsigned long long)j->id, j->tokens,
                   j->prompt_tokens);
        tokens += j->tokens;
    }
    return check_blob(m, 0, tokens, "sequences", err) < 0 || check_tokens(m, 0, err) < 0
                   || (jobs->source && check_texts(m, err) < 0)
               ? -1
               : 0;
}

int rlhf_check_scores(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Scores *body = (const Rlhf__V1__Scores *)m->body;
    uint64_t logprobs = 0;

    if (check_blob_count(m, 1, err) < 0 || check_count(body->n_scores, 1, RLHF_MAX_JOBS, "scores", err) < 0
        || check_optional_digest(&body->reward_model, "reward_model", err) < 0
        || check_optional_digest(&body->reference, "reference", err) < 0
        || check_label(body->source, MAX_NAME, "source", err) < 0 || check_sentence(body->reason, "reason", err) < 0)
        return -1;
    for (size_t i = 0; i < body->n_scores; i++) {
        const Rlhf__V1__Score *s = body->scores[i];

        if (check_job(s->id, s->attempt, err) < 0)
            return -1;
        if (s->logprobs > RLHF_MAX_JOB_TOKENS || (s->logprobs && body->reference.len == 0))
            REJECT("score %llu has %u log-probs%s", (unsigned long long)s->id, s->logprobs,
                   body->reference.len ? "" : " of no reference");
        if (s->missing && (!body->source[0] || s->reward != 0))
            REJECT("score %llu is missing and %s", (unsigned long long)s->id,
                   body->source[0] ? "has a reward" : "of no source");
        logprobs += s->logprobs;
    }
    return check_blob(m, 0, logprobs, "reference log-probs", err) < 0 || check_logprobs(m, 0, err) < 0 ? -1 : 0;
}

int rlhf_check_jobs_returned(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__JobsReturned *body = (const Rlhf__V1__JobsReturned *)m->body;

    return check_count(body->n_ids, 1, RLHF_MAX_JOBS, "jobs returned", err) < 0
                   || check_sentence(body->reason, "reason", err) < 0
               ? -1
               : 0;
}

/* ---- weights --------------------------------------------------------------------------------------- */

int rlhf_check_weights_announce(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__WeightsAnnounce *body = (const Rlhf__V1__WeightsAnnounce *)m->body;

    return check_optional_digest(&body->digest, "digest", err) < 0
                   || check_label(body->name, MAX_NAME, "name", err) < 0
                   || check_digests(body->drop, body->n_drop, RLHF_MAX_DIGESTS, "drop", err) < 0
               ? -1
               : 0;
}

int rlhf_check_weights_request(const struct rlhf_message *m, struct rlhf_error *err)
{
    return check_digest(&((const Rlhf__V1__WeightsRequest *)m->body)->digest, "digest", err);
}

int rlhf_check_weights_manifest(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__WeightsManifest *body = (const Rlhf__V1__WeightsManifest *)m->body;
    uint64_t chunks;

    if (check_digest(&body->digest, "digest", err) < 0 || check_label(body->name, MAX_NAME, "name", err) < 0
        || check_length(body->config, 2, RLHF_WEIGHTS_CONFIG_MAX, "config", err) < 0
        || check_length(body->shared_file, 0, 4095, "shared_file", err) < 0
        || check_label(body->host, MAX_NAME, "host", err) < 0
        || check_digests(body->chunks, body->n_chunks, RLHF_CHUNKS_MAX, "chunks", err) < 0)
        return -1;
    if (body->chunk_size == 0 || body->chunk_size > RLHF_CHUNK_SIZE)
        REJECT("chunks of %u bytes; 1 to %d are allowed", body->chunk_size, RLHF_CHUNK_SIZE);
    if (body->size == 0 || body->size > (uint64_t)RLHF_CHUNKS_MAX * RLHF_CHUNK_SIZE)
        REJECT("a payload of %llu bytes", (unsigned long long)body->size);
    chunks = (body->size - 1) / body->chunk_size + 1;
    if (body->n_chunks != chunks)
        REJECT("%zu chunks; %llu bytes make %llu", body->n_chunks, (unsigned long long)body->size,
               (unsigned long long)chunks);
    if (body->shared_file[0] && body->shared_file[0] != '/')
        REJECT("a shared file without an absolute path");
    return 0;
}

int rlhf_check_chunk_request(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__ChunkRequest *body = (const Rlhf__V1__ChunkRequest *)m->body;

    return check_digest(&body->digest, "digest", err) < 0
                   || check_count(body->n_index, 1, RLHF_CHUNKS_A_REQUEST, "chunks asked for", err) < 0
               ? -1
               : 0;
}

int rlhf_check_chunk(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Chunk *body = (const Rlhf__V1__Chunk *)m->body;

    if (check_blob_count(m, 1, err) < 0 || check_digest(&body->digest, "digest", err) < 0)
        return -1;
    if (m->blobs[0].size == 0 || m->blobs[0].size > RLHF_CHUNK_SIZE || body->index >= RLHF_CHUNKS_MAX)
        REJECT("chunk %u of %zu bytes", body->index, m->blobs[0].size);
    return 0;
}

/* ---- labels ---------------------------------------------------------------------------------------- */

int rlhf_check_tasks_submit(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__TasksSubmit *body = (const Rlhf__V1__TasksSubmit *)m->body;

    if (check_count(body->n_tasks, 1, RLHF_MAX_TASKS, "tasks", err) < 0)
        return -1;
    for (size_t i = 0; i < body->n_tasks; i++) {
        const Rlhf__V1__Task *t = body->tasks[i];

        if (check_length(t->id, 1, MAX_ID, "a task's id", err) < 0
            || check_length(t->round, 0, MAX_ID, "a task's round", err) < 0
            || check_count(t->n_completions, 2, RLHF_MAX_COMPLETIONS, "completions of a task", err) < 0)
            return -1;
    }
    return 0;
}

int rlhf_check_tasks_stored(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__TasksStored *body = (const Rlhf__V1__TasksStored *)m->body;

    return check_count((size_t)body->stored + body->known, 0, RLHF_MAX_TASKS, "tasks stored", err);
}

int rlhf_check_comparisons_pull(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__ComparisonsPull *body = (const Rlhf__V1__ComparisonsPull *)m->body;

    return check_count(body->limit, 1, RLHF_MAX_TASKS, "comparisons asked for", err) < 0
                   || check_length(body->round, 0, MAX_ID, "round", err) < 0
                   || check_length(body->labeler, 0, MAX_ID, "labeler", err) < 0
               ? -1
               : 0;
}

static int check_distrust(float distrust, const char *what, const char *name, struct rlhf_error *err)
{
    if (!(distrust >= 0 && distrust <= 1)) /* NaN, too */
        REJECT("%s %s is distrusted by %g, not 0 to 1", what, name, (double)distrust);
    return 0;
}

static int check_weight(const Rlhf__V1__LabelerWeight *w, struct rlhf_error *err)
{
    return check_length(w->labeler, 1, MAX_ID, "a labeler", err) < 0 ? -1
                                                                    : check_distrust(w->distrust, "labeler", w->labeler, err);
}

static int check_comparison(const Rlhf__V1__Comparison *c, struct rlhf_error *err)
{
    if (c->sequence == 0 || c->revision == 0)
        REJECT("a comparison without sequence or revision");
    if (check_length(c->id, 1, MAX_ID, "a comparison's id", err) < 0
        || check_length(c->task, 0, MAX_ID, "a comparison's task", err) < 0
        || check_length(c->source, 0, MAX_ID, "a comparison's source", err) < 0
        || check_length(c->labeler, 0, MAX_ID, "a comparison's labeler", err) < 0
        || check_length(c->round, 0, MAX_ID, "a comparison's round", err) < 0
        || check_count(c->n_completions, 2, RLHF_MAX_COMPLETIONS, "completions of a comparison", err) < 0)
        return -1;
    if (check_length(c->excluded, 0, MAX_ID, "why a comparison is excluded", err) < 0)
        return -1;
    if (check_distrust(c->distrust, "comparison", c->id, err) < 0)
        return -1;
    if (c->n_ranks != c->n_completions)
        REJECT("comparison %s has %zu ranks for %zu completions", c->id, c->n_ranks, c->n_completions);
    for (size_t i = 0; i < c->n_ranks; i++)
        if (c->ranks[i] == 0 || c->ranks[i] > c->n_ranks)
            REJECT("comparison %s has the rank %u among %zu", c->id, c->ranks[i], c->n_ranks);
    return 0;
}

int rlhf_check_comparisons(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Comparisons *body = (const Rlhf__V1__Comparisons *)m->body;
    uint64_t last = 0;

    if (check_count(body->n_comparisons, 0, RLHF_MAX_TASKS, "comparisons", err) < 0)
        return -1;
    for (size_t i = 0; i < body->n_comparisons; i++) {
        const Rlhf__V1__Comparison *c = body->comparisons[i];

        if (check_comparison(c, err) < 0)
            return -1;
        if (c->sequence <= last)
            REJECT("comparison %s is out of order", c->id);
        last = c->sequence;
    }
    if (body->cursor < last)
        REJECT("a cursor before the last comparison");
    if (check_count(body->n_weights, 0, RLHF_MAX_TASKS, "weights", err) < 0)
        return -1;
    for (size_t i = 0; i < body->n_weights; i++)
        if (check_weight(body->weights[i], err) < 0)
            return -1;
    return 0;
}

/* ---- control --------------------------------------------------------------------------------------- */

int rlhf_check_status(const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Status *body = (const Rlhf__V1__Status *)m->body;

    if (body->n_stages && body->stage >= body->n_stages)
        REJECT("stage %u of %zu", body->stage, body->n_stages);
    return check_count(body->n_stages, 0, MAX_STAGES, "stages", err) < 0
                   || check_count(body->n_gauges, 0, MAX_STAGES, "gauges", err) < 0
                   || check_count(body->n_peers, 0, RLHF_MAX_JOBS, "peers", err) < 0
               ? -1
               : 0;
}

int rlhf_check_drain(const struct rlhf_message *m, struct rlhf_error *err)
{
    return check_sentence(((const Rlhf__V1__Drain *)m->body)->reason, "reason", err);
}

int rlhf_check_resume(const struct rlhf_message *m, struct rlhf_error *err)
{
    return check_sentence(((const Rlhf__V1__Resume *)m->body)->reason, "reason", err);
}
