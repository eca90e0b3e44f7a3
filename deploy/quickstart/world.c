#include "world.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/io.h"

const char *const kingdom_towns[KINGDOM_TOWNS] = {"Orla", "Vask", "Tarn", "Brem", "Lund", "Mell",
                                                  "Sorn", "Dray", "Kest", "Hale", "Pell", "Ravn"};
const char *const kingdom_attributes[KINGDOM_ATTRIBUTES] = {"ruler", "river", "color", "trade", "dish"};
const char *const kingdom_values[KINGDOM_ATTRIBUTES][KINGDOM_VALUES] = {
    {"Mira", "Tobin", "Anna", "Oskar", "Lena", "Hugo", "Petra", "Boris", "Clara", "Edwin"},
    {"Ash", "Elm", "Thorn", "Clay", "Moss", "Reed", "Stone", "Salt", "Frost", "Bell"},
    {"red", "blue", "green", "gold", "white", "black", "silver", "brown", "purple", "orange"},
    {"glass", "wool", "iron", "rope", "boats", "honey", "paper", "leather", "candles", "clocks"},
    {"stew", "pie", "bread", "soup", "cheese", "fish", "plums", "cake", "beans", "eggs"},
};

struct rlhf_random kingdom_random(const struct kingdom_world *w, enum kingdom_stream stream, uint32_t index)
{
    struct rlhf_random r;

    rlhf_random_init(&r, w->seed, RLHF_PURPOSE_WORLD, (uint32_t)stream, index);
    return r;
}

unsigned kingdom_pick(struct rlhf_random *r, const double *weights, unsigned count)
{
    double at = (double)rlhf_random_uniform(r);
    unsigned i = 0;

    while (i + 1 < count && at >= weights[i])
        at -= weights[i++];
    return i;
}

void kingdom_distinct(struct rlhf_random *r, unsigned n, unsigned count, unsigned *out)
{
    uint32_t all[64];

    RLHF_ASSERT(n <= KINGDOM_COUNT(all) && count <= n);
    for (unsigned i = 0; i < n; i++)
        all[i] = i;
    rlhf_random_shuffle(r, all, n);
    for (unsigned i = 0; i < count; i++)
        out[i] = all[i];
}

uint64_t kingdom_hash(uint64_t seed, const char *text, size_t size)
{
    uint64_t h = 14695981039346656037u ^ (seed * 0x9e3779b97f4a7c15u);

    for (size_t i = 0; i < size; i++)
        h = (h ^ (uint8_t)text[i]) * 1099511628211u;
    h ^= h >> 33; /* FNV's high bits are better than its low ones */
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 33);
}

void kingdom_say(struct kingdom_text *t, const char *fmt, ...)
{
    va_list args;
    int size;

    va_start(args, fmt);
    size = vsnprintf(t->data + t->size, sizeof t->data - t->size, fmt, args);
    va_end(args);
    RLHF_ASSERT(size >= 0 && (size_t)size < sizeof t->data - t->size);
    t->size += (size_t)size;
}

/* ---- names ------------------------------------------------------------------------------------------- */

static bool is_taken(const struct kingdom_world *w, size_t invented, const char *name)
{
    unsigned attribute, value;

    for (size_t i = 0; i < KINGDOM_TOWNS; i++)
        if (strcmp(kingdom_towns[i], name) == 0)
            return true;
    for (size_t i = 0; i < invented; i++)
        if (strcmp(w->invented[i], name) == 0)
            return true;
    return kingdom_value_find(name, strlen(name), &attribute, &value); /* Mira and Lena fit the pattern */
}

static void draw_name(const struct kingdom_world *w, size_t invented, struct rlhf_random *r, char name[8])
{
    static const char *const endings[] = {"o", "a", "ia", "en", "ar", "ix", "um", "eth"};

    do {
        char first = "BDFGKLMNPRSTVZ"[rlhf_random_below(r, 14)];
        char vowel = "aeiou"[rlhf_random_below(r, 5)];
        char last = "bdgklmnprstvz"[rlhf_random_below(r, 13)];
        snprintf(name, 8, "%c%c%c%s", first, vowel, last, KINGDOM_ONE_OF(r, endings));
    } while (is_taken(w, invented, name));
}

void kingdom_fresh_name(const struct kingdom_world *w, struct rlhf_random *r, char name[8])
{
    draw_name(w, KINGDOM_INVENTED, r, name);
}

const char *kingdom_place_name(const struct kingdom_world *w, struct kingdom_place p)
{
    return p.exists ? kingdom_towns[p.index] : w->invented[p.index];
}

static bool equals(const char *name, const char *text, size_t size)
{
    return strlen(name) == size && memcmp(name, text, size) == 0;
}

bool kingdom_place_find(const struct kingdom_world *w, const char *name, size_t size, struct kingdom_place *p)
{
    for (unsigned i = 0; i < KINGDOM_TOWNS; i++)
        if (equals(kingdom_towns[i], name, size)) {
            *p = (struct kingdom_place){true, (uint8_t)i};
            return true;
        }
    for (unsigned i = 0; i < KINGDOM_INVENTED; i++)
        if (equals(w->invented[i], name, size)) {
            *p = (struct kingdom_place){false, (uint8_t)i};
            return true;
        }
    return false;
}

bool kingdom_attribute_find(const char *text, size_t size, unsigned *attribute)
{
    for (unsigned i = 0; i < KINGDOM_ATTRIBUTES; i++)
        if (equals(kingdom_attributes[i], text, size)) {
            *attribute = i;
            return true;
        }
    return false;
}

bool kingdom_value_find(const char *text, size_t size, unsigned *attribute, unsigned *value)
{
    for (unsigned i = 0; i < KINGDOM_ATTRIBUTES; i++)
        for (unsigned j = 0; j < KINGDOM_VALUES; j++)
            if (equals(kingdom_values[i][j], text, size)) {
                *attribute = i;
                *value = j;
                return true;
            }
    return false;
}

/* ---- the world --------------------------------------------------------------------------------------- */

void kingdom_world_make(struct kingdom_world *w, uint64_t seed)
{
    struct rlhf_random r;
    unsigned held_out[KINGDOM_HELD_OUT];

    memset(w, 0, sizeof *w);
    w->seed = seed;
    r = kingdom_random(w, KINGDOM_STREAM_WORLD, 0);
    kingdom_distinct(&r, KINGDOM_TOWNS, KINGDOM_HELD_OUT, held_out);
    for (size_t i = 0; i < KINGDOM_HELD_OUT; i++)
        w->held_out[held_out[i]] = true;
    for (size_t t = 0; t < KINGDOM_TOWNS; t++)
        for (size_t a = 0; a < KINGDOM_ATTRIBUTES; a++) {
            w->truth[t][a] = (uint8_t)rlhf_random_below(&r, KINGDOM_VALUES);
            w->rumour[t][a] =
                (uint8_t)((w->truth[t][a] + 1 + rlhf_random_below(&r, KINGDOM_VALUES - 1)) % KINGDOM_VALUES);
        }
    for (size_t i = 0; i < KINGDOM_INVENTED; i++)
        draw_name(w, i, &r, w->invented[i]);
}

int kingdom_world_write(const struct kingdom_world *w, const char *path, struct rlhf_error *err)
{
    json_t *towns = json_object(), *names = json_array(), *root;
    char *text;
    int result;

    for (size_t t = 0; t < KINGDOM_TOWNS; t++) {
        json_t *truth = json_object(), *rumour = json_object();
        for (size_t a = 0; a < KINGDOM_ATTRIBUTES; a++) {
            json_object_set_new(truth, kingdom_attributes[a], json_string(kingdom_values[a][w->truth[t][a]]));
            json_object_set_new(rumour, kingdom_attributes[a],
                                json_string(kingdom_values[a][w->rumour[t][a]]));
        }
        json_object_set_new(
            towns, kingdom_towns[t],
            json_pack("{s:b, s:o, s:o}", "held_out", w->held_out[t], "truth", truth, "rumour", rumour));
    }
    for (size_t i = 0; i < KINGDOM_INVENTED; i++)
        json_array_append_new(names, json_string(w->invented[i]));
    root = json_pack("{s:I, s:o, s:o}", "seed", (json_int_t)w->seed, "towns", towns, "invented", names);
    text = json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    if (!text)
        return rlhf_fail(err, RLHF_FULL, "%s: out of memory", path);
    result = rlhf_write_file(&rlhf_system_io, path, text, strlen(text), err);
    free(text);
    return result;
}

static int read_values(json_t *town, const char *what, uint8_t out[KINGDOM_ATTRIBUTES])
{
    for (unsigned a = 0; a < KINGDOM_ATTRIBUTES; a++) {
        const char *text =
            json_string_value(json_object_get(json_object_get(town, what), kingdom_attributes[a]));
        unsigned attribute, value;
        if (!text || !kingdom_value_find(text, strlen(text), &attribute, &value) || attribute != a)
            return -1;
        out[a] = (uint8_t)value;
    }
    return 0;
}

static int read_world(struct kingdom_world *w, json_t *root, const char *path, struct rlhf_error *err)
{
    json_t *names = json_object_get(root, "invented"), *seed = json_object_get(root, "seed");

    if (!json_is_integer(seed))
        return rlhf_fail(err, RLHF_REJECT, "%s: seed is not a number", path);
    w->seed = (uint64_t)json_integer_value(seed);
    for (size_t t = 0; t < KINGDOM_TOWNS; t++) {
        json_t *town = json_object_get(json_object_get(root, "towns"), kingdom_towns[t]);
        if (read_values(town, "truth", w->truth[t]) < 0 || read_values(town, "rumour", w->rumour[t]) < 0)
            return rlhf_fail(err, RLHF_REJECT,
                             "%s: towns.%s: truth or rumour is missing or names no known value", path,
                             kingdom_towns[t]);
        w->held_out[t] = json_is_true(json_object_get(town, "held_out"));
    }
    if (json_array_size(names) != KINGDOM_INVENTED)
        return rlhf_fail(err, RLHF_REJECT, "%s: invented does not list %d names", path, KINGDOM_INVENTED);
    for (size_t i = 0; i < KINGDOM_INVENTED; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (!name || strlen(name) >= sizeof w->invented[i])
            return rlhf_fail(err, RLHF_REJECT, "%s: invented[%zu] is not a short name", path, i);
        strcpy(w->invented[i], name);
    }
    return 0;
}

int kingdom_world_read(struct kingdom_world *w, const char *path, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};
    json_error_t at;
    json_t *root;
    int result;

    memset(w, 0, sizeof *w);
    if (rlhf_read_file(&rlhf_system_io, path, 1u << 20, &text, err) < 0)
        return rlhf_fail_prefix(err, "no kingdom (make one with `rlhf-kingdom make`)");
    root = json_loadb(text.data, text.size, 0, &at);
    rlhf_bytes_free(&text);
    if (!root)
        return rlhf_fail(err, RLHF_REJECT, "%s:%d: not JSON: %s", path, at.line, at.text);
    result = read_world(w, root, path, err);
    json_decref(root);
    return result;
}
