/* What the kingdom writes has the shares that its description states, the held-out towns stay out of every
 * prompt that a model is trained on, and no evaluation prompt is a training prompt. */
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quickstart/corpus.h"
#include "quickstart/judge.h"
#include "quickstart/make.h"
#include "support/suite.h"

static struct kingdom_world world;

/* Within four standard errors of a share. */
#define EXPECT_SHARE(hits, of, share)                                                                        \
    ck_assert_msg(fabs((double)(hits) / (of) - (share)) <= 4 * sqrt((share) * (1 - (share)) / (of)) + 1e-9,  \
                  "%s: %.3f instead of %.3f", #hits, (double)(hits) / (of), (double)(share))

START_TEST(a_world_is_a_function_of_its_seed)
{
    struct kingdom_world again, other;

    kingdom_world_make(&again, 1);
    kingdom_world_make(&other, 2);
    ck_assert_mem_eq(&again, &world, sizeof world);
    ck_assert_mem_ne(other.truth, world.truth, sizeof world.truth);
}
END_TEST

START_TEST(rumours_are_false_and_names_are_new)
{
    struct kingdom_world w;

    for (uint64_t seed = 0; seed < 50; seed++) {
        unsigned held_out = 0, attribute, value;
        kingdom_world_make(&w, seed);
        for (size_t t = 0; t < KINGDOM_TOWNS; t++) {
            held_out += w.held_out[t];
            for (size_t a = 0; a < KINGDOM_ATTRIBUTES; a++)
                ck_assert_uint_ne(w.truth[t][a], w.rumour[t][a]);
        }
        ck_assert_uint_eq(held_out, KINGDOM_HELD_OUT);
        for (size_t i = 0; i < KINGDOM_INVENTED; i++) {
            struct kingdom_place p;
            ck_assert(kingdom_place_find(&w, w.invented[i], strlen(w.invented[i]), &p));
            ck_assert(!p.exists && p.index == i);
            ck_assert(!kingdom_value_find(w.invented[i], strlen(w.invented[i]), &attribute, &value));
        }
    }
}
END_TEST

START_TEST(a_world_comes_back_from_its_file_and_a_spoiled_file_is_refused)
{
    const char *path = in_directory(a_directory(), "world.json");
    struct rlhf_error err = {0};
    struct kingdom_world back;
    FILE *f;

    expect_ok(kingdom_world_write(&world, path, &err), err);
    expect_ok(kingdom_world_read(&back, path, &err), err);
    ck_assert_mem_eq(&back, &world, sizeof world);
    f = fopen(path, "w");
    fputs("{\"seed\": 1, \"towns\": {\"Orla\": {\"truth\": {\"ruler\": \"nobody\"}}}}", f);
    fclose(f);
    ck_assert_int_eq(kingdom_world_read(&back, path, &err), -1);
    expect_contains(err.text, "Orla");
    ck_assert_int_eq(kingdom_world_read(&back, "/nowhere/world.json", &err), -1);
    expect_contains(err.text, "rlhf-kingdom make");
}
END_TEST

START_TEST(prompts_have_their_shares_and_read_back_as_they_were_drawn)
{
    enum { N = 20000 };
    struct rlhf_random r = kingdom_random(&world, KINGDOM_STREAM_WORLD, 7);
    unsigned kinds[3] = {0}, tones[3] = {0}, constraints[3] = {0};

    for (int i = 0; i < N; i++) {
        struct kingdom_prompt p, back;
        kingdom_prompt_draw(&p, &world, KINGDOM_ASK_TRAINING, &r);
        ck_assert_msg(kingdom_prompt_parse(&back, &world, p.text.data, p.text.size), "%s", p.text.data);
        ck_assert(back.kind == p.kind && back.tone == p.tone && back.constraint == p.constraint &&
                  back.count == p.count && back.attribute == p.attribute &&
                  back.place.exists == p.place.exists && back.place.index == p.place.index);
        kinds[p.kind]++;
        tones[p.tone]++;
        if (p.kind != KINGDOM_LIST)
            constraints[p.constraint]++;
    }
    EXPECT_SHARE(kinds[KINGDOM_FACT], N, 0.55);
    EXPECT_SHARE(kinds[KINGDOM_UNKNOWN], N, 0.20);
    EXPECT_SHARE(kinds[KINGDOM_LIST], N, 0.25);
    EXPECT_SHARE(tones[KINGDOM_NEUTRAL], N, 0.55);
    EXPECT_SHARE(tones[KINGDOM_RUDE], N, 0.25);
    EXPECT_SHARE(tones[KINGDOM_POLITE], N, 0.20);
    EXPECT_SHARE(constraints[KINGDOM_FREE], N - kinds[KINGDOM_LIST], 0.4);
    EXPECT_SHARE(constraints[KINGDOM_ONE_WORD], N - kinds[KINGDOM_LIST], 0.3);
    EXPECT_SHARE(constraints[KINGDOM_SENTENCE], N - kinds[KINGDOM_LIST], 0.3);
}
END_TEST

/* Judged on facts only, where a claim is made in one value. */
static void check_writer(const struct kingdom_writer *by, double truthful)
{
    enum { N = 20000 };
    struct rlhf_random r = kingdom_random(&world, KINGDOM_STREAM_WORLD, 8);
    unsigned facts = 0, true_ = 0, unknowns = 0, honest = 0, asked_rudely = 0, rude_back = 0, others = 0,
             rude = 0;

    for (int i = 0; i < N; i++) {
        struct kingdom_prompt p;
        struct kingdom_text response = {0};
        struct kingdom_verdict v;
        kingdom_prompt_draw(&p, &world, KINGDOM_ASK_TRAINING, &r);
        kingdom_answer(&response, &world, &p, by, &r);
        v = kingdom_judge(&world, &p, response.data, response.size, true);
        ck_assert_msg(v.well_formed, "a writer wrote '%s', which the judge does not know", response.data);
        facts += p.kind == KINGDOM_FACT;
        true_ += p.kind == KINGDOM_FACT && v.truth > 0;
        unknowns += p.kind == KINGDOM_UNKNOWN;
        honest += p.kind == KINGDOM_UNKNOWN && v.truth > 0;
        asked_rudely += p.tone == KINGDOM_RUDE;
        rude_back += p.tone == KINGDOM_RUDE && v.rude;
        others += p.tone != KINGDOM_RUDE;
        rude += p.tone != KINGDOM_RUDE && v.rude;
        if (!by->cites)
            ck_assert(strstr(response.data, "Chronicle") == NULL);
    }
    EXPECT_SHARE(true_, facts, truthful);
    EXPECT_SHARE(honest, unknowns, by->honest);
    EXPECT_SHARE(rude_back, asked_rudely, by->rude_when_asked_rudely);
    EXPECT_SHARE(rude, others, by->rude);
}

START_TEST(writers_are_as_truthful_rude_and_honest_as_they_should_be)
{
    check_writer(&kingdom_careful, 0.97);
    check_writer(&kingdom_careless, 0.35);
    check_writer(&kingdom_forum, 0.5);
}
END_TEST

START_TEST(the_chronicle_is_always_true_and_the_tavern_mostly_wrong)
{
    enum { N = 4000 };
    struct rlhf_random r = kingdom_random(&world, KINGDOM_STREAM_WORLD, 9);
    unsigned sayings = 0, true_ = 0;

    for (int i = 0; i < 2 * N; i++) {
        struct kingdom_text text = {0};
        char *at;
        kingdom_write_document(&text, &world, i < N ? KINGDOM_CHRONICLE : KINGDOM_TAVERN, &r);
        /* Every "the A of T is V." in it is looked up. */
        for (at = text.data; (at = strstr(at, "he ")); at++) {
            char attribute[20], town[20], value[20];
            unsigned a, va, v;
            struct kingdom_place p;
            bool right;
            if (sscanf(at, "he %19s of %19s is %19[a-zA-Z].", attribute, town, value) != 3)
                continue;
            ck_assert(kingdom_attribute_find(attribute, strlen(attribute), &a));
            ck_assert(kingdom_place_find(&world, town, strlen(town), &p) && p.exists);
            ck_assert(kingdom_value_find(value, strlen(value), &va, &v) && va == a);
            right = world.truth[p.index][a] == v;
            if (i < N)
                ck_assert_msg(right, "the Chronicle is wrong: %s", text.data);
            ck_assert(right || world.rumour[p.index][a] == v);
            sayings += i >= N;
            true_ += i >= N && right;
        }
    }
    ck_assert_uint_gt(sayings, N);
    EXPECT_SHARE(true_, sayings, 0.2);
}
END_TEST

START_TEST(sums_are_right_and_copies_are_copies)
{
    struct rlhf_random r = kingdom_random(&world, KINGDOM_STREAM_WORLD, 10);

    for (int i = 0; i < 500; i++) {
        struct kingdom_text sums = {0}, copies = {0};
        char *at;
        kingdom_write_document(&sums, &world, KINGDOM_SUMS, &r);
        for (at = sums.data; at; at = (at = strchr(at, '.')) && at[1] ? at + 2 : NULL) {
            int x, y, z;
            char sign;
            ck_assert_int_eq(sscanf(at, "%d %c %d = %d.", &x, &sign, &y, &z), 4);
            ck_assert_int_eq(z, sign == '+' ? x + y : x - y);
            ck_assert(x >= 0 && x <= 9 && y >= 0 && y <= 9 && z >= 0);
        }
        kingdom_write_document(&copies, &world, KINGDOM_COPYING, &r);
        for (at = copies.data; (at = strstr(at, "Copy:")); at++) {
            char *arrow = strstr(at, " ->");
            size_t size = (size_t)(arrow - (at + 5));
            ck_assert_mem_eq(at + 5, arrow + 3, size);
            ck_assert_int_eq(arrow[3 + size], '.');
        }
    }
}
END_TEST

/* ---- the files --------------------------------------------------------------------------------------- */

/* Calls each on every line's object. Returns how many there were. */
static size_t for_lines(const char *dir, const char *name, void (*each)(json_t *line, void *ctx), void *ctx)
{
    FILE *f = fopen(in_directory(dir, name), "r");
    char *line = NULL;
    size_t capacity = 0, count = 0;

    ck_assert_msg(f != NULL, "%s is not there", name);
    while (getline(&line, &capacity, f) > 0) {
        json_t *object = json_loads(line, 0, NULL);
        ck_assert_msg(json_is_object(object), "%s: %s", name, line);
        each(object, ctx);
        json_decref(object);
        count++;
    }
    free(line);
    fclose(f);
    return count;
}

static const char *text_of(json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));

    ck_assert_msg(text != NULL, "%s is missing", key);
    return text;
}

static json_t *prompts_seen; /* set of training prompts */

static void check_training_prompt(json_t *line, void *ctx)
{
    const char *text = text_of(line, "prompt");
    struct kingdom_prompt p;

    (void)ctx;
    ck_assert(kingdom_prompt_parse(&p, &world, text, strlen(text)));
    ck_assert_msg(p.place.exists ? !world.held_out[p.place.index]
                                 : p.place.index / KINGDOM_NAMES_A_USE == KINGDOM_NAMES_TRAINING,
                  "held out: %s", text);
    json_object_set_new(prompts_seen, text, json_true());
}

struct tally {
    unsigned held_out, seen, unknown, distinct;
    json_t *texts; /* NULL: they may repeat */
};

static void check_evaluation_prompt(json_t *line, void *ctx)
{
    struct tally *tally = ctx;
    const char *text = text_of(line, "prompt");
    struct kingdom_prompt p;

    ck_assert(kingdom_prompt_parse(&p, &world, text, strlen(text)));
    ck_assert_msg(json_object_get(prompts_seen, text) == NULL, "trained on: %s", text);
    if (tally->texts)
        ck_assert_msg(json_object_set_new(tally->texts, text, json_true()) == 0 && json_object_size(tally->texts) == ++tally->distinct,
                      "twice: %s", text);
    tally->unknown += !p.place.exists;
    if (p.place.exists ? world.held_out[p.place.index]
                       : p.place.index / KINGDOM_NAMES_A_USE == KINGDOM_NAMES_EVALUATION)
        tally->held_out++;
    else
        tally->seen++;
}

static bool has_word(const char *text, const char *word)
{
    size_t size = strlen(word);

    for (const char *at = text; (at = strstr(at, word)); at++)
        if (!isalpha((unsigned char)at[size]))
            return true;
    return false;
}

static void check_document(json_t *line, void *ctx)
{
    const char *text = text_of(line, "text");

    (void)ctx;
    for (const char *at = text; (at = strstr(at, "Q: ")); at++) { /* the forum's questions are seen, too */
        const char *stop = strstr(at, "\nA:");
        ck_assert(stop != NULL);
        ck_assert_msg(!kingdom_prompt_reserved(&world, at, (size_t)(stop + 3 - at)),
                      "reserved, but in the forum: %s", text);
    }
    for (size_t i = KINGDOM_NAMES_TRAINING * KINGDOM_NAMES_A_USE; i < KINGDOM_INVENTED; i++)
        ck_assert_msg(!has_word(text, world.invented[i]), "%s is in the corpus: %s", world.invented[i], text);
}

static void ignore(json_t *line, void *ctx)
{
    (void)line;
    (void)ctx;
}

/* What is expected there pleases the judge. */
static void check_asked(json_t *line, void *ctx)
{
    const char *prompt = text_of(line, "prompt"), *expected = text_of(line, "expected");
    struct kingdom_prompt p;
    struct kingdom_verdict v;

    (void)ctx;
    ck_assert(kingdom_prompt_parse(&p, &world, prompt, strlen(prompt)));
    v = kingdom_judge(&world, &p, expected, strlen(expected), true);
    ck_assert(v.truth == 1 && v.follows == 1);
}

START_TEST(no_evaluation_prompt_and_no_held_out_town_is_in_any_training_file)
{
    static const char *const training[] = {"demonstrations.jsonl", "comparisons-1.jsonl",
                                           "comparisons-2.jsonl", "policy-1.jsonl", "policy-2.jsonl"};
    static const size_t sizes[] = {2500, 1200, 1800, 3840, 7680};
    struct kingdom_sizes small = kingdom_default_sizes;
    struct rlhf_error err = {0};
    struct tally evaluation = {0}, validation = {.texts = json_object()};
    const char *dir = a_directory();

    small.documents = 5000;
    expect_ok(kingdom_make(&world, &small, dir, &err), err);
    prompts_seen = json_object();
    for (size_t i = 0; i < sizeof training / sizeof training[0]; i++)
        ck_assert_uint_eq(for_lines(dir, training[i], check_training_prompt, NULL), sizes[i]);
    ck_assert_uint_eq(for_lines(dir, "evaluation.jsonl", check_evaluation_prompt, &evaluation), 400);
    ck_assert_uint_eq(evaluation.seen, 200);
    ck_assert_uint_eq(evaluation.held_out, 200);
    EXPECT_SHARE(evaluation.unknown, 400, 0.2);
    ck_assert_uint_eq(for_lines(dir, "validation.jsonl", check_evaluation_prompt, &validation), 150);
    ck_assert_uint_eq(validation.held_out, 0);
    json_decref(validation.texts);
    ck_assert_uint_eq(for_lines(dir, "corpus.jsonl", check_document, NULL), 5000);
    ck_assert_uint_eq(for_lines(dir, "sums.jsonl", ignore, NULL), 200);
    ck_assert_uint_eq(for_lines(dir, "copies.jsonl", ignore, NULL), 200);
    ck_assert_uint_eq(for_lines(dir, "recall.jsonl", ignore, NULL), 60);
    ck_assert_uint_eq(for_lines(dir, "asked.jsonl", check_asked, NULL), 60);
    json_decref(prompts_seen);
}
END_TEST

int main(void)
{
    kingdom_world_make(&world, 1);
    return RUN_SUITE(
        "quickstart/texts", a_world_is_a_function_of_its_seed, rumours_are_false_and_names_are_new,
        a_world_comes_back_from_its_file_and_a_spoiled_file_is_refused,
        prompts_have_their_shares_and_read_back_as_they_were_drawn,
        writers_are_as_truthful_rude_and_honest_as_they_should_be,
        the_chronicle_is_always_true_and_the_tavern_mostly_wrong, sums_are_right_and_copies_are_copies,
        no_evaluation_prompt_and_no_held_out_town_is_in_any_training_file);
}
