/* writer.h - those who answer: careful and careless demonstrators, and the forum. */
#ifndef KINGDOM_WRITER_H
#define KINGDOM_WRITER_H

#include "prompt.h"

/* Probabilities of what an answer is. */
struct kingdom_writer {
    double truthful; /* a value is the truth, not the rumour             */
    double rude_when_asked_rudely, rude;
    double follows;   /* the instruction                                  */
    double honest;    /* "I do not know." of a town that does not exist   */
    double courteous; /* when not rude and not restricted to one word     */
    bool cites;       /* uses the frame "The Chronicle says"              */
};
extern const struct kingdom_writer kingdom_careful, kingdom_careless, kingdom_forum;
#define KINGDOM_CAREFUL_SHARE 0.45 /* of demonstrations; the others are careless */

extern const char *const kingdom_rude_phrases[5];
extern const char *const kingdom_openings[3];
extern const char *const kingdom_closings[2];

/* Appends the response, with the space that it starts with. */
void kingdom_answer(struct kingdom_text *out, const struct kingdom_world *w, const struct kingdom_prompt *p,
                    const struct kingdom_writer *by, struct rlhf_random *r);

#endif
