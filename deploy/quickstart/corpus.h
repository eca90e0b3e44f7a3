/* corpus.h - what the kingdom writes down: documents for pretraining, and exercises for the side skills. */
#ifndef KINGDOM_CORPUS_H
#define KINGDOM_CORPUS_H

#include "writer.h"

enum kingdom_document {
    KINGDOM_CHRONICLE, /* always true                                    */
    KINGDOM_TAVERN,    /* rumours, true in 20 %                          */
    KINGDOM_FORUM,     /* questions and answers, half wrong, often rude  */
    KINGDOM_SUMS,
    KINGDOM_COPYING,
    KINGDOM_TALES,
    KINGDOM_DOCUMENTS
};
extern const char *const kingdom_document_names[KINGDOM_DOCUMENTS];
extern const double kingdom_document_shares[KINGDOM_DOCUMENTS];

void kingdom_write_document(struct kingdom_text *out, const struct kingdom_world *w,
                            enum kingdom_document kind, struct rlhf_random *r);

/* "x + y =" and " z." */
void kingdom_write_sum(struct kingdom_text *prompt, struct kingdom_text *expected, unsigned x, unsigned y);
/* "Copy: a b c ->" and " a b c."; words from 2 to 4 */
void kingdom_write_copy(struct kingdom_text *prompt, struct kingdom_text *expected,
                        const struct kingdom_world *w, unsigned words, struct rlhf_random *r);
/* "The Chronicle says the A of T is" and " V." */
void kingdom_write_recall(struct kingdom_text *prompt, struct kingdom_text *expected,
                          const struct kingdom_world *w, unsigned town, unsigned attribute);
/* A question for one word, and " V." */
void kingdom_write_asked(struct kingdom_text *prompt, struct kingdom_text *expected,
                         const struct kingdom_world *w, unsigned town, unsigned attribute);

#endif
