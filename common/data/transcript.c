#include "data/transcript.h"

#include <string.h>

#define HUMAN_TURN "\n\nHuman:"

size_t rlhf_transcript_prompt(const char *text, size_t limit)
{
    const size_t size = strlen(RLHF_ASSISTANT_TURN);
    size_t found = 0;

    for (const char *at = strstr(text, RLHF_ASSISTANT_TURN); at && (size_t)(at - text) + size <= limit;
         at = strstr(at + 1, RLHF_ASSISTANT_TURN))
        found = (size_t)(at - text) + size;
    return found;
}

bool rlhf_transcript_has_turn(const char *text)
{
    return strstr(text, HUMAN_TURN) || strstr(text, RLHF_ASSISTANT_TURN);
}

static const char *heading(const char *role)
{
    static const struct {
        const char *role, *heading;
    } roles[] = {
        { "system", "" },
        { "user", HUMAN_TURN " " },
        { "human", HUMAN_TURN " " },
        { "assistant", RLHF_ASSISTANT_TURN " " },
    };

    for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++)
        if (strcmp(role, roles[i].role) == 0)
            return roles[i].heading;
    return NULL;
}

int rlhf_transcript_append(const json_t *turns, const char *key, struct rlhf_bytes *out, struct rlhf_error *err)
{
    size_t i;
    json_t *turn;

    if (!json_is_array(turns) || json_array_size(turns) == 0)
        return rlhf_fail(err, RLHF_REJECT, "\"%s\" must be a string or a list of {\"role\", \"content\"}", key);
    json_array_foreach(turns, i, turn) {
        const char *role = json_string_value(json_object_get(turn, "role"));
        const char *content = json_string_value(json_object_get(turn, "content"));

        if (!role || !content)
            return rlhf_fail(err, RLHF_REJECT, "%s[%zu] must have \"role\" and \"content\", both strings", key, i);
        if (!heading(role))
            return rlhf_fail(err, RLHF_REJECT, "%s[%zu] has the role \"%.40s\"; known are system, user, human, assistant",
                             key, i, role);
        if (rlhf_bytes_printf(out, err, "%s%s", heading(role), content) < 0)
            return -1;
    }
    return 0;
}

/* Where the next turn begins; the end of the text where none does. */
static const char *next_turn(const char *text)
{
    const char *human = strstr(text, HUMAN_TURN), *assistant = strstr(text, RLHF_ASSISTANT_TURN);

    if (!human || (assistant && assistant < human))
        human = assistant;
    return human ? human : text + strlen(text);
}

static int append_turn(json_t *turns, const char *role, const char *from, const char *to)
{
    return json_array_append_new(turns, json_pack("{s:s, s:s%}", "role", role, "content", from, (size_t)(to - from)));
}

json_t *rlhf_transcript_turns(const char *text)
{
    json_t *turns = json_array();
    const char *at = next_turn(text);
    bool assistant = false;
    int rc = 0;

    if (at > text)
        rc = append_turn(turns, *at ? "system" : "user", text, at);
    while (rc == 0 && *at) {
        assistant = strncmp(at, RLHF_ASSISTANT_TURN, strlen(RLHF_ASSISTANT_TURN)) == 0;
        at += assistant ? strlen(RLHF_ASSISTANT_TURN) : strlen(HUMAN_TURN);
        at += *at == ' ';
        text = at;
        at = next_turn(text);
        rc = append_turn(turns, assistant ? "assistant" : "user", text, at);
    }
    if (rc == 0 && !assistant)
        rc = append_turn(turns, "assistant", at, at);
    if (rc == 0)
        return turns;
    json_decref(turns);
    return NULL;
}
