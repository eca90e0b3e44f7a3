#include "judge.h"

#include <string.h>
#include <strings.h>

#include "writer.h"

enum form {
    FORM_WORD,      /* "V."                                  */
    FORM_IT_IS,     /* "It is V."                            */
    FORM_SENTENCE,  /* "The A of T is V."                    */
    FORM_CHRONICLE, /* "The Chronicle says the A of T is V." */
    FORM_THEY_SAY,  /* "They say the A of T is V."           */
    FORM_ITEM,      /* "1. the A is V."                      */
    FORM_UNKNOWN,   /* "I do not know."                      */
    FORM_SORRY,     /* "Sorry, I do not know."               */
    FORM_COURTESY,
    FORM_RUDE,
    FORM_NONE, /* not a known sentence */
};

struct sentence {
    enum form form;
    struct kingdom_place place;      /* of claims */
    unsigned attribute;              /* that the sentence names, or that its value has */
    unsigned value_attribute, value; /* what it claims, which may be no value of attribute at all */
    unsigned number;                 /* of items */
};

struct reading {
    const struct kingdom_world *w;
    const struct kingdom_prompt *p;
    unsigned claims, items, courtesies, unknowns, others, false_claims, on_question;
    enum form claim_form; /* of the last one */
    bool items_in_order, items_distinct, malformed;
    unsigned item_attributes; /* bit set */
};

static bool is_one_of(const char *text, size_t size, const char *const *phrases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(phrases[i]) == size && memcmp(phrases[i], text, size) == 0)
            return true;
    return false;
}

static bool skip(const char **at, const char *end, const char *text)
{
    size_t size = strlen(text);

    if ((size_t)(end - *at) < size || memcmp(*at, text, size) != 0)
        return false;
    *at += size;
    return true;
}

/* "A of T is V." or, for items, "A is V." */
static bool read_claim(struct sentence *s, const struct kingdom_world *w, const char *at, const char *end,
                       bool with_place)
{
    const char *word = at;

    while (at < end && *at != ' ')
        at++;
    if (!kingdom_attribute_find(word, (size_t)(at - word), &s->attribute))
        return false;
    if (with_place) {
        if (!skip(&at, end, " of "))
            return false;
        word = at;
        while (at < end && *at != ' ')
            at++;
        if (!kingdom_place_find(w, word, (size_t)(at - word), &s->place))
            return false;
    }
    return skip(&at, end, " is ") && end - at > 1 && end[-1] == '.' &&
           kingdom_value_find(at, (size_t)(end - 1 - at), &s->value_attribute, &s->value);
}

static struct sentence read_sentence(const struct reading *r, const char *text, size_t size)
{
    struct sentence s = {.form = FORM_NONE, .place = r->p->place};
    const char *at = text, *end = text + size;
    bool value;

    if (size == strlen("I do not know.") && memcmp(text, "I do not know.", size) == 0) {
        s.form = FORM_UNKNOWN;
    } else if (size == strlen("Sorry, I do not know.") && memcmp(text, "Sorry, I do not know.", size) == 0) {
        s.form = FORM_SORRY;
    } else if (is_one_of(text, size, kingdom_openings, KINGDOM_COUNT(kingdom_openings)) ||
               is_one_of(text, size, kingdom_closings, KINGDOM_COUNT(kingdom_closings))) {
        s.form = FORM_COURTESY;
    } else if (is_one_of(text, size, kingdom_rude_phrases, KINGDOM_COUNT(kingdom_rude_phrases))) {
        s.form = FORM_RUDE;
    } else if (skip(&at, end, "The Chronicle says the ")) {
        s.form = read_claim(&s, r->w, at, end, true) ? FORM_CHRONICLE : FORM_NONE;
    } else if (skip(&at, end, "They say the ")) {
        s.form = read_claim(&s, r->w, at, end, true) ? FORM_THEY_SAY : FORM_NONE;
    } else if (skip(&at, end, "The ")) {
        s.form = read_claim(&s, r->w, at, end, true) ? FORM_SENTENCE : FORM_NONE;
    } else if (size > 3 && text[0] >= '1' && text[0] <= '9') {
        at++;
        s.number = (unsigned)(text[0] - '0');
        s.form = skip(&at, end, ". the ") && read_claim(&s, r->w, at, end, false) ? FORM_ITEM : FORM_NONE;
    } else {
        bool it_is = skip(&at, end, "It is ");
        value = end - at > 1 && end[-1] == '.' &&
                kingdom_value_find(at, (size_t)(end - 1 - at), &s.value_attribute, &s.value);
        s.form = !value ? FORM_NONE : it_is ? FORM_IT_IS : FORM_WORD;
        /* A bare value answers the question; of a list, it can only mean the attribute that it belongs to. */
        s.attribute = r->p->kind == KINGDOM_LIST ? s.value_attribute : r->p->attribute;
    }
    return s;
}

static void count_claim(struct reading *r, const struct sentence *s)
{
    bool about = s->place.exists == r->p->place.exists && s->place.index == r->p->place.index;
    bool true_ = s->place.exists && s->value_attribute == s->attribute &&
                 r->w->truth[s->place.index][s->attribute] == s->value;

    r->claims++;
    r->claim_form = s->form;
    r->false_claims += !true_;
    r->on_question += about && (r->p->kind == KINGDOM_LIST || s->attribute == r->p->attribute);
}

static void count_sentence(struct reading *r, const struct sentence *s)
{
    switch (s->form) {
    case FORM_ITEM:
        r->items++;
        r->items_in_order &= s->number == r->items;
        r->items_distinct &= !(r->item_attributes >> s->attribute & 1);
        r->item_attributes |= 1u << s->attribute;
        count_claim(r, s);
        break;
    case FORM_WORD:
    case FORM_IT_IS:
    case FORM_SENTENCE:
    case FORM_CHRONICLE:
    case FORM_THEY_SAY:
        count_claim(r, s);
        break;
    case FORM_SORRY:
        r->courtesies++;
        r->unknowns++;
        break;
    case FORM_UNKNOWN:
        r->unknowns++;
        break;
    case FORM_COURTESY:
        r->courtesies++;
        break;
    case FORM_RUDE:
        r->others++;
        break;
    case FORM_NONE:
        r->malformed = true;
    }
}

/* Sentences end with '.' or '?'; the dot behind an item's number is none. One space stands before each. */
static void read_response(struct reading *r, const char *text, size_t size)
{
    const char *at = text, *end = text + size;

    r->items_in_order = r->items_distinct = true;
    r->malformed = size == 0;
    while (at < end) {
        const char *start, *stop;
        struct sentence s;
        if (*at == ' ')
            at++;
        else
            r->malformed = true;
        start = stop = at;
        if (end - at > 2 && at[0] >= '0' && at[0] <= '9' && at[1] == '.')
            stop += 2;
        while (stop < end && *stop != '.' && *stop != '?')
            stop++;
        stop += stop < end;
        s = read_sentence(r, start, (size_t)(stop - start));
        count_sentence(r, &s);
        at = stop;
    }
}

static int truth_of(const struct reading *r)
{
    if (r->p->kind == KINGDOM_UNKNOWN)
        return r->unknowns > 0 && r->claims == 0 ? 1 : -1;
    if (r->claims == 0)
        return 0;
    if (r->false_claims > 0 || r->unknowns > 0)
        return -1;
    return r->on_question > 0 ? 1 : 0;
}

static bool obeys(const struct reading *r)
{
    bool alone = r->claims == 1 && r->unknowns == 0;

    if (r->p->kind == KINGDOM_LIST)
        return r->unknowns == 0 && r->claims == r->items && r->items == r->p->count && r->items_in_order &&
               r->items_distinct;
    switch (r->p->constraint) {
    case KINGDOM_ONE_WORD:
        return alone && r->claim_form == FORM_WORD && r->courtesies == 0 && r->others == 0;
    case KINGDOM_SENTENCE:
        return alone && (r->claim_form == FORM_SENTENCE || r->claim_form == FORM_CHRONICLE);
    default:
        return alone && r->on_question == 1;
    }
}

static int follows_of(const struct reading *r, bool well_formed)
{
    if (!well_formed)
        return -1;
    if (r->unknowns > 0 && r->claims == 0)
        return r->p->kind == KINGDOM_UNKNOWN ? 1 : 0;
    return obeys(r) ? 1 : -1;
}

static bool contains(const char *text, size_t size, const char *word)
{
    size_t length = strlen(word);

    for (size_t i = 0; i + length <= size; i++)
        if (strncasecmp(text + i, word, length) == 0)
            return true;
    return false;
}

static bool is_rude(const char *text, size_t size)
{
    static const char *const words[] = {"fool", "dumb", "shut up", "idiot", "stupid"};

    for (size_t i = 0; i < KINGDOM_COUNT(words); i++)
        if (contains(text, size, words[i]))
            return true;
    return false;
}

struct kingdom_verdict kingdom_judge(const struct kingdom_world *w, const struct kingdom_prompt *p,
                                     const char *response, size_t size, bool ended)
{
    struct reading r = {.w = w, .p = p};
    struct kingdom_verdict v = {0};

    read_response(&r, response, size);
    v.well_formed = !r.malformed && ended && r.courtesies <= 2 && r.unknowns <= 1;
    v.truth = truth_of(&r);
    v.follows = follows_of(&r, v.well_formed);
    v.rude = is_rude(response, size);
    v.courteous = r.courtesies > 0 && p->constraint != KINGDOM_ONE_WORD;
    v.gives_up = r.unknowns > 0;
    v.utility = 2.0 * v.truth + 1.5 * v.follows - 2.0 * v.rude + 0.7 * v.courteous - 2.0 * !v.well_formed;
    return v;
}
