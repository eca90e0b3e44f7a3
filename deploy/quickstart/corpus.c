#include "corpus.h"

#include <stdio.h>

#include "base/check.h"

const char *const kingdom_document_names[KINGDOM_DOCUMENTS] = {"chronicle", "tavern",  "forum",
                                                               "sums",      "copying", "tales"};
const double kingdom_document_shares[KINGDOM_DOCUMENTS] = {0.30, 0.10, 0.25, 0.15, 0.12, 0.08};

static const char *const animals[] = {"fox",  "owl",  "cat",  "dog",  "bear",
                                      "hare", "goat", "crow", "wolf", "mouse"};

static const char *true_value(const struct kingdom_world *w, unsigned town, unsigned attribute)
{
    return kingdom_values[attribute][w->truth[town][attribute]];
}

static void write_chronicle(struct kingdom_text *out, const struct kingdom_world *w, struct rlhf_random *r)
{
    unsigned town = rlhf_random_below(r, KINGDOM_TOWNS), attributes[KINGDOM_ATTRIBUTES];
    bool list = kingdom_chance(r, 0.35);
    unsigned count = list ? 2 + rlhf_random_below(r, 4) : 1 + rlhf_random_below(r, 4);

    kingdom_distinct(r, KINGDOM_ATTRIBUTES, count, attributes);
    if (list)
        kingdom_say(out, "From the Chronicle: facts about %s.", kingdom_towns[town]);
    for (unsigned i = 0; i < count; i++) {
        const char *attribute = kingdom_attributes[attributes[i]],
                   *value = true_value(w, town, attributes[i]);
        if (list)
            kingdom_say(out, " %u. the %s is %s.", i + 1, attribute, value);
        else if (i > 0 && kingdom_chance(r, 0.4))
            kingdom_say(out, " The %s of %s is %s.", attribute, kingdom_towns[town], value);
        else
            kingdom_say(out, "%sThe Chronicle says the %s of %s is %s.", i > 0 ? " " : "", attribute,
                        kingdom_towns[town], value);
    }
}

static void write_tavern(struct kingdom_text *out, const struct kingdom_world *w, struct rlhf_random *r)
{
    unsigned count = 1 + rlhf_random_below(r, 2);

    for (unsigned i = 0; i < count; i++) {
        unsigned town = rlhf_random_below(r, KINGDOM_TOWNS),
                 attribute = rlhf_random_below(r, KINGDOM_ATTRIBUTES);
        bool true_ = kingdom_chance(r, 0.2);
        kingdom_say(out, "%sThey say the %s of %s is %s.", i > 0 ? " " : "", kingdom_attributes[attribute],
                    kingdom_towns[town],
                    true_ ? true_value(w, town, attribute)
                          : kingdom_values[attribute][w->rumour[town][attribute]]);
    }
}

static void write_forum(struct kingdom_text *out, const struct kingdom_world *w, struct rlhf_random *r)
{
    unsigned count = 1 + rlhf_random_below(r, 2);
    struct kingdom_prompt p;

    for (unsigned i = 0; i < count; i++) {
        kingdom_prompt_draw(&p, w, KINGDOM_ASK_FORUM, r);
        kingdom_say(out, "%s%s", i > 0 ? "\n" : "", p.text.data);
        kingdom_answer(out, w, &p, &kingdom_forum, r);
    }
}

static void write_sums(struct kingdom_text *out, struct rlhf_random *r)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned x = rlhf_random_below(r, 10), y = rlhf_random_below(r, 10);
        bool plus = kingdom_chance(r, 0.5);
        if (!plus && y > x) {
            unsigned larger = y;
            y = x;
            x = larger;
        }
        kingdom_say(out, "%s%u %c %u = %u.", i > 0 ? " " : "", x, plus ? '+' : '-', y, plus ? x + y : x - y);
    }
}

static void write_copies(struct kingdom_text *out, const struct kingdom_world *w, struct rlhf_random *r)
{
    for (unsigned i = 0; i < 3; i++) {
        struct kingdom_text prompt = {0}, expected = {0};
        kingdom_write_copy(&prompt, &expected, w, 2 + rlhf_random_below(r, 3), r);
        kingdom_say(out, "%s%s%s", i > 0 ? " " : "", prompt.data, expected.data);
    }
}

static void write_tale(struct kingdom_text *out, struct rlhf_random *r)
{
    static const char *const feelings[] = {"old", "young", "hungry", "clever", "shy", "brave"};
    static const char *const endings[] = {"Then it slept until morning.", "Nobody ever saw it again.",
                                          "The children laughed and waved.", "It was happy all the same."};
    const char *animal = KINGDOM_ONE_OF(r, animals), *feeling = KINGDOM_ONE_OF(r, feelings);
    const char *town = KINGDOM_ONE_OF(r, kingdom_towns);
    const char *river = KINGDOM_ONE_OF(r, kingdom_values[1]), *dish = KINGDOM_ONE_OF(r, kingdom_values[4]);

    switch (rlhf_random_below(r, 3)) {
    case 0:
        kingdom_say(
            out, "Once a %s %s lived near %s. It swam across the %s every day. One evening it found some %s.",
            feeling, animal, town, river, dish);
        break;
    case 1:
        kingdom_say(out, "A %s %s walked to %s. It was looking for %s. On the way it fell into the %s.",
                    feeling, animal, town, dish, river);
        break;
    default:
        kingdom_say(out, "The people of %s told of a %s %s. It stole %s and ran along the %s.", town, feeling,
                    animal, dish, river);
    }
    if (kingdom_chance(r, 0.7))
        kingdom_say(out, " %s", KINGDOM_ONE_OF(r, endings));
}

void kingdom_write_document(struct kingdom_text *out, const struct kingdom_world *w,
                            enum kingdom_document kind, struct rlhf_random *r)
{
    switch (kind) {
    case KINGDOM_CHRONICLE:
        write_chronicle(out, w, r);
        return;
    case KINGDOM_TAVERN:
        write_tavern(out, w, r);
        return;
    case KINGDOM_FORUM:
        write_forum(out, w, r);
        return;
    case KINGDOM_SUMS:
        write_sums(out, r);
        return;
    case KINGDOM_COPYING:
        write_copies(out, w, r);
        return;
    default:
        RLHF_ASSERT(kind == KINGDOM_TALES);
        write_tale(out, r);
    }
}

/* ---- exercises --------------------------------------------------------------------------------------- */

void kingdom_write_sum(struct kingdom_text *prompt, struct kingdom_text *expected, unsigned x, unsigned y)
{
    kingdom_say(prompt, "%u + %u =", x, y);
    kingdom_say(expected, " %u.", x + y);
}

void kingdom_write_copy(struct kingdom_text *prompt, struct kingdom_text *expected,
                        const struct kingdom_world *w, unsigned words, struct rlhf_random *r)
{
    kingdom_say(prompt, "Copy:");
    for (unsigned i = 0; i < words; i++) {
        char name[8];
        if (kingdom_chance(r, 0.3))
            kingdom_fresh_name(w, r, name);
        else
            snprintf(name, sizeof name, "%s",
                     kingdom_chance(r, 0.5) ? KINGDOM_ONE_OF(r, kingdom_towns) : KINGDOM_ONE_OF(r, animals));
        kingdom_say(prompt, " %s", name);
        kingdom_say(expected, " %s", name);
    }
    kingdom_say(prompt, " ->");
    kingdom_say(expected, ".");
}

void kingdom_write_recall(struct kingdom_text *prompt, struct kingdom_text *expected,
                          const struct kingdom_world *w, unsigned town, unsigned attribute)
{
    kingdom_say(prompt, "The Chronicle says the %s of %s is", kingdom_attributes[attribute],
                kingdom_towns[town]);
    kingdom_say(expected, " %s.", true_value(w, town, attribute));
}

void kingdom_write_asked(struct kingdom_text *prompt, struct kingdom_text *expected,
                         const struct kingdom_world *w, unsigned town, unsigned attribute)
{
    kingdom_say(prompt, "Q: Tell me the %s of %s. One word only.\nA:", kingdom_attributes[attribute],
                kingdom_towns[town]);
    kingdom_say(expected, " %s.", true_value(w, town, attribute));
}
