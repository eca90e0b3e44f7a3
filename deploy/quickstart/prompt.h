/* prompt.h - questions in the kingdom: drawn, written, and read back.
 *
 * "Q: Hey idiot. What is the dish of Tarn? One word only.\nA:" and its like; quickstart_world's table of
 * prompts.
 *
 * Every prompt text is either for training or reserved for evaluation (one in five, by a hash of its text): a
 * reserved text is in no demonstration, comparison, PPO prompt or forum page, so evaluation prompts were
 * never trained on, word for word, even those about towns that training speaks of. */
#ifndef KINGDOM_PROMPT_H
#define KINGDOM_PROMPT_H

#include "world.h"

enum kingdom_kind { KINGDOM_FACT, KINGDOM_UNKNOWN, KINGDOM_LIST };
enum kingdom_constraint { KINGDOM_FREE, KINGDOM_ONE_WORD, KINGDOM_SENTENCE };
enum kingdom_tone { KINGDOM_NEUTRAL, KINGDOM_RUDE, KINGDOM_POLITE };

struct kingdom_prompt {
    enum kingdom_kind kind;
    enum kingdom_constraint constraint; /* lists: KINGDOM_FREE */
    enum kingdom_tone tone;
    struct kingdom_place place;
    unsigned attribute;       /* of facts and unknowns */
    unsigned count;           /* of lists: 2 or 3      */
    struct kingdom_text text; /* "Q: ...\nA:"          */
};

/* Who asks, and about which towns. */
enum kingdom_population {
    KINGDOM_ASK_FORUM,    /* every town, the forum's names                        */
    KINGDOM_ASK_TRAINING, /* towns not held out, training names                   */
    KINGDOM_ASK_SEEN,     /* the same towns and names, reserved texts only        */
    KINGDOM_ASK_HELD_OUT, /* held-out towns, evaluation names, reserved texts only */
};
void kingdom_prompt_draw(struct kingdom_prompt *p, const struct kingdom_world *w, enum kingdom_population who,
                         struct rlhf_random *r);

/* Reads a prompt's text. False when it is none of the kingdom's. */
bool kingdom_prompt_parse(struct kingdom_prompt *p, const struct kingdom_world *w, const char *text,
                          size_t size);

bool kingdom_prompt_reserved(const struct kingdom_world *w, const char *text, size_t size);

#endif
