/* The value check of every message: what it must refuse, and that what it accepts is what its comment promises. */
#include "net/checks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "net/codec.h"
#include "net/weights.h"
#include "proto/control.pb-c.h"
#include "proto/labels.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"
#include "support/suite.h"

static uint8_t digest_bytes[RLHF_DIGEST_SIZE] = { 1, 2, 3 };
#define DIGEST ((ProtobufCBinaryData){ sizeof digest_bytes, digest_bytes })
#define SHORT_DIGEST ((ProtobufCBinaryData){ 31, digest_bytes })

static int (*check)(const struct rlhf_message *m, struct rlhf_error *err); /* of the test at hand */
static struct rlhf_message message;

static void accepted(void)
{
    struct rlhf_error err = { 0 };

    ck_assert_msg(check(&message, &err) == 0, "%s", err.text);
}

/* Sets a field to a wrong value, expects a refusal, and sets it right again. */
#define REFUSES(field, wrong)                                                                                \
    do {                                                                                                     \
        __typeof__(field) right = (field);                                                                   \
        struct rlhf_error err = { 0 };                                                                       \
        (field) = (wrong);                                                                                   \
        ck_assert_msg(check(&message, &err) == -1, "%s = %s is accepted", #field, #wrong);                   \
        expect_code(err, RLHF_REJECT);                                                                       \
        ck_assert_uint_gt(strlen(err.text), 0);                                                              \
        (field) = right;                                                                                     \
        accepted();                                                                                          \
    } while (0)

#define BEGIN(check_function, checked)                                                                        \
    check = (check_function);                                                                                \
    message = (struct rlhf_message){ .type = 16, .body = &(checked).base };

static char *text_of(size_t size)
{
    static char texts[2][8192];
    static unsigned next;
    char *text = texts[next++ % 2];

    memset(text, 'a', size);
    text[size] = 0;
    return text;
}

START_TEST(greetings_are_checked)
{
    Rlhf__V1__Hello hello = RLHF__V1__HELLO__INIT;
    Rlhf__V1__Welcome welcome = RLHF__V1__WELCOME__INIT;
    Rlhf__V1__Heartbeat beat = RLHF__V1__HEARTBEAT__INIT;
    Rlhf__V1__Error error = RLHF__V1__ERROR__INIT;

    BEGIN(rlhf_check_hello, hello);
    hello.role = RLHF__V1__ROLE__ROLE_CONTROL;
    hello.epoch = 1;
    hello.software = (char *)"rlhfctl 0.1.0";
    hello.host = (char *)"c0ffee-00";
    accepted();
    REFUSES(hello.role, RLHF__V1__ROLE__ROLE_UNSPECIFIED);
    REFUSES(hello.epoch, 0);
    REFUSES(hello.software, (char *)"");
    REFUSES(hello.software, text_of(65));
    REFUSES(hello.software, (char *)"two\nlines");
    REFUSES(hello.software, (char *)"a\" why=\"forged");
    REFUSES(hello.host, text_of(65));
    REFUSES(hello.profile, (char *)"\xc3\xa4");

    BEGIN(rlhf_check_welcome, welcome);
    welcome.heartbeat_ms = 1000;
    welcome.liveness = 5;
    accepted();
    REFUSES(welcome.heartbeat_ms, 0);
    REFUSES(welcome.heartbeat_ms, 1u << 31);
    REFUSES(welcome.liveness, 1);
    REFUSES(welcome.liveness, 101);
    REFUSES(welcome.run, text_of(RLHF_RUN_MAX));

    BEGIN(rlhf_check_heartbeat, beat);
    accepted();
    REFUSES(beat.n_jobs, RLHF_MAX_JOBS + 1);

    BEGIN(rlhf_check_error, error);
    error.code = RLHF_FULL;
    error.text = (char *)"größer als erlaubt";
    accepted();
    REFUSES(error.code, 0);
    REFUSES(error.code, 7);
    REFUSES(error.text, text_of(400));
    REFUSES(error.text, (char *)"\x1b[2J");
}
END_TEST

START_TEST(generate_jobs_are_checked)
{
    Rlhf__V1__Sampling sampling = RLHF__V1__SAMPLING__INIT, *samplings[] = { &sampling };
    Rlhf__V1__JobName name = RLHF__V1__JOB_NAME__INIT;
    Rlhf__V1__GenerateJob job = RLHF__V1__GENERATE_JOB__INIT, *jobs[] = { &job };
    Rlhf__V1__GenerateJobs body = RLHF__V1__GENERATE_JOBS__INIT;
    ProtobufCBinaryData weights[] = { DIGEST };
    int32_t prompt[] = { 5, 6, 7 }, more_ends[] = { 3, 4 };
    Rlhf__V1__Credit credit = RLHF__V1__CREDIT__INIT;

    BEGIN(rlhf_check_credit, credit);
    accepted();
    REFUSES(credit.jobs, RLHF_MAX_JOBS + 1);

    BEGIN(rlhf_check_generate_jobs, body);
    message.blobs[0] = (struct rlhf_blob){ prompt, sizeof prompt };
    message.blob_count = 1;
    sampling.temperature = 1;
    sampling.top_p = 1;
    sampling.max_new_tokens = 10;
    sampling.end_token = -1;
    job.id = job.attempt = 1;
    job.name = &name;
    job.purpose = RLHF__V1__PURPOSE__PURPOSE_SAMPLE;
    job.prompt_tokens = 3;
    body.n_weights = body.n_sampling = body.n_jobs = 1;
    body.weights = weights;
    body.sampling = samplings;
    body.jobs = jobs;
    accepted();
    REFUSES(message.blob_count, 0);
    REFUSES(message.blob_count, 2);
    REFUSES(message.blobs[0].size, sizeof prompt - 1);
    REFUSES(message.blobs[0].size, sizeof prompt - 4);
    REFUSES(body.n_jobs, 0);
    REFUSES(body.n_jobs, RLHF_MAX_JOBS + 1);
    REFUSES(body.n_weights, 0);
    REFUSES(body.n_weights, RLHF_MAX_DIGESTS + 1);
    REFUSES(body.n_sampling, 0);
    REFUSES(weights[0], SHORT_DIGEST);
    REFUSES(sampling.temperature, -0.1f);
    REFUSES(sampling.temperature, NAN);
    REFUSES(sampling.temperature, INFINITY);
    REFUSES(sampling.top_p, 0);
    REFUSES(sampling.top_p, 1.01f);
    REFUSES(sampling.top_p, NAN);
    REFUSES(sampling.max_new_tokens, 0);
    REFUSES(sampling.max_new_tokens, UINT32_MAX);
    REFUSES(sampling.end_token, -2);
    REFUSES(sampling.end_token, INT32_MAX);
    REFUSES(sampling.top_p_exact, 1.01);
    REFUSES(sampling.top_p_exact, -0.5);
    REFUSES(sampling.top_p_exact, NAN);
    REFUSES(sampling.min_p, -0.1f);
    REFUSES(sampling.min_p, 1.1f);
    REFUSES(sampling.min_p, NAN);
    REFUSES(sampling.typical_p, -0.1f);
    REFUSES(sampling.typical_p, 1.1f);
    REFUSES(sampling.typical_p, NAN);
    REFUSES(sampling.repetition_penalty, -1);
    REFUSES(sampling.repetition_penalty, 1e-9f);
    REFUSES(sampling.repetition_penalty, INFINITY);
    REFUSES(sampling.repetition_penalty, NAN);
    REFUSES(sampling.no_repeat_ngram, UINT32_MAX);
    REFUSES(sampling.min_new_tokens, 11);
    REFUSES(sampling.n_more_ends, 32);
    sampling.more_ends = more_ends;
    sampling.n_more_ends = 2;
    accepted();
    REFUSES(more_ends[1], -1);
    REFUSES(more_ends[1], INT32_MAX);
    REFUSES(job.id, 0);
    REFUSES(job.attempt, 0);
    REFUSES(job.name, NULL);
    REFUSES(job.purpose, RLHF__V1__PURPOSE__PURPOSE_UNSPECIFIED);
    REFUSES(job.model, 1);
    REFUSES(job.sampling, 1);
    REFUSES(job.prompt_tokens, 0);
    REFUSES(job.prompt_tokens, 2);
    REFUSES(job.prompt_tokens, UINT32_MAX);
    REFUSES(prompt[2], -1);
    REFUSES(prompt[0], INT32_MAX);
}
END_TEST

START_TEST(rollouts_are_checked)
{
    Rlhf__V1__Rollout rollout = RLHF__V1__ROLLOUT__INIT, *rollouts[] = { &rollout };
    Rlhf__V1__Rollouts body = RLHF__V1__ROLLOUTS__INIT;
    int32_t ids[] = { 1, 2 };
    float logprob[] = { -1, 0 }, raw[] = { -2, -3 };

    BEGIN(rlhf_check_rollouts, body);
    message.blobs[0] = (struct rlhf_blob){ ids, sizeof ids };
    message.blobs[1] = (struct rlhf_blob){ logprob, sizeof logprob };
    message.blobs[2] = (struct rlhf_blob){ raw, sizeof raw };
    message.blob_count = 3;
    rollout.id = rollout.attempt = 1;
    rollout.weights = DIGEST;
    rollout.finish = RLHF__V1__FINISH_REASON__FINISH_END;
    rollout.tokens = 2;
    body.n_rollouts = 1;
    body.rollouts = rollouts;
    accepted();
    REFUSES(message.blob_count, 2);
    REFUSES(message.blobs[0].size, 4);
    REFUSES(message.blobs[1].size, 4);
    REFUSES(message.blobs[2].size, 12);
    REFUSES(body.n_rollouts, 0);
    REFUSES(rollout.id, 0);
    REFUSES(rollout.attempt, 0);
    REFUSES(rollout.weights, SHORT_DIGEST);
    REFUSES(rollout.finish, RLHF__V1__FINISH_REASON__FINISH_REASON_UNSPECIFIED);
    REFUSES(rollout.tokens, 0);
    REFUSES(rollout.tokens, 3);
    REFUSES(ids[1], -7);
    REFUSES(logprob[0], NAN);
    REFUSES(logprob[0], 0.5f);
    REFUSES(logprob[1], -INFINITY);
    REFUSES(raw[1], INFINITY);
}
END_TEST

START_TEST(score_jobs_and_scores_are_checked)
{
    Rlhf__V1__ScoreJob job = RLHF__V1__SCORE_JOB__INIT, *jobs[] = { &job };
    Rlhf__V1__ScoreJobs body = RLHF__V1__SCORE_JOBS__INIT;
    Rlhf__V1__Score score = RLHF__V1__SCORE__INIT, *scores[] = { &score };
    Rlhf__V1__Scores answer = RLHF__V1__SCORES__INIT;
    int32_t ids[] = { 1, 2, 3 };
    float logprob[] = { -1, -2 };

    BEGIN(rlhf_check_score_jobs, body);
    message.blobs[0] = (struct rlhf_blob){ ids, sizeof ids };
    message.blob_count = 1;
    body.reward_model = body.reference = DIGEST;
    body.temperature = 1;
    body.n_jobs = 1;
    body.jobs = jobs;
    job.id = job.attempt = 1;
    job.tokens = 3;
    job.prompt_tokens = 1;
    accepted();
    REFUSES(body.reward_model, SHORT_DIGEST);
    REFUSES(body.reference, SHORT_DIGEST);
    REFUSES(body.temperature, 0);
    REFUSES(body.temperature, NAN);
    REFUSES(body.n_jobs, 0);
    REFUSES(job.id, 0);
    REFUSES(job.attempt, 0);
    REFUSES(job.tokens, 0);
    REFUSES(job.tokens, 2);
    REFUSES(job.prompt_tokens, 0);
    REFUSES(job.prompt_tokens, 4);
    REFUSES(ids[0], -1);
    REFUSES(message.blobs[0].size, 8);
    body.reference.len = 0;
    body.temperature = 0; /* nobody asks for log-probs */
    accepted();
    REFUSES(body.reward_model.len, 0);

    BEGIN(rlhf_check_scores, answer);
    message.blobs[0] = (struct rlhf_blob){ logprob, sizeof logprob };
    message.blob_count = 1;
    answer.reference = DIGEST;
    answer.n_scores = 1;
    answer.scores = scores;
    score.id = score.attempt = 1;
    score.logprobs = 2;
    accepted();
    REFUSES(answer.reference.len, 0);
    REFUSES(answer.reward_model, SHORT_DIGEST);
    REFUSES(answer.n_scores, 0);
    REFUSES(score.id, 0);
    REFUSES(score.logprobs, 1);
    REFUSES(score.logprobs, UINT32_MAX);
    REFUSES(logprob[0], 1);
    REFUSES(logprob[1], NAN);
    REFUSES(score.missing, 1); /* of no source */
    answer.source = (char *)"judge";
    score.missing = 1;
    accepted();
    REFUSES(score.reward, 1);
    REFUSES(answer.source, text_of(400));
    REFUSES(answer.reason, (char *)"a\nb");
}
END_TEST

START_TEST(score_jobs_of_a_source_carry_their_texts)
{
    Rlhf__V1__ScoreJob job = RLHF__V1__SCORE_JOB__INIT, *jobs[] = { &job };
    Rlhf__V1__RewardSource source = RLHF__V1__REWARD_SOURCE__INIT;
    Rlhf__V1__ScoreJobs body = RLHF__V1__SCORE_JOBS__INIT;
    int32_t ids[] = { 1, 2, 3 };
    char texts[] = "askedanswered\xC3\xBC"; /* and an answer expected of one letter */

    BEGIN(rlhf_check_score_jobs, body);
    message.blobs[0] = (struct rlhf_blob){ ids, sizeof ids };
    message.blobs[1] = (struct rlhf_blob){ texts, sizeof texts - 1 };
    message.blob_count = 2;
    body.source = &source;
    body.n_jobs = 1;
    body.jobs = jobs;
    source.kind = RLHF__V1__REWARD_KIND__REWARD_LENGTH;
    source.unit = RLHF__V1__LENGTH_UNIT__LENGTH_WORDS;
    source.name = (char *)"short";
    job.id = job.attempt = 1;
    job.tokens = 3;
    job.prompt_tokens = 1;
    job.prompt_bytes = 5;
    job.completion_bytes = 8;
    job.answer_bytes = 2;
    job.has_answer = 1;
    accepted();
    REFUSES(body.reward_model, DIGEST);
    REFUSES(body.reference, DIGEST);
    REFUSES(source.kind, 0);
    REFUSES(source.unit, 0);
    REFUSES(source.name, (char *)"");
    REFUSES(job.prompt_bytes, UINT32_MAX);
    REFUSES(job.has_answer, 0);
    REFUSES(job.answer_bytes, 1); /* and then half a letter */
    REFUSES(message.blobs[1].size, 14);
    REFUSES(message.blob_count, 1);
    REFUSES(texts[2], '\0');
    REFUSES(texts[2], '\xff');
    job.completion_bytes = 9; /* the sum is right, and a letter cut in two */
    job.answer_bytes = 1;
    ck_assert_int_eq(check(&message, &(struct rlhf_error){ 0 }), -1);
}
END_TEST

START_TEST(jobs_returned_are_checked)
{
    Rlhf__V1__JobsReturned body = RLHF__V1__JOBS_RETURNED__INIT;
    uint64_t ids[] = { 1 };

    BEGIN(rlhf_check_jobs_returned, body);
    body.ids = ids;
    body.n_ids = 1;
    accepted();
    REFUSES(body.n_ids, 0);
    REFUSES(body.n_ids, RLHF_MAX_JOBS + 1);
    REFUSES(body.reason, text_of(400));
    REFUSES(body.reason, (char *)"a\nb");
}
END_TEST

START_TEST(weights_messages_are_checked)
{
    Rlhf__V1__WeightsAnnounce announce = RLHF__V1__WEIGHTS_ANNOUNCE__INIT;
    Rlhf__V1__WeightsRequest request = RLHF__V1__WEIGHTS_REQUEST__INIT;
    Rlhf__V1__WeightsManifest manifest = RLHF__V1__WEIGHTS_MANIFEST__INIT;
    Rlhf__V1__ChunkRequest chunk_request = RLHF__V1__CHUNK_REQUEST__INIT;
    Rlhf__V1__Chunk chunk = RLHF__V1__CHUNK__INIT;
    ProtobufCBinaryData digests[] = { DIGEST, DIGEST };
    uint32_t index[RLHF_CHUNKS_A_REQUEST + 1] = { 0 };

    BEGIN(rlhf_check_weights_announce, announce);
    announce.n_drop = 1;
    announce.drop = digests;
    accepted();
    REFUSES(announce.digest, SHORT_DIGEST);
    REFUSES(announce.name, text_of(65));
    REFUSES(digests[0], SHORT_DIGEST);
    REFUSES(announce.n_drop, RLHF_MAX_DIGESTS + 1);

    BEGIN(rlhf_check_weights_request, request);
    request.digest = DIGEST;
    accepted();
    REFUSES(request.digest.len, 0);

    BEGIN(rlhf_check_weights_manifest, manifest);
    manifest.digest = DIGEST;
    manifest.name = (char *)"policy";
    manifest.config = (char *)"{}";
    manifest.size = 1001;
    manifest.chunk_size = 1000;
    manifest.n_chunks = 2;
    manifest.chunks = digests;
    accepted();
    REFUSES(manifest.digest.len, 33);
    REFUSES(manifest.name, (char *)"a\nb");
    REFUSES(manifest.config, (char *)"");
    REFUSES(manifest.size, 0);
    REFUSES(manifest.size, 1000);
    REFUSES(manifest.size, 2001);
    REFUSES(manifest.size, UINT64_MAX);
    REFUSES(manifest.chunk_size, 0);
    REFUSES(manifest.chunk_size, RLHF_CHUNK_SIZE + 1);
    REFUSES(manifest.n_chunks, 1);
    REFUSES(digests[1], SHORT_DIGEST);
    REFUSES(manifest.shared_file, (char *)"relative/path");
    REFUSES(manifest.shared_file, text_of(4096));

    BEGIN(rlhf_check_chunk_request, chunk_request);
    chunk_request.digest = DIGEST;
    chunk_request.n_index = 1;
    chunk_request.index = index;
    accepted();
    REFUSES(chunk_request.digest, SHORT_DIGEST);
    REFUSES(chunk_request.n_index, 0);
    REFUSES(chunk_request.n_index, RLHF_CHUNKS_A_REQUEST + 1);

    BEGIN(rlhf_check_chunk, chunk);
    chunk.digest = DIGEST;
    message.blobs[0] = (struct rlhf_blob){ index, sizeof index };
    message.blob_count = 1;
    accepted();
    REFUSES(chunk.digest, SHORT_DIGEST);
    REFUSES(chunk.index, RLHF_CHUNKS_MAX);
    REFUSES(message.blob_count, 0);
    REFUSES(message.blobs[0].size, 0);
    REFUSES(message.blobs[0].size, RLHF_CHUNK_SIZE + 1);
}
END_TEST

START_TEST(labels_messages_are_checked)
{
    char *completions[] = { (char *)"a", (char *)"b" };
    uint32_t ranks[] = { 1, 2 };
    Rlhf__V1__Task task = RLHF__V1__TASK__INIT, *tasks[] = { &task };
    Rlhf__V1__TasksSubmit submit = RLHF__V1__TASKS_SUBMIT__INIT;
    Rlhf__V1__TasksStored stored = RLHF__V1__TASKS_STORED__INIT;
    Rlhf__V1__ComparisonsPull pull = RLHF__V1__COMPARISONS_PULL__INIT;
    Rlhf__V1__Comparison one = RLHF__V1__COMPARISON__INIT, two, *comparisons[] = { &one, &two };
    Rlhf__V1__LabelerWeight weight = RLHF__V1__LABELER_WEIGHT__INIT, *weights[] = { &weight };
    Rlhf__V1__Comparisons body = RLHF__V1__COMPARISONS__INIT;

    BEGIN(rlhf_check_tasks_submit, submit);
    submit.n_tasks = 1;
    submit.tasks = tasks;
    task.id = (char *)"t1";
    task.n_completions = 2;
    task.completions = completions;
    accepted();
    REFUSES(submit.n_tasks, 0);
    REFUSES(task.id, (char *)"");
    REFUSES(task.id, text_of(257));
    REFUSES(task.round, text_of(257));
    REFUSES(task.n_completions, 1);
    REFUSES(task.n_completions, RLHF_MAX_COMPLETIONS + 1);

    BEGIN(rlhf_check_tasks_stored, stored);
    accepted();
    REFUSES(stored.stored, RLHF_MAX_TASKS + 1);
    REFUSES(stored.known, UINT32_MAX);

    BEGIN(rlhf_check_comparisons_pull, pull);
    pull.limit = 10;
    accepted();
    REFUSES(pull.limit, 0);
    REFUSES(pull.limit, RLHF_MAX_TASKS + 1);
    REFUSES(pull.round, text_of(257));
    REFUSES(pull.labeler, text_of(257));

    one.sequence = one.revision = 1;
    one.id = (char *)"c1";
    one.n_completions = one.n_ranks = 2;
    one.completions = completions;
    one.ranks = ranks;
    two = one;
    two.sequence = 5;
    BEGIN(rlhf_check_comparisons, body);
    body.n_comparisons = 2;
    body.comparisons = comparisons;
    body.cursor = 5;
    accepted();
    REFUSES(body.cursor, 4);
    REFUSES(one.sequence, 0);
    REFUSES(one.sequence, 5);
    REFUSES(two.revision, 0);
    REFUSES(two.id, (char *)"");
    REFUSES(two.source, text_of(257));
    REFUSES(two.labeler, text_of(257));
    REFUSES(two.n_completions, 1);
    REFUSES(two.n_ranks, 1);
    REFUSES(two.distrust, NAN);
    REFUSES(two.distrust, 1.5f);
    REFUSES(ranks[0], 0);
    REFUSES(ranks[1], 3);
    weight.labeler = (char *)"ada";
    body.n_weights = 1;
    body.weights = weights;
    accepted();
    REFUSES(weight.labeler, (char *)"");
    REFUSES(weight.labeler, text_of(257));
    REFUSES(weight.distrust, -0.5f);
    REFUSES(weight.distrust, NAN);
    REFUSES(body.n_weights, RLHF_MAX_TASKS + 1);
}
END_TEST

START_TEST(control_messages_are_checked)
{
    Rlhf__V1__StageStatus stage = RLHF__V1__STAGE_STATUS__INIT, *stages[] = { &stage };
    Rlhf__V1__Status status = RLHF__V1__STATUS__INIT;
    Rlhf__V1__Drain drain = RLHF__V1__DRAIN__INIT;
    Rlhf__V1__Resume resume = RLHF__V1__RESUME__INIT;

    BEGIN(rlhf_check_status, status);
    status.n_stages = 1;
    status.stages = stages;
    accepted();
    REFUSES(status.stage, 1);
    REFUSES(status.n_gauges, 5000);
    REFUSES(status.n_peers, 5000);

    BEGIN(rlhf_check_drain, drain);
    accepted();
    REFUSES(drain.reason, text_of(400));

    BEGIN(rlhf_check_resume, resume);
    accepted();
    REFUSES(resume.reason, text_of(400));
}
END_TEST

START_TEST(digests_travel_as_fields)
{
    struct rlhf_digest d = rlhf_digest_of("abc", 3), back;
    ProtobufCBinaryData field = rlhf_digest_field(&d);

    back = rlhf_digest_of_field(&field);
    ck_assert(rlhf_digest_equal(&d, &back));
}
END_TEST

int main(void)
{
    return RUN_SUITE("net/checks", greetings_are_checked, generate_jobs_are_checked, rollouts_are_checked,
                     score_jobs_and_scores_are_checked, score_jobs_of_a_source_carry_their_texts, jobs_returned_are_checked, weights_messages_are_checked,
                     labels_messages_are_checked, control_messages_are_checked, digests_travel_as_fields);
}
