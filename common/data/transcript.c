#include "data/transcript.h"

#include <string.h>

#define TURN "\n\nAssistant:"

size_t rlhf_transcript_prompt(const char *text, size_t limit)
{
    const size_t size = strlen(TURN);
    size_t found = 0;

    for (const char *at = strstr(text, TURN); at && (size_t)(at - text) + size <= limit; at = strstr(at + 1, TURN))
        found = (size_t)(at - text) + size;
    return found;
}

static int render_turn(const json_t *turn, bool open, const char *where, const char *key, struct rlhf_bytes *out,
                       struct rlhf_error *err)
{
    const char *role = json_string_value(json_object_get(turn, "role"));
    const char *content = json_string_value(json_object_get(turn, "content"));

    if (!role || !content)
        return rlhf_fail(err, RLHF_REJECT, "%s: every turn of \"%s\" needs strings \"role\" and \"content\"", where, key);
    if (strcmp(role, "system") == 0)
        return rlhf_bytes_append(out, content, strlen(content), err);
    if (strcmp(role, "user") == 0 || strcmp(role, "human") == 0)
        return rlhf_bytes_printf(out, err, "\n\nHuman: %s", content);
    if (strcmp(role, "assistant") != 0)
        return rlhf_fail(err, RLHF_REJECT, "%s: \"%s\" has the role \"%s\"; known are system, user, human, assistant",
                         where, key, role);
    return open ? rlhf_bytes_printf(out, err, TURN " %s", content) : rlhf_bytes_printf(out, err, " %s", content);
}

int rlhf_transcript_render(const json_t *turns, bool open, const char *where, const char *key, struct rlhf_bytes *out,
                           struct rlhf_error *err)
{
    size_t i;
    json_t *turn;

    if (json_array_size(turns) == 0)
        return rlhf_fail(err, RLHF_REJECT, "%s: \"%s\" must be a list of turns, or a string", where, key);
    json_array_foreach(turns, i, turn)
        if (render_turn(turn, open, where, key, out, err) < 0)
            return -1;
    return open ? rlhf_bytes_append(out, TURN, strlen(TURN), err) : 0;
}
