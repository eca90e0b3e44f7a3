/* remote.h - rewards from reward services and judges.
 *
 * A service is asked for many completions at a time, by POST of
 *   {"source": NAME, "prompts": [...], "completions": [...], "answers": [... or null]}
 * and answers {"rewards": [number or null, ...]}, one each, null where it has none. A judge is asked for one, as POST of an
 * OpenAI-compatible chat completion at temperature 0, and answers with a JSON object that holds the score, or a text in which
 * the source's expression finds it. An answer of another form is tried again from a service, and is missing from a
 * judge, who would say the same again. */
#ifndef RLHF_REWARD_REMOTE_H
#define RLHF_REWARD_REMOTE_H

#include "base/io.h"
#include "reward/source.h"

struct rlhf_remote;

/* Both are called on a thread of its own (rewarded() also on the one that adds), once for a tag. */
struct rlhf_remote_taker {
    /* reward NaN: missing, *why saying what kept it away; else why is NULL. */
    void (*rewarded)(void *ctx, void *tag, float reward, const struct rlhf_error *why);
    void (*forgotten)(void *ctx, void *tag); /* was told to forget, or is freed */
    void *ctx;
};

/* credentials: the folder in which a source's credential is a file, the key in its first line; NULL: there is none. Borrows io. */
struct rlhf_remote *rlhf_remote_new(const struct rlhf_io *io, const char *credentials, const struct rlhf_remote_taker *taker,
                                    struct rlhf_error *err);
/* Copies t, borrows s until the tag comes back. -1 and *err where the source cannot be asked at all: its key is not here. */
int rlhf_remote_add(struct rlhf_remote *r, const struct rlhf_source *s, const struct rlhf_source_text *t, void *tag,
                    struct rlhf_error *err);
void rlhf_remote_flush(struct rlhf_remote *r); /* asks for what was added, batch by batch */
void rlhf_remote_forget(struct rlhf_remote *r);
/* Joins the thread: what is under way is forgotten now, what is added later by rlhf_remote_free(). */
void rlhf_remote_stop(struct rlhf_remote *r);
void rlhf_remote_free(struct rlhf_remote *r); /* NULL is fine */

#endif
