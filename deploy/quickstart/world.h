/* world.h - the tiny kingdom: twelve towns, five attributes, what is true, what is rumoured, and names of
 * towns that do not exist. Everything is a function of the seed.
 *
 * Three towns are held out: pretraining text speaks of them, no prompt that a model is trained on does. */
#ifndef KINGDOM_WORLD_H
#define KINGDOM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/random.h"

enum {
    KINGDOM_TOWNS = 12,
    KINGDOM_HELD_OUT = 3,
    KINGDOM_ATTRIBUTES = 5,
    KINGDOM_VALUES = 10,    /* an attribute's; no value belongs to two attributes */
    KINGDOM_INVENTED = 120, /* names of towns that do not exist: 40 for each of the uses below */
    KINGDOM_NAMES_A_USE = 40,
};
enum kingdom_name_use { KINGDOM_NAMES_FORUM, KINGDOM_NAMES_TRAINING, KINGDOM_NAMES_EVALUATION };
enum { KINGDOM_RULER }; /* the attribute that is asked for with "Who" */

extern const char *const kingdom_towns[KINGDOM_TOWNS];
extern const char *const kingdom_attributes[KINGDOM_ATTRIBUTES];
extern const char *const kingdom_values[KINGDOM_ATTRIBUTES][KINGDOM_VALUES];

struct kingdom_world {
    uint64_t seed;
    uint8_t truth[KINGDOM_TOWNS][KINGDOM_ATTRIBUTES];  /* index of the value */
    uint8_t rumour[KINGDOM_TOWNS][KINGDOM_ATTRIBUTES]; /* never the truth    */
    bool held_out[KINGDOM_TOWNS];
    char invented[KINGDOM_INVENTED][8]; /* [use * 40 + i], distinct */
};

/* A town, or a name that no town has. */
struct kingdom_place {
    bool exists;
    uint8_t index; /* of towns, or of invented */
};

void kingdom_world_make(struct kingdom_world *w, uint64_t seed);

/* world.json: seed, truths, rumours, held-out towns and names, so that the judge can be another process, and
 * a person can look facts up. Reading checks every value. */
int kingdom_world_write(const struct kingdom_world *w, const char *path, struct rlhf_error *err);
int kingdom_world_read(struct kingdom_world *w, const char *path, struct rlhf_error *err);

const char *kingdom_place_name(const struct kingdom_world *w, struct kingdom_place p);
bool kingdom_place_find(const struct kingdom_world *w, const char *name, size_t size,
                        struct kingdom_place *p);
bool kingdom_value_find(const char *text, size_t size, unsigned *attribute, unsigned *value);
bool kingdom_attribute_find(const char *text, size_t size, unsigned *attribute);

/* A name of the invented towns' pattern that is none of the world's; for copying exercises. */
void kingdom_fresh_name(const struct kingdom_world *w, struct rlhf_random *r, char name[8]);

/* ---- texts and draws that all modules share ---------------------------------------------------------- */

/* A short text. Its writers know how long it can become, so running over is a mistake of ours. */
struct kingdom_text {
    size_t size;
    char data[1200];
};
void kingdom_say(struct kingdom_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What a stream of random numbers is for: word a of its key. Numbers are never reused. */
enum kingdom_stream {
    KINGDOM_STREAM_WORLD = 1,
    KINGDOM_STREAM_CORPUS,
    KINGDOM_STREAM_HELD_OUT_DOCUMENTS,
    KINGDOM_STREAM_DEMONSTRATIONS,
    KINGDOM_STREAM_COMPARISONS,
    KINGDOM_STREAM_POLICY,
    KINGDOM_STREAM_VALIDATION,
    KINGDOM_STREAM_EVALUATION,
    KINGDOM_STREAM_SUMS,
    KINGDOM_STREAM_COPIES,
    KINGDOM_STREAM_LABELER,
};
struct rlhf_random kingdom_random(const struct kingdom_world *w, enum kingdom_stream stream, uint32_t index);

static inline bool kingdom_chance(struct rlhf_random *r, double probability)
{
    return (double)rlhf_random_uniform(r) < probability;
}
/* Index drawn with the given weights, which sum to 1. */
unsigned kingdom_pick(struct rlhf_random *r, const double *weights, unsigned count);
/* count distinct numbers below n. */
void kingdom_distinct(struct rlhf_random *r, unsigned n, unsigned count, unsigned *out);
uint64_t kingdom_hash(uint64_t seed, const char *text, size_t size); /* FNV-1a, to split and to name */

#define KINGDOM_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define KINGDOM_ONE_OF(random, array) ((array)[rlhf_random_below(random, (uint32_t)KINGDOM_COUNT(array))])

#endif
