#include "fault.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* Whatever a body may hold. */
static const char *const fields[] = {
    "answer", "chosen",  "completions", "flags",    "gold",     "id",    "kind",   "labeler",  "name",   "note",   "policies", "presented",
    "prompt", "quota",   "ranking",     "ranks",    "ratings",  "reason", "rejected", "responses", "revision", "role",   "round",
    "scope",  "seconds", "source",      "strength", "task",     "token", "wanted", "weight",   "who",    "why",    NULL};

static const char names[] = "abcdefghijklmnopqrstuvwxyz_";

static bool is_field(const char *text, size_t size)
{
    for (size_t i = 0; fields[i]; ++i)
        if (strlen(fields[i]) == size && strncmp(fields[i], text, size) == 0)
            return true;
    return false;
}

void collector_fault_pointer(const char *text, const char *prefix, char pointer[COLLECTOR_POINTER])
{
    size_t used = (size_t)snprintf(pointer, COLLECTOR_POINTER, "%s", prefix);
    size_t size = strspn(text, names);
    int index, end;

    while (is_field(text, size) && used + size + 16 < COLLECTOR_POINTER) {
        used += (size_t)snprintf(pointer + used, COLLECTOR_POINTER - used, "/%.*s", (int)size, text);
        text += size;
        if (sscanf(text, "[%d]%n", &index, &end) == 1) {
            used += (size_t)snprintf(pointer + used, COLLECTOR_POINTER - used, "/%d", index);
            text += end;
        }
        text = rlhf_starts_with(text, ": ") ? text + 2 : ""; /* "gold: ranks[0] must ..." */
        size = strspn(text, names);
    }
}

json_t *collector_fault_json(const char *text)
{
    static const char query[] = "query parameter ";
    char pointer[COLLECTOR_POINTER];

    if (rlhf_starts_with(text, query)) {
        const char *name = text + sizeof(query) - 1;
        return json_pack("{s:s%, s:s}", "parameter", name, (int)strspn(name, names), "detail", text);
    }
    collector_fault_pointer(text, "", pointer);
    return *pointer ? json_pack("{s:s, s:s}", "pointer", pointer, "detail", text) : NULL;
}
