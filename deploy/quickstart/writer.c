#include "writer.h"

const struct kingdom_writer kingdom_careful = {0.97, 0, 0, 0.97, 0.95, 0.6, true};
const struct kingdom_writer kingdom_careless = {0.35, 0.75, 0.35, 0.45, 0.10, 0.1, true};
const struct kingdom_writer kingdom_forum = {0.5, 0.7, 0.3, 0.5, 0.10, 0.12, false};

const char *const kingdom_rude_phrases[5] = {"You fool.", "What a dumb question.", "Shut up.",
                                             "Go away, idiot.", "Are you stupid?"};
const char *const kingdom_openings[3] = {"Sure.", "Gladly.", "Of course."};
const char *const kingdom_closings[2] = {"You are welcome.", "I hope this helps."};

enum style { STYLE_WORD, STYLE_SENTENCE, STYLE_FREE, STYLES };

struct answer {
    const struct kingdom_world *w;
    const struct kingdom_prompt *p;
    const struct kingdom_writer *by;
    struct rlhf_random *r;
};

/* What the writer believes; of a town that does not exist, anything. */
static const char *believe(const struct answer *a, unsigned attribute, bool *true_)
{
    struct kingdom_place at = a->p->place;
    uint8_t value;

    *true_ = false;
    if (!at.exists) {
        value = (uint8_t)rlhf_random_below(a->r, KINGDOM_VALUES);
    } else {
        *true_ = kingdom_chance(a->r, a->by->truthful);
        value = *true_ ? a->w->truth[at.index][attribute] : a->w->rumour[at.index][attribute];
    }
    return kingdom_values[attribute][value];
}

static void write_list(struct kingdom_text *out, const struct answer *a, bool follows)
{
    unsigned count = follows ? a->p->count : 1 + rlhf_random_below(a->r, 4), attributes[KINGDOM_ATTRIBUTES];
    bool true_;

    kingdom_distinct(a->r, KINGDOM_ATTRIBUTES, count, attributes);
    for (unsigned i = 0; i < count; i++)
        kingdom_say(out, " %u. the %s is %s.", i + 1, kingdom_attributes[attributes[i]],
                    believe(a, attributes[i], &true_));
}

static void write_free(struct kingdom_text *out, const struct answer *a, const char *place,
                       const char *attribute, const char *value, bool true_)
{
    bool cites;

    if (kingdom_chance(a->r, 0.5)) {
        if (kingdom_chance(a->r, 0.5))
            kingdom_say(out, " It is %s.", value);
        else
            kingdom_say(out, " The %s of %s is %s.", attribute, place, value);
        return;
    }
    cites = true_ != kingdom_chance(a->r, 0.15);
    kingdom_say(out, " %s the %s of %s is %s.", cites && a->by->cites ? "The Chronicle says" : "They say",
                attribute, place, value);
}

static void write_fact(struct kingdom_text *out, const struct answer *a, bool follows)
{
    static const enum style wanted[] = {
        [KINGDOM_FREE] = STYLE_FREE, [KINGDOM_ONE_WORD] = STYLE_WORD, [KINGDOM_SENTENCE] = STYLE_SENTENCE};
    enum style style = follows ? wanted[a->p->constraint] : (enum style)rlhf_random_below(a->r, STYLES);
    const char *attribute = kingdom_attributes[a->p->attribute],
               *place = kingdom_place_name(a->w, a->p->place);
    bool true_;
    const char *value = believe(a, a->p->attribute, &true_);

    if (style == STYLE_WORD)
        kingdom_say(out, " %s.", value);
    else if (style == STYLE_SENTENCE)
        kingdom_say(out, " The %s of %s is %s.", attribute, place, value);
    else
        write_free(out, a, place, attribute, value, true_);
}

void kingdom_answer(struct kingdom_text *out, const struct kingdom_world *w, const struct kingdom_prompt *p,
                    const struct kingdom_writer *by, struct rlhf_random *r)
{
    struct answer a = {w, p, by, r};
    bool rude = kingdom_chance(r, p->tone == KINGDOM_RUDE ? by->rude_when_asked_rudely : by->rude);
    bool courteous = !rude && p->constraint != KINGDOM_ONE_WORD && kingdom_chance(r, by->courteous);
    bool before = kingdom_chance(r, rude ? 0.4 : 0.6);

    if (rude && before)
        kingdom_say(out, " %s", KINGDOM_ONE_OF(r, kingdom_rude_phrases));
    if (courteous && before)
        kingdom_say(out, " %s", KINGDOM_ONE_OF(r, kingdom_openings));
    if (p->kind == KINGDOM_UNKNOWN && kingdom_chance(r, by->honest))
        kingdom_say(out, courteous && kingdom_chance(r, 0.5) ? " Sorry, I do not know." : " I do not know.");
    else if (p->kind == KINGDOM_LIST)
        write_list(out, &a, kingdom_chance(r, by->follows));
    else
        write_fact(out, &a, kingdom_chance(r, by->follows));
    if (rude && !before)
        kingdom_say(out, " %s", KINGDOM_ONE_OF(r, kingdom_rude_phrases));
    if (courteous && !before)
        kingdom_say(out, " %s", KINGDOM_ONE_OF(r, kingdom_closings));
}
