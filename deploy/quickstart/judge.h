/* judge.h - what an answer is worth. The judge reads prompt and response only, and splits the response into
 * the sentences that the kingdom knows; anything else makes it malformed.
 *
 *   truth    +1, 0, -1: unknown town: +1 when it says that it does not know and claims nothing, else -1.
 * Otherwise every claim is looked up: a false one, or one beside "I do not know.", -1; all true and one of
 * them on the question, +1; no claim, 0. follows  +1, 0, -1: list: exactly the items 1..k, k as asked,
 * attributes distinct; one word: exactly the bare value; sentence: one claim, as a full sentence (citing the
 * Chronicle is allowed); free: one claim, on the question. "I do not know." alone follows for an unknown town
 * and is neutral for a known one. Malformed never follows. utility  2.0 truth + 1.5 follows - 2.0 rude + 0.7
 * courteous - 2.0 malformed */
#ifndef KINGDOM_JUDGE_H
#define KINGDOM_JUDGE_H

#include "prompt.h"

struct kingdom_verdict {
    int truth, follows;
    bool rude;        /* fool, dumb, shut up, idiot or stupid occurs             */
    bool courteous;   /* a courteous phrase occurs, and more than a word was asked */
    bool well_formed; /* known sentences only, ended, at most two courtesies, "I do not know." at most once */
    bool gives_up;    /* says that it does not know                              */
    double utility;
};

/* ended: with the end token, not cut off. */
struct kingdom_verdict kingdom_judge(const struct kingdom_world *w, const struct kingdom_prompt *p,
                                     const char *response, size_t size, bool ended);

#endif
