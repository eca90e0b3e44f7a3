#include "make.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "corpus.h"

const struct kingdom_sizes kingdom_default_sizes = {
    .documents = 62000,
    .tokenizer_documents = 4000,
    .tokenizer_dialogues = 1000,
    .held_out = 600,
    .demonstrations = 2500,
    .comparisons = {1200, 1800},
    .policy = {30 * 128, 60 * 128},
    .validation = 150,
    .evaluation = 400,
    .sums = 200,
    .copies = 200,
};

/* A file of JSON lines in the making. The first failure stays; later calls do nothing. */
struct file {
    const char *dir, *name;
    struct rlhf_bytes bytes;
    struct rlhf_error *err;
    int result;
};

static struct file begin(const char *dir, const char *name, struct rlhf_error *err)
{
    return (struct file){.dir = dir, .name = name, .err = err};
}

/* Takes line. */
static void add(struct file *f, json_t *line)
{
    char *text = line && f->result == 0 ? json_dumps(line, JSON_COMPACT) : NULL;

    json_decref(line);
    if (f->result == 0 && (!text || rlhf_bytes_printf(&f->bytes, f->err, "%s\n", text) < 0))
        f->result = text ? -1 : rlhf_fail(f->err, RLHF_FULL, "out of memory for %s", f->name);
    free(text);
}

static int end(struct file *f)
{
    char path[500];

    if (f->result == 0)
        f->result = rlhf_path(path, sizeof path, f->dir, f->name, f->err) < 0 ||
                            rlhf_write_file(&rlhf_system_io, path, f->bytes.data, f->bytes.size, f->err) < 0
                        ? -1
                        : 0;
    rlhf_bytes_free(&f->bytes);
    return f->result;
}

static void add_document(struct file *f, const struct kingdom_world *w, const double *shares,
                         struct rlhf_random *r)
{
    struct kingdom_text text = {0};

    kingdom_write_document(&text, w, (enum kingdom_document)kingdom_pick(r, shares, KINGDOM_DOCUMENTS), r);
    add(f, json_pack("{s:s%}", "text", text.data, text.size));
}

static int make_documents(const struct kingdom_world *w, const char *dir, const char *name,
                          enum kingdom_stream stream, unsigned count, bool forum, struct rlhf_error *err)
{
    struct rlhf_random r = kingdom_random(w, stream, forum ? 0 : 1);
    struct file f = begin(dir, name, err);
    double shares[KINGDOM_DOCUMENTS];

    for (size_t i = 0; i < KINGDOM_DOCUMENTS; i++)
        shares[i] = forum ? kingdom_document_shares[i]
                          : (i == KINGDOM_FORUM
                                 ? 0
                                 : kingdom_document_shares[i] / (1 - kingdom_document_shares[KINGDOM_FORUM]));
    for (unsigned i = 0; i < count; i++)
        add_document(&f, w, shares, &r);
    return end(&f);
}

static void draw_demonstration(struct kingdom_prompt *p, struct kingdom_text *response,
                               const struct kingdom_world *w, struct rlhf_random *r)
{
    kingdom_prompt_draw(p, w, KINGDOM_ASK_TRAINING, r);
    response->size = 0;
    kingdom_answer(response, w, p,
                   kingdom_chance(r, KINGDOM_CAREFUL_SHARE) ? &kingdom_careful : &kingdom_careless, r);
}

static int make_demonstrations(const struct kingdom_world *w, const char *dir, unsigned count,
                               struct rlhf_error *err)
{
    struct rlhf_random r = kingdom_random(w, KINGDOM_STREAM_DEMONSTRATIONS, 0);
    struct file f = begin(dir, "demonstrations.jsonl", err);

    for (unsigned i = 0; i < count; i++) {
        struct kingdom_prompt p;
        struct kingdom_text response = {0};
        draw_demonstration(&p, &response, w, &r);
        add(&f, json_pack("{s:s, s:s}", "prompt", p.text.data, "completion", response.data));
    }
    return end(&f);
}

/* What the tokenizer learns from: some documents and some dialogues of their own streams. */
static int make_tokenizer_text(const struct kingdom_world *w, const char *dir,
                               const struct kingdom_sizes *sizes, struct rlhf_error *err)
{
    struct rlhf_random documents = kingdom_random(w, KINGDOM_STREAM_CORPUS, 2);
    struct rlhf_random dialogues = kingdom_random(w, KINGDOM_STREAM_DEMONSTRATIONS, 2);
    struct file f = begin(dir, "tokenizer.jsonl", err);

    for (unsigned i = 0; i < sizes->tokenizer_documents; i++)
        add_document(&f, w, kingdom_document_shares, &documents);
    for (unsigned i = 0; i < sizes->tokenizer_dialogues; i++) {
        struct kingdom_prompt p;
        struct kingdom_text response = {0}, both = {0};
        draw_demonstration(&p, &response, w, &dialogues);
        kingdom_say(&both, "%s%s", p.text.data, response.data);
        add(&f, json_pack("{s:s}", "text", both.data));
    }
    return end(&f);
}

/* No text twice: answers to a prompt are compared with each other, so that one drawn eight times would bring
 * sixty times the pairs of one drawn once. */
static int make_validation(const struct kingdom_world *w, const char *dir, unsigned count, struct rlhf_error *err)
{
    struct rlhf_random r = kingdom_random(w, KINGDOM_STREAM_VALIDATION, 0);
    struct file f = begin(dir, "validation.jsonl", err);
    json_t *drawn = json_object();

    while (json_object_size(drawn) < count && f.result == 0) {
        struct kingdom_prompt p;
        kingdom_prompt_draw(&p, w, KINGDOM_ASK_SEEN, &r);
        if (json_object_get(drawn, p.text.data))
            continue;
        if (json_object_set_new(drawn, p.text.data, json_true()) < 0)
            f.result = rlhf_fail(err, RLHF_FULL, "out of memory for %s", f.name);
        add(&f, json_pack("{s:s}", "prompt", p.text.data));
    }
    json_decref(drawn);
    return end(&f);
}

static int make_prompts(const struct kingdom_world *w, const char *dir, const char *name,
                        enum kingdom_stream stream, uint32_t index, enum kingdom_population first,
                        enum kingdom_population second, unsigned count, struct rlhf_error *err)
{
    struct rlhf_random r = kingdom_random(w, stream, index);
    struct file f = begin(dir, name, err);

    for (unsigned i = 0; i < count; i++) {
        struct kingdom_prompt p;
        kingdom_prompt_draw(&p, w, i < count / 2 ? first : second, &r);
        add(&f, json_pack("{s:s}", "prompt", p.text.data));
    }
    return end(&f);
}

static void add_exercise(struct file *f, const struct kingdom_text *prompt,
                         const struct kingdom_text *expected)
{
    add(f, json_pack("{s:s, s:s}", "prompt", prompt->data, "expected", expected->data));
}

static int make_sums(const struct kingdom_world *w, const char *dir, unsigned count, struct rlhf_error *err)
{
    struct rlhf_random r = kingdom_random(w, KINGDOM_STREAM_SUMS, 0);
    struct file f = begin(dir, "sums.jsonl", err);

    for (unsigned i = 0; i < count; i++) {
        struct kingdom_text prompt = {0}, expected = {0};
        unsigned x = rlhf_random_below(&r, 10), y = rlhf_random_below(&r, 10);
        kingdom_write_sum(&prompt, &expected, x, y);
        add_exercise(&f, &prompt, &expected);
    }
    return end(&f);
}

static int make_copies(const struct kingdom_world *w, const char *dir, unsigned count, struct rlhf_error *err)
{
    struct rlhf_random r = kingdom_random(w, KINGDOM_STREAM_COPIES, 0);
    struct file f = begin(dir, "copies.jsonl", err);

    for (unsigned i = 0; i < count; i++) {
        struct kingdom_text prompt = {0}, expected = {0};
        kingdom_write_copy(&prompt, &expected, w, 2 + rlhf_random_below(&r, 3), &r);
        add_exercise(&f, &prompt, &expected);
    }
    return end(&f);
}

/* An exercise a fact, held-out towns' too. */
typedef void fact_writer(struct kingdom_text *prompt, struct kingdom_text *expected, const struct kingdom_world *w,
                         unsigned town, unsigned attribute);

static int make_facts(const struct kingdom_world *w, const char *dir, const char *name, fact_writer *write,
                      struct rlhf_error *err)
{
    struct file f = begin(dir, name, err);

    for (unsigned town = 0; town < KINGDOM_TOWNS; town++)
        for (unsigned attribute = 0; attribute < KINGDOM_ATTRIBUTES; attribute++) {
            struct kingdom_text prompt = {0}, expected = {0};
            write(&prompt, &expected, w, town, attribute);
            add_exercise(&f, &prompt, &expected);
        }
    return end(&f);
}

int kingdom_make(const struct kingdom_world *w, const struct kingdom_sizes *sizes, const char *dir,
                 struct rlhf_error *err)
{
    const enum kingdom_population train = KINGDOM_ASK_TRAINING;
    char path[500];

    if (rlhf_make_dirs(&rlhf_system_io, dir, err) < 0 ||
        rlhf_path(path, sizeof path, dir, "world.json", err) < 0 || kingdom_world_write(w, path, err) < 0 ||
        make_documents(w, dir, "corpus.jsonl", KINGDOM_STREAM_CORPUS, sizes->documents, true, err) < 0 ||
        make_tokenizer_text(w, dir, sizes, err) < 0 ||
        make_documents(w, dir, "heldout.jsonl", KINGDOM_STREAM_HELD_OUT_DOCUMENTS, sizes->held_out, true,
                       err) < 0 ||
        make_documents(w, dir, "heldout_without_forum.jsonl", KINGDOM_STREAM_HELD_OUT_DOCUMENTS,
                       sizes->held_out, false, err) < 0 ||
        make_demonstrations(w, dir, sizes->demonstrations, err) < 0 ||
        make_prompts(w, dir, "comparisons-1.jsonl", KINGDOM_STREAM_COMPARISONS, 0, train, train,
                     sizes->comparisons[0], err) < 0 ||
        make_prompts(w, dir, "comparisons-2.jsonl", KINGDOM_STREAM_COMPARISONS, 1, train, train,
                     sizes->comparisons[1], err) < 0 ||
        make_prompts(w, dir, "policy-1.jsonl", KINGDOM_STREAM_POLICY, 0, train, train, sizes->policy[0],
                     err) < 0 ||
        make_prompts(w, dir, "policy-2.jsonl", KINGDOM_STREAM_POLICY, 1, train, train, sizes->policy[1],
                     err) < 0 ||
        make_validation(w, dir, sizes->validation, err) < 0 ||
        make_prompts(w, dir, "evaluation.jsonl", KINGDOM_STREAM_EVALUATION, 0, KINGDOM_ASK_SEEN,
                     KINGDOM_ASK_HELD_OUT, sizes->evaluation, err) < 0 ||
        make_sums(w, dir, sizes->sums, err) < 0 || make_copies(w, dir, sizes->copies, err) < 0 ||
        make_facts(w, dir, "recall.jsonl", kingdom_write_recall, err) < 0 ||
        make_facts(w, dir, "asked.jsonl", kingdom_write_asked, err) < 0)
        return -1;
    return 0;
}
