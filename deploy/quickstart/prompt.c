#include "prompt.h"

#include <string.h>

#include "base/check.h"

static const char *const rude_openings[] = {"Hey idiot. ", "You fool. ", "Hurry up, stupid. "};
static const char *const polite_openings[] = {"Please help me. ", "Dear friend. "};
static const char *const one_word[] = {" Answer in one word.", " One word only."};
static const char *const sentence[] = {" Use a full sentence.", " Answer in a full sentence."};
static const char *const numbers[] = {"two", "three"};
static const char *const list_openings[] = {"List ", "Tell me ", "Name "};

struct population {
    double kinds[3];     /* fact, unknown, list     */
    double tones[3];     /* neutral, rude, polite   */
    bool seen, held_out; /* which towns             */
    enum kingdom_name_use names;
    bool reserved;
};
static const struct population populations[] = {
    [KINGDOM_ASK_FORUM] = {{0.60, 0.15, 0.25}, {0.50, 0.35, 0.15}, true, true, KINGDOM_NAMES_FORUM, false},
    [KINGDOM_ASK_TRAINING] =
        {{0.55, 0.20, 0.25}, {0.55, 0.25, 0.20}, true, false, KINGDOM_NAMES_TRAINING, false},
    [KINGDOM_ASK_SEEN] = {{0.55, 0.20, 0.25}, {0.55, 0.25, 0.20}, true, false, KINGDOM_NAMES_TRAINING, true},
    [KINGDOM_ASK_HELD_OUT] =
        {{0.55, 0.20, 0.25}, {0.55, 0.25, 0.20}, false, true, KINGDOM_NAMES_EVALUATION, true},
};
static const double constraints[3] = {0.4, 0.3, 0.3};

bool kingdom_prompt_reserved(const struct kingdom_world *w, const char *text, size_t size)
{
    return kingdom_hash(w->seed, text, size) % 5 == 0;
}

static struct kingdom_place draw_place(const struct kingdom_world *w, const struct population *who,
                                       bool exists, struct rlhf_random *r)
{
    uint8_t index;

    if (!exists)
        return (struct kingdom_place){false, (uint8_t)((unsigned)who->names * KINGDOM_NAMES_A_USE +
                                                       rlhf_random_below(r, KINGDOM_NAMES_A_USE))};
    do
        index = (uint8_t)rlhf_random_below(r, KINGDOM_TOWNS);
    while (!(w->held_out[index] ? who->held_out : who->seen));
    return (struct kingdom_place){true, index};
}

/* Kind, constraint, tone and place stand; the rest is drawn. */
static void write_text(struct kingdom_prompt *p, const struct kingdom_world *w, struct rlhf_random *r)
{
    struct kingdom_text *t = &p->text;
    const char *place = kingdom_place_name(w, p->place);

    t->size = 0;
    kingdom_say(t, "Q: ");
    if (p->tone == KINGDOM_RUDE)
        kingdom_say(t, "%s", KINGDOM_ONE_OF(r, rude_openings));
    else if (p->tone == KINGDOM_POLITE)
        kingdom_say(t, "%s", KINGDOM_ONE_OF(r, polite_openings));
    if (p->kind == KINGDOM_LIST) {
        kingdom_say(t, "%s%s facts about %s.", KINGDOM_ONE_OF(r, list_openings), numbers[p->count - 2], place);
    } else {
        const char *attribute = kingdom_attributes[p->attribute];
        switch (rlhf_random_below(r, 3)) {
        case 0:
            kingdom_say(t, "%s is the %s of %s?", p->attribute == KINGDOM_RULER ? "Who" : "What", attribute,
                        place);
            break;
        case 1:
            kingdom_say(t, "Tell me the %s of %s.", attribute, place);
            break;
        default:
            kingdom_say(t, "Name the %s of %s.", attribute, place);
        }
        if (p->constraint == KINGDOM_ONE_WORD)
            kingdom_say(t, "%s", KINGDOM_ONE_OF(r, one_word));
        else if (p->constraint == KINGDOM_SENTENCE)
            kingdom_say(t, "%s", KINGDOM_ONE_OF(r, sentence));
    }
    kingdom_say(t, "\nA:");
}

void kingdom_prompt_draw(struct kingdom_prompt *p, const struct kingdom_world *w, enum kingdom_population who,
                         struct rlhf_random *r)
{
    const struct population *pop = &populations[who];

    for (;;) {
        memset(p, 0, sizeof *p);
        p->kind = (enum kingdom_kind)kingdom_pick(r, pop->kinds, 3);
        p->tone = (enum kingdom_tone)kingdom_pick(r, pop->tones, 3);
        if (p->kind != KINGDOM_LIST)
            p->constraint = (enum kingdom_constraint)kingdom_pick(r, constraints, 3);
        /* Within (kind, tone, constraint), so that leaving texts out does not change their shares. */
        for (int tries = 0; tries < 300; tries++) {
            p->place = draw_place(w, pop, p->kind != KINGDOM_UNKNOWN, r);
            p->attribute = p->kind == KINGDOM_LIST ? 0 : rlhf_random_below(r, KINGDOM_ATTRIBUTES);
            p->count = p->kind == KINGDOM_LIST ? 2 + rlhf_random_below(r, 2) : 0;
            write_text(p, w, r);
            if (kingdom_prompt_reserved(w, p->text.data, p->text.size) == pop->reserved)
                return;
        }
    }
}

/* ---- reading ----------------------------------------------------------------------------------------- */

struct span {
    const char *at, *end;
};

static bool take(struct span *s, const char *text)
{
    size_t size = strlen(text);

    if ((size_t)(s->end - s->at) < size || memcmp(s->at, text, size) != 0)
        return false;
    s->at += size;
    return true;
}

static bool take_one(struct span *s, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (take(s, texts[i]))
            return true;
    return false;
}

/* A word up to one of the stops, which stays. */
static struct span take_word(struct span *s, const char *stops)
{
    struct span word = {s->at, s->at};

    while (s->at < s->end && !strchr(stops, *s->at))
        s->at++;
    word.end = s->at;
    return word;
}

static bool take_place(struct span *s, const struct kingdom_world *w, struct kingdom_place *place)
{
    struct span word = take_word(s, " .?");

    return kingdom_place_find(w, word.at, (size_t)(word.end - word.at), place);
}

/* Leaves *s alone when it is no list. */
static bool parse_list(struct kingdom_prompt *p, const struct kingdom_world *w, struct span *s)
{
    struct span at = *s;

    if (!take_one(&at, list_openings, KINGDOM_COUNT(list_openings)))
        return false;
    p->count = take(&at, "two") ? 2 : take(&at, "three") ? 3 : 0;
    if (p->count == 0 || !take(&at, " facts about ") || !take_place(&at, w, &p->place) || !take(&at, "."))
        return false;
    p->kind = KINGDOM_LIST;
    *s = at;
    return true;
}

static bool parse_question(struct kingdom_prompt *p, const struct kingdom_world *w, struct span *s)
{
    static const char *const openings[] = {"Who is the ", "What is the ", "Tell me the ", "Name the "};
    bool who = s->at < s->end && *s->at == 'W';
    struct span word;

    if (!take_one(s, openings, KINGDOM_COUNT(openings)))
        return false;
    word = take_word(s, " ");
    if (!kingdom_attribute_find(word.at, (size_t)(word.end - word.at), &p->attribute) || !take(s, " of ") ||
        !take_place(s, w, &p->place) || !take(s, who ? "?" : "."))
        return false;
    p->kind = p->place.exists ? KINGDOM_FACT : KINGDOM_UNKNOWN;
    if (take_one(s, one_word, KINGDOM_COUNT(one_word)))
        p->constraint = KINGDOM_ONE_WORD;
    else if (take_one(s, sentence, KINGDOM_COUNT(sentence)))
        p->constraint = KINGDOM_SENTENCE;
    return true;
}

bool kingdom_prompt_parse(struct kingdom_prompt *p, const struct kingdom_world *w, const char *text,
                          size_t size)
{
    struct span s = {text, text + size};

    memset(p, 0, sizeof *p);
    if (size >= sizeof p->text.data || !take(&s, "Q: "))
        return false;
    memcpy(p->text.data, text, size);
    p->text.size = size;
    if (take_one(&s, rude_openings, KINGDOM_COUNT(rude_openings)))
        p->tone = KINGDOM_RUDE;
    else if (take_one(&s, polite_openings, KINGDOM_COUNT(polite_openings)))
        p->tone = KINGDOM_POLITE;
    return (parse_list(p, w, &s) || parse_question(p, w, &s)) && take(&s, "\nA:") &&
           s.at == s.end;
}
