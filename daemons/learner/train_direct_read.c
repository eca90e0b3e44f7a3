/* train_direct_read.c - what a direct stage learns from, and what its reference thinks of that. */
#include "learner/train_direct.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "telemetry/log.h"

/* ---- reading ----------------------------------------------------------------------------------------- */

static int read_comparisons(struct direct *d, struct rlhf_error *err)
{
    const struct rlhf_config_strings *rounds = &d->settings->rounds, *files = &d->settings->data,
                                     *validation = &d->settings->validation;
    const double held = validation->count ? 0 : d->settings->held_out;

    for (size_t i = 0; i < rounds->count; i++) {
        json_t *lines = learner_comparisons_round(d->w, rounds->items[i], err), *line;
        size_t n;
        int rc = lines ? 0 : -1;
        json_array_foreach(lines, n, line)
        {
            if (rc == 0 && learner_comparison_has_pair(line))
                rc = learner_comparisons_add(learner_comparison_held_out(line, held) ? &d->held : &d->comparisons, d->limit,
                                             line, err);
        }
        json_decref(lines);
        if (rc < 0)
            return -1;
    }
    for (size_t i = 0; i < files->count; i++)
        if (learner_comparisons_read(&d->comparisons, &d->held, held, d->w, d->limit, files->items[i], err) < 0)
            return -1;
    for (size_t i = 0; i < validation->count; i++)
        if (learner_comparisons_read(&d->held, NULL, 0, d->w, d->limit, validation->items[i], err) < 0)
            return -1;
    if (d->comparisons.skipped + d->held.skipped)
        rlhf_log(RLHF_LEVEL_WARNING, "comparisons-too-large stage=%s left_out=%zu limit=%zu", d->w->name,
                 d->comparisons.skipped + d->held.skipped, d->limit);
    return 0;
}

static int add_unit(struct direct *d, struct direct_unit unit, struct rlhf_error *err)
{
    if ((d->unit_count & (d->unit_count - 1)) == 0) { /* full at every power of two */
        size_t wanted = d->unit_count ? 2 * d->unit_count : 1;
        struct direct_unit *grown = reallocarray(d->units, wanted, sizeof *grown);
        if (!grown)
            return rlhf_fail(err, RLHF_FULL, "out of memory for %zu pairs", wanted);
        d->units = grown;
    }
    d->units[d->unit_count++] = unit;
    return 0;
}

/* Every ordered pair of comparison i. */
static int add_pairs(struct direct *d, size_t i, struct rlhf_error *err)
{
    const struct learner_comparisons *c = &d->comparisons;

    for (uint32_t a = c->first[i]; a < c->first[i + 1]; a++)
        for (uint32_t b = c->first[i]; b < c->first[i + 1]; b++)
            if (c->rank[a] < c->rank[b] && add_unit(d, (struct direct_unit){.chosen = a, .rejected = b}, err) < 0)
                return -1;
    return 0;
}

/* Its best completions as good ones and its worst as bad ones. */
static int add_thumbs(struct direct *d, size_t i, struct rlhf_error *err)
{
    const struct learner_comparisons *c = &d->comparisons;
    uint32_t best = UINT32_MAX, worst = 0;

    for (uint32_t j = c->first[i]; j < c->first[i + 1]; j++) {
        best = c->rank[j] < best ? c->rank[j] : best;
        worst = c->rank[j] > worst ? c->rank[j] : worst;
    }
    for (uint32_t j = c->first[i]; best < worst && j < c->first[i + 1]; j++)
        if ((c->rank[j] == best || c->rank[j] == worst) &&
            add_unit(d, (struct direct_unit){.chosen = j, .good = c->rank[j] == best}, err) < 0)
            return -1;
    return 0;
}

static size_t comparison_of(const struct learner_comparisons *c, uint32_t row)
{
    size_t low = 0, high = c->count;

    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        *(c->first[middle] <= row ? &low : &high) = middle;
    }
    return low;
}

size_t direct_comparison(const struct direct *d, const struct direct_unit *u)
{
    return comparison_of(&d->comparisons, u->chosen);
}

/* Where KTO's reference point comes from: each prompt with the completion that follows it in another comparison, cut
 * at the limit. */
static int add_mismatched(struct direct *d, struct rlhf_error *err)
{
    const struct learner_comparisons *c = &d->comparisons;
    const struct rlhf_sequences *q = &c->sequences;

    for (size_t i = 0; i < d->unit_count; i++) {
        uint32_t row = d->units[i].chosen, other = row;
        size_t mine = comparison_of(c, row), prompt = c->prompt_size[mine], theirs, size;
        struct rlhf_tokens ids = {0};
        int rc;

        for (size_t step = 1; step <= d->unit_count; step++) {
            other = d->units[(i + step) % d->unit_count].chosen;
            if (comparison_of(c, other) != mine)
                break;
        }
        theirs = q->start[other] + c->prompt_size[comparison_of(c, other)];
        size = q->start[other + 1] - theirs;
        size = prompt + size > d->limit ? d->limit - prompt : size;
        rc = rlhf_tokens_append(&ids, q->tokens.data + q->start[row], prompt, err) < 0 ||
                     rlhf_tokens_append(&ids, q->tokens.data + theirs, size, err) < 0 ||
                     rlhf_sequences_append(&d->mismatched, ids.data, ids.size, err) < 0
                 ? -1
                 : 0;
        rlhf_tokens_free(&ids);
        if (rc < 0)
            return -1;
        d->units[i].rejected = (uint32_t)(q->count + i);
    }
    return 0;
}

static struct learner_item item_of(const struct rlhf_sequences *q, size_t i, uint32_t prompt)
{
    return (struct learner_item){
        .ids = q->tokens.data + q->start[i], .count = q->start[i + 1] - q->start[i], .first = prompt};
}

static void put_rows(struct learner_item *rows, const struct learner_comparisons *c)
{
    for (size_t i = 0; i < c->count; i++)
        for (uint32_t j = c->first[i]; j < c->first[i + 1]; j++)
            rows[j] = item_of(&c->sequences, j, c->prompt_size[i]);
}

static int make_rows(struct direct *d, struct rlhf_error *err)
{
    const struct learner_comparisons *c = &d->comparisons;

    d->held_from = c->sequences.count + d->mismatched.count;
    d->row_count = d->held_from + d->held.sequences.count;
    d->rows = calloc(d->row_count, sizeof *d->rows);
    d->start = calloc(d->row_count + 1, sizeof *d->start);
    if (!d->rows || !d->start)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions", d->row_count);
    put_rows(d->rows, c);
    put_rows(d->rows + d->held_from, &d->held);
    for (size_t i = 0; i < d->mismatched.count; i++)
        d->rows[c->sequences.count + i] =
            item_of(&d->mismatched, i, d->rows[d->units[i].chosen].first);
    for (size_t i = 0; i < d->row_count; i++) {
        size_t end = d->start[i] + learner_targets(&d->rows[i], 1);
        if (end > UINT32_MAX)
            return rlhf_fail(err, RLHF_REJECT, "the comparisons have more than %u tokens", UINT32_MAX);
        d->start[i + 1] = (uint32_t)end;
    }
    return 0;
}

int direct_read(struct direct *d, struct rlhf_error *err)
{
    if (read_comparisons(d, err) < 0)
        return -1;
    for (size_t i = 0; i < d->comparisons.count; i++)
        if ((direct_is_kto(d) ? add_thumbs : add_pairs)(d, i, err) < 0)
            return -1;
    if (d->unit_count == 0)
        return rlhf_fail(err, RLHF_REJECT, "there is no comparison with a preference of at most %zu tokens", d->limit);
    if (direct_is_kto(d) && add_mismatched(d, err) < 0)
        return -1;
    rlhf_log(RLHF_LEVEL_INFO, "comparisons-read stage=%s comparisons=%zu %s=%zu held_out=%zu", d->w->name,
             d->comparisons.count, direct_is_kto(d) ? "completions" : "pairs", d->unit_count, d->held.count);
    return make_rows(d, err);
}

/* ---- the reference ----------------------------------------------------------------------------------- */

static int compute_reference(struct direct *d, const struct rlhf_model *m, struct rlhf_error *err)
{
    struct learner_compute c;
    float *out = d->reference;

    if (learner_compute_init(&c, rlhf_model_get_config(m), d->w->t->pool, false, err) < 0)
        return -1;
    for (size_t i = 0; i < d->row_count;) {
        if (learner_stopping(d->w)) {
            learner_compute_free(&c);
            return learner_stopped(err);
        }
        if ((i = learner_compute_forward(&c, m, d->rows, i, d->row_count, err)) == 0 ||
            rlhf_pass_logprobs(c.pass, m, c.batch.target, 1, c.batch.value, NULL, err) < 0) {
            learner_compute_free(&c);
            return -1;
        }
        out += learner_batch_pick(&c.batch, c.batch.value, out);
        learner_progress(d->w, "reference %zu of %zu", i, d->row_count);
    }
    learner_compute_free(&c);
    return 0;
}

/* What an earlier life of this stage kept; false where there is none or it is damaged. */
static bool kept_reference(struct direct *d, const char *path, size_t size)
{
    struct rlhf_bytes bytes = {0};
    struct rlhf_digest digest;
    bool good = d->w->record->has_reference && rlhf_read_file(d->w->t->io, path, size, &bytes, NULL) == 0 &&
                bytes.size == size;

    if (good) {
        digest = rlhf_digest_of(bytes.data, bytes.size);
        good = rlhf_digest_equal(&digest, &d->w->record->reference);
    }
    if (good)
        memcpy(d->reference, bytes.data, size);
    else if (d->w->record->has_reference)
        rlhf_log(RLHF_LEVEL_WARNING, "reference-damaged path=%s it is computed again", path);
    rlhf_bytes_free(&bytes);
    return good;
}

static int keep_reference(struct direct *d, const char *path, size_t size, struct rlhf_error *err)
{
    struct learner_record *r = d->w->record;
    char text[RLHF_DIGEST_TEXT];

    r->reference = rlhf_digest_of(d->reference, size);
    rlhf_digest_text(&r->reference, text);
    if (learner_write_file(d->w, path, &(struct rlhf_bytes){.data = (char *)d->reference, .size = size}, err) < 0 ||
        learner_journal(d->w, "reference", json_pack("{s:s}", "digest", text), err) < 0)
        return -1;
    r->has_reference = true;
    return 0;
}

static int reference_path(const struct direct *d, char *path, size_t size, struct rlhf_error *err)
{
    return learner_path(d->w->t, path, size, err, "state/%s.reference", d->w->name);
}

int direct_reference(struct direct *d, const struct rlhf_model *policy, struct rlhf_error *err)
{
    size_t size = d->start[d->row_count] * sizeof *d->reference;
    struct rlhf_model *other = NULL;
    char path[LEARNER_PATH];
    int rc;

    if (d->settings->loss == RLHF_RUN_ORPO)
        return 0;
    if (!(d->reference = calloc(d->start[d->row_count] + 1, sizeof *d->reference)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for the reference's log-probs");
    if (reference_path(d, path, sizeof path, err) < 0)
        return -1;
    /* Loaded also when it is not needed any more: the provenance names it. */
    if (d->settings->reference && !(other = learner_load_model(d->w, d->settings->reference, RLHF_HEAD_LM, err)))
        return -1;
    rc = kept_reference(d, path, size) ? 0
         : compute_reference(d, other ? other : policy, err) < 0 || keep_reference(d, path, size, err) < 0 ? -1
                                                                                                             : 0;
    rlhf_model_free(other);
    return rc;
}

int direct_reference_drop(struct direct *d, struct rlhf_error *err)
{
    const struct rlhf_io *io = d->w->t->io;
    char path[LEARNER_PATH];

    if (!d->reference)
        return 0;
    if (reference_path(d, path, sizeof path, err) < 0)
        return -1;
    if (io->unlink(io, path) < 0 && errno != ENOENT)
        return rlhf_fail(err, RLHF_FATAL, "cannot remove %s: %s", path, strerror(errno));
    return 0;
}
