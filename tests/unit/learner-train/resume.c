/* A run that is killed or stopped anywhere and started again ends with the bits of one that was not (promises
 * D4, D5). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "events/events.h"
#include "support/learner/tiny_run.h"

enum { EVERY_CALL_US = 200000 }; /* a state inside a stage every few steps */

static const char *const results[] = {
    "checkpoints/pre/model.safetensors", "checkpoints/sft/model.safetensors",
    "comparisons/round-1.jsonl",         "checkpoints/rm/model.safetensors",
    "checkpoints/rm/config.json",        "checkpoints/ppo/model.safetensors",
    "evaluations/report/metrics.json",   "evaluations/report/ppo.jsonl"};
enum { RESULTS = sizeof results / sizeof *results };

static struct local_port port;
static const char *world, *calm; /* the run that nothing happened to */
static struct rlhf_digest expected[RESULTS];
static unsigned calm_asks, calm_calls;

/* ---- a disk that dies -------------------------------------------------------------------------------- */

/* From call `die_at` on every call fails, as for a process that is gone. */
static unsigned calls, die_at;

static int dead(void)
{
    if (++calls < die_at || die_at == 0)
        return 0;
    errno = EIO;
    return 1;
}
#define ALIVE(call) (dead() ? -1 : (call))
static int d_open(const struct rlhf_io *io, const char *path, int flags, mode_t mode)
{
    (void)io;
    return ALIVE(rlhf_system_io.open(&rlhf_system_io, path, flags, mode));
}
static int d_close(const struct rlhf_io *io, int fd)
{
    (void)io;
    return rlhf_system_io.close(&rlhf_system_io, fd);
}
static ssize_t d_pread(const struct rlhf_io *io, int fd, void *data, size_t size, off_t offset)
{
    (void)io;
    return ALIVE(rlhf_system_io.pread(&rlhf_system_io, fd, data, size, offset));
}
static ssize_t d_pwrite(const struct rlhf_io *io, int fd, const void *data, size_t size, off_t offset)
{
    (void)io;
    return ALIVE(rlhf_system_io.pwrite(&rlhf_system_io, fd, data, size, offset));
}
static int d_fsync(const struct rlhf_io *io, int fd)
{
    (void)io, (void)fd;
    return ALIVE(0); /* kill -9 does not lose the page cache; a power cut is the store's test */
}
static int d_ftruncate(const struct rlhf_io *io, int fd, off_t size)
{
    (void)io;
    return ALIVE(rlhf_system_io.ftruncate(&rlhf_system_io, fd, size));
}
static int d_fstat(const struct rlhf_io *io, int fd, struct stat *st)
{
    (void)io;
    return ALIVE(rlhf_system_io.fstat(&rlhf_system_io, fd, st));
}
static int d_rename(const struct rlhf_io *io, const char *from, const char *to)
{
    (void)io;
    return ALIVE(rlhf_system_io.rename(&rlhf_system_io, from, to));
}
static int d_unlink(const struct rlhf_io *io, const char *path)
{
    (void)io;
    return ALIVE(rlhf_system_io.unlink(&rlhf_system_io, path));
}
static int d_mkdir(const struct rlhf_io *io, const char *path, mode_t mode)
{
    (void)io;
    return ALIVE(rlhf_system_io.mkdir(&rlhf_system_io, path, mode));
}
static int d_list(const struct rlhf_io *io, const char *path, struct rlhf_bytes *out)
{
    (void)io;
    return ALIVE(rlhf_system_io.list(&rlhf_system_io, path, out));
}
static int d_allocate(const struct rlhf_io *io, int fd, off_t size)
{
    (void)io;
    return ALIVE(rlhf_system_io.allocate(&rlhf_system_io, fd, size));
}
static const struct rlhf_io mortal = {d_open,  d_close,  d_pread,  d_pwrite, d_fsync, d_ftruncate,
                                      d_fstat, d_rename, d_unlink, d_mkdir,  d_list,  d_allocate};

/* ---- running ----------------------------------------------------------------------------------------- */

static int go(const char *text, const char *dir, struct rlhf_error *err)
{
    calls = 0;
    return tiny_go(text, dir, world, &mortal, &port, EVERY_CALL_US, err);
}

static void calm_run(void)
{
    struct rlhf_error err = {0};

    tiny_place(&world, &calm);
    local_port_init(&port, tiny_utility);
    expect_ok(go(TINY_RUN, calm, &err), err);
    calm_asks = port.asks;
    calm_calls = calls;
    tiny_expect(calm, results, expected, RESULTS);
}

/* Static storage: a test has one. */
static const char *fresh(void)
{
    static char path[400];

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    die_at = 0;
    snprintf(path, sizeof path, "%s/run", a_directory());
    return path;
}

/* ---- TensorBoard ------------------------------------------------------------------------------------- */

static json_t *told; /* [tag, step, value] of every scalar, in the order of the file */

static void on_scalar(void *ctx, const struct rlhf_event_scalar *s)
{
    (void)ctx;
    json_array_append_new(told, json_pack("[s, I, o]", s->tag, (json_int_t)s->step, json_real(s->value) ?: json_null()));
}

static void read_events(const char *dir)
{
    const struct rlhf_event_reader reader = {.scalar = on_scalar};
    struct rlhf_bytes names = {0};
    char *newest;
    struct rlhf_event_record r;
    struct rlhf_mapping file;
    struct rlhf_error err = {0};
    uint64_t offset = 0;
    int more;

    ck_assert_int_eq(rlhf_system_io.list(&rlhf_system_io, in_directory(dir, "tensorboard"), &names), 0);
    *strrchr(names.data, '\n') = '\0';
    newest = strrchr(names.data, '\n') ? strrchr(names.data, '\n') + 1 : names.data;
    expect_ok(rlhf_map_file(&file, in_directory(in_directory(dir, "tensorboard"), newest), &err), err);
    while ((more = rlhf_event_record(file.data, file.size, &offset, &r, &err)) > 0)
        expect_ok(rlhf_event_read(&r, &reader, &err), err);
    expect_ok(more, err);
    rlhf_unmap(&file);
    rlhf_bytes_free(&names);
}

/* Every number of metrics.jsonl is in the event file once, in the same order. */
static void events_say_what_metrics_say(const char *dir)
{
    FILE *f = fopen(in_directory(dir, "metrics.jsonl"), "r");
    char line[4096], tag[100];
    size_t i = 0;

    told = json_array();
    read_events(dir);
    while (fgets(line, sizeof line, f)) {
        json_t *o = json_loads(line, 0, NULL), *value;
        const char *key;
        json_object_foreach(o, key, value)
        {
            json_t *scalar = json_array_get(told, i);
            if (strcmp(key, "stage") == 0 || strcmp(key, "step") == 0 || strcmp(key, "time_ms") == 0)
                continue;
            snprintf(tag, sizeof tag, "%s/%s", json_string_value(json_object_get(o, "stage")), key);
            ck_assert_msg(scalar != NULL, "the events end before %s", line);
            ck_assert_str_eq(json_string_value(json_array_get(scalar, 0)), tag);
            ck_assert_int_eq(json_integer_value(json_array_get(scalar, 1)),
                             json_integer_value(json_object_get(o, "step")));
            ck_assert(json_number_value(json_array_get(scalar, 2)) == (double)(float)json_number_value(value));
            i++;
        }
        json_decref(o);
    }
    ck_assert_uint_eq(i, json_array_size(told));
    fclose(f);
    json_decref(told);
}

static void same_as_calm(const char *dir, const char *what, unsigned n)
{
    tiny_same(dir, results, expected, RESULTS, what, n);
    /* Every step has one line, as in the calm run. */
    FILE *a = fopen(in_directory(dir, "metrics.jsonl"), "r"),
         *b = fopen(in_directory(calm, "metrics.jsonl"), "r");
    char x[4096], y[4096];
    int line = 0;
    while (fgets(y, sizeof y, b)) {
        line++;
        ck_assert_msg(fgets(x, sizeof x, a) != NULL, "metrics.jsonl ends before line %d after %s %u", line,
                      what, n);
        *strstr(x, "\"seconds\"") = *strstr(y, "\"seconds\"") = '\0';
        ck_assert_str_eq(x, y);
    }
    ck_assert_ptr_null(fgets(x, sizeof x, a));
    fclose(a), fclose(b);
    events_say_what_metrics_say(dir);
}

static int lines_of(const char *dir, const char *name)
{
    FILE *f = fopen(in_directory(dir, name), "r");
    int lines = 0;

    ck_assert_ptr_nonnull(f);
    for (int c; (c = fgetc(f)) != EOF;)
        lines += c == '\n';
    fclose(f);
    return lines;
}

/* How often the journal has this event. */
static int events_of(const char *dir, const char *event)
{
    struct rlhf_error err = {0};
    struct rlhf_mapping m;
    char text[64];
    size_t length;
    int count = 0;

    snprintf(text, sizeof text, "\"event\":\"%s\"", event);
    length = strlen(text);
    expect_ok(rlhf_map_file(&m, in_directory(dir, "journal"), &err), err);
    for (const uint8_t *at = m.data; (at = memmem(at, m.size - (size_t)(at - m.data), text, length)); at += length)
        count++;
    rlhf_unmap(&m);
    return count;
}

/* Each run dies once, at the n-th of its calls or asks, for n over the whole length of a run; a coprime step
 * visits all kinds. */
START_TEST(a_learner_killed_while_it_waits_for_others_goes_on_with_the_same_bits)
{
    struct rlhf_error err = {0};
    const char *base = fresh();

    for (unsigned n = 1; n <= calm_asks; n += 9) {
        char dir[600];
        snprintf(dir, sizeof dir, "%s-%u", base, n);
        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        port.die_at = n;
        ck_assert_int_lt(go(TINY_RUN, dir, &err), 0);
        expect_contains(err.text, "killed");
        port.die_at = 0;
        expect_ok(go(TINY_RUN, dir, &err), err);
        same_as_calm(dir, "a kill at ask", n);
    }
}
END_TEST

START_TEST(a_learner_killed_at_any_call_on_files_goes_on_with_the_same_bits)
{
    struct rlhf_error err = {0};
    const char *base = fresh();
    unsigned step = calm_calls / 8 | 1;

    for (unsigned n = 3; n < calm_calls; n += step) {
        char dir[600];
        snprintf(dir, sizeof dir, "%s-%u", base, n);
        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        die_at = n;
        ck_assert_msg(go(TINY_RUN, dir, &err) < 0, "alive after call %u of %u", n, calm_calls);
        die_at = 0;
        expect_ok(go(TINY_RUN, dir, &err), err);
        same_as_calm(dir, "death at file call", n);
    }
}
END_TEST

START_TEST(a_learner_killed_again_and_again_gets_there)
{
    struct rlhf_error err = {0};
    const char *dir = fresh();
    unsigned lives = 1;

    for (die_at = calm_calls / 9; go(TINY_RUN, dir, &err) < 0; lives++)
        ck_assert_msg(lives < 60, "no end after %u lives: %s", lives, err.text);
    ck_assert_uint_gt(lives, 3);
    same_as_calm(dir, "lives", lives);
}
END_TEST

START_TEST(a_learner_that_is_asked_to_stop_keeps_its_last_step)
{
    struct rlhf_error err = {0};
    const char *dir = fresh();

    port.stop_at = 30; /* inside sft */
    ck_assert_int_lt(go(TINY_RUN, dir, &err), 0);
    expect_code(err, RLHF_AGAIN);
    ck_assert(rlhf_exists(&rlhf_system_io, in_directory(dir, "state/sft.0000000015")));
    port.stop_at = 0;
    expect_ok(go(TINY_RUN, dir, &err), err);
    same_as_calm(dir, "a stop at", 30);
}
END_TEST

static void flip_a_bit(const char *dir, const char *name)
{
    int fd = open(in_directory(dir, name), O_RDWR);
    char c;

    ck_assert_msg(fd >= 0, "no %s", name);
    ck_assert_int_eq(pread(fd, &c, 1, 1000), 1);
    c ^= 1;
    ck_assert_int_eq(pwrite(fd, &c, 1, 1000), 1);
    close(fd);
}

START_TEST(a_damaged_state_is_set_aside_and_the_one_before_used)
{
    struct rlhf_error err = {0};
    const char *dir = fresh();

    port.stop_at = 30;
    ck_assert_int_lt(go(TINY_RUN, dir, &err), 0);
    flip_a_bit(dir, "state/sft.0000000015/weights");
    port.stop_at = 0;
    port.stop_calls = 0;
    expect_ok(go(TINY_RUN, dir, &err), err);
    ck_assert(rlhf_exists(&rlhf_system_io, in_directory(dir, "state/sft.0000000015.damaged-1")));
    same_as_calm(dir, "damage at", 15);
}
END_TEST

START_TEST(a_damaged_checkpoint_is_set_aside_and_its_stage_done_again)
{
    struct rlhf_error err = {0};
    const char *dir = fresh();
    struct rlhf_digest d;

    expect_ok(go(TINY_HEAD TINY_PRETRAIN TINY_SFT, dir, &err), err);
    ck_assert_int_eq(truncate(in_directory(dir, "checkpoints/pre/model.safetensors"), 999), 0);
    expect_ok(go(TINY_HEAD TINY_PRETRAIN TINY_SFT, dir, &err), err);
    ck_assert(rlhf_exists(&rlhf_system_io, in_directory(dir, "checkpoints/pre.damaged-1")));
    d = tiny_digest(dir, results[0]);
    ck_assert(rlhf_digest_equal(&d, &expected[0]));
    d = tiny_digest(dir, results[1]);
    ck_assert(rlhf_digest_equal(&d, &expected[1]));
}
END_TEST

START_TEST(a_changed_stage_is_refused_and_an_added_one_is_done)
{
    static const char changed[] =
        TINY_HEAD "  - pretrain: {name: pre, data: [%s/documents.txt], steps: 13, batch: 4, window: 24,"
                  " optimizer: {learning_rate: 1e-2, schedule: cosine, warmup: 2}}\n";
    struct rlhf_error err = {0};
    const char *dir = fresh();
    unsigned asks;

    expect_ok(go(TINY_HEAD TINY_PRETRAIN, dir, &err), err);
    ck_assert_int_lt(go(changed, dir, &err), 0);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "stage pre");
    expect_contains(err.text, "run.dir");
    expect_ok(go(TINY_HEAD TINY_PRETRAIN TINY_SFT, dir, &err), err);
    struct rlhf_digest d = tiny_digest(dir, results[1]);
    ck_assert(rlhf_digest_equal(&d, &expected[1]));
    asks = port.asks;
    expect_ok(go(TINY_HEAD TINY_PRETRAIN TINY_SFT, dir, &err), err); /* all done: nothing happens */
    ck_assert_uint_eq(asks, port.asks);
}
END_TEST

START_TEST(who_wanted_more_comparisons_than_come_is_told_and_may_want_fewer)
{
#define COLLECT(want) TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT "      want: " want "\n"
    struct rlhf_error err = {0};
    const char *dir = fresh();
    unsigned submitted;

    ck_assert_int_lt(go(COLLECT("100"), dir, &err), 0);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "stage round-1: ");
    expect_contains(err.text, " of 100 comparisons came");
    expect_contains(err.text, "set `want` or `at_least` to ");
    submitted = (unsigned)port.submitted;
    expect_ok(go(COLLECT("7"), dir, &err), err);
    ck_assert_uint_eq(port.submitted, submitted); /* nothing was generated anew */
    ck_assert_int_eq(lines_of(dir, "comparisons/round-1.jsonl"), 7);
    ck_assert_int_lt(go(COLLECT("8"), dir, &err), 0); /* what came is what later stages learn from */
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "`want` must stay 7");
    expect_ok(go(COLLECT("7") TINY_REWARD, dir, &err), err);
}
END_TEST

START_TEST(a_round_starts_with_fewer_comparisons_where_they_suffice)
{
#define LIMITED(want, at_least) COLLECT(want) "      deadline_seconds: 60\n      at_least: " at_least "\n"
    struct rlhf_error err = {0};
    const char *dir = fresh();
    int came;

    ck_assert_int_lt(go(LIMITED("100", "90"), dir, &err), 0);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "set `want` or `at_least` to ");
    ck_assert_int_eq(events_of(dir, "asked"), 1);
    expect_ok(go(LIMITED("100", "7"), dir, &err), err);
    ck_assert_int_eq(events_of(dir, "asked"), 1); /* the deadline counts from there, whoever waits */
    came = lines_of(dir, "comparisons/round-1.jsonl");
    ck_assert_int_ge(came, 7);
    expect_ok(go(LIMITED("100", "7") TINY_REWARD, dir, &err), err);
    ck_assert_int_lt(go(LIMITED("100", "99"), dir, &err), 0); /* what came is what the reward model learned from */
    expect_contains(err.text, "is done and has ");
    ck_assert_int_eq(lines_of(dir, "comparisons/round-1.jsonl"), came);
}
END_TEST

START_TEST(data_that_changes_inside_a_stage_is_refused)
{
    struct rlhf_error err = {0};
    const char *dir = fresh(), *calm_world = world;
    char mine[600];
    FILE *f;

    snprintf(mine, sizeof mine, "%s-world", dir);
    world = mine;
    expect_ok(rlhf_make_dirs(&rlhf_system_io, world, &err), err);
    tiny_world(world);
    port.stop_at = 30;
    ck_assert_int_lt(go(TINY_RUN, dir, &err), 0);
    f = fopen(in_directory(world, "demonstrations.jsonl"), "a");
    fputs("{\"prompt\": \"Q: more\\nA:\", \"completion\": \" no.\"}\n", f);
    fclose(f);
    port.stop_at = 0;
    ck_assert_int_lt(go(TINY_RUN, dir, &err), 0);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "data file changed");
    world = calm_world;
}
END_TEST

START_TEST(a_second_learner_in_the_same_directory_is_refused)
{
    struct rlhf_error err = {0};
    const char *dir = fresh();
    struct ticking_clock clock = a_ticking_clock(1);
    struct learner_trainer *first, *second;
    struct rlhf_run run;

    tiny_parse(&run, TINY_RUN, dir, world);
    first = learner_trainer_new(&run, &rlhf_system_io, &clock.clock, &err);
    expect_some(first, err);
    second = learner_trainer_new(&run, &rlhf_system_io, &clock.clock, &err);
    ck_assert_ptr_null(second);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "another learner");
    learner_trainer_free(first);
    first = learner_trainer_new(&run, &rlhf_system_io, &clock.clock, &err);
    expect_some(first, err);
    learner_trainer_free(first);
    rlhf_run_free(&run);
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(
        calm_run, "learner/resume", a_learner_killed_while_it_waits_for_others_goes_on_with_the_same_bits,
        a_learner_killed_at_any_call_on_files_goes_on_with_the_same_bits,
        a_learner_killed_again_and_again_gets_there, a_learner_that_is_asked_to_stop_keeps_its_last_step,
        a_damaged_state_is_set_aside_and_the_one_before_used,
        a_damaged_checkpoint_is_set_aside_and_its_stage_done_again,
        a_changed_stage_is_refused_and_an_added_one_is_done,
        who_wanted_more_comparisons_than_come_is_told_and_may_want_fewer,
        a_round_starts_with_fewer_comparisons_where_they_suffice,
        data_that_changes_inside_a_stage_is_refused,
        a_second_learner_in_the_same_directory_is_refused);
}
